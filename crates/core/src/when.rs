//! The only place that turns words into a version.
//!
//! An address is a version number, a time, a snapshot's name, or now. An address by time means the newest commit at or
//! before it. What cannot be honoured exactly is an error, never another moment.

use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, AmbiguousZoned, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::catalog::unknown;
use crate::error::{Error, Kind, Result, What};
use crate::ids::{AccountId, ColumnId, Time, Version};
use crate::log::policy::{self, PolicyKind};
use crate::log::{EntryHead, Pin, Scope};
use crate::schema::{Table, same_name};
use crate::store::{Hold, Store};

/// An address in time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum When {
    Now,
    Version(Version),
    Time(Time),
    Snapshot(String),
    /// A time within the window of the policy that is named.
    Pitr(String, Time),
}

/// What an address came to.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub version: Version,
    /// The time of its commit.
    pub time: Time,
    /// What may be read there, if not everything.
    pub limit: Option<Limit>,
    /// Why it is this version, for people.
    pub why: String,
    /// What it stands for is kept as long as this is.
    pub hold: Arc<Hold>,
}

/// What may be read at a moment that is not kept whole.
#[derive(Clone, Debug)]
pub enum Limit {
    /// What the snapshot that was named speaks of.
    Snapshot(Pin),
    /// What the policy that was named speaks of.
    Pitr(Pitr),
    /// What policies and snapshots keep of a moment outside the default window.
    Kept(Kept),
}

/// What keeps a moment that is outside the default window.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What was asked for, for messages.
    asked: String,
    /// Since when everything is kept.
    window_start: Time,
    policies: Vec<Keeper>,
    /// The scopes of snapshots of just this version.
    snapshots: Vec<Scope>,
}

/// A policy, seen from one moment.
#[derive(Clone, Debug)]
struct Keeper {
    policy: Pitr,
    start: Time,
    reaches: bool,
}

/// A recovery window that somebody set for a part of the store. It lengthens the default one and never shortens it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pitr {
    /// Unique within its account.
    pub name: String,
    pub account: AccountId,
    /// By name: what bears the name, also after a drop and a new creation.
    pub scope: Scope,
    pub length: u32,
    pub unit: RangeUnit,
    pub created: Time,
    pub modified: Time,
    pub author: String,
    /// What was older when the policy was made, or made longer, may be gone.
    pub kept_from: Time,
}

/// The units of a policy's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeUnit {
    Hour,
    Day,
    Month,
    Year,
}

impl RangeUnit {
    /// Returns MatrixOne's letter for it.
    pub fn letter(self) -> &'static str {
        match self {
            RangeUnit::Hour => "h",
            RangeUnit::Day => "d",
            RangeUnit::Month => "mo",
            RangeUnit::Year => "y",
        }
    }
}

impl Pitr {
    /// Returns the first time from which the policy keeps every commit.
    pub fn start(&self, now: Time) -> Time {
        let length = i64::from(self.length);
        let span = match self.unit {
            RangeUnit::Hour => Span::new().try_hours(length),
            RangeUnit::Day => Span::new().try_days(length),
            RangeUnit::Month => Span::new().try_months(length),
            RangeUnit::Year => Span::new().try_years(length),
        };
        let start = span.and_then(|span| now.to_jiff().to_zoned(TimeZone::UTC).checked_sub(span));
        // A range that goes beyond the calendar has no start of its own.
        start.map_or(self.kept_from, |start| Time(start.timestamp().as_microsecond()).max(self.kept_from))
    }
}

impl Limit {
    /// Returns the snapshot that was named.
    pub fn pin(&self) -> Option<&Pin> {
        match self {
            Limit::Snapshot(pin) => Some(pin),
            _ => None,
        }
    }

