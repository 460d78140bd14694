//! Work that nobody may notice: it never changes what any query returns at any kept version.

mod background;
pub mod check;
pub mod collect;
pub mod flush;
pub mod keep;
mod merge;
pub mod scrub;
pub mod storage;
