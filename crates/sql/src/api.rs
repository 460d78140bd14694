//! What a front end (the wire, the embedded client, a test) sees of a statement: parameters in, rows or counts out.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;

use crate::error::Result;

/// A value bound to a parameter of a prepared statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    UInt(u64),
    Float(f64),
    /// Text or binary; `Session` decides by where it is used.
    Bytes(Vec<u8>),
    /// Microseconds since 1970-01-01 00:00:00, and whether it had a time of day at all.
    DateTime {
        micros: i64,
        date_only: bool,
    },
    /// A signed duration in microseconds.
    Time(i64),
}

/// What a statement came to.
pub enum Outcome {
    Done(Done),
    Rows(Rows),
    /// `LOAD DATA LOCAL INFILE`: the front end asks the client for the file, feeds it, and finishes.
    LocalInfile(LocalInfile),
}

/// The result of a statement without rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows changed (or matched, where the client set CLIENT_FOUND_ROWS).
    pub affected_rows: u64,
    pub last_insert_id: u64,
    pub warnings: u16,
    /// As the `mysql` client prints it: `Rows matched: 1  Changed: 1  Warnings: 0`.
    pub info: String,
}

/// A result set that streams.
pub struct Rows {
    pub columns: Vec<ColumnMeta>,
    /// The schema of the batches: as many fields as `columns`.
    pub schema: SchemaRef,
    pub batches: BoxStream<'static, Result<RecordBatch>>,
}

/// A `LOAD DATA LOCAL INFILE` that waits for its bytes.
pub struct LocalInfile {
    /// The name that the statement gave: the client opens it.
    pub file_name: String,
    /// Takes the file's bytes in pieces of any size. It is bounded: send waits while the loader is behind.
    pub bytes: tokio::sync::mpsc::Sender<bytes::Bytes>,
    /// Comes after the sender is dropped. To give up, drop `done` first.
    pub done: tokio::task::JoinHandle<Result<Done>>,
}

/// What the protocol says about a column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnMeta {
    pub name: String,
    /// The column's own name, and where it comes from; empty for expressions.
    pub org_name: String,
    pub table: String,
    pub org_table: String,
    pub schema: String,
    pub kind: ColumnKind,
    pub unsigned: bool,
    pub not_null: bool,
    pub primary_key: bool,
    pub unique_key: bool,
    pub auto_increment: bool,
    /// Fractional digits of DECIMAL, TIME, DATETIME, TIMESTAMP; 31 for floating point without a scale.
    pub decimals: u8,
    /// Display length in bytes.
    pub length: u32,
}

/// The protocol's column types, as far as we send them. How the Arrow arrays look is in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// [Int8, UInt8, Boolean]
    Tiny,
    /// [Int16, UInt16]
    Short,
    /// MEDIUMINT [Int32, UInt32]
    Int24,
    /// [Int32, UInt32]
    Long,
    /// [Int64, UInt64]
    LongLong,
    /// [Float32]
    Float,
    /// [Float64]
    Double,
    /// [Decimal128, Decimal256]
    NewDecimal,
    /// VARCHAR [Utf8, LargeUtf8, Utf8View]
    VarString,
    /// CHAR [as above]
    String,
    /// TEXT [as above], of character set utf8mb4
    Text,
    /// BINARY, VARBINARY [Binary, LargeBinary, BinaryView, FixedSizeBinary], of character set binary
    VarBinary,
    /// BLOB [as above], of character set binary
    Blob,
    /// [Date32]
    Date,
    /// [Duration(Microsecond)]
    Time,
    /// [Timestamp(Microsecond, None)]
    DateTime,
    /// [Timestamp(Microsecond, None)], already in the session's time zone
    Timestamp,
    /// [Int16, UInt16]
    Year,
    /// [Utf8], of character set utf8mb4
    Json,
    /// [Utf8]
    Enum,
    /// [Utf8]
    Set,
    /// [UInt64]
    Bit,
    /// [Null]
    Null,
}

/// A statement that was prepared.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub sql: String,
    pub parameters: usize,
    /// What a result will look like, as far as it is known before parameters are bound; empty if not a query.
    pub columns: Vec<ColumnMeta>,
}

impl Prepared {
    /// Returns about how many bytes it takes as long as it is kept.
    pub fn kept_bytes(&self) -> usize {
        // Of a column its names, its type, and what stands around them.
        self.sql.len() + 256 * (1 + self.columns.len())
    }
}

/// What the server needs to check a password, kept per user. Never the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// SHA256(SHA256(password)), for caching_sha2_password; `None` for the empty password.
    pub sha2: Option<[u8; 32]>,
    /// SHA1(SHA1(password)), for mysql_native_password; `None` for the empty password.
    pub native: Option<[u8; 20]>,
}

/// Who logs in, as the wire learnt it.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// As sent: `user`, `account:user` or `account#user` (MatrixOne), with an optional third part that names a role.
    pub user: String,
    pub host: String,
    pub database: Option<String>,
    /// CLIENT_FOUND_ROWS: report rows matched instead of rows changed.
    pub found_rows: bool,
    /// LOCAL INFILE is allowed by both sides.
    pub local_infile: bool,
    pub connection_id: u32,
}
