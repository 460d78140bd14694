//! Rig 5: bytes of a small store are flipped, files cut, swapped, replaced by an older version, deleted. Whatever is asked
//! then, the answer is the right one or an error, tables that the file does not hold stay readable, and the check finds it.
//!
//! One thing no store can tell by itself: that its metastore, or the end of its write-ahead log, was replaced by what it was
//! before. Then it is the store of that time, and all of it: that is what is asked there.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use strandline_core::db::Database;
use strandline_core::error::{Error, Kind, Result};
use strandline_core::upkeep::check::Checked;

use crate::believing::{Believed, open_believing};
use crate::faults::{first, in_parallel};
use crate::script::{
    Answers, Picture, Recorded, Store, block_on, copy_store, files_on_disk, read_moment, read_names, read_versions,
    record, scratch, segments_on_disk,
};
use crate::{all, budget, seed};

/// What is done to a file.
#[derive(Clone, Debug)]
enum Harm {
    /// These bits of the byte at this place.
    Flip(usize, u8),
    /// All but the first bytes are gone.
    Cut(usize),
    /// It changes places with another file.
    Swap(String),
    /// It holds what this file holds.
    Replace(PathBuf),
    Gone,
}

#[derive(Clone, Debug)]
struct Mutation {
    file: String,
    harm: Harm,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The store cannot be opened, and says why.
    Refused,
    /// Some answers are errors.
    Noticed,
    /// Every answer is right, but the check finds it.
    Checked,
    /// It was no byte that means anything.
    Harmless,
    /// The store is what it was at an earlier commit.
    Earlier,
}

/// A whole store, and what it answers.
struct Base<'a> {
    folder: PathBuf,
    recorded: &'a Recorded,
    reference: Picture,
    /// Which answers need a file.
    holders: BTreeMap<String, BTreeSet<String>>,
    scratch: tempfile::TempDir,
}

/// How the store is opened and checked: as users do, or with a defect.
#[derive(Clone, Copy)]
struct Subject {
    open: for<'a> fn(&'a Store) -> BoxFuture<'a, Result<Database>>,
    check: for<'a> fn(&'a Database, &'a Path) -> BoxFuture<'a, Result<Checked>>,
}

const REAL: Subject =
    Subject { open: |store| Box::pin(store.open()), check: |db, folder| Box::pin(db.check(Some(folder))) };

