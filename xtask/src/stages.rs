//! `cargo xtask test`: the stages one after another, what each took, and the sum as the last line.
//!
//! A stage that breaks off without counting anything counts as one failure: the sum never hides it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Context, prepare};

/// One build for all stages: the same packages and targets, so that nothing is compiled twice.
pub const BUILD: &[&str] = &["build", "--workspace", "--lib", "--bins", "--tests"];

/// How many crashes the test run makes; `cargo xtask kill 100` makes more.
const KILL_ROUNDS: &str = "5";

#[derive(Default, Clone, Copy, PartialEq, Debug)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs all stages, whatever becomes of each.
pub fn test(context: &Context) -> Result<(), String> {
    let binary = context.target.join("debug/strandline");
    let mut stages: Vec<(&str, Duration, Count)> = Vec::new();
    let mut stage = |name: &'static str, run: &mut dyn FnMut() -> Result<Count, String>| {
        println!("\n=== {name}");
        let start = Instant::now();
        let count = run().unwrap_or_else(|error| {
            println!("{name}: {error}");
            Count { passed: 0, failed: 1 }
        });
        stages.push((name, start.elapsed(), count));
        count.failed == 0
    };

    stage("prepare", &mut || prepare::all(context).map(|()| Count::default()));
    let built = stage("build", &mut || crate::run(context.cargo(BUILD)).map(|()| Count::default()));
    if built {
        stage("rust", &mut || counted(context.cargo(&["test", "--workspace", "--no-fail-fast"])));
        stage("slt", &mut || counted(context.cargo(&["test", "--workspace", "--test", "slt"])));
        stage("python", &mut || {
            let flights = prepare::flights(context)?;
            let mut command = Command::new(prepare::python(context));
            command.current_dir(context.root.join("tests/python"));
            command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
            command.env("STRANDLINE_BIN", &binary).env("STRANDLINE_FLIGHTS", flights);
            counted(command)
        });
        stage("package", &mut || {
            prepare::extension(context)?;
            let mut command = Command::new(prepare::python(context));
            command.current_dir(context.root.join("python"));
            command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs"]);
            command.env("STRANDLINE_BIN", &binary);
            counted(command)
        });
        stage("kill", &mut || {
            let mut command = Command::new(context.target.join("debug/workbench"));
            command.current_dir(&context.root).args(["kill", KILL_ROUNDS]).env("STRANDLINE_BIN", &binary);
            counted(command)
        });
    }

    println!();
    for (name, took, count) in &stages {
        println!("{name:<8} {:>7.1} s  {:>5} passed  {:>3} failed", took.as_secs_f64(), count.passed, count.failed);
    }
    let took: Duration = stages.iter().map(|(_, took, _)| *took).sum();
    println!("{:<8} {:>7.1} s", "all", took.as_secs_f64());
    let sum = stages.iter().fold(Count::default(), |sum, (_, _, count)| Count {
        passed: sum.passed + count.passed,
        failed: sum.failed + count.failed,
    });
    println!("{} passed, {} failed", sum.passed, sum.failed);
    if sum.failed == 0 { Ok(()) } else { Err(String::new()) }
}

/// Runs a command, passes its output on, and adds up the results that it prints.
fn counted(mut command: Command) -> Result<Count, String> {
    let started = command.stdout(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| format!("cannot start {command:?}: {error}"))?;
    let mut count = Count::default();
    let stdout = child.stdout.take().ok_or("no output to read")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.map_err(|error| error.to_string())?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(more) = result_line(&line) {
            count.passed += more.passed;
            count.failed += more.failed;
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// Reads the last line of a test program: Rust's own harness
/// (`test result: ok. 3 passed; 0 failed; …`) or pytest's (`2 failed, 3 passed, 1 error in 1.20s`).
fn result_line(line: &str) -> Option<Count> {
    let line = line.trim().trim_matches('=').trim();
    let rust = line.starts_with("test result:");
    let pytest = line.split(" in ").nth(1).is_some_and(|time| {
        time.starts_with(|c: char| c.is_ascii_digit()) && time.split(' ').next().is_some_and(|t| t.ends_with('s'))
    });
    if !rust && !pytest {
        return None;
    }
    let words: Vec<&str> = line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    let before = |names: &[&str]| -> u64 {
        let pairs = words.windows(2).filter(|pair| names.contains(&pair[1]));
        pairs.filter_map(|pair| pair[0].parse::<u64>().ok()).sum()
    };
    let count = Count { passed: before(&["passed"]), failed: before(&["failed", "error", "errors"]) };
    (rust || count != Count::default()).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines() {
        let count = |passed, failed| Some(Count { passed, failed });
        assert_eq!(result_line("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured"), count(3, 0));
        assert_eq!(result_line("test result: FAILED. 3 passed; 2 failed; 0 ignored"), count(3, 2));
        assert_eq!(result_line("===== 2 failed, 31 passed, 1 error in 12.30s ====="), count(31, 3));
        assert_eq!(result_line("31 passed in 72.30s (0:01:12)"), count(31, 0));
        assert_eq!(result_line("1 passed in 3 rounds of it"), None);
        assert_eq!(result_line("running 3 tests"), None);
    }
}
