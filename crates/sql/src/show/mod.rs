//! SHOW and DESCRIBE.
//!
//! Answers are made in memory from one catalog: the present's, or another moment's where the statement names one. LIKE
//! is applied here; `WHERE` is the session's, which runs it over the answer as over a table.

use std::sync::Arc;

use strandline_core::catalog::Catalog;
use strandline_core::grants::Privileges;
use strandline_core::health::Health;
use strandline_core::ids::{AccountId, ColumnId, Time};
use strandline_core::log::{Pin, Scope};
use strandline_core::schema::{Column, Database, Table};
use strandline_core::upkeep::storage::{Day, Storage};
use strandline_core::when;
use strandline_core::when::Pitr;

use crate::access::show::{self as access, Reader};
use crate::create_text::{create_database_text, create_table_text, create_view_text, quote};
use crate::ddl::{attributes, is_virtual, no_database, no_table, unknown_database};
use crate::error::{Error, Result};
use crate::information_schema as schema;
use crate::parse::{Filter, Limit, Show, TableName, UserName};
use crate::users;
use crate::warning::{Level, Warning};
use answer::{Cell, CellKind, answer, row};
use describe::{default_text, extra, key_of};

pub use answer::ShowAnswer;

pub mod answer;
pub mod describe;
pub mod like;
mod lists;

pub(crate) use lists::{CHARSETS, COLLATIONS};

use CellKind::{Long, Text, Time as When, UInt};

/// What SHOW and the virtual tables read.
pub struct ShowContext<'a> {
    /// The moment's that the statement means.
    pub catalog: &'a Arc<Catalog>,
    /// The snapshot through which the moment is read: what it does not speak of is not shown.
    pub limit: Option<&'a when::Limit>,
    pub account: AccountId,
    pub account_name: &'a str,
    /// The session's current database.
    pub database: Option<&'a str>,
    /// Who reads.
    pub reader: Reader<'a>,
    /// Names and values as SHOW VARIABLES prints them.
    pub variables: &'a [(String, String)],
    pub global_variables: &'a [(String, String)],
    pub status: &'a [(String, String)],
    pub processes: &'a [Process],
    /// Of the statement before.
    pub warnings: &'a [Warning],
    /// Called once per table that is listed with its size. It must not wait for I/O; what is unknown is zero.
    pub stats: &'a (dyn Fn(&Table) -> TableStats + Send + Sync),
    /// Snapshots that this account may see.
    pub snapshots: &'a [Pin],
    /// Policies for recovery windows that this account made.
    pub pitrs: &'a [Pitr],
    /// What the scrubber has found.
    pub health: &'a Health,
    /// What everything takes on disk; empty where nobody has asked.
    pub storage: &'a Storage,
    /// What was written on each day; empty where nobody has asked.
    pub growth: &'a [Day],
}

