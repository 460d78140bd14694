//! A verb that is about to run: waited for with the GIL released, or awaited by asyncio.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex as Locked, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyCFunction;
use strandline_client::{Canceller, Client, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinError};

use crate::convert::ToPython;
use crate::error::exception;

/// What the calls of one Python client share.
pub struct Shared {
    /// `None` until it is connected. One call at a time has it.
    pub client: Mutex<Option<Client>>,
    canceller: Locked<Option<Canceller>>,
    /// Held while a cancel is on its way, so that it never hits a later call.
    cancelling: Arc<Mutex<()>>,
    /// A process that was forked has the sockets but not the threads of its parent.
    process: u32,
}

/// What came of a task.
type Joined = Result<Result<Answer>, JoinError>;

/// A result on its way to Python.
type Answer = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// A verb with its arguments. It runs when it is waited for or awaited, once.
#[pyclass(frozen, module = "strandline._native")]
pub struct Call {
    work: Locked<Option<BoxFuture<'static, Result<Answer>>>>,
    shared: Arc<Shared>,
    turn: Arc<Turn>,
    /// The class of its exceptions.
    family: &'static str,
}

/// Whether a call has the client.
#[derive(Default)]
struct Turn(AtomicU8);

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Turn {
    /// Moves on from `WAITING`; tells whether it was that.
    fn leave_waiting(&self, to: u8) -> bool {
        self.0.compare_exchange(WAITING, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Returns the runtime of the process. One that was forked off has none of its parent's threads, and gets its own.
fn runtime() -> &'static Runtime {
    static RUNTIME: Locked<Option<(u32, &'static Runtime)>> = Locked::new(None);
    let mut kept = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    match *kept {
        Some((process, runtime)) if process == std::process::id() => runtime,
        _ => {
            // Statements are parsed and planned by recursion: the pages are only used where one goes deep.
            let mut builder = Builder::new_multi_thread();
            let runtime = builder.enable_all().thread_name("strandline").thread_stack_size(16 << 20).build();
            let runtime = &*Box::leak(Box::new(runtime.expect("threads can be started")));
            *kept = Some((std::process::id(), runtime));
            runtime
        }
    }
}

/// How long a call waits before it looks whether somebody pressed Ctrl-C.
const BETWEEN_SIGNALS: Duration = Duration::from_millis(100);
/// How long Ctrl-C waits for the statement to end.
const CANCEL_WAIT_MAX: Duration = Duration::from_secs(5);

impl Shared {
    pub fn new() -> Arc<Shared> {
        Arc::new(Shared {
            client: Mutex::new(None),
            canceller: Locked::default(),
            cancelling: Arc::default(),
            process: std::process::id(),
        })
    }

    /// Makes a call of what is done with the client while nobody else has it.
    pub fn call<T: ToPython + 'static>(
        self: &Arc<Shared>,
        family: &'static str,
        work: impl for<'a> FnOnce(&'a mut Option<Client>) -> BoxFuture<'a, Result<T>> + Send + 'static,
    ) -> Call {
        let turn = Arc::new(Turn::default());
        let (shared, own) = (self.clone(), turn.clone());
        let work = async move {
            let mut client = shared.client.lock().await;
            if !own.leave_waiting(RUNNING) {
                // Nobody waits for it any more: it is about to be dropped.
                std::future::pending::<()>().await;
            }
            drop(shared.cancelling.lock().await);
            let value = work(&mut client).await;
            *shared.canceller() = client.as_ref().map(Client::canceller);
            let value = value?;
            Ok(Box::new(move |py: Python<'_>| value.to_python(py)) as Answer)
        };
        Call { work: Locked::new(Some(Box::pin(work))), shared: self.clone(), turn, family }
    }

    fn canceller(&self) -> MutexGuard<'_, Option<Canceller>> {
        self.canceller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the running statement. The way is barred for the next one from now on until it has happened.
    fn cancel(&self) -> impl Future<Output = ()> + Send + use<> {
        let barred = self.cancelling.clone().try_lock_owned();
        let canceller = self.canceller().clone();
        async move {
            if let Some(canceller) = canceller {
                // Where the server cannot be reached, the statement has lost its connection too.
                let _ = canceller.cancel().await;
            }
            drop(barred);
        }
    }
}

impl Drop for Shared {
    /// A process that was forked off must not end what is its parent's: an open store would be tidied up behind its back.
    fn drop(&mut self) {
        if self.process != std::process::id() {
            std::mem::forget(self.client.get_mut().take());
            std::mem::forget(self.canceller().take());
        }
    }
}

#[pymethods]
impl Call {
    /// Runs to the end with the GIL released. Ctrl-C ends the statement at the server.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let work = self.take()?;
        let runtime = runtime();
        let mut task = runtime.spawn(work);
        let joined = loop {
            let step = async { tokio::time::timeout(BETWEEN_SIGNALS, &mut task).await };
            if let Ok(joined) = py.detach(|| runtime.block_on(step)) {
                break joined;
            }
            if let Err(interrupt) = py.check_signals() {
                if self.turn.leave_waiting(GIVEN_UP) {
                    task.abort();
                } else {
                    let ending = self.shared.cancel();
                    py.detach(|| {
                        runtime.block_on(async {
                            ending.await;
                            let _ = tokio::time::timeout(CANCEL_WAIT_MAX, &mut task).await;
                        });
                    });
                }
                return Err(interrupt);
            }
        };
        self.answer(py, joined)
    }

    /// Begins, and returns a future of the running event loop. Cancelling it ends the statement at the server.
    fn future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
        let future = event_loop.call_method0("create_future")?;
        let task = runtime().spawn(slf.get().take()?);
        let abort = task.abort_handle();
        let call = slf.clone().unbind();
        let (event_loop, result) = (event_loop.unbind(), future.clone().unbind());
        runtime().spawn(async move {
            let joined = task.await;
            // Without an interpreter or a loop nobody waits any more.
            let _ = Python::try_attach(|py| {
                let joined = Locked::new(Some(joined));
                let finish = PyCFunction::new_closure(py, None, None, move |arguments, _| -> PyResult<()> {
                    let joined = joined.lock().unwrap_or_else(PoisonError::into_inner).take();
                    match joined {
                        Some(joined) => call.get().finish(&arguments.get_item(0)?, joined),
                        None => Ok(()),
                    }
                })?;
                event_loop.call_method1(py, "call_soon_threadsafe", (finish, result))
            });
        });
        let call = slf.clone().unbind();
        let watch = PyCFunction::new_closure(py, None, None, move |arguments, _| -> PyResult<()> {
            if arguments.get_item(0)?.call_method0("cancelled")?.is_truthy()? {
                call.get().give_up(&abort);
            }
            Ok(())
        })?;
        future.call_method1("add_done_callback", (watch,))?;
        Ok(future)
    }
}

impl Call {
    fn take(&self) -> PyResult<BoxFuture<'static, Result<Answer>>> {
        if self.shared.process != std::process::id() {
            return Err(PyRuntimeError::new_err("The client was made before a fork. Make one in the new process."));
        }
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.take().ok_or_else(|| PyRuntimeError::new_err("A call runs once."))
    }

    fn answer(&self, py: Python<'_>, joined: Joined) -> PyResult<Py<PyAny>> {
        match joined {
            Ok(Ok(answer)) => answer(py),
            Ok(Err(error)) => Err(exception(py, &error, self.family)),
            Err(error) => Err(PyRuntimeError::new_err(format!("BUG: a call did not end: {error}"))),
        }
    }

    /// Hands the outcome to whoever awaits it.
    fn finish(&self, future: &Bound<'_, PyAny>, joined: Joined) -> PyResult<()> {
        if future.call_method0("done")?.is_truthy()? {
            return Ok(());
        }
        match self.answer(future.py(), joined) {
            Ok(value) => future.call_method1("set_result", (value,))?,
            Err(error) => future.call_method1("set_exception", (error.into_value(future.py()),))?,
        };
        Ok(())
    }

    /// Ends a call that nobody awaits any more.
    fn give_up(&self, task: &AbortHandle) {
        if self.turn.leave_waiting(GIVEN_UP) {
            task.abort();
        } else {
            runtime().spawn(self.shared.cancel());
        }
    }
}
