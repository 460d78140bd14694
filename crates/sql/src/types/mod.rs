//! MySQL's column types: how they are declared, stored, described and sent.
//!
//! A type's declared text (`int unsigned`, `varchar(20)`) is what SHOW CREATE TABLE prints and what the catalog keeps;
//! it reads back to the same type. On Arrow fields it travels under the metadata key [`DECLARED`]. Text is always
//! utf8mb4 with the collation utf8mb4_bin: comparisons see bytes.

use std::collections::HashMap;
use std::fmt;

use arrow::datatypes::{DataType, Field, TimeUnit};
use sqlparser::ast::{self, EnumMember, ExactNumberInfo};
use strandline_core::schema::Type;

use crate::api::ColumnKind;
use crate::error::{Error, Result};

mod coerce;

pub(crate) use coerce::json_reason;
pub use coerce::{Given, Mode, Target, coerce_array, coerce_given, coerce_text};

/// The metadata key of an Arrow field that holds the declared type.
pub const DECLARED: &str = "strandline:declared";

/// The metadata key of bytes that a statement wrote as digits (`0x1F`, `b'101'`): numbers where numbers are wanted.
pub const HEX: &str = "strandline:hex";

/// A MySQL column type.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum MySqlType {
    TinyInt {
        unsigned: bool,
    },
    /// BOOL, BOOLEAN and TINYINT(1).
    Bool,
    SmallInt {
        unsigned: bool,
    },
    MediumInt {
        unsigned: bool,
    },
    Int {
        unsigned: bool,
    },
    BigInt {
        unsigned: bool,
    },
    Decimal {
        precision: u8,
        scale: u8,
        unsigned: bool,
    },
    Float {
        unsigned: bool,
    },
    Double {
        unsigned: bool,
    },
    /// Lengths are in characters.
    Char(u32),
    VarChar(u32),
    TinyText,
    Text,
    MediumText,
    LongText,
    /// Lengths are in bytes.
    Binary(u32),
    VarBinary(u32),
    TinyBlob,
    Blob,
    MediumBlob,
    LongBlob,
    Date,
    /// Digits of the fraction of a second, 0 to 6.
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    Year,
    Json,
    Enum(Vec<String>),
    Set(Vec<String>),
    Bit(u8),
}

