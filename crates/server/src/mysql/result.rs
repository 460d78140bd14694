//! Answers that are not rows: OK, ERR, EOF and column definitions.

use mysql_common::constants::{CapabilityFlags, ColumnFlags, ColumnType, StatusFlags};
use strandline_sql::api::{ColumnKind, ColumnMeta, Done};
use strandline_sql::error::Error;

use super::bytes::{put_lenenc_bytes, put_lenenc_int};
use super::packet::Output;

/// utf8mb4_0900_ai_ci
pub const UTF8MB4: u16 = 255;
/// What the protocol says of bytes, numbers and times.
const BINARY: u16 = 63;

pub fn put_ok(out: &mut Output, done: &Done, status: StatusFlags) {
    out.packet(|out| {
        out.push(0x00);
        put_lenenc_int(out, done.affected_rows);
        put_lenenc_int(out, done.last_insert_id);
        out.extend_from_slice(&status.bits().to_le_bytes());
        out.extend_from_slice(&done.warnings.to_le_bytes());
        if !done.info.is_empty() {
            put_lenenc_bytes(out, done.info.as_bytes());
        }
    });
}

pub fn put_err(out: &mut Output, error: &Error) {
    out.packet(|out| {
        out.push(0xFF);
        out.extend_from_slice(&error.code.to_le_bytes());
        out.push(b'#');
        // Five bytes, whatever was given.
        out.extend(error.sqlstate.bytes().chain(std::iter::repeat(b'0')).take(5));
        // Clients of old keep 512 bytes of a message; ours stay readable beyond.
        let message = &error.message[..error.message.floor_char_boundary(8 << 10)];
        out.extend_from_slice(message.as_bytes());
    });
}

/// Ends a list of column definitions, for clients that want that said.
pub fn put_columns_end(out: &mut Output, capabilities: CapabilityFlags, status: StatusFlags) {
    if !capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) {
        put_eof(out, 0, status);
    }
}

/// Ends the rows of a result.
pub fn put_rows_end(out: &mut Output, capabilities: CapabilityFlags, warnings: u16, status: StatusFlags) {
    if !capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) {
        return put_eof(out, warnings, status);
    }
    out.packet(|out| {
        out.extend_from_slice(&[0xFE, 0, 0]);
        out.extend_from_slice(&status.bits().to_le_bytes());
        out.extend_from_slice(&warnings.to_le_bytes());
    });
}

/// Writes what the client must know of a column. `with_default` is for COM_FIELD_LIST alone.
pub fn put_column(out: &mut Output, column: &ColumnMeta, with_default: bool) {
    let shape = Shape::of(column.kind);
    out.packet(|out| {
        put_lenenc_bytes(out, b"def");
        for name in [&column.schema, &column.table, &column.org_table, &column.name, &column.org_name] {
            put_lenenc_bytes(out, name.as_bytes());
        }
        out.push(0x0C);
        out.extend_from_slice(&shape.charset.to_le_bytes());
        out.extend_from_slice(&column.length.to_le_bytes());
        out.push(shape.column_type as u8);
        out.extend_from_slice(&flags(column, &shape).bits().to_le_bytes());
        out.push(column.decimals);
        out.extend_from_slice(&[0, 0]);
        if with_default {
            out.push(0xFB);
        }
    });
}

/// Stands for a parameter of a prepared statement, of which nothing is known.
pub fn put_parameter(out: &mut Output) {
    let column = ColumnMeta {
        name: "?".to_owned(),
        org_name: String::new(),
        table: String::new(),
        org_table: String::new(),
        schema: String::new(),
        kind: ColumnKind::VarBinary,
        unsigned: false,
        not_null: false,
        primary_key: false,
        unique_key: false,
        auto_increment: false,
        decimals: 0,
        length: 0,
    };
    put_column(out, &column, false);
}

fn put_eof(out: &mut Output, warnings: u16, status: StatusFlags) {
    out.packet(|out| {
        out.push(0xFE);
        out.extend_from_slice(&warnings.to_le_bytes());
        out.extend_from_slice(&status.bits().to_le_bytes());
    });
}

