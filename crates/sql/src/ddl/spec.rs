//! What a CREATE or ALTER TABLE asks for, freed from the parser's tree: columns, keys, constraints and options.
//!
//! Reading the tree refuses what Strandline has not got, and notes what it takes in another meaning. It never looks
//! at the catalog.

use sqlparser::ast::{
    self, ColumnOption, CommentDef, CreateTableOptions, Expr, IndexColumn, IndexOption, ObjectName, ReferentialAction,
    SqlOption, TableConstraint, UnaryOperator, Value,
};

use super::Warning;
use crate::error::{Error, Result};
use crate::walk;

/// A table as asked for.
#[derive(Clone, Debug, Default)]
pub struct TableSpec {
    pub columns: Vec<ColumnSpec>,
    pub keys: Vec<KeySpec>,
    pub foreign_keys: Vec<ForeignKeySpec>,
    pub checks: Vec<CheckSpec>,
    pub options: TableOptions,
}

/// A column as asked for, with the keys and constraints that stood inside its definition.
#[derive(Clone, Debug)]
pub struct ColumnSpec {
    pub name: String,
    pub data_type: ast::DataType,
    /// `None` where neither NULL nor NOT NULL stood.
    pub nullable: Option<bool>,
    pub default: Option<DefaultSpec>,
    /// Fractional digits of `ON UPDATE CURRENT_TIMESTAMP`.
    pub on_update: Option<u8>,
    pub auto_increment: bool,
    pub comment: String,
    /// A character set or collation of this column, for `binary` and for the note on others.
    pub charset: Option<String>,
    pub key: Option<KeyKind>,
    pub foreign_key: Option<ForeignKeySpec>,
    pub checks: Vec<CheckSpec>,
}

impl ColumnSpec {
    /// Makes a column of a declared type, without a default.
    ///
    /// # Errors
    /// 1235 for a type that cannot be stored.
    pub fn plain(name: &str, declared: &str, nullable: bool) -> Result<ColumnSpec> {
        // The declared text reads back through the parser, so that there is one way to a type.
        let dialect = sqlparser::dialect::MySqlDialect {};
        let parsed =
            sqlparser::parser::Parser::new(&dialect).try_with_sql(declared).and_then(|mut p| p.parse_data_type());
        let data_type = parsed.map_err(|_| Error::unsupported(format!("the type {declared}")))?;
        Ok(ColumnSpec {
            name: name.to_owned(),
            data_type,
            nullable: Some(nullable),
            default: None,
            on_update: None,
            auto_increment: false,
            comment: String::new(),
            charset: None,
            key: None,
            foreign_key: None,
            checks: Vec::new(),
        })
    }

    /// Tells whether the type is SERIAL: BIGINT UNSIGNED NOT NULL AUTO_INCREMENT UNIQUE.
    pub fn is_serial(&self) -> bool {
        matches!(&self.data_type, ast::DataType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("serial"))
    }

    /// Returns the key that the column's own definition asks for.
    pub fn own_key(&self) -> Option<KeySpec> {
        let kind = self.key.or(self.is_serial().then_some(KeyKind::Unique))?;
        Some(KeySpec { kind, name: None, columns: vec![(self.name.clone(), None)], comment: String::new() })
    }
}

/// What stood after DEFAULT.
#[derive(Clone, Debug, PartialEq)]
pub enum DefaultSpec {
    Null,
    /// A number, as written with its sign.
    Number(String),
    Text(String),
    /// `x'…'` or `b'…'`
    Bytes(Vec<u8>),
    Bool(bool),
    /// CURRENT_TIMESTAMP with its fractional digits.
    Now(u8),
    /// An expression that stood in brackets, as SQL text without them.
    Expression(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Primary,
    Unique,
    Plain,
}

/// A primary key or index as asked for.
#[derive(Clone, Debug)]
pub struct KeySpec {
    pub kind: KeyKind,
    pub name: Option<String>,
    /// Column names, each with a prefix length in characters if one was given.
    pub columns: Vec<(String, Option<u64>)>,
    pub comment: String,
}

#[derive(Clone, Debug)]
pub struct ForeignKeySpec {
    pub name: Option<String>,
    pub columns: Vec<String>,
    pub parent_database: Option<String>,
    pub parent_table: String,
    pub parent_columns: Vec<String>,
    /// `ON DELETE RESTRICT` and the like, as they are shown; empty for nothing said.
    pub actions: String,
}

#[derive(Clone, Debug)]
pub struct CheckSpec {
    pub name: Option<String>,
    pub expression: String,
}

/// The options after the brackets that mean something here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    pub comment: Option<String>,
    pub auto_increment: Option<u64>,
}

