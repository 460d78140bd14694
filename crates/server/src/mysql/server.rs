//! The door: accepts connections, holds the limits, and closes in order.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mysql_common::constants::CapabilityFlags;
use parking_lot::Mutex;
use strandline_sql::engine::Engine;
use strandline_sql::processes::{Process, Processes};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::auth::{Guesses, Strangers};
use super::connection;
use super::handshake::server_capabilities;
use super::login::{End, too_many_connections};
use super::packet::Channel;
use super::result::put_err;
use super::stream::Stream;
use crate::metrics::Metrics;

/// How long running statements may take to end at shutdown.
const GRACE: Duration = Duration::from_secs(10);
/// How long they may take after that, interrupted.
const LAST_GRACE: Duration = Duration::from_secs(2);

/// What a server allows.
#[derive(Clone)]
pub struct Options {
    /// One more is kept for `root`.
    pub max_connections: usize,
    /// Connections that have not logged in yet. When more come, the oldest goes: an honest one is through in milliseconds.
    pub strangers_max: usize,
    /// In bytes.
    pub max_allowed_packet: usize,
    /// Refuse to log in over plain TCP.
    pub require_secure_transport: bool,
    /// Allow LOAD DATA LOCAL.
    pub local_infile: bool,
    pub tls: Option<TlsAcceptor>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            max_connections: 500,
            strangers_max: 1000,
            max_allowed_packet: 64 << 20,
            require_secure_transport: false,
            local_infile: false,
            tls: None,
        }
    }
}

/// A place to listen.
pub enum Listener {
    Tcp(TcpListener),
    /// The socket's file is removed when the listener is dropped.
    Unix(UnixListener, SocketFile),
}

/// A socket in the file system.
pub struct SocketFile(PathBuf);

/// A server of the MySQL protocol.
pub struct Server {
    shared: Arc<Shared>,
}

/// What all connections share.
pub struct Shared {
    pub engine: Arc<Engine>,
    pub processes: Arc<Processes>,
    pub metrics: Arc<Metrics>,
    pub options: Options,
    pub guesses: Guesses,
    pub strangers: Strangers,
    pub gate: Gate,
    started: Instant,
}

/// Counts who is in, and knows who is at the door.
#[derive(Default)]
pub struct Gate {
    at_door: Mutex<BTreeMap<u32, Arc<Process>>>,
    seated: AtomicUsize,
    turned_away: AtomicUsize,
}

/// A place among the connections that are logged in, until it is dropped.
pub struct Seat {
    shared: Arc<Shared>,
}

impl Listener {
    /// Listens on a TCP address.
    pub fn tcp(address: SocketAddr) -> io::Result<Listener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // Accepted connections inherit it: a client whose machine is gone is noticed in the end.
        socket.set_keepalive(true)?;
        socket.bind(address)?;
        Ok(Listener::Tcp(socket.listen(1024)?))
    }

    /// Listens on a socket in the file system that only its owner may open. A stale one is replaced.
    pub fn unix(path: &Path) -> io::Result<Listener> {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens on this socket"));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Listener::Unix(listener, SocketFile(path.to_owned())))
    }

    /// Returns the TCP address, with the port that was chosen where 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }

    async fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), peer.ip().to_canonical().to_string()))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), "localhost".to_owned()))
            }
        }
    }
}

impl Server {
    pub fn new(engine: Arc<Engine>, processes: Arc<Processes>, metrics: Arc<Metrics>, options: Options) -> Server {
        let shared = Shared {
            engine,
            processes,
            metrics,
            options,
            guesses: Guesses::default(),
            strangers: Strangers::new(),
            gate: Gate::default(),
            started: Instant::now(),
        };
        Server { shared: Arc::new(shared) }
    }

