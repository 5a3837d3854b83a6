//! The least that the demo's HTTP/1.1 servers and loads need: one message after the other on one connection, with
//! `content-length` and nothing else. (Weir's own codec is not used, so that the demo does not talk to itself.)

use bytes::{Buf as _, BytesMut};
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The most that a message of the demo may be.
const CAP: usize = 1 << 20;

/// One end of a connection.
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

/// A message: its first line, its fields, its body.
pub struct Message {
    /// Request line or status line.
    pub line: String,
    /// The fields, as text.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// The value of a field; empty when it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// The second word of the first line: the target, or the status.
    pub fn word(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or("")
    }
}

impl Wire {
    /// Takes over a connection.
    pub fn new(stream: TcpStream) -> Wire {
        Wire { stream, buffer: BytesMut::new() }
    }

    /// Sends a message with its length.
    pub async fn send(&mut self, line: &str, fields: &str, body: &[u8]) -> io::Result<()> {
        let mut out = format!("{line}\r\n{fields}content-length: {}\r\n\r\n", body.len()).into_bytes();
        out.extend_from_slice(body);
        self.stream.write_all(&out).await
    }

    /// The next message; `None` when the peer has closed.
    pub async fn receive(&mut self) -> io::Result<Option<Message>> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() > CAP || self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        };
        let head = self.buffer.split_to(end);
        self.buffer.advance(4);
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or("").to_owned();
        let fields: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let mut message = Message { line, fields, body: Vec::new() };
        let length = message.field("content-length").parse().unwrap_or(0usize).min(CAP);
        while self.buffer.len() < length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
        message.body = self.buffer.split_to(length).to_vec();
        Ok(Some(message))
    }
}
