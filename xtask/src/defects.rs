//! `cargo xtask defects`: breaks the source on purpose, one defect at a time, and sees whether the test that should notice
//! does.
//!
//! It works on a copy of the tree under `target/defects`: what is being worked on is never touched, whatever happens.
//! Beside the copy lie no built files of its own: with a setting of its own, cargo keeps what it builds here apart from the
//! ordinary builds, and shares the dependencies.
//!
//! Before any defect, each test runs on the copy as it is: one that fails without a defect would catch every one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Context;

/// A change of the source that some test must notice.
#[derive(Debug, PartialEq)]
struct Defect {
    /// The rig that must notice: the name of the list.
    rig: String,
    name: String,
    about: String,
    file: String,
    /// The kind of test: `core`, `rigs` or `lib`.
    target: String,
    filter: String,
    env: Vec<(String, String)>,
    old: String,
    new: String,
}

/// What a test came to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// So many tests ran, and none failed.
    Passed(u64),
    Failed,
    /// It did not come to an end.
    Hung,
}

/// What a defect is tried with: the kind of test, its filter and its environment.
type Trial = (String, String, Vec<(String, String)>);

impl Defect {
    fn trial(&self) -> Trial {
        (self.target.clone(), self.filter.clone(), self.env.clone())
    }
}

/// After so long a test that still runs has noticed: it would never pass.
const HANG: Duration = Duration::from_secs(300);

/// Tries the defects of rigs, or those of these names, or all.
pub fn run(context: &Context, arguments: &[String]) -> Result<(), String> {
    let mut defects = read(&context.root)?;
    let is_wanted = |defect: &Defect, name: &String| defect.rig == *name || defect.name.starts_with(name.as_str());
    if let Some(unknown) = arguments.iter().find(|name| !defects.iter().any(|defect| is_wanted(defect, name))) {
        return Err(format!("no rig and no defect is called '{unknown}'; they are in {FOLDER}"));
    }
    defects.retain(|defect| arguments.is_empty() || arguments.iter().any(|name| is_wanted(defect, name)));
    // What cannot be applied is said before anything is built.
    for defect in &defects {
        broken(&context.root, defect)?;
    }
    let tree = context.target.join("defects");
    copy(&context.root, &tree)?;
    unbroken(context, &tree, &defects)?;
    let mut missed = Vec::new();
    for (at, defect) in defects.iter().enumerate() {
        let start = Instant::now();
        let path = tree.join(&defect.file);
        fs::write(&path, broken(&context.root, defect)?).map_err(|error| format!("{}: {error}", path.display()))?;
        let outcome = build(context, &tree, &defect.target)
            .and_then(|program| test(context, &tree, &program, &defect.trial(), HANG))
            .map_err(|error| format!("{}/{}: {error}", defect.rig, defect.name));
        copy(&context.root, &tree)?;
        let verdict = match outcome? {
            Outcome::Failed => "caught",
            Outcome::Hung => "caught (it hung)",
            Outcome::Passed(_) => {
                missed.push(format!("{}/{}: {}", defect.rig, defect.name, defect.about));
                "NOT CAUGHT"
            }
        };
        println!(
            "{:>3}/{} {:<16} {}/{}: {} ({:.0} s)",
            at + 1,
            defects.len(),
            verdict,
            defect.rig,
            defect.name,
            defect.about,
            start.elapsed().as_secs_f64()
        );
    }
    println!("caught {} of {}", defects.len() - missed.len(), defects.len());
    match missed.is_empty() {
        true => Ok(()),
        false => Err(format!("not caught:\n  {}", missed.join("\n  "))),
    }
}

const FOLDER: &str = "crates/core/tests/defects";

fn read(root: &Path) -> Result<Vec<Defect>, String> {
    let listed = fs::read_dir(root.join(FOLDER)).map_err(|error| format!("{FOLDER}: {error}"))?;
    let mut lists: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    lists.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    lists.sort();
    let mut defects = Vec::new();
    for list in lists {
        let rig = list.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = fs::read_to_string(&list).map_err(|error| format!("{}: {error}", list.display()))?;
        defects.extend(parse(&rig, &text).map_err(|error| format!("{}: {error}", list.display()))?);
    }
    Ok(defects)
}

