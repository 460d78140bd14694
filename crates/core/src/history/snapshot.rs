//! Snapshots: names that people give to versions. Creating one stores a row, at any size of the data, unless it is to
//! have a [`copy`] of its own.

mod copy;

use std::collections::{HashMap, HashSet, VecDeque};

use jiff::Span;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::db::Database;
use crate::error::{Error, Kind, Result, What};
use crate::ids::{AccountId, ColumnId, PinId, TableId, Time, Version};
use crate::log::{Pin, Run, Scope, Terms};
use crate::moment::Moment;
use crate::schema::{Table, same_name};
use crate::txn::Author;
use crate::when::{When, find_snapshot};

/// What to take a snapshot of.
#[derive(Clone, Debug)]
pub struct SnapshotSpec {
    pub name: String,
    pub scope: Scope,
    /// Names of the only columns that are part of it; empty for all. Needs exactly one table.
    pub columns: Vec<String>,
    pub when: When,
    pub comment: String,
    /// The name of the snapshot that it counts from.
    pub base: Option<String>,
    /// When it is dropped; `None` is never.
    pub retain_until: Option<Time>,
    /// The run of a schedule that takes it.
    pub schedule: Option<Run>,
    /// It gets a compressed copy of its own.
    pub compress: bool,
}

impl SnapshotSpec {
    /// Returns what a snapshot of now is, without terms.
    pub fn of(name: &str, scope: Scope) -> SnapshotSpec {
        SnapshotSpec {
            name: name.to_owned(),
            scope,
            columns: Vec::new(),
            when: When::Now,
            comment: String::new(),
            base: None,
            retain_until: None,
            schedule: None,
            compress: false,
        }
    }
}

/// A length of time for which something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    pub count: u32,
    pub unit: TermUnit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TermUnit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Term {
    /// Returns the first of the times `from`, one term later, two terms later … that is after `now`.
    pub fn first_after(self, from: Time, now: Time, zone: &TimeZone) -> Result<Time> {
        // Counted from the beginning each time: a month that is too short moves its own time only.
        let mut times = 1 + now.0.saturating_sub(from.0).max(0) / self.longest_micros().max(1);
        loop {
            let count = u32::try_from(i64::from(self.count).saturating_mul(times)).unwrap_or(u32::MAX);
            let next = Term { count, ..self }.after(from, zone)?;
            if next > now {
                return Ok(next);
            }
            times += 1;
        }
    }

    /// Returns how long a term is at most, in microseconds.
    fn longest_micros(self) -> i64 {
        let hours = match self.unit {
            TermUnit::Minute => return i64::from(self.count) * 60 * 1_000_000,
            TermUnit::Hour => 1,
            TermUnit::Day => 25,
            TermUnit::Week => 7 * 24 + 1,
            TermUnit::Month => 31 * 24 + 1,
            TermUnit::Year => 366 * 24 + 1,
        };
        i64::from(self.count).saturating_mul(hours * 60 * 60 * 1_000_000)
    }

    /// Returns when a term ends that begins then: by the calendar of `zone`.
    pub fn after(self, from: Time, zone: &TimeZone) -> Result<Time> {
        if self.count == 0 {
            return Err(
                Error::invalid("A term has a length of at least 1.").with_hint("Leave RETAIN out to keep it for ever.")
            );
        }
        let count = i64::from(self.count);
        let span = match self.unit {
            TermUnit::Minute => Span::new().try_minutes(count),
            TermUnit::Hour => Span::new().try_hours(count),
            TermUnit::Day => Span::new().try_days(count),
            TermUnit::Week => Span::new().try_weeks(count),
            TermUnit::Month => Span::new().try_months(count),
            TermUnit::Year => Span::new().try_years(count),
        };
        let end = span.and_then(|span| from.to_jiff().to_zoned(zone.clone()).checked_add(span));
        let end =
            end.map_err(|_| Error::invalid("The term ends beyond the calendar.").with_hint("Choose a shorter one."))?;
        Ok(Time(end.timestamp().as_microsecond()))
    }
}

