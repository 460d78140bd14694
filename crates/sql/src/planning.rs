//! A statement that is being planned is looked at from time to time: does somebody wait for it still, and does what it
//! takes fit into the memory of queries?
//!
//! A short text can ask for a huge plan (a table expression that names the one before it twice, thirty times over), and
//! the planner neither counts what it takes nor can it be told to stop. It does call us: for tables and functions, and
//! after each rule of the analyzer and the optimizer. There [`look`] gives the planning up by unwinding, as
//! rust-analyzer gives up what nobody waits for. Between two looks a plan can double.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::sync::{Arc, Weak};

use datafusion::execution::memory_pool::MemoryReservation;

use crate::error::{Error, Result};

/// Returns how many bytes the thread that asks has taken from the allocator, less those that it gave back.
pub type Taken = fn() -> i64;

/// Planning that takes less is not counted: most does.
const TAKEN_BYTES_LEAST: usize = 1 << 20;

thread_local! {
    /// What this thread plans.
    static HERE: RefCell<Option<Planning>> = const { RefCell::new(None) };
}

struct Planning {
    /// `None` where the allocator does not say.
    taken: Option<Taken>,
    taken_before: i64,
    /// Counts the plans of the statement.
    memory: Arc<MemoryReservation>,
    counted_before: usize,
    /// Whoever waits for it holds this.
    asker: Weak<()>,
}

/// Why a planning was given up, as it travels up the stack.
pub struct GivenUp(pub Error);

/// This thread plans a statement until this is dropped.
pub struct Begun(());

/// Says that this thread begins to plan. What the plan takes is added to `memory`, and stays there; `asker` is gone as soon as
/// nobody waits any more.
pub fn begin(taken: Option<Taken>, memory: Arc<MemoryReservation>, asker: Weak<()>) -> Begun {
    let counted_before = memory.size();
    let taken_before = taken.map_or(0, |taken| taken());
    HERE.set(Some(Planning { taken, taken_before, memory, counted_before, asker }));
    Begun(())
}

impl Begun {
    /// Counts what the planning has taken to its end.
    ///
    /// # Errors
    /// 1038 where that does not fit.
    pub fn finish(self) -> Result<()> {
        HERE.with_borrow(|here| here.as_ref().map_or(Ok(()), Planning::count))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// Gives up what this thread plans, if nobody waits for it or it does not fit into memory. Does nothing on a thread that
/// plans nothing.
pub fn look() {
    let verdict = HERE.with_borrow(|here| here.as_ref().map_or(Ok(()), Planning::look));
    if let Err(error) = verdict {
        resume_unwind(Box::new(GivenUp(error)));
    }
}

impl Planning {
    fn look(&self) -> Result<()> {
        if self.asker.strong_count() == 0 {
            return Err(Error::new(1317, "70100", "Query execution was interrupted"));
        }
        self.count()
    }

    fn count(&self) -> Result<()> {
        let Some(taken) = self.taken else { return Ok(()) };
        // What others took and this thread gave back may make it less than nothing.
        let bytes = usize::try_from(taken() - self.taken_before).unwrap_or(0);
        let bytes = if bytes < TAKEN_BYTES_LEAST { 0 } else { bytes };
        self.memory.try_resize(self.counted_before + bytes).map_err(|_| {
            let message = format!(
                "Out of memory for this statement: to plan it takes more than {} MiB, and there is no room for that now. Write \
                 it shorter (fewer columns, joins, and table expressions and views that name one another), or start the \
                 server with a greater --memory-limit.",
                bytes >> 20
            );
            Error::new(1038, "HY001", message)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};

    use super::*;

    thread_local! {
        static TAKEN: Cell<i64> = const { Cell::new(0) };
    }

    fn looked() -> Option<u16> {
        let given_up = catch_unwind(AssertUnwindSafe(look)).err()?;
        Some(given_up.downcast::<GivenUp>().unwrap().0.code)
    }

    #[test]
    fn what_planning_takes_is_counted_and_bounded() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(16 << 20));
        let memory = Arc::new(MemoryConsumer::new("plan").register(&pool));
        let asker = Arc::new(());
        look();

        TAKEN.set(-5 << 20);
        let begun = begin(Some(|| TAKEN.get()), memory.clone(), Arc::downgrade(&asker));
        assert_eq!(looked(), None);
        assert_eq!(pool.reserved(), 0);
        TAKEN.set(-1 << 20);
        assert_eq!(looked(), None);
        assert_eq!(pool.reserved(), 4 << 20);
        begun.finish().unwrap();
        assert_eq!(pool.reserved(), 4 << 20);

        // The next plan of the same statement comes on top.
        let begun = begin(Some(|| TAKEN.get()), memory.clone(), Arc::downgrade(&asker));
        TAKEN.set(9 << 20);
        assert_eq!(looked(), None);
        assert_eq!(pool.reserved(), 14 << 20);
        TAKEN.set(12 << 20);
        assert_eq!(looked(), Some(1038));
        assert_eq!(begun.finish().unwrap_err().code, 1038);
        assert_eq!(looked(), None);
        drop(memory);
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn what_nobody_waits_for_is_given_up() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
        let memory = Arc::new(MemoryConsumer::new("plan").register(&pool));
        let asker = Arc::new(());
        let begun = begin(None, memory, Arc::downgrade(&asker));
        assert_eq!(looked(), None);
        drop(asker);
        assert_eq!(looked(), Some(1317));
        drop(begun);
        assert_eq!(looked(), None);
    }
}
