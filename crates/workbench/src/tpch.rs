//! TPC-H: its data and its queries (both from the crate `tpchgen`), and whether the answers are right.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen::q_and_a::{answers_sf1, queries};

use strandline_workbench::process::Result;

/// How many queries there are: their numbers begin with 1.
pub const QUERIES: usize = 22;

/// The values that the benchmark's specification has its answers for, of `:1`, `:2` … in each query.
const VALUES: [&[&str]; QUERIES] = [
    &["90"],
    &["15", "BRASS", "EUROPE"],
    &["BUILDING", "1995-03-15"],
    &["1993-07-01"],
    &["ASIA", "1994-01-01"],
    &["1994-01-01", "0.06", "24"],
    &["FRANCE", "GERMANY"],
    &["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"],
    &["green"],
    &["1993-10-01"],
    &["GERMANY", "0.0001"],
    &["MAIL", "SHIP", "1994-01-01"],
    &["special", "requests"],
    &["1995-09-01"],
    &["1996-01-01"],
    &["Brand#45", "MEDIUM POLISHED", "49", "14", "23", "45", "19", "3", "36", "9"],
    &["Brand#23", "MED BOX"],
    &["300"],
    &["Brand#12", "Brand#23", "Brand#34", "1", "10", "20"],
    &["forest", "1994-01-01", "CANADA"],
    &["SAUDI ARABIA"],
    &["13", "31", "23", "29", "30", "18", "17"],
];

/// The queries of which the specification wants only the first rows.
const LIMITS: [(usize, usize); 5] = [(2, 100), (3, 10), (10, 20), (18, 100), (21, 100)];

const TABLES: [(&str, &str); 8] = [
    ("region", "r_regionkey INT PRIMARY KEY, r_name VARCHAR(25), r_comment VARCHAR(152)"),
    ("nation", "n_nationkey INT PRIMARY KEY, n_name VARCHAR(25), n_regionkey INT, n_comment VARCHAR(152)"),
    (
        "part",
        "p_partkey INT PRIMARY KEY, p_name VARCHAR(55), p_mfgr VARCHAR(25), p_brand VARCHAR(10), p_type VARCHAR(25),
         p_size INT, p_container VARCHAR(10), p_retailprice DECIMAL(15, 2), p_comment VARCHAR(23)",
    ),
    (
        "supplier",
        "s_suppkey INT PRIMARY KEY, s_name VARCHAR(25), s_address VARCHAR(40), s_nationkey INT, s_phone VARCHAR(15),
         s_acctbal DECIMAL(15, 2), s_comment VARCHAR(101)",
    ),
    (
        "partsupp",
        "ps_partkey INT, ps_suppkey INT, ps_availqty INT, ps_supplycost DECIMAL(15, 2), ps_comment VARCHAR(199),
         PRIMARY KEY (ps_partkey, ps_suppkey)",
    ),
    (
        "customer",
        "c_custkey INT PRIMARY KEY, c_name VARCHAR(25), c_address VARCHAR(40), c_nationkey INT, c_phone VARCHAR(15),
         c_acctbal DECIMAL(15, 2), c_mktsegment VARCHAR(10), c_comment VARCHAR(117)",
    ),
    (
        "orders",
        "o_orderkey INT PRIMARY KEY, o_custkey INT, o_orderstatus VARCHAR(1), o_totalprice DECIMAL(15, 2),
         o_orderdate DATE, o_orderpriority VARCHAR(15), o_clerk VARCHAR(15), o_shippriority INT, o_comment VARCHAR(79)",
    ),
    (
        "lineitem",
        "l_orderkey INT, l_partkey INT, l_suppkey INT, l_linenumber INT, l_quantity DECIMAL(15, 2),
         l_extendedprice DECIMAL(15, 2), l_discount DECIMAL(15, 2), l_tax DECIMAL(15, 2), l_returnflag VARCHAR(1),
         l_linestatus VARCHAR(1), l_shipdate DATE, l_commitdate DATE, l_receiptdate DATE, l_shipinstruct VARCHAR(25),
         l_shipmode VARCHAR(10), l_comment VARCHAR(44), PRIMARY KEY (l_orderkey, l_linenumber)",
    ),
];

