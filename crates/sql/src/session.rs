//! TO BE REPLACED by the real engine. A stand-in with the same signatures, so that the wire has something to talk
//! to: it answers a handful of statements and keeps nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use parking_lot::Mutex;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::api::{ColumnKind, ColumnMeta, Credential, Done, LocalInfile, Login, Outcome, Prepared, Rows, Value};
use crate::error::{Error, Result};

#[derive(Default)]
pub struct Engine {
    users: Mutex<HashMap<String, Credential>>,
}

#[derive(Clone, Default)]
pub struct Interrupt(Arc<(AtomicBool, tokio::sync::Notify)>);

pub struct Session {
    login: Login,
    interrupt: Interrupt,
    in_transaction: bool,
}

impl Engine {
    pub fn set_password(&self, user: &str, password: &str) -> Result<()> {
        let credential = Credential {
            sha2: (!password.is_empty()).then(|| Sha256::digest(Sha256::digest(password)).into()),
            native: (!password.is_empty()).then(|| Sha1::digest(Sha1::digest(password)).into()),
        };
        self.users.lock().insert(user.to_owned(), credential);
        Ok(())
    }

    pub fn credential(&self, login: &Login) -> Option<Credential> {
        self.users.lock().get(&login.user).cloned()
    }

    pub fn session(&self, login: Login) -> Result<Session> {
        if login.database.as_deref() == Some("missing") {
            return Err(Error::new(1049, "42000", "Unknown database 'missing'"));
        }
        Ok(Session { login, interrupt: Interrupt::default(), in_transaction: false })
    }

    pub fn server_version(&self) -> &str {
        "8.0.30-MatrixOne-v3.0.18-Strandline-0.1.0"
    }
}

impl Interrupt {
    pub fn kill_query(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }

    pub fn is_killed(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }
}

impl Session {
    pub fn split(&self, sql: &str) -> Result<Vec<String>> {
        Ok(sql.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    pub async fn execute(&mut self, sql: &str) -> Result<Outcome> {
        self.interrupt.0.0.store(false, Ordering::SeqCst);
        let word = |n: usize| sql.split_whitespace().nth(n).unwrap_or_default();
        let number = || word(2).parse::<usize>().unwrap_or(0);
        match (word(0).to_ascii_uppercase().as_str(), word(1)) {
            ("SELECT", "1") => Ok(one_column("1", ColumnKind::LongLong, Arc::new(Int64Array::from(vec![1])))),
            ("SELECT", _) if sql.starts_with("SELECT LENGTH('") => {
                let length = sql.len() - "SELECT LENGTH('')".len();
                Ok(one_column("length", ColumnKind::LongLong, Arc::new(Int64Array::from(vec![length as i64]))))
            }
            ("SELECT", "@@socket") => {
                Ok(one_column("@@socket", ColumnKind::VarString, Arc::new(StringArray::from(vec![""]))))
            }
            ("SELECT", "DATABASE()") => {
                let database = StringArray::from(vec![self.login.database.clone()]);
                Ok(one_column("DATABASE()", ColumnKind::VarString, Arc::new(database)))
            }
            ("SELECT", "FOUND_ROWS") => {
                let flag = BooleanArray::from(vec![self.login.found_rows]);
                Ok(one_column("found_rows", ColumnKind::Tiny, Arc::new(flag)))
            }
            ("SLEEP", milliseconds) => {
                let killed = self.interrupt.0.1.notified();
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(milliseconds.parse().unwrap_or(0))) => Ok(done(0)),
                    () = killed => Err(Error::new(1317, "70100", "Query execution was interrupted")),
                }
            }
            ("BEGIN", _) => {
                self.in_transaction = true;
                Ok(done(0))
            }
            ("USE", name) => self.use_database(name).await.map(|()| done(0)),
            ("SET", _) => Ok(done(0)),
            ("INSERT", _) => {
                Ok(Outcome::Done(Done { affected_rows: 3, last_insert_id: 7, warnings: 1, info: "Records: 3".into() }))
            }
            ("LOAD", _) => {
                if !self.login.local_infile {
                    return Err(Error::new(3948, "42000", "Loading local data is disabled"));
                }
                let (bytes, mut incoming) = tokio::sync::mpsc::channel::<bytes::Bytes>(2);
                let done = tokio::spawn(async move {
                    let mut lines = 0;
                    while let Some(piece) = incoming.recv().await {
                        if piece.starts_with(b"bad") {
                            return Err(Error::new(1366, "HY000", "Incorrect value"));
                        }
                        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
                    }
                    Ok(Done { affected_rows: lines, ..Done::default() })
                });
                Ok(Outcome::LocalInfile(LocalInfile { file_name: "data.csv".to_owned(), bytes, done }))
            }
            ("TEST", "ERROR") => Err(Error::new(1146, "42S02", "Table 'd.t' doesn't exist")),
            ("TEST", "BLOB") => {
                let blob = vec![b'x'; number()];
                Ok(one_column("blob", ColumnKind::Blob, Arc::new(BinaryArray::from(vec![blob.as_slice()]))))
            }
            ("TEST", "KINDS") => Ok(kinds()),
            ("TEST", "NUMBERS") => Ok(self.numbers(number(), None)),
            ("TEST", "BROKEN") => Ok(self.numbers(number(), Some(Error::internal("it broke in the middle")))),
            _ => Err(Error::syntax("You have an error in your SQL syntax")),
        }
    }

