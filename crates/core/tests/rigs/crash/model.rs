//! What a store must show after a crash. The child writes down what it is about to do and what was acknowledged; the log of
//! the store says what was committed, and in which order. The two are laid over one another, and the state at every
//! version is reckoned from what each commit was to do, by the simplest means there are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strandline_core::log::EntryHead;

/// The rows of a table: `id` and `v`.
pub type Rows = BTreeMap<i64, i64>;

/// The tables that stand at a version, by `database.table`.
pub type State = BTreeMap<String, Arc<Rows>>;

/// What each row of some tables becomes; `None` goes.
pub type Writes = Vec<(String, Vec<(i64, Option<i64>)>)>;

/// What an operation does if it is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Effect {
    /// Makes tables, with their first rows.
    Create(Writes),
    Rows(Writes),
    /// As well, takes a snapshot of its own commit.
    RowsAndSnapshot(Writes, String),
    Empty(String),
    Drop(String),
    Undrop(String),
    DropDatabase(String),
    /// A table, or all of a database (with a dot at its end), as of a version.
    Restore(String, u64),
    Undo(u64),
    /// A table or a database under another name, as of a version.
    Clone(String, u64, String),
    /// Gives a name to a snapshot or a policy.
    Name(String),
    Unname(String),
    /// Nothing that a table shows, and no name that must stand.
    Nothing,
}

/// So begins what is written down of an operation whose task broke off.
pub const BROKE_OFF: &str = "broke off: ";

/// What a child writes down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Line {
    Opened {
        time: i64,
        head: u64,
    },
    /// Something beside the operations went wrong: the store could not be opened, or not closed; a task ended.
    Told(String),
    /// Before an operation begins. `head` is the newest version that can be seen.
    Intent {
        op: u64,
        effect: Effect,
        head: u64,
        time: i64,
    },
    /// With the version of its commit, if it is one.
    Done {
        op: u64,
        version: Option<u64>,
        time: i64,
    },
    /// `sure` where it is certain that nothing was done.
    Failed {
        op: u64,
        error: String,
        sure: bool,
        time: i64,
    },
    /// At the end: why writes are refused, if they are.
    Ended {
        refused: Option<String>,
    },
}

/// What is known of a name.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Standing {
    acknowledged: bool,
    never: bool,
    dropping: bool,
    dropped: bool,
}

/// Everything that was done in a store, as far as it is known.
#[derive(Default)]
pub struct Model {
    /// The commits: version `v` stands at `v - 1`.
    heads: Vec<EntryHead>,
    /// What every version shows; `states[0]` is the empty store.
    states: Vec<State>,
    effects: HashMap<u64, Effect>,
    names: BTreeMap<String, Standing>,
    /// The latest time that a child has seen.
    pub time: i64,
}

impl Model {
    pub fn new(time: i64) -> Model {
        Model { states: vec![State::new()], time, ..Model::default() }
    }

    pub fn head(&self) -> u64 {
        self.heads.len() as u64
    }

    pub fn state(&self, version: u64) -> &State {
        &self.states[version as usize]
    }

    /// Takes what a child has written down, and the log as it stands now.
    pub fn take(&mut self, lines: &[Line], log: Vec<EntryHead>) -> Result<(), String> {
        if let Some(gone) = self.heads.iter().zip(&log).find(|(old, new)| old != new) {
            return Err(format!("history has changed: {:?} is {:?} now", gone.0, gone.1));
        }
        if log.len() < self.heads.len() {
            return Err(format!("the log ends with version {} instead of {}", log.len(), self.heads.len()));
        }
        for line in lines {
            if let Line::Intent { op, effect, .. } = line {
                self.effects.insert(*op, effect.clone());
            }
        }
        let mut committed: HashMap<u64, u64> = HashMap::new();
        for (at, head) in log.iter().enumerate() {
            if head.version.0 != at as u64 + 1 || (at > 0 && head.time <= log[at - 1].time) {
                return Err(format!("the log goes on with {head:?}"));
            }
            if at < self.heads.len() {
                continue;
            }
            let op = head.author.strip_prefix('o').and_then(|op| op.parse::<u64>().ok());
            let mut state = self.states.last().expect("the empty store").clone();
            match op {
                // Upkeep that somebody waits for: nothing shows it.
                Some(_) if head.upkeep => {}
                Some(op) => {
                    let effect = self.effects.get(&op).ok_or(format!("{head:?} was never intended"))?;
                    if let Some(other) = committed.insert(op, head.version.0) {
                        return Err(format!("operation {op} was committed as version {other} and as {}", head.version));
                    }
                    apply(&mut state, &self.states, effect)?;
                }
                None if head.author == "system" => {}
                None => return Err(format!("{head:?} is of nobody")),
            }
            self.states.push(state);
        }
        let known = self.heads.len() as u64;
        self.heads = log;
        self.acknowledged(lines, known, &committed)?;
        self.name(lines, &committed);
        Ok(())
    }

