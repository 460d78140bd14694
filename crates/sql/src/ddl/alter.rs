//! ALTER TABLE, CREATE INDEX and DROP INDEX.
//!
//! All alterations of one statement make one new definition. Where the stored rows can stay as they are, only the
//! definition changes; where types or the primary key change, the table is rebuilt from rows that the session
//! converts.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlparser::ast;
use strandline_core::ids::{ColumnId, TableId};
use strandline_core::schema::{Column, Database, ForeignKey, Table, same_name};

use super::alter_spec::{AlterSpec, Alteration, Position, alter_spec};
use super::attributes::{self, Check};
use super::defaults::{self, Given};
use super::spec::{ColumnSpec, KeyKind, KeySpec, object_name};
use super::table::{rename, set_next_auto};
use super::{Ddl, Source, column, done, foreign_key, keys};
use crate::api::Done;
use crate::create_text::quote;
use crate::error::{Error, Result};
use crate::parse::{AlterTable, IndexKind, TableName};
use crate::types::MySqlType;
use crate::warning::Warning;

/// Carries out ALTER TABLE.
pub async fn alter_table(cx: &mut Ddl<'_>, alter: &AlterTable) -> Result<Done> {
    let spec = alter_spec(alter, cx.warnings)?;
    apply(cx, &spec).await
}

/// Carries out an ALTER TABLE that was read.
pub async fn apply(cx: &mut Ddl<'_>, spec: &AlterSpec) -> Result<Done> {
    let found = cx.base_table(spec.database.as_deref(), &spec.table);
    let (home, table) = match found {
        Err(error) if error.code == 1146 && spec.if_exists => {
            cx.warnings.push(Warning::note(1146, error.message));
            return Ok(done(cx, 0));
        }
        found => found?,
    };
    let mut work = Work::new(&home, &table);
    for alteration in &spec.alterations {
        work.apply(cx, alteration)?;
    }
    work.finish(cx).await?;
    Ok(done(cx, 0))
}

/// `CREATE [UNIQUE] INDEX name ON table (…)`. MySQL has no IF NOT EXISTS here; MariaDB has.
pub async fn create_index(cx: &mut Ddl<'_>, create: &ast::CreateIndex, kind: IndexKind) -> Result<Done> {
    match kind {
        IndexKind::Plain => {}
        IndexKind::Fulltext => return Err(Error::unsupported("FULLTEXT indexes")),
        IndexKind::Spatial => return Err(Error::unsupported("SPATIAL indexes")),
    }
    let (database, table) = object_name(&create.table_name)?;
    let name = match &create.name {
        Some(name) => object_name(name)?.1,
        None => return Err(Error::syntax("CREATE INDEX needs a name")),
    };
    let kind = if create.unique { KeyKind::Unique } else { KeyKind::Plain };
    let columns = create.columns.iter().map(super::spec::index_column).collect::<Result<_>>()?;
    let comment = create.index_options.iter().find_map(|option| match option {
        ast::IndexOption::Comment(text) => Some(text.clone()),
        ast::IndexOption::Using(_) => None,
    });
    if create.if_not_exists {
        let (_, found) = cx.base_table(database.as_deref(), &table)?;
        if found.indexes.iter().any(|index| same_name(&index.name, &name)) {
            cx.warnings.push(Warning::note(1061, format!("Duplicate key name '{name}'")));
            return Ok(done(cx, 0));
        }
    }
    let key = KeySpec { kind, name: Some(name), columns, comment: comment.unwrap_or_default() };
    apply(cx, &AlterSpec { database, table, if_exists: false, alterations: vec![Alteration::AddKey(key)] }).await
}

/// `DROP INDEX name ON table`
pub async fn drop_index(cx: &mut Ddl<'_>, table: &TableName, name: &str, if_exists: bool) -> Result<Done> {
    let drop = Alteration::DropKey { name: name.to_owned(), if_exists };
    let TableName { database, name } = table.clone();
    apply(cx, &AlterSpec { database, table: name, if_exists: false, alterations: vec![drop] }).await
}

