//! One method a verb: arguments in, a call out.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use strandline_client::{
    Client, Config, CreateSchedule, CreateSnapshot, Error, Existing, Grants, Incremental, Keep, Kind, Level, Missing,
    Range, Restore, RestoreOptions, RestoreSnapshot, Result, Rhythm, Rules, Scope, SnapshotFilter, Target, Timestamp,
    sql::TableName,
};

use crate::call::{Call, Shared};
use crate::convert::{ToPython, parameter, when};
use crate::error::exception;

/// A connection, or an engine in this process; not yet connected when it is made.
#[pyclass(frozen, module = "strandline._native")]
pub struct Core(Arc<Shared>);

const CONNECTION: &str = "ConnectionError";
const QUERY: &str = "QueryError";
const SNAPSHOT: &str = "SnapshotError";
const RESTORE: &str = "RestoreError";
const PITR: &str = "PitrError";
const CLONE: &str = "CloneError";
const RETENTION: &str = "RetentionError";
const SCHEDULE: &str = "ScheduleError";

/// Returns the settings of the environment and of a file, with the local store's password where that is asked for.
#[pyfunction]
#[pyo3(signature = (file=None))]
pub fn settings(py: Python<'_>, file: Option<PathBuf>) -> PyResult<Py<PyAny>> {
    let read = || -> Result<_> {
        let config = Config::load(file.as_deref())?;
        let password = config.login_password()?;
        Ok((config, password))
    };
    let (config, password) = read().map_err(|error| exception(py, &error, CONNECTION))?;
    let dict = PyDict::new(py);
    dict.set_item("host", config.host)?;
    dict.set_item("port", config.port)?;
    dict.set_item("user", config.user)?;
    dict.set_item("password", password)?;
    dict.set_item("database", config.database)?;
    Ok(dict.into_any().unbind())
}

/// The name, level and place that many verbs take.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ScopeArguments {
    level: String,
    account: Option<String>,
    database: Option<String>,
    tables: Vec<String>,
}

impl ScopeArguments {
    fn scope(self) -> Result<Scope> {
        Scope::new(self.level.parse()?, self.account, self.database, self.tables)
    }
}

/// What a restore may do beside restoring.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct OptionArguments {
    overwrite: bool,
    backup_existing: bool,
    create_database: bool,
    restore_permissions: bool,
}

impl OptionArguments {
    fn options(&self) -> RestoreOptions {
        RestoreOptions {
            existing: match (self.overwrite, self.backup_existing) {
                (false, _) => Existing::Refuse,
                (true, false) => Existing::Replace,
                (true, true) => Existing::ReplaceKeepingCopy,
            },
            missing: if self.create_database { Missing::Create } else { Missing::Refuse },
            grants: if self.restore_permissions { Grants::Restore } else { Grants::Leave },
        }
    }
}

impl Core {
    /// Makes a call of a verb of a connected client.
    fn verb<T: ToPython + 'static>(
        &self,
        family: &'static str,
        work: impl for<'a> FnOnce(&'a mut Client) -> BoxFuture<'a, Result<T>> + Send + 'static,
    ) -> Call {
        self.0.call(family, move |client| match client {
            Some(client) => work(client),
            None => async { Err(Error::disconnected()) }.boxed(),
        })
    }
}

#[pymethods]
impl Core {
    #[new]
    fn new() -> Core {
        Core(Shared::new())
    }

    /// Connects to a server. What is `None` comes from the environment, a file, or the local store.
    #[pyo3(signature = (host, port, user, password, database, file))]
    fn connect(
        &self,
        host: Option<String>,
        port: Option<u16>,
        user: Option<String>,
        password: Option<String>,
        database: Option<String>,
        file: Option<PathBuf>,
    ) -> Call {
        self.0.call(CONNECTION, move |client| {
            async move {
                let mut config = Config::load(file.as_deref())?;
                config.host = host.unwrap_or(config.host);
                config.port = port.unwrap_or(config.port);
                config.user = user.unwrap_or(config.user);
                config.password = password.or(config.password);
                config.database = database.or(config.database);
                let connected = Client::connect(config).await?;
                close(client.replace(connected)).await
            }
            .boxed()
        })
    }

    /// Opens the store in a folder, in this process.
    #[pyo3(signature = (path, user, database))]
    fn open(&self, path: PathBuf, user: Option<String>, database: Option<String>) -> Call {
        self.0.call(CONNECTION, move |client| {
            async move {
                let mut opened = Client::open_as(&path, user.as_deref().unwrap_or("root")).await?;
                if let Some(database) = database {
                    opened.query(&format!("USE {}", strandline_client::sql::name(&database))).await?;
                }
                close(client.replace(opened)).await
            }
            .boxed()
        })
    }

