//! `weir mongo`: fronts one MongoDB server without a configuration file. It looks at the server's answer to `hello` to tell the
//! URI that the application should use; credentials in the given URI belong to the application: they are neither used nor shown.

use anyhow::{Context as _, Result, bail};
use bson::{Document, doc};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// How long the server may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer to `hello` that is read.
const CAP: usize = 1 << 20;

/// What a MongoDB connection string says, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub struct Uri {
    /// `host:port` of the server.
    server: String,
    /// Whether it speaks TLS.
    tls: bool,
    /// The set it is said to belong to.
    replica_set: Option<String>,
}

impl Uri {
    /// Reads a connection string with one host.
    pub fn parse(uri: &str) -> Result<Uri> {
        if uri.starts_with("mongodb+srv://") {
            bail!("a mongodb+srv:// string names no host; give the mongodb://HOST:PORT of one member");
        }
        let rest = uri.strip_prefix("mongodb://").context("expected mongodb://HOST:PORT")?;
        let (hosts, options) = match rest.split_once(['/', '?']) {
            Some((hosts, tail)) => (hosts, tail.rsplit('?').next().unwrap_or("")),
            None => (rest, ""),
        };
        // What stands before the last @ are credentials: the application's, not ours.
        let hosts = hosts.rsplit('@').next().unwrap_or(hosts);
        if hosts.contains(',') {
            bail!("several hosts: give one member; each member needs a listener of its own");
        }
        if hosts.is_empty() || hosts.contains('%') {
            bail!("expected mongodb://HOST:PORT, a host and not a socket file");
        }
        let bare_ipv6 = hosts.ends_with(']');
        let with_port =
            !bare_ipv6 && hosts.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !with_port && !bare_ipv6 && hosts.contains(':') {
            bail!("{hosts}: expected HOST:PORT with a port from 1 to 65535");
        }
        let server = if with_port { hosts.to_owned() } else { format!("{hosts}:27017") };
        let option = |name: &str| {
            options
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        let on = |name: &str| option(name).is_some_and(|(_, value)| value == "true");
        let replica_set = option("replicaSet").map(|(_, value)| value.to_owned());
        Ok(Uri { server, tls: on("tls") || on("ssl"), replica_set })
    }
}

/// The configuration file that `weir mongo` stands for.
pub fn config(uri: &Uri, listen: SocketAddr, admin: SocketAddr) -> String {
    let tls = if uri.tls { ", tls: {}" } else { "" };
    format!(
        "# What `weir mongo` runs on: save it, and `weir run` it.\n\
         admin: \"{admin}\"\n\n\
         listeners:\n  mongo:\n    bind: \"{listen}\"\n    mongo: {{ cluster: mongo }}\n\n\
         clusters:\n  mongo: {{ endpoints: [\"{}\"]{tls} }}\n",
        uri.server
    )
}

/// What to tell the person: the URI to give the application, and why it looks as it does.
pub fn advice(uri: &Uri, listen: SocketAddr, admin: SocketAddr) -> String {
    let found = if uri.tls { Err(anyhow::anyhow!("it speaks TLS")) } else { hello(&uri.server) };
    let set = match &found {
        Ok(hello) => hello.get_str("setName").ok().map(str::to_owned),
        Err(_) => uri.replica_set.clone(),
    };
    let (options, why) = match (&set, &found) {
        (Some(set), _) => (
            "/?directConnection=true",
            format!(
                "  why the option         the server is a member of the replica set {set}: without it a driver would ask for the\n\
                 \x20                        members' own addresses, connect to those, and go round Weir\n"
            ),
        ),
        (None, Ok(_)) => ("/", String::new()),
        (None, Err(error)) => (
            "/?directConnection=true",
            format!(
                "  why the option         the server could not be asked what it is ({error}); should it be a member of a replica\n\
                 \x20                        set, a driver without the option would go round Weir\n"
            ),
        ),
    };
    format!(
        "Weir fronts {}\n  for the application    mongodb://{listen}{options}\n{why}  watch it               \
         weir stats --admin {admin}   http://{admin}/metrics\n",
        uri.server
    )
}

/// Asks the server what it is.
fn hello(server: &str) -> Result<Document> {
    let address = server.to_socket_addrs()?.next().context("the name has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let body = doc! { "hello": 1, "$db": "admin" }.to_vec()?;
    let mut message = Vec::new();
    let length = i32::try_from(16 + 4 + 1 + body.len())?;
    for word in [length, 1, 0, 2013, 0] {
        message.extend_from_slice(&word.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(&body);
    stream.write_all(&message)?;
    let mut head = [0; 21];
    stream.read_exact(&mut head)?;
    let [a, b, c, d, ..] = head;
    let length = usize::try_from(i32::from_le_bytes([a, b, c, d])).unwrap_or(0);
    if !(26..=CAP).contains(&length) {
        bail!("it does not answer like a MongoDB server");
    }
    let mut document = vec![0; length - 21];
    stream.read_exact(&mut document)?;
    Ok(Document::from_reader(document.as_slice())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(server: &str, tls: bool, set: Option<&str>) -> Uri {
        Uri { server: server.into(), tls, replica_set: set.map(str::to_owned) }
    }

    #[test]
    fn connection_strings() {
        let good = [
            ("mongodb://h", uri("h:27017", false, None)),
            ("mongodb://h:1/", uri("h:1", false, None)),
            ("mongodb://h:1/db?tls=true", uri("h:1", true, None)),
            ("mongodb://u:p%40@h:1/?replicaSet=rs0&ssl=false", uri("h:1", false, Some("rs0"))),
            ("mongodb://h:1?replicaset=rs0", uri("h:1", false, Some("rs0"))),
            ("mongodb://[::1]:5", uri("[::1]:5", false, None)),
            ("mongodb://[::1]", uri("[::1]:27017", false, None)),
        ];
        for (text, wanted) in good {
            assert_eq!(Uri::parse(text).unwrap(), wanted, "{text}");
        }
        let bad = [
            "h:1",
            "http://h",
            "mongodb://",
            "mongodb://a,b",
            "mongodb+srv://h",
            "mongodb://h:x",
            "mongodb://%2Ftmp%2Fs",
        ];
        for text in bad {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let uri = Uri::parse("mongodb://app:hunter2@127.0.0.1:9/").unwrap();
        for text in [config(&uri, address, address), advice(&uri, address, address), format!("{uri:?}")] {
            assert!(!text.contains("hunter2") && !text.contains("app:"), "{text}");
        }
    }
}