impl Base<'_> {
    /// Takes the store as it stands after so many steps: as a kill leaves it, or closed in order.
    fn new(recorded: &Recorded, steps: usize, closed: bool) -> Base<'_> {
        let scratch = scratch();
        let folder = scratch.path().join("whole");
        copy_store(&recorded.states[steps].folder, &folder);
        if closed {
            let store = Store::at(&folder, recorded.states[steps].time, 50);
            block_on(async { store.open().await.unwrap().close().await.unwrap() });
            assert!(!folder.join("metastore.db-wal").exists(), "closing moves the log into place");
            std::fs::remove_file(folder.join("LOCK")).unwrap();
        }
        let mut base = Base { folder, recorded, reference: Picture::new(), holders: BTreeMap::new(), scratch };
        let own = tempfile::tempdir_in(base.scratch.path()).unwrap();
        let store = base.store(steps, own.path());
        let answers = block_on(async { answers(&store.open().await.unwrap()).await });
        base.reference = answers.into_iter().map(|(name, answer)| (name, answer.unwrap())).collect();
        base
    }

    fn store(&self, steps: usize, folder: &Path) -> Store {
        copy_store(&self.folder, folder);
        Store::at(folder, self.recorded.states[steps].time, 60)
    }

    /// Finds out which answers need which file, by taking each away.
    fn find_holders(&mut self) {
        for file in all_files(&self.folder) {
            let steps = self.recorded.states.len() - 1;
            let own = scratch();
            let store = self.store(steps, own.path());
            std::fs::remove_file(store.folder.join(&file)).unwrap();
            let answers = block_on(async { answers(&store.open().await.unwrap()).await });
            let gone: BTreeSet<String> =
                answers.into_iter().filter(|(_, answer)| answer.is_err()).map(|(name, _)| name).collect();
            let others = self.reference.keys().any(|name| name.starts_with("now ") && !gone.contains(name));
            assert!(others, "without {file} no other table can be read: {gone:?}");
            self.holders.insert(file, gone);
        }
    }

    /// Harms a copy, asks everything, and judges. `Err` says what the store did wrong.
    fn judge(&self, subject: Subject, mutation: &Mutation) -> Result<Outcome, String> {
        let own = scratch();
        let store = self.store(self.recorded.states.len() - 1, own.path());
        harm(&store.folder, mutation);
        let judged = catch_unwind(AssertUnwindSafe(|| block_on(self.look(subject, mutation, &store))));
        let judged = judged.unwrap_or_else(|_| Err("it panicked".to_owned()));
        judged.map_err(|wrong| format!("{mutation:?}: {wrong}"))
    }

    async fn look(&self, subject: Subject, mutation: &Mutation, store: &Store) -> Result<Outcome, String> {
        let db = match (subject.open)(store).await {
            Ok(db) => db,
            Err(error) if files_of(mutation).is_empty() => {
                tells(&error, mutation)?;
                return Ok(Outcome::Refused);
            }
            Err(error) => return Err(format!("one file closes the whole store: {error:?}")),
        };
        let answers = answers(&db).await;
        let outcome = match is_replaced(mutation) {
            true => self.compare_earlier(&answers, &db, mutation)?,
            false => self.compare(&answers, mutation)?,
        };
        let checked = (subject.check)(&db, &store.folder).await;
        let checked = checked.map_err(|error| format!("the check ends with {error:?}"))?;
        let found = !checked.damages.is_empty();
        let damages = checked.lines();
        // What nothing needs is noted, and no damage.
        let in_lines = |lines: &[String], file: &String| lines.iter().any(|line| line.contains(file.as_str()));
        let names = |file: &String| {
            in_lines(&damages, file) || (self.holders_of(file).is_empty() && in_lines(&checked.notes, file))
        };
        let must_name = files_of(mutation);
        if let Some(file) = must_name.iter().find(|file| !names(file)) {
            return Err(format!("the check does not name {file}: {damages:?}"));
        }
        // Whoever needs a file is named with it.
        for line in damages.iter().filter(|_| !must_name.is_empty()) {
            let holds = must_name.iter().any(|file| line.contains(file.as_str()) && !self.holders_of(file).is_empty());
            if holds && !line.contains("It holds rows of ") {
                return Err(format!("the check does not name the tables: {line}"));
            }
        }
        match outcome {
            Outcome::Noticed if !found => Err("answers are errors, and the check finds nothing".to_owned()),
            Outcome::Harmless if found || !must_name.is_empty() => Ok(Outcome::Checked),
            outcome => Ok(outcome),
        }
    }

    fn holders_of(&self, file: &str) -> BTreeSet<String> {
        self.holders.get(file).cloned().unwrap_or_default()
    }

    /// Tells whether an answer needs a file, or a whole does that it is of.
    fn needs(&self, name: &str, file: &str) -> bool {
        let holders = self.holders_of(file);
        holders.contains(name) || holders.iter().any(|whole| name.starts_with(&format!("{whole} ")))
    }

    /// Holds the answers against what they were before.
    fn compare(&self, answers: &Answers, mutation: &Mutation) -> Result<Outcome, String> {
        let files = files_of(mutation);
        let mut outcome = Outcome::Harmless;
        for (name, right) in &self.reference {
            match answers.get(name) {
                Some(Ok(answer)) if answer == right => {}
                Some(Ok(answer)) => return Err(format!("a silent wrong answer: {name} is {answer:?}, not {right:?}")),
                Some(Err(error)) => {
                    tells(error, mutation)?;
                    if !files.is_empty() && !files.iter().any(|file| self.needs(name, file)) {
                        return Err(format!("{name} does not need it, and cannot be read: {error:?}"));
                    }
                    outcome = Outcome::Noticed;
                }
                // The version, or all snapshots, were asked for and not had.
                None if missing(answers, name).is_some() => outcome = Outcome::Noticed,
                None => return Err(format!("{name} is silently gone")),
            }
        }
        for (name, answer) in answers.iter().filter(|(name, _)| !self.reference.contains_key(*name)) {
            match answer {
                Ok(answer) => return Err(format!("{name} came from nowhere: {answer:?}")),
                Err(error) => tells(error, mutation)?,
            }
            outcome = Outcome::Noticed;
        }
        Ok(outcome)
    }

    /// Holds the answers against those of the store at the commit that is now the newest.
    fn compare_earlier(&self, answers: &Answers, db: &Database, mutation: &Mutation) -> Result<Outcome, String> {
        let head = db.now().version().0;
        let mut outcome = Outcome::Earlier;
        for (name, answer) in answers {
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    tells(error, mutation)?;
                    outcome = Outcome::Noticed;
                    continue;
                }
            };
            let right = match name.strip_prefix("now ") {
                Some(table) => self.recorded.history.get(&format!("version {head} {table}")) == Some(answer),
                None if name.starts_with("version ") => self.recorded.history.get(name) == Some(answer),
                // What stands beside the log was so after some step.
                None => self.recorded.states.iter().any(|state| state.picture.get(name) == Some(answer)),
            };
            if !right {
                return Err(format!("a silent wrong answer at version {head}: {name} is {answer:?}"));
            }
        }
        Ok(outcome)
    }
}

