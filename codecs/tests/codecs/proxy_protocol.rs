//! PROXY protocol headers: what is taken, what is refused and how, byte by byte, and that what is written is read the same.

use proptest::prelude::*;
use std::net::SocketAddr;
use weir_codecs::mongo::crc32c;
use weir_codecs::proxy_protocol::{Header, MAX_V1, MAX_V2_REST, Origin, Problem, Version, encode, parse};

fn client(source: &str, destination: &str) -> Origin {
    Origin::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// Fed one byte at a time, followed by something else, it says the same as whole; and it never asks for a byte that is not the
/// header's.
fn read(bytes: &[u8]) -> Result<Option<Header>, Problem> {
    let whole = parse(bytes);
    if let Ok(Some(header)) = whole {
        for end in 0..header.length {
            assert_eq!(parse(&bytes[..end]), Ok(None), "after {end} bytes of {bytes:?}");
        }
        let more = [&bytes[..header.length], b"PROXY and more"].concat();
        assert_eq!(parse(&more), whole, "what follows changes nothing");
    }
    if whole == Ok(None) {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None));
        }
    }
    whole
}

#[test]
fn lines_of_version_1() {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert!(longest.len() < MAX_V1);
    let full = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1 - 16));
    assert_eq!(full.len(), MAX_V1);
    let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let table = [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n", client("192.0.2.1:50000", "198.51.100.2:443")),
        ("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", client("255.255.255.255:65535", "0.0.0.0:0")),
        ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", client("[2001:db8::1]:1", "[::1]:2")),
        (
            "PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c000:202 1 2\r\n",
            client("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2"),
        ),
        (longest, client(&format!("[{all}]:65535"), &format!("[{all}]:65535"))),
        ("PROXY UNKNOWN\r\n", Origin::Unknown),
        ("PROXY UNKNOWN ffff::1 whatever 1\r\n", Origin::Unknown),
        (&full, Origin::Unknown),
    ];
    for (line, origin) in table {
        let header = Header { version: Version::V1, origin, tls: None, length: line.len() };
        assert_eq!(read(line.as_bytes()), Ok(Some(header)), "{line:?}");
    }
    assert!(parse(b"PROXY UNKNOWN \xff\x00\r\n").unwrap().is_some(), "what follows UNKNOWN is ignored");
}

#[test]
fn lines_that_are_none() {
    use Problem::{Absent, Malformed, TooLong};
    let long = format!("PROXY UNKNOWN {}", "x".repeat(MAX_V1 - 14));
    let cases = [
        ("GET / HTTP/1.1\r\n", Absent),
        ("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", Absent),
        ("PROXY\r\n", Absent),
        (" PROXY UNKNOWN\r\n", Absent),
        ("\r\nPROXY UNKNOWN\r\n", Absent),
        ("PROXY \r\n", Malformed),
        ("PROXY UNKNOWNS\r\n", Malformed),
        ("PROXY unknown\r\n", Malformed),
        ("PROXY TCP4\r\n", Malformed),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", Malformed),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", Malformed),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", Malformed),
        ("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Malformed),
        ("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", Malformed),
        ("PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n", Malformed),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", Malformed),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r3", Malformed),
        ("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", Malformed),
        ("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", Malformed),
        ("PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", Malformed),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", Malformed),
        ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", Malformed),
        ("PROXY TCP6 [::1] [::1] 1 2\r\n", Malformed),
        ("PROXY TCP6 ::1%1 ::1 1 2\r\n", Malformed),
        ("PROXY TCP5 ::1 ::1 1 2\r\n", Malformed),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", Malformed),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", Malformed),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", Malformed),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", Malformed),
        ("PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n", Malformed),
        (&format!("{long}\r\n"), TooLong),
        (&long, TooLong),
        (&"PROXY ".repeat(30), TooLong),
    ];
    for (line, problem) in cases {
        assert_eq!(read(line.as_bytes()), Err(problem), "{line:?}");
    }
    for (line, missing) in
        [("", 1), ("PRO", 1), ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2", 2), ("PROXY UNKNOWN\r", 1)]
    {
        assert_eq!(read(line.as_bytes()), Ok(None), "{line:?}, {missing} to come");
    }
}

const SIGNATURE: &[u8] = b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A";
const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0xC3, 0x50, 0x01, 0xBB];

/// A header of version 2.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn v6() -> Vec<u8> {
    let address = |last| [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [&address(1)[..], &address(2), &[0, 1, 0, 2]].concat()
}

