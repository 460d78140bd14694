//! Every made-up table makes rows that fit its columns, and clients' questions find their answers.

use std::sync::Arc;

use arrow::array::Array;
use strandline_core::catalog::{Catalog, Change};
use strandline_core::db::SYS;
use strandline_core::grants::Grants;
use strandline_core::ids::{ColumnId, DatabaseId, TableId, UserId};
use strandline_core::schema::{Account, Column, Database, ForeignKey, Index, Table, Type, User};

use super::*;
use crate::access::show::Reader;
use crate::access::{ActiveRoles, Rights};
use crate::parse::{Filter, Show, Statement, parse_one};
use crate::show::{Process, ShowAnswer, ShowContext, TableStats, describe, show};
use crate::warning::Warning;

fn column(id: u32, name: &str, declared: &str, ty: Type) -> Column {
    Column {
        id: ColumnId(id),
        name: name.into(),
        ty,
        nullable: id != 1,
        declared: declared.into(),
        default: (id == 2).then(|| "'it''s'".to_owned()),
        initial: None,
        auto_increment: id == 1,
        on_update: None,
        comment: String::new(),
    }
}

fn catalog() -> Arc<Catalog> {
    let mut catalog = Catalog::default();
    let table = |id: u64, name: &str| Table {
        id: TableId(id),
        database: DatabaseId(1),
        name: name.into(),
        columns: vec![column(1, "id", "int", Type::Int32), column(2, "name", "varchar(20)", Type::Text)],
        primary_key: vec![ColumnId(1)],
        indexes: vec![Index { name: "u".into(), columns: vec![ColumnId(2)], unique: true }],
        foreign_keys: Vec::new(),
        view: None,
        comment: String::new(),
        options: Default::default(),
        next_column: ColumnId(3),
    };
    let mut child = table(2, "child");
    child.foreign_keys.push(ForeignKey {
        name: "fk".into(),
        columns: vec![ColumnId(1)],
        parent_database: None,
        parent_table: "parent".into(),
        parent_columns: vec!["id".into()],
        actions: String::new(),
    });
    let mut view = table(3, "v");
    view.view = Some("SELECT 1".into());
    view.primary_key.clear();
    view.indexes.clear();
    let user = User {
        id: UserId(1),
        account: SYS,
        name: "root".into(),
        verifiers: Default::default(),
        grants: Grants::everything(),
    };
    for change in [
        Change::PutAccount(Account { id: SYS, name: "sys".into() }),
        Change::PutDatabase(Database { id: DatabaseId(1), account: SYS, name: "shop".into(), comment: String::new() }),
        Change::PutTable(Arc::new(table(1, "parent"))),
        Change::PutTable(Arc::new(child)),
        Change::PutTable(Arc::new(view)),
        Change::PutUser(user),
    ] {
        catalog.apply(&change);
    }
    Arc::new(catalog)
}

