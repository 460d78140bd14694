//! Reading and writing the protocol's primitive values.
//!
//! `Input` reads bytes that a stranger sent: every method checks its bounds and none panics or allocates more than
//! what is there.

use std::fmt;

/// The bytes do not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Malformed communication packet")
    }
}

/// What is left to read of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, left) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = left;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, left) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = left;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads an integer in the length-encoded form. The NULL marker 0xFB is malformed here.
    pub fn lenenc_int(&mut self) -> Result<u64, Malformed> {
        match self.u8()? {
            small @ 0..=0xFA => Ok(u64::from(small)),
            0xFC => Ok(u64::from(self.u16()?)),
            0xFD => {
                let [a, b, c] = self.array()?;
                Ok(u64::from(u32::from_le_bytes([a, b, c, 0])))
            }
            0xFE => self.u64(),
            0xFB | 0xFF => Err(Malformed),
        }
    }

    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.lenenc_int()?;
        self.bytes(usize::try_from(length).map_err(|_| Malformed)?)
    }

    /// Reads up to a NUL byte, which is consumed; without one, all that is left.
    pub fn until_nul(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        let text = &self.0[..end.unwrap_or(self.0.len())];
        self.0 = end.map_or(&[], |end| &self.0[end + 1..]);
        text
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

pub fn put_lenenc_int(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0xFA => out.push(value as u8),
        0xFB..=0xFFFF => {
            out.push(0xFC);
            out.extend_from_slice(&(value as u16).to_le_bytes());
        }
        0x1_0000..=0xFF_FFFF => {
            out.push(0xFD);
            out.extend_from_slice(&(value as u32).to_le_bytes()[..3]);
        }
        _ => {
            out.push(0xFE);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

pub fn put_lenenc_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_lenenc_int(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenenc_round_trips_at_every_border() {
        for value in [0, 0xFA, 0xFB, 0xFF, 0xFFFF, 0x1_0000, 0xFF_FFFF, 0x100_0000, u64::MAX] {
            let mut out = Vec::new();
            put_lenenc_int(&mut out, value);
            let mut input = Input(&out);
            assert_eq!(input.lenenc_int(), Ok(value));
            assert!(input.is_empty());
            for cut in 0..out.len() {
                assert_eq!(Input(&out[..cut]).lenenc_int(), Err(Malformed), "{value} cut at {cut}");
            }
        }
    }

    #[test]
    fn lengths_beyond_the_packet_are_malformed() {
        assert_eq!(Input(b"\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFabc").lenenc_bytes(), Err(Malformed));
        assert_eq!(Input(b"\x04abc").lenenc_bytes(), Err(Malformed));
        assert_eq!(Input(b"\xFB").lenenc_int(), Err(Malformed));
    }

    #[test]
    fn text_ends_at_nul_or_at_the_end() {
        let mut input = Input(b"ab\0cd");
        assert_eq!(input.until_nul(), b"ab");
        assert_eq!(input.until_nul(), b"cd");
        assert_eq!(input.until_nul(), b"");
    }
}
