//! What keeps contents: the one place that says it. The collector deletes by it, and whoever asks why a file is kept is told
//! by it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::catalog::{Change, Content, ObjectKind};
use crate::db::Database;
use crate::error::Result;
use crate::ids::{AccountId, DatabaseId, Digest, TableId, Time, Version};
use crate::log::{Metastore, Pin, Scope};
use crate::schema::same_name;
use crate::store::Copied;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeeperKind {
    /// The present or a window: it moves on with time.
    Passing,
    /// A snapshot: nothing changes about it while there are no others.
    Pinned,
    /// A moment that is open. It holds of its version what is still there, and that may be one table alone.
    Open,
}

/// Everything that keeps contents, as it was at one instant.
pub(super) struct Keepers {
    head: Version,
    /// The version that was the newest when the default window began.
    window_from: Version,
    /// All later entries of the log stay as they are.
    pub log_from: Version,
    policies: Vec<Policy>,
    pins: Vec<Pin>,
    opened: BTreeMap<Version, Arc<str>>,
    copies: Vec<(Version, Arc<Copied>)>,
    /// Names the snapshots and policies that there are.
    pub terms: Digest,
}

struct Policy {
    account: AccountId,
    scope: Scope,
    /// The version that was the newest when its window began.
    from: Version,
    why: Arc<str>,
}

impl Database {
    /// Returns every content that there ever was, with all that keeps it.
    pub fn contents(&self) -> Result<Vec<Held>> {
        let mut contents = Vec::new();
        Keepers::of(self)?.each(self, |held| contents.push(held))?;
        Ok(contents)
    }
}

impl Keepers {
    /// Asks for everything that keeps anything.
    ///
    /// What this does not find may go, however long it takes until it does. For all of it is asked while nobody stands
    /// between what an address means and the hold on that (`Store::addressing`): whatever anybody reads at this instant is
    /// held, and found here. What somebody comes to read afterwards is one of these:
    /// - an address that is read afterwards, by a snapshot or policy that is there now, so it is found; or within a window,
    ///   and no window begins earlier later on, as long as the clock does not go back (see `Database::collect`), for a new
    ///   policy reaches back no further than what was kept before it;
    /// - what is made afterwards, a snapshot or a commit, of a moment that is open meanwhile: one that is open now is found,
    ///   and of one that is opened later the same holds again;
    /// - a newest moment: what stands at `head`, which is read first, or later. It stands now, or ends after `head` and so
    ///   inside every window.
    pub fn of(database: &Database) -> Result<Keepers> {
        let store = &database.0.store;
        let (head, now, opened, copies, oldest_read, pins, policies) = {
            let _alone = store.addressing.write();
            let head = store.head.load().version;
            let opened = store.opens.versions().into_iter().chain(store.transactions.versions());
            let opened: Vec<Version> = opened.collect();
            let oldest_read = store.transactions.oldest(head);
            let (pins, policies) = (store.metastore.pins()?, when::pitrs(store)?);
            (head, store.env.now(), opened, store.opens.copies(), oldest_read, pins, policies)
        };
        let ids: Vec<_> = pins.iter().map(|pin| pin.id.0).collect();
        let terms = Digest::of(serde_json::to_string(&(ids, &policies))?.as_bytes());
        // Whoever was told just now since when everything can be recovered has time to ask for it.
        let from = |start: Time| -> Result<Version> {
            let start = start.plus_micros(-database.options().grace_micros);
            Ok(store.metastore.newest_at(start)?.map_or(Version(0), |entry| entry.version).min(head))
        };
        let window_from = from(now.plus_micros(-database.window().0))?;
        let policies = policies.into_iter().map(|policy| {
            let (from, why) = (from(policy.start(now))?, format!("PITR '{}'", policy.name).into());
            Ok(Policy { account: policy.account, scope: policy.scope, from, why })
        });
        Ok(Keepers {
            head,
            window_from,
            // What a load is checked against at its end begins where it began.
            log_from: window_from.min(oldest_read),
            policies: policies.collect::<Result<_>>()?,
            pins,
            opened: opened.into_iter().map(|version| (version, why_open(version))).collect(),
            copies,
            terms,
        })
    }

    /// Visits every content that there ever was, oldest first of each table, and those of copies.
    pub fn each(&self, database: &Database, mut visit: impl FnMut(Held)) -> Result<()> {
        let metastore = &**database.metastore();
        let mut homes = HashMap::new();
        for id in metastore.ids(ObjectKind::Content)? {
            let table = TableId(id);
            let of_table = self.of_table(table, names(metastore, &mut homes, table)?);
            for row in metastore.object(ObjectKind::Content, id)? {
                let Change::PutContent(_, content) = row.object else { continue };
                let keepers = of_table.of_content(row.begin, row.end);
                visit(Held { table, begin: row.begin, end: row.end, content, is_copy: false, keepers });
            }
        }
        let copy = |version: Version, (table, content): &(TableId, Content), why: &Arc<str>, kind| Held {
            table: *table,
            begin: version,
            end: version.next(),
            content: Arc::new(content.clone()),
            is_copy: true,
            keepers: vec![Keeper { why: why.clone(), upto: version, kind }],
        };
        for pin in &self.pins {
            let why: Arc<str> = format!("the copy of snapshot '{}'", pin.name).into();
            for copied in pin.terms.copy.iter().flatten() {
                visit(copy(pin.version, copied, &why, KeeperKind::Pinned));
            }
        }
        for (version, copies) in &self.copies {
            let why = why_open(*version);
            copies.iter().for_each(|copied| visit(copy(*version, copied, &why, KeeperKind::Open)));
        }
        Ok(())
    }

    fn of_table(&self, table: TableId, names: Vec<Name>) -> KeepersOfTable<'_> {
        let name = names.last().map(|name| format!("{}.{}", name.home.database, name.table));
        let name = name.unwrap_or_else(|| format!("table {table}"));
        KeepersOfTable {
            all: self,
            present: format!("the present of {name}").into(),
            window: format!("the recovery window of {name}").into(),
            names,
        }
    }
}

/// What keeps contents of one table.
struct KeepersOfTable<'a> {
    all: &'a Keepers,
    present: Arc<str>,
    window: Arc<str>,
    names: Vec<Name>,
}

impl KeepersOfTable<'_> {
    /// Returns what keeps the content that stood from `begin` until before `end`.
    fn of_content(&self, begin: Version, end: Version) -> Vec<Keeper> {
        let mut keepers = Vec::new();
        let mut keep = |why: Arc<str>, upto, kind| keepers.push(Keeper { why, upto, kind });
        if end == Version::MAX {
            keep(self.present.clone(), self.all.head.max(begin), KeeperKind::Passing);
        } else {
            let last = Version(end.0 - 1);
            if end > self.all.window_from {
                keep(self.window.clone(), last, KeeperKind::Passing);
            }
            for policy in &self.all.policies {
                if self.is_named(begin.max(policy.from), end, policy.account, &policy.scope) {
                    keep(policy.why.clone(), last, KeeperKind::Passing);
                }
            }
        }
        for (version, why) in self.all.opened.range(begin..end) {
            keep(why.clone(), *version, KeeperKind::Open);
        }
        for pin in &self.all.pins {
            let (stands, version) = (begin <= pin.version && pin.version < end, pin.version);
            // Of a compressed snapshot its copy is all that is kept.
            if stands && pin.terms.copy.is_none() && self.is_named(version, version.next(), pin.account, &pin.scope) {
                keep(format!("snapshot '{}'", pin.name).into(), version, KeeperKind::Pinned);
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