impl ShowContext<'_> {
    /// Returns the tables and views of a database that the reader may know of, by name.
    pub(crate) fn tables_of(&self, database: &Database) -> Vec<Arc<Table>> {
        let mut tables = self.catalog.tables_of(database.id);
        tables.retain(|table| self.reader.sees(database, table));
        if let Some(limit) = self.limit {
            tables.retain(|table| limit.admits_table(self.account_name, &database.name, &table.name).is_ok());
        }
        tables
    }

    /// Returns the databases of the account, by name.
    pub(crate) fn databases(&self) -> Vec<Arc<Database>> {
        let mut databases = self.catalog.databases_of(self.account);
        databases.retain(|database| self.check_database(&database.name).is_ok());
        databases
    }

    /// Returns the columns of a table that are shown: where each stands, from 1, and what the reader may do with it.
    pub(crate) fn columns_of<'t>(&self, database: &Database, table: &'t Table) -> Vec<(usize, &'t Column, String)> {
        let spoken_of = |column: &&Column| match self.limit {
            Some(limit) => limit.admits_columns(table, &[column.id]).is_ok(),
            None => true,
        };
        let columns = table.columns.iter().filter(spoken_of).enumerate();
        columns
            .filter_map(|(at, column)| {
                Some((at + 1, column, access::of_column(&self.reader, database, table, column)?))
            })
            .collect()
    }

    /// Returns the parts of a table's keys whose columns are shown.
    pub(crate) fn key_parts_of<'t>(&self, database: &Database, table: &'t Table) -> Vec<describe::KeyPart<'t>> {
        let shown: Vec<ColumnId> = self.columns_of(database, table).iter().map(|(_, column, _)| column.id).collect();
        let mut parts = describe::key_parts(table);
        parts.retain(|part| shown.contains(&part.column.id));
        parts
    }

    /// Fails if nothing is kept of a database.
    fn check_database(&self, name: &str) -> Result<()> {
        let Some(limit) = self.limit else { return Ok(()) };
        match limit.admits_scope(&Scope::Tables(name.to_owned(), Vec::new())) {
            Ok(()) => Ok(()),
            Err(_) => Ok(limit.admits_scope(&Scope::Database(name.to_owned()))?),
        }
    }

    /// Fails if the snapshot has only some columns of a table: it cannot be shown whole.
    fn check_whole(&self, table: &Table) -> Result<()> {
        let Some(limit) = self.limit else { return Ok(()) };
        let all: Vec<ColumnId> = table.columns.iter().map(|column| column.id).collect();
        Ok(limit.admits_columns(table, &all)?)
    }
}

/// How large a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    pub rows: u64,
    /// Of its parts.
    pub bytes: u64,
    /// The next AUTO_INCREMENT value; 0 where it is unknown.
    pub next_auto: u64,
    /// When rows were last written, if that is known.
    pub updated: Option<Time>,
}

/// A connection, for SHOW PROCESSLIST.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub id: u32,
    pub user: String,
    pub host: String,
    pub database: Option<String>,
    /// `Query`, `Sleep`, …
    pub command: String,
    /// How long it has been in this state.
    pub seconds: u64,
    pub state: String,
    pub statement: Option<String>,
}