/// How the protocol names a kind of column.
struct Shape {
    column_type: ColumnType,
    charset: u16,
    flags: ColumnFlags,
}

impl Shape {
    fn of(kind: ColumnKind) -> Shape {
        use ColumnType::*;
        let none = ColumnFlags::empty();
        let (column_type, charset, flags) = match kind {
            ColumnKind::Tiny => (MYSQL_TYPE_TINY, BINARY, none),
            ColumnKind::Short => (MYSQL_TYPE_SHORT, BINARY, none),
            ColumnKind::Int24 => (MYSQL_TYPE_INT24, BINARY, none),
            ColumnKind::Long => (MYSQL_TYPE_LONG, BINARY, none),
            ColumnKind::LongLong => (MYSQL_TYPE_LONGLONG, BINARY, none),
            ColumnKind::Float => (MYSQL_TYPE_FLOAT, BINARY, none),
            ColumnKind::Double => (MYSQL_TYPE_DOUBLE, BINARY, none),
            ColumnKind::NewDecimal => (MYSQL_TYPE_NEWDECIMAL, BINARY, none),
            ColumnKind::VarString => (MYSQL_TYPE_VAR_STRING, UTF8MB4, none),
            ColumnKind::String => (MYSQL_TYPE_STRING, UTF8MB4, none),
            ColumnKind::Text => (MYSQL_TYPE_BLOB, UTF8MB4, ColumnFlags::BLOB_FLAG),
            ColumnKind::VarBinary => (MYSQL_TYPE_VAR_STRING, BINARY, ColumnFlags::BINARY_FLAG),
            ColumnKind::Blob => (MYSQL_TYPE_BLOB, BINARY, ColumnFlags::BLOB_FLAG | ColumnFlags::BINARY_FLAG),
            ColumnKind::Date => (MYSQL_TYPE_DATE, BINARY, ColumnFlags::BINARY_FLAG),
            ColumnKind::Time => (MYSQL_TYPE_TIME, BINARY, ColumnFlags::BINARY_FLAG),
            ColumnKind::DateTime => (MYSQL_TYPE_DATETIME, BINARY, ColumnFlags::BINARY_FLAG),
            ColumnKind::Timestamp => (MYSQL_TYPE_TIMESTAMP, BINARY, ColumnFlags::BINARY_FLAG),
            ColumnKind::Year => (MYSQL_TYPE_YEAR, BINARY, ColumnFlags::UNSIGNED_FLAG | ColumnFlags::ZEROFILL_FLAG),
            ColumnKind::Json => (MYSQL_TYPE_JSON, UTF8MB4, ColumnFlags::BLOB_FLAG),
            ColumnKind::Enum => (MYSQL_TYPE_STRING, UTF8MB4, ColumnFlags::ENUM_FLAG),
            ColumnKind::Set => (MYSQL_TYPE_STRING, UTF8MB4, ColumnFlags::SET_FLAG),
            ColumnKind::Bit => (MYSQL_TYPE_BIT, BINARY, ColumnFlags::UNSIGNED_FLAG),
            ColumnKind::Null => (MYSQL_TYPE_NULL, BINARY, ColumnFlags::BINARY_FLAG),
        };
        Shape { column_type, charset, flags }
    }
}

fn flags(column: &ColumnMeta, shape: &Shape) -> ColumnFlags {
    let mut flags = shape.flags;
    flags.set(ColumnFlags::UNSIGNED_FLAG, column.unsigned || flags.contains(ColumnFlags::UNSIGNED_FLAG));
    flags.set(ColumnFlags::NOT_NULL_FLAG, column.not_null);
    flags.set(ColumnFlags::PRI_KEY_FLAG, column.primary_key);
    flags.set(ColumnFlags::UNIQUE_KEY_FLAG, column.unique_key);
    flags.set(ColumnFlags::AUTO_INCREMENT_FLAG, column.auto_increment);
    flags
}