    pub async fn prepare(&mut self, sql: &str) -> Result<Prepared> {
        let parameters = sql.matches('?').count();
        let columns = match self.execute(sql).await {
            Ok(Outcome::Rows(rows)) => rows.columns,
            _ if parameters > 0 => (0..parameters).map(|_| meta("?", ColumnKind::VarString)).collect(),
            Ok(_) => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Prepared { sql: sql.to_owned(), parameters, columns })
    }

    pub async fn execute_prepared(&mut self, prepared: &Prepared, parameters: Vec<Value>) -> Result<Outcome> {
        if parameters.is_empty() {
            return self.execute(&prepared.sql).await;
        }
        let (columns, arrays): (Vec<ColumnMeta>, Vec<ArrayRef>) = parameters
            .into_iter()
            .map(|value| {
                let (kind, array): (ColumnKind, ArrayRef) = match value {
                    Value::Null => (ColumnKind::Null, Arc::new(NullArray::new(1))),
                    Value::Int(v) => (ColumnKind::LongLong, Arc::new(Int64Array::from(vec![v]))),
                    Value::UInt(v) => (ColumnKind::LongLong, Arc::new(UInt64Array::from(vec![v]))),
                    Value::Float(v) => (ColumnKind::Double, Arc::new(Float64Array::from(vec![v]))),
                    Value::Bytes(v) => (ColumnKind::VarBinary, Arc::new(BinaryArray::from(vec![v.as_slice()]))),
                    Value::DateTime { micros, date_only: true } => {
                        (ColumnKind::Date, Arc::new(Date32Array::from(vec![(micros / 86_400_000_000) as i32])))
                    }
                    Value::DateTime { micros, .. } => {
                        (ColumnKind::DateTime, Arc::new(TimestampMicrosecondArray::from(vec![micros])))
                    }
                    Value::Time(v) => (ColumnKind::Time, Arc::new(DurationMicrosecondArray::from(vec![v]))),
                };
                let mut column = meta("?", kind);
                column.unsigned = array.data_type() == &DataType::UInt64;
                (column, array)
            })
            .unzip();
        Ok(rows(columns, arrays))
    }

    pub async fn use_database(&mut self, name: &str) -> Result<()> {
        if name == "missing" {
            return Err(Error::new(1049, "42000", "Unknown database 'missing'"));
        }
        self.login.database = Some(name.to_owned());
        Ok(())
    }

    pub fn reset(&mut self) {
        self.in_transaction = false;
    }

    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    pub fn autocommit(&self) -> bool {
        true
    }

    pub fn database(&self) -> Option<&str> {
        self.login.database.as_deref()
    }

    pub async fn table_columns(&mut self, table: &str) -> Result<Vec<ColumnMeta>> {
        match table {
            "t" => Ok(vec![meta("a", ColumnKind::Long), meta("b", ColumnKind::Text)]),
            _ => Err(Error::new(1146, "42S02", format!("Table '{table}' doesn't exist"))),
        }
    }

    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// `count` rows in batches, and then an error if one is given.
    fn numbers(&self, count: usize, then: Option<Error>) -> Outcome {
        let columns = vec![meta("n", ColumnKind::LongLong), meta("text", ColumnKind::VarString)];
        let schema = Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("text", DataType::Utf8, true),
        ]));
        let batch_schema = schema.clone();
        let batches = (0..count.div_ceil(1000)).map(move |at| {
            let numbers: Vec<i64> = (at * 1000..count.min((at + 1) * 1000)).map(|n| n as i64).collect();
            let texts: Vec<String> = numbers.iter().map(|n| format!("row {n}")).collect();
            let arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(numbers)), Arc::new(StringArray::from(texts))];
            Ok(RecordBatch::try_new(batch_schema.clone(), arrays).expect("arrays match"))
        });
        let interrupt = self.interrupt.clone();
        let stream = futures::stream::iter(batches.chain(then.map(Err)))
            .then(|batch| async {
                tokio::task::yield_now().await;
                batch
            })
            .map(move |batch| match interrupt.is_killed() {
                true => Err(Error::new(1317, "70100", "Query execution was interrupted")),
                false => batch,
            });
        Outcome::Rows(Rows { columns, schema, batches: stream.boxed(), warnings: 0 })
    }
}

