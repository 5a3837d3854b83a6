//! Version 2: binary (section 2.2). Twelve bytes of signature, version and command, family and transport, the length of what
//! follows: addresses, then extensions (type, length, value), of which the checksum and the client's TLS are looked at.

use super::{Header, MAX_V2_REST, Origin, Problem, Version};
use crate::crc32c::crc32c_of;
use nom::IResult;
use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u128};
use std::net::{IpAddr, SocketAddr};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What comes before addresses and extensions.
pub(super) const FIXED: usize = 16;

pub(super) const VERSION: u8 = 0x20;
pub(super) const LOCAL: u8 = 0;
pub(super) const PROXY: u8 = 1;
pub(super) const UNSPEC: u8 = 0x00;
pub(super) const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
pub(super) const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

/// Both paths of a Unix connection.
const UNIX_LENGTH: usize = 216;

/// The extension that holds the CRC-32C of the whole header, itself taken as zero.
const CRC32C: u8 = 0x03;

/// The extension that says how the client spoke with the proxy: a byte of flags, four of the verification's result, then
/// extensions of its own (section 2.2.6).
const SSL: u8 = 0x20;
const SSL_LENGTH: usize = 5;
/// Of its flags: by TLS.
const CLIENT_SSL: u8 = 0x01;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Problem> {
    let (Some(&[command, family]), Some(&length)) = (
        bytes.get(12..14).and_then(|two| two.first_chunk::<2>()),
        bytes.get(14..FIXED).and_then(|two| two.first_chunk::<2>()),
    ) else {
        // What is there of it must be right by now.
        return bytes.get(12).map_or(Ok(None), |command| check_command(*command).map(|_| None));
    };
    let command = check_command(command)?;
    let rest = usize::from(u16::from_be_bytes(length));
    let known = matches!(family, UNSPEC | TCP4 | UDP4 | TCP6 | UDP6 | UNIX_STREAM | UNIX_DATAGRAM);
    if command == PROXY && !known {
        return Err(Problem::Malformed);
    }
    if rest > MAX_V2_REST {
        return Err(Problem::TooLong);
    }
    let Some(whole) = bytes.get(..FIXED + rest) else { return Ok(None) };
    let header = |origin, tls| Ok(Some(Header { version: Version::V2, origin, tls, length: whole.len() }));
    let rest = whole.get(FIXED..).unwrap_or_default();
    let addressed = addresses(family, rest);
    if command == LOCAL || family == UNSPEC {
        // Whatever addresses are there are to be skipped, so what looks like an extension may be none.
        let extensions = addressed.map_or(rest, |(extensions, _)| extensions);
        let said = said(extensions).unwrap_or_default();
        if let Some(left) = said.checksum {
            verify(whole, left)?;
        }
        return if command == LOCAL {
            header(Origin::Proxy, None)
        } else {
            header(Origin::Unknown, said.tls)
        };
    }
    let (extensions, origin) = addressed.map_err(|_| Problem::Malformed)?;
    let said = said(extensions)?;
    if let Some(left) = said.checksum {
        verify(whole, left)?;
    }
    header(origin, said.tls)
}

fn check_command(byte: u8) -> Result<u8, Problem> {
    match byte ^ VERSION {
        command @ (LOCAL | PROXY) => Ok(command),
        _ => Err(Problem::Malformed),
    }
}

fn addresses(family: u8, rest: &[u8]) -> IResult<&[u8], Origin> {
    let v4 = |ip: u32, port| SocketAddr::new(IpAddr::V4(ip.into()), port);
    let v6 = |ip: u128, port| SocketAddr::new(IpAddr::V6(ip.into()), port);
    let client = |source, destination| Origin::Client { source, destination };
    match family {
        TCP4 | UDP4 => (be_u32, be_u32, be_u16, be_u16)
            .map(|(from, to, from_port, to_port)| client(v4(from, from_port), v4(to, to_port)))
            .parse(rest),
        TCP6 | UDP6 => (be_u128, be_u128, be_u16, be_u16)
            .map(|(from, to, from_port, to_port)| client(v6(from, from_port), v6(to, to_port)))
            .parse(rest),
        UNIX_STREAM | UNIX_DATAGRAM => take(UNIX_LENGTH).map(|_| Origin::Unix).parse(rest),
        _ => Ok((rest, Origin::Unknown)),
    }
}

/// What the extensions say.
#[derive(Clone, Copy, Default)]
struct Said {
    /// How many bytes come after the checksum.
    checksum: Option<usize>,
    /// Whether the client speaks TLS.
    tls: Option<bool>,
}

/// All of the extensions have to be whole.
fn said(mut extensions: &[u8]) -> Result<Said, Problem> {
    let mut said = Said::default();
    while !extensions.is_empty() {
        let (left, (kind, value)) = extension(extensions).map_err(|_| Problem::Malformed)?;
        match (kind, value) {
            (CRC32C, [_, _, _, _]) if said.checksum.is_none() => said.checksum = Some(left.len()),
            (SSL, [flags, ..]) if value.len() >= SSL_LENGTH && said.tls.is_none() => {
                said.tls = Some(flags & CLIENT_SSL != 0);
            }
            (CRC32C | SSL, _) => return Err(Problem::Malformed),
            _ => {}
        }
        extensions = left;
    }
    Ok(said)
}

fn extension(bytes: &[u8]) -> IResult<&[u8], (u8, &[u8])> {
    let (bytes, (kind, length)) = (be_u8, be_u16).parse(bytes)?;
    let (bytes, value) = take(length).parse(bytes)?;
    Ok((bytes, (kind, value)))
}

/// Whether the checksum in `whole`, `after` bytes before its end, is right.
fn verify(whole: &[u8], after: usize) -> Result<(), Problem> {
    let (before, after) = whole.split_at_checked(whole.len() - after).ok_or(Problem::Malformed)?;
    let (before, sum) = before.split_last_chunk::<4>().ok_or(Problem::Malformed)?;
    let is = crc32c_of([before, &[0; 4], after]);
    if is.to_be_bytes() == *sum { Ok(()) } else { Err(Problem::Checksum) }
}
