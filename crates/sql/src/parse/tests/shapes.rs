//! What statements parse to.

use super::*;
use crate::parse::HistoryStatement as H;
use crate::parse::history::{CreateSchedule, Keep, Period, PeriodUnit, Rhythm, Rules};
use crate::parse::matrixone::{OnConflict, Range, RangeUnit};

fn history(text: &str) -> HistoryStatement {
    match one(text) {
        Statement::History(history) => *history,
        other => panic!("{text}\n{other:?}"),
    }
}

fn table(name: &str) -> TableName {
    match name.split_once('.') {
        Some((database, name)) => TableName { database: Some(database.to_owned()), name: name.to_owned() },
        None => TableName { database: None, name: name.to_owned() },
    }
}

fn target(scope: Scope) -> Target {
    Target { account: None, scope }
}

fn in_account(account: &str, scope: Scope) -> Target {
    Target { account: Some(account.to_owned()), scope }
}

fn snapshot(name: &str) -> When {
    When::Snapshot(name.to_owned())
}

fn time(text: &str) -> When {
    When::Time(text.to_owned())
}

fn restore(target: Target, from: When) -> Restore {
    Restore {
        target,
        from: RestoreFrom::When(from),
        to: None,
        to_account: None,
        overwrite: false,
        keep_copy: false,
        create_database: false,
        with_grants: false,
        explain: false,
    }
}

#[test]
fn create_snapshot_takes_every_scope_and_option() {
    let plain = |target| CreateSnapshot {
        name: "s".to_owned(),
        if_not_exists: false,
        target,
        columns: Vec::new(),
        at: None,
        incremental_from: None,
        compression: false,
        comment: None,
        retain: None,
    };
    for (text, expected) in [
        ("cluster", target(Scope::Cluster)),
        ("account", target(Scope::Account(None))),
        ("account a", target(Scope::Account(Some("a".to_owned())))),
        ("database d", target(Scope::Database("d".to_owned()))),
        ("table d t", target(Scope::Table(table("d.t")))),
        ("table d.t", target(Scope::Table(table("d.t")))),
        ("table `t`", target(Scope::Table(table("t")))),
        (
            "tables d (a, b)",
            target(Scope::Tables { database: Some("d".to_owned()), tables: vec!["a".to_owned(), "b".to_owned()] }),
        ),
    ] {
        assert_eq!(history(&format!("create snapshot s for {text}")), H::CreateSnapshot(plain(expected)), "{text}");
    }
    assert_eq!(
        history(
            "create snapshot if not exists s for table d.t columns (a, b) at timestamp '-10 minutes' incremental from base compression \
             comment 'why' retain 7 day"
        ),
        H::CreateSnapshot(CreateSnapshot {
            if_not_exists: true,
            columns: vec!["a".to_owned(), "b".to_owned()],
            at: Some(time("-10 minutes")),
            incremental_from: Some("base".to_owned()),
            compression: true,
            comment: Some("why".to_owned()),
            retain: Some(Period { count: 7, unit: PeriodUnit::Day }),
            ..plain(target(Scope::Table(table("d.t"))))
        })
    );
}