/// A row with a value of every kind, and a row of NULLs.
fn kinds() -> Outcome {
    use ColumnKind::*;
    let time = ((838 * 60 + 59) * 60 + 59) * 1_000_000_i64;
    let decimal = Decimal128Array::from(vec![Some(-12345), None]).with_precision_and_scale(10, 3).expect("fits");
    let cells: Vec<(&str, ColumnKind, ArrayRef)> = vec![
        ("tiny", Tiny, Arc::new(Int8Array::from(vec![Some(-8), None]))),
        ("short", Short, Arc::new(Int16Array::from(vec![Some(-16), None]))),
        ("int24", Int24, Arc::new(Int32Array::from(vec![Some(-24), None]))),
        ("long", Long, Arc::new(Int32Array::from(vec![Some(i32::MIN), None]))),
        ("longlong", LongLong, Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
        ("float", Float, Arc::new(Float32Array::from(vec![Some(1.5), None]))),
        ("double", Double, Arc::new(Float64Array::from(vec![Some(1e20), None]))),
        ("decimal", NewDecimal, Arc::new(decimal)),
        ("varchar", VarString, Arc::new(StringArray::from(vec![Some("é€𝄞"), None]))),
        ("char", String, Arc::new(StringViewArray::from(vec![Some("a char beyond twelve bytes"), None]))),
        ("text", Text, Arc::new(LargeStringArray::from(vec![Some(""), None]))),
        ("varbinary", VarBinary, Arc::new(BinaryViewArray::from(vec![Some(b"\0\xff".as_slice()), None]))),
        ("blob", Blob, Arc::new(BinaryArray::from(vec![Some(b"\xfb".as_slice()), None]))),
        ("date", Date, Arc::new(Date32Array::from(vec![Some(19_782), None]))),
        ("time", Time, Arc::new(DurationMicrosecondArray::from(vec![Some(-time), None]))),
        ("datetime", DateTime, Arc::new(TimestampMicrosecondArray::from(vec![Some(1_709_210_096_123_456), None]))),
        ("timestamp", Timestamp, Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None]))),
        ("year", Year, Arc::new(UInt16Array::from(vec![Some(2026), None]))),
        ("json", Json, Arc::new(StringArray::from(vec![Some("{\"a\": 1}"), None]))),
        ("enum", Enum, Arc::new(StringArray::from(vec![Some("red"), None]))),
        ("set", Set, Arc::new(StringArray::from(vec![Some("a,b"), None]))),
        ("bit", Bit, Arc::new(UInt64Array::from(vec![Some(0x0102), None]))),
        ("null", Null, Arc::new(NullArray::new(2))),
    ];
    let columns = cells.iter().map(|(name, kind, array)| ColumnMeta {
        unsigned: matches!(array.data_type(), DataType::UInt64 | DataType::UInt16),
        ..meta(name, *kind)
    });
    rows(columns.collect(), cells.iter().map(|(_, _, array)| array.clone()).collect())
}

fn one_column(name: &str, kind: ColumnKind, array: ArrayRef) -> Outcome {
    rows(vec![meta(name, kind)], vec![array])
}

fn rows(columns: Vec<ColumnMeta>, arrays: Vec<ArrayRef>) -> Outcome {
    let fields: Vec<Field> =
        columns.iter().zip(&arrays).map(|(c, a)| Field::new(&c.name, a.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).expect("arrays match their own types");
    Outcome::Rows(Rows { columns, schema, batches: futures::stream::iter([Ok(batch)]).boxed(), warnings: 0 })
}

fn done(affected_rows: u64) -> Outcome {
    Outcome::Done(Done { affected_rows, ..Done::default() })
}

fn meta(name: &str, kind: ColumnKind) -> ColumnMeta {
    ColumnMeta {
        name: name.to_owned(),
        org_name: std::string::String::new(),
        table: std::string::String::new(),
        org_table: std::string::String::new(),
        schema: std::string::String::new(),
        kind,
        unsigned: false,
        not_null: false,
        primary_key: false,
        unique_key: false,
        auto_increment: false,
        decimals: match kind {
            ColumnKind::NewDecimal => 3,
            ColumnKind::DateTime => 6,
            ColumnKind::Float | ColumnKind::Double => 31,
            _ => 0,
        },
        length: if kind == ColumnKind::Bit { 16 } else { 255 },
    }
}
