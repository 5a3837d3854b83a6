//! Between HTTP/1 heads and the seam's: what is read is taken over without its hop-by-hop fields and framing; what is written
//! gets framing and connection fields of our own.

use super::body::malformed;
use crate::seam::{Broken, Length, Reply, Request, Result, Version};
use bytes::{BufMut, BytesMut};
use std::time::Duration;
use weir_codecs::http1::{
    self, Class, Field, Form, Framing, HOP, Known, Method, RequestHead, ResponseHead, client_field, encode,
    is_ambiguous, path,
};
use weir_decide::exchange::Reason;

/// Paths are made normal by the rules of RFC 3986 and no further: `//` stays.
pub const PATHS: path::Options = path::Options { merge_slashes: false };

/// Take over a parsed request head. `scratch` is used for paths that are not normal.
pub fn read_request(
    parsed: &RequestHead,
    bytes: &[u8],
    secure: bool,
    scratch: &mut Vec<u8>,
    into: &mut Request,
) -> std::result::Result<(), http1::Reject> {
    let view = parsed.view(bytes);
    into.clear();
    into.version = match parsed.version() {
        http1::Version::Http10 => Version::Http10,
        http1::Version::Http11 => Version::Http11,
    };
    into.method = parsed.method();
    into.method_text.extend_from_slice(view.method());
    into.secure = secure;
    into.authority.extend_from_slice(view.authority());
    if parsed.method() == Method::Connect {
        into.target.extend_from_slice(view.authority());
        into.path_len = into.target.len();
    } else {
        set_target(into, view.path(), view.query(), scratch)?;
    }
    let absolute = matches!(parsed.form(), Form::Absolute(_));
    let (mut tells_client, mut ambiguous, mut hop) = (false, false, None);
    into.fields.import(parsed.fields(), bytes, |f| {
        if f.known.is_none() {
            let name = f.name.of(bytes);
            tells_client |= client_field(name).is_some();
            ambiguous |= is_ambiguous(name);
            if name.eq_ignore_ascii_case(HOP) {
                hop = Some(f.value.of(bytes));
                return false;
            }
        } else {
            tells_client |= is_client_field(f.known);
        }
        end_to_end(f) && !(absolute && f.known == Some(Known::Host))
    });
    into.tells_client = tells_client;
    into.ambiguous = ambiguous;
    into.hop.extend_from_slice(hop.unwrap_or_default());
    if absolute {
        into.fields.push(b"host", view.authority());
    }
    if parsed.takes_trailers() {
        into.fields.push(b"te", b"trailers");
    }
    into.length = match parsed.framing() {
        Framing::None => Length::None,
        Framing::Length(n) => Length::Exact(n),
        Framing::Chunked | Framing::UntilClose | Framing::Tunnel => Length::Unknown,
    };
    into.end = parsed.framing().is_empty();
    into.expects_continue = parsed.expects_continue();
    into.upgrade.extend_from_slice(view.upgrade().unwrap_or_default());
    into.head_bytes = parsed.len() as u64;
    Ok(())
}

/// The target, its path made normal.
pub fn set_target(
    into: &mut Request,
    path: &[u8],
    query: Option<&[u8]>,
    scratch: &mut Vec<u8>,
) -> std::result::Result<(), http1::Reject> {
    let normal = path::normalize(path, PATHS, scratch)?;
    into.target.clear();
    into.normalized = normal != path;
    into.target.extend_from_slice(normal);
    into.path_len = into.target.len();
    if let Some(query) = query {
        into.target.push(b'?');
        into.target.extend_from_slice(query);
    }
    Ok(())
}

/// Whether the known name is one of those about the client.
fn is_client_field(known: Option<Known>) -> bool {
    use Known::{Forwarded, XForwardedFor, XForwardedHost, XForwardedPort, XForwardedProto};
    matches!(known, Some(Forwarded | XForwardedFor | XForwardedHost | XForwardedPort | XForwardedProto))
}

fn end_to_end(field: &Field) -> bool {
    field.class == Class::EndToEnd
}

/// Write a request head for a server. Gives how the body is to be framed by the length it was announced with.
/// `hop`: what it says to a listener of this process.
pub fn write_request(out: &mut BytesMut, request: &Request, hop: Option<&[u8]>) -> Result<()> {
    encode::request_line(out, &request.method_text, &request.target).map_err(unencodable)?;
    request.fields.write_lines(out);
    if let Some(hop) = hop {
        for part in [HOP, b": ", hop, b"\r\n"] {
            out.put_slice(part);
        }
    }
    if request.method != Method::Connect {
        match request.length {
            Length::Exact(n) => encode::content_length(out, n),
            Length::Unknown if !request.end => out.put_slice(b"transfer-encoding: chunked\r\n"),
            Length::None | Length::Unknown => {}
        }
    }
    if !request.upgrade.is_empty() {
        encode::upgrade(out, &request.upgrade).map_err(unencodable)?;
    } else if request.fields.value(b"te").is_some() {
        // RFC 9110 section 10.1.4: whoever sends TE nominates it.
        out.put_slice(b"connection: te\r\n");
    }
    encode::end(out);
    Ok(())
}

