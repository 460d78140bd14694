//! The statements that a text can be: our own types around the library's trees of queries and definitions.

use std::fmt;

use sqlparser::ast::{self, Expr, Query};

use super::history::{HistoryStatement, When};

/// One statement of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub statement: Statement,
    /// The statement's source, without the `;` and what surrounds it. Spans in the trees are `column = byte offset + 1` in it.
    pub text: String,
    /// How many `?` it has; they are `$1`, `$2`, … in the trees.
    pub parameters: usize,
    /// `FOR UPDATE`, `FOR SHARE` or `LOCK IN SHARE MODE` stands in it.
    pub locking: bool,
    /// `/*+ MAX_EXECUTION_TIME(n) */` right behind SELECT, in milliseconds.
    pub max_execution_ms: Option<u64>,
}

/// What a text asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    Query(Box<Query>),
    /// `SELECT … INTO @a, @b`; the names are without `@`.
    SelectInto {
        query: Box<Query>,
        variables: Vec<String>,
    },
    /// `INSERT` and `REPLACE` (`replace_into`), with all of IGNORE, SET, row alias, ON DUPLICATE KEY UPDATE and RETURNING.
    Insert(Box<ast::Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Load(Box<LoadData>),
    CreateTable(Box<ast::CreateTable>),
    CreateView(Box<CreateView>),
    AlterTable(Box<AlterTable>),
    DropTable {
        tables: Vec<TableName>,
        if_exists: bool,
        temporary: bool,
    },
    DropView {
        views: Vec<TableName>,
        if_exists: bool,
    },
    RenameTable(Vec<(TableName, TableName)>),
    Truncate(TableName),
    CreateDatabase {
        name: String,
        if_not_exists: bool,
        options: DatabaseOptions,
    },
    /// `None` is the session's database.
    AlterDatabase {
        name: Option<String>,
        options: DatabaseOptions,
    },
    DropDatabase {
        name: String,
        if_exists: bool,
    },
    CreateIndex {
        index: Box<ast::CreateIndex>,
        kind: IndexKind,
    },
    DropIndex {
        name: String,
        table: TableName,
        if_exists: bool,
    },
    Use(String),
    Set(Vec<SetItem>),
    Show(Show),
    /// `DESCRIBE t [moment] [column]`; the column may be a pattern.
    Describe {
        table: TableName,
        at: Option<When>,
        column: Option<String>,
    },
    Explain {
        statement: Box<Statement>,
        analyze: bool,
        /// `FORMAT = JSON`, `TREE`, `TRADITIONAL`, in upper case.
        format: Option<String>,
    },
    Begin {
        consistent_snapshot: bool,
        read_only: bool,
        /// TiDB's `START TRANSACTION READ ONLY AS OF TIMESTAMP …`.
        at: Option<When>,
    },
    Commit {
        chain: bool,
        release: bool,
    },
    Rollback {
        /// Only back to this savepoint.
        to: Option<String>,
        chain: bool,
        release: bool,
    },
    Savepoint(String),
    ReleaseSavepoint(String),
    Kill {
        id: u64,
        /// Only the query that runs, not the connection.
        query: bool,
    },
    Prepare {
        name: String,
        source: PrepareSource,
    },
    /// The variables are without `@`.
    Execute {
        name: String,
        using: Vec<String>,
    },
    Deallocate(String),
    Do(Vec<Expr>),
    History(Box<HistoryStatement>),
    Account(AccountStatement),
    User(UserStatement),
    LockTables(Vec<LockTable>),
    UnlockTables,
    /// CHECK, ANALYZE, OPTIMIZE, REPAIR or CHECKSUM TABLE.
    TableUpkeep {
        what: Upkeep,
        tables: Vec<TableName>,
        /// As written, in upper case.
        options: Vec<String>,
    },
    /// Its meaning is fulfilled here by doing nothing; the parser says why where it makes one.
    Noop {
        what: &'static str,
    },
    /// Valid MySQL that we do not have.
    Unsupported(String),
}

/// `t` or `d.t`, without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// `None` is the session's database.
    pub database: Option<String>,
    pub name: String,
}

impl fmt::Display for TableName {
    /// Writes the name as SQL, quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = |name: &str| name.replace('`', "``");
        if let Some(database) = &self.database {
            write!(f, "`{}`.", quote(database))?;
        }
        write!(f, "`{}`", quote(&self.name))
    }
}

/// Which rows a SHOW shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    Like(String),
    Where(Box<Expr>),
}

/// `UPDATE`, of one table or of several. `a, b` stands as a cross join in the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub update: ast::Update,
    pub ignore: bool,
}

/// `DELETE`, of one table or of several (`tables` or `using` are set then).
#[derive(Debug, Clone, PartialEq)]
pub struct Delete {
    pub delete: ast::Delete,
    pub ignore: bool,
}