/// A definition in the making, beside the one that stands.
struct Work {
    home: Arc<Database>,
    old: Arc<Table>,
    new: Table,
    /// Where each column of `new` that is not stored as it is gets its values from.
    sources: BTreeMap<ColumnId, Source>,
    /// The primary key or a type changed.
    rebuild: bool,
    /// Columns of `old` that must hold no NULL, because the new definition says so.
    without_null: Vec<ColumnId>,
    /// A new NOT NULL column without a value for older rows: refused unless the table is empty.
    without_value: Option<String>,
    /// Unique indexes, foreign keys and checks to hold the rows against.
    unique: Vec<String>,
    foreign: Vec<String>,
    checks: Vec<Check>,
    /// Columns that were renamed, old name first: foreign keys that refer to them follow.
    renamed_columns: Vec<(String, String)>,
    rename_to: Option<(Option<String>, String)>,
    next_auto: Option<u64>,
}

impl Work {
    fn new(home: &Arc<Database>, table: &Arc<Table>) -> Work {
        Work {
            home: home.clone(),
            old: table.clone(),
            new: (**table).clone(),
            sources: BTreeMap::new(),
            rebuild: false,
            without_null: Vec::new(),
            without_value: None,
            unique: Vec::new(),
            foreign: Vec::new(),
            checks: Vec::new(),
            renamed_columns: Vec::new(),
            rename_to: None,
            next_auto: None,
        }
    }

    fn apply(&mut self, cx: &mut Ddl<'_>, alteration: &Alteration) -> Result<()> {
        match alteration {
            Alteration::AddColumn { column, position, if_not_exists } => {
                self.add_column(cx, column, position.as_ref(), *if_not_exists)
            }
            Alteration::DropColumn { name, if_exists } => self.drop_column(cx, name, *if_exists),
            Alteration::ChangeColumn { old, column, position } => {
                self.change_column(cx, old, column, position.as_ref())
            }
            Alteration::RenameColumn { old, new } => {
                let at = self.position_of(old)?;
                self.rename_column(at, new)
            }
            Alteration::SetDefault { column, default } => {
                let at = self.position_of(column)?;
                let column = &mut self.new.columns[at];
                column.default = match default {
                    Some(default) => {
                        let (nullable, ty) = (column.nullable, column.ty);
                        defaults::resolve(&column.name, ty, &column.declared, nullable, default, cx.clock())?.text
                    }
                    None => None,
                };
                Ok(())
            }
            Alteration::AddKey(key) => self.add_key(key),
            Alteration::AddForeignKey(key) => {
                foreign_key::add(&mut self.new, &self.home, cx.txn.catalog(), key, cx.foreign_key_checks)?;
                let name = self.new.foreign_keys.last().map(|key| key.name.clone());
                self.foreign.extend(name.filter(|_| cx.foreign_key_checks));
                Ok(())
            }
            Alteration::AddCheck(check) => {
                let check = column::add_check(&mut self.new, check)?;
                self.checks.push(check);
                Ok(())
            }
            Alteration::DropKey { name, .. } if name.eq_ignore_ascii_case("primary") => self.drop_primary_key(),
            Alteration::DropKey { name, if_exists: true }
                if !self.new.indexes.iter().any(|index| same_name(&index.name, name)) =>
            {
                cx.warnings.push(Warning::note(1091, cannot_drop(name).message));
                Ok(())
            }
            Alteration::DropKey { name, .. } => self.drop_key(cx, name),
            Alteration::DropPrimaryKey => self.drop_primary_key(),
            Alteration::DropForeignKey { name, if_exists } => {
                let at = self.new.foreign_keys.iter().position(|key| same_name(&key.name, name));
                if at.is_none() && *if_exists {
                    cx.warnings.push(Warning::note(1091, cannot_drop(name).message));
                    return Ok(());
                }
                self.new.foreign_keys.remove(at.ok_or_else(|| cannot_drop(name))?);
                Ok(())
            }
            Alteration::DropCheck { name } => match attributes::drop_check(&mut self.new, name) {
                true => Ok(()),
                false => Err(no_check(name)),
            },
            Alteration::DropConstraint { name } => {
                if name.eq_ignore_ascii_case("primary") {
                    return self.drop_primary_key();
                }
                if let Some(at) = self.new.foreign_keys.iter().position(|key| same_name(&key.name, name)) {
                    self.new.foreign_keys.remove(at);
                    return Ok(());
                }
                if attributes::drop_check(&mut self.new, name) {
                    return Ok(());
                }
                if self.new.indexes.iter().any(|index| index.unique && same_name(&index.name, name)) {
                    return self.drop_key(cx, name);
                }
                Err(Error::new(3940, "HY000", format!("Constraint '{name}' does not exist.")))
            }
            Alteration::RenameIndex { old, new } => {
                let at = self.new.indexes.iter().position(|index| same_name(&index.name, old));
                let at = at.ok_or_else(|| {
                    let message = format!("Key '{old}' doesn't exist in table '{}'", self.new.name);
                    Error::new(1176, "42000", message)
                })?;
                if !same_name(old, new) {
                    keys::check_index_name(&self.new, new)?;
                }
                let old = std::mem::replace(&mut self.new.indexes[at].name, new.clone());
                attributes::rename_index(&mut self.new, &old, new);
                Ok(())
            }
            Alteration::RenameTable { database, name } => {
                self.rename_to = Some((database.clone(), name.clone()));
                Ok(())
            }
            Alteration::Options(options) => {
                if let Some(comment) = &options.comment {
                    self.new.comment = comment.clone();
                }
                self.next_auto = options.auto_increment.or(self.next_auto);
                Ok(())
            }
            Alteration::Nothing => Ok(()),
        }
    }

