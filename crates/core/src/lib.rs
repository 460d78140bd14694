//! The database without SQL: every commit is a recovery point.
//!
//! ```text
//!   history   upkeep            verbs for people · work nobody may notice. Siblings never import one another
//!       \        /
//!          db.rs                Database: open, now, at(version), begin, close
//!     txn.rs    when.rs         the only place that appends a commit · the only place that turns words into a version
//!      moment.rs · scan.rs      the whole database at a version · the only place that decides which row is visible
//!  log/      hot/      cold/    what is true at each version · recent rows in memory · older rows in files
//!  ids  error  env  grants  schema  catalog  health   newtypes · one error type · clock, chance · definitions
//! ```
//!
//! It is not: a SQL engine, a server, a consensus system, a key-value store.

pub mod catalog;
pub mod cold;
pub mod db;
pub mod env;
pub mod error;
pub mod grants;
pub mod health;
pub mod history;
pub mod hot;
pub mod ids;
pub mod jobs;
pub mod log;
pub mod moment;
pub mod room;
pub mod rows;
pub mod scan;
pub mod schema;
pub mod store;
pub mod txn;
pub mod upkeep;
pub mod when;

/// Lets the fuzz targets see how much memory an input makes them hold.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: strandline_fuzz::Counting = strandline_fuzz::Counting;