/// `LOAD DATA INFILE`, with the defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadData {
    /// The client has the file.
    pub local: bool,
    pub file: String,
    pub on_duplicate: OnDuplicate,
    pub table: TableName,
    pub charset: Option<String>,
    pub fields_terminated_by: String,
    pub enclosed_by: Option<char>,
    pub optionally_enclosed: bool,
    pub escaped_by: Option<char>,
    pub lines_starting_by: String,
    pub lines_terminated_by: String,
    pub ignore_lines: u64,
    /// Empty is all columns of the table, in order.
    pub columns: Vec<LoadColumn>,
    pub assignments: Vec<(String, Expr)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDuplicate {
    Error,
    Replace,
    Ignore,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadColumn {
    Column(String),
    /// Without `@`.
    Variable(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateView {
    pub view: ast::CreateView,
    pub definer: Option<UserName>,
    /// `SQL SECURITY INVOKER`
    pub invoker: bool,
    /// `UNDEFINED`, `MERGE` or `TEMPTABLE`, in upper case.
    pub algorithm: Option<String>,
    /// `WITH [CASCADED | LOCAL] CHECK OPTION`
    pub check_option: bool,
    /// The source of the query: what a catalog should keep, since the tree printed is no round trip.
    pub query_text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AlterTable {
    pub table: TableName,
    pub if_exists: bool,
    pub operations: Vec<AlterOperation>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AlterOperation {
    /// What the library knows: columns, keys and constraints to add, renames, defaults, ALGORITHM, LOCK.
    Sql(Box<ast::AlterTableOperation>),
    RenameTo(TableName),
    RenameIndex {
        from: String,
        to: String,
    },
    DropIndex {
        name: String,
        if_exists: bool,
    },
    DropForeignKey {
        name: String,
        if_exists: bool,
    },
    DropPrimaryKey,
    DropCheck {
        name: String,
    },
    Comment(String),
    /// `ENGINE = x`
    Engine(String),
    AutoIncrement(u64),
    /// Only what later columns default to.
    DefaultCharset {
        charset: Option<String>,
        collate: Option<String>,
    },
    /// Of every text column too.
    ConvertTo {
        charset: Option<String>,
        collate: Option<String>,
    },
    /// `ORDER BY`, `FORCE`, `ROW_FORMAT = x`, `STATS_… = x`, `KEY_BLOCK_SIZE = n`, `ENABLE KEYS`, `DISABLE KEYS`: they ask for nothing that
    /// a query could see, and layout is ours to choose. As written.
    Layout(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    Plain,
    Fulltext,
    Spatial,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseOptions {
    pub charset: Option<String>,
    pub collate: Option<String>,
    pub comment: Option<String>,
}

/// One assignment of a SET.
#[derive(Debug, Clone, PartialEq)]
pub enum SetItem {
    Variable {
        scope: VariableScope,
        name: String,
        value: SetValue,
    },
    /// `@name = expr`; the name is without `@`.
    User {
        name: String,
        value: Box<Expr>,
    },
    /// `NAMES cs [COLLATE c]`; `None` is DEFAULT.
    Names {
        charset: Option<String>,
        collate: Option<String>,
    },
    /// `CHARACTER SET cs`; `None` is DEFAULT.
    CharacterSet(Option<String>),
    Transaction {
        scope: TransactionScope,
        isolation: Option<Isolation>,
        read_only: Option<bool>,
    },
    /// `as_of = '…'`: the whole session reads that moment; `None` is the present again.
    AsOf(Option<When>),
    /// `PASSWORD [FOR user] = 'text'`
    Password {
        user: Option<UserName>,
        password: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableScope {
    Session,
    Global,
    Persist,
    PersistOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionScope {
    /// The next transaction only.
    Next,
    Session,
    Global,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SetValue {
    Default,
    /// A bare word: ON, OFF, utf8mb4, …
    Word(String),
    Expr(Box<Expr>),
}

/// What a SHOW shows. Those about history are in `HistoryStatement`.
#[derive(Debug, Clone, PartialEq)]
pub enum Show {
    Databases {
        at: Option<When>,
        filter: Option<Filter>,
    },
    Tables {
        full: bool,
        database: Option<String>,
        at: Option<When>,
        filter: Option<Filter>,
    },
    TableStatus {
        database: Option<String>,
        at: Option<When>,
        filter: Option<Filter>,
    },
    OpenTables {
        database: Option<String>,
        filter: Option<Filter>,
    },
    Columns {
        table: TableName,
        full: bool,
        at: Option<When>,
        filter: Option<Filter>,
    },
    Index {
        table: TableName,
        at: Option<When>,
        filter: Option<Filter>,
    },
    CreateTable {
        table: TableName,
        at: Option<When>,
    },
    CreateView {
        view: TableName,
        at: Option<When>,
    },
    CreateDatabase {
        database: String,
        if_not_exists: bool,
        at: Option<When>,
    },
    CreateUser(Option<UserName>),
    Variables {
        global: bool,
        filter: Option<Filter>,
    },
    Status {
        global: bool,
        filter: Option<Filter>,
    },
    /// `count`: `SHOW COUNT(*) WARNINGS`
    Warnings {
        count: bool,
        limit: Option<Limit>,
    },
    Errors {
        count: bool,
        limit: Option<Limit>,
    },
    Engines,
    Charset {
        filter: Option<Filter>,
    },
    Collation {
        filter: Option<Filter>,
    },
    Processlist {
        full: bool,
    },
    Privileges,
    Plugins,
    /// `None` is the session's user, with the roles that are active.
    Grants {
        user: Option<UserName>,
        using: Vec<UserName>,
    },
    Triggers {
        database: Option<String>,
        filter: Option<Filter>,
    },
    Events {
        database: Option<String>,
        filter: Option<Filter>,
    },
    /// FUNCTION, PROCEDURE, PACKAGE or PACKAGE BODY STATUS: there are none, so the kind does not matter.
    RoutineStatus {
        filter: Option<Filter>,
    },
    /// `SHOW MASTER STATUS` and its later names.
    BinaryLogStatus,
    ReplicaStatus,
    Accounts {
        filter: Option<Filter>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub offset: u64,
    pub count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrepareSource {
    Text(String),
    /// Without `@`.
    Variable(String),
}

/// MatrixOne's statements about accounts (tenants).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountStatement {
    Create {
        name: String,
        if_not_exists: bool,
        admin: String,
        password: String,
        status: Option<AccountStatus>,
        comment: Option<String>,
    },
    Alter {
        name: String,
        if_exists: bool,
        /// The administrator's name and new password.
        admin: Option<(String, String)>,
        status: Option<AccountStatus>,
        comment: Option<String>,
    },
    Drop {
        name: String,
        if_exists: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountStatus {
    Open,
    Suspend,
    Restricted,
}

/// `'name'@'host'`; without a host it is `%`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserName {
    /// Empty for `CURRENT_USER`.
    pub name: String,
    pub host: Option<String>,
    /// `CURRENT_USER`
    pub current: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserStatement {
    Create {
        users: Vec<UserSpec>,
        if_not_exists: bool,
        options: UserOptions,
    },
    Alter {
        users: Vec<UserSpec>,
        if_exists: bool,
        options: UserOptions,
    },
    Drop {
        users: Vec<UserName>,
        if_exists: bool,
    },
    Rename(Vec<(UserName, UserName)>),
    CreateRole {
        roles: Vec<UserName>,
        if_not_exists: bool,
    },
    DropRole {
        roles: Vec<UserName>,
        if_exists: bool,
    },
    Grant(Grant),
    Revoke(Grant),
    RevokeAll {
        users: Vec<UserName>,
        lenient: Lenient,
    },
    GrantRole {
        roles: Vec<UserName>,
        users: Vec<UserName>,
        with_admin: bool,
    },
    RevokeRole {
        roles: Vec<UserName>,
        users: Vec<UserName>,
        lenient: Lenient,
    },
    SetRole(RoleChoice),
    /// Never `Default` or `AllExcept`.
    SetDefaultRole {
        roles: RoleChoice,
        users: Vec<UserName>,
    },
}

/// Which of the roles that were granted are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleChoice {
    Default,
    None,
    All,
    AllExcept(Vec<UserName>),
    Roles(Vec<UserName>),
}

/// What CREATE and ALTER USER say of all users that they name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserOptions {
    pub locked: Option<bool>,
    pub comment: Option<String>,
    /// CREATE USER grants these roles, too.
    pub default_role: Option<RoleChoice>,
}

/// What a REVOKE passes over with a warning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lenient {
    /// `IF EXISTS`: what was not granted.
    pub grants: bool,
    /// `IGNORE UNKNOWN USER`
    pub users: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSpec {
    pub user: UserName,
    pub auth: Auth,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Nothing is said: no password for a new user, no change for an old one.
    Unsaid,
    Password {
        plugin: Option<String>,
        password: String,
    },
    /// The stored form, as SHOW CREATE USER gives it.
    Hash {
        plugin: Option<String>,
        hash: String,
    },
    /// `IDENTIFIED WITH plugin`
    Plugin(String),
}

/// `GRANT` or `REVOKE` of privileges on something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub privileges: Vec<Privilege>,
    pub on: GrantOn,
    pub users: Vec<UserName>,
    /// `WITH GRANT OPTION`, or for REVOKE `GRANT OPTION FOR`.
    pub grant_option: bool,
    /// Of a REVOKE.
    pub lenient: Lenient,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privilege {
    /// In upper case, as `ALL`, `SELECT`, `CREATE TEMPORARY TABLES`.
    pub name: String,
    /// Only these columns.
    pub columns: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantOn {
    /// `*.*`
    Everything,
    /// `*`: the session's database.
    CurrentDatabase,
    Database(String),
    Table(TableName),
    /// MatrixOne: `ON ACCOUNT *`.
    Account,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockTable {
    pub table: TableName,
    pub alias: Option<String>,
    pub write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    Check,
    Analyze,
    Optimize,
    Repair,
    Checksum,
}
