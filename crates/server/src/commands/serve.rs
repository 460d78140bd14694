//! `strandline serve`: opens the store and serves it until told to stop.

use std::fs;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strandline_core::cold::Bucket;
use strandline_core::db::{self, Database};
use strandline_core::env::Env;
use strandline_sql::api::Login;
use strandline_sql::engine::{self, Engine};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::first_start::first_start;
use crate::memory::{self, MemoryLimit};
use crate::mysql::{Listener, Options, Server};
use crate::{Result, http, process, tls};

/// Serve a store to MySQL clients.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// The folder that holds the store; made if it does not exist
    #[arg(long, env = "STRANDLINE_DATA", value_name = "FOLDER", default_value = "strandline-data")]
    pub data: PathBuf,
    /// Where a new store keeps its files instead of in its folder: s3://bucket/prefix. The store remembers it
    #[arg(long, env = "STRANDLINE_OBJECTS", value_name = "URL")]
    pub objects: Option<String>,
    /// The address for MySQL clients. Beyond this machine, clients must use TLS
    #[arg(long, env = "STRANDLINE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:6001")]
    pub listen: SocketAddr,
    /// The address for /healthz, /readyz and /metrics, or 'off'. It has no login, so that it must be of this machine
    #[arg(long, env = "STRANDLINE_HTTP", value_name = "ADDRESS", default_value = "127.0.0.1:6002", value_parser = parse_http)]
    pub http: HttpAddress,
    /// A Unix socket to listen on too, open to its owner only
    #[arg(long, env = "STRANDLINE_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The memory that queries and caches may use: a share of the machine's, or bytes such as 4GiB
    #[arg(long, env = "STRANDLINE_MEMORY_LIMIT", value_name = "LIMIT", default_value = "50%", value_parser = MemoryLimit::parse)]
    pub memory_limit: MemoryLimit,
    /// How many clients may be logged in at once; root finds one place more
    #[arg(long, env = "STRANDLINE_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_connections: u32,
    /// A file with the password that root gets at the first start; else STRANDLINE_ROOT_PASSWORD, else a random one
    #[arg(long, value_name = "FILE")]
    pub root_password_file: Option<PathBuf>,
    /// The certificate for TLS, as PEM; without one the server makes its own
    #[arg(long, env = "STRANDLINE_TLS_CERT", value_name = "FILE", requires = "tls_key", conflicts_with = "no_tls")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, as PEM
    #[arg(long, env = "STRANDLINE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Offer no TLS. Only for an address of this machine
    #[arg(long)]
    pub no_tls: bool,
    /// Refuse clients that use neither TLS nor the Unix socket. Always on beyond this machine
    #[arg(long, env = "STRANDLINE_REQUIRE_SECURE_TRANSPORT")]
    pub require_secure_transport: bool,
    /// Allow LOAD DATA LOCAL, which reads files of the client
    #[arg(long, env = "STRANDLINE_LOCAL_INFILE")]
    pub local_infile: bool,
    /// The folder whose files LOAD DATA INFILE may read; without it, none
    #[arg(long, env = "STRANDLINE_LOAD_FOLDER", value_name = "FOLDER")]
    pub load_folder: Option<PathBuf>,
    /// Keep every file that a recovery window reaches: to measure what thinning saves
    #[arg(long, hide = true)]
    pub keep_all_manifests: bool,
    #[arg(long, env = "STRANDLINE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Log more: -v for connections, -vv for everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpAddress {
    Off,
    At(SocketAddr),
}

/// How long threads may take to end when all else has.
const END_MAX: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT.
pub fn run(arguments: &Arguments) -> Result<()> {
    start_log(arguments);
    process::keep_private();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // A statement is parsed and planned by recursion; the pages are only used where it goes deep.
        .thread_stack_size(16 << 20)
        .build()?;
    let outcome = runtime.block_on(serve(arguments));
    // Whatever still works on a thread of its own has nobody left to work for.
    runtime.shutdown_timeout(END_MAX);
    outcome
}

