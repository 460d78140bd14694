//! Rig 3 below a file system: the same work as in [`power`], on ext4, on a block device that keeps a log of its writes and
//! flushes. The power goes anywhere in the log; the file system comes back as its journal brings it back.
//!
//! ```text
//!   work ─► ext4 ─► loop device ─► nbdfuse ─► nbdkit, recorder.py ─► log of writes and flushes
//!                                                                     │ cut; every record up to the last flush before it,
//!                                                                     ▼ and of the later ones none, half or all
//!   look at everything ◄─ mount ◄─────────────────────────────────── image
//! ```
//! It needs root, FUSE and loop devices: `cargo xtask power` looks for them, and runs it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::disk::{self, Op, Skip};
use crate::faults::{first, in_parallel};
use crate::power::{PLACE, Told, guarded, store_at, verify, work};
use crate::script::{block_on, scratch};
use crate::seed;

/// How long a device may take to come or to go.
const PATIENCE: Duration = Duration::from_secs(60);
const BLOCK: usize = 4096;

fn run_command(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file system in a file, mounted until this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `device`: a block device, or a file that gets one.
    fn new(device: &Path, at: PathBuf) -> Result<Mounted, String> {
        fs::create_dir_all(&at).expect("there is room for a folder");
        let options =
            if device.to_string_lossy().starts_with("/dev/loop") { "noinit_itable" } else { "loop,noinit_itable" };
        let output = Command::new("mount").args(["-t", "ext4", "-o", options]).args([device, &at]).output();
        let output = output.expect("there is a mount");
        match output.status.success() {
            true => Ok(Mounted(at)),
            false => Err(format!("cannot be mounted: {}", String::from_utf8_lossy(&output.stderr))),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = || Command::new("umount").arg(&self.0).stderr(Stdio::null()).status();
        wait_for("unmounted", || unmounted().is_ok_and(|status| status.success()));
    }
}

/// A block device that records, until this is dropped.
struct Device {
    folder: PathBuf,
    loop_device: PathBuf,
    serving: Child,
}

impl Device {
    fn new(folder: &Path, bytes: u64) -> Device {
        let (image, log, file) = (folder.join("image"), folder.join("log"), folder.join("file"));
        File::create(&image).and_then(|image| image.set_len(bytes)).expect("there is room for a sparse file");
        let make = ["-q", "-F", "-J", "size=4", "-E", "lazy_itable_init=1", "-m", "0"];
        run_command(Command::new("mkfs.ext4").args(make).arg(&image));
        run_command(Command::new("cp").arg("--sparse=always").arg(&image).arg(folder.join("base")));
        File::create(&file).expect("there is room for a name");
        let recorder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rigs/recorder.py");
        let serving = Command::new("nbdfuse")
            .args([&file, Path::new("["), Path::new("nbdkit"), Path::new("--exit-with-parent"), Path::new("-f")])
            .args([Path::new("python"), &recorder])
            .args([format!("image={}", image.display()), format!("log={}", log.display()), "]".to_owned()])
            .spawn()
            .expect("there is an nbdfuse");
        wait_for("the recording disk", || fs::metadata(&file).is_ok_and(|found| found.len() == bytes));
        let loop_device = run_command(Command::new("losetup").args(["-f", "--show"]).arg(&file));
        Device { folder: folder.to_owned(), loop_device: loop_device.into(), serving }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for (program, arguments) in [
            ("losetup", [Path::new("-d"), &self.loop_device]),
            ("fusermount3", [Path::new("-u"), &self.folder.join("file")]),
        ] {
            let done = || Command::new(program).args(arguments).stderr(Stdio::null()).status();
            wait_for(program, || done().is_ok_and(|status| status.success()));
        }
        let _ = self.serving.wait();
    }
}

/// A record of the log. Bytes lie in the log itself.
enum Record {
    Write { at: usize, from: usize, bytes: usize },
    Zero { at: usize, bytes: usize },
    Flush,
}

/// What was recorded of one run.
struct Recorded {
    seed: u64,
    told: Told,
    bytes: u64,
    base: Vec<u8>,
    log: Vec<u8>,
    /// Each with where it ends in the log.
    records: Vec<(Record, usize)>,
    took: Duration,
}

/// Runs the work on a recording disk; leaves out syncs.
fn run(seed: u64, steps: usize, skip: Skip) -> Recorded {
    let begun = Instant::now();
    let folder = scratch();
    // On the smaller disk the write-ahead log is moved into place early.
    let bytes = if seed.is_multiple_of(3) { 72 << 20 } else { 256 << 20 };
    let device = Device::new(folder.path(), bytes);
    let log = folder.path().join("log");
    let mounted = Mounted::new(&device.loop_device, folder.path().join("mounted")).expect("a new file system");
    let watch = disk::skip(&mounted.0, skip);
    let position = || fs::metadata(&log).expect("there is a log").len();
    let told = block_on(work(&mounted.0.join(PLACE), steps, seed, &position));
    drop((watch, mounted, device));
    let log = fs::read(&log).expect("there is a log");
    let records = records(&log);
    let base = fs::read(folder.path().join("base")).expect("there is a base");
    Recorded { seed, told, bytes, base, log, records, took: begun.elapsed() }
}

fn records(log: &[u8]) -> Vec<(Record, usize)> {
    let (mut records, mut at) = (Vec::new(), 0);
    while at < log.len() {
        let number =
            |from: usize| u64::from_le_bytes(log[at + from..at + from + 8].try_into().expect("8 bytes")) as usize;
        let (offset, bytes, from) = (number(1), number(9), at + 17);
        let (record, end) = match log[at] {
            b'w' => (Record::Write { at: offset, from, bytes }, from + bytes),
            b'z' => (Record::Zero { at: offset, bytes }, from),
            b'f' => (Record::Flush, from),
            other => panic!("no record begins with {other}"),
        };
        records.push((record, end));
        at = end;
    }
    records
}

/// The blocks of a disk that are not all zeros.
#[derive(Clone, Default)]
struct Blocks(BTreeMap<usize, Box<[u8]>>);

impl Blocks {
    fn of(bytes: &[u8]) -> Blocks {
        let blocks = bytes.chunks(BLOCK).enumerate().filter(|(_, block)| **block != [0; BLOCK]);
        Blocks(blocks.map(|(number, block)| (number, block.into())).collect())
    }

    fn put(&mut self, mut at: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (number, from) = (at / BLOCK, at % BLOCK);
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - from));
            let block = self.0.entry(number).or_insert_with(|| vec![0; BLOCK].into());
            block[from..from + now.len()].copy_from_slice(now);
            (at, bytes) = (at + now.len(), rest);
        }
    }

    fn write(&self, image: &File) {
        let mut run: (usize, Vec<u8>) = (0, Vec::new());
        let flush =
            |run: &(usize, Vec<u8>)| image.write_all_at(&run.1, run.0 as u64).expect("there is room for an image");
        for (number, block) in &self.0 {
            if run.0 + run.1.len() != number * BLOCK {
                flush(&run);
                run = (number * BLOCK, Vec::new());
            }
            run.1.extend_from_slice(block);
        }
        flush(&run);
    }
}

