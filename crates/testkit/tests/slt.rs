//! The corpus as a test: `cargo test -p strandline-testkit --test slt -- [FOLDER] [--config NAME] [--complete]`.
//!
//! Has a harness of its own, so that each file counts as a test. Flags of the usual harness are passed over.

use std::path::Path;
use std::process::ExitCode;

use strandline_testkit::slt::{self, Config};
use strandline_workbench::process::Result;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut prefix = String::new();
    let mut configs = Config::ALL.to_vec();
    let mut complete = std::env::var_os("UPDATE_SLT").is_some();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--complete" => complete = true,
            "--config" => {
                let name = arguments.next().ok_or("--config needs a name")?;
                configs = vec![Config::from_name(&name).ok_or_else(|| format!("no configuration '{name}'"))?];
            }
            "--list" => return Ok(true),
            flag if flag.starts_with('-') => {}
            folder => prefix = folder.trim_start_matches("slt/").to_owned(),
        }
    }
    // One configuration is enough to learn what is answered: the others must agree.
    if complete {
        configs.truncate(1);
    }

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../slt").canonicalize()?;
    let files = slt::files(&root, &prefix)?;
    let (mut passed, mut failed) = (0, 0);
    for config in configs {
        let report = slt::run(&files, config, complete);
        for (file, why) in &report.failed {
            println!("---- slt/{} ({}) ----\n{why}\n", file.strip_prefix(&root)?.display(), config.name());
        }
        println!("slt {}: {} passed, {} failed", config.name(), report.passed, report.failed.len());
        passed += report.passed;
        failed += report.failed.len();
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    Ok(failed == 0)
}
