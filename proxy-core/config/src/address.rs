//! What a piece of text means as an address: to listen on, to connect to, or a network.

use crate::network::{Bind, Cidr, MAX_UNIX_PATH, UNIX, is_unix_path, unix_path};
use crate::scalar::{Problem, expectation, problem, suggest};
use crate::table::Kind;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn bind(text: &str) -> Result<SocketAddr, Problem> {
    address(text, &Kind::Bind)
}

pub(crate) fn listen(text: &str) -> Result<Bind, Problem> {
    match unix_path(text) {
        Some(path) => unix(path, &Kind::Listen).map(|()| Bind::Unix(Arc::from(Path::new(path)))),
        None if text.starts_with('/') => {
            Err(suggest(expectation(&Kind::Listen), format_args!("{UNIX}{text}")))
        }
        None => address(text, &Kind::Listen).map(Bind::Ip),
    }
}

pub(crate) fn endpoint(text: &str) -> Result<(), Problem> {
    match unix_path(text) {
        Some(path) => unix(path, &Kind::Endpoint),
        None if text.starts_with('/') => {
            Err(suggest(expectation(&Kind::Endpoint), format_args!("{UNIX}{text}")))
        }
        None => host_port(text)
            .map(drop)
            .map_err(|problem| Problem { expected: expectation(&Kind::Endpoint), ..problem }),
    }
}

/// The path of a Unix socket.
fn unix(path: &str, kind: &Kind) -> Result<(), Problem> {
    if is_unix_path(path) {
        return Ok(());
    }
    let hint = match path {
        _ if path.len() > MAX_UNIX_PATH => format!("the system takes {MAX_UNIX_PATH} bytes of a path"),
        _ => "the path is absolute, that of a file".into(),
    };
    Err(Problem { expected: expectation(kind), hint: Some(hint) })
}

pub(crate) fn network(text: &str) -> Result<Cidr, Problem> {
    let expected = || expectation(&Kind::Network);
    Cidr::parse(text).map_err(|meant| match meant {
        Some(meant) => suggest(expected(), meant),
        None => problem(expected()),
    })
}

fn address(text: &str, kind: &Kind) -> Result<SocketAddr, Problem> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let expected = expectation(kind);
    let port = |text: &str| text.parse::<u16>().ok();
    if let Some(port) = port(text) {
        return Err(suggest(expected, format_args!("127.0.0.1:{port}")));
    }
    Err(match text.rsplit_once(':') {
        Some((host, p)) if port(p).is_some() => match host {
            "" | "*" => suggest(expected, format_args!("0.0.0.0:{p}")),
            "localhost" => suggest(expected, format_args!("127.0.0.1:{p}")),
            _ => Problem { expected, hint: Some("names are not resolved here".into()) },
        },
        _ => match text.parse::<IpAddr>() {
            Ok(_) => Problem { expected, hint: Some("the port is missing".into()) },
            Err(_) => problem(expected),
        },
    })
}

/// Splits `host:port`; the host of an IPv6 address keeps its brackets.
pub(crate) fn host_port(text: &str) -> Result<(&str, u16), Problem> {
    let expected = expectation(&Kind::HostPort);
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        let hint = match host_port(rest) {
            Ok((host, port)) => format!("leave `{scheme}://` out: did you mean `{host}:{port}`?"),
            Err(_) => format!("leave `{scheme}://` out"),
        };
        return Err(Problem { expected, hint: Some(hint) });
    }
    let missing = Problem { expected: expected.clone(), hint: Some("the port is missing".into()) };
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((inner, after)) = rest.split_once(']') else { return Err(problem(expected)) };
            if inner.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(problem(expected));
            }
            let Some(port) = after.strip_prefix(':') else { return Err(missing) };
            (text.get(..inner.len() + 2).unwrap_or_default(), port)
        }
        None => {
            if text.parse::<std::net::Ipv6Addr>().is_ok() {
                let hint = Some("an IPv6 address goes in brackets: `[address]:port`".to_string());
                return Err(Problem { expected, hint });
            }
            let Some((name, port)) = text.rsplit_once(':') else {
                return Err(if host(text).is_ok() { missing } else { problem(expected) });
            };
            if host(name).is_err() {
                return Err(problem(expected));
            }
            (name, port)
        }
    };
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if number > 0 && digits && !port.starts_with('0') => Ok((name, number)),
        _ => Err(Problem { expected, hint: Some("a port is a number from 1 to 65535".into()) }),
    }
}

