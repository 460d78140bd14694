//! One test for each capability of the guide, by its number, as `python/tests/test_capabilities.py` has them.
#![expect(clippy::disallowed_methods, reason = "the clock is the one that the server reads too")]

use std::time::Duration;

use strandline_client::{
    Client, Config, CreateSnapshot, Incremental, Keep, Kind, Level, Missing, Restore, RestoreSnapshot, Scope, Snapshot,
    SnapshotFilter, Timestamp, Value, When, blocking,
};

use crate::{Place, Result, count, everywhere, number, shop};

/// A file of settings that leads to a server.
fn settings(place: &Place) -> Result<Config> {
    let path = place.folder.path().join("settings.toml");
    let config = place.config();
    let password = config.password.as_deref().unwrap_or_default();
    std::fs::write(&path, format!("port = {}\nuser = 'root'\npassword = '{password}'\n", config.port))?;
    Ok(Config::load(Some(&path))?)
}

fn of_users(name: &str) -> CreateSnapshot {
    CreateSnapshot::new(name, Scope::table("shop", "users"))
}

fn of_both(name: &str) -> CreateSnapshot {
    CreateSnapshot::new(name, Scope::tables("shop", ["users", "orders"]))
}

async fn names(client: &mut Client, database: Option<&str>, level: Option<Level>) -> Result<Vec<String>> {
    let filter = SnapshotFilter { database: database.map(str::to_owned), level };
    Ok(client.snapshots().list(&filter).await?.into_iter().map(|snapshot| snapshot.name).collect())
}

/// Returns a time after all that was and before what comes.
async fn now() -> Timestamp {
    tokio::time::sleep(Duration::from_millis(2)).await;
    let now = Timestamp::now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    now
}

// Connection

#[test]
fn test_01_connect() -> Result {
    let place = tokio::runtime::Runtime::new()?.block_on(Place::remote())?;
    let mut client = blocking::Client::connect(settings(&place)?)?;
    assert_eq!(client.query("SELECT 1")?.rows, [[Value::Int(1)]]);
    client.close()?;
    #[cfg(feature = "embedded")]
    {
        let mut client = blocking::Client::open(place.folder.path().join("embedded"))?;
        assert_eq!(client.query("SELECT 1")?.rows, [[Value::Int(1)]]);
        client.close()?;
    }
    Ok(())
}

#[tokio::test]
async fn test_02_connect_async() -> Result {
    everywhere(async |place, _| {
        let mut other =
            if place.server.is_some() { Client::connect(settings(place)?).await? } else { place.client().await? };
        assert_eq!(other.query("SELECT 1").await?.rows, [[Value::Int(1)]]);
        Ok(other.close().await?)
    })
    .await
}

