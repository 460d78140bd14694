//! What a session keeps between its statements, counted in the memory of queries.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use strandline_core::error::Result as CoreResult;
use strandline_core::room::Room;

use crate::error::{Error, Result};

/// Something that a session keeps under a name of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    Variable(String),
    /// `PREPARE`'s.
    Statement(String),
    /// Of the binary protocol.
    Handle(u32),
}

/// How many bytes it all takes.
pub struct Kept {
    reservation: MemoryReservation,
    bytes: HashMap<Thing, usize>,
    max: usize,
}

impl Kept {
    /// At most `max` bytes may be kept.
    pub fn new(reservation: MemoryReservation, max: usize) -> Kept {
        Kept { reservation, bytes: HashMap::new(), max }
    }

    /// Counts what is kept, in the place of what was kept under this name.
    ///
    /// # Errors
    /// 1038 where it is too much; then the old one still counts.
    pub fn put(&mut self, thing: Thing, bytes: usize) -> Result<()> {
        let before = self.bytes.get(&thing).copied().unwrap_or_default();
        let all = self.reservation.size() - before + bytes;
        if all > self.max || self.reservation.try_resize(all).is_err() {
            let message = format!(
                "Out of memory: the variables and prepared statements of a session may take {} MiB. Let some go \
                 (SET @v = NULL, DEALLOCATE PREPARE), or start the server with a greater --memory-limit.",
                self.max >> 20
            );
            return Err(Error::new(1038, "HY001", message));
        }
        self.bytes.insert(thing, bytes);
        Ok(())
    }

    pub fn forget(&mut self, thing: &Thing) {
        if let Some(bytes) = self.bytes.remove(thing) {
            self.reservation.shrink(bytes);
        }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.reservation.free();
    }
}

/// The rows that a transaction has written and not yet committed.
pub struct Written {
    pool: Arc<dyn MemoryPool>,
    reservation: Option<MemoryReservation>,
}

/// Fewer bytes are not counted: most transactions write little.
const WRITTEN_BYTES_LEAST: usize = 64 << 10;
/// As the transaction has them, as its commit puts them together, and as they go into the log.
const WRITTEN_TIMES: usize = 3;

impl Written {
    pub fn new(pool: Arc<dyn MemoryPool>) -> Written {
        Written { pool, reservation: None }
    }
}

impl Room for Written {
    fn resize(&mut self, bytes: usize) -> CoreResult<()> {
        let counted = if bytes < WRITTEN_BYTES_LEAST { 0 } else { WRITTEN_TIMES * bytes };
        if counted == 0 && self.reservation.is_none() {
            return Ok(());
        }
        let register = || MemoryConsumer::new("rows of a transaction").register(&self.pool);
        self.reservation.get_or_insert_with(register).try_resize(counted).map_err(|_| {
            let message = format!(
                "Out of memory: with this statement, the rows that the transaction has written take {} MiB, and three times \
                 that to commit them. Change fewer rows at a time (WHERE, LIMIT), COMMIT more often, or start the server with \
                 a greater --memory-limit.",
                bytes >> 20
            );
            Error::new(1038, "HY001", message).into()
        })
    }
}

/// The rows that DIFF or UNDO compares.
pub struct Compared(MemoryReservation);

/// As they were read, put together, as their keys and as their values are compared, and as those that differ are picked.
const COMPARED_TIMES: usize = 5;

impl Compared {
    pub fn new(pool: &Arc<dyn MemoryPool>) -> Compared {
        Compared(MemoryConsumer::new("rows that are compared").register(pool))
    }
}

impl Room for Compared {
    fn resize(&mut self, bytes: usize) -> CoreResult<()> {
        self.0.try_resize(COMPARED_TIMES * bytes).map_err(|_| {
            let message = format!(
                "Out of memory for this statement: to compare more than {} MiB of rows takes {COMPARED_TIMES} times as much. \
                 Compare moments that fewer rows lie between, or start the server with a greater --memory-limit. To take back \
                 all that came after a moment, use RESTORE TABLE … FROM: it reads no rows.",
                bytes >> 20
            );
            Error::new(1038, "HY001", message).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    #[test]
    fn what_a_transaction_writes_is_counted_until_it_ends() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(4 << 20));
        let mut written = Written::new(pool.clone());
        written.resize(1000).unwrap();
        assert_eq!(pool.reserved(), 0);
        written.resize(1 << 20).unwrap();
        assert_eq!(pool.reserved(), 3 << 20);
        assert_eq!(Error::from(written.resize(2 << 20).unwrap_err()).code, 1038);
        assert_eq!(pool.reserved(), 3 << 20);
        written.resize(100).unwrap();
        assert_eq!(pool.reserved(), 0);
        written.resize(1 << 20).unwrap();
        drop(written);
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded_and_counted() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(4 << 20));
        let mut kept = Kept::new(MemoryConsumer::new("test").register(&pool), 1 << 20);
        let variable = |name: &str| Thing::Variable(name.to_owned());
        kept.put(variable("a"), 600 << 10).unwrap();
        assert_eq!(kept.put(variable("b"), 600 << 10).unwrap_err().code, 1038);
        kept.put(variable("a"), 100).unwrap();
        kept.put(variable("b"), 600 << 10).unwrap();
        assert_eq!(pool.reserved(), (600 << 10) + 100);
        kept.forget(&variable("b"));
        kept.forget(&variable("b"));
        assert_eq!(pool.reserved(), 100);
        kept.put(Thing::Handle(1), 1000).unwrap();
        kept.clear();
        assert_eq!(pool.reserved(), 0);
    }
}
