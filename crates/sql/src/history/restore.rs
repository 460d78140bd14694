//! RESTORE, EXPLAIN RESTORE, UNDROP, UNDO and their synonyms.

use strandline_core::db::Database;
use strandline_core::error::Kind;
use strandline_core::history::restore::{RestorePlan, RestoreReport, RestoreRequest, Target as To};
use strandline_core::ids::Version;
use strandline_core::log::Scope;
use strandline_core::schema::same_name;
use strandline_core::txn::Author;

use crate::access;
use crate::access::restore::{GrantLine, GrantsThen};
use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::interrupt::{until, worded};
use crate::parse::{Restore, RestoreTo, Undo, Undrop, Undropped};
use crate::session::Session;
use crate::show::answer::{Cell, CellKind, ShowAnswer, answer, row};
use crate::statements::rows_of;
use crate::warning::Warning;

/// How often a restore is planned again because another commit came between plan and commit.
const TRIES: usize = 20;

pub async fn restore(session: &mut Session, restore: &Restore) -> Result<Outcome> {
    let when = session.state.restored_from(&restore.from).await?;
    if let Some(account) = &restore.to_account
        && !same_name(account, &session.state.account_name)
    {
        return Err(Error::unsupported("RESTORE … TO ACCOUNT of another account"));
    }
    let scope = session.state.scope(&restore.target)?;
    let target = match (&restore.to, &scope) {
        (None, _) => To::InPlace,
        (Some(RestoreTo::Name(name)), Scope::Tables(..)) => match &name.database {
            Some(database) => To::Table(database.clone(), name.name.clone()),
            None => To::Name(name.name.clone()),
        },
        (Some(RestoreTo::Name(name)), _) => To::Name(name.name.clone()),
        (Some(RestoreTo::Database { database, table: None }), _) => To::Database(database.clone()),
        (Some(RestoreTo::Database { database, table: Some(table) }), _) => To::Table(database.clone(), table.clone()),
    };
    let request = RestoreRequest {
        scope,
        when,
        target,
        overwrite: restore.overwrite,
        keep_copy: restore.keep_copy,
        create_database: restore.create_database,
        foreign_key_checks: session.state.variables.foreign_key_checks(),
    };
    run(session, restore.explain, &Planning::Restore(request), restore.with_grants).await
}

pub async fn undrop(session: &mut Session, undrop: &Undrop) -> Result<Outcome> {
    let to = undrop.to.as_ref().map(|to| to.name.clone());
    let planning = match &undrop.what {
        Undropped::Table(table) => {
            let (home, name) = session.state.full_name(table)?;
            if let Some(other) = undrop.to.as_ref().and_then(|to| to.database.as_deref())
                && !same_name(other, &home)
            {
                return Err(Error::unsupported("UNDROP TABLE … TO another database"));
            }
            Planning::UndropTable(home, name, to)
        }
        Undropped::Database(name) => Planning::UndropDatabase(name.clone(), to),
    };
    run(session, undrop.explain, &planning, false).await
}

/// What to make a plan of.
enum Planning {
    Restore(RestoreRequest),
    UndropTable(String, String, Option<String>),
    UndropDatabase(String, Option<String>),
}

impl Planning {
    async fn plan(&self, database: &Database, author: &Author) -> Result<RestorePlan> {
        Ok(match self {
            Planning::Restore(request) => database.plan_restore(request.clone(), author).await?,
            Planning::UndropTable(home, name, to) => {
                database.plan_undrop_table(home, name, to.as_deref(), author).await?
            }
            Planning::UndropDatabase(name, to) => database.plan_undrop_database(name, to.as_deref(), author).await?,
        })
    }
}

pub async fn undo(session: &mut Session, undo: Undo) -> Result<Outcome> {
    let author = session.state.author();
    if undo.explain {
        let steps = session
            .state
            .engine
            .database()
            .plan_undo(Version(undo.version), &author, session.state.engine.compared())
            .await?;
        let columns = [
            ("action", CellKind::Text),
            ("database", CellKind::Text),
            ("table", CellKind::Text),
            ("rows_now", CellKind::UInt),
            ("rows_then", CellKind::UInt),
        ];
        let rows = steps
            .iter()
            .map(|line| row![line.action.to_string(), &line.database, &line.table, line.rows_before, line.rows_after]);
        return Ok(Outcome::Rows(rows_of(answer(&columns, rows.collect())?)));
    }
    commit_first(session).await?;
    let (ends, mut why) = (session.ends_without_hint(), None);
    let engine = &session.state.engine;
    let stop = ends.stop(&mut why);
    let report = engine.database().undo_unless(Version(undo.version), &author, &|| engine.compared(), stop).await;
    let report = worded(report, why)?;
    Ok(Outcome::Rows(rows_of(report_answer(&report, &[])?)))
}

