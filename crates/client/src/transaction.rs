//! Transactions. A snapshot taken inside one means its commit, and goes with its rollback.

use crate::client::{Client, ResultSet};
use crate::clones::Clones;
use crate::error::Result;
use crate::snapshot::Snapshots;
use crate::value::Value;

/// An open transaction. Dropping it rolls it back, before the client's next statement.
#[must_use = "what is not committed is rolled back"]
pub struct Transaction<'a> {
    client: &'a mut Client,
    ended: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(client: &'a mut Client) -> Transaction<'a> {
        Transaction { client, ended: false }
    }

    pub async fn query(&mut self, sql: &str) -> Result<ResultSet> {
        self.client.query(sql).await
    }

    /// Runs one statement in which each `?` stands for a parameter.
    pub async fn query_with(&mut self, sql: &str, parameters: &[Value]) -> Result<ResultSet> {
        self.client.query_with(sql, parameters).await
    }

    /// Returns the verbs about snapshots, inside the transaction.
    pub fn snapshots(&mut self) -> Snapshots<'_> {
        self.client.snapshots()
    }

    /// Returns the verbs that clone, inside the transaction.
    pub fn clones(&mut self) -> Clones<'_> {
        self.client.clones()
    }

    /// Commits.
    ///
    /// # Errors
    /// Of kind `Conflict` where another transaction was first: everything is rolled back then, and may be run again.
    pub async fn commit(mut self) -> Result<()> {
        self.ended = true;
        self.client.query("COMMIT").await?;
        Ok(())
    }

    pub async fn rollback(mut self) -> Result<()> {
        self.ended = true;
        self.client.query("ROLLBACK").await?;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.client.rollback = true;
        }
    }
}
