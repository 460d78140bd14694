//! The verbs against a started server, and the same against the engine in this process.

mod capabilities;
mod trouble;

use std::time::Duration;

use strandline_client::{
    Client, Config, CreateSchedule, CreateSnapshot, Keep, Kind, Level, Range, RangeUnit, Restore, RestoreSnapshot,
    ResultSet, Rules, Scope, SnapshotFilter, Value, When, blocking, sql::TableName,
};
use strandline_workbench::process::{PASSWORD, Server};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A store of its own, with a server over it or none.
struct Place {
    server: Option<Server>,
    folder: tempfile::TempDir,
}

impl Place {
    async fn remote() -> Result<Place> {
        let folder = tempfile::tempdir()?;
        let server = Server::strandline(&folder.path().join("data")).await?;
        Ok(Place { server: Some(server), folder })
    }

    fn config(&self) -> Config {
        let port = self.server.as_ref().map_or(0, |server| server.port);
        Config { port, password: Some(PASSWORD.to_owned()), ..Config::default() }
    }

    async fn client(&self) -> Result<Client> {
        match &self.server {
            Some(_) => Ok(Client::connect(self.config()).await?),
            None => embedded(self.folder.path()).await,
        }
    }
}

#[cfg(feature = "embedded")]
async fn embedded(folder: &std::path::Path) -> Result<Client> {
    Ok(Client::open(folder).await?)
}

#[cfg(not(feature = "embedded"))]
async fn embedded(_: &std::path::Path) -> Result<Client> {
    Err("built without the feature 'embedded'".into())
}

/// Runs a test over the wire and, where it is built in, in this process; each time with a database `shop` of two tables.
async fn everywhere(test: impl AsyncFn(&Place, &mut Client) -> Result) -> Result {
    let mut places = vec![Place::remote().await?];
    if cfg!(feature = "embedded") {
        places.push(Place { server: None, folder: tempfile::tempdir()? });
    }
    for place in places {
        let mut client = place.client().await?;
        for statement in [
            "CREATE DATABASE shop",
            "USE shop",
            "CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(20))",
            "CREATE TABLE orders (id INT PRIMARY KEY, user_id INT)",
            "INSERT INTO users VALUES (1, 'ada'), (2, 'bob')",
            "INSERT INTO orders VALUES (10, 1)",
        ] {
            client.query(statement).await?;
        }
        let which = if place.server.is_some() { "remote" } else { "embedded" };
        test(&place, &mut client).await.map_err(|error| format!("{which}: {error}"))?;
        client.close().await?;
    }
    Ok(())
}

async fn count(client: &mut Client, table: &str) -> Result<u64> {
    number(&client.query(&format!("SELECT COUNT(*) FROM {table}")).await?)
}

fn number(result: &ResultSet) -> Result<u64> {
    Ok(result.rows[0][0].to_text().ok_or("NULL")?.parse()?)
}

fn shop(name: &str) -> CreateSnapshot {
    CreateSnapshot::new(name, Scope::database("shop"))
}

