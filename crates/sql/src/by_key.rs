//! Which keys a WHERE admits: a table is then read by key, however large it is and however much of it changed.
//!
//! What is found here only narrows what is read; the condition itself stays in the plan and decides. So a part of it that
//! is not understood costs time and nothing else.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, Int8Array, Int16Array, Int32Array, Int64Array, StringArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow::compute::concat;
use sqlparser::ast::{
    BinaryOperator, Expr, Query, Select, SetExpr, TableFactor, UnaryOperator, Value as Literal, ValueWithSpan,
};
use strandline_core::cold::{Keys, encode_keys};
use strandline_core::schema::{Column, Table, Type, same_name};

use crate::parse;
use crate::types::MySqlType;

/// More keys than these are found by reading the table.
const KEYS_MAX: usize = 1000;

/// A constant of a statement, from its text or from a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant<'a> {
    Number(i128),
    Text(&'a [u8]),
    /// NULL, a fraction, a time: for the planner.
    Other,
}

/// The only table of a SELECT.
pub struct OnlyTable {
    pub database: Option<String>,
    pub name: String,
    /// What it is called in the statement.
    pub called: String,
    /// It is read at a moment that the statement names.
    pub past: bool,
}

/// Returns the table of a SELECT that has one, by itself.
pub fn only_table(select: &Select) -> Option<OnlyTable> {
    let [from] = select.from.as_slice() else { return None };
    if !from.joins.is_empty() {
        return None;
    }
    let TableFactor::Table { name, alias, args: None, version, partitions, sample: None, .. } = &from.relation else {
        return None;
    };
    if !partitions.is_empty() || alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
        return None;
    }
    let mut parts = parse::name_parts(name);
    let name = parts.pop()?;
    let database = parts.pop();
    let called = alias.as_ref().map_or_else(|| name.clone(), |alias| alias.name.value.clone());
    parts.is_empty().then_some(OnlyTable { database, name, called, past: version.is_some() })
}

/// What a query's WHERE says must be among some constants: columns, by name.
pub struct Equals(Vec<(String, Vec<(bool, Literal)>)>);

impl Equals {
    /// Reads a query of one table whose parameters are bound. `None` where it says nothing of the kind.
    pub fn of(query: &Query) -> Option<Equals> {
        let SetExpr::Select(select) = query.body.as_ref() else { return None };
        let only = only_table(select)?;
        let mut equals = Vec::new();
        conjunction(select.selection.as_ref()?, &only.called, literal, &mut equals);
        let equals: Vec<_> = equals.into_iter().map(|(name, constants)| (name.to_owned(), constants)).collect();
        (!equals.is_empty()).then_some(Equals(equals))
    }

    /// Returns the keys that the rows of `table` must have one of, if its whole primary key is said.
    pub fn keys(&self, table: &Table) -> Option<Keys> {
        if table.primary_key.is_empty() {
            return None;
        }
        let mut columns = Vec::with_capacity(table.primary_key.len());
        for id in &table.primary_key {
            let column = table.column_by_id(*id)?;
            let ty = comparable(column)?;
            let (_, constants) = self.0.iter().find(|(name, _)| same_name(name, &column.name))?;
            let arrays = constants.iter().map(|(negative, literal)| array(ty, &constant(*negative, literal)));
            let arrays = arrays.collect::<Option<Vec<_>>>()?;
            columns.push(concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>()).ok()?);
        }
        // Of several columns, each says one value.
        let is_one = columns.iter().all(|column| column.len() == 1);
        if columns.len() > 1 && !is_one {
            return None;
        }
        encode_keys(&columns).ok()
    }
}

