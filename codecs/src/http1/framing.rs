//! Where a message ends, and what its connection is good for afterwards (RFC 9112 sections 6, 7 and 9).

use bytes::{BufMut, BytesMut};

use super::Limits;
use super::client::client_field;
use super::fields::{Class, Fields, Span};
use super::head::Version;
use super::known::Known;
use super::reject::{Reject, Rule};
use super::token::{elements, is_tchar, is_token};

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body, and no field says anything about one.
    None,
    /// Exactly so many bytes follow, possibly 0.
    Length(u64),
    /// Chunks follow, and perhaps trailers.
    Chunked,
    /// Everything up to the end of the connection; only responses.
    UntilClose,
    /// The connection stops being HTTP: 2xx to CONNECT, or 101.
    Tunnel,
}

impl Framing {
    /// Whether no byte of a body can follow.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }

    /// Writes the field that announces the framing, if it has one, in lower case and canonical.
    pub fn write(self, out: &mut BytesMut) {
        match self {
            Self::Length(n) => super::encode::content_length(out, n),
            Self::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
            Self::None | Self::UntilClose | Self::Tunnel => {}
        }
    }
}

/// What Content-Length and Transfer-Encoding say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    Nothing,
    Length(u64),
    Chunked,
}

/// Reads Content-Length and Transfer-Encoding, and marks them canonical where they are.
pub(super) fn announced(buf: &[u8], fields: &mut Fields, version: Version) -> Result<Announced, Reject> {
    let lengths = fields.contains(Known::ContentLength);
    if !fields.contains(Known::TransferEncoding) {
        return if lengths {
            content_length(buf, fields).map(Announced::Length)
        } else {
            Ok(Announced::Nothing)
        };
    }
    let at = fields.all(Known::TransferEncoding).next().map_or(0, |f| f.name.start as usize);
    if lengths {
        return Err(Reject::at(Rule::TransferEncodingContentLength, at));
    }
    if version == Version::Http10 {
        return Err(Reject::at(Rule::TransferEncodingVersion, at));
    }
    transfer_encoding(buf, fields)?;
    Ok(Announced::Chunked)
}

fn content_length(buf: &[u8], fields: &mut Fields) -> Result<u64, Reject> {
    let mut length: Option<u64> = None;
    let mut values = 0u32;
    let mut plain = true;
    for field in fields.all(Known::ContentLength) {
        let at = field.value.start as usize;
        for element in elements(field.value.of(buf)) {
            let n = decimal(element).map_err(|rule| Reject::at(rule, at))?;
            if length.is_some_and(|l| l != n) {
                return Err(Reject::at(Rule::ContentLengthConflict, at));
            }
            length = Some(n);
            values += 1;
            plain &= element.len() == 1 || element.first() != Some(&b'0');
        }
    }
    mark_canonical(fields, Known::ContentLength, plain && values == 1);
    length.ok_or(Reject::whole(Rule::ContentLengthInvalid))
}

/// `1*DIGIT` up to 2^63-1, which every peer can hold in a signed word.
fn decimal(digits: &[u8]) -> Result<u64, Rule> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Rule::ContentLengthInvalid);
    }
    let n = digits.iter().try_fold(0u64, |n, b| n.checked_mul(10)?.checked_add(u64::from(b - b'0')));
    n.filter(|&n| n <= super::MAX_BODY).ok_or(Rule::ContentLengthTooLarge)
}

fn transfer_encoding(buf: &[u8], fields: &mut Fields) -> Result<(), Reject> {
    let mut seen = 0u32;
    let mut exact = true;
    for field in fields.all(Known::TransferEncoding) {
        let at = field.value.start as usize;
        for element in elements(field.value.of(buf)) {
            let name = element.split(|&b| b == b';').next().unwrap_or_default();
            let name = super::token::trim(name);
            if !is_token(name) {
                return Err(Reject::at(Rule::TransferEncodingMalformed, at));
            }
            if !name.eq_ignore_ascii_case(b"chunked") {
                return Err(Reject::at(Rule::TransferEncodingUnsupported, at));
            }
            if name.len() != element.len() {
                return Err(Reject::at(Rule::TransferEncodingMalformed, at));
            }
            if seen > 0 {
                return Err(Reject::at(Rule::TransferEncodingRepeated, at));
            }
            seen += 1;
            exact = name == b"chunked";
        }
    }
    mark_canonical(fields, Known::TransferEncoding, exact);
    Ok(())
}

