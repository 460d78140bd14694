//! The Rust client: SQL text in, typed rows out, over MySQL's protocol.
//!
//! ```no_run
//! # async fn example() -> strandline_client::Result<()> {
//! use strandline_client::{Client, Config};
//!
//! let mut client = Client::connect(Config::from_env()?).await?;
//! let snapshots = client.query("SHOW SNAPSHOTS").await?;
//! for row in &snapshots.rows {
//!     println!("{}", row[0].to_text().unwrap_or_default());
//! }
//! # client.close().await
//! # }
//! ```
//! [`sql`] puts names and texts into statements such that nothing in them can end the quotes.
//!
//! It is not: a pool, a mapper of objects, or the engine in the process.

mod client;
mod config;
mod error;
pub mod sql;
mod value;

pub use client::{Client, ResultSet};
pub use config::{Config, PORT, Tls, read_password};
pub use error::{Error, Kind, Result};
pub use value::{Column, Type, Value};