#[test]
fn restore_takes_both_grammars() {
    let database = || Scope::Database("d".to_owned());
    for (text, expected) in [
        ("restore cluster from snapshot s", restore(target(Scope::Cluster), snapshot("s"))),
        ("restore cluster {snapshot = s}", restore(target(Scope::Cluster), snapshot("s"))),
        ("restore account `a` database `d` from snapshot `s`", restore(in_account("a", database()), snapshot("s"))),
        (
            "restore account a database d table t from snapshot s to account b",
            Restore {
                to_account: Some("b".to_owned()),
                ..restore(in_account("a", Scope::Table(table("d.t"))), snapshot("s"))
            },
        ),
        ("restore database a.d {snapshot = 's'}", restore(in_account("a", database()), snapshot("s"))),
        ("restore table a.d.t {snapshot = \"s\"}", restore(in_account("a", Scope::Table(table("d.t"))), snapshot("s"))),
        ("restore database d from version 42", restore(target(database()), When::Version(42))),
        ("restore table t from now", restore(target(Scope::Table(table("t"))), When::Now)),
        (
            "explain restore table d.t from timestamp '5 minutes ago' to u overwrite keep copy with grants",
            Restore {
                to: Some(RestoreTo::Name(table("u"))),
                overwrite: true,
                keep_copy: true,
                with_grants: true,
                explain: true,
                ..restore(target(Scope::Table(table("d.t"))), time("5 minutes ago"))
            },
        ),
        (
            "restore table d.t from snapshot s to database e table u create database",
            Restore {
                to: Some(RestoreTo::Database { database: "e".to_owned(), table: Some("u".to_owned()) }),
                create_database: true,
                ..restore(target(Scope::Table(table("d.t"))), snapshot("s"))
            },
        ),
        (
            "restore database d from pitr p '2026-01-01 00:00:00'",
            Restore {
                from: RestoreFrom::Pitr {
                    name: "p".to_owned(),
                    time: "2026-01-01 00:00:00".to_owned(),
                    source_account: None,
                },
                ..restore(target(database()), When::Now)
            },
        ),
        (
            "restore account a from pitr p 't' as b",
            Restore {
                from: RestoreFrom::Pitr {
                    name: "p".to_owned(),
                    time: "t".to_owned(),
                    source_account: Some("b".to_owned()),
                },
                ..restore(target(Scope::Account(Some("a".to_owned()))), When::Now)
            },
        ),
        (
            "flashback table d.t to timestamp '2026-01-01'",
            Restore { overwrite: true, ..restore(target(Scope::Table(table("d.t"))), time("2026-01-01")) },
        ),
    ] {
        assert_eq!(history(text), H::Restore(expected), "{text}");
    }
}

#[test]
fn undrop_and_its_synonyms() {
    let undrop = |what, to| H::Undrop(Undrop { what, to, explain: false });
    let t = || Undropped::Table(table("t"));
    for (text, expected) in [
        ("undrop table t", undrop(t(), None)),
        ("undrop database d", undrop(Undropped::Database("d".to_owned()), None)),
        ("flashback table t", undrop(t(), None)),
        ("flashback table t to u", undrop(t(), Some(table("u")))),
        ("flashback table t to timestamp", undrop(t(), Some(table("timestamp")))),
        ("flashback table t to before drop", undrop(t(), None)),
        ("flashback table t to before drop rename to u", undrop(t(), Some(table("u")))),
        ("recover table t", undrop(t(), None)),
        ("undo version 7", H::Undo(Undo { version: 7, explain: false })),
        ("explain undo version 7", H::Undo(Undo { version: 7, explain: true })),
    ] {
        assert_eq!(history(text), expected, "{text}");
    }
}

#[test]
fn the_rest_of_history() {
    let t = || target(Scope::Table(table("d.t")));
    for (text, expected) in [
        (
            "drop snapshot if exists s cascade",
            H::DropSnapshot { names: vec!["s".to_owned()], if_exists: true, cascade: true, explain: false },
        ),
        (
            "explain drop snapshot s, 't u'",
            H::DropSnapshot {
                names: vec!["s".to_owned(), "t u".to_owned()],
                if_exists: false,
                cascade: false,
                explain: true,
            },
        ),
        ("show snapshots like 'x%'", H::ShowSnapshots { filter: Some(Filter::Like("x%".to_owned())) }),
        (
            "show recovery points for table d.t from 'a' to 'b'",
            H::ShowRecoveryPoints { target: t(), from: Some(time("a")), to: Some(time("b")) },
        ),
        ("show commits for table d.t limit 5", H::ShowCommits { target: Some(t()), limit: Some(5) }),
        (
            "diff table d.t from version 3 to now output summary",
            H::Diff(Diff { table: table("d.t"), from: When::Version(3), to: When::Now, output: DiffOutput::Summary }),
        ),
        (
            "set retention for table d.t keep last 3 daily 7 yearly 1",
            H::SetRetention {
                target: t(),
                rules: Rules {
                    keep: Keep { last: Some(3), daily: Some(7), yearly: Some(1), ..Keep::default() },
                    time_zone: None,
                },
            },
        ),
        ("explain retention for table d.t", H::ApplyRetention { target: t(), rules: None, explain: true }),
        (
            "apply retention for table d.t keep weekly 2 time zone 'Europe/Berlin'",
            H::ApplyRetention {
                target: t(),
                rules: Some(Rules {
                    keep: Keep { weekly: Some(2), ..Keep::default() },
                    time_zone: Some("Europe/Berlin".to_owned()),
                }),
                explain: false,
            },
        ),
        ("drop retention if exists for table d.t", H::DropRetention { target: t(), if_exists: true }),
        ("show retention", H::ShowRetention { filter: None }),
        ("alter schedule s pause", H::AlterSchedule { name: "s".to_owned(), paused: true }),
        (
            "drop snapshots older than '-30 days' for table d t cascade",
            H::DropSnapshots {
                target: t(),
                older_than: When::Time("-30 days".to_owned()),
                cascade: true,
                explain: false,
            },
        ),
        (
            "explain drop snapshots for table d.t older than '2026-01-01'",
            H::DropSnapshots {
                target: t(),
                older_than: When::Time("2026-01-01".to_owned()),
                cascade: false,
                explain: true,
            },
        ),
        (
            "create schedule n for table d.t cron '0 2 * * *' time zone 'UTC' snapshot name 'n_{time}'",
            H::CreateSchedule(CreateSchedule {
                name: "n".to_owned(),
                if_not_exists: false,
                target: t(),
                rhythm: Rhythm::Cron("0 2 * * *".to_owned()),
                time_zone: Some("UTC".to_owned()),
                snapshot_name: Some("n_{time}".to_owned()),
                incremental: false,
                compression: false,
                comment: None,
                retain: None,
                keep: None,
            }),
        ),
    ] {
        assert_eq!(history(text), expected, "{text}");
    }
}

