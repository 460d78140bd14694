//! LOAD DATA [LOCAL] INFILE: a file streams through a parser of fields and lines into a bulk load.
//!
//! The client's own file comes in pieces through a channel, into a task that has the transaction meanwhile. Memory stays
//! bounded: a batch of rows is written before the next is read.

use std::path::{Component, Path};

use arrow::array::{Array, ArrayRef, BinaryBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use sqlparser::ast::{self, Expr};
use strandline_core::grants::Privileges;
use strandline_core::schema::{Type, same_name};
use strandline_core::txn::bulk::BulkLoad;
use strandline_core::txn::{OnDuplicate, Txn};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::{Target, arrow, values};
use crate::api::{Done, LocalInfile, Outcome};
use crate::error::{Error, Result};
use crate::eval;
use crate::interrupt::interruptible;
use crate::parse::{LoadColumn, LoadData, OnDuplicate as Asked};
use crate::plan::{Reading, Source};
use crate::session::{Session, State};
use crate::types::{self, Mode};
use crate::walk;
use crate::warning::Warning;

/// How many pieces of a file may wait for the loader.
const PIECES_WAITING: usize = 4;
/// Rows that are converted and written together.
const BATCH_ROWS: usize = 32 * 1024;
/// Longer rows are written together up to so many bytes.
const BATCH_BYTES: usize = 16 << 20;
const PIECE_BYTES: usize = 1 << 20;

/// Carries out LOAD DATA. Of a file of the client's, returns where its bytes go.
pub async fn execute(session: &mut Session, load: &LoadData) -> Result<Outcome> {
    session.check_writable()?;
    if let Some(charset) = &load.charset
        && !["utf8mb4", "utf8mb3", "utf8", "ascii", "binary"].iter().any(|known| charset.eq_ignore_ascii_case(known))
    {
        return Err(Error::unsupported(format!("LOAD DATA … CHARACTER SET {charset}")));
    }
    if load.lines_terminated_by.is_empty() || load.fields_terminated_by.is_empty() {
        return Err(Error::unsupported("LOAD DATA of fields without terminators"));
    }
    if load.local && !session.state.login.local_infile {
        return Err(Error::new(
            3948,
            "42000",
            "Loading local data is disabled; this must be enabled on both the client and server sides",
        ));
    }
    let path = if load.local { None } else { Some(server_file(&session.state, &load.file)?) };
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    let state = session.state.clone();
    let interrupt = session.interrupt();
    let loan = session.lend();
    let load = load.clone();
    let report = session.loading();
    let file_name = load.file.clone();
    let task = tokio::spawn(async move {
        let mut state = state;
        let result = match loan {
            Some((mut txn, back)) => {
                let savepoint = txn.savepoint();
                let result = interruptible(&interrupt, Box::pin(run(&mut state, &mut txn, &load, receiver))).await;
                if result.is_err() {
                    txn.rollback_to(&savepoint);
                }
                // A session that is gone needs no transaction: it is rolled back with the box.
                drop(back.send(txn));
                result
            }
            None => {
                let mut txn = state.begin();
                match interruptible(&interrupt, Box::pin(run(&mut state, &mut txn, &load, receiver))).await {
                    Ok(done) => txn.commit().await.map(|_| done).map_err(Error::from),
                    Err(error) => Err(error),
                }
            }
        };
        drop(report.send(state.warnings));
        result
    });
    let Some(path) = path else {
        return Ok(Outcome::LocalInfile(LocalInfile { file_name, bytes: sender, done: task }));
    };
    let sent = send_file(&path, sender).await;
    let done = task.await.map_err(|error| Error::internal(format!("LOAD DATA ended early: {error}")))?;
    sent?;
    session.take_back().await?;
    done.map(Outcome::Done)
}

/// Returns the path of a server's file, if the server gives files at all.
fn server_file(state: &State, name: &str) -> Result<std::path::PathBuf> {
    let refused = || {
        let message = "The MySQL server is running with the --secure-file-priv option so it cannot execute this statement. \
                       Use LOAD DATA LOCAL INFILE, or name a file of the folder that the server was started with (--load-folder).";
        Error::new(1290, "HY000", message)
    };
    let folder = state.engine.load_folder().ok_or_else(refused)?;
    // With links followed on both sides: a link in the folder must not lead out of it.
    let within = |path: &Path| Ok::<_, std::io::Error>((path.canonicalize()?, folder.canonicalize()?));
    let path = folder.join(name);
    match within(&path) {
        Ok((path, folder)) if path.starts_with(&folder) => Ok(path),
        Ok(_) => Err(refused()),
        // Nothing is told of what lies elsewhere.
        Err(_) if !path.starts_with(folder) || path.components().any(|part| part == Component::ParentDir) => {
            Err(refused())
        }
        Err(error) => Err(cannot_read(&path, &error)),
    }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Error {
    Error::new(13, "HY000", format!("Can't get stat of '{}' ({error})", path.display()))
}

async fn send_file(path: &Path, sender: mpsc::Sender<Bytes>) -> Result<()> {
    let failed = |error: std::io::Error| cannot_read(path, &error);
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece).await.map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        piece.truncate(read);
        if sender.send(Bytes::from(piece)).await.is_err() {
            // The loader gave up; its error says why.
            return Ok(());
        }
    }
}