/// What is done with a snapshot, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub pin: Pin,
    pub keep: bool,
    pub reason: String,
}

/// How long the name of a snapshot or a policy may be, in characters.
const NAME_MAX: usize = 64;

impl Database {
    /// Creates a snapshot. It is there, durably, when this returns. Dropping the future ends the making of a copy.
    pub async fn create_snapshot(&self, spec: &SnapshotSpec, author: &Author) -> Result<Pin> {
        self.create_snapshot_unless(spec, author, std::future::pending()).await
    }

    /// As `create_snapshot`, but the making of a copy is ended by `stop`, with `Cancelled`. It says for certain whether
    /// the snapshot is there.
    pub async fn create_snapshot_unless(
        &self,
        spec: &SnapshotSpec,
        author: &Author,
        stop: impl Future<Output = ()>,
    ) -> Result<Pin> {
        if spec.compress {
            return Box::pin(self.create_copy(spec, author, stop)).await;
        }
        let (mut pin, _moment) = self.draft(spec, author)?;
        fail::fail_point!("snapshot::drafted", crate::error::failing);
        pin.id = self.metastore().put_pin(&pin)?;
        fail::fail_point!("snapshot::pinned");
        Ok(pin)
    }

    /// Returns what a snapshot is to be, and its moment, held.
    fn draft(&self, spec: &SnapshotSpec, author: &Author) -> Result<(Pin, Moment)> {
        check_name("snapshot", &spec.name)?;
        // A name that is taken is said first: whoever wants the snapshot just once need not care what became of the rest.
        let pins = self.metastore().pins()?;
        if pins.iter().any(|pin| pin.account == author.account && same_name(&pin.name, &spec.name)) {
            return Err(Error::already_exists(What::Snapshot, &spec.name));
        }
        let resolved = self.resolve(&spec.when, author.account)?;
        if let Some(limit) = &resolved.limit {
            limit.admits_scope(&spec.scope)?;
        }
        // The moment is held from here on, so that its version cannot be collected before the pin stands.
        let moment = self.moment(&resolved)?;
        let columns = check_scope(&moment, moment.catalog(), author.account, &spec.scope, &spec.columns)?;
        let mut copy = None;
        if let Some(limit) = &resolved.limit {
            let tables = spec.scope.tables(moment.catalog(), author.account);
            for table in &tables {
                let all: Vec<ColumnId> = table.columns.iter().map(|column| column.id).collect();
                limit.admits_columns(table, if columns.is_empty() { &all } else { &columns })?;
            }
            // Of what a compressed snapshot names, its copy may be all that there is.
            let held = limit.pin().and_then(|pin| pin.terms.copy.clone());
            let inside = |id: &TableId| tables.iter().any(|table| table.id == *id);
            copy = held.map(|held| held.into_iter().filter(|(id, _)| inside(id)).collect());
        }
        let base = match &spec.base {
            Some(base) => Some(self.base_of(author.account, base, (&spec.scope, &columns), moment.version())?),
            None => None,
        };
        let now = self.env().now().max(moment.time());
        let pin = Pin {
            id: PinId(0),
            name: spec.name.clone(),
            account: author.account,
            scope: spec.scope.clone(),
            version: moment.version(),
            created: now,
            version_time: moment.time(),
            author: author.name.clone(),
            comment: spec.comment.clone(),
            columns,
            terms: Terms { base, retain_until: spec.retain_until, schedule: spec.schedule.clone(), copy },
        };
        Ok((pin, moment))
    }

