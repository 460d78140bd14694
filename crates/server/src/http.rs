//! The HTTP side: whether the server lives, whether it is ready, and its numbers. It serves no data and needs no login.
//!
//! A connection lasts a few seconds at most, and there are few at once: who only holds one open harms nobody.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
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

use crate::metrics::{Metrics, Store};

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
#[derive(Clone, Default)]
pub struct Status {
    pub metrics: Arc<Metrics>,
    /// Empty until the store is open: to recover may take a while, and meanwhile the server lives.
    pub opened: Arc<OnceLock<Opened>>,
    /// Set while statements are accepted.
    pub ready: Arc<AtomicBool>,
}

/// What is there once the store is open.
pub struct Opened {
    pub processes: Arc<Processes>,
    pub database: Database,
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
    let refusal = status.opened.get().and_then(|opened| opened.database.refusal());
    match (status.ready.load(Ordering::Acquire), refusal) {
        (true, None) => (StatusCode::OK, "ready\n".to_owned()),
        (true, Some(why)) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: no commit is accepted: {why}\n")),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
    }
}

async fn metrics(State(status): State<Status>) -> impl IntoResponse {
    let store = status.opened.get().map(|Opened { processes, database }| Store {
        connections_open: processes.count(),
        is_writable: database.refusal().is_none(),
        health: database.health(),
    });
    let text = status.metrics.render(store.as_ref());
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

#[cfg(test)]
mod tests {
    use strandline_core::db::Options;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn it_lives_before_it_is_ready_and_is_not_ready_when_nothing_can_be_written() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let status = Status::default();
        let served = status.clone();
        let http = tokio::spawn(async move { axum::serve(Door::new(listener), router(served)).await });

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        assert!(get(address, "/metrics").await.contains("strandline_queries_total 0"));

        let database = Database::in_memory(Options::default()).await.expect("made");
        let opened = Opened { processes: Processes::new(), database: database.clone() };
        assert!(status.opened.set(opened).is_ok());
        status.ready.store(true, Ordering::Release);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.contains("strandline_writable 1"));

        // From here on commits are refused, as after a durable write that failed.
        database.close().await.expect("closed");
        let refused = get(address, "/readyz").await;
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("no commit is accepted"), "{refused}");
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.contains("strandline_writable 0"));
        http.abort();
    }
}
