//! What keeps contents: the one place that says it. The collector deletes by it, and whoever asks why a file is kept is told
//! by it.
//!
//! ```text
//!   10:00 flushed   10:05 flushed   10:12 flushed   10:20 flushed
//!   key frame           ✗               ✗           key frame       what only a window keeps is thinned out like a film:
//!       └──── the log ─────────────────────┘                        of some versions the manifest, of all the changes since
//! ```
//! Every flush and every merge writes rows anew, and a window keeps every version in it; but it keeps the log of all of them
//! anyway. So of the manifests that upkeep made and that nothing but windows keeps, those go for which a reader finds the
//! same in the manifest before and the log since (`store::thinning`), as long as it has little to lay over it: at most the
//! bytes of recent rows that a table may have before it is flushed, or a quarter of the parts below, up to four times the former. What a snapshot keeps
//! stays as it is. A manifest that has gone stays gone, and one that others lean on is as good as kept by each of them:
//! so the choice is the same in every run, and what leans on a key frame never leans further back later.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::catalog::{Change, Content, Inherited, ObjectKind};
use crate::cold::blocking;
use crate::db::Database;
use crate::error::{Error, Kind, Result};
use crate::ids::{AccountId, DatabaseId, Digest, PinId, TableId, Time, Version};
use crate::log::{Metastore, Pin, Scope};
use crate::schema::same_name;
use crate::store::{Copied, Store};
use crate::when;

/// What a table held from `begin` until before `end`, and all that keeps it.
pub struct Held {
    pub table: TableId,
    pub begin: Version,
    /// `Version::MAX` while it stands.
    pub end: Version,
    pub content: Arc<Content>,
    /// It is the copy of a compressed snapshot, and stands in no catalog.
    pub is_copy: bool,
    /// Nothing needs it if there are none.
    pub keepers: Vec<Keeper>,
    /// Its manifest was thinned out: what keeps its versions keeps the content before it. Open moments keep both, as one
    /// may have begun before.
    pub is_thinned: bool,
}

/// Something that keeps a content.
#[derive(Clone, Debug)]
pub struct Keeper {
    pub why: Arc<str>,
    /// The last version that is read through the content.
    pub upto: Version,
    pub kind: KeeperKind,
}

/// How something keeps a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeeperKind {
    /// The present: it moves on with time, and so do windows.
    Present,
    /// The default recovery window.
    Window,
    /// The window of a policy, by its place among [`Keepers::policies`].
    Policy(usize),
    /// A snapshot: nothing changes about it while there are no others.
    Pinned(PinId),
    /// A moment that is open. It holds of its version what is still there, and that may be one table alone.
    Open,
}

impl KeeperKind {
    pub fn is_pinned(self) -> bool {
        matches!(self, KeeperKind::Pinned(_))
    }

    /// Tells whether it moves on with time.
    fn is_passing(self) -> bool {
        matches!(self, KeeperKind::Present | KeeperKind::Window | KeeperKind::Policy(_))
    }
}

/// Everything that keeps contents, as it was at one instant.
pub(super) struct Keepers {
    pub head: Version,
    /// The time from which windows reach back.
    pub time: Time,
    /// The version that was the newest when the default window began.
    window_from: Version,
    /// All later entries of the log stay as they are.
    pub log_from: Version,
    pub policies: Vec<Policy>,
    /// By their versions.
    pub pins: Vec<Pinned>,
    opened: BTreeMap<Version, Arc<str>>,
    copies: Vec<(Version, Arc<Copied>)>,
    /// Manifests that are taken as thinned out, beside those that are.
    thinned: HashSet<Digest>,
}

pub(super) struct Policy {
    pub name: String,
    pub account: AccountId,
    pub scope: Scope,
    /// The version that was the newest when its window began.
    from: Version,
    why: Arc<str>,
}

/// A snapshot, and how it is named as a keeper.
pub(super) struct Pinned {
    pub pin: Pin,
    why: Arc<str>,
}

/// What a content is a key frame for.
#[derive(Clone)]
struct Frame {
    /// The first version after its own.
    first: Version,
    /// The last for each that keeps them, and why it does.
    by: HashMap<KeeperKind, (Version, Arc<str>)>,
}

/// How many of the answers that will not change are remembered.
const MUCH_MAX: usize = 1 << 20;

