//! The demo: real data, an accident, and the way back, with what each step cost.

use std::path::Path;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

use strandline_workbench::process::{Result, Server};

const SHOP: &str = include_str!("../../../tests/data/shop.sql");
const FLIGHTS: &str = include_str!("../../../tests/data/flights.sql");
const TABLES: &[&str] = &["airlines", "airports", "planes", "weather", "flights"];

/// How many rows of a result are shown.
const ROWS_MAX: usize = 8;

pub async fn run(flights: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::strandline(&folder.path().join("store")).await?;
    println!("A server on 127.0.0.1:{}, with an empty store.", server.port);
    let handler = mysql_async::WhiteListFsHandler::new(TABLES.iter().map(|table| flights.join(format!("{table}.csv"))));
    let opts = mysql_async::OptsBuilder::from_opts(server.opts(None)).local_infile_handler(Some(handler));
    let mut conn = Conn::new(opts).await?;
    let conn = &mut conn;

    heading("Two databases: the flights of 2013 by LOAD DATA, and a small shop");
    quietly(conn, "CREATE DATABASE flights").await?;
    quietly(conn, "USE flights").await?;
    script(conn, FLIGHTS).await?;
    for table in TABLES {
        let file = flights.join(format!("{table}.csv"));
        let sql = format!(
            "LOAD DATA LOCAL INFILE '{}' INTO TABLE {table} FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' \
             LINES TERMINATED BY '\\n' IGNORE 1 LINES",
            file.display()
        );
        let start = Instant::now();
        conn.query_drop(&sql).await?;
        println!("{:>9} rows into flights.{table:<9} {}", conn.affected_rows(), cost(start.elapsed()));
    }
    quietly(conn, "CREATE DATABASE shop").await?;
    quietly(conn, "USE shop").await?;
    let start = Instant::now();
    script(conn, SHOP).await?;
    println!("{:>9} tables and views in shop       {}", 7, cost(start.elapsed()));

    heading("A snapshot of everything");
    step(conn, "CREATE SNAPSHOT before_accident FOR CLUSTER").await?;

    heading("The accident");
    step(conn, "UPDATE flights.flights SET distance = 0, dest = 'XXX'").await?;
    step(conn, "DROP TABLE shop.audit").await?;

    heading("The damage beside the past, in one query");
    step(
        conn,
        "SELECT 'now' AS moment, COUNT(*) AS flights, COUNT(DISTINCT dest) AS places, SUM(distance) AS miles \
         FROM flights.flights \
         UNION ALL \
         SELECT 'before', COUNT(*), COUNT(DISTINCT dest), SUM(distance) \
         FROM flights.flights {SNAPSHOT = 'before_accident'}",
    )
    .await?;

    heading("The way back: what would happen, then do it");
    step(conn, "EXPLAIN RESTORE TABLE flights.flights FROM SNAPSHOT before_accident").await?;
    step(conn, "RESTORE TABLE flights.flights FROM SNAPSHOT before_accident").await?;
    step(conn, "UNDROP TABLE shop.audit").await?;

    heading("As it was");
    step(
        conn,
        "SELECT COUNT(*) AS flights, COUNT(DISTINCT dest) AS places, SUM(distance) AS miles FROM flights.flights",
    )
    .await?;
    step(conn, "SELECT COUNT(*) AS audit_rows FROM shop.audit").await?;
    step(conn, "SHOW COMMITS FOR TABLE flights.flights LIMIT 5").await?;

    let before = "SELECT COUNT(*), COUNT(DISTINCT dest), SUM(distance) FROM flights.flights";
    let now: Option<(u64, u64, u64)> = conn.query_first(before).await?;
    let then: Option<(u64, u64, u64)> = conn.query_first(format!("{before} {{SNAPSHOT = 'before_accident'}}")).await?;
    if now != then {
        return Err(format!("the restored flights differ from the snapshot: {now:?}, {then:?}").into());
    }
    println!("\nThe restored table equals the snapshot.");
    server.stop()
}

fn heading(text: &str) {
    println!("\n── {text}");
}

/// Runs a statement, shows it, what it answered and what it cost.
async fn step(conn: &mut Conn, sql: &str) -> Result<()> {
    println!("> {sql}");
    let start = Instant::now();
    let mut result = conn.query_iter(sql).await?;
    let names: Vec<String> =
        result.columns().map_or_else(Vec::new, |columns| columns.iter().map(|c| c.name_str().into_owned()).collect());
    let rows: Vec<Row> = if names.is_empty() { Vec::new() } else { result.collect().await? };
    result.drop_result().await?;
    let took = start.elapsed();
    if names.is_empty() {
        println!("  {} rows affected", conn.affected_rows());
    } else {
        let mut table = vec![names];
        table.extend(rows.iter().take(ROWS_MAX).map(cells));
        print_table(&table);
        if rows.len() > ROWS_MAX {
            println!("  … {} more", rows.len() - ROWS_MAX);
        }
    }
    println!("  {}", cost(took));
    Ok(())
}

async fn quietly(conn: &mut Conn, sql: &str) -> Result<()> {
    Ok(conn.query_drop(sql).await?)
}

/// Runs a file of statements, each ended by a semicolon at the end of its line.
async fn script(conn: &mut Conn, text: &str) -> Result<()> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("--")).collect();
    for statement in lines.join("\n").split(";\n") {
        if !statement.trim().is_empty() {
            conn.query_drop(statement.trim().trim_end_matches(';')).await?;
        }
    }
    Ok(())
}

fn cells(row: &Row) -> Vec<String> {
    (0..row.len())
        .map(|at| match row.as_ref(at) {
            None | Some(Value::NULL) => "NULL".to_owned(),
            Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Some(other) => other.as_sql(true),
        })
        .collect()
}

fn print_table(rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("  {}", line.join("  ").trim_end());
    }
}

fn cost(took: Duration) -> String {
    match took.as_micros() {
        micros if micros < 10_000 => format!("{:.2} ms", took.as_secs_f64() * 1e3),
        micros if micros < 1_000_000 => format!("{:.0} ms", took.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", took.as_secs_f64()),
    }
}
