//! Who the client is: what a request's fields say of it counts from trusted proxies, and is removed from all others' requests before
//! anything looks at it. What the server is then told is one line of each.

use crate::fields::Fields;
use crate::seam::Request;
use crate::site::{Peer, Site};
use std::net::IpAddr;
use weir_codecs::http1::{Shape, client_field};
use weir_decide::route;

/// The rule that a second line of a field breaks which a trusted proxy says once.
pub const REPEATED: &str = "client_field_repeated";

const FOR: &[u8] = b"x-forwarded-for";
const PROTO: &[u8] = b"x-forwarded-proto";
const HOST: &[u8] = b"x-forwarded-host";

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

/// Take from `request` what its peer has no right to say, find out who the client is, and what it was asked with.
pub fn read(request: &mut Request, peer: &Peer, site: &Site, trusted: bool) -> Result<(), &'static str> {
    request.client = peer.ip;
    if trusted {
        if request.tells_client {
            once(&request.fields)?;
        }
        request.client = who(&mut request.fields, peer, site);
        match request.fields.value(PROTO) {
            Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => request.secure = true,
            Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => request.secure = false,
            _ => {}
        }
    } else if request.tells_client {
        request.fields.retain(|name, _| client_field(name).is_none());
        site.numbers.client_fields.inc();
        site.first_sight(peer);
    }
    Ok(())
}

/// A field that is said once has one line.
fn once(fields: &Fields) -> Result<(), &'static str> {
    for (at, (name, _)) in fields.iter().enumerate() {
        let single = client_field(name) == Some(Shape::Single);
        if single && fields.iter().skip(at + 1).any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            return Err(REPEATED);
        }
    }
    Ok(())
}

/// The first address that is not trusted, from the peer back along x-forwarded-for.
fn who(fields: &mut Fields, peer: &Peer, site: &Site) -> Option<IpAddr> {
    fields.fold(FOR, b"");
    let list = fields.value(FOR).unwrap_or_default().rsplit(|b| *b == b',');
    // Empty elements of a list are none (RFC 9110 section 5.6.1).
    site.trusted.client(peer.ip, list.filter(|text| !text.trim_ascii().is_empty()))
}

/// Tell the server of the client, the same in every try.
pub fn tell(request: &mut Request, peer: &Peer) {
    let Request { fields, authority, secure, .. } = request;
    // A peer without an address has nothing to be added.
    if peer.ip.is_some() {
        fields.fold(FOR, peer.address.as_bytes());
    }
    if fields.value(PROTO).is_none() {
        fields.push(PROTO, if *secure { b"https" } else { b"http" });
    }
    if !authority.is_empty() && fields.value(HOST).is_none() {
        fields.push(HOST, authority);
    }
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