    /// Hands the new definition to the transaction, and holds the rows against it.
    async fn finish(mut self, cx: &mut Ddl<'_>) -> Result<()> {
        keys::check_auto_increment(&self.new)?;
        self.check_nulls(cx).await?;
        if let Some(name) = &self.without_value {
            let select = format!("SELECT 1 FROM {} LIMIT 1", self.full_name());
            if cx.any(Some(&self.home.name), &select).await? {
                let message = format!(
                    "Column '{name}' needs a DEFAULT: the table has rows, and NOT NULL dates have no value of their own"
                );
                return Err(Error::new(1292, "22007", message));
            }
        }
        let altered = if self.rebuild {
            let sources: Vec<Source> = self.new.columns.iter().map(|column| self.source(column)).collect();
            for column in &mut self.new.columns {
                column.initial = None;
            }
            let rows = cx.queries.convert(cx.txn, &self.old, &self.new, sources).await?;
            cx.txn.rebuild_table(self.new.clone(), rows).await?
        } else if self.new != *self.old {
            cx.txn.alter_table(self.new.clone())?
        } else {
            self.old.clone()
        };
        self.check_rows(cx, &altered).await?;
        self.follow_renamed_columns(cx)?;
        set_next_auto(cx, &altered, self.next_auto)?;
        if let Some((database, name)) = &self.rename_to {
            let home = match database {
                Some(database) => cx.database(Some(database))?,
                None => self.home.clone(),
            };
            let current = cx.txn.catalog().table_by_id(altered.id).cloned().unwrap_or(altered);
            rename(cx, &self.home, &current, &home, name)?;
        }
        Ok(())
    }