/// Where the power goes: after so many records; so much of what was not flushed is there, in quarters.
#[derive(Clone, Copy)]
struct Loss {
    cut: usize,
    kept: u32,
    seed: u64,
}

impl Recorded {
    /// Returns losses in their order, a part of them where something has just been acknowledged.
    fn losses(&self, count: usize, rng: &mut StdRng) -> Vec<Loss> {
        let end_of = |position: u64| self.records.partition_point(|(_, end)| *end as u64 <= position);
        let acks: Vec<usize> = self.told.positions().map(end_of).collect();
        let mut losses: Vec<Loss> = (0..count)
            .map(|_| Loss {
                cut: match rng.random_range(0..3) {
                    0 => *acks.choose(rng).expect("there are acknowledgements"),
                    _ => rng.random_range(0..=self.records.len()),
                },
                kept: *[0, 0, 1, 2, 2, 3, 4].choose(rng).expect("there are some"),
                seed: rng.random(),
            })
            .collect();
        losses.sort_by_key(|loss| loss.cut);
        losses
    }

    fn apply(&self, record: &Record, blocks: &mut Blocks) {
        match record {
            Record::Write { at, from, bytes } => blocks.put(*at, &self.log[*from..from + bytes]),
            Record::Zero { at, bytes } => blocks.put(*at, &vec![0; *bytes]),
            Record::Flush => {}
        }
    }

    /// Tries losses, in their order; returns what went wrong.
    fn lose(&self, losses: &[Loss], only_first: bool) -> Vec<String> {
        let (mut blocks, mut done, mut wrong) = (Blocks::of(&self.base), 0, Vec::new());
        for loss in losses {
            let flushed = self.records[..loss.cut].iter().rposition(|(record, _)| matches!(record, Record::Flush));
            let flushed = flushed.unwrap_or(0).max(done);
            self.records[done..flushed].iter().for_each(|(record, _)| self.apply(record, &mut blocks));
            done = flushed;
            if let Err(error) = guarded(|| self.try_image(&blocks, done, loss)) {
                let (position, of) = (self.position(loss), self.records.len());
                let known = self.told.what(self.told.known_at(position));
                let Loss { cut, kept, seed } = loss;
                wrong.push(format!(
                    "run {}, record {cut} of {of}, after '{known}', {kept}/4 {seed}: {error}",
                    self.seed
                ));
                if only_first {
                    break;
                }
            }
        }
        wrong
    }