    fn close(&self) -> Call {
        self.0.call(CONNECTION, |client| close(client.take()).boxed())
    }

    fn is_connected(&self) -> Call {
        self.0.call(CONNECTION, |client| {
            let connected = client.is_some();
            async move { Ok(connected) }.boxed()
        })
    }

    fn server_version(&self) -> Call {
        self.verb(CONNECTION, |client| async { Ok(client.server_version()) }.boxed())
    }

    #[pyo3(signature = (sql, parameters))]
    fn query(&self, sql: String, parameters: Option<Vec<Bound<'_, PyAny>>>) -> PyResult<Call> {
        let parameters = match parameters {
            None => None,
            Some(values) => Some(values.iter().map(parameter).collect::<PyResult<Vec<_>>>()?),
        };
        Ok(self.verb(QUERY, move |client| {
            async move {
                match parameters {
                    None => client.query(&sql).await,
                    Some(parameters) => client.query_with(&sql, &parameters).await,
                }
            }
            .boxed()
        }))
    }

    fn query_snapshot(&self, snapshot: String, sql: String) -> Call {
        self.verb(QUERY, move |client| async move { client.query_snapshot(&snapshot, &sql).await }.boxed())
    }

    #[pyo3(signature = (name, scope, *, columns, description, compression, incremental, base, retain, at, if_not_exists))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords")]
    fn snapshot_create(
        &self,
        name: String,
        scope: ScopeArguments,
        columns: Vec<String>,
        description: Option<String>,
        compression: bool,
        incremental: bool,
        base: Option<String>,
        retain: Option<String>,
        at: Option<String>,
        if_not_exists: bool,
    ) -> Call {
        self.verb(SNAPSHOT, move |client| {
            async move {
                let create = CreateSnapshot {
                    columns,
                    description,
                    compression,
                    incremental: match base {
                        Some(base) => Incremental::From(base),
                        None if incremental => Incremental::FromNewest,
                        None => Incremental::No,
                    },
                    retain: retain.map(|period| period.parse()).transpose()?,
                    at: when(at.as_deref()),
                    if_not_exists,
                    ..CreateSnapshot::new(name, scope.scope()?)
                };
                client.snapshots().create(create).await
            }
            .boxed()
        })
    }

    #[pyo3(signature = (database, level))]
    fn snapshot_list(&self, database: Option<String>, level: Option<String>) -> Call {
        self.verb(SNAPSHOT, move |client| {
            async move { client.snapshots().list(&filter(database, level)?).await }.boxed()
        })
    }

    fn snapshot_get(&self, name: String) -> Call {
        self.verb(SNAPSHOT, move |client| async move { client.snapshots().get(&name).await }.boxed())
    }

    fn snapshot_find(&self, name: String) -> Call {
        self.verb(SNAPSHOT, move |client| async move { client.snapshots().find(&name).await }.boxed())
    }

    /// Tells whether there was one.
    fn snapshot_delete(&self, name: String, if_exists: bool, cascade: bool) -> Call {
        self.verb(SNAPSHOT, move |client| {
            async move {
                let mut snapshots = client.snapshots();
                let deleted = match cascade {
                    true => snapshots.delete_cascade(&name).await,
                    false => snapshots.delete(&name).await,
                };
                match deleted {
                    Err(error) if if_exists && error.kind() == Kind::NotFound => Ok(false),
                    deleted => deleted.map(|()| true),
                }
            }
            .boxed()
        })
    }

    /// `time` is in microseconds since 1970, UTC.
    #[pyo3(signature = (time, database, level))]
    fn snapshot_delete_older_than(&self, time: i64, database: Option<String>, level: Option<String>) -> Call {
        self.verb(SNAPSHOT, move |client| {
            async move {
                let time = Timestamp::from_microsecond(time).unwrap_or(Timestamp::MIN);
                client.snapshots().delete_older_than(time, &filter(database, level)?).await
            }
            .boxed()
        })
    }

    /// `mode` is `run`, `plan`, or `tables` for a restore that must be of tables.
    #[pyo3(signature = (mode, snapshot, database, tables, target_database, target_table, options))]
    #[allow(clippy::too_many_arguments, reason = "Python names them all")]
    fn restore_snapshot(
        &self,
        mode: String,
        snapshot: String,
        database: Option<String>,
        tables: Vec<String>,
        target_database: Option<String>,
        target_table: Option<String>,
        options: OptionArguments,
    ) -> Call {
        let options = options.options();
        let wanted = RestoreSnapshot { snapshot, database, tables, target_database, target_table, options };
        match mode.as_str() {
            "plan" => {
                self.verb(RESTORE, move |client| async move { client.restore().plan_snapshot(&wanted).await }.boxed())
            }
            "tables" => self.verb(RESTORE, move |client| async move { client.restore().tables(&wanted).await }.boxed()),
            _ => self.verb(RESTORE, move |client| async move { client.restore().snapshot(&wanted).await }.boxed()),
        }
    }

