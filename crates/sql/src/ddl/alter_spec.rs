//! What an ALTER TABLE asks for, freed from the parser's tree. It never looks at the catalog.

use sqlparser::ast::{AlterColumnOperation, AlterTableOperation, MySQLColumnPosition, RenameTableNameKind};

use super::spec::{
    CheckSpec, ColumnSpec, ConstraintSpec, DefaultSpec, ForeignKeySpec, KeySpec, TableOptions, column_spec,
    constraint_spec, default_spec, note_charset, note_collation, object_name, table_option,
};
use crate::error::{Error, Result};
use crate::parse::{AlterOperation, AlterTable, TableName};
use crate::warning::Warning;

/// An ALTER TABLE as asked for.
#[derive(Clone, Debug)]
pub struct AlterSpec {
    pub database: Option<String>,
    pub table: String,
    pub if_exists: bool,
    pub alterations: Vec<Alteration>,
}

/// One alteration.
#[derive(Clone, Debug)]
pub enum Alteration {
    AddColumn {
        column: ColumnSpec,
        position: Option<Position>,
        if_not_exists: bool,
    },
    DropColumn {
        name: String,
        if_exists: bool,
    },
    /// CHANGE, and MODIFY with the same name twice.
    ChangeColumn {
        old: String,
        column: ColumnSpec,
        position: Option<Position>,
    },
    RenameColumn {
        old: String,
        new: String,
    },
    /// `None` drops the default.
    SetDefault {
        column: String,
        default: Option<DefaultSpec>,
    },
    AddKey(KeySpec),
    AddForeignKey(ForeignKeySpec),
    AddCheck(CheckSpec),
    DropKey {
        name: String,
        if_exists: bool,
    },
    DropPrimaryKey,
    DropForeignKey {
        name: String,
        if_exists: bool,
    },
    DropCheck {
        name: String,
    },
    /// A foreign key, check, unique key or (as PRIMARY) the primary key.
    DropConstraint {
        name: String,
    },
    RenameIndex {
        old: String,
        new: String,
    },
    RenameTable {
        database: Option<String>,
        name: String,
    },
    Options(TableOptions),
    /// ALGORITHM, LOCK, FORCE, ENABLE and DISABLE KEYS: advice on how, which changes nothing that can be seen.
    Nothing,
}

/// Where a column goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    First,
    After(String),
}

/// Reads ALTER TABLE.
pub fn alter_spec(alter: &AlterTable, warnings: &mut Vec<Warning>) -> Result<AlterSpec> {
    let mut alterations = Vec::new();
    for operation in &alter.operations {
        read_operation(operation, &mut alterations, warnings)?;
    }
    let TableName { database, name } = alter.table.clone();
    Ok(AlterSpec { database, table: name, if_exists: alter.if_exists, alterations })
}

fn read_operation(
    operation: &AlterOperation,
    alterations: &mut Vec<Alteration>,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    let charsets = |charset: &Option<String>, collate: &Option<String>, warnings: &mut Vec<Warning>| {
        if let Some(charset) = charset {
            note_charset(charset, warnings);
        }
        if let Some(collate) = collate {
            note_collation(None, collate, warnings);
        }
    };
    alterations.push(match operation {
        AlterOperation::Sql(operation) => return read_sql_operation(operation, alterations, warnings),
        AlterOperation::RenameIndex { from, to } => Alteration::RenameIndex { old: from.clone(), new: to.clone() },
        AlterOperation::DropIndex { name, if_exists } => {
            Alteration::DropKey { name: name.clone(), if_exists: *if_exists }
        }
        AlterOperation::DropForeignKey { name, if_exists } => {
            Alteration::DropForeignKey { name: name.clone(), if_exists: *if_exists }
        }
        AlterOperation::DropPrimaryKey => Alteration::DropPrimaryKey,
        AlterOperation::DropCheck { name } => Alteration::DropCheck { name: name.clone() },
        AlterOperation::Comment(text) => {
            Alteration::Options(TableOptions { comment: Some(text.clone()), auto_increment: None })
        }
        AlterOperation::Engine(name) => {
            table_option("ENGINE", name, &mut TableOptions::default(), warnings)?;
            Alteration::Nothing
        }
        AlterOperation::AutoIncrement(next) => {
            Alteration::Options(TableOptions { comment: None, auto_increment: Some(*next) })
        }
        AlterOperation::DefaultCharset { charset, collate } | AlterOperation::ConvertTo { charset, collate } => {
            charsets(charset, collate, warnings);
            Alteration::Nothing
        }
        AlterOperation::RenameTo(name) => {
            Alteration::RenameTable { database: name.database.clone(), name: name.name.clone() }
        }
        AlterOperation::Layout(_) => Alteration::Nothing,
    });
    Ok(())
}