/// Commits the open transaction, and says so where it had written something: who meant to roll it back cannot any more.
async fn commit_first(session: &mut Session) -> Result<()> {
    let wrote = session.has_writes();
    session.commit().await?;
    if wrote {
        let message = "The open transaction was committed first: this is a commit of its own";
        session.state.warnings.push(Warning::note(1105, message));
    }
    Ok(())
}

/// Makes a plan and prints it, or applies it, planning again when another commit came between.
async fn run(session: &mut Session, explain: bool, planning: &Planning, with_grants: bool) -> Result<Outcome> {
    let database = session.state.engine.database().clone();
    let author = session.state.author();
    if explain {
        let mut plan = planning.plan(&database, &author).await?;
        access::history::check_plan(&session.state.rights, &plan)?;
        plan.count_rows().await?;
        let grants = grants_then(&plan, &author, with_grants);
        return Ok(Outcome::Rows(rows_of(plan_answer(&plan, &grants)?)));
    }
    commit_first(session).await?;
    let ends = session.ends_without_hint();
    let mut tries = 0;
    loop {
        tries += 1;
        let plan = until(&ends, planning.plan(&database, &author)).await?;
        access::history::check_plan(&session.state.rights, &plan)?;
        let GrantsThen { changed, lines } = grants_then(&plan, &author, with_grants);
        let mut why = None;
        match database.apply_restore_unless(&plan, changed, &author, ends.stop(&mut why)).await {
            Err(error) if error.kind() == Kind::Conflict && tries < TRIES => {}
            report => return Ok(Outcome::Rows(rows_of(report_answer(&worded(report, why)?, &lines)?))),
        }
    }
}

fn grants_then(plan: &RestorePlan, author: &Author, with_grants: bool) -> GrantsThen {
    if with_grants { access::restore::grants(plan, author.account) } else { GrantsThen::default() }
}

fn plan_answer(plan: &RestorePlan, grants: &GrantsThen) -> Result<ShowAnswer> {
    let columns = [
        ("action", CellKind::Text),
        ("database", CellKind::Text),
        ("table", CellKind::Text),
        ("rows_now", CellKind::UInt),
        ("rows_then", CellKind::UInt),
        ("reason", CellKind::Text),
        ("from_version", CellKind::UInt),
        ("from_time", CellKind::Text),
    ];
    let rows = plan.steps.iter().map(|step| {
        row![
            step.action.to_string(),
            &step.database,
            &step.table,
            step.rows_now,
            step.rows_then,
            &step.reason,
            plan.from.version.0,
            plan.from.time.to_string(),
        ]
    });
    // A grantee stands where others have their table.
    let of_grants = grants.lines.iter().map(|line| {
        row![
            line.action,
            &line.database,
            &line.grantee,
            Cell::Null,
            Cell::Null,
            line.reason(),
            plan.from.version.0,
            plan.from.time.to_string(),
        ]
    });
    answer(&columns, rows.chain(of_grants).collect())
}

fn report_answer(report: &RestoreReport, grants: &[GrantLine]) -> Result<ShowAnswer> {
    let columns = [
        ("action", CellKind::Text),
        ("database", CellKind::Text),
        ("table", CellKind::Text),
        ("rows_before", CellKind::UInt),
        ("rows_after", CellKind::UInt),
        ("version_before", CellKind::UInt),
        ("version_after", CellKind::UInt),
    ];
    let rows = report.steps.iter().map(|line| {
        row![
            line.action.to_string(),
            &line.database,
            &line.table,
            line.rows_before,
            line.rows_after,
            report.version_before.0,
            report.version_after.0,
        ]
    });
    let of_grants = grants.iter().map(|line| {
        row![
            line.action,
            &line.database,
            &line.grantee,
            Cell::Null,
            Cell::Null,
            report.version_before.0,
            report.version_after.0,
        ]
    });
    answer(&columns, rows.chain(of_grants).collect())
}
