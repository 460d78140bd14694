//! What all rigs share: a fixed script that makes a small store with one of each kind of everything, and a way to write
//! down what a store shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use strandline_core::db::{Database, Options, SYS};
use strandline_core::env::Env;
use strandline_core::error::{Kind, Result};
use strandline_core::grants::{Grants, Privileges};
use strandline_core::history::pitr::PitrSpec;
use strandline_core::history::restore::RestoreRequest;
use strandline_core::history::retention::Keep;
use strandline_core::history::schedule::{Rhythm, ScheduleSpec};
use strandline_core::history::snapshot::{SnapshotSpec, Term, TermUnit};
use strandline_core::ids::{ColumnId, DatabaseId, TableId, Time, UserId, Version};
use strandline_core::log::Scope;
use strandline_core::moment::Moment;
use strandline_core::schema::{Column, Index, Table, Type, User};
use strandline_core::txn::bulk::BulkLoad;
use strandline_core::txn::{Author, OnDuplicate, Txn};
use strandline_core::when::{Limit, RangeUnit, When};

/// When the script begins: 2026-01-01.
pub const START: Time = Time(1_767_225_600_000_000);
/// Longer than the recovery window.
pub const BEYOND_THE_WINDOW: i64 = 30 * 3600 * 1_000_000;
/// Longer than the collector's grace.
pub const GRACE: i64 = 11 * 60 * 1_000_000;

/// One step of the script.
pub struct Step {
    pub name: &'static str,
    /// By how much the clock moves before it, in microseconds.
    pub after: i64,
    pub run: fn(&Database) -> BoxFuture<'_, Result<()>>,
}

macro_rules! step {
    ($name:literal, $run:ident) => {
        step!($name, $run, after 1_000_000)
    };
    ($name:literal, $run:ident, after $micros:expr) => {
        Step { name: $name, after: $micros, run: |db| Box::pin($run(db)) }
    };
}

/// The script. Every step may be run again after it has failed.
pub const SCRIPT: &[Step] = &[
    step!("create tables", create_tables),
    step!("first rows", first_rows),
    step!("flush", flush),
    step!("snapshot of what will be dropped", snapshot_old),
    step!("drop tables", drop_tables),
    step!("create a table later", create_later, after BEYOND_THE_WINDOW),
    step!("collect", collect),
    step!("insert and replace", insert_and_replace),
    step!("delete, and rows without a key", delete_and_keyless),
    step!("load in bulk", load),
    step!("every type", every_type),
    step!("the log ages", age),
    step!("flush again", flush),
    step!("delete from parts", delete_from_parts),
    step!("flush deletion vectors", flush),
    step!("snapshot", snapshot),
    step!("rows that stay in the log", into_the_log),
    step!("compressed snapshot", compressed),
    step!("restore", restore),
    step!("user", user),
    step!("recovery window", pitr),
    step!("retention rules", retention),
    step!("schedule", schedule),
    step!("clone", clone),
    step!("change a definition", alter),
    step!("write into the clone", into_the_clone),
    step!("the log ages again", age),
    step!("rows of which the metastore holds the delta", not_aged),
    step!("newest rows", newest_rows),
    step!("drop a snapshot", drop_snapshot),
    step!("move the write-ahead log into place", tidy),
];

/// A store in a folder, with its own world around it.
pub struct Store {
    pub folder: PathBuf,
    pub env: Env,
}

impl Store {
    /// Takes the folder of a store at a time. No two stores made from one another may share a `seed`.
    pub fn at(folder: &Path, time: Time, seed: u64) -> Store {
        Store { folder: folder.to_owned(), env: Env::fixed(time, seed << 32) }
    }

    pub fn options(&self) -> Options {
        Options { env: self.env.clone(), load_rows: 8, cache_bytes: 8 << 20, ..Options::default() }
    }

    pub async fn open(&self) -> Result<Database> {
        Database::open(&self.folder, self.options()).await
    }
}

/// Returns a folder that goes with the test: in memory where the system has such a place.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory).ok() } else { None };
    made.unwrap_or_else(|| tempfile::tempdir().expect("there is room for temporary files"))
}