    /// Finds the base of an incremental snapshot: of the same scope, and not newer.
    pub fn base_of(
        &self,
        account: AccountId,
        name: &str,
        (scope, columns): (&Scope, &[ColumnId]),
        version: Version,
    ) -> Result<PinId> {
        let pins = self.metastore().pins()?;
        let base = find_snapshot(&pins, account, name)?;
        let same = base.scope.holds(scope) && scope.holds(&base.scope) && base.columns == columns;
        if !same {
            let which = if base.columns.is_empty() { "" } else { "some columns of " };
            return Err(Error::invalid(format!(
                "Snapshot '{}' is of {which}{}; an incremental snapshot of {scope} needs a base of the same scope.",
                base.name, base.scope
            ))
            .with_hint("SHOW SNAPSHOTS lists what each snapshot holds."));
        }
        if base.version > version {
            return Err(Error::invalid(format!("Snapshot '{}' is newer than what is based on it.", base.name))
                .with_hint("Choose an older base, or leave INCREMENTAL FROM out."));
        }
        Ok(base.id)
    }

    /// Drops a snapshot, and with `cascade` what is based on it. What they alone kept is forgotten.
    pub fn drop_snapshot(&self, name: &str, cascade: bool, author: &Author) -> Result<Vec<Pin>> {
        self.drop_snapshots(&[name.to_owned()], cascade, author)
    }

    /// Drops snapshots, all or none, and with `cascade` what is based on them.
    pub fn drop_snapshots(&self, names: &[String], cascade: bool, author: &Author) -> Result<Vec<Pin>> {
        let dropped = self.apply_plan(|| self.plan_drop(author.account, names, cascade))?;
        Ok(dropped.into_iter().map(|decision| decision.pin).collect())
    }

    /// Decides what goes with the snapshots of these names.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where something else is based on one, without `cascade`.
    pub fn plan_drop(&self, account: AccountId, names: &[String], cascade: bool) -> Result<Vec<Decision>> {
        let pins = self.metastore().pins()?;
        let mut decisions: Vec<Decision> = Vec::with_capacity(names.len());
        for name in names {
            let pin = find_snapshot(&pins, account, name)?;
            if !decisions.iter().any(|known| known.pin.id == pin.id) {
                decisions.push(Decision { pin: pin.clone(), keep: false, reason: "by its name".to_owned() });
            }
        }
        let named = decisions.len();
        take_along(&mut decisions, &pins);
        if !cascade && decisions.len() > named {
            let others: Vec<&str> = decisions[named..].iter().map(|decision| decision.pin.name.as_str()).collect();
            let (what, verb) = if named == 1 { ("Snapshot", "is the base") } else { ("Snapshots", "are bases") };
            let (names, others) = (names.join("', '"), others.join("', '"));
            return Err(Error::invalid(format!("{what} '{names}' {verb} of '{others}'."))
                .with_hint("Drop them first, or add CASCADE."));
        }
        Ok(decisions)
    }

    /// Decides which snapshots of a scope (and of what lies in it) to drop: those created before a time.
    pub fn plan_drop_older(
        &self,
        account: AccountId,
        scope: &Scope,
        before: Time,
        cascade: bool,
    ) -> Result<Vec<Decision>> {
        let pins = self.snapshots(account)?;
        let mut decisions = Vec::new();
        for pin in pins.iter().filter(|pin| scope.holds(&pin.scope)) {
            let keep = pin.created >= before;
            let reason = format!("created at {} UTC", pin.created);
            decisions.push(Decision { pin: pin.clone(), keep, reason });
        }
        if cascade {
            take_along(&mut decisions, &pins);
        }
        keep_bases(&mut decisions, &pins);
        Ok(decisions)
    }

    /// Plans and drops; plans again where somebody meanwhile took another snapshot on what was to be dropped. Returns the
    /// plan that was carried out.
    pub fn apply_plan(&self, plan: impl Fn() -> Result<Vec<Decision>>) -> Result<Vec<Decision>> {
        loop {
            let decisions = plan()?;
            match self.apply_decisions(&decisions) {
                Err(error) if error.kind() == Kind::Conflict => {}
                outcome => return outcome.map(|_| decisions),
            }
        }
    }

