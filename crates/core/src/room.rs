//! Memory that whoever gives it counts.

use crate::error::Result;

/// Counts the memory that a piece of work takes until it ends.
pub trait Room: Send + Sync {
    /// Takes room for `bytes` in all, in the place of what was taken before. Where there is none, what was taken stands.
    fn resize(&mut self, bytes: usize) -> Result<()>;
}

/// The rows that a comparison has read and holds, until this is dropped.
pub struct Held {
    room: Option<Box<dyn Room>>,
    bytes: usize,
}

impl Held {
    /// Rows that nobody counts.
    pub fn uncounted() -> Held {
        Held { room: None, bytes: 0 }
    }

    /// Rows that are counted in `room`: the comparison fails with its error where there is too little.
    pub fn in_room(room: impl Room + 'static) -> Held {
        Held { room: Some(Box::new(room)), bytes: 0 }
    }

    pub(crate) fn add(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        self.room.as_mut().map_or(Ok(()), |room| room.resize(self.bytes))
    }
}
