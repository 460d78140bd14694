//! The short forms of `cargo xtask flood`: many connections, and hostile bytes.

use std::time::Duration;

use strandline_workbench::network::{flood, hostile};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_leave_others_in_peace_and_nothing_behind() {
    flood::run(flood::SHORT).await.expect("the server bears it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_do_not_take_the_files_of_the_store() {
    flood::few_files().await.expect("the server bears it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_every_byte_changed_harms_nobody() {
    let time = Duration::from_secs(number("STRANDLINE_FUZZ_SECONDS").unwrap_or(3));
    let seed = number("STRANDLINE_SEED").unwrap_or_else(rand::random);
    println!("STRANDLINE_SEED={seed}");
    hostile::run(time, seed).await.expect("the server bears it");
}
