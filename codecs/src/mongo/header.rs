//! The 16-byte message header, the opcodes, and what else a stranger's first bytes might have been.

use std::fmt;

/// Bytes in a message header.
pub const HEADER_LENGTH: usize = 16;

/// The largest message that MongoDB accepts, header included (`maxMessageSizeBytes`).
pub const MAX_MESSAGE_LENGTH: u32 = 48_000_000;

/// The operation code of a message: what its body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpCode(pub i32);

impl OpCode {
    /// `OP_REPLY`: the answer to `OP_QUERY` and `OP_GET_MORE`.
    pub const REPLY: OpCode = OpCode(1);
    /// `OP_UPDATE`, before MongoDB 3.6.
    pub const UPDATE: OpCode = OpCode(2001);
    /// `OP_INSERT`, before MongoDB 3.6.
    pub const INSERT: OpCode = OpCode(2002);
    /// `OP_QUERY`: today only the first hello of a connection; before 3.6 every read and command.
    pub const QUERY: OpCode = OpCode(2004);
    /// `OP_GET_MORE`, before MongoDB 3.6.
    pub const GET_MORE: OpCode = OpCode(2005);
    /// `OP_DELETE`, before MongoDB 3.6.
    pub const DELETE: OpCode = OpCode(2006);
    /// `OP_KILL_CURSORS`, before MongoDB 3.6.
    pub const KILL_CURSORS: OpCode = OpCode(2007);
    /// `OP_COMMAND`, spoken between servers of 3.2 to 4.0.
    pub const COMMAND: OpCode = OpCode(2010);
    /// `OP_COMMANDREPLY`, the answer to `OP_COMMAND`.
    pub const COMMAND_REPLY: OpCode = OpCode(2011);
    /// `OP_COMPRESSED`: another message, compressed.
    pub const COMPRESSED: OpCode = OpCode(2012);
    /// `OP_MSG`: everything since MongoDB 3.6.
    pub const MSG: OpCode = OpCode(2013);
    /// `OP_MSG` of MongoDB 2, long gone.
    pub const OLD_MSG: OpCode = OpCode(1000);

    /// Whether any version of MongoDB ever used this opcode.
    pub fn is_known(self) -> bool {
        matches!(self.0, 1 | 1000 | 2001 | 2002 | 2004..=2007 | 2010..=2013)
    }

    /// The opcode's name in MongoDB's documentation, `OP_UNKNOWN` for the others.
    pub fn name(self) -> &'static str {
        match self {
            OpCode::REPLY => "OP_REPLY",
            OpCode::UPDATE => "OP_UPDATE",
            OpCode::INSERT => "OP_INSERT",
            OpCode::QUERY => "OP_QUERY",
            OpCode::GET_MORE => "OP_GET_MORE",
            OpCode::DELETE => "OP_DELETE",
            OpCode::KILL_CURSORS => "OP_KILL_CURSORS",
            OpCode::COMMAND => "OP_COMMAND",
            OpCode::COMMAND_REPLY => "OP_COMMANDREPLY",
            OpCode::COMPRESSED => "OP_COMPRESSED",
            OpCode::MSG | OpCode::OLD_MSG => "OP_MSG",
            _ => "OP_UNKNOWN",
        }
    }
}

/// A message's header, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Bytes of the whole message, these sixteen included.
    pub length: u32,
    /// The sender's number for this message.
    pub request_id: i32,
    /// The number of the message that this one answers, 0 in a request.
    pub response_to: i32,
    /// What the body looks like.
    pub op_code: OpCode,
}

