//! The statements about history: snapshots, restore, diff, retention.

use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::parse::HistoryStatement;
use crate::session::Session;

/// Carries out a statement about history.
pub async fn execute(_session: &mut Session, _statement: &HistoryStatement) -> Result<Outcome> {
    Err(Error::unsupported("statements about history"))
}