    /// Drops what a plan drops, all or nothing; returns what that was.
    pub fn apply_decisions(&self, decisions: &[Decision]) -> Result<Vec<Pin>> {
        let dropped: Vec<Pin> = decisions.iter().filter(|d| !d.keep).map(|d| d.pin.clone()).collect();
        self.drop_all(&dropped)?;
        Ok(dropped)
    }

    /// Drops the snapshots whose term has ended, of all accounts. A base stays as long as what is based on it.
    pub fn drop_expired(&self) -> Result<Vec<Pin>> {
        fail::fail_point!("snapshot::expired", crate::error::failing);
        // What is dropped does not come back when the clock is set right.
        let now = self.sure_time();
        let pins = self.metastore().pins()?;
        let expired = |pin: &&Pin| pin.terms.retain_until.is_some_and(|until| until <= now);
        let mut decisions: Vec<Decision> = pins
            .iter()
            .filter(expired)
            .map(|pin| Decision { pin: pin.clone(), keep: false, reason: "its term has ended".to_owned() })
            .collect();
        keep_bases(&mut decisions, &pins);
        self.apply_decisions(&decisions)
    }

    fn drop_all(&self, pins: &[Pin]) -> Result<()> {
        let ids: Vec<PinId> = pins.iter().map(|pin| pin.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        fail::fail_point!("snapshot::dropping", crate::error::failing);
        self.metastore().drop_pins(&ids)?;
        fail::fail_point!("snapshot::dropped");
        Ok(())
    }

    /// Returns the snapshots of an account, newest first.
    pub fn snapshots(&self, account: AccountId) -> Result<Vec<Pin>> {
        let mut pins = self.metastore().pins()?;
        pins.retain(|pin| pin.account == account);
        pins.sort_by_key(|pin| std::cmp::Reverse((pin.created, pin.id)));
        Ok(pins)
    }
}

/// Drops what is based on something that is dropped.
fn take_along(decisions: &mut Vec<Decision>, pins: &[Pin]) {
    let mut based: HashMap<PinId, Vec<&Pin>> = HashMap::new();
    for pin in pins {
        if let Some(base) = pin.terms.base {
            based.entry(base).or_default().push(pin);
        }
    }
    let mut places: HashMap<PinId, usize> = decisions.iter().enumerate().map(|(at, d)| (d.pin.id, at)).collect();
    let mut bases: VecDeque<Pin> = decisions.iter().filter(|d| !d.keep).map(|d| d.pin.clone()).collect();
    while let Some(base) = bases.pop_front() {
        for pin in based.get(&base.id).into_iter().flatten().copied() {
            let reason = format!("based on '{}' (CASCADE)", base.name);
            match places.get(&pin.id).map(|at| &mut decisions[*at]) {
                Some(known) if !known.keep => continue,
                Some(known) => (known.keep, known.reason) = (false, reason),
                None => {
                    places.insert(pin.id, decisions.len());
                    decisions.push(Decision { pin: pin.clone(), keep: false, reason });
                }
            }
            bases.push_back(pin.clone());
        }
    }
}

/// Keeps what something that is kept is based on.
pub(crate) fn keep_bases(decisions: &mut [Decision], pins: &[Pin]) {
    let mut dropped: HashSet<PinId> = decisions.iter().filter(|d| !d.keep).map(|d| d.pin.id).collect();
    let places: HashMap<PinId, usize> = decisions.iter().enumerate().map(|(at, d)| (d.pin.id, at)).collect();
    loop {
        let mut kept = Vec::new();
        for pin in pins.iter().filter(|pin| !dropped.contains(&pin.id)) {
            if let Some(base) = pin.terms.base.filter(|base| dropped.contains(base)) {
                kept.push((base, &pin.name));
            }
        }
        if kept.is_empty() {
            return;
        }
        for (base, name) in kept {
            dropped.remove(&base);
            if let Some(decision) = places.get(&base).map(|at| &mut decisions[*at]) {
                (decision.keep, decision.reason) = (true, format!("the base of '{name}'"));
            }
        }
    }
}

impl Pin {
    /// Checks that a table may be read through this snapshot.
    pub fn admits_table(&self, account: &str, database: &str, table: &str) -> Result<()> {
        let (inside, speaks_of) = match &self.scope {
            Scope::Cluster => (true, String::new()),
            Scope::Account(name) => (same_name(name, account), format!("account '{name}'")),
            Scope::Database(name) => (same_name(name, database), format!("database '{name}'")),
            Scope::Tables(of, tables) => (
                same_name(of, database) && tables.iter().any(|name| same_name(name, table)),
                format!("table {of}.{}", tables.join(&format!(", {of}."))),
            ),
        };
        if inside {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "Snapshot '{}' speaks of {speaks_of}; '{database}.{table}' is not part of it.",
            self.name
        ))
        .with_hint("Take a snapshot FOR a scope that has the table, or read it at that time with AS OF TIMESTAMP."))
    }

    /// Checks that a whole scope lies inside this snapshot.
    pub fn admits_scope(&self, scope: &Scope) -> Result<()> {
        if self.scope.holds(scope) {
            return Ok(());
        }
        Err(Error::invalid(format!("Snapshot '{}' is of {}; it does not hold {scope}.", self.name, self.scope))
            .with_hint("SHOW SNAPSHOTS lists what each snapshot holds."))
    }

    /// Checks that columns may be read through this snapshot; the error names those that it has.
    pub fn admits_columns(&self, table: &Table, wanted: &[ColumnId]) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let Some(missing) = wanted.iter().find(|id| !self.columns.contains(id)) else { return Ok(()) };
        let name = |id: &ColumnId| table.column_by_id(*id).map_or("?", |column| column.name.as_str()).to_owned();
        let has: Vec<String> = self.columns.iter().map(name).collect();
        Err(Error::new(
            Kind::NotFound(What::Column),
            format!(
                "Column '{}' is not part of snapshot '{}', which has the columns {}.",
                name(missing),
                self.name,
                has.join(", ")
            ),
        ))
    }
}

