//! Repeatable random bytes, and changes to bytes.

/// A small generator: the same seed gives the same bytes.
pub struct Random(u64);

/// Numbers at which lengths and counters go wrong.
const BORDERS: [u64; 14] = [
    0,
    1,
    0x7F,
    0x80,
    0xFA,
    0xFB,
    0xFFFF,
    0x1_0000,
    0xFF_FFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    i64::MAX as u64,
    u64::MAX,
];

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn draw(&mut self) -> u64 {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// Returns up to `length_max` bytes, in which borders (0, 0xFB to 0xFF) are common.
    pub fn bytes(&mut self, length_max: u64) -> Vec<u8> {
        let length = self.below(length_max + 1);
        (0..length)
            .map(|_| match self.below(4) {
                0 => [0, 1, 0x7F, 0x80, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF][self.below(9) as usize],
                _ => self.draw() as u8,
            })
            .collect()
    }

    /// Returns `bytes` with a few of them changed, cut or repeated.
    pub fn damaged(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(damaged.len() as u64 + 1) as usize;
            match self.below(3) {
                0 => damaged.truncate(at),
                1 => damaged.splice(at..at, self.bytes(4)).for_each(drop),
                _ => {
                    if let Some(byte) = damaged.get_mut(at) {
                        *byte = self.draw() as u8;
                    }
                }
            }
        }
        damaged
    }

    /// Changes `input` in a few places, with pieces of another input and words of the language.
    pub fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
        for _ in 0..=self.below(4) {
            let range = self.range(input.len());
            let at = range.start;
            match self.below(9) {
                0 => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
                1 => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte = self.draw() as u8;
                    }
                }
                2 => input.drain(range).for_each(drop),
                3 => {
                    let again = input[range.clone()].to_vec();
                    input.splice(at..at, again).for_each(drop);
                }
                4 => {
                    let piece = other[self.range(other.len())].to_vec();
                    input.splice(range, piece).for_each(drop);
                }
                5 if !words.is_empty() => {
                    let word = words[self.below(words.len() as u64) as usize];
                    let end = if self.below(2) == 0 { at } else { range.end };
                    input.splice(at..end, word.iter().copied()).for_each(drop);
                }
                6 => {
                    let number = BORDERS[self.below(BORDERS.len() as u64) as usize];
                    let width = 1 << self.below(4);
                    let number = &number.to_le_bytes()[..width];
                    let end = (at + width).min(input.len());
                    input.splice(at..end, number.iter().copied()).for_each(drop);
                }
                7 => input.truncate(at),
                _ => input.splice(at..at, self.bytes(8)).for_each(drop),
            }
        }
    }

    /// Returns a part of what is that long, mostly a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length as u64 + 1) as usize;
        let left = (length - start) as u64;
        let longest = if self.below(4) == 0 { left } else { left.min(8) };
        start..start + self.below(longest + 1) as usize
    }
}
