//! What goes wrong: input that makes no sense, many at once, a server that goes away. Each error says the next step, and
//! nothing is left half done.

use strandline_client::{
    Client, Config, CreateSnapshot, Error, Kind, Restore, RestoreSnapshot, Scope, SnapshotFilter, When, sql,
};
use strandline_workbench::process::{PASSWORD, Server};

use crate::{Place, Result, count, everywhere, number, shop};

/// Names that would end a quote, a statement or a path if they could.
const NAMES: [&str; 7] = [
    "it's",
    "a b  c",
    "größe 日本 🐚",
    "x`; DROP DATABASE shop; -- ",
    "'); DELETE FROM users; -- x",
    "50%_of\\it",
    "../../etc",
];

fn one_step(error: &Error) -> bool {
    error.hint().is_some_and(|hint| hint.ends_with(['.', '?'])) && !error.message().contains("BUG")
}

#[tokio::test]
async fn names_of_all_kinds_are_names_and_nothing_else() -> Result {
    everywhere(async |_, client| {
        for name in NAMES {
            let name = name.trim();
            let made = client.snapshots().create(shop(name)).await.map_err(|error| format!("{name}: {error}"))?;
            assert_eq!(made.name, name);
            assert_eq!(client.snapshots().find(name).await?, made);
            assert_eq!(number(&client.query_snapshot(name, "SELECT COUNT(*) FROM users").await?)?, 2, "{name}");
            client.restore().snapshot(&RestoreSnapshot::new(name).to_database(name)).await?;
            assert_eq!(count(client, &format!("{}.users", sql::name(name))).await?, 2, "{name}");
            client.query(&format!("DROP DATABASE {}", sql::name(name))).await?;
            client.snapshots().delete(name).await?;
        }
        assert_eq!(
            (count(client, "users").await?, client.snapshots().list(&SnapshotFilter::default()).await?.len()),
            (2, 0)
        );
        let exact = "ä".repeat(64);
        client.snapshots().create(shop(&exact)).await?;
        for name in ["", "ä\nb", " s ", &"x".repeat(65)] {
            let error = client.snapshots().create(shop(name)).await.unwrap_err();
            assert!(error.code() == Some(1105) && one_step(&error) || error.code() == Some(1064), "{name:?}: {error}");
        }
        assert_eq!(client.snapshots().list(&SnapshotFilter::default()).await?.len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_base_that_is_missing_or_of_something_else() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("of_shop")).await?;
        let on = |base: &str| CreateSnapshot::new("i", Scope::table("shop", "users")).incremental_from(base);
        let missing = client.snapshots().create(on("nope")).await.unwrap_err();
        assert!(missing.message().contains("No snapshot 'nope'") && one_step(&missing), "{missing}");
        let other = client.snapshots().create(on("of_shop")).await.unwrap_err();
        assert!(other.message().contains("needs a base of the same scope") && one_step(&other), "{other}");
        client.snapshots().delete("of_shop").await?;
        let dropped = client.snapshots().create(shop("j").incremental_from("of_shop")).await.unwrap_err();
        assert!(dropped.message().contains("No snapshot 'of_shop'") && one_step(&dropped), "{dropped}");
        assert!(client.snapshots().list(&SnapshotFilter::default()).await?.is_empty());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_not_in_the_snapshot() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(CreateSnapshot::new("u", Scope::table("shop", "users")).columns(["id"])).await?;
        let version = client.query("SHOW COMMITS LIMIT 1").await?.rows;
        let table = client.query_snapshot("u", "SELECT * FROM orders").await.unwrap_err();
        assert!(table.message().contains("speaks of table shop.users") && one_step(&table), "{table}");
        let column = client.query_snapshot("u", "SELECT name FROM users").await.unwrap_err();
        assert!(column.message().contains("which has the columns id"), "{column}");
        let mut wanted = RestoreSnapshot::new("u").to_database("there");
        wanted.tables = vec!["orders".to_owned()];
        let restored = client.restore().tables(&wanted).await.unwrap_err();
        assert!(one_step(&restored), "{restored}");
        let widened = RestoreSnapshot::new("u").overwrite();
        let error = client.restore().snapshot(&widened).await.unwrap_err();
        assert!(error.message().contains("column"), "{error}");
        assert_eq!(client.query("SHOW COMMITS LIMIT 1").await?.rows, version, "nothing was changed");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn foreign_keys_from_outside_are_named() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("without")).await?;
        client.query("INSERT INTO users VALUES (3, 'cy')").await?;
        for statement in [
            "CREATE DATABASE outside",
            "CREATE TABLE outside.visits (id INT PRIMARY KEY, user_id INT, \
             CONSTRAINT visitor FOREIGN KEY (user_id) REFERENCES shop.users (id))",
            "INSERT INTO outside.visits VALUES (1, 3)",
        ] {
            client.query(statement).await?;
        }
        let error = client.restore().snapshot(&RestoreSnapshot::new("without").overwrite()).await.unwrap_err();
        assert!(error.message().contains("visits") && error.message().contains("users"), "{error}");
        assert_eq!(count(client, "users").await?, 3, "nothing was changed");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_taken_target_stays_as_it_is() -> Result {
    everywhere(async |_, client| {
        client.snapshots().create(shop("s")).await?;
        client.query("DELETE FROM users").await?;
        client.query("CREATE TABLE kept (id INT PRIMARY KEY)").await?;
        let error = client.restore().snapshot(&RestoreSnapshot::new("s")).await.unwrap_err();
        assert!(error.kind() == Kind::AlreadyExists && one_step(&error), "{error}");
        assert_eq!((count(client, "users").await?, count(client, "kept").await?), (0, 0));
        Ok(())
    })
    .await
}

/// Snapshots, restores and clones by several clients while another writes: each of them is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_during_writes() -> Result {
    everywhere(async |place, client| {
        client.query("CREATE TABLE pairs (id INT PRIMARY KEY)").await?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut writer = place.client().await?;
        let writing = tokio::spawn(async move {
            let mut at = 0;
            while !*stopped.borrow() {
                writer.query(&format!("INSERT INTO shop.pairs VALUES ({}), ({})", 2 * at, 2 * at + 1)).await?;
                at += 1;
            }
            writer.close().await?;
            Ok::<u64, strandline_client::Error>(at)
        });
        let mut working = Vec::new();
        for worker in 0..4 {
            let mut own = place.client().await?;
            working.push(tokio::spawn(async move {
                for round in 0..3 {
                    let name = format!("w{worker}_{round}");
                    own.snapshots().create(shop(&name)).await?;
                    own.restore().snapshot(&RestoreSnapshot::new(&name).to_database(format!("r_{name}"))).await?;
                    own.clones().database("shop", &format!("c_{name}"), &When::Now).await?;
                }
                own.close().await
            }));
        }
        for worker in working {
            worker.await??;
        }
        stop.send(true)?;
        assert!(writing.await?? > 0);
        for worker in 0..4 {
            let mut last = 0;
            for round in 0..3 {
                let name = format!("w{worker}_{round}");
                let then = number(&client.query_snapshot(&name, "SELECT COUNT(*) FROM pairs").await?)?;
                let restored = count(client, &format!("r_{name}.pairs")).await?;
                let cloned = count(client, &format!("c_{name}.pairs")).await?;
                assert!(then % 2 == 0 && cloned % 2 == 0, "{name}: {then}, {cloned}");
                assert!(
                    restored == then && last <= then && then <= cloned,
                    "{name}: {last}, {then}, {restored}, {cloned}"
                );
                last = cloned;
            }
        }
        Ok(())
    })
    .await
}

/// A server that goes away in the middle of restores: each was done or was not, and the client is told which it may not be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_leaves_each_restore_whole() -> Result {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = Server::strandline(&data).await?;
    let config = |port| Config { port, password: Some(PASSWORD.to_owned()), ..Config::default() };
    let mut client = Client::connect(config(server.port)).await?;
    client
        .query(
            "CREATE DATABASE shop; CREATE TABLE shop.a (id INT PRIMARY KEY); CREATE TABLE shop.b (id INT PRIMARY KEY); \
             INSERT INTO shop.a VALUES (1), (2); INSERT INTO shop.b VALUES (1)",
        )
        .await?;
    client.snapshots().create(shop("s")).await?;
    let restoring = tokio::spawn(async move {
        let mut done = 0;
        loop {
            let wanted = RestoreSnapshot::new("s").to_database(format!("r{done}"));
            match client.restore().snapshot(&wanted).await {
                Ok(_) => done += 1,
                Err(error) => {
                    let again = client.query("SELECT 1").await.unwrap_err();
                    return (done, error, again);
                }
            }
        }
    });
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    server.kill()?;
    let (done, error, again) = restoring.await?;
    assert_eq!((error.kind(), again.kind()), (Kind::Connection, Kind::Connection), "{error} {again}");
    let server = Server::strandline(&data).await?;
    let mut client = Client::connect(config(server.port)).await?;
    for at in 0..done {
        assert_eq!(
            (count(&mut client, &format!("r{at}.a")).await?, count(&mut client, &format!("r{at}.b")).await?),
            (2, 1)
        );
    }
    // Of the one that was under way there is all or nothing, and one look tells.
    if !client.query(&format!("SHOW DATABASES LIKE 'r{done}'")).await?.rows.is_empty() {
        assert_eq!(count(&mut client, &format!("r{done}.b")).await?, 1);
    }
    let back = Restore::new(Scope::database("shop"), When::Snapshot("s".into())).overwrite();
    client.restore().run(&back).await?;
    client.close().await?;
    server.stop()?;
    Ok(())
}

/// A lost connection is told, and a new one finds everything.
#[tokio::test]
async fn a_server_that_was_restarted_is_connected_to_anew() -> Result {
    let place = Place::remote().await?;
    let mut client = place.client().await?;
    client.query("CREATE DATABASE shop").await?;
    client.snapshots().create(shop("s")).await?;
    let Place { server, folder } = place;
    server.ok_or("a server")?.stop()?;
    for _ in 0..2 {
        let error = client.query("SELECT 1").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Connection, "{error}");
    }
    let server = Server::strandline(&folder.path().join("data")).await?;
    let place = Place { server: Some(server), folder };
    let mut client = place.client().await?;
    assert_eq!(client.snapshots().find("s").await?.name, "s");
    Ok(client.close().await?)
}
