-- Files that hold a run of older entries, which are not in `log` and `touch` any more: what there is to know of each.
-- Some are being written, or go: their files are deleted when the store is opened.
CREATE TABLE segment (
    number INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
