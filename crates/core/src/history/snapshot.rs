//! Snapshots: names that people give to versions. Creating one stores a row, at any size of the data, unless it is to
//! have a [`copy`] of its own.

mod copy;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Span;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::db::{Database, ListedFiles};
use crate::error::{Error, Kind, Result, What};
use crate::ids::{AccountId, ColumnId, Digest, FileId, PinId, TableId, Time, Version};
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

/// What a snapshot takes on disk.
#[derive(Clone, Debug)]
pub struct SnapshotSize {
    pub pin: Pin,
    /// The files that it refers to; of an incremental one those that its base does not.
    pub bytes: u64,
    /// The files that neither the present nor another snapshot refers to.
    pub unique_bytes: u64,
    /// Why the files are not known: a manifest cannot be read.
    pub damage: Option<String>,
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
            let tables = tables_of(moment.catalog(), author.account, &spec.scope);
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
        loop {
            let pins = self.metastore().pins()?;
            let pin = find_snapshot(&pins, author.account, name)?;
            let mut dropped = vec![pin.clone()];
            let mut at = 0;
            while at < dropped.len() {
                let base = dropped[at].id;
                dropped.extend(pins.iter().filter(|pin| pin.terms.base == Some(base)).cloned());
                at += 1;
            }
            if !cascade && dropped.len() > 1 {
                let others: Vec<&str> = dropped[1..].iter().map(|pin| pin.name.as_str()).collect();
                return Err(Error::invalid(format!("Snapshot '{name}' is the base of '{}'.", others.join("', '")))
                    .with_hint("Drop them first, or add CASCADE."));
            }
            match self.drop_all(&dropped) {
                // Somebody took another one on it meanwhile.
                Err(error) if error.kind() == Kind::Conflict => {}
                outcome => return outcome.map(|()| dropped),
            }
        }
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
        let now = self.env().now();
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

    /// Returns the snapshots of an account, newest first, with what each takes on disk. Rows that are still only in the
    /// log take nothing yet.
    pub async fn snapshot_sizes(&self, account: AccountId) -> Result<Vec<SnapshotSize>> {
        let all = self.metastore().pins()?;
        let holdings = &self.0.holdings;
        let stands: HashSet<PinId> = all.iter().map(|pin| pin.id).collect();
        holdings.pins.lock().retain(|id, _| stands.contains(id));
        let mut held: HashMap<PinId, Arc<[Digest]>> = HashMap::new();
        let mut holders: HashMap<Digest, Holder> = HashMap::new();
        for pin in &all {
            let digests = self.manifests_of(pin)?;
            digests.iter().for_each(|digest| Holder::add(&mut holders, *digest, Holder::One(pin.id)));
            held.insert(pin.id, digests);
        }
        let now = self.now();
        let contents = now.catalog().all_tables().filter_map(|table| now.catalog().content(table.id));
        let live: HashSet<Digest> = contents.filter_map(|content| content.manifest).collect();
        live.iter().for_each(|digest| Holder::add(&mut holders, *digest, Holder::Many));
        holdings.manifests.lock().retain(|digest, _| holders.contains_key(digest));
        let mut files: HashMap<Digest, Result<ListedFiles, String>> = HashMap::new();
        let mut owners: HashMap<FileId, Holder> = HashMap::new();
        for (digest, holder) in &holders {
            let listed = self.files_of(*digest).await.map_err(|error| error.to_string());
            for (file, _) in listed.iter().flat_map(|files| files.iter()) {
                Holder::add(&mut owners, *file, *holder);
            }
            files.insert(*digest, listed);
        }
        let mut sizes = Vec::new();
        for pin in self.snapshots(account)? {
            // One that came meanwhile is listed the next time.
            let Some(digests) = held.get(&pin.id) else { continue };
            let base = pin.terms.base.and_then(|base| all.iter().find(|pin| pin.id == base));
            let mut base_files = HashSet::new();
            for digest in base.map(|base| self.live_manifests_of(base)).transpose()?.unwrap_or_default() {
                // Of a compressed base these may be gone: what it has a copy of counts as added then.
                if let Ok(listed) = self.files_of(digest).await {
                    base_files.extend(listed.iter().map(|(file, _)| *file));
                }
            }
            let mut seen = HashSet::new();
            let mut size = SnapshotSize { bytes: 0, unique_bytes: 0, damage: None, pin };
            for digest in digests.iter() {
                match &files[digest] {
                    Ok(files) => {
                        for (file, bytes) in files.iter().filter(|(file, _)| seen.insert(*file)) {
                            size.bytes += if base_files.contains(file) { 0 } else { *bytes };
                            size.unique_bytes += if owners[file] == Holder::Many { 0 } else { *bytes };
                        }
                    }
                    Err(error) => size.damage = Some(error.clone()),
                }
            }
            sizes.push(size);
        }
        Ok(sizes)
    }

