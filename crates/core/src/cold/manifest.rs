//! Manifests: the parts and deletion vectors that make up one table's rows.
//!
//! A manifest is immutable and addressed by its digest, so that tables, clones and restores share it. Equal manifests
//! have equal bytes. It is JSON, for whoever must look into a store without this program.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::{ColumnId, Digest, FileId, Version};

/// The parts of a table, by their least key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    pub parts: Vec<Part>,
}

/// Values are long that take more bytes than this.
pub const LONG_BYTES: u32 = 1024;

/// A file of rows, sorted by key, and which of them are gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    pub file: FileId,
    /// Rows in the file, those that are gone included.
    pub rows: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Who wrote the rows, where the file has no `_version` column; `None` where only the content knows it
    /// (`Content::parts_version`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The least `_version`, where the file has that column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_min: Option<Version>,
    /// The greatest `_version`, where the file has that column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_max: Option<Version>,
    /// The columns that the file has, `_row_id` included.
    pub columns: Vec<ColumnId>,
    /// Of columns with long values, the bytes per row in the block where they are longest; none below [`LONG_BYTES`]. Who
    /// reads them reads fewer rows at a time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub long: BTreeMap<ColumnId, u32>,
    /// The encoded key of the first row.
    #[serde(with = "hex")]
    pub min_key: Vec<u8>,
    /// The encoded key of the last row.
    #[serde(with = "hex")]
    pub max_key: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletions: Option<Deletions>,
}

/// A deletion vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deletions {
    pub file: FileId,
    /// Rows that are gone.
    pub rows: u64,
}

impl Manifest {
    /// Returns the bytes that are stored: equal manifests have equal ones.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let stored = Stored { format: FORMAT, parts: std::borrow::Cow::Borrowed(&self.parts) };
        serde_json::to_vec(&stored).map_err(|error| Error::internal("A manifest cannot be written.").with_source(error))
    }

    /// Reads what [`Manifest::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Manifest> {
        let stored: Stored = serde_json::from_slice(bytes)?;
        if stored.format != FORMAT {
            return Err(Error::unsupported(format!(
                "A manifest is of format {}, and this build reads format {FORMAT}.",
                stored.format
            )));
        }
        let parts = stored.parts.into_owned();
        if !parts.is_sorted_by(|a, b| a.min_key <= b.min_key) {
            return Err(Error::corrupt("A manifest's parts are out of order."));
        }
        Ok(Manifest { parts })
    }

    /// Returns the digest that the stored manifest has.
    pub fn digest(&self) -> Result<Digest> {
        Ok(Digest::of(&self.encode()?))
    }

    /// Returns the rows that are not gone.
    pub fn live_rows(&self) -> u64 {
        self.parts.iter().map(Part::live_rows).sum()
    }

    /// Returns the length of all parts.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Returns every file that the manifest needs.
    pub fn files(&self) -> impl Iterator<Item = FileId> {
        self.parts.iter().flat_map(|part| [Some(part.file), part.deletions.map(|deletions| deletions.file)]).flatten()
    }

    /// Returns the parts that may hold this key.
    pub fn parts_with<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a Part> {
        let upto = self.parts.partition_point(|part| part.min_key.as_slice() <= key);
        self.parts[..upto].iter().filter(move |part| key <= part.max_key.as_slice())
    }

    /// Sorts the parts as a manifest has them.
    pub fn sort(&mut self) {
        self.parts.sort_by(|a, b| (&a.min_key, a.file).cmp(&(&b.min_key, b.file)));
    }
}

impl Part {
    /// Returns the rows that are not gone.
    pub fn live_rows(&self) -> u64 {
        self.rows - self.deletions.map_or(0, |deletions| deletions.rows)
    }

    /// Tells whether the file has a `_version` column.
    pub fn has_version_column(&self) -> bool {
        self.version_min.is_some()
    }

