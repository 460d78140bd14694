//! What happens around the clients: kill -9, and the upkeep and the verbs of history that none of them may notice.
//!
//! Both go by the number of transactions that have ended, not by time. They return only when they fail.

use std::collections::HashSet;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use super::Plan;
use super::session::Shared;
use crate::isolation::optimize;
use crate::process::{Result, Server};

/// How many steps of upkeep a run has, as long as so many transactions end between two of them.
const UPKEEP_STEPS: usize = 100;
const UPKEEP_EVERY_MIN: usize = 20;

/// Kills the server and starts it again, after as many transactions as the seed says.
pub async fn kill(
    plan: &Plan,
    shared: &Shared,
    server: &mut Option<Server>,
    data: &Path,
    address: &watch::Sender<Option<Opts>>,
) -> Box<dyn Error + Send + Sync> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    // Not so late that the clients have nothing left to do with the server that is started again.
    let last = plan.transactions.saturating_sub(plan.clients).max(2);
    let mut ended: Vec<usize> = (0..plan.kills).map(|_| random.random_range(1..last)).collect();
    ended.sort_unstable();
    for count in ended {
        shared.wait_for(count).await;
        address.send_replace(None);
        let restarted = async {
            server.take().ok_or("the last start has failed")?.kill()?;
            Server::strandline(data).await
        };
        match restarted.await {
            Ok(restarted) => {
                address.send_replace(Some(restarted.opts(Some("d"))));
                *server = Some(restarted);
                shared.kills.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => return error,
        }
    }
    std::future::pending().await
}

/// What upkeep was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Upkeep {
    /// Steps of any kind.
    pub steps: u64,
    /// Those that wrote rows of the clients' tables to files.
    pub flushes: u64,
}

/// Takes one step after another, on a connection of its own, and counts them in `done`.
pub async fn upkeep(
    plan: &Plan,
    shared: &Shared,
    data: &Path,
    done: &watch::Sender<Upkeep>,
) -> Box<dyn Error + Send + Sync> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let every = (plan.transactions / UPKEEP_STEPS).max(UPKEEP_EVERY_MIN);
    let mut conn = None;
    for number in 1.. {
        shared.wait_for(number * every).await;
        let step = random.random_range(0..STEPS);
        let taken = async {
            let mut open = match conn.take() {
                Some(open) => open,
                None => shared.connect().await?,
            };
            let before = parts(data)?;
            take(&mut open, plan, step, number).await?;
            conn = Some(open);
            Ok::<bool, Box<dyn Error + Send + Sync>>(step < FLUSHES && !parts(data)?.is_subset(&before))
        };
        match taken.await {
            Ok(flushed) => done.send_modify(|done| {
                done.steps += 1;
                done.flushes += u64::from(flushed);
            }),
            // Killed in the middle of it.
            Err(error) if is_lost(error.as_ref()) => {}
            Err(error) => return format!("upkeep, step {step}: {error}").into(),
        }
    }
    std::future::pending().await
}

const STEPS: u32 = 7;
/// The first so many of them write the rows of a table to files, and merge what lies over one another.
const FLUSHES: u32 = 2;

async fn take(conn: &mut Conn, plan: &Plan, step: u32, number: usize) -> Result<()> {
    let statements = match step {
        ..FLUSHES => return optimize(conn, &format!("{}_{step}", plan.table())).await,
        2 => vec!["COLLECT GARBAGE".to_owned()],
        3 => vec![format!("CREATE SNAPSHOT s_{number} FOR DATABASE d")],
        4 => vec![format!("CREATE SNAPSHOT t_{number} FOR CLUSTER"), format!("DROP SNAPSHOT t_{number}")],
        5 => vec![
            format!("CREATE SNAPSHOT o_{number} FOR TABLE d.other"),
            "UPDATE other SET v = v + 1".to_owned(),
            format!("RESTORE TABLE d.other FROM SNAPSHOT o_{number}"),
        ],
        _ => vec![format!("CREATE DATABASE c_{number} CLONE d"), format!("DROP DATABASE c_{number}")],
    };
    for statement in statements {
        conn.query_drop(&statement).await.map_err(|error| match error {
            mysql_async::Error::Server(error) => format!("{statement}: {error}").into(),
            lost => Box::<dyn Error + Send + Sync>::from(lost),
        })?;
    }
    Ok(())
}

/// Returns the files of rows that the store has.
fn parts(data: &Path) -> Result<HashSet<OsString>> {
    match fs::read_dir(data.join("parts")) {
        Ok(listed) => Ok(listed.map(|file| Ok(file?.file_name())).collect::<std::io::Result<_>>()?),
        // There is no folder before the first of them.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(HashSet::new()),
        Err(error) => Err(error.into()),
    }
}

/// Tells whether the connection broke, rather than that the server said something.
fn is_lost(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<mysql_async::Error>().is_some_and(|error| !matches!(error, mysql_async::Error::Server(_)))
}
