//! Rigs that show that the store keeps its word on a bad disk: [`faults`] (calls that fail), [`full`] (no room left),
//! [`damage`] (bytes that are not what was written), [`objects`] (an object store over a bad network), [`crash`] (kill -9 at
//! any time and at every named point), [`power`] (a loss of power at any point), [`golden`] (a store of every format that
//! ever was).
//!
//! Each prints its seed, and each shows with defects of its own making that it would notice one. The test run takes a part
//! of what there is, `cargo xtask fault` all of it, `cargo xtask kill --points` as many crashes as are asked for.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

mod believing;
mod blocks;
mod crash;
mod damage;
mod disk;
mod faults;
mod faulty;
mod full;
mod golden;
mod objects;
mod power;
mod s3;
mod script;
mod tape;

/// Tells whether everything is to be tried.
pub fn all() -> bool {
    std::env::var_os("STRANDLINE_EVERY").is_some()
}

/// Returns how many of all cases to try.
pub fn budget(cases: usize) -> usize {
    if all() { usize::MAX } else { cases }
}

/// Returns the seed that chooses what is tried: another one each time, unless it is given.
pub fn seed() -> u64 {
    let given = std::env::var("STRANDLINE_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(rand::random)
}
