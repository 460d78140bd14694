//! The client's errors as Python's exceptions: the classes are in `strandline.exceptions`.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use strandline_client::{Error, Kind};

/// Returns the exception for an error of a verb whose own class is `family`.
pub fn exception(py: Python<'_>, error: &Error, family: &str) -> PyErr {
    let name = match error.kind() {
        Kind::Connection => "ConnectionError",
        Kind::Config => "ConfigError",
        _ => family,
    };
    let make = || -> PyResult<Bound<'_, PyAny>> {
        let details = PyDict::new(py);
        details.set_item("code", error.code())?;
        details.set_item("sqlstate", error.sqlstate())?;
        details.set_item("hint", error.hint())?;
        details.set_item("kind", error.kind().as_str())?;
        py.import("strandline.exceptions")?.getattr(name)?.call((error.message(),), Some(&details))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}