impl Database {
    /// Returns every content that there ever was, with all that keeps it, as the next collection finds it.
    pub async fn contents(&self) -> Result<Vec<Held>> {
        let thinnable = self.thinnable(&[]).await?;
        self.contents_without(thinnable, &[]).await
    }

    /// As `contents`, with these manifests taken as thinned out, and these snapshots as dropped.
    async fn contents_without(&self, thinned: HashSet<Digest>, dropped: &[PinId]) -> Result<Vec<Held>> {
        let (this, dropped) = (self.clone(), dropped.to_vec());
        blocking(move || {
            let mut contents = Vec::new();
            Keepers::of(&this)?.without(thinned, &dropped).each(&this, |held| contents.push(held))?;
            Ok(contents)
        })
        .await
    }

    /// Returns the manifests that can be thinned out once these snapshots are dropped: the one opinion about it.
    pub(super) async fn thinnable(&self, dropped: &[PinId]) -> Result<HashSet<Digest>> {
        let mut thinnable = HashSet::new();
        if !self.options().thinning {
            return Ok(thinnable);
        }
        let contents = self.contents_without(HashSet::new(), dropped).await?;
        // What something else reads through too stays in any case.
        let (candidates, kept): (Vec<_>, Vec<_>) =
            contents.iter().filter(|held| !held.keepers.is_empty()).partition(|held| held.is_passing());
        let kept: HashSet<Digest> = kept.iter().filter_map(|held| held.content.manifest).collect();
        if candidates.is_empty() {
            return Ok(thinnable);
        }
        let (mut frame, mut end): (Option<&Held>, _) = (None, None);
        // What one content can do without may be another's: a clone has the manifests of its origin.
        let mut frames = HashSet::new();
        for held in contents.iter().filter(|held| !held.is_copy) {
            if end.replace((held.table, held.end)) != Some((held.table, held.begin)) {
                frame = None;
            }
            if held.is_thinned {
                continue;
            }
            // One that nothing needs is no frame: it goes.
            let Some(upto) = held.keepers.iter().map(|keeper| keeper.upto).max() else {
                frame = None;
                continue;
            };
            let can_go = held.content.manifest.filter(|manifest| held.is_passing() && !kept.contains(manifest));
            if let (Some(under), Some(manifest)) = (frame, can_go)
                && self.0.store.is_upkeep(held.begin)?
                && self.is_little(under, upto).await?
            {
                thinnable.insert(manifest);
            } else {
                frames.extend(held.content.manifest);
                frame = Some(held);
            }
        }
        thinnable.retain(|manifest| !frames.contains(manifest));
        Ok(thinnable)
    }

    /// Tells whether what the log brings to a content up to a version is little: beside it, and for the memory that it takes to
    /// lay it over.
    async fn is_little(&self, content: &Held, upto: Version) -> Result<bool> {
        let (this, table, below) = (self.clone(), content.table, content.content.clone());
        let range = (table, content.begin, upto);
        if self.0.much.lock().contains(&range) {
            return Ok(false);
        }
        let bytes = blocking(move || {
            let own = Inherited { origin: table, after: below.flushed, upto };
            let ranges = below.inherited.iter().chain([&own]);
            let mut bytes = ranges.map(|range| this.metastore().delta_bytes(range.origin, range.after, range.upto));
            bytes.try_fold(Some(0), |sum: Option<u64>, bytes| Ok(sum.zip(bytes?).map(|(sum, bytes)| sum + bytes)))
        });
        // What was trimmed is there no more.
        let Some(bytes) = bytes.await? else { return Ok(self.is_much(range)) };
        if bytes <= self.options().flush_bytes as u64 {
            return Ok(true);
        }
        let parts = match content.content.manifest {
            None => 0,
            Some(manifest) => match self.cold().manifest(manifest).await {
                Ok(manifest) => manifest.bytes(),
                // Nothing leans on what cannot be read. Whoever needs it says so.
                Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Unavailable) => 0,
                Err(error) => return Err(error),
            },
        };
        let limit = (parts / 4).min(4 * self.options().flush_bytes as u64);
        Ok(bytes <= limit || self.is_much(range))
    }

    /// Remembers that what the log brings to a content is much, or not all there. Returns `false`: it is not little.
    fn is_much(&self, range: (TableId, Version, Version)) -> bool {
        let mut much = self.0.much.lock();
        if much.len() > MUCH_MAX {
            much.clear();
        }
        much.insert(range);
        false
    }
}