#[tokio::test]
async fn recovery_windows() -> Result {
    everywhere(async |_, client| {
        let scope = Scope::database("shop");
        let week = Range { length: 7, unit: RangeUnit::Day };
        let policy = client.pitr().create("p", &scope, week).await?;
        assert_eq!((policy.level, policy.database.as_deref(), policy.range), (Level::Database, Some("shop"), week));
        // The time of the creation is told without its fraction.
        let soon = policy.created_at.ok_or("no time")? + Duration::from_secs(1);
        assert!(policy.recoverable_from.is_some_and(|from| from <= soon), "{policy:?}");
        assert_eq!(policy.status.as_deref(), Some("active"));
        let hours = Range { length: 2, unit: RangeUnit::Hour };
        assert_eq!(client.pitr().alter("p", hours).await?.range, hours);
        client.query("DELETE FROM users").await?;
        let deleted = client.restore().recovery_points(&scope, None, None).await?.remove(0);
        let before = When::Time(deleted.timestamp - Duration::from_micros(1));
        let restore = Restore::new(scope, When::Now).overwrite();
        client.pitr().restore("p", &before, &restore).await?;
        assert_eq!(count(client, "users").await?, 2);
        let renamed = client.query("ALTER TABLE users RENAME TO people").await?;
        assert_eq!(renamed.warnings, 0, "the database still bears its name");
        let dropped = client.query("DROP DATABASE shop").await?;
        assert_eq!(dropped.warnings, 1);
        assert_eq!(client.pitr().get("p").await?.and_then(|policy| policy.status).as_deref(), Some("missing"));
        client.pitr().delete("p").await?;
        assert_eq!((client.pitr().get("p").await?, client.pitr().list().await?.len()), (None, 0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn retention() -> Result {
    everywhere(async |_, client| {
        let scope = Scope::database("shop");
        for name in ["a", "b", "c"] {
            client.snapshots().create(shop(name)).await?;
        }
        let keep = |last| Keep { last: Some(last), ..Keep::default() };
        client.retention().set(&scope, &keep(9).in_zone("Europe/Berlin")).await?;
        let [rules] = &client.retention().list().await?[..] else { return Err("one scope has rules".into()) };
        assert_eq!((rules.level, rules.database.as_deref()), (Level::Database, Some("shop")));
        assert_eq!((rules.keep.as_str(), rules.time_zone.as_deref()), ("LAST 9", Some("Europe/Berlin")));
        let error = client.retention().set(&scope, &keep(1).in_zone("Mars")).await.unwrap_err();
        assert!(error.message().contains("time zone: 'Mars'"), "{error}");
        client.retention().set(&scope, &keep(2).into()).await?;
        let plan = client.retention().plan(&scope).await?;
        let goes: Vec<&str> = plan.iter().filter(|step| step.deleted).map(|step| step.snapshot.as_str()).collect();
        assert_eq!(goes, ["a"], "{plan:?}");
        assert!(plan.iter().all(|step| step.reason.is_some()));
        assert_eq!(client.retention().apply(&scope).await?.deleted, ["a"]);
        let once: Rules = keep(1).in_zone("+02:00");
        assert_eq!(client.retention().apply_once(&scope, &once).await?.deleted, ["b"]);
        assert_eq!(client.snapshots().list(&SnapshotFilter::default()).await?.len(), 1);
        client.retention().delete(&scope).await?;
        assert!(client.retention().list().await?.is_empty());
        let error = client.retention().delete(&scope).await.unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn schedules() -> Result {
    everywhere(async |_, client| {
        client.schedules().create(&CreateSchedule::cron("nightly", Scope::database("shop"), "0 2 * * *")).await?;
        let schedule = client.schedules().list().await?.remove(0);
        assert_eq!((schedule.name.as_str(), schedule.state.as_deref()), ("nightly", Some("active")));
        assert!(schedule.next_run.is_some() && schedule.last_run.is_none(), "{schedule:?}");
        client.schedules().pause("nightly").await?;
        assert_eq!(client.schedules().list().await?[0].state.as_deref(), Some("paused"));
        client.schedules().resume("nightly").await?;
        client.schedules().delete("nightly").await?;
        assert!(client.schedules().list().await?.is_empty());
        client.schedules().create(&CreateSchedule::cron("daily", Scope::Cluster, "@daily")).await?;
        client.schedules().delete("daily").await?;
        let every = CreateSchedule::every("every", Scope::table("shop", "users"), "90 minutes".parse()?);
        client.schedules().create(&CreateSchedule { time_zone: Some("Europe/Berlin".into()), ..every }).await?;
        let listed = client.schedules().list().await?.remove(0);
        assert_eq!(
            (listed.rhythm.as_deref(), listed.time_zone.as_deref()),
            (Some("EVERY 90 MINUTE"), Some("Europe/Berlin"))
        );
        client.schedules().delete("every").await?;
        // A sixth field in front is seconds: whoever has the store open runs it.
        client.schedules().create(&CreateSchedule::cron("often", Scope::Cluster, "* * * * * *")).await?;
        while client.schedules().list().await?[0].last_snapshot.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        client.schedules().delete("often").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_query_tells_of_its_warnings() -> Result {
    everywhere(async |_, client| {
        assert_eq!(client.query("SELECT '5a' + 1").await?.warnings, 1);
        assert_eq!(client.query("SELECT 1 / 0").await?.warnings, 1);
        assert_eq!(client.query_with("SELECT ? + 1", &["x".into()]).await?.warnings, 1);
        assert_eq!(client.query("SELECT '5a' + 1; SELECT 1").await?.warnings, 1, "those of the first one");
        assert_eq!(client.query("SHOW WARNINGS").await?.rows.len(), 0);
        assert_eq!(client.query("SELECT 1").await?.warnings, 0);
        assert_eq!(client.query("DROP TABLE IF EXISTS nothing").await?.warnings, 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn transactions_hold_their_snapshots() -> Result {
    everywhere(async |_, client| {
        let mut transaction = client.begin().await?;
        transaction.query("INSERT INTO users VALUES (3, 'cy')").await?;
        let pending = transaction.snapshots().create(shop("kept")).await?;
        assert_eq!((pending.status.as_str(), pending.created_at), ("pending", None));
        transaction.commit().await?;
        assert_eq!(number(&client.query_snapshot("kept", "SELECT COUNT(*) FROM users").await?)?, 3);
        let mut transaction = client.begin().await?;
        transaction.query("DELETE FROM users").await?;
        transaction.snapshots().create(shop("lost")).await?;
        drop(transaction);
        assert_eq!(count(client, "users").await?, 3, "what is not committed is rolled back");
        assert_eq!(client.snapshots().get("lost").await?, None);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn clones_are_independent() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.query("DELETE FROM users").await?;
        client.clones().database("shop", "now", &When::Now).await?;
        let (users, then): (TableName, TableName) = ("shop.users".parse()?, "now.users_then".parse()?);
        client.clones().table(&users, &then, &When::Snapshot("s".into())).await?;
        assert_eq!((count(client, "now.users").await?, count(client, "now.users_then").await?), (0, 2));
        Ok(())
    })
    .await
}

/// Values come the same from text, from a prepared statement, and from the engine in the process.
#[tokio::test]
async fn values_are_the_same_everywhere() -> Result {
    let expected = [
        Value::Int(-7),
        Value::UInt(u64::MAX),
        Value::Text("0.10".into()),
        Value::Float(1.5e300),
        Value::Float(0.1),
        Value::Text("grün".into()),
        Value::Bytes(vec![0, 255]),
        Value::Text("2026-01-31".into()),
        Value::Text("2026-01-31 23:59:59.120".into()),
        Value::Text("2026-01-31 00:00:00".into()),
        Value::Text("-838:59:59".into()),
        Value::UInt(2026),
        Value::Text("{\"a\": 1}".into()),
        Value::Text("b".into()),
        Value::Null,
    ];
    everywhere(async |_, client| {
        client
            .query(
                "CREATE TABLE v (id INT PRIMARY KEY, u BIGINT UNSIGNED, d DECIMAL(5,2), f DOUBLE, g FLOAT, \
                 s VARCHAR(10), b VARBINARY(4), da DATE, dt DATETIME(3), dm DATETIME, ti TIME, y YEAR, j JSON, \
                 e ENUM('a','b'), n INT)",
            )
            .await?;
        client
            .query(
                "INSERT INTO v VALUES (-7, 18446744073709551615, 0.10, 1.5e300, 0.1, 'grün', X'00FF', '2026-01-31', \
                 '2026-01-31 23:59:59.12', '2026-01-31', '-838:59:59', 2026, '{\"a\": 1}', 'b', NULL)",
            )
            .await?;
        let text = client.query("SELECT * FROM v").await?;
        let prepared =
            client.query_with("SELECT * FROM v WHERE id = ? AND s = ?", &[(-7).into(), "grün".into()]).await?;
        for result in [&text, &prepared] {
            for ((column, value), expected) in result.columns.iter().zip(&result.rows[0]).zip(&expected) {
                assert_eq!(value, expected, "{column:?}");
            }
        }
        assert_eq!(text.columns, prepared.columns);
        assert_eq!(client.query("SELECT 1; SELECT 2").await?.rows, [[Value::Int(1)]]);
        let done = client.query("UPDATE users SET name = 'x'").await?;
        assert_eq!((done.affected_rows, done.columns.len()), (2, 0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn rows_come_as_a_stream() -> Result {
    everywhere(async |_, client| {
        let mut rows = client.stream("SELECT id FROM users ORDER BY id").await?;
        assert_eq!(rows.columns()[0].name, "id");
        assert_eq!(rows.next().await?, Some(vec![Value::Int(1)]));
        drop(rows);
        assert_eq!(count(client, "users").await?, 2, "the rest of the rows is in nobody's way");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_statement_is_cancelled() -> Result {
    everywhere(async |_, client| {
        let canceller = client.canceller();
        let cancel = tokio::spawn(async move {
            // Until it hits: a cancel before the statement began is for nothing.
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if canceller.cancel().await.is_err() {
                    return;
                }
            }
        });
        let result = client.query("SELECT SLEEP(60) FROM users WHERE id > 0").await;
        cancel.abort();
        // MySQL's SLEEP may also answer 1 when it is interrupted.
        match result {
            Err(error) => assert_eq!(error.kind(), Kind::Cancelled, "{error}"),
            Ok(result) => assert_eq!(result.rows[0][0], Value::Int(1)),
        }
        Ok(())
    })
    .await
}

#[test]
fn the_blocking_client_has_the_same_verbs() -> Result {
    let runtime = tokio::runtime::Runtime::new()?;
    let place = runtime.block_on(Place::remote())?;
    let mut client = blocking::Client::connect(place.config())?;
    client
        .query("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (1), (2)")?;
    assert_eq!(client.snapshots().create(shop("s"))?.name, "s");
    let mut transaction = client.begin()?;
    transaction.query("DELETE FROM shop.t")?;
    transaction.commit()?;
    client.restore().snapshot(&RestoreSnapshot::new("s").overwrite())?;
    let rows: strandline_client::Result<Vec<_>> = client.stream("SELECT id FROM shop.t ORDER BY id")?.collect();
    assert_eq!(rows?, [[Value::Int(1)], [Value::Int(2)]]);
    Ok(client.close()?)
}

#[tokio::test]
async fn a_login_that_fails_says_why() -> Result {
    let place = Place::remote().await?;
    let wrong = Config { password: Some("wrong".into()), ..place.config() };
    let error = Client::connect(wrong).await.err().ok_or("let in")?;
    assert_eq!((error.kind(), error.code()), (Kind::Denied, Some(1045)));
    let nobody = Config { port: 1, ..place.config() };
    let error = Client::connect(nobody).await.err().ok_or("let in")?;
    assert_eq!((error.kind(), error.code()), (Kind::Connection, None));
    assert!(error.hint().is_some_and(|hint| hint.contains("strandline serve")), "{error}");
    Ok(())
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn clients_of_one_process_share_a_store() -> Result {
    let folder = tempfile::tempdir()?;
    let mut one = Client::open(folder.path()).await?;
    let mut other = Client::open(folder.path()).await?;
    one.query("CREATE DATABASE shop").await?;
    assert_eq!(other.query("SHOW DATABASES LIKE 'shop'").await?.rows.len(), 1);
    one.close().await?;
    other.query("CREATE TABLE shop.t (id INT PRIMARY KEY)").await?;
    other.close().await?;
    let mut again = Client::open(folder.path()).await?;
    assert_eq!(count(&mut again, "shop.t").await?, 0);
    again.close().await?;
    Ok(())
}
