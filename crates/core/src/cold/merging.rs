//! Which parts of a table are worth merging.
//!
//! A flush adds a part and deletion vectors. Left alone, a point read would look into ever more parts, and a scan would
//! skip ever more dead rows. So parts are merged by key: small ones, worn ones, and those that lie over one another
//! too deeply. What a merge writes does not overlap, so that no key stays under more than a few parts, and a row is written
//! again about once each time the parts over it have grown to the limit.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::Part;

/// When parts are merged, and into what. Bytes are those of files.
#[derive(Clone, Debug)]
pub struct Merging {
    /// Parts whose live rows take less than this are small.
    pub small_bytes: u64,
    /// So many small parts are merged.
    pub small_parts: usize,
    /// A flush merges no more than this on its way: whoever waits for memory waits for it.
    pub flush_bytes: u64,
    /// Where so many parts may hold one key, they are merged.
    pub depth: usize,
    /// A part is written anew when so many percent of its rows are gone, and they take at least `worn_bytes`.
    pub worn_percent: u64,
    pub worn_bytes: u64,
    /// A merge reads no more than this.
    pub merge_bytes: u64,
    /// A merge writes parts of about this length.
    pub part_bytes: u64,
}

impl Default for Merging {
    fn default() -> Merging {
        Merging {
            small_bytes: 8 << 20,
            small_parts: 8,
            flush_bytes: 32 << 20,
            depth: 8,
            worn_percent: 25,
            worn_bytes: 1 << 20,
            merge_bytes: 1 << 30,
            part_bytes: 128 << 20,
        }
    }
}

/// A part of a manifest, and how many of its rows are gone.
#[derive(Clone, Copy)]
pub struct Candidate<'p> {
    pub part: &'p Part,
    pub dead: u64,
}

impl Candidate<'_> {
    fn dead_bytes(&self) -> u64 {
        (u128::from(self.part.bytes) * u128::from(self.dead) / u128::from(self.part.rows.max(1))) as u64
    }

    fn live_bytes(&self) -> u64 {
        self.part.bytes - self.dead_bytes()
    }
}

