//! MySQL's client protocol: connections, logins, commands and results.
//!
//! It knows packets and Arrow arrays and nothing of SQL: statements go to `strandline_sql::session::Session`. Every
//! byte that a client sends is read by a parser that returns errors and never panics.

mod auth;
mod bytes;
mod connection;
mod format;
#[cfg(test)]
mod fuzz;
mod handshake;
mod login;
mod packet;
mod params;
mod result;
mod rows;
mod server;
mod statements;
mod stream;
#[cfg(test)]
mod tests;

pub use server::{Listener, Options, Server};