    fn add_column(
        &mut self,
        cx: &Ddl<'_>,
        spec: &ColumnSpec,
        position: Option<&Position>,
        if_not_exists: bool,
    ) -> Result<()> {
        if self.new.column(&spec.name).is_some() {
            let message = format!("Duplicate column name '{}'", spec.name);
            return if if_not_exists { Ok(()) } else { Err(Error::new(1060, "42S21", message)) };
        }
        let id = self.next_id();
        let mut built = column::build(spec, id, cx.clock())?;
        if built.column.auto_increment {
            self.rebuild = true;
            self.sources.insert(id, Source::Sequence);
        } else {
            match built.given {
                Given::Constant(value) => built.column.initial = Some(value),
                Given::Null if built.implicit => {
                    built.column.initial = defaults::implicit(built.column.ty, &built.column.declared);
                    if built.column.initial.is_none() {
                        self.without_value = Some(spec.name.clone());
                    }
                }
                Given::Null => {}
                Given::Computed => {
                    self.rebuild = true;
                    let text = built.column.default.clone().unwrap_or_default();
                    self.sources.insert(id, Source::Expression(text));
                }
            }
        }
        let at = self.place(position, self.new.columns.len())?;
        self.new.columns.insert(at, built.column);
        self.add_constraints(cx, spec)
    }

    /// Adds the keys and constraints that stand inside a column's definition.
    fn add_constraints(&mut self, cx: &Ddl<'_>, spec: &ColumnSpec) -> Result<()> {
        if let Some(key) = spec.own_key() {
            self.add_key(&key)?;
        }
        if let Some(key) = &spec.foreign_key {
            foreign_key::add(&mut self.new, &self.home, cx.txn.catalog(), key, cx.foreign_key_checks)?;
            let name = self.new.foreign_keys.last().map(|key| key.name.clone());
            self.foreign.extend(name.filter(|_| cx.foreign_key_checks));
        }
        for check in &spec.checks {
            let check = column::add_check(&mut self.new, check)?;
            self.checks.push(check);
        }
        Ok(())
    }

    fn drop_column(&mut self, cx: &Ddl<'_>, name: &str, if_exists: bool) -> Result<()> {
        let Some(at) = self.new.columns.iter().position(|column| same_name(&column.name, name)) else {
            return if if_exists { Ok(()) } else { Err(cannot_drop(name)) };
        };
        if self.new.columns.len() == 1 {
            let message = "You can't delete all columns with ALTER TABLE; use DROP TABLE instead";
            return Err(Error::new(1090, "42000", message));
        }
        let id = self.new.columns[at].id;
        if let Some(key) = self.new.foreign_keys.iter().find(|key| key.columns.contains(&id)) {
            let message = format!("Cannot drop column '{name}': needed in a foreign key constraint '{}'", key.name);
            return Err(Error::new(1828, "HY000", message));
        }
        let children = foreign_key::children(cx.txn.catalog(), &self.old);
        let needed = children.iter().find(|(_, key)| key.parent_columns.iter().any(|c| same_name(c, name)));
        if let Some((child, key)) = needed {
            let message = format!(
                "Cannot drop column '{name}': needed in a foreign key constraint '{}' of table '{}'",
                key.name, child.name
            );
            return Err(Error::new(1829, "HY000", message));
        }
        self.refuse_checked(name)?;
        self.new.columns.remove(at);
        self.sources.remove(&id);
        if self.new.primary_key.contains(&id) {
            self.new.primary_key.retain(|column| *column != id);
            self.rebuild = true;
        }
        let mut gone = Vec::new();
        for index in &mut self.new.indexes {
            let before = index.columns.len();
            index.columns.retain(|column| *column != id);
            if index.columns.is_empty() {
                gone.push(index.name.clone());
            } else if index.unique && index.columns.len() < before {
                self.unique.push(index.name.clone());
            }
        }
        self.new.indexes.retain(|index| !index.columns.is_empty());
        for name in gone {
            attributes::drop_index(&mut self.new, &name);
        }
        Ok(())
    }