impl MySqlType {
    /// Reads a type of a parsed CREATE or ALTER TABLE.
    pub fn from_ast(ty: &ast::DataType) -> Result<MySqlType> {
        use ast::DataType as A;
        let int = |display: &Option<u64>, unsigned: bool, ty: fn(bool) -> MySqlType| {
            let _ = display; // A display width changes nothing that is stored or sent.
            ty(unsigned)
        };
        Ok(match ty {
            A::Bool | A::Boolean => MySqlType::Bool,
            A::TinyInt(Some(1)) => MySqlType::Bool,
            A::TinyInt(width) => int(width, false, |unsigned| MySqlType::TinyInt { unsigned }),
            A::TinyIntUnsigned(width) => int(width, true, |unsigned| MySqlType::TinyInt { unsigned }),
            A::SmallInt(width) | A::Int2(width) => int(width, false, |unsigned| MySqlType::SmallInt { unsigned }),
            A::SmallIntUnsigned(width) | A::Int2Unsigned(width) => {
                int(width, true, |unsigned| MySqlType::SmallInt { unsigned })
            }
            A::MediumInt(width) => int(width, false, |unsigned| MySqlType::MediumInt { unsigned }),
            A::MediumIntUnsigned(width) => int(width, true, |unsigned| MySqlType::MediumInt { unsigned }),
            A::Int(width) | A::Integer(width) | A::Int4(width) => {
                int(width, false, |unsigned| MySqlType::Int { unsigned })
            }
            A::IntUnsigned(width) | A::IntegerUnsigned(width) | A::Int4Unsigned(width) => {
                int(width, true, |unsigned| MySqlType::Int { unsigned })
            }
            A::BigInt(width) | A::Int8(width) => int(width, false, |unsigned| MySqlType::BigInt { unsigned }),
            A::BigIntUnsigned(width) | A::Int8Unsigned(width) => {
                int(width, true, |unsigned| MySqlType::BigInt { unsigned })
            }
            A::Signed | A::SignedInteger => MySqlType::BigInt { unsigned: false },
            A::Unsigned | A::UnsignedInteger => MySqlType::BigInt { unsigned: true },
            A::Decimal(info) | A::Numeric(info) | A::Dec(info) => decimal(info, false)?,
            A::DecimalUnsigned(info) | A::DecUnsigned(info) => decimal(info, true)?,
            A::Float(info) => float(info, false),
            A::FloatUnsigned(info) => float(info, true),
            A::Float4 => MySqlType::Float { unsigned: false },
            A::Double(_) | A::DoublePrecision | A::Real | A::Float8 => MySqlType::Double { unsigned: false },
            A::DoubleUnsigned(_) | A::DoublePrecisionUnsigned | A::RealUnsigned => MySqlType::Double { unsigned: true },
            A::Char(length) | A::Character(length) => MySqlType::Char(characters(length, 1, 255)?),
            A::Varchar(length) | A::CharVarying(length) | A::CharacterVarying(length) | A::Nvarchar(length) => {
                MySqlType::VarChar(characters(length, u64::MAX, 65_535)?)
            }
            A::TinyText => MySqlType::TinyText,
            A::Text | A::String(None) => MySqlType::Text,
            A::MediumText => MySqlType::MediumText,
            A::LongText => MySqlType::LongText,
            A::Binary(length) => MySqlType::Binary(bounded(length.unwrap_or(1), 255)?),
            A::Varbinary(Some(ast::BinaryLength::IntegerLength { length })) => {
                MySqlType::VarBinary(bounded(*length, 65_535)?)
            }
            A::TinyBlob => MySqlType::TinyBlob,
            A::Blob(_) => MySqlType::Blob,
            A::MediumBlob => MySqlType::MediumBlob,
            A::LongBlob => MySqlType::LongBlob,
            A::Date => MySqlType::Date,
            A::Time(fsp, _) => MySqlType::Time(fraction(*fsp)?),
            A::Datetime(fsp) => MySqlType::DateTime(fraction(*fsp)?),
            A::Timestamp(fsp, _) => MySqlType::Timestamp(fraction(*fsp)?),
            A::JSON => MySqlType::Json,
            A::Enum(members, _) => MySqlType::Enum(
                members
                    .iter()
                    .map(|member| match member {
                        EnumMember::Name(name) => Ok(name.clone()),
                        EnumMember::NamedValue(..) => Err(Error::unsupported("ENUM members with values")),
                    })
                    .collect::<Result<_>>()?,
            ),
            A::Set(members) => {
                if members.len() > 64 {
                    return Err(Error::new(1097, "HY000", "Too many strings for column and SET"));
                }
                MySqlType::Set(members.clone())
            }
            A::Bit(width) => MySqlType::Bit(bounded(width.unwrap_or(1), 64)? as u8),
            A::Custom(name, arguments) => {
                let name = name.to_string();
                let unsigned = arguments.iter().any(|argument| argument.eq_ignore_ascii_case("unsigned"));
                match name.to_ascii_lowercase().as_str() {
                    "year" => MySqlType::Year,
                    "serial" => MySqlType::BigInt { unsigned: true },
                    "fixed" => MySqlType::Decimal { precision: 10, scale: 0, unsigned },
                    "longvarchar" => MySqlType::MediumText,
                    _ => return Err(Error::unsupported(format!("the type {ty}"))),
                }
            }
            other => return Err(Error::unsupported(format!("the type {other}"))),
        })
    }

