//! Columns and CHECK constraints of a definition.

use strandline_core::ids::ColumnId;
use strandline_core::schema::{Column, Table, Type, same_name};

use super::attributes::{self, Check};
use super::check_name;
use super::defaults::{self, Clock, Given};
use super::spec::{CheckSpec, ColumnSpec, DefaultSpec, KeyKind};
use crate::create_text::base_type;
use crate::error::{Error, Result};
use crate::types::MySqlType;

/// A column, and the value that rows get which were there before it.
pub struct BuiltColumn {
    pub column: Column,
    pub given: Given,
    /// Neither DEFAULT nor NULL was said, so older rows have only the type's own zero.
    pub implicit: bool,
}

/// Refuses what cannot be the name of a column.
pub fn check_column_name(name: &str) -> Result<()> {
    check_name(name, 1166, "column")?;
    let lower = name.to_lowercase();
    if lower.starts_with("_row_id") || lower == "_version" {
        return Err(Error::new(1166, "42000", format!("Incorrect column name '{name}': the name is the store's own")));
    }
    Ok(())
}

/// Makes a column of its specification.
pub fn build(spec: &ColumnSpec, id: ColumnId, clock: Clock<'_>) -> Result<BuiltColumn> {
    let name = &spec.name;
    check_column_name(name)?;
    let serial = spec.is_serial();
    let ty = with_charset(MySqlType::from_ast(&spec.data_type)?, spec.charset.as_deref());
    let declared = ty.to_string();
    let storage = ty.storage();
    let auto_increment = spec.auto_increment || serial;
    let nullable = spec.nullable.unwrap_or(true) && spec.key != Some(KeyKind::Primary) && !auto_increment;
    if auto_increment && (!is_number(storage) || base_type(&declared) == "bit") {
        return Err(Error::new(1063, "42000", format!("Incorrect column specifier for column '{name}'")));
    }
    if auto_increment && spec.default.is_some() && spec.default != Some(DefaultSpec::Null) {
        return Err(Error::new(1067, "42000", format!("Invalid default value for '{name}'")));
    }
    let resolved = match &spec.default {
        Some(_) if auto_increment => None,
        Some(default) => Some(defaults::resolve(name, storage, &declared, nullable, default, clock)?),
        None => None,
    };
    if let Some(digits) = spec.on_update
        && (!matches!(base_type(&declared), "datetime" | "timestamp") || digits != defaults::fraction_digits(&declared))
    {
        return Err(Error::new(1294, "HY000", format!("Invalid ON UPDATE clause for '{name}' column")));
    }
    if spec.comment.chars().count() > 1024 {
        return Err(Error::new(1629, "HY000", format!("Comment for field '{name}' is too long (max = 1024)")));
    }
    let implicit = resolved.is_none() && !nullable;
    let (default, given) = resolved.map_or((None, Given::Null), |resolved| (resolved.text, resolved.value));
    let column = Column {
        id,
        name: name.clone(),
        ty: storage,
        nullable,
        declared,
        default,
        initial: None,
        auto_increment,
        on_update: spec.on_update.map(defaults::now_text),
        comment: spec.comment.clone(),
    };
    Ok(BuiltColumn { column, given, implicit })
}

/// Adds a CHECK constraint under its name or the next free one.
pub fn add_check(table: &mut Table, spec: &CheckSpec) -> Result<Check> {
    let taken = attributes::checks(table);
    let is_taken = |name: &str| taken.iter().any(|check| same_name(&check.name, name));
    let name = match &spec.name {
        Some(name) if is_taken(name) => {
            return Err(Error::new(3822, "HY000", format!("Duplicate check constraint name '{name}'.")));
        }
        Some(name) => {
            check_name(name, 1280, "index")?;
            name.clone()
        }
        None => {
            (1..).map(|number| format!("{}_chk_{number}", table.name)).find(|name| !is_taken(name)).unwrap_or_default()
        }
    };
    let check = Check { name, expression: spec.expression.clone() };
    attributes::put_check(table, &check);
    Ok(check)
}

/// Makes a binary type of a text type whose character set is `binary`, as MySQL does.
fn with_charset(ty: MySqlType, charset: Option<&str>) -> MySqlType {
    if charset != Some("binary") {
        return ty;
    }
    match ty {
        MySqlType::Char(length) => MySqlType::Binary(length),
        MySqlType::VarChar(length) => MySqlType::VarBinary(length),
        MySqlType::TinyText => MySqlType::TinyBlob,
        MySqlType::Text => MySqlType::Blob,
        MySqlType::MediumText => MySqlType::MediumBlob,
        MySqlType::LongText => MySqlType::LongBlob,
        other => other,
    }
}

fn is_number(ty: Type) -> bool {
    use Type::{Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
    matches!(ty, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64)
}
