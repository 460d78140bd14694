//! The cold tier: rows in immutable Parquet files.
//!
//! ```text
//!   reader · secondary     find, take, scan, point reads · look-ups by other columns than the key
//!   footer · cache         what is known of an open part · what is kept in memory
//!   writer                 sorted rows to one part, in bounded memory
//!   manifest · dv          which parts make up a table · which of their rows are gone
//!   merging                which parts are worth merging
//!   files · verified       minted names, written once, read with verification · the same for DataFusion
//!   drafts                 files that no commit has yet
//!   durable · patient      a directory that survives power loss · a store over a network that is read again
//!   bucket                 which place in S3 is the store's
//!   key                    keys as bytes
//! ```
//! It knows nothing of commits, deltas or visibility: whoever calls says which manifest and which deletion vectors.

mod bucket;
mod cache;
mod drafts;
mod durable;
mod dv;
mod files;
mod footer;
#[cfg(test)]
mod fuzz;
mod key;
mod manifest;
mod merging;
mod patient;
mod reader;
mod rows;
mod secondary;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verified;
mod writer;

pub use bucket::{Bucket, open_objects, open_remote, remembered, require};
pub use drafts::Drafts;
pub use durable::DurableLocal;
pub(crate) use files::blocking;
pub use files::{FileWriter, Files, ReadThrough, cause, is_staged, parse_path};
pub use key::{Keys, NullableKeys, decode_keys, encode_keys, encode_nullable_keys, split_key};
pub use manifest::{Deletions, LONG_BYTES, Manifest, Part};
pub use merging::{Candidate, Merging};
pub use patient::Patient;
pub use reader::{BatchStream, Cold, Row};
pub use writer::{PartVersions, PartWriter, write_archive, write_part, write_parts};

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