/// Runs something to its end on a runtime of its own, and waits for all that it has begun.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// Copies a store's folder as a kill would leave it.
pub fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            copy_store(&entry.path(), &to.join(name));
        } else if name != "LOCK" && name != "metastore.db-shm" {
            std::fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// What is shown under a name: the rows of a table at some moment, or anything else, one line each.
pub type Picture = BTreeMap<String, Vec<String>>;

/// What is shown, or why it is not.
pub type Answers = BTreeMap<String, Result<Vec<String>>>;

/// Returns everything that the present shows, and every snapshot; snapshots and their rows under their own names.
pub async fn present(db: &Database) -> Result<Picture> {
    let mut all = Answers::new();
    read_moment(db, "now", &db.now(), &mut all).await;
    read_names(db, &mut all).await;
    all.into_iter().map(|(name, answer)| Ok((name, answer?))).collect()
}

/// Reads every table of a moment, each for itself.
pub async fn read_moment(db: &Database, prefix: &str, moment: &Moment, all: &mut Answers) {
    read_tables(db, prefix, moment, None, all).await;
}

/// As `read_moment`, of what may be read there.
pub async fn read_tables(db: &Database, prefix: &str, moment: &Moment, limit: Option<&Limit>, all: &mut Answers) {
    for database in moment.catalog().databases_of(SYS) {
        for table in moment.catalog().tables_of(database.id) {
            if limit.is_none_or(|limit| limit.admits_table("sys", &database.name, &table.name).is_ok()) {
                let name = format!("{prefix} {}.{}", database.name, table.name);
                all.insert(name, rows_of(db, moment, &table).await);
            }
        }
    }
}

/// Reads those versions that are in the window, under `version N`.
pub async fn read_versions(db: &Database, versions: impl IntoIterator<Item = u64>, all: &mut Answers) {
    for version in versions {
        let then = db.resolve(&When::Version(Version(version)), SYS);
        match then.and_then(|then| Ok((db.moment(&then)?, then.limit))) {
            Ok((moment, limit)) => read_tables(db, &format!("version {version}"), &moment, limit.as_ref(), all).await,
            Err(error) if error.kind() == Kind::OutOfWindow => {}
            Err(error) => {
                all.insert(format!("version {version}"), Err(error));
            }
        }
    }
}

/// Reads what stands beside the rows: snapshots with what they hold, users, policies.
pub async fn read_names(db: &Database, all: &mut Answers) {
    match db.snapshots(SYS) {
        Ok(pins) => {
            for pin in pins {
                let name = format!("snapshot {}", pin.name);
                let then = db.resolve(&When::Snapshot(pin.name.clone()), SYS).and_then(|then| {
                    let moment = db.moment(&then)?;
                    Ok((then, moment))
                });
                match then {
                    Ok((then, moment)) => {
                        read_tables(db, &name, &moment, then.limit.as_ref(), all).await;
                        all.insert(name, Ok(vec![pin.scope.to_string(), pin.comment]));
                    }
                    Err(error) => {
                        all.insert(name, Err(error));
                    }
                }
            }
        }
        Err(error) => {
            all.insert("snapshots".to_owned(), Err(error));
        }
    }
    for user in db.catalog().users() {
        let said = format!("{:?} {:?}", user.verifiers, user.grants);
        all.insert(format!("user {}", user.name), Ok(vec![said]));
    }
    let pitrs = db.pitrs(SYS).map(|pitrs| {
        pitrs.iter().map(|pitr| format!("{} {} {}{:?}", pitr.name, pitr.scope, pitr.length, pitr.unit)).collect()
    });
    all.insert("policies pitr".to_owned(), pitrs);
    let rules =
        db.retentions(SYS).map(|rules| rules.iter().map(|rule| format!("{} {}", rule.scope, rule.keep)).collect());
    all.insert("policies retention".to_owned(), rules);
    let schedules = db.schedules(SYS).map(|schedules| {
        let schedules = schedules.iter();
        schedules.map(|schedule| format!("{} {} {:?}", schedule.name, schedule.scope, schedule.rhythm)).collect()
    });
    all.insert("policies schedule".to_owned(), schedules);
}

/// Returns the rows that a table shows, each with the commit that wrote it, sorted.
async fn rows_of(db: &Database, moment: &Moment, table: &Arc<Table>) -> Result<Vec<String>> {
    if let Some(view) = &table.view {
        return Ok(vec![view.clone()]);
    }
    let scan = moment.scan_with_versions(table).await?;
    let mut batches = scan.rows.clone();
    for part in &scan.parts {
        let rows = db.cold().scan(table, &part.part, part.version, None, &part.excluded, true).await?;
        batches.extend(rows.try_collect::<Vec<_>>().await?);
    }
    let mut rows = Vec::new();
    for batch in &batches {
        for at in 0..batch.num_rows() {
            let mut text = String::new();
            for column in &table.columns {
                let values = batch.column_by_name(&column.id.physical_name()).expect("a scan shows every column");
                let value = if values.is_null(at) { "NULL".to_owned() } else { array_value_to_string(values, at)? };
                text += &format!("{}={value} ", column.name);
            }
            let version = batch.column_by_name(&ColumnId::VERSION.physical_name()).expect("it was asked for");
            rows.push(text + "@" + &array_value_to_string(version, at)?);
        }
    }
    rows.sort();
    let counted = scan.row_count();
    if counted != rows.len() as u64 {
        rows.push(format!("counted as {counted}"));
    }
    Ok(rows)
}

/// Leaves out which commit wrote each row: for runs whose numbers of commits differ.
pub fn without_versions(picture: &Picture) -> Picture {
    let bare = |row: &String| row.split('@').next().unwrap_or_default().to_owned();
    picture.iter().map(|(name, rows)| (name.clone(), rows.iter().map(bare).collect())).collect()
}

/// Returns the files of a store's rows that lie in its folder, by their path below it.
pub fn files_on_disk(folder: &Path) -> BTreeSet<String> {
    files_in(folder, &["parts", "deletes", "manifests"])
}

/// Returns the segments of the log that lie in a store's folder, by their path below it.
pub fn segments_on_disk(folder: &Path) -> BTreeSet<String> {
    files_in(folder, &["segments"])
}

fn files_in(folder: &Path, kinds: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for kind in kinds {
        let Ok(entries) = std::fs::read_dir(folder.join(kind)) else { continue };
        found.extend(entries.map(|entry| format!("{kind}/{}", entry.unwrap().file_name().to_string_lossy())));
    }
    found
}

pub fn author() -> Author {
    Author { account: SYS, name: "test@localhost".to_owned() }
}

fn column(number: u32, name: &str, ty: Type, nullable: bool) -> Column {
    Column {
        id: ColumnId(number),
        name: name.to_owned(),
        ty,
        nullable,
        declared: String::new(),
        default: None,
        initial: None,
        auto_increment: false,
        on_update: None,
        comment: String::new(),
    }
}

/// Returns a table with these columns, of which the first is the key if there is one.
pub fn definition(database: DatabaseId, name: &str, columns: &[(&str, Type)], keyed: bool) -> Table {
    let columns: Vec<Column> =
        (1..).zip(columns).map(|(number, (name, ty))| column(number, name, *ty, !(keyed && number == 1))).collect();
    Table {
        id: TableId(0),
        database,
        name: name.to_owned(),
        primary_key: if keyed { vec![ColumnId(1)] } else { Vec::new() },
        next_column: ColumnId(columns.len() as u32 + 1),
        columns,
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        view: None,
        comment: String::new(),
        options: BTreeMap::new(),
    }
}

pub const SHAPE: &[(&str, Type)] = &[("id", Type::Int32), ("v", Type::Int64), ("name", Type::Text)];

fn kinds() -> Vec<(&'static str, Type)> {
    vec![
        ("int32", Type::Int32),
        ("bool", Type::Bool),
        ("int8", Type::Int8),
        ("int16", Type::Int16),
        ("int64", Type::Int64),
        ("uint8", Type::UInt8),
        ("uint16", Type::UInt16),
        ("uint32", Type::UInt32),
        ("uint64", Type::UInt64),
        ("float32", Type::Float32),
        ("float64", Type::Float64),
        ("decimal", Type::Decimal(18, 2)),
        ("wide", Type::Decimal(38, 10)),
        ("text", Type::Text),
        ("bytes", Type::Bytes),
        ("date", Type::Date),
        ("duration", Type::Duration),
        ("datetime", Type::DateTime),
    ]
}

/// Returns numbers in a column's type.
fn values(ty: Type, numbers: &[Option<i64>]) -> ArrayRef {
    let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    let through = match ty {
        Type::Date => Some(DataType::Int32),
        Type::Bytes => Some(DataType::Utf8),
        _ => None,
    };
    let numbers = through.map_or(numbers.clone(), |through| cast(&numbers, &through).unwrap());
    cast(&numbers, &ty.arrow()).unwrap()
}

/// Returns rows `id`, `v`, and a name made from the id.
pub fn rows(table: &Table, pairs: &[(i64, Option<i64>)]) -> RecordBatch {
    let ids: Vec<Option<i64>> = pairs.iter().map(|(id, _)| Some(*id)).collect();
    let others: Vec<Option<i64>> = pairs.iter().map(|(_, v)| *v).collect();
    let schema = table.physical_schema();
    let of = |column: &Column| match column.name.as_str() {
        "id" => values(column.ty, &ids),
        "name" => values(column.ty, &ids.iter().map(|id| id.map(|id| id * 1001)).collect::<Vec<_>>()),
        _ => values(column.ty, &others),
    };
    let columns: Vec<ArrayRef> = table.columns.iter().map(of).collect();
    // The row id of a table without a key is given to the rows later.
    let fields: Vec<_> = schema.fields().iter().take(columns.len()).cloned().collect();
    RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).unwrap()
}

