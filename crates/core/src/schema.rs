//! What a table looks like: columns with stable ids, keys, indexes and foreign keys.
//!
//! The core knows how values are stored (`Type`) and nothing of MySQL's types: the declared type stands beside
//! each column as text for the SQL layer. Schemas are versioned like rows: a definition is never changed, a new
//! one takes its place.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::grants::Grants;
use crate::ids::{AccountId, ColumnId, DatabaseId, TableId, UserId};

/// Returns the form in which names are compared: of accounts, databases, tables, columns, keys and snapshots alike.
pub fn fold(name: &str) -> String {
    name.to_lowercase()
}

/// Tells whether two names are the same: compared without case, as [`fold`] has it.
pub fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!(a.is_ascii() && b.is_ascii()) && fold(a) == fold(b))
}

/// How a value is stored in deltas and parts. A closed set: the file formats name these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    /// Precision 1 to 38, scale 0 to 38.
    Decimal(u8, i8),
    /// UTF-8 text.
    Text,
    Bytes,
    /// Days since 1970-01-01.
    Date,
    /// A signed duration in microseconds: MySQL's TIME, which reaches beyond a day.
    Duration,
    /// Microseconds since 1970-01-01 00:00:00, of whatever zone the column means.
    DateTime,
}

impl Type {
    /// Returns the Arrow type that holds such values.
    pub fn arrow(self) -> DataType {
        match self {
            Type::Bool => DataType::Boolean,
            Type::Int8 => DataType::Int8,
            Type::Int16 => DataType::Int16,
            Type::Int32 => DataType::Int32,
            Type::Int64 => DataType::Int64,
            Type::UInt8 => DataType::UInt8,
            Type::UInt16 => DataType::UInt16,
            Type::UInt32 => DataType::UInt32,
            Type::UInt64 => DataType::UInt64,
            Type::Float32 => DataType::Float32,
            Type::Float64 => DataType::Float64,
            Type::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
            Type::Text => DataType::Utf8,
            Type::Bytes => DataType::Binary,
            Type::Date => DataType::Date32,
            Type::Duration => DataType::Duration(TimeUnit::Microsecond),
            Type::DateTime => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

/// A column of a table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Column {
    pub id: ColumnId,
    /// The name as declared. Names compare without case.
    pub name: String,
    pub ty: Type,
    pub nullable: bool,
    /// The declared type as the SQL layer spells it, such as `varchar(20)`. The core never reads it.
    pub declared: String,
    /// The default as SQL text. The core never reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The value of rows that were written before the column existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<Initial>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_increment: bool,
    /// `ON UPDATE` as SQL text. The core never reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_update: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// A constant of a column's type, in a form that can be stored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    /// The unscaled value of a decimal, as text (JSON has no 128-bit numbers).
    Decimal(String),
    Text(String),
    Bytes(Vec<u8>),
}

/// A secondary index. A unique one is enforced; another is a promise kept by sorting and statistics.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Index {
    pub name: String,
    pub columns: Vec<ColumnId>,
    pub unique: bool,
}

/// A foreign key. The parent is named, not numbered: a clone of a whole database then refers to itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ForeignKey {
    pub name: String,
    pub columns: Vec<ColumnId>,
    /// The parent's database, if it is not the table's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_database: Option<String>,
    pub parent_table: String,
    /// Names of the parent's columns.
    pub parent_columns: Vec<String>,
    /// The declared actions as SQL text, empty for RESTRICT.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actions: String,
}

/// A table or view as of some versions.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Table {
    pub id: TableId,
    pub database: DatabaseId,
    pub name: String,
    pub columns: Vec<Column>,
    /// The columns of the primary key; empty where the hidden `_row_id` is the key.
    pub primary_key: Vec<ColumnId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_keys: Vec<ForeignKey>,
    /// The source text of a view's SELECT. A view has no content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Attributes that only the SQL layer reads (`check` clauses, options), as its own text by name.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub options: std::collections::BTreeMap<String, String>,
    /// The next free column id.
    pub next_column: ColumnId,
}

impl Table {
    /// Returns the column of this name, compared without case.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| same_name(&column.name, name))
    }

    pub fn column_by_id(&self, id: ColumnId) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    pub fn is_view(&self) -> bool {
        self.view.is_some()
    }

    /// Tells whether rows are identified by the hidden `_row_id`.
    pub fn has_row_id(&self) -> bool {
        self.primary_key.is_empty()
    }

    /// Returns the ids of the columns that identify a row through time.
    pub fn key_columns(&self) -> Vec<ColumnId> {
        if self.has_row_id() { vec![ColumnId::ROW_ID] } else { self.primary_key.clone() }
    }

    /// Returns the schema of this table's rows in deltas and parts, under physical names (`c1`, `c2`, …), with
    /// `_row_id` last where it is the key. `_version` is not part of it.
    pub fn physical_schema(&self) -> SchemaRef {
        let mut fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| Field::new(column.id.physical_name(), column.ty.arrow(), column.nullable))
            .collect();
        if self.has_row_id() {
            fields.push(Field::new(ColumnId::ROW_ID.physical_name(), DataType::UInt64, false));
        }
        Arc::new(Schema::new(fields))
    }

    /// Returns the schema of this table's keys under physical names, in key order.
    pub fn key_schema(&self) -> SchemaRef {
        let schema = self.physical_schema();
        let fields: Vec<Field> = self
            .key_columns()
            .iter()
            .map(|id| {
                let field = schema.field_with_name(&id.physical_name()).expect("key columns are columns of the table");
                field.clone().with_nullable(false)
            })
            .collect();
        Arc::new(Schema::new(fields))
    }
}

/// A database.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Database {
    pub id: DatabaseId,
    pub account: AccountId,
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// An account (tenant).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
}

/// A user of one account.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub account: AccountId,
    pub name: String,
    /// Password verifiers, by authentication plugin. Never the password.
    pub verifiers: std::collections::BTreeMap<String, String>,
    /// What the user may do. A role is a user that cannot log in.
    #[serde(default = "Grants::everything", skip_serializing_if = "Grants::is_everything")]
    pub grants: Grants,
}

/// One of each type, for tests.
#[cfg(test)]
pub(crate) fn every_type() -> Vec<Type> {
    vec![
        Type::Bool,
        Type::Int8,
        Type::Int16,
        Type::Int32,
        Type::Int64,
        Type::UInt8,
        Type::UInt16,
        Type::UInt32,
        Type::UInt64,
        Type::Float32,
        Type::Float64,
        Type::Decimal(9, 2),
        Type::Decimal(18, 0),
        Type::Decimal(38, 10),
        Type::Text,
        Type::Bytes,
        Type::Date,
        Type::Duration,
        Type::DateTime,
    ]
}
