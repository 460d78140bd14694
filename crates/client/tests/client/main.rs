//! The verbs against a started server, and the same against the engine in this process.
//!
//! Numbers in names are those of the capabilities that `python/tests` holds too.

use std::time::Duration;

use strandline_client::{
    Client, Config, CreateSchedule, CreateSnapshot, Incremental, Keep, Kind, Level, Missing, Range, RangeUnit, Restore,
    RestoreSnapshot, ResultSet, Scope, SnapshotFilter, Value, When, blocking, sql::TableName,
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
async fn snapshots_05_to_22() -> Result {
    everywhere(async |_, client| {
        let snapshots = &mut client.snapshots();
        let whole = snapshots.create(shop("whole").description("it's all")).await?;
        assert_eq!((whole.level, whole.database.as_deref()), (Level::Database, Some("shop")));
        assert_eq!((whole.description.as_deref(), whole.status.as_str()), (Some("it's all"), "available"));
        assert!(whole.created_at.is_some() && whole.version.is_some() && whole.size_mb >= 0.0);
        let both = CreateSnapshot::new("both", Scope::tables("shop", ["users", "orders"]));
        assert_eq!(snapshots.create(both).await?.tables, ["users", "orders"]);
        let names = CreateSnapshot::new("names", Scope::table("shop", "users")).columns(["id", "name"]);
        assert_eq!(snapshots.create(names).await?.columns, ["id", "name"]);
        snapshots.create(CreateSnapshot::new("everything", Scope::Cluster)).await?;
        snapshots.create(CreateSnapshot::new("account", Scope::Account(None))).await?;

        let list = async |snapshots: &mut strandline_client::Snapshots<'_>, database: Option<&str>, level| {
            let filter = SnapshotFilter { database: database.map(str::to_owned), level };
            snapshots.list(&filter).await.map(|list| list.into_iter().map(|one| one.name).collect::<Vec<_>>())
        };
        assert_eq!(list(snapshots, None, None).await?, ["account", "everything", "names", "both", "whole"]);
        assert_eq!(list(snapshots, Some("SHOP"), None).await?, ["whole"]);
        assert_eq!(list(snapshots, None, Some(Level::Table)).await?, ["names", "both"]);
        assert_eq!(list(snapshots, Some("other"), Some(Level::Table)).await?.len(), 0);
        assert_eq!(snapshots.get("nope").await?, None);
        assert_eq!(snapshots.get("who_e").await?, None, "a name is no pattern");
        assert_eq!(snapshots.find("whole").await?, whole);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn errors_21_61_to_63() -> Result {
    everywhere(async |_, client| {
        let error = client.snapshots().create(CreateSnapshot::new("s", Scope::database("shoop"))).await.unwrap_err();
        assert_eq!((error.kind(), error.code(), error.sqlstate()), (Kind::NotFound, Some(1049), Some("42000")));
        assert!(error.hint().is_some_and(|hint| hint.contains("shop")), "{error}");
        client.snapshots().create(shop("s")).await?;
        for error in [
            client.snapshots().find("t").await.unwrap_err(),
            client.snapshots().delete("t").await.unwrap_err(),
            client.query_snapshot("t", "SELECT 1").await.unwrap_err(),
            client.restore().snapshot(&RestoreSnapshot::new("t")).await.unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.code()), (Kind::NotFound, Some(1105)), "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
        assert!(!client.snapshots().delete_if_exists("t").await?);
        assert!(client.snapshots().delete_if_exists("s").await?);
        assert!(client.snapshots().create(shop("s")).await.is_ok(), "the name is free again");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn restores_23_to_32() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.snapshots().create(CreateSnapshot::new("u", Scope::table("shop", "users"))).await?;
        client.snapshots().create(CreateSnapshot::new("both", Scope::tables("shop", ["users", "orders"]))).await?;
        client.query("DELETE FROM shop.users").await?;

        let restored = client.restore().snapshot(&RestoreSnapshot::new("s").to_database("then")).await?;
        assert!(restored.version_after > restored.version_before);
        assert_eq!((count(client, "`then`.users").await?, count(client, "shop.users").await?), (2, 0));
        for refused in [RestoreSnapshot::new("s").to_database("then"), RestoreSnapshot::new("s")] {
            let error = client.restore().snapshot(&refused).await.unwrap_err();
            assert_eq!(error.kind(), Kind::AlreadyExists, "{error}");
        }
        assert_eq!(count(client, "shop.users").await?, 0, "nothing was restored");
        client.query("DELETE FROM `then`.users WHERE id = 1").await?;
        let again = RestoreSnapshot::new("s").to_database("then").overwrite_keeping_copy();
        let restored = client.restore().snapshot(&again).await?;
        let [copy] = &restored.copies()[..] else { return Err(format!("{restored:?}").into()) };
        assert_eq!((count(client, "`then`.users").await?, count(client, &format!("{copy}.users")).await?), (2, 1));

        let mut refused = RestoreSnapshot::new("s").to_database("nowhere");
        refused.options.missing = Missing::Refuse;
        assert_eq!(client.restore().snapshot(&refused).await.unwrap_err().kind(), Kind::NotFound);
        for wanted in [
            RestoreSnapshot::new("u").to_database("a"),
            RestoreSnapshot::new("u").to_database("a").to_table("users_then"),
            RestoreSnapshot::new("s").to_database("a").to_table("orders"),
            RestoreSnapshot::new("both").to_database("b"),
        ] {
            client.restore().snapshot(&wanted).await?;
        }
        for (table, rows) in [("a.users", 2), ("a.users_then", 2), ("a.orders", 1), ("b.users", 2), ("b.orders", 1)] {
            assert_eq!(count(client, table).await?, rows, "{table}");
        }
        let plan = client.restore().plan_snapshot(&RestoreSnapshot::new("s").overwrite()).await?;
        assert!(plan.iter().any(|step| step.rows_after == Some(2) && step.reason.is_some()), "{plan:?}");
        client.restore().snapshot(&RestoreSnapshot::new("s").overwrite()).await?;
        assert_eq!(count(client, "shop.users").await?, 2);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn cluster_and_accounts_13_33_34() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(CreateSnapshot::new("all", Scope::Cluster)).await?;
        client.snapshots().create(shop("s")).await?;
        client.query("DROP TABLE shop.orders").await?;
        client.restore().cluster("all").await?;
        assert_eq!(count(client, "shop.orders").await?, 1);
        client.query("DELETE FROM shop.orders").await?;
        for (snapshot, account, database) in [("all", "root", "shop"), ("s", "sys", "copy"), ("s", "sys", "copy")] {
            client.restore().database(snapshot, account, database).await?;
            assert_eq!(count(client, &format!("{database}.orders")).await?, 1);
        }
        client.query("DELETE FROM shop.orders").await?;
        client.restore().account("all", "root").await?;
        assert_eq!(count(client, "shop.orders").await?, 1);
        let error = client.restore().database("all", "nobody", "shop").await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn point_in_time_35_to_39() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.query("DELETE FROM users").await?;
        let points = client.restore().recovery_points(&Scope::database("shop"), None, None).await?;
        assert!(points.iter().any(|point| point.kind == "snapshot" && point.name.as_deref() == Some("s")));
        let deleted = points.iter().find(|point| point.kind == "commit").ok_or("no commit")?;
        let before = When::Time(deleted.timestamp - Duration::from_micros(1));
        let restore = Restore::new(Scope::database("shop"), before).to_database("shop_then");
        client.restore().run(&restore).await?;
        assert_eq!((count(client, "shop_then.users").await?, count(client, "users").await?), (2, 0));
        let first = Some(When::Time(deleted.timestamp));
        let only = client.restore().recovery_points(&Scope::table("shop", "users"), first.clone(), first).await?;
        assert_eq!(only.len(), 1, "{only:?}");
        for (words, said) in [("soon", "not a time"), ("2099-01-01", "future"), ("-3 days", "")] {
            let restore = Restore::new(Scope::database("shop"), When::Words(words.into())).overwrite();
            let error = client.restore().run(&restore).await.unwrap_err();
            assert!(error.to_string().contains(said), "{words}: {error}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn queries_of_snapshots_40_to_42() -> Result {
    everywhere(async |_, client| {
        client.query("CREATE DATABASE elsewhere").await?;
        client.snapshots().create(shop("old")).await?;
        client.query("INSERT INTO users VALUES (3, 'cy')").await?;
        client.snapshots().create(shop("new")).await?;
        client.query("USE elsewhere").await?;
        let mut transaction = client.begin().await?;
        transaction.query("DELETE FROM shop.users").await?;
        drop(transaction);
        for (snapshot, rows) in [("old", 2), ("new", 3)] {
            assert_eq!(number(&client.query_snapshot(snapshot, "SELECT COUNT(*) FROM users").await?)?, rows);
        }
        let one = client.query_snapshot("old", "SELECT name FROM users WHERE id > 1").await?;
        assert_eq!(one.rows, [[Value::Text("bob".into())]]);
        let error = client.query_snapshot("old", "DELETE FROM users").await.unwrap_err();
        assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
        let here = client.query("SELECT DATABASE()").await?;
        assert_eq!(here.rows, [[Value::Text("elsewhere".into())]], "the session stays where it was");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn cleanup_43_to_47() -> Result {
    everywhere(async |_, client| {
        for name in ["a", "b"] {
            client.snapshots().create(shop(name)).await?;
        }
        client.snapshots().create(CreateSnapshot::new("t", Scope::table("shop", "users"))).await?;
        let newest = client.snapshots().find("b").await?.created_at.ok_or("no time")?;
        let shop = SnapshotFilter { database: Some("shop".into()), level: None };
        assert_eq!(client.snapshots().delete_older_than(newest, &shop).await?, ["a"]);
        let later = newest + Duration::from_secs(60);
        assert_eq!(client.snapshots().delete_older_than(later, &shop).await?, ["b"]);
        assert_eq!(client.snapshots().delete_older_than(later, &SnapshotFilter::default()).await?, ["t"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_restore_brings_grants_back_if_asked_27() -> Result {
    everywhere(async |_, client| {
        for statement in ["CREATE USER reader IDENTIFIED BY 'r'", "GRANT SELECT ON shop.* TO reader"] {
            client.query(statement).await?;
        }
        client.snapshots().create(shop("granted")).await?;
        client.query("REVOKE SELECT ON shop.* FROM reader").await?;
        let restore = RestoreSnapshot::new("granted").overwrite();
        client.restore().snapshot(&restore).await?;
        assert_eq!(client.query("SHOW GRANTS FOR reader").await?.rows.len(), 1);
        let done = client.restore().snapshot(&restore.with_grants()).await?;
        assert!(done.steps.iter().any(|step| step.action == "restore grants"), "{done:?}");
        assert_eq!(client.query("SHOW GRANTS FOR reader").await?.rows.len(), 2);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn compressed_snapshots_are_copies_of_their_own_08() -> Result {
    everywhere(async |_, client| {
        let packed = client.snapshots().create(shop("packed").compressed()).await?;
        assert!(packed.compressed && packed.size_mb > 0.0 && packed.status == "available", "{packed:?}");
        assert_eq!(packed.unique_mb, Some(packed.size_mb), "nobody else has its files");
        assert!(!client.snapshots().create(shop("plain")).await?.compressed);
        client.query("DELETE FROM users").await?;
        let then = client.query_snapshot("packed", "SELECT name FROM users ORDER BY id").await?;
        assert_eq!(then.rows, [[Value::Text("ada".into())], [Value::Text("bob".into())]]);
        client.restore().snapshot(&RestoreSnapshot::new("packed").overwrite()).await?;
        assert_eq!(count(client, "users").await?, 2);
        let error = client.snapshots().create(shop("x").compressed().incremental_from("plain")).await.unwrap_err();
        assert!(error.to_string().contains("no base"), "{error}");
        let jobs = client.query("SHOW JOBS").await?;
        assert_eq!(jobs.rows.len(), 1, "{jobs:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_may_not_is_told_63_64() -> Result {
    let place = Place::remote().await?;
    let mut root = place.client().await?;
    for statement in [
        "CREATE DATABASE shop",
        "CREATE USER reader IDENTIFIED BY 'r'",
        "GRANT SELECT ON shop.* TO reader",
        "CREATE SNAPSHOT s FOR DATABASE shop",
    ] {
        root.query(statement).await?;
    }
    let config = Config { user: "reader".to_owned(), password: Some("r".to_owned()), ..place.config() };
    let mut reader = Client::connect(config).await?;
    let error = reader.snapshots().create(shop("mine")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    let error = reader.restore().snapshot(&RestoreSnapshot::new("s").overwrite()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Denied, Some(1044)), "{error}");
    root.query("REVOKE SELECT ON shop.* FROM reader").await?;
    let error = reader.restore().snapshot(&RestoreSnapshot::new("s").overwrite()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "what one has no right on is not listed: {error}");
    root.close().await?;
    Ok(())
}

#[tokio::test]
async fn incremental_snapshots_name_their_base_09() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("base")).await?;
        client.query("INSERT INTO users VALUES (3, 'cy')").await?;
        let first = client.snapshots().create(shop("i").incremental_from("base")).await?;
        assert_eq!(first.base.as_deref(), Some("base"));
        let newest = CreateSnapshot { incremental: Incremental::FromNewest, ..shop("j") };
        assert_eq!(client.snapshots().create(newest).await?.base.as_deref(), Some("i"));
        assert!(client.snapshots().delete("base").await.is_err(), "others stand on it");
        let kept = client.snapshots().create(shop("r").retain("7 days".parse()?)).await?;
        assert!(kept.retain_until > kept.created_at, "{kept:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn recovery_windows() -> Result {
    everywhere(async |_, client| {
        let scope = Scope::database("shop");
        let week = Range { length: 7, unit: RangeUnit::Day };
        let policy = client.pitr().create("p", &scope, week).await?;
        assert_eq!((policy.level, policy.database.as_deref(), policy.range), (Level::Database, Some("shop"), week));
        let hours = Range { length: 2, unit: RangeUnit::Hour };
        assert_eq!(client.pitr().alter("p", hours).await?.range, hours);
        client.query("DELETE FROM users").await?;
        let deleted = client.restore().recovery_points(&scope, None, None).await?.remove(0);
        let before = When::Time(deleted.timestamp - Duration::from_micros(1));
        let restore = Restore::new(scope, When::Now).overwrite();
        client.pitr().restore("p", &before, &restore).await?;
        assert_eq!(count(client, "users").await?, 2);
        client.pitr().delete("p").await?;
        assert_eq!((client.pitr().get("p").await?, client.pitr().list().await?.len()), (None, 0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn retention_48() -> Result {
    everywhere(async |_, client| {
        let scope = Scope::database("shop");
        for name in ["a", "b", "c"] {
            client.snapshots().create(shop(name)).await?;
        }
        let keep = |last| Keep { last: Some(last), ..Keep::default() };
        client.retention().set(&scope, &keep(2)).await?;
        let plan = client.retention().plan(&scope).await?;
        let goes: Vec<&str> = plan.iter().filter(|step| step.deleted).map(|step| step.snapshot.as_str()).collect();
        assert_eq!(goes, ["a"], "{plan:?}");
        assert!(plan.iter().all(|step| step.reason.is_some()));
        assert_eq!(client.retention().apply(&scope).await?.deleted, ["a"]);
        assert_eq!(client.retention().apply_once(&scope, &keep(1)).await?.deleted, ["b"]);
        assert_eq!(client.snapshots().list(&SnapshotFilter::default()).await?.len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn schedules() -> Result {
    everywhere(async |_, client| {
        client.schedules().create(&CreateSchedule::new("nightly", Scope::database("shop"), "0 2 * * *")).await?;
        let schedule = client.schedules().list().await?.remove(0);
        assert_eq!((schedule.name.as_str(), schedule.state.as_deref()), ("nightly", Some("active")));
        assert!(schedule.next_run.is_some() && schedule.last_run.is_none(), "{schedule:?}");
        client.schedules().pause("nightly").await?;
        assert_eq!(client.schedules().list().await?[0].state.as_deref(), Some("paused"));
        client.schedules().resume("nightly").await?;
        client.schedules().delete("nightly").await?;
        assert!(client.schedules().list().await?.is_empty());
        client.schedules().create(&CreateSchedule::new("daily", Scope::Cluster, "@daily")).await?;
        client.schedules().delete("daily").await?;
        // A sixth field in front is seconds: whoever has the store open runs it.
        client.schedules().create(&CreateSchedule::new("often", Scope::Cluster, "* * * * * *")).await?;
        while client.schedules().list().await?[0].last_snapshot.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        client.schedules().delete("often").await?;
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
