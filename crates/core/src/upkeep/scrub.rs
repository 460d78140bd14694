//! The scrubber: reads all that is committed, over and over, a little at a time, so that damage is found while there may
//! still be another copy, and not on the day when it is needed.
//!
//! ```text
//!   a reading   entries of the log, oldest first ─► files, by their ids ─► its end ─► the next begins a day after this began
//!   its pace    spread over a day; a quarter of that while anybody reads
//! ```
//! What it finds goes to the log of the server and into [`Health`](crate::health::Health). It repairs nothing. Where it
//! stands is kept, so that a restart goes on from there, or from a little before.

use crate::cold::{ReadThrough, blocking};
use crate::db::Database;
use crate::error::{Error, Kind, Result};
use crate::health::{Cycle, Damage, Found, HEALTH_SETTING, Health, Running};
use crate::ids::{FileId, Version};
use crate::log::FileHead;
use crate::upkeep::check::of_metastore;

/// A reading is spread over so long; with a quarter of its pace it takes four times that.
const CYCLE_SECONDS: u64 = 24 * 3600;

/// The least and the most that is read in a second. A store that is too large for the most takes longer than a day.
const RATE_MIN: u64 = 1 << 20;
const RATE_MAX: u64 = 32 << 20;

/// How often the place where a reading stands is kept.
const SAVE_SECONDS: u64 = 600;

/// How many entries of the log are read at a time.
const ENTRIES: u64 = 64;

/// So often a file is tried that cannot be read while others may be, once a second, until it is taken for lost.
const TRIES: u32 = 60;

/// How many damages are remembered.
const DAMAGES_MAX: usize = 1000;

/// Reads a store, from where the last one stopped.
#[derive(Default)]
pub struct Scrubber {
    /// What is still to be read of the reading that goes on; `None` before that was looked up.
    work: Option<Work>,
    /// Bytes that were read beyond what was allowed.
    ahead: u64,
    seconds: u64,
}

struct Work {
    /// The last entry that is read.
    upto: Version,
    /// Files to read, the next one last.
    files: Vec<FileHead>,
    /// About how many bytes a reading takes.
    total: u64,
    reading: Option<(FileId, ReadThrough)>,
    tries: u32,
}

impl Database {
    /// Returns what is known of the store's health.
    pub fn health(&self) -> Health {
        self.0.health.lock().clone()
    }
}

impl Scrubber {
    /// Does what a second allows.
    pub async fn tick(&mut self, database: &Database) -> Result<()> {
        let health = database.0.health.lock().clone();
        let now = database.env().now();
        if health.running.is_none() {
            let day = CYCLE_SECONDS as i64 * 1_000_000;
            let is_over = |last: &Cycle| now < last.began || last.began.plus_micros(day) <= now;
            if health.last.as_ref().is_some_and(|last| !is_over(last)) {
                return Ok(());
            }
        }
        self.seconds += 1;
        let total = self.work(database).await?.total;
        let rate = (total / CYCLE_SECONDS).clamp(RATE_MIN, RATE_MAX);
        let allowed = if database.is_read() { rate / 4 } else { rate };
        if self.ahead >= allowed {
            self.ahead -= allowed;
            return Ok(());
        }
        let allowed = allowed - std::mem::take(&mut self.ahead);
        let read = self.read(database, allowed).await?;
        self.ahead = read.saturating_sub(allowed);
        if self.seconds.is_multiple_of(SAVE_SECONDS) {
            save(database).await?;
        }
        Ok(())
    }

    /// Reads on, about so many bytes, or to the end of the reading. Begins one if none goes on. Returns how many bytes it
    /// read.
    ///
    /// # Errors
    /// `Unavailable` where a file cannot be reached: that may pass.
    pub async fn read(&mut self, database: &Database, bytes: u64) -> Result<u64> {
        self.work(database).await?;
        let mut read = 0;
        while read < bytes {
            let work = self.work.as_mut().expect("looked up above");
            let running = database.0.health.lock().running.unwrap_or_default();
            let step = if running.version < work.upto {
                read_log(database, running.version.next(), work.upto).await?
            } else if work.reading.is_some() || !work.files.is_empty() {
                work.read_file(database, bytes - read).await?
            } else {
                end(database, work.upto).await?;
                self.work = None;
                return Ok(read);
            };
            read += step;
            database.0.health.lock().read_bytes += step;
            tokio::task::yield_now().await;
        }
        Ok(read)
    }

    /// Looks up what is to be read, and begins a reading if none goes on.
    async fn work(&mut self, database: &Database) -> Result<&Work> {
        if self.work.is_none() {
            let (this, upto) = (database.clone(), database.now().version());
            let (mut files, log_bytes) = blocking(move || {
                let metastore = this.metastore();
                Ok((metastore.files()?, metastore.size_bytes()?))
            })
            .await?;
            let total = files.iter().map(|file| file.length).sum::<u64>() + log_bytes;
            let now = database.env().now();
            let running = *database.0.health.lock().running.get_or_insert(Running { began: now, ..Running::default() });
            files.retain(|file| running.file.is_none_or(|read| file.id > read));
            files.sort_by_key(|file| std::cmp::Reverse(file.id));
            self.work = Some(Work { upto, files, total, reading: None, tries: 0 });
        }
        Ok(self.work.as_ref().expect("set above"))
    }
}

