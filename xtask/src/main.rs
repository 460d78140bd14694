//! Project commands: `cargo xtask VERB`. Nothing but the standard library, so that it builds in a second.
//!
//! It starts other programs and adds up what they say. It never tests anything itself.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod defects;
mod prepare;
mod stages;

/// A verb: its name, its arguments, what it does, and how.
struct Verb {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&Context, &[String]) -> Result<(), String>,
}

const VERBS: &[Verb] = &[
    Verb { name: "check", arguments: "", about: "formatting, lints and tidiness", run: check },
    Verb {
        name: "test",
        arguments: "",
        about: "everything: Rust tests, the .slt corpus, client tests, a crash run",
        run: test,
    },
    Verb {
        name: "slt",
        arguments: "[FOLDER] [--config NAME] [--complete]",
        about: "the .slt corpus or one folder of it; --complete rewrites what is expected",
        run: slt,
    },
    Verb {
        name: "kill",
        arguments: "[--points] [ROUNDS] [SEED]",
        about: "kill -9 in the middle of a load, again and again; --points: at every step of the core",
        run: kill,
    },
    Verb {
        name: "fault",
        arguments: "[NAME] [--seed N]",
        about: "every call to the disk fails, every byte is flipped: all that the tests take a part of",
        run: fault,
    },
    Verb {
        name: "sim",
        arguments: "[--sequences N] [--operations M] [--seed S]",
        about: "random operations beside a naive model that keeps everything; prints the seed of what differs",
        run: sim,
    },
    Verb {
        name: "defects",
        arguments: "[RIG|NAME]…",
        about: "breaks the source on purpose, one defect at a time: the tests must notice each, and pass without any",
        run: defects::run,
    },
    Verb {
        name: "memory",
        arguments: "[MIB|CASE]…",
        about: "TPC-H and hostile statements in a cgroup of little memory, or those whose names contain CASE; as root",
        run: memory,
    },
    Verb {
        name: "power",
        arguments: "[--images N] [--seed S]",
        about: "the power goes at any moment, below a file system on a disk that records; as root",
        run: power,
    },
    Verb {
        name: "fuzz",
        arguments: "[TARGET] [--seconds N] [--seed N]",
        about: "hostile bytes for every parser, an hour for each target unless told; without a target, all of them",
        run: fuzz,
    },
    Verb {
        name: "flood",
        arguments: "[SECONDS]",
        about: "hostile sessions, then ten thousand silent sockets, slow logins, storms and a full house",
        run: flood,
    },
    Verb {
        name: "isolation",
        arguments: "",
        about: "which anomalies concurrent transactions can see, beside MariaDB and PostgreSQL",
        run: isolation,
    },
    Verb {
        name: "adya",
        arguments: "[RUNS] [SEED]",
        about: "random transactions under kills and upkeep, 200 runs of 10,000: does any order explain what they saw",
        run: adya,
    },
    Verb { name: "demo", arguments: "", about: "a server, real data, an accident and the way back", run: demo },
    Verb {
        name: "bench",
        arguments: "[NAME]",
        about: "measures a release build, beside MariaDB where it makes sense; without a name, lists them",
        run: bench,
    },
    Verb { name: "ci", arguments: "", about: "exactly what CI runs", run: ci },
];

/// Where things are.
pub struct Context {
    /// The folder of the workspace.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
}

impl Context {
    fn find() -> Result<Context, String> {
        // Of the run, not of the build: a binary may have been built in another copy of the tree.
        let own = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = PathBuf::from(own).join("..");
        let root = root.canonicalize().map_err(|error| format!("no workspace at {}: {error}", root.display()))?;
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Ok(Context { root, target })
    }

    /// Returns a cargo command in the workspace. What the outer cargo says of this package is kept from it: a build script
    /// that watches it (ring's) would run again, and all that stands on it.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).args(arguments);
        for (name, _) in env::vars_os() {
            let inner =
                name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
            if inner {
                command.env_remove(name);
            }
        }
        command
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some(verb) = arguments.first().and_then(|name| VERBS.iter().find(|verb| verb.name == name)) else {
        println!("cargo xtask VERB\n");
        for verb in VERBS {
            println!("  {:<44} {}", format!("{} {}", verb.name, verb.arguments), verb.about);
        }
        let asked = arguments.first().is_some_and(|name| !matches!(name.as_str(), "help" | "--help" | "-h"));
        return if asked { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    };
    match Context::find().and_then(|context| (verb.run)(&context, &arguments[1..])) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_empty() {
                eprintln!("xtask {}: {error}", verb.name);
            }
            ExitCode::FAILURE
        }
    }
}

