//! Each line of `expectations.txt` is an expression and what it must answer. The answers were compared with MariaDB's
//! wherever MariaDB and MySQL 8 agree.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use datafusion::datasource::MemTable;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as Parsed;
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use super::*;
use crate::error::{Error, Result};
use crate::functions::column::Column;
use crate::functions::settings::{StatementSettings, Zone};
use crate::types::{Mode, MySqlType, Target, coerce_text};

/// 2024-02-29 13:14:15.678901 UTC.
const NOW: i64 = 1_709_212_455_678_901;

fn test_context() -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(2);
    configure(&mut config);
    config.options_mut().extensions.insert(StatementSettings {
        now_micros: NOW,
        zone: Zone::UTC,
        ..StatementSettings::default()
    });
    config.options_mut().sql_parser.default_null_ordering = "nulls_min".to_owned();
    let builder = SessionStateBuilder::new().with_config(config).with_default_features();
    let context = SessionContext::new_with_state(register(builder).build());
    let rows: [(&str, &str, &[Option<&str>]); 12] = [
        ("id", "int", &[Some("1"), Some("2"), Some("3"), None]),
        ("n", "bigint", &[Some("9223372036854775807"), Some("-5"), Some("0"), None]),
        ("u", "bigint unsigned", &[Some("18446744073709551615"), Some("5"), Some("0"), None]),
        ("small", "tinyint unsigned", &[Some("255"), Some("5"), Some("0"), None]),
        ("flag", "tinyint(1)", &[Some("1"), Some("0"), Some("1"), None]),
        ("price", "decimal(10,2)", &[Some("10.50"), Some("-3.25"), Some("0.00"), None]),
        ("x", "double", &[Some("1.5"), Some("-2"), Some("0"), None]),
        ("name", "varchar(20)", &[Some("abc"), Some("5"), Some("Zoë"), None]),
        ("day", "date", &[Some("2024-01-31"), Some("1999-12-31"), Some("2000-02-29"), None]),
        ("at", "datetime(6)", &[Some("2024-01-31 10:20:30.5"), Some("1999-12-31"), Some("2000-02-29 23:59:59"), None]),
        ("dur", "time", &[Some("10:20:30"), Some("-01:00:00"), Some("00:00:00"), None]),
        ("doc", "json", &[Some(r#"{"a": 1, "b": [1, 2]}"#), Some(r#""text""#), Some("5"), None]),
    ];
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (name, declared, values) in rows {
        let ty = MySqlType::parse(declared).unwrap();
        let target = Target { ty: &ty, column: name, nullable: true, mode: Mode::Strict };
        fields.push(ty.field(name, true));
        arrays.push(coerce_text(values.iter().copied(), target, 1).unwrap().array);
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let table = MemTable::try_new(schema, vec![vec![batch]]).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

/// Runs a query and returns its rows, cells joined by `|` and rows by `;`.
async fn query(context: &SessionContext, sql: &str) -> Result<String> {
    let mut statements = Parser::parse_sql(&MySqlDialect {}, sql).map_err(|error| Error::syntax(error.to_string()))?;
    let mut statement = statements.remove(0);
    rewrite_statement(&mut statement)?;
    let fail = crate::failure::of_query;
    let state = context.state();
    let plan = state.statement_to_plan(Parsed::Statement(Box::new(statement))).await.map_err(fail)?;
    let frame = context.execute_logical_plan(plan).await.map_err(fail)?;
    let batches = frame.collect().await.map_err(fail)?;
    let mut out = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        let columns: Vec<Column<'_>> = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(array, field)| Column::new(array.as_ref(), field, false).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns
                .iter()
                .map(|column| column.get(row).to_text().map_or("NULL".to_owned(), |text| text.into_owned()))
                .collect();
            out.push(cells.join("|"));
        }
    }
    Ok(out.join(";"))
}

async fn check_all(lines: &str, wrap: fn(&str) -> String) {
    let context = test_context();
    let mut failures = Vec::new();
    let mut count = 0;
    for line in lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (sql, expected) = line.split_once(" => ").unwrap_or_else(|| panic!("no ` => ` in {line}"));
        count += 1;
        let found = match query(&context, &wrap(sql)).await {
            Ok(text) => text,
            Err(error) => format!("ERROR {}", error.code),
        };
        if found != expected {
            let detail = match query(&context, &wrap(sql)).await {
                Err(error) => error.message,
                Ok(_) => String::new(),
            };
            failures.push(format!("{sql}\n    expected {expected}\n    found    {found}  {detail}"));
        }
    }
    assert!(failures.is_empty(), "{} of {count} are wrong:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn expressions_answer_as_mysql_does() {
    check_all(include_str!("expectations.txt"), |sql| format!("SELECT {sql}")).await;
}

#[tokio::test]
async fn queries_answer_as_mysql_does() {
    check_all(include_str!("queries.txt"), str::to_owned).await;
}

/// Columns that are compared with constants of another kind must reach the scan bare.
#[tokio::test]
async fn predicates_stay_native_so_that_scans_can_prune() {
    let context = test_context();
    for (predicate, filter) in [
        ("id = '2'", "t.id = Int32(2)"),
        ("id", "t.id != Int32(0)"),
        ("flag = true", "t.flag = Int8(1)"),
        ("name = 'abc'", "t.name = Utf8(\"abc\")"),
        ("day >= '2024-01-01'", "t.day >= Date32(\"2024-01-01\")"),
        ("day < date '2024-01-01' + interval 1 month", "t.day < Date32(\"2024-02-01\")"),
        ("at > '2024-01-01'", "t.at > TimestampMicrosecond("),
        ("price < 10", "t.price < Decimal128(10.00,10,2)"),
        ("at < now()", "t.at < TimestampMicrosecond(1709212455000000, None)"),
    ] {
        let sql = format!("SELECT id FROM t WHERE {predicate}");
        let mut statement = Parser::parse_sql(&MySqlDialect {}, &sql).unwrap().remove(0);
        rewrite_statement(&mut statement).unwrap();
        let state = context.state();
        let plan = state.statement_to_plan(Parsed::Statement(Box::new(statement))).await.unwrap();
        let plan = state.optimize(&plan).unwrap().display_indent().to_string();
        assert!(plan.contains(filter), "{predicate}: no {filter} in\n{plan}");
    }
}
