//! The short form of `cargo xtask adya`: some hundred transactions for each claim, a kill in the middle, and every lie.

use adya::r#gen::Kind;
use strandline_workbench::adya::{Lie, Plan, Reads, lies, play};

fn seed() -> u64 {
    let seed = std::env::var("STRANDLINE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("STRANDLINE_SEED={seed}");
    seed
}

fn plan(seed: u64, reads: Reads, transactions: usize) -> Plan {
    Plan {
        seed,
        kind: Kind::ListAppend,
        reads,
        level: "REPEATABLE READ",
        keys: 6,
        clients: 8,
        transactions,
        kills: 1,
        lie: None,
    }
}

/// So few transactions may happen to show no write skew, and to be flushed never. Both must come up in so many runs.
const RUNS_MAX: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_isolated_as_claimed_across_a_kill_and_upkeep() {
    let seed = seed();
    let (mut shows_write_skew, mut flushes) = (false, 0);
    for number in 0..RUNS_MAX {
        let outcome = play(&plan(seed.wrapping_add(number), Reads::Plain, 400)).await.expect("played");
        assert!(outcome.is_good(), "{:?} {:?}", outcome.forbidden, outcome.problems);
        assert!(outcome.upkeep.steps > 0 && outcome.kills > 0, "{:?}, {} kills", outcome.upkeep, outcome.kills);
        flushes += outcome.upkeep.flushes;
        shows_write_skew |= outcome.shows_write_skew();
        if shows_write_skew && flushes > 0 {
            break;
        }
    }
    assert!(shows_write_skew, "snapshot isolation allows it: the rig is blind");
    assert!(flushes > 0, "no row was read from a file");
    let outcome = play(&plan(seed, Reads::ForUpdate, 200)).await.expect("played");
    assert!(outcome.is_good(), "FOR UPDATE: {:?} {:?}", outcome.forbidden, outcome.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_is_caught() {
    assert_eq!(lies(seed()).await.expect("played"), Lie::ALL.len());
}
