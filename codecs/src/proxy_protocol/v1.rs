//! Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 50000 443`, a line of text (section 2.1).

use super::{Header, MAX_V1, Origin, Problem, Version};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"UNKNOWN";

pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Problem> {
    let within = bytes.get(..MAX_V1).unwrap_or(bytes);
    let Some(end) = memchr::memchr2(b'\r', b'\n', within) else {
        return if within.len() == MAX_V1 { Err(Problem::TooLong) } else { Ok(None) };
    };
    match (within.get(end), within.get(end + 1)) {
        (Some(b'\r'), None) if within.len() == MAX_V1 => return Err(Problem::TooLong),
        (Some(b'\r'), None) => return Ok(None),
        (Some(b'\r'), Some(b'\n')) => {}
        _ => return Err(Problem::Malformed),
    }
    let line = within.get(SIGNATURE.len()..end).unwrap_or_default();
    // Whatever follows that word is to be ignored.
    let origin = if line == UNKNOWN || line.strip_prefix(UNKNOWN).is_some_and(|rest| rest.starts_with(b" ")) {
        Origin::Unknown
    } else {
        std::str::from_utf8(line).ok().and_then(client).ok_or(Problem::Malformed)?
    };
    Ok(Some(Header { version: Version::V1, origin, tls: None, length: end + 2 }))
}

/// `TCP4 192.0.2.1 192.0.2.2 50000 443`
fn client(line: &str) -> Option<Origin> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    let family = word()?;
    let (source, destination, from, to) = (word()?, word()?, word()?, word()?);
    if word().is_some() {
        return None;
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let source = SocketAddr::new(address(source)?, port(from)?);
    let destination = SocketAddr::new(address(destination)?, port(to)?);
    Some(Origin::Client { source, destination })
}

/// 0 to 65535, without zeroes in front.
fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = digits && (text.len() == 1 || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}