/// Collects what `column = constant` and `column IN (constants)` say that must all hold: columns, by name, and what
/// `read` makes of their constants. Returns whether the condition says nothing else.
pub fn conjunction<'a, C>(
    expr: &'a Expr,
    called: &str,
    read: fn(&Expr) -> Option<C>,
    equals: &mut Vec<(&'a str, Vec<C>)>,
) -> bool {
    let said = match expr {
        Expr::Nested(inner) => return conjunction(inner, called, read, equals),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let is_left = conjunction(left, called, read, equals);
            return conjunction(right, called, read, equals) && is_left;
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => [(left, right), (right, left)]
            .into_iter()
            .find_map(|(column, constant)| Some((column_name(column, called)?, vec![read(constant)?]))),
        Expr::InList { expr, list, negated: false } if list.len() <= KEYS_MAX => {
            column_name(expr, called).zip(list.iter().map(read).collect())
        }
        _ => None,
    };
    let is_said = said.is_some();
    equals.extend(said);
    is_said
}

/// Returns the name of a column of the table that is called so in the statement.
pub fn column_name<'a>(expr: &'a Expr, called: &str) -> Option<&'a str> {
    match expr {
        Expr::Identifier(ident) => Some(&ident.value),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, column] if same_name(&table.value, called) => Some(&column.value),
            _ => None,
        },
        _ => None,
    }
}

/// Returns a constant, and whether a minus stands before it.
fn literal(expr: &Expr) -> Option<(bool, Literal)> {
    match expr {
        Expr::Nested(inner) => literal(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(ValueWithSpan { value: value @ Literal::Number(..), .. }) => Some((true, value.clone())),
            _ => None,
        },
        Expr::Value(value) => Some((false, value.value.clone())),
        _ => None,
    }
}

fn constant(negative: bool, literal: &Literal) -> Constant<'_> {
    match literal {
        Literal::Number(text, _) => match text.parse::<i128>() {
            Ok(number) => Constant::Number(if negative { -number } else { number }),
            Err(_) => Constant::Other,
        },
        Literal::SingleQuotedString(text) => Constant::Text(text.as_bytes()),
        _ => Constant::Other,
    }
}

/// Returns the storage type of a column whose values are compared as they are stored; where comparing is more than that,
/// the planner knows better.
pub fn comparable(column: &Column) -> Option<Type> {
    let ty = MySqlType::parse(&column.declared).ok()?;
    let is_comparable = match ty.storage() {
        Type::Text => matches!(ty, MySqlType::VarChar(_) | MySqlType::Char(_)),
        Type::Bytes => matches!(ty, MySqlType::VarBinary(_)),
        Type::Int8 | Type::Int16 | Type::Int32 | Type::Int64 => true,
        Type::UInt8 | Type::UInt16 | Type::UInt32 | Type::UInt64 => !matches!(ty, MySqlType::Bit(_) | MySqlType::Year),
        _ => false,
    };
    is_comparable.then(|| ty.storage())
}

/// Returns a key column that holds a constant; `None` where comparing is the planner's affair.
pub fn array(ty: Type, constant: &Constant<'_>) -> Option<ArrayRef> {
    Some(match (ty, constant) {
        (Type::Int8, Constant::Number(n)) => Arc::new(Int8Array::from(vec![i8::try_from(*n).ok()?])),
        (Type::Int16, Constant::Number(n)) => Arc::new(Int16Array::from(vec![i16::try_from(*n).ok()?])),
        (Type::Int32, Constant::Number(n)) => Arc::new(Int32Array::from(vec![i32::try_from(*n).ok()?])),
        (Type::Int64, Constant::Number(n)) => Arc::new(Int64Array::from(vec![i64::try_from(*n).ok()?])),
        (Type::UInt8, Constant::Number(n)) => Arc::new(UInt8Array::from(vec![u8::try_from(*n).ok()?])),
        (Type::UInt16, Constant::Number(n)) => Arc::new(UInt16Array::from(vec![u16::try_from(*n).ok()?])),
        (Type::UInt32, Constant::Number(n)) => Arc::new(UInt32Array::from(vec![u32::try_from(*n).ok()?])),
        (Type::UInt64, Constant::Number(n)) => Arc::new(UInt64Array::from(vec![u64::try_from(*n).ok()?])),
        (Type::Text, Constant::Text(text)) => Arc::new(StringArray::from(vec![std::str::from_utf8(text).ok()?])),
        (Type::Bytes, Constant::Text(bytes)) => Arc::new(BinaryArray::from(vec![*bytes])),
        _ => return None,
    })
}
