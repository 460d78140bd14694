//! The native half of the Python package `strandline`: a thin face on the Rust client.
//!
//! ```text
//!   python/strandline  names, defaults, docs ─► Core: one method a verb ─► Call ─┬─ wait()    for Client
//!                                                                                └─ future()  for AsyncClient
//! ```
//! It only moves arguments in and results out. Results are dicts and lists; the classes around them are Python's.

mod call;
mod convert;
mod core;
mod error;

use pyo3::prelude::*;

#[pymodule(name = "_native")]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<core::Core>()?;
    module.add_class::<call::Call>()?;
    module.add_function(wrap_pyfunction!(core::settings, module)?)
}