fn check(context: &Context, _: &[String]) -> Result<(), String> {
    run(context.cargo(&["fmt", "--all", "--check"]))?;
    run(context.cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(context.cargo(&["test", "--workspace", "--test", "tidy"]))
}

fn test(context: &Context, _: &[String]) -> Result<(), String> {
    stages::test(context)
}

fn slt(context: &Context, arguments: &[String]) -> Result<(), String> {
    run(context.cargo(stages::BUILD))?;
    let mut command = context.cargo(&["test", "--workspace", "--test", "slt", "--"]);
    command.args(arguments);
    run(command)
}

fn kill(context: &Context, arguments: &[String]) -> Result<(), String> {
    if let Some((_, rest)) = arguments.split_first().filter(|(first, _)| *first == "--points") {
        return kill_at_points(context, rest);
    }
    build_release(context)?;
    workbench(context, "kill", arguments)
}

/// Release builds have no points: these processes are the tests' own.
fn kill_at_points(context: &Context, arguments: &[String]) -> Result<(), String> {
    let mut command = context.cargo(&["test", "--workspace", "--test", "rigs", "--", "crash::", "--nocapture"]);
    command.env("STRANDLINE_EVERY", "1").env("STRANDLINE_KILLS", arguments.first().map_or("2000", String::as_str));
    if let Some(seed) = arguments.get(1) {
        command.env("STRANDLINE_SEED", seed);
    }
    run(command)
}

fn fault(context: &Context, arguments: &[String]) -> Result<(), String> {
    let mut command = context.cargo(&["test", "--workspace", "--test", "rigs", "--", "--nocapture"]);
    command.env("STRANDLINE_EVERY", "1");
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seed" => command.env("STRANDLINE_SEED", rest.next().ok_or("--seed needs a number")?),
            name => command.arg(name),
        };
    }
    run(command)
}

fn sim(context: &Context, arguments: &[String]) -> Result<(), String> {
    let checked = ["--release", "--config", "profile.release.package.strandline-core.debug-assertions=true"];
    let which = ["--workspace", "--test", "core", "--", "--exact", "machine::agrees_with_the_model", "--nocapture"];
    let mut command = context.cargo(&["test"]);
    command.args(checked).args(which).envs([("STRANDLINE_SEQUENCES", "1000"), ("STRANDLINE_OPERATIONS", "100")]);
    // Half of the stores stand in folders, and what they sync is not what this looks at.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() && env::var_os("TMPDIR").is_none() {
        command.env("TMPDIR", memory);
    }
    take_numbers(&mut command, arguments, &["sequences", "operations", "seed"])?;
    run(command)
}

fn power(context: &Context, arguments: &[String]) -> Result<(), String> {
    let which = ["--workspace", "--test", "rigs", "--", "--ignored", "--nocapture", "--test-threads=1"];
    let mut command = context.cargo(&["test"]);
    command.args(which).arg("below_a_file_system");
    take_numbers(&mut command, arguments, &["images", "seed"])?;
    prepare::recording_disk()?;
    run(command)
}

/// Passes on what is said as `--name N` in the environment, as `STRANDLINE_NAME`.
fn take_numbers(command: &mut Command, arguments: &[String], names: &[&str]) -> Result<(), String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let name = argument.strip_prefix("--").filter(|name| names.contains(name));
        let name = name.ok_or_else(|| format!("'{argument}' is none of --{}", names.join(", --")))?;
        let number = rest.next().filter(|number| number.parse::<u64>().is_ok());
        let number = number.ok_or_else(|| format!("{argument} needs a number"))?;
        command.env(format!("STRANDLINE_{}", name.to_uppercase()), number);
    }
    Ok(())
}

fn memory(context: &Context, arguments: &[String]) -> Result<(), String> {
    build_release(context)?;
    workbench(context, "memory", arguments)
}

/// Runs the targets of all crates: they are tests whose names begin with `fuzz_`.
fn fuzz(context: &Context, arguments: &[String]) -> Result<(), String> {
    let mut command = context.cargo(&["test", "--workspace", "--lib", "--", "--nocapture", "--test-threads=1"]);
    command.env("STRANDLINE_FUZZ_SECONDS", "3600");
    let mut target = "fuzz_".to_owned();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seconds" => command.env("STRANDLINE_FUZZ_SECONDS", rest.next().ok_or("--seconds needs a number")?),
            "--seed" => command.env("STRANDLINE_SEED", rest.next().ok_or("--seed needs a number")?),
            name => {
                target = format!("fuzz_{}", name.trim_start_matches("fuzz_"));
                &mut command
            }
        };
    }
    run({
        command.arg(target);
        command
    })
}

fn flood(context: &Context, arguments: &[String]) -> Result<(), String> {
    build_release(context)?;
    workbench(context, "flood", arguments)
}

fn isolation(context: &Context, arguments: &[String]) -> Result<(), String> {
    build_release(context)?;
    workbench(context, "isolation", arguments)
}

fn adya(context: &Context, arguments: &[String]) -> Result<(), String> {
    build_release(context)?;
    workbench(context, "adya", arguments)
}

fn demo(context: &Context, arguments: &[String]) -> Result<(), String> {
    prepare::all(context)?;
    build_release(context)?;
    let flights = prepare::flights(context)?;
    let mut all = vec![flights.display().to_string()];
    all.extend_from_slice(arguments);
    workbench(context, "demo", &all)
}

fn bench(context: &Context, arguments: &[String]) -> Result<(), String> {
    build_release(context)?;
    workbench(context, "bench", arguments)
}

fn ci(context: &Context, _: &[String]) -> Result<(), String> {
    run(Command::new(context.root.join(".ci/run")))
}

/// Builds the server as `cargo run --release` does, and beside it the program that talks to it. Apart, so that the
/// server's dependencies are not built a second time.
fn build_release(context: &Context) -> Result<(), String> {
    run(context.cargo(&["build", "--release", "--package", "strandline-server"]))?;
    run(context.cargo(&["build", "--release", "--package", "strandline-workbench"]))
}

/// Runs the workbench from the release build.
fn workbench(context: &Context, verb: &str, arguments: &[String]) -> Result<(), String> {
    let mut command = Command::new(context.target.join("release/workbench"));
    command.current_dir(&context.root).arg(verb).args(arguments);
    run(command)
}

/// Runs a command to its end; an exit code other than 0 is an error that names it.
pub fn run(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
