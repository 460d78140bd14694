//! Long work that people can watch and stop. It is kept in memory: a job ends with its process, and what it had not
//! finished was never there.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::FutureExt;
use parking_lot::Mutex;

use crate::env::Env;
use crate::error::{Error, Kind, Result};
use crate::ids::{AccountId, Time};

/// Does what may be given up wherever it waits, unless `stop` comes first.
///
/// # Errors
/// Those of `work`, and `Cancelled`. `stop` must not be waited for again then.
pub(crate) async fn unless<T>(
    stop: Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        () = stop => Err(stopped()),
        done = work => done,
    }
}

/// Fails if `stop` has come, for work that may only be given up between two of its steps.
pub(crate) fn check_stop(stop: Pin<&mut impl Future<Output = ()>>) -> Result<()> {
    match stop.now_or_never() {
        Some(()) => Err(stopped()),
        None => Ok(()),
    }
}

fn stopped() -> Error {
    Error::new(Kind::Cancelled, "It was stopped before it was done.")
}

/// The jobs that run, and the last that ended. Clones are the same.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    env: Env,
    /// Oldest first.
    known: Mutex<VecDeque<Arc<State>>>,
    next: AtomicU64,
}

struct State {
    id: u64,
    account: AccountId,
    kind: &'static str,
    object: String,
    author: String,
    started: Time,
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
    end: Mutex<Option<End>>,
}

#[derive(Clone)]
struct End {
    time: Time,
    /// `None` if all went well.
    error: Option<(Kind, String)>,
}

/// A job, as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobInfo {
    pub id: u64,
    /// What it does.
    pub kind: &'static str,
    /// The name of what it makes.
    pub object: String,
    pub state: JobState,
    /// How much of it is done, from 0 to 1.
    pub progress: f64,
    pub author: String,
    pub started: Time,
    /// `None` while it runs.
    pub ended: Option<Time>,
    /// Why it came to nothing.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    Running,
    /// It was asked to stop, and has not yet.
    Cancelling,
    Done,
    Cancelled,
    Failed,
}

impl JobState {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Cancelling => "cancelling",
            JobState::Done => "done",
            JobState::Cancelled => "cancelled",
            JobState::Failed => "failed",
        }
    }
}

/// A running job's own end of it. Dropping it ends the job.
#[must_use = "a job ends when it is dropped"]
pub(crate) struct Job {
    jobs: Jobs,
    state: Arc<State>,
}

/// Asks the job to stop when it is dropped.
pub(crate) struct Stop(Arc<State>);

/// How many jobs that ended are remembered.
const ENDED_MAX: usize = 100;

impl Jobs {
    pub(crate) fn new(env: Env) -> Jobs {
        Jobs(Arc::new(Inner { env, known: Mutex::default(), next: AtomicU64::new(1) }))
    }

    pub(crate) fn begin(&self, kind: &'static str, object: &str, account: AccountId, author: &str) -> Job {
        let state = Arc::new(State {
            id: self.0.next.fetch_add(1, Ordering::Relaxed),
            account,
            kind,
            object: object.to_owned(),
            author: author.to_owned(),
            started: self.0.env.now(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            end: Mutex::default(),
        });
        self.0.known.lock().push_back(state.clone());
        Job { jobs: self.clone(), state }
    }

    /// Returns the jobs of an account, newest first.
    pub fn list(&self, account: AccountId) -> Vec<JobInfo> {
        let known = self.0.known.lock();
        known.iter().rev().filter(|state| state.account == account).map(|state| state.info()).collect()
    }

    /// Asks a job to stop. It leaves nothing behind.
    pub fn cancel(&self, id: u64, account: AccountId) -> Result<()> {
        let known = self.0.known.lock();
        match known.iter().find(|state| state.id == id && state.account == account) {
            None => Err(no_job(id)),
            Some(state) => {
                let end = state.end.lock();
                if end.is_some() {
                    return Err(Error::invalid(format!("Job {id} has ended already.")));
                }
                state.cancelled.store(true, Ordering::SeqCst);
                Ok(())
            }
        }
    }

    /// Asks every job to stop: the store closes.
    pub(crate) fn cancel_all(&self) {
        self.0.known.lock().iter().for_each(|state| state.cancelled.store(true, Ordering::SeqCst));
    }

    fn end(&self, state: &State, error: Option<(Kind, String)>) {
        state.end.lock().get_or_insert(End { time: self.0.env.now(), error });
        let mut known = self.0.known.lock();
        let mut surplus = known.iter().filter(|state| state.end.lock().is_some()).count().saturating_sub(ENDED_MAX);
        known.retain(|state| {
            let forgotten = surplus > 0 && state.end.lock().is_some();
            surplus -= usize::from(forgotten);
            !forgotten
        });
    }
}

impl State {
    fn info(&self) -> JobInfo {
        let end = self.end.lock().clone();
        let state = match &end {
            None if self.cancelled.load(Ordering::SeqCst) => JobState::Cancelling,
            None => JobState::Running,
            Some(End { error: None, .. }) => JobState::Done,
            Some(End { error: Some((Kind::Cancelled, _)), .. }) => JobState::Cancelled,
            Some(End { error: Some(_), .. }) => JobState::Failed,
        };
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let part = if total == 0 { 0.0 } else { (done as f64 / total as f64).min(1.0) };
        JobInfo {
            id: self.id,
            kind: self.kind,
            object: self.object.clone(),
            state,
            progress: if state == JobState::Done { 1.0 } else { part },
            author: self.author.clone(),
            started: self.started,
            ended: end.as_ref().map(|end| end.time),
            error: end.and_then(|end| end.error).map(|(_, message)| message),
        }
    }
}

impl Job {
    /// Returns what stops the job when it is dropped.
    pub(crate) fn stop(&self) -> Stop {
        Stop(self.state.clone())
    }