impl Held {
    /// Tells whether nothing but windows keeps it, and not for the present.
    fn is_passing(&self) -> bool {
        self.end != Version::MAX && self.keepers.iter().all(|keeper| keeper.kind.is_passing())
    }
}

impl Keepers {
    /// Asks for everything that keeps anything.
    ///
    /// What this does not find may go, however long it takes until it does. For all of it is asked while nobody stands
    /// between what an address means and the hold on that (`Store::addressing`): whatever anybody reads at this instant is
    /// held, and found here. What somebody comes to read afterwards is one of these:
    /// - an address that is read afterwards, by a snapshot or policy that is there now, so it is found; or within a window,
    ///   and no window begins earlier later on: where the clock is set back, windows are counted from the time by which
    ///   something went (see `store::Clock`), and a new policy, or a longer window, reaches back no further than what
    ///   was kept before it;
    /// - what is made afterwards, a snapshot or a commit, of a moment that is open meanwhile: one that is open now is found,
    ///   and of one that is opened later the same holds again;
    /// - a newest moment: what stands at `head`, which is read first, or later. It stands now, or ends after `head` and so
    ///   inside every window.
    pub fn of(database: &Database) -> Result<Keepers> {
        let store = &database.0.store;
        // Windows end by a time that is surely over.
        let now = store.sure_window_time();
        let (head, opened, copies, oldest_read, pins, policies) = {
            let _alone = store.addressing.write();
            let head = store.head.load().version;
            let opened = store.opens.versions().into_iter().chain(store.transactions.versions());
            let opened: Vec<Version> = opened.collect();
            let oldest_read = store.transactions.oldest(head);
            let (pins, policies) = (store.metastore.pins()?, when::pitrs(store)?);
            (head, opened, store.opens.copies(), oldest_read, pins, policies)
        };
        // Whoever was told just now since when everything can be recovered has time to ask for it.
        let from = |start: Time| -> Result<Version> {
            let start = start.plus_micros(-database.options().grace_micros);
            Ok(store.metastore.newest_at(start)?.map_or(Version(0), |entry| entry.version).min(head))
        };
        let window_from = from(database.0.window.start(now))?;
        let policies = policies.into_iter().map(|policy| {
            let (from, why) = (from(policy.start(now))?, format!("PITR '{}'", policy.name).into());
            Ok(Policy { name: policy.name, account: policy.account, scope: policy.scope, from, why })
        });
        let mut pins: Vec<Pinned> =
            pins.into_iter().map(|pin| Pinned { why: format!("snapshot '{}'", pin.name).into(), pin }).collect();
        pins.sort_by_key(|pinned| (pinned.pin.version, pinned.pin.id));
        Ok(Keepers {
            head,
            time: now,
            window_from,
            // What a load is checked against at its end begins where it began.
            log_from: window_from.min(oldest_read),
            policies: policies.collect::<Result<_>>()?,
            pins,
            opened: opened.into_iter().map(|version| (version, why_open(version))).collect(),
            copies,
            thinned: HashSet::new(),
        })
    }

    /// Takes these manifests as thinned out, and these snapshots as dropped.
    pub fn without(mut self, thinned: HashSet<Digest>, dropped: &[PinId]) -> Keepers {
        let dropped: HashSet<PinId> = dropped.iter().copied().collect();
        self.pins.retain(|pinned| !dropped.contains(&pinned.pin.id));
        Keepers { thinned, ..self }
    }

    /// Visits every content that there ever was, oldest first of each table, and those of copies.
    pub fn each(&self, database: &Database, mut visit: impl FnMut(Held)) -> Result<()> {
        let metastore = &**database.metastore();
        let mut homes = HashMap::new();
        for id in metastore.ids(ObjectKind::Content)? {
            self.each_in_catalog(database, &mut homes, TableId(id), &mut visit)?;
        }
        self.each_copied(&mut visit);
        Ok(())
    }

    /// As `each`, of one table.
    pub fn each_of(&self, database: &Database, table: TableId, mut visit: impl FnMut(Held)) -> Result<()> {
        self.each_in_catalog(database, &mut HashMap::new(), table, &mut visit)?;
        self.each_copied(&mut |held| {
            if held.table == table {
                visit(held)
            }
        });
        Ok(())
    }