    /// Serves until `shutdown` is ready, then accepts no more, lets running statements finish for a while, and returns
    /// when every connection is closed.
    pub async fn serve(&self, listeners: Vec<Listener>, shutdown: impl Future<Output = ()>) {
        // Every connection holds a sender and never uses it: the channel ends when the last one does.
        let (alive, mut all_gone) = mpsc::channel::<()>(1);
        let accepting = listeners.iter().map(|listener| self.accept_loop(listener, alive.clone()));
        tokio::select! {
            _ = futures::future::join_all(accepting) => {}
            () = shutdown => {}
        }
        drop(listeners);
        drop(alive);
        self.shared.processes.shut_down();
        if tokio::time::timeout(GRACE, all_gone.recv()).await.is_err() {
            self.shared.processes.kill_all();
            if tokio::time::timeout(LAST_GRACE, all_gone.recv()).await.is_err() {
                tracing::warn!("connections are left that do not end");
            }
        }
    }

    async fn accept_loop(&self, listener: &Listener, alive: mpsc::Sender<()>) {
        loop {
            match listener.accept().await {
                Ok((stream, host)) => self.admit(stream, host, alive.clone()),
                Err(error) => {
                    // Most likely no file descriptor is free: waiting is better than spinning.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(&self, stream: Stream, host: String, alive: mpsc::Sender<()>) {
        let shared = self.shared.clone();
        shared.metrics.connections.add(1);
        if shared.gate.seated.load(Ordering::Relaxed) > shared.options.max_connections {
            // Too many at once are told nothing: the files that their connections take are needed for others.
            if shared.gate.turned_away.fetch_add(1, Ordering::AcqRel) < shared.options.strangers_max {
                tokio::spawn(async move {
                    turn_away(stream).await;
                    shared.gate.turned_away.fetch_sub(1, Ordering::AcqRel);
                    drop(alive);
                });
            } else {
                shared.gate.turned_away.fetch_sub(1, Ordering::AcqRel);
            }
            return;
        }
        let registration = shared.processes.register(host);
        shared.gate.enter_door(&registration.process, shared.options.strangers_max);
        tokio::spawn(async move {
            Box::pin(connection::serve(stream, shared, registration)).await;
            drop(alive);
        });
    }
}

async fn turn_away(stream: Stream) {
    let mut channel = Channel::new(stream);
    if let End::Fatal(error) = too_many_connections() {
        put_err(&mut channel.out, &error);
    }
    channel.close(0).await;
}

impl Shared {
    /// Returns what this server offers on a connection.
    pub fn capabilities(&self, is_secure: bool) -> CapabilityFlags {
        server_capabilities(self.options.tls.is_some() && !is_secure, self.options.local_infile)
    }

    /// Returns the line that COM_STATISTICS answers.
    pub fn statistics(&self) -> String {
        let uptime = self.started.elapsed().as_secs();
        let questions = self.metrics.queries.get();
        let average = questions as f64 / uptime.max(1) as f64;
        let threads = self.processes.count();
        format!("Uptime: {uptime}  Threads: {threads}  Questions: {questions}  Queries per second avg: {average:.3}")
    }
}

impl Gate {
    fn enter_door(&self, process: &Arc<Process>, strangers_max: usize) {
        let mut at_door = self.at_door.lock();
        if at_door.len() >= strangers_max
            && let Some((_, oldest)) = at_door.pop_first()
        {
            oldest.kill();
        }
        at_door.insert(process.id(), process.clone());
    }

    /// Forgets a connection that is in, or gone.
    pub fn leave_door(&self, id: u32) {
        self.at_door.lock().remove(&id);
    }
}

impl Seat {
    /// Takes a place, if one is free. The last is for `root`, so that somebody can look into a full server.
    pub fn take(shared: &Arc<Shared>, user: &str) -> Option<Seat> {
        let is_root = user == "root" || user == "sys:root" || user == "sys#root";
        let limit = shared.options.max_connections + usize::from(is_root);
        let taken = shared
            .gate
            .seated
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |seated| (seated < limit).then_some(seated + 1));
        taken.ok().map(|_| Seat { shared: shared.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.gate.seated.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
