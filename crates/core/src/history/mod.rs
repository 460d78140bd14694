//! Verbs for people: one per file. Each that changes or deletes makes a plan first, a printable value with a reason per
//! entry, and applies it in one commit. History only grows: restore, clone and undo are commits like any other.

pub mod clone;
pub mod commits;
pub mod diff;
pub mod pitr;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod snapshot;
pub mod undo;
pub mod undrop;