impl Merging {
    /// Chooses what a flush merges with its rows. Parts are named by their place in `parts`.
    pub fn for_flush(&self, parts: &[Candidate<'_>]) -> BTreeSet<usize> {
        let mut chosen = Chosen { parts, places: BTreeSet::new(), room: self.flush_bytes };
        chosen.take(self.small(parts));
        chosen.places
    }

    /// Chooses what is merged for its own sake; nothing where all is well. `parts` are in the order of a manifest.
    pub fn for_compaction(&self, parts: &[Candidate<'_>]) -> BTreeSet<usize> {
        let mut chosen = Chosen { parts, places: BTreeSet::new(), room: self.merge_bytes };
        chosen.take(deepest(parts).filter(|deepest| deepest.len() >= self.depth.max(2)).unwrap_or_default());
        chosen.take(self.small(parts));
        if chosen.places.len() < 2 {
            chosen.places.clear();
        }
        // A part that is too long for a merge is written anew alone.
        let worn = |part: &Candidate<'_>| {
            part.dead_bytes() >= self.worn_bytes.max(1) && part.dead * 100 >= part.part.rows * self.worn_percent
        };
        let worn: Vec<usize> = (0..parts.len()).filter(|at| worn(&parts[*at])).collect();
        if chosen.places.is_empty() {
            chosen.places.extend(worn.first());
        }
        chosen.take(worn);
        chosen.places
    }

    fn small(&self, parts: &[Candidate<'_>]) -> Vec<usize> {
        let small: Vec<usize> = (0..parts.len()).filter(|at| parts[*at].live_bytes() < self.small_bytes).collect();
        if small.len() < self.small_parts { Vec::new() } else { small }
    }
}

struct Chosen<'c, 'p> {
    parts: &'c [Candidate<'p>],
    places: BTreeSet<usize>,
    /// Bytes that may be taken yet.
    room: u64,
}

impl Chosen<'_, '_> {
    /// Takes parts as long as there is room, the smallest first.
    fn take(&mut self, mut places: Vec<usize>) {
        places.retain(|at| !self.places.contains(at));
        places.sort_by_key(|at| self.parts[*at].live_bytes());
        for at in places {
            let bytes = self.parts[at].live_bytes();
            if bytes > self.room {
                break;
            }
            self.room -= bytes;
            self.places.insert(at);
        }
    }
}

/// Returns the most parts that may hold one and the same key. `parts` are in the order of their least keys.
fn deepest(parts: &[Candidate<'_>]) -> Option<Vec<usize>> {
    // Parts that reach beyond where the sweep is, by where they end.
    let mut open: BinaryHeap<Reverse<(&[u8], usize)>> = BinaryHeap::new();
    let mut deepest: (usize, usize) = (0, 0);
    for (at, candidate) in parts.iter().enumerate() {
        while open.peek().is_some_and(|Reverse((end, _))| *end < candidate.part.min_key.as_slice()) {
            open.pop();
        }
        open.push(Reverse((&candidate.part.max_key, at)));
        if open.len() > deepest.0 {
            deepest = (open.len(), at);
        }
    }
    let point = parts.get(deepest.1)?.part.min_key.as_slice();
    let covers = |part: &Part| part.min_key.as_slice() <= point && point <= part.max_key.as_slice();
    Some((0..parts.len()).filter(|at| covers(parts[*at].part)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::ids::Time;

    const POLICY: Merging = Merging {
        small_bytes: 10,
        small_parts: 3,
        flush_bytes: 25,
        depth: 3,
        worn_percent: 25,
        worn_bytes: 5,
        merge_bytes: 300,
        part_bytes: 100,
    };

    fn part(bytes: u64, from: u8, upto: u8) -> Part {
        Part {
            file: Env::fixed(Time(0), 1).file_id(),
            rows: 100,
            bytes,
            version: None,
            version_min: None,
            version_max: None,
            columns: Vec::new(),
            long: Default::default(),
            min_key: vec![from],
            max_key: vec![upto],
            deletions: None,
        }
    }

    fn chosen(choose: fn(&Merging, &[Candidate<'_>]) -> BTreeSet<usize>, parts: &[(Part, u64)]) -> Vec<usize> {
        let candidates: Vec<_> = parts.iter().map(|(part, dead)| Candidate { part, dead: *dead }).collect();
        choose(&POLICY, &candidates).into_iter().collect()
    }

    #[test]
    fn small_parts_are_merged_when_there_are_many() {
        let few = [(part(9, 1, 2), 0), (part(9, 3, 4), 0), (part(50, 5, 6), 0)];
        assert_eq!(chosen(Merging::for_flush, &few), [0; 0]);
        let many = [(part(9, 1, 2), 0), (part(90, 2, 3), 95), (part(9, 3, 4), 0), (part(9, 5, 6), 0)];
        assert_eq!(chosen(Merging::for_flush, &many), [0, 1, 2], "the smallest, as far as there is room");
        assert_eq!(chosen(Merging::for_compaction, &many), [0, 1, 2, 3]);
    }

    #[test]
    fn parts_over_one_key_are_merged_when_they_lie_deep() {
        let beside = [(part(100, 1, 3), 0), (part(100, 3, 5), 0), (part(100, 6, 9), 0)];
        assert_eq!(chosen(Merging::for_compaction, &beside), [0; 0]);
        let over = [(part(100, 1, 9), 0), (part(20, 2, 3), 0), (part(100, 3, 7), 0), (part(90, 8, 9), 0)];
        assert_eq!(chosen(Merging::for_compaction, &over), [0, 1, 2]);
        let long = [(part(290, 1, 9), 0), (part(20, 2, 3), 0), (part(100, 3, 7), 0), (part(100, 3, 9), 0)];
        assert_eq!(chosen(Merging::for_compaction, &long), [1, 2, 3], "the smallest, as far as there is room");
        let too_long = [(part(290, 1, 9), 0), (part(290, 2, 3), 0), (part(290, 3, 7), 0)];
        assert_eq!(chosen(Merging::for_compaction, &too_long), [0; 0], "one alone is no merge");
    }

    #[test]
    fn worn_parts_are_written_anew() {
        let parts = [(part(100, 1, 2), 24), (part(100, 3, 4), 25), (part(16, 5, 6), 25), (part(900, 7, 8), 0)];
        assert_eq!(chosen(Merging::for_compaction, &parts), [1]);
        let long = [(part(900, 7, 8), 60)];
        assert_eq!(chosen(Merging::for_compaction, &long), [0], "also one that is too long for a merge");
    }
}
