//! DataFusion's errors as MySQL's.

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use crate::error::Error;

/// Returns what a client is told of an error that came out of planning or running a query.
pub fn of_query(error: DataFusionError) -> Error {
    if let Some(error) = carried(&error) {
        return error;
    }
    if let DataFusionError::Execution(message) = error.find_root()
        && message.contains("Scalar subquery returned more than one row")
    {
        return Error::new(1242, "21000", "Subquery returns more than 1 row");
    }
    if let DataFusionError::ResourcesExhausted(message) = error.find_root() {
        return out_of_memory(message);
    }
    match error {
        DataFusionError::Context(_, inner) => of_query(*inner),
        DataFusionError::Diagnostic(_, inner) => of_query(*inner),
        DataFusionError::Collection(mut errors) if !errors.is_empty() => of_query(errors.swap_remove(0)),
        DataFusionError::SchemaError(error, _) => of_schema(&error),
        DataFusionError::NotImplemented(message) if message.contains("binary operator: Assignment") => {
            Error::unsupported("@x := value inside an expression; use SET @x = value or SELECT … INTO @x")
        }
        DataFusionError::NotImplemented(message) => match is_of_subqueries(&message) {
            true => subquery_unsupported(),
            false => Error::unsupported(first_line(&message)),
        },
        DataFusionError::Plan(message) => of_plan(&message),
        DataFusionError::SQL(error, _) => Error::syntax(error.to_string()),
        DataFusionError::ArrowError(error, _) => of_arrow(&error),
        DataFusionError::Execution(message) => Error::new(1105, "HY000", first_line(&message)),
        other => Error::internal(first_line(&other.strip_backtrace())),
    }
}

fn out_of_memory(message: &str) -> Error {
    let line = first_line(message);
    // Who else has how much is nothing that a client can do anything about.
    let what = line.split(" with top memory consumers").next().unwrap_or_default();
    let message = format!(
        "Out of memory for this statement: {}. Let it work on fewer rows at a time (WHERE, LIMIT), or start the server with \
         a greater --memory-limit.",
        what.trim_end_matches('.')
    );
    Error::new(1038, "HY001", message)
}

/// Tells whether a query ran out of memory, so that a plan that spills may do better.
pub fn is_out_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// Returns the error of ours that travelled through DataFusion, if one did.
fn carried(error: &DataFusionError) -> Option<Error> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(found) = current.downcast_ref::<Error>() {
            return Some(found.clone());
        }
        if let Some(found) = current.downcast_ref::<strandline_core::error::Error>() {
            let message = found.to_string();
            return Some(Error {
                message,
                ..Error::from(strandline_core::error::Error::new(found.kind(), found.message()))
            });
        }
        source = match current.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ArrowError(inner, _)) => Some(inner.as_ref()),
            Some(DataFusionError::ObjectStore(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ParquetError(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Collection(errors)) => errors.first().map(|first| first as _),
            _ => match current.downcast_ref::<ArrowError>() {
                Some(ArrowError::ExternalError(inner)) => Some(inner.as_ref()),
                _ => current.source(),
            },
        };
    }
    None
}

fn of_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, .. } => {
            let name = match &field.relation {
                Some(relation) => format!("{relation}.{}", field.name),
                None => field.name.clone(),
            };
            Error::unknown_column(&name, "field list")
        }
        SchemaError::AmbiguousReference { field } => {
            Error::new(1052, "23000", format!("Column '{}' in field list is ambiguous", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(1060, "42S21", format!("Duplicate column name '{name}'"))
        }
    }
}

fn of_plan(message: &str) -> Error {
    let message = first_line(message);
    if let Some(rest) = message.strip_prefix("Invalid function '")
        && let Some((name, _)) = rest.split_once('\'')
    {
        return Error::new(1305, "42000", format!("FUNCTION {name} does not exist"));
    }
    if is_of_subqueries(&message) {
        return subquery_unsupported();
    }
    if message.contains("Too many columns!") || message.contains("should only return one column") {
        return Error::new(1241, "21000", "Operand should contain 1 column(s)");
    }
    if message.contains("must appear in the GROUP BY clause") || message.contains("must be part of GROUP BY clause") {
        return not_grouped(&message);
    }
    if message.contains("number of columns") || message.contains("same number") {
        return Error::new(1222, "21000", "The used SELECT statements have a different number of columns");
    }
    Error::new(1105, "HY000", message)
}

/// 1055, with the column and the next step instead of the planner's inner names.
fn not_grouped(message: &str) -> Error {
    let column = ["column \"", "Column \"", "expression \""].iter().find_map(|word| {
        let (_, rest) = message.split_once(word)?;
        rest.split_once('"').map(|(name, _)| name)
    });
    let what = match column.filter(|column| !column.contains("mysql_")) {
        Some(column) => format!("Column '{column}'"),
        None => "An expression of the SELECT list, HAVING or ORDER BY".to_owned(),
    };
    let message = format!(
        "{what} is not in GROUP BY clause, nor depends on it (as with sql_mode=only_full_group_by). Name it there, or take \
         ANY_VALUE() of it"
    );
    Error::new(1055, "42000", message)
}

/// Tells whether the planner says in its own words that it cannot make a join of a subquery.
fn is_of_subqueries(message: &str) -> bool {
    let words = [
        "does not support logical expression ScalarSubquery",
        "does not support logical expression Exists",
        "does not support logical expression InSubquery",
        "does not support logical expression SetComparison",
        "does not support logical expression OuterReferenceColumn",
        "undecorrelated Subquery",
        "Correlated scalar subquery",
        "Accessing outer reference column",
        "subquery can only be used in",
        "Unsupported correlated subquery",
    ];
    words.iter().any(|words| message.contains(words))
}

fn subquery_unsupported() -> Error {
    Error::unsupported(
        "a subquery that refers to the query around it other than by col = outer.col. Write it as a JOIN with GROUP BY",
    )
}

fn of_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::new(1365, "22012", "Division by 0"),
        ArrowError::ArithmeticOverflow(message) => {
            Error::new(1690, "22003", format!("value is out of range: {message}"))
        }
        ArrowError::CastError(message) => Error::new(1292, "22007", format!("Truncated incorrect value: {message}")),
        other => Error::internal(first_line(&other.to_string())),
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
