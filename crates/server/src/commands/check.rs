//! `strandline check`: verifies a store that no server holds.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use strandline_core::cold::open_objects;
use strandline_core::db::{Database, Options};
use strandline_core::error::{Kind, Result as CoreResult};
use strandline_core::upkeep::check::{Checked, Depth, Progress};

use super::debug::open_metastore;
use crate::Result;
use crate::commands::block_on;
use crate::commands::output::{emit, printable};

/// Verify a store that no server holds: its log, its catalog, and that every file is there. It changes nothing.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The folder that holds the store
    #[arg(
        long,
        visible_alias = "store",
        env = "STRANDLINE_DATA",
        value_name = "FOLDER",
        default_value = "strandline-data"
    )]
    pub data: PathBuf,
    /// Read every byte of every file, and decode every row
    #[arg(long)]
    pub deep: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "Examples:
  strandline check
  strandline check --store /srv/strandline --deep
A store that a server holds is checked through it: CHECK TABLE t EXTENDED.
Exit codes: 0 all is well, 1 damage was found, 2 it could not be checked.";

/// Damage was found.
const DAMAGED: u8 = 1;

/// The store could not be checked.
const UNCHECKED: u8 = 2;

/// Runs the verb. Its exit codes are its own: a script must tell damage from a store that is in use.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let depth = if arguments.deep { Depth::Rows } else { Depth::Presence };
    let shown = Shown::default();
    let checked = block_on(async { Ok(check(&arguments.data, depth, &|progress| shown.show(progress)).await?) });
    shown.clear();
    let found = match checked {
        Ok(found) => found,
        Err(error) => {
            eprintln!("strandline: {error}");
            return Ok(ExitCode::from(UNCHECKED));
        }
    };
    let text = if arguments.json { as_json(&found).to_string() + "\n" } else { text(&found, depth) };
    // Whoever reads may have seen enough.
    let _ = emit(&text);
    Ok(if found.damages.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

/// Verifies the store in a folder. What cannot even be opened is damage too. Files that nobody knows are noted; they are no
/// damage.
pub(super) async fn check(data: &Path, depth: Depth, progress: &(dyn Fn(Progress) + Sync)) -> CoreResult<Checked> {
    // Nothing is read twice.
    let options = Options { cache_bytes: 16 << 20, ..Options::default() };
    let mut found = Checked::default();
    match open_metastore(data) {
        Ok((lock, metastore)) => {
            let objects = open_objects(&metastore, data, &options.env).await?;
            match Database::start(metastore.clone(), objects, options, Some(lock)).await {
                Ok(database) => found = database.check_to(depth, Some(data), progress).await?,
                Err(error) if error.kind() == Kind::Full => return Err(error),
                Err(error) => {
                    found.add_lines(metastore.check()?);
                    found.damage(error)?;
                }
            }
        }
        Err(error) if error.kind() == Kind::Full => return Err(error),
        Err(error) if error.kind() == Kind::Unavailable => {
            let hint = "Stop the server, or ask it: CHECK TABLE t EXTENDED verifies a table, and SELECT * FROM \
                        information_schema.STRANDLINE_HEALTH tells what its scrubber has read.";
            return Err(error.with_hint(hint));
        }
        Err(error) => found.damage(error)?,
    }
    Ok(found)
}

fn as_json(found: &Checked) -> Json {
    json!({
        "damaged": !found.damages.is_empty(),
        "damages": found.damages,
        "notes": found.notes,
        "versions": found.versions,
        "files": found.files,
        "bytes": found.bytes,
        "rows": found.rows,
    })
}

fn text(found: &Checked, depth: Depth) -> String {
    let mut text = String::new();
    for damage in &found.damages {
        text += &printable(&format!("DAMAGE: {damage}\n"));
    }
    for note in &found.notes {
        text += &printable(&format!("note: {note}\n"));
    }
    let (versions, files, bytes) = (found.versions, found.files, found.bytes);
    let read = match depth {
        Depth::Presence => format!("{versions} versions; {files} files of {bytes} bytes are there."),
        _ => format!("{versions} versions; {files} files of {bytes} bytes and {} rows verified.", found.rows),
    };
    let verdict = match (found.damages.is_empty(), depth) {
        (false, _) => "Damage was found.",
        (true, Depth::Presence) => "All is well, as far as can be told without reading the files: --deep reads them.",
        (true, _) => "All is well.",
    };
    text + &format!("{read} {verdict}\n")
}

/// The line on a terminal that says how far the check is.
#[derive(Default)]
struct Shown(Mutex<Option<Instant>>);

impl Shown {
    fn show(&self, progress: Progress) {
        let mut last = self.0.lock();
        let is_soon = last.is_some_and(|last| last.elapsed() < Duration::from_millis(200));
        if is_soon || progress.total == 0 || !std::io::stderr().is_terminal() {
            return;
        }
        *last = Some(Instant::now());
        let percent = progress.done * 100 / progress.total;
        eprint!("\r\x1b[Kchecking the {}: {percent} %", progress.what);
        let _ = std::io::stderr().flush();
    }

    fn clear(&self) {
        if self.0.lock().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_said() {
        let whole = Checked { versions: 3, files: 2, bytes: 10, ..Checked::default() };
        let quick = text(&whole, Depth::Presence);
        assert!(quick.starts_with("3 versions; 2 files of 10 bytes are there.") && quick.contains("--deep"), "{quick}");
        let mut damaged = whole;
        damaged.add_lines(vec!["A row is gone.".to_owned()]);
        let deep = text(&damaged, Depth::Rows);
        let lines = "DAMAGE: A row is gone.\n3 versions; 2 files of 10 bytes and 0 rows verified. Damage was found.\n";
        assert_eq!(deep, lines);
        assert_eq!(as_json(&damaged)["damages"][0]["file"], "metastore.db");
    }
}