/// Asks everything there is to ask.
async fn answers(db: &Database) -> Answers {
    let mut all_answers = Answers::new();
    let newest = db.now();
    read_moment(db, "now", &newest, &mut all_answers).await;
    let step = if all() { 1 } else { 6 };
    read_versions(db, (1..=newest.version().0).step_by(step), &mut all_answers).await;
    read_names(db, &mut all_answers).await;
    all_answers
}

/// Returns every file of a store but the metastore's own.
fn all_files(folder: &Path) -> BTreeSet<String> {
    files_on_disk(folder).into_iter().chain(segments_on_disk(folder)).collect()
}

/// Finds an error that stands for more than one answer.
fn missing<'a>(answers: &'a Answers, name: &str) -> Option<&'a Error> {
    let stands = |whole: &String| *whole == "snapshots" || name.starts_with(&format!("{whole} "));
    let mut errors = answers.iter().filter_map(|(whole, answer)| Some((whole, answer.as_ref().err()?)));
    errors.find(|(whole, _)| stands(whole)).map(|(_, error)| error)
}

/// Returns the files of rows that are harmed: an error must name one of them.
fn files_of(mutation: &Mutation) -> Vec<String> {
    let other = match &mutation.harm {
        Harm::Swap(other) => Some(other.clone()),
        _ => None,
    };
    let files = [Some(mutation.file.clone()), other].into_iter().flatten();
    files.filter(|file| !file.starts_with("metastore.db")).collect()
}

/// Tells whether the store may be what it was before.
fn is_replaced(mutation: &Mutation) -> bool {
    mutation.file == "metastore.db-wal"
        || (mutation.file == "metastore.db" && matches!(mutation.harm, Harm::Replace(_)))
}

/// Checks that an error says that something is damaged, and which file.
fn tells(error: &Error, mutation: &Mutation) -> Result<(), String> {
    let said = error.to_string();
    let files = files_of(mutation);
    let names = files.is_empty() || files.iter().any(|file| said.contains(file.as_str()));
    match error.kind() == Kind::Corrupt && names {
        true => Ok(()),
        false => Err(format!("the error does not say what is damaged: {error:?}")),
    }
}

fn harm(folder: &Path, mutation: &Mutation) {
    let path = folder.join(&mutation.file);
    match &mutation.harm {
        Harm::Flip(at, bits) => {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[*at] ^= bits;
            std::fs::write(&path, bytes).unwrap();
        }
        Harm::Cut(length) => {
            std::fs::File::options().write(true).open(&path).unwrap().set_len(*length as u64).unwrap();
        }
        Harm::Swap(other) => {
            let (own, others) = (std::fs::read(&path).unwrap(), std::fs::read(folder.join(other)).unwrap());
            std::fs::write(&path, others).unwrap();
            std::fs::write(folder.join(other), own).unwrap();
        }
        Harm::Replace(by) => drop(std::fs::copy(by, &path).unwrap()),
        Harm::Gone => std::fs::remove_file(&path).unwrap(),
    }
}

/// Flips each byte in a range.
fn flips(file: &str, range: impl Iterator<Item = usize>) -> Vec<Mutation> {
    let flip = |at: usize| Harm::Flip(at, [0x01, 0x80, 0x10, 0xff, 0x04][at % 5]);
    range.map(|at| Mutation { file: file.to_owned(), harm: flip(at) }).collect()
}

fn cuts(file: &str, range: impl Iterator<Item = usize>) -> Vec<Mutation> {
    range.map(|length| Mutation { file: file.to_owned(), harm: Harm::Cut(length) }).collect()
}

/// Returns some of the cases, or all where all are asked for.
fn some(mut cases: Vec<Mutation>, count: usize, random: &mut StdRng) -> Vec<Mutation> {
    cases.shuffle(random);
    cases.truncate(budget(count));
    cases
}

