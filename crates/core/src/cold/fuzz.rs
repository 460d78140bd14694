//! What the files below a store may hold after damage that no checksum noticed: it is refused, and never more than that.

use arrow::array::{ArrayRef, Int64Array, StringArray};
use roaring::RoaringBitmap;
use strandline_fuzz::{outcome, run};

use super::dv;
use super::files::parse_path;
use super::key::{decode_keys, encode_keys};
use super::manifest::{Deletions, Manifest, Part};
use crate::ids::{ColumnId, FileId, Version};
use crate::schema::Type;

fn kind(error: &impl ToString) -> u64 {
    let text = error.to_string();
    outcome(text.chars().filter(|c| c.is_alphabetic() || *c == ' ').take(60).collect::<String>())
}

#[test]
fn fuzz_manifest() {
    let part = |id: u128, key: u8| Part {
        file: FileId(uuid::Uuid::from_u128(id)),
        rows: 10,
        bytes: 1000,
        version: None,
        version_min: Some(Version(3)),
        version_max: Some(Version(u64::MAX)),
        columns: vec![ColumnId(0), ColumnId(1)],
        long: Default::default(),
        min_key: vec![key],
        max_key: vec![key, 0xFF],
        deletions: Some(Deletions { file: FileId(uuid::Uuid::from_u128(id + 1)), rows: 3 }),
    };
    let manifest = Manifest { parts: vec![part(1, 1), part(3, 2)] };
    let seeds = [manifest.encode().expect("encodes"), Manifest::default().encode().expect("encodes")];
    let words: [&[u8]; 8] =
        [b"\"parts\":[", b"\"deletions\":", b"null", b"-1", b"1e999", b"18446744073709551616", b"[[[[[[[[", b"\\u0000"];
    run("manifest", &seeds, &words, |bytes| match Manifest::decode(bytes) {
        Err(error) => kind(&error),
        Ok(manifest) => {
            let found = manifest.parts_with(b"\x01").count();
            outcome((manifest.parts.len(), found, manifest.files().count()))
        }
    });
}

/// The checksum is made right again: else nothing behind it would be reached.
#[test]
fn fuzz_deletion_vector() {
    let sets: [RoaringBitmap; 4] = [
        RoaringBitmap::new(),
        [1, 5, 65536].into_iter().collect(),
        (0..9000).step_by(2).collect(),
        (0..100_000).collect(),
    ];
    let seeds: Vec<Vec<u8>> = sets.iter().map(|set| dv::encode(set)[4..].to_vec()).collect();
    run("deletion_vector", &seeds, &[], |bytes| {
        let body = &bytes[..bytes.len().saturating_sub(4)];
        let crc = crc32fast::hash(body).to_be_bytes();
        let whole = [&(body.len() as u32).to_be_bytes()[..], body, &crc].concat();
        match dv::decode(&whole) {
            Err(error) => kind(&error),
            Ok(rows) => outcome((rows.len().min(40), rows.max().is_some_and(|row| row > 70_000))),
        }
    });
}

#[test]
fn fuzz_keys() {
    let columns: [ArrayRef; 2] =
        [std::sync::Arc::new(Int64Array::from(vec![-1])), std::sync::Arc::new(StringArray::from(vec!["a\0b"]))];
    let key = encode_keys(&columns).expect("encodes").get(0).to_vec();
    let types = [Type::Int64, Type::Text];
    run("keys", &[key], &[], |bytes| {
        let all = decode_keys(&types, [bytes]).map_or_else(|error| kind(&error), |arrays| outcome(arrays.len()));
        let each = crate::schema::every_type().into_iter().map(|ty| decode_keys(&[ty], [bytes]).is_ok());
        outcome((all, each.collect::<Vec<_>>()))
    });
}

#[test]
fn fuzz_file_names() {
    let good = b"parts/00000000000000000000000100000002.parquet".to_vec();
    let words: [&[u8]; 5] = [b"../", b"manifests/", b".json", b"deletes/", b"\0"];
    run("file_names", &[good], &words, |bytes| {
        outcome(parse_path(&String::from_utf8_lossy(bytes)).map(|(kind, _)| format!("{kind:?}")))
    });
}
