//! A client: SQL text in, rows out, and the verbs over it.

use futures::stream::{self, Stream};

use crate::clones::Clones;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::link::{Answer, Canceller, Link};
use crate::pitr::Pitr;
use crate::remote;
use crate::restore::Restores;
use crate::retention::Retention;
use crate::schedule::Schedules;
use crate::snapshot::Snapshots;
use crate::sql;
use crate::transaction::Transaction;
use crate::value::{Column, Value};

/// A session at a server, or in the engine of this process: one statement at a time.
pub struct Client {
    link: Link,
    /// The session that reads snapshots, so that this one's database and transaction stay as they are.
    past: Option<Link>,
    canceller: Canceller,
    /// A transaction was dropped without an end: it is rolled back before the next statement.
    pub(crate) rollback: bool,
}

/// What a statement returned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultSet {
    /// Empty if the statement returns no rows.
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
    pub affected_rows: u64,
    pub last_insert_id: Option<u64>,
    /// What the server adds, such as `Rows matched: 1  Changed: 1  Warnings: 0`; mostly empty.
    pub info: String,
    pub warnings: u16,
}

impl Client {
    /// Connects and logs in: with a [`Config`], or with its URL.
    pub async fn connect<C>(config: C) -> Result<Client>
    where
        C: TryInto<Config>,
        Error: From<C::Error>,
    {
        let config: Config = config.try_into()?;
        Ok(Client::over(Link::Remote(Box::new(remote::Session::connect(&config).await?))))
    }

    /// Opens the store in a folder, in this process, as root; makes it if it is not there.
    ///
    /// Several clients of one process share the store; another process is refused while one of them is open.
    #[cfg(feature = "embedded")]
    pub async fn open(folder: impl AsRef<std::path::Path>) -> Result<Client> {
        Client::open_as(folder, "root").await
    }

    /// As [`Client::open`], as one of the store's users (`user` or `account:user`). No password: whoever can read the
    /// folder can read the store.
    #[cfg(feature = "embedded")]
    pub async fn open_as(folder: impl AsRef<std::path::Path>, user: &str) -> Result<Client> {
        let session = crate::embedded::Session::open(folder.as_ref(), user, None).await?;
        Ok(Client::over(Link::Embedded(Box::new(session))))
    }

    /// As [`Client::open`], of a store that keeps its files in S3-compatible storage, `s3://bucket/prefix`. Keys and
    /// endpoint come from the `AWS_*` variables. A store that is there remembers the place, and refuses another.
    #[cfg(feature = "embedded")]
    pub async fn open_with_objects(folder: impl AsRef<std::path::Path>, objects: &str) -> Result<Client> {
        let session = crate::embedded::Session::open(folder.as_ref(), "root", Some(objects)).await?;
        Ok(Client::over(Link::Embedded(Box::new(session))))
    }

    fn over(link: Link) -> Client {
        let canceller = Canceller::default();
        canceller.add(&link);
        Client { link, past: None, canceller, rollback: false }
    }

    /// Returns the number of this connection, for `KILL QUERY`.
    pub fn id(&self) -> u32 {
        self.link.id()
    }

    /// Returns the server's version as it greets with it.
    pub fn server_version(&self) -> String {
        self.link.server_version()
    }

    /// Returns what ends this client's running statement from another task or thread.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Runs a statement and reads all that it returns into memory.
    ///
    /// A text of several statements runs to its end or to the first error; the first one's rows are returned.
    pub async fn query(&mut self, sql: &str) -> Result<ResultSet> {
        self.start(sql, None).await?.collect().await
    }