/// Reads CREATE TABLE's columns, constraints and options.
pub fn table_spec(create: &ast::CreateTable, warnings: &mut Vec<Warning>) -> Result<TableSpec> {
    if create.temporary {
        return Err(Error::unsupported("CREATE TEMPORARY TABLE"));
    }
    if create.or_replace {
        return Err(Error::unsupported("CREATE OR REPLACE TABLE"));
    }
    if create.partition_by.is_some() {
        return Err(Error::unsupported("PARTITION BY"));
    }
    let mut spec = TableSpec::default();
    for column in &create.columns {
        spec.columns.push(column_spec(
            &column.name,
            &column.data_type,
            column.options.iter().map(|o| (&o.name, &o.option)),
            warnings,
        )?);
    }
    for constraint in &create.constraints {
        match constraint_spec(constraint)? {
            ConstraintSpec::Key(key) => spec.keys.push(key),
            ConstraintSpec::ForeignKey(key) => spec.foreign_keys.push(key),
            ConstraintSpec::Check(check) => spec.checks.push(check),
        }
    }
    let options: &[SqlOption] = match &create.table_options {
        CreateTableOptions::None => &[],
        CreateTableOptions::Plain(options) => options,
        other => return Err(Error::syntax(format!("You have an error in your SQL syntax near '{other}'"))),
    };
    spec.options = table_options(options, warnings)?;
    if let Some(comment) = &create.comment {
        spec.options.comment = Some(comment_text(comment).to_owned());
    }
    Ok(spec)
}

/// Reads one column definition.
pub fn column_spec<'a>(
    name: &ast::Ident,
    data_type: &ast::DataType,
    options: impl Iterator<Item = (&'a Option<ast::Ident>, &'a ColumnOption)>,
    warnings: &mut Vec<Warning>,
) -> Result<ColumnSpec> {
    let mut spec = ColumnSpec {
        name: name.value.clone(),
        data_type: data_type.clone(),
        nullable: None,
        default: None,
        on_update: None,
        auto_increment: false,
        comment: String::new(),
        charset: None,
        key: None,
        foreign_key: None,
        checks: Vec::new(),
    };
    for (constraint_name, option) in options {
        match option {
            ColumnOption::Null => spec.nullable = Some(true),
            ColumnOption::NotNull => spec.nullable = Some(false),
            ColumnOption::Default(value) => spec.default = Some(default_spec(value)?),
            ColumnOption::OnUpdate(value) => match default_spec(value) {
                Ok(DefaultSpec::Now(digits)) => spec.on_update = Some(digits),
                _ => {
                    return Err(Error::new(
                        1294,
                        "HY000",
                        format!("Invalid ON UPDATE clause for '{}' column", spec.name),
                    ));
                }
            },
            ColumnOption::PrimaryKey(_) => spec.key = Some(KeyKind::Primary),
            ColumnOption::Unique(_) => spec.key = spec.key.or(Some(KeyKind::Unique)),
            ColumnOption::ForeignKey(key) => {
                // MySQL before 9 parses a column's own REFERENCES and forgets it. To keep it is what was asked for.
                let mut key = foreign_key_spec(key)?;
                key.columns = vec![spec.name.clone()];
                key.name = key.name.or_else(|| constraint_name.as_ref().map(|name| name.value.clone()));
                spec.foreign_key = Some(key);
            }
            ColumnOption::Check(check) => {
                let mut check = check_spec(check)?;
                check.name = check.name.or_else(|| constraint_name.as_ref().map(|name| name.value.clone()));
                spec.checks.push(check);
            }
            ColumnOption::Comment(text) => spec.comment = text.clone(),
            ColumnOption::CharacterSet(name) => spec.charset = Some(last_name(name)?.to_lowercase()),
            ColumnOption::Collation(name) => note_collation(Some(&spec.name), &last_name(name)?, warnings),
            ColumnOption::DialectSpecific(tokens) => {
                let text = tokens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ").to_uppercase();
                match text.as_str() {
                    "AUTO_INCREMENT" => spec.auto_increment = true,
                    other => return Err(Error::unsupported(format!("column attribute {other}"))),
                }
            }
            ColumnOption::Generated { .. } => return Err(Error::unsupported("GENERATED columns")),
            ColumnOption::Invisible => return Err(Error::unsupported("INVISIBLE columns")),
            other => return Err(Error::unsupported(format!("column attribute {other}"))),
        }
    }
    if let Some(charset) = &spec.charset
        && charset != "binary"
    {
        note_charset(charset, warnings);
    }
    Ok(spec)
}