/// Answers a SHOW statement, but for its WHERE (see [`filter`]).
///
/// # Errors
/// 1046, 1049, 1146, 1347 as MySQL's.
pub fn show(cx: &ShowContext<'_>, show: &Show) -> Result<ShowAnswer> {
    match show {
        Show::Databases { filter, .. } => databases(cx, filter.as_ref()),
        Show::Tables { full, database, filter, .. } => tables(cx, *full, database.as_deref(), filter.as_ref()),
        Show::TableStatus { database, filter, .. } => table_status(cx, database.as_deref(), filter.as_ref()),
        Show::OpenTables { database, filter } => {
            let home = home_name(cx, database.as_deref())?;
            let names = table_names(cx, &home).into_iter().map(|(name, _)| name);
            let rows =
                names.filter(|name| matches(filter.as_ref(), name)).map(|name| row![&home, name, 0u64, 0u64]).collect();
            answer(&[("Database", Text), ("Table", Text), ("In_use", UInt), ("Name_locked", UInt)], rows)
        }
        Show::Columns { table, full, filter, .. } => columns(cx, table, *full, filter.as_ref()),
        Show::Index { table, .. } => index(cx, table),
        Show::CreateTable { table, .. } => create_table(cx, table),
        Show::CreateView { view, .. } => {
            let (home, found) = find(cx, view, "SHOW VIEW")?;
            if !found.is_view() {
                return Err(Error::new(1347, "HY000", format!("'{}.{}' is not VIEW", home.name, found.name)));
            }
            create_view(cx, &home, &found)
        }
        Show::CreateDatabase { database, if_not_exists, .. } => create_database(cx, database, *if_not_exists),
        Show::CreateUser(name) => create_user(cx, name.as_ref()),
        Show::Variables { global, filter } => {
            name_value(if *global { cx.global_variables } else { cx.variables }, filter.as_ref())
        }
        Show::Status { filter, .. } => name_value(cx.status, filter.as_ref()),
        Show::Warnings { count: true, .. } => {
            answer(&[("@@session.warning_count", UInt)], vec![row![cx.warnings.len()]])
        }
        Show::Warnings { limit, .. } => warnings(cx.warnings.iter(), *limit),
        Show::Errors { count, limit } => {
            let errors = cx.warnings.iter().filter(|warning| warning.level == Level::Error);
            match count {
                true => answer(&[("@@session.error_count", UInt)], vec![row![errors.count()]]),
                false => warnings(errors, *limit),
            }
        }
        Show::Engines => answer(
            &[
                ("Engine", Text),
                ("Support", Text),
                ("Comment", Text),
                ("Transactions", Text),
                ("XA", Text),
                ("Savepoints", Text),
            ],
            vec![row!["InnoDB", "DEFAULT", lists::ENGINE_COMMENT, "YES", "NO", "YES"]],
        ),
        Show::Charset { filter } => {
            let rows = CHARSETS.iter().filter(|charset| matches(filter.as_ref(), charset.name));
            let rows = rows.map(|c| row![c.name, c.description, c.collation, c.max_bytes]).collect();
            answer(&[("Charset", Text), ("Description", Text), ("Default collation", Text), ("Maxlen", UInt)], rows)
        }
        Show::Collation { filter } => {
            let rows = COLLATIONS.iter().filter(|collation| matches(filter.as_ref(), collation.name));
            let rows = rows
                .map(|c| {
                    let default = if c.default { "Yes" } else { "" };
                    row![c.name, c.charset, c.id, default, "Yes", 1u64, c.padding]
                })
                .collect();
            answer(
                &[
                    ("Collation", Text),
                    ("Charset", Text),
                    ("Id", UInt),
                    ("Default", Text),
                    ("Compiled", Text),
                    ("Sortlen", UInt),
                    ("Pad_attribute", Text),
                ],
                rows,
            )
        }
        Show::Processlist { full } => {
            let rows = cx.processes.iter().map(|p| process_row(p, *full)).collect();
            answer(
                &[
                    ("Id", UInt),
                    ("User", Text),
                    ("Host", Text),
                    ("db", Text),
                    ("Command", Text),
                    ("Time", UInt),
                    ("State", Text),
                    ("Info", Long),
                ],
                rows,
            )
        }
        Show::Privileges => access::privileges(),
        Show::Plugins => answer(
            &[("Name", Text), ("Status", Text), ("Type", Text), ("Library", Text), ("License", Text)],
            vec![
                row!["caching_sha2_password", "ACTIVE", "AUTHENTICATION", Cell::Null, "Apache-2.0"],
                row!["mysql_native_password", "ACTIVE", "AUTHENTICATION", Cell::Null, "Apache-2.0"],
                row!["InnoDB", "ACTIVE", "STORAGE ENGINE", Cell::Null, "Apache-2.0"],
            ],
        ),
        Show::Grants { user, using } => access::grants(cx, user.as_ref(), using),
        Show::Triggers { database, .. } => {
            home_name(cx, database.as_deref())?;
            let columns = [
                ("Trigger", Text),
                ("Event", Text),
                ("Table", Text),
                ("Statement", Long),
                ("Timing", Text),
                ("Created", When),
                ("sql_mode", Text),
                ("Definer", Text),
                ("character_set_client", Text),
                ("collation_connection", Text),
                ("Database Collation", Text),
            ];
            answer(&columns, Vec::new())
        }
        Show::Events { database, .. } => {
            home_name(cx, database.as_deref())?;
            let columns = [
                ("Db", Text),
                ("Name", Text),
                ("Definer", Text),
                ("Time zone", Text),
                ("Type", Text),
                ("Execute at", When),
                ("Interval value", Text),
                ("Interval field", Text),
                ("Starts", When),
                ("Ends", When),
                ("Status", Text),
                ("Originator", UInt),
                ("character_set_client", Text),
                ("collation_connection", Text),
                ("Database Collation", Text),
            ];
            answer(&columns, Vec::new())
        }
        Show::RoutineStatus { .. } => {
            let columns = [
                ("Db", Text),
                ("Name", Text),
                ("Type", Text),
                ("Definer", Text),
                ("Modified", When),
                ("Created", When),
                ("Security_type", Text),
                ("Comment", Long),
                ("character_set_client", Text),
                ("collation_connection", Text),
                ("Database Collation", Text),
            ];
            answer(&columns, Vec::new())
        }
        Show::BinaryLogStatus | Show::ReplicaStatus
            if !cx.reader.rights.has_one_of(Privileges::SUPER | Privileges::REPLICATION_CLIENT) =>
        {
            Err(crate::access::lacks(Privileges::SUPER | Privileges::REPLICATION_CLIENT))
        }
        Show::BinaryLogStatus => answer(
            &[
                ("File", Text),
                ("Position", UInt),
                ("Binlog_Do_DB", Text),
                ("Binlog_Ignore_DB", Text),
                ("Executed_Gtid_Set", Text),
            ],
            Vec::new(),
        ),
        Show::ReplicaStatus => answer(
            &[("Replica_IO_State", Text), ("Source_Host", Text), ("Source_User", Text), ("Source_Port", UInt)],
            Vec::new(),
        ),
        Show::Accounts { filter } => {
            // MatrixOne's columns. Another account than sys sees itself alone.
            let all = cx.catalog.accounts();
            let whole = cx.account == strandline_core::db::SYS && cx.reader.rights.has_one_of(Privileges::SUPER);
            let seen = all.iter().filter(|a| whole || a.id == cx.account);
            let rows = seen
                .filter(|account| matches(filter.as_ref(), &account.name))
                .map(|account| {
                    let mut databases = cx.catalog.databases_of(account.id);
                    databases.retain(|database| account.id != cx.account || cx.reader.lists(&database.name));
                    let tables: usize = databases.iter().map(|d| cx.catalog.tables_of(d.id).len()).sum();
                    let admin = cx.catalog.users().iter().find(|u| u.account == account.id).map(|u| u.name.clone());
                    row![&account.name, admin, "open", databases.len(), tables]
                })
                .collect();
            answer(
                &[
                    ("ACCOUNT_NAME", Text),
                    ("ADMIN_NAME", Text),
                    ("STATUS", Text),
                    ("DB_COUNT", UInt),
                    ("TABLE_COUNT", UInt),
                ],
                rows,
            )
        }
    }
}

