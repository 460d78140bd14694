//! The HTTP side: whether the server lives, whether it is ready, and its numbers. It serves no data and needs no login.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use strandline_core::db::Database;
use strandline_sql::processes::Processes;

use crate::metrics::Metrics;

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