    /// Returns who wrote the rows, where it is the same commit for all because the file has no `_version` column.
    pub fn common_version(&self, parts_version: Version) -> Option<Version> {
        if self.has_version_column() { None } else { Some(self.version.unwrap_or(parts_version)) }
    }

    /// Returns the least and the greatest `_version` of the rows.
    pub fn version_range(&self, parts_version: Version) -> (Version, Version) {
        match (self.version_min, self.version_max) {
            (Some(min), Some(max)) => (min, max),
            _ => {
                let version = self.version.unwrap_or(parts_version);
                (version, version)
            }
        }
    }

    /// Returns the part as it stands in another content: it then knows its version itself.
    pub fn with_version(mut self, parts_version: Version) -> Part {
        self.version = self.common_version(parts_version);
        self
    }
}

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    format: u32,
    parts: std::borrow::Cow<'a, [Part]>,
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::cold::to_hex(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::cold::from_hex(&text).ok_or_else(|| D::Error::custom("not hex"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::ids::Time;

    fn part(env: &Env, min: &[u8], max: &[u8]) -> Part {
        Part {
            file: env.file_id(),
            rows: 10,
            bytes: 1000,
            version: None,
            version_min: None,
            version_max: None,
            columns: vec![ColumnId(1), ColumnId::ROW_ID],
            long: Default::default(),
            min_key: min.to_vec(),
            max_key: max.to_vec(),
            deletions: None,
        }
    }

    #[test]
    fn the_format_stands() {
        let env = Env::fixed(Time(0), 1);
        let mut first = part(&env, b"\x01", b"\xFF");
        first.deletions = Some(Deletions { file: env.file_id(), rows: 3 });
        let mut second = part(&env, b"\x02", b"\x03");
        (second.version_min, second.version_max) = (Some(Version(4)), Some(Version(9)));
        let mut manifest = Manifest { parts: vec![second, first] };
        manifest.sort();
        let bytes = manifest.encode().unwrap();
        let expected = concat!(
            r#"{"format":1,"parts":[{"file":"00000000000000000000000000000001","rows":10,"bytes":1000,"#,
            r#""columns":[1,4294967295],"min_key":"01","max_key":"ff","#,
            r#""deletions":{"file":"00000000000000000000000000000002","rows":3}},"#,
            r#"{"file":"00000000000000000000000000000003","rows":10,"bytes":1000,"version_min":4,"version_max":9,"#,
            r#""columns":[1,4294967295],"min_key":"02","max_key":"03"}]}"#
        );
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        assert_eq!(manifest.digest().unwrap(), Manifest::decode(&bytes).unwrap().digest().unwrap());
        assert_eq!((manifest.live_rows(), manifest.files().count()), (17, 3));
        assert_eq!(manifest.parts_with(b"\x02").count(), 2);
        assert_eq!(manifest.parts_with(b"\x04").count(), 1);
        assert_eq!(manifest.parts_with(b"\x00").count(), 0);
    }

    #[test]
    fn versions_of_parts() {
        let env = Env::fixed(Time(0), 1);
        let mut bulk = part(&env, b"a", b"b");
        assert_eq!(bulk.version_range(Version(7)), (Version(7), Version(7)));
        bulk = bulk.with_version(Version(7));
        assert_eq!(bulk.common_version(Version(9)), Some(Version(7)));
        let mut own = part(&env, b"a", b"b");
        (own.version_min, own.version_max) = (Some(Version(4)), Some(Version(9)));
        assert_eq!(own.clone().with_version(Version(20)), own);
        assert_eq!(own.common_version(Version(20)), None);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        assert!(Manifest::decode(b"{}").is_err());
        assert!(Manifest::decode(br#"{"format":2,"parts":[]}"#).is_err());
        let env = Env::fixed(Time(0), 1);
        let parts = vec![part(&env, b"b", b"c"), part(&env, b"a", b"b")];
        assert!(Manifest::decode(&Manifest { parts }.encode().unwrap()).is_err());
    }
}
