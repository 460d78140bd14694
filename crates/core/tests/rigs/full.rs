//! Rig 4, a disk that is really full: reads go on, what was acknowledged stays, DROP and the collector still work, and the
//! space comes back. Needs to mount a small file system in memory; says so where it may not.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use strandline_core::db::Database;
use strandline_core::error::{Error, Kind, Result};
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::log::Scope;
use strandline_core::txn::OnDuplicate;

use crate::script::{GRACE, SCRIPT, START, Store, author, block_on, present, rows, scratch, table_named};

/// A file system of its own, of a few megabytes.
struct Small<'a>(&'a Path);

impl Small<'_> {
    fn mount(folder: &Path) -> Option<Small<'_>> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Small(folder))
    }

    fn free_bytes(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.0).unwrap();
        disk.f_bavail * disk.f_frsize
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        // Nothing else can be done about it.
        let _ = Command::new("umount").args(["-l"]).arg(self.0).status();
    }
}

async fn insert(db: &Database, table: &str, from: i64, count: i64) -> Result<()> {
    let mut txn = db.begin(author());
    let table = table_named(&txn, "d", table)?;
    let many: Vec<_> =
        (from..from + count).map(|id| (id, Some(id.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64)))).collect();
    txn.insert(&table, &rows(&table, &many), OnDuplicate::Error).await?;
    txn.commit().await.map(drop)
}

/// Writes until there is no room for one byte more.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

fn is_full(error: &Error) {
    assert_eq!(error.kind(), Kind::Full, "{error:?}");
    let said = error.to_string();
    assert!(said.contains("full") || said.contains("space"), "{error:?}");
}

#[test]
fn a_full_disk_can_be_read_and_emptied() {
    let folder = scratch();
    let Some(small) = Small::mount(folder.path()) else {
        println!("a full disk: skipped, for no file system can be mounted here");
        return;
    };
    let store = Store::at(&folder.path().join("store"), START, 1);
    block_on(async {
        let db = store.open().await.unwrap();
        (SCRIPT[0].run)(&db).await.unwrap();
        insert(&db, "t", 0, 100).await.unwrap();
        // Rows in files and in the log, in smaller and smaller commits, until not even one row finds room.
        let (mut next, mut count, mut commits) = (0, 4000, 0);
        while count > 0 {
            match insert(&db, "x", next, count).await {
                Ok(()) => {
                    (next, commits) = (next + count, commits + 1);
                    assert!(commits < 5000, "the disk does not fill");
                    if commits % 8 == 0 {
                        match db.flush().await {
                            Ok(()) => db.metastore().tidy().unwrap_or_else(|error| is_full(&error)),
                            Err(error) => is_full(&error),
                        }
                    }
                }
                Err(error) => {
                    is_full(&error);
                    count /= 4;
                }
            }
        }
        let left = small.free_bytes();
        assert!(left < 4 << 20, "{left} bytes are free: it was not the disk");
        // And what the store has spared, somebody else takes.
        fill(&folder.path().join("of somebody else"));
        let full = small.free_bytes();
        assert_eq!(full, 0);
        let shown = present(&db).await.unwrap();
        assert_eq!((shown["now d.t"].len() as i64, shown["now d.x"].len() as i64), (100, next));
        let spec = SnapshotSpec::of("s", Scope::Cluster);
        is_full(&db.create_snapshot(&spec, &author()).await.unwrap_err());

        let mut txn = db.begin(author());
        txn.drop_table(&table_named(&txn, "d", "x").unwrap()).unwrap();
        txn.commit().await.expect("a table can be dropped");
        store.env.advance(30 * 3600 * 1_000_000);
        for _ in 0..2 {
            db.collect().await.expect("the collector works");
            store.env.advance(GRACE);
        }
        let free = small.free_bytes();
        assert!(free > full + (2 << 20), "{free} bytes are free after {full}");
        for number in 0..20 {
            insert(&db, "t", 1000 + number, 1).await.expect("there is room again");
        }
        assert_eq!(present(&db).await.unwrap()["now d.t"].len(), 120);
        assert_eq!(db.check(Some(&store.folder)).await.unwrap().lines(), Vec::<String>::new());
        println!("a full disk: {commits} commits of {next} rows filled it; {free} bytes came back");
        drop(db);
        let db = store.open().await.unwrap();
        let shown = present(&db).await.unwrap();
        assert_eq!(shown["now d.t"].len(), 120);
        assert!(!shown.contains_key("now d.x"));
    });
}
