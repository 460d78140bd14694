//! A session of the engine in this process.
//!
//! The clients of one process that open the same folder share one engine; the last one to close ends it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use strandline_core::cold::{Bucket, require};
use strandline_core::db::{self, Database};
use strandline_core::error::Kind as CoreKind;
use strandline_sql::api::{self, ColumnKind, ColumnMeta, Login, Outcome};
use strandline_sql::engine::{self, Engine};
use strandline_sql::session;
use tokio::sync::Mutex;

use crate::client::ResultSet;
use crate::error::{Error, Kind, Result};
use crate::format;
use crate::record::unexpected;
use crate::value::{Column, Type, Value};

pub use strandline_sql::session::Interrupt;

/// The stores that this process has open.
static STORES: Mutex<Vec<Opened>> = Mutex::const_new(Vec::new());

struct Opened {
    /// A process that was forked off remembers its parent's stores, which are not its own.
    process: u32,
    folder: PathBuf,
    store: Weak<Store>,
}

impl Opened {
    fn get(&self, folder: &Path) -> Option<Arc<Store>> {
        let own = self.process == std::process::id() && self.folder == folder;
        if own { self.store.upgrade() } else { None }
    }
}

/// Numbers the sessions of this process.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

struct Store {
    engine: Arc<Engine>,
}

/// A session of the engine.
pub struct Session {
    session: session::Session,
    login: Login,
    store: Arc<Store>,
}

impl Session {
    /// `objects` is where the store's files lie, if not in its folder and not remembered yet.
    pub async fn open(folder: &Path, user: &str, objects: Option<&str>) -> Result<Session> {
        let store = store(folder, objects).await?;
        let login = Login { user: user.to_owned(), host: "localhost".to_owned(), ..Login::default() };
        Session::over(store, login)
    }

    fn over(store: Arc<Store>, mut login: Login) -> Result<Session> {
        login.connection_id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let session = store.engine.session(login.clone()).map_err(refused)?;
        Ok(Session { session, login, store })
    }

    pub fn another(&self) -> Result<Session> {
        Session::over(self.store.clone(), self.login.clone())
    }

    pub fn id(&self) -> u32 {
        self.login.connection_id
    }

    pub fn server_version(&self) -> String {
        let version = self.store.engine.server_version();
        version.split('-').next().unwrap_or(version).to_owned()
    }

    pub fn interrupt(&self) -> Interrupt {
        self.session.interrupt()
    }

    pub async fn start(&mut self, sql: &str, parameters: Option<&[Value]>) -> Result<Answer<'_>> {
        let session = &mut self.session;
        if let Some(parameters) = parameters {
            let prepared = session.prepare(sql).await.map_err(refused)?;
            let parameters = parameters.iter().map(parameter).collect();
            let outcome = session.execute_prepared(&prepared, parameters).await.map_err(refused)?;
            return Ok(Answer { rest: Rest::of(outcome)?, session });
        }
        let mut statements = session.split(sql).map_err(refused)?.into_iter();
        let first = statements.next().unwrap_or_default();
        let mut rest = Rest::of(session.execute(&first).await.map_err(refused)?)?;
        // As over the wire: the first one's rows are the answer, and the others run.
        for (at, statement) in statements.enumerate() {
            if at == 0 {
                rest.buffer(session).await?;
            }
            let other = session.execute(&statement).await.map_err(refused)?;
            Rest::of(other)?.buffer(session).await?;
        }
        Ok(Answer { rest, session })
    }

    pub async fn close(self) -> Result<()> {
        let Session { session, store, .. } = self;
        drop(session);
        let mut stores = STORES.lock().await;
        stores.retain(|opened| opened.store.strong_count() > 0);
        match Arc::into_inner(store) {
            Some(store) => store.engine.database().close().await.map_err(|error| refused(error.into())),
            None => Ok(()),
        }
    }
}

/// Returns the open store of a folder, or opens it.
async fn store(folder: &Path, objects: Option<&str>) -> Result<Arc<Store>> {
    let refuse = |error: strandline_core::error::Error| refused(error.into());
    let options = db::Options { objects: objects.map(str::to_owned), ..db::Options::default() };
    let bucket = objects.map(Bucket::parse).transpose().map_err(refuse)?;
    if let Some(bucket) = &bucket {
        // Before the folder is made.
        bucket.reach(&options.env).await.map_err(refuse)?;
    }
    let unusable =
        |error: std::io::Error| Error::connection(format!("Cannot use the folder {}: {error}.", folder.display()));
    std::fs::create_dir_all(folder).map_err(unusable)?;
    let folder = folder.canonicalize().map_err(unusable)?;
    let mut stores = STORES.lock().await;
    if let Some(store) = stores.iter().find_map(|opened| opened.get(&folder)) {
        if let Some(bucket) = &bucket {
            require(&**store.engine.database().metastore(), bucket).map_err(refuse)?;
        }
        return Ok(store);
    }
    let database = open(&folder, options).await.map_err(refuse)?;
    let spill = folder.join("spill");
    // What a killed process left there is of no use to anyone.
    let _ = std::fs::remove_dir_all(&spill);
    std::fs::create_dir_all(&spill).map_err(unusable)?;
    let options = engine::Options { spill_folder: Some(spill), ..engine::Options::default() };
    let engine = Engine::open(database.clone(), options).await.map_err(refused)?;
    let root = Login { user: "root".to_owned(), host: "localhost".to_owned(), ..Login::default() };
    if engine.credential(&root).is_none() {
        // Without a password: a server that opens this store later gives it one.
        engine.set_password("root", "").await.map_err(refused)?;
    }
    database.start_upkeep().map_err(refuse)?;
    database.start_policies();
    let store = Arc::new(Store { engine });
    stores.retain(|opened| opened.folder != folder && opened.store.strong_count() > 0);
    stores.push(Opened { process: std::process::id(), folder, store: Arc::downgrade(&store) });
    Ok(store)
}

