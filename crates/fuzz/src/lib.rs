//! Development only: hostile bytes for parsers, and a watch on what the parsers do with them.
//!
//! A target is a function over bytes. It is called with every byte of some good inputs changed, with the inputs cut at every
//! place, then with mutations at random until its time is over. It must not panic, not take long, and not hold much memory:
//! the first input that makes it do so is the finding. What a target returns tells one outcome from another, and inputs
//! with a new outcome are mutated further: that leads deeper than chance alone, without a build of its own.
//!
//! It is not: a coverage-guided fuzzer. It runs in `cargo test`, and for hours by `cargo xtask fuzz`.

mod allocator;
mod random;

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use allocator::Counting;
pub use random::Random;

/// The longest input that is made. Longer ones only take longer.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// How many inputs with an outcome of their own are kept.
const CORPUS_MAX: usize = 4096;
/// How many places of one input are changed one by one.
const PLACES_MAX: usize = 2048;

/// What a target may do, and for how long it is tried.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long to go on.
    pub time: Duration,
    /// How long one input may take.
    pub input_time: Duration,
    /// How many bytes one input may make the target hold at once, beside the input itself. Counted where [`Counting`] is the
    /// allocator of the test.
    pub held_bytes: usize,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub executions: u64,
    /// How many outcomes the target told apart.
    pub outcomes: usize,
    pub slowest: Duration,
    /// The most that one input made the target hold.
    pub held_bytes: usize,
}

/// An input that a target cannot bear.
pub struct Found {
    pub input: Vec<u8>,
    pub why: String,
}

impl Default for Limits {
    /// A second and a half, or as long as `STRANDLINE_FUZZ_SECONDS` says; 5 s and 64 MiB for an input.
    fn default() -> Limits {
        let given = std::env::var("STRANDLINE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
        let time = given.map_or(Duration::from_millis(1500), Duration::from_secs_f64);
        Limits { time, input_time: Duration::from_secs(5), held_bytes: 64 << 20 }
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.input[..self.input.len().min(2000)];
        write!(f, "{}\ninput ({} bytes): b\"{}\"", self.why, self.input.len(), shown.escape_ascii())
    }
}

/// Tries a target with the limits of the run, and tells what came of it.
///
/// `seeds` are good inputs, `words` are pieces of the language. The seed of the run is `STRANDLINE_SEED`, else another each time.
///
/// # Panics
/// With the input, if the target cannot bear one.
pub fn run(name: &str, seeds: &[Vec<u8>], words: &[&[u8]], target: impl Fn(&[u8]) -> u64) {
    let seed = seed();
    let begun = Instant::now();
    match explore(seed, Limits::default(), seeds, words, target) {
        Ok(report) => println!(
            "fuzz {name}: {} executions in {:.1} s, {} outcomes, slowest {:.1} ms, at most {} KiB held, seed {seed}",
            report.executions,
            begun.elapsed().as_secs_f64(),
            report.outcomes,
            report.slowest.as_secs_f64() * 1e3,
            report.held_bytes >> 10,
        ),
        Err(found) => panic!("fuzz {name}, STRANDLINE_SEED={seed}: {found:?}"),
    }
}

/// Tries a target until it fails or its time is over.
///
/// # Errors
/// The input that the target cannot bear.
pub fn explore(
    seed: u64,
    limits: Limits,
    seeds: &[Vec<u8>],
    words: &[&[u8]],
    target: impl Fn(&[u8]) -> u64,
) -> Result<Report, Found> {
    let watch = Watch::start((limits.input_time * 4).max(Duration::from_secs(60)));
    let mut run = Run {
        limits,
        target,
        watch: &watch,
        outcomes: HashSet::new(),
        report: Report { executions: 0, outcomes: 0, slowest: Duration::ZERO, held_bytes: 0 },
    };
    let end = Instant::now() + limits.time;
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    for good in seeds {
        run.once(good)?;
        corpus.push(good.clone());
    }
    let mut random = Random::new(seed);
    // Each place of each seed, for half of the time at most.
    let first = random.below(seeds.len().max(1) as u64) as usize;
    'places: for good in seeds.iter().cycle().skip(first).take(seeds.len()) {
        let stride = good.len().div_ceil(PLACES_MAX).max(1);
        for at in (0..good.len()).step_by(stride) {
            for change in CHANGES {
                let mut input = good.clone();
                input[at] = change(input[at]);
                run.once(&input)?;
            }
            run.once(&good[..at])?;
            if Instant::now() > end - limits.time / 2 {
                break 'places;
            }
        }
    }
    let none = Vec::new();
    while run.report.executions.is_multiple_of(16) || Instant::now() < end {
        let pick = |random: &mut Random| match corpus.len() as u64 {
            0 => &none,
            length => &corpus[random.below(length) as usize],
        };
        let mut input = pick(&mut random).clone();
        let other = pick(&mut random);
        random.mutate(&mut input, other, words);
        input.truncate(INPUT_BYTES_MAX);
        if run.once(&input)? && corpus.len() < CORPUS_MAX {
            corpus.push(input);
        }
    }
    run.report.outcomes = run.outcomes.len();
    Ok(run.report)
}