    fn each_in_catalog(
        &self,
        database: &Database,
        homes: &mut HashMap<DatabaseId, Vec<Home>>,
        table: TableId,
        visit: &mut impl FnMut(Held),
    ) -> Result<()> {
        let metastore = &**database.metastore();
        let of_table = self.of_table(table, names(metastore, homes, table)?);
        let mut contents = Vec::new();
        for row in metastore.object(ObjectKind::Content, table.0)? {
            let Change::PutContent(_, content) = row.object else { continue };
            let keepers = of_table.of_content(row.begin, row.end);
            let (begin, end) = (row.begin, row.end);
            contents.push(Held { table, begin, end, content, is_copy: false, keepers, is_thinned: false });
        }
        self.pass_on(&database.0.store, &mut contents, &of_table.name)?;
        contents.into_iter().for_each(visit);
        Ok(())
    }

    fn each_copied(&self, visit: &mut impl FnMut(Held)) {
        let copy = |version: Version, (table, content): &(TableId, Content), why: &Arc<str>, kind| Held {
            table: *table,
            begin: version,
            end: version.next(),
            content: Arc::new(content.clone()),
            is_copy: true,
            keepers: vec![Keeper { why: why.clone(), upto: version, kind }],
            is_thinned: false,
        };
        for Pinned { pin, .. } in self.pins.iter().filter(|pinned| pinned.pin.terms.copy.is_some()) {
            let why: Arc<str> = format!("the copy of snapshot '{}'", pin.name).into();
            for copied in pin.terms.copy.iter().flatten() {
                visit(copy(pin.version, copied, &why, KeeperKind::Pinned(pin.id)));
            }
        }
        for (version, copies) in &self.copies {
            let why = why_open(*version);
            copies.iter().for_each(|copied| visit(copy(*version, copied, &why, KeeperKind::Open)));
        }
    }

    /// Gives what keeps a content whose manifest was thinned out to the content before it, which is read in its place.
    fn pass_on(&self, store: &Store, contents: &mut [Held], name: &str) -> Result<()> {
        // Of each content, the versions after its own that it is a key frame for.
        let mut frames: Vec<Option<Frame>> = vec![None; contents.len()];
        for at in (1..contents.len()).rev() {
            let (before, held) = (&contents[at - 1], &contents[at]);
            let follows = before.end == held.begin && held.end != Version::MAX;
            let is_needed = frames[at].is_some() || !held.keepers.is_empty();
            if !follows || !is_needed || !self.is_gone(store, &held.content)? || !store.is_upkeep(held.begin)? {
                continue;
            }
            let (passing, others): (Vec<Keeper>, Vec<Keeper>) =
                held.keepers.iter().cloned().partition(|keeper| keeper.kind.is_passing());
            let mut frame = frames[at].take().unwrap_or(Frame { first: held.begin, by: HashMap::new() });
            frame.first = held.begin;
            for keeper in passing {
                let (last, _) = frame.by.entry(keeper.kind).or_insert((keeper.upto, keeper.why));
                *last = keeper.upto.max(*last);
            }
            frames[at - 1] = Some(frame).filter(|frame| !frame.by.is_empty());
            contents[at - 1].keepers.extend(others);
            contents[at].keepers.retain(|keeper| keeper.kind == KeeperKind::Open);
            contents[at].is_thinned = true;
        }
        for (held, frame) in contents.iter_mut().zip(frames) {
            let Some(frame) = frame else { continue };
            let time = |version| Ok::<_, Error>(store.entry_head(version)?.map_or(Time(0), |head| head.time));
            let last = frame.by.values().map(|(last, _)| *last).max().unwrap_or(frame.first);
            let what = format!("key frame for {} to {} UTC of {name}", time(frame.first)?, time(last)?);
            for (kind, (upto, why)) in frame.by {
                held.keepers.insert(0, Keeper { why: format!("{what}, for {why}").into(), upto, kind });
            }
        }
        Ok(())
    }

    fn is_gone(&self, store: &Store, content: &Content) -> Result<bool> {
        let is_taken_so = content.manifest.is_some_and(|manifest| self.thinned.contains(&manifest));
        Ok(is_taken_so || store.is_gone(content)?)
    }

    fn of_table(&self, table: TableId, names: Vec<Name>) -> KeepersOfTable<'_> {
        let name = names.last().map(|name| format!("{}.{}", name.home.database, name.table));
        let name = name.unwrap_or_else(|| format!("table {table}"));
        KeepersOfTable {
            all: self,
            present: format!("the present of {name}").into(),
            window: format!("the recovery window of {name}").into(),
            name,
            names,
        }
    }
}