/// Reads a list of defects.
fn parse(rig: &str, text: &str) -> Result<Vec<Defect>, String> {
    let mut defects = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let begins = number + 1;
        let head =
            line.strip_prefix("== ").ok_or_else(|| format!("line {begins}: an entry begins with '== name: …'"))?;
        let (name, about) = head.split_once(": ").ok_or_else(|| format!("line {begins}: the name is not explained"))?;
        let mut defect = Defect {
            rig: rig.to_owned(),
            name: name.to_owned(),
            about: about.to_owned(),
            file: String::new(),
            target: String::new(),
            filter: String::new(),
            env: Vec::new(),
            old: String::new(),
            new: String::new(),
        };
        for (number, line) in lines.by_ref() {
            if line.starts_with("---") {
                break;
            }
            let word = line.split_once(' ').ok_or_else(|| format!("line {}: '{line}' says nothing", number + 1))?;
            match word {
                ("file", file) => defect.file = file.to_owned(),
                ("test", test) => {
                    let (target, filter) = test.split_once(' ').unwrap_or((test, ""));
                    (defect.target, defect.filter) = (target.to_owned(), filter.trim().to_owned());
                }
                ("env", env) => {
                    let (name, value) =
                        env.split_once('=').ok_or_else(|| format!("line {}: NAME=value", number + 1))?;
                    defect.env.push((name.to_owned(), value.to_owned()));
                }
                _ => return Err(format!("line {}: '{line}' is none of file, test, env", number + 1)),
            }
        }
        let mut into = &mut defect.old;
        let mut is_whole = false;
        for (_, line) in lines.by_ref() {
            match line {
                "+++" => into = &mut defect.new,
                "===" => {
                    is_whole = true;
                    break;
                }
                line => {
                    into.push_str(line);
                    into.push('\n');
                }
            }
        }
        let said = !defect.file.is_empty() && !defect.filter.is_empty() && !defect.old.is_empty();
        if !is_whole || !said || !matches!(defect.target.as_str(), "core" | "rigs" | "lib") {
            return Err(format!(
                "'{name}' (line {begins}) is not whole: file, test core|rigs|lib FILTER, ---, +++, ==="
            ));
        }
        defects.push(defect);
    }
    Ok(defects)
}

/// Returns the file of a defect as it is with it.
fn broken(root: &Path, defect: &Defect) -> Result<String, String> {
    let text = fs::read_to_string(root.join(&defect.file))
        .map_err(|error| format!("{}/{}: {}: {error}", defect.rig, defect.name, defect.file))?;
    match text.matches(&defect.old).count() {
        1 if defect.old == defect.new => Err(format!("{}/{} changes nothing", defect.rig, defect.name)),
        1 => Ok(text.replacen(&defect.old, &defect.new, 1)),
        count => Err(format!(
            "{}/{}: its text is {count} times in {}, and must be there once:\n{}",
            defect.rig, defect.name, defect.file, defect.old
        )),
    }
}

