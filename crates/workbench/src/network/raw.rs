//! A client that can do wrong: MySQL's packets by hand.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::Result;

/// The flags that our hand-made logins send: protocol 4.1, secure connection, plugins, several statements.
pub const CAPABILITIES: u32 = 0x0000_0200 | 0x0000_8000 | 0x0008_0000 | 0x0001_0000 | 0x0002_0000;
/// The flag that asks for TLS.
pub const SSL: u32 = 0x0000_0800;

/// A connection, packet by packet.
pub struct Raw {
    pub stream: TcpStream,
    pub sequence: u8,
}

/// What a server says first.
pub struct Greeting {
    pub salt: Vec<u8>,
    pub capabilities: u32,
    pub plugin: String,
}

impl Raw {
    pub async fn connect(port: u16) -> Result<Raw> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = timeout(Duration::from_secs(10), TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Raw { stream, sequence: 0 })
    }

    /// Reads a packet; `None` where the server has closed.
    pub async fn read(&mut self) -> Result<Option<Vec<u8>>> {
        timeout(Duration::from_secs(30), async {
            let mut header = [0; 4];
            if self.stream.read_exact(&mut header).await.is_err() {
                return Ok(None);
            }
            self.sequence = header[3].wrapping_add(1);
            let mut payload = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
            Ok(self.stream.read_exact(&mut payload).await.is_ok().then_some(payload))
        })
        .await
        .map_err(|_| "the server neither answers nor closes")?
    }

    /// Writes a packet. That the server has closed is seen by who reads.
    pub async fn write(&mut self, payload: &[u8]) {
        let framed = frame(self.sequence, payload);
        self.sequence = self.sequence.wrapping_add(1);
        let _ = self.stream.write_all(&framed).await;
    }

    pub async fn greeting(&mut self) -> Result<Greeting> {
        let greeting = self.read().await?.ok_or("no greeting")?;
        if let Some(code) = error_code(&greeting) {
            return Err(format!("error {code} for a greeting").into());
        }
        let version_end = 1 + greeting[1..].iter().position(|byte| *byte == 0).ok_or("no version")?;
        let at = version_end + 1 + 4;
        let low = u16::from_le_bytes([greeting[at + 9], greeting[at + 10]]);
        let high = u16::from_le_bytes([greeting[at + 14], greeting[at + 15]]);
        let rest = at + 9 + 2 + 1 + 2 + 2 + 1 + 10;
        Ok(Greeting {
            salt: [&greeting[at..at + 8], &greeting[rest..rest + 12]].concat(),
            capabilities: u32::from(low) | (u32::from(high) << 16),
            plugin: String::from_utf8_lossy(&greeting[rest + 13..]).trim_end_matches('\0').to_owned(),
        })
    }
}

/// Returns the error code of a packet, if it is an error.
pub fn error_code(packet: &[u8]) -> Option<u16> {
    match packet {
        [0xFF, low, high, ..] => Some(u16::from_le_bytes([*low, *high])),
        _ => None,
    }
}

/// Returns the answer to a greeting: who logs in, and what proves the password.
pub fn answer(user: &str, plugin: &str, response: &[u8]) -> Vec<u8> {
    let mut out = CAPABILITIES.to_le_bytes().to_vec();
    out.extend_from_slice(&(64_u32 << 20).to_le_bytes());
    out.push(45);
    out.extend_from_slice(&[0; 23]);
    out.extend_from_slice(user.as_bytes());
    out.push(0);
    out.push(response.len() as u8);
    out.extend_from_slice(response);
    out.extend_from_slice(plugin.as_bytes());
    out.push(0);
    out
}

pub fn frame(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let header = (payload.len() as u32) | (u32::from(sequence) << 24);
    [&header.to_le_bytes(), payload].concat()
}