#[test]
fn statements_of_matrixone() {
    use MatrixOne as M;
    let range = |length, unit| Range { length, unit };
    let clone = |at| CloneTable {
        table: table("x"),
        if_not_exists: false,
        source: table("y"),
        at,
        copy_grants: false,
        to_account: None,
    };
    for (text, expected) in [
        (
            "create pitr p for table d t range 1 'y' internal",
            M::CreatePitr {
                name: "p".to_owned(),
                if_not_exists: false,
                target: Some(target(Scope::Table(table("d.t")))),
                range: range(1, RangeUnit::Year),
                internal: true,
            },
        ),
        (
            "alter pitr p range 2 'mo'",
            M::AlterPitr { name: "p".to_owned(), if_exists: false, range: range(2, RangeUnit::Month) },
        ),
        (
            "show recovery_window for database d",
            M::ShowRecoveryWindow { target: target(Scope::Database("d".to_owned())) },
        ),
        ("create table x clone y", M::CloneTable(clone(None))),
        ("create table x clone y{snapshot = \"s\"}", M::CloneTable(clone(Some(snapshot("s"))))),
        ("create table x clone y as of timestamp '2026'", M::CloneTable(clone(Some(time("2026"))))),
        (
            "create database if not exists x clone y {mo_ts = 5} to account b",
            M::CloneDatabase(CloneDatabase {
                database: "x".to_owned(),
                if_not_exists: true,
                source: "y".to_owned(),
                at: Some(When::Nanos(5)),
                to_account: Some("b".to_owned()),
            }),
        ),
        ("data branch create table x from y{snapshot='s'}", M::Branch(Branch::CreateTable(clone(Some(snapshot("s")))))),
        (
            "data branch diff t{snapshot='a'} against d.b columns (c) output limit 5",
            M::Branch(Branch::Diff {
                table: table("t"),
                at: Some(snapshot("a")),
                base: table("d.b"),
                base_at: None,
                columns: vec!["c".to_owned()],
                output: BranchOutput::Limit(5),
            }),
        ),
        (
            "data branch merge s into t when conflict accept",
            M::Branch(Branch::Merge { source: table("s"), into: table("t"), on_conflict: OnConflict::Accept }),
        ),
    ] {
        assert_eq!(history(text), H::MatrixOne(expected), "{text}");
    }
    assert!(
        error_of("data branch pick s into t")
            .message
            .contains("DATA BRANCH PICK requires a KEYS or BETWEEN SNAPSHOT clause")
    );
}