    /// Reads a declared text, as `Display` writes it.
    pub fn parse(declared: &str) -> Result<MySqlType> {
        let declared = declared.trim();
        let unknown = || Error::unsupported(format!("the type {declared}"));
        let name_end = declared.find([' ', '(']).unwrap_or(declared.len());
        let name = declared[..name_end].to_ascii_lowercase();
        let rest = declared[name_end..].trim_start();
        let (arguments, suffix) = match rest.strip_prefix('(') {
            Some(inner) => {
                let close = inner.rfind(')').ok_or_else(unknown)?;
                (Some(&inner[..close]), inner[close + 1..].trim())
            }
            None => (None, rest),
        };
        let unsigned =
            suffix.to_ascii_lowercase().split_whitespace().any(|word| word == "unsigned" || word == "zerofill");
        let numbers: Vec<u64> = match arguments {
            Some(text) if !text.contains('\'') => {
                text.split(',').map(|part| part.trim().parse().map_err(|_| unknown())).collect::<Result<_>>()?
            }
            _ => Vec::new(),
        };
        let first = numbers.first().copied();
        let exact = match numbers[..] {
            [precision] => ExactNumberInfo::Precision(precision),
            [precision, scale] => ExactNumberInfo::PrecisionAndScale(precision, scale as i64),
            _ => ExactNumberInfo::None,
        };
        Ok(match name.as_str() {
            "tinyint" if first == Some(1) && !unsigned => MySqlType::Bool,
            "bool" | "boolean" => MySqlType::Bool,
            "tinyint" => MySqlType::TinyInt { unsigned },
            "smallint" => MySqlType::SmallInt { unsigned },
            "mediumint" => MySqlType::MediumInt { unsigned },
            "int" | "integer" => MySqlType::Int { unsigned },
            "bigint" => MySqlType::BigInt { unsigned },
            "decimal" | "numeric" => decimal(&exact, unsigned)?,
            "float" => float(&exact, unsigned),
            "double" | "real" => MySqlType::Double { unsigned },
            "char" => MySqlType::Char(bounded(first.unwrap_or(1), 255)?),
            "varchar" => MySqlType::VarChar(bounded(first.ok_or_else(unknown)?, 65_535)?),
            "tinytext" => MySqlType::TinyText,
            "text" => MySqlType::Text,
            "mediumtext" => MySqlType::MediumText,
            "longtext" => MySqlType::LongText,
            "binary" => MySqlType::Binary(bounded(first.unwrap_or(1), 255)?),
            "varbinary" => MySqlType::VarBinary(bounded(first.ok_or_else(unknown)?, 65_535)?),
            "tinyblob" => MySqlType::TinyBlob,
            "blob" => MySqlType::Blob,
            "mediumblob" => MySqlType::MediumBlob,
            "longblob" => MySqlType::LongBlob,
            "date" => MySqlType::Date,
            "time" => MySqlType::Time(fraction(first)?),
            "datetime" => MySqlType::DateTime(fraction(first)?),
            "timestamp" => MySqlType::Timestamp(fraction(first)?),
            "year" => MySqlType::Year,
            "json" => MySqlType::Json,
            "enum" => MySqlType::Enum(quoted_list(arguments.ok_or_else(unknown)?).ok_or_else(unknown)?),
            "set" => MySqlType::Set(quoted_list(arguments.ok_or_else(unknown)?).ok_or_else(unknown)?),
            "bit" => MySqlType::Bit(bounded(first.unwrap_or(1), 64)? as u8),
            _ => return Err(unknown()),
        })
    }

    /// Returns how values are stored.
    pub fn storage(&self) -> Type {
        use MySqlType as M;
        match self {
            M::Bool | M::TinyInt { unsigned: false } => Type::Int8,
            M::TinyInt { unsigned: true } => Type::UInt8,
            M::SmallInt { unsigned: false } => Type::Int16,
            M::SmallInt { unsigned: true } => Type::UInt16,
            M::MediumInt { unsigned: false } | M::Int { unsigned: false } => Type::Int32,
            M::MediumInt { unsigned: true } | M::Int { unsigned: true } => Type::UInt32,
            M::BigInt { unsigned: false } => Type::Int64,
            M::BigInt { unsigned: true } | M::Bit(_) => Type::UInt64,
            M::Decimal { precision, scale, .. } => Type::Decimal(*precision, *scale as i8),
            M::Float { .. } => Type::Float32,
            M::Double { .. } => Type::Float64,
            M::Char(_) | M::VarChar(_) | M::TinyText | M::Text | M::MediumText | M::LongText => Type::Text,
            M::Json | M::Enum(_) | M::Set(_) => Type::Text,
            M::Binary(_) | M::VarBinary(_) | M::TinyBlob | M::Blob | M::MediumBlob | M::LongBlob => Type::Bytes,
            M::Date => Type::Date,
            M::Time(_) => Type::Duration,
            M::DateTime(_) | M::Timestamp(_) => Type::DateTime,
            M::Year => Type::UInt16,
        }
    }