/// Writes the file of each table below `folder`; returns the paths, in the order of [`load`].
pub fn write_files(folder: &Path, scale: f64) -> Result<Vec<PathBuf>> {
    TABLES
        .iter()
        .map(|(table, _)| {
            let path = folder.join(format!("{table}.tbl"));
            match *table {
                "region" => write_rows(&path, RegionGenerator::new(scale, 1, 1).iter()),
                "nation" => write_rows(&path, NationGenerator::new(scale, 1, 1).iter()),
                "part" => write_rows(&path, PartGenerator::new(scale, 1, 1).iter()),
                "supplier" => write_rows(&path, SupplierGenerator::new(scale, 1, 1).iter()),
                "partsupp" => write_rows(&path, PartSuppGenerator::new(scale, 1, 1).iter()),
                "customer" => write_rows(&path, CustomerGenerator::new(scale, 1, 1).iter()),
                "orders" => write_rows(&path, OrderGenerator::new(scale, 1, 1).iter()),
                _ => write_rows(&path, LineItemGenerator::new(scale, 1, 1).iter()),
            }?;
            Ok(path)
        })
        .collect()
}

fn write_rows(path: &Path, rows: impl Iterator<Item = impl Display>) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for row in rows {
        writeln!(file, "{row}")?;
    }
    Ok(file.flush()?)
}

/// Makes the database `tpch` and loads the files into it. `conn` must be allowed to read them.
pub async fn load(conn: &mut Conn, files: &[PathBuf]) -> Result<()> {
    conn.query_drop("CREATE DATABASE tpch").await?;
    conn.query_drop("USE tpch").await?;
    for ((table, columns), file) in TABLES.iter().zip(files) {
        conn.query_drop(format!("CREATE TABLE {table} ({columns})")).await?;
        conn.query_drop(format!(
            "LOAD DATA LOCAL INFILE '{}' INTO TABLE {table} FIELDS TERMINATED BY '|' LINES TERMINATED BY '|\\n'",
            file.display()
        ))
        .await?;
    }
    Ok(())
}

/// Returns the statements of a query. Only one of them returns rows.
///
/// # Panics
/// If there is no query of this number.
pub fn statements(number: usize) -> Vec<String> {
    let mut text = queries::query(number as i32).expect("there are 22 queries").to_owned();
    for (at, value) in VALUES[number - 1].iter().enumerate().rev() {
        text = text.replace(&format!(":{}", at + 1), value);
    }
    text = text.replace("day (3)", "day").replace(":s", "0");
    let limit = LIMITS.iter().find(|(query, _)| *query == number);
    let statements = text.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    statements
        .map(|statement| match limit {
            Some((_, limit)) => format!("{statement} LIMIT {limit}"),
            None => statement.to_owned(),
        })
        .collect()
}

/// Runs a query and returns its rows.
pub async fn run(conn: &mut Conn, number: usize) -> Result<Vec<Row>, mysql_async::Error> {
    let mut rows = Vec::new();
    for statement in statements(number) {
        let some: Vec<Row> = conn.query(statement).await?;
        if !some.is_empty() {
            rows = some;
        }
    }
    Ok(rows)
}

/// What is misprinted in the crate's answers: the query, what stands there, and what the specification's reference answers
/// (`q11.out`, `q17.out`) say.
const MISPRINTS: [(usize, &str, &str); 2] = [(11, "1297         |", "129760|"), (17, "348406.02", "348406.05")];

/// Compares rows with the answer at scale factor 1; returns the first difference.
pub fn difference(number: usize, rows: &[Row]) -> Option<String> {
    let mut answer = answers_sf1::answer(number as i32)?.to_owned();
    for (_, printed, right) in MISPRINTS.iter().filter(|(query, ..)| *query == number) {
        answer = answer.replacen(printed, right, 1);
    }
    let expected: Vec<&str> = answer.lines().filter(|line| !line.trim().is_empty()).skip(1).collect();
    if expected.len() != rows.len() {
        return Some(format!("{} rows, not {}", rows.len(), expected.len()));
    }
    rows.iter().zip(&expected).enumerate().find_map(|(at, (row, line))| {
        let cells: Vec<String> = (0..row.len()).map(|column| text(row, column)).collect();
        let same = line.split('|').zip(&cells).all(|(expected, cell)| is_same(expected.trim(), cell.trim()));
        (!same).then(|| format!("row {}: {}, not {line}", at + 1, cells.join("|")))
    })
}

fn text(row: &Row, column: usize) -> String {
    match row.as_ref(column) {
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(value) => value.as_sql(true).trim_matches('\'').to_owned(),
        None => String::new(),
    }
}

/// Answers are rounded to a hundredth.
fn is_same(expected: &str, cell: &str) -> bool {
    match (expected.parse::<f64>(), cell.parse::<f64>()) {
        (Ok(expected), Ok(cell)) => (expected - cell).abs() <= 0.0101,
        _ => expected == cell,
    }
}
