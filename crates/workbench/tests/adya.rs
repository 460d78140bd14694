//! The short form of `cargo xtask adya`: a thousand transactions for each claim, a kill in the middle, and every lie.

use adya::r#gen::Kind;
use strandline_workbench::adya::{Lie, Plan, Reads, lies, play};

fn seed() -> u64 {
    let seed = std::env::var("STRANDLINE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("STRANDLINE_SEED={seed}");
    seed
}

fn plan(seed: u64, reads: Reads) -> Plan {
    Plan {
        seed,
        kind: Kind::ListAppend,
        reads,
        level: "REPEATABLE READ",
        keys: 6,
        clients: 8,
        transactions: 1000,
        kills: 1,
        lie: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_isolated_as_claimed_across_a_kill_and_upkeep() {
    let seed = seed();
    for reads in [Reads::Plain, Reads::ForUpdate] {
        let outcome = play(&plan(seed, reads)).await.expect("played");
        assert!(outcome.is_good(), "{reads:?}: {:?} {:?}", outcome.forbidden, outcome.problems);
        assert!(outcome.upkeep > 0, "{reads:?}: no upkeep");
        assert_eq!(outcome.shows_write_skew(), reads == Reads::Plain, "{reads:?}: {:?}", outcome.one_level_up);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_is_caught() {
    assert_eq!(lies(seed()).await.expect("played"), Lie::ALL.len());
}