    /// Checks that a table may be read. `account` is the name of the reader's.
    pub fn admits_table(&self, account: &str, database: &str, table: &str) -> Result<()> {
        match self {
            Limit::Snapshot(pin) => pin.admits_table(account, database, table),
            _ => self.admits_scope(&Scope::Tables(database.to_owned(), vec![table.to_owned()])),
        }
    }

    /// Checks that all of a scope may be read.
    pub fn admits_scope(&self, scope: &Scope) -> Result<()> {
        match self {
            Limit::Snapshot(pin) => pin.admits_scope(scope),
            Limit::Pitr(policy) if policy.scope.holds(scope) => Ok(()),
            Limit::Pitr(policy) => {
                Err(Error::invalid(format!("PITR '{}' is of {}; it does not keep {scope}.", policy.name, policy.scope))
                    .with_hint("SHOW PITR lists what each policy keeps."))
            }
            Limit::Kept(kept) => kept.admits_scope(scope),
        }
    }

    /// Checks that columns may be read; the error names those that there are.
    pub fn admits_columns(&self, table: &Table, wanted: &[ColumnId]) -> Result<()> {
        match self {
            Limit::Snapshot(pin) => pin.admits_columns(table, wanted),
            _ => Ok(()),
        }
    }
}

impl Kept {
    fn admits_scope(&self, scope: &Scope) -> Result<()> {
        if let Scope::Tables(database, tables) = scope
            && tables.len() > 1
        {
            // Each may be kept by another.
            let mut each = tables.iter().map(|table| Scope::Tables(database.clone(), vec![table.clone()]));
            return each.try_for_each(|table| self.admits_scope(&table));
        }
        let over = || self.policies.iter().filter(|keeper| keeper.policy.scope.holds(scope));
        if self.snapshots.iter().any(|own| own.holds(scope)) || over().any(|keeper| keeper.reaches) {
            return Ok(());
        }
        let start = over().map(|keeper| keeper.start).fold(self.window_start, Time::min);
        Err(Error::new(
            Kind::OutOfWindow,
            format!("{} is outside the recovery window of {scope}, which begins at {start} UTC.", self.asked),
        )
        .with_hint(OLDER))
    }
}

const OLDER: &str = "Older moments are kept by snapshots (SHOW SNAPSHOTS); CREATE PITR keeps more from now on.";

/// How far back every commit stays recoverable, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(pub i64);

impl Window {
    /// What a store has where nobody said otherwise: a day.
    pub const DEFAULT: Window = Window(24 * 60 * 60 * 1_000_000);
}

/// The default window, and what of it was kept: one that is made longer when the store is opened again reaches back no
/// further than what was kept before, until time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptWindow {
    /// In microseconds.
    length: i64,
    /// What is older may be gone.
    kept_from: Time,
    /// The shortest that it ever was: so much is kept whatever a clock said when it was made longer.
    shortest: i64,
}

impl KeptWindow {
    /// Returns the window of a store that never had another.
    pub(crate) fn of(window: Window) -> KeptWindow {
        KeptWindow { length: window.0, kept_from: Time(i64::MIN), shortest: window.0 }
    }

    /// Returns the window when its length is changed at a time.
    pub(crate) fn changed_to(self, window: Window, now: Time) -> KeptWindow {
        let kept_from = if window.0 > self.length { self.start(now) } else { self.kept_from };
        KeptWindow { length: window.0, kept_from, shortest: self.shortest.min(window.0) }
    }

    /// Returns the first time from which every commit is kept.
    pub fn start(self, now: Time) -> Time {
        now.plus_micros(-self.length).max(self.kept_from).min(now.plus_micros(-self.shortest))
    }
}

impl std::fmt::Display for KeptWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Window(self.length).fmt(f)
    }
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