impl Header {
    /// Reads the header at the beginning of `bytes`: `None` while it is not whole and not yet known to be wrong.
    ///
    /// # Errors
    /// [`Malformed`] as soon as the bytes cannot be a MongoDB message; four bytes are enough to tell most.
    pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
        let Some(first) = bytes.first_chunk::<4>() else { return Ok(None) };
        let announced = i32::from_le_bytes(*first);
        let length = match u32::try_from(announced) {
            Ok(length @ 16..=MAX_MESSAGE_LENGTH) => length,
            _ => return Err(Malformed { length: announced, looks_like: LooksLike::guess(bytes) }),
        };
        let Some([_, request_id, response_to, op_code]) = words(bytes) else { return Ok(None) };
        let op_code = OpCode(op_code);
        // A TLS record's first four bytes can pass for a length, its next twelve never for an opcode.
        if !op_code.is_known() && LooksLike::guess(bytes) == LooksLike::Tls {
            return Err(Malformed { length: announced, looks_like: LooksLike::Tls });
        }
        Ok(Some(Header { length, request_id, response_to, op_code }))
    }

    /// The header's sixteen bytes.
    pub fn to_bytes(self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        let words = [self.length.cast_signed(), self.request_id, self.response_to, self.op_code.0];
        for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// The header's four fields, once all are there.
fn words(bytes: &[u8]) -> Option<[i32; 4]> {
    let header = u128::from_le_bytes(*bytes.first_chunk::<HEADER_LENGTH>()?);
    Some([0, 32, 64, 96].map(|bit| (header >> bit) as i32))
}

/// The bytes are not a MongoDB message: where the next one would begin cannot be known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a MongoDB message: its length would be {length} (16 to 48000000 are valid); {looks_like}")]
pub struct Malformed {
    /// The first four bytes read as a message length.
    pub length: i32,
    /// What the bytes probably are.
    pub looks_like: LooksLike,
}

/// What a peer that does not speak MongoDB's protocol probably speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LooksLike {
    /// An HTTP/1 request.
    HttpRequest,
    /// An HTTP/1 response.
    HttpResponse,
    /// The HTTP/2 connection preface.
    Http2,
    /// A TLS handshake or alert.
    Tls,
    /// A PROXY protocol header, version 1.
    ProxyV1,
    /// A PROXY protocol header, version 2.
    ProxyV2,
    /// An SSH banner.
    Ssh,
    /// Nothing known.
    Unknown,
}

impl LooksLike {
    fn guess(bytes: &[u8]) -> LooksLike {
        const METHODS: [&[u8]; 8] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"CONN"];
        let four = bytes.get(..4).unwrap_or(bytes);
        match four {
            [0x15 | 0x16, 3, 0..=4, _] => LooksLike::Tls,
            b"\r\n\r\n" => LooksLike::ProxyV2,
            b"PROX" => LooksLike::ProxyV1,
            b"HTTP" => LooksLike::HttpResponse,
            b"PRI " => LooksLike::Http2,
            b"SSH-" => LooksLike::Ssh,
            _ if METHODS.contains(&four) => LooksLike::HttpRequest,
            _ => LooksLike::Unknown,
        }
    }

    /// One word, for a metric's label.
    pub fn word(self) -> &'static str {
        match self {
            LooksLike::HttpRequest => "http_request",
            LooksLike::HttpResponse => "http_response",
            LooksLike::Http2 => "http2",
            LooksLike::Tls => "tls",
            LooksLike::ProxyV1 => "proxy_v1",
            LooksLike::ProxyV2 => "proxy_v2",
            LooksLike::Ssh => "ssh",
            LooksLike::Unknown => "unknown",
        }
    }
}

impl fmt::Display for LooksLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LooksLike::HttpRequest => "it looks like an HTTP request",
            LooksLike::HttpResponse => "it looks like an HTTP response",
            LooksLike::Http2 => "it looks like the HTTP/2 connection preface",
            LooksLike::Tls => "it looks like TLS, which this side of the connection does not expect",
            LooksLike::ProxyV1 => {
                "it looks like a PROXY protocol v1 header, which this listener does not expect"
            }
            LooksLike::ProxyV2 => {
                "it looks like a PROXY protocol v2 header, which this listener does not expect"
            }
            LooksLike::Ssh => "it looks like SSH",
            LooksLike::Unknown => "it looks like nothing known",
        })
    }
}