    #[cfg(test)]
    pub fn field(&self, name: &str, nullable: bool) -> Field {
        let declared = std::collections::HashMap::from([(DECLARED.to_owned(), self.to_string())]);
        Field::new(name, self.storage().arrow(), nullable).with_metadata(declared)
    }

    pub fn unsigned(&self) -> bool {
        use MySqlType as M;
        match self {
            M::TinyInt { unsigned } | M::SmallInt { unsigned } | M::MediumInt { unsigned } => *unsigned,
            M::Int { unsigned } | M::BigInt { unsigned } => *unsigned,
            M::Decimal { unsigned, .. } | M::Float { unsigned } | M::Double { unsigned } => *unsigned,
            M::Year | M::Bit(_) => true,
            _ => false,
        }
    }

    /// Returns the protocol's type.
    pub fn kind(&self) -> ColumnKind {
        use MySqlType as M;
        match self {
            M::TinyInt { .. } | M::Bool => ColumnKind::Tiny,
            M::SmallInt { .. } => ColumnKind::Short,
            M::MediumInt { .. } => ColumnKind::Int24,
            M::Int { .. } => ColumnKind::Long,
            M::BigInt { .. } => ColumnKind::LongLong,
            M::Decimal { .. } => ColumnKind::NewDecimal,
            M::Float { .. } => ColumnKind::Float,
            M::Double { .. } => ColumnKind::Double,
            M::Char(_) => ColumnKind::String,
            M::VarChar(_) => ColumnKind::VarString,
            M::TinyText | M::Text | M::MediumText | M::LongText => ColumnKind::Text,
            M::Binary(_) | M::VarBinary(_) => ColumnKind::VarBinary,
            M::TinyBlob | M::Blob | M::MediumBlob | M::LongBlob => ColumnKind::Blob,
            M::Date => ColumnKind::Date,
            M::Time(_) => ColumnKind::Time,
            M::DateTime(_) => ColumnKind::DateTime,
            M::Timestamp(_) => ColumnKind::Timestamp,
            M::Year => ColumnKind::Year,
            M::Json => ColumnKind::Json,
            M::Enum(_) => ColumnKind::Enum,
            M::Set(_) => ColumnKind::Set,
            M::Bit(_) => ColumnKind::Bit,
        }
    }

    /// Returns the fractional digits that the protocol reports; 31 for floating point.
    pub fn decimals(&self) -> u8 {
        match self {
            MySqlType::Decimal { scale, .. } => *scale,
            MySqlType::Float { .. } | MySqlType::Double { .. } => 31,
            MySqlType::Time(fsp) | MySqlType::DateTime(fsp) | MySqlType::Timestamp(fsp) => *fsp,
            _ => 0,
        }
    }

    /// Returns the display length in bytes that the protocol reports.
    pub fn length(&self) -> u32 {
        use MySqlType as M;
        let with_fsp = |base: u32, fsp: u8| base + if fsp > 0 { u32::from(fsp) + 1 } else { 0 };
        match self {
            M::Bool => 1,
            M::TinyInt { unsigned } => 4 - u32::from(*unsigned),
            M::SmallInt { unsigned } => 6 - u32::from(*unsigned),
            M::MediumInt { unsigned } => 9 - u32::from(*unsigned),
            M::Int { unsigned } => 11 - u32::from(*unsigned),
            M::BigInt { .. } => 20,
            M::Decimal { precision, scale, unsigned } => {
                u32::from(*precision) + u32::from(*scale > 0) + u32::from(!*unsigned)
            }
            M::Float { .. } => 12,
            M::Double { .. } => 22,
            M::Char(length) | M::VarChar(length) => length * 4,
            M::TinyText => 255 * 4,
            M::Text => 65_535 * 4,
            M::MediumText => 16_777_215 * 4,
            M::LongText | M::LongBlob | M::Json => u32::MAX,
            M::Binary(length) | M::VarBinary(length) => *length,
            M::TinyBlob => 255,
            M::Blob => 65_535,
            M::MediumBlob => 16_777_215,
            M::Date => 10,
            M::Time(fsp) => with_fsp(10, *fsp),
            M::DateTime(fsp) | M::Timestamp(fsp) => with_fsp(19, *fsp),
            M::Year => 4,
            M::Enum(names) => names.iter().map(|name| name.chars().count() as u32).max().unwrap_or(0) * 4,
            M::Set(names) => {
                let all: u32 = names.iter().map(|name| name.chars().count() as u32 + 1).sum();
                all.saturating_sub(1) * 4
            }
            M::Bit(width) => u32::from(*width),
        }
    }

