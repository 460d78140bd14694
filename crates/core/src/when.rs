//! The only place that turns words into a version.
//!
//! An address is a version number, a time, a snapshot's name, or now. An address by time means the newest commit at or
//! before it. What cannot be honoured exactly is an error, never another moment.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::catalog::suggest;
use crate::error::{Error, Kind, Result, What, closest};
use crate::ids::{AccountId, Time, Version};
use crate::log::{EntryHead, Pin};
use crate::schema::same_name;
use crate::store::Store;

/// An address in time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum When {
    Now,
    Version(Version),
    Time(Time),
    Snapshot(String),
}

/// What an address came to.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub version: Version,
    /// The time of its commit.
    pub time: Time,
    /// The snapshot that was named: it limits what may be read.
    pub snapshot: Option<Pin>,
    /// Why it is this version, for people.
    pub why: String,
}

/// How far back every commit stays recoverable, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(pub i64);

impl Window {
    /// What a store has where nobody said otherwise: a day.
    pub const DEFAULT: Window = Window(24 * 60 * 60 * 1_000_000);
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0 / 1_000_000;
        match (seconds % 3600, seconds % 60) {
            (0, _) => write!(f, "{} hours", seconds / 3600),
            (_, 0) => write!(f, "{} minutes", seconds / 60),
            _ => write!(f, "{seconds} seconds"),
        }
    }
}

/// Resolves an address for somebody of `account`.
pub fn resolve(store: &Store, window: Window, when: &When, account: AccountId) -> Result<Resolved> {
    let head = store.head.load();
    let now = store.env.now();
    match when {
        When::Now => {
            Ok(Resolved { version: head.version, time: head.time, snapshot: None, why: "the newest commit".to_owned() })
        }
        When::Version(version) => {
            if *version > head.version {
                return Err(Error::new(
                    Kind::OutOfWindow,
                    format!("Version {version} does not exist yet; the newest is {}.", head.version),
                )
                .with_hint("List commits with SHOW COMMITS."));
            }
            let entry = entry_at(store, *version)?;
            check_window(store, window, now, &entry)?;
            Ok(Resolved { version: entry.version, time: entry.time, snapshot: None, why: "by number".to_owned() })
        }
        When::Time(time) => {
            if *time > now && *time > head.time {
                return Err(Error::new(
                    Kind::OutOfWindow,
                    format!("'{time}' is in the future; the server's time is {now} UTC."),
                )
                .with_hint("Give a time in the past; times without a zone are taken in the session's time zone."));
            }
            store.stamps.settle(*time);
            let entry = store.metastore.newest_at(*time)?.ok_or_else(|| before_the_store(store, *time))?;
            if *time < now.plus_micros(-window.0) {
                // Older than the window: only what a snapshot keeps, and only exactly.
                let pins = store.metastore.pins()?;
                if !pins.iter().any(|pin| pin.version == entry.version) {
                    return Err(outside(store, window, now, &format!("'{time}'"))?);
                }
            }
            Ok(Resolved {
                version: entry.version,
                time: entry.time,
                snapshot: None,
                why: format!("the newest commit at or before {time} UTC"),
            })
        }
        When::Snapshot(name) => {
            let pins = store.metastore.pins()?;
            let pin = find_snapshot(&pins, account, name)?;
            Ok(Resolved {
                version: pin.version,
                time: pin.version_time,
                why: format!("snapshot '{}'", pin.name),
                snapshot: Some(pin.clone()),
            })
        }
    }
}

/// Returns the snapshot of this name, compared without case.
pub fn find_snapshot<'a>(pins: &'a [Pin], account: AccountId, name: &str) -> Result<&'a Pin> {
    let own = || pins.iter().filter(|pin| pin.account == account);
    own().find(|pin| same_name(&pin.name, name)).ok_or_else(|| {
        let error = Error::not_found(What::Snapshot, name);
        match closest(name, own().map(|pin| pin.name.as_str())) {
            Some(like) => suggest(error, Some(like)),
            None => error.with_hint("List them with SHOW SNAPSHOTS."),
        }
    })
}

/// Returns the first time from which every commit is recoverable.
pub fn window_start(store: &Store, window: Window) -> Time {
    store.env.now().plus_micros(-window.0)
}

/// Reads a time as people write it: `2026-01-31 10:00:00[.ffffff]` in `zone`, or with `Z`, `UTC` or an offset
/// (`+01:00`) behind it; a date alone is its midnight; `-10 minutes`, `5 minutes ago`, `now`.
pub fn parse_time(text: &str, now: Time, zone: &TimeZone) -> Result<Time> {
    let text = text.trim();
    let bad = || {
        Error::invalid(format!("'{text}' is not a time."))
            .with_hint("Write '2026-01-31 10:00:00', '2026-01-31T10:00:00Z' or relative, such as '-10 minutes'.")
    };
    if text.eq_ignore_ascii_case("now") {
        return Ok(now);
    }
    if let Some(back) = relative(text) {
        return Ok(now.plus_micros(-back.as_micros().min(i64::MAX as i128) as i64));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Time(time.as_microsecond()));
    }
    let (clock, zone) = match text.rsplit_once(' ') {
        Some((clock, "UTC" | "utc" | "Z" | "z")) => (clock, TimeZone::UTC),
        Some((clock, offset)) if offset.starts_with(['+', '-']) => {
            let joined = format!("{}{}", clock.trim().replacen(' ', "T", 1), offset);
            return joined.parse::<Timestamp>().map(|time| Time(time.as_microsecond())).map_err(|_| bad());
        }
        _ => (text, zone.clone()),
    };
    if let Ok(time) = clock.replacen(' ', "T", 1).parse::<Timestamp>() {
        return Ok(Time(time.as_microsecond()));
    }
    let clock: DateTime = clock.parse().map_err(|_| bad())?;
    // A clock time that a change to summer time skips or repeats is taken as jiff's "compatible" rule has it.
    let zoned = clock.to_zoned(zone).map_err(|_| bad())?;
    Ok(Time(zoned.timestamp().as_microsecond()))
}

