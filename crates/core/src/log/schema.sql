-- The metastore in SQLite. Each table has one writer, log/sqlite/write.rs; log/sqlite/read.rs tells how rows are verified.
-- Numbers are 64-bit; a version that has not come is 9223372036854775807.

-- One row: the newest version, and a tally of every set below, so that a row that a broken page hides is missed.
CREATE TABLE head (
    id INTEGER PRIMARY KEY,
    serial INTEGER NOT NULL,
    body BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- One row per commit, without gaps from 1 on, but for those that a segment holds. `touches` lists the tables with the length and
-- digest of their deltas, which stand one after the other in `body`; `trimmed` stands there when they are gone. Empty text is an
-- empty list.
CREATE TABLE log (
    version INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    account INTEGER NOT NULL,
    author TEXT NOT NULL,
    what TEXT NOT NULL,
    upkeep INTEGER NOT NULL,
    touches BLOB NOT NULL,
    changes TEXT NOT NULL,
    pins TEXT NOT NULL,
    files BLOB NOT NULL,
    catalog_version INTEGER NOT NULL,
    catalog_digest BLOB,
    hash BLOB NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Which commits touched a table, of those in `log`.
CREATE TABLE touch (
    table_id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (table_id, version)
) STRICT, WITHOUT ROWID;

-- The catalog: an object stood from `begins` until before `ends`. `previous` is where its row before this one begins, or 0.
CREATE TABLE object (
    kind TEXT NOT NULL,
    id INTEGER NOT NULL,
    begins INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    name TEXT NOT NULL,
    crc INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, id, begins)
) STRICT, WITHOUT ROWID;

-- Immutable files that a commit made reachable. `gone`: deleted since; only the line remains.
CREATE TABLE file (
    id BLOB NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    length INTEGER NOT NULL,
    digest BLOB NOT NULL,
    version INTEGER NOT NULL,
    gone INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    block_crcs BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX file_digest ON file (digest);

-- Files that are being written, or that are withdrawn and not yet deleted.
CREATE TABLE intent (
    id BLOB NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Snapshots and holds.
CREATE TABLE pin (
    id INTEGER PRIMARY KEY,
    body TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- The store's own settings. `format` is read before anything else, and stays as it is in every format.
CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
