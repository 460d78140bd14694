//! Transactions: the only place that writes rows and definitions.
//!
//! A transaction reads one moment and keeps its own writes apart, in the same structure that holds recent commits
//! ([`Overlay`]), numbered by statement, so that a statement or savepoint can be taken back. Commit turns the writes
//! into deltas and hands them to the [`sequencer`]. Snapshot isolation; first committer wins per row key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{filter_record_batch, take_record_batch};

use crate::catalog::{Catalog, Change, Content};
use crate::cold::{Drafts, Keys, encode_keys, encode_nullable_keys};
use crate::error::{Error, Kind, Result};
use crate::hot::overlay::{Counters, Overlay};
use crate::ids::{AccountId, ColumnId, PinId, TableId, Time, Version};
use crate::log::delta::Delta;
use crate::log::{Pin, Terms};
use crate::moment::Moment;
use crate::room::Room;
use crate::rows::{columns_of, key_batch, with_column};
use crate::scan::{Layers, OwnRows, Place, TableScan};
use crate::schema::Table;
use crate::store::Hold;
use crate::txn::duplicates::{COLLISIONS_TOLD_MAX, Duplicates};
use crate::txn::footprint::Footprint;
use crate::txn::sequencer::{Committed, Refused};

pub mod bulk;
mod define;
mod duplicates;
pub mod footprint;
mod foreign;
mod prepare;
pub mod sequencer;

pub use define::Ids;
pub use duplicates::Standing;

/// Who commits.
#[derive(Clone, Debug)]
pub struct Author {
    pub account: AccountId,
    /// `user@host`, or `system`.
    pub name: String,
}

/// What happens to a row whose primary or unique key is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDuplicate {
    /// The statement fails with MySQL's "Duplicate entry".
    Error,
    /// The new row is left out.
    Ignore,
    /// The old rows go.
    Replace,
}

/// How a transaction holds on to rows that it read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lock {
    /// Others may hold on to them too.
    Shared,
    /// Of those who hold on to them, only the first to commit may.
    Exclusive,
}

/// What an insert did, in rows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inserted {
    pub inserted: u64,
    pub replaced: u64,
    /// Of the replaced rows, those whose place an equal row took, where nothing but their key could tell.
    pub unchanged: u64,
    pub ignored: u64,
    /// What the first of the ignored rows ran into, in MySQL's words.
    pub collisions: Vec<String>,
}

/// A transaction. Dropping it takes everything back.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Txn {
    sequencer: Arc<sequencer::Sequencer>,
    ids: Arc<Ids>,
    moment: Moment,
    /// Keeps the memory of who wrote what since.
    read: Arc<Hold>,
    author: Author,
    what: Option<String>,
    catalog: Arc<Catalog>,
    changes: Vec<Change>,
    rows: BTreeMap<TableId, OwnTable>,
    /// Where `rows` and `shelved` are counted, if anywhere.
    room: Option<Box<dyn Room>>,
    /// The number of the statement that runs.
    statement: Version,
    footprint: Footprint,
    /// Rows that it read so that nobody may change them before it commits. Going back to a savepoint keeps them: what
    /// was read is known.
    locks: Footprint,
    pins: Vec<Pin>,
    /// Files written for this transaction, not yet reachable by anyone else.
    files: Drafts,
    foreign_key_checks: bool,
    upkeep: bool,
    expects: Vec<(TableId, Arc<Content>)>,
    /// The past that its contents show: it is held until they are committed.
    sources: Vec<Moment>,
    /// Rows written without passing through the log, per table: for the list of commits.
    counted: HashMap<TableId, (u64, u64)>,
    /// The counters of tables that the transaction gave their content.
    counters: HashMap<TableId, Arc<Counters>>,
    /// Rows that were written before the transaction emptied or dropped their table, with the statement that did: going
    /// back to a savepoint brings them back.
    shelved: Vec<(Version, OwnTable)>,
}

/// The rows that a transaction wrote in one table.
struct OwnTable {
    table: Arc<Table>,
    rows: OwnRows,
}

/// A point within a transaction to go back to.
#[derive(Clone)]
pub struct Savepoint {
    statement: Version,
    changes: usize,
    catalog: Arc<Catalog>,
    writes: usize,
    leans: usize,
    overrules: usize,
    keeps: usize,
    pins: usize,
    expects: usize,
    files: usize,
    counted: HashMap<TableId, (u64, u64)>,
    counters: HashMap<TableId, Arc<Counters>>,
}

