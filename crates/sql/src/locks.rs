//! `FOR UPDATE` and `FOR SHARE`. Nobody waits for anybody: a transaction that read rows like this fails at its commit,
//! with 1213, if another changed them (or, for FOR UPDATE, read them like this and committed) first.
//!
//! Held are the rows that pass the WHERE clause, which may be more than a LIMIT lets through. Rows that are not there yet
//! are not held.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, GroupByExpr, LockClause, LockType, NonBlock, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins, Visitor,
};
use strandline_core::grants::Privileges;
use strandline_core::txn::{Lock, Txn};

use crate::api::Value;
use crate::dml::{self, Named, Target};
use crate::error::{Error, Result};
use crate::parse::name_parts;
use crate::session::State;
use crate::{ddl, eval, walk};

/// Refuses what a query asks of locks and does not get.
pub fn check(query: &Query) -> Result<()> {
    if query.locks.iter().any(|lock| lock.nonblock == Some(NonBlock::SkipLocked)) {
        let what = "SKIP LOCKED; nobody waits for a lock here, and who commits second gets error 1213";
        return Err(Error::unsupported(what));
    }
    if !query.locks.is_empty() && matches!(*query.body, SetExpr::SetOperation { .. }) {
        return Err(Error::unsupported(
            "FOR UPDATE of a UNION; lock the rows of each SELECT in a statement of its own",
        ));
    }
    match walk::visit(query, &mut Inner { depth: 0 }) {
        ControlFlow::Break(()) => Err(in_subquery()),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// 1235: only the outermost SELECT can hold rows.
pub fn in_subquery() -> Error {
    Error::unsupported("FOR UPDATE in a subquery; lock the rows in a SELECT of their own")
}

struct Inner {
    depth: usize,
}

impl Visitor for Inner {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        if self.depth > 1 && !query.locks.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Makes the transaction hold on to the rows that a query reads, as its lock clauses say.
pub async fn take(state: &State, txn: &mut Txn, query: &Query, parameters: &[Value]) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_ref() else { return Ok(()) };
    if query.locks.is_empty() {
        return Ok(());
    }
    let common: Vec<String> =
        query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| cte.alias.name.value.to_lowercase()).collect();
    let mut tables = Vec::new();
    for from in &select.from {
        collect(state, txn, from, &common, &mut tables)?;
    }
    let mut held: Vec<(Named, Lock)> = Vec::new();
    for lock in &query.locks {
        check_of(lock, &tables)?;
    }
    for named in tables {
        let wanted = query.locks.iter().filter(|lock| names(lock, &named));
        let how = wanted.map(|lock| matches!(lock.lock_type, LockType::Update)).max();
        if let Some(exclusive) = how {
            if exclusive {
                may_hold(state, &named.target)?;
            }
            held.push((named, if exclusive { Lock::Exclusive } else { Lock::Shared }));
        }
    }
    if held.is_empty() {
        return Ok(());
    }
    let mut exprs = Vec::new();
    let mut places = Vec::new();
    for (named, _) in &held {
        let first = exprs.len();
        exprs.extend(named.key_names().iter().map(|name| eval::column(Some(&named.alias), name)));
        places.push(first..exprs.len());
    }
    let mut keys = eval::select(exprs, select.from.clone());
    eval::narrow(&mut keys, select.selection.clone(), Vec::new(), None);
    keys.with = query.with.clone();
    if let ([(named, _)], 1) = (held.as_slice(), select.from.len())
        && is_ordered_by_key(query, select, named)
    {
        keys.order_by = query.order_by.clone();
        keys.limit_clause = query.limit_clause.clone();
    }
    let found = dml::found_rows(state, txn, &keys, parameters, Vec::new()).await?;
    for ((named, how), place) in held.into_iter().zip(places) {
        let keys = named.keys(state, &found.batch, place)?;
        txn.lock(&named.target.table, &keys, how)?;
    }
    Ok(())
}

/// Who holds rows against others must be one of those who may change them.
///
/// # Errors
/// 1142
fn may_hold(state: &State, target: &Target) -> Result<()> {
    let (database, table) = (&target.database.name, &target.table.name);
    let granted = state.rights.on_any_of_table(database, table) | state.rights.on_database(database);
    if (granted & (Privileges::UPDATE | Privileges::DELETE | Privileges::LOCK_TABLES)).is_empty() {
        return Err(state.rights.denied_command("SELECT with locking clause", table));
    }
    Ok(())
}

/// Tells whether the same rows pass LIMIT whoever counts them: one table, in the order of its key.
fn is_ordered_by_key(query: &Query, select: &Select, named: &Named) -> bool {
    let Some(OrderByKind::Expressions(order)) = query.order_by.as_ref().map(|order| &order.kind) else { return false };
    let aliased = |name: &str| {
        select.projection.iter().any(
            |item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if alias.value.eq_ignore_ascii_case(name)),
        )
    };
    let mut columns = Vec::new();
    for by in order {
        match &by.expr {
            Expr::Identifier(ident) if !aliased(&ident.value) => columns.push(ident.value.to_lowercase()),
            Expr::CompoundIdentifier(parts) => columns.extend(parts.last().map(|part| part.value.to_lowercase())),
            _ => return false,
        }
    }
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let plain = select.distinct.is_none() && select.having.is_none() && !grouped && select.from[0].joins.is_empty();
    let computes = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_))
        }
        _ => false,
    });
    plain && !computes && named.key_names().iter().all(|name| columns.contains(name))
}

/// Fails if `OF t` names no table of the query.
fn check_of(lock: &LockClause, tables: &[Named]) -> Result<()> {
    match &lock.of {
        Some(of) if !tables.iter().any(|named| names(lock, named)) => Err(Error::new(
            3568,
            "HY000",
            format!("Unresolved table name `{}` in locking clause.", name_parts(of).join(".")),
        )),
        _ => Ok(()),
    }
}

fn names(lock: &LockClause, named: &Named) -> bool {
    match &lock.of {
        None => true,
        Some(of) => name_parts(of).last().is_some_and(|name| name.eq_ignore_ascii_case(&named.alias)),
    }
}

fn collect(state: &State, txn: &Txn, from: &TableWithJoins, common: &[String], tables: &mut Vec<Named>) -> Result<()> {
    for factor in std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
        match factor {
            // The past changes for nobody.
            TableFactor::Table { name, alias, version: None, .. } => {
                let (database, name) = dml::split_name(name)?;
                if database.is_none() && (common.contains(&name.to_lowercase()) || name.eq_ignore_ascii_case("dual")) {
                    continue;
                }
                if database.as_deref().or(state.database.as_deref()).is_some_and(ddl::is_virtual) {
                    continue;
                }
                let target = Target::find(state, txn, database.as_deref(), &name, "SELECT").map_err(|error| {
                    if error.code == 1288 { Error::unsupported("FOR UPDATE of a view; name its tables") } else { error }
                })?;
                let alias = alias.as_ref().map_or(name, |alias| alias.name.value.clone());
                tables.push(Named { target, alias });
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                collect(state, txn, table_with_joins, common, tables)?;
            }
            _ => {}
        }
    }
    Ok(())
}
