//! The HTTP side: whether the server lives, whether it is ready, and its numbers. It serves no data and needs no login.
//!
//! A connection lasts a few seconds at most, and there are few at once: who only holds one open harms nobody.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use strandline_core::db::Database;
use strandline_sql::processes::Processes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::metrics::Metrics;

/// How many connections there are at once. More wait.
const GUESTS_MAX: usize = 64;
/// How long a connection lasts, whatever it does.
const STAY_MAX: Duration = Duration::from_secs(5);

/// Lets connections in, few at a time and for a while.
pub struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// A connection, until its time is over.
pub struct Guest {
    stream: TcpStream,
    leaves: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

/// What the HTTP side looks at.
#[derive(Clone)]
pub struct Status {
    pub metrics: Arc<Metrics>,
    pub processes: Arc<Processes>,
    pub database: Database,
    /// Set while statements are accepted.
    pub ready: Arc<AtomicBool>,
}

/// Returns the routes `/healthz`, `/readyz` and `/metrics`.
pub fn router(status: Status) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .with_state(status)
}

async fn readiness(State(status): State<Status>) -> impl IntoResponse {
    match status.ready.load(Ordering::Acquire) {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn metrics(State(status): State<Status>) -> impl IntoResponse {
    let text = status.metrics.render(status.processes.count(), &status.database.health());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

impl Door {
    pub fn new(listener: TcpListener) -> Door {
        Door { listener, places: Arc::new(Semaphore::new(GUESTS_MAX)) }
    }
}

impl axum::serve::Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        (Guest { stream, leaves: Box::pin(tokio::time::sleep(STAY_MAX)), _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Guest {
    fn must_leave(&mut self, cx: &mut Context<'_>) -> bool {
        self.leaves.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for Guest {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.must_leave(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.must_leave(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
