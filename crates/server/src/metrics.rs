//! Counters of what the server did, in the text format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use strandline_core::health::Health;

/// A number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the MySQL side counts.
#[derive(Default)]
pub struct Metrics {
    /// Connections accepted, logged in or not.
    pub connections: Counter,
    pub logins_failed: Counter,
    /// Statements begun.
    pub queries: Counter,
    /// Errors sent to clients.
    pub errors: Counter,
    pub bytes_read: Counter,
    pub bytes_written: Counter,
}

/// What is told of an open store.
pub struct Store {
    pub connections_open: usize,
    /// Commits are accepted.
    pub is_writable: bool,
    pub health: Health,
}

impl Metrics {
    pub fn traffic(&self, bytes_read: u64, bytes_written: u64) {
        self.bytes_read.add(bytes_read);
        self.bytes_written.add(bytes_written);
    }

    /// Returns all numbers as Prometheus reads them; those of the store once it is open.
    pub fn render(&self, store: Option<&Store>) -> String {
        let mut out = String::new();
        let counters = [
            ("connections_total", "Connections accepted.", &self.connections),
            ("logins_failed_total", "Logins refused for their password or user.", &self.logins_failed),
            ("queries_total", "Statements begun.", &self.queries),
            ("errors_total", "Errors sent to clients.", &self.errors),
            ("received_bytes_total", "Bytes read from clients, before TLS.", &self.bytes_read),
            ("sent_bytes_total", "Bytes written to clients, before TLS.", &self.bytes_written),
        ];
        let mut put = |name: &str, help: &str, kind: &str, value: u64| {
            let name = format!("strandline_{name}");
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
                .expect("writing to memory cannot fail");
        };
        for (name, help, counter) in counters {
            put(name, help, "counter", counter.get());
        }
        let Some(Store { connections_open, is_writable, health }) = store else { return out };
        put("connections_open", "Connections open now.", "gauge", *connections_open as u64);
        let help = "1 while commits are accepted; 0 after a durable write failed, until the server is restarted.";
        put("writable", help, "gauge", u64::from(*is_writable));
        let ended = health.last.map_or(0, |last| u64::try_from(last.ended.0 / 1_000_000).unwrap_or(0));
        put("damages", "Damages found in the store and not mended.", "gauge", health.damages.len() as u64);
        put("scrubbed_bytes_total", "Bytes that the scrubber has read.", "counter", health.read_bytes);
        put("scrub_ended_seconds", "When the scrubber had read everything, in seconds since 1970.", "gauge", ended);
        out
    }
}
