//! The short form of `cargo xtask isolation`: rows in memory, and rows that are flushed under the open transactions.

use strandline_workbench::isolation::{Level, State, strandline};

#[tokio::test]
async fn transactions_see_what_snapshot_isolation_allows_and_no_more() {
    let (hot, flushing) = tokio::join!(
        strandline(&[State::Hot], &[Level::Statements, Level::RepeatableRead]),
        strandline(&[State::Flushing], &[Level::RepeatableRead]),
    );
    let problems = [hot.expect("played").problems, flushing.expect("played").problems].concat();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
