//! SET, SHOW, DROP, EXPLAIN and APPLY RETENTION.

use strandline_core::error::{Kind, What};
use strandline_core::history::retention::Keep;

use super::snapshot::decided;
use super::{done, forgiving, names};
use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::parse::{self, Filter, Rules, Target};
use crate::session::{Session, State};
use crate::show::answer::{CellKind, answer, row};

pub fn set(session: &mut Session, target: &Target, rules: &Rules) -> Result<Outcome> {
    session.check_writable()?;
    let state = &session.state;
    let scope = state.scope(target)?;
    let zone = zone_of(state, rules.time_zone.as_deref());
    state.engine.database().set_retention(scope, keep_of(&rules.keep), zone, &state.author())?;
    Ok(done())
}

pub fn drop(session: &mut Session, target: &Target, if_exists: bool) -> Result<Outcome> {
    session.check_writable()?;
    let state = &session.state;
    let scope = state.scope(target)?;
    let dropped = state.engine.database().drop_retention(&scope, &state.author()).map_err(Error::from);
    forgiving(session, dropped, if_exists.then_some(Kind::NotFound(What::Retention)))
}

/// Decides by the rules that are given, or by those that were set; lists what was dropped, or as a plan all decisions.
pub fn apply(session: &mut Session, target: &Target, rules: Option<&Rules>, explain: bool) -> Result<Outcome> {
    let state = &session.state;
    let scope = state.scope(target)?;
    let given = rules.map(|rules| (keep_of(&rules.keep), zone_of(state, rules.time_zone.as_deref())));
    let database = state.engine.database();
    let decisions = match explain {
        true => database.plan_retention(state.account, &scope, given)?,
        false => {
            session.check_writable()?;
            database.apply_retention(state.account, &scope, given)?
        }
    };
    decided(&state.account_name, &decisions, explain)
}

pub async fn show(session: &mut Session, filter: Option<&Filter>) -> Result<Outcome> {
    let state = &session.state;
    let mut rows = Vec::new();
    for retention in state.engine.database().retentions(state.account)? {
        if !state.rights.sees_scope(&retention.scope) {
            continue;
        }
        let (account, database, table) = names(&state.account_name, &retention.scope, "");
        rows.push(row![
            retention.scope.level(),
            account,
            database,
            table,
            retention.keep.to_string(),
            &retention.zone,
            retention.modified.to_string(),
            &retention.author,
        ]);
    }
    let columns = [
        ("LEVEL", CellKind::Text),
        ("ACCOUNT_NAME", CellKind::Text),
        ("DATABASE_NAME", CellKind::Text),
        ("TABLE_NAME", CellKind::Text),
        ("KEEP", CellKind::Text),
        ("TIME_ZONE", CellKind::Text),
        ("MODIFIED_TIME", CellKind::Text),
        ("CREATED_BY", CellKind::Text),
    ];
    crate::statements::filtered(session, answer(&columns, rows)?, filter).await
}

/// Returns the zone that a statement names, or the session's.
pub(super) fn zone_of<'a>(state: &'a State, named: Option<&'a str>) -> &'a str {
    match named.unwrap_or_else(|| state.variables.time_zone_name()) {
        system if system.eq_ignore_ascii_case("SYSTEM") => "UTC",
        zone => zone,
    }
}

pub(super) fn keep_of(keep: &parse::Keep) -> Keep {
    Keep {
        last: keep.last.unwrap_or(0),
        hourly: keep.hourly.unwrap_or(0),
        daily: keep.daily.unwrap_or(0),
        weekly: keep.weekly.unwrap_or(0),
        monthly: keep.monthly.unwrap_or(0),
        yearly: keep.yearly.unwrap_or(0),
    }
}