/// Swaps neighbours of one kind, and takes each away.
fn swaps_and_losses(base: &Base<'_>) -> Vec<Mutation> {
    let files: Vec<String> = all_files(&base.folder).into_iter().collect();
    let mut cases: Vec<Mutation> = files.iter().map(|file| Mutation { file: file.clone(), harm: Harm::Gone }).collect();
    for pair in files.windows(2).filter(|pair| pair[0].split('/').next() == pair[1].split('/').next()) {
        let same =
            std::fs::read(base.folder.join(&pair[0])).unwrap() == std::fs::read(base.folder.join(&pair[1])).unwrap();
        if !same {
            cases.push(Mutation { file: pair[0].clone(), harm: Harm::Swap(pair[1].clone()) });
            let by = base.folder.join(&pair[1]);
            cases.push(Mutation { file: pair[0].clone(), harm: Harm::Replace(by) });
        }
    }
    cases
}

fn run(what: &str, seed: u64, cases: &[(&Base<'_>, Mutation)]) {
    let outcomes = in_parallel(cases, |(base, mutation)| base.judge(REAL, mutation));
    let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
    outcomes.iter().flatten().for_each(|outcome| *counts.entry(*outcome).or_default() += 1);
    let wrong: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    println!("damage of {what}, seed {seed}: {} cases, {} wrong, {counts:?}", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{} went wrong (seed {seed}), among them:\n{}", wrong.len(), first(&wrong, 5));
}

#[test]
fn damaged_files_are_never_answered_from() {
    let recorded = record();
    let mut base = Base::new(&recorded, recorded.states.len() - 1, true);
    base.find_holders();
    let kinds: BTreeSet<&str> = base.holders.keys().map(|file| file.split('/').next().unwrap()).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["deletes", "manifests", "parts", "segments"],
        "one of each kind"
    );
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let (mut flipped, mut cut) = (Vec::new(), Vec::new());
    for file in all_files(&base.folder) {
        let length = std::fs::metadata(base.folder.join(&file)).unwrap().len() as usize;
        flipped.extend(flips(&file, 0..length));
        cut.extend(cuts(&file, 0..length));
    }
    let mut cases = some(flipped, 60, &mut random);
    cases.extend(some(cut, 20, &mut random));
    cases.extend(some(swaps_and_losses(&base), 30, &mut random));
    let cases: Vec<_> = cases.into_iter().map(|mutation| (&base, mutation)).collect();
    run("files", seed, &cases);
}

#[test]
fn a_damaged_metastore_is_never_answered_from() {
    let recorded = record();
    let newest = recorded.states.len() - 1;
    let closed = Base::new(&recorded, newest, true);
    // Commits in the write-ahead log alone, and with all of them in the database too.
    let killed = [Base::new(&recorded, newest - 1, false), Base::new(&recorded, newest, false)];
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let name = "metastore.db";
    let bytes = std::fs::read(closed.folder.join(name)).unwrap();
    // The header, and what is not one long run of the same byte: the rest means nothing, and little of it is tried.
    let used = |at: &usize| {
        let around = &bytes[at.saturating_sub(8)..(at + 8).min(bytes.len())];
        *at < 100 || around.iter().any(|byte| *byte != around[0]) || at.is_multiple_of(997)
    };
    let mut cases: Vec<(&Base<'_>, Mutation)> = Vec::new();
    let flipped = flips(name, (0..bytes.len()).filter(|at| all() || used(at)));
    cases.extend(some(flipped, 120, &mut random).into_iter().map(|case| (&closed, case)));
    let cut = some(cuts(name, 0..bytes.len()), 15, &mut random);
    cases.extend(cut.into_iter().map(|case| (&closed, case)));
    cases.push((&closed, Mutation { file: name.to_owned(), harm: Harm::Gone }));
    let olds: Vec<Base<'_>> = [9, 14, 20].into_iter().map(|steps| Base::new(&recorded, steps, true)).collect();
    for old in &olds {
        let harm = Harm::Replace(old.folder.join(name));
        cases.push((&closed, Mutation { file: name.to_owned(), harm: harm.clone() }));
        cases.extend(killed.iter().map(|base| (base, Mutation { file: name.to_owned(), harm: harm.clone() })));
    }
    let name = "metastore.db-wal";
    for base in &killed {
        let bytes = std::fs::read(base.folder.join(name)).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let flipped = some(flips(name, 0..end), 25, &mut random);
        cases.extend(flipped.into_iter().map(|case| (base, case)));
        let cut = some(cuts(name, 0..end), 15, &mut random);
        cases.extend(cut.into_iter().map(|case| (base, case)));
        cases.push((base, Mutation { file: name.to_owned(), harm: Harm::Gone }));
        for steps in [15, 20, 24] {
            let harm = Harm::Replace(recorded.states[steps].folder.join(name));
            cases.push((base, Mutation { file: name.to_owned(), harm }));
        }
    }
    run("the metastore", seed, &cases);
}

/// Stores and checks that believe what they read, each caught by the cases that the rig tries.
#[test]
fn seeded_defects_are_caught() {
    let recorded = record();
    let mut base = Base::new(&recorded, recorded.states.len() - 1, true);
    base.find_holders();
    let files: Vec<String> = all_files(&base.folder).into_iter().collect();
    let part = files.iter().rfind(|file| file.starts_with("parts/") && !base.holders_of(file).is_empty()).unwrap();
    let length = std::fs::metadata(base.folder.join(part)).unwrap().len() as usize;
    let in_a_part = flips(part, (4..length).step_by(length / 40));
    let swapped: Vec<Mutation> = swaps_and_losses(&base)
        .into_iter()
        .filter(|case| case.file.starts_with("manifests/") && matches!(case.harm, Harm::Swap(_)))
        .collect();
    // A name of rows that are read from the log, and not by opening the store alone.
    let metastore = std::fs::read(base.folder.join("metastore.db")).unwrap();
    let names = metastore.windows(5).enumerate().filter(|(_, text)| *text == b"60060").map(|(at, _)| at);
    let in_the_log: Vec<Mutation> = names.flat_map(|at| flips("metastore.db", at..at + 1)).collect();
    let open_all = |believed: Believed| -> Subject { Subject { open: open_believing(believed), ..REAL } };
    let segment = files.iter().rfind(|file| file.starts_with("segments/")).unwrap();
    let length = std::fs::metadata(base.folder.join(segment)).unwrap().len() as usize;
    let in_a_segment = flips(segment, (0..length).step_by(length / 40));
    let defects: [(&str, Subject, &[Mutation]); 7] = [
        ("the bytes of parts are believed", open_all(Believed::Parts), &in_a_part),
        ("the bytes of manifests are believed", open_all(Believed::Manifests), &swapped),
        ("the deltas of the log are believed", open_all(Believed::Deltas), &in_the_log),
        (
            "the check reads no file",
            Subject {
                check: |db, _| {
                    Box::pin(async move {
                        let mut checked = Checked::default();
                        checked.add_lines(db.metastore().check()?);
                        Ok(checked)
                    })
                },
                ..REAL
            },
            &in_a_part,
        ),
        (
            "the check reads nothing of the log",
            Subject {
                check: |db, folder| {
                    Box::pin(async move {
                        let mut checked = db.check(Some(folder)).await?;
                        checked.damages.retain(|damage| damage.file.starts_with("parts/"));
                        Ok(checked)
                    })
                },
                ..REAL
            },
            &in_the_log,
        ),
        (
            "the check reads no segment",
            Subject {
                check: |db, folder| {
                    Box::pin(async move {
                        let mut checked = db.check(Some(folder)).await?;
                        checked.damages.retain(|damage| !damage.file.starts_with("segments/"));
                        Ok(checked)
                    })
                },
                ..REAL
            },
            &in_a_segment,
        ),
        (
            "one damaged file closes the store",
            Subject {
                open: |store| {
                    Box::pin(async move {
                        let db = store.open().await?;
                        match db.check(None).await?.lines().pop() {
                            Some(damage) => Err(Error::corrupt(damage)),
                            None => Ok(db),
                        }
                    })
                },
                ..REAL
            },
            &in_a_part,
        ),
    ];
    let mut missed = Vec::new();
    for (name, subject, cases) in &defects {
        assert!(!cases.is_empty(), "{name}: there is something to try");
        for case in cases.iter().step_by(8) {
            base.judge(REAL, case).unwrap();
        }
        if cases.iter().all(|case| base.judge(*subject, case).is_ok()) {
            missed.push(*name);
        }
    }
    println!("damage: caught {} of {} seeded defects", defects.len() - missed.len(), defects.len());
    assert!(missed.is_empty(), "not caught: {}", missed.join(", "));
}