/// The same with an extension that holds the right checksum, or one that is off by so much.
fn summed(command: u8, family: u8, addresses: &[u8], more: &[u8], off: u8) -> Vec<u8> {
    let mut header = v2(command, family, &[addresses, &[3, 0, 4, 0, 0, 0, 0], more].concat());
    let sum = crc32c(&header).to_be_bytes();
    let at = 16 + addresses.len() + 3;
    header[at..at + 4].copy_from_slice(&sum);
    header[at + 3] ^= off;
    header
}

#[test]
fn headers_of_version_2() {
    let ours = client("192.0.2.1:50000", "198.51.100.2:443");
    let extended = [V4, &[4, 0, 0], &[0xEA, 0, 2, b'v', b'p'], &[5, 0, 1, 7]].concat();
    let large = [V4, &[4, 0x0F, 0xF1], &[0; MAX_V2_REST - 15][..]].concat();
    let table: Vec<(Vec<u8>, Origin)> = vec![
        (v2(0x21, 0x11, V4), ours),
        (v2(0x21, 0x12, V4), ours),
        (v2(0x21, 0x21, &v6()), client("[2001:db8::1]:1", "[2001:db8::2]:2")),
        (v2(0x21, 0x22, &v6()), client("[2001:db8::1]:1", "[2001:db8::2]:2")),
        (v2(0x21, 0x31, &[b'/'; 216]), Origin::Unix),
        (v2(0x21, 0x32, &[b'/'; 216]), Origin::Unix),
        (v2(0x21, 0x11, &extended), ours),
        (v2(0x21, 0x11, &large), ours),
        (summed(0x21, 0x11, V4, &[4, 0, 1, 0], 0), ours),
        (summed(0x21, 0x21, &v6(), &[], 0), client("[2001:db8::1]:1", "[2001:db8::2]:2")),
        // What LOCAL and AF_UNSPEC bring is skipped, whatever it is.
        (v2(0x20, 0x00, &[]), Origin::Proxy),
        (v2(0x20, 0x11, V4), Origin::Proxy),
        (v2(0x20, 0x11, &[1, 2]), Origin::Proxy),
        (v2(0x20, 0xFF, b"whatever"), Origin::Proxy),
        (v2(0x21, 0x00, &[]), Origin::Unknown),
        (v2(0x21, 0x00, b"whatever"), Origin::Unknown),
        (summed(0x20, 0x00, &[], &[], 0), Origin::Proxy),
        (summed(0x21, 0x00, &[], &[4, 0, 0], 0), Origin::Unknown),
    ];
    for (bytes, origin) in table {
        let header = Header { version: Version::V2, origin, tls: None, length: bytes.len() };
        assert_eq!(read(&bytes), Ok(Some(header)), "{bytes:?}");
    }
}

#[test]
fn how_the_client_spoke_with_the_proxy() {
    let with = |command, family, more: &[u8]| v2(command, family, &[V4, more].concat());
    let ssl = |flags: u8| [&[0x20, 0, 5, flags][..], &[0; 4]].concat();
    let rich = [&[0x20, 0, 15, 0x07][..], &[0; 4], &[0x21, 0, 7], b"TLSv1.3"].concat();
    let table = [
        (with(0x21, 0x11, &[]), Ok(None)),
        (with(0x21, 0x11, &ssl(1)), Ok(Some(true))),
        (with(0x21, 0x11, &rich), Ok(Some(true))),
        (with(0x21, 0x11, &ssl(0)), Ok(Some(false))),
        // A certificate, and no TLS: flags of their own.
        (with(0x21, 0x11, &ssl(6)), Ok(Some(false))),
        (with(0x21, 0x11, &[&[4, 0, 0][..], &ssl(1)].concat()), Ok(Some(true))),
        (with(0x20, 0x11, &ssl(1)), Ok(None)),
        (with(0x21, 0x11, &[0x20, 0, 4, 1, 0, 0, 0]), Err(Problem::Malformed)),
        (with(0x21, 0x11, &[0x20, 0, 0]), Err(Problem::Malformed)),
        (with(0x21, 0x11, &[ssl(1), ssl(0)].concat()), Err(Problem::Malformed)),
    ];
    for (bytes, tls) in table {
        assert_eq!(read(&bytes).map(|header| header.unwrap().tls), tls, "{bytes:?}");
    }
}