/// What keeps contents of one table.
struct KeepersOfTable<'a> {
    all: &'a Keepers,
    present: Arc<str>,
    window: Arc<str>,
    name: String,
    names: Vec<Name>,
}

impl KeepersOfTable<'_> {
    /// Returns what keeps the content that stood from `begin` until before `end`.
    fn of_content(&self, begin: Version, end: Version) -> Vec<Keeper> {
        let mut keepers = Vec::new();
        let mut keep = |why: Arc<str>, upto, kind| keepers.push(Keeper { why, upto, kind });
        if end == Version::MAX {
            keep(self.present.clone(), self.all.head.max(begin), KeeperKind::Present);
        } else {
            let last = Version(end.0 - 1);
            if end > self.all.window_from {
                keep(self.window.clone(), last, KeeperKind::Window);
            }
            for (at, policy) in self.all.policies.iter().enumerate() {
                if self.is_named(begin.max(policy.from), end, policy.account, &policy.scope) {
                    keep(policy.why.clone(), last, KeeperKind::Policy(at));
                }
            }
        }
        for (version, why) in self.all.opened.range(begin..end) {
            keep(why.clone(), *version, KeeperKind::Open);
        }
        let first = self.all.pins.partition_point(|pinned| pinned.pin.version < begin);
        for Pinned { pin, why } in self.all.pins[first..].iter().take_while(|pinned| pinned.pin.version < end) {
            let version = pin.version;
            // Of a compressed snapshot its copy is all that is kept.
            if pin.terms.copy.is_none() && self.is_named(version, version.next(), pin.account, &pin.scope) {
                keep(why.clone(), version, KeeperKind::Pinned(pin.id));
            }
        }
        keepers
    }

    /// Tells whether the table had a name between `from` and before `until` that a scope of an account's speaks of. A name
    /// that it got later says nothing about what it held before: that may be gone.
    fn is_named(&self, from: Version, until: Version, account: AccountId, scope: &Scope) -> bool {
        let then = self.names.iter().filter(|name| name.begin < until && from < name.end);
        then.filter(|_| from < until).any(|name| match scope {
            Scope::Cluster => true,
            Scope::Account(wanted) => same_name(wanted, &name.home.account_name),
            Scope::Database(wanted) => name.home.account == account && same_name(wanted, &name.home.database),
            Scope::Tables(wanted, tables) => {
                name.home.account == account
                    && same_name(wanted, &name.home.database)
                    && tables.iter().any(|table| same_name(table, &name.table))
            }
        })
    }
}

fn why_open(version: Version) -> Arc<str> {
    format!("a query or transaction that reads version {version}").into()
}

/// What a table was called from `begin` until before `end`.
struct Name {
    begin: Version,
    end: Version,
    home: Home,
    table: String,
}

/// What a database and its account were called from `begin` until before `end`.
#[derive(Clone)]
struct Home {
    begin: Version,
    end: Version,
    account: AccountId,
    account_name: String,
    database: String,
}

/// Returns what a table was called through time. `homes` are those of databases that were asked for before.
fn names(metastore: &dyn Metastore, homes: &mut HashMap<DatabaseId, Vec<Home>>, table: TableId) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    for row in metastore.object(ObjectKind::Table, table.0)? {
        let Change::PutTable(table) = &row.object else { continue };
        let homes = match homes.entry(table.database) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(homes_of(metastore, table.database)?),
        };
        for home in homes.iter() {
            let (begin, end) = (row.begin.max(home.begin), row.end.min(home.end));
            if begin < end {
                names.push(Name { begin, end, home: home.clone(), table: table.name.clone() });
            }
        }
    }
    Ok(names)
}

fn homes_of(metastore: &dyn Metastore, database: DatabaseId) -> Result<Vec<Home>> {
    let mut homes = Vec::new();
    for row in metastore.object(ObjectKind::Database, database.0)? {
        let Change::PutDatabase(database) = &row.object else { continue };
        for of_account in metastore.object(ObjectKind::Account, database.account.0)? {
            let Change::PutAccount(account) = &of_account.object else { continue };
            let (begin, end) = (row.begin.max(of_account.begin), row.end.min(of_account.end));
            if begin < end {
                let (account, account_name) = (account.id, account.name.clone());
                homes.push(Home { begin, end, account, account_name, database: database.name.clone() });
            }
        }
    }
    Ok(homes)
}