/// Resolves an address for somebody of `account`, and holds what it comes to: from here on nothing of it is collected.
pub fn resolve(store: &Store, window: KeptWindow, when: &When, account: AccountId) -> Result<Resolved> {
    let _together = store.addressing.read();
    let found = find(store, window, when, account)?;
    let copy = found.limit.as_ref().and_then(Limit::pin).and_then(|pin| pin.terms.copy.as_deref());
    let hold = Arc::new(store.opens.hold_with(found.version, copy.map(Arc::from)));
    Ok(Resolved { version: found.version, time: found.time, limit: found.limit, why: found.why, hold })
}

/// What an address comes to, while nothing holds it yet.
struct Found {
    version: Version,
    time: Time,
    limit: Option<Limit>,
    why: String,
}

fn find(store: &Store, window: KeptWindow, when: &When, account: AccountId) -> Result<Found> {
    let head = store.head.load();
    let now = store.env.now();
    match when {
        When::Now => {
            Ok(Found { version: head.version, time: head.time, limit: None, why: "the newest commit".to_owned() })
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
            let asked = format!("Version {} of {} UTC", entry.version, entry.time);
            let limit = limit_of(store, window, account, &entry, entry.time, &asked)?;
            Ok(Found { version: entry.version, time: entry.time, limit, why: "by number".to_owned() })
        }
        When::Time(time) => {
            let entry = newest_at(store, *time, now, head.time)?;
            let limit = limit_of(store, window, account, &entry, *time, &format!("{time} UTC"))?;
            Ok(Found {
                version: entry.version,
                time: entry.time,
                limit,
                why: format!("the newest commit at or before {time} UTC"),
            })
        }
        When::Snapshot(name) => {
            let pins = store.metastore.pins()?;
            let pin = find_snapshot(&pins, account, name)?;
            Ok(Found {
                version: pin.version,
                time: pin.version_time,
                why: format!("snapshot '{}'", pin.name),
                limit: Some(Limit::Snapshot(pin.clone())),
            })
        }
        When::Pitr(name, time) => {
            let policy = find_pitr(store, account, name)?;
            let start = policy.start(store.window_time()).min(window_start(store, window));
            let entry = newest_at(store, *time, now, head.time)?;
            if !is_inside(store, &entry, *time, start)? {
                return Err(Error::new(
                    Kind::OutOfWindow,
                    format!(
                        "{time} UTC is outside the recovery window of PITR '{}', which begins at {start} UTC.",
                        policy.name
                    ),
                )
                .with_hint(OLDER));
            }
            Ok(Found {
                version: entry.version,
                time: entry.time,
                why: format!("the newest commit at or before {time} UTC, kept by PITR '{}'", policy.name),
                limit: Some(Limit::Pitr(policy)),
            })
        }
    }
}

/// Returns the snapshot of this name, compared without case.
pub fn find_snapshot<'a>(pins: &'a [Pin], account: AccountId, name: &str) -> Result<&'a Pin> {
    let own = || pins.iter().filter(|pin| pin.account == account);
    own().find(|pin| same_name(&pin.name, name)).ok_or_else(|| no_snapshot(name, own()))
}

/// Returns the policy of this name, compared without case.
pub fn find_pitr(store: &Store, account: AccountId, name: &str) -> Result<Pitr> {
    let own: Vec<Pitr> = pitrs(store)?.into_iter().filter(|policy| policy.account == account).collect();
    own.iter().find(|policy| same_name(&policy.name, name)).cloned().ok_or_else(|| no_pitr(name, &own))
}

/// The error for a name that no snapshot bears. The nearest of those that are known is suggested.
pub fn no_snapshot<'a>(name: &str, known: impl Iterator<Item = &'a Pin>) -> Error {
    unknown(What::Snapshot, name, known.map(|pin| pin.name.as_str()), "List them with SHOW SNAPSHOTS.")
}

/// The error for a name that no policy bears.
pub fn no_pitr<'a>(name: &str, known: impl IntoIterator<Item = &'a Pitr>) -> Error {
    unknown(What::Pitr, name, known.into_iter().map(|policy| policy.name.as_str()), "List them with SHOW PITR.")
}