async fn serve(arguments: &Arguments) -> Result<()> {
    let is_local = arguments.listen.ip().is_loopback();
    check_addresses(arguments)?;
    // Before anything is made, so that a second server on the port leaves no trace.
    let mut listeners = vec![
        Listener::tcp(arguments.listen).map_err(|error| format!("Cannot listen on {}: {error}.", arguments.listen))?,
    ];
    let http_listener = match arguments.http {
        HttpAddress::Off => None,
        HttpAddress::At(address) => {
            let bound = tokio::net::TcpListener::bind(address).await;
            Some(bound.map_err(|error| format!("Cannot listen on {address}: {error}."))?)
        }
    };
    if let Some(url) = &arguments.objects {
        Bucket::parse(url)?.reach(&Env::real()).await?;
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&arguments.data)
        .map_err(|error| format!("Cannot make the data folder {}: {error}.", arguments.data.display()))?;
    keep_private(&arguments.data)?;
    if let Some(path) = &arguments.socket {
        let listener = Listener::unix(path);
        listeners.push(listener.map_err(|error| format!("Cannot listen on {}: {error}.", path.display()))?);
    }
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        _ if arguments.no_tls => None,
        (Some(certificate), Some(key)) => Some(tls::Files { certificate: certificate.clone(), key: key.clone() }),
        _ => Some(tls::own_files(&arguments.data).map_err(|error| {
            let folder = arguments.data.display();
            format!(
                "Cannot keep a certificate in {folder}/tls: {error}. Make room there, or give --tls-cert and --tls-key."
            )
        })?),
    };
    let room = process::room(arguments.max_connections as usize);
    let options = Options {
        max_connections: room.connections,
        strangers_max: room.strangers,
        require_secure_transport: arguments.require_secure_transport || !is_local,
        local_infile: arguments.local_infile,
        tls: tls.as_ref().map(tls::acceptor).transpose()?,
        ..Options::default()
    };

    // Before the store is opened, which may take a while: whoever asks whether the server lives is to hear it.
    let status = http::Status::default();
    let http = http_listener.map(|listener| {
        let routes = http::router(status.clone());
        tokio::spawn(async move { axum::serve(http::Door::new(listener), routes).await })
    });
    let database = open_database(arguments).await?;
    let served = serve_store(&database, arguments, listeners, options, &status).await;
    let closed = database.close().await;
    if let Some(http) = http {
        http.abort();
    }
    served?;
    closed?;
    tracing::info!("stopped");
    Ok(())
}

/// Serves an open store until told to stop.
async fn serve_store(
    database: &Database,
    arguments: &Arguments,
    listeners: Vec<Listener>,
    options: Options,
    status: &http::Status,
) -> Result<()> {
    let engine = open_engine(database, arguments).await?;
    if !arguments.listen.ip().is_loopback() {
        check_passwords(&engine, arguments.listen)?;
    }
    let address = listeners[0].address().unwrap_or(arguments.listen);
    set_facts(&engine, arguments, &options, address)?;
    let processes = engine.processes().clone();
    let mut signals = StopSignals::listen()?;
    let opened = http::Opened { processes: processes.clone(), database: database.clone() };
    drop(status.opened.set(opened));
    let ready = status.ready.clone();
    ready.store(true, Ordering::Release);
    tracing::info!(
        %address,
        data = %arguments.data.display(),
        version = engine.server_version(),
        tls = options.tls.is_some(),
        "ready for connections"
    );
    let stop = async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "stopping");
        ready.store(false, Ordering::Release);
        tokio::spawn(async move {
            let name = signals.next().await;
            tracing::warn!(signal = name, "told to stop once more: ending at once; what was committed is durable");
            std::process::exit(1);
        });
    };
    Server::new(engine, processes, status.metrics.clone(), options).serve(listeners, stop).await;
    Ok(())
}

async fn open_database(arguments: &Arguments) -> Result<Database> {
    let options = db::Options {
        objects: arguments.objects.clone(),
        thinning: !arguments.keep_all_manifests,
        ..db_options(arguments.memory_limit.bytes()?)
    };
    Ok(Database::open(&arguments.data, options).await?)
}