/// Take over a parsed reply head.
pub fn read_reply(into: &mut Reply, bytes: &[u8]) {
    let parsed = std::mem::take(&mut into.parsed);
    fill_reply(into, &parsed, bytes);
    into.parsed = parsed;
}

/// How long a server keeps the connection, where it says so (`Keep-Alive: timeout=5`), less a margin for what is on its way when that
/// ends: a second, or half of the time.
pub fn kept_for(parsed: &ResponseHead, bytes: &[u8]) -> Option<Duration> {
    let value = parsed.fields().view(bytes).value(Known::KeepAlive)?;
    let parts = value.split(|b| *b == b',');
    let timeout = parts.filter_map(|part| part.trim_ascii().strip_prefix(b"timeout=")).next()?;
    let seconds: u32 = std::str::from_utf8(timeout.trim_ascii()).ok()?.parse().ok()?;
    let time = Duration::from_secs(seconds.into());
    Some(time - (time / 2).min(Duration::from_secs(1)))
}

fn fill_reply(into: &mut Reply, parsed: &ResponseHead, bytes: &[u8]) {
    let view = parsed.view(bytes);
    into.clear();
    into.status = parsed.status();
    into.phrase.extend_from_slice(view.reason());
    into.fields.import(parsed.fields(), bytes, end_to_end);
    into.length = match (parsed.framing(), parsed.content_length()) {
        (Framing::Length(n), _) | (Framing::None, Some(n)) => Length::Exact(n),
        (Framing::None, None) => Length::None,
        _ => Length::Unknown,
    };
    into.end = parsed.framing().is_empty();
    into.upgrade.extend_from_slice(view.upgrade().unwrap_or_default());
    if into.status == UPGRADE_REQUIRED {
        for (_, _, value) in view.fields().iter().filter(|(field, ..)| field.known == Some(Known::Upgrade)) {
            if !into.upgrade.is_empty() {
                into.upgrade.extend_from_slice(b", ");
            }
            into.upgrade.extend_from_slice(value);
        }
    }
    into.head_bytes = parsed.len() as u64;
}

/// Upgrade Required: says by Upgrade to what (RFC 9110 section 15.5.22).
const UPGRADE_REQUIRED: u16 = 426;

/// What the client's connection has to be told with a reply.
#[derive(Debug, Clone, Copy)]
pub struct Answering {
    /// The request's version.
    pub version: Version,
    /// The request's method.
    pub method: Method,
    /// Whether the connection is closed after the reply.
    pub close: bool,
}

/// Write a reply head for a client; gives its length.
pub fn write_reply(out: &mut BytesMut, reply: &Reply, to: Answering) -> Result<usize> {
    let before = out.len();
    let phrase = (!reply.phrase.is_empty()).then_some(&reply.phrase[..]);
    encode::status_line(out, reply.status, phrase).map_err(unencodable)?;
    reply.fields.write_lines(out);
    if !reply.is_interim() && reply.status != 101 {
        write_framing(out, reply, to);
        match (to.version, to.close) {
            (Version::Http10, false) => out.put_slice(b"connection: keep-alive\r\n"),
            (Version::Http11 | Version::Http2, true) => out.put_slice(b"connection: close\r\n"),
            _ => {}
        }
    }
    if reply.status == UPGRADE_REQUIRED && !reply.upgrade.is_empty() {
        out.put_slice(b"connection: upgrade\r\nupgrade: ");
        out.put_slice(&reply.upgrade);
        out.put_slice(b"\r\n");
    }
    if reply.status == 101 {
        encode::upgrade(out, &reply.upgrade).map_err(unencodable)?;
    }
    encode::end(out);
    Ok(out.len() - before)
}

fn write_framing(out: &mut BytesMut, reply: &Reply, to: Answering) {
    let tunnel = to.method == Method::Connect && (200..300).contains(&reply.status);
    if tunnel || reply.status == 204 {
        return;
    }
    match reply.length {
        Length::Exact(n) => encode::content_length(out, n),
        Length::Unknown if reply.end || to.version == Version::Http10 => {}
        Length::Unknown => out.put_slice(b"transfer-encoding: chunked\r\n"),
        // No body, and the head alone does not say so.
        Length::None if to.method != Method::Head && reply.status != 304 => encode::content_length(out, 0),
        Length::None => {}
    }
}

fn unencodable(_: encode::Unencodable) -> Broken {
    Broken::new(Reason::Malformed)
}

/// A server's reply that the codec refused.
pub fn refused(reject: http1::Reject) -> Broken {
    malformed(reject)
}
