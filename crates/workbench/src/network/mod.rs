//! What strangers do to a server from outside: [`flood`] by numbers, [`hostile`] by bytes. [`raw`] is how.
//!
//! Meanwhile a well-behaved client must be let in and answered within a second, and afterwards nothing may be left of it all.

pub mod flood;
pub mod hostile;
pub mod raw;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use crate::process::{Result, Server};

/// What a process holds of its system.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub files: usize,
    pub threads: usize,
    pub resident_bytes: u64,
}

impl Held {
    /// Returns what a server holds now.
    pub fn by(server: &Server) -> Result<Held> {
        let folder = format!("/proc/{}", server.process_id());
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let number = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("a line of /proc is missing")?;
            Ok(line.trim().trim_end_matches("kB").trim().parse()?)
        };
        Ok(Held {
            files: fs::read_dir(format!("{folder}/fd"))?.count(),
            threads: number("Threads:")? as usize,
            resident_bytes: number("VmRSS:")? << 10,
        })
    }
}

/// A well-behaved client: it logs in, asks and leaves, again and again.
pub struct Guest {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Visits>>,
}

/// What the well-behaved client saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visits {
    pub count: u64,
    pub slowest: Duration,
}

impl Guest {
    pub fn of(server: &Server) -> Guest {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, opts) = (stop.clone(), server.opts(None));
        let task = tokio::spawn(async move {
            let mut visits = Visits::default();
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let mut conn = Conn::new(opts.clone()).await?;
                let one: Option<i64> = conn.query_first("SELECT 1").await?;
                conn.disconnect().await?;
                if one != Some(1) {
                    return Err(format!("SELECT 1 is {one:?}").into());
                }
                visits.count += 1;
                visits.slowest = visits.slowest.max(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(visits)
        });
        Guest { stop, task }
    }

    /// Returns how long a visit may take while others flood the server: a second, and what a loaded machine takes for it in calm.
    pub async fn patience(server: &Server) -> Result<Duration> {
        let guest = Guest::of(server);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let calm = guest.leave().await?.slowest;
        Ok(Duration::from_secs(1) + calm * 4)
    }

    pub async fn leave(self) -> Result<Visits> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// Waits until something holds.
pub async fn until(what: &str, within: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds()? {
        if begun.elapsed() > within {
            return Err(format!("not within {within:?}: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