    #[pyo3(signature = (plan, scope, at, target_database, target_table, options))]
    fn restore_scope(
        &self,
        plan: bool,
        scope: ScopeArguments,
        at: String,
        target_database: Option<String>,
        target_table: Option<String>,
        options: OptionArguments,
    ) -> PyResult<Call> {
        let restore = Python::attach(|py| {
            restore(scope, &at, target_database, target_table, &options).map_err(|error| exception(py, &error, RESTORE))
        })?;
        Ok(match plan {
            true => self.verb(RESTORE, move |client| async move { client.restore().plan(&restore).await }.boxed()),
            false => self.verb(RESTORE, move |client| async move { client.restore().run(&restore).await }.boxed()),
        })
    }

    fn restore_cluster(&self, snapshot: String) -> Call {
        self.verb(RESTORE, move |client| async move { client.restore().cluster(&snapshot).await }.boxed())
    }

    fn restore_account(&self, snapshot: String, account: String) -> Call {
        self.verb(RESTORE, move |client| async move { client.restore().account(&snapshot, &account).await }.boxed())
    }

    fn restore_database(&self, snapshot: String, account: String, database: String) -> Call {
        self.verb(RESTORE, move |client| {
            async move { client.restore().database(&snapshot, &account, &database).await }.boxed()
        })
    }

    #[pyo3(signature = (scope, start, end))]
    fn recovery_points(&self, scope: ScopeArguments, start: Option<String>, end: Option<String>) -> Call {
        self.verb(SNAPSHOT, move |client| {
            async move {
                let moment = |words: Option<String>| words.map(|words| when(Some(&words)));
                client.restore().recovery_points(&scope.scope()?, moment(start), moment(end)).await
            }
            .boxed()
        })
    }

    fn pitr_create(&self, name: String, scope: ScopeArguments, length: u32, unit: String) -> Call {
        self.verb(PITR, move |client| {
            async move { client.pitr().create(&name, &scope.scope()?, Range::new(length, &unit)?).await }.boxed()
        })
    }

    fn pitr_alter(&self, name: String, length: u32, unit: String) -> Call {
        self.verb(PITR, move |client| {
            async move { client.pitr().alter(&name, Range::new(length, &unit)?).await }.boxed()
        })
    }

    fn pitr_delete(&self, name: String) -> Call {
        self.verb(PITR, move |client| async move { client.pitr().delete(&name).await }.boxed())
    }

    fn pitr_list(&self) -> Call {
        self.verb(PITR, |client| async { client.pitr().list().await }.boxed())
    }

    fn pitr_get(&self, name: String) -> Call {
        self.verb(PITR, move |client| async move { client.pitr().get(&name).await }.boxed())
    }

    #[pyo3(signature = (name, at, scope, target_database, target_table, options))]
    fn pitr_restore(
        &self,
        name: String,
        at: String,
        scope: ScopeArguments,
        target_database: Option<String>,
        target_table: Option<String>,
        options: OptionArguments,
    ) -> Call {
        self.verb(RESTORE, move |client| {
            async move {
                let restore = restore(scope, &at, target_database, target_table, &options)?;
                client.pitr().restore(&name, &restore.from, &restore).await
            }
            .boxed()
        })
    }

    #[pyo3(signature = (source, target, at))]
    fn clone_database(&self, source: String, target: String, at: Option<String>) -> Call {
        self.verb(CLONE, move |client| {
            async move { client.clones().database(&source, &target, &when(at.as_deref())).await }.boxed()
        })
    }

    /// Tables are `(database or None, name)`.
    #[pyo3(signature = (source, target, at))]
    fn clone_table(
        &self,
        source: (Option<String>, String),
        target: (Option<String>, String),
        at: Option<String>,
    ) -> Call {
        self.verb(CLONE, move |client| {
            async move {
                let name = |(database, table)| TableName { database, table };
                client.clones().table(&name(source), &name(target), &when(at.as_deref())).await
            }
            .boxed()
        })
    }

    /// `keep` counts last, hourly, daily, weekly, monthly, yearly.
    #[pyo3(signature = (scope, keep, time_zone))]
    fn retention_set(&self, scope: ScopeArguments, keep: [Option<u32>; 6], time_zone: Option<String>) -> Call {
        self.verb(RETENTION, move |client| {
            async move { client.retention().set(&scope.scope()?, &rules(keep, time_zone)).await }.boxed()
        })
    }