/// Returns every policy for recovery windows, of all accounts, oldest first.
pub fn pitrs(store: &Store) -> Result<Vec<Pitr>> {
    let mut pitrs: Vec<Pitr> = policy::read(&*store.metastore, PolicyKind::Pitr)?;
    pitrs.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    Ok(pitrs)
}

/// Returns the first time from which every commit is recoverable, whatever it changed.
pub fn window_start(store: &Store, window: KeptWindow) -> Time {
    window.start(store.window_time())
}

/// Returns the policies that lengthen the window of something in `account`.
pub fn pitrs_over(store: &Store, account: AccountId) -> Result<Vec<Pitr>> {
    let head = store.head.load();
    let name = head.catalog.account_by_id(account).map_or("", |account| account.name.as_str());
    let mut pitrs = pitrs(store)?;
    pitrs.retain(|policy| match &policy.scope {
        Scope::Cluster => true,
        Scope::Account(of) => same_name(of, name),
        _ => policy.account == account,
    });
    Ok(pitrs)
}

/// Returns the first time from which every commit to a scope is recoverable.
pub fn window_start_of(store: &Store, window: KeptWindow, account: AccountId, scope: &Scope) -> Result<Time> {
    let now = store.window_time();
    let over = pitrs_over(store, account)?.into_iter().filter(|policy| policy.scope.holds(scope));
    Ok(over.map(|policy| policy.start(now)).fold(window_start(store, window), Time::min))
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
    if let Some(time) = relative(text, now, zone) {
        return Ok(time);
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
    let local: DateTime = clock.parse().map_err(|_| bad())?;
    let in_zone = zone.to_ambiguous_zoned(local);
    // A day begins once, whatever its clocks do.
    if in_zone.is_ambiguous() && clock.contains(':') {
        return Err(unclear(text, &in_zone));
    }
    let zoned = in_zone.compatible().map_err(|_| bad())?;
    Ok(Time(zoned.timestamp().as_microsecond()))
}

/// Says what a clock time may mean that a change of the clock skips or repeats.
fn unclear(text: &str, in_zone: &AmbiguousZoned) -> Error {
    let utc = |zoned: Result<jiff::Zoned, jiff::Error>| {
        zoned.map_or_else(|_| "?".to_owned(), |zoned| Time(zoned.timestamp().as_microsecond()).to_string())
    };
    let (earlier, later) = (utc(in_zone.clone().earlier()), utc(in_zone.clone().later()));
    let what = match in_zone.offset() {
        AmbiguousOffset::Gap { .. } => "is skipped: the clock is put forward then",
        _ => "comes twice: the clock is put back then",
    };
    Error::invalid(format!("'{text}' {what}, in this time zone."))
        .with_hint(format!("Say which moment is meant: '{earlier} UTC' or '{later} UTC'."))
}

/// Reads `-10 minutes`, `10 minutes ago`, `-1h`, `-90s`. Months and years are those of the calendar of `zone`, the rest are
/// lengths of time.
fn relative(text: &str, now: Time, zone: &TimeZone) -> Option<Time> {
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
        unit => {
            let span = match unit {
                "mo" | "month" | "months" => Span::new().try_months(count),
                "y" | "year" | "years" => Span::new().try_years(count),
                _ => return None,
            };
            let then = now.to_jiff().to_zoned(zone.clone()).checked_sub(span.ok()?).ok()?;
            return Some(Time(then.timestamp().as_microsecond()));
        }
    };
    let back = SignedDuration::from_secs(count.checked_mul(seconds)?);
    Some(now.plus_micros(-back.as_micros().min(i64::MAX as i128) as i64))
}