    /// Returns the name without arguments: `DATA_TYPE` of information_schema.
    pub fn data_type(&self) -> &'static str {
        use MySqlType as M;
        match self {
            M::TinyInt { .. } | M::Bool => "tinyint",
            M::SmallInt { .. } => "smallint",
            M::MediumInt { .. } => "mediumint",
            M::Int { .. } => "int",
            M::BigInt { .. } => "bigint",
            M::Decimal { .. } => "decimal",
            M::Float { .. } => "float",
            M::Double { .. } => "double",
            M::Char(_) => "char",
            M::VarChar(_) => "varchar",
            M::TinyText => "tinytext",
            M::Text => "text",
            M::MediumText => "mediumtext",
            M::LongText => "longtext",
            M::Binary(_) => "binary",
            M::VarBinary(_) => "varbinary",
            M::TinyBlob => "tinyblob",
            M::Blob => "blob",
            M::MediumBlob => "mediumblob",
            M::LongBlob => "longblob",
            M::Date => "date",
            M::Time(_) => "time",
            M::DateTime(_) => "datetime",
            M::Timestamp(_) => "timestamp",
            M::Year => "year",
            M::Json => "json",
            M::Enum(_) => "enum",
            M::Set(_) => "set",
            M::Bit(_) => "bit",
        }
    }

    /// Tells whether values are text with a character set.
    pub fn is_text(&self) -> bool {
        use MySqlType as M;
        matches!(
            self,
            M::Char(_) | M::VarChar(_) | M::TinyText | M::Text | M::MediumText | M::LongText | M::Enum(_) | M::Set(_)
        )
    }

    /// `CHARACTER_MAXIMUM_LENGTH`: characters of text, bytes of binary types.
    pub fn character_maximum_length(&self) -> Option<u64> {
        use MySqlType as M;
        Some(match self {
            M::Char(length) | M::VarChar(length) | M::Binary(length) | M::VarBinary(length) => u64::from(*length),
            M::TinyText | M::TinyBlob => 255,
            M::Text | M::Blob => 65_535,
            M::MediumText | M::MediumBlob => 16_777_215,
            M::LongText | M::LongBlob => 4_294_967_295,
            M::Enum(_) | M::Set(_) => u64::from(self.length() / 4),
            _ => return None,
        })
    }

    /// `CHARACTER_OCTET_LENGTH`.
    pub fn character_octet_length(&self) -> Option<u64> {
        let length = self.character_maximum_length()?;
        let wide = matches!(self, MySqlType::Char(_) | MySqlType::VarChar(_) | MySqlType::Enum(_) | MySqlType::Set(_));
        Some(if wide { length * 4 } else { length })
    }

    /// `NUMERIC_PRECISION`.
    pub fn numeric_precision(&self) -> Option<u64> {
        use MySqlType as M;
        Some(match self {
            M::TinyInt { .. } | M::Bool => 3,
            M::SmallInt { .. } => 5,
            M::MediumInt { .. } => 7,
            M::Int { .. } => 10,
            M::BigInt { unsigned } => 19 + u64::from(*unsigned),
            M::Decimal { precision, .. } => u64::from(*precision),
            M::Float { .. } => 12,
            M::Double { .. } => 22,
            M::Bit(width) => u64::from(*width),
            _ => return None,
        })
    }

    /// `NUMERIC_SCALE`.
    pub fn numeric_scale(&self) -> Option<u64> {
        use MySqlType as M;
        match self {
            M::Decimal { scale, .. } => Some(u64::from(*scale)),
            M::TinyInt { .. }
            | M::Bool
            | M::SmallInt { .. }
            | M::MediumInt { .. }
            | M::Int { .. }
            | M::BigInt { .. } => Some(0),
            _ => None,
        }
    }

    /// `DATETIME_PRECISION`.
    pub fn datetime_precision(&self) -> Option<u64> {
        match self {
            MySqlType::Time(fsp) | MySqlType::DateTime(fsp) | MySqlType::Timestamp(fsp) => Some(u64::from(*fsp)),
            _ => None,
        }
    }
}