/// How often, and how long apart, a store that was just dropped in this process is tried again.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Opens a store. Work in the background may hold one that this process dropped a moment longer: that is waited for.
async fn open(folder: &Path, options: db::Options) -> strandline_core::error::Result<Database> {
    let mut tries = 0;
    loop {
        tries += 1;
        match Database::open(folder, options.clone()).await {
            Err(error) if error.kind() == CoreKind::Unavailable && tries < TRIES && held_here(folder) => {
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
            result => return result,
        }
    }
}

fn held_here(folder: &Path) -> bool {
    let holder = std::fs::read_to_string(folder.join("LOCK")).unwrap_or_default();
    holder.trim() == std::process::id().to_string()
}

/// The result of a statement, row by row.
pub struct Answer<'a> {
    rest: Rest,
    session: &'a mut session::Session,
}

impl Answer<'_> {
    pub fn columns(&self) -> &[Column] {
        &self.rest.columns
    }

    pub async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        self.rest.next(self.session).await
    }

    pub fn finish(self) -> ResultSet {
        ResultSet { columns: self.rest.columns, ..self.rest.tail }
    }
}

/// What a statement has answered and not yet been asked for.
struct Rest {
    columns: Vec<Column>,
    meta: Vec<ColumnMeta>,
    batches: Option<BoxStream<'static, strandline_sql::error::Result<RecordBatch>>>,
    rows: VecDeque<Vec<Value>>,
    tail: ResultSet,
}

impl Rest {
    fn of(outcome: Outcome) -> Result<Rest> {
        match outcome {
            Outcome::Done(done) => Ok(Rest {
                columns: Vec::new(),
                meta: Vec::new(),
                batches: None,
                rows: VecDeque::new(),
                tail: ResultSet {
                    affected_rows: done.affected_rows,
                    last_insert_id: Some(done.last_insert_id).filter(|id| *id != 0),
                    info: done.info,
                    warnings: done.warnings,
                    ..ResultSet::default()
                },
            }),
            Outcome::Rows(rows) => Ok(Rest {
                columns: rows.columns.iter().map(column).collect(),
                meta: rows.columns,
                batches: Some(rows.batches),
                rows: VecDeque::new(),
                tail: ResultSet::default(),
            }),
            Outcome::LocalInfile(_) => Err(Error::new(
                Kind::Unsupported,
                "LOAD DATA LOCAL needs a client that sends files, such as mysql --local-infile=1.",
            )),
        }
    }

    async fn next(&mut self, session: &mut session::Session) -> Result<Option<Vec<Value>>> {
        while self.rows.is_empty() && self.batches.is_some() {
            self.read_on(session).await?;
        }
        Ok(self.rows.pop_front())
    }

    /// Reads all rows, so that the session is free for its next statement.
    async fn buffer(&mut self, session: &mut session::Session) -> Result<()> {
        while self.batches.is_some() {
            self.read_on(session).await?;
        }
        Ok(())
    }

    /// Reads the next rows. How many warnings there were is known when all have been read.
    async fn read_on(&mut self, session: &mut session::Session) -> Result<()> {
        let Some(batches) = &mut self.batches else { return Ok(()) };
        match batches.next().await {
            Some(batch) => self.read(&batch.map_err(refused)?),
            None => {
                self.batches = None;
                self.tail.warnings = session.warning_count();
                Ok(())
            }
        }
    }

    fn read(&mut self, batch: &RecordBatch) -> Result<()> {
        for row in 0..batch.num_rows() {
            let columns = self.columns.iter().zip(&self.meta).zip(batch.columns());
            let values = columns.map(|((column, meta), array)| value(column, meta, array, row));
            self.rows.push_back(values.collect::<Result<_>>()?);
        }
        Ok(())
    }
}

fn refused(error: strandline_sql::error::Error) -> Error {
    let answered = Error::answered(error.code, error.sqlstate, &error.message);
    match error.kind {
        // Over the wire only the number says it; here the kind is known.
        Some(CoreKind::NotFound(_)) => answered.of_kind(Kind::NotFound),
        Some(CoreKind::AlreadyExists(_)) => answered.of_kind(Kind::AlreadyExists),
        _ => answered,
    }
}