    /// Returns how long the log was.
    fn position(&self, loss: &Loss) -> u64 {
        loss.cut.checked_sub(1).map_or(0, |last| self.records[last].1 as u64)
    }

    fn try_image(&self, flushed: &Blocks, done: usize, loss: &Loss) -> Result<(), String> {
        let folder = scratch();
        let image = folder.path().join("image");
        let mut rng = StdRng::seed_from_u64(loss.seed);
        let file = File::create(&image).expect("there is room for an image");
        file.set_len(self.bytes).expect("there is room for an image");
        flushed.write(&file);
        for (record, _) in &self.records[done..loss.cut] {
            if rng.random_range(0..4) < loss.kept {
                match record {
                    Record::Write { at, from, bytes } => file.write_all_at(&self.log[*from..from + bytes], *at as u64),
                    Record::Zero { at, bytes } => file.write_all_at(&vec![0; *bytes], *at as u64),
                    Record::Flush => Ok(()),
                }
                .expect("there is room for an image");
            }
        }
        drop(file);
        let mounted = Mounted::new(&image, folder.path().join("mounted"))?;
        let known = self.told.known_at(self.position(loss));
        // Nothing is lost after this: what is synced here need not be.
        let _watch = disk::watch(&mounted.0);
        block_on(verify(&store_at(&mounted.0, &self.told, known), &self.told, known, loss.seed.is_multiple_of(4)))
    }
}

fn given(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
#[ignore = "needs root, FUSE and loop devices: cargo xtask power"]
fn below_a_file_system_the_power_may_go_at_any_moment() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let (images, each) = (given("STRANDLINE_IMAGES", 3000), 100);
    let begun = Instant::now();
    let seeds: Vec<(u64, usize)> =
        (0..images.div_ceil(each)).map(|at| (rng.random(), each.min(images - at * each))).collect();
    let outcomes = in_parallel(&seeds, |(seed, images)| {
        let run = run(*seed, 45, |_, _| false);
        let trying = Instant::now();
        let losses = run.losses(*images, &mut StdRng::seed_from_u64(*seed));
        let wrong = run.lose(&losses, false);
        let (records, took, each) = (run.records.len(), run.took, trying.elapsed() / *images as u32);
        let count = losses.len();
        println!(
            "  run {seed}: {records} records in {took:.1?}; {count} images, {each:.0?} each; {} wrong",
            wrong.len()
        );
        wrong.iter().take(3).for_each(|wrong| println!("    {wrong}"));
        wrong
    });
    let wrong: Vec<&String> = outcomes.iter().flatten().collect();
    println!(
        "power loss below ext4, seed {seed}: {images} images in {:.0?}; {} went wrong",
        begun.elapsed(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{} images are wrong (seed {seed}), among them:\n{}", wrong.len(), first(&wrong, 8));
}

fn is_in(path: &Path, kind: &str) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with(kind))
}

/// Stores that leave out one kind of sync each.
const DEFECTS: &[(&str, Skip)] = &[
    ("files", |op, path| op == Op::Sync && ["parts", "deletes", "manifests"].iter().any(|kind| is_in(path, kind))),
    ("parts", |op, path| op == Op::Sync && is_in(path, "parts")),
    ("deletion vectors", |op, path| op == Op::Sync && is_in(path, "deletes")),
    ("manifests", |op, path| op == Op::Sync && is_in(path, "manifests")),
    ("folders", |op, _| op == Op::SyncFolder),
    ("the write-ahead log", |op, path| op == Op::Sync && path.ends_with("metastore.db-wal")),
    ("checkpoints", |op, path| op == Op::Sync && path.ends_with("metastore.db")),
];

#[test]
#[ignore = "needs root, FUSE and loop devices: cargo xtask power"]
fn below_a_file_system_a_sync_left_out_is_caught() {
    let seed = seed();
    let caught = in_parallel(DEFECTS, |(name, skip)| {
        let found = (0..4).find_map(|round| {
            let run = run(seed.wrapping_add(round), 45, *skip);
            run.lose(&run.losses(120, &mut StdRng::seed_from_u64(round)), true).pop()
        });
        println!("  without the syncs of {name}: {}", found.as_deref().unwrap_or("nothing is wrong"));
        (*name, found.is_some())
    });
    let missed: Vec<_> = caught.iter().filter(|(_, found)| !found).map(|(name, _)| *name).collect();
    println!("power loss below ext4, seed {seed}: caught {} of {}", caught.len() - missed.len(), caught.len());
    assert!(missed.is_empty(), "not caught (seed {seed}): a store without the syncs of {}", missed.join(", "));
}
