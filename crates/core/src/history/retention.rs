//! Retention: which snapshots stay when there are many. Grandfather, father, son, by the calendar of a named time zone.
//!
//! ```text
//!   snapshots of one scope ─► rules, newest first ─► keep or drop, each with its reason ─► one durable drop
//! ```
//! Only periods that hold a snapshot count; of each the newest is kept; what any rule keeps is kept. A plan never drops
//! everything, and snapshots dated in the future neither go nor push others out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::db::Database;
use crate::error::{Error, Kind, Result, What};
use crate::history::schedule::Schedule;
use crate::history::snapshot::{Decision, check_scope, keep_bases};
use crate::ids::{AccountId, Time};
use crate::log::policy::{self, PolicyKind};
use crate::log::{Pin, Run, Scope};
use crate::schema::{fold, same_name};
use crate::txn::Author;
use crate::when;

/// How many snapshots of each kind stay; 0 is no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
}

/// The rules for the snapshots of a scope, and of what lies in it and has no rules of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    pub account: AccountId,
    pub scope: Scope,
    pub keep: Keep,
    /// Whose days, weeks and months are meant.
    pub zone: String,
    pub modified: Time,
    pub author: String,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.counts().into_iter().filter(|(_, count)| *count > 0);
        let words: Vec<String> = rules.map(|(rule, count)| format!("{} {count}", rule.word())).collect();
        f.write_str(&words.join(" "))
    }
}

impl Keep {
    fn counts(&self) -> [(Rule, u32); 6] {
        [
            (Rule::Last, self.last),
            (Rule::Hourly, self.hourly),
            (Rule::Daily, self.daily),
            (Rule::Weekly, self.weekly),
            (Rule::Monthly, self.monthly),
            (Rule::Yearly, self.yearly),
        ]
    }