/// `DESCRIBE table [column]`
pub fn describe(cx: &ShowContext<'_>, table: &TableName, column: Option<&str>) -> Result<ShowAnswer> {
    let filter = column.map(|pattern| Filter::Like(pattern.to_owned()));
    columns(cx, table, false, filter.as_ref())
}

/// Returns the LIKE or WHERE of a SHOW. LIKE is done by [`show`]; WHERE is `SELECT * FROM answer WHERE …`.
pub fn filter(show: &Show) -> Option<&Filter> {
    match show {
        Show::Databases { filter, .. }
        | Show::Tables { filter, .. }
        | Show::TableStatus { filter, .. }
        | Show::OpenTables { filter, .. }
        | Show::Columns { filter, .. }
        | Show::Index { filter, .. }
        | Show::Variables { filter, .. }
        | Show::Status { filter, .. }
        | Show::Charset { filter }
        | Show::Collation { filter }
        | Show::Triggers { filter, .. }
        | Show::Events { filter, .. }
        | Show::RoutineStatus { filter }
        | Show::Accounts { filter } => filter.as_ref(),
        _ => None,
    }
}

/// Returns the moment that a SHOW names, which the session resolves before it makes the context.
pub fn moment(show: &Show) -> Option<&crate::parse::When> {
    match show {
        Show::Databases { at, .. }
        | Show::Tables { at, .. }
        | Show::TableStatus { at, .. }
        | Show::Columns { at, .. }
        | Show::Index { at, .. }
        | Show::CreateTable { at, .. }
        | Show::CreateView { at, .. }
        | Show::CreateDatabase { at, .. } => at.as_ref(),
        _ => None,
    }
}

