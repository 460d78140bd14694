//! As much of PostgreSQL's protocol as the scripts need: a socket in the data folder, statements as text, two numbers a
//! row. It knows neither passwords nor TLS.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::connection::Rows;
use crate::process::Result;

/// Version 3.0.
const PROTOCOL: i32 = 3 << 16;

/// The name of the socket in its folder: PostgreSQL's own port stands in it.
pub const SOCKET: &str = ".s.PGSQL.5432";

/// An error of the server: SQLSTATE, and its words.
#[derive(Debug)]
pub struct Error {
    pub state: String,
    pub text: String,
}

pub struct Postgres {
    stream: BufReader<UnixStream>,
    id: u32,
}

impl Postgres {
    /// Connects to the server over `data` as its first user.
    pub async fn connect(data: &Path) -> Result<Postgres> {
        let stream = BufReader::new(UnixStream::connect(data.join(SOCKET)).await?);
        let mut conn = Postgres { stream, id: 0 };
        let mut hello = PROTOCOL.to_be_bytes().to_vec();
        hello.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
        conn.send(None, &hello).await?;
        loop {
            match conn.message().await? {
                (b'R', body) if body == 0_i32.to_be_bytes() => {}
                (b'R', _) => return Err("PostgreSQL wants a password: its folder must say 'trust'".into()),
                (b'K', body) => conn.id = u32::from_be_bytes(body[..4].try_into()?),
                (b'E', body) => return Err(error(&body).text.into()),
                (b'Z', _) => return Ok(conn),
                _ => {}
            }
        }
    }

    /// Returns the number of the process that serves the connection.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Runs a statement. The outer error is of the connection.
    pub async fn query(&mut self, sql: &str) -> Result<Result<Rows, Error>> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body).await?;
        let mut answer = Ok(Rows::new());
        loop {
            match self.message().await? {
                (b'D', body) => {
                    if let Ok(rows) = &mut answer {
                        rows.push(row(&body)?);
                    }
                }
                (b'E', body) => answer = Err(error(&body)),
                (b'Z', _) => return Ok(answer),
                _ => {}
            }
        }
    }

    async fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<()> {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&i32::try_from(body.len() + 4)?.to_be_bytes());
        message.extend_from_slice(body);
        Ok(self.stream.get_mut().write_all(&message).await?)
    }

    async fn message(&mut self) -> Result<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await?;
        let length = usize::try_from(self.stream.read_i32().await?)?;
        let mut body = vec![0; length.checked_sub(4).ok_or("a message is shorter than its length")?];
        self.stream.read_exact(&mut body).await?;
        Ok((kind, body))
    }
}

/// Reads a row of two numbers: a count of columns, then for each its length and its text.
fn row(body: &[u8]) -> Result<(i64, i64)> {
    let mut numbers = Vec::new();
    let mut rest = body.get(2..).ok_or("a row without columns")?;
    while let Some((length, more)) = rest.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length))?;
        let (text, more) = more.split_at_checked(length).ok_or("a row that breaks off")?;
        numbers.push(std::str::from_utf8(text)?.parse()?);
        rest = more;
    }
    match numbers.as_slice() {
        [id, v] => Ok((*id, *v)),
        other => Err(format!("{other:?} is not a row of two numbers").into()),
    }
}

/// Reads an error: fields, each a letter and a text that a zero ends.
fn error(body: &[u8]) -> Error {
    let field = |letter: u8| {
        let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&letter));
        field.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
    };
    Error { state: field(b'C'), text: format!("{}: {}", field(b'C'), field(b'M')) }
}
