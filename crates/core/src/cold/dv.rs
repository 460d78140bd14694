//! Deletion vectors: which rows of a part are gone, as a bitmap of row positions.
//!
//! The bytes are Iceberg v3's `deletion-vector-v1` blob, so that they can be handed to an Iceberg reader as they are:
//!
//! ```text
//! u32 BE   length of magic and vector
//! D1 D3 39 64
//! vector:  u64 LE number of 32-bit bitmaps, each: u32 LE high half of its positions, bitmap in Roaring's portable form
//! u32 BE   CRC-32 of magic and vector
//! ```
//! A part has fewer than 2^32 rows: there is at most one bitmap, with the high half 0.

use roaring::{RoaringBitmap, RoaringTreemap};

use crate::error::{Error, Result};

const MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];

/// Encodes row positions. Equal sets have equal bytes.
pub fn encode(positions: &RoaringBitmap) -> Vec<u8> {
    let mut positions = positions.clone();
    positions.optimize();
    let mut body = MAGIC.to_vec();
    let bitmaps = u64::from(!positions.is_empty());
    body.extend_from_slice(&bitmaps.to_le_bytes());
    if bitmaps > 0 {
        body.extend_from_slice(&0u32.to_le_bytes());
        positions.serialize_into(&mut body).expect("a Vec takes every write");
    }
    let length = u32::try_from(body.len()).expect("a 32-bit bitmap takes at most 512 MiB");
    [&length.to_be_bytes()[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
}

/// Decodes what [`encode`] wrote. Anything else is `Corrupt`.
pub fn decode(bytes: &[u8]) -> Result<RoaringBitmap> {
    let damaged = |what: &str| Error::corrupt(format!("A deletion vector is damaged: {what}."));
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| damaged("it is too short"))?;
    let (body, crc) = rest.split_last_chunk::<4>().ok_or_else(|| damaged("it is too short"))?;
    if u32::from_be_bytes(*length) as usize != body.len() {
        return Err(damaged("its length is wrong"));
    }
    if u32::from_be_bytes(*crc) != crc32fast::hash(body) {
        return Err(damaged("its checksum is wrong"));
    }
    let mut vector = body.strip_prefix(&MAGIC).ok_or_else(|| damaged("it is none"))?;
    let treemap = RoaringTreemap::deserialize_from(&mut vector).map_err(|_| damaged("its bitmap cannot be read"))?;
    if !vector.is_empty() {
        return Err(damaged("bytes follow its bitmap"));
    }
    let mut positions = RoaringBitmap::new();
    for (high, bitmap) in treemap.bitmaps() {
        if high != 0 {
            return Err(damaged("it names rows beyond 2^32"));
        }
        positions |= bitmap;
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Positions 1, 5 and 65536, written down by hand from the two specifications.
    #[test]
    fn bytes_are_those_of_the_specification() {
        let body: Vec<u8> = [
            &[0xD1, 0xD3, 0x39, 0x64][..],
            &[1, 0, 0, 0, 0, 0, 0, 0], // one bitmap
            &[0, 0, 0, 0],             // high half
            &[0x3A, 0x30, 0, 0],       // cookie: no run containers
            &[2, 0, 0, 0],             // two containers
            &[0, 0, 1, 0],             // key 0, cardinality − 1
            &[1, 0, 0, 0],             // key 1, cardinality − 1
            &[24, 0, 0, 0],            // offsets of the containers in the bitmap
            &[28, 0, 0, 0],
            &[1, 0, 5, 0],
            &[0, 0],
        ]
        .concat();
        let crc = crc32fast::hash(&body).to_be_bytes();
        let blob = [&(body.len() as u32).to_be_bytes()[..], &body, &crc].concat();
        let positions: RoaringBitmap = [1, 5, 65536].into_iter().collect();
        assert_eq!(encode(&positions), blob);
        assert_eq!(decode(&blob).unwrap(), positions);
    }

    #[test]
    fn a_crc_of_the_standard_polynomial() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn empty_and_full() {
        for positions in [RoaringBitmap::new(), (0..100_000).collect(), (u32::MAX - 3..=u32::MAX).collect()] {
            assert_eq!(decode(&encode(&positions)).unwrap(), positions);
        }
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let blob = encode(&(10..400).chain([70_000]).collect());
        for at in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged).is_err(), "byte {at}");
        }
        for length in 0..blob.len() {
            assert!(decode(&blob[..length]).is_err(), "cut at {length}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(positions in proptest::collection::btree_set(any::<u32>(), 0..200)) {
            let positions: RoaringBitmap = positions.into_iter().collect();
            prop_assert_eq!(decode(&encode(&positions)).unwrap(), positions);
        }
    }
}
