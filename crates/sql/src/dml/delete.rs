//! DELETE from one table or several: a SELECT of the keys, then those rows go.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Schema;
use sqlparser::ast::{FromTable, TableFactor};
use strandline_core::grants::Privileges;
use strandline_core::ids::ColumnId;
use strandline_core::schema::same_name;
use strandline_core::txn::Txn;

use super::update::{Named, Sources, first_of_each, found_rows, tables_of};
use super::{Effect, arrow, split_name};
use crate::access::columns::Reads;
use crate::api::Value;
use crate::error::{Error, Result};
use crate::eval;
use crate::parse;
use crate::session::State;

pub async fn execute(
    state: &mut State,
    txn: &mut Txn,
    statement: &parse::Delete,
    parameters: &[Value],
) -> Result<Effect> {
    let delete = &statement.delete;
    if delete.returning.is_some() || delete.output.is_some() {
        return Err(Error::unsupported("DELETE … RETURNING"));
    }
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    // `DELETE a FROM a JOIN b`, `DELETE FROM a USING a JOIN b`, or `DELETE FROM a`.
    let multiple = !delete.tables.is_empty() || delete.using.is_some();
    let source = delete.using.as_ref().unwrap_or(from);
    let named = tables_of(state, txn, source, "DELETE")?;
    let wanted: Vec<(Option<String>, String)> = if !delete.tables.is_empty() {
        delete.tables.iter().map(split_name).collect::<Result<_>>()?
    } else {
        from.iter()
            .map(|table| match &table.relation {
                TableFactor::Table { name, alias, .. } => match alias {
                    Some(alias) if !multiple => Ok((None, alias.name.value.clone())),
                    _ => split_name(name),
                },
                _ => Err(Error::syntax("DELETE needs the name of a table")),
            })
            .collect::<Result<_>>()?
    };
    if multiple && (!delete.order_by.is_empty() || delete.limit.is_some()) {
        return Err(Error::new(1221, "HY000", "Incorrect usage of DELETE and ORDER BY"));
    }
    let targets = wanted.iter().map(|name| target_of(name, &named)).collect::<Result<Vec<&Named>>>()?;

    let mut reads = Reads::new(None);
    reads.add_from(source);
    delete.selection.iter().for_each(|condition| reads.add(condition));
    delete.order_by.iter().for_each(|order| reads.add(order));
    for named in &targets {
        named.target.require_whole(state, Privileges::DELETE)?;
        reads.check(state, &named.target)?;
    }
    let written = targets.iter().map(|named| named.target.table.id).collect();

    let mut exprs = Vec::new();
    let mut places = Vec::new();
    for named in &targets {
        let names = named.key_names();
        places.push((exprs.len(), names.len()));
        exprs.extend(names.iter().map(|name| eval::column(Some(&named.alias), name)));
    }
    let mut query = eval::select(exprs, source.clone());
    eval::narrow(&mut query, delete.selection.clone(), delete.order_by.clone(), delete.limit.clone());
    let found = found_rows(state, txn, &query, parameters, written).await?;

    let mut affected = 0;
    for (named, (first, width)) in targets.iter().zip(places) {
        let table = &named.target.table;
        txn.set_what(format!("DELETE {}", named.target.name()));
        let keys = named.keys(state, &found.batch, first..first + width)?;
        if keys.num_rows() > 0 {
            affected += txn.delete(table, &keys).await?;
        }
    }
    Ok(Effect { affected, ..Effect::default() })
}

impl Named {
    /// Returns the keys of rows that a SELECT found, each once, without those that an outer join made up. They stand in
    /// the columns `at`, in the order of [`Named::key_names`].
    pub fn keys(&self, state: &State, found: &RecordBatch, at: Range<usize>) -> Result<RecordBatch> {
        let key: Vec<ArrayRef> = found.columns()[at].to_vec();
        let keep = first_of_each(&key, found.num_rows())?;
        let key = key
            .iter()
            .zip(&self.key_types())
            .map(|(column, ty)| match ty {
                Some(ty) => super::to_utc(column, ty, state),
                None => Ok(column.clone()),
            })
            .collect::<Result<Vec<_>>>()?;
        let schema = self.target.table.key_schema();
        let fields: Vec<_> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let keys = RecordBatch::try_new(Arc::new(Schema::new(fields)), key).map_err(arrow)?;
        let keys = filter_record_batch(&keys, &keep).map_err(arrow)?;
        RecordBatch::try_new(schema, keys.columns().to_vec()).map_err(arrow)
    }

    /// Returns the names of the key's columns.
    pub fn key_names(&self) -> Vec<String> {
        let table = &self.target.table;
        let name = |id: &ColumnId| table.column_by_id(*id).map_or(id.physical_name(), |c| c.name.to_lowercase());
        table.key_columns().iter().map(name).collect()
    }

    /// Returns the types of the key's columns; none for `_row_id`.
    fn key_types(&self) -> Vec<Option<crate::types::MySqlType>> {
        let position = |id: &ColumnId| self.target.table.columns.iter().position(|column| column.id == *id);
        let table = &self.target.table;
        table.key_columns().iter().map(|id| position(id).map(|at| self.target.types[at].clone())).collect()
    }
}

fn target_of<'a>(name: &(Option<String>, String), from: &'a Sources) -> Result<&'a Named> {
    let (database, table) = name;
    from.check_present(table)?;
    let fits = |named: &&Named| {
        same_name(&named.alias, table)
            && database.as_ref().is_none_or(|database| same_name(&named.target.database.name, database))
    };
    from.tables
        .iter()
        .find(fits)
        .ok_or_else(|| Error::new(1109, "42S02", format!("Unknown table '{table}' in MULTI DELETE")))
}
