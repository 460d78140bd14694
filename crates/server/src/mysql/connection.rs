//! One connection after its login: reads a command, runs it, answers.
//!
//! The task that reads a command also runs it, so that nothing is handed from task to task, and a small statement
//! costs one read and one write.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use mysql_common::constants::{CapabilityFlags, StatusFlags};
use strandline_sql::api::{ColumnMeta, Done, LocalInfile, Outcome, Rows};
use strandline_sql::error::{Error, Result};
use strandline_sql::like;
use strandline_sql::processes::{Closing, Process, Registration};
use strandline_sql::session::{Interrupt, Session};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::bytes::{Input, Malformed, put_lenenc_int};
use super::handshake::parse_change_user;
use super::login::{self, End, LoggedIn, STRANGER_BYTES_MAX};
use super::packet::{Channel, FLUSH_BYTES};
use super::result::{put_column, put_columns_end, put_err, put_ok, put_parameter, put_rows_end};
use super::rows::RowWriter;
use super::server::{Seat, Shared};
use super::statements::Statements;
use super::stream::Stream;

/// How long a statement has to end in order after its client left.
const ABANDON_AFTER: Duration = Duration::from_secs(60);
/// How long the next piece of a file may take that nobody wants any more, since its load was killed.
const UNWANTED_PAUSE_MAX: Duration = Duration::from_secs(10);
/// What we swallow of a packet that is too large, so that the client reads our error.
const SWALLOW_BYTES_MAX: usize = 1 << 30;

/// A text longer than this is read and planned for long before its statement first waits for anything.
const LONG_TEXT_BYTES: usize = 16 << 10;

const COM_QUIT: u8 = 0x01;
const COM_INIT_DB: u8 = 0x02;
const COM_QUERY: u8 = 0x03;
const COM_FIELD_LIST: u8 = 0x04;
const COM_STATISTICS: u8 = 0x09;
const COM_PROCESS_INFO: u8 = 0x0A;
const COM_PROCESS_KILL: u8 = 0x0C;
const COM_PING: u8 = 0x0E;
const COM_CHANGE_USER: u8 = 0x11;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_SEND_LONG_DATA: u8 = 0x18;
const COM_STMT_CLOSE: u8 = 0x19;
const COM_STMT_RESET: u8 = 0x1A;
const COM_SET_OPTION: u8 = 0x1B;
const COM_STMT_FETCH: u8 = 0x1C;
const COM_RESET_CONNECTION: u8 = 0x1F;

/// Serves a client from its first byte to its last.
pub async fn serve(stream: Stream, shared: Arc<Shared>, registration: Registration) {
    let process = registration.process.clone();
    let mut channel = Channel::new(stream);
    let id = process.id();
    tracing::debug!(connection = id, host = process.host(), "connected");
    let login = tokio::select! {
        login = login::log_in(&mut channel, &shared, &process) => login,
        _ = process.asked_to_close() => Err(End::Closed),
    };
    shared.gate.leave_door(id);
    let end = match login {
        Ok(LoggedIn { session, capabilities, seat }) => {
            channel.read_ahead();
            let interrupt = session.interrupt();
            let mut connection = Connection {
                channel: &mut channel,
                shared: &shared,
                process: &process,
                session,
                interrupt,
                capabilities,
                statements: Statements::default(),
                _seat: seat,
            };
            Box::pin(connection.run()).await
        }
        Err(end) => {
            close(&mut channel, &end, STRANGER_BYTES_MAX).await;
            end
        }
    };
    let (read, written) = channel.take_traffic();
    shared.metrics.traffic(read, written);
    match end {
        End::Closed => tracing::debug!(connection = id, "closed"),
        End::Io(error) => tracing::debug!(connection = id, %error, "broken off"),
        End::Fatal(error) => {
            shared.metrics.errors.add(1);
            tracing::debug!(connection = id, code = error.code, "closed with an error");
        }
    }
}

/// Tells the client why its connection ends, as far as it still listens.
async fn close(channel: &mut Channel, end: &End, swallow_bytes: usize) {
    match end {
        End::Fatal(error) => {
            put_err(&mut channel.out, error);
            channel.close(swallow_bytes).await;
        }
        End::Closed => channel.close(0).await,
        End::Io(_) => {}
    }
}

struct Connection<'a> {
    channel: &'a mut Channel,
    shared: &'a Arc<Shared>,
    process: &'a Arc<Process>,
    session: Session,
    interrupt: Interrupt,
    capabilities: CapabilityFlags,
    statements: Statements,
    _seat: Seat,
}

