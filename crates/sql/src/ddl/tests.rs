//! Definitions from SQL text to SHOW CREATE and back.

use std::sync::Mutex;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use strandline_core::db::{Database as Store, Options as StoreOptions, SYS};
use strandline_core::env::Env;
use strandline_core::txn::Author;

use super::*;
use crate::create_text::{create_table_text, create_view_text};
use crate::parse::{Options, Statement, parse_one};

/// Answers what DDL asks of a planner: columns and rows as told, and remembers what it was asked.
#[derive(Default)]
struct Told {
    columns: Vec<SelectColumn>,
    /// A SELECT that holds one of these texts returns a row.
    rows_for: Vec<&'static str>,
    asked: Mutex<Vec<String>>,
    converted: Mutex<Vec<Source>>,
}

#[async_trait]
impl Queries for Told {
    async fn describe(&self, _: &mut Txn, _: Option<&str>, _: &str) -> Result<Vec<SelectColumn>> {
        Ok(self.columns.clone())
    }

    async fn rows(&self, _: &mut Txn, _: Option<&str>, select: &str) -> Result<Vec<RecordBatch>> {
        self.asked.lock().unwrap().push(select.to_owned());
        if !self.rows_for.iter().any(|text| select.contains(text)) {
            return Ok(Vec::new());
        }
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
        Ok(vec![RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![7]))]).unwrap()])
    }

    async fn convert(
        &self,
        _: &mut Txn,
        _: &Arc<Table>,
        _: &Table,
        sources: Vec<Source>,
    ) -> Result<BoxStream<'static, CoreResult<RecordBatch>>> {
        *self.converted.lock().unwrap() = sources;
        Ok(Box::pin(futures::stream::empty()))
    }

    async fn insert_select(
        &self,
        _: &mut Txn,
        _: &Arc<Table>,
        columns: &[String],
        _: Option<&str>,
        select: &str,
    ) -> Result<u64> {
        self.asked.lock().unwrap().push(format!("INSERT ({}) {select}", columns.join(",")));
        Ok(3)
    }
}

struct Session {
    txn: Txn,
    told: Told,
    warnings: Vec<Warning>,
    foreign_key_checks: bool,
}

impl Session {
    async fn new() -> Session {
        let options = StoreOptions { env: Env::fixed(Time(1_700_000_000_000_000), 1), ..StoreOptions::default() };
        let store = Store::in_memory(options).await.unwrap();
        let txn = store.begin(Author { account: SYS, name: "root@localhost".to_owned() });
        let mut session = Session { txn, told: Told::default(), warnings: Vec::new(), foreign_key_checks: true };
        session.ok("CREATE DATABASE d").await;
        session
    }

    async fn run(&mut self, sql: &str) -> Result<Done> {
        self.warnings.clear();
        let zone = TimeZone::UTC;
        let parsed = parse_one(sql, Options::default())?;
        let mut cx = Ddl {
            txn: &mut self.txn,
            account: SYS,
            database: Some("d"),
            user: "root@localhost",
            rights: &crate::access::Rights::everything(),
            foreign_key_checks: self.foreign_key_checks,
            zone: &zone,
            now: Time(1_700_000_000_000_000),
            warnings: &mut self.warnings,
            queries: &self.told,
        };
        let cx = &mut cx;
        match &parsed.statement {
            Statement::CreateTable(create) => create_table(cx, create, None).await,
            Statement::CreateView(create) => create_view(cx, create).await,
            Statement::AlterTable(alter) => alter_table(cx, alter).await,
            Statement::DropTable { tables, if_exists, temporary } => {
                drop_tables(cx, tables, *if_exists, *temporary).await
            }
            Statement::DropView { views, if_exists } => drop_views(cx, views, *if_exists).await,
            Statement::RenameTable(pairs) => rename_tables(cx, pairs).await,
            Statement::Truncate(name) => truncate_table(cx, name).await,
            Statement::CreateDatabase { name, if_not_exists, options } => {
                create_database(cx, name, *if_not_exists, options).await
            }
            Statement::DropDatabase { name, if_exists } => drop_database(cx, name, *if_exists).await,
            Statement::CreateIndex { index, kind } => create_index(cx, index, *kind).await,
            Statement::DropIndex { name, table, if_exists } => drop_index(cx, table, name, *if_exists).await,
            other => panic!("{other:?} is no definition"),
        }
    }