    /// Runs one statement in which each `?` stands for a parameter.
    ///
    /// ```no_run
    /// # async fn example(client: &mut strandline_client::Client) -> strandline_client::Result<()> {
    /// client.query_with("SELECT * FROM users WHERE id = ? OR name = ?", &[7.into(), "ada".into()]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query_with(&mut self, sql: &str, parameters: &[Value]) -> Result<ResultSet> {
        self.start(sql, Some(parameters)).await?.collect().await
    }

    /// Runs a statement and returns its rows as they come, without holding them all.
    pub async fn stream(&mut self, sql: &str) -> Result<Rows<'_>> {
        Ok(Rows(self.start(sql, None).await?))
    }

    /// Runs a query against a snapshot. Names without a database mean the snapshot's own; writes are refused (1792).
    ///
    /// Time zone and SQL mode are this session's; its database and transaction are left alone.
    pub async fn query_snapshot(&mut self, snapshot: &str, sql: &str) -> Result<ResultSet> {
        let found = self
            .query(&format!(
                "SELECT database_name, DATABASE(), @@time_zone, @@sql_mode FROM mo_catalog.mo_snapshots WHERE LOWER(sname) = {}",
                sql::text(&snapshot.to_lowercase())
            ))
            .await?;
        let Some(row) = found.rows.first() else { return Err(self.no_snapshot(snapshot).await) };
        let text = |at: usize| row.get(at).and_then(Value::to_text).filter(|text| !text.is_empty());
        let zone = text(2).unwrap_or_else(|| "SYSTEM".to_owned());
        let mode = text(3).unwrap_or_default();
        let past = match &mut self.past {
            Some(past) => past,
            past => {
                let link = self.link.another().await?;
                self.canceller.add(&link);
                past.insert(link)
            }
        };
        let settings = format!("SET time_zone = {}, sql_mode = {}", sql::text(&zone), sql::text(&mode));
        let as_of = format!("SET as_of = {}", sql::text(&format!("snapshot:{snapshot}")));
        // A past that could not be left again must not answer the next question.
        let result = read_past(past, [Some(settings), Some(as_of), text(0).or(text(1)).map(use_of)], sql).await;
        if run(past, "SET as_of = ''").await.is_err() {
            self.past = None;
        }
        result
    }

    /// Begins a transaction. It is rolled back unless it is committed.
    pub async fn begin(&mut self) -> Result<Transaction<'_>> {
        self.query("START TRANSACTION").await?;
        Ok(Transaction::new(self))
    }

    /// Returns the verbs about snapshots.
    pub fn snapshots(&mut self) -> Snapshots<'_> {
        Snapshots { client: self }
    }

    /// Returns the verbs that bring something back.
    pub fn restore(&mut self) -> Restores<'_> {
        Restores { client: self }
    }

    /// Returns the verbs about recovery windows.
    pub fn pitr(&mut self) -> Pitr<'_> {
        Pitr { client: self }
    }

    /// Returns the verbs that clone.
    pub fn clones(&mut self) -> Clones<'_> {
        Clones { client: self }
    }

    /// Returns the verbs about which snapshots are kept.
    pub fn retention(&mut self) -> Retention<'_> {
        Retention { client: self }
    }

    /// Returns the verbs about snapshots taken by the clock.
    pub fn schedules(&mut self) -> Schedules<'_> {
        Schedules { client: self }
    }

    /// Takes leave. What was not committed is rolled back.
    pub async fn close(self) -> Result<()> {
        if let Some(past) = self.past {
            past.close().await?;
        }
        self.link.close().await
    }

    async fn start(&mut self, sql: &str, parameters: Option<&[Value]>) -> Result<Answer<'_>> {
        if self.rollback {
            run(&mut self.link, "ROLLBACK").await?;
            self.rollback = false;
        }
        self.link.start(sql, parameters).await
    }

    /// Returns the error for a snapshot that is not there, as the database words it.
    pub(crate) async fn no_snapshot(&mut self, name: &str) -> Error {
        // Everybody may ask this.
        match self.query(&format!("SHOW DATABASES {{SNAPSHOT = {}}}", sql::text(name))).await {
            Err(error) if error.kind() == Kind::Refused => error.of_kind(Kind::NotFound),
            Err(error) => error,
            Ok(_) => {
                // There is one, of something on which the user has no right.
                Error::new(Kind::NotFound, format!("No snapshot '{name}'.")).with_hint("List them with SHOW SNAPSHOTS.")
            }
        }
    }
}

fn use_of(database: String) -> String {
    format!("USE {}", sql::name(&database))
}

async fn read_past(past: &mut Link, before: [Option<String>; 3], sql: &str) -> Result<ResultSet> {
    for statement in before.iter().flatten() {
        run(past, statement).await?;
    }
    run(past, sql).await
}

async fn run(link: &mut Link, sql: &str) -> Result<ResultSet> {
    link.start(sql, None).await?.collect().await
}

/// The rows of a statement, as they come. The client is free again when it is dropped.
pub struct Rows<'a>(Answer<'a>);

impl<'a> Rows<'a> {
    pub fn columns(&self) -> &[Column] {
        self.0.columns()
    }

    /// Returns the next row, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        self.0.next().await
    }

    /// Returns the rows as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Vec<Value>>> + 'a {
        stream::try_unfold(self, |mut rows| async move { Ok(rows.next().await?.map(|row| (row, rows))) })
    }
}