/// How often, and how long each time, a commit waits for memory.
const ROOM_TRIES: usize = 100;
const ROOM_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// How often a large load tries to get its turn among small commits.
const LOAD_TRIES: usize = 20;

impl Txn {
    pub(crate) fn new(sequencer: Arc<sequencer::Sequencer>, ids: Arc<Ids>, moment: Moment, author: Author) -> Txn {
        let catalog = moment.catalog().clone();
        let read = Arc::new(moment.store().transactions.hold(moment.version()));
        let files = moment.store().cold.files().drafts();
        Txn {
            sequencer,
            ids,
            moment,
            read,
            author,
            what: None,
            catalog,
            changes: Vec::new(),
            rows: BTreeMap::new(),
            room: None,
            statement: Version(1),
            footprint: Footprint::default(),
            locks: Footprint::default(),
            pins: Vec::new(),
            files,
            foreign_key_checks: true,
            upkeep: false,
            expects: Vec::new(),
            sources: Vec::new(),
            counted: HashMap::new(),
            counters: HashMap::new(),
            shelved: Vec::new(),
        }
    }

    /// Returns what it reads, without its own writes.
    pub fn moment(&self) -> &Moment {
        &self.moment
    }

    /// Returns what exists, with its own definitions.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    pub fn author(&self) -> &Author {
        &self.author
    }

    /// Returns the tables whose rows it changed.
    pub fn written_tables(&self) -> impl Iterator<Item = TableId> {
        self.rows.keys().copied()
    }

    /// Returns the snapshots that it takes with its commit: what they mean is not known before.
    pub fn snapshots(&self) -> &[Pin] {
        &self.pins
    }

    /// Tells whether it has written nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.pins.is_empty()
            && self.rows.values().all(|own| own.rows.overlay.is_empty() && own.rows.parts.is_empty())
    }

    /// Says what the commit does, for the list of commits. The first text stands; later ones are added.
    pub fn set_what(&mut self, what: impl Into<String>) {
        let what = what.into();
        match &mut self.what {
            None => self.what = Some(what),
            Some(text) if text.len() + what.len() < 200 && !text.ends_with(&what) => {
                text.push_str("; ");
                text.push_str(&what);
            }
            Some(_) => {}
        }
    }

    /// Turns the checks of foreign keys off or on, as MySQL's `foreign_key_checks`.
    pub fn set_foreign_key_checks(&mut self, on: bool) {
        self.foreign_key_checks = on;
    }

    /// Counts the rows that it writes from here on in `room`: a statement fails with its error where there is too little.
    pub fn set_room(&mut self, room: impl Room + 'static) {
        self.room = Some(Box::new(room));
    }

    /// Counts the rows that it holds in memory.
    fn take_room(&mut self) -> Result<()> {
        let Some(room) = &mut self.room else { return Ok(()) };
        let all = self.rows.values().chain(self.shelved.iter().map(|(_, own)| own));
        room.resize(all.map(|own| own.rows.overlay.size().1).sum())
    }

    /// Marks the transaction as upkeep: it changes nothing that anyone can see.
    pub(crate) fn set_upkeep(&mut self) {
        self.upkeep = true;
    }

    /// Counts rows that were written or deleted without passing through the log, for the list of commits.
    pub(crate) fn count(&mut self, table: Option<TableId>, puts: u64, deletes: u64) {
        if let Some(table) = table {
            let counted = self.counted.entry(table).or_default();
            *counted = (counted.0 + puts, counted.1 + deletes);
        }
    }

    /// Holds a moment of which the transaction commits a content.
    pub(crate) fn draw_on(&mut self, moment: &Moment) {
        self.sources.push(moment.clone());
    }

    /// Adds files that the commit makes reachable.
    pub(crate) fn add_files(&mut self, files: Drafts) {
        self.files.append(files);
    }

    /// Returns a point to go back to. What is written from here on can be taken back by `rollback_to`.
    pub fn savepoint(&mut self) -> Savepoint {
        let savepoint = Savepoint {
            statement: self.statement,
            changes: self.changes.len(),
            catalog: self.catalog.clone(),
            writes: self.footprint.writes.len(),
            leans: self.footprint.leans.len(),
            overrules: self.footprint.overrules.len(),
            keeps: self.footprint.keeps.len(),
            pins: self.pins.len(),
            expects: self.expects.len(),
            files: self.files.count(),
            counted: self.counted.clone(),
            counters: self.counters.clone(),
        };
        self.statement = self.statement.next();
        savepoint
    }

    /// Takes back everything since the savepoint. The savepoint stays valid.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.changes.truncate(savepoint.changes);
        self.catalog = savepoint.catalog.clone();
        self.footprint.writes.truncate(savepoint.writes);
        self.footprint.leans.truncate(savepoint.leans);
        self.footprint.overrules.truncate(savepoint.overrules);
        self.footprint.keeps.truncate(savepoint.keeps);
        self.pins.truncate(savepoint.pins);
        self.expects.truncate(savepoint.expects);
        self.counted.clone_from(&savepoint.counted);
        self.counters.clone_from(&savepoint.counters);
        while self.shelved.last().is_some_and(|(statement, _)| *statement > savepoint.statement) {
            let (_, own) = self.shelved.pop().expect("there is a last one");
            self.rows.insert(own.table.id, own);
        }
        for own in self.rows.values_mut() {
            own.rows.overlay.rollback_to(savepoint.statement);
            own.rows.parts.retain(|part| part.statement <= savepoint.statement);
        }
        drop(self.files.split_off(savepoint.files));
        self.statement = savepoint.statement.next();
        // It holds no more than before: there is room for that.
        let _ = self.take_room();
    }

    /// Returns all rows of a table that this transaction sees.
    pub async fn scan(&self, table: &Arc<Table>) -> Result<TableScan> {
        self.layers(table).await?.scan().await
    }

    /// As `scan`; rows in memory show the commit that wrote them, in a last column `_version`.
    pub async fn scan_with_versions(&self, table: &Arc<Table>) -> Result<TableScan> {
        self.layers(table).await?.scan_with_versions().await
    }

    /// Returns the rows that this transaction sees and that have one of these keys, and no others.
    pub async fn scan_keys(&self, table: &Arc<Table>, keys: &Keys) -> Result<TableScan> {
        self.layers(table).await?.scan_keys(keys).await
    }

    /// Returns the row with this key, as a batch of one.
    pub async fn get(&self, table: &Arc<Table>, key: &[u8]) -> Result<Option<RecordBatch>> {
        let layers = self.layers(table).await?;
        let mut keys = Keys::new();
        keys.push(key)?;
        match layers.find(&keys).await?.as_slice() {
            [Some(place)] => layers.fetch(&[*place]).await.map(Some),
            _ => Ok(None),
        }
    }

    /// As `get`, if no I/O is needed and the transaction wrote nothing into the table: `None` means "call `get`".
    pub fn try_get(&self, table: &Arc<Table>, key: &[u8]) -> Option<Result<Option<RecordBatch>>> {
        let untouched = !self.rows.contains_key(&table.id) && self.changes.is_empty();
        if untouched { self.moment.try_get(table, key) } else { None }
    }

    pub(crate) async fn layers(&self, table: &Arc<Table>) -> Result<Layers<'_>> {
        let own = self.rows.get(&table.id).map(|own| &own.rows);
        self.moment.layers(table, &self.catalog, own).await
    }

    /// Inserts rows: `table.physical_schema()` without `_row_id`, values converted, NULLs checked by the caller.
    pub async fn insert(
        &mut self,
        table: &Arc<Table>,
        rows: &RecordBatch,
        on_duplicate: OnDuplicate,
    ) -> Result<Inserted> {
        if table.has_row_id() {
            let rows = self.with_row_ids(table, rows).await?;
            return self.insert_with_row_ids(table, &rows, on_duplicate).await;
        }
        self.insert_with_row_ids(table, rows, on_duplicate).await
    }

    /// As `insert`, for rows that have their `_row_id`: old rows that come back as themselves.
    pub(crate) async fn insert_with_row_ids(
        &mut self,
        table: &Arc<Table>,
        rows: &RecordBatch,
        on_duplicate: OnDuplicate,
    ) -> Result<Inserted> {
        let mut rows = rows.clone();
        if rows.num_rows() == 0 {
            return Ok(Inserted::default());
        }
        let taken = self.find_duplicates(table, &rows, None).await?;
        let mut outcome = Inserted { inserted: rows.num_rows() as u64, ..Inserted::default() };
        if !taken.is_empty() {
            match on_duplicate {
                OnDuplicate::Error => return Err(taken.error(table, &rows)),
                OnDuplicate::Ignore => {
                    // A row loses to one that stands, and to an earlier one of its own batch.
                    let keep = taken.stand(rows.num_rows());
                    outcome.collisions = taken.told(table, &rows, &keep, COLLISIONS_TOLD_MAX);
                    let kept = keep.iter().filter(|keep| **keep).count() as u64;
                    (outcome.inserted, outcome.ignored) = (kept, outcome.inserted - kept);
                    rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
                }
                OnDuplicate::Replace => {
                    outcome.unchanged = self.unchanged(table, &rows, &taken).await?;
                    let keep: Vec<bool> = (0..rows.num_rows()).map(|row| !taken.is_replaced_within(row)).collect();
                    let within = keep.iter().filter(|keep| !**keep).count() as u64;
                    rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
                    outcome.replaced = self.remove_replaced(table, &taken).await? + within;
                }
            }
        }
        self.write(table, rows.clone(), RecordBatch::new_empty(table.key_schema()))?;
        self.lean_on_parents(table, &rows).await?;
        Ok(outcome)
    }

    /// Deletes the rows that stand in the way of others. Returns how many.
    async fn remove_replaced(&mut self, table: &Arc<Table>, taken: &Duplicates) -> Result<u64> {
        let old = self.layers(table).await?.fetch(&taken.places()).await?;
        let deletes = key_batch(&old, table)?;
        self.write(table, RecordBatch::new_empty(table.physical_schema()), deletes)?;
        // Before the new rows are written: REPLACE deletes first, and a child is not to lose its parent for an instant.
        self.check_children(table, &old).await?;
        Ok(old.num_rows() as u64)
    }

    /// Replaces rows: `old` holds their keys (`table.key_schema()`), `new` the whole rows that take their place
    /// (`table.physical_schema()`), row by row. A key that comes twice counts once. Returns how many rows.
    pub async fn update(&mut self, table: &Arc<Table>, old: &RecordBatch, new: &RecordBatch) -> Result<u64> {
        let (old, new) = self.distinct(old, Some(new))?;
        let new = new.expect("new rows were given");
        if old.num_rows() == 0 {
            return Ok(0);
        }
        let old_keys = encode_keys(old.columns())?;
        let leaving: HashSet<&[u8]> = old_keys.iter().collect();
        let taken = self.find_duplicates(table, &new, Some(&leaving)).await?;
        if !taken.is_empty() {
            return Err(taken.error(table, &new));
        }
        let old_rows = self.rows_for_checks(table, &old_keys).await?;
        self.write(table, new.clone(), old.clone())?;
        self.lean_on_parents(table, &new).await?;
        if let Some(old_rows) = old_rows {
            self.check_children(table, &old_rows).await?;
        }
        Ok(old.num_rows() as u64)
    }

    /// Deletes the rows with these keys (`table.key_schema()`). A key that comes twice counts once. Returns how many.
    pub async fn delete(&mut self, table: &Arc<Table>, keys: &RecordBatch) -> Result<u64> {
        let (keys, _) = self.distinct(keys, None)?;
        if keys.num_rows() == 0 {
            return Ok(0);
        }
        let old_rows = self.rows_for_checks(table, &encode_keys(keys.columns())?).await?;
        self.write(table, RecordBatch::new_empty(table.physical_schema()), keys.clone())?;
        if let Some(old_rows) = old_rows {
            self.check_children(table, &old_rows).await?;
        }
        Ok(keys.num_rows() as u64)
    }

    /// Holds on to the rows with these keys (`table.key_schema()`), as they are at the transaction's moment: it commits
    /// only if nobody changes them before. Nobody waits. A transaction that writes nothing holds nobody up.
    pub fn lock(&mut self, table: &Arc<Table>, keys: &RecordBatch, how: Lock) -> Result<()> {
        let columns = table.key_columns();
        let held = match how {
            Lock::Shared => &mut self.locks.leans,
            Lock::Exclusive => &mut self.locks.writes,
        };
        held.extend(encode_keys(keys.columns())?.iter().map(|key| footprint::row(table.id, &columns, key)));
        self.locks.leans.push(footprint::table(table.id));
        Ok(())
    }

    /// Reserves `count` AUTO_INCREMENT values and returns the first. Values of a transaction that is taken back are
    /// lost, as in MySQL.
    pub async fn next_auto(&mut self, table: &Arc<Table>, count: u64) -> Result<u64> {
        let counters = self.counters(table)?;
        let next = |first: u64| first.checked_add(count);
        let used_up = |_| Error::invalid(format!("AUTO_INCREMENT of table '{}' is used up.", table.name));
        counters.next_auto.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_err(used_up)
    }

    /// Moves the AUTO_INCREMENT counter past a value that was given.
    pub async fn saw_auto(&mut self, table: &Arc<Table>, value: u64) -> Result<()> {
        self.counters(table)?.next_auto.fetch_max(value.saturating_add(1), Ordering::Relaxed);
        Ok(())
    }

    /// Moves the AUTO_INCREMENT counter up to `next` by a definition: the commit keeps it, also without a row. It never
    /// moves down.
    pub fn raise_auto(&mut self, table: &Arc<Table>, next: u64) -> Result<()> {
        let counters = self.counters(table)?;
        counters.next_auto.fetch_max(next, Ordering::Relaxed);
        let content = self.catalog.content(table.id).cloned();
        let content = content.ok_or_else(|| Error::internal(format!("Table '{}' has no content.", table.name)))?;
        let next_auto = counters.next_auto.load(Ordering::Relaxed).max(content.next_auto);
        let next_row_id = counters.next_row_id.load(Ordering::Relaxed).max(content.next_row_id);
        let raised = Content { next_auto, next_row_id, ..content.as_ref().clone() };
        match self.counters.contains_key(&table.id) {
            // The content is the transaction's own.
            true => self.put_raised(table.id, raised),
            false => self.replace_content(table.id, &content, raised),
        }
        Ok(())
    }

    /// Returns the next AUTO_INCREMENT value without reserving it.
    pub fn peek_auto(&self, table: &Arc<Table>) -> Result<u64> {
        Ok(self.counters(table)?.next_auto.load(Ordering::Relaxed))
    }

    /// Returns a table's counters: the store's newest, whatever moment is read, or the transaction's own where it gave
    /// the table its content.
    fn counters(&self, table: &Arc<Table>) -> Result<Arc<Counters>> {
        if let Some(own) = self.counters.get(&table.id) {
            return Ok(own.clone());
        }
        let store = self.moment.store();
        let head = store.head.load();
        let (content, version) = match head.catalog.content(table.id) {
            Some(content) => (content, head.version),
            // Dropped since: the commit will conflict.
            None => {
                let content = self.catalog.content(table.id);
                let missing = || Error::internal(format!("Table '{}' has no content.", table.name));
                (content.ok_or_else(missing)?, self.moment.version())
            }
        };
        Ok(store.hot.overlay(table, content, version)?.counters().clone())
    }

    /// Commits. On `Conflict` nothing was applied. A transaction that wrote nothing commits nothing.
    pub async fn commit(mut self) -> Result<Committed> {
        if self.is_empty() {
            return Ok(Committed { version: self.moment.version(), time: self.moment.time() });
        }
        if !self.upkeep {
            self.wait_for_room().await;
        }
        let has_loads = self.rows.values().any(|own| !own.rows.parts.is_empty());
        let mut tries = if has_loads { LOAD_TRIES } else { 1 };
        let own_files = self.files.count();
        loop {
            let prepared = self.prepare().await?;
            fail::fail_point!("commit::prepared", crate::error::failing);
            tries -= 1;
            let refused = match self.sequencer.commit(prepared).await {
                Ok(committed) => return Ok(committed),
                Err(refused) => refused,
            };
            // A flush moved the content under a load, or somebody wrote between its check and its turn: lay the parts on
            // the new content and check again. A true conflict shows itself there.
            match refused.files {
                Some(files) if refused.error.kind() == Kind::Conflict && tries > 0 => self.files = files,
                _ => return Err(refused.error),
            }
            // What was written for this try alone can go.
            drop(self.files.split_off(own_files));
        }
    }

    /// Commits, and gives the files back with a refusal, those that were added first at first.
    pub(crate) async fn commit_once(mut self) -> Result<Committed, Refused> {
        let prepared = self.prepare().await.map_err(|error| Refused { error, files: None })?;
        self.sequencer.commit(prepared).await
    }

    /// Puts aside what the transaction wrote into a table, as the running statement empties or drops it.
    fn shelve(&mut self, table: TableId) {
        if let Some(own) = self.rows.remove(&table) {
            self.shelved.push((self.statement, own));
        }
    }

    /// Waits while recent rows take far more memory than they should: a flush is under way, and the writers are faster.
    /// Not for long: where nothing can be flushed, it is for the commit to find out why.
    async fn wait_for_room(&self) {
        let store = self.moment.store();
        for _ in 0..ROOM_TRIES {
            if store.hot.bytes() <= store.room_bytes || store.flush_fails.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(ROOM_PAUSE).await;
            store.hot.sizes();
        }
    }

    /// Lays rows and deleted keys over what the transaction has, as part of the running statement.
    fn write(&mut self, table: &Arc<Table>, puts: RecordBatch, deletes: RecordBatch) -> Result<()> {
        for index in table.indexes.iter().filter(|index| index.unique) {
            let values = encode_nullable_keys(&columns_of(&puts, &index.columns)?)?;
            for value in values.iter().flatten() {
                self.footprint.writes.push(footprint::row(table.id, &index.columns, value));
            }
        }
        let statement = self.statement;
        self.own(table).overlay.write(statement, &Delta { puts, deletes, next_row_id: 0, next_auto: 0 })?;
        self.take_room()
    }

    fn own(&mut self, table: &Arc<Table>) -> &mut OwnRows {
        let own = self.rows.entry(table.id).or_insert_with(|| {
            let key = table.key_columns().iter().map(|id| id.physical_name()).collect();
            let overlay = Overlay::new(key, Version::default(), Arc::new(Counters::new(1, 1)));
            OwnTable { table: table.clone(), rows: OwnRows { overlay, parts: Vec::new() } }
        });
        &mut own.rows
    }

    async fn with_row_ids(&mut self, table: &Arc<Table>, rows: &RecordBatch) -> Result<RecordBatch> {
        let count = rows.num_rows() as u64;
        let first = self.counters(table)?.next_row_id.fetch_add(count, Ordering::Relaxed);
        let ids = UInt64Array::from_iter_values(first..first + count);
        with_column(rows, ColumnId::ROW_ID, Arc::new(ids))
    }

    /// Returns whole rows where the checks to come need their old values: `None` where nothing refers to them.
    async fn rows_for_checks(&mut self, table: &Arc<Table>, keys: &Keys) -> Result<Option<RecordBatch>> {
        let unique: Vec<Vec<ColumnId>> =
            table.indexes.iter().filter(|index| index.unique).map(|index| index.columns.clone()).collect();
        if unique.is_empty() && !self.is_parent(table) {
            return Ok(None);
        }
        let layers = self.layers(table).await?;
        let places: Vec<Place> = layers.find(keys).await?.into_iter().flatten().collect();
        let rows = layers.fetch(&places).await?;
        for columns in unique {
            for value in encode_nullable_keys(&columns_of(&rows, &columns)?)?.iter().flatten() {
                self.footprint.writes.push(footprint::row(table.id, &columns, value));
            }
        }
        Ok(Some(rows))
    }

    /// Leaves out rows whose key came before.
    fn distinct(&self, keys: &RecordBatch, rows: Option<&RecordBatch>) -> Result<(RecordBatch, Option<RecordBatch>)> {
        let encoded = encode_keys(keys.columns())?;
        let mut seen = HashSet::with_capacity(encoded.len());
        let first: Vec<u32> =
            (0..encoded.len()).filter(|at| seen.insert(encoded.get(*at))).map(|at| at as u32).collect();
        if first.len() == encoded.len() {
            return Ok((keys.clone(), rows.cloned()));
        }
        let first = arrow::array::UInt32Array::from(first);
        let rows = rows.map(|rows| take_record_batch(rows, &first)).transpose()?;
        Ok((take_record_batch(keys, &first)?, rows))
    }
}

/// Returns a pin for the transaction's own commit; the sequencer fills in version and times.
fn pin_of_commit(name: &str, account: AccountId, scope: crate::log::Scope, author: &str) -> Pin {
    Pin {
        id: PinId(0),
        name: name.to_owned(),
        account,
        scope,
        version: Version(0),
        created: Time(0),
        version_time: Time(0),
        author: author.to_owned(),
        comment: String::new(),
        columns: Vec::new(),
        terms: Terms::default(),
    }
}
