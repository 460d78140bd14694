//! MySQL's expressions on DataFusion: a pass over the parsed statement, a planner of operators, a rule over the plan.
//!
//! ```text
//! sqlparser AST ─ rewrite_statement ─► AST ─ SqlToRel + OperatorPlanner ─► plan ─ MySqlTypes ─► plan ─► DataFusion's own rules
//!                 syntax, truth,             arithmetic, comparisons            IN lists, CASE,
//!                 casts, intervals           by type                            LIKE by type
//! ```
//! Comparisons of like with like stay DataFusion's own operators, so that scans can prune with them.

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::prelude::SessionConfig;

use crate::functions;

mod analyze;
mod operators;
mod rewrite;

pub use analyze::MySqlTypes;
pub use operators::OperatorPlanner;
pub use rewrite::rewrite_statement;

/// Sets the options that expressions depend on. NULL ordering and identifiers are the session's own affair.
pub fn configure(config: &mut SessionConfig) {
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    if options.extensions.get::<functions::settings::StatementSettings>().is_none() {
        options.extensions.insert(functions::settings::StatementSettings::default());
    }
}

/// Adds MySQL's operators, functions and rules to a state that has DataFusion's default ones. The configuration must
/// have gone through [`configure`].
pub fn register(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    builder.scalar_functions().get_or_insert_default().extend(functions::scalar_functions());
    builder.aggregate_functions().get_or_insert_default().extend(functions::aggregate_functions());
    builder.expr_planners().get_or_insert_default().insert(0, Arc::new(OperatorPlanner));
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(MySqlTypes)];
    rules.extend(Analyzer::new().rules);
    builder.with_analyzer_rules(rules)
}

#[cfg(test)]
mod tests;
