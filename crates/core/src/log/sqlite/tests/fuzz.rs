//! What a segment and its record may hold after damage that no checksum noticed: it is refused, and never more than that.

use strandline_fuzz::{outcome, run};

use super::block::{Contents, Index, Items, Packer, decode_runs, encode_runs};
use super::rows::{LogRow, Place};
use super::segments::Segment;
use super::*;

fn of<T>(result: Result<T>, value: impl Fn(T) -> u64) -> u64 {
    result.map_or_else(|error| outcome(error.message().to_owned()), value)
}

#[test]
fn fuzz_segments() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    let count = 20;
    let entries = (1..=count).map(|version| Entry { deltas: vec![delta(version % 3, b"rows")], ..entry(version) });
    store.append(&entries.collect::<Vec<_>>()).unwrap();
    let row = store.read_log(|rows| rows.row(Version(7))).unwrap();
    let mut packer = Packer::new();
    packer.add(&row, None).unwrap();
    let (segment, file) = packer.finish().unwrap().unwrap();
    let (_, end) = file.split_at(file.len() - 24);
    let length = usize::try_from(Index::decode_end(end).unwrap().0).unwrap();
    let index = file[file.len() - 24 - length..file.len() - 24].to_vec();
    let runs = encode_runs([1, 2, 3, 7, 8, 200, 70_000].into_iter().map(Version));
    let mut block = 7_u64.to_le_bytes().to_vec();
    block.extend((runs.len() as u64).to_le_bytes());
    block.extend(&runs);
    let seeds = [segment.encode(), row.encode(), index, end.to_vec(), block, runs, Vec::new()];
    run("segments", &seeds, &[], |bytes| {
        let record =
            of(Segment::decode(bytes), |segment| outcome((segment.state as u8, segment.forgotten.len().min(9))));
        let entry = of(LogRow::decode(bytes, Place::Here), |row| row.touches.len() as u64);
        let lines = Index::decode(bytes, u64::from(crc32fast::hash(bytes)));
        let lines = lines.map_or_else(outcome, |index| index.weight());
        let end = outcome(Index::decode_end(bytes).is_some());
        let blocks = [Items::Entries, Items::Deltas, Items::Touches].map(|items| {
            of(Contents::of(items, Bytes::copy_from_slice(bytes)), |contents| contents.items().count() as u64)
        });
        let runs = of(decode_runs(bytes), |runs| {
            let versions = runs.iter().flat_map(|(first, last)| [*first, *last]);
            assert!(versions.clone().is_sorted(), "runs are in order");
            runs.len().min(20) as u64
        });
        outcome((record, entry, lines, end, blocks, runs))
    });
}

#[test]
fn runs_come_back_as_they_went() {
    let sets: [&[u64]; 6] = [&[], &[1], &[5, 6, 7], &[1, 3, 5], &[9, 10, 200, 201, 40_000], &[u64::MAX - 1, u64::MAX]];
    for set in sets {
        let runs = decode_runs(&encode_runs(set.iter().copied().map(Version))).unwrap();
        let back: Vec<u64> = runs.iter().flat_map(|(first, last)| first.0..=last.0).collect();
        assert_eq!(back, set);
        assert!(runs.windows(2).all(|two| two[0].1.0 + 1 < two[1].0.0), "{runs:?}");
    }
    // No run, one behind the other, and one that goes too far.
    for odd in [&[0, 0][..], &[1, 0, 0, 0], &[1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2, 0], &[1], &[128]] {
        assert_eq!(decode_runs(odd).unwrap_err().kind(), Kind::Corrupt, "{odd:?}");
    }
}
