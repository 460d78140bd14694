//! The only door to clocks and chance. Everything else takes `&Env`, so that tests can hold both still.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::ids::{FileId, Time};

/// The outside world: the time of day and random numbers.
#[derive(Clone)]
pub struct Env {
    source: Arc<Source>,
}

enum Source {
    Real {
        begun: Instant,
    },
    /// A clock that moves only when told, and ids that count up.
    Fixed {
        micros: AtomicI64,
        /// By how much it was set forward: time that has not passed.
        jumped: AtomicI64,
        counter: AtomicU64,
        free_bytes: AtomicU64,
    },
}

impl Env {
    /// Returns the real world.
    pub fn real() -> Env {
        Env { source: Arc::new(Source::Real { begun: Instant::now() }) }
    }

    /// Returns a world whose clock stands at `start` and whose random numbers count up from `seed`.
    pub fn fixed(start: Time, seed: u64) -> Env {
        let (micros, counter) = (AtomicI64::new(start.0), AtomicU64::new(seed));
        Env {
            source: Arc::new(Source::Fixed {
                micros,
                counter,
                jumped: AtomicI64::new(0),
                free_bytes: AtomicU64::new(u64::MAX),
            }),
        }
    }

    /// Returns the time of day.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn now(&self) -> Time {
        match &*self.source {
            Source::Real { .. } => Time(jiff::Timestamp::now().as_microsecond()),
            Source::Fixed { micros, .. } => Time(micros.load(Ordering::SeqCst)),
        }
    }

    /// Moves a fixed clock by `micros`, which may be negative. A real clock stays as it is.
    pub fn advance(&self, by_micros: i64) {
        if let Source::Fixed { micros, .. } = &*self.source {
            micros.fetch_add(by_micros, Ordering::SeqCst);
        }
    }

    /// Returns how many microseconds have passed, from whenever on: also where somebody sets the clock.
    pub fn passed(&self) -> i64 {
        match &*self.source {
            Source::Real { begun } => i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX),
            Source::Fixed { micros, jumped, .. } => micros.load(Ordering::SeqCst) - jumped.load(Ordering::SeqCst),
        }
    }

    /// Sets a fixed clock forward by `micros`: no time passes. A real clock stays as it is.
    pub fn jump(&self, by_micros: i64) {
        if let Source::Fixed { micros, jumped, .. } = &*self.source {
            micros.fetch_add(by_micros, Ordering::SeqCst);
            jumped.fetch_add(by_micros, Ordering::SeqCst);
        }
    }

    /// Lets a little time pass. A fixed clock stays as it is, and whoever waits goes on at once.
    pub async fn pause(&self, length: Duration) {
        match &*self.source {
            Source::Real { .. } => tokio::time::sleep(length).await,
            Source::Fixed { .. } => tokio::task::yield_now().await,
        }
    }

    /// Returns how many bytes the disk of a folder has free; without a folder there is no limit.
    pub fn free_bytes(&self, folder: Option<&Path>) -> Result<u64> {
        match (&*self.source, folder) {
            (Source::Fixed { free_bytes, .. }, _) => Ok(free_bytes.load(Ordering::SeqCst)),
            (Source::Real { .. }, None) => Ok(u64::MAX),
            (Source::Real { .. }, Some(folder)) => free_bytes_of(folder),
        }
    }

    /// Says how much a fixed world's disk has free. A real disk stays as it is.
    pub fn set_free_bytes(&self, bytes: u64) {
        if let Source::Fixed { free_bytes, .. } = &*self.source {
            free_bytes.store(bytes, Ordering::SeqCst);
        }
    }

    /// Returns a new file id.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn file_id(&self) -> FileId {
        match &*self.source {
            Source::Real { .. } => FileId(uuid::Uuid::now_v7()),
            Source::Fixed { counter, .. } => {
                FileId(uuid::Uuid::from_u128(u128::from(counter.fetch_add(1, Ordering::SeqCst))))
            }
        }
    }

    /// Fills `bytes` with random bytes fit for secrets (in the real world).
    pub fn fill_random(&self, bytes: &mut [u8]) {
        match &*self.source {
            Source::Real { .. } => {
                for chunk in bytes.chunks_mut(16) {
                    #[expect(clippy::disallowed_methods, reason = "this is the door")]
                    let random = uuid::Uuid::new_v4();
                    // A version-4 UUID fixes 6 of its bits: hash two of them down to 16 whole bytes.
                    #[expect(clippy::disallowed_methods, reason = "this is the door")]
                    let more = uuid::Uuid::new_v4();
                    let hash = blake3::hash(&[*random.as_bytes(), *more.as_bytes()].concat());
                    chunk.copy_from_slice(&hash.as_bytes()[..chunk.len()]);
                }
            }
            Source::Fixed { counter, .. } => {
                for chunk in bytes.chunks_mut(8) {
                    let random = counter.fetch_add(1, Ordering::SeqCst).to_le_bytes();
                    chunk.copy_from_slice(&random[..chunk.len()]);
                }
            }
        }
    }
}

/// Returns how many bytes the disk of a folder has free.
pub(crate) fn free_bytes_of(folder: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(folder).map_err(std::io::Error::from)?;
    // A file system that tells no size has no limit that it would tell.
    Ok(if disk.f_blocks == 0 { u64::MAX } else { disk.f_bavail.saturating_mul(disk.f_frsize) })
}