impl Connection<'_> {
    async fn run(&mut self) -> End {
        let end = self.command_loop().await;
        // Whatever it left open is rolled back now, not when somebody drops the session.
        self.session.reset();
        close(self.channel, &end, SWALLOW_BYTES_MAX).await;
        end
    }

    async fn command_loop(&mut self) -> End {
        let mut payload = Vec::new();
        if let Err(error) = self.channel.flush().await {
            return End::Io(error);
        }
        loop {
            self.process.rest(self.session.database());
            let bytes_max = self.shared.options.max_allowed_packet;
            let read = tokio::select! {
                biased;
                closing = self.process.asked_to_close() => return farewell(closing),
                read = timeout(self.session.idle_max(), self.channel.read_command(&mut payload, bytes_max)) => read,
            };
            match read {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => {
                    let message = "The client was disconnected by the server because of inactivity.";
                    return End::Fatal(Error::new(4031, "HY000", message));
                }
            }
            let Some((command, argument)) = payload.split_first() else { return Malformed.into() };
            if let Err(end) = self.command(*command, argument).await {
                return end;
            }
            if let Err(end) = self.flush().await {
                return end;
            }
            let (read, written) = self.channel.take_traffic();
            self.shared.metrics.traffic(read, written);
        }
    }

    /// Runs one command. An error of the statement is an answer; an error returned here ends the connection.
    async fn command(&mut self, command: u8, argument: &[u8]) -> std::result::Result<(), End> {
        let mut input = Input(argument);
        match command {
            COM_QUERY => self.query(argument).await,
            COM_STMT_EXECUTE => self.execute_prepared(argument).await,
            COM_STMT_PREPARE => self.prepare(argument).await,
            COM_STMT_SEND_LONG_DATA => {
                let (id, parameter) = (input.u32()?, input.u16()?);
                let bytes_max = self.shared.options.max_allowed_packet;
                // This command has no answer, not even an error.
                self.statements.add_long(id, parameter, input.rest(), bytes_max);
                Ok(())
            }
            COM_STMT_CLOSE => {
                let id = input.u32()?;
                self.statements.remove(id);
                self.session.let_go(id);
                Ok(())
            }
            COM_STMT_RESET => {
                let reset = self.statements.reset(input.u32()?);
                self.answer_done(reset)
            }
            COM_STMT_FETCH => {
                let id = input.u32()?;
                let message = format!("The statement ({id}) has no open cursor.");
                self.answer_done(Err(Error::new(1421, "HY000", message)))
            }
            COM_PING => self.answer_done(Ok(())),
            COM_INIT_DB => {
                self.process.begin("Init DB", "");
                let used = match name(argument) {
                    Ok(name) => {
                        let work = self.session.use_database(name);
                        attended(self.channel, &self.interrupt, work).await?
                    }
                    Err(error) => Err(error),
                };
                self.answer_done(used)
            }
            COM_QUIT => Err(End::Closed),
            COM_FIELD_LIST => self.field_list(argument).await,
            COM_STATISTICS => {
                let line = self.shared.statistics();
                self.channel.out.packet(|out| out.extend_from_slice(line.as_bytes()));
                Ok(())
            }
            COM_PROCESS_INFO => self.statement("SHOW PROCESSLIST", false).await.map(drop),
            COM_PROCESS_KILL => {
                let sql = format!("KILL {}", input.u32()?);
                self.statement(&sql, false).await.map(drop)
            }
            COM_SET_OPTION => self.set_option(input.u16()?),
            COM_RESET_CONNECTION => {
                self.session.reset();
                self.statements.clear();
                self.answer_done(Ok(()))
            }
            COM_CHANGE_USER => self.change_user(argument).await,
            _ => self.answer_done(Err(Error::new(1047, "08S01", "Unknown command"))),
        }
    }

    async fn query(&mut self, argument: &[u8]) -> std::result::Result<(), End> {
        let is_long = argument.len() > LONG_TEXT_BYTES;
        let sql = match apart(is_long, || self.session.text(argument)) {
            Ok(sql) => sql,
            Err(error) => return self.answer_done(Err(error)),
        };
        self.process.begin("Query", &sql);
        let may_be_many = self.capabilities.contains(CapabilityFlags::CLIENT_MULTI_STATEMENTS)
            && sql.trim_end().trim_end_matches(';').contains(';');
        if !may_be_many {
            return self.statement(&sql, false).await.map(drop);
        }
        let parts = match apart(is_long, || self.session.split(&sql)) {
            Ok(parts) if parts.is_empty() => return self.statement(&sql, false).await.map(drop),
            Ok(parts) => parts,
            Err(error) => return self.answer_done(Err(error)),
        };
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.interrupt.announce_next();
            }
            let went_well = self.statement(part, at + 1 < parts.len()).await?;
            if !went_well {
                break;
            }
        }
        Ok(())
    }

    /// Runs a statement and answers. Tells whether it went well.
    async fn statement(&mut self, sql: &str, more: bool) -> std::result::Result<bool, End> {
        self.shared.metrics.queries.add(1);
        let work = self.session.execute(sql);
        let outcome = if sql.len() > LONG_TEXT_BYTES {
            attended(self.channel, &self.interrupt, Apart(Box::pin(work))).await?
        } else {
            attended(self.channel, &self.interrupt, work).await?
        };
        self.answer(outcome, more, false).await
    }

    async fn prepare(&mut self, argument: &[u8]) -> std::result::Result<(), End> {
        let sql = match self.session.text(argument) {
            Ok(sql) => sql,
            Err(error) => return self.answer_done(Err(error)),
        };
        self.process.begin("Prepare", &sql);
        let work = self.session.prepare(&sql);
        let prepared = if sql.len() > LONG_TEXT_BYTES {
            attended(self.channel, &self.interrupt, Apart(Box::pin(work))).await?
        } else {
            attended(self.channel, &self.interrupt, work).await?
        };
        let columns = prepared.as_ref().map(|prepared| prepared.columns.clone()).unwrap_or_default();
        let parameters = prepared.as_ref().map_or(0, |prepared| prepared.parameters);
        let bytes = prepared.as_ref().map_or(0, |prepared| prepared.kept_bytes());
        let id = prepared.and_then(|prepared| self.statements.add(prepared)).and_then(|id| {
            let kept = self.session.keep(id, bytes).inspect_err(|_| self.statements.remove(id));
            kept.map(|()| id)
        });
        let id = match id {
            Ok(id) => id,
            Err(error) => return self.answer_done(Err(error)),
        };
        let status = self.status(false);
        let out = &mut self.channel.out;
        out.packet(|out| {
            out.push(0);
            out.extend_from_slice(&id.to_le_bytes());
            // Both were checked to fit when the statement was kept.
            out.extend_from_slice(&(columns.len() as u16).to_le_bytes());
            out.extend_from_slice(&(parameters as u16).to_le_bytes());
            out.extend_from_slice(&[0; 3]);
        });
        if parameters > 0 {
            (0..parameters).for_each(|_| put_parameter(out));
            put_columns_end(out, self.capabilities, status);
        }
        if !columns.is_empty() {
            columns.iter().for_each(|column| put_column(out, column, false));
            put_columns_end(out, self.capabilities, status);
        }
        Ok(())
    }

    async fn execute_prepared(&mut self, argument: &[u8]) -> std::result::Result<(), End> {
        let mut input = Input(argument);
        let id = input.u32()?;
        // A cursor may be asked for in the flags; answering with all rows is the server's right. Then a count of 1.
        input.bytes(1 + 4)?;
        self.shared.metrics.queries.add(1);
        let (prepared, parameters) = match self.statements.bind(id, input) {
            Ok(bound) => bound,
            Err(error) => return self.answer_done(Err(error)),
        };
        self.process.begin("Execute", &prepared.sql);
        let work = self.session.execute_prepared(prepared, parameters);
        let outcome = attended(self.channel, &self.interrupt, work).await?;
        self.answer(outcome, false, true).await.map(drop)
    }

    async fn field_list(&mut self, argument: &[u8]) -> std::result::Result<(), End> {
        self.process.begin("Field List", "");
        let mut input = Input(argument);
        let (table, pattern) = (input.until_nul(), input.rest());
        let names = name(table).and_then(|table| Ok((table, name(pattern)?)));
        let (table, pattern) = match names {
            Ok(names) => names,
            Err(error) => return self.answer_done(Err(error)),
        };
        let columns = attended(self.channel, &self.interrupt, self.session.table_columns(table)).await?;
        let columns: Vec<ColumnMeta> = match columns {
            Ok(columns) => columns,
            Err(error) => return self.answer_done(Err(error)),
        };
        let status = self.status(false);
        let out = &mut self.channel.out;
        for column in columns.iter().filter(|column| pattern.is_empty() || like(pattern, &column.name)) {
            put_column(out, column, true);
        }
        put_rows_end(out, self.capabilities, 0, status);
        Ok(())
    }

    fn set_option(&mut self, option: u16) -> std::result::Result<(), End> {
        match option {
            0 | 1 => {
                self.capabilities.set(CapabilityFlags::CLIENT_MULTI_STATEMENTS, option == 0);
                let status = self.status(false);
                put_rows_end(&mut self.channel.out, self.capabilities, 0, status);
                Ok(())
            }
            _ => self.answer_done(Err(Error::new(1047, "08S01", "Unknown command"))),
        }
    }

    async fn change_user(&mut self, argument: &[u8]) -> std::result::Result<(), End> {
        self.process.begin("Change user", "");
        let request = parse_change_user(argument, self.capabilities)?;
        self.session.reset();
        self.statements.clear();
        self.session = login::change_user(self.channel, self.shared, self.process, request, self.capabilities).await?;
        self.interrupt = self.session.interrupt();
        Ok(())
    }

    /// Answers with OK or with the error.
    fn answer_done(&mut self, result: Result<()>) -> std::result::Result<(), End> {
        let status = self.status(false);
        match result {
            Ok(()) => put_ok(&mut self.channel.out, &Done::default(), status),
            Err(error) => self.put_error(&error),
        }
        Ok(())
    }

    /// Answers with what a statement came to. Tells whether it went well.
    async fn answer(&mut self, outcome: Result<Outcome>, more: bool, binary: bool) -> std::result::Result<bool, End> {
        let done = match outcome {
            Ok(Outcome::Done(done)) => Ok(done),
            Ok(Outcome::Rows(rows)) => return self.send_rows(rows, more, binary).await,
            Ok(Outcome::LocalInfile(file)) => self.load(file).await?,
            Err(error) => Err(error),
        };
        let status = self.status(more);
        match &done {
            Ok(done) => put_ok(&mut self.channel.out, done, status),
            Err(error) => self.put_error(error),
        }
        Ok(done.is_ok())
    }

    async fn send_rows(&mut self, mut rows: Rows, more: bool, binary: bool) -> std::result::Result<bool, End> {
        let start = self.channel.out.mark();
        let mut is_started = false;
        let status = self.status(more);
        let out = &mut self.channel.out;
        out.packet(|out| put_lenenc_int(out, rows.columns.len() as u64));
        rows.columns.iter().for_each(|column| put_column(out, column, false));
        put_columns_end(out, self.capabilities, status);

        let writer = RowWriter::new(&rows.columns, binary);
        let failed = loop {
            let batch = match attended(self.channel, &self.interrupt, rows.batches.next()).await? {
                None => break None,
                Some(batch) => batch.and_then(|batch| writer.batch(&batch)),
            };
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => break Some(error),
            };
            let cells = writer.cells(&batch);
            for row in 0..batch.rows {
                self.channel.out.packet(|out| writer.put(&cells, row, out));
                if self.channel.out.len() >= FLUSH_BYTES {
                    is_started = true;
                    self.flush().await?;
                }
            }
        };
        // A transaction may have ended with the last row.
        let status = self.status(more);
        match &failed {
            None => {
                let warnings = self.session.warning_count();
                put_rows_end(&mut self.channel.out, self.capabilities, warnings, status);
            }
            Some(error) => {
                // Nothing of this result was sent: the client need not hear of its columns.
                if !is_started {
                    self.channel.out.truncate(start);
                }
                self.put_error(error);
            }
        }
        Ok(failed.is_none())
    }

    /// Fetches the client's file for LOAD DATA LOCAL. The loader's pace is the pace at which we read.
    async fn load(&mut self, file: LocalInfile) -> std::result::Result<Result<Done>, End> {
        let LocalInfile { file_name, bytes, done } = file;
        self.channel.out.packet(|out| {
            out.push(0xFB);
            out.extend_from_slice(file_name.as_bytes());
        });
        // Whatever happens to the connection, half a file must not be taken for the whole.
        let loader = AbortOnDrop(done);
        self.flush().await?;
        let mut listener = Some(bytes);
        loop {
            let piece = self.piece().await?;
            if piece.is_empty() {
                break;
            }
            // After an error of the loader the rest of the file still comes, and goes nowhere.
            if let Some(bytes) = &listener
                && bytes.send(piece.into()).await.is_err()
            {
                listener = None;
            }
        }
        drop(listener);
        let result = attended(self.channel, &self.interrupt, loader.finish()).await?;
        Ok(result.unwrap_or_else(|error| Err(Error::internal(format!("The loader broke off: {error}.")))))
    }

    /// Reads the next piece of the client's file. One that says nothing for long ends its connection: what it loads holds
    /// a moment.
    async fn piece(&mut self) -> std::result::Result<Vec<u8>, End> {
        let mut piece = Vec::new();
        let mut pause_max = self.session.idle_max();
        let mut is_ended = false;
        {
            let mut read = pin!(self.channel.read_packet(&mut piece, self.shared.options.max_allowed_packet));
            loop {
                tokio::select! {
                    biased;
                    () = self.process.killed() => return Err(End::Closed),
                    // The protocol has no way to say so before the file has come.
                    () = self.interrupt.killed(), if !is_ended => {
                        is_ended = true;
                        pause_max = pause_max.min(UNWANTED_PAUSE_MAX);
                    }
                    read = timeout(pause_max, read.as_mut()) => match read {
                        Ok(read) => {
                            read?;
                            break;
                        }
                        Err(_) if is_ended => {
                            return Err(End::Fatal(Error::new(1317, "70100", "Query execution was interrupted")));
                        }
                        Err(_) => {
                            let message = "Got timeout reading communication packets: nothing more of the file came for as \
                                           long as wait_timeout allows. Nothing was loaded.";
                            return Err(End::Fatal(Error::new(1159, "08S01", message)));
                        }
                    },
                }
            }
        }
        Ok(piece)
    }

    async fn flush(&mut self) -> std::result::Result<(), End> {
        tokio::select! {
            biased;
            flushed = self.channel.flush() => Ok(flushed?),
            () = self.process.killed() => Err(End::Closed),
        }
    }

    fn put_error(&mut self, error: &Error) {
        self.shared.metrics.errors.add(1);
        put_err(&mut self.channel.out, error);
    }

    fn status(&self, more: bool) -> StatusFlags {
        let mut status = StatusFlags::empty();
        status.set(StatusFlags::SERVER_STATUS_IN_TRANS, self.session.in_transaction());
        status.set(StatusFlags::SERVER_STATUS_AUTOCOMMIT, self.session.autocommit());
        status.set(StatusFlags::SERVER_MORE_RESULTS_EXISTS, more);
        status
    }
}