fn databases(cx: &ShowContext<'_>, filter: Option<&Filter>) -> Result<ShowAnswer> {
    let names = database_names(cx);
    let rows = names.into_iter().filter(|name| matches(filter, name)).map(|name| row![name]).collect();
    let header = match filter {
        Some(Filter::Like(pattern)) => format!("Database ({pattern})"),
        _ => "Database".to_owned(),
    };
    answer(&[(&header, Text)], rows)
}

fn tables(cx: &ShowContext<'_>, full: bool, database: Option<&str>, filter: Option<&Filter>) -> Result<ShowAnswer> {
    let home = home_name(cx, database)?;
    let mut header = format!("Tables_in_{home}");
    if let Some(Filter::Like(pattern)) = filter {
        header.push_str(&format!(" ({pattern})"));
    }
    let names = table_names(cx, &home).into_iter().filter(|(name, _)| matches(filter, name));
    match full {
        true => answer(&[(&header, Text), ("Table_type", Text)], names.map(|(name, kind)| row![name, kind]).collect()),
        false => answer(&[(&header, Text)], names.map(|(name, _)| row![name]).collect()),
    }
}

fn table_status(cx: &ShowContext<'_>, database: Option<&str>, filter: Option<&Filter>) -> Result<ShowAnswer> {
    let home = home_name(cx, database)?;
    let columns = [
        ("Name", Text),
        ("Engine", Text),
        ("Version", UInt),
        ("Row_format", Text),
        ("Rows", UInt),
        ("Avg_row_length", UInt),
        ("Data_length", UInt),
        ("Max_data_length", UInt),
        ("Index_length", UInt),
        ("Data_free", UInt),
        ("Auto_increment", UInt),
        ("Create_time", When),
        ("Update_time", When),
        ("Check_time", When),
        ("Collation", Text),
        ("Checksum", UInt),
        ("Create_options", Text),
        ("Comment", Long),
    ];
    let mut rows = Vec::new();
    if let Ok(database) = cx.catalog.database(cx.account, &home) {
        for table in cx.tables_of(database).iter().filter(|table| matches(filter, &table.name)) {
            rows.push(status_row(cx, table));
        }
    } else {
        for name in schema::table_names(&home).filter(|name| matches(filter, name)) {
            let mut row = row![name, Cell::Null, 10u64];
            row.resize(columns.len(), Cell::Null);
            rows.push(row);
        }
    }
    answer(&columns, rows)
}

/// Returns what SHOW TABLE STATUS and information_schema.TABLES say of a table, from its name on.
pub(crate) fn status_row(cx: &ShowContext<'_>, table: &Table) -> Vec<Cell> {
    if table.is_view() {
        let mut row = row![&table.name];
        row.resize(11, Cell::Null);
        row.extend(row![
            attributes::created(table),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
            "VIEW"
        ]);
        return row;
    }
    let stats = (cx.stats)(table);
    let counts = table.columns.iter().any(|column| column.auto_increment);
    let average = stats.bytes.checked_div(stats.rows).unwrap_or(0);
    row![
        &table.name,
        "InnoDB",
        10u64,
        "Dynamic",
        stats.rows,
        average,
        stats.bytes,
        0u64,
        0u64,
        0u64,
        counts.then_some(stats.next_auto.max(1)),
        attributes::created(table),
        stats.updated,
        Cell::Null,
        "utf8mb4_bin",
        Cell::Null,
        "",
        &table.comment
    ]
}