/// A table constraint as asked for.
#[derive(Clone, Debug)]
pub enum ConstraintSpec {
    Key(KeySpec),
    ForeignKey(ForeignKeySpec),
    Check(CheckSpec),
}

/// Reads a table constraint or index.
pub fn constraint_spec(constraint: &TableConstraint) -> Result<ConstraintSpec> {
    let key = |kind, name: Option<&ast::Ident>, columns: &[IndexColumn], options: &[IndexOption]| -> Result<_> {
        Ok(ConstraintSpec::Key(KeySpec {
            kind,
            name: name.map(|name| name.value.clone()),
            columns: columns.iter().map(index_column).collect::<Result<_>>()?,
            comment: index_comment(options),
        }))
    };
    match constraint {
        TableConstraint::PrimaryKey(primary) => key(KeyKind::Primary, None, &primary.columns, &primary.index_options),
        TableConstraint::Unique(unique) => {
            let name = unique.index_name.as_ref().or(unique.name.as_ref());
            key(KeyKind::Unique, name, &unique.columns, &unique.index_options)
        }
        TableConstraint::Index(index) => key(KeyKind::Plain, index.name.as_ref(), &index.columns, &index.index_options),
        TableConstraint::ForeignKey(foreign) => Ok(ConstraintSpec::ForeignKey(foreign_key_spec(foreign)?)),
        TableConstraint::Check(check) => Ok(ConstraintSpec::Check(check_spec(check)?)),
        TableConstraint::FulltextOrSpatial(index) => {
            Err(Error::unsupported(if index.fulltext { "FULLTEXT indexes" } else { "SPATIAL indexes" }))
        }
        other => Err(Error::unsupported(other)),
    }
}

/// Reads one column of an index, with its prefix length.
pub fn index_column(column: &IndexColumn) -> Result<(String, Option<u64>)> {
    match &column.column.expr {
        Expr::Identifier(name) => Ok((name.value.clone(), None)),
        // `name(10)` parses as a call.
        Expr::Function(call) => {
            let name = last_name(&call.name)?;
            let length = match &call.args {
                ast::FunctionArguments::List(list) if list.args.len() == 1 => list.args[0].to_string().parse().ok(),
                _ => None,
            };
            match length {
                Some(0) => Err(Error::new(1391, "HY000", format!("Key part '{name}' length cannot be 0"))),
                Some(length) => Ok((name, Some(length))),
                None => Err(Error::unsupported("functional indexes")),
            }
        }
        _ => Err(Error::unsupported("functional indexes")),
    }
}

/// Reads table options. What has no meaning here, because it tunes files that Strandline does not have, is taken
/// without effect: ROW_FORMAT, KEY_BLOCK_SIZE, PACK_KEYS, STATS_*, DELAY_KEY_WRITE, CHECKSUM, MAX_ROWS, MIN_ROWS,
/// AVG_ROW_LENGTH, COMPRESSION, INSERT_METHOD, AUTOEXTEND_SIZE, START TRANSACTION, PASSWORD, PAGE_CHECKSUM,
/// TRANSACTIONAL and ENGINE_ATTRIBUTE.
pub fn table_options(options: &[SqlOption], warnings: &mut Vec<Warning>) -> Result<TableOptions> {
    let mut read = TableOptions::default();
    for option in options {
        match option {
            SqlOption::Comment(comment) => read.comment = Some(comment_text(comment).to_owned()),
            SqlOption::NamedParenthesizedList(list) if list.key.value.eq_ignore_ascii_case("engine") => {
                if let Some(name) = &list.name {
                    note_engine(&name.value, warnings);
                }
            }
            SqlOption::KeyValue { key, value } => table_option(&key.value, &plain_text(value), &mut read, warnings)?,
            SqlOption::Ident(name) => table_option(&name.value, "", &mut read, warnings)?,
            other => return Err(Error::unsupported(format!("table option {other}"))),
        }
    }
    Ok(read)
}