#[test]
fn moments_of_tables_in_every_dialect() {
    let check = |text: &str, expected: &[(&str, Option<&str>, Option<When>)]| {
        let parsed = parse_one(text, Options::default()).unwrap_or_else(|error| panic!("{text}\n{error:?}"));
        let found: Vec<_> =
            moments(&parsed.statement).unwrap().into_iter().map(|t| (t.name.join("."), t.alias, t.when)).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, alias, when)| ((*name).to_owned(), alias.map(str::to_owned), when.clone()))
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    let reference = |text: &str| When::Reference(text.to_owned());
    check("select * from t", &[("t", None, None)]);
    check("select * from d.t {SNAPSHOT = 's'} as x", &[("d.t", Some("x"), Some(snapshot("s")))]);
    check("select * from t{snapshot=s}", &[("t", None, Some(snapshot("s")))]);
    check("select * from t {timestamp = '2026-01-01'} x where x.a", &[("t", Some("x"), Some(time("2026-01-01")))]);
    check(
        "select * from t {mo_ts = 1700000000000000001}",
        &[("t", None, Some(When::Nanos(1_700_000_000_000_000_001)))],
    );
    check(
        "select * from t {mo_ts = '1700000000000000001-7'}",
        &[("t", None, Some(When::Nanos(1_700_000_000_000_000_001)))],
    );
    check("select * from t {as of timestamp '2026'}", &[("t", None, Some(time("2026")))]);
    check("select * from t as of timestamp '2026' x", &[("t", Some("x"), Some(time("2026")))]);
    check("select * from t as of timestamp('2026') as x", &[("t", Some("x"), Some(time("2026")))]);
    check("select * from t for system_time as of timestamp '2026' x", &[("t", Some("x"), Some(time("2026")))]);
    check("select * from t for system_time as of '2026'", &[("t", None, Some(time("2026")))]);
    check("select * from t as of 'main' x", &[("t", Some("x"), Some(reference("main")))]);
    check("select * from t as of version 5", &[("t", None, Some(When::Version(5)))]);
    check("select * from t version as of 5 x", &[("t", Some("x"), Some(When::Version(5)))]);
    check("select * from t at (version => 5) x", &[("t", Some("x"), Some(When::Version(5)))]);
    check(
        "select * from t {snapshot = 'a'} x join t as of timestamp '2026' y on x.id = y.id, u",
        &[("t", Some("x"), Some(snapshot("a"))), ("t", Some("y"), Some(time("2026"))), ("u", None, None)],
    );
    check("insert into n select * from t {snapshot = 'a'}", &[("t", None, Some(snapshot("a")))]);
    check("update t, u {snapshot='s'} set t.a = u.a", &[("t", None, None), ("u", None, Some(snapshot("s")))]);
    check(
        "select (select max(a) from t as of version 1) from u where exists (select 1 from t {version = 2})",
        &[("t", None, Some(When::Version(1))), ("u", None, None), ("t", None, Some(When::Version(2)))],
    );
    let interval = parse_one("select * from t {timestamp = now() - interval 5 minute}", Options::default()).unwrap();
    let found = moments(&interval.statement).unwrap();
    assert!(matches!(&found[0].when, Some(When::Expr(e)) if e.to_string() == "now() - INTERVAL 5 MINUTE"), "{found:?}");
    let parameter = parse_one("select * from t as of timestamp ?", Options::default()).unwrap();
    assert_eq!(parameter.parameters, 1);
    assert!(matches!(&moments(&parameter.statement).unwrap()[0].when, Some(When::Expr(e)) if e.to_string() == "$1"));
}

#[test]
fn a_moment_that_is_left_over_fails() {
    let mut parsed = parse_one("select * from t {snapshot = 'a'} x join u", Options::default()).unwrap();
    assert!(ensure_stripped(&parsed.statement).is_err());
    let refused = strip(&mut parsed.statement.clone(), |_, _| Ok(false)).unwrap_err();
    assert!(refused.message.contains("BUG: the moment of table 't' was not resolved"), "{refused:?}");
    strip(&mut parsed.statement, |table, name| {
        assert_eq!((table.name.join("."), table.when.clone()), ("t".to_owned(), Some(snapshot("a"))));
        *name = sqlparser::ast::ObjectName::from(vec![sqlparser::ast::Ident::new("t@a")]);
        Ok(true)
    })
    .unwrap();
    ensure_stripped(&parsed.statement).unwrap();
    assert_eq!(tree(&parsed), "SELECT * FROM t@a x JOIN u");
}

