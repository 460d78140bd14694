//! Packets: framing, sequence numbers, the split at 16 MiB, and the buffers of a connection.
//!
//! A small command costs one read and one write. Memory grows with the bytes that came, never with the length that
//! a header claims.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::stream::Stream;

/// The payload of a frame that has another one after it.
pub const FRAME_BYTES_MAX: usize = 0xFF_FFFF;
/// What a result gathers before it is sent.
pub const FLUSH_BYTES: usize = 32 << 10;
/// What a buffer may keep between two commands.
const IDLE_BYTES_MAX: usize = 256 << 10;
/// What a client may send ahead while its statement runs, before we stop listening.
const AHEAD_BYTES_MAX: usize = 64 << 10;
/// How long a client may take no byte of its result. What it reads pins a moment, so that this must end.
const WRITE_STALL_MAX: Duration = Duration::from_secs(300);
/// How long the rest of a packet may take to come.
const READ_STALL_MAX: Duration = Duration::from_secs(60);

/// Why no packet came.
#[derive(Debug)]
pub enum ReadError {
    /// The client closed the connection between two packets.
    Closed,
    Io(io::Error),
    /// The sequence number is not the next one.
    OutOfOrder,
    TooLarge,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

/// A client's connection as packets.
pub struct Channel {
    stream: Stream,
    input: BytesMut,
    pub out: Output,
    /// Read no byte beyond the packet: what follows may belong to TLS.
    exact: bool,
    bytes_read: u64,
    bytes_written: u64,
}

/// Packets on their way to the client.
#[derive(Default)]
pub struct Output {
    buffer: Vec<u8>,
    /// How much of the buffer the client has already.
    sent: usize,
    sequence: u8,
}

impl Channel {
    /// Returns a channel that reads no byte ahead until `read_ahead` is called.
    pub fn new(stream: Stream) -> Channel {
        let out = Output::default();
        Channel { stream, input: BytesMut::new(), out, exact: true, bytes_read: 0, bytes_written: 0 }
    }

    pub fn is_secure(&self) -> bool {
        self.stream.is_secure()
    }

    /// From now on reads whatever is there: the handshake is over.
    pub fn read_ahead(&mut self) {
        self.exact = false;
    }

    /// Switches to TLS. As nothing was read ahead, no plain byte is left to be taken for an encrypted one: bytes that
    /// were sent early become part of the TLS handshake.
    pub async fn upgrade(&mut self, acceptor: &tokio_rustls::TlsAcceptor) -> io::Result<()> {
        debug_assert!(self.exact && self.input.is_empty(), "nothing is read ahead before TLS");
        self.stream.upgrade(acceptor).await
    }

    /// Reads the first packet of a command into `payload`, whatever number went before.
    pub async fn read_command(&mut self, payload: &mut Vec<u8>, bytes_max: usize) -> Result<(), ReadError> {
        self.out.sequence = 0;
        self.out.trim();
        if payload.capacity() > IDLE_BYTES_MAX {
            *payload = Vec::new();
        }
        self.read_packet(payload, bytes_max).await
    }

    /// Reads a packet, joined where it was split, into `payload`.
    pub async fn read_packet(&mut self, payload: &mut Vec<u8>, bytes_max: usize) -> Result<(), ReadError> {
        payload.clear();
        loop {
            if self.input.is_empty() && payload.is_empty() {
                // How long a client may think before it begins is for whoever waits.
                if self.fill(4).await? == 0 {
                    return Err(ReadError::Closed);
                }
            }
            while self.input.len() < 4 {
                let missing = 4 - self.input.len();
                if stalls(self.fill(missing)).await? == 0 {
                    return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            let header = self.input.get_u32_le();
            let length = (header & 0xFF_FFFF) as usize;
            if (header >> 24) as u8 != self.out.sequence {
                return Err(ReadError::OutOfOrder);
            }
            self.out.sequence = self.out.sequence.wrapping_add(1);
            if payload.len() + length > bytes_max {
                return Err(ReadError::TooLarge);
            }
            let here = length.min(self.input.len());
            payload.extend_from_slice(&self.input[..here]);
            self.input.advance(here);
            let mut missing = length - here;
            while missing > 0 {
                // Doubles with what has come.
                payload.reserve(missing.min(payload.len().max(16 << 10)));
                let mut limited = (&mut self.stream).take(missing as u64);
                let count = stalls(limited.read_buf(payload)).await?;
                if count == 0 {
                    return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()));
                }
                self.bytes_read += count as u64;
                missing -= count;
            }
            if length < FRAME_BYTES_MAX {
                return Ok(());
            }
        }
    }

