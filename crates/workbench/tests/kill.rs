//! The short form of `cargo xtask kill`: every lie is caught. `cargo xtask test` makes some rounds beside it.

use strandline_workbench::kill::{Lie, lies};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_made_worse_is_told_from_one_that_survived() {
    let seed = std::env::var("STRANDLINE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("STRANDLINE_SEED={seed}");
    assert_eq!(lies(seed).await.expect("played"), Lie::ALL.len());
}
