//! Arguments from Python, results to Python: plain dicts, lists and values, that the classes of `strandline` are made of.

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use strandline_client::{
    CleanupResult, Column, Level, PitrPolicy, RecoveryPoint, RestoreResult, RestoreStep, ResultSet, Retained,
    RetentionStep, Schedule, Snapshot, Timestamp, Type, Value, When,
};

/// Something that becomes a Python value once the GIL is held.
pub trait ToPython: Send {
    fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

macro_rules! plain {
    ($($ty:ty),*) => {
        $(impl ToPython for $ty {
            fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                self.into_py_any(py)
            }
        })*
    };
}
plain!(bool, u64, u32, f64, String, &'static str);

impl ToPython for () {
    fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.None())
    }
}

impl<T: ToPython> ToPython for Option<T> {
    fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.map_or_else(|| Ok(py.None()), |value| value.to_python(py))
    }
}

impl<T: ToPython> ToPython for Vec<T> {
    fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let items: PyResult<Vec<Py<PyAny>>> = self.into_iter().map(|item| item.to_python(py)).collect();
        Ok(PyList::new(py, items?)?.into_any().unbind())
    }
}

/// Microseconds since 1970, UTC.
impl ToPython for Timestamp {
    fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.as_microsecond().into_pyobject(py)?.into_any().unbind())
    }
}

/// Makes a dict of some fields of a value.
macro_rules! record {
    ($ty:ty, $value:ident => { $($key:literal: $field:expr),* $(,)? }) => {
        impl ToPython for $ty {
            fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                let $value = self;
                let dict = PyDict::new(py);
                $(dict.set_item($key, $field.to_python(py)?)?;)*
                Ok(dict.into_any().unbind())
            }
        }
    };
}

record!(Snapshot, snapshot => {
    "name": snapshot.name,
    "level": snapshot.level.as_str(),
    "account": snapshot.account,
    "database": snapshot.database,
    "tables": snapshot.tables,
    "columns": snapshot.columns,
    "created_at": snapshot.created_at,
    "version": snapshot.version,
    "description": snapshot.description,
    "size_mb": snapshot.size_mb,
    "unique_mb": snapshot.unique_mb,
    "status": snapshot.status,
    "base_snapshot": snapshot.base,
    "compressed": snapshot.compressed,
    "created_by": snapshot.created_by,
    "retain_until": snapshot.retain_until,
});

record!(RestoreStep, step => {
    "action": step.action,
    "database": step.database,
    "table": step.table,
    "rows_before": step.rows_before,
    "rows_after": step.rows_after,
    "reason": step.reason,
});

record!(RestoreResult, result => {
    "backups": result.copies(),
    "steps": result.steps,
    "version_before": result.version_before,
    "version_after": result.version_after,
});

record!(RecoveryPoint, point => {
    "timestamp": point.timestamp,
    "version": point.version,
    "type": point.kind,
    "name": point.name,
    "author": point.author,
    "available": point.available,
});

record!(PitrPolicy, policy => {
    "name": policy.name,
    "level": policy.level.as_str(),
    "account": policy.account,
    "database": policy.database,
    "table": policy.table,
    "range_value": policy.range.length,
    "range_unit": policy.range.unit.as_str(),
    "created_at": policy.created_at,
    "modified_at": policy.modified_at,
    "recoverable_from": policy.recoverable_from,
    "status": policy.status,
});

record!(RetentionStep, step => {
    "snapshot": step.snapshot,
    "deleted": step.deleted,
    "reason": step.reason,
});

record!(Retained, rules => {
    "level": rules.level.as_str(),
    "database": rules.database,
    "tables": rules.tables,
    "keep": rules.keep,
    "time_zone": rules.time_zone,
});

record!(CleanupResult, result => {
    "deleted": result.deleted,
});

record!(Schedule, schedule => {
    "name": schedule.name,
    "level": schedule.level.map(Level::as_str),
    "database": schedule.database,
    "table": schedule.table,
    "rhythm": schedule.rhythm,
    "time_zone": schedule.time_zone,
    "snapshot_name": schedule.snapshot_name,
    "state": schedule.state,
    "next_run": schedule.next_run,
    "last_run": schedule.last_run,
    "last_snapshot": schedule.last_snapshot,
    "last_error": schedule.last_error,
});

impl ToPython for ResultSet {
    fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let rows = PyList::empty(py);
        for row in self.rows {
            let values: PyResult<Vec<_>> =
                row.into_iter().zip(&self.columns).map(|(value, column)| value_of(py, value, column)).collect();
            rows.append(PyTuple::new(py, values?)?)?;
        }
        let columns = self.columns.iter().map(|column| (column.name.as_str(), type_name(column.ty)));
        let dict = PyDict::new(py);
        dict.set_item("columns", PyList::new(py, columns)?)?;
        dict.set_item("rows", rows)?;
        dict.set_item("affected_rows", self.affected_rows)?;
        dict.set_item("last_insert_id", self.last_insert_id)?;
        dict.set_item("info", self.info)?;
        dict.set_item("warnings", self.warnings)?;
        Ok(dict.into_any().unbind())
    }
}

