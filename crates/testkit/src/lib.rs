//! Development only: the `.slt` runner.

pub mod slt;