fn with_context<T>(work: impl FnOnce(&ShowContext<'_>) -> T) -> T {
    let catalog = catalog();
    let roles = ActiveRoles::default();
    let rights = Rights::of(catalog.user_set(), SYS, UserId(1), &roles, "'root'@'localhost'".to_owned());
    let variables = vec![("version".to_owned(), "8.0".to_owned()), ("autocommit".to_owned(), "ON".to_owned())];
    let process = Process { id: 1, user: "root".into(), host: "localhost".into(), ..Process::default() };
    work(&ShowContext {
        catalog: &catalog,
        limit: None,
        account: SYS,
        account_name: "sys",
        database: Some("shop"),
        reader: Reader { rights: &rights, present: &catalog },
        variables: &variables,
        global_variables: &variables,
        status: &variables,
        processes: &[process],
        warnings: &[Warning::note(1051, "Unknown table 'x'")],
        stats: &|_| TableStats { rows: 5, bytes: 100, next_auto: 6, updated: None },
        snapshots: &[],
        pitrs: &[],
        health: &Default::default(),
        storage: &Default::default(),
        growth: &[],
    })
}

fn shown(cx: &ShowContext<'_>, sql: &str) -> ShowAnswer {
    match parse_one(sql, Default::default()).unwrap().statement {
        Statement::Show(statement) => show(cx, &statement).unwrap_or_else(|error| panic!("{sql}: {error:?}")),
        Statement::Describe { table, column, .. } => describe(cx, &table, column.as_deref()).unwrap(),
        other => panic!("{other:?} shows nothing"),
    }
}

/// Returns the answer's rows as text, cells parted by `|`.
fn text(answer: &ShowAnswer) -> Vec<String> {
    let cell = |array: &Arc<dyn Array>, row| match array.is_null(row) {
        true => "NULL".to_owned(),
        false => arrow::util::display::array_value_to_string(array, row).unwrap(),
    };
    let rows = 0..answer.batch.num_rows();
    rows.map(|row| answer.batch.columns().iter().map(|array| cell(array, row)).collect::<Vec<_>>().join("|")).collect()
}

#[test]
fn every_table_fits_its_columns() {
    with_context(|cx| {
        for table in all() {
            let (schema, batch) = virtual_table(table.database, table.name, cx).unwrap().unwrap();
            assert_eq!(schema.fields().len(), batch.num_columns(), "{}.{}", table.database, table.name);
        }
        assert!(virtual_table("information_schema", "nothing", cx).is_none());
        let (_, keys) = virtual_table("information_schema", "key_column_usage", cx).unwrap().unwrap();
        assert_eq!(keys.num_rows(), 5, "two primary keys, two unique ones, one foreign key");
    });
}

#[test]
fn what_clients_ask_is_answered() {
    with_context(|cx| {
        assert_eq!(text(&shown(cx, "SHOW TABLES")), ["child", "parent", "v"]);
        assert_eq!(text(&shown(cx, "SHOW FULL TABLES LIKE 'v%'")), ["v|VIEW"]);
        assert_eq!(shown(cx, "SHOW TABLES LIKE 'v%'").columns[0].name, "Tables_in_shop (v%)");
        assert_eq!(text(&shown(cx, "SHOW DATABASES LIKE 's%'")), ["shop"]);
        assert_eq!(
            text(&shown(cx, "DESCRIBE child")),
            ["id|int|NO|PRI|NULL|auto_increment", "name|varchar(20)|YES|UNI|it's|"]
        );
        assert_eq!(text(&shown(cx, "SHOW FULL COLUMNS FROM child LIKE 'na%'")).len(), 1);
        assert_eq!(text(&shown(cx, "SHOW INDEX FROM child")).len(), 2);
        assert_eq!(text(&shown(cx, "SHOW VARIABLES LIKE 'ndbinfo\\_version'")), Vec::<String>::new());
        assert_eq!(text(&shown(cx, "SHOW VARIABLES")), ["autocommit|ON", "version|8.0"]);
        assert_eq!(text(&shown(cx, "SHOW WARNINGS")), ["Note|1051|Unknown table 'x'"]);
        assert_eq!(text(&shown(cx, "SHOW WARNINGS LIMIT 1, 5")), Vec::<String>::new());
        assert_eq!(text(&shown(cx, "SHOW COUNT(*) WARNINGS")), ["1"]);
        assert_eq!(text(&shown(cx, "SHOW GRANTS")), ["GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION"]);
        assert_eq!(text(&shown(cx, "SHOW CREATE DATABASE IF NOT EXISTS shop")).len(), 1);
        assert_eq!(shown(cx, "SHOW CREATE TABLE v").columns[1].name, "Create View");
        for sql in [
            "SHOW TRIGGERS LIKE 'child'",
            "SHOW EVENTS",
            "SHOW FUNCTION STATUS WHERE Db = 'shop'",
            "SHOW PROCESSLIST",
            "SHOW TABLE STATUS LIKE 'child'",
            "SHOW ENGINES",
            "SHOW COLLATION",
            "SHOW CHARACTER SET",
            "SHOW PLUGINS",
            "SHOW STATUS",
            "SHOW MASTER STATUS",
            "SHOW ACCOUNTS",
            "SHOW OPEN TABLES",
            "SHOW FIELDS FROM information_schema.TABLES",
            "SHOW TABLES FROM performance_schema",
            "SHOW CREATE USER",
            "SHOW ERRORS",
            "SHOW PRIVILEGES",
            "SHOW REPLICA STATUS",
        ] {
            let answer = shown(cx, sql);
            assert_eq!(answer.columns.len(), answer.batch.num_columns(), "{sql}");
        }
    });
}

#[test]
fn unknown_names_get_mysqls_codes() {
    with_context(|cx| {
        let code = |sql: &str| match parse_one(sql, Default::default()).unwrap().statement {
            Statement::Show(statement) => show(cx, &statement).map_err(|error| error.code).err(),
            other => panic!("{other:?} shows nothing"),
        };
        assert_eq!(code("SHOW TABLES FROM nowhere"), Some(1049));
        assert_eq!(code("SHOW COLUMNS FROM nothing"), Some(1146));
        assert_eq!(code("SHOW CREATE TABLE mysql.nothing"), Some(1146));
        assert_eq!(code("SHOW CREATE VIEW child"), Some(1347));
        assert_eq!(code("SHOW GRANTS FOR nobody"), Some(1141));
    });
}

#[test]
fn where_is_left_to_the_session() {
    let statement = parse_one("SHOW TABLES WHERE Tables_in_shop = 'v'", Default::default()).unwrap().statement;
    let Statement::Show(statement @ Show::Tables { .. }) = statement else { panic!("not SHOW TABLES") };
    assert!(matches!(crate::show::filter(&statement), Some(Filter::Where(_))));
    with_context(|cx| assert_eq!(show(cx, &statement).unwrap().batch.num_rows(), 3));
}