impl fmt::Display for MySqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use MySqlType as M;
        let name = self.data_type();
        match self {
            M::Bool => f.write_str("tinyint(1)")?,
            M::Decimal { precision, scale, .. } => write!(f, "decimal({precision},{scale})")?,
            M::Char(length) | M::VarChar(length) | M::Binary(length) | M::VarBinary(length) => {
                write!(f, "{name}({length})")?;
            }
            M::Time(fsp) | M::DateTime(fsp) | M::Timestamp(fsp) if *fsp > 0 => write!(f, "{name}({fsp})")?,
            M::Bit(width) => write!(f, "bit({width})")?,
            M::Enum(names) | M::Set(names) => {
                write!(f, "{name}(")?;
                for (index, name) in names.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}'{}'", name.replace('\'', "''"))?;
                }
                f.write_str(")")?;
            }
            _ => f.write_str(name)?,
        }
        let shown = self.unsigned() && !matches!(self, M::Year | M::Bit(_));
        f.write_str(if shown { " unsigned" } else { "" })
    }
}

/// Returns the declared type that travels on a field, if one does.
pub fn declared(field: &Field) -> Option<MySqlType> {
    field.metadata().get(DECLARED).and_then(|text| MySqlType::parse(text).ok())
}

/// Tells whether a field holds JSON documents.
pub fn is_json(field: &Field) -> bool {
    field.metadata().get(DECLARED).is_some_and(|text| text == "json")
}