#[test]
fn operators_bind_as_in_mysql() {
    fn shape(expr: &Expr) -> String {
        match expr {
            Expr::BinaryOp { left, op, right } => format!("({} {op} {})", shape(left), shape(right)),
            Expr::UnaryOp { op, expr } => format!("({op} {})", shape(expr)),
            Expr::Nested(inner) => shape(inner),
            Expr::Like { expr, pattern, .. } => format!("({} LIKE {})", shape(expr), shape(pattern)),
            Expr::Between { expr, low, high, .. } => {
                format!("({} BETWEEN {} AND {})", shape(expr), shape(low), shape(high))
            }
            Expr::Collate { expr, collation } => format!("({} COLLATE {collation})", shape(expr)),
            Expr::Cast { expr, data_type, .. } => format!("({data_type} {})", shape(expr)),
            Expr::IsNull(inner) => format!("({} IS NULL)", shape(inner)),
            other => other.to_string(),
        }
    }
    for (text, expected) in [
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("7 mod 3 * 2", "((7 % 3) * 2)"),
        ("a div b + c", "((a DIV b) + c)"),
        ("a div b div c", "((a DIV b) DIV c)"),
        ("-2 ^ 2", "((- 2) ^ 2)"),
        ("2 * 3 ^ 2", "(2 * (3 ^ 2))"),
        ("!a + 1", "((! a) + 1)"),
        ("~a | b & c", "((~ a) | (b & c))"),
        ("1 << 2 + 3", "(1 << (2 + 3))"),
        ("a & b << 1", "(a & (b << 1))"),
        ("not a = b", "(NOT (a = b))"),
        ("a or b xor c and d", "(a OR (b XOR (c AND d)))"),
        ("a || b && c", "(a OR (b AND c))"),
        ("a = b like c", "(a = (b LIKE c))"),
        ("a like b = c", "((a LIKE b) = c)"),
        ("a between 1 and 2 = 1", "((a BETWEEN 1 AND 2) = 1)"),
        ("a = b is null", "((a = b) IS NULL)"),
        ("a <=> b = c", "((a <=> b) = c)"),
        ("doc->'$.a' = 1", "((doc -> '$.a') = 1)"),
        ("binary a = b", "((BINARY a) = b)"),
        ("a collate x = b", "((a COLLATE x) = b)"),
        ("@a := @b + 1", "(@a := (@b + 1))"),
        ("a sounds like b", "(soundex(a) = soundex(b))"),
        ("1 - 2 - 3", "((1 - 2) - 3)"),
        ("a and b and c", "((a AND b) AND c)"),
    ] {
        let expr = parse_expr(text, Options::default()).unwrap_or_else(|error| panic!("{text}\n{error:?}"));
        assert_eq!(shape(&expr), expected, "{text}");
    }
}

#[test]
fn rewrites_keep_the_meaning() {
    for (text, expected) in [
        (
            "update a, b right join c on b.x = c.x set a.y = 1",
            "UPDATE a CROSS JOIN (b RIGHT JOIN c ON b.x = c.x) SET a.y = 1",
        ),
        ("select * from a left join (b, c) on a.x = b.x", "SELECT * FROM a LEFT JOIN (b CROSS JOIN c) ON a.x = b.x"),
        ("table t order by a", "SELECT * FROM t ORDER BY a"),
        ("select trim(leading from a)", "SELECT TRIM(LEADING a)"),
        ("select {ts '2026-01-01 00:00:00'}, {fn now()}", "SELECT TIMESTAMP '2026-01-01 00:00:00', now()"),
        ("insert t value (1)", "INSERT t VALUES (1)"),
        ("insert into `value` (value) values (1)", "INSERT INTO `value` (value) VALUES (1)"),
        ("delete a.* from a, b where a.x = b.x", "DELETE a FROM a, b WHERE a.x = b.x"),
        ("select cast(a as char(5) character set utf8mb4)", "SELECT CAST(a AS CHAR(5))"),
        ("select interval (1) + 2 day + now()", "SELECT INTERVAL (1) + 2 DAY + now()"),
        ("select interval(5, 1, 10)", "SELECT interval(5, 1, 10)"),
        ("select floor, floor(1.5) from t", "SELECT floor, FLOOR(1.5) FROM t"),
    ] {
        let parsed = parse_one(text, Options::default()).unwrap_or_else(|error| panic!("{text}\n{error:?}"));
        assert_eq!(tree(&parsed), expected);
    }
    assert_eq!(
        one("select a, b from t into @x, @y"),
        match one("select a, b from t") {
            Statement::Query(query) => Statement::SelectInto { query, variables: vec!["x".to_owned(), "y".to_owned()] },
            other => panic!("{other:?}"),
        }
    );
}