    async fn ok(&mut self, sql: &str) -> Done {
        self.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    async fn code(&mut self, sql: &str) -> u16 {
        match self.run(sql).await {
            Ok(_) => 0,
            Err(error) => error.code,
        }
    }

    fn table(&self, name: &str) -> Arc<Table> {
        let database = self.txn.catalog().database(SYS, "d").unwrap();
        self.txn.catalog().table(database, name).unwrap().clone()
    }

    fn shown(&self, name: &str) -> String {
        create_table_text(&self.table(name), None)
    }
}

#[tokio::test]
async fn show_create_table_parses_back_to_the_same_definition() {
    let mut s = Session::new().await;
    s.ok("CREATE TABLE p (a INT, b VARCHAR(10), PRIMARY KEY (a), UNIQUE KEY u (b, a)) COMMENT 'it''s'").await;
    let create = "CREATE TABLE `t` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT,
  `Name` varchar(20) NOT NULL DEFAULT 'it''s \\\\ a',
  `n` int DEFAULT '-5',
  `price` decimal(10,2) NOT NULL DEFAULT '0.50' COMMENT 'in €',
  `flag` tinyint(1) DEFAULT '1',
  `bits` bit(3) DEFAULT b'101',
  `e` enum('a','b''c') NOT NULL DEFAULT 'b''c',
  `s` set('x','y') DEFAULT 'x,y',
  `d` date DEFAULT '2024-02-29',
  `dt` datetime(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  `ts` timestamp NULL DEFAULT NULL,
  `tt` time DEFAULT '25:00:00',
  `y` year DEFAULT '2024',
  `body` text,
  `blob` longblob,
  `j` json DEFAULT (json_array(1, 2)),
  `f` double DEFAULT '1.5',
  `vb` varbinary(8) DEFAULT 'ab',
  `back``tick` int NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `u` (`Name`,`n`) COMMENT 'why',
  KEY `k` (`body`(10),`n`),
  KEY `fk` (`n`,`Name`),
  CONSTRAINT `c` FOREIGN KEY (`n`) REFERENCES `p` (`a`) ON DELETE RESTRICT,
  CONSTRAINT `pos` CHECK (`n` > 0 OR `n` IS NULL)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin COMMENT='text'";
    s.ok(create).await;
    let shown = s.shown("t");
    assert_eq!(shown, create);
    let first = s.table("t");
    s.ok("DROP TABLE t").await;
    s.ok(&shown).await;
    let mut second = (*s.table("t")).clone();
    second.id = first.id;
    assert_eq!(second, *first);
}

#[test]
fn expressions_keep_their_meaning_as_text() {
    use crate::parse::parse_expr;
    let texts = [
        "a DIV 2",
        "a MOD 2",
        "a % 2",
        "a XOR b",
        "NOT a",
        "! a",
        "a && b || c",
        "a <=> b",
        "a LIKE '\\\\%' ",
        "'it''s \\\\ \n'",
        "date_add(a, INTERVAL 1 DAY)",
        "a + INTERVAL 1 DAY",
        "CAST(a AS UNSIGNED)",
        "CAST(a AS CHAR(5))",
        "x'00ff'",
        "a REGEXP '^x'",
        "a RLIKE 'x'",
        "CASE WHEN a > 1 THEN 'x' ELSE 'y' END",
        "uuid()",
        "current_timestamp(6)",
        "`od``d` IN (1, 2)",
        "a BETWEEN 1 AND 2",
        "a IS NOT NULL",
        "(a)",
        "-a",
        "~a",
        "a -> '$.x'",
        "a ->> '$.x'",
        "\"quoted\"",
        "a << 2 | 1 ^ 3",
        "binary a = 'x'",
        "a SOUNDS LIKE b",
        "json_valid(a)",
        "a IS TRUE",
        "0x1F",
        "b'101'",
        "1e3",
        "1.50",
    ];
    for text in texts {
        let first = parse_expr(text, Options::default()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let kept = spec::expression_text(&first);
        let second =
            parse_expr(&kept, Options::default()).unwrap_or_else(|error| panic!("{text} as {kept}: {error:?}"));
        assert_eq!(spec::expression_text(&second), kept, "{text}");
        assert_eq!(without_spans(&second), without_spans(&first), "{text} as {kept}");
    }
}

/// Prints a tree with all that it holds but where it stood.
fn without_spans(expr: &sqlparser::ast::Expr) -> String {
    regex::Regex::new(r"Location\(\d+,\d+\)").unwrap().replace_all(&format!("{expr:?}"), "").into_owned()
}

#[tokio::test]
async fn what_a_dump_of_mariadb_says_is_understood() {
    let mut s = Session::new().await;
    s.ok("CREATE TABLE `t` (
      `id` int(11) NOT NULL AUTO_INCREMENT,
      `u` int(10) unsigned DEFAULT NULL,
      `name` varchar(255) CHARACTER SET latin1 COLLATE latin1_swedish_ci DEFAULT NULL,
      `c` char(3) COLLATE utf8mb4_general_ci NOT NULL DEFAULT 'abc',
      `ts` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
      PRIMARY KEY (`id`), KEY `name_idx` (`name`(10)) USING BTREE
    ) ENGINE=MyISAM AUTO_INCREMENT=42 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci ROW_FORMAT=DYNAMIC")
        .await;
    let codes: Vec<u16> = s.warnings.iter().map(|warning| warning.code).collect();
    assert!(codes.contains(&1266) && codes.contains(&1235), "{:?}", s.warnings);
    let table = s.table("t");
    assert_eq!(table.columns[4].default.as_deref(), Some("CURRENT_TIMESTAMP"));
    assert_eq!(table.columns[4].on_update.as_deref(), Some("CURRENT_TIMESTAMP"));
    assert_eq!(table.columns[0].declared, "int");
    assert_eq!(s.txn.peek_auto(&table).unwrap(), 42);
    s.ok("ALTER TABLE t DISABLE KEYS").await;
}

#[tokio::test]
async fn definitions_that_make_no_sense_get_mysqls_codes() {
    let mut s = Session::new().await;
    s.ok("CREATE TABLE p (a INT PRIMARY KEY, b INT, c VARCHAR(5))").await;
    for (sql, code) in [
        ("CREATE TABLE p (a INT)", 1050),
        ("CREATE TABLE x.t (a INT)", 1049),
        ("CREATE TABLE mysql.t (a INT)", 1044),
        ("CREATE TABLE t (a INT, A INT)", 1060),
        ("CREATE TABLE t (a INT, KEY (b))", 1072),
        ("CREATE TABLE t (a INT PRIMARY KEY, b INT, PRIMARY KEY (b))", 1068),
        ("CREATE TABLE t (a INT, KEY k (a), KEY K (a))", 1061),
        ("CREATE TABLE t (a INT AUTO_INCREMENT)", 1075),
        ("CREATE TABLE t (a VARCHAR(5) AUTO_INCREMENT PRIMARY KEY)", 1063),
        ("CREATE TABLE t (a INT DEFAULT 'x')", 1067),
        ("CREATE TABLE t (a INT NOT NULL DEFAULT NULL)", 1067),
        ("CREATE TABLE t (a TEXT DEFAULT 'x')", 1101),
        ("CREATE TABLE t (a TEXT, KEY (a))", 1170),
        ("CREATE TABLE t (a INT NULL, PRIMARY KEY (a))", 1171),
        ("CREATE TABLE t (a VARCHAR(20), UNIQUE (a(5)))", 1235),
        ("CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a + 1))", 1235),
        ("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES nowhere (a))", 1824),
        ("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES p (b))", 1822),
        ("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES p (z))", 3734),
        ("CREATE TABLE t (a BIGINT, FOREIGN KEY (a) REFERENCES p (a))", 3780),
        ("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES p (a, b))", 1239),
        ("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES p (a) ON DELETE CASCADE)", 1235),
        ("DROP TABLE p, q, r", 1051),
        ("DROP VIEW p", 1347),
        ("DROP DATABASE nothing", 1008),
        ("CREATE DATABASE d", 1007),
        ("CREATE DATABASE mysql", 1007),
        ("ALTER TABLE p DROP COLUMN z", 1091),
        ("ALTER TABLE p DROP INDEX z", 1091),
        ("ALTER TABLE p ADD COLUMN a INT", 1060),
        ("ALTER TABLE p MODIFY z INT", 1054),
        ("ALTER TABLE p ADD PRIMARY KEY (b)", 1068),
        ("ALTER TABLE q ADD COLUMN a INT", 1146),
        ("TRUNCATE q", 1146),
        ("RENAME TABLE q TO r", 1146),
    ] {
        assert_eq!(s.code(sql).await, code, "{sql}");
    }
    assert_eq!(s.txn.catalog().tables_of(s.table("p").database).len(), 1);
}

#[tokio::test]
async fn what_exists_already_is_a_note_where_that_was_asked_for() {
    let mut s = Session::new().await;
    s.ok("CREATE TABLE t (a INT)").await;
    for (sql, code) in [
        ("CREATE TABLE IF NOT EXISTS t (b INT)", 1050),
        ("CREATE DATABASE IF NOT EXISTS d", 1007),
        ("DROP TABLE IF EXISTS nothing", 1051),
        ("DROP VIEW IF EXISTS nothing", 1051),
        ("DROP DATABASE IF EXISTS nothing", 1008),
    ] {
        assert_eq!(s.ok(sql).await.warnings, 1, "{sql}");
        assert_eq!(s.warnings[0].code, code, "{sql}");
    }
    assert_eq!(s.table("t").columns[0].name, "a");
}

#[tokio::test]
async fn parents_are_kept_and_followed() {
    let mut s = Session::new().await;
    s.ok("CREATE TABLE p (a INT PRIMARY KEY)").await;
    s.ok("CREATE TABLE c (x INT, CONSTRAINT fk FOREIGN KEY (x) REFERENCES p (a))").await;
    assert_eq!(s.code("DROP TABLE p").await, 3730);
    assert_eq!(s.code("TRUNCATE p").await, 1701);
    assert_eq!(s.code("ALTER TABLE p DROP COLUMN a").await, 1090);
    assert_eq!(s.code("ALTER TABLE c DROP INDEX fk").await, 1553);
    assert_eq!(s.code("ALTER TABLE c DROP COLUMN x, ADD COLUMN y INT").await, 1090);
    assert_eq!(s.code("ALTER TABLE p MODIFY a BIGINT").await, 1833);
    s.ok("ALTER TABLE p RENAME COLUMN a TO id").await;
    s.ok("RENAME TABLE p TO parent").await;
    let key = &s.table("c").foreign_keys[0];
    assert_eq!((key.parent_table.as_str(), key.parent_columns[0].as_str()), ("parent", "id"));
    s.ok("CREATE DATABASE other").await;
    s.ok("RENAME TABLE parent TO other.parent").await;
    assert_eq!(s.table("c").foreign_keys[0].parent_database.as_deref(), Some("other"));
    assert_eq!(s.code("DROP DATABASE other").await, 3730);
    s.ok("RENAME TABLE other.parent TO parent").await;
    assert_eq!(s.table("c").foreign_keys[0].parent_database, None);
    s.ok("DROP TABLE parent, c").await;
}

#[tokio::test]
async fn alter_changes_the_definition_and_rebuilds_only_for_types_and_keys() {
    let mut s = Session::new().await;
    s.ok("CREATE TABLE t (a INT PRIMARY KEY, b VARCHAR(5), KEY kb (b))").await;
    s.ok("ALTER TABLE t ADD COLUMN c INT NOT NULL DEFAULT 7 FIRST, ADD d DATETIME DEFAULT CURRENT_TIMESTAMP AFTER a")
        .await;
    s.ok("ALTER TABLE t MODIFY b VARCHAR(10) NOT NULL, RENAME INDEX kb TO kb2, COMMENT = 'x', ALTER c SET DEFAULT 8")
        .await;
    assert!(s.told.converted.lock().unwrap().is_empty(), "nothing so far needs other rows");
    let table = s.table("t");
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["c", "a", "d", "b"]);
    assert_eq!(table.columns[0].initial, Some(strandline_core::schema::Initial::Int(7)));
    assert_eq!(table.columns[0].default.as_deref(), Some("'8'"));
    assert_eq!(table.column("b").map(|b| (b.id, b.nullable)), Some((ColumnId(2), false)));
    assert!(s.told.asked.lock().unwrap()[0].contains("IS NULL"), "NOT NULL is checked");
    assert_eq!((table.indexes[0].name.as_str(), table.comment.as_str()), ("kb2", "x"));

    s.ok("ALTER TABLE t CHANGE b bb INT, ADD COLUMN e INT DEFAULT (1 + 1), ADD COLUMN f INT DEFAULT 3").await;
    let table = s.table("t");
    assert_ne!(table.column("bb").unwrap().id, ColumnId(2), "a change of type makes another column");
    assert_eq!(table.indexes[0].columns, [table.column("bb").unwrap().id]);
    let expected = [
        Source::Column(ColumnId(3)),
        Source::Column(ColumnId(1)),
        Source::Column(ColumnId(4)),
        Source::Column(ColumnId(2)),
        Source::Expression("(1 + 1)".to_owned()),
        Source::Expression("'3'".to_owned()),
    ];
    assert_eq!(*s.told.converted.lock().unwrap(), expected);

    s.told.converted.lock().unwrap().clear();
    s.ok("CREATE TABLE j (a JSON, b ENUM('x'), c VARCHAR(9), d TIMESTAMP NULL)").await;
    s.ok("ALTER TABLE j MODIFY b ENUM('x', 'y'), MODIFY c TEXT").await;
    assert!(s.told.converted.lock().unwrap().is_empty());
    for narrower in ["a VARCHAR(2)", "b ENUM('y')", "c VARCHAR(3)", "d DATETIME"] {
        s.ok(&format!("ALTER TABLE j MODIFY {narrower}")).await;
        assert!(!std::mem::take(&mut *s.told.converted.lock().unwrap()).is_empty(), "{narrower}");
    }

    s.ok("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (c, a)").await;
    assert_eq!(s.table("t").primary_key, [ColumnId(3), ColumnId(1)]);
    s.ok("ALTER TABLE t RENAME TO u, ADD UNIQUE (d)").await;
    assert_eq!(s.table("u").indexes[1].name, "d");
}

#[tokio::test]
async fn rows_are_held_against_new_constraints() {
    let mut s = Session::new().await;
    s.ok("CREATE TABLE p (a INT PRIMARY KEY)").await;
    s.ok("CREATE TABLE t (a INT, b INT)").await;
    s.told.rows_for = vec!["HAVING COUNT(*) > 1", "LEFT JOIN", "WHERE NOT (", "IS NULL LIMIT"];
    assert_eq!(s.code("ALTER TABLE t ADD UNIQUE (a)").await, 1062);
    assert_eq!(s.code("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p (a)").await, 1452);
    assert_eq!(s.code("ALTER TABLE t ADD CHECK (a > 0)").await, 3819);
    assert_eq!(s.code("ALTER TABLE t MODIFY a INT NOT NULL").await, 1138);
    s.foreign_key_checks = false;
    s.ok("ALTER TABLE t ADD CONSTRAINT late FOREIGN KEY (b) REFERENCES nowhere (a)").await;
}

#[tokio::test]
async fn columns_under_a_check_stay() {
    let mut s = Session::new().await;
    s.ok("CREATE TABLE t (a INT CHECK (a > 0), b INT)").await;
    assert_eq!(s.code("ALTER TABLE t DROP COLUMN a").await, 3959);
    assert_eq!(s.code("ALTER TABLE t DROP CHECK nothing").await, 3821);
    s.ok("ALTER TABLE t DROP CHECK t_chk_1, DROP COLUMN a").await;
    assert!(attributes::checks(&s.table("t")).is_empty());
}

#[tokio::test]
async fn like_as_select_and_views() {
    let mut s = Session::new().await;
    s.ok("CREATE TABLE t (a INT PRIMARY KEY AUTO_INCREMENT, b INT CHECK (b > 0), KEY (b))").await;
    s.ok("CREATE TABLE l LIKE t").await;
    assert_eq!(s.shown("l").replace("`l", "`t"), s.shown("t").replace("`l", "`t"));

    let column =
        |name: &str, declared: &str| SelectColumn { name: name.into(), declared: declared.into(), nullable: true };
    s.told.columns = vec![column("x", "bigint unsigned"), column("y", "varchar(3)")];
    let done = s.ok("CREATE TABLE n (id INT PRIMARY KEY, y TEXT) AS SELECT x, y FROM t").await;
    assert_eq!(done.affected_rows, 3);
    let declared: Vec<String> = s.table("n").columns.iter().map(|c| format!("{} {}", c.name, c.declared)).collect();
    assert_eq!(declared, ["id int", "y text", "x bigint unsigned"]);

    s.ok("CREATE VIEW v (p, q) AS SELECT x, y FROM t").await;
    let view = s.table("v");
    assert_eq!(view.view.as_deref(), Some("SELECT x, y FROM t"));
    assert_eq!(view.columns[1].name, "q");
    assert_eq!(
        create_view_text("d", &view),
        "CREATE ALGORITHM=UNDEFINED DEFINER=`root`@`localhost` SQL SECURITY DEFINER VIEW `v` (`p`,`q`) AS SELECT x, y FROM t"
    );
    assert_eq!(s.code("CREATE VIEW v AS SELECT x FROM t").await, 1050);
    assert_eq!(s.code("CREATE VIEW w (a) AS SELECT x, y FROM t").await, 1353);
    assert_eq!(s.code("CREATE OR REPLACE VIEW t AS SELECT 1").await, 1347);
    assert_eq!(s.code("DROP TABLE v").await, 1051);
    assert_eq!(s.code("ALTER TABLE v ADD COLUMN a INT").await, 1347);
    s.ok("CREATE OR REPLACE VIEW v AS SELECT x, y FROM t").await;
    assert_eq!(s.table("v").id, view.id);
    s.ok("DROP VIEW v").await;
}