    /// Sends everything that was written. Losing the wait loses nothing: the next call goes on from there.
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.out.buffer.is_empty() {
            return Ok(());
        }
        while self.out.sent < self.out.buffer.len() {
            let count = stall_write(self.stream.write(&self.out.buffer[self.out.sent..])).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.bytes_written += count as u64;
            self.out.sent += count;
        }
        if let Stream::Tls(_) = self.stream {
            stall_write(self.stream.flush()).await?;
        }
        self.out.buffer.clear();
        self.out.sent = 0;
        Ok(())
    }

    /// Waits until the client is gone, and keeps what it sends ahead. Losing the wait loses nothing.
    pub async fn gone(&mut self) {
        while self.input.len() < AHEAD_BYTES_MAX {
            self.input.reserve(4096);
            match self.stream.read_buf(&mut self.input).await {
                Ok(count) if count > 0 => self.bytes_read += count as u64,
                _ => return,
            }
        }
        std::future::pending().await
    }

    /// Says goodbye: sends what was written, then swallows at most `bytes_max` for a moment, since closing over
    /// unread bytes would reset the connection and destroy the error before the client has read it.
    pub async fn close(&mut self, bytes_max: usize) {
        let goodbye = async {
            self.flush().await?;
            self.stream.shutdown().await?;
            let mut sink = vec![0; 16 << 10];
            let mut swallowed = 0;
            while swallowed < bytes_max {
                match self.stream.read(&mut sink).await? {
                    0 => break,
                    count => swallowed += count,
                }
            }
            io::Result::Ok(())
        };
        let _ = timeout(Duration::from_secs(2), goodbye).await;
    }

    /// Returns how many bytes were read and written since the last call.
    pub fn take_traffic(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.bytes_read), std::mem::take(&mut self.bytes_written))
    }

    async fn fill(&mut self, missing: usize) -> io::Result<usize> {
        let count = if self.exact {
            self.input.reserve(missing);
            (&mut self.stream).take(missing as u64).read_buf(&mut self.input).await?
        } else {
            self.input.reserve(8 << 10);
            self.stream.read_buf(&mut self.input).await?
        };
        self.bytes_read += count as u64;
        Ok(count)
    }
}

impl Output {
    /// Adds a packet whose payload `write` appends.
    pub fn packet(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        write(&mut self.buffer);
        let length = self.buffer.len() - start - 4;
        if length < FRAME_BYTES_MAX {
            let header = (length as u32) | (u32::from(self.sequence) << 24);
            self.buffer[start..start + 4].copy_from_slice(&header.to_le_bytes());
            self.sequence = self.sequence.wrapping_add(1);
        } else {
            self.split(start);
        }
    }

    /// Returns how many bytes wait to be sent.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Takes back the packets after `mark`, a length and the number that the next packet had then.
    pub fn truncate(&mut self, mark: (usize, u8)) {
        self.buffer.truncate(mark.0);
        self.sequence = mark.1;
    }

    /// Returns a place to come back to by `truncate`, while nothing is sent in between.
    pub fn mark(&self) -> (usize, u8) {
        (self.buffer.len(), self.sequence)
    }