    fn retention_list(&self) -> Call {
        self.verb(RETENTION, |client| async { client.retention().list().await }.boxed())
    }

    fn retention_delete(&self, scope: ScopeArguments) -> Call {
        self.verb(RETENTION, move |client| async move { client.retention().delete(&scope.scope()?).await }.boxed())
    }

    fn retention_plan(&self, scope: ScopeArguments) -> Call {
        self.verb(RETENTION, move |client| async move { client.retention().plan(&scope.scope()?).await }.boxed())
    }

    fn retention_apply(&self, scope: ScopeArguments) -> Call {
        self.verb(RETENTION, move |client| async move { client.retention().apply(&scope.scope()?).await }.boxed())
    }

    /// As one verb of the snapshots.
    #[pyo3(signature = (scope, keep, time_zone))]
    fn snapshot_cleanup(&self, scope: ScopeArguments, keep: [Option<u32>; 6], time_zone: Option<String>) -> Call {
        self.verb(SNAPSHOT, move |client| {
            async move { client.retention().apply_once(&scope.scope()?, &rules(keep, time_zone)).await }.boxed()
        })
    }

    /// One of `cron` and `every` is given.
    #[pyo3(signature = (name, scope, cron, every, *, time_zone, snapshot_name, incremental, compression, description, retain, keep, if_not_exists))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords")]
    fn schedule_create(
        &self,
        name: String,
        scope: ScopeArguments,
        cron: Option<String>,
        every: Option<String>,
        time_zone: Option<String>,
        snapshot_name: Option<String>,
        incremental: bool,
        compression: bool,
        description: Option<String>,
        retain: Option<String>,
        keep: [Option<u32>; 6],
        if_not_exists: bool,
    ) -> Call {
        self.verb(SCHEDULE, move |client| {
            async move {
                let rhythm = match every {
                    Some(every) => Rhythm::Every(every.parse()?),
                    None => Rhythm::Cron(cron.unwrap_or_default()),
                };
                let create = CreateSchedule {
                    time_zone,
                    snapshot_name,
                    incremental,
                    compression,
                    description,
                    retain: retain.map(|period| period.parse()).transpose()?,
                    keep: counts(keep),
                    if_not_exists,
                    ..CreateSchedule::new(name, scope.scope()?, rhythm)
                };
                client.schedules().create(&create).await
            }
            .boxed()
        })
    }

    fn schedule_list(&self) -> Call {
        self.verb(SCHEDULE, |client| async { client.schedules().list().await }.boxed())
    }

    fn schedule_pause(&self, name: String) -> Call {
        self.verb(SCHEDULE, move |client| async move { client.schedules().pause(&name).await }.boxed())
    }

    fn schedule_resume(&self, name: String) -> Call {
        self.verb(SCHEDULE, move |client| async move { client.schedules().resume(&name).await }.boxed())
    }

    fn schedule_delete(&self, name: String) -> Call {
        self.verb(SCHEDULE, move |client| async move { client.schedules().delete(&name).await }.boxed())
    }
}

async fn close(client: Option<Client>) -> Result<()> {
    match client {
        Some(client) => client.close().await,
        None => Ok(()),
    }
}

fn filter(database: Option<String>, level: Option<String>) -> Result<SnapshotFilter> {
    let level = level.map(|level| level.parse::<Level>()).transpose()?;
    Ok(SnapshotFilter { database, level })
}

fn counts([last, hourly, daily, weekly, monthly, yearly]: [Option<u32>; 6]) -> Keep {
    Keep { last, hourly, daily, weekly, monthly, yearly }
}

fn rules(keep: [Option<u32>; 6], time_zone: Option<String>) -> Rules {
    Rules { keep: counts(keep), time_zone }
}

fn restore(
    scope: ScopeArguments,
    at: &str,
    target_database: Option<String>,
    target_table: Option<String>,
    options: &OptionArguments,
) -> Result<Restore> {
    let scope = scope.scope()?;
    let target = match (target_database, target_table, &scope) {
        (None, None, _) => Target::InPlace,
        (Some(into), None, Scope::Database(own)) if into.eq_ignore_ascii_case(own) => Target::InPlace,
        (Some(into), None, _) => Target::Database(into),
        (Some(into), Some(table), _) => Target::Table { database: into, table },
        (None, Some(table), Scope::Tables { database, .. }) => Target::Table { database: database.clone(), table },
        (None, Some(table), _) => Target::Table { database: String::new(), table },
    };
    Ok(Restore { scope, from: when(Some(at)), target, options: options.options() })
}