impl Work {
    /// Reads on in the file that it stands in, or in the next.
    async fn read_file(&mut self, database: &Database, bytes: u64) -> Result<u64> {
        let (id, mut reading) = match self.reading.take() {
            Some(reading) => reading,
            None => {
                let Some(file) = self.files.last().copied() else { return Ok(0) };
                match database.cold().files().record(file.id).await {
                    Ok(record) => (file.id, database.cold().files().read_through(record)),
                    Err(error) => {
                        self.failed(database, file.id, error).await?;
                        return Ok(0);
                    }
                }
            }
        };
        match reading.next(bytes).await {
            Ok(0) => {
                self.done(database, id);
                whole(database, id);
                Ok(0)
            }
            Ok(read) => {
                self.reading = Some((id, reading));
                Ok(read)
            }
            Err(error) => self.failed(database, id, error).await.map(|()| 0),
        }
    }

    /// Goes on behind a file.
    fn done(&mut self, database: &Database, id: FileId) {
        self.tries = 0;
        let length = self.files.pop().map_or(0, |file| file.length);
        let mut health = database.0.health.lock();
        if let Some(running) = &mut health.running {
            running.file = Some(id);
            running.files += 1;
            running.bytes += length;
        }
    }

    /// Takes note of a file that is damaged, if it is still there and anything needs it.
    async fn failed(&mut self, database: &Database, id: FileId, error: Error) -> Result<()> {
        if !database.is_damage(&error).await {
            return Err(error);
        }
        let (this, metastore) = (database.clone(), database.metastore().clone());
        let is_gone = blocking(move || Ok(matches!(metastore.file(id), Ok(None)))).await?;
        self.tries += 1;
        if !is_gone && error.kind() == Kind::Unavailable && self.tries < TRIES {
            return Err(error);
        }
        if !is_gone {
            let touched = this.touched(std::iter::once(id).collect()).await?;
            if touched.may_need(id) {
                note(database, this.damage_of(id, &error, &touched)?).await?;
            }
        }
        self.done(database, id);
        Ok(())
    }
}

/// Reads some entries of the log.
async fn read_log(database: &Database, from: Version, upto: Version) -> Result<u64> {
    let (this, last) = (database.clone(), Version(from.0 + ENTRIES - 1).min(upto));
    let (bytes, lines) = blocking(move || this.metastore().check_entries(from, last)).await?;
    for line in lines {
        note(database, of_metastore(line)).await?;
    }
    {
        let mut health = database.0.health.lock();
        if let Some(running) = &mut health.running {
            running.version = last;
            running.bytes += bytes;
        }
    }
    // Reading nothing but small entries is work, too.
    Ok(bytes.max(1))
}

/// Ends a reading: what it did not find is not there any more.
async fn end(database: &Database, version: Version) -> Result<()> {
    {
        let mut health = database.0.health.lock();
        let Some(running) = health.running.take() else { return Ok(()) };
        health.damages.retain(|found| found.last >= running.began);
        let ended = database.env().now();
        let (files, bytes) = (running.files, running.bytes);
        health.last = Some(Cycle { began: running.began, ended, version, files, bytes });
        let damages = health.damages.len();
        tracing::info!(files, bytes, %version, damages, "read all that is committed");
    }
    save(database).await
}

/// Takes note of a damage, and tells the operator if it is a new one.
async fn note(database: &Database, damage: Damage) -> Result<()> {
    let now = database.env().now();
    let same = |found: &Found| (&found.damage.file, &found.damage.what) == (&damage.file, &damage.what);
    {
        let mut health = database.0.health.lock();
        if let Some(known) = health.damages.iter_mut().find(|found| same(found)) {
            (known.last, known.damage) = (now, damage);
            return Ok(());
        }
        tracing::warn!(file = damage.file, %damage, "damage was found");
        if health.damages.len() < DAMAGES_MAX {
            health.damages.push(Found { first: now, last: now, damage });
        }
    }
    save(database).await
}

/// Forgets the damage of a file that is whole again.
fn whole(database: &Database, file: FileId) {
    let name = file.to_string();
    database.0.health.lock().damages.retain(|found| !found.damage.file.contains(&name));
}

async fn save(database: &Database) -> Result<()> {
    let (this, health) = (database.clone(), serde_json::to_string(&database.health())?);
    match blocking(move || this.metastore().put_setting(HEALTH_SETTING, &health)).await {
        // It is known all the same, until the store is closed.
        Err(error) if error.kind() == Kind::Unavailable => Ok(()),
        outcome => outcome,
    }
}