#[tokio::test]
async fn test_03_disconnect() -> Result {
    everywhere(async |place, client| {
        let mut other = place.client().await?;
        other.query("START TRANSACTION").await?;
        other.query("DELETE FROM shop.users").await?;
        other.close().await?;
        assert_eq!(count(client, "users").await?, 2, "what was not committed is gone");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_04_the_verbs_are_of_the_client() -> Result {
    everywhere(async |_, client| {
        assert!(client.snapshots().list(&SnapshotFilter::default()).await?.is_empty());
        Ok(())
    })
    .await
}

// Create

#[tokio::test]
async fn test_05_database_snapshot() -> Result {
    everywhere(async |_, client| {
        let whole = client.snapshots().create(shop("whole")).await?;
        assert_eq!((whole.level, whole.database.as_deref(), whole.tables.len()), (Level::Database, Some("shop"), 0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_06_table_snapshot() -> Result {
    everywhere(async |_, client| {
        let table = client.snapshots().create(of_users("u")).await?;
        assert_eq!((table.level, table.tables), (Level::Table, vec!["users".to_owned()]));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_07_description() -> Result {
    everywhere(async |_, client| {
        let said = "It's Ümläut \\ and \"quotes\"";
        client.snapshots().create(shop("s").description(said)).await?;
        assert_eq!(client.snapshots().find("s").await?.description.as_deref(), Some(said));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_08_compressed_snapshot() -> Result {
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
        assert_eq!(client.query("SHOW JOBS").await?.rows.len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_09_incremental_snapshot() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("base")).await?;
        client.query("INSERT INTO users VALUES (3, 'cy')").await?;
        let first = client.snapshots().create(shop("i").incremental_from("base")).await?;
        assert_eq!(first.base.as_deref(), Some("base"));
        let newest = |create| CreateSnapshot { incremental: Incremental::FromNewest, ..create };
        assert_eq!(client.snapshots().create(newest(shop("j"))).await?.base.as_deref(), Some("i"));
        // Of some columns is another scope than of all.
        client.snapshots().create(of_users("all")).await?;
        client.snapshots().create(of_users("ids").columns(["id"])).await?;
        assert_eq!(client.snapshots().create(newest(of_users("k"))).await?.base.as_deref(), Some("all"));
        let ids = client.snapshots().create(newest(of_users("l").columns(["ID"]))).await?;
        assert_eq!(ids.base.as_deref(), Some("ids"));
        let error = client.snapshots().delete("base").await.unwrap_err();
        assert!(error.message().contains("base of 'i'") && error.hint().is_some(), "{error}");
        client.snapshots().delete_cascade("base").await?;
        assert_eq!(names(client, None, Some(Level::Database)).await?.len(), 0);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_10_snapshot_of_several_tables() -> Result {
    everywhere(async |_, client| {
        assert_eq!(client.snapshots().create(of_both("both")).await?.tables, ["users", "orders"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_11_snapshot_of_columns() -> Result {
    everywhere(async |_, client| {
        assert_eq!(client.snapshots().create(of_users("ids").columns(["id"])).await?.columns, ["id"]);
        assert_eq!(client.query_snapshot("ids", "SELECT id FROM users").await?.rows.len(), 2);
        let error = client.query_snapshot("ids", "SELECT name FROM users").await.unwrap_err();
        assert!(error.message().contains("which has the columns id"), "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_12_the_name() -> Result {
    everywhere(async |_, client| {
        assert_eq!(client.snapshots().create(shop("s")).await?.name, "s");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_13_cluster_and_account() -> Result {
    everywhere(async |_, client| {
        let cluster = client.snapshots().create(CreateSnapshot::new("c", Scope::Cluster)).await?;
        let account = client.snapshots().create(CreateSnapshot::new("a", Scope::Account(None))).await?;
        assert_eq!((cluster.level, account.level), (Level::Cluster, Level::Account));
        Ok(())
    })
    .await
}

// Inspect

/// Takes a snapshot of each level.
async fn one_of_each(client: &mut Client) -> Result {
    for create in [shop("whole"), of_both("both"), of_users("u"), CreateSnapshot::new("all", Scope::Cluster)] {
        client.snapshots().create(create).await?;
    }
    Ok(())
}

#[tokio::test]
async fn test_14_list() -> Result {
    everywhere(async |_, client| {
        one_of_each(client).await?;
        assert_eq!(names(client, None, None).await?, ["all", "u", "both", "whole"], "newest first");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_15_list_by_database() -> Result {
    everywhere(async |_, client| {
        one_of_each(client).await?;
        assert_eq!(names(client, Some("SHOP"), None).await?, ["whole"]);
        assert_eq!(names(client, Some("other"), Some(Level::Table)).await?.len(), 0);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_16_list_by_level() -> Result {
    everywhere(async |_, client| {
        one_of_each(client).await?;
        assert_eq!(names(client, None, Some(Level::Table)).await?, ["u", "both"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_17_attributes() -> Result {
    everywhere(async |_, client| {
        let before = Timestamp::now() - Duration::from_secs(1);
        let old = client.snapshots().create(shop("old")).await?;
        let new = client.snapshots().create(shop("new")).await?;
        assert!(Some(before) <= old.created_at && old.created_at < new.created_at, "{old:?} {new:?}");
        assert!(new.created_at <= Some(Timestamp::now()) && old.version.is_some());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_18_size() -> Result {
    everywhere(async |_, client| {
        let snapshot = client.snapshots().create(shop("s")).await?;
        assert!(snapshot.size_mb >= 0.0 && snapshot.unique_mb.is_some_and(|own| own <= snapshot.size_mb));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_19_status() -> Result {
    everywhere(async |_, client| {
        assert_eq!(client.snapshots().create(shop("s")).await?.status, "available");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_20_get_one() -> Result {
    everywhere(async |_, client| {
        let made = client.snapshots().create(shop("s")).await?;
        assert_eq!(client.snapshots().get("S").await?, Some(made));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_21_get_a_missing_one() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("whole")).await?;
        assert_eq!(client.snapshots().get("nope").await?, None);
        assert_eq!(client.snapshots().get("who_e").await?, None, "a name is no pattern");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_22_metadata() -> Result {
    everywhere(async |_, client| {
        let kept = client.snapshots().create(shop("s").description("d").retain("7 days".parse()?)).await?;
        let Snapshot { description, created_by, retain_until, .. } = client.snapshots().find("s").await?;
        assert_eq!(description.as_deref(), Some("d"));
        assert!(created_by.is_some_and(|by| by.starts_with("root@")) && retain_until > kept.created_at);
        let error = client.snapshots().find("nope").await.unwrap_err();
        assert_eq!((error.kind(), error.hint().is_some()), (Kind::NotFound, true), "{error}");
        Ok(())
    })
    .await
}

// Restore

#[tokio::test]
async fn test_23_restore_to_a_new_name() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.query("DELETE FROM users").await?;
        client.restore().snapshot(&RestoreSnapshot::new("s").to_database("then")).await?;
        assert_eq!((count(client, "`then`.users").await?, count(client, "users").await?), (2, 0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_24_overwrite() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.query("CREATE DATABASE other").await?;
        client.query("DELETE FROM users").await?;
        for refused in [RestoreSnapshot::new("s").to_database("other"), RestoreSnapshot::new("s")] {
            let error = client.restore().snapshot(&refused).await.unwrap_err();
            assert_eq!(error.kind(), Kind::AlreadyExists, "{error}");
        }
        assert_eq!(count(client, "users").await?, 0, "nothing was restored");
        for allowed in [RestoreSnapshot::new("s").to_database("other"), RestoreSnapshot::new("s")] {
            client.restore().snapshot(&allowed.overwrite()).await?;
        }
        assert_eq!((count(client, "other.users").await?, count(client, "users").await?), (2, 2));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_25_backup_of_what_is_there() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.query("DELETE FROM users WHERE id = 1").await?;
        let restored = client.restore().snapshot(&RestoreSnapshot::new("s").overwrite_keeping_copy()).await?;
        let [copy] = &restored.copies()[..] else { return Err(format!("{restored:?}").into()) };
        assert_eq!((count(client, "users").await?, count(client, &format!("{copy}.users")).await?), (2, 1));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_26_create_the_database_or_not() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        let mut refused = RestoreSnapshot::new("s").to_database("nowhere");
        refused.options.missing = Missing::Refuse;
        assert_eq!(client.restore().snapshot(&refused).await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(client.query("SHOW DATABASES LIKE 'nowhere'").await?.rows.len(), 0);
        client.restore().snapshot(&RestoreSnapshot::new("s").to_database("nowhere")).await?;
        assert_eq!(count(client, "nowhere.users").await?, 2);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_27_permissions() -> Result {
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
async fn test_28_the_result() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        let done = client.restore().snapshot(&RestoreSnapshot::new("s").to_database("then")).await?;
        assert!(done.version_after > done.version_before);
        let users = done.steps.iter().find(|step| step.table.as_deref() == Some("users")).ok_or("no step")?;
        assert_eq!(users.rows_after, Some(2));
        client.query("DELETE FROM users").await?;
        let plan = client.restore().plan_snapshot(&RestoreSnapshot::new("s").overwrite()).await?;
        assert!(plan.iter().any(|step| step.rows_after == Some(2) && step.reason.is_some()), "{plan:?}");
        assert_eq!(count(client, "users").await?, 0, "a plan changes nothing");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_29_table_to_another_database() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(of_users("u")).await?;
        client.restore().tables(&RestoreSnapshot::new("u").to_database("a")).await?;
        assert_eq!(count(client, "a.users").await?, 2);
        assert!(client.restore().tables(&RestoreSnapshot::new("u").to_database("a")).await.is_err(), "it is there now");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_30_table_under_another_name() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(of_users("u")).await?;
        client.restore().tables(&RestoreSnapshot::new("u").to_database("a").to_table("users_then")).await?;
        client.restore().tables(&RestoreSnapshot::new("u").to_table("copy")).await?;
        assert_eq!((count(client, "a.users_then").await?, count(client, "shop.copy").await?), (2, 2));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_31_all_tables_of_a_snapshot() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(of_both("both")).await?;
        client.restore().tables(&RestoreSnapshot::new("both").to_database("b")).await?;
        assert_eq!((count(client, "b.users").await?, count(client, "b.orders").await?), (2, 1));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_32_one_table_of_a_database() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.query("DELETE FROM users").await?;
        client.query("DELETE FROM orders").await?;
        client.restore().tables(&RestoreSnapshot::new("s").to_table("users").overwrite()).await?;
        assert_eq!((count(client, "users").await?, count(client, "orders").await?), (2, 0));
        let error = client.restore().tables(&RestoreSnapshot::new("s").overwrite()).await.unwrap_err();
        assert_eq!((error.kind(), error.hint()), (Kind::Config, Some("Name the tables to restore.")));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_33_restore_the_cluster() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(CreateSnapshot::new("all", Scope::Cluster)).await?;
        client.query("DROP TABLE orders").await?;
        client.restore().cluster("all").await?;
        assert_eq!(count(client, "orders").await?, 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_34_restore_a_database_of_an_account() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(CreateSnapshot::new("all", Scope::Cluster)).await?;
        client.snapshots().create(shop("s")).await?;
        client.query("DELETE FROM orders").await?;
        for (snapshot, account, database) in [("all", "root", "shop"), ("s", "sys", "copy"), ("s", "sys", "copy")] {
            client.restore().database(snapshot, account, database).await?;
            assert_eq!(count(client, &format!("{database}.orders")).await?, 1);
        }
        client.query("DELETE FROM orders").await?;
        client.restore().account("all", "root").await?;
        assert_eq!(count(client, "orders").await?, 1);
        let error = client.restore().database("all", "nobody", "shop").await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        Ok(())
    })
    .await
}

// Point in time

#[tokio::test]
async fn test_35_restore_to_a_time() -> Result {
    everywhere(async |_, client| {
        let moment = now().await;
        client.query("DELETE FROM users").await?;
        client.restore().run(&Restore::new(Scope::database("shop"), When::Time(moment)).overwrite()).await?;
        assert_eq!(count(client, "users").await?, 2);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_36_restore_to_a_time_and_another_name() -> Result {
    everywhere(async |_, client| {
        let moment = now().await;
        client.query("DELETE FROM users").await?;
        let restore = Restore::new(Scope::database("shop"), When::Time(moment)).to_database("shop_then");
        client.restore().run(&restore).await?;
        assert_eq!((count(client, "shop_then.users").await?, count(client, "users").await?), (2, 0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_37_recovery_points() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        let moment = now().await;
        client.query("DELETE FROM users").await?;
        let scope = Scope::database("shop");
        let points = client.restore().recovery_points(&scope, None, None).await?;
        assert!(points.iter().any(|point| point.kind == "snapshot" && point.name.as_deref() == Some("s")));
        assert!(points.iter().filter(|point| point.kind == "commit").count() > 2, "{points:?}");
        let later = client.restore().recovery_points(&scope, Some(When::Time(moment)), None).await?;
        assert_eq!(later.len(), 1, "{later:?}");
        let deleted = Some(When::Time(later[0].timestamp));
        let of_users = Scope::table("shop", "users");
        assert_eq!(client.restore().recovery_points(&of_users, deleted.clone(), deleted).await?.len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_38_a_recovery_point() -> Result {
    everywhere(async |_, client| {
        client.query("DELETE FROM users WHERE id = 1").await?;
        let point = client.restore().recovery_points(&Scope::database("shop"), None, None).await?.remove(0);
        assert_eq!((point.kind.as_str(), point.available), ("commit", true));
        client.query("DELETE FROM users").await?;
        let back = Restore::new(Scope::database("shop"), When::Time(point.timestamp)).overwrite();
        client.restore().run(&back).await?;
        assert_eq!(count(client, "users").await?, 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_39_times_that_cannot_be_had() -> Result {
    everywhere(async |_, client| {
        for (words, said) in [("soon", "not a time"), ("2999-01-01", "in the future"), ("2001-01-01", "2001-01-01")] {
            let restore = Restore::new(Scope::database("shop"), When::Words(words.into())).overwrite();
            let error = client.restore().run(&restore).await.unwrap_err();
            assert!(error.message().contains(said) && error.hint().is_some(), "{words}: {error}");
        }
        Ok(())
    })
    .await
}

// Query

#[tokio::test]
async fn test_40_query_a_snapshot() -> Result {
    everywhere(async |_, client| {
        client.query("CREATE DATABASE elsewhere").await?;
        client.snapshots().create(shop("s")).await?;
        client.query("DELETE FROM users").await?;
        client.query("USE elsewhere").await?;
        let then = client.query_snapshot("s", "SELECT name FROM users ORDER BY id").await?;
        assert_eq!(then.rows, [[Value::Text("ada".into())], [Value::Text("bob".into())]]);
        let error = client.query_snapshot("s", "DELETE FROM users").await.unwrap_err();
        assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
        let here = client.query("SELECT DATABASE()").await?;
        assert_eq!(here.rows, [[Value::Text("elsewhere".into())]], "the session stays where it was");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_41_where_and_count() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        let one = client.query_snapshot("s", "SELECT name FROM users WHERE id > 1").await?;
        assert_eq!(one.rows, [[Value::Text("bob".into())]]);
        assert_eq!(number(&client.query_snapshot("s", "SELECT COUNT(*) FROM users").await?)?, 2);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_42_compare_two_snapshots() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("old")).await?;
        client.query("INSERT INTO users VALUES (3, 'cy')").await?;
        client.snapshots().create(shop("new")).await?;
        for (snapshot, rows) in [("old", 2), ("new", 3)] {
            assert_eq!(number(&client.query_snapshot(snapshot, "SELECT COUNT(*) FROM users").await?)?, rows);
        }
        Ok(())
    })
    .await
}

// Clean up

#[tokio::test]
async fn test_43_delete_one() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.snapshots().delete("s").await?;
        let error = client.snapshots().delete("s").await.unwrap_err();
        assert_eq!((error.kind(), error.hint().is_some()), (Kind::NotFound, true), "{error}");
        assert!(!client.snapshots().delete_if_exists("s").await?);
        let error = client.snapshots().delete_cascade("s").await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_44_delete_many() -> Result {
    everywhere(async |_, client| {
        for name in ["a", "b", "c"] {
            client.snapshots().create(shop(name)).await?;
        }
        for name in ["a", "b"] {
            assert!(client.snapshots().delete_if_exists(name).await?);
        }
        assert_eq!(names(client, None, None).await?, ["c"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_45_delete_older_than_a_date() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        let date = "2024-01-01T00:00:00Z".parse()?;
        assert!(client.snapshots().delete_older_than(date, &SnapshotFilter::default()).await?.is_empty());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_46_delete_older_than_a_moment() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("old")).await?;
        let new = client.snapshots().create(shop("new")).await?.created_at.ok_or("no time")?;
        assert_eq!(client.snapshots().delete_older_than(new, &SnapshotFilter::default()).await?, ["old"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_47_of_one_database_and_counted() -> Result {
    everywhere(async |_, client| {
        one_of_each(client).await?;
        client.snapshots().create(shop("more")).await?;
        let later = Timestamp::now() + Duration::from_secs(60);
        let of_shop = SnapshotFilter { database: Some("shop".into()), level: None };
        assert_eq!(client.snapshots().delete_older_than(later, &of_shop).await?.len(), 2);
        assert_eq!(names(client, None, None).await?, ["all", "u", "both"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_48_retention() -> Result {
    everywhere(async |_, client| {
        for name in ["a", "b", "c"] {
            client.snapshots().create(shop(name)).await?;
        }
        let keep = Keep { daily: Some(7), weekly: Some(4), monthly: Some(12), ..Keep::default() };
        let done = client.retention().apply_once(&Scope::database("shop"), &keep.into()).await?;
        assert_eq!(done.deleted.len(), 2, "of one day, the newest stays: {done:?}");
        assert_eq!(names(client, None, None).await?, ["c"]);
        Ok(())
    })
    .await
}

// Async: each verb is awaited, and two clients of one thread run side by side.

#[tokio::test]
async fn test_49_create_async() -> Result {
    everywhere(async |place, client| {
        let mut other = place.client().await?;
        let (mut ours, mut theirs) = (client.snapshots(), other.snapshots());
        let (a, b) = tokio::join!(ours.create(shop("a")), theirs.create(shop("b")));
        assert_eq!((a?.name, b?.name), ("a".to_owned(), "b".to_owned()));
        Ok(other.close().await?)
    })
    .await
}

#[tokio::test]
async fn test_50_restore_async() -> Result {
    everywhere(async |place, client| {
        let mut other = place.client().await?;
        client.snapshots().create(shop("s")).await?;
        let (one, two) = (RestoreSnapshot::new("s").to_database("one"), RestoreSnapshot::new("s").to_database("two"));
        let (mut ours, mut theirs) = (client.restore(), other.restore());
        let (first, second) = tokio::join!(ours.snapshot(&one), theirs.snapshot(&two));
        assert!(first?.version_after.is_some() && second?.version_after.is_some());
        assert_eq!((count(client, "one.users").await?, count(client, "two.users").await?), (2, 2));
        Ok(other.close().await?)
    })
    .await
}

#[tokio::test]
async fn test_51_list_async() -> Result {
    everywhere(async |place, client| {
        let mut other = place.client().await?;
        client.snapshots().create(shop("s")).await?;
        let filter = SnapshotFilter::default();
        let (mut ours, mut theirs) = (client.snapshots(), other.snapshots());
        let (a, b) = tokio::join!(ours.list(&filter), theirs.list(&filter));
        assert_eq!((a?.len(), b?.len()), (1, 1));
        Ok(other.close().await?)
    })
    .await
}

// Scenarios

#[tokio::test]
async fn test_52_daily_backup_and_clean_up() -> Result {
    everywhere(async |_, client| {
        let day = Timestamp::now().strftime("%Y%m%d").to_string();
        let name = format!("daily_backup_{day}");
        client.snapshots().create(shop(&name).description(format!("Daily backup for {day}"))).await?;
        let thirty_days_ago = Timestamp::now() - Duration::from_secs(30 * 24 * 60 * 60);
        let of_shop = SnapshotFilter { database: Some("shop".into()), level: None };
        assert!(client.snapshots().delete_older_than(thirty_days_ago, &of_shop).await?.is_empty());
        assert_eq!(names(client, Some("shop"), None).await?, [name]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_53_the_latest_snapshot() -> Result {
    everywhere(async |_, client| {
        for create in [shop("a"), shop("b"), of_users("later")] {
            client.snapshots().create(create).await?;
        }
        let of_shop = SnapshotFilter { database: Some("shop".into()), level: None };
        let list = client.snapshots().list(&of_shop).await?;
        let latest = list.iter().max_by_key(|snapshot| snapshot.created_at).ok_or("none")?;
        assert_eq!(latest.name, "b");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_54_emergency_restore() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.query("DROP DATABASE shop").await?;
        client.restore().snapshot(&RestoreSnapshot::new("s").to_database("shop_restored").overwrite()).await?;
        assert_eq!(count(client, "shop_restored.users").await?, 2);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_55_point_in_time_restore_beside_it() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("my_snapshot")).await?;
        client.restore().database("my_snapshot", "root", "shop_pitr_restored").await?;
        assert_eq!(count(client, "shop_pitr_restored.orders").await?, 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_56_validate_a_restore() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.restore().snapshot(&RestoreSnapshot::new("s").to_database("restored")).await?;
        assert_eq!(count(client, "restored.information_schema.tables").await?, 2);
        assert_eq!(count(client, "information_schema.tables WHERE table_schema = 'restored'").await?, 2);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_57_migrate_a_database() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("migration")).await?;
        client.restore().snapshot(&RestoreSnapshot::new("migration").to_database("new_shop").overwrite()).await?;
        client.snapshots().delete("migration").await?;
        client.query("DELETE FROM new_shop.users").await?;
        assert_eq!((count(client, "new_shop.orders").await?, count(client, "shop.users").await?), (1, 2));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_58_migrate_tables() -> Result {
    everywhere(async |_, client| {
        for table in ["users", "orders"] {
            client.snapshots().create(CreateSnapshot::new("m", Scope::table("shop", table))).await?;
            let there = RestoreSnapshot::new("m").to_database("new_shop").to_table(table).overwrite();
            client.restore().tables(&there).await?;
            client.snapshots().delete("m").await?;
        }
        assert_eq!((count(client, "new_shop.users").await?, count(client, "new_shop.orders").await?), (2, 1));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_59_snapshots_of_many_databases() -> Result {
    everywhere(async |_, client| {
        client.query("CREATE DATABASE other").await?;
        for database in ["shop", "other"] {
            let create = CreateSnapshot::new(format!("batch_{database}"), Scope::database(database));
            client.snapshots().create(create).await?;
        }
        assert_eq!(names(client, None, None).await?, ["batch_other", "batch_shop"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_60_clean_up_that_keeps_the_latest() -> Result {
    everywhere(async |_, client| {
        for name in ["a", "b", "c"] {
            client.snapshots().create(shop(name)).await?;
        }
        let list = client.snapshots().list(&SnapshotFilter::default()).await?;
        for old in &list[1..] {
            client.snapshots().delete(&old.name).await?;
        }
        assert_eq!(names(client, None, None).await?, ["c"]);
        Ok(())
    })
    .await
}

// Errors and operation

#[tokio::test]
async fn test_61_errors() -> Result {
    everywhere(async |_, client| {
        let error = client.snapshots().create(CreateSnapshot::new("s", Scope::database("shoop"))).await.unwrap_err();
        assert_eq!((error.kind(), error.code(), error.sqlstate()), (Kind::NotFound, Some(1049), Some("42000")));
        assert!(error.hint().is_some_and(|hint| hint.contains("shop")), "{error}");
        for error in [
            client.snapshots().find("t").await.unwrap_err(),
            client.snapshots().delete("t").await.unwrap_err(),
            client.query_snapshot("t", "SELECT 1").await.unwrap_err(),
            client.restore().snapshot(&RestoreSnapshot::new("t")).await.unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.code()), (Kind::NotFound, Some(1105)), "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn test_62_a_retry_is_safe() -> Result {
    everywhere(async |_, client| {
        for _ in 0..2 {
            let create = CreateSnapshot::new("s", Scope::tables("shop", ["users", "nothing"]));
            assert_eq!(client.snapshots().create(create).await.unwrap_err().kind(), Kind::NotFound);
        }
        assert_eq!(names(client, None, None).await?.len(), 0);
        let made = client.snapshots().create(shop("s")).await?;
        let again = client.snapshots().create(shop("s")).await.unwrap_err();
        assert!(again.message().contains("exists already"), "{again}");
        assert_eq!(client.snapshots().create(shop("s").if_not_exists()).await?, made);
        Ok(())
    })
    .await
}

/// A server and a user `reader` of it, who may read `shop` and nothing else, beside root.
async fn with_reader() -> Result<(Place, Client, Client)> {
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
    let reader = Client::connect(config).await?;
    Ok((place, root, reader))
}

#[tokio::test]
async fn test_63_what_is_missing_is_told_apart() -> Result {
    let (_place, mut root, mut reader) = with_reader().await?;
    let error = reader.snapshots().create(shop("mine")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    let error = root.snapshots().create(CreateSnapshot::new("s2", Scope::database("nowhere"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    let nobody = Config { port: 1, ..Config::default() };
    assert_eq!(Client::connect(nobody).await.err().ok_or("let in")?.kind(), Kind::Connection);
    Ok(())
}

#[tokio::test]
async fn test_64_a_restore_checks_first() -> Result {
    let (_place, mut root, mut reader) = with_reader().await?;
    let error = reader.restore().snapshot(&RestoreSnapshot::new("s").overwrite()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Denied, Some(1044)), "{error}");
    root.query("REVOKE SELECT ON shop.* FROM reader").await?;
    let error = reader.restore().snapshot(&RestoreSnapshot::new("s").overwrite()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "what one has no right on is not listed: {error}");
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        let newest = async |client: &mut Client| client.query("SHOW COMMITS LIMIT 1").await;
        let before = newest(client).await?.rows;
        let mut wanted = RestoreSnapshot::new("s").to_database("there");
        wanted.tables = vec!["users".to_owned(), "nothing".to_owned()];
        assert_eq!(client.restore().tables(&wanted).await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(newest(client).await?.rows, before, "nothing was changed");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_65_snapshots_block_nobody() -> Result {
    everywhere(async |place, client| {
        client.query("CREATE TABLE pairs (id INT PRIMARY KEY)").await?;
        let mut other = place.client().await?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let writer = tokio::spawn(async move {
            let mut stopped = stopped;
            let mut written = 0;
            while stopped.try_recv().is_err() {
                let sql = format!("INSERT INTO shop.pairs VALUES ({}), ({})", 2 * written, 2 * written + 1);
                other.query(&sql).await?;
                written += 1;
            }
            other.close().await?;
            Ok::<u64, strandline_client::Error>(written)
        });
        for at in 0..10 {
            client.snapshots().create(shop(&format!("s{at}"))).await?;
        }
        stop.send(()).map_err(|()| "the writer is gone")?;
        assert!(writer.await?? > 0);
        let mut last = 0;
        for at in 0..10 {
            let rows = number(&client.query_snapshot(&format!("s{at}"), "SELECT COUNT(*) FROM pairs").await?)?;
            assert!(rows % 2 == 0 && rows >= last, "a snapshot is whole: {rows} after {last}");
            last = rows;
        }
        Ok(())
    })
    .await
}