pub fn keys(table: &Table, ids: &[i64]) -> RecordBatch {
    let ids: Vec<Option<i64>> = ids.iter().copied().map(Some).collect();
    RecordBatch::try_new(table.key_schema(), vec![values(table.columns[0].ty, &ids)]).unwrap()
}

pub fn table_named(txn: &Txn, database: &str, name: &str) -> Result<Arc<Table>> {
    let database = txn.catalog().database(SYS, database)?.clone();
    Ok(txn.catalog().table(&database, name)?.clone())
}

pub fn in_d(name: &str) -> Scope {
    Scope::Tables("d".to_owned(), vec![name.to_owned()])
}

pub fn of_d() -> Scope {
    Scope::Database("d".to_owned())
}

async fn create_tables(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    txn.set_what("CREATE d");
    let d = txn.create_database(SYS, "d", "a comment")?.id;
    for name in ["t", "x", "y"] {
        txn.create_table(definition(d, name, SHAPE, true))?;
    }
    txn.create_table(definition(d, "u", SHAPE, false))?;
    let mut view = definition(d, "seen", &SHAPE[..1], false);
    view.view = Some("SELECT id FROM t".to_owned());
    txn.create_table(view)?;
    txn.commit().await.map(drop)
}

async fn first_rows(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    for name in ["x", "y"] {
        let table = table_named(&txn, "d", name)?;
        let rows = rows(&table, &[(1, Some(1)), (2, None), (3, Some(3))]);
        txn.insert(&table, &rows, OnDuplicate::Error).await?;
    }
    txn.commit().await.map(drop)
}