    fn change_column(&mut self, cx: &Ddl<'_>, old: &str, spec: &ColumnSpec, position: Option<&Position>) -> Result<()> {
        let at = self.position_of(old)?;
        let before = self.new.columns[at].clone();
        if !same_name(&before.name, &spec.name) {
            self.rename_column(at, &spec.name)?;
        }
        let fresh = self.next_id();
        let mut column = column::build(spec, fresh, cx.clock())?.column;
        if self.new.primary_key.contains(&before.id) {
            if spec.nullable == Some(true) {
                let message =
                    "All parts of a PRIMARY KEY must be NOT NULL; if you need NULL in a key, use UNIQUE instead";
                return Err(Error::new(1171, "42000", message));
            }
            column.nullable = false;
        }
        if keeps_values(&before, &column) {
            column.id = before.id;
            column.initial = before.initial.clone();
            self.new.next_column = fresh;
        } else {
            self.refuse_foreign(cx, &before, &column)?;
            self.rebuild = true;
            let source = self.sources.remove(&before.id).unwrap_or(Source::Column(before.id));
            self.sources.insert(fresh, source);
            self.replace_id(before.id, fresh);
        }
        if before.nullable && !column.nullable && self.old.column_by_id(before.id).is_some() {
            self.without_null.push(before.id);
        }
        self.new.columns.remove(at);
        let at = self.place(position, at)?;
        self.new.columns.insert(at, column);
        self.add_constraints(cx, spec)
    }

    fn rename_column(&mut self, at: usize, name: &str) -> Result<()> {
        super::column::check_column_name(name)?;
        let old = self.new.columns[at].name.clone();
        if self.new.columns.iter().enumerate().any(|(other, c)| other != at && same_name(&c.name, name)) {
            return Err(Error::new(1060, "42S21", format!("Duplicate column name '{name}'")));
        }
        self.refuse_checked(&old)?;
        for key in &mut self.new.foreign_keys {
            let own = key.parent_database.is_none() && same_name(&key.parent_table, &self.old.name);
            for parent in key.parent_columns.iter_mut().filter(|parent| own && same_name(parent, &old)) {
                *parent = name.to_owned();
            }
        }
        self.new.columns[at].name = name.to_owned();
        self.renamed_columns.push((old, name.to_owned()));
        Ok(())
    }

    fn add_key(&mut self, key: &KeySpec) -> Result<()> {
        let nullable: Vec<ColumnId> = self.new.columns.iter().filter(|c| c.nullable).map(|c| c.id).collect();
        keys::add(&mut self.new, key, &[])?;
        match key.kind {
            KeyKind::Primary => {
                self.rebuild = true;
                for id in self.new.primary_key.iter().filter(|id| nullable.contains(id)) {
                    match self.sources.get(id) {
                        None if self.old.column_by_id(*id).is_some() => self.without_null.push(*id),
                        Some(Source::Column(old)) => self.without_null.push(*old),
                        _ => {}
                    }
                }
            }
            KeyKind::Unique => self.unique.extend(self.new.indexes.last().map(|index| index.name.clone())),
            KeyKind::Plain => {}
        }
        Ok(())
    }

    fn drop_primary_key(&mut self) -> Result<()> {
        if self.new.primary_key.is_empty() {
            return Err(cannot_drop("PRIMARY"));
        }
        self.new.primary_key.clear();
        self.rebuild = true;
        Ok(())
    }

    fn drop_key(&mut self, cx: &Ddl<'_>, name: &str) -> Result<()> {
        let at = self.new.indexes.iter().position(|index| same_name(&index.name, name));
        let index = self.new.indexes.remove(at.ok_or_else(|| cannot_drop(name))?);
        let needed =
            Error::new(1553, "HY000", format!("Cannot drop index '{name}': needed in a foreign key constraint"));
        let serves = |key: &ForeignKey| index.columns.starts_with(&key.columns);
        if self.new.foreign_keys.iter().any(|key| serves(key) && !keys::has_key_on(&self.new, &key.columns)) {
            return Err(needed);
        }
        if index.unique {
            let own = self
                .new
                .foreign_keys
                .iter()
                .filter(|key| key.parent_database.is_none() && same_name(&key.parent_table, &self.old.name));
            let children = foreign_key::children(cx.txn.catalog(), &self.old);
            let all = children.into_iter().map(|(_, key)| key).chain(own);
            let orphaned = all.into_iter().any(|key| {
                let ids: Vec<ColumnId> =
                    key.parent_columns.iter().filter_map(|c| self.new.column(c).map(|c| c.id)).collect();
                !foreign_key::is_unique(&self.new, &ids)
            });
            if orphaned {
                return Err(needed);
            }
        }
        attributes::drop_index(&mut self.new, &index.name);
        Ok(())
    }

