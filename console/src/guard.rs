//! Who may ask. The admin API has no passwords: it is for whoever can reach its address. A browser can be made to reach it by
//! any page it visits, so what shows the hand of a foreign page is refused: a `Host` that is a name which is not ours (DNS
//! rebinding), an `Origin` that is not this one, a request that the browser itself says is cross-site.

use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::{Method, Request, StatusCode};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("only GET and HEAD: nothing here can be changed")]
    Method,
    #[error("exactly one Host header is needed")]
    NoHost,
    #[error(
        "this Host is not one of the admin API's: ask for its address, or for localhost (defence against DNS rebinding)"
    )]
    ForeignHost,
    #[error("pages of other origins may not ask")]
    ForeignOrigin,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NoHost => StatusCode::BAD_REQUEST,
            Refusal::ForeignHost | Refusal::ForeignOrigin => StatusCode::FORBIDDEN,
        }
    }
}

/// Which names are ours.
#[derive(Debug)]
pub(crate) struct Guard {
    bound: IpAddr,
    hosts: Vec<String>,
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

impl Guard {
    pub(crate) fn new(bound: SocketAddr, hosts: &[String]) -> Guard {
        Guard { bound: bound.ip().to_canonical(), hosts: hosts.iter().map(|h| plain(h)).collect() }
    }

    /// Whether the request may be answered.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(Refusal::Method);
        }
        let headers = request.headers();
        let host = only(headers, &HOST).ok_or(Refusal::NoHost)?;
        let target = request.uri().authority().map(|authority| authority.as_str());
        if !self.is_ours(host) || !target.is_none_or(|target| self.is_ours(target)) {
            return Err(Refusal::ForeignHost);
        }
        if headers.contains_key(ORIGIN) {
            let origin = only(headers, &ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
            if !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
                return Err(Refusal::ForeignOrigin);
            }
        }
        if headers.contains_key(FETCH_SITE) {
            let here = only(headers, &FETCH_SITE).is_some_and(|site| matches!(site, "same-origin" | "none"));
            // Following a link from a foreign page shows its reader the answer, and that page nothing.
            let followed = only(headers, &FETCH_DEST) == Some("document");
            if !here && !followed {
                return Err(Refusal::ForeignOrigin);
            }
        }
        Ok(())
    }

    /// Whether `host`, with or without a port, is a name or address of the admin API. A name can be made to lead anywhere; an
    /// address leads where it says.
    fn is_ours(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        let name = plain(name);
        if name == "localhost" || self.hosts.contains(&name) {
            return true;
        }
        let bare = match name.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').and_then(|ip| ip.parse::<Ipv6Addr>().ok()).map(IpAddr::V6),
            None => name.parse().ok().map(IpAddr::V4),
        };
        bare.map(|ip| ip.to_canonical())
            .is_some_and(|ip| self.bound.is_unspecified() || ip == self.bound || ip.is_loopback())
    }
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let one = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(one)
}

/// The host without its port, if what follows it is one.
fn without_port(host: &str) -> Option<&str> {
    let end = host.rfind(']').map_or(0, |at| at + 1);
    match host.get(end..)?.split_once(':') {
        None => Some(host),
        Some((name, port)) => {
            let is_port = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
            if is_port { host.get(..end + name.len()) } else { None }
        }
    }
}

/// A name as it is compared: lower case, without the dot at its end.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let guard = |bound: &str| Guard::new(bound.parse().unwrap(), &["Weir.Internal".to_string()]);
        let (loopback, anywhere, one, six) =
            (guard("127.0.0.1:9901"), guard("0.0.0.0:9901"), guard("10.0.0.7:1"), guard("[::1]:1"));
        for host in [
            "localhost",
            "LocalHost:9901",
            "localhost.",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:80",
            "weir.internal:9901",
        ] {
            for guard in [&loopback, &anywhere, &one, &six] {
                assert!(guard.is_ours(host), "{host}");
            }
        }
        for host in [
            "",
            ":",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9901",
            "evil.example:127",
            "localhost:9901:9901",
            "localhost:http",
            "localhost@evil.example",
            "localhost evil",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "0x7f000001",
            "2130706433",
            "127.1",
            "localhost:999999",
            "[localhost]",
            "xlocalhost",
        ] {
            for guard in [&loopback, &anywhere, &one, &six] {
                assert!(!guard.is_ours(host), "{host}");
            }
        }
        assert!(one.is_ours("10.0.0.7:9901") && !one.is_ours("10.0.0.8") && !loopback.is_ours("10.0.0.7"));
        assert!(anywhere.is_ours("10.0.0.7:9901") && anywhere.is_ours("[2001:db8::1]"));
        assert!(one.is_ours("[::ffff:10.0.0.7]"));
    }

    #[test]
    fn requests() {
        use Refusal::{ForeignHost, ForeignOrigin, Method as BadMethod, NoHost};
        let guard = Guard::new("127.0.0.1:9901".parse().unwrap(), &[]);
        let host = ("host", "localhost:9901");
        type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Result<(), Refusal>);
        let cases: &[Case<'_>] = &[
            ("GET", "/", &[host], Ok(())),
            ("HEAD", "/", &[host], Ok(())),
            ("POST", "/", &[host], Err(BadMethod)),
            ("OPTIONS", "/", &[host], Err(BadMethod)),
            ("GET", "/", &[], Err(NoHost)),
            ("GET", "/", &[host, host], Err(NoHost)),
            ("GET", "/", &[("host", "evil.example")], Err(ForeignHost)),
            ("GET", "http://evil.example/", &[host], Err(ForeignHost)),
            ("GET", "http://localhost/", &[host], Ok(())),
            ("GET", "/", &[host, ("origin", "http://localhost:9901")], Ok(())),
            ("GET", "/", &[host, ("origin", "https://localhost:9901")], Err(ForeignOrigin)),
            ("GET", "/", &[host, ("origin", "http://localhost:3000")], Err(ForeignOrigin)),
            ("GET", "/", &[host, ("origin", "http://evil.example")], Err(ForeignOrigin)),
            ("GET", "/", &[host, ("origin", "null")], Err(ForeignOrigin)),
            ("GET", "/", &[host, ("origin", "")], Err(ForeignOrigin)),
            ("GET", "/", &[host, ("sec-fetch-site", "none")], Ok(())),
            ("GET", "/", &[host, ("sec-fetch-site", "same-origin")], Ok(())),
            ("GET", "/", &[host, ("sec-fetch-site", "same-site")], Err(ForeignOrigin)),
            (
                "GET",
                "/",
                &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "image")],
                Err(ForeignOrigin),
            ),
            (
                "GET",
                "/",
                &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "iframe")],
                Err(ForeignOrigin),
            ),
            ("GET", "/", &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")], Ok(())),
        ];
        for (method, uri, headers, expected) in cases {
            let mut request = Request::builder().method(*method).uri(*uri);
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            assert_eq!(guard.check(&request.body(()).unwrap()), *expected, "{method} {uri} {headers:?}");
        }
    }
}
