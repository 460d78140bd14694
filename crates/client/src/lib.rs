//! The Rust client: verbs about snapshots, restores and all else, over SQL text in and typed rows out.
//!
//! ```no_run
//! # async fn example() -> strandline_client::Result<()> {
//! use strandline_client::{Client, Config, CreateSnapshot, RestoreSnapshot, Scope};
//!
//! let mut client = Client::connect(Config::load(None)?).await?;
//! let snapshot = client.snapshots().create(CreateSnapshot::new("before", Scope::database("shop"))).await?;
//! client.query("DELETE FROM shop.orders").await?;
//! let restored = client.restore().snapshot(&RestoreSnapshot::new(&snapshot.name).overwrite()).await?;
//! println!("{} steps, up to version {:?}", restored.steps.len(), restored.version_after);
//! # client.close().await
//! # }
//! ```
//! [`blocking`] is the same without async. With the feature `embedded`, `Client::open` runs the engine in this process,
//! with the same verbs and results; without it, this crate depends on none of the others. [`sql`] puts names and texts
//! into statements such that nothing in them can end the quotes.
//!
//! It is not: a pool, or a mapper of objects.

pub mod blocking;
mod client;
mod clones;
mod config;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod format;
mod link;
mod pitr;
mod record;
mod remote;
mod restore;
mod retention;
mod schedule;
mod scope;
mod snapshot;
pub mod sql;
mod transaction;
mod value;

pub use client::{Client, ResultSet, Rows};
pub use clones::Clones;
pub use config::{Config, PORT, Tls, read_password};
pub use error::{Error, Kind, Result};
pub use jiff::Timestamp;
pub use link::Canceller;
pub use pitr::{Pitr, PitrPolicy, Range, RangeUnit};
pub use restore::{
    Existing, Grants, Missing, RecoveryPoint, Restore, RestoreOptions, RestoreResult, RestoreSnapshot, RestoreStep,
    Restores, Target,
};
pub use retention::{CleanupResult, Keep, Retained, Retention, RetentionStep, Rules};
pub use schedule::{CreateSchedule, Rhythm, Schedule, Schedules};
pub use scope::{Level, Scope, When};
pub use snapshot::{CreateSnapshot, Incremental, Period, Snapshot, SnapshotFilter, Snapshots, Unit};
pub use transaction::Transaction;
pub use value::{Column, Type, Value};