fn type_name(ty: Type) -> &'static str {
    match ty {
        Type::Int => "int",
        Type::UInt => "uint",
        Type::Float => "float",
        Type::Decimal => "decimal",
        Type::Text => "text",
        Type::Bytes => "bytes",
        Type::Date => "date",
        Type::DateTime => "datetime",
        Type::Time => "time",
        Type::Json => "json",
    }
}

/// Returns a value as Python has it. A date that Python does not know (of year 0, say) stays text.
fn value_of<'py>(py: Python<'py>, value: Value, column: &Column) -> PyResult<Bound<'py, PyAny>> {
    let text = match value {
        Value::Null => return Ok(py.None().into_bound(py)),
        Value::Int(value) => return Ok(value.into_pyobject(py)?.into_any()),
        Value::UInt(value) => return Ok(value.into_pyobject(py)?.into_any()),
        Value::Float(value) => return Ok(PyFloat::new(py, value).into_any()),
        Value::Bytes(value) => return Ok(PyBytes::new(py, &value).into_any()),
        Value::Text(text) => text,
    };
    let made = match column.ty {
        Type::Decimal => class(py, &DECIMAL, "decimal", "Decimal")?.call1((text.as_str(),)),
        Type::Date => match numbers(&text).as_slice() {
            [year, month, day] => class(py, &DATE, "datetime", "date")?.call1((year, month, day)),
            _ => return Ok(PyString::new(py, &text).into_any()),
        },
        Type::DateTime => match numbers(&text).as_slice() {
            [year, month, day, hour, minute, second, rest @ ..] => {
                let micros = rest.first().copied().unwrap_or(0);
                class(py, &DATETIME, "datetime", "datetime")?.call1((year, month, day, hour, minute, second, micros))
            }
            _ => return Ok(PyString::new(py, &text).into_any()),
        },
        Type::Time => match numbers(text.trim_start_matches('-')).as_slice() {
            [hours, minutes, seconds, rest @ ..] => {
                let sign = if text.starts_with('-') { -1 } else { 1 };
                let seconds = sign * (hours * 3600 + minutes * 60 + seconds);
                let micros = sign * rest.first().copied().unwrap_or(0);
                class(py, &TIMEDELTA, "datetime", "timedelta")?.call1((0, seconds, micros))
            }
            _ => return Ok(PyString::new(py, &text).into_any()),
        },
        _ => return Ok(PyString::new(py, &text).into_any()),
    };
    Ok(made.unwrap_or_else(|_| PyString::new(py, &text).into_any()))
}

static DECIMAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static DATE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static DATETIME: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static TIMEDELTA: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn class<'a, 'py>(
    py: Python<'py>,
    cell: &'a PyOnceLock<Py<PyAny>>,
    module: &str,
    name: &str,
) -> PyResult<&'a Bound<'py, PyAny>> {
    let class = cell.get_or_try_init(py, || py.import(module)?.getattr(name).map(Bound::unbind))?;
    Ok(class.bind(py))
}

/// Returns the numbers of a date or time; a fraction of a second as microseconds.
fn numbers(text: &str) -> Vec<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut numbers: Vec<i64> = whole.split(['-', ' ', ':']).filter_map(|part| part.parse().ok()).collect();
    if !fraction.is_empty() {
        numbers.extend(format!("{fraction:0<6}").parse::<i64>().ok());
    }
    numbers
}

/// Reads a parameter of a statement. What has no type of its own here comes as text.
pub fn parameter(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if value.is_none() {
        Ok(Value::Null)
    } else if let Ok(value) = value.cast::<PyBool>() {
        Ok(Value::Int(value.is_true().into()))
    } else if value.is_instance_of::<PyInt>() {
        match value.extract::<i64>() {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => Ok(value.extract::<u64>().map_or(Value::Text(value.str()?.to_string()), Value::UInt)),
        }
    } else if let Ok(value) = value.cast::<PyFloat>() {
        Ok(Value::Float(value.value()))
    } else if let Ok(value) = value.cast::<PyString>() {
        Ok(Value::Text(value.to_str()?.to_owned()))
    } else if let Ok(value) = value.extract::<Vec<u8>>() {
        Ok(Value::Bytes(value))
    } else {
        let text = format!("A parameter cannot be a {}.", value.get_type().name()?);
        Err(PyTypeError::new_err(text))
    }
}

/// Reads a moment as `strandline._times` words it.
pub fn when(words: Option<&str>) -> When {
    match words.and_then(|words| words.split_once(':')) {
        None => When::Now,
        Some(("snapshot", name)) => When::Snapshot(name.to_owned()),
        Some(("version", number)) => number.parse().map_or_else(|_| When::Words(number.to_owned()), When::Version),
        Some((_, time)) => When::Words(time.to_owned()),
    }
}