/// Returns the time zone of a name (`Europe/Berlin`, `UTC`) or of an offset such as `+02:00`. `SYSTEM` is UTC: what is stored.
pub fn zone(name: &str) -> Result<TimeZone> {
    let unknown = || {
        Error::invalid(format!("Unknown or incorrect time zone: '{name}'."))
            .with_hint("Write a name such as 'Europe/Berlin', 'UTC', or an offset such as '+02:00'.")
    };
    if name.eq_ignore_ascii_case("SYSTEM") || name.eq_ignore_ascii_case("UTC") {
        return Ok(TimeZone::UTC);
    }
    if let Some(sign) = name.chars().next().filter(|sign| matches!(sign, '+' | '-')) {
        let (hours, minutes) = name[1..].split_once(':').ok_or_else(unknown)?;
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<i32>().map_err(|_| unknown()),
            false => Err(unknown()),
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        if minutes >= 60 || hours > 14 || (hours == 14 && minutes > 0) {
            return Err(unknown());
        }
        let seconds = (hours * 60 + minutes) * 60 * if sign == '-' { -1 } else { 1 };
        return Ok(jiff::tz::Offset::from_seconds(seconds).map_err(|_| unknown())?.to_time_zone());
    }
    TimeZone::get(name).map_err(|_| unknown())
}

fn entry_at(store: &Store, version: Version) -> Result<EntryHead> {
    match store.entry_head(version)? {
        Some(head) => Ok(head),
        None => Err(Error::not_found(What::Version, &version.to_string()).with_hint("List commits with SHOW COMMITS.")),
    }
}

/// Returns the newest commit at or before a time, which then stays so.
fn newest_at(store: &Store, time: Time, now: Time, newest: Time) -> Result<EntryHead> {
    if time > now && time > newest {
        return Err(Error::new(
            Kind::OutOfWindow,
            format!("{time} UTC is in the future; the server's time is {now} UTC."),
        )
        .with_hint("Give a time in the past; times without a zone are taken in the session's time zone."));
    }
    store.stamps.settle(time);
    store.metastore.newest_at(time)?.ok_or_else(|| before_the_store(store, time))
}

/// Tells whether a commit was the newest at some time since `start`; `time` is one at which it was.
fn is_inside(store: &Store, entry: &EntryHead, time: Time, start: Time) -> Result<bool> {
    Ok(time >= start || store.metastore.newest_at(start)?.is_some_and(|at| at.version == entry.version))
}

/// Finds what may be read at a version: everything if it was the newest at some time in the default window. `time` is
/// one at which it was the newest.
fn limit_of(
    store: &Store,
    window: KeptWindow,
    account: AccountId,
    entry: &EntryHead,
    time: Time,
    asked: &str,
) -> Result<Option<Limit>> {
    let inside = |start: Time| is_inside(store, entry, time, start);
    if inside(window_start(store, window))? {
        return Ok(None);
    }
    kept(store, window, account, entry, asked, inside).map(Some)
}

/// Finds what keeps a moment outside the default window: policies that reach it, and snapshots of just its version.
fn kept(
    store: &Store,
    window: KeptWindow,
    account: AccountId,
    entry: &EntryHead,
    asked: &str,
    inside: impl Fn(Time) -> Result<bool>,
) -> Result<Limit> {
    let mut policies = Vec::new();
    for policy in pitrs_over(store, account)? {
        let start = policy.start(store.window_time());
        policies.push(Keeper { start, reaches: inside(start)?, policy });
    }
    // A snapshot of some columns must be named: it does not show a row whole. So must a compressed one: it keeps a copy,
    // and not what the tables were made of.
    let whole = |pin: &Pin| pin.columns.is_empty() && pin.terms.copy.is_none();
    let own = |pin: &Pin| (pin.account == account || pin.scope == Scope::Cluster) && whole(pin);
    let pins = store.metastore.pins()?.into_iter().filter(|pin| pin.version == entry.version && own(pin));
    let snapshots: Vec<Scope> = pins.map(|pin| pin.scope).collect();
    if snapshots.is_empty() && !policies.iter().any(|keeper| keeper.reaches) {
        return Err(outside(store, window, asked, &policies)?);
    }
    let window_start = window_start(store, window);
    Ok(Limit::Kept(Kept { asked: asked.to_owned(), window_start, policies, snapshots }))
}