    /// Cuts the payload after `start` into frames. One that is full is followed by another, even if empty.
    fn split(&mut self, start: usize) {
        let payload = self.buffer.split_off(start + 4);
        self.buffer.truncate(start);
        self.buffer.reserve(payload.len() + 4 * (payload.len() / FRAME_BYTES_MAX + 1));
        let mut left = payload.as_slice();
        loop {
            let (frame, after) = left.split_at(left.len().min(FRAME_BYTES_MAX));
            let header = (frame.len() as u32) | (u32::from(self.sequence) << 24);
            self.buffer.extend_from_slice(&header.to_le_bytes());
            self.buffer.extend_from_slice(frame);
            self.sequence = self.sequence.wrapping_add(1);
            left = after;
            if frame.len() < FRAME_BYTES_MAX {
                return;
            }
        }
    }

    fn trim(&mut self) {
        if self.buffer.capacity() > IDLE_BYTES_MAX {
            self.buffer = Vec::new();
        }
    }
}

async fn stalls<T>(read: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(READ_STALL_MAX, read).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn stall_write<T>(write: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(WRITE_STALL_MAX, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    fn pair() -> (Channel, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        (Channel::new(Stream::Unix(ours)), theirs)
    }

    #[tokio::test]
    async fn packets_round_trip_at_the_frame_border() {
        for length in [0, 1, FRAME_BYTES_MAX - 1, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, 2 * FRAME_BYTES_MAX] {
            for exact in [true, false] {
                let (mut writer, theirs) = pair();
                let mut reader = Channel::new(Stream::Unix(theirs));
                reader.exact = exact;
                writer.out.packet(|out| out.resize(out.len() + length, 7));
                writer.out.packet(|out| out.push(9));
                let write = async { writer.flush().await.expect("written") };
                let read = async {
                    let mut payload = Vec::new();
                    reader.read_packet(&mut payload, usize::MAX).await.expect("a packet");
                    assert!(payload.len() == length && payload.iter().all(|byte| *byte == 7));
                    reader.read_packet(&mut payload, usize::MAX).await.expect("the next packet");
                    assert_eq!(payload, [9]);
                };
                tokio::join!(write, read);
            }
        }
    }

    #[tokio::test]
    async fn bad_frames_are_errors() {
        type IsExpected = fn(&ReadError) -> bool;
        let cases: [(&[u8], IsExpected); 5] = [
            (b"", |error| matches!(error, ReadError::Closed)),
            (b"\x01\0", |error| matches!(error, ReadError::Io(_))),
            (b"\x05\0\0\0abc", |error| matches!(error, ReadError::Io(_))),
            (b"\x01\0\0\x05a", |error| matches!(error, ReadError::OutOfOrder)),
            (b"\xFF\xFF\xFF\0a", |error| matches!(error, ReadError::TooLarge)),
        ];
        for (bytes, expected) in cases {
            let (mut channel, mut theirs) = pair();
            theirs.write_all(bytes).await.expect("sent");
            drop(theirs);
            let mut payload = Vec::new();
            let error = channel.read_packet(&mut payload, 1000).await.expect_err("no packet");
            assert!(expected(&error), "{bytes:?}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_claimed_length_allocates_nothing() {
        let (mut channel, mut theirs) = pair();
        theirs.write_all(b"\xFE\xFF\xFF\0abc").await.expect("sent");
        drop(theirs);
        let mut payload = Vec::new();
        channel.read_packet(&mut payload, usize::MAX).await.expect_err("the packet is cut");
        assert!(payload.capacity() < 64 << 10);
    }

    #[tokio::test]
    async fn the_handshake_reads_nothing_ahead() {
        let (mut channel, mut theirs) = pair();
        theirs.write_all(b"\x01\0\0\0ASECRET").await.expect("sent");
        let mut payload = Vec::new();
        channel.read_packet(&mut payload, 1000).await.expect("a packet");
        assert!(channel.input.is_empty());
    }
}
