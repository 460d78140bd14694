//! What each statement needs, as far as its text tells. Nothing here looks at a catalog: that a table exists is nobody's
//! business who may not use it.

use sqlparser::ast;
use strandline_core::grants::Privileges;

use super::Rights;
use crate::ddl::spec::{ForeignKeySpec, object_name, table_spec};
use crate::ddl::{self, AlterSpec, Alteration};
use crate::error::Result;
use crate::parse::{
    AlterOperation, Auth, SetItem, Statement, TableName, TransactionScope, Upkeep, UserName, UserOptions,
    UserStatement, VariableScope,
};
use crate::session::State;

/// A privilege, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Any of these on `*.*`.
    OneOf(Privileges),
    /// All of these on a database.
    Database(String, Privileges),
    /// All of these on a table.
    Table(String, String, Privileges),
}

impl Need {
    /// Asks for it.
    ///
    /// # Errors
    /// 1227, 1044, 1142
    pub fn check(&self, rights: &Rights) -> Result<()> {
        match self {
            Need::OneOf(privileges) => rights.require_one_of(*privileges),
            Need::Database(database, privileges) => rights.require_on_database(database, *privileges),
            Need::Table(database, table, privileges) => rights.require_on_table(database, table, *privileges),
        }
    }
}

/// Asks for everything that a statement needs.
///
/// # Errors
/// As [`Need::check`]; 1046 where a table's database is not said.
pub fn check(state: &State, statement: &Statement) -> Result<()> {
    let mut needs = Needs { state, needs: Vec::new() };
    needs.collect(statement)?;
    needs.needs.iter().try_for_each(|need| need.check(&state.rights))
}

struct Needs<'a> {
    state: &'a State,
    needs: Vec<Need>,
}