    /// Refuses to drop or rename a column that a CHECK names.
    fn refuse_checked(&self, name: &str) -> Result<()> {
        let check = attributes::checks(&self.new).into_iter().find(|check| mentions(&check.expression, name));
        match check {
            Some(check) => {
                let message = format!(
                    "Check constraint '{}' uses column '{name}', hence column cannot be dropped or renamed.",
                    check.name
                );
                Err(Error::new(3959, "HY000", message))
            }
            None => Ok(()),
        }
    }

    /// Refuses to change the type of a column on either side of a foreign key.
    fn refuse_foreign(&self, cx: &Ddl<'_>, before: &Column, after: &Column) -> Result<()> {
        if before.ty == after.ty || !cx.foreign_key_checks {
            return Ok(());
        }
        if let Some(key) = self.new.foreign_keys.iter().find(|key| key.columns.contains(&before.id)) {
            let message =
                format!("Cannot change column '{}': used in a foreign key constraint '{}'", before.name, key.name);
            return Err(Error::new(1832, "HY000", message));
        }
        let children = foreign_key::children(cx.txn.catalog(), &self.old);
        let used = children.iter().find(|(_, key)| key.parent_columns.iter().any(|c| same_name(c, &before.name)));
        if let Some((child, key)) = used {
            let message = format!(
                "Cannot change column '{}': used in a foreign key constraint '{}' of table '{}'",
                before.name, key.name, child.name
            );
            return Err(Error::new(1833, "HY000", message));
        }
        Ok(())
    }

    /// 1138 where a column that must not be NULL holds one.
    async fn check_nulls(&self, cx: &mut Ddl<'_>) -> Result<()> {
        for id in &self.without_null {
            let Some(column) = self.old.column_by_id(*id) else { continue };
            let select = format!("SELECT 1 FROM {} WHERE {} IS NULL LIMIT 1", self.full_name(), quote(&column.name));
            if column.nullable && cx.any(Some(&self.home.name), &select).await? {
                return Err(Error::new(1138, "22004", "Invalid use of NULL value"));
            }
        }
        Ok(())
    }

