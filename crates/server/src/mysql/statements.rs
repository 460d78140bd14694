//! The prepared statements of one connection.

use std::collections::{BTreeMap, HashMap};

use strandline_sql::api::{Prepared, Value};
use strandline_sql::error::{Error, Result};

use super::bytes::{Input, Malformed};
use super::params::{self, ParameterType};

/// As many as MySQL allows a whole server by default.
const STATEMENTS_MAX: usize = 16_382;
/// How long the texts of a connection's statements may be together.
const TEXT_BYTES_MAX: usize = 64 << 20;
/// What the protocol's counters can hold.
const COUNT_MAX: usize = 65_535;

/// Statements by the id that the client knows.
#[derive(Default)]
pub struct Statements {
    by_id: HashMap<u32, Statement>,
    last_id: u32,
    /// Of the statements' texts, together.
    text_bytes: usize,
    /// Of the values that were sent ahead and not used yet, together.
    long_bytes: usize,
}

struct Statement {
    prepared: Prepared,
    types: Vec<ParameterType>,
    /// Values sent ahead in pieces, by parameter.
    long: BTreeMap<u16, Vec<u8>>,
    long_too_large: bool,
}

impl Statements {
    /// Keeps a statement and returns its id. Error 1461 or 1390 beyond what is allowed.
    pub fn add(&mut self, prepared: Prepared) -> Result<u32> {
        if self.by_id.len() >= STATEMENTS_MAX {
            let message = format!("Can't create more than {STATEMENTS_MAX} prepared statements on one connection");
            return Err(Error::new(1461, "42000", message));
        }
        if self.text_bytes + prepared.sql.len() > TEXT_BYTES_MAX {
            let message = format!(
                "The prepared statements of one connection cannot be longer than {TEXT_BYTES_MAX} bytes together. Close those \
                 that are not needed."
            );
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
        self.text_bytes += prepared.sql.len();
        let statement = Statement { prepared, types: Vec::new(), long: BTreeMap::new(), long_too_large: false };
        self.by_id.insert(self.last_id, statement);
        Ok(self.last_id)
    }

    /// Reads the parameters of an execution and forgets the values that were sent ahead.
    ///
    /// # Errors
    /// 1243, 1153 where a value was too large, 1835
    pub fn bind(&mut self, id: u32, input: Input<'_>) -> Result<(&Prepared, Vec<Value>)> {
        let (long, too_large) = self.take_long(id);
        let statement = self.get(id, "mysqld_stmt_execute")?;
        if too_large {
            let message = "The parameters sent in pieces are longer than 'max_allowed_packet' bytes together";
            return Err(Error::new(1153, "08S01", message));
        }
        let values = params::parse(input, statement.prepared.parameters, &mut statement.types, &long)
            .map_err(|Malformed| Error::new(1835, "HY000", format!("{Malformed}.")))?;
        Ok((&statement.prepared, values))
    }

    /// Adds a piece to a parameter's value. `bytes_max` bounds what a connection sends ahead in all its statements; what is too
    /// large is refused when the statement is executed.
    pub fn add_long(&mut self, id: u32, parameter: u16, piece: &[u8], bytes_max: usize) {
        let Some(statement) = self.by_id.get_mut(&id) else { return };
        if usize::from(parameter) >= statement.prepared.parameters || statement.long_too_large {
            return;
        }
        if self.long_bytes + piece.len() > bytes_max {
            self.take_long(id);
            self.by_id.entry(id).and_modify(|statement| statement.long_too_large = true);
        } else {
            statement.long.entry(parameter).or_default().extend_from_slice(piece);
            self.long_bytes += piece.len();
        }
    }

    /// Forgets what was sent ahead.
    ///
    /// # Errors
    /// 1243
    pub fn reset(&mut self, id: u32) -> Result<()> {
        self.take_long(id);
        self.get(id, "mysqld_stmt_reset").map(drop)
    }

    pub fn remove(&mut self, id: u32) {
        self.take_long(id);
        if let Some(statement) = self.by_id.remove(&id) {
            self.text_bytes -= statement.prepared.sql.len();
        }
    }

    pub fn clear(&mut self) {
        *self = Statements { last_id: self.last_id, ..Statements::default() };
    }

    /// Returns a statement. Error 1243 if there is none, naming the command that asked.
    fn get(&mut self, id: u32, command: &str) -> Result<&mut Statement> {
        self.by_id.get_mut(&id).ok_or_else(|| {
            Error::new(1243, "HY000", format!("Unknown prepared statement handler ({id}) given to {command}"))
        })
    }

    /// Takes what was sent ahead, and whether some of it was too large.
    fn take_long(&mut self, id: u32) -> (BTreeMap<u16, Vec<u8>>, bool) {
        let Some(statement) = self.by_id.get_mut(&id) else { return Default::default() };
        let long = std::mem::take(&mut statement.long);
        self.long_bytes -= long.values().map(Vec::len).sum::<usize>();
        (long, std::mem::take(&mut statement.long_too_large))
    }
}
