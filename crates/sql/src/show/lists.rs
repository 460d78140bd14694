//! Character sets and collations: the ones whose meaning is ours, and those that clients look for.

/// What SHOW ENGINES says.
pub(crate) const ENGINE_COMMENT: &str =
    "Strandline: every commit is a recovery point; answers to the name that clients expect";

/// A character set.
pub(crate) struct Charset {
    pub name: &'static str,
    pub description: &'static str,
    pub collation: &'static str,
    pub max_bytes: u64,
}

/// A collation.
pub(crate) struct Collation {
    pub name: &'static str,
    pub charset: &'static str,
    pub id: u64,
    pub default: bool,
    pub padding: &'static str,
}

/// Text is kept as UTF-8 and compares by its bytes: nothing else is listed, because nothing else is so.
pub(crate) const CHARSETS: [Charset; 2] = [
    Charset { name: "binary", description: "Binary pseudo charset", collation: "binary", max_bytes: 1 },
    Charset { name: "utf8mb4", description: "UTF-8 Unicode", collation: "utf8mb4_bin", max_bytes: 4 },
];

pub(crate) const COLLATIONS: [Collation; 2] = [
    Collation { name: "binary", charset: "binary", id: 63, default: true, padding: "NO PAD" },
    Collation { name: "utf8mb4_bin", charset: "utf8mb4", id: 46, default: true, padding: "NO PAD" },
];