/// Checks that everything a scope names exists at a moment, or in a transaction's catalog over it, and returns the ids of the named columns.
pub fn check_scope(
    moment: &Moment,
    catalog: &Catalog,
    account: AccountId,
    scope: &Scope,
    columns: &[String],
) -> Result<Vec<ColumnId>> {
    match scope {
        Scope::Cluster => {}
        Scope::Account(name) => {
            catalog.account(name)?;
        }
        Scope::Database(name) => {
            moment.database_in(catalog, account, name)?;
        }
        Scope::Tables(name, tables) => {
            let database = moment.database_in(catalog, account, name)?;
            for table in tables {
                moment.table_in(catalog, database, table)?;
            }
        }
    }
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let Scope::Tables(database, tables) = scope else {
        return Err(Error::invalid("COLUMNS needs a snapshot FOR TABLE d.t.").with_hint("Name exactly one table."));
    };
    let [table] = tables.as_slice() else {
        return Err(Error::invalid("COLUMNS needs a snapshot of exactly one table.").with_hint("Name one table."));
    };
    let table = catalog.table(catalog.database(account, database)?, table)?;
    columns
        .iter()
        .map(|name| match table.column(name) {
            Some(column) => Ok(column.id),
            None => {
                let names = table.columns.iter().map(|column| column.name.as_str());
                let error = Error::not_found(What::Column, &format!("{}.{name}", table.name));
                Err(crate::catalog::suggest(error, crate::error::closest(name, names)))
            }
        })
        .collect()
}

/// Checks the name that somebody gives to a thing of this kind.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let length = name.chars().count();
    if length == 0 || length > NAME_MAX {
        return Err(Error::invalid(format!("A {what}'s name has 1 to {NAME_MAX} characters; this one has {length}."))
            .with_hint("Choose another name."));
    }
    if name.chars().any(char::is_control) || name.trim() != name {
        return Err(Error::invalid(format!("A {what}'s name has no control characters, and no spaces at its ends."))
            .with_hint("Choose another name."));
    }
    Ok(())
}