fn mark_canonical(fields: &mut Fields, known: Known, canonical: bool) {
    for field in fields.list_mut().iter_mut().filter(|f| f.known == Some(known)) {
        field.class = Class::Framing { canonical };
    }
}

/// What Connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

/// Reads Connection and marks the fields it nominates. A nomination never removes a field the proxy knows
/// ([`Known`]), nor one that says who the client is ([`client_field`]): it would take Host, Content-Length, Authorization or an address away from the recipient at the
/// sender's word.
pub(super) fn connection(buf: &[u8], fields: &mut Fields, limits: &Limits) -> Result<Connection, Reject> {
    let mut found = Connection::default();
    if !fields.contains(Known::Connection) {
        return Ok(found);
    }
    let mut nominated = 0;
    for i in 0..fields.len() {
        let Some(field) = fields.list().get(i).filter(|f| f.known == Some(Known::Connection)).copied() else {
            continue;
        };
        let at = field.value.start as usize;
        for option in elements(field.value.of(buf)).filter(|e| !e.is_empty()) {
            if !is_token(option) {
                return Err(Reject::at(Rule::ConnectionMalformed, at));
            }
            if option.eq_ignore_ascii_case(b"close") {
                found.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                found.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                found.upgrade = true;
            } else if Known::of(option).is_none() && client_field(option).is_none() {
                nominated += 1;
                if nominated > limits.nominated {
                    return Err(Reject::at(Rule::ConnectionTooMany, at));
                }
                nominate(buf, fields, option);
            }
        }
    }
    Ok(found)
}

fn nominate(buf: &[u8], fields: &mut Fields, option: &[u8]) {
    for field in fields.list_mut() {
        if field.known.is_none() && field.name.of(buf).eq_ignore_ascii_case(option) {
            field.class = Class::HopByHop;
        }
    }
}

/// Whether the connection serves another message after this one (RFC 9112 section 9.3).
pub(super) const fn keep_alive(version: Version, connection: Connection) -> bool {
    match version {
        Version::Http11 => !connection.close,
        Version::Http10 => connection.keep_alive && !connection.close,
    }
}

/// The first protocol of Upgrade that may be switched to. `h2c` never is: HTTP/2 without TLS is spoken by prior
/// knowledge, and a peer that switches to it would carry requests past us.
pub(super) fn upgrade(buf: &[u8], fields: &Fields) -> Result<Option<Span>, Reject> {
    let mut wanted = None;
    for field in fields.all(Known::Upgrade) {
        let at = field.value.start as usize;
        let value = field.value.of(buf);
        for element in elements(value).filter(|e| !e.is_empty()) {
            let mut parts = element.splitn(2, |&b| b == b'/');
            if !parts.all(|part| !part.is_empty() && part.iter().all(|&b| is_tchar(b))) {
                return Err(Reject::at(Rule::UpgradeMalformed, at));
            }
            let lead = element.as_ptr().addr().wrapping_sub(value.as_ptr().addr());
            if wanted.is_none() && !element.eq_ignore_ascii_case(b"h2c") {
                wanted = Some(Span::new(at + lead, at + lead + element.len()));
            }
        }
    }
    Ok(wanted)
}

/// Whether the sender expects a 100 before it sends its body.
pub(super) fn expect(buf: &[u8], fields: &Fields) -> Result<bool, Reject> {
    let mut expects = false;
    for field in fields.all(Known::Expect) {
        if !elements(field.value.of(buf)).all(|e| e.eq_ignore_ascii_case(b"100-continue")) {
            return Err(Reject::at(Rule::ExpectUnsupported, field.value.start as usize));
        }
        expects = true;
    }
    Ok(expects)
}

/// Whether the sender takes trailers: `trailers` in TE.
pub(super) fn takes_trailers(buf: &[u8], fields: &Fields) -> bool {
    fields.all(Known::Te).any(|f| elements(f.value.of(buf)).any(|e| e.eq_ignore_ascii_case(b"trailers")))
}