fn parameter(value: &Value) -> api::Value {
    match value {
        Value::Null => api::Value::Null,
        Value::Int(value) => api::Value::Int(*value),
        Value::UInt(value) => api::Value::UInt(*value),
        Value::Float(value) => api::Value::Float(*value),
        Value::Text(value) => api::Value::Bytes(value.clone().into_bytes()),
        Value::Bytes(value) => api::Value::Bytes(value.clone()),
    }
}

fn column(meta: &ColumnMeta) -> Column {
    let ty = match meta.kind {
        ColumnKind::Year => Type::UInt,
        ColumnKind::Tiny | ColumnKind::Short | ColumnKind::Int24 | ColumnKind::Long | ColumnKind::LongLong => {
            if meta.unsigned { Type::UInt } else { Type::Int }
        }
        ColumnKind::Float | ColumnKind::Double => Type::Float,
        ColumnKind::NewDecimal => Type::Decimal,
        ColumnKind::VarString | ColumnKind::String | ColumnKind::Text | ColumnKind::Enum | ColumnKind::Set => {
            Type::Text
        }
        ColumnKind::VarBinary | ColumnKind::Blob | ColumnKind::Bit | ColumnKind::Null => Type::Bytes,
        ColumnKind::Date => Type::Date,
        ColumnKind::Time => Type::Time,
        ColumnKind::DateTime | ColumnKind::Timestamp => Type::DateTime,
        ColumnKind::Json => Type::Json,
    };
    Column { name: meta.name.clone(), ty }
}

/// Returns a value as the text protocol would bring it.
fn value(column: &Column, meta: &ColumnMeta, array: &dyn Array, row: usize) -> Result<Value> {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return Ok(Value::Null);
    }
    macro_rules! primitive {
        ($ty:ty) => {
            array.as_primitive::<$ty>().value(row)
        };
    }
    let signed = |value: i64| match column.ty {
        Type::UInt => Value::UInt(value.cast_unsigned()),
        _ => Value::Int(value),
    };
    let unsigned = |value: u64| match column.ty {
        Type::UInt => Value::UInt(value),
        _ => Value::Int(value.cast_signed()),
    };
    let string = |value: &str| match column.ty {
        Type::Bytes => Value::Bytes(value.as_bytes().to_vec()),
        _ => Value::Text(value.to_owned()),
    };
    Ok(match array.data_type() {
        DataType::Boolean => Value::Int(i64::from(array.as_boolean().value(row))),
        DataType::Int8 => signed(primitive!(Int8Type).into()),
        DataType::Int16 => signed(primitive!(Int16Type).into()),
        DataType::Int32 => signed(primitive!(Int32Type).into()),
        DataType::Int64 => signed(primitive!(Int64Type)),
        DataType::UInt8 => unsigned(primitive!(UInt8Type).into()),
        DataType::UInt16 => unsigned(primitive!(UInt16Type).into()),
        DataType::UInt32 => unsigned(primitive!(UInt32Type).into()),
        DataType::UInt64 if meta.kind == ColumnKind::Bit => {
            let width = meta.length.max(1).div_ceil(8).min(8) as usize;
            Value::Bytes(primitive!(UInt64Type).to_be_bytes()[8 - width..].to_vec())
        }
        DataType::UInt64 => unsigned(primitive!(UInt64Type)),
        DataType::Float32 if meta.decimals >= 31 => Value::Float(format::float(primitive!(Float32Type))),
        DataType::Float32 => rounded(primitive!(Float32Type).into(), meta.decimals),
        DataType::Float64 if meta.decimals >= 31 => Value::Float(primitive!(Float64Type)),
        DataType::Float64 => rounded(primitive!(Float64Type), meta.decimals),
        DataType::Decimal128(_, _) => Value::Text(array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(_, _) => Value::Text(array.as_primitive::<Decimal256Type>().value_as_string(row)),
        DataType::Utf8 => string(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => string(array.as_string::<i64>().value(row)),
        DataType::Utf8View => string(array.as_string_view().value(row)),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        DataType::LargeBinary => Value::Bytes(array.as_binary::<i64>().value(row).to_vec()),
        DataType::BinaryView => Value::Bytes(array.as_binary_view().value(row).to_vec()),
        DataType::FixedSizeBinary(_) => Value::Bytes(array.as_fixed_size_binary().value(row).to_vec()),
        DataType::Date32 => Value::Text(format::date(primitive!(Date32Type).into())),
        DataType::Timestamp(_, _) => {
            Value::Text(format::date_time(primitive!(TimestampMicrosecondType), meta.decimals))
        }
        DataType::Duration(_) => {
            let micros = primitive!(DurationMicrosecondType);
            let sign = if micros < 0 { "-" } else { "" };
            let (seconds, rest) = (micros.unsigned_abs() / 1_000_000, (micros.unsigned_abs() % 1_000_000) as u32);
            Value::Text(format!("{sign}{}", format::clock(seconds, rest, meta.decimals)))
        }
        other => return Err(unexpected(&format!("column '{}' came as {other}", meta.name))),
    })
}

fn rounded(value: f64, decimals: u8) -> Value {
    let text = format!("{value:.*}", usize::from(decimals));
    Value::Float(text.parse().unwrap_or(value))
}