/// Returns the positions of the columns that a load gives values.
fn filled(load: &LoadData, target: &Target) -> Result<Vec<usize>> {
    if load.columns.is_empty() {
        return Ok((0..target.table.columns.len()).collect());
    }
    let named = load.columns.iter().filter_map(|column| match column {
        LoadColumn::Column(name) => Some(name),
        LoadColumn::Variable(_) => None,
    });
    named.chain(load.assignments.iter().map(|(name, _)| name)).map(|name| target.position(name)).collect()
}

async fn run(state: &mut State, txn: &mut Txn, load: &LoadData, mut pieces: mpsc::Receiver<Bytes>) -> Result<Done> {
    state.warnings.clear();
    let target = Target::find(state, txn, load.table.database.as_deref(), &load.table.name, "LOAD")?;
    txn.set_what(format!("LOAD {}", target.name()));
    target.require(state, &filled(load, &target)?, Privileges::INSERT)?;
    if load.on_duplicate == Asked::Replace {
        target.require_whole(state, Privileges::DELETE)?;
    }
    // From a client's file one cannot ask for another try: what does not fit is bent, as MySQL does.
    let lenient = load.local || load.on_duplicate == Asked::Ignore;
    let on_duplicate = match load.on_duplicate {
        Asked::Replace => OnDuplicate::Replace,
        Asked::Ignore => OnDuplicate::Ignore,
        Asked::Error if load.local => OnDuplicate::Ignore,
        Asked::Error => OnDuplicate::Error,
    };
    let mode = if lenient || !state.variables.strict() { Mode::Ignore } else { Mode::Strict };
    if mode == Mode::Strict {
        state.refuse_divisions();
    }
    let mut loader = Loader::new(load, target, mode, txn, on_duplicate)?;
    let line_max = state.variables.max_allowed_packet();
    let mut buffer: Vec<u8> = Vec::new();
    let mut eof = false;
    // How long a line has to become before it is looked at again.
    let mut wanted = 0;
    while !eof {
        match pieces.recv().await {
            Some(piece) => buffer.extend_from_slice(&piece),
            None => eof = true,
        }
        if !eof && buffer.len() < wanted {
            continue;
        }
        let mut at = 0;
        while let Some(next) = loader.record(&buffer, at, eof)? {
            at = next;
            if loader.rows == BATCH_ROWS || loader.bytes >= BATCH_BYTES {
                loader.write(state, txn).await?;
            }
        }
        buffer.drain(..at);
        if buffer.len() > line_max {
            return Err(too_long(loader.read + 1, line_max));
        }
        // A line that does not end is read from its begin each time: as often as it doubles.
        wanted = (buffer.len() * 2).min(line_max + 1);
    }
    loader.write(state, txn).await?;
    let records = loader.read;
    let done = loader.bulk.finish(txn).await?;
    state.hear();
    let (deleted, skipped) = (done.replaced - done.unchanged, done.ignored);
    state.warnings.extend(done.collisions.into_iter().map(|message| Warning::warning(1062, message)));
    let warnings = u16::try_from(state.warnings.len()).unwrap_or(u16::MAX);
    Ok(Done {
        affected_rows: done.inserted + deleted,
        last_insert_id: loader.auto.made.unwrap_or(0),
        warnings,
        info: format!("Records: {records}  Deleted: {deleted}  Skipped: {skipped}  Warnings: {warnings}"),
    })
}