fn added(constraint: ConstraintSpec) -> Alteration {
    match constraint {
        ConstraintSpec::Key(key) => Alteration::AddKey(key),
        ConstraintSpec::ForeignKey(key) => Alteration::AddForeignKey(key),
        ConstraintSpec::Check(check) => Alteration::AddCheck(check),
    }
}

fn read_sql_operation(
    operation: &AlterTableOperation,
    alterations: &mut Vec<Alteration>,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    let position = |position: &Option<MySQLColumnPosition>| {
        position.as_ref().map(|position| match position {
            MySQLColumnPosition::First => Position::First,
            MySQLColumnPosition::After(name) => Position::After(name.value.clone()),
        })
    };
    alterations.push(match operation {
        AlterTableOperation::AddColumn { column_def, if_not_exists, column_position, .. } => {
            let options = column_def.options.iter().map(|option| (&option.name, &option.option));
            let column = column_spec(&column_def.name, &column_def.data_type, options, warnings)?;
            Alteration::AddColumn { column, position: position(column_position), if_not_exists: *if_not_exists }
        }
        AlterTableOperation::DropColumn { column_names, if_exists, .. } => {
            let drops = column_names.iter().map(|name| (name.value.clone(), *if_exists));
            alterations.extend(drops.map(|(name, if_exists)| Alteration::DropColumn { name, if_exists }));
            return Ok(());
        }
        AlterTableOperation::ChangeColumn { old_name, new_name, data_type, options, column_position } => {
            let column = column_spec(new_name, data_type, options.iter().map(|option| (&None, option)), warnings)?;
            Alteration::ChangeColumn { old: old_name.value.clone(), column, position: position(column_position) }
        }
        AlterTableOperation::ModifyColumn { col_name, data_type, options, column_position } => {
            let column = column_spec(col_name, data_type, options.iter().map(|option| (&None, option)), warnings)?;
            Alteration::ChangeColumn { old: col_name.value.clone(), column, position: position(column_position) }
        }
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            Alteration::RenameColumn { old: old_column_name.value.clone(), new: new_column_name.value.clone() }
        }
        AlterTableOperation::AlterColumn { column_name, op } => {
            let default = match op {
                AlterColumnOperation::SetDefault { value } => Some(default_spec(value)?),
                AlterColumnOperation::DropDefault => None,
                other => return Err(Error::unsupported(format!("ALTER COLUMN {other}"))),
            };
            Alteration::SetDefault { column: column_name.value.clone(), default }
        }
        AlterTableOperation::AddConstraint { constraint, .. } => added(constraint_spec(constraint)?),
        AlterTableOperation::DropConstraint { name, .. } => Alteration::DropConstraint { name: name.value.clone() },
        AlterTableOperation::DropPrimaryKey { .. } => Alteration::DropPrimaryKey,
        AlterTableOperation::DropForeignKey { name, .. } => {
            Alteration::DropForeignKey { name: name.value.clone(), if_exists: false }
        }
        AlterTableOperation::DropIndex { name } => Alteration::DropKey { name: name.value.clone(), if_exists: false },
        AlterTableOperation::RenameTable { table_name } => {
            let (RenameTableNameKind::As(name) | RenameTableNameKind::To(name)) = table_name;
            let (database, name) = object_name(name)?;
            Alteration::RenameTable { database, name }
        }
        AlterTableOperation::AutoIncrement { value, .. } => {
            let mut options = TableOptions::default();
            table_option("AUTO_INCREMENT", &value.to_string(), &mut options, warnings)?;
            Alteration::Options(options)
        }
        AlterTableOperation::Algorithm { .. } | AlterTableOperation::Lock { .. } => Alteration::Nothing,
        other => return Err(Error::unsupported(format!("ALTER TABLE ... {other}"))),
    });
    Ok(())
}
