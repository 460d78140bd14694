//! Servers in processes of their own, for tests and benches: Strandline itself, and MariaDB and PostgreSQL to compare.
//!
//! Each listens on a free port of 127.0.0.1 over a folder of its own, and ends with its handle. They never touch a
//! server that was running before.

use std::error::Error;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mysql_async::{Conn, Opts, OptsBuilder};
use rand::RngExt;

use crate::isolation::postgres::Postgres;

pub type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// The password that every server started here gives to root.
pub const PASSWORD: &str = "tide-table-17";

/// How long a server may take until it answers.
const START_SECONDS_MAX: u64 = 60;

/// How long a server that was asked to end may take.
const STOP_SECONDS_MAX: u64 = 120;

/// A running server. Dropping it kills the process.
pub struct Server {
    child: Child,
    pub port: u16,
    /// The store or data folder.
    pub data: PathBuf,
    /// `strandline`, `mariadb` or `postgres`.
    pub name: &'static str,
    /// What root logs in with.
    pub password: String,
}

impl Server {
    /// Starts Strandline over the store at `data`, which is created if it is missing, and waits until it answers.
    ///
    /// The binary is `$STRANDLINE_BIN`, else the one built beside this program.
    pub async fn strandline(data: &Path) -> Result<Server> {
        Server::strandline_with(data, &[]).await
    }

    /// Like [`Server::strandline`], with more arguments for `serve`.
    pub async fn strandline_with(data: &Path, arguments: &[&str]) -> Result<Server> {
        let mut command = Command::new(strandline_binary()?);
        command.args(["serve", "--local-infile"]).args(arguments);
        Server::serve(command, data).await
    }

    /// Like [`Server::strandline`], in a cgroup: `procs` is the file to which the process writes its number before it begins.
    pub async fn strandline_in(data: &Path, procs: &Path) -> Result<Server> {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(procs).arg(strandline_binary()?);
        command.args(["serve", "--local-infile"]);
        Server::serve(command, data).await
    }

