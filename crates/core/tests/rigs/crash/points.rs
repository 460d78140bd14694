//! The named points of the source, all in one place. A point stands between two steps after which a crash finds the store
//! in different states.

use std::path::Path;

/// What may be made of a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// The process may be killed there.
    Kill,
    /// As well, what is done there may fail.
    Error,
}

use Takes::{Error, Kill};

/// Every point, with what it takes.
pub const POINTS: &[(&str, Takes)] = &[
    ("make::draft", Error),
    ("make::schema", Error),
    ("make::filled", Error),
    ("make::synced", Error),
    ("make::renamed", Error),
    ("open::locked", Error),
    ("open::metastore", Error),
    ("open::cleaned", Error),
    ("open::files", Error),
    ("open::catalog", Error),
    ("open::ids", Error),
    ("open::sequencer", Error),
    ("open::empty", Error),
    ("open::first_commit", Error),
    ("open::done", Error),
    ("open::verified", Error),
    ("open::known", Error),
    ("close::before", Error),
    ("close::sequencer", Error),
    ("commit::prepared", Error),
    ("commit::load_manifest", Error),
    ("sequencer::group", Kill),
    ("sequencer::replied", Kill),
    ("sequencer::refused", Kill),
    ("sequencer::before_append", Kill),
    ("sequencer::durable", Kill),
    ("sequencer::before_publish", Kill),
    ("sequencer::before_head", Kill),
    ("sequencer::before_reply", Kill),
    ("load::finish", Error),
    ("load::run", Error),
    ("load::part", Kill),
    ("create::table", Error),
    ("drop::database", Error),
    ("drop::table", Error),
    ("metastore::begun", Error),
    ("metastore::drafted", Error),
    ("metastore::before_known", Kill),
    ("metastore::known", Kill),
    ("metastore::before_commit", Error),
    ("metastore::committed", Kill),
    ("metastore::rolled_back", Kill),
    ("metastore::entry", Error),
    ("checkpoint::before", Error),
    ("checkpoint::after", Error),
    ("tidy::vacuum", Error),
    ("durable::failed", Kill),
    ("durable::renamed", Error),
    ("durable::folder", Error),
    ("durable::created", Error),
    ("durable::written", Error),
    ("durable::synced", Error),
    ("delete::before", Kill),
    ("delete::unlinked", Kill),
    ("upload::part", Kill),
    ("upload::before", Kill),
    ("upload::renamed", Kill),
    ("upload::after", Kill),
    ("file::minted", Error),
    ("file::intended", Error),
    ("file::abandoned", Kill),
    ("file::durable", Error),
    ("flush::begun", Error),
    ("flush::parts", Error),
    ("flush::manifest", Error),
    ("flush::before_commit", Error),
    ("flush::committed", Error),
    ("flush::gave_way", Error),
    ("flush::deletions", Error),
    ("compact::turn", Error),
    ("compact::done", Error),
    ("compact::optimize", Error),
    ("compact::merge", Error),
    ("collect::flushed", Error),
    ("collect::planned", Error),
    ("collect::condemned", Error),
    ("collect::batch", Error),
    ("collect::cleared", Error),
    ("collect::trimmed", Error),
    ("collect::looked", Error),
    ("collect::trim", Error),
    ("collect::withdrawn", Error),
    ("collect::deleted", Error),
    ("collect::before_forget", Error),
    ("collect::forgotten", Error),
    ("snapshot::drafted", Error),
    ("snapshot::pinned", Kill),
    ("snapshot::expired", Error),
    ("snapshot::dropping", Error),
    ("snapshot::dropped", Kill),
    ("copy::begun", Error),
    ("copy::before_commit", Error),
    ("copy::committed", Kill),
    ("copy::table", Error),
    ("copy::manifests", Error),
    ("copy::parts", Error),
    ("copy::verified", Error),
    ("restore::applied", Error),
    ("restore::committed", Kill),
    ("restore::planned", Error),
    ("restore::step", Error),
    ("clone::table", Error),
    ("clone::database", Error),
    ("undo::written", Error),
    ("undo::committed", Kill),
    ("undrop::found", Error),
    ("undrop::planned", Error),
    ("policy::put", Error),
    ("policy::stored", Kill),
    ("policy::remove", Error),
    ("policy::removed", Kill),
    ("schedule::run", Kill),
    ("schedule::due", Kill),
    ("schedule::taken", Kill),
    ("retention::apply", Error),
    ("retention::applied", Kill),
];

/// Tells whether a point is passed only while a store is made.
pub fn is_of_making(point: &str) -> bool {
    point.starts_with("make::") || ["open::empty", "open::first_commit"].contains(&point)
}

/// Tells whether a point is passed whenever a store is opened.
pub fn is_of_opening(point: &str) -> bool {
    point.starts_with("open::") && !is_of_making(point)
}

/// Tells whether a point is passed only by files that are too long for one write.
pub fn is_of_uploads(point: &str) -> bool {
    point.starts_with("upload::")
}

/// Returns the points that stand in the source, with what each takes.
fn in_the_source(folder: &Path, found: &mut Vec<(String, Takes)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            in_the_source(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for after in text.split("fail_point!(").skip(1) {
            let (arguments, _) = after.split_once(");").expect("a statement ends");
            let name = arguments.split('"').nth(1).expect("a point's name is in quotes");
            let takes = if arguments.contains("failing") { Error } else { Kill };
            found.push((name.to_owned(), takes));
        }
    }
}

#[test]
fn the_list_is_that_of_the_source() {
    let mut found = Vec::new();
    in_the_source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut listed: Vec<(String, Takes)> = POINTS.iter().map(|(name, takes)| ((*name).to_owned(), *takes)).collect();
    listed.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, listed, "left: the source, right: the list");
    assert!(listed.windows(2).all(|two| two[0].0 != two[1].0), "each name stands once");
    assert!(listed.len() >= 60);
    assert!(fail::has_failpoints(), "tests are built with them");
}