fn outside(store: &Store, window: KeptWindow, asked: &str, policies: &[Keeper]) -> Result<Error> {
    let start = window_start(store, window);
    let first = store.metastore.newest_at(start)?;
    let from = match first {
        Some(_) => format!("{start} UTC"),
        None => "the beginning of the store".to_owned(),
    };
    let longest = policies.iter().filter(|keeper| keeper.start < start).min_by_key(|keeper| keeper.start);
    let longest = longest.map_or(String::new(), |keeper| {
        format!(" PITR '{}' reaches back to {} UTC for {}.", keeper.policy.name, keeper.start, keeper.policy.scope)
    });
    Ok(Error::new(
        Kind::OutOfWindow,
        format!("{asked} is outside the recovery window of {window}, which begins at {from}.{longest}"),
    )
    .with_hint(OLDER))
}

fn before_the_store(store: &Store, time: Time) -> Error {
    let first = store.metastore.entry(Version(1)).ok().flatten();
    let since = first.map_or(String::new(), |entry| format!("; it begins at {} UTC", entry.head.time));
    Error::new(Kind::OutOfWindow, format!("{time} UTC is before the store was created{since}."))
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
    fn zones_need_no_files_of_the_system() {
        assert!(jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").is_ok());
    }

    #[test]
    fn zones() {
        let offset = |name: &str| zone(name).map(|zone| zone.to_offset(Timestamp::UNIX_EPOCH).seconds());
        assert_eq!(offset("+05:30").unwrap(), 19_800);
        assert_eq!(offset("-14:00").unwrap(), -50_400);
        for name in ["", "+", "++05:00", "+-5:00", "+05:-1", "+14:30", "+05:60", "Europe/Atlantis"] {
            assert_eq!(zone(name).unwrap_err().kind(), Kind::Invalid, "{name}");
        }
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
            ("-6 months", "2025-06-30 23:00:00.000000"),
            ("2 years ago", "2024-01-01 00:00:00.000000"),
            ("now", "2026-01-01 00:00:00.000000"),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text).unwrap(), expected, "{text}");
        }
        for text in ["", "yesterdayish", "2026-13-01", "2026-01-31 25:00:00", "-10 parsecs"] {
            assert_eq!(parsed(text).unwrap_err().kind(), Kind::Invalid, "{text}");
        }
    }

    #[test]
    fn a_clock_time_that_is_skipped_or_comes_twice_is_asked_about() {
        for (text, said) in [
            (
                "2025-10-26 02:30:00",
                "'2025-10-26 02:30:00' comes twice: the clock is put back then, in this time zone. Say which moment is \
                 meant: '2025-10-26 00:30:00.000000 UTC' or '2025-10-26 01:30:00.000000 UTC'.",
            ),
            (
                "2025-03-30 02:30:00",
                "'2025-03-30 02:30:00' is skipped: the clock is put forward then, in this time zone. Say which moment is \
                 meant: '2025-03-30 00:30:00.000000 UTC' or '2025-03-30 01:30:00.000000 UTC'.",
            ),
        ] {
            assert_eq!(parsed(text).unwrap_err().to_string(), said);
        }
        assert_eq!(parsed("2025-10-26 00:30:00.000000 UTC").unwrap(), "2025-10-26 00:30:00.000000");
        // In Cuba the clocks change at midnight: the day begins all the same.
        let havana = TimeZone::get("America/Havana").unwrap();
        let day = |text: &str| parse_time(text, Time(0), &havana).unwrap().to_string();
        assert_eq!(day("2025-03-09"), "2025-03-09 05:00:00.000000");
        assert_eq!(day("2025-11-02"), "2025-11-02 04:00:00.000000");
    }
}