/// RFC 1123 section 2.1 labels, underscores let pass (they are in wide use inside of networks); or an IP address.
pub(crate) fn host(text: &str) -> Result<(), Problem> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // What is all digits and dots is an IPv4 address with a mistake in it, not a name.
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if name.len() <= 253 && !numeric && name.split('.').all(label) {
        return Ok(());
    }
    Err(problem(expectation(&Kind::Host)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::{Parsed, read};

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:80", "0.0.0.0:0", "[::1]:80", "[::]:65535", "[fe80::1%1]:80"] {
            assert!(read(&Kind::Bind, text, true).is_ok(), "{text}");
        }
        for text in [
            "",
            "80",
            ":80",
            "*:80",
            "localhost:80",
            "a.b:80",
            "127.0.0.1",
            "::1:80",
            "127.0.0.1:65536",
            "1.2.3.4:x",
        ] {
            assert!(read(&Kind::Bind, text, true).is_err(), "{text}");
        }
        for text in
            ["a:1", "a.b-c.d_e:65535", "a.:1", "10.0.0.1:80", "[::1]:80", "1a:1", "xn--bcher-kva.example:1"]
        {
            assert_eq!(read(&Kind::HostPort, text, true), Ok(Parsed::Text(text.into())), "{text}");
        }
        for text in [
            "",
            ":",
            ":1",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a:080",
            "a:+1",
            "a: 1",
            "a :1",
            "a b:1",
            "[::1]",
            "[::1]80",
            "[a]:1",
            "::1",
            "1.2.3:4",
            "1.2.3.256:4",
            "a..b:1",
            ".a:1",
            "-a:1",
            "a-:1",
            "http://a:1",
            "a:1/",
            "é:1",
            "a:1:2",
            "[::1]:80:90",
        ] {
            assert!(read(&Kind::HostPort, text, true).is_err(), "{text}");
        }
        let long = "a".repeat(64);
        assert!(read(&Kind::Host, &long, true).is_err());
        assert!(read(&Kind::Host, &[&long[1..]; 4].join("."), true).is_err());
        assert!(read(&Kind::Host, &[&long[1..]; 3].join("."), true).is_ok());
    }

    #[test]
    fn unix_sockets() {
        for kind in [Kind::Listen, Kind::Endpoint] {
            assert!(read(&kind, "unix:/run/weir.sock", true).is_ok());
            assert!(read(&kind, "10.0.0.1:80", true).is_ok());
            for (text, hint) in [
                ("/run/weir.sock", "did you mean `unix:/run/weir.sock`?"),
                ("unix:weir.sock", "the path is absolute, that of a file"),
                ("unix:/run/", "the path is absolute, that of a file"),
                ("unix:", "the path is absolute, that of a file"),
                (&format!("unix:/{}", "a".repeat(107)), "the system takes 107 bytes of a path"),
            ] {
                let found = read(&kind, text, true).unwrap_err();
                assert_eq!(found.hint.as_deref(), Some(hint), "{text}");
            }
        }
        assert!(read(&Kind::Bind, "unix:/run/weir.sock", true).is_err());
        assert!(read(&Kind::HostPort, "unix:/run/weir.sock", true).is_err());
    }

    #[test]
    fn networks() {
        assert!(read(&Kind::Network, "10.0.0.0/8", true).is_ok());
        let found = read(&Kind::Network, "10.0.0.1/8", true).unwrap_err();
        assert_eq!(found.hint.as_deref(), Some("did you mean `10.0.0.0/8`?"));
        assert_eq!(read(&Kind::Network, "ten", true).unwrap_err().hint, None);
    }
}
