//! Writing a header.

use super::{Origin, Version, v1, v2};
use bytes::BufMut;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// Appends the header that says `origin`. Version 1 has no word for [`Origin::Proxy`]; it says `UNKNOWN`, which has the same
/// effect. Of a client and a destination of different families both are written as IPv6 (RFC 4291 section 2.5.5.2).
pub fn encode(version: Version, origin: &Origin, out: &mut Vec<u8>) {
    match version {
        Version::V1 => text(origin, out),
        Version::V2 => binary(origin, out),
    }
}

fn text(origin: &Origin, out: &mut Vec<u8>) {
    out.put_slice(v1::SIGNATURE);
    match ends(origin) {
        None => out.put_slice(b"UNKNOWN\r\n"),
        Some((source, destination)) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            // Writing to a vector does not fail.
            write!(out, "{family} {from} {to} {} {}\r\n", source.port(), destination.port()).ok();
        }
    }
}

fn binary(origin: &Origin, out: &mut Vec<u8>) {
    out.put_slice(v2::SIGNATURE);
    let command = if *origin == Origin::Proxy { v2::LOCAL } else { v2::PROXY };
    out.put_u8(v2::VERSION | command);
    let Some((source, destination)) = ends(origin) else {
        out.put_u8(v2::UNSPEC);
        out.put_u16(0);
        return;
    };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.put_u8(v2::TCP4);
            out.put_u16(12);
            out.put_slice(&from.octets());
            out.put_slice(&to.octets());
        }
        (from, to) => {
            out.put_u8(v2::TCP6);
            out.put_u16(36);
            out.put_slice(&as_v6(from).octets());
            out.put_slice(&as_v6(to).octets());
        }
    }
    out.put_u16(source.port());
    out.put_u16(destination.port());
}

/// Both ends, of one family.
fn ends(origin: &Origin) -> Option<(SocketAddr, SocketAddr)> {
    let Origin::Client { source, destination } = *origin else { return None };
    if source.is_ipv4() == destination.is_ipv4() {
        return Some((source, destination));
    }
    let mapped = |address: SocketAddr| SocketAddr::new(IpAddr::V6(as_v6(address.ip())), address.port());
    Some((mapped(source), mapped(destination)))
}

fn as_v6(address: IpAddr) -> std::net::Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}