fn columns(cx: &ShowContext<'_>, table: &TableName, full: bool, filter: Option<&Filter>) -> Result<ShowAnswer> {
    let described = described_columns(cx, table)?;
    let rows = described.into_iter().filter(|d| matches(filter, &d.field)).map(|d| {
        let null = if d.nullable { "YES" } else { "NO" };
        match full {
            true => {
                let collation = d.is_text.then_some("utf8mb4_bin");
                row![d.field, d.declared, collation, null, d.key, d.default, d.extra, d.privileges, d.comment]
            }
            false => row![d.field, d.declared, null, d.key, d.default, d.extra],
        }
    });
    let rows = rows.collect();
    match full {
        true => answer(
            &[
                ("Field", Text),
                ("Type", Long),
                ("Collation", Text),
                ("Null", Text),
                ("Key", Text),
                ("Default", Long),
                ("Extra", Text),
                ("Privileges", Text),
                ("Comment", Long),
            ],
            rows,
        ),
        false => answer(
            &[("Field", Text), ("Type", Long), ("Null", Text), ("Key", Text), ("Default", Long), ("Extra", Text)],
            rows,
        ),
    }
}

struct Described {
    field: String,
    declared: String,
    is_text: bool,
    nullable: bool,
    key: &'static str,
    default: Option<String>,
    extra: String,
    privileges: String,
    comment: String,
}

fn described_columns(cx: &ShowContext<'_>, name: &TableName) -> Result<Vec<Described>> {
    let home = name.database.as_deref().or(cx.database).ok_or_else(no_database)?;
    if is_virtual(home) {
        let columns = schema::columns_of(home, &name.name).ok_or_else(|| no_table(home, &name.name))?;
        let described = columns.iter().map(|(field, kind)| Described {
            field: (*field).to_owned(),
            declared: schema::declared(*kind).to_owned(),
            is_text: matches!(kind, Text | Long),
            nullable: true,
            key: "",
            default: None,
            extra: String::new(),
            privileges: "select".to_owned(),
            comment: String::new(),
        });
        return Ok(described.collect());
    }
    let (home, table) = find(cx, name, "SELECT")?;
    let shown = cx.columns_of(&home, &table).into_iter();
    Ok(shown.map(|(_, column, privileges)| described(&table, column, privileges)).collect())
}

fn described(table: &Table, column: &Column, privileges: String) -> Described {
    Described {
        field: column.name.clone(),
        declared: column.declared.clone(),
        is_text: describe::mysql_type(column).is_some_and(|ty| ty.is_text()),
        nullable: column.nullable,
        key: key_of(table, column),
        default: default_text(column),
        extra: extra(column),
        privileges,
        comment: column.comment.clone(),
    }
}

fn index(cx: &ShowContext<'_>, name: &TableName) -> Result<ShowAnswer> {
    let columns = [
        ("Table", Text),
        ("Non_unique", UInt),
        ("Key_name", Text),
        ("Seq_in_index", UInt),
        ("Column_name", Text),
        ("Collation", Text),
        ("Cardinality", UInt),
        ("Sub_part", UInt),
        ("Packed", Text),
        ("Null", Text),
        ("Index_type", Text),
        ("Comment", Text),
        ("Index_comment", Text),
        ("Visible", Text),
        ("Expression", Text),
    ];
    let home = name.database.as_deref().or(cx.database).ok_or_else(no_database)?;
    if is_virtual(home) {
        return answer(&columns, Vec::new());
    }
    let (home, table) = find(cx, name, "SELECT")?;
    cx.check_whole(&table)?;
    let rows = cx.key_parts_of(&home, &table).into_iter().map(|part| {
        row![
            &table.name,
            u64::from(!part.unique),
            part.key,
            part.sequence,
            &part.column.name,
            "A",
            (cx.stats)(&table).rows,
            part.prefix,
            Cell::Null,
            if part.column.nullable { "YES" } else { "" },
            "BTREE",
            "",
            part.comment,
            "YES",
            Cell::Null
        ]
    });
    answer(&columns, rows.collect())
}