/// Takes one table option by name.
pub fn table_option(name: &str, value: &str, read: &mut TableOptions, warnings: &mut Vec<Warning>) -> Result<()> {
    let name = name.to_uppercase().replace(' ', "_");
    match name.strip_prefix("DEFAULT_").unwrap_or(&name) {
        "COMMENT" => read.comment = Some(value.to_owned()),
        "AUTO_INCREMENT" => {
            let number = value.parse().map_err(|_| Error::syntax(format!("AUTO_INCREMENT={value} is not a number")))?;
            read.auto_increment = Some(number);
        }
        "ENGINE" => note_engine(value, warnings),
        "CHARSET" | "CHARACTER_SET" => note_charset(value, warnings),
        "COLLATE" => note_collation(None, value, warnings),
        "ROW_FORMAT"
        | "KEY_BLOCK_SIZE"
        | "PACK_KEYS"
        | "STATS_AUTO_RECALC"
        | "STATS_PERSISTENT"
        | "STATS_SAMPLE_PAGES"
        | "DELAY_KEY_WRITE"
        | "CHECKSUM"
        | "MAX_ROWS"
        | "MIN_ROWS"
        | "AVG_ROW_LENGTH"
        | "COMPRESSION"
        | "INSERT_METHOD"
        | "AUTOEXTEND_SIZE"
        | "START_TRANSACTION"
        | "PASSWORD"
        | "PAGE_CHECKSUM"
        | "TRANSACTIONAL"
        | "ENGINE_ATTRIBUTE"
        | "SECONDARY_ENGINE_ATTRIBUTE" => {}
        other => return Err(Error::unsupported(format!("table option {other}"))),
    }
    Ok(())
}

/// Reads an object's name as database (if given) and name.
pub fn object_name(name: &ObjectName) -> Result<(Option<String>, String)> {
    let parts: Vec<&str> = name.0.iter().filter_map(|part| part.as_ident().map(|ident| ident.value.as_str())).collect();
    match parts.as_slice() {
        [name] => Ok((None, (*name).to_owned())),
        [database, name] => Ok((Some((*database).to_owned()), (*name).to_owned())),
        _ => Err(Error::syntax(format!("You have an error in your SQL syntax near '{name}'"))),
    }
}

fn last_name(name: &ObjectName) -> Result<String> {
    object_name(name).map(|(_, name)| name)
}

/// Reads what stood after DEFAULT (or ON UPDATE).
pub fn default_spec(value: &Expr) -> Result<DefaultSpec> {
    Ok(match value {
        Expr::Value(value) => match &value.value {
            Value::Null => DefaultSpec::Null,
            Value::Boolean(truth) => DefaultSpec::Bool(*truth),
            Value::Number(digits, _) => DefaultSpec::Number(digits.clone()),
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) | Value::NationalStringLiteral(text) => {
                DefaultSpec::Text(text.clone())
            }
            Value::HexStringLiteral(digits) => DefaultSpec::Bytes(hex(digits)?),
            Value::SingleQuotedByteStringLiteral(bits) => DefaultSpec::Bytes(bits_to_bytes(bits)?),
            other => return Err(Error::unsupported(format!("DEFAULT {other}"))),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match default_spec(expr)? {
            DefaultSpec::Number(digits) => DefaultSpec::Number(format!("-{digits}")),
            _ => return Err(bracketless(value)),
        },
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => default_spec(expr)?,
        Expr::Prefixed { value, .. } => default_spec(value)?,
        Expr::Nested(inner) => DefaultSpec::Expression(expression_text(inner)),
        Expr::Function(call) => {
            let digits = match &call.args {
                ast::FunctionArguments::None => Some(0),
                ast::FunctionArguments::List(list) => match list.args.as_slice() {
                    [] => Some(0),
                    [digits] => digits.to_string().parse().ok(),
                    _ => None,
                },
                ast::FunctionArguments::Subquery(_) => None,
            };
            let name = last_name(&call.name)?.to_uppercase();
            match (name.as_str(), digits) {
                ("CURRENT_TIMESTAMP" | "NOW" | "LOCALTIME" | "LOCALTIMESTAMP", Some(digits)) => {
                    DefaultSpec::Now(digits)
                }
                _ => return Err(bracketless(value)),
            }
        }
        Expr::Identifier(name) if name.value.eq_ignore_ascii_case("current_timestamp") => DefaultSpec::Now(0),
        _ => return Err(bracketless(value)),
    })
}