/// Runs a piece of a statement. If the client leaves meanwhile, the statement is interrupted, and given a while to end
/// in order before it is dropped.
async fn attended<T>(
    channel: &mut Channel,
    interrupt: &Interrupt,
    work: impl Future<Output = T>,
) -> std::result::Result<T, End> {
    let work = guarded(work);
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = channel.gone() => {}
    }
    interrupt.kill_query();
    let _ = timeout(ABANDON_AFTER, work).await;
    Err(End::Closed)
}

/// Work that may keep its thread for long: meanwhile others do what that thread would have done.
struct Apart<F>(Pin<Box<F>>);

impl<F: Future> Future for Apart<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        apart(true, || self.0.as_mut().poll(cx))
    }
}

fn apart<T>(is_long: bool, work: impl FnOnce() -> T) -> T {
    if is_long && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        block_in_place(work)
    } else {
        work()
    }
}

/// Ends the connection with a reason where a statement panics: what the session was in the middle of is rolled back.
async fn guarded<T>(work: impl Future<Output = T>) -> std::result::Result<T, End> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        End::Fatal(Error::internal(format!(
            "BUG: {said}. The transaction is rolled back and the connection closed; please report it."
        )))
    })
}

#[cfg(test)]
#[tokio::test]
async fn a_panic_ends_the_connection_with_a_reason() {
    let Err(End::Fatal(error)) = guarded(async { panic!("nobody expected this") }).await.map(|(): ()| ()) else {
        panic!("the panic came through");
    };
    assert_eq!(error.code, 1105);
    assert!(error.message.contains("nobody expected this"), "{error}");
}

/// A loader that does not outlive its connection.
struct AbortOnDrop(tokio::task::JoinHandle<Result<Done>>);

impl AbortOnDrop {
    async fn finish(mut self) -> std::result::Result<Result<Done>, tokio::task::JoinError> {
        (&mut self.0).await
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn farewell(closing: Closing) -> End {
    match closing {
        Closing::Killed => End::Fatal(Error::new(1927, "70100", "Connection was killed")),
        Closing::ShutDown => End::Fatal(Error::new(1053, "08S01", "Server shutdown in progress")),
    }
}

fn name(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::new(1300, "HY000", "Invalid utf8mb4 character string"))
}