    /// Holds the rows against new unique keys, foreign keys and checks.
    async fn check_rows(&self, cx: &mut Ddl<'_>, table: &Table) -> Result<()> {
        let home = Some(self.home.name.as_str());
        let name = self.full_name();
        for unique in &self.unique {
            let Some(index) = table.indexes.iter().find(|index| index.name == *unique) else { continue };
            let columns: Vec<String> = column_names(table, &index.columns);
            let list = columns.join(", ");
            let present: Vec<String> = columns.iter().map(|column| format!("{column} IS NOT NULL")).collect();
            let present = present.join(" AND ");
            let select =
                format!("SELECT {list} FROM {name} WHERE {present} GROUP BY {list} HAVING COUNT(*) > 1 LIMIT 1");
            let batches = cx.queries.rows(cx.txn, home, &select).await?;
            if let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) {
                let values: Vec<String> = batch
                    .columns()
                    .iter()
                    .map(|values| arrow::util::display::array_value_to_string(values, 0).unwrap_or_default())
                    .collect();
                let message = format!("Duplicate entry '{}' for key '{}.{unique}'", values.join("-"), table.name);
                return Err(Error::new(1062, "23000", message));
            }
        }
        for foreign in &self.foreign {
            let Some(key) = table.foreign_keys.iter().find(|key| key.name == *foreign) else { continue };
            let columns = column_names(table, &key.columns);
            let parent = format!(
                "{}.{}",
                quote(key.parent_database.as_deref().unwrap_or(&self.home.name)),
                quote(&key.parent_table)
            );
            let parents: Vec<String> = key.parent_columns.iter().map(|column| quote(column)).collect();
            let joined: Vec<String> = columns.iter().zip(&parents).map(|(c, p)| format!("c.{c} = p.{p}")).collect();
            let present: Vec<String> = columns.iter().map(|column| format!("c.{column} IS NOT NULL")).collect();
            let Some(first) = parents.first() else { continue };
            let select = format!(
                "SELECT 1 FROM {name} AS c LEFT JOIN {parent} AS p ON {} WHERE {} AND p.{first} IS NULL LIMIT 1",
                joined.join(" AND "),
                present.join(" AND ")
            );
            if cx.any(home, &select).await? {
                let message = format!(
                    "Cannot add or update a child row: a foreign key constraint fails ({name}, CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}))",
                    quote(&key.name),
                    columns.join(", "),
                    quote(&key.parent_table),
                    parents.join(", ")
                );
                return Err(Error::new(1452, "23000", message));
            }
        }
        for check in &self.checks {
            let select = format!("SELECT 1 FROM {name} WHERE NOT ({}) LIMIT 1", check.expression);
            if cx.any(home, &select).await? {
                return Err(Error::new(3819, "HY000", format!("Check constraint '{}' is violated.", check.name)));
            }
        }
        Ok(())
    }

    /// Renames the columns in the foreign keys of other tables that refer to them.
    fn follow_renamed_columns(&self, cx: &mut Ddl<'_>) -> Result<()> {
        if self.renamed_columns.is_empty() {
            return Ok(());
        }
        let children: BTreeMap<TableId, Table> = foreign_key::children(cx.txn.catalog(), &self.old)
            .into_iter()
            .map(|(child, _)| (child.id, (**child).clone()))
            .collect();
        for mut child in children.into_values() {
            let child_home =
                cx.txn.catalog().database_by_id(child.database).map(|home| home.name.clone()).unwrap_or_default();
            let before = child.clone();
            for key in &mut child.foreign_keys {
                let parent = key.parent_database.as_deref().unwrap_or(&child_home);
                if !same_name(parent, &self.home.name) || !same_name(&key.parent_table, &self.old.name) {
                    continue;
                }
                for column in &mut key.parent_columns {
                    if let Some((_, new)) = self.renamed_columns.iter().find(|(old, _)| same_name(old, column)) {
                        *column = new.clone();
                    }
                }
            }
            if child != before {
                cx.txn.alter_table(child)?;
            }
        }
        Ok(())
    }

    fn source(&self, column: &Column) -> Source {
        match self.sources.get(&column.id) {
            Some(source) => source.clone(),
            None if self.old.column_by_id(column.id).is_some() => Source::Column(column.id),
            // A column added beside a rebuild: its constant, which the rebuilt rows spell out.
            None => Source::Expression(constant_text(column)),
        }
    }

    fn next_id(&mut self) -> ColumnId {
        let id = self.new.next_column;
        self.new.next_column = ColumnId(id.0 + 1);
        id
    }

    /// Puts a new id in the place of an old one in every key. The column itself is replaced by the caller.
    fn replace_id(&mut self, old: ColumnId, new: ColumnId) {
        let swap = |ids: &mut Vec<ColumnId>| ids.iter_mut().filter(|id| **id == old).for_each(|id| *id = new);
        swap(&mut self.new.primary_key);
        let mut prefixed = Vec::new();
        for index in &mut self.new.indexes {
            if index.columns.contains(&old) {
                prefixed.push(index.name.clone());
                if index.unique {
                    self.unique.push(index.name.clone());
                }
            }
            swap(&mut index.columns);
        }
        for key in &mut self.new.foreign_keys {
            swap(&mut key.columns);
        }
        for name in prefixed {
            let mut prefixes = attributes::prefixes(&self.new, &name);
            if let Some(length) = prefixes.remove(&old) {
                prefixes.insert(new, length);
                attributes::put_prefixes(&mut self.new, &name, &prefixes);
            }
        }
    }

    fn position_of(&self, name: &str) -> Result<usize> {
        let at = self.new.columns.iter().position(|column| same_name(&column.name, name));
        at.ok_or_else(|| Error::unknown_column(name, &self.new.name))
    }

    fn place(&self, position: Option<&Position>, unsaid: usize) -> Result<usize> {
        match position {
            None => Ok(unsaid),
            Some(Position::First) => Ok(0),
            Some(Position::After(name)) => Ok(self.position_of(name)? + 1),
        }
    }

    fn full_name(&self) -> String {
        format!("{}.{}", quote(&self.home.name), quote(&self.old.name))
    }
}