async fn flush(db: &Database) -> Result<()> {
    db.flush().await
}

async fn snapshot_old(db: &Database) -> Result<()> {
    db.create_snapshot(&SnapshotSpec::of("old", in_d("x")), &author()).await.map(drop)
}

async fn drop_tables(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    for name in ["x", "y"] {
        txn.drop_table(&table_named(&txn, "d", name)?)?;
    }
    txn.commit().await.map(drop)
}

async fn create_later(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let d = txn.catalog().database(SYS, "d")?.id;
    let mut table = definition(d, "w", SHAPE, true);
    table.indexes.push(Index { name: "by_v".to_owned(), columns: vec![ColumnId(2)], unique: true });
    let table = txn.create_table(table)?;
    txn.insert(&table, &rows(&table, &[(1, Some(100)), (2, None)]), OnDuplicate::Error).await?;
    txn.commit().await.map(drop)
}

async fn collect(db: &Database) -> Result<()> {
    // What nothing reaches is condemned, and deleted when the grace is over.
    db.collect().await?;
    db.env().advance(GRACE);
    db.collect().await.map(drop)
}

async fn insert_and_replace(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let t = table_named(&txn, "d", "t")?;
    let many: Vec<_> = (1..=20).map(|id| (id, (id % 5 != 0).then_some(id * 10))).collect();
    txn.insert(&t, &rows(&t, &many), OnDuplicate::Error).await?;
    txn.savepoint();
    txn.insert(&t, &rows(&t, &[(3, Some(-3)), (21, None)]), OnDuplicate::Replace).await?;
    txn.commit().await.map(drop)
}