    /// Checks that what was seen and acknowledged is there, and what certainly failed is not.
    fn acknowledged(&mut self, lines: &[Line], known: u64, committed: &HashMap<u64, u64>) -> Result<(), String> {
        let head = self.head();
        let refused = lines.iter().any(|line| matches!(line, Line::Ended { refused: Some(_) }));
        let ended = lines.iter().any(|line| matches!(line, Line::Ended { .. }));
        for line in lines {
            match line {
                Line::Opened { time, head: seen } | Line::Intent { time, head: seen, .. } => {
                    self.time = self.time.max(*time);
                    if *seen > head {
                        return Err(format!("version {seen} was seen, and the log ends with {head}"));
                    }
                }
                Line::Done { op, version, time } => {
                    self.time = self.time.max(*time);
                    let Some(version) = version else { continue };
                    let effect = &self.effects[op];
                    let stands = committed.get(op) == Some(version);
                    // What changes nothing need not be a commit.
                    let changes_nothing = matches!(effect, Effect::Restore(..)) && !committed.contains_key(op) && {
                        let mut state = self.states.get(*version as usize).cloned().unwrap_or_default();
                        apply(&mut state, &self.states, effect).is_ok()
                            && Some(&state) == self.states.get(*version as usize)
                    };
                    if !stands && !changes_nothing {
                        return Err(format!("lost: operation {op}, acknowledged as version {version}: {effect:?}"));
                    }
                }
                Line::Failed { op, error, sure, time } => {
                    self.time = self.time.max(*time);
                    // Who broke off may have done so after its commit.
                    let is_over = ended && !refused && !error.starts_with(BROKE_OFF);
                    if (*sure || is_over) && committed.contains_key(op) {
                        return Err(format!("operation {op} was committed, and said: {error}"));
                    }
                }
                Line::Told(_) | Line::Ended { .. } => {}
            }
        }
        debug_assert!(known <= head);
        Ok(())
    }

    fn name(&mut self, lines: &[Line], committed: &HashMap<u64, u64>) {
        let mut names = std::mem::take(&mut self.names);
        for line in lines {
            match line {
                Line::Intent { op, effect, .. } => match effect {
                    Effect::Name(name) => drop(names.entry(name.clone()).or_default()),
                    Effect::Unname(name) => names.entry(name.clone()).or_default().dropping = true,
                    Effect::RowsAndSnapshot(_, name) => {
                        let standing = names.entry(name.clone()).or_default();
                        match committed.contains_key(op) {
                            true => standing.acknowledged = true,
                            false => standing.never = true,
                        }
                    }
                    _ => {}
                },
                Line::Done { op, .. } => match &self.effects[op] {
                    Effect::Name(name) => names.entry(name.clone()).or_default().acknowledged = true,
                    Effect::Unname(name) => names.entry(name.clone()).or_default().dropped = true,
                    _ => {}
                },
                Line::Failed { op, sure: true, .. } => {
                    if let Effect::Name(name) = &self.effects[op] {
                        names.entry(name.clone()).or_default().never = true;
                    }
                }
                _ => {}
            }
        }
        self.names = names;
    }

    /// Compares the names that there are with those that must or must not be, and takes them as known from here on.
    pub fn compare_names(&mut self, there: &HashSet<String>) -> Result<(), String> {
        for (name, standing) in &self.names {
            let must = standing.acknowledged && !standing.dropping;
            let must_not = standing.dropped || standing.never;
            match there.contains(name) {
                false if must => return Err(format!("lost: '{name}'")),
                true if must_not => return Err(format!("'{name}' is there, and was dropped or never made")),
                _ => {}
            }
        }
        if let Some(name) = there.iter().find(|name| !self.names.contains_key(*name)) {
            return Err(format!("'{name}' is there, and was never intended"));
        }
        self.names.clear();
        let known = Standing { acknowledged: true, ..Standing::default() };
        self.names.extend(there.iter().map(|name| (name.clone(), known)));
        Ok(())
    }
}

/// Does to a state what an operation does.
fn apply(state: &mut State, history: &[State], effect: &Effect) -> Result<(), String> {
    let at = |version: u64| history.get(version as usize).ok_or(format!("version {version} is not there yet"));
    let take = |state: &mut State, prefix: &str, from: &State, to: &str| {
        let is_part = |name: &str| if prefix.ends_with('.') { name.starts_with(prefix) } else { name == prefix };
        state.retain(|name, _| prefix != to || !is_part(name));
        let parts = from.iter().filter(|(name, _)| is_part(name));
        state.extend(parts.map(|(name, rows)| (name.replacen(prefix, to, 1), rows.clone())));
    };
    match effect {
        Effect::Create(writes) => {
            for (name, _) in writes {
                state.insert(name.clone(), Arc::default());
            }
            write(state, writes)?;
        }
        Effect::Rows(writes) | Effect::RowsAndSnapshot(writes, _) => write(state, writes)?,
        Effect::Empty(name) => drop(state.insert(name.clone(), Arc::default())),
        Effect::Drop(name) => drop(state.remove(name)),
        Effect::DropDatabase(prefix) => state.retain(|name, _| !name.starts_with(prefix)),
        Effect::Undrop(name) => {
            let last = history.iter().rev().find_map(|state| state.get(name)).ok_or("it never was")?;
            state.insert(name.clone(), last.clone());
        }
        Effect::Restore(prefix, version) => take(state, prefix, at(*version)?, prefix),
        Effect::Clone(prefix, version, to) => take(state, prefix, at(*version)?, to),
        Effect::Undo(version) => {
            let (before, after) = (at(*version - 1)?, at(*version)?);
            for (name, after) in after {
                let Some(before) = before.get(name) else { continue };
                for id in before.keys().chain(after.keys()).filter(|id| before.get(id) != after.get(id)) {
                    write(state, &vec![(name.clone(), vec![(*id, before.get(id).copied())])])?;
                }
            }
        }
        Effect::Name(_) | Effect::Unname(_) | Effect::Nothing => {}
    }
    Ok(())
}

fn write(state: &mut State, writes: &Writes) -> Result<(), String> {
    for (name, rows) in writes {
        let table = state.get_mut(name).ok_or(format!("'{name}' is written, and is not there"))?;
        let table = Arc::make_mut(table);
        for (id, v) in rows {
            match v {
                Some(v) => drop(table.insert(*id, *v)),
                None => drop(table.remove(id)),
            }
        }
    }
    Ok(())
}