/// Prints an expression so that it parses back: the library's printer leaves backslashes in texts as they are, which
/// MySQL would read as escapes.
pub fn expression_text(expr: &Expr) -> String {
    let mut expr = expr.clone();
    let _ = walk::expressions_mut(&mut expr, |expr| {
        if let Expr::Value(value) = expr
            && let Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) = &mut value.value
        {
            *text = text.replace('\\', "\\\\");
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    expr.to_string()
}

fn bracketless(value: &Expr) -> Error {
    Error::syntax(format!("A default that is an expression needs brackets: DEFAULT ({value})"))
}

fn foreign_key_spec(key: &ast::ForeignKeyConstraint) -> Result<ForeignKeySpec> {
    let (parent_database, parent_table) = object_name(&key.foreign_table)?;
    let mut actions = Vec::new();
    for (event, action) in [("DELETE", key.on_delete), ("UPDATE", key.on_update)] {
        match action {
            None => {}
            Some(action @ (ReferentialAction::Restrict | ReferentialAction::NoAction)) => {
                actions.push(format!("ON {event} {action}"));
            }
            Some(action) => return Err(Error::unsupported(format!("FOREIGN KEY ... ON {event} {action}"))),
        }
    }
    let names = |idents: &[ast::Ident]| idents.iter().map(|ident| ident.value.clone()).collect();
    Ok(ForeignKeySpec {
        name: key.name.as_ref().or(key.index_name.as_ref()).map(|name| name.value.clone()),
        columns: names(&key.columns),
        parent_database,
        parent_table,
        parent_columns: names(&key.referred_columns),
        actions: actions.join(" "),
    })
}

fn check_spec(check: &ast::CheckConstraint) -> Result<CheckSpec> {
    if check.enforced == Some(false) {
        return Err(Error::unsupported("CHECK ... NOT ENFORCED"));
    }
    let name = check.name.as_ref().map(|name| name.value.clone());
    Ok(CheckSpec { name, expression: expression_text(&check.expr) })
}

fn index_comment(options: &[IndexOption]) -> String {
    let comment = options.iter().find_map(|option| match option {
        IndexOption::Comment(text) => Some(text.clone()),
        IndexOption::Using(_) => None,
    });
    comment.unwrap_or_default()
}

fn comment_text(comment: &CommentDef) -> &str {
    match comment {
        CommentDef::WithEq(text) | CommentDef::WithoutEq(text) => text,
    }
}

/// Returns an option's value without quotes.
fn plain_text(value: &Expr) -> String {
    match value {
        Expr::Identifier(name) => name.value.clone(),
        Expr::Value(value) => value.value.clone().into_string().unwrap_or_else(|| value.to_string()),
        other => other.to_string(),
    }
}

fn note_engine(name: &str, warnings: &mut Vec<Warning>) {
    if !name.eq_ignore_ascii_case("innodb") {
        let message = format!("Using storage engine InnoDB for this table: Strandline has no engine '{name}'");
        warnings.push(Warning::warning(1266, message));
    }
}

/// Notes a character set that is not ours. Text is always kept as UTF-8.
pub(super) fn note_charset(name: &str, warnings: &mut Vec<Warning>) {
    let ours = ["utf8mb4", "utf8", "utf8mb3", "binary", "ascii", "us-ascii", "default"];
    if !ours.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        note(warnings, format!("Character set '{name}' is taken as utf8mb4: Strandline keeps all text as UTF-8"));
    }
}

/// Warns of a collation that compares otherwise than ours, for a column or for all that have none of their own.
pub(super) fn note_collation(column: Option<&str>, name: &str, warnings: &mut Vec<Warning>) {
    let ours = ["utf8mb4_bin", "utf8mb4_0900_bin", "utf8_bin", "utf8mb3_bin", "binary", "ascii_bin", "default"];
    if ours.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return;
    }
    let whose = column.map_or(String::new(), |column| format!(" of column '{column}'"));
    let message = format!(
        "Collation '{name}'{whose} is taken as utf8mb4_bin: text compares by its bytes, so that case, accents and spaces \
         at the end matter"
    );
    let warning = Warning::warning(1235, message);
    if !warnings.contains(&warning) {
        warnings.push(warning);
    }
}

/// Adds a note once: a dump names the same collation on every column.
fn note(warnings: &mut Vec<Warning>, message: String) {
    let note = Warning::note(1235, message);
    if !warnings.contains(&note) {
        warnings.push(note);
    }
}

fn hex(digits: &str) -> Result<Vec<u8>> {
    let padded = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
    let bytes =
        (0..padded.len()).step_by(2).map(|at| padded.get(at..at + 2).and_then(|p| u8::from_str_radix(p, 16).ok()));
    bytes.collect::<Option<_>>().ok_or_else(|| Error::syntax(format!("x'{digits}' is not hexadecimal")))
}

fn bits_to_bytes(bits: &str) -> Result<Vec<u8>> {
    let value = u64::from_str_radix(bits, 2).map_err(|_| Error::syntax(format!("b'{bits}' is not a bit string")))?;
    let bytes = value.to_be_bytes();
    let width = bits.len().div_ceil(8).clamp(1, 8);
    Ok(bytes[8 - width..].to_vec())
}
