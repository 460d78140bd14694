//! Development only: servers in processes of their own, and what is done with them from outside.
//!
//! It speaks to a server as any client does and depends on none of our crates, so that it builds quickly and measures
//! the binary that users run.

pub mod adya;
pub mod isolation;
pub mod kill;
pub mod network;
pub mod process;