/// Makes the engine, and gives root a password if it has none yet: before anybody is let in.
async fn open_engine(database: &Database, arguments: &Arguments) -> Result<Arc<Engine>> {
    let limit = arguments.memory_limit.bytes()?;
    let spill = arguments.data.join("spill");
    // What a killed server left there is of no use to anyone.
    let _ = fs::remove_dir_all(&spill);
    fs::create_dir_all(&spill)?;
    let options = engine::Options {
        query_memory_bytes: usize::try_from(limit / 8 * 3)?,
        statement_memory_bytes: usize::try_from(limit)?,
        read_memory_bytes: limit / 8,
        spill_folder: Some(spill),
        taken: Some(memory::taken_by_thread),
        load_folder: arguments.load_folder.as_deref().map(load_folder).transpose()?,
        ..engine::Options::default()
    };
    let engine = Engine::open(database.clone(), options).await?;
    let root = Login { user: "root".to_owned(), host: "localhost".to_owned(), ..Login::default() };
    if engine.credential(&root).is_none_or(|credential| credential.sha2.is_none()) {
        let given = given_password(arguments)?;
        first_start(&arguments.data, given.as_deref(), async |password| {
            Ok(engine.set_password("root", password).await?)
        })
        .await?;
    }
    database.start_upkeep()?;
    database.start_policies();
    Ok(engine)
}

/// Shares the memory out that queries do not get: half for caches, half for recent rows, which may come to twice their
/// budget until they are flushed. Loads and flushes take a part of that at a time.
fn db_options(memory: u64) -> db::Options {
    let usual = db::Options::default();
    let recent = usize::try_from(memory / 8).unwrap_or(usize::MAX);
    db::Options {
        cache_bytes: memory / 4,
        flush_total_bytes: usual.flush_total_bytes.min(recent),
        flush_bytes: usual.flush_bytes.min(recent / 4),
        load_bytes: usual.load_bytes.min(recent / 4),
        ..usual
    }
}

/// Makes the store's folder its owner's alone: an operator or an installer may have made it readable for others.
fn keep_private(data: &Path) -> Result<()> {
    let permissions = fs::metadata(data)?.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(());
    }
    if fs::set_permissions(data, fs::Permissions::from_mode(permissions.mode() & 0o700)).is_err() {
        let mode = permissions.mode() & 0o777;
        tracing::warn!(
            data = %data.display(),
            "others may look into the data folder (mode {mode:o}), and it belongs to another user: chmod go-rwx it"
        );
    }
    Ok(())
}

/// Returns the folder to load from, which must be there.
fn load_folder(folder: &Path) -> Result<PathBuf> {
    match folder.canonicalize() {
        Ok(folder) if folder.is_dir() => Ok(folder),
        Ok(_) => Err(format!("--load-folder {} is no folder.", folder.display()).into()),
        Err(error) => Err(format!("Cannot read --load-folder {}: {error}.", folder.display()).into()),
    }
}

/// Lets SELECT @@name say how this server was started.
fn set_facts(engine: &Engine, arguments: &Arguments, options: &Options, address: SocketAddr) -> Result<()> {
    let switch = |on: bool| if on { "1" } else { "0" }.to_owned();
    let path = |path: &Option<PathBuf>| path.as_ref().map_or(String::new(), |path| path.display().to_string());
    // As MySQL: an empty text would mean any folder.
    let load_folder = arguments.load_folder.as_deref().map(load_folder).transpose()?;
    let secure_file_priv = if load_folder.is_some() { path(&load_folder) } else { "NULL".to_owned() };
    for (name, value) in [
        ("port", address.port().to_string()),
        ("datadir", arguments.data.display().to_string()),
        ("socket", path(&arguments.socket)),
        ("secure_file_priv", secure_file_priv),
        ("max_connections", options.max_connections.to_string()),
        ("require_secure_transport", switch(options.require_secure_transport)),
        ("local_infile", switch(options.local_infile)),
        ("have_openssl", switch(options.tls.is_some())),
        ("have_ssl", if options.tls.is_some() { "YES" } else { "DISABLED" }.to_owned()),
    ] {
        engine.set_fact(name, &value)?;
    }
    Ok(())
}