/// Returns a number for an outcome: equal ones for equal values.
pub fn outcome(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Returns the seed of this run: `STRANDLINE_SEED`, or one that no run had before.
pub fn seed() -> u64 {
    let given = std::env::var("STRANDLINE_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| RandomState::new().build_hasher().finish() % 1_000_000_000)
}

const CHANGES: [fn(u8) -> u8; 10] = [
    |byte| byte ^ 0xFF,
    |byte| byte ^ 0x01,
    |byte| byte ^ 0x80,
    |byte| byte.wrapping_add(1),
    |_| 0x00,
    |_| 0xFB,
    |_| 0xFC,
    |_| 0xFD,
    |_| 0xFE,
    |_| 0xFF,
];

struct Run<'a, T> {
    limits: Limits,
    target: T,
    watch: &'a Watch,
    outcomes: HashSet<u64>,
    report: Report,
}

impl<T: Fn(&[u8]) -> u64> Run<'_, T> {
    /// Tries one input. Tells whether its outcome is new.
    fn once(&mut self, input: &[u8]) -> Result<bool, Found> {
        let found = |why: String| Found { input: input.to_vec(), why };
        self.watch.begin(input);
        let before = allocator::begin();
        let begun = Instant::now();
        let came = catch_unwind(AssertUnwindSafe(|| (self.target)(input)));
        let took = begun.elapsed();
        let held = allocator::peak_since(before);
        self.watch.end();
        self.report.executions += 1;
        self.report.slowest = self.report.slowest.max(took);
        self.report.held_bytes = self.report.held_bytes.max(held);
        let outcome = came.map_err(|panic| {
            let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            found(format!("It panics: {said}"))
        })?;
        if took > self.limits.input_time && self.again(input) > self.limits.input_time {
            return Err(found(format!("It takes {took:?}.")));
        }
        if held > self.limits.held_bytes {
            return Err(found(format!("It holds {held} bytes.")));
        }
        Ok(self.outcomes.insert(outcome))
    }

    /// Returns the least time of a few tries: on a machine that is busy with other things one says little.
    fn again(&self, input: &[u8]) -> Duration {
        let try_again = || {
            self.watch.begin(input);
            let begun = Instant::now();
            let _ = catch_unwind(AssertUnwindSafe(|| (self.target)(input)));
            let took = begun.elapsed();
            self.watch.end();
            took
        };
        (0..3).map(|_| try_again()).min().unwrap_or_default()
    }
}

/// Ends the process, with the input, where a target does not come back at all.
struct Watch {
    running: Arc<Mutex<Running>>,
}

#[derive(Default)]
struct Running {
    since: Option<Instant>,
    input: Vec<u8>,
    is_over: bool,
}