#[test]
fn set_items() {
    let variable = |scope, name: &str, value| SetItem::Variable { scope, name: name.to_owned(), value };
    let word = |word: &str| SetValue::Word(word.to_owned());
    use VariableScope::{Global, Persist, Session};
    for (text, expected) in [
        ("set sql_mode = default", vec![variable(Session, "sql_mode", SetValue::Default)]),
        (
            "set @@global.X = on, persist y = off",
            vec![variable(Global, "x", word("on")), variable(Persist, "y", word("off"))],
        ),
        ("set local a = binary", vec![variable(Session, "a", word("binary"))]),
        (
            "set names utf8mb4 collate 'c'",
            vec![SetItem::Names { charset: Some("utf8mb4".to_owned()), collate: Some("c".to_owned()) }],
        ),
        ("set names default", vec![SetItem::Names { charset: None, collate: None }]),
        ("set character set utf8", vec![SetItem::CharacterSet(Some("utf8".to_owned()))]),
        (
            "set session transaction isolation level read committed, read only",
            vec![SetItem::Transaction {
                scope: TransactionScope::Session,
                isolation: Some(Isolation::ReadCommitted),
                read_only: Some(true),
            }],
        ),
        ("set as_of = 'snapshot:s'", vec![SetItem::AsOf(Some(snapshot("s")))]),
        ("set @@session.as_of = 'version:42'", vec![SetItem::AsOf(Some(When::Version(42)))]),
        ("set as_of = 'time:2026-01-01 10:00:00'", vec![SetItem::AsOf(Some(time("2026-01-01 10:00:00")))]),
        ("set as_of = ''", vec![SetItem::AsOf(None)]),
        ("set as_of = default", vec![SetItem::AsOf(None)]),
        (
            "set password for 'a'@'h' = 'x'",
            vec![SetItem::Password {
                user: Some(UserName { name: "a".to_owned(), host: Some("h".to_owned()), current: false }),
                password: "x".to_owned(),
            }],
        ),
    ] {
        assert_eq!(one(text), Statement::Set(expected), "{text}");
    }
}

#[test]
fn load_data_with_all_and_with_nothing() {
    let Statement::Load(load) = one("load data infile 'f' into table t") else { panic!() };
    assert_eq!(
        (load.fields_terminated_by.as_str(), load.lines_terminated_by.as_str(), load.escaped_by),
        ("\t", "\n", Some('\\'))
    );
    assert_eq!((load.on_duplicate, load.enclosed_by, load.ignore_lines), (OnDuplicate::Error, None, 0));
    let Statement::Load(load) = one(
        "load data local infile 'f' replace into table d.t character set utf8 fields terminated by ',' optionally enclosed by '\"' \
         escaped by '' lines starting by '>' terminated by '\\r\\n' ignore 1 lines (a, @b) set c = @b + 1, d = f(1, 2)",
    ) else {
        panic!()
    };
    assert_eq!((load.local, load.on_duplicate, &load.table), (true, OnDuplicate::Replace, &table("d.t")));
    assert_eq!((load.enclosed_by, load.optionally_enclosed, load.escaped_by), (Some('"'), true, None));
    assert_eq!(
        (load.lines_starting_by.as_str(), load.lines_terminated_by.as_str(), load.ignore_lines),
        (">", "\r\n", 1)
    );
    assert_eq!(load.columns, [LoadColumn::Column("a".to_owned()), LoadColumn::Variable("b".to_owned())]);
    assert_eq!(
        load.assignments.iter().map(|(name, expr)| format!("{name}={expr}")).collect::<Vec<_>>(),
        ["c=@b + 1", "d=f(1, 2)"]
    );
}

#[test]
fn alter_table_in_parts() {
    let operations = |text: &str| match one(text) {
        Statement::AlterTable(alter) => alter.operations,
        other => panic!("{other:?}"),
    };
    assert_eq!(operations("alter table t add (a int, b varchar(3) default 'x,y'), engine = x").len(), 3);
    assert_eq!(
        operations(
            "alter table t drop key k, drop foreign key f, rename index a to b, rename to d.u, auto_increment = 7, disable keys"
        ),
        [
            AlterOperation::DropIndex { name: "k".to_owned(), if_exists: false },
            AlterOperation::DropForeignKey { name: "f".to_owned(), if_exists: false },
            AlterOperation::RenameIndex { from: "a".to_owned(), to: "b".to_owned() },
            AlterOperation::RenameTo(table("d.u")),
            AlterOperation::AutoIncrement(7),
            AlterOperation::Layout("disable keys".to_owned()),
        ]
    );
    let add = operations("alter table t add column if not exists a int after b");
    assert!(
        matches!(&add[0], AlterOperation::Sql(operation) if operation.to_string() == "ADD COLUMN IF NOT EXISTS a INT AFTER b"),
        "{add:?}"
    );
}