    /// Like [`Server::strandline`], where the system allows so many open files and no more.
    pub async fn strandline_with_files(data: &Path, files: u32) -> Result<Server> {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &files.to_string()]).arg(strandline_binary()?);
        command.args(["serve", "--local-infile"]);
        Server::serve(command, data).await
    }

    async fn serve(mut command: Command, data: &Path) -> Result<Server> {
        fs::create_dir_all(data)?;
        let port = free_port()?;
        let log = log_file(data, "strandline")?;
        command
            .arg("--data")
            .arg(data)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--http", &format!("127.0.0.1:{}", free_port()?)])
            .env("STRANDLINE_ROOT_PASSWORD", PASSWORD);
        let server = Server::spawn(&mut command, log, port, data, "strandline")?;
        server.wait_until_ready().await
    }

    /// Starts Strandline as somebody does who changes nothing but the ports: the password is the one that the first start made.
    pub async fn strandline_by_default(data: &Path, arguments: &[&str]) -> Result<Server> {
        let said_before = fs::read_to_string(log_path(data, "strandline")).map_or(0, |log| log.len());
        let mut server = Server::spawn_by_default(data, arguments)?;
        let start = Instant::now();
        while !server.log()?[said_before..].contains("ready for connections") {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("strandline ended at once ({status}):\n{}", server.log()?).into());
            }
            if start.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
                return Err(format!("strandline does not get ready:\n{}", server.log()?).into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.password = fs::read_to_string(data.join("root-password"))?.trim_end().to_owned();
        Ok(server)
    }

    /// As `strandline_by_default`, where it must not start: returns what it says.
    pub fn strandline_refuses(data: &Path, arguments: &[&str]) -> Result<String> {
        let mut server = Server::spawn_by_default(data, arguments)?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(START_SECONDS_MAX) {
            match server.child.try_wait()? {
                Some(status) if status.success() => return Err("strandline ended as if all were well".into()),
                Some(_) => return server.log(),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        Err(format!("strandline started with {arguments:?}").into())
    }

    fn spawn_by_default(data: &Path, arguments: &[&str]) -> Result<Server> {
        let port = free_port()?;
        let log = log_file(data, "strandline")?;
        let mut command = Command::new(strandline_binary()?);
        command.arg("serve").arg("--data").arg(data);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", &format!("127.0.0.1:{port}")]);
        }
        if !arguments.contains(&"--http") {
            command.args(["--http", &format!("127.0.0.1:{}", free_port()?)]);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("STRANDLINE_")) {
                command.env_remove(name);
            }
        }
        let named = arguments.iter().skip_while(|argument| **argument != "--listen").nth(1);
        let port = named.and_then(|address| address.rsplit_once(':')?.1.parse().ok()).unwrap_or(port);
        Server::spawn(command.args(arguments), log, port, data, "strandline")
    }

    /// Returns what the server has written to its log.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(log_path(&self.data, self.name))?)
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Starts MariaDB over an empty folder, with durability as strict as Strandline's.
    pub async fn mariadb(data: &Path) -> Result<Server> {
        fs::create_dir_all(data)?;
        let log = log_file(data, "mariadb")?;
        let installed = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--datadir={}", data.display()))
            .args(as_root())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log.try_clone()?))
            .status()?;
        if !installed.success() {
            return Err(format!("mariadb-install-db failed; see {}", log_path(data, "mariadb").display()).into());
        }
        let init = data.join("init.sql");
        fs::write(&init, format!("ALTER USER root@localhost IDENTIFIED BY '{PASSWORD}';\n"))?;
        let port = free_port()?;
        let mut command =
            Command::new(Server::find_mariadb().ok_or("MariaDB is not installed: apt-get install mariadb-server")?);
        command
            .arg("--no-defaults")
            .args(as_root())
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", data.join("m.sock").display()))
            .arg(format!("--port={port}"))
            .arg(format!("--init-file={}", init.display()))
            .args(["--bind-address=127.0.0.1", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=1"])
            .args(["--innodb-buffer-pool-size=512M", "--local-infile=1", "--character-set-server=utf8mb4"])
            .arg("--collation-server=utf8mb4_bin");
        let server = Server::spawn(&mut command, log, port, data, "mariadb")?;
        server.wait_until_ready().await
    }

    /// Returns where MariaDB's server is, if it is installed.
    pub fn find_mariadb() -> Option<PathBuf> {
        let folders = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from).into_iter();
        let folders =
            std::env::var_os("PATH").iter().flat_map(std::env::split_paths).chain(folders).collect::<Vec<_>>();
        folders.into_iter().map(|folder| folder.join("mariadbd")).find(|path| path.is_file())
    }

    /// Returns where PostgreSQL's programs are, if they are installed: Debian has a folder for each version's.
    pub fn find_postgres() -> Option<PathBuf> {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let folders = versions.flatten().map(|version| version.path().join("bin"));
        folders.filter(|folder| folder.join("postgres").is_file()).max()
    }

    /// Starts PostgreSQL over a new folder in `folder`, with its defaults but for two things: it listens on a socket in
    /// that folder only, and looks for deadlocks sooner than after a second, before a script takes them for waiting.
    ///
    /// It refuses to run as root: then it runs as the user that Debian has made for it, who gets `folder`.
    pub async fn postgres(folder: &Path) -> Result<Server> {
        let programs = Server::find_postgres().ok_or("PostgreSQL is not installed: apt-get install postgresql")?;
        let data = folder.join("data");
        let log = log_file(&data, "postgres")?;
        let command = |program: &str| {
            if as_root().is_empty() {
                return Command::new(programs.join(program));
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(programs.join(program));
            command
        };
        if !as_root().is_empty() && !Command::new("chown").arg("postgres:postgres").arg(folder).status()?.success() {
            return Err(format!("cannot give {} to the user postgres", folder.display()).into());
        }
        let made = command("initdb")
            .args(["--username=postgres", "--auth=trust", "--pgdata"])
            .arg(&data)
            .current_dir(folder)
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log.try_clone()?))
            .status()?;
        if !made.success() {
            let text = fs::read_to_string(log_path(&data, "postgres")).unwrap_or_default();
            return Err(format!("initdb failed ({made}):\n{text}").into());
        }
        let mut serve = command("postgres");
        serve
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "port=5432", "-c", "deadlock_timeout=10ms", "-k"])
            .arg(&data);
        let mut server = Server::spawn(serve.current_dir(folder), log, 5432, &data, "postgres")?;
        let start = Instant::now();
        loop {
            let error = match Postgres::connect(&data).await {
                Ok(_) => return Ok(server),
                Err(error) => error,
            };
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("postgres ended at once ({status}):\n{}", server.log()?).into());
            }
            if start.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
                return Err(format!("postgres does not answer: {error}\n{}", server.log()?).into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn spawn(command: &mut Command, log: File, port: u16, data: &Path, name: &'static str) -> Result<Server> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
        Ok(Server { child, port, data: data.to_owned(), name, password: PASSWORD.to_owned() })
    }

    async fn wait_until_ready(mut self) -> Result<Server> {
        let start = Instant::now();
        loop {
            let error = match Conn::new(self.opts(None)).await {
                Ok(conn) => {
                    conn.disconnect().await?;
                    return Ok(self);
                }
                Err(error) => error,
            };
            let log = log_path(&self.data, self.name);
            if let Some(status) = self.child.try_wait()? {
                let text = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("{} ended at once ({status}):\n{text}", self.name).into());
            }
            if start.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
                return Err(format!("{} does not answer: {error}; its log: {}", self.name, log.display()).into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns how to connect as root. Files may be loaded with LOAD DATA LOCAL from anywhere.
    pub fn opts(&self, database: Option<&str>) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("root"))
            .pass(Some(&self.password))
            .db_name(database)
            .prefer_socket(false)
            .max_allowed_packet(Some(64 << 20))
            .wait_timeout(Some(28_800))
            .into()
    }

    /// Connects as root.
    pub async fn connect(&self, database: Option<&str>) -> Result<Conn> {
        Ok(Conn::new(self.opts(database)).await?)
    }

    /// Returns the most memory that the process ever held, in bytes.
    pub fn peak_memory_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// Ends the process as a crash would: SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends the process in order and waits for it.
    pub fn stop(mut self) -> Result<()> {
        // PostgreSQL would wait at SIGTERM until all clients are gone.
        let signal = if self.name == "postgres" { "-INT" } else { "-TERM" };
        let asked = Command::new("kill").args([signal, &self.child.id().to_string()]).status()?;
        if !asked.success() {
            return Err(format!("cannot signal {}", self.name).into());
        }
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if start.elapsed() > Duration::from_secs(STOP_SECONDS_MAX) => {
                    return Err(format!("{} did not end within {STOP_SECONDS_MAX} s of SIGTERM", self.name).into());
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if self.name == "strandline" && !status.success() {
            return Err(format!("{} ended with {status} after SIGTERM", self.name).into());
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already: then both calls fail, and that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the path of the `strandline` binary to test.
pub fn strandline_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("STRANDLINE_BIN") {
        return Ok(PathBuf::from(path));
    }
    let this = std::env::current_exe()?;
    // target/debug/deps/slt-0123 or target/debug/workbench
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join("strandline")).find(|path| path.is_file());
    beside.ok_or_else(|| "no strandline binary: run `cargo build -p strandline-server`, or set STRANDLINE_BIN".into())
}

/// Returns a port of 127.0.0.1 that nobody listens on.
pub fn free_port() -> Result<u16> {
    // None of those that the system gives to clients: one could have it before the server does. And none twice, whether
    // or not its server listens by now.
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::rng().random_range(PORTS)));
    let port = || PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u32;
    let mut tried = std::iter::repeat_with(|| port() as u16).take(1000);
    tried.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).ok_or_else(|| "there is no free port".into())
}

/// MariaDB refuses to run as root unless told.
fn as_root() -> &'static [&'static str] {
    let root = fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if root { &["--user=root"] } else { &[] }
}

/// The server's output stands beside its data, not in it.
fn log_path(data: &Path, name: &str) -> PathBuf {
    data.with_extension(format!("{name}.log"))
}

fn log_file(data: &Path, name: &str) -> Result<File> {
    Ok(fs::OpenOptions::new().create(true).append(true).open(log_path(data, name))?)
}
