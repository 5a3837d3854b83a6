//! `host[:port]` (RFC 3986 section 3.2, RFC 9110 section 4.2).

use std::net::Ipv6Addr;

/// A host and its port, if one is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets; never empty.
    pub host: &'a [u8],
    /// The port, if one is written.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `host[:port]`. Narrower than RFC 3986 on purpose: no user information, no empty host or port, no
    /// percent-escapes and none of `!$&'()*+,;=` in names. No host has those; cache poisoning does.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (host, rest) = match bytes {
            [b'[', ..] => {
                let close = memchr::memchr(b']', bytes)?;
                let address = std::str::from_utf8(bytes.get(1..close)?).ok()?;
                address.parse::<Ipv6Addr>().ok()?;
                bytes.split_at_checked(close + 1)?
            }
            _ => {
                let end = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
                let (host, rest) = bytes.split_at_checked(end)?;
                if host.is_empty() || !host.iter().all(|&b| is_name_byte(b)) {
                    return None;
                }
                (host, rest)
            }
        };
        let port = match rest {
            [] => None,
            [b':', digits @ ..] => Some(port(digits)?),
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Whether both name the same place for a scheme with this default port.
    #[must_use]
    pub fn same(&self, other: &Self, default: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 {
        return None;
    }
    digits.iter().try_fold(0u16, |n, &b| match b {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u16::from(b - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_a_client_sends_and_nothing_else() {
        let ok: &[(&str, &str, Option<u16>)] = &[
            ("example.com", "example.com", None),
            ("example.com:80", "example.com", Some(80)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::7]:8443", "[2001:db8::7]", Some(8443)),
            ("my_service.local", "my_service.local", None),
            ("a:0", "a", Some(0)),
        ];
        for (text, host, port) in ok {
            let want = Authority { host: host.as_bytes(), port: *port };
            assert_eq!(Authority::parse(text.as_bytes()), Some(want), "{text}");
        }
        for text in [
            "",
            ":",
            ":80",
            "a:",
            "a:b",
            "a:65536",
            "a:000080",
            "a:+80",
            "a b",
            "a,b",
            "a/b",
            "u@a",
            "[::1",
            "[]",
            "[::g]",
            "[::1]x",
            "[::1]:",
            "::1",
            "a:1:2",
            "a%41",
            "caf\u{e9}",
            "a\t",
            "\"a\"",
            "[fe80::1%25en0]",
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn sameness_ignores_case_and_the_default_port() {
        let parse = |text: &'static str| Authority::parse(text.as_bytes()).unwrap();
        assert!(parse("A.example").same(&parse("a.EXAMPLE:80"), 80));
        assert!(!parse("a.example").same(&parse("a.example:443"), 80));
        assert!(!parse("a.example").same(&parse("a.example."), 80));
    }
}
