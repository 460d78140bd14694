//! A small result set that is built in memory: the answers of SHOW and the rows of virtual tables.
//!
//! It never reads the store.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use strandline_core::ids::Time;

use crate::api::{ColumnKind, ColumnMeta};
use crate::error::{Error, Result};

/// What a SHOW statement came to: the columns as the protocol names them, and the rows.
#[derive(Clone, Debug)]
pub struct ShowAnswer {
    pub columns: Vec<ColumnMeta>,
    /// As many fields as `columns`, under the same names.
    pub batch: RecordBatch,
}

/// The types that answers are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CellKind {
    /// Utf8, sent as VARCHAR.
    Text,
    /// Utf8, sent as TEXT: definitions and other long things.
    Long,
    /// Int64
    Int,
    /// UInt64
    UInt,
    /// Float64
    Float,
    /// Timestamp(Microsecond, None), sent as DATETIME.
    Time,
}

/// One value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Text(String),
    Int(i64),
    UInt(u64),
    Float(f64),
    Time(Time),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Cell {
        Cell::Text(text.clone())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Cell {
        Cell::UInt(number)
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Cell {
        Cell::UInt(number as u64)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Cell {
        Cell::Int(number)
    }
}

impl From<Time> for Cell {
    fn from(time: Time) -> Cell {
        Cell::Time(time)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

/// Makes a row of anything that turns into cells: `row!["a", 1u64, Cell::Null]`.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($crate::show::answer::Cell::from($cell)),*] };
}
pub(crate) use row;

/// Makes an answer of named columns and rows.
///
/// # Errors
/// 1105 when a row does not fit the columns, which is a defect of ours.
pub fn answer(columns: &[(&str, CellKind)], rows: Vec<Vec<Cell>>) -> Result<ShowAnswer> {
    let schema = schema_of(columns);
    let metas = columns.iter().map(|(name, kind)| column_meta(name, *kind)).collect();
    Ok(ShowAnswer { columns: metas, batch: batch(&schema, columns, rows)? })
}

/// Returns the Arrow schema of such columns. Every field is nullable.
pub fn schema_of(columns: &[(&str, CellKind)]) -> SchemaRef {
    let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(*name, arrow_type(*kind), true)).collect();
    Arc::new(Schema::new(fields))
}

/// Makes one batch of rows.
pub fn batch(schema: &SchemaRef, columns: &[(&str, CellKind)], rows: Vec<Vec<Cell>>) -> Result<RecordBatch> {
    let count = rows.len();
    let mut by_column: Vec<Vec<Cell>> = columns.iter().map(|_| Vec::with_capacity(count)).collect();
    for row in rows {
        if row.len() != columns.len() {
            return Err(Error::internal(format!("BUG: a row of {} cells for {} columns", row.len(), columns.len())));
        }
        for (column, cell) in by_column.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    let arrays: Vec<ArrayRef> =
        columns.iter().zip(by_column).map(|((name, kind), cells)| array(name, *kind, cells)).collect::<Result<_>>()?;
    RecordBatch::try_new(schema.clone(), arrays).map_err(|error| Error::internal(format!("Arrow: {error}")))
}

fn arrow_type(kind: CellKind) -> DataType {
    match kind {
        CellKind::Text | CellKind::Long => DataType::Utf8,
        CellKind::Int => DataType::Int64,
        CellKind::UInt => DataType::UInt64,
        CellKind::Float => DataType::Float64,
        CellKind::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

fn array(name: &str, kind: CellKind, cells: Vec<Cell>) -> Result<ArrayRef> {
    let misfit = |cell: &Cell| Error::internal(format!("BUG: {cell:?} in column '{name}' of kind {kind:?}"));
    match kind {
        CellKind::Text | CellKind::Long => {
            let mut builder = StringBuilder::new();
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    Cell::Text(text) => builder.append_value(text),
                    Cell::Int(number) => builder.append_value(number.to_string()),
                    Cell::UInt(number) => builder.append_value(number.to_string()),
                    other => return Err(misfit(&other)),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        CellKind::Int => {
            let mut builder = Int64Builder::new();
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    Cell::Int(number) => builder.append_value(number),
                    Cell::UInt(number) => builder.append_value(i64::try_from(number).unwrap_or(i64::MAX)),
                    other => return Err(misfit(&other)),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        CellKind::UInt => {
            let mut builder = UInt64Builder::new();
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    Cell::UInt(number) => builder.append_value(number),
                    Cell::Int(number) if number >= 0 => builder.append_value(number.unsigned_abs()),
                    other => return Err(misfit(&other)),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        CellKind::Float => {
            let mut builder = Float64Builder::new();
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    Cell::Float(number) => builder.append_value(number),
                    other => return Err(misfit(&other)),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        CellKind::Time => {
            let mut builder = TimestampMicrosecondBuilder::new();
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    // Metadata tells times to the second, as MySQL does.
                    Cell::Time(time) => builder.append_value(time.0.div_euclid(1_000_000) * 1_000_000),
                    other => return Err(misfit(&other)),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
    }
}

fn column_meta(name: &str, kind: CellKind) -> ColumnMeta {
    let (kind, unsigned, length, decimals) = match kind {
        CellKind::Text => (ColumnKind::VarString, false, 1024, 0),
        CellKind::Long => (ColumnKind::Text, false, 1 << 26, 0),
        CellKind::Int => (ColumnKind::LongLong, false, 21, 0),
        CellKind::UInt => (ColumnKind::LongLong, true, 21, 0),
        CellKind::Float => (ColumnKind::Double, false, 23, 31),
        CellKind::Time => (ColumnKind::DateTime, false, 19, 0),
    };
    ColumnMeta {
        name: name.to_owned(),
        org_name: name.to_owned(),
        table: String::new(),
        org_table: String::new(),
        schema: String::new(),
        kind,
        unsigned,
        not_null: false,
        primary_key: false,
        unique_key: false,
        auto_increment: false,
        decimals,
        length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_columns() {
        let columns = [("Name", CellKind::Text), ("Rows", CellKind::UInt), ("At", CellKind::Time)];
        let rows = vec![row!["t", 3u64, Time(1_500_000)], row![Cell::Null, Cell::Null, Cell::Null]];
        let answer = answer(&columns, rows).unwrap();
        assert_eq!(answer.batch.num_rows(), 2);
        assert_eq!(answer.columns[1].name, "Rows");
        assert!(answer.columns[1].unsigned);
        assert!(answer.batch.column(0).is_null(1));
    }

    #[test]
    fn a_row_that_does_not_fit_is_refused() {
        assert!(answer(&[("a", CellKind::Time)], vec![row!["text"]]).is_err());
        assert!(answer(&[("a", CellKind::Time)], vec![row!["text", 1u64]]).is_err());
    }
}