impl Watch {
    fn start(patience: Duration) -> Watch {
        let running = Arc::new(Mutex::new(Running::default()));
        let watched = running.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(patience.min(Duration::from_millis(500)));
                let running = watched.lock().expect("nobody panics with the lock");
                if running.is_over {
                    return;
                }
                if running.since.is_some_and(|since| since.elapsed() > patience) {
                    let input = running.input.clone();
                    eprintln!("{:?}", Found { input, why: format!("It does not come back within {patience:?}.") });
                    std::process::abort();
                }
            }
        });
        Watch { running }
    }

    fn begin(&self, input: &[u8]) {
        let mut running = self.running.lock().expect("nobody panics with the lock");
        running.since = Some(Instant::now());
        running.input.clear();
        running.input.extend_from_slice(input);
    }

    fn end(&self) {
        self.running.lock().expect("nobody panics with the lock").since = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.running.lock().expect("nobody panics with the lock").is_over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    const LIMITS: Limits =
        Limits { time: Duration::from_secs(20), input_time: Duration::from_millis(200), held_bytes: 1 << 20 };

    fn good() -> Vec<Vec<u8>> {
        vec![b"\x03abc\x02de".to_vec()]
    }

    /// Reads texts with their lengths before them, rightly.
    fn texts(mut input: &[u8]) -> Option<Vec<&[u8]>> {
        let mut texts = Vec::new();
        while let Some((length, rest)) = input.split_first() {
            let (text, rest) = rest.split_at_checked(usize::from(*length))?;
            texts.push(text);
            input = rest;
        }
        Some(texts)
    }

    #[test]
    fn a_good_parser_bears_everything() {
        let limits = Limits { time: Duration::from_millis(300), ..LIMITS };
        let report = explore(1, limits, &good(), &[], |input| outcome(texts(input).map(|texts| texts.len())));
        let report = report.expect("nothing is wrong with it");
        assert!(report.executions > 1000 && report.outcomes > 5, "{report:?}");
    }

    /// Parsers with a defect each: what the harness is there to find.
    #[test]
    fn seeded_defects_are_found() {
        type Parser = fn(&[u8]) -> u64;
        let defects: [(&str, Parser); 6] = [
            ("a length that is believed", |input| {
                let length = usize::from(input.first().copied().unwrap_or(0));
                if input.is_empty() { 0 } else { outcome(&input[1..=length]) }
            }),
            ("a sum that overflows", |input| {
                let sum: u8 = input.iter().fold(0u8, |sum, byte| sum.checked_add(byte >> 4).expect("fits"));
                u64::from(sum)
            }),
            ("memory for a claim", |input| {
                let claimed = input.first_chunk::<3>().map_or(0, |c| u32::from_le_bytes([c[0], c[1], c[2], 0]));
                outcome(Vec::<u8>::with_capacity(claimed as usize).capacity() > 5)
            }),
            ("a loop over a claim", |input| {
                let claimed = input.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                (0..u64::from(claimed % (1 << 28))).fold(0, |sum, step| std::hint::black_box(sum ^ step)) & 1
            }),
            ("a search that tries every way", |input| {
                fn fits(pattern: &[u8], text: usize) -> u64 {
                    match pattern {
                        [] => 0,
                        [0xFB..=0xFF, rest @ ..] => (0..=text).map(|left| fits(rest, left)).sum(),
                        [_, rest @ ..] => text.checked_sub(1).map_or(0, |left| fits(rest, left)),
                    }
                }
                fits(&input[..input.len().min(10)], 24)
            }),
            ("a rare combination, behind two others", |input| {
                let deep = [b'a', b'c', b'e'].iter().zip(input).take_while(|(want, have)| want == have).count();
                assert!(deep < 3, "all three");
                deep as u64
            }),
        ];
        let mut caught = 0;
        for (name, parser) in defects {
            match explore(seed(), LIMITS, &good(), &[], parser) {
                Err(found) => {
                    caught += 1;
                    println!("{name}: {found:?}");
                }
                Ok(report) => println!("{name}: not found in {} executions", report.executions),
            }
        }
        println!("caught {caught} of {}", defects.len());
        assert_eq!(caught, defects.len());
    }
}
