//! Strandline's own statements about history, and their synonyms in other databases, as types and as a grammar.
//!
//! It only says what was asked; whether it can be done, and what a relative time means, is decided elsewhere.

use sqlparser::ast::Expr;
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::matrixone::MatrixOne;
use super::{Filter, TableName};
use crate::error::{Error, Result};

/// A moment as it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    Now,
    Version(u64),
    Snapshot(String),
    /// A time as text: absolute, with or without a zone, or relative (`-10 minutes`, `5 minutes ago`).
    Time(String),
    /// Nanoseconds since 1970-01-01 00:00:00 UTC (MatrixOne's `MO_TS`).
    Nanos(i64),
    /// A text that may be a snapshot's name, a version's number or a time (Dolt's `AS OF 'ref'`).
    Reference(String),
    /// A constant expression to evaluate first, to a time or to a text as in `Reference`.
    Expr(Box<Expr>),
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    /// `None` is the session's own account.
    Account(Option<String>),
    Database(String),
    Table(TableName),
    Tables {
        /// `None` is the session's database.
        database: Option<String>,
        tables: Vec<String>,
    },
}

/// A scope, and the account that it lies in where the statement says so (MatrixOne).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub account: Option<String>,
    pub scope: Scope,
}

/// A length of time as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub count: u32,
    pub unit: PeriodUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeriodUnit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// A statement about history.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryStatement {
    CreateSnapshot(CreateSnapshot),
    DropSnapshot {
        names: Vec<String>,
        if_exists: bool,
        cascade: bool,
        /// Print what would be dropped, and what that would free, instead.
        explain: bool,
    },
    ShowSnapshots {
        filter: Option<Filter>,
    },
    /// Many at once: those of a scope that were created before a time.
    DropSnapshots {
        target: Target,
        older_than: When,
        cascade: bool,
        /// Print what would be dropped instead.
        explain: bool,
    },
    Restore(Restore),
    Undrop(Undrop),
    Undo(Undo),
    ShowRecoveryPoints {
        target: Target,
        from: Option<When>,
        to: Option<When>,
    },
    ShowCommits {
        target: Option<Target>,
        limit: Option<u64>,
    },
    Diff(Diff),
    SetRetention {
        target: Target,
        rules: Rules,
    },
    ApplyRetention {
        target: Target,
        /// These rules for once, instead of those that were set.
        rules: Option<Rules>,
        /// Print the plan instead.
        explain: bool,
    },
    ShowRetention {
        filter: Option<Filter>,
    },
    DropRetention {
        target: Target,
        if_exists: bool,
    },
    CreateSchedule(CreateSchedule),
    DropSchedule {
        name: String,
        if_exists: bool,
    },
    /// Without `paused` it goes on.
    AlterSchedule {
        name: String,
        paused: bool,
    },
    ShowSchedules {
        filter: Option<Filter>,
    },
    /// `[EXPLAIN] COLLECT GARBAGE`
    Collect {
        explain: bool,
    },
    /// Long work that runs now.
    ShowJobs {
        filter: Option<Filter>,
    },
    CancelJob {
        id: u64,
    },
    /// The forms that only MatrixOne has.
    MatrixOne(MatrixOne),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateSnapshot {
    pub name: String,
    pub if_not_exists: bool,
    pub target: Target,
    /// Only these columns; empty is all.
    pub columns: Vec<String>,
    pub at: Option<When>,
    pub incremental_from: Option<String>,
    pub compression: bool,
    pub comment: Option<String>,
    pub retain: Option<Period>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Restore {
    pub target: Target,
    pub from: RestoreFrom,
    /// `None` restores in place.
    pub to: Option<RestoreTo>,
    /// MatrixOne's `TO ACCOUNT b`.
    pub to_account: Option<String>,
    pub overwrite: bool,
    pub keep_copy: bool,
    pub create_database: bool,
    pub with_grants: bool,
    /// Print the plan instead.
    pub explain: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RestoreFrom {
    When(When),
    /// MatrixOne: `FROM PITR p 'time' [[AS] source_account]`.
    Pitr {
        name: String,
        time: String,
        source_account: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreTo {
    /// `TO x`: a table's new name, or for a database its new name (then without a database part).
    Name(TableName),
    /// `TO DATABASE d [TABLE t]`
    Database { database: String, table: Option<String> },
}

/// Brings back what was dropped, as it was just before the drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undrop {
    pub what: Undropped,
    /// Under another name.
    pub to: Option<TableName>,
    pub explain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undropped {
    Table(TableName),
    Database(String),
}

/// Undoes one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undo {
    pub version: u64,
    pub explain: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    pub table: TableName,
    pub from: When,
    pub to: When,
    pub output: DiffOutput,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiffOutput {
    Rows,
    Summary,
    Count,
    Limit(u64),
}

/// How many snapshots of each kind a retention policy keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    pub last: Option<u32>,
    pub hourly: Option<u32>,
    pub daily: Option<u32>,
    pub weekly: Option<u32>,
    pub monthly: Option<u32>,
    pub yearly: Option<u32>,
}

/// Rules of retention, and whose calendar they mean; `None` is the session's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub keep: Keep,
    pub time_zone: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSchedule {
    pub name: String,
    pub if_not_exists: bool,
    pub target: Target,
    pub rhythm: Rhythm,
    pub time_zone: Option<String>,
    /// `prefix_{time}`
    pub snapshot_name: Option<String>,
    pub incremental: bool,
    pub compression: bool,
    pub comment: Option<String>,
    pub retain: Option<Period>,
    pub keep: Option<Keep>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rhythm {
    Cron(String),
    Every(Period),
}

const SCOPE: &str = "say CLUSTER, ACCOUNT [a], DATABASE d, TABLE d.t or TABLES d (t1, t2)";
const WHEN: &str = "a moment is NOW, VERSION n, TIMESTAMP 'time' or SNAPSHOT name";

/// Parses the statement if its first words are ours, else returns `None`.
pub(super) fn parse(c: &mut Cursor<'_>) -> Result<Option<HistoryStatement>> {
    let explain = c.eat("EXPLAIN");
    let statement = if c.is("RESTORE") {
        HistoryStatement::Restore(restore(c, explain)?)
    } else if c.is("UNDROP")
        || c.is("FLASHBACK")
        || (c.is("RECOVER") && (c.is_at(1, "TABLE") || c.is_at(1, "DATABASE")))
    {
        undrop_or_flashback(c, explain)?
    } else if c.are(&["UNDO", "VERSION"]) || c.are(&["UNDO", "COMMIT"]) {
        c.at += 2;
        HistoryStatement::Undo(Undo {
            version: c.number("UNDO VERSION needs the number of a commit; SHOW COMMITS lists them")?,
            explain,
        })
    } else if c.are(&["RETENTION", "FOR"]) && explain {
        c.at += 1;
        apply_retention(c, true)?
    } else if c.eat_all(&["DROP", "SNAPSHOTS"]) {
        drop_snapshots(c, explain)?
    } else if c.eat_all(&["DROP", "SNAPSHOT"]) {
        const NAME: &str = "DROP SNAPSHOT needs the name of a snapshot; SHOW SNAPSHOTS lists them";
        let if_exists = c.if_exists();
        let names = c.comma_separated(|c| c.name_or_string(NAME))?;
        if c.is("FROM") {
            return Err(Error::unsupported("snapshots of a publication"));
        }
        HistoryStatement::DropSnapshot { names, if_exists, cascade: c.eat("CASCADE"), explain }
    } else if c.eat_all(&["COLLECT", "GARBAGE"]) {
        HistoryStatement::Collect { explain }
    } else if explain {
        c.at = 0;
        return Ok(None);
    } else if c.are(&["CREATE", "SNAPSHOT"]) {
        HistoryStatement::CreateSnapshot(create_snapshot(c)?)
    } else if c.eat_all(&["SHOW", "SNAPSHOTS"]) {
        HistoryStatement::ShowSnapshots { filter: c.filter()? }
    } else if c.eat_all(&["SHOW", "RECOVERY", "POINTS"]) {
        let target = for_target(c)?;
        let from = if c.eat("FROM") { Some(time_or_when(c)?) } else { None };
        let to = if c.eat("TO") { Some(time_or_when(c)?) } else { None };
        HistoryStatement::ShowRecoveryPoints { target, from, to }
    } else if c.eat_all(&["SHOW", "COMMITS"]) {
        let target = if c.is("FOR") { Some(for_target(c)?) } else { None };
        let limit = if c.eat("LIMIT") { Some(c.number("LIMIT needs a number")?) } else { None };
        HistoryStatement::ShowCommits { target, limit }
    } else if c.eat_all(&["DIFF", "TABLE"]) {
        HistoryStatement::Diff(diff(c)?)
    } else if c.eat_all(&["SET", "RETENTION", "FOR"]) {
        c.at -= 1;
        let target = for_target(c)?;
        HistoryStatement::SetRetention { target, rules: rules(c)? }
    } else if c.eat_all(&["APPLY", "RETENTION"]) {
        apply_retention(c, false)?
    } else if c.eat_all(&["SHOW", "RETENTION"]) {
        HistoryStatement::ShowRetention { filter: c.filter()? }
    } else if c.eat_all(&["DROP", "RETENTION"]) {
        let if_exists = c.if_exists();
        HistoryStatement::DropRetention { target: for_target(c)?, if_exists }
    } else if c.eat_all(&["ALTER", "SCHEDULE"]) {
        let name = c.name_or_string("ALTER SCHEDULE needs the name of a schedule; SHOW SCHEDULES lists them")?;
        match c.eat_any(&["PAUSE", "RESUME"]) {
            Some(word) => HistoryStatement::AlterSchedule { name, paused: word == "PAUSE" },
            None => return Err(c.error("say ALTER SCHEDULE name PAUSE or RESUME")),
        }
    } else if c.eat_all(&["CREATE", "SCHEDULE"]) {
        HistoryStatement::CreateSchedule(create_schedule(c)?)
    } else if c.eat_all(&["DROP", "SCHEDULE"]) {
        let if_exists = c.if_exists();
        HistoryStatement::DropSchedule {
            name: c.name_or_string("DROP SCHEDULE needs the name of a schedule")?,
            if_exists,
        }
    } else if c.eat_all(&["SHOW", "SCHEDULES"]) {
        HistoryStatement::ShowSchedules { filter: c.filter()? }
    } else if c.eat_all(&["SHOW", "JOBS"]) {
        HistoryStatement::ShowJobs { filter: c.filter()? }
    } else if c.eat_all(&["CANCEL", "JOB"]) {
        HistoryStatement::CancelJob { id: c.number("CANCEL JOB needs a number; SHOW JOBS lists them")? }
    } else if let Some(statement) = super::matrixone::parse(c)? {
        HistoryStatement::MatrixOne(statement)
    } else {
        return Ok(None);
    };
    c.expect_end()?;
    Ok(Some(statement))
}

/// `FOR scope`
fn for_target(c: &mut Cursor<'_>) -> Result<Target> {
    c.expect("FOR", SCOPE)?;
    target(c)
}

/// A scope in the words of any of our grammars: `TABLE d.t`, and MatrixOne's `TABLE d t` and `DATABASE d TABLE t`.
pub(super) fn target(c: &mut Cursor<'_>) -> Result<Target> {
    let mut account = None;
    let scope = if c.eat("CLUSTER") {
        Scope::Cluster
    } else if c.eat("ACCOUNT") {
        account = match c.peek() {
            Some(Token::Word(word)) if super::cursor::is_plain_name(word) && !is_option(c) => Some(c.name(SCOPE)?),
            _ => None,
        };
        if account.is_some() && (c.is("DATABASE") || c.is("TABLE")) {
            let inner = target(c)?;
            return Ok(Target { account: account.or(inner.account), scope: inner.scope });
        }
        Scope::Account(account.take())
    } else if c.eat("DATABASE") || c.eat("SCHEMA") {
        let mut database = c.name("DATABASE needs a name")?;
        if c.eat_sign(&Token::Period) {
            account = Some(std::mem::replace(&mut database, c.name_after_period("DATABASE needs a name")?));
        }
        if c.eat("TABLE") {
            Scope::Table(TableName { database: Some(database), name: c.name("TABLE needs a name")? })
        } else {
            Scope::Database(database)
        }
    } else if c.eat("TABLES") {
        let database = if c.peek() == Some(&Token::LParen) { None } else { Some(c.name(SCOPE)?) };
        Scope::Tables { database, tables: c.names_in_parens("TABLES needs a list: TABLES d (t1, t2)")? }
    } else if c.eat("TABLE") {
        let mut table = c.table_name("TABLE needs a name: TABLE d.t")?;
        if table.database.is_some() && c.eat_sign(&Token::Period) {
            account = table
                .database
                .replace(std::mem::replace(&mut table.name, c.name_after_period("TABLE needs a name: TABLE d.t")?));
        } else if table.database.is_none()
            && matches!(c.peek(), Some(Token::Word(word)) if super::cursor::is_plain_name(word))
            && !is_option(c)
        {
            table = TableName { database: Some(table.name), name: c.name(SCOPE)? };
        }
        Scope::Table(table)
    } else {
        return Err(c.error(SCOPE));
    };
    Ok(Target { account, scope })
}

/// Whether the next word goes on with the statement rather than naming something. A name that looks like this needs backquotes.
fn is_option(c: &Cursor<'_>) -> bool {
    const OPTIONS: &[&str] = &[
        "FROM",
        "TO",
        "AT",
        "AGAINST",
        "RANGE",
        "COLUMNS",
        "COMMENT",
        "COMPRESSION",
        "CRON",
        "EVERY",
        "INCREMENTAL",
        "INTERNAL",
        "KEEP",
        "OVERWRITE",
        "RETAIN",
        "RECURRING",
        "DATABASE",
        "TABLE",
        "LIMIT",
        "OLDER",
        "CASCADE",
        "WITH",
    ];
    OPTIONS.iter().any(|word| c.is(word))
}

fn create_snapshot(c: &mut Cursor<'_>) -> Result<CreateSnapshot> {
    c.at += 2;
    let if_not_exists = c.if_not_exists();
    let name = c.name_or_string("CREATE SNAPSHOT needs a name: CREATE SNAPSHOT s FOR DATABASE d")?;
    let target = for_target(c)?;
    let mut snapshot = CreateSnapshot {
        name,
        if_not_exists,
        target,
        columns: Vec::new(),
        at: None,
        incremental_from: None,
        compression: false,
        comment: None,
        retain: None,
    };
    while !c.at_end() {
        if snapshot.columns.is_empty() && c.eat("COLUMNS") {
            snapshot.columns = c.names_in_parens("COLUMNS needs a list: COLUMNS (a, b)")?;
        } else if snapshot.at.is_none() && c.eat("AT") {
            snapshot.at = Some(c.when(WHEN)?);
        } else if snapshot.incremental_from.is_none() && c.eat("INCREMENTAL") {
            c.expect("FROM", "INCREMENTAL FROM needs the name of the base")?;
            snapshot.incremental_from = Some(c.name_or_string("INCREMENTAL FROM needs the name of the base")?);
        } else if !snapshot.compression && c.eat("COMPRESSION") {
            snapshot.compression = true;
        } else if snapshot.comment.is_none() && c.eat("COMMENT") {
            c.eat_sign(&Token::Eq);
            snapshot.comment = Some(c.string("COMMENT needs a text in quotes")?);
        } else if snapshot.retain.is_none() && c.eat("RETAIN") {
            snapshot.retain = Some(period(c)?);
        } else if c.is("FROM") {
            return Err(Error::unsupported("snapshots of a publication"));
        } else {
            return Err(c.error("after the scope come COLUMNS (…), AT when, INCREMENTAL FROM base, COMPRESSION, COMMENT 'text', RETAIN n DAY"));
        }
    }
    Ok(snapshot)
}

pub(super) fn period(c: &mut Cursor<'_>) -> Result<Period> {
    const HINT: &str = "a period is a number and HOUR, DAY, WEEK, MONTH or YEAR";
    let count = c.number_u32(HINT)?;
    let unit = match c.eat_any(&[
        "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "YEAR", "MINUTES", "HOURS", "DAYS", "WEEKS", "MONTHS", "YEARS",
    ]) {
        Some("MINUTE" | "MINUTES") => PeriodUnit::Minute,
        Some("HOUR" | "HOURS") => PeriodUnit::Hour,
        Some("DAY" | "DAYS") => PeriodUnit::Day,
        Some("WEEK" | "WEEKS") => PeriodUnit::Week,
        Some("MONTH" | "MONTHS") => PeriodUnit::Month,
        Some("YEAR" | "YEARS") => PeriodUnit::Year,
        _ => return Err(c.error(HINT)),
    };
    Ok(Period { count, unit })
}

fn time_or_when(c: &mut Cursor<'_>) -> Result<When> {
    match c.peek() {
        Some(Token::SingleQuotedString(_)) => Ok(When::Time(c.string(WHEN)?)),
        _ => c.when(WHEN),
    }
}

fn restore(c: &mut Cursor<'_>, explain: bool) -> Result<Restore> {
    c.at += 1;
    // MatrixOne's `RESTORE FROM PITR p 'time'` is the own account.
    let target =
        if c.are(&["FROM", "PITR"]) { Target { account: None, scope: Scope::Account(None) } } else { target(c)? };
    let mut restore = Restore {
        target,
        from: RestoreFrom::When(When::Now),
        to: None,
        to_account: None,
        overwrite: false,
        keep_copy: false,
        create_database: false,
        with_grants: false,
        explain,
    };
    restore.from = if c.peek() == Some(&Token::LBrace) {
        match c.moment_suffix()? {
            Some(when) => RestoreFrom::When(when),
            None => return Err(c.error(WHEN)),
        }
    } else if c.eat("FROM") {
        if c.eat("PITR") {
            let name = c.name_or_string("FROM PITR needs its name and a time: FROM PITR p '2026-01-31 12:00:00'")?;
            c.eat("TIMESTAMP");
            let time = c.string("FROM PITR needs its name and a time: FROM PITR p '2026-01-31 12:00:00'")?;
            let source_account = if c.eat("AS") {
                Some(c.name("AS needs the name of an account")?)
            } else if c.peek().is_some() && !is_option(c) && !c.is("CREATE") {
                Some(c.name("")?)
            } else {
                None
            };
            RestoreFrom::Pitr { name, time, source_account }
        } else {
            RestoreFrom::When(time_or_reference(c)?)
        }
    } else {
        let what = match &restore.target.scope {
            Scope::Cluster => "RESTORE CLUSTER",
            Scope::Account(_) => "RESTORE ACCOUNT",
            Scope::Database(_) => "RESTORE DATABASE",
            Scope::Table(_) => "RESTORE TABLE",
            Scope::Tables { .. } => "RESTORE TABLES",
        };
        return Err(c.error(&format!("{what} needs FROM SNAPSHOT name, FROM VERSION n or FROM TIMESTAMP 'time'")));
    };
    while !c.at_end() {
        if restore.to_account.is_none() && c.eat_all(&["TO", "ACCOUNT"]) {
            restore.to_account = Some(c.name_or_string("TO ACCOUNT needs a name")?);
        } else if restore.to.is_none() && c.eat_all(&["TO", "DATABASE"]) {
            let database = c.name("TO DATABASE needs a name")?;
            let table = if c.eat("TABLE") { Some(c.name("TABLE needs a name")?) } else { None };
            restore.to = Some(RestoreTo::Database { database, table });
        } else if restore.to.is_none() && c.eat("TO") {
            c.eat("TABLE");
            restore.to = Some(RestoreTo::Name(c.table_name("TO needs a name")?));
        } else if !restore.overwrite && c.eat("OVERWRITE") {
            restore.overwrite = true;
        } else if !restore.keep_copy && c.eat_all(&["KEEP", "COPY"]) {
            restore.keep_copy = true;
        } else if !restore.create_database && c.eat_all(&["CREATE", "DATABASE"]) {
            restore.create_database = true;
        } else if !restore.with_grants && c.eat_all(&["WITH", "GRANTS"]) {
            restore.with_grants = true;
        } else {
            return Err(c.error("after the moment come TO name, TO DATABASE d [TABLE t], OVERWRITE, KEEP COPY, CREATE DATABASE, WITH GRANTS"));
        }
    }
    Ok(restore)
}

fn time_or_reference(c: &mut Cursor<'_>) -> Result<When> {
    c.when(WHEN)
}

/// `UNDROP …`, and what Oracle, TiDB and MariaDB people type for it and for a restore in place.
fn undrop_or_flashback(c: &mut Cursor<'_>, explain: bool) -> Result<HistoryStatement> {
    let flashback = c.is("FLASHBACK");
    c.at += 1;
    const HINT: &str = "say TABLE d.t or DATABASE d";
    if flashback && c.is("CLUSTER") {
        return flashback_to(c, explain);
    }
    let start = c.at;
    let what = if c.eat("TABLE") {
        Undropped::Table(c.table_name(HINT)?)
    } else if c.eat("DATABASE") || c.eat("SCHEMA") {
        Undropped::Database(c.name(HINT)?)
    } else {
        return Err(c.error(HINT));
    };
    let mut to = None;
    if flashback && c.is("TO") {
        if c.eat_all(&["TO", "BEFORE", "DROP"]) {
            if c.eat_all(&["RENAME", "TO"]) {
                to = Some(c.table_name("RENAME TO needs a name")?);
            }
        } else if ["TIMESTAMP", "SNAPSHOT", "VERSION", "NOW"].iter().any(|word| c.is_at(1, word))
            && c.peek_at(2).is_some()
        {
            c.at = start;
            return flashback_to(c, explain);
        } else {
            c.at += 1;
            to = Some(c.table_name("TO needs a name, TIMESTAMP 'time' or SNAPSHOT name")?);
        }
    } else if c.eat("TO") || c.eat_all(&["RENAME", "TO"]) {
        to = Some(c.table_name("TO needs a name")?);
    }
    Ok(HistoryStatement::Undrop(Undrop { what, to, explain }))
}

/// `FLASHBACK scope TO when`: a restore in place.
fn flashback_to(c: &mut Cursor<'_>, explain: bool) -> Result<HistoryStatement> {
    let target = target(c)?;
    c.expect("TO", "FLASHBACK needs TO TIMESTAMP 'time' or TO SNAPSHOT name")?;
    Ok(HistoryStatement::Restore(Restore {
        target,
        from: RestoreFrom::When(c.when(WHEN)?),
        to: None,
        to_account: None,
        overwrite: true,
        keep_copy: false,
        create_database: false,
        with_grants: false,
        explain,
    }))
}

fn diff(c: &mut Cursor<'_>) -> Result<Diff> {
    let table = c.table_name("DIFF TABLE needs a name")?;
    c.expect("FROM", "DIFF TABLE needs FROM when TO when")?;
    let from = c.when(WHEN)?;
    let to = if c.eat("TO") { c.when(WHEN)? } else { return Err(c.error("DIFF TABLE needs FROM when TO when")) };
    let hint = "OUTPUT is SUMMARY, COUNT or LIMIT n";
    let output = if c.eat("OUTPUT") {
        match c.eat_any(&["SUMMARY", "COUNT", "LIMIT"]) {
            Some("SUMMARY") => DiffOutput::Summary,
            Some("COUNT") => DiffOutput::Count,
            Some(_) => DiffOutput::Limit(c.number(hint)?),
            None => return Err(c.error(hint)),
        }
    } else if c.eat("LIMIT") {
        DiffOutput::Limit(c.number(hint)?)
    } else {
        DiffOutput::Rows
    };
    Ok(Diff { table, from, to, output })
}

/// `OLDER THAN when FOR scope [CASCADE]`, in any order.
fn drop_snapshots(c: &mut Cursor<'_>, explain: bool) -> Result<HistoryStatement> {
    const HINT: &str = "DROP SNAPSHOTS needs OLDER THAN 'time' FOR scope; one is dropped with DROP SNAPSHOT name";
    let (mut scope, mut older_than, mut cascade) = (None, None, false);
    while !c.at_end() {
        if scope.is_none() && c.eat("FOR") {
            scope = Some(target(c)?);
        } else if older_than.is_none() && c.eat_all(&["OLDER", "THAN"]) {
            older_than = Some(time_or_when(c)?);
        } else if !cascade && c.eat("CASCADE") {
            cascade = true;
        } else {
            return Err(c.error(HINT));
        }
    }
    match (scope, older_than) {
        (Some(target), Some(older_than)) => {
            Ok(HistoryStatement::DropSnapshots { target, older_than, cascade, explain })
        }
        _ => Err(c.error(HINT)),
    }
}

/// `FOR scope [KEEP … [TIME ZONE 'z']]`
fn apply_retention(c: &mut Cursor<'_>, explain: bool) -> Result<HistoryStatement> {
    let target = for_target(c)?;
    let rules = if c.is("KEEP") { Some(rules(c)?) } else { None };
    Ok(HistoryStatement::ApplyRetention { target, rules, explain })
}

/// `KEEP … [TIME ZONE 'z']`
fn rules(c: &mut Cursor<'_>) -> Result<Rules> {
    let keep = keep(c)?;
    let time_zone = match c.eat_all(&["TIME", "ZONE"]) {
        true => Some(c.string("TIME ZONE needs a name in quotes: 'Europe/Berlin'")?),
        false => None,
    };
    Ok(Rules { keep, time_zone })
}

/// `KEEP LAST n HOURLY n …`, at least one, in any order.
fn keep(c: &mut Cursor<'_>) -> Result<Keep> {
    const HINT: &str = "KEEP needs LAST n, HOURLY n, DAILY n, WEEKLY n, MONTHLY n or YEARLY n";
    c.expect("KEEP", HINT)?;
    let mut keep = Keep::default();
    while let Some(kind) = c.eat_any(&["LAST", "HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"]) {
        let slot = match kind {
            "LAST" => &mut keep.last,
            "HOURLY" => &mut keep.hourly,
            "DAILY" => &mut keep.daily,
            "WEEKLY" => &mut keep.weekly,
            "MONTHLY" => &mut keep.monthly,
            _ => &mut keep.yearly,
        };
        if slot.is_some() {
            c.at -= 1;
            return Err(c.error(&format!("{kind} is said twice")));
        }
        *slot = Some(c.number_u32(HINT)?);
        c.eat_sign(&Token::Comma);
    }
    if keep == Keep::default() { Err(c.error(HINT)) } else { Ok(keep) }
}

fn create_schedule(c: &mut Cursor<'_>) -> Result<CreateSchedule> {
    let if_not_exists = c.if_not_exists();
    let name = c.name_or_string("CREATE SCHEDULE needs a name: CREATE SCHEDULE s FOR DATABASE d CRON '0 2 * * *'")?;
    let target = for_target(c)?;
    let rhythm = if c.eat("CRON") || c.eat("RECURRING") {
        Rhythm::Cron(c.string("CRON needs an expression in quotes: CRON '0 2 * * *'")?)
    } else if c.eat("EVERY") {
        Rhythm::Every(period(c)?)
    } else {
        return Err(c.error("a schedule needs CRON 'expression' or EVERY n HOUR"));
    };
    let mut schedule = CreateSchedule {
        name,
        if_not_exists,
        target,
        rhythm,
        time_zone: None,
        snapshot_name: None,
        incremental: false,
        compression: false,
        comment: None,
        retain: None,
        keep: None,
    };
    while !c.at_end() {
        if schedule.time_zone.is_none() && c.eat_all(&["TIME", "ZONE"]) {
            schedule.time_zone = Some(c.string("TIME ZONE needs a name in quotes: 'Europe/Berlin'")?);
        } else if schedule.snapshot_name.is_none() && c.eat_all(&["SNAPSHOT", "NAME"]) {
            schedule.snapshot_name = Some(c.string("SNAPSHOT NAME needs a text in quotes: 'nightly_{time}'")?);
        } else if !schedule.incremental && c.eat("INCREMENTAL") {
            schedule.incremental = true;
        } else if !schedule.compression && c.eat("COMPRESSION") {
            schedule.compression = true;
        } else if schedule.comment.is_none() && c.eat("COMMENT") {
            schedule.comment = Some(c.string("COMMENT needs a text in quotes")?);
        } else if schedule.retain.is_none() && c.eat("RETAIN") {
            schedule.retain = Some(period(c)?);
        } else if schedule.keep.is_none() && c.is("KEEP") {
            schedule.keep = Some(keep(c)?);
        } else {
            return Err(c.error("after the rhythm come TIME ZONE 'z', SNAPSHOT NAME 'text', INCREMENTAL, COMPRESSION, COMMENT 'text', RETAIN n DAY, KEEP …"));
        }
    }
    Ok(schedule)
}
