//! MySQL's language over the Strandline core. DataFusion lives here, and nowhere else.

pub mod api;
pub mod create_text;
pub mod ddl;
pub mod error;
pub mod expressions;
pub mod functions;
pub mod information_schema;
pub mod parse;
pub mod show;
pub mod types;
pub mod users;
pub mod warning;
