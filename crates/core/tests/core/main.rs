//! Tests of the core as one piece: a reference model under random operations, the invariants by name, and what went wrong
//! before.

mod check;
mod collect;
mod compact;
mod compression;
mod diff;
mod drafts;
mod failing;
mod invariants;
mod keys;
mod losses;
mod machine;
mod model;
mod pitr;
mod restore;
mod retention;
mod schedule;
mod snapshots;
mod storage;
mod support;
mod thin;
mod undo;