    /// Returns the manifests that a snapshot refers to.
    fn manifests_of(&self, pin: &Pin) -> Result<Arc<[Digest]>> {
        if let Some(known) = self.0.holdings.pins.lock().get(&pin.id) {
            return Ok(known.clone());
        }
        let digests: BTreeSet<Digest> = match &pin.terms.copy {
            Some(copy) => copy.iter().filter_map(|(_, content)| content.manifest).collect(),
            None => self.live_manifests_of(pin)?,
        };
        let digests: Arc<[Digest]> = digests.into_iter().collect();
        self.0.holdings.pins.lock().insert(pin.id, digests.clone());
        Ok(digests)
    }

    /// Returns the manifests that the tables of a snapshot had at its version, whether it has a copy of them or not.
    fn live_manifests_of(&self, pin: &Pin) -> Result<BTreeSet<Digest>> {
        let catalog = self.catalog_at(pin.version)?;
        let tables = tables_of(&catalog, pin.account, &pin.scope);
        let contents = tables.iter().filter_map(|table| Some((table.id, catalog.content(table.id)?)));
        let through = contents.map(|(table, content)| self.0.store.content_at(table, content, pin.version));
        through.filter_map(|content| content.map(|content| content.manifest).transpose()).collect()
    }

    /// Returns the files of a manifest, each once, with their lengths.
    async fn files_of(&self, digest: Digest) -> Result<ListedFiles> {
        if let Some(known) = self.0.holdings.manifests.lock().get(&digest) {
            return Ok(known.clone());
        }
        let manifest = self.cold().manifest(digest).await?;
        let mut files = BTreeMap::new();
        for part in &manifest.parts {
            files.insert(part.file, part.bytes);
            if let Some(deletions) = part.deletions {
                files.insert(deletions.file, self.cold().files().record(deletions.file).await?.length);
            }
        }
        let files: ListedFiles = files.into_iter().collect();
        self.0.holdings.manifests.lock().insert(digest, files.clone());
        Ok(files)
    }
}

/// Who refers to a manifest or file: one snapshot alone, or more, or the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    One(PinId),
    Many,
}

impl Holder {
    fn add<K: std::hash::Hash + Eq>(holders: &mut HashMap<K, Holder>, key: K, holder: Holder) {
        let known = holders.entry(key).or_insert(holder);
        if *known != holder {
            *known = Holder::Many;
        }
    }
}

/// Drops what is based on something that is dropped.
fn take_along(decisions: &mut Vec<Decision>, pins: &[Pin]) {
    let mut bases: Vec<Pin> = decisions.iter().filter(|d| !d.keep).map(|d| d.pin.clone()).collect();
    while let Some(base) = bases.pop() {
        for pin in pins.iter().filter(|pin| pin.terms.base == Some(base.id)) {
            let reason = format!("based on '{}' (CASCADE)", base.name);
            match decisions.iter_mut().find(|d| d.pin.id == pin.id) {
                Some(known) if !known.keep => continue,
                Some(known) => (known.keep, known.reason) = (false, reason),
                None => decisions.push(Decision { pin: pin.clone(), keep: false, reason }),
            }
            bases.push(pin.clone());
        }
    }
}

/// Keeps what something that is kept is based on.
pub(crate) fn keep_bases(decisions: &mut [Decision], pins: &[Pin]) {
    let mut dropped: HashSet<PinId> = decisions.iter().filter(|d| !d.keep).map(|d| d.pin.id).collect();
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
            if let Some(decision) = decisions.iter_mut().find(|d| d.pin.id == base) {
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

/// Returns the tables (not views) of a scope, as far as they exist.
pub fn tables_of(catalog: &Catalog, account: AccountId, scope: &Scope) -> Vec<Arc<Table>> {
    let of_account = |id| {
        let databases = catalog.databases_of(id);
        databases.iter().flat_map(|database| catalog.tables_of(database.id)).collect::<Vec<_>>()
    };
    let mut tables = match scope {
        Scope::Cluster => catalog.all_tables().cloned().collect(),
        Scope::Account(name) => catalog.account(name).map(|account| of_account(account.id)).unwrap_or_default(),
        Scope::Database(name) => {
            catalog.database(account, name).map(|database| catalog.tables_of(database.id)).unwrap_or_default()
        }
        Scope::Tables(name, tables) => match catalog.database(account, name) {
            Ok(database) => tables.iter().filter_map(|table| catalog.table(database, table).ok().cloned()).collect(),
            Err(_) => Vec::new(),
        },
    };
    tables.retain(|table| !table.is_view());
    tables
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
