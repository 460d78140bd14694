//! A statement that is being planned is looked at from time to time: does somebody wait for it still, and does what it
//! takes fit into the memory of queries?
//!
//! A short text can ask for a huge plan (a table expression that names the one before it twice, thirty times over), and
//! the planner neither counts what it takes nor can it be told to stop. It does call us: for tables and functions, and
//! after each rule of the analyzer and the optimizer. There [`look`] gives the planning up by unwinding, as
//! rust-analyzer gives up what nobody waits for. What one rule may take between two looks is foretold where it can be much
//! ([`expansion`](crate::expansion)).

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

use crate::error::{Error, Result};

/// Returns how many bytes the thread that asks has taken from the allocator, less those that it gave back.
pub type Taken = fn() -> i64;

/// Plans that take less are not counted: most do.
const TAKEN_BYTES_LEAST: usize = 1 << 20;

thread_local! {
    /// What this thread plans.
    static HERE: RefCell<Option<Planning>> = const { RefCell::new(None) };
}

/// Counts what the plans of one statement take, until it is dropped.
#[derive(Debug)]
pub struct PlanMemory {
    reservation: MemoryReservation,
    /// Also what is too little to be counted.
    bytes: AtomicUsize,
}

impl PlanMemory {
    pub fn new(pool: &Arc<dyn MemoryPool>) -> Arc<PlanMemory> {
        let reservation = MemoryConsumer::new("plans").register(pool);
        Arc::new(PlanMemory { reservation, bytes: AtomicUsize::new(0) })
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Says how much it is now.
    ///
    /// # Errors
    /// 1038 where there is no room for as much. It never fails for less than before.
    pub fn resize(&self, bytes: usize) -> Result<()> {
        let counted = if bytes < TAKEN_BYTES_LEAST { 0 } else { bytes };
        self.reservation.try_resize(counted).map_err(|_| {
            let message = format!(
                "Out of memory for this statement: to plan it takes more than {} MiB, and there is no room for that now. Try \
                 again later, write it shorter (fewer columns, joins, and table expressions and views that name one another), \
                 or start the server with a greater --memory-limit.",
                bytes >> 20
            );
            Error::new(1038, "HY001", message)
        })?;
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

struct Planning {
    /// `None` where the allocator does not say.
    taken: Option<Taken>,
    taken_before: i64,
    memory: Arc<PlanMemory>,
    bytes_before: usize,
    /// What is about to be taken.
    foreseen: usize,
    /// Whoever waits for it holds this.
    asker: Weak<()>,
}

/// Why a planning was given up, as it travels up the stack.
pub struct GivenUp(pub Error);

/// This thread plans a statement until this is dropped.
#[must_use = "the planning ends where it is dropped"]
pub struct Begun(());

/// Says that this thread begins to plan. What the plan takes is added to `memory`, and stays there; `asker` is gone as soon as
/// nobody waits any more.
pub fn begin(taken: Option<Taken>, memory: Arc<PlanMemory>, asker: Weak<()>) -> Begun {
    let bytes_before = memory.bytes();
    let taken_before = taken.map_or(0, |taken| taken());
    let planning = Planning { taken, taken_before, memory, bytes_before, foreseen: 0, asker };
    let other = HERE.replace(Some(planning));
    debug_assert!(other.is_none(), "a thread plans one statement at a time");
    Begun(())
}

impl Begun {
    /// Counts what the planning has taken to its end.
    ///
    /// # Errors
    /// 1038 where that does not fit.
    pub fn finish(self) -> Result<()> {
        foresee(0)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// Takes room for what this thread's planning is about to take at one stretch, beside what it has, until its end.
///
/// # Errors
/// 1038 where there is too little.
pub fn foresee(bytes: usize) -> Result<()> {
    HERE.with_borrow_mut(|here| match here {
        Some(planning) => {
            planning.foreseen = bytes;
            planning.count()
        }
        None => Ok(()),
    })
}

/// As [`foresee`], where less was foreseen before. Does nothing on a thread that plans nothing.
///
/// # Errors
/// 1038 where there is too little.
pub fn foresee_at_least(bytes: usize) -> Result<()> {
    let before = HERE.with_borrow(|here| here.as_ref().map_or(0, |planning| planning.foreseen));
    foresee(before.max(bytes))
}

/// Gives up what this thread plans, if nobody waits for it or it does not fit into memory. Does nothing on a thread that
/// plans nothing.
pub fn look() {
    let verdict = HERE.with_borrow(|here| here.as_ref().map_or(Ok(()), Planning::verdict));
    if let Err(error) = verdict {
        resume_unwind(Box::new(GivenUp(error)));
    }
}

impl Planning {
    fn verdict(&self) -> Result<()> {
        if self.asker.strong_count() == 0 {
            return Err(Error::new(1317, "70100", "Query execution was interrupted"));
        }
        self.count()
    }

    fn count(&self) -> Result<()> {
        // What others took and this thread gave back may make it less than nothing.
        let taken = self.taken.map_or(0, |taken| usize::try_from(taken() - self.taken_before).unwrap_or(0));
        self.memory.resize(self.bytes_before.saturating_add(taken).saturating_add(self.foreseen))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use datafusion::execution::memory_pool::GreedyMemoryPool;

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
        let memory = PlanMemory::new(&pool);
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
        foresee(2 << 20).unwrap();
        assert_eq!(looked(), None);
        assert_eq!(pool.reserved(), 16 << 20);
        assert_eq!(foresee_at_least(3 << 20).unwrap_err().code, 1038);
        TAKEN.set(12 << 20);
        assert_eq!(looked(), Some(1038));
        assert_eq!(begun.finish().unwrap_err().code, 1038);
        assert_eq!(looked(), None);
        memory.resize(4 << 20).unwrap();
        assert_eq!(pool.reserved(), 4 << 20);

        // Little by little it is much, too.
        for plan in 1..=5 {
            let begun = begin(Some(|| TAKEN.get()), memory.clone(), Arc::downgrade(&asker));
            TAKEN.set(TAKEN.get() + (400 << 10));
            begun.finish().unwrap();
            assert_eq!(pool.reserved(), (4 << 20) + plan * (400 << 10));
        }
        drop(memory);
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn what_nobody_waits_for_is_given_up() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
        let memory = PlanMemory::new(&pool);
        let asker = Arc::new(());
        let begun = begin(None, memory, Arc::downgrade(&asker));
        assert_eq!(looked(), None);
        drop(asker);
        assert_eq!(looked(), Some(1317));
        drop(begun);
        assert_eq!(looked(), None);
    }
}