    /// Says how much there is to do, in units of the job's own.
    pub(crate) fn set_total(&self, units: u64) {
        self.state.total.store(units, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, units: u64) {
        self.state.done.fetch_add(units, Ordering::Relaxed);
    }

    /// Fails once somebody has asked the job to stop.
    pub(crate) fn check(&self) -> Result<()> {
        match self.state.cancelled.load(Ordering::SeqCst) {
            true => Err(Error::new(Kind::Cancelled, format!("Job {} was cancelled.", self.state.id))
                .with_hint("It left nothing behind.")),
            false => Ok(()),
        }
    }

    /// Ends the job with what came of it.
    pub(crate) fn end<T>(self, outcome: Result<T>) -> Result<T> {
        let error = outcome.as_ref().err().map(|error| (error.kind(), error.to_string()));
        self.jobs.end(&self.state, error);
        outcome
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.jobs.end(&self.state, Some((Kind::Internal, "BUG: it ended without a word.".to_owned())));
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
    }
}

/// Returns the error for a job that is not known.
pub fn no_job(id: u64) -> Error {
    Error::invalid(format!("There is no job {id}.")).with_hint("SHOW JOBS lists them.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: AccountId = AccountId(1);

    fn only(jobs: &Jobs) -> JobInfo {
        let [job] = jobs.list(OWN).try_into().expect("one job");
        job
    }

    #[test]
    fn a_job_is_listed_and_stops_when_asked() {
        let env = Env::fixed(Time(7), 1);
        let jobs = Jobs::new(env.clone());
        let job = jobs.begin("compressed snapshot", "s", OWN, "a@b");
        assert_eq!(only(&jobs).progress, 0.0);
        job.set_total(200);
        job.advance(30);
        let listed = only(&jobs);
        assert_eq!((listed.progress, listed.started, listed.state), (0.15, Time(7), JobState::Running));
        assert!(jobs.list(AccountId(2)).is_empty());
        assert!(job.check().is_ok());
        assert!(jobs.cancel(listed.id, AccountId(2)).is_err(), "only its own account stops it");
        jobs.cancel(listed.id, OWN).unwrap();
        assert_eq!(only(&jobs).state, JobState::Cancelling);
        env.advance(3);
        let stopped = job.check();
        assert_eq!(job.end(stopped).unwrap_err().kind(), Kind::Cancelled);
        let listed = only(&jobs);
        assert_eq!((listed.state, listed.ended), (JobState::Cancelled, Some(Time(10))));
        assert_eq!(listed.error.as_deref(), Some("Job 1 was cancelled. It left nothing behind."));
        assert_eq!(jobs.cancel(listed.id, OWN).unwrap_err().to_string(), "Job 1 has ended already.");
        assert_eq!(jobs.cancel(9, OWN).unwrap_err().to_string(), "There is no job 9. SHOW JOBS lists them.");
    }

    #[test]
    fn the_last_that_ended_are_remembered_and_every_one_that_runs() {
        let jobs = Jobs::new(Env::fixed(Time(0), 1));
        let running = jobs.begin("k", "first", OWN, "a");
        for _ in 0..ENDED_MAX + 5 {
            jobs.begin("k", "o", OWN, "a").end(Ok(())).unwrap();
        }
        let listed = jobs.list(OWN);
        assert_eq!(listed.len(), ENDED_MAX + 1);
        assert_eq!((listed[0].state, listed[0].progress), (JobState::Done, 1.0));
        assert_eq!((listed[ENDED_MAX].object.as_str(), listed[ENDED_MAX].state), ("first", JobState::Running));
        drop(running.stop());
        assert!(running.check().is_err());
        drop(running);
        assert!(jobs.list(OWN).iter().all(|job| job.object != "first"), "it was the oldest");
    }
}