async fn delete_and_keyless(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let (t, u) = (table_named(&txn, "d", "t")?, table_named(&txn, "d", "u")?);
    txn.delete(&t, &keys(&t, &[4])).await?;
    txn.insert(&u, &rows(&u, &[(1, Some(1)), (1, Some(1)), (2, None)]), OnDuplicate::Error).await?;
    txn.commit().await.map(drop)
}

async fn load(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let u = table_named(&txn, "d", "u")?;
    let mut load = BulkLoad::new(&u, OnDuplicate::Error);
    for first in [100, 106, 112] {
        let many: Vec<_> = (first..first + 6).map(|id| (id, Some(id))).collect();
        load.write(&mut txn, &rows(&u, &many)).await?;
    }
    load.finish(&mut txn).await?;
    txn.commit().await.map(drop)
}

async fn every_type(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let d = txn.catalog().database(SYS, "d")?.id;
    let kinds = kinds();
    let k = txn.create_table(definition(d, "k", &kinds, true))?;
    let some = |number| [Some(number), None];
    let columns: Vec<ArrayRef> = kinds
        .iter()
        .enumerate()
        .map(|(at, (_, ty))| values(*ty, &if at == 0 { [Some(1), Some(2)] } else { some(100 + at as i64) }))
        .collect();
    let batch = RecordBatch::try_new(k.physical_schema(), columns).unwrap();
    txn.insert(&k, &batch, OnDuplicate::Error).await?;
    txn.commit().await.map(drop)
}

async fn delete_from_parts(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let t = table_named(&txn, "d", "t")?;
    txn.delete(&t, &keys(&t, &[1, 7, 20])).await?;
    txn.commit().await.map(drop)
}

async fn snapshot(db: &Database) -> Result<()> {
    let spec = SnapshotSpec { comment: "before the rest".to_owned(), ..SnapshotSpec::of("s", of_d()) };
    db.create_snapshot(&spec, &author()).await.map(drop)
}

async fn into_the_log(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let (t, u) = (table_named(&txn, "d", "t")?, table_named(&txn, "d", "u")?);
    txn.insert(&t, &rows(&t, &[(30, Some(30)), (2, Some(-2))]), OnDuplicate::Replace).await?;
    txn.insert(&u, &rows(&u, &[(30, None)]), OnDuplicate::Error).await?;
    txn.commit().await.map(drop)
}

async fn compressed(db: &Database) -> Result<()> {
    let spec = SnapshotSpec { compress: true, ..SnapshotSpec::of("keep", of_d()) };
    db.create_snapshot(&spec, &author()).await.map(drop)
}

async fn restore(db: &Database) -> Result<()> {
    let request = RestoreRequest::of(in_d("t"), When::Snapshot("s".to_owned()));
    db.restore(request, &author()).await.map(drop)
}

pub async fn user(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let mut grants = Grants::default();
    grants.change_database("d", |privileges| *privileges |= Privileges::SELECT | Privileges::INSERT);
    let verifiers = BTreeMap::from([("caching_sha2_password".to_owned(), "$A$005$salt".to_owned())]);
    let id = txn.catalog().user(SYS, "reader").map_or(UserId(0), |user| user.id);
    txn.put_user(User { id, account: SYS, name: "reader".to_owned(), verifiers, grants })?;
    txn.commit().await.map(drop)
}

async fn pitr(db: &Database) -> Result<()> {
    pitr_of(db, in_d("u"))
}

/// Lengthens the recovery window of something.
pub fn pitr_of(db: &Database, scope: Scope) -> Result<()> {
    let spec = PitrSpec { name: "long".to_owned(), scope, length: 7, unit: RangeUnit::Day };
    db.create_pitr(&spec, &author()).map(drop)
}