fn create_table(cx: &ShowContext<'_>, name: &TableName) -> Result<ShowAnswer> {
    let columns = [("Table", Text), ("Create Table", Long)];
    if let Some(home) = name.database.as_deref().or(cx.database).filter(|home| is_virtual(home)) {
        let made_up = schema::columns_of(home, &name.name).ok_or_else(|| no_table(home, &name.name))?;
        let lines = made_up.iter().map(|(name, kind)| format!("  {} {}", quote(name), schema::declared(*kind)));
        let text = format!("CREATE TABLE {} (\n{}\n)", quote(&name.name), lines.collect::<Vec<_>>().join(",\n"));
        return answer(&columns, vec![row![&name.name, text]]);
    }
    let (home, table) = find(cx, name, "SHOW")?;
    if table.is_view() {
        return create_view(cx, &home, &table);
    }
    cx.check_whole(&table)?;
    let next_auto = table.columns.iter().any(|column| column.auto_increment).then(|| (cx.stats)(&table).next_auto);
    let text = create_table_text(&table, next_auto);
    answer(&columns, vec![row![&table.name, text]])
}

fn create_view(cx: &ShowContext<'_>, home: &Database, view: &Table) -> Result<ShowAnswer> {
    for needed in [Privileges::SELECT, Privileges::SHOW_VIEW] {
        if !cx.reader.has(home, view, needed) {
            return Err(cx.reader.rights.denied_table(needed, &view.name));
        }
    }
    let text = create_view_text(&home.name, view);
    answer(
        &[("View", Text), ("Create View", Long), ("character_set_client", Text), ("collation_connection", Text)],
        vec![row![&view.name, text, "utf8mb4", "utf8mb4_bin"]],
    )
}

fn create_database(cx: &ShowContext<'_>, name: &str, if_not_exists: bool) -> Result<ShowAnswer> {
    cx.reader.rights.require_any_in_database(name)?;
    let made_up;
    let database = match cx.catalog.database(cx.account, name) {
        Ok(database) => {
            cx.check_database(&database.name)?;
            database.as_ref()
        }
        Err(_) if is_virtual(name) => {
            made_up = Database {
                id: Default::default(),
                account: cx.account,
                name: name.to_lowercase(),
                comment: String::new(),
            };
            &made_up
        }
        Err(_) => return Err(unknown_database(name)),
    };
    let text = create_database_text(database, if_not_exists);
    answer(&[("Database", Text), ("Create Database", Long)], vec![row![&database.name, text]])
}

fn create_user(cx: &ShowContext<'_>, name: Option<&UserName>) -> Result<ShowAnswer> {
    let own = cx.reader.rights.user();
    let name = match name {
        Some(name) if !name.current => name.name.clone(),
        _ => own.map(|own| own.name.clone()).unwrap_or_default(),
    };
    if own.is_none_or(|own| own.name != name) && !cx.reader.rights.on_database("mysql").has(Privileges::SELECT) {
        return Err(cx.reader.rights.denied_database("mysql"));
    }
    let user = cx.reader.present.user(cx.account, &name);
    let user =
        user.ok_or_else(|| Error::new(1396, "HY000", format!("Operation SHOW CREATE USER failed for '{name}'@'%'")))?;
    let header = format!("CREATE USER for {}@{}", user.name, users::host_of(user));
    answer(&[(&header, Long)], vec![row![users::create_user_text(user, cx.reader.present)]])
}

fn name_value(pairs: &[(String, String)], filter: Option<&Filter>) -> Result<ShowAnswer> {
    let mut pairs: Vec<&(String, String)> = pairs.iter().filter(|(name, _)| matches(filter, name)).collect();
    pairs.sort();
    let rows = pairs.into_iter().map(|(name, value)| row![name, value]).collect();
    answer(&[("Variable_name", Text), ("Value", Long)], rows)
}

fn warnings<'a>(warnings: impl Iterator<Item = &'a Warning>, limit: Option<Limit>) -> Result<ShowAnswer> {
    let limit = limit.unwrap_or(Limit { offset: 0, count: u64::MAX });
    let skipped = usize::try_from(limit.offset).unwrap_or(usize::MAX);
    let count = usize::try_from(limit.count).unwrap_or(usize::MAX);
    let rows = warnings.skip(skipped).take(count);
    let rows = rows.map(|w| row![w.level.to_string(), u64::from(w.code), &w.message]).collect();
    answer(&[("Level", Text), ("Code", UInt), ("Message", Long)], rows)
}

