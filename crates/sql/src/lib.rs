//! MySQL's language over the Strandline core. DataFusion lives here, and nowhere else.

pub mod api;
pub mod error;
pub mod processes;
pub mod session;