pub async fn retention(db: &Database) -> Result<()> {
    let keep = Keep { daily: 7, last: 3, ..Keep::default() };
    db.set_retention(of_d(), keep, "Europe/Berlin", &author()).map(drop)
}

pub async fn schedule(db: &Database) -> Result<()> {
    let spec = ScheduleSpec {
        name: "nightly".to_owned(),
        scope: of_d(),
        rhythm: Rhythm::Cron("0 3 * * *".to_owned()),
        zone: "UTC".to_owned(),
        snapshot_name: None,
        comment: String::new(),
        term: Some(Term { count: 2, unit: TermUnit::Week }),
        keep: None,
        compress: false,
    };
    db.create_schedule(&spec, &author()).map(drop)
}

async fn clone(db: &Database) -> Result<()> {
    let moment = db.now();
    let mut txn = db.begin_at(moment.clone(), author());
    txn.clone_database(&moment, "d", SYS, SYS, "e").await?;
    txn.commit().await.map(drop)
}

async fn alter(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let w = table_named(&txn, "d", "w")?;
    let mut table = w.as_ref().clone();
    table.name = "renamed".to_owned();
    table.columns.push(column(4, "late", Type::Int64, true));
    table.next_column = ColumnId(5);
    txn.alter_table(table)?;
    txn.commit().await.map(drop)
}

async fn into_the_clone(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let t = table_named(&txn, "e", "t")?;
    txn.insert(&t, &rows(&t, &[(50, Some(50))]), OnDuplicate::Error).await?;
    txn.commit().await.map(drop)
}

/// Lets the deltas of all commits but the newest leave the metastore for a segment.
async fn age(db: &Database) -> Result<()> {
    db.metastore().age(0)
}

async fn not_aged(db: &Database) -> Result<()> {
    put_one(db, 60).await
}

async fn newest_rows(db: &Database) -> Result<()> {
    put_one(db, 70).await
}

async fn put_one(db: &Database, id: i64) -> Result<()> {
    let mut txn = db.begin(author());
    let t = table_named(&txn, "d", "t")?;
    txn.insert(&t, &rows(&t, &[(id, Some(id))]), OnDuplicate::Replace).await?;
    txn.commit().await.map(drop)
}

async fn drop_snapshot(db: &Database) -> Result<()> {
    db.drop_snapshot("old", false, &author()).map(drop)
}

async fn tidy(db: &Database) -> Result<()> {
    db.metastore().tidy()
}

/// A store as it stood after a step.
pub struct State {
    pub folder: PathBuf,
    pub time: Time,
    pub head: Version,
    /// What it showed.
    pub picture: Picture,
}

/// The script, run once without a fault.
pub struct Recorded {
    /// After no step, after the first, and so on.
    pub states: Vec<State>,
    /// What each version showed when it was the newest.
    pub history: Picture,
    _folder: tempfile::TempDir,
}

/// Runs the script and keeps a copy of the store after each step, as a kill would leave it.
pub fn record() -> Recorded {
    let folder = scratch();
    let store = Store::at(&folder.path().join("live"), START, 1);
    let (states, history) = block_on(async {
        let (mut states, mut history) = (Vec::new(), Answers::new());
        let db = store.open().await.unwrap();
        for number in 0..=SCRIPT.len() {
            if let Some(step) = number.checked_sub(1).map(|at| &SCRIPT[at]) {
                store.env.advance(step.after);
                (step.run)(&db).await.unwrap_or_else(|error| panic!("{}: {error:?}", step.name));
            }
            let head = db.now().version();
            let before = states.last().map_or(0, |state: &State| state.head.0);
            read_versions(&db, before + 1..=head.0, &mut history).await;
            let copy = folder.path().join(format!("state-{number}"));
            copy_store(&store.folder, &copy);
            states.push(State { folder: copy, time: store.env.now(), head, picture: present(&db).await.unwrap() });
        }
        (states, history)
    });
    let history = history.into_iter().map(|(name, answer)| (name, answer.unwrap())).collect();
    Recorded { states, history, _folder: folder }
}
