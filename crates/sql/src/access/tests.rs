//! Every kind of statement with what it needs: without any one of its privileges it fails and changes nothing, with
//! exactly these it passes.

use std::sync::Arc;

use futures::StreamExt;
use strandline_core::db::{Database, Options, SYS};
use strandline_core::env::Env;
use strandline_core::ids::Time;

use crate::api::{Login, Outcome};
use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::parse::{HistoryStatement as H, MatrixOne as M, Statement as S, parse_one};
use crate::session::Session;

/// What root has made before each case.
const WORLD: &[&str] = &[
    "CREATE DATABASE d",
    "CREATE DATABASE e",
    "CREATE TABLE d.t (id INT PRIMARY KEY, a INT, b INT, KEY k (b))",
    "INSERT INTO d.t VALUES (1, 10, 100), (2, 20, 200)",
    "CREATE TABLE d.u (id INT PRIMARY KEY, x INT)",
    "INSERT INTO d.u VALUES (1, 1)",
    "CREATE TABLE d.gone (id INT PRIMARY KEY)",
    "CREATE TABLE e.y (id INT PRIMARY KEY)",
    "CREATE VIEW d.v AS SELECT id, a FROM d.t",
    "CREATE USER u",
    "CREATE USER other",
    "CREATE ROLE r",
    "GRANT SELECT ON d.u TO other",
    "CREATE PITR p FOR DATABASE d RANGE 2 'd'",
    "CREATE SCHEDULE nightly FOR TABLE d.t CRON '0 2 * * *'",
    "SET RETENTION FOR TABLE d.t KEEP LAST 3",
    "CREATE SNAPSHOT s FOR DATABASE d",
    "DROP TABLE d.gone",
    "UPDATE d.t SET a = 11 WHERE id = 1",
    "CREATE TABLE d.later (id INT)",
];

