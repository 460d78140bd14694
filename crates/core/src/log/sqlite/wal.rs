//! A look at the write-ahead log that a crash left behind, before SQLite recovers from it.
//!
//! SQLite takes the first frame that does not verify for the torn end of the log, and drops the rest without a word. But
//! with `synchronous = FULL` a commit is on the disk before the next one begins, so only the last can be torn: where two
//! commits stand from the bad frame on, it is damage, and acknowledged commits would be lost.
//!
//! ```text
//!   header   magic, format, page size, count, salt × 2, checksum × 2        32 bytes, big-endian
//!   frame    page, commit?, salt × 2, checksum × 2, then the page           24 bytes and a page; as often as it takes
//! ```
//! Frames of another salt are left over from before the log was last reset. Of this salt are also those that a torn commit
//! left behind where a shorter one was written over it after an earlier crash: their checksums follow from nothing that
//! stands before them, and only commits that follow one another count.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};

const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24;

/// Verifies that recovery will lose nothing but a commit that was never acknowledged. `Corrupt` otherwise.
pub(super) fn verify(path: &Path) -> Result<()> {
    let mut file = match File::open(path) {
        Ok(file) => BufReader::with_capacity(1 << 20, file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut header = [0; HEADER_BYTES];
    // A log that was created, but whose header did not reach the disk, holds nothing.
    if !read_whole(&mut file, &mut header)? || header == [0; HEADER_BYTES] {
        return Ok(());
    }
    let big_endian = match word(&header, 0) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return Err(damaged(path)),
    };
    let begin = checksum((0, 0), &header[..24], big_endian);
    if begin != (word(&header, 24), word(&header, 28)) {
        return Err(damaged(path));
    }
    let mut frame = vec![0; FRAME_BYTES + word(&header, 8) as usize];
    // The checksums of the frame before, as they stand there and as they should: either may be what is damaged.
    let (mut stands, mut should) = (begin, begin);
    let (mut broken, mut is_own) = (false, true);
    let mut commits_after = 0;
    while read_whole(&mut file, &mut frame)? {
        let sums = |from| checksum(checksum(from, &frame[..8], big_endian), &frame[FRAME_BYTES..], big_endian);
        let same_salt = frame[8..16] == header[16..24];
        let (after_stands, after_should) = (sums(stands), sums(should));
        stands = (word(&frame, 16), word(&frame, 20));
        should = after_should;
        let follows = stands == after_stands || stands == after_should;
        // The salt itself may be damaged: the checksums do not cover it.
        is_own = same_salt || (is_own && follows);
        if broken && !(is_own && follows) {
            commits_after = 0;
        }
        broken |= !same_salt || stands != should;
        if broken && is_own && word(&frame, 4) != 0 {
            commits_after += 1;
        }
        if commits_after > 1 {
            return Err(damaged(path));
        }
    }
    Ok(())
}

fn damaged(path: &Path) -> Error {
    Error::corrupt(format!("The write-ahead log {} is damaged: commits in it cannot be read.", path.display()))
        .with_hint("Copy the store's directory away first, then restore from a backup.")
}

/// Fills `bytes`, or tells that the file ends before.
fn read_whole(file: &mut impl Read, bytes: &mut [u8]) -> Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word))
}

/// Continues SQLite's running checksum over whole pairs of words.
fn checksum((mut s0, mut s1): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let decode = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    let (words, _) = bytes.as_chunks::<4>();
    for [first, second] in words.as_chunks::<2>().0 {
        s0 = s0.wrapping_add(decode(*first)).wrapping_add(s1);
        s1 = s1.wrapping_add(decode(*second)).wrapping_add(s0);
    }
    (s0, s1)
}