/// Returns the password that the operator chose for root, if any.
fn given_password(arguments: &Arguments) -> Result<Option<String>> {
    let given = match &arguments.root_password_file {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| format!("Cannot read {}: {error}.", path.display()))?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => std::env::var("STRANDLINE_ROOT_PASSWORD").ok(),
    };
    match given {
        Some(password) if password.is_empty() => Err("The password given for root is empty.".into()),
        given => Ok(given),
    }
}

/// Nothing that needs no login, and no password in clear, leaves this machine.
fn check_addresses(arguments: &Arguments) -> Result<()> {
    let Arguments { listen, http, no_tls, .. } = arguments;
    if !listen.ip().is_loopback() && *no_tls {
        return Err(format!("{listen} can be reached from other machines: that needs TLS. Leave out --no-tls.").into());
    }
    if let HttpAddress::At(http) = http
        && !http.ip().is_loopback()
    {
        let message = "has neither TLS nor a login and must listen on this machine only. Put a proxy in front of it.";
        return Err(format!("The HTTP endpoint {http} {message}").into());
    }
    if *no_tls && arguments.require_secure_transport && arguments.socket.is_none() {
        return Err("--no-tls with --require-secure-transport and no --socket would let nobody in.".into());
    }
    Ok(())
}

/// Nobody logs in from another machine without a password, and nobody should believe that they could.
fn check_passwords(engine: &Engine, listen: SocketAddr) -> Result<()> {
    let open = engine.users_without_password();
    if open.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = open.iter().map(|name| name.strip_prefix("sys:").unwrap_or(name)).collect();
    Err(format!(
        "{listen} can be reached from other machines, and these users have no password: {}. Start with --listen 127.0.0.1:{}, \
         then give them one (strandline user password) or lock them (ALTER USER … ACCOUNT LOCK).",
        names.join(", "),
        listen.port()
    )
    .into())
}

/// The signals by which the server is told to stop.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> Result<StopSignals> {
        Ok(StopSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn start_log(arguments: &Arguments) {
    let level = match arguments.verbose {
        // What it tries again is told when it fails.
        0 => "info,object_store=warn",
        1 => "info,strandline=debug,strandline_server=debug,strandline_sql=debug,strandline_core=debug",
        _ => "trace",
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start in one process (a test) keeps the first one's log.
    let _ = match arguments.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

fn parse_http(text: &str) -> Result<HttpAddress, String> {
    match text {
        "off" => Ok(HttpAddress::Off),
        _ => {
            text.parse().map(HttpAddress::At).map_err(|_| "expected an address such as 127.0.0.1:6002, or 'off'".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::commands::{Cli, Command};

    fn arguments(line: &str) -> Result<Arguments> {
        let words = ["strandline", "serve"].into_iter().chain(line.split_whitespace());
        let Command::Serve(arguments) = Cli::try_parse_from(words)?.command else {
            return Err("not serve".into());
        };
        check_addresses(&arguments)?;
        Ok(*arguments)
    }

    #[test]
    fn defaults_stay_on_this_machine() {
        let arguments = arguments("").expect("valid");
        assert!(arguments.listen.ip().is_loopback());
        assert_eq!(arguments.http, HttpAddress::At("127.0.0.1:6002".parse().expect("an address")));
        assert!(!arguments.local_infile && !arguments.no_tls);
    }

    #[test]
    fn nothing_in_clear_leaves_the_machine() {
        assert!(arguments("--listen 0.0.0.0:6001").is_ok());
        assert!(arguments("--listen 0.0.0.0:6001 --no-tls").is_err());
        assert!(arguments("--http 0.0.0.0:6002").is_err());
        assert!(arguments("--no-tls --require-secure-transport").is_err());
        assert!(arguments("--tls-cert a.pem").is_err(), "a certificate needs its key");
    }
}
