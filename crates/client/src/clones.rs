//! The verbs that clone: another name for what a table or database holds. Nothing is copied.

use crate::client::Client;
use crate::error::Result;
use crate::scope::When;
use crate::sql::{self, TableName};

/// The verbs that clone. Inside a transaction, a clone belongs to it.
pub struct Clones<'a> {
    pub(crate) client: &'a mut Client,
}

impl Clones<'_> {
    /// Clones a database as it is or was at a moment.
    pub async fn database(&mut self, source: &str, target: &str, at: &When) -> Result<()> {
        let (target, source) = (sql::name(target), sql::name(source));
        self.client.query(&format!("CREATE DATABASE {target} CLONE {source}{}", moment(at))).await?;
        Ok(())
    }

    /// Clones a table as it is or was at a moment.
    pub async fn table(&mut self, source: &TableName, target: &TableName, at: &When) -> Result<()> {
        self.client.query(&format!("CREATE TABLE {target} CLONE {source}{}", moment(at))).await?;
        Ok(())
    }
}

fn moment(at: &When) -> String {
    match at {
        When::Now => String::new(),
        When::Version(version) => format!(" {{VERSION = {version}}}"),
        When::Snapshot(name) => format!(" {{SNAPSHOT = {}}}", sql::text(name)),
        When::Time(_) | When::Words(_) => format!(" {{TIMESTAMP = {}}}", at.time()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment(&When::Now), "");
        assert_eq!(moment(&When::Snapshot("it's".into())), " {SNAPSHOT = 'it''s'}");
        assert_eq!(moment(&When::Words("-1h".into())), " {TIMESTAMP = '-1h'}");
    }
}