/// 1153: a line does not end.
fn too_long(row: u64, max: usize) -> Error {
    let message = format!(
        "Row {row} of the file is longer than 'max_allowed_packet' ({max} bytes). Say how lines end with LINES TERMINATED \
         BY, or allow more with SET max_allowed_packet."
    );
    Error::new(1153, "08S01", message)
}

/// A load that is under way.
struct Loader {
    target: Target,
    mode: Mode,
    format: Format,
    /// What each field of a line is for.
    inputs: Vec<Input>,
    assignments: Vec<(usize, Expr)>,
    bulk: BulkLoad,
    auto: values::Auto,
    skip_lines: u64,
    fields: Vec<Range>,
    scratch: Vec<u8>,
    /// Rows that wait in `inputs`.
    rows: usize,
    /// Bytes of their lines.
    bytes: usize,
    /// Rows so far.
    read: u64,
    warnings: Vec<Warning>,
}

struct Input {
    what: For,
    values: Values,
}

enum For {
    Column(usize),
    Variable(String),
}

enum Values {
    Text(StringBuilder),
    Bytes(BinaryBuilder),
}

/// A field of a line, as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    end: usize,
    enclosed: bool,
    /// It holds escapes, or doubled enclosing characters.
    escaped: bool,
}

/// How fields and lines are told apart.
struct Format {
    fields_end: Vec<u8>,
    lines_start: Vec<u8>,
    lines_end: Vec<u8>,
    enclosed: Option<u8>,
    escape: Option<u8>,
}

