//! The prepared statements of one connection.

use std::collections::{BTreeMap, HashMap};

use strandline_sql::api::{Prepared, Value};
use strandline_sql::error::{Error, Result};

use super::bytes::{Input, Malformed};
use super::params::{self, ParameterType};

/// As many as MySQL allows a whole server by default.
const STATEMENTS_MAX: usize = 16_382;
/// What the protocol's counters can hold.
const COUNT_MAX: usize = 65_535;

/// Statements by the id that the client knows.
#[derive(Default)]
pub struct Statements {
    by_id: HashMap<u32, Statement>,
    last_id: u32,
}

pub struct Statement {
    pub prepared: Prepared,
    types: Vec<ParameterType>,
    /// Values sent ahead in pieces, by parameter.
    long: BTreeMap<u16, Vec<u8>>,
    long_bytes: usize,
    long_too_large: bool,
}

impl Statements {
    /// Keeps a statement and returns its id. Error 1461 or 1390 beyond what is allowed.
    pub fn add(&mut self, prepared: Prepared) -> Result<u32> {
        if self.by_id.len() >= STATEMENTS_MAX {
            let message = format!("Can't create more than {STATEMENTS_MAX} prepared statements on one connection");
            return Err(Error::new(1461, "42000", message));
        }
        if prepared.parameters > COUNT_MAX || prepared.columns.len() > COUNT_MAX {
            return Err(Error::new(1390, "HY000", "Prepared statement contains too many placeholders"));
        }
        // Wraps after 4 billion: an id in use is skipped.
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && !self.by_id.contains_key(&self.last_id) {
                break;
            }
        }
        let statement =
            Statement { prepared, types: Vec::new(), long: BTreeMap::new(), long_bytes: 0, long_too_large: false };
        self.by_id.insert(self.last_id, statement);
        Ok(self.last_id)
    }

    /// Returns a statement. Error 1243 if there is none, naming the command that asked.
    pub fn get(&mut self, id: u32, command: &str) -> Result<&mut Statement> {
        self.by_id.get_mut(&id).ok_or_else(|| {
            Error::new(1243, "HY000", format!("Unknown prepared statement handler ({id}) given to {command}"))
        })
    }

    pub fn remove(&mut self, id: u32) {
        self.by_id.remove(&id);
    }

    pub fn clear(&mut self) {
        self.by_id.clear();
    }
}

impl Statement {
    /// Reads the parameters of an execution and forgets the values that were sent ahead.
    pub fn bind(&mut self, input: Input<'_>) -> Result<Vec<Value>> {
        let long = std::mem::take(&mut self.long);
        self.long_bytes = 0;
        if std::mem::take(&mut self.long_too_large) {
            let message = "A parameter sent in pieces is longer than 'max_allowed_packet' bytes";
            return Err(Error::new(1153, "08S01", message));
        }
        params::parse(input, self.prepared.parameters, &mut self.types, &long)
            .map_err(|Malformed| Error::new(1835, "HY000", format!("{Malformed}.")))
    }

    /// Adds a piece to a parameter's value. What is too large is refused when the statement is executed.
    pub fn add_long(&mut self, parameter: u16, piece: &[u8], bytes_max: usize) {
        if usize::from(parameter) >= self.prepared.parameters {
            return;
        }
        self.long_bytes += piece.len();
        if self.long_too_large || self.long_bytes > bytes_max {
            self.long_too_large = true;
            self.long.clear();
        } else {
            self.long.entry(parameter).or_default().extend_from_slice(piece);
        }
    }

    pub fn reset(&mut self) {
        self.long.clear();
        self.long_bytes = 0;
        self.long_too_large = false;
    }
}