    /// Checks that at least one snapshot would stay.
    pub fn check(&self) -> Result<()> {
        match self.counts().iter().any(|(_, count)| *count > 0) {
            true => Ok(()),
            false => {
                Err(Error::invalid("Rules that keep nothing are none.")
                    .with_hint("Say KEEP LAST 1, DAILY 7 or the like."))
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Last,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Rule {
    fn word(self) -> &'static str {
        match self {
            Rule::Last => "LAST",
            Rule::Hourly => "HOURLY",
            Rule::Daily => "DAILY",
            Rule::Weekly => "WEEKLY",
            Rule::Monthly => "MONTHLY",
            Rule::Yearly => "YEARLY",
        }
    }

    /// Names the period in which a time lies: equal names are one period.
    fn period(self, time: Time, zone: &TimeZone) -> String {
        let local = time.to_jiff().to_zoned(zone.clone());
        match self {
            Rule::Last => String::new(),
            // An hour that the clock repeats is two.
            Rule::Hourly => local.strftime("hour %Y-%m-%d %H:00 %:z").to_string(),
            Rule::Daily => local.strftime("day %Y-%m-%d").to_string(),
            Rule::Weekly => {
                let week = local.date().iso_week_date();
                format!("week {}-W{:02}", week.year(), week.week())
            }
            Rule::Monthly => local.strftime("month %Y-%m").to_string(),
            Rule::Yearly => local.strftime("year %Y").to_string(),
        }
    }
}

/// Decides about the snapshots of one group: newest first, each with the reasons for it.
pub fn decide(mut pins: Vec<Pin>, keep: &Keep, zone: &TimeZone, now: Time) -> Vec<Decision> {
    pins.sort_by_key(|pin| Reverse((pin.created, pin.id)));
    let mut rules: Vec<(Rule, u32, Option<String>)> =
        keep.counts().into_iter().map(|(rule, count)| (rule, count, None)).collect();
    let mut decisions = Vec::with_capacity(pins.len());
    for pin in pins {
        let mut reasons = Vec::new();
        if pin.created > now {
            reasons.push("dated in the future".to_owned());
        } else {
            for (rule, left, seen) in rules.iter_mut().filter(|(_, left, _)| *left > 0) {
                let period = rule.period(pin.created, zone);
                if *rule == Rule::Last {
                    reasons.push(format!("among the last {}", keep.last));
                } else if seen.as_ref() == Some(&period) {
                    continue;
                } else {
                    reasons.push(format!("newest of {period}"));
                }
                *left -= 1;
                *seen = Some(period);
            }
        }
        if let Some(until) = pin.terms.retain_until.filter(|until| *until > now) {
            reasons.push(format!("its term ends at {until} UTC"));
        }
        let keep = !reasons.is_empty();
        let reason = if keep { reasons.join(", ") } else { "no rule keeps it".to_owned() };
        decisions.push(Decision { pin, keep, reason });
    }
    if !decisions.iter().any(|decision| decision.keep)
        && let Some(newest) = decisions.first_mut()
    {
        (newest.keep, newest.reason) = (true, "the newest always stays".to_owned());
    }
    decisions
}

impl Database {
    /// Sets the rules for a scope, over those that there were.
    pub fn set_retention(&self, scope: Scope, keep: Keep, zone: &str, author: &Author) -> Result<Retention> {
        keep.check()?;
        when::zone(zone)?;
        let now = self.now();
        check_scope(&now, now.catalog(), author.account, &scope, &[])?;
        let retention = Retention {
            account: author.account,
            scope,
            keep,
            zone: zone.to_owned(),
            modified: self.env().now(),
            author: author.name.clone(),
        };
        let name = name_of(&retention.scope)?;
        policy::put(&**self.metastore(), PolicyKind::Retention, author.account, &name, &retention)?;
        Ok(retention)
    }

    /// Drops the rules for a scope; no snapshot is dropped for that.
    pub fn drop_retention(&self, scope: &Scope, author: &Author) -> Result<()> {
        match policy::remove(&**self.metastore(), PolicyKind::Retention, author.account, &name_of(scope)?)? {
            true => Ok(()),
            false => Err(no_rules(scope)),
        }
    }

    /// Returns the rules of an account, by scope.
    pub fn retentions(&self, account: AccountId) -> Result<Vec<Retention>> {
        let mut all: Vec<Retention> = policy::read(&**self.metastore(), PolicyKind::Retention)?;
        all.retain(|retention| retention.account == account);
        Ok(all)
    }

    /// Decides about the snapshots of a scope and of what lies in it: by the rules that are given, or by the narrowest that
    /// were set. Each scope that was named in a snapshot is a group of its own. Changes nothing.
    pub fn plan_retention(
        &self,
        account: AccountId,
        scope: &Scope,
        given: Option<(Keep, &str)>,
    ) -> Result<Vec<Decision>> {
        let mut rules: Vec<(Scope, Keep, TimeZone)> = Vec::new();
        match given {
            Some((keep, zone)) => {
                keep.check()?;
                rules.push((Scope::Cluster, keep, when::zone(zone)?));
            }
            None => {
                for retention in self.retentions(account)? {
                    rules.push((retention.scope, retention.keep, when::zone(&retention.zone)?));
                }
                if !rules.iter().any(|(own, ..)| own.holds(scope) || scope.holds(own)) {
                    return Err(no_rules(scope));
                }
                rules.sort_by_key(|(own, ..)| Reverse(narrowness(own)));
            }
        }
        let schedules = self.schedules(account)?;
        let pins = self.snapshots(account)?;
        let mut decisions = Vec::new();
        // Group by rule, scope and columns.
        let mut groups: BTreeMap<(usize, String, String), Vec<Pin>> = BTreeMap::new();
        for pin in pins.iter().filter(|pin| scope.holds(&pin.scope)) {
            if let Some(schedule) = own_rules(pin, &schedules) {
                let reason = format!("schedule '{}' has rules of its own", schedule.name);
                decisions.push(Decision { pin: pin.clone(), keep: true, reason });
            } else if let Some(rule) = rules.iter().position(|(own, ..)| own.holds(&pin.scope)) {
                let group = (rule, name_of(&pin.scope)?, format!("{:?}", pin.columns));
                groups.entry(group).or_default().push(pin.clone());
            }
        }
        let now = self.sure_time();
        for ((rule, ..), pins) in groups {
            let (_, keep, zone) = &rules[rule];
            decisions.extend(decide(pins, keep, zone, now));
        }
        keep_bases(&mut decisions, &pins);
        Ok(decisions)
    }

    /// Decides about what a schedule took, by the schedule's own rules.
    pub(crate) fn plan_own_retention(&self, schedule: &Schedule, keep: &Keep) -> Result<Vec<Decision>> {
        let pins = self.snapshots(schedule.account)?;
        let own = pins.iter().filter(|pin| taken_by(pin, schedule)).cloned().collect();
        let mut decisions = decide(own, keep, &when::zone(&schedule.zone)?, self.sure_time());
        keep_bases(&mut decisions, &pins);
        Ok(decisions)
    }

    /// Plans and drops; returns what was dropped.
    pub fn apply_retention(
        &self,
        account: AccountId,
        scope: &Scope,
        given: Option<(Keep, &str)>,
    ) -> Result<Vec<Decision>> {
        fail::fail_point!("retention::apply", crate::error::failing);
        let mut decisions = self.apply_plan(|| self.plan_retention(account, scope, given))?;
        fail::fail_point!("retention::applied");
        decisions.retain(|decision| !decision.keep);
        Ok(decisions)
    }
}

/// Returns the schedule that took a snapshot, if it has rules of its own.
fn own_rules<'a>(pin: &Pin, schedules: &'a [Schedule]) -> Option<&'a Schedule> {
    schedules.iter().find(|schedule| schedule.keep.is_some() && taken_by(pin, schedule))
}

fn taken_by(pin: &Pin, schedule: &Schedule) -> bool {
    let of = |run: &Run| run.created == schedule.created && same_name(&run.name, &schedule.name);
    pin.terms.schedule.as_ref().is_some_and(of)
}

/// Returns how narrow a scope is: what lies in another is narrower.
fn narrowness(scope: &Scope) -> (u8, Reverse<usize>) {
    match scope {
        Scope::Cluster => (0, Reverse(0)),
        Scope::Account(_) => (1, Reverse(0)),
        Scope::Database(_) => (2, Reverse(0)),
        Scope::Tables(_, tables) => (3, Reverse(tables.len())),
    }
}

/// Names a scope such that the same tables have the same name, however they are written, and others another.
fn name_of(scope: &Scope) -> Result<String> {
    let folded = match scope {
        Scope::Cluster => Scope::Cluster,
        Scope::Account(name) => Scope::Account(fold(name)),
        Scope::Database(name) => Scope::Database(fold(name)),
        Scope::Tables(name, tables) => {
            let tables: BTreeSet<String> = tables.iter().map(|table| fold(table)).collect();
            Scope::Tables(fold(name), tables.into_iter().collect())
        }
    };
    Ok(serde_json::to_string(&folded)?)
}

fn no_rules(scope: &Scope) -> Error {
    Error::new(Kind::NotFound(What::Retention), format!("No retention rules for {scope}."))
        .with_hint("Set them with SET RETENTION FOR … KEEP …; SHOW RETENTION lists them.")
}
