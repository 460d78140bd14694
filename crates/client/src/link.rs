//! The one seam of the crate: SQL text in, rows out, of a server or of the engine in this process.
//!
//! ```text
//!   verbs ─► Client ─► Link ─┬─► remote    MySQL's protocol
//!                            └─► embedded  a session of the engine (feature `embedded`)
//! ```
//! Everything above it is the same for both; nothing above it knows which of the two it has.

use std::sync::{Arc, Mutex};

use crate::client::ResultSet;
#[cfg(feature = "embedded")]
use crate::embedded;
use crate::error::Result;
use crate::remote;
use crate::value::{Column, Value};

/// A session: one statement at a time.
pub enum Link {
    Remote(Box<remote::Session>),
    #[cfg(feature = "embedded")]
    Embedded(Box<embedded::Session>),
}

/// A statement that began to answer.
pub enum Answer<'a> {
    Remote(remote::Answer<'a>),
    #[cfg(feature = "embedded")]
    Embedded(embedded::Answer<'a>),
}

impl Link {
    /// Runs a statement up to its first row. With parameters, each `?` in it stands for one.
    pub async fn start(&mut self, sql: &str, parameters: Option<&[Value]>) -> Result<Answer<'_>> {
        match self {
            Link::Remote(session) => session.start(sql, parameters).await.map(Answer::Remote),
            #[cfg(feature = "embedded")]
            Link::Embedded(session) => session.start(sql, parameters).await.map(Answer::Embedded),
        }
    }

    /// Opens another session, of the same user at the same place.
    pub async fn another(&self) -> Result<Link> {
        match self {
            Link::Remote(session) => session.another().await.map(|session| Link::Remote(Box::new(session))),
            #[cfg(feature = "embedded")]
            Link::Embedded(session) => session.another().map(|session| Link::Embedded(Box::new(session))),
        }
    }

    pub fn id(&self) -> u32 {
        match self {
            Link::Remote(session) => session.id(),
            #[cfg(feature = "embedded")]
            Link::Embedded(session) => session.id(),
        }
    }

    pub fn server_version(&self) -> String {
        match self {
            Link::Remote(session) => session.server_version(),
            #[cfg(feature = "embedded")]
            Link::Embedded(session) => session.server_version(),
        }
    }

    /// Returns what ends this session's running statement from elsewhere.
    pub fn interrupt(&self) -> Interrupt {
        match self {
            Link::Remote(session) => Interrupt::Remote(Box::new(session.interrupt())),
            #[cfg(feature = "embedded")]
            Link::Embedded(session) => Interrupt::Embedded(session.interrupt()),
        }
    }

    pub async fn close(self) -> Result<()> {
        match self {
            Link::Remote(session) => session.close().await,
            #[cfg(feature = "embedded")]
            Link::Embedded(session) => session.close().await,
        }
    }
}

impl Answer<'_> {
    pub fn columns(&self) -> &[Column] {
        match self {
            Answer::Remote(answer) => answer.columns(),
            #[cfg(feature = "embedded")]
            Answer::Embedded(answer) => answer.columns(),
        }
    }

    pub async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        match self {
            Answer::Remote(answer) => answer.next().await,
            #[cfg(feature = "embedded")]
            Answer::Embedded(answer) => answer.next().await,
        }
    }

    /// Reads all that is left into memory.
    pub async fn collect(mut self) -> Result<ResultSet> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
        }
        let mut result = match self {
            Answer::Remote(answer) => answer.finish().await?,
            #[cfg(feature = "embedded")]
            Answer::Embedded(answer) => answer.finish(),
        };
        result.rows = rows;
        Ok(result)
    }
}

/// Ends the running statement of one session.
#[derive(Clone)]
pub enum Interrupt {
    Remote(Box<remote::Interrupt>),
    #[cfg(feature = "embedded")]
    Embedded(embedded::Interrupt),
}

impl Interrupt {
    async fn send(&self) -> Result<()> {
        match self {
            Interrupt::Remote(interrupt) => interrupt.send().await,
            #[cfg(feature = "embedded")]
            Interrupt::Embedded(interrupt) => {
                interrupt.kill_query();
                Ok(())
            }
        }
    }
}

/// Ends what a client runs, from another task or thread. Clones are the same.
#[derive(Clone, Default)]
pub struct Canceller(Arc<Mutex<Vec<Interrupt>>>);

impl Canceller {
    /// Ends the client's running statement with error 1317. Without one, nothing happens.
    pub async fn cancel(&self) -> Result<()> {
        let interrupts = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        for interrupt in interrupts {
            interrupt.send().await?;
        }
        Ok(())
    }

    pub(crate) fn add(&self, link: &Link) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(link.interrupt());
    }
}