/// Reads `-10 minutes`, `10 minutes ago`, `-1h`, `-90s`: how far back.
fn relative(text: &str) -> Option<SignedDuration> {
    let lower = text.to_lowercase();
    let amount = match (lower.strip_prefix('-'), lower.strip_suffix(" ago")) {
        (Some(amount), None) => amount.trim(),
        (None, Some(amount)) => amount.trim(),
        _ => return None,
    };
    let digits = amount.find(|c: char| !c.is_ascii_digit()).unwrap_or(amount.len());
    let count: i64 = amount[..digits].parse().ok()?;
    let seconds = match amount[digits..].trim() {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 60 * 60,
        "d" | "day" | "days" => 24 * 60 * 60,
        "w" | "week" | "weeks" => 7 * 24 * 60 * 60,
        _ => return None,
    };
    count.checked_mul(seconds).map(SignedDuration::from_secs)
}

fn entry_at(store: &Store, version: Version) -> Result<EntryHead> {
    match store.entry_head(version)? {
        Some(head) => Ok(head),
        None => Err(Error::not_found(What::Version, &version.to_string()).with_hint("List commits with SHOW COMMITS.")),
    }
}

/// Checks that a version is inside the window: it was the newest at some time in it, or a snapshot keeps it.
fn check_window(store: &Store, window: Window, now: Time, entry: &EntryHead) -> Result<()> {
    let start = now.plus_micros(-window.0);
    if entry.time >= start {
        return Ok(());
    }
    // It was still the newest when the window began, unless another commit followed before that.
    let at_start = store.metastore.newest_at(start)?;
    if at_start.is_some_and(|newest| newest.version == entry.version) {
        return Ok(());
    }
    if store.metastore.pins()?.iter().any(|pin| pin.version == entry.version) {
        return Ok(());
    }
    Err(outside(store, window, now, &format!("Version {} of {}", entry.version, entry.time))?)
}

fn outside(store: &Store, window: Window, now: Time, what: &str) -> Result<Error> {
    let start = now.plus_micros(-window.0);
    let first = store.metastore.newest_at(start)?;
    let from = match first {
        Some(_) => format!("{start} UTC"),
        None => "the beginning of the store".to_owned(),
    };
    Ok(Error::new(
        Kind::OutOfWindow,
        format!("{what} is outside the recovery window of {window}, which begins at {from}."),
    )
    .with_hint("Older moments are kept by snapshots: SHOW SNAPSHOTS."))
}

fn before_the_store(store: &Store, time: Time) -> Error {
    let first = store.metastore.entry(Version(1)).ok().flatten();
    let since = first.map_or(String::new(), |entry| format!("; it begins at {} UTC", entry.head.time));
    Error::new(Kind::OutOfWindow, format!("'{time}' is before the store was created{since}."))
        .with_hint("List what can be recovered with SHOW RECOVERY POINTS.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String> {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        parse_time(text, Time(1_767_225_600_000_000), &zone).map(|time| time.to_string())
    }

    #[test]
    fn times() {
        let cases = [
            ("2026-01-31 10:00:00", "2026-01-31 09:00:00.000000"),
            ("2026-07-31 10:00:00.5", "2026-07-31 08:00:00.500000"),
            ("2026-01-31T10:00:00Z", "2026-01-31 10:00:00.000000"),
            ("2026-01-31 10:00:00Z", "2026-01-31 10:00:00.000000"),
            ("2026-01-31 10:00:00 UTC", "2026-01-31 10:00:00.000000"),
            ("2026-01-31 10:00:00+02:00", "2026-01-31 08:00:00.000000"),
            ("2026-01-31 10:00:00 +02:00", "2026-01-31 08:00:00.000000"),
            ("2026-01-31", "2026-01-30 23:00:00.000000"),
            ("-10 minutes", "2025-12-31 23:50:00.000000"),
            ("90s ago", "2025-12-31 23:58:30.000000"),
            ("-1d", "2025-12-31 00:00:00.000000"),
            ("now", "2026-01-01 00:00:00.000000"),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text).unwrap(), expected, "{text}");
        }
        for text in ["", "yesterdayish", "2026-13-01", "2026-01-31 25:00:00", "-10 parsecs"] {
            assert_eq!(parsed(text).unwrap_err().kind(), Kind::Invalid, "{text}");
        }
    }
}