/// Returns what SHOW PROCESSLIST says of a connection.
pub(crate) fn process_row(process: &Process, full: bool) -> Vec<Cell> {
    let statement =
        process.statement.as_ref().map(|text| if full { text.clone() } else { text.chars().take(100).collect() });
    row![
        u64::from(process.id),
        &process.user,
        &process.host,
        process.database.clone(),
        &process.command,
        process.seconds,
        &process.state,
        statement
    ]
}

/// Returns the names of all databases, in order.
pub(crate) fn database_names(cx: &ShowContext<'_>) -> Vec<String> {
    let mut names: Vec<String> = cx.databases().iter().map(|database| database.name.clone()).collect();
    names.retain(|name| cx.reader.lists(name));
    names.extend(crate::ddl::VIRTUAL_DATABASES.iter().map(|name| (*name).to_owned()));
    names.sort();
    names.dedup();
    names
}

/// Returns the tables and views of a database, with MySQL's word for their type.
fn table_names(cx: &ShowContext<'_>, home: &str) -> Vec<(String, &'static str)> {
    match cx.catalog.database(cx.account, home) {
        Ok(database) => {
            let tables = cx.tables_of(database);
            tables.iter().map(|t| (t.name.clone(), if t.is_view() { "VIEW" } else { "BASE TABLE" })).collect()
        }
        Err(_) => schema::table_names(home).map(|name| (name.to_owned(), schema::table_type(home))).collect(),
    }
}

/// Returns the name of the database that is meant, as it is spelled.
fn home_name(cx: &ShowContext<'_>, name: Option<&str>) -> Result<String> {
    let name = name.or(cx.database).ok_or_else(no_database)?;
    cx.reader.rights.require_any_in_database(name)?;
    match cx.catalog.database(cx.account, name) {
        Ok(database) => {
            cx.check_database(&database.name)?;
            // Who named no snapshot asks for the whole database, and is not shown a part of it in silence.
            if let Some(limit @ (when::Limit::Kept(_) | when::Limit::Pitr(_))) = cx.limit {
                limit.admits_scope(&Scope::Database(database.name.clone()))?;
            }
            Ok(database.name.clone())
        }
        Err(_) if is_virtual(name) => Ok(name.to_lowercase()),
        Err(_) => Err(unknown_database(name)),
    }
}

/// Returns a table that the reader may know of. `command` is what is denied of others.
fn find(cx: &ShowContext<'_>, name: &TableName, command: &str) -> Result<(Arc<Database>, Arc<Table>)> {
    let home = name.database.as_deref().or(cx.database).ok_or_else(no_database)?;
    if is_virtual(home) {
        return Err(no_table(home, &name.name));
    }
    let found = cx.catalog.database(cx.account, home).map_err(|_| unknown_database(home)).and_then(|database| {
        let table = cx.catalog.table(database, &name.name).map_err(|_| no_table(&database.name, &name.name))?;
        Ok((database, table))
    });
    let rights = cx.reader.rights;
    let (database, table) = match found {
        Ok(found) => found,
        Err(error) => return Err(rights.require_any_on_table(home, &name.name, command).err().unwrap_or(error)),
    };
    if !cx.reader.sees(database, table) {
        return Err(rights.denied_command(command, &name.name));
    }
    if let Some(limit) = cx.limit {
        limit.admits_table(cx.account_name, &database.name, &table.name)?;
    }
    Ok((database.clone(), table.clone()))
}

fn matches(filter: Option<&Filter>, name: &str) -> bool {
    match filter {
        Some(Filter::Like(pattern)) => like::like(pattern, name),
        Some(Filter::Where(_)) | None => true,
    }
}

/// Returns nanoseconds since 1970, as MatrixOne tells times.
pub(crate) fn nanos(time: Time) -> i64 {
    time.0.saturating_mul(1000)
}