#[test]
fn headers_that_are_none() {
    use Problem::{Absent, Checksum, Malformed, TooLong};
    let broken = |at: usize| {
        let mut bytes = v2(0x21, 0x11, V4);
        bytes[at] ^= 1;
        bytes
    };
    let with = |more: &[u8]| v2(0x21, 0x11, &[V4, more].concat());
    let mut table: Vec<(Vec<u8>, Problem)> = (0..12).map(|at| (broken(at), Absent)).collect();
    table.extend([
        (v2(0x22, 0x11, V4), Malformed),
        (v2(0x2F, 0x11, V4), Malformed),
        (v2(0x11, 0x11, V4), Malformed),
        (v2(0x31, 0x11, V4), Malformed),
        // Families and transports that nobody has defined.
        (v2(0x21, 0x10, V4), Malformed),
        (v2(0x21, 0x01, V4), Malformed),
        (v2(0x21, 0x13, V4), Malformed),
        (v2(0x21, 0x41, V4), Malformed),
        // Too short for the addresses.
        (v2(0x21, 0x11, &V4[..11]), Malformed),
        (v2(0x21, 0x21, V4), Malformed),
        (v2(0x21, 0x31, &[0; 215]), Malformed),
        // Extensions that break off.
        (with(&[4]), Malformed),
        (with(&[4, 0]), Malformed),
        (with(&[4, 0, 1]), Malformed),
        (with(&[4, 0, 0, 5, 0, 9, 0]), Malformed),
        (with(&[3, 0, 3, 0, 0, 0]), Malformed),
        (with(&[3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0]), Malformed),
        (v2(0x21, 0x11, &vec![0; MAX_V2_REST + 1]), TooLong),
        (with(&[3, 0, 4, 1, 2, 3, 4]), Checksum),
        (summed(0x21, 0x11, V4, &[4, 0, 1, 0], 1), Checksum),
        (summed(0x20, 0x00, &[], &[], 1), Checksum),
        (summed(0x21, 0x00, &[], &[], 0x80), Checksum),
    ]);
    for (bytes, problem) in table {
        assert_eq!(read(&bytes), Err(problem), "{bytes:?}");
    }
    let whole = v2(0x21, 0x21, &v6());
    for end in 0..whole.len() {
        assert_eq!(read(&whole[..end]), Ok(None), "{end}");
    }
}

#[test]
fn what_is_written() {
    let text = |origin: Origin| {
        let mut out = Vec::new();
        encode(Version::V1, &origin, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        text(client("192.0.2.1:50000", "198.51.100.2:443")),
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n"
    );
    assert_eq!(text(client("[2001:db8::1]:1", "[::1]:2")), "PROXY TCP6 2001:db8::1 ::1 1 2\r\n");
    assert_eq!(text(client("192.0.2.1:1", "[::1]:2")), "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
    for origin in [Origin::Proxy, Origin::Unknown, Origin::Unix] {
        assert_eq!(text(origin), "PROXY UNKNOWN\r\n");
    }
    let binary = |origin: Origin| {
        let mut out = vec![1];
        encode(Version::V2, &origin, &mut out);
        out.split_off(1)
    };
    assert_eq!(binary(client("192.0.2.1:50000", "198.51.100.2:443")), v2(0x21, 0x11, V4));
    assert_eq!(binary(client("[2001:db8::1]:1", "[2001:db8::2]:2")), v2(0x21, 0x21, &v6()));
    assert_eq!(binary(Origin::Proxy), v2(0x20, 0x00, &[]));
    assert_eq!(binary(Origin::Unknown), v2(0x21, 0x00, &[]));
    assert_eq!(binary(Origin::Unix), v2(0x21, 0x00, &[]));
}

fn any_end() -> impl Strategy<Value = SocketAddr> {
    any::<SocketAddr>().prop_map(|mut address| {
        // Neither version has scopes or flows.
        if let SocketAddr::V6(v6) = &mut address {
            v6.set_scope_id(0);
            v6.set_flowinfo(0);
        }
        address
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_the_same(source in any_end(), destination in any_end(), text in any::<bool>()) {
        let version = if text { Version::V1 } else { Version::V2 };
        let mut bytes = Vec::new();
        encode(version, &Origin::Client { source, destination }, &mut bytes);
        let header = read(&bytes).unwrap().unwrap();
        prop_assert_eq!((header.version, header.length), (version, bytes.len()));
        let Origin::Client { source: from, destination: to } = header.origin else { panic!("{header:?}") };
        prop_assert_eq!(from.ip().to_canonical(), source.ip().to_canonical());
        prop_assert_eq!(to.ip().to_canonical(), destination.ip().to_canonical());
        prop_assert_eq!((from.port(), to.port()), (source.port(), destination.port()));
    }

    #[test]
    fn any_bytes_are_read_the_same_however_they_come(
        start in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&b"PROXY TCP4 "[..]), Just(SIGNATURE)],
        rest in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        read(&[start, &rest].concat()).ok();
    }
}