/// Makes the copy the same as the tree. What is the same already keeps its time, so that it is not built again.
fn copy(root: &Path, tree: &Path) -> Result<(), String> {
    let mut listing = Command::new("git");
    listing.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let listed = listing.output().map_err(|error| format!("cannot start git: {error}"))?;
    if !listed.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr)));
    }
    let listed = String::from_utf8_lossy(&listed.stdout);
    let built = |name: &&str| name.ends_with("Cargo.toml") || name.starts_with("crates/") || !name.contains('/');
    for name in listed.split('\0').filter(|name| !name.is_empty()).filter(built).chain(["xtask/src/main.rs"]) {
        // One that was deleted and not yet committed is listed too.
        let Ok(bytes) = fs::read(root.join(name)) else { continue };
        let to = tree.join(name);
        if fs::read(&to).is_ok_and(|before| before == bytes) {
            continue;
        }
        let folder = to.parent().ok_or("a file lies in a folder")?;
        fs::create_dir_all(folder).and_then(|()| fs::write(&to, bytes)).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Runs each test without a defect. It must pass, and in so little time that one that hangs is told from it.
fn unbroken(context: &Context, tree: &Path, defects: &[Defect]) -> Result<(), String> {
    let mut programs: BTreeMap<&str, PathBuf> = BTreeMap::new();
    let trials: BTreeSet<Trial> = defects.iter().map(Defect::trial).collect();
    let mut refused = Vec::new();
    for defect in defects {
        if !programs.contains_key(defect.target.as_str()) {
            programs.insert(&defect.target, build(context, tree, &defect.target)?);
        }
    }
    for (at, trial) in trials.iter().enumerate() {
        let start = Instant::now();
        let outcome = test(context, tree, &programs[trial.0.as_str()], trial, HANG / 2)?;
        let took = start.elapsed().as_secs_f64();
        println!("{:>3}/{} without a defect {} {}: {outcome:?} ({took:.0} s)", at + 1, trials.len(), trial.0, trial.1);
        refused.extend(refusal(trial, outcome));
    }
    match refused.is_empty() {
        true => Ok(()),
        false => Err(format!("tests that no defect can be tried with:\n  {}", refused.join("\n  "))),
    }
}

/// Says why a test that came to this without a defect is none to try a defect with.
fn refusal((target, filter, env): &Trial, outcome: Outcome) -> Option<String> {
    let why = match outcome {
        Outcome::Passed(0) => "no test is called so",
        Outcome::Passed(_) => return None,
        Outcome::Failed => "it fails without a defect",
        Outcome::Hung => "it takes too long without a defect",
    };
    let env: String = env.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    Some(format!("{target} {filter}{env}: {why}"))
}

/// Builds the copy's tests of a kind, and returns the program.
fn build(context: &Context, tree: &Path, target: &str) -> Result<PathBuf, String> {
    let mut cargo = context.cargo(&["test", "--no-run", "--config", "profile.dev.package.strandline-core.debug=false"]);
    match target {
        "lib" => cargo.args(["--package", "strandline-core", "--lib"]),
        target => cargo.args(["--workspace", "--test", target]),
    };
    cargo.current_dir(tree).env("CARGO_TARGET_DIR", &context.target).env("CARGO_TERM_COLOR", "never");
    let built = cargo.output().map_err(|error| format!("cannot start cargo: {error}"))?;
    let said = String::from_utf8_lossy(&built.stderr);
    if !built.status.success() {
        return Err(format!("it does not compile:\n{said}"));
    }
    let mut programs = said.lines().filter_map(|line| line.trim().strip_prefix("Executable ")?.rsplit_once('('));
    let program =
        programs.next_back().map(|(_, path)| path.trim_end_matches(')')).ok_or("cargo names no test program")?;
    Ok(context.root.join(program))
}

/// Runs a test, and tells what it came to.
fn test(
    context: &Context,
    tree: &Path,
    program: &Path,
    (_, filter, env): &Trial,
    within: Duration,
) -> Result<Outcome, String> {
    let log = context.target.join("defects-output.txt");
    let file = fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    // Started directly: what hangs can be ended.
    let mut test = Command::new(program);
    test.current_dir(tree.join("crates/core")).arg(filter).stdout(file).stderr(Stdio::null());
    test.envs(env.iter().map(|(name, value)| (name, value)));
    let mut child = test.spawn().map_err(|error| format!("cannot start {test:?}: {error}"))?;
    let Some(passed) = ended(&mut child, within)? else { return Ok(Outcome::Hung) };
    let said = fs::read(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    Ok(if passed { Outcome::Passed(tests_passed(&String::from_utf8_lossy(&said))) } else { Outcome::Failed })
}

/// Reads how many tests passed from what a test program says last.
fn tests_passed(said: &str) -> u64 {
    let line = said.lines().rev().find_map(|line| line.strip_prefix("test result: ok. "));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Waits for a test; `None` if it does not end in this time.
fn ended(child: &mut Child, within: Duration) -> Result<Option<bool>, String> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(Some(status.success()));
        }
        if start.elapsed() > within {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_defects() {
        let text = "# what this is\n\n== one: it forgets\nfile a.rs\ntest core this_test\nenv A=b=c\n--- \n    old\n+++\n    new\n    more\n===\n";
        let defects = parse("rig", text).unwrap();
        assert_eq!(defects.len(), 1);
        let one = &defects[0];
        assert_eq!((one.name.as_str(), one.about.as_str(), one.file.as_str()), ("one", "it forgets", "a.rs"));
        assert_eq!((one.target.as_str(), one.filter.as_str()), ("core", "this_test"));
        assert_eq!(one.env, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!((one.old.as_str(), one.new.as_str()), ("    old\n", "    new\n    more\n"));
        assert!(parse("rig", "== one: it forgets\nfile a.rs\ntest core x\n---\nold\n+++\nnew\n").is_err());
        assert!(parse("rig", "== one: it forgets\nfile a.rs\ntest other x\n---\nold\n+++\nnew\n===\n").is_err());
        assert!(parse("rig", "file a.rs\n").is_err());
    }

    #[test]
    fn only_a_test_that_passes_without_a_defect_can_notice_one() {
        let trial = ("core".to_owned(), "some_test".to_owned(), vec![("SEED".to_owned(), "1".to_owned())]);
        let why = |outcome| refusal(&trial, outcome);
        assert_eq!(why(Outcome::Passed(1)), None);
        assert_eq!(why(Outcome::Failed).as_deref(), Some("core some_test SEED=1: it fails without a defect"));
        assert!(why(Outcome::Passed(0)).is_some() && why(Outcome::Hung).is_some());
        let said =
            "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 99 filtered out; finished";
        assert_eq!(tests_passed(said), 0);
        assert_eq!(tests_passed(&said.replace("0 passed", "10 passed")), 10);
        assert_eq!(tests_passed("test result: FAILED. 3 passed; 2 failed"), 0);
        assert_eq!(tests_passed(""), 0);
    }

    #[test]
    fn what_fails_passes_or_hangs_is_told_apart() {
        let end = |script: &str, within| {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            ended(&mut child, within).unwrap()
        };
        assert_eq!(end("exit 0", HANG), Some(true));
        assert_eq!(end("exit 101", HANG), Some(false));
        assert_eq!(end("exec sleep 600", Duration::from_millis(100)), None);
    }

    #[test]
    fn every_defect_can_be_made() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let stale: Vec<String> = read(&root).unwrap().iter().filter_map(|defect| broken(&root, defect).err()).collect();
        assert!(stale.is_empty(), "{}", stale.join("\n"));
    }
}
