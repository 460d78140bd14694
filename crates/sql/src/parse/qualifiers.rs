//! The databases that a query names.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Select, SelectItem, SelectItemQualifiedWildcardKind, TableFactor, Visitor,
};

use strandline_core::schema::same_name;

use super::{Options, Statement, parse_one};
use crate::error::{Error, Result};
use crate::walk;

/// Returns a query's text with `new` in every place where it names the database `old`; the rest stays as it is.
///
/// # Errors
/// As [`parse_one`].
pub fn rename_database(text: &str, old: &str, new: &str) -> Result<String> {
    let parsed = parse_one(text, Options::default())?;
    let Statement::Query(query) = &parsed.statement else {
        return Err(Error::internal(format!("'{text}' is no query")));
    };
    let mut found = Qualifiers { old, places: Vec::new() };
    let _ = walk::visit(query, &mut found);
    found.places.sort_unstable();
    found.places.dedup();
    let mut renamed = parsed.text;
    let quoted = format!("`{}`", new.replace('`', "``"));
    for (start, end) in found.places.into_iter().rev() {
        renamed.replace_range(start..end, &quoted);
    }
    Ok(renamed)
}

struct Qualifiers<'a> {
    old: &'a str,
    /// From byte to byte.
    places: Vec<(usize, usize)>,
}

impl Qualifiers<'_> {
    /// Looks at the first of the parts of a name.
    fn look(&mut self, first: &Ident) {
        if same_name(&first.value, self.old) {
            let span = first.span;
            // A statement is one line to the parser: columns are bytes.
            self.places.push((span.start.column as usize - 1, span.end.column as usize - 1));
        }
    }

    /// Looks at `database.table`.
    fn look_at_table(&mut self, name: &ObjectName) {
        if let [ObjectNamePart::Identifier(database), _] = name.0.as_slice() {
            self.look(database);
        }
    }
}

impl Visitor for Qualifiers<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = item {
                self.look_at_table(name);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = factor {
            self.look_at_table(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::CompoundIdentifier(parts) if parts.len() == 3 => self.look(&parts[0]),
            Expr::QualifiedWildcard(name, _) => self.look_at_table(name),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_databases_are_renamed() {
        let text = "SELECT  é.a, `D`.t.a AS d, d.t.*, 'd.t' FROM d.t JOIN `d` . u AS é ON d.t.a = é.b -- d.t\n \
                    WHERE é.b IN (SELECT d.x FROM o.t AS d, d.w AS OF TIMESTAMP '2026-01-01' WHERE d.d > 0)";
        let expected = "SELECT  é.a, `n``2`.t.a AS d, `n``2`.t.*, 'd.t' FROM `n``2`.t JOIN `n``2` . u AS é \
                        ON `n``2`.t.a = é.b -- d.t\n WHERE é.b IN (SELECT d.x FROM o.t AS d, `n``2`.w AS OF \
                        TIMESTAMP '2026-01-01' WHERE d.d > 0)";
        assert_eq!(rename_database(text, "d", "n`2").unwrap(), expected);
    }
}