/// Tells whether every stored value of the old column is a value of the new one, bit for bit.
fn keeps_values(old: &Column, new: &Column) -> bool {
    use MySqlType as M;
    if old.ty != new.ty {
        return false;
    }
    if old.declared == new.declared {
        return true;
    }
    let (Ok(old), Ok(new)) = (MySqlType::parse(&old.declared), MySqlType::parse(&new.declared)) else { return false };
    match (&old, &new) {
        (M::Enum(a), M::Enum(b)) => b.starts_with(a),
        (M::Set(a), M::Set(b)) => b.starts_with(a),
        (M::Json, _) => false,
        (M::Enum(_) | M::Set(_), _) => {
            !matches!(new, M::Enum(_) | M::Set(_) | M::Json) && text_room(&new) >= text_room(&old)
        }
        (_, M::Enum(_) | M::Set(_) | M::Json) => false,
        // Stored padded, and in UTC: not the same values.
        (M::Binary(_), _)
        | (_, M::Binary(_))
        | (M::Timestamp(_), M::DateTime(_))
        | (M::DateTime(_), M::Timestamp(_)) => false,
        (M::Timestamp(a), M::Timestamp(b)) | (M::DateTime(a), M::DateTime(b)) | (M::Time(a), M::Time(b)) => a <= b,
        (M::Bit(a), M::Bit(b)) => a <= b,
        (M::Bit(_), _) | (_, M::Bit(_)) | (M::Year, _) | (_, M::Year) => false,
        (M::Decimal { unsigned: a, .. }, M::Decimal { unsigned: b, .. }) => a == b || !b,
        (M::Float { unsigned: a }, M::Float { unsigned: b })
        | (M::Double { unsigned: a }, M::Double { unsigned: b }) => a == b || !b,
        (M::Int { .. }, M::MediumInt { .. }) => false,
        _ => text_room(&new) >= text_room(&old),
    }
}

/// Returns how many characters or bytes a type takes; 0 for what is no text.
fn text_room(ty: &MySqlType) -> u64 {
    ty.character_maximum_length().unwrap_or(0)
}

/// Returns a new column's constant as an expression.
fn constant_text(column: &Column) -> String {
    use strandline_core::schema::Initial;
    match (&column.initial, &column.default) {
        (None, _) => "NULL".to_owned(),
        (Some(_), Some(default)) => default.clone(),
        (Some(Initial::Text(text)), None) => crate::create_text::string_literal(text),
        (Some(Initial::Bytes(_)), None) => "''".to_owned(),
        (Some(_), None) => "0".to_owned(),
    }
}

/// Tells whether an expression names a column. A word inside a text counts too: better refused than broken.
fn mentions(expression: &str, name: &str) -> bool {
    let expression = expression.to_lowercase();
    let name = name.to_lowercase();
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    expression.match_indices(&name).any(|(at, _)| {
        let before = expression[..at].chars().next_back();
        let after = expression[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn column_names(table: &Table, ids: &[ColumnId]) -> Vec<String> {
    ids.iter().filter_map(|id| table.column_by_id(*id)).map(|column| quote(&column.name)).collect()
}

fn cannot_drop(name: &str) -> Error {
    Error::new(1091, "42000", format!("Can't DROP '{name}'; check that column/key exists"))
}

fn no_check(name: &str) -> Error {
    Error::new(3821, "HY000", format!("Check constraint '{name}' is not found in the table."))
}
