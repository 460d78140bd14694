//! Repeatable random bytes for tests of parsers.

/// A small generator: the same seed gives the same bytes.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Returns up to `length_max` bytes, in which borders (0, 0xFB to 0xFF) are common.
    pub fn bytes(&mut self, length_max: u64) -> Vec<u8> {
        let length = self.below(length_max + 1);
        (0..length)
            .map(|_| match self.below(4) {
                0 => [0, 1, 0x7F, 0x80, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF][self.below(9) as usize],
                _ => self.next() as u8,
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
                        *byte = self.next() as u8;
                    }
                }
            }
        }
        damaged
    }
}