impl Needs<'_> {
    fn collect(&mut self, statement: &Statement) -> Result<()> {
        const P: fn(Privileges) -> Need = Need::OneOf;
        match statement {
            Statement::CreateTable(create) => self.create_table(create)?,
            Statement::CreateView(create) => {
                let (database, name) = object_name(&create.view.name)?;
                let replace = if create.view.or_replace { Privileges::DROP } else { Privileges::NONE };
                self.table(database.as_deref(), &name, Privileges::CREATE_VIEW | replace)?;
                if create.definer.as_ref().is_some_and(|definer| !self.is_own(definer)) {
                    self.needs.push(P(Privileges::SUPER));
                }
            }
            Statement::AlterTable(alter) => {
                let renames = alter.operations.iter().any(|one| matches!(one, AlterOperation::RenameTo(_)));
                let drop = if renames { Privileges::DROP } else { Privileges::NONE };
                self.named(&alter.table, Privileges::ALTER | drop)?;
                for operation in &alter.operations {
                    if let AlterOperation::RenameTo(name) = operation {
                        self.named(name, Privileges::CREATE | Privileges::INSERT)?;
                    }
                }
                // What cannot be read here is refused when it is carried out.
                if let Ok(spec) = ddl::alter_spec(alter, &mut Vec::new()) {
                    self.parents_of(&spec, alter.table.database.as_deref())?;
                }
            }
            Statement::DropTable { tables, .. } => {
                tables.iter().try_for_each(|table| self.named(table, Privileges::DROP))?;
            }
            Statement::DropView { views, .. } => {
                views.iter().try_for_each(|view| self.named(view, Privileges::DROP))?;
            }
            Statement::RenameTable(pairs) => {
                for (old, new) in pairs {
                    self.named(old, Privileges::ALTER | Privileges::DROP)?;
                    self.named(new, Privileges::CREATE | Privileges::INSERT)?;
                }
            }
            Statement::Truncate(table) => self.named(table, Privileges::DROP)?,
            Statement::CreateDatabase { name, .. } => self.database(name, Privileges::CREATE),
            Statement::AlterDatabase { name, .. } => {
                let name = self.state.home(name.as_deref())?;
                self.database(&name, Privileges::ALTER);
            }
            Statement::DropDatabase { name, .. } => self.database(name, Privileges::DROP),
            Statement::CreateIndex { index, .. } => {
                let (database, table) = object_name(&index.table_name)?;
                self.table(database.as_deref(), &table, Privileges::INDEX)?;
            }
            Statement::DropIndex { table, .. } => self.named(table, Privileges::INDEX)?,
            Statement::Load(load) if !load.local => self.needs.push(P(Privileges::FILE)),
            Statement::Set(items) => {
                for item in items {
                    match item {
                        SetItem::Variable {
                            scope: VariableScope::Global | VariableScope::Persist | VariableScope::PersistOnly,
                            ..
                        }
                        | SetItem::Transaction { scope: TransactionScope::Global, .. } => {
                            self.needs.push(P(Privileges::SUPER));
                        }
                        SetItem::Password { user: Some(user), .. } if !self.is_own(user) => {
                            self.needs.push(P(Privileges::CREATE_USER));
                        }
                        _ => {}
                    }
                }
            }
            Statement::LockTables(tables) => {
                for lock in tables {
                    let home = self.state.home(lock.table.database.as_deref())?;
                    self.database(&home, Privileges::LOCK_TABLES);
                    self.named(&lock.table, Privileges::SELECT)?;
                }
            }
            Statement::TableUpkeep { what, tables, .. } => {
                let privileges = match what {
                    Upkeep::Check | Upkeep::Checksum => Privileges::SELECT,
                    Upkeep::Analyze | Upkeep::Optimize | Upkeep::Repair => Privileges::SELECT | Privileges::INSERT,
                };
                tables.iter().try_for_each(|table| self.named(table, privileges))?;
            }
            // FLUSH, in all its forms.
            Statement::Noop { .. } => self.needs.push(P(Privileges::RELOAD)),
            Statement::Account(_) => self.needs.push(P(Privileges::SUPER)),
            Statement::User(statement) => self.user(statement),
            // The tables of these are checked where they are resolved, the moments of history where they are looked up,
            // what SHOW lists row by row, and a statement inside another when it is run.
            Statement::Query(_)
            | Statement::SelectInto { .. }
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Load(_)
            | Statement::Explain { .. }
            | Statement::Do(_)
            | Statement::History(_)
            | Statement::Show(_)
            | Statement::Describe { .. }
            | Statement::Use(_)
            | Statement::Kill { .. }
            | Statement::Prepare { .. }
            | Statement::Execute { .. } => {}
            // These touch nothing but the session itself.
            Statement::Begin { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint(_)
            | Statement::ReleaseSavepoint(_)
            | Statement::Deallocate(_)
            | Statement::UnlockTables
            | Statement::Unsupported(_) => {}
        }
        Ok(())
    }

    fn create_table(&mut self, create: &ast::CreateTable) -> Result<()> {
        let (database, name) = object_name(&create.name)?;
        let rows = if create.query.is_some() { Privileges::INSERT } else { Privileges::NONE };
        self.table(database.as_deref(), &name, Privileges::CREATE | rows)?;
        if let Some(ast::CreateTableLikeKind::Plain(like) | ast::CreateTableLikeKind::Parenthesized(like)) =
            &create.like
        {
            let (database, source) = object_name(&like.name)?;
            self.table(database.as_deref(), &source, Privileges::SELECT)?;
            return Ok(());
        }
        // What cannot be read here is refused when it is carried out.
        if let Ok(spec) = table_spec(create, &mut Vec::new()) {
            let keys = spec.columns.iter().filter_map(|column| column.foreign_key.as_ref()).chain(&spec.foreign_keys);
            keys.into_iter().try_for_each(|key| self.parent(key, database.as_deref()))?;
        }
        Ok(())
    }

    fn parents_of(&mut self, spec: &AlterSpec, home: Option<&str>) -> Result<()> {
        for alteration in &spec.alterations {
            match alteration {
                Alteration::AddForeignKey(key) => self.parent(key, home)?,
                Alteration::AddColumn { column, .. } => {
                    if let Some(key) = &column.foreign_key {
                        self.parent(key, home)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A foreign key tells which values its parent has.
    fn parent(&mut self, key: &ForeignKeySpec, home: Option<&str>) -> Result<()> {
        self.table(key.parent_database.as_deref().or(home), &key.parent_table, Privileges::REFERENCES)
    }

    fn user(&mut self, statement: &UserStatement) {
        let one_of = match statement {
            // Everybody may change their own password, and say which of their roles are active from the login on.
            UserStatement::Alter {
                users, options: UserOptions { locked: None, comment: None, default_role }, ..
            } if users
                .iter()
                .all(|spec| self.is_own(&spec.user) && (spec.auth != Auth::Unsaid || default_role.is_some())) =>
            {
                return;
            }
            UserStatement::Create { .. }
            | UserStatement::Alter { .. }
            | UserStatement::Drop { .. }
            | UserStatement::Rename(_)
            | UserStatement::RevokeAll { .. } => Privileges::CREATE_USER,
            UserStatement::CreateRole { .. } => Privileges::CREATE_USER | Privileges::CREATE_ROLE,
            UserStatement::DropRole { .. } => Privileges::CREATE_USER | Privileges::DROP_ROLE,
            UserStatement::SetDefaultRole { users, .. } if !users.iter().all(|user| self.is_own(user)) => {
                Privileges::CREATE_USER
            }
            // Who may grant what depends on the grantor's own rights there.
            UserStatement::Grant(_)
            | UserStatement::Revoke(_)
            | UserStatement::GrantRole { .. }
            | UserStatement::RevokeRole { .. }
            | UserStatement::SetRole(_)
            | UserStatement::SetDefaultRole { .. } => return,
        };
        self.needs.push(Need::OneOf(one_of));
    }

    fn is_own(&self, name: &UserName) -> bool {
        name.current || self.state.rights.user().is_some_and(|user| user.name == name.name)
    }

    fn named(&mut self, table: &TableName, privileges: Privileges) -> Result<()> {
        self.table(table.database.as_deref(), &table.name, privileges)
    }

    fn table(&mut self, database: Option<&str>, table: &str, privileges: Privileges) -> Result<()> {
        let database = self.state.home(database)?;
        // What the server makes up refuses changes by itself.
        if !ddl::is_virtual(&database) {
            self.needs.push(Need::Table(database, table.to_owned(), privileges));
        }
        Ok(())
    }

    fn database(&mut self, database: &str, privileges: Privileges) {
        if !ddl::is_virtual(database) {
            self.needs.push(Need::Database(database.to_owned(), privileges));
        }
    }
}
