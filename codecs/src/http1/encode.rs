//! Writing heads, chunks and trailers into a buffer the caller owns. Nothing here allocates beyond that buffer, and
//! nothing that could split a message gets through: names and values are checked, lengths are canonical decimals.

use bytes::{BufMut, BytesMut};

use super::head::Version;
use super::token::{is_protocol, is_token, is_value_byte};

/// Something that must not be written: it would read as more than it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// The method is not a token.
    #[error("the method is not a token")]
    Method,
    /// The target is empty, or has white space, a control character, `#` or a byte outside ASCII.
    #[error("the request target has a character that must not be sent")]
    Target,
    /// The status is not 100 to 999.
    #[error("the status is not a number from 100 to 999")]
    Status,
    /// The reason phrase has a control character.
    #[error("the reason phrase has a control character")]
    Reason,
    /// The protocol to switch to is not a name of one, or is `h2c`.
    #[error("the protocol to switch to is not the name of one")]
    Protocol,
    /// The name of a field is not a token.
    #[error("the name of a field is not a token")]
    Name,
    /// The value of a field has CR, LF, NUL or another control character.
    #[error("the value of a field has a control character")]
    Value,
}

/// Writes `method target HTTP/1.1`.
///
/// # Errors
/// [`Unencodable::Method`], [`Unencodable::Target`]; nothing is written then.
pub fn request_line(out: &mut BytesMut, method: &[u8], target: &[u8]) -> Result<(), Unencodable> {
    if !is_token(method) {
        return Err(Unencodable::Method);
    }
    if target.is_empty() || !target.iter().all(|&b| b.is_ascii_graphic() && b != b'#') {
        return Err(Unencodable::Target);
    }
    out.reserve(method.len() + target.len() + 12);
    out.put_slice(method);
    out.put_u8(b' ');
    out.put_slice(target);
    out.put_u8(b' ');
    out.put_slice(Version::Http11.as_bytes());
    out.put_slice(b"\r\n");
    Ok(())
}

/// Writes `HTTP/1.1 status reason`; the usual reason if none is given.
///
/// # Errors
/// [`Unencodable::Status`], [`Unencodable::Reason`]; nothing is written then.
pub fn status_line(out: &mut BytesMut, status: u16, phrase: Option<&[u8]>) -> Result<(), Unencodable> {
    if !(100..=999).contains(&status) {
        return Err(Unencodable::Status);
    }
    let phrase = phrase.unwrap_or_else(|| reason(status).as_bytes());
    if !phrase.iter().all(|&b| is_value_byte(b)) {
        return Err(Unencodable::Reason);
    }
    out.reserve(phrase.len() + 15);
    out.put_slice(Version::Http11.as_bytes());
    out.put_u8(b' ');
    decimal(out, u64::from(status));
    out.put_u8(b' ');
    out.put_slice(phrase);
    out.put_slice(b"\r\n");
    Ok(())
}

/// Writes `name: value`.
///
/// # Errors
/// [`Unencodable::Name`], [`Unencodable::Value`]; nothing is written then.
pub fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) -> Result<(), Unencodable> {
    if !is_token(name) {
        return Err(Unencodable::Name);
    }
    if !value.iter().all(|&b| is_value_byte(b)) {
        return Err(Unencodable::Value);
    }
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
    Ok(())
}

/// Writes `content-length: n`, canonical.
pub fn content_length(out: &mut BytesMut, n: u64) {
    out.put_slice(b"content-length: ");
    decimal(out, n);
    out.put_slice(b"\r\n");
}

/// Writes the two fields that offer, or accept, to switch to `protocol`.
///
/// # Errors
/// [`Unencodable::Protocol`]; nothing is written then.
pub fn upgrade(out: &mut BytesMut, protocol: &[u8]) -> Result<(), Unencodable> {
    if !is_protocol(protocol) {
        return Err(Unencodable::Protocol);
    }
    out.put_slice(b"connection: upgrade\r\nupgrade: ");
    out.put_slice(protocol);
    out.put_slice(b"\r\n");
    Ok(())
}

/// Ends a head or a trailer section.
pub fn end(out: &mut BytesMut) {
    out.put_slice(b"\r\n");
}

/// Begins a chunk of `len` bytes, which the caller writes next, then [`chunk_end`]. With 0 it is the last chunk's
/// line: trailer fields and [`end`] follow, or nothing else is due after [`last_chunk`].
pub fn chunk_head(out: &mut BytesMut, len: u64) {
    let mut digits = [0u8; 16];
    let mut n = len;
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = match (n & 15) as u8 {
            d @ 0..=9 => b'0' + d,
            d => b'a' + d - 10,
        };
        used += 1;
        n >>= 4;
        if n == 0 {
            break;
        }
    }
    out.put_slice(digits.get(16 - used..).unwrap_or_default());
    out.put_slice(b"\r\n");
}

/// Ends the data of a chunk.
pub fn chunk_end(out: &mut BytesMut) {
    out.put_slice(b"\r\n");
}

/// Writes data as one chunk; nothing for no data, since an empty chunk would be the last.
pub fn chunk(out: &mut BytesMut, data: &[u8]) {
    if !data.is_empty() {
        out.reserve(data.len() + 20);
        chunk_head(out, data.len() as u64);
        out.put_slice(data);
        chunk_end(out);
    }
}

/// Ends a chunked body that has no trailers.
pub fn last_chunk(out: &mut BytesMut) {
    out.put_slice(b"0\r\n\r\n");
}

/// Writes a decimal without leading zeros.
pub fn decimal(out: &mut BytesMut, n: u64) {
    let mut digits = [0u8; 20];
    let mut n = n;
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (n % 10) as u8;
        used += 1;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.put_slice(digits.get(20 - used..).unwrap_or_default());
}

/// The usual reason phrase of a status; empty for one that has none.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}
