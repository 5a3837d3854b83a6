//! Who the client is: what a request's fields say of it counts from trusted proxies, and is removed from all others' requests before
//! anything looks at it. What the server is then told is one line of each. Names that a server may read as such a field's are
//! refused.

use crate::adds::Added;
use crate::config::Underscores;
use crate::fields::Fields;
use crate::seam::Request;
use crate::signed;
use crate::site::{Peer, Site};
use std::net::IpAddr;
use weir_codecs::http1::{Shape, client_field, is_ambiguous, is_reserved, read_as};
use weir_decide::route;

/// The rule that a second line of a field breaks which a trusted proxy says once.
pub const REPEATED: &str = "client_field_repeated";
/// The rule that a name breaks which a server may read as that of another field.
pub const AMBIGUOUS: &str = "field_name_ambiguous";
/// The most times that a request may come through the listeners of this process by its own connections.
pub const MAX_HOPS: u8 = 3;

/// A request's fields as routes see them: what somebody says of the client who is not trusted is not there.
pub struct Seen<'a> {
    pub fields: &'a Fields,
    pub trusted: bool,
}

impl route::Headers for Seen<'_> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        (self.trusted || client_field(name.as_bytes()).is_none()) && self.fields.any(name, test)
    }
}

/// Take from `request` what its peer has no right to say, and find out who the client is and how it asked. What a signature
/// covers stays.
pub fn read(request: &mut Request, peer: &Peer, site: &Site, trusted: bool) -> Result<(), &'static str> {
    request.client = peer.ip;
    if !request.tells_client {
        return Ok(());
    }
    let Request { fields, signed, is_signed, .. } = request;
    let stays = |name: &[u8]| *is_signed && signed::covers(signed, name);
    if !trusted {
        let before = fields.len();
        fields.retain(|name, _| client_field(name).is_none() || stays(name));
        if fields.len() < before {
            site.numbers.client_fields.inc();
            site.first_sight(peer);
        }
        return Ok(());
    }
    once(fields, &stays)?;
    join(fields, &stays);
    let list = fields.iter().rev().filter(|(name, _)| name.eq_ignore_ascii_case(Added::XForwardedFor.name()));
    let list = list.flat_map(|(_, value)| value.rsplit(|b| *b == b','));
    // Empty elements of a list are none (RFC 9110 section 5.6.1).
    request.client = site.trusted.client(peer.ip, list.filter(|text| !text.trim_ascii().is_empty()));
    match fields.value(Added::XForwardedProto.name()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => request.secure = true,
        Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => request.secure = false,
        _ => {}
    }
    Ok(())
}

/// Whether another line of the field at `at` follows.
fn is_repeated(fields: &Fields, at: usize, name: &[u8]) -> bool {
    fields.iter().skip(at + 1).any(|(other, _)| other.eq_ignore_ascii_case(name))
}

/// A field that is said once has one line.
fn once(fields: &Fields, stays: &dyn Fn(&[u8]) -> bool) -> Result<(), &'static str> {
    for (at, (name, _)) in fields.iter().enumerate() {
        let single = client_field(name) == Some(Shape::Single) && !stays(name);
        if single && is_repeated(fields, at, name) {
            return Err(REPEATED);
        }
    }
    Ok(())
}

/// Lists become one line each.
fn join(fields: &mut Fields, stays: &dyn Fn(&[u8]) -> bool) {
    let mut at = 0;
    while at < fields.len() {
        let several = fields.iter().nth(at).filter(|(name, _)| {
            client_field(name) == Some(Shape::List) && !stays(name) && is_repeated(fields, at, name)
        });
        match several.map(|(name, _)| name.to_vec()) {
            Some(name) => fields.fold(&name, b""),
            None => at += 1,
        }
    }
}

/// See to names that a server may read as those of other fields: of the client's, of framing, or of what a route looks at. `scratch` is
/// used where there are any.
pub fn names(request: &mut Request, site: &Site, scratch: &mut Vec<u8>) -> Result<(), &'static str> {
    let looked_at = |read: &[u8], name: &[u8]| {
        let same = |known: &&(Box<str>, Box<[u8]>)| *known.1 == *read;
        site.looked_at.iter().filter(same).any(|known| !known.0.as_bytes().eq_ignore_ascii_case(name))
    };
    let mut ambiguous = |name: &[u8]| {
        let odd = is_ambiguous(name);
        if !odd && !site.looks_at_odd {
            return false;
        }
        read_as(name, scratch);
        (odd && is_reserved(scratch)) || looked_at(scratch, name)
    };
    match site.said.underscores {
        Underscores::Refuse => match request.fields.iter().any(|(name, _)| ambiguous(name)) {
            true => Err(AMBIGUOUS),
            false => Ok(()),
        },
        Underscores::Drop => {
            let before = request.fields.len();
            request.fields.retain(|name, _| !ambiguous(name));
            if request.fields.len() < before {
                site.numbers.ambiguous.inc();
            }
            Ok(())
        }
    }
}