#[test]
fn users_grants_and_accounts() {
    let user = |name: &str, host: Option<&str>| UserName {
        name: name.to_owned(),
        host: host.map(str::to_owned),
        current: false,
    };
    for (text, expected) in [
        (
            "grant select, insert (a, b) on d.* to 'u'@'%', v@localhost with grant option",
            UserStatement::Grant(Grant {
                privileges: vec![
                    Privilege { name: "SELECT".to_owned(), columns: Vec::new() },
                    Privilege { name: "INSERT".to_owned(), columns: vec!["a".to_owned(), "b".to_owned()] },
                ],
                on: GrantOn::Database("d".to_owned()),
                users: vec![user("u", Some("%")), user("v", Some("localhost"))],
                grant_option: true,
                lenient: Lenient::default(),
            }),
        ),
        (
            "revoke all privileges on *.* from u",
            UserStatement::Revoke(Grant {
                privileges: vec![Privilege { name: "ALL".to_owned(), columns: Vec::new() }],
                on: GrantOn::Everything,
                users: vec![user("u", None)],
                grant_option: false,
                lenient: Lenient::default(),
            }),
        ),
        (
            "revoke if exists all privileges, grant option from u ignore unknown user",
            UserStatement::RevokeAll { users: vec![user("u", None)], lenient: Lenient { grants: true, users: true } },
        ),
        ("set role all except r", UserStatement::SetRole(RoleChoice::AllExcept(vec![user("r", None)]))),
        (
            "set default role r, 's'@'%' to u",
            UserStatement::SetDefaultRole {
                roles: RoleChoice::Roles(vec![user("r", None), user("s", Some("%"))]),
                users: vec![user("u", None)],
            },
        ),
        (
            "grant r to u",
            UserStatement::GrantRole { roles: vec![user("r", None)], users: vec![user("u", None)], with_admin: false },
        ),
        (
            "create user if not exists 'u'@'10.%' identified by 'p' account lock",
            UserStatement::Create {
                users: vec![UserSpec {
                    user: user("u", Some("10.%")),
                    auth: Auth::Password { plugin: None, password: "p".to_owned() },
                }],
                if_not_exists: true,
                options: UserOptions { locked: Some(true), ..UserOptions::default() },
            },
        ),
        (
            "alter user u default role r, s account unlock",
            UserStatement::Alter {
                users: vec![UserSpec { user: user("u", None), auth: Auth::Unsaid }],
                if_exists: false,
                options: UserOptions {
                    locked: Some(false),
                    comment: None,
                    default_role: Some(RoleChoice::Roles(vec![user("r", None), user("s", None)])),
                },
            },
        ),
    ] {
        assert_eq!(one(text), Statement::User(expected), "{text}");
    }
    assert_eq!(
        one("CREATE ACCOUNT `a` ADMIN_NAME 'u' IDENTIFIED BY 'p'"),
        Statement::Account(AccountStatement::Create {
            name: "a".to_owned(),
            if_not_exists: false,
            admin: "u".to_owned(),
            password: "p".to_owned(),
            status: None,
            comment: None,
        })
    );
}

#[test]
fn transactions() {
    let begin = |consistent_snapshot, read_only| Statement::Begin { consistent_snapshot, read_only, at: None };
    for (text, expected) in [
        ("begin", begin(false, false)),
        ("start transaction /*!40100 with consistent snapshot */", begin(true, false)),
        ("start transaction with consistent snapshot, read only", begin(true, true)),
        ("commit and chain", Statement::Commit { chain: true, release: false }),
        (
            "rollback work to savepoint a",
            Statement::Rollback { to: Some("a".to_owned()), chain: false, release: false },
        ),
        ("kill query 5", Statement::Kill { id: 5, query: true }),
        (
            "execute s using @a, @b",
            Statement::Execute { name: "s".to_owned(), using: vec!["a".to_owned(), "b".to_owned()] },
        ),
    ] {
        assert_eq!(one(text), expected, "{text}");
    }
    assert_eq!(
        one("start transaction read only as of timestamp '2026'"),
        Statement::Begin { consistent_snapshot: false, read_only: true, at: Some(time("2026")) }
    );
}