/// A statement, and each privilege that it needs with the code of the error where that one is missing.
type Case = (&'static str, &'static [(&'static str, u16)]);

const CASES: &[Case] = &[
    ("SELECT * FROM d.t", &[("SELECT ON d.t", 1142)]),
    ("SELECT a FROM d.t WHERE id = 1", &[("SELECT (a) ON d.t", 1143), ("SELECT (id) ON d.t", 1143)]),
    ("SELECT count(*) FROM d.t", &[("SELECT (b) ON d.t", 1142)]),
    (
        "WITH c AS (SELECT id FROM d.t) SELECT c.id, u.x FROM c JOIN d.u u USING (id)",
        &[("SELECT ON d.t", 1142), ("SELECT ON d.u", 1142)],
    ),
    ("SELECT id FROM d.v", &[("SELECT ON d.v", 1142)]),
    ("SELECT (SELECT max(x) FROM d.u)", &[("SELECT ON d.u", 1142)]),
    ("SELECT user FROM mysql.user", &[("SELECT ON mysql.*", 1142)]),
    ("SELECT a FROM d.t WHERE id = 1 INTO @a", &[("SELECT ON d.t", 1142)]),
    ("DO (SELECT max(x) FROM d.u)", &[("SELECT ON d.u", 1142)]),
    ("SET @a = (SELECT max(x) FROM d.u)", &[("SELECT ON d.u", 1142)]),
    ("EXPLAIN SELECT * FROM d.t", &[("SELECT ON d.t", 1142)]),
    ("INSERT INTO d.t VALUES (9, 9, 9)", &[("INSERT ON d.t", 1142)]),
    ("INSERT INTO d.t (id, a) VALUES (9, 9)", &[("INSERT (id) ON d.t", 1143), ("INSERT (a) ON d.t", 1143)]),
    ("INSERT INTO d.t SELECT id + 5, x, x FROM d.u", &[("INSERT ON d.t", 1142), ("SELECT ON d.u", 1142)]),
    ("INSERT INTO d.t VALUES (7, (SELECT max(x) FROM d.u), 7)", &[("INSERT ON d.t", 1142), ("SELECT ON d.u", 1142)]),
    (
        "INSERT INTO d.t VALUES (1, 1, 1) ON DUPLICATE KEY UPDATE a = VALUES(a)",
        &[("INSERT ON d.t", 1142), ("UPDATE (a) ON d.t", 1142)],
    ),
    (
        "INSERT INTO d.t VALUES (1, 1, 1) ON DUPLICATE KEY UPDATE a = b",
        &[("INSERT ON d.t", 1142), ("UPDATE ON d.t", 1142), ("SELECT (b) ON d.t", 1143)],
    ),
    ("REPLACE INTO d.t VALUES (1, 1, 1)", &[("INSERT ON d.t", 1142), ("DELETE ON d.t", 1142)]),
    ("UPDATE d.t SET a = 5", &[("UPDATE (a) ON d.t", 1142)]),
    ("UPDATE d.t SET a = 5 WHERE id = 1", &[("UPDATE ON d.t", 1142), ("SELECT (id) ON d.t", 1143)]),
    ("UPDATE d.t SET a = b + 1", &[("UPDATE ON d.t", 1142), ("SELECT (b) ON d.t", 1143)]),
    (
        "UPDATE d.t SET a = 1 WHERE EXISTS (SELECT * FROM d.t AS other)",
        &[("UPDATE ON d.t", 1142), ("SELECT ON d.t", 1142)],
    ),
    (
        "UPDATE d.t JOIN d.u ON t.id = u.id SET t.a = u.x",
        &[("UPDATE ON d.t", 1142), ("SELECT (id) ON d.t", 1143), ("SELECT ON d.u", 1142)],
    ),
    ("DELETE FROM d.t", &[("DELETE ON d.t", 1142)]),
    ("DELETE FROM d.t WHERE b = 100", &[("DELETE ON d.t", 1142), ("SELECT (b) ON d.t", 1143)]),
    (
        "DELETE t FROM d.t JOIN d.u ON t.id = u.id",
        &[("DELETE ON d.t", 1142), ("SELECT (id) ON d.t", 1143), ("SELECT ON d.u", 1142)],
    ),
    (
        "LOAD DATA INFILE 'rows.csv' INTO TABLE d.t FIELDS TERMINATED BY ','",
        &[("FILE ON *.*", 1227), ("INSERT ON d.t", 1142)],
    ),
    (
        "LOAD DATA INFILE 'rows.csv' REPLACE INTO TABLE d.t FIELDS TERMINATED BY ',' (id, a, b)",
        &[("FILE ON *.*", 1227), ("INSERT ON d.t", 1142), ("DELETE ON d.t", 1142)],
    ),
    ("CREATE TABLE e.n (x INT)", &[("CREATE ON e.n", 1142)]),
    ("CREATE TABLE e.n LIKE d.t", &[("CREATE ON e.*", 1142), ("SELECT ON d.t", 1142)]),
    (
        "CREATE TABLE e.n AS SELECT a FROM d.t",
        &[("CREATE ON e.*", 1142), ("INSERT ON e.*", 1142), ("SELECT ON d.t", 1142)],
    ),
    (
        "CREATE TABLE e.n (x INT, FOREIGN KEY (x) REFERENCES d.t (id))",
        &[("CREATE ON e.*", 1142), ("REFERENCES ON d.t", 1142)],
    ),
    ("CREATE VIEW e.w AS SELECT a FROM d.t", &[("CREATE VIEW ON e.*", 1142), ("SELECT ON d.t", 1142)]),
    ("CREATE OR REPLACE VIEW d.v AS SELECT 1 AS one", &[("CREATE VIEW ON d.v", 1142), ("DROP ON d.v", 1142)]),
    ("CREATE DEFINER = root VIEW e.w AS SELECT 1 AS one", &[("CREATE VIEW ON e.*", 1142), ("SUPER ON *.*", 1227)]),
    ("ALTER TABLE d.t ADD COLUMN c INT", &[("ALTER ON d.t", 1142)]),
    ("ALTER TABLE d.t MODIFY a BIGINT", &[("ALTER ON d.t", 1142)]),
    (
        "ALTER TABLE d.u ADD FOREIGN KEY (id) REFERENCES d.t (id)",
        &[("ALTER ON d.u", 1142), ("REFERENCES ON d.t", 1142)],
    ),
    (
        "ALTER TABLE d.u RENAME TO e.u",
        &[("ALTER ON d.u", 1142), ("DROP ON d.u", 1142), ("CREATE ON e.*", 1142), ("INSERT ON e.*", 1142)],
    ),
    (
        "RENAME TABLE d.u TO e.u",
        &[("ALTER ON d.u", 1142), ("DROP ON d.u", 1142), ("CREATE ON e.*", 1142), ("INSERT ON e.*", 1142)],
    ),
    ("TRUNCATE TABLE d.t", &[("DROP ON d.t", 1142)]),
    ("DROP TABLE d.t", &[("DROP ON d.t", 1142)]),
    ("DROP VIEW d.v", &[("DROP ON d.v", 1142)]),
    ("CREATE INDEX i ON d.t (a)", &[("INDEX ON d.t", 1142)]),
    ("DROP INDEX k ON d.t", &[("INDEX ON d.t", 1142)]),
    ("CREATE DATABASE n", &[("CREATE ON n.*", 1044)]),
    ("ALTER DATABASE d CHARACTER SET utf8mb4", &[("ALTER ON d.*", 1044)]),
    ("DROP DATABASE d", &[("DROP ON d.*", 1044)]),
    ("USE d", &[("SELECT (a) ON d.t", 1044)]),
    ("SHOW TABLES FROM d", &[("DELETE ON d.t", 1044)]),
    ("SHOW TABLE STATUS FROM d", &[("DELETE ON d.t", 1044)]),
    ("SHOW COLUMNS FROM d.t", &[("SELECT (a) ON d.t", 1142)]),
    ("SHOW INDEX FROM d.t", &[("INSERT ON d.t", 1142)]),
    ("SHOW CREATE TABLE d.t", &[("INDEX ON d.t", 1142)]),
    ("SHOW CREATE VIEW d.v", &[("SELECT ON d.v", 1142), ("SHOW VIEW ON d.v", 1142)]),
    ("SHOW CREATE TABLE d.v", &[("SELECT ON d.v", 1142), ("SHOW VIEW ON d.v", 1142)]),
    ("SHOW CREATE DATABASE d", &[("EVENT ON d.*", 1044)]),
    ("SHOW CREATE USER other", &[("SELECT ON mysql.*", 1044)]),
    ("SHOW GRANTS FOR other", &[("SELECT ON mysql.*", 1044)]),
    ("SHOW MASTER STATUS", &[("REPLICATION CLIENT ON *.*", 1227)]),
    ("DESCRIBE d.t", &[("UPDATE (b) ON d.t", 1142)]),
    ("SET GLOBAL wait_timeout = 100", &[("SUPER ON *.*", 1227)]),
    ("COLLECT GARBAGE", &[("SUPER ON *.*", 1227)]),
    ("EXPLAIN COLLECT GARBAGE", &[("SUPER ON *.*", 1227)]),
    ("SET GLOBAL TRANSACTION READ WRITE", &[("SUPER ON *.*", 1227)]),
    ("SET PASSWORD FOR other = 'x'", &[("CREATE USER ON *.*", 1227)]),
    ("CREATE USER n", &[("CREATE USER ON *.*", 1227)]),
    ("ALTER USER other ACCOUNT LOCK", &[("CREATE USER ON *.*", 1227)]),
    ("ALTER USER u ACCOUNT UNLOCK", &[("CREATE USER ON *.*", 1227)]),
    ("DROP USER other", &[("CREATE USER ON *.*", 1227)]),
    ("RENAME USER other TO another", &[("CREATE USER ON *.*", 1227)]),
    ("CREATE ROLE n", &[("CREATE ROLE ON *.*", 1227)]),
    ("CREATE ROLE m", &[("CREATE USER ON *.*", 1227)]),
    ("DROP ROLE r", &[("DROP ROLE ON *.*", 1227)]),
    ("GRANT SELECT ON d.t TO other", &[("SELECT ON d.t", 1142), ("GRANT OPTION ON d.t", 1142)]),
    ("GRANT SELECT (a) ON d.t TO other", &[("SELECT (a) ON d.t", 1142), ("GRANT OPTION ON d.t", 1142)]),
    ("GRANT SELECT ON d.* TO other", &[("SELECT ON d.*", 1044), ("GRANT OPTION ON d.*", 1044)]),
    ("GRANT SELECT ON *.* TO other", &[("SELECT ON *.*", 1227), ("GRANT OPTION ON *.*", 1227)]),
    ("REVOKE SELECT ON d.u FROM other", &[("SELECT ON d.u", 1142), ("GRANT OPTION ON d.u", 1142)]),
    ("REVOKE ALL PRIVILEGES, GRANT OPTION FROM other", &[("CREATE USER ON *.*", 1227)]),
    ("GRANT r TO other", &[("SUPER ON *.*", 1227)]),
    ("REVOKE IF EXISTS r FROM other", &[("SUPER ON *.*", 1227)]),
    ("SET DEFAULT ROLE NONE TO other", &[("CREATE USER ON *.*", 1227)]),
    ("ALTER USER other DEFAULT ROLE ALL", &[("CREATE USER ON *.*", 1227)]),
    ("CREATE USER n DEFAULT ROLE r", &[("CREATE USER ON *.*", 1227), ("SUPER ON *.*", 1227)]),
    ("CREATE ACCOUNT a ADMIN_NAME 'x' IDENTIFIED BY 'y'", &[("SUPER ON *.*", 1227)]),
    ("LOCK TABLES d.t READ", &[("LOCK TABLES ON d.*", 1044), ("SELECT ON d.t", 1142)]),
    ("CHECK TABLE d.t", &[("SELECT ON d.t", 1142)]),
    ("ANALYZE TABLE d.t", &[("SELECT ON d.t", 1142), ("INSERT ON d.t", 1142)]),
    ("FLUSH PRIVILEGES", &[("RELOAD ON *.*", 1227)]),
    // History.
    ("SELECT * FROM d.t {SNAPSHOT = 's'}", &[("SELECT ON d.t", 1142)]),
    ("SELECT * FROM d.gone {SNAPSHOT = 's'}", &[("SELECT ON d.*", 1142)]),
    ("SHOW TABLES FROM d {SNAPSHOT = 's'}", &[("SELECT ON d.t", 1044)]),
    ("SHOW CREATE TABLE d.t {SNAPSHOT = 's'}", &[("SELECT ON d.t", 1142)]),
    ("CREATE SNAPSHOT n FOR TABLE d.t", &[("SNAPSHOT ON d.t", 1142)]),
    ("CREATE SNAPSHOT n FOR TABLES d (t, u)", &[("SNAPSHOT ON d.t", 1142), ("SNAPSHOT ON d.u", 1142)]),
    ("CREATE SNAPSHOT n FOR DATABASE d", &[("SNAPSHOT ON d.*", 1044)]),
    ("CREATE SNAPSHOT n FOR ACCOUNT", &[("SNAPSHOT ON *.*", 1227)]),
    ("CREATE SNAPSHOT n FOR CLUSTER", &[("SNAPSHOT ON *.*", 1227)]),
    ("CREATE SNAPSHOT n FOR DATABASE d INCREMENTAL FROM s RETAIN 1 DAY", &[("SNAPSHOT ON d.*", 1044)]),
    ("DROP SNAPSHOT s", &[("SNAPSHOT ON d.*", 1044)]),
    ("DROP SNAPSHOTS FOR DATABASE d OLDER THAN NOW", &[("SNAPSHOT ON d.*", 1044)]),
    ("EXPLAIN DROP SNAPSHOTS FOR TABLE d.t OLDER THAN NOW", &[("SNAPSHOT ON d.t", 1142)]),
    ("SET RETENTION FOR TABLE d.t KEEP LAST 2", &[("RETENTION ON d.t", 1142)]),
    ("SET RETENTION FOR DATABASE d KEEP LAST 2", &[("RETENTION ON d.*", 1044)]),
    ("EXPLAIN RETENTION FOR TABLE d.t", &[("RETENTION ON d.t", 1142)]),
    ("APPLY RETENTION FOR TABLE d.t", &[("RETENTION ON d.t", 1142)]),
    ("APPLY RETENTION FOR CLUSTER KEEP LAST 1", &[("RETENTION ON *.*", 1227)]),
    ("DROP RETENTION FOR TABLE d.t", &[("RETENTION ON d.t", 1142)]),
    ("CREATE SCHEDULE n FOR DATABASE d EVERY 6 HOURS", &[("RETENTION ON d.*", 1044), ("SNAPSHOT ON d.*", 1044)]),
    ("ALTER SCHEDULE nightly PAUSE", &[("RETENTION ON d.t", 1142), ("SNAPSHOT ON d.t", 1142)]),
    ("DROP SCHEDULE Nightly", &[("RETENTION ON d.t", 1142), ("SNAPSHOT ON d.t", 1142)]),
    ("CREATE PITR n FOR TABLE d.t RANGE 3 'd'", &[("RETENTION ON d.t", 1142)]),
    ("CREATE PITR n RANGE 3 'd'", &[("RETENTION ON *.*", 1227)]),
    ("ALTER PITR p RANGE 3 'd'", &[("RETENTION ON d.*", 1044)]),
    ("DROP PITR P", &[("RETENTION ON d.*", 1044)]),
    ("SHOW RECOVERY_WINDOW FOR TABLE d t", &[("SELECT ON d.t", 1142)]),
    ("SHOW RECOVERY_WINDOW FOR DATABASE d", &[("RETENTION ON d.*", 1044)]),
    ("RESTORE TABLE d.t FROM SNAPSHOT s", &[("RESTORE ON d.t", 1142), ("SELECT ON d.t", 1142)]),
    ("EXPLAIN RESTORE TABLE d.t FROM SNAPSHOT s", &[("RESTORE ON d.t", 1142), ("SELECT ON d.t", 1142)]),
    (
        "RESTORE TABLE d.t FROM SNAPSHOT s WITH GRANTS",
        &[("RESTORE ON d.t", 1142), ("SELECT ON d.t", 1142), ("SUPER ON *.*", 1227)],
    ),
    ("RESTORE TABLE d.gone FROM SNAPSHOT s", &[("RESTORE ON d.*", 1142), ("SELECT ON d.*", 1142)]),
    (
        "RESTORE DATABASE d FROM SNAPSHOT s",
        &[("RESTORE ON d.*", 1044), ("SELECT ON d.*", 1044), ("DROP ON d.later", 1142)],
    ),
    ("RESTORE TABLE d.t FROM SNAPSHOT s TO DATABASE e TABLE x", &[("SELECT ON d.t", 1142), ("RESTORE ON e.*", 1142)]),
    (
        "RESTORE TABLE d.t FROM SNAPSHOT s TO DATABASE e TABLE y OVERWRITE",
        &[("SELECT ON d.t", 1142), ("RESTORE ON e.*", 1142), ("DROP ON e.y", 1142)],
    ),
    (
        "RESTORE TABLE d.t FROM SNAPSHOT s TO DATABASE n TABLE x CREATE DATABASE",
        &[("SELECT ON d.t", 1142), ("RESTORE ON n.*", 1142), ("CREATE ON n.*", 1044)],
    ),
    ("RESTORE DATABASE d FROM SNAPSHOT s TO n", &[("SELECT ON d.*", 1044), ("RESTORE ON n.*", 1044)]),
    ("RESTORE DATABASE d TABLE t FROM PITR p '{then}'", &[("RESTORE ON d.t", 1142), ("SELECT ON d.t", 1142)]),
    ("RESTORE DATABASE d TABLE gone FROM PITR p '{then}'", &[("RESTORE ON d.*", 1142), ("SELECT ON d.*", 1142)]),
    (
        "RESTORE DATABASE d FROM PITR p '{then}'",
        &[("RESTORE ON d.*", 1044), ("SELECT ON d.*", 1044), ("DROP ON d.later", 1142)],
    ),
    ("RESTORE CLUSTER FROM SNAPSHOT all_of_it", &[("RESTORE ON *.*", 1227), ("SELECT ON *.*", 1227)]),
    ("UNDROP TABLE d.gone", &[("RESTORE ON d.*", 1044), ("SELECT ON d.*", 1044)]),
    ("UNDROP DATABASE dropped", &[("RESTORE ON dropped.*", 1044), ("SELECT ON dropped.*", 1044)]),
    ("UNDO VERSION {update}", &[("RESTORE ON d.t", 1142), ("SELECT ON d.t", 1142)]),
    ("UNDO VERSION {drop}", &[("RESTORE ON d.*", 1044), ("SELECT ON d.*", 1044)]),
    ("UNDO VERSION {create}", &[("RESTORE ON d.later", 1142), ("SELECT ON d.later", 1142), ("DROP ON d.later", 1142)]),
    ("SHOW COMMITS", &[("SELECT ON *.*", 1227)]),
    ("SHOW COMMITS FOR TABLE d.t", &[("SELECT ON d.t", 1142)]),
    ("SHOW COMMITS FOR TABLE d.gone", &[("SELECT ON d.*", 1142)]),
    ("SHOW RECOVERY POINTS FOR DATABASE d", &[("SELECT ON d.*", 1044)]),
    ("DIFF TABLE d.t FROM SNAPSHOT s TO NOW", &[("SELECT ON d.t", 1142)]),
    ("DATA BRANCH DIFF d.t AGAINST d.t {SNAPSHOT = 's'}", &[("SELECT ON d.t", 1142)]),
    ("CREATE TABLE e.n CLONE d.t", &[("SELECT ON d.t", 1142), ("CREATE ON e.*", 1142), ("INSERT ON e.*", 1142)]),
    (
        "CREATE TABLE e.n CLONE d.gone {SNAPSHOT = 's'}",
        &[("SELECT ON d.*", 1142), ("CREATE ON e.*", 1142), ("INSERT ON e.*", 1142)],
    ),
    (
        "CREATE DATABASE n CLONE d {SNAPSHOT = 's'}",
        &[("SELECT ON d.*", 1044), ("CREATE ON n.*", 1044), ("INSERT ON n.*", 1044)],
    ),
    (
        "DATA BRANCH CREATE TABLE e.n FROM d.t",
        &[("SELECT ON d.t", 1142), ("CREATE ON e.*", 1142), ("INSERT ON e.*", 1142)],
    ),
];

/// Statements that everybody may run, and those that are checked elsewhere in this file.
const FREE: &[&str] = &[
    "SHOW DATABASES",
    "SHOW SNAPSHOTS",
    "SHOW PITR",
    "SHOW SCHEDULES",
    "SHOW RETENTION",
    "SHOW JOBS",
    "SHOW GRANTS",
    "SHOW PROCESSLIST",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM mo_catalog.mo_tables",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "SET autocommit = 1",
    "SET ROLE NONE",
    "SET PASSWORD = 'x'",
    "ALTER USER u IDENTIFIED BY 'x'",
    "SET DEFAULT ROLE NONE TO u",
    "ALTER USER u DEFAULT ROLE NONE",
    "UNLOCK TABLES",
    "PREPARE p FROM 'SELECT 1'",
];

/// A store with its world, and versions and times that cases name.
struct World {
    engine: Arc<Engine>,
    /// Its clock moves only when told.
    env: Env,
    folder: tempfile::TempDir,
    named: Vec<(&'static str, String)>,
}

impl World {
    async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rows.csv"), "5,5,5\n").unwrap();
        let env = Env::fixed(Time(1_700_000_000_000_000), 1);
        let db = Database::in_memory(Options { env: env.clone(), ..Options::default() }).await.unwrap();
        let load_folder = Some(folder.path().to_owned());
        let options = engine::Options { threads: 1, load_folder, ..engine::Options::default() };
        let engine = Engine::open(db, options).await.unwrap();
        engine.set_password("root", "").await.unwrap();
        let mut world = World { engine, env, folder, named: Vec::new() };
        let root = &mut world.log_in("root");
        for sql in WORLD {
            world.env.advance(1_000_000);
            done(root, sql).await;
            let name = match *sql {
                "DROP TABLE d.gone" => "{drop}",
                "CREATE TABLE d.later (id INT)" => "{create}",
                "CREATE SNAPSHOT s FOR DATABASE d" => "{then}",
                sql if sql.starts_with("UPDATE") => "{update}",
                _ => continue,
            };
            let meant = match name {
                "{then}" => rows(root, "SELECT NOW(6)").await.unwrap().remove(0),
                _ => world.engine.database().now().version().to_string(),
            };
            world.named.push((name, meant));
        }
        world.env.advance(1_000_000);
        for sql in ["CREATE DATABASE dropped", "DROP DATABASE dropped", "CREATE SNAPSHOT all_of_it FOR CLUSTER"] {
            done(root, sql).await;
        }
        world
    }

    fn log_in(&self, user: &str) -> Session {
        let login = Login { user: user.into(), host: "localhost".into(), connection_id: 7, ..Login::default() };
        self.engine.session(login).unwrap()
    }

    fn statement(&self, sql: &str) -> String {
        self.named.iter().fold(sql.to_owned(), |sql, (name, meant)| sql.replace(name, meant))
    }

    /// What a statement that fails must leave as it was.
    fn state(&self) -> (u64, usize, String) {
        let database = self.engine.database();
        let policies = (database.pitrs(SYS), database.schedules(SYS), database.retentions(SYS));
        (database.now().version().0, database.metastore().pins().unwrap().len(), format!("{policies:?}"))
    }
}

/// Runs a statement to the end of its rows, each as cells joined by `|`.
async fn rows(session: &mut Session, sql: &str) -> Result<Vec<String>> {
    let Outcome::Rows(rows) = session.execute(sql).await? else { return Ok(Vec::new()) };
    let mut lines = Vec::new();
    let mut batches = rows.batches;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let cell =
                |array: &arrow::array::ArrayRef| arrow::util::display::array_value_to_string(array, row).unwrap();
            lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    Ok(lines)
}

async fn done(session: &mut Session, sql: &str) {
    if let Err(error) = rows(session, sql).await {
        panic!("{sql}: {error:?}");
    }
}

async fn check(session: &mut Session, sql: &str, expected: &[&str]) {
    match rows(session, sql).await {
        Ok(lines) => assert_eq!(lines, expected, "{sql}"),
        Err(error) => panic!("{sql}: {error:?}"),
    }
}

async fn fails(session: &mut Session, sql: &str, code: u16) -> Error {
    match rows(session, sql).await {
        Ok(lines) => panic!("{sql}: answered {lines:?}"),
        Err(error) => {
            assert_eq!(error.code, code, "{sql}: {error:?}");
            error
        }
    }
}

#[tokio::test]
async fn every_statement_needs_exactly_its_privileges() {
    // Each case has a store of its own; a few at a time.
    let outcomes = futures::stream::iter(CASES).map(one_case).buffer_unordered(4);
    outcomes.collect::<Vec<()>>().await;
}

async fn one_case((sql, needs): &Case) {
    let world = World::new().await;
    assert!(world.folder.path().exists());
    let sql = &world.statement(sql);
    let root = &mut world.log_in("root");
    for (left_out, code) in *needs {
        done(root, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM u").await;
        // Rights that the statement does not ask for must not stand in for those that it does.
        let lists = ["USE", "SHOW", "DESCRIBE"].iter().any(|verb| sql.starts_with(verb));
        for database in ["d", "e", "n", "dropped"].iter().filter(|_| !lists) {
            done(root, &format!("GRANT TRIGGER, SHOW VIEW ON {database}.* TO u")).await;
        }
        for (other, _) in needs.iter().filter(|(other, _)| other != left_out) {
            done(root, &format!("GRANT {other} TO u")).await;
        }
        let before = world.state();
        let user = &mut world.log_in("u");
        let error = match rows(user, sql).await {
            Ok(lines) => panic!("{sql} passes without {left_out}: {lines:?}"),
            Err(error) => error,
        };
        assert_eq!(error.code, *code, "{sql} without {left_out}: {error:?}");
        assert_eq!(world.state(), before, "{sql} without {left_out} changed something");
    }
    done(root, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM u").await;
    for (one, _) in *needs {
        done(root, &format!("GRANT {one} TO u")).await;
    }
    let user = &mut world.log_in("u");
    if let Err(error) = rows(user, sql).await {
        panic!("{sql} with {needs:?}: {error:?}");
    }
}

#[tokio::test]
async fn what_touches_nobody_else_is_free() {
    let world = World::new().await;
    for sql in FREE {
        done(&mut world.log_in("u"), sql).await;
    }
}

/// Names the kind of a statement. A new kind does not compile until it is named here, and fails until a case has it.
fn kind(statement: &S) -> &'static str {
    match statement {
        S::Query(_) => "query",
        S::SelectInto { .. } => "select into",
        S::Insert(_) => "insert",
        S::Update(_) => "update",
        S::Delete(_) => "delete",
        S::Load(_) => "load",
        S::CreateTable(_) => "create table",
        S::CreateView(_) => "create view",
        S::AlterTable(_) => "alter table",
        S::DropTable { .. } => "drop table",
        S::DropView { .. } => "drop view",
        S::RenameTable(_) => "rename table",
        S::Truncate(_) => "truncate",
        S::CreateDatabase { .. } => "create database",
        S::AlterDatabase { .. } => "alter database",
        S::DropDatabase { .. } => "drop database",
        S::CreateIndex { .. } => "create index",
        S::DropIndex { .. } => "drop index",
        S::Use(_) => "use",
        S::Set(_) => "set",
        S::Show(_) => "show",
        S::Describe { .. } => "describe",
        S::Explain { .. } => "explain",
        S::Begin { .. } => "begin",
        S::Commit { .. } => "commit",
        S::Rollback { .. } => "rollback",
        S::Savepoint(_) => "savepoint",
        S::Prepare { .. } => "prepare",
        S::Do(_) => "do",
        S::Account(_) => "account",
        S::User(_) => "user",
        S::LockTables(_) => "lock tables",
        S::UnlockTables => "unlock tables",
        S::TableUpkeep { .. } => "upkeep",
        S::Noop { .. } => "flush",
        S::History(history) => match history.as_ref() {
            H::CreateSnapshot(_) => "create snapshot",
            H::DropSnapshot { .. } => "drop snapshot",
            H::ShowSnapshots { .. } => "show snapshots",
            H::Restore(_) => "restore",
            H::Undrop(_) => "undrop",
            H::Undo(_) => "undo",
            H::ShowRecoveryPoints { .. } => "recovery points",
            H::ShowCommits { .. } => "commits",
            H::Diff(_) => "diff",
            H::MatrixOne(M::CloneTable(_)) => "clone table",
            H::MatrixOne(M::CloneDatabase(_)) => "clone database",
            H::MatrixOne(M::Branch(_)) => "branch",
            H::DropSnapshots { .. } => "drop snapshots",
            H::SetRetention { .. } => "set retention",
            H::ApplyRetention { .. } => "apply retention",
            H::ShowRetention { .. } => "show retention",
            H::DropRetention { .. } => "drop retention",
            H::CreateSchedule(_) => "create schedule",
            H::AlterSchedule { .. } => "alter schedule",
            H::DropSchedule { .. } => "drop schedule",
            H::ShowSchedules { .. } => "show schedules",
            H::ShowJobs { .. } => "show jobs",
            H::Collect { .. } => "collect",
            // Whose job it is decides.
            H::CancelJob { .. } => "",
            H::MatrixOne(M::CreatePitr { .. }) => "create pitr",
            H::MatrixOne(M::AlterPitr { .. }) => "alter pitr",
            H::MatrixOne(M::DropPitr { .. }) => "drop pitr",
            H::MatrixOne(M::ShowPitr { .. }) => "show pitr",
            H::MatrixOne(M::ShowRecoveryWindow { .. }) => "recovery window",
        },
        // A savepoint's name, a connection and a prepared statement: each has a test of its own, or touches nothing.
        S::ReleaseSavepoint(_) | S::Kill { .. } | S::Execute { .. } | S::Deallocate(_) | S::Unsupported(_) => "",
    }
}

const KINDS: usize = 63;

#[test]
fn every_kind_of_statement_has_a_case() {
    let mut kinds = std::collections::BTreeSet::new();
    for sql in CASES.iter().map(|(sql, _)| *sql).chain(FREE.iter().copied()) {
        let sql = ["{update}", "{drop}", "{create}"].iter().fold(sql.to_owned(), |sql, name| sql.replace(name, "1"));
        kinds.insert(kind(&parse_one(&sql, Default::default()).unwrap().statement));
    }
    assert_eq!(kinds.len(), KINDS, "{kinds:?}");
}

#[tokio::test]
async fn jobs_of_others_are_seen_with_process_and_stopped_with_super() {
    let world = World::new().await;
    let (root, user) = (&mut world.log_in("root"), &mut world.log_in("u"));
    done(root, "CREATE SNAPSHOT packed FOR DATABASE d COMPRESSION").await;
    let cancel = "CANCEL JOB 1";
    assert_eq!(rows(user, "SHOW JOBS").await.unwrap(), [""; 0]);
    assert!(rows(user, cancel).await.unwrap_err().message.contains("There is no job 1"));
    done(root, "GRANT PROCESS ON *.* TO u").await;
    assert_eq!(rows(user, "SHOW JOBS").await.unwrap().len(), 1);
    assert!(rows(user, cancel).await.unwrap_err().message.contains("There is no job 1"));
    done(root, "GRANT SUPER ON *.* TO u").await;
    assert!(rows(user, cancel).await.unwrap_err().message.contains("has ended already"));
}

#[tokio::test]
async fn policies_are_listed_where_something_is_granted() {
    let world = World::new().await;
    let (root, user) = (&mut world.log_in("root"), &mut world.log_in("u"));
    done(root, "CREATE PITR of_all FOR CLUSTER RANGE 2 'd'").await;
    done(root, "SET RETENTION FOR DATABASE e KEEP LAST 1").await;
    let lists = [
        "SHOW PITR",
        "SELECT * FROM mo_catalog.mo_pitr",
        "SHOW SCHEDULES",
        "SHOW RETENTION",
        "SHOW SNAPSHOTS",
        "SELECT * FROM mo_catalog.mo_snapshots",
    ];
    for sql in lists {
        assert_eq!(rows(user, sql).await.unwrap(), [""; 0], "{sql}");
    }
    done(root, "GRANT INSERT ON d.t TO u").await;
    for sql in lists {
        let seen = rows(user, sql).await.unwrap();
        assert_eq!(seen.len(), 1, "{sql}: {seen:?}");
        assert!(seen[0].contains("|d|"), "{sql}: {seen:?}");
    }
    done(root, "GRANT INSERT ON *.* TO u").await;
    for (sql, all) in lists.into_iter().zip([2, 2, 1, 2, 2, 2]) {
        assert_eq!(rows(user, sql).await.unwrap().len(), all, "{sql}");
    }
}

#[tokio::test]
async fn a_schedule_outlives_the_rights_of_its_author() {
    let world = World::new().await;
    let (root, user) = (&mut world.log_in("root"), &mut world.log_in("u"));
    done(root, "GRANT RETENTION, SNAPSHOT ON d.u TO u").await;
    done(user, "CREATE SCHEDULE often FOR TABLE d.u EVERY 1 MINUTE").await;
    done(root, "DROP USER u").await;
    let schedules = || world.engine.database().schedules(SYS).unwrap();
    world.env.advance(60_000_000);
    world.engine.database().run_schedules().await.unwrap();
    let often = schedules().into_iter().find(|schedule| schedule.name == "often").unwrap();
    assert_eq!(often.last_error, None);
    let taken = often.last_snapshot.unwrap();
    // What it takes lets nobody read who may not.
    fails(&mut world.log_in("other"), &format!("SELECT * FROM d.t {{SNAPSHOT = '{taken}'}}"), 1142).await;
}

#[tokio::test]
async fn a_revoke_reaches_sessions_that_stand() {
    let world = World::new().await;
    let (root, user) = (&mut world.log_in("root"), &mut world.log_in("u"));
    done(root, "GRANT SELECT ON d.* TO u").await;
    let look_up = "SELECT a FROM d.t WHERE id = 2";
    // Twice: the second is answered without a plan.
    check(user, look_up, &["20"]).await;
    check(user, look_up, &["20"]).await;
    done(user, "PREPARE p FROM 'SELECT b FROM d.t WHERE id = 2'").await;
    let prepared = user.prepare("SELECT b FROM d.t WHERE id = ?").await.unwrap();
    check(user, "EXECUTE p", &["200"]).await;
    done(root, "REVOKE SELECT ON d.* FROM u").await;
    fails(user, look_up, 1142).await;
    fails(user, "EXECUTE p", 1142).await;
    let error = user.execute_prepared(&prepared, vec![crate::api::Value::Int(2)]).await.err().unwrap();
    assert_eq!(error.code, 1142);
    done(root, "GRANT SELECT (a, id) ON d.t TO u").await;
    check(user, look_up, &["20"]).await;
    check(user, look_up, &["20"]).await;
    fails(user, "EXECUTE p", 1143).await;
    done(root, "DROP USER u").await;
    fails(user, look_up, 1142).await;
}

#[tokio::test]
async fn connections_of_others_are_seen_and_ended_only_with_a_right() {
    let world = World::new().await;
    let (root, user) = (&mut world.log_in("root"), &mut world.log_in("u"));
    let registrations: Vec<_> = ["u", "root", "sys:other"]
        .into_iter()
        .map(|name| {
            let registration = world.engine.processes().register("h".to_owned());
            registration.process.logged_in(name, None, Default::default());
            registration
        })
        .collect();
    let ids: Vec<u32> = registrations.iter().map(|registration| registration.process.id()).collect();
    assert_eq!(rows(user, "SHOW PROCESSLIST").await.unwrap().len(), 1);
    assert_eq!(rows(user, "SELECT id FROM information_schema.processlist").await.unwrap(), [ids[0].to_string()]);
    done(root, "GRANT PROCESS ON *.* TO u").await;
    assert_eq!(rows(user, "SHOW PROCESSLIST").await.unwrap().len(), 3);
    for id in &ids[1..] {
        fails(user, &format!("KILL {id}"), 1095).await;
        fails(user, &format!("KILL QUERY {id}"), 1095).await;
        assert!(registrations.iter().all(|registration| registration.process.closing().is_none()));
    }
    done(user, &format!("KILL {}", ids[0])).await;
    done(root, "GRANT SUPER ON *.* TO u").await;
    done(user, &format!("KILL {}", ids[2])).await;
    assert!(registrations[1].process.closing().is_none());
}

#[tokio::test]
async fn a_restore_with_grants_says_whose_came_back_and_who_was_left_out() {
    let world = World::new().await;
    let root = &mut world.log_in("root");
    for sql in [
        "CREATE USER gone",
        "GRANT SELECT ON d.t TO u",
        "GRANT INSERT ON d.* TO gone",
        "CREATE SNAPSHOT granted FOR DATABASE d",
        "REVOKE SELECT ON d.t FROM u",
        "DROP USER gone",
    ] {
        done(root, sql).await;
    }
    let lines = rows(root, "RESTORE DATABASE d FROM SNAPSHOT granted WITH GRANTS").await.unwrap();
    let of_grants: Vec<String> = lines
        .iter()
        .filter(|line| line.contains("grants"))
        .map(|line| line.replace(|c: char| c.is_numeric(), ""))
        .collect();
    assert_eq!(of_grants, ["restore grants|d|'u'@'%'||||", "leave out grants|d|'gone'@'%'||||"]);
    let user = &mut world.log_in("u");
    check(user, "SELECT a FROM d.t WHERE id = 2", &["20"]).await;
}

#[tokio::test]
async fn who_administers_users_does_not_become_root() {
    let world = World::new().await;
    let (root, user) = (&mut world.log_in("root"), &mut world.log_in("u"));
    done(root, "GRANT CREATE USER, GRANT OPTION ON *.* TO u").await;
    let before = world.state();
    for sql in [
        "ALTER USER root IDENTIFIED BY 'mine'",
        "SET PASSWORD FOR root = 'mine'",
        "DROP USER root",
        "RENAME USER root TO toor",
        "REVOKE ALL PRIVILEGES, GRANT OPTION FROM root",
        "GRANT SUPER ON *.* TO u",
        "GRANT ALL ON *.* TO u",
        "GRANT root TO u",
        "CREATE DEFINER = root VIEW e.w AS SELECT 1 AS one",
    ] {
        let error = rows(user, sql).await.expect_err(sql);
        assert!(matches!(error.code, 1227 | 1142), "{sql}: {error:?}");
        assert_eq!(world.state(), before, "{sql}");
    }
}

#[tokio::test]
async fn a_user_of_a_store_from_before_grants_keeps_every_right() {
    use strandline_core::grants::Grants;
    let old = r#"{"id":1,"account":1,"name":"old","verifiers":{}}"#;
    let user: strandline_core::schema::User = serde_json::from_str(old).unwrap();
    assert_eq!(user.grants, Grants::everything());
    assert_eq!(serde_json::to_string(&user).unwrap(), old);
}
