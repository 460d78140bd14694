//! `docs/guide/rust.md`, run: every block of it stands below word for word, which the first test checks.

use std::process::Command;

use strandline_client::{
    Client, Config, CreateSchedule, CreateSnapshot, Keep, Kind, Range, RangeUnit, Restore, RestoreSnapshot, Scope,
    SnapshotFilter, Value, When, blocking,
};
use strandline_workbench::process::{PASSWORD, Server};

type Result = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[test]
fn every_block_of_the_guide_stands_here() {
    let unindented = |text: &str| text.lines().map(|line| line.trim_start().to_owned() + "\n").collect::<String>();
    let guide = include_str!("../../../docs/guide/rust.md");
    let here = unindented(include_str!("guide.rs"));
    let blocks: Vec<&str> = guide.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 7);
    for block in blocks {
        assert!(here.contains(&unindented(block)), "this block is not run:\n{block}");
    }
}

/// The guide's settings come from the environment: it is run in a process of its own.
#[tokio::test]
async fn the_guide_runs() -> Result {
    let folder = tempfile::tempdir()?;
    let server = Server::strandline(&folder.path().join("data")).await?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "the_guide", "--ignored"]);
    command.env("STRANDLINE_PORT", server.port.to_string()).env("STRANDLINE_PASSWORD", PASSWORD);
    for name in ["HOST", "USER", "DATABASE", "CONFIG", "TLS", "TLS_CA"] {
        command.env_remove(format!("STRANDLINE_{name}"));
    }
    let done = command.output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

#[test]
#[ignore = "run by the_guide_runs"]
fn the_guide() -> Result {
    tokio::runtime::Runtime::new()?.block_on(with_async())?;
    without_async()
}

async fn with_async() -> Result {
    let mut client = Client::connect(Config::load(None)?).await?;
    client.query("CREATE DATABASE shop").await?;

    client.query("CREATE TABLE shop.users (id INT PRIMARY KEY, name VARCHAR(40))").await?;
    let people: [Value; 4] = [1.into(), "ada".into(), 2.into(), "bob".into()];
    client.query_with("INSERT INTO shop.users VALUES (?, ?), (?, ?)", &people).await?;

    let mut rows = client.stream("SELECT name FROM shop.users ORDER BY id").await?;
    while let Some(row) = rows.next().await? {
        println!("{}", row[0].to_text().unwrap_or_default());
    }
    drop(rows);

    let create = CreateSnapshot::new("before", Scope::database("shop")).description("Before the clean-up");
    let snapshot = client.snapshots().create(create).await?;
    client.snapshots().create(CreateSnapshot::new("users", Scope::table("shop", "users"))).await?;

    client.query("DELETE FROM shop.users WHERE id = 1").await?;
    let then = client.query_snapshot("before", "SELECT COUNT(*) FROM users").await?;
    assert_eq!(then.rows, [[Value::Int(2)]]);

    for snapshot in client.snapshots().list(&SnapshotFilter::default()).await? {
        println!("{} of {:?}, {} MB", snapshot.name, snapshot.database, snapshot.size_mb);
    }

    let beside = RestoreSnapshot::new(&snapshot.name).to_database("shop_then");
    let result = client.restore().snapshot(&beside).await?;
    println!("to take it back: version {:?}", result.version_before);

    client.restore().snapshot(&RestoreSnapshot::new("before").overwrite_keeping_copy()).await?;
    client.restore().tables(&RestoreSnapshot::new("users").to_database("archive")).await?;
    client.restore().snapshot(&RestoreSnapshot::new("before").overwrite().with_grants()).await?; // needs SUPER

    client.query("DELETE FROM shop.users").await?;
    let points = client.restore().recovery_points(&Scope::database("shop"), None, None).await?;
    let before = When::Version(points[0].version - 1);
    client.restore().run(&Restore::new(Scope::database("shop"), before).overwrite()).await?;

    let mut transaction = client.begin().await?;
    transaction.query("UPDATE shop.users SET name = 'eve' WHERE id = 2").await?;
    transaction.snapshots().create(CreateSnapshot::new("renamed", Scope::database("shop"))).await?;
    transaction.commit().await?;

    let error = client.snapshots().create(CreateSnapshot::new("s", Scope::database("shpo"))).await.unwrap_err();
    assert_eq!((error.kind(), error.code(), error.sqlstate()), (Kind::NotFound, Some(1049), Some("42000")));
    println!("{} {}", error.message(), error.hint().unwrap_or_default());

    let week = Range { length: 7, unit: RangeUnit::Day };
    let policy = client.pitr().create("week", &Scope::database("shop"), week).await?;
    println!("back to {:?}, {:?}", policy.recoverable_from, policy.status);

    let keep = Keep { daily: Some(7), weekly: Some(4), ..Keep::default() };
    client.retention().set(&Scope::database("shop"), &keep.in_zone("Europe/Berlin")).await?;

    let nightly = CreateSchedule::cron("nightly", Scope::database("shop"), "0 2 * * *");
    client.schedules().create(&CreateSchedule { keep, ..nightly }).await?;
    let often = CreateSchedule::every("often", Scope::database("shop"), "6 hours".parse()?);
    client.schedules().create(&CreateSchedule { retain: Some("2 days".parse()?), ..often }).await?;

    client.close().await?;
    Ok(())
}

fn without_async() -> Result {
    let mut client = blocking::Client::connect(Config::load(None)?)?;
    let kept = client.snapshots().list(&SnapshotFilter { database: Some("shop".into()), level: None })?;
    assert!(kept.iter().any(|snapshot| snapshot.name == "renamed"));
    Ok(())
}
