//! The script over storage that speaks S3: a server of `moto`'s, from the tests' Python environment. Says so where there is
//! none.
//!
//! Keys and endpoint come from the environment alone, so that the store runs in a process of its own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use strandline_core::db::{Database, Options};
use strandline_core::error::{Kind, Result};
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::log::Scope;

use crate::script::{GRACE, SCRIPT, START, Store, author, block_on, present, record, scratch, without_versions};

const SECRET: &str = "canary-of-the-secret-key";
const URL: &str = "s3://strandline-test/one/store";

/// The server, which ends with the test.
struct Moto {
    process: Child,
    address: String,
}

impl Moto {
    fn start() -> Option<Moto> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/moto_server");
        let program = std::env::var_os("STRANDLINE_MOTO").map_or(beside, PathBuf::from);
        if !program.is_file() {
            return None;
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Moto { process, address: address.to_string() };
        let begun = Instant::now();
        while TcpStream::connect(&moto.address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(120), "moto does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }

    fn make_bucket(&self, name: &str) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "PUT /{name} HTTP/1.1\r\nHost: {}\r\nAuthorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/\
             aws4_request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Runs a test of this binary in a process with keys.
    fn run(&self, test: &str, endpoint: &str) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).join("");
        assert!(output.status.success(), "{said}");
        assert!(said.contains("1 passed") && !said.contains(SECRET), "{said}");
        said.lines().filter(|line| line.starts_with("S3: ")).for_each(|line| println!("{line}"));
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_script_runs_over_s3() {
    let Some(moto) = Moto::start() else {
        // Past the test's capture: nobody shall take it for tested.
        let said = "S3: SKIPPED, for there is no moto_server in target/venv: `cargo xtask test` makes it.\n";
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    };
    moto.make_bucket("strandline-test");
    moto.run("s3::over_moto", &format!("http://{}", moto.address));
    moto.run("s3::over_nothing", "http://127.0.0.1:9");
}

async fn open(store: &Store, objects: Option<&str>) -> Result<Database> {
    let options = Options { objects: objects.map(str::to_owned), ..store.options() };
    Database::open(&store.folder, options).await
}

async fn refused(store: &Store, objects: Option<&str>, kind: Kind, says: &str) {
    let error = open(store, objects).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    let said = format!("{error:?}");
    assert!(said.contains(says) && !said.contains(SECRET), "{said}");
}

async fn names(db: &Database) -> BTreeSet<String> {
    db.cold().files().names().await.unwrap().into_iter().collect()
}

#[test]
#[ignore = "the test above runs it in a process with keys"]
fn over_moto() {
    let recorded = record();
    let folder = scratch();
    let store = Store::at(&folder.path().join("store"), START, 1);
    block_on(async {
        refused(&store, Some("s3://no-such-bucket/x"), Kind::Unavailable, "There is no bucket 'no-such-bucket'").await;
        refused(&store, Some("s3://no_bucket/x"), Kind::Invalid, "s3://bucket/prefix").await;
        assert!(!store.folder.exists(), "nothing is made where files cannot be kept");

        let begun = Instant::now();
        let db = open(&store, Some(URL)).await.unwrap();
        for (step, state) in SCRIPT.iter().zip(&recorded.states[1..]) {
            store.env.advance(step.after);
            (step.run)(&db).await.unwrap_or_else(|error| panic!("{}: {error:?}", step.name));
            let (shown, expected) = (present(&db).await.unwrap(), &state.picture);
            assert_eq!(without_versions(&shown), without_versions(expected), "after {}", step.name);
        }
        let checked = db.check(Some(&store.folder)).await.unwrap();
        assert!(checked.damages.is_empty() && checked.files > 0, "{checked:?}");
        assert!(!store.folder.join("parts").exists(), "no file lies in the folder");

        // What costs no file here costs no request there.
        let before = names(&db).await;
        db.create_snapshot(&SnapshotSpec::of("free", Scope::Cluster), &author()).await.unwrap();
        let moment = db.now();
        let mut txn = db.begin(author());
        txn.clone_database(&moment, "d", author().account, author().account, "f").await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!(names(&db).await, before);
        let shown = present(&db).await.unwrap();
        drop((db, moment));

        let other = "s3://strandline-test/two";
        refused(&store, Some(other), Kind::Invalid, URL).await;
        let second = Store::at(&folder.path().join("second"), START, 2);
        refused(&second, Some(URL), Kind::Invalid, "is not empty").await;
        let local = Store::at(&folder.path().join("local"), START, 3);
        drop(local.open().await.unwrap());
        refused(&local, Some(other), Kind::Invalid, "in its own folder").await;

        let db = open(&store, None).await.unwrap();
        assert_eq!(present(&db).await.unwrap(), shown, "it remembers where its files are");
        drop(db);
        let db = open(&store, Some(&format!("{URL}/"))).await.unwrap();
        for pin in db.snapshots(author().account).unwrap() {
            db.drop_snapshot(&pin.name, true, &author()).unwrap();
        }
        for _ in 0..3 {
            store.env.advance(GRACE);
            db.collect().await.unwrap();
        }
        let known = db.metastore().files().unwrap().iter().map(|file| file.kind.path(file.id)).collect();
        assert_eq!(names(&db).await, known, "what is there and what is known");
        db.close().await.unwrap();
        drop(db);
        for entry in std::fs::read_dir(&store.folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            assert!(!bytes.windows(SECRET.len()).any(|found| found == SECRET.as_bytes()), "{}", path.display());
        }
        println!("S3: {} steps, {} objects, {:.1} s", SCRIPT.len(), before.len(), begun.elapsed().as_secs_f32());
    });
}

#[test]
#[ignore = "the test above runs it in a process with keys"]
fn over_nothing() {
    let folder = scratch();
    let store = Store::at(&folder.path().join("store"), START, 1);
    block_on(async {
        refused(&store, Some(URL), Kind::Unavailable, "cannot be reached").await;
        assert!(!store.folder.exists(), "nothing is made where files cannot be kept");
    });
}
