//! Tests of the core as one piece: a reference model under random operations, and the invariants by name.

mod machine;
mod model;
mod support;