/// Tell the server of the client, the same in every try. A signed request is left as it is. `kept`: the peer may name the request.
pub fn tell(request: &mut Request, peer: &Peer, site: &Site, trusted: bool, via: bool) {
    if request.is_signed {
        return site.numbers.signed(signed::is_changed(request));
    }
    let adds = site.said.adds;
    let Request { fields, authority, secure, client, version, .. } = request;
    let scheme: &[u8] = if *secure { b"https" } else { b"http" };
    let once = |fields: &mut Fields, added: Added, value: &[u8]| {
        if adds.has(added) && !value.is_empty() && fields.value(added.name()).is_none() {
            fields.push(added.name(), value);
        }
    };
    // A peer without an address has nothing to be added.
    if adds.has(Added::XForwardedFor) && peer.ip.is_some() {
        fields.fold(Added::XForwardedFor.name(), peer.address.as_bytes());
    }
    once(fields, Added::XForwardedProto, scheme);
    once(fields, Added::XForwardedHost, authority);
    if adds.has(Added::XForwardedPort) {
        let default: &[u8] = if *secure { b"443" } else { b"80" };
        let host = route::host_of(authority).len();
        let port =
            authority.get(host..).and_then(|rest| rest.strip_prefix(b":")).filter(|port| !port.is_empty());
        once(fields, Added::XForwardedPort, port.unwrap_or(default));
    }
    if adds.has(Added::XRealIp)
        && let Some(client) = client
    {
        once(fields, Added::XRealIp, client.to_string().as_bytes());
    }
    if adds.has(Added::Forwarded) || fields.value(Added::Forwarded.name()).is_some() {
        fields.fold(Added::Forwarded.name(), element(peer, authority, scheme).as_bytes());
    }
    if adds.has(Added::XRequestId) {
        let name = Added::XRequestId.name();
        if !trusted && !site.said.keep_request_id {
            fields.remove(name);
        }
        if fields.value(name).is_none() {
            fields.push(name, &request_id(site.worker.unique()));
        }
    }
    if via {
        fields.fold(b"via", version.via());
    }
}

/// What one proxy adds to `Forwarded` (RFC 7239 section 4).
fn element(peer: &Peer, authority: &[u8], scheme: &[u8]) -> String {
    let node = match peer.ip {
        Some(IpAddr::V4(v4)) => v4.to_string(),
        Some(IpAddr::V6(v6)) => format!("\"[{v6}]\""),
        None => "unknown".into(),
    };
    let mut element = format!("for={node};proto={}", String::from_utf8_lossy(scheme));
    // What is no plain text of a host has been refused before; quotes would end the string.
    match std::str::from_utf8(authority) {
        Ok(host) if !host.is_empty() && !host.contains(['"', '\\']) => {
            element.push_str(";host=\"");
            element.push_str(host);
            element.push('"');
        }
        _ => {}
    }
    element
}

/// A random UUID (RFC 9562 section 5.4) in text.
fn request_id(value: u128) -> [u8; 36] {
    let value = (value & !(0xF000 << 64) & !(3 << 62)) | (0x4000 << 64) | (2 << 62);
    let mut text = [b'-'; 36];
    let mut shift = 128;
    for (i, slot) in text.iter_mut().enumerate() {
        if matches!(i, 8 | 13 | 18 | 23) {
            continue;
        }
        shift -= 4;
        let digit = (value >> shift) as u8 & 15;
        *slot = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
    }
    text
}

/// Whether this is an address of a network that is nobody's in particular, as proxies in front mostly have.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared =
                v4.octets().first() == Some(&100) && v4.octets().get(1).is_some_and(|b| b & 0xC0 == 64);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_random_uuids() {
        let id = request_id(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(std::str::from_utf8(&id).unwrap(), "01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn lists_are_joined_in_order() {
        let mut fields: Fields = [
            (&b"forwarded"[..], &b"for=1"[..]),
            (b"a", b"1"),
            (b"X-Forwarded-For", b"1, 2"),
            (b"Forwarded", b"for=2"),
            (b"x-forwarded-for", b"3"),
            (b"b", b"2"),
        ]
        .into_iter()
        .collect();
        join(&mut fields, &|_| false);
        let all: Vec<_> = fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"a", b"1"), (b"b", b"2"), (b"forwarded", b"for=1, for=2"), (b"X-Forwarded-For", b"1, 2, 3")];
        assert!(all.iter().zip(expected).all(|((n, v), (en, ev))| n == en && v == ev), "{all:?}");
    }

    #[test]
    fn private_networks() {
        for (address, private) in [
            ("10.1.2.3", true),
            ("127.0.0.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("169.254.1.1", true),
            ("192.0.2.1", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }
}
