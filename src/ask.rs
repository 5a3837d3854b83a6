//! Asking a running Weir over its admin API.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

/// The most that an answer may be.
const CAP: u64 = 64 << 20;
/// The most addresses of a name that are tried.
const ADDRESSES: usize = 8;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may pause.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same of somebody who has an address that we want.
const HOLDER_PATIENCE: Duration = Duration::from_secs(2);

/// Where an admin API is: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    host: Arc<str>,
    port: u16,
}

impl From<SocketAddr> for Admin {
    fn from(address: SocketAddr) -> Admin {
        Admin { host: address.ip().to_string().into(), port: address.port() }
    }
}

impl std::str::FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Admin, String> {
        let (host, port) = split(text)?;
        Ok(Admin { host: host.into(), port })
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Admin { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// `HOST:PORT`, where an IPv6 address stands in brackets.
fn split(text: &str) -> Result<(&str, u16), String> {
    let expected = || format!("expected HOST:PORT, such as localhost:9901, found `{text}`");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let is_host = !host.is_empty()
        && (bare.is_some() == host.contains(':'))
        && host.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'@' | b'[' | b']'));
    if !is_host {
        return Err(expected());
    }
    Ok((host, port.parse().map_err(|_| expected())?))
}

/// An address to listen on; a name stands for its first IPv4 address, or for its first.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = split(text)?;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found =
        (host, port).to_socket_addrs().map_err(|error| format!("`{host}` has no address: {error}"))?;
    let found: Vec<_> = found.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("`{host}` has no address"))
}

/// `GET path` from the admin API: the body of a 200.
pub fn get(admin: &Admin, path: &str) -> Result<String> {
    let nobody = || format!("no Weir answers at {admin} (--admin says where its admin API is)");
    let found = (&*admin.host, admin.port).to_socket_addrs().with_context(nobody)?;
    let mut last = None;
    for address in found.take(ADDRESSES) {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                // A name may be one that it does not know itself by, and everybody is localhost.
                let (status, body) = match exchange(stream, &admin.to_string(), path, PATIENCE)? {
                    (403, _) => {
                        exchange(TcpStream::connect_timeout(&address, CONNECT)?, "localhost", path, PATIENCE)?
                    }
                    answer => answer,
                };
                if status != 200 {
                    bail!("{admin} answered {status}: {}", body.trim());
                }
                return Ok(body);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("the name has no address"), Into::into).context(nobody()))
}

fn exchange(mut stream: TcpStream, host: &str, path: &str, patience: Duration) -> Result<(u16, String)> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // HTTP/1.0, so that the answer ends where the connection does.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {host}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(CAP).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("the answer is not HTTP")?, body.to_owned()))
}

/// Who has the address of an admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody, by now.
    Nobody,
    /// A Weir that goes away, which may still accept.
    Leaving {
        /// Whether it does.
        accepting: bool,
    },
    /// A Weir that stays.
    Weir,
    /// Something else, or it does not say.
    Other,
}

/// Asks whoever has `address`.
pub fn holder(address: SocketAddr) -> Holder {
    let mut at = address;
    if at.ip().is_unspecified() {
        let local =
            if at.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) };
        at.set_ip(local);
    }
    let stream = match TcpStream::connect_timeout(&at, HOLDER_PATIENCE) {
        Ok(stream) => stream,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Holder::Nobody,
        Err(_) => return Holder::Other,
    };
    let said = exchange(stream, "localhost", "/", HOLDER_PATIENCE).ok().filter(|(status, _)| *status == 200);
    let Some(said) = said.and_then(|(_, body)| serde_json::from_str::<Value>(&body).ok()) else {
        return Holder::Other;
    };
    if said.get("weir").and_then(Value::as_str).is_none() {
        return Holder::Other;
    }
    if said.get("status").and_then(Value::as_str) != Some("draining") {
        return Holder::Weir;
    }
    Holder::Leaving { accepting: said.get("accepting").and_then(Value::as_bool) == Some(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_names_or_addresses() {
        for (text, shown) in [
            ("127.0.0.1:9901", Some("127.0.0.1:9901")),
            ("localhost:9901", Some("localhost:9901")),
            ("[::1]:1", Some("[::1]:1")),
            ("weir.monitoring.svc:9901", Some("weir.monitoring.svc:9901")),
            ("localhost", None),
            (":9901", None),
            ("::1:9901", None),
            ("[localhost]:1", None),
            ("localhost:http", None),
            ("localhost:99999", None),
            ("http://localhost:9901", None),
            ("a b:1", None),
        ] {
            let read = text.parse::<Admin>().ok().map(|admin| admin.to_string());
            assert_eq!(read.as_deref(), shown, "{text}");
        }
        assert_eq!(address("127.0.0.1:7").unwrap(), SocketAddr::from(([127, 0, 0, 1], 7)));
        assert!(address("localhost:7").unwrap().ip().is_loopback());
        assert!(address("nothing").is_err() && address("no.such.name.invalid:1").is_err());
    }
}
