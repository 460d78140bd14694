//! The binary as people and scripts use it: a server in a process of its own, and verbs against it.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_strandline");

struct Server {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let process = command(folder.path())
            .args(["serve", "--http", "off", "--listen", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let server = Server { folder, port, process };
        let start = Instant::now();
        while !server.sql(&["-e", "SELECT 1"]).status.success() {
            assert!(start.elapsed() < Duration::from_secs(30), "the server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Returns `strandline VERB` for this server.
    fn verb(&self, verb: &str) -> Command {
        let mut command = command(self.folder.path());
        command.args([verb, "--port", &self.port.to_string()]);
        command
    }

    fn sql(&self, arguments: &[&str]) -> Output {
        self.verb("sql").args(arguments).stdin(Stdio::null()).output().expect("run")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the binary in this folder, where its data are too, untouched by the settings of whoever runs the test.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STRANDLINE_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("STRANDLINE_DATA", folder.join("data"));
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_binary_as_people_use_it() {
    let server = Server::start();

    // As root of this machine with the store's own password.
    let output = server.sql(&["-e", "SELECT 1"]);
    assert!(stdout(&output).contains("1 row in set"), "{}", stdout(&output));
    let output = server.sql(&["--json", "-e", "SELECT 1"]);
    assert_eq!(stdout(&output), "[{\"1\":1}]\n");

    // Statements before the error have run; those after it have not.
    let output = server.sql(&["--json", "-e", "SELECT 1; SELEKT 1; SELECT 1"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "[{\"1\":1}]\n");
    assert!(stderr(&output).starts_with("ERROR 1064 (42000): "), "{}", stderr(&output));

    // From stdin and from a file.
    let mut child =
        server.verb("sql").arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    child.stdin.take().expect("piped").write_all(b"SELECT 1;\nSELECT 1").expect("written");
    assert_eq!(stdout(&child.wait_with_output().expect("ended")), "[{\"1\":1}]\n[{\"1\":1}]\n");
    std::fs::write(server.folder.path().join("a.sql"), "SELECT 1; -- nothing more\n").expect("written");
    assert_eq!(stdout(&server.sql(&["--json", "-f", "a.sql"])), "[{\"1\":1}]\n");

    // A wrong password, no password, and nobody there.
    std::fs::write(server.folder.path().join("wrong"), "wrong\n").expect("written");
    let output = server.sql(&["--password-file", "wrong", "-e", "SELECT 1"]);
    assert!(stderr(&output).starts_with("ERROR 1045 (28000): "), "{}", stderr(&output));
    let output = server.sql(&["--data", "elsewhere", "-e", "SELECT 1"]);
    assert!(stderr(&output).contains("elsewhere/root-password is not there"), "{}", stderr(&output));
    let nobody = command(server.folder.path()).args(["sql", "--port", "1", "-e", "SELECT 1"]).output();
    let output = nobody.expect("run");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("Is the server running?"), "{}", stderr(&output));
}

#[test]
fn encryption_is_verified_with_the_servers_own_certificate() {
    let server = Server::start();
    let folder = server.folder.path().join("data/tls");
    let certificate = std::fs::read_dir(folder)
        .expect("the server made a certificate")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("BEGIN CERTIFICATE")))
        .expect("a certificate");
    let certificate = certificate.display().to_string();

    assert!(server.sql(&["--tls", "on", "-e", "SELECT 1"]).status.success());
    let output = server.sql(&["--host", "localhost", "--tls-ca", &certificate, "-e", "SELECT 1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = server.sql(&["--host", "localhost", "--tls", "verify", "-e", "SELECT 1"]);
    assert!(stderr(&output).contains("certificate"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(1));
    let output = server.sql(&["--tls-ca", "nowhere.pem", "-e", "SELECT 1"]);
    assert!(stderr(&output).contains("Cannot read the certificates"), "{}", stderr(&output));
}

#[test]
fn a_store_is_checked_while_nobody_holds_it() {
    let mut server = Server::start();
    let made =
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1); OPTIMIZE TABLE d.t";
    assert!(server.sql(&["-e", made]).status.success());
    let check = |server: &Server, arguments: &[&str]| {
        let mut check = command(server.folder.path());
        check.arg("check").args(arguments).stdin(Stdio::null()).output().expect("run")
    };
    let refused = check(&server, &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("in use by process") && said.contains("CHECK TABLE t EXTENDED"), "{said}");
    server.process.kill().expect("killed");
    server.process.wait().expect("ended");
    for arguments in [&[][..], &["--deep"], &["--deep", "--json"]] {
        let whole = check(&server, arguments);
        assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    }
    let data = server.folder.path().join("data");
    let part = std::fs::read_dir(data.join("parts")).expect("a folder").next().expect("a part").expect("listed").path();
    let mut bytes = std::fs::read(&part).expect("read");
    bytes[8] ^= 1;
    std::fs::write(&part, bytes).expect("written");
    assert_eq!(check(&server, &[]).status.code(), Some(0), "its length is right");
    let damaged = check(&server, &["--deep"]);
    let said = String::from_utf8_lossy(&damaged.stdout).into_owned();
    assert_eq!(damaged.status.code(), Some(1), "{said}");
    let name = part.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(said.contains(&name) && said.contains("It holds rows of d.t."), "{said}");
    assert_eq!(check(&server, &["--store", "nowhere"]).status.code(), Some(2), "there is no store");
}

#[test]
fn who_is_told_twice_to_stop_does_not_wait() {
    let mut server = Server::start();
    let mut client = server.verb("sql");
    let mut client =
        client.args(["-e", "SELECT SLEEP(1000)"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run");
    let start = Instant::now();
    while !stdout(&server.sql(&["-e", "SHOW PROCESSLIST"])).contains("SLEEP(1000)") {
        assert!(start.elapsed() < Duration::from_secs(30), "the statement does not run");
    }
    let id = server.process.id().to_string();
    let tell = || assert!(Command::new("kill").arg(&id).status().expect("run").success());
    tell();
    // The first is heard: nobody is let in any more.
    let start = Instant::now();
    while server.sql(&["-e", "SELECT 1"]).status.success() {
        assert!(start.elapsed() < Duration::from_secs(30), "it is not stopping");
    }
    let start = Instant::now();
    tell();
    let status = server.process.wait().expect("ended");
    // A statement may go on for ten seconds after the first.
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert_eq!(status.code(), Some(1));
    client.wait().expect("ended");
}