/// Returns the declared fractional digits of a time, datetime or timestamp field.
pub fn declared_fsp(field: &Field) -> Option<u8> {
    let text = field.metadata().get(DECLARED)?;
    let temporal = ["time", "datetime", "timestamp"].iter().any(|name| text.starts_with(name));
    if !temporal {
        return None;
    }
    let digits = text.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    Some(digits.and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

/// Returns the metadata that a value of a time, datetime, timestamp or year field keeps when it becomes another column's:
/// how it is declared, which says how it is shown, and nothing else of its column.
pub fn temporal(field: &Field) -> Option<HashMap<String, String>> {
    use MySqlType as M;
    let is_temporal = matches!(declared(field)?, M::Time(_) | M::DateTime(_) | M::Timestamp(_) | M::Year);
    is_temporal.then(|| HashMap::from([(DECLARED.to_owned(), field.metadata()[DECLARED].clone())]))
}

/// Returns what the protocol says of a result column: (kind, unsigned, decimals, length). A column that passed through
/// unchanged is described by its declaration, an expression by its Arrow type.
pub fn column_meta(field: &Field) -> (ColumnKind, bool, u8, u32) {
    if let Some(ty) = declared(field)
        && ty.storage().arrow() == plain(field.data_type())
    {
        return (ty.kind(), ty.unsigned(), ty.decimals(), ty.length());
    }
    match field.data_type() {
        DataType::Null => (ColumnKind::Null, false, 0, 0),
        DataType::Boolean => (ColumnKind::Tiny, false, 0, 1),
        DataType::Int8 => (ColumnKind::Tiny, false, 0, 4),
        DataType::UInt8 => (ColumnKind::Tiny, true, 0, 3),
        DataType::Int16 => (ColumnKind::Short, false, 0, 6),
        DataType::UInt16 => (ColumnKind::Short, true, 0, 5),
        DataType::Int32 => (ColumnKind::Long, false, 0, 11),
        DataType::UInt32 => (ColumnKind::Long, true, 0, 10),
        DataType::Int64 => (ColumnKind::LongLong, false, 0, 21),
        DataType::UInt64 => (ColumnKind::LongLong, true, 0, 20),
        DataType::Float32 => (ColumnKind::Float, false, 31, 12),
        DataType::Float64 => (ColumnKind::Double, false, 31, 23),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            (ColumnKind::NewDecimal, false, (*scale).max(0) as u8, u32::from(*precision) + 1 + u32::from(*scale > 0))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            (ColumnKind::VarBinary, false, 31, 65_535)
        }
        DataType::Date32 => (ColumnKind::Date, false, 0, 10),
        DataType::Timestamp(..) => (ColumnKind::DateTime, false, 0, 26),
        DataType::Duration(_) => (ColumnKind::Time, false, 0, 17),
        _ => (ColumnKind::VarString, false, 31, 65_535 * 4),
    }
}

/// Names the type that stands for every layout of the same values.
fn plain(ty: &DataType) -> DataType {
    match ty {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Timestamp(TimeUnit::Nanosecond, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        other => other.clone(),
    }
}

fn decimal(info: &ExactNumberInfo, unsigned: bool) -> Result<MySqlType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let precision = if precision == 0 { 10 } else { precision };
    if !(0..=30).contains(&scale) {
        return Err(Error::new(1425, "42000", format!("Too big scale {scale} specified. Maximum is 30.")));
    }
    if scale as u64 > precision {
        let message = "For float(M,D), double(M,D) or decimal(M,D), M must be >= D";
        return Err(Error::new(1427, "42000", message));
    }
    if precision > 38 {
        return Err(Error::unsupported(format!("DECIMAL({precision},{scale}): at most 38 digits")));
    }
    Ok(MySqlType::Decimal { precision: precision as u8, scale: scale as u8, unsigned })
}

fn float(info: &ExactNumberInfo, unsigned: bool) -> MySqlType {
    match info {
        ExactNumberInfo::Precision(25..) => MySqlType::Double { unsigned },
        _ => MySqlType::Float { unsigned },
    }
}

/// A length with no default (`u64::MAX`) must be given.
fn characters(length: &Option<ast::CharacterLength>, default: u64, max: u64) -> Result<u32> {
    match length {
        Some(ast::CharacterLength::IntegerLength { length, .. }) => bounded(*length, max),
        Some(ast::CharacterLength::Max) => Err(Error::unsupported("VARCHAR(MAX)")),
        None if default == u64::MAX => Err(Error::syntax("VARCHAR needs a length, such as VARCHAR(255)")),
        None => Ok(default as u32),
    }
}

fn bounded(length: u64, max: u64) -> Result<u32> {
    if length <= max {
        return Ok(length as u32);
    }
    let message = format!("Column length too big (max = {max}); use BLOB or TEXT instead");
    Err(Error::new(1074, "42000", message))
}

fn fraction(fsp: Option<u64>) -> Result<u8> {
    match fsp.unwrap_or(0) {
        fsp @ 0..=6 => Ok(fsp as u8),
        fsp => Err(Error::new(1426, "42000", format!("Too-big precision {fsp} specified. Maximum is 6."))),
    }
}

/// Reads `'a','b'` with doubled quotes.
fn quoted_list(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut chars = text.trim().chars().peekable();
    loop {
        if chars.next()? != '\'' {
            return None;
        }
        let mut name = String::new();
        loop {
            match chars.next()? {
                '\'' if chars.peek() == Some(&'\'') => name.push(chars.next()?),
                '\'' => break,
                other => name.push(other),
            }
        }
        names.push(name);
        while chars.peek().is_some_and(|next| next.is_whitespace()) {
            chars.next();
        }
        match chars.next() {
            None => return Some(names),
            Some(',') => {}
            Some(_) => return None,
        }
        while chars.peek().is_some_and(|next| next.is_whitespace()) {
            chars.next();
        }
    }
}

#[cfg(test)]
mod tests;