impl Loader {
    fn new(load: &LoadData, target: Target, mode: Mode, txn: &Txn, on_duplicate: OnDuplicate) -> Result<Loader> {
        let one_byte = |c: Option<char>| match c {
            None => Ok(None),
            Some(c) if c.is_ascii() => Ok(Some(c as u8)),
            Some(c) => Err(Error::unsupported(format!("LOAD DATA … BY '{c}'"))),
        };
        let format = Format {
            fields_end: load.fields_terminated_by.clone().into_bytes(),
            lines_start: load.lines_starting_by.clone().into_bytes(),
            lines_end: load.lines_terminated_by.clone().into_bytes(),
            enclosed: one_byte(load.enclosed_by)?,
            escape: one_byte(load.escaped_by)?,
        };
        let all: Vec<LoadColumn>;
        let columns = if load.columns.is_empty() {
            all = target.table.columns.iter().map(|column| LoadColumn::Column(column.name.clone())).collect();
            &all
        } else {
            &load.columns
        };
        let inputs = columns
            .iter()
            .map(|column| {
                let text = || Values::Text(StringBuilder::with_capacity(BATCH_ROWS, BATCH_ROWS * 12));
                Ok(match column {
                    LoadColumn::Column(name) => {
                        let at = target.position(name)?;
                        let values = match target.table.columns[at].ty {
                            Type::Bytes => Values::Bytes(BinaryBuilder::new()),
                            _ => text(),
                        };
                        Input { what: For::Column(at), values }
                    }
                    LoadColumn::Variable(name) => Input { what: For::Variable(name.to_lowercase()), values: text() },
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let assignments = load
            .assignments
            .iter()
            .map(|(name, expr)| Ok((target.position(name)?, with_variables(expr.clone(), &inputs))))
            .collect::<Result<Vec<_>>>()?;
        let bulk = txn.bulk(&target.table, on_duplicate);
        Ok(Loader {
            target,
            mode,
            format,
            inputs,
            assignments,
            bulk,
            auto: values::Auto::default(),
            skip_lines: load.ignore_lines,
            fields: Vec::new(),
            scratch: Vec::new(),
            rows: 0,
            bytes: 0,
            read: 0,
            warnings: Vec::new(),
        })
    }

    /// Reads the line at `at`. Returns where the next begins, or `None` if this one does not end in `buffer`.
    fn record(&mut self, buffer: &[u8], at: usize, eof: bool) -> Result<Option<usize>> {
        if at >= buffer.len() {
            return Ok(None);
        }
        let Some((start, next)) = self.format.line_start(buffer, at, eof) else { return Ok(None) };
        let Some(start) = start else {
            // A line without the prefix is left out.
            return Ok(Some(next));
        };
        let Some(next) = self.format.split(buffer, start, eof, &mut self.fields) else { return Ok(None) };
        if self.skip_lines > 0 {
            self.skip_lines -= 1;
            return Ok(Some(next));
        }
        self.take(buffer)?;
        Ok(Some(next))
    }

    /// Adds the line in `self.fields` to the rows that wait.
    fn take(&mut self, buffer: &[u8]) -> Result<()> {
        self.read += 1;
        if self.fields.len() != self.inputs.len() {
            let (code, message) = if self.fields.len() < self.inputs.len() {
                (1261, format!("Row {} doesn't contain data for all columns", self.read))
            } else {
                (1262, format!("Row {} was truncated; it contained more data than there were input columns", self.read))
            };
            if self.mode == Mode::Strict {
                return Err(Error::new(code, "01000", message));
            }
            if self.warnings.len() < 64 {
                self.warnings.push(Warning::warning(code, message));
            }
        }
        for (at, input) in self.inputs.iter_mut().enumerate() {
            let Some(range) = self.fields.get(at) else {
                // MySQL gives a column without data its type's zero; the empty text bends to it.
                input.values.append(b"", self.read)?;
                continue;
            };
            let raw = &buffer[range.start..range.end];
            if self.format.is_null(raw, range.enclosed) {
                input.values.append_null();
            } else if range.escaped {
                self.format.unescape(raw, range.enclosed, &mut self.scratch);
                input.values.append(&self.scratch, self.read)?;
            } else {
                input.values.append(raw, self.read)?;
            }
            self.bytes += raw.len();
        }
        self.rows += 1;
        Ok(())
    }

    /// Converts and writes the rows that wait.
    async fn write(&mut self, state: &mut State, txn: &mut Txn) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let count = std::mem::take(&mut self.rows);
        self.bytes = 0;
        state.warnings.append(&mut self.warnings);
        let first_row = self.read - count as u64 + 1;
        let mut arrays: Vec<Option<ArrayRef>> = vec![None; self.target.table.columns.len()];
        let (mut fields, mut visible) = (Vec::new(), Vec::new());
        for input in &mut self.inputs {
            let array = input.values.finish();
            match &input.what {
                For::Column(at) => {
                    if !self.assignments.is_empty() {
                        let name = self.target.table.columns[*at].name.to_lowercase();
                        fields.push(Field::new(name, array.data_type().clone(), true));
                        visible.push(array.clone());
                    }
                    let mut coercion = self.target.coercion(*at, self.mode);
                    coercion.nullable |= self.target.table.columns[*at].auto_increment;
                    let done = match array.data_type() {
                        DataType::Utf8 => {
                            let text: &arrow::array::StringArray = arrow::array::AsArray::as_string(&array);
                            types::coerce_text(text.iter(), coercion, first_row)?
                        }
                        ty => types::coerce_array(&array, &Field::new("", ty.clone(), true), coercion, first_row)?,
                    };
                    state.warnings.extend(done.warnings);
                    arrays[*at] = Some(done.array);
                }
                For::Variable(name) => {
                    fields.push(Field::new(format!("@{name}"), array.data_type().clone(), true));
                    visible.push(array);
                }
            }
        }
        if !self.assignments.is_empty() {
            let visible = RecordBatch::try_new(std::sync::Arc::new(Schema::new(fields)), visible).map_err(arrow)?;
            let exprs: Vec<Expr> = self.assignments.iter().map(|(_, expr)| expr.clone()).collect();
            let reading = Reading { state, source: Source::Txn(txn) };
            let values = Box::pin(eval::over(reading, &self.target.table.name, &visible, &exprs, &[])).await?;
            for ((at, _), (array, field)) in self.assignments.iter().zip(values) {
                let done = types::coerce_array(&array, &field, self.target.coercion(*at, self.mode), first_row)?;
                state.warnings.extend(done.warnings);
                arrays[*at] = Some(done.array);
            }
        }
        let built = values::finish(state, txn, &self.target, arrays, count, self.mode).await?;
        self.auto = self.auto.and(built.auto);
        let rows = self.target.check(state, txn, built.rows, self.mode).await?;
        self.bulk.write(txn, &rows).await?;
        Ok(())
    }
}

/// Makes the variables of a load columns of its rows.
fn with_variables(mut expr: Expr, inputs: &[Input]) -> Expr {
    let _ = walk::expressions_mut(&mut expr, |expr| {
        if let Expr::Identifier(ident) = expr
            && let Some(name) = ident.value.strip_prefix('@')
            && inputs.iter().any(|input| matches!(&input.what, For::Variable(other) if same_name(other, name)))
        {
            *ident = ast::Ident::with_quote('`', format!("@{}", name.to_lowercase()));
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    expr
}

impl Values {
    fn append(&mut self, raw: &[u8], row: u64) -> Result<()> {
        match self {
            Values::Text(builder) => {
                let text = std::str::from_utf8(raw).map_err(|error| {
                    let bad = raw[error.valid_up_to()..].iter().take(6).map(|byte| format!("\\x{byte:02X}"));
                    let bad: String = bad.collect();
                    Error::new(1300, "HY000", format!("Invalid utf8mb4 character string: '{bad}' in row {row}"))
                })?;
                builder.append_value(text);
            }
            Values::Bytes(builder) => builder.append_value(raw),
        }
        Ok(())
    }

    fn append_null(&mut self) {
        match self {
            Values::Text(builder) => builder.append_null(),
            Values::Bytes(builder) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Values::Text(builder) => std::sync::Arc::new(builder.finish()),
            Values::Bytes(builder) => std::sync::Arc::new(builder.finish()),
        }
    }
}

impl Format {
    /// Finds where the line at `at` begins behind its prefix: `(None, next)` if it has none. `None`: more bytes are
    /// needed to tell.
    fn line_start(&self, buffer: &[u8], at: usize, eof: bool) -> Option<(Option<usize>, usize)> {
        if self.lines_start.is_empty() {
            return Some((Some(at), at));
        }
        let end = find(buffer, at, &self.lines_end);
        let line_end = match end {
            Some(end) => end,
            None if eof => buffer.len(),
            None => return None,
        };
        let next = end.map_or(buffer.len(), |end| end + self.lines_end.len());
        let prefix = find(&buffer[..line_end], at, &self.lines_start).map(|found| found + self.lines_start.len());
        Some((prefix, next))
    }

    /// Splits the line at `at` into fields. Returns where the next line begins, or `None` if this one does not end.
    fn split(&self, buffer: &[u8], mut at: usize, eof: bool, fields: &mut Vec<Range>) -> Option<usize> {
        fields.clear();
        loop {
            let start = at;
            let mut escaped = false;
            let enclosed = self.enclosed.is_some() && buffer.get(at) == self.enclosed.as_ref();
            if enclosed {
                let quote = self.enclosed;
                at += 1;
                loop {
                    let byte = match buffer.get(at) {
                        Some(byte) => Some(*byte),
                        // A field that does not end runs to the end of the file.
                        None if eof => {
                            fields.push(Range { start: start + 1, end: at, enclosed, escaped });
                            return Some(at);
                        }
                        None => return None,
                    };
                    if byte == self.escape && byte != quote {
                        if at + 1 == buffer.len() && !eof {
                            return None;
                        }
                        escaped = true;
                        // The file may end in an escape.
                        at = (at + 2).min(buffer.len());
                    } else if byte == quote {
                        if buffer.get(at + 1).copied() == quote {
                            escaped = true;
                            at += 2;
                            continue;
                        }
                        let rest = &buffer[at + 1..];
                        if rest.is_empty() && !eof || self.may_begin_end(rest, eof) {
                            return None;
                        }
                        if rest.is_empty() || rest.starts_with(&self.fields_end) || rest.starts_with(&self.lines_end) {
                            break;
                        }
                        // A lone quote inside stays what it is.
                        at += 1;
                    } else {
                        at += 1;
                    }
                }
                fields.push(Range { start: start + 1, end: at, enclosed, escaped });
                at += 1;
            } else {
                let (field_first, line_first) = (self.fields_end[0], self.lines_end[0]);
                loop {
                    let rest = &buffer[at.min(buffer.len())..];
                    let step = rest
                        .iter()
                        .position(|byte| *byte == field_first || *byte == line_first || Some(*byte) == self.escape);
                    let Some(step) = step else {
                        if !eof {
                            return None;
                        }
                        at = buffer.len();
                        break;
                    };
                    at += step;
                    let rest = &buffer[at..];
                    if Some(rest[0]) == self.escape {
                        if rest.len() == 1 && !eof {
                            return None;
                        }
                        escaped = true;
                        at = (at + 2).min(buffer.len());
                    } else if rest.starts_with(&self.fields_end) || rest.starts_with(&self.lines_end) {
                        break;
                    } else if self.may_begin_end(rest, eof) {
                        return None;
                    } else {
                        at += 1;
                    }
                }
                fields.push(Range { start, end: at, enclosed, escaped });
            }
            let rest = &buffer[at.min(buffer.len())..];
            if rest.starts_with(&self.lines_end)
                && !(rest.starts_with(&self.fields_end) && self.fields_end.len() > self.lines_end.len())
            {
                return Some(at + self.lines_end.len());
            }
            if rest.starts_with(&self.fields_end) {
                at += self.fields_end.len();
                if at == buffer.len() && !eof {
                    return None;
                }
                continue;
            }
            return Some(buffer.len());
        }
    }

    /// Tells whether a terminator might begin here whose rest has not come yet.
    fn may_begin_end(&self, rest: &[u8], eof: bool) -> bool {
        let begins = |end: &[u8]| rest.len() < end.len() && end.starts_with(rest) && !rest.is_empty();
        !eof && (begins(&self.fields_end) || begins(&self.lines_end))
    }

    fn is_null(&self, raw: &[u8], enclosed: bool) -> bool {
        match (raw, self.escape) {
            ([first, b'N'], Some(escape)) if *first == escape => true,
            // The word alone means NULL where values are enclosed, or where nothing escapes.
            (b"NULL", escape) => !enclosed && (self.enclosed.is_some() || escape.is_none()),
            _ => false,
        }
    }

    fn unescape(&self, raw: &[u8], enclosed: bool, out: &mut Vec<u8>) {
        out.clear();
        let mut at = 0;
        while at < raw.len() {
            let byte = raw[at];
            if Some(byte) == self.escape && at + 1 < raw.len() {
                out.push(match raw[at + 1] {
                    b'0' => 0,
                    b'b' => 8,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'Z' => 26,
                    other => other,
                });
                at += 2;
            } else if enclosed && Some(byte) == self.enclosed && raw.get(at + 1).copied() == self.enclosed {
                out.push(byte);
                at += 2;
            } else {
                out.push(byte);
                at += 1;
            }
        }
    }
}

fn find(buffer: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    buffer[from..].windows(needle.len()).position(|window| window == needle).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(fields: &str, lines: &str, enclosed: Option<u8>, escape: Option<u8>) -> Format {
        Format { fields_end: fields.into(), lines_start: Vec::new(), lines_end: lines.into(), enclosed, escape }
    }

    /// Splits a whole text, in pieces of every size, and checks that the pieces make no difference.
    fn check(format: &Format, text: &str, expected: &[&[Option<&str>]]) {
        let mut all: Vec<Vec<Option<String>>> = Vec::new();
        for piece in 1..=text.len() {
            let mut rows = Vec::new();
            let (mut buffer, mut fields, mut at) = (Vec::new(), Vec::new(), 0);
            let mut pieces = text.as_bytes().chunks(piece).peekable();
            while let Some(bytes) = pieces.next() {
                buffer.extend_from_slice(bytes);
                let eof = pieces.peek().is_none();
                while at < buffer.len() {
                    let Some(next) = format.split(&buffer, at, eof, &mut fields) else { break };
                    let row: Vec<Option<String>> = fields
                        .iter()
                        .map(|range| {
                            let raw = &buffer[range.start..range.end];
                            let mut out = raw.to_vec();
                            if format.is_null(raw, range.enclosed) {
                                return None;
                            }
                            if range.escaped {
                                format.unescape(raw, range.enclosed, &mut out);
                            }
                            Some(String::from_utf8(out).unwrap())
                        })
                        .collect();
                    rows.push(row);
                    at = next;
                }
            }
            if piece == 1 {
                all = rows;
            } else {
                assert_eq!(rows, all, "in pieces of {piece}");
            }
        }
        let all: Vec<Vec<Option<&str>>> = all.iter().map(|row| row.iter().map(Option::as_deref).collect()).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn tabs_and_escapes() {
        let format = format("\t", "\n", None, Some(b'\\'));
        check(
            &format,
            "1\ta\\tb\t\\N\n2\t\\\\\tx\\\ny\n\t\t\n",
            &[
                &[Some("1"), Some("a\tb"), None],
                &[Some("2"), Some("\\"), Some("x\ny")],
                &[Some(""), Some(""), Some("")],
            ],
        );
    }

    #[test]
    fn quotes() {
        let format = format(",", "\r\n", Some(b'"'), Some(b'\\'));
        check(
            &format,
            "\"a,b\",1,\"say \"\"hi\"\"\"\r\nNULL,\"NULL\",\"x\r\ny\"\r\n\"a\"b\",,z",
            &[
                &[Some("a,b"), Some("1"), Some("say \"hi\"")],
                &[None, Some("NULL"), Some("x\r\ny")],
                &[Some("a\"b"), Some(""), Some("z")],
            ],
        );
    }

    /// The first byte chooses how fields and lines are told apart; what follows comes in two pieces.
    #[test]
    fn fuzz_load() {
        let good: [&[u8]; 4] = [
            b"\x001\ta\\tb\t\\N\n2\t\\\\\tx\\\ny\n\t\t\n",
            b"\x01\"a,b\",1,\"say \"\"hi\"\"\"\r\nNULL,\"NULL\",\"x\r\ny\"\r\n\"a\"b\",,z",
            b"\x02a|b||c<d<br>e||<br>",
            b"\x03>>1,2\n3,4\n>>\"5\\\"",
        ];
        let words: [&[u8]; 9] = [b"\"", b"\\", b"||", b"<br>", b"\r\n", b"\\N", b"NULL", b">>", b"\"\""];
        strandline_fuzz::run("load", &good.map(<[u8]>::to_vec), &words, |bytes| {
            let (choice, text) = bytes.split_first().unwrap_or((&0, b""));
            let mut format = match choice % 4 {
                0 => format("\t", "\n", None, Some(b'\\')),
                1 => format(",", "\r\n", Some(b'"'), Some(b'\\')),
                2 => format("||", "<br>", None, None),
                _ => format(",", "\n", Some(b'"'), Some(b'"')),
            };
            if choice % 8 >= 4 {
                format.lines_start = b">>".to_vec();
            }
            let (mut shape, mut fields, mut out) = (Vec::new(), Vec::new(), Vec::new());
            let mut at = 0;
            for (end, eof) in [(text.len() / 2, false), (text.len(), true)] {
                let buffer = &text[..end];
                while at < buffer.len() {
                    let Some((start, next)) = format.line_start(buffer, at, eof) else { break };
                    let next = match start {
                        None => next,
                        Some(start) => match format.split(buffer, start, eof, &mut fields) {
                            Some(next) => next,
                            None => break,
                        },
                    };
                    for range in &fields {
                        let raw = &buffer[range.start..range.end];
                        format.unescape(raw, range.enclosed, &mut out);
                        shape.push((format.is_null(raw, range.enclosed), out.len().min(2)));
                    }
                    assert!(next > at, "a line has at least a byte");
                    at = next;
                }
            }
            shape.truncate(6);
            strandline_fuzz::outcome(shape)
        });
    }

    #[test]
    fn long_terminators() {
        let format = format("||", "<br>", None, None);
        check(&format, "a|b||c<d<br>e||<br>", &[&[Some("a|b"), Some("c<d")], &[Some("e"), Some("")]]);
    }
}
