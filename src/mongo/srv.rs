//! Looking up what a `mongodb+srv://` name stands for: an SRV record for each server and a TXT record with options
//! (RFC 2782; MongoDB's "Initial DNS Seedlist Discovery"). One question over UDP to the system's first name server that
//! answers, and over TCP where the answer is too long.

use super::uri::Uri;
use anyhow::{Context as _, Result, bail};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(3);
const TXT: u16 = 16;
const SRV: u16 = 33;
/// The longest chain of compressed parts that a name may have.
const MOST_JUMPS: usize = 16;

/// Replaces the name of a `mongodb+srv://` string by the servers and options that it stands for.
/// Asks `resolver`, or the system's name servers.
pub fn resolve(uri: &mut Uri, resolver: Option<SocketAddr>) -> Result<()> {
    let name = uri.servers.first().cloned().unwrap_or_default();
    let servers = resolver.map_or_else(name_servers, |resolver| vec![resolver]);
    uri.servers = Vec::new();
    for record in ask(&servers, &format!("_mongodb._tcp.{name}"), SRV)? {
        let Record::Server { host, port } = record else { continue };
        uri.add(format!("{}:{port}", checked(&name, &host)?));
    }
    if uri.servers.is_empty() {
        bail!("{name}: there is no SRV record _mongodb._tcp.{name}");
    }
    uri.is_srv = false;
    let texts: Vec<String> = ask(&servers, &name, TXT)?
        .into_iter()
        .filter_map(|record| if let Record::Text(text) = record { Some(text) } else { None })
        .collect();
    match texts.as_slice() {
        [] => Ok(()),
        [options] => take(uri, options),
        _ => bail!("{name}: it has several TXT records, which MongoDB does not allow"),
    }
}

/// A server must be in the domain of the name that leads to it, or whoever answers could send us anywhere.
fn checked(name: &str, host: &str) -> Result<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if !weir_mongo::is_member(&format!("{host}:1")) {
        bail!("{}: the SRV record names no host", weir_decide::text::clean(&host));
    }
    // Of a name of one or two parts, all of it: what is left would be a domain that anybody may be in.
    let short = name.split('.').count() < 3;
    let domain = name.split_once('.').filter(|_| !short).map_or(name, |(_, domain)| domain);
    if !host.strip_suffix(domain).is_some_and(|front| front.ends_with('.')) {
        bail!("{host}: the SRV record leads out of the domain {domain}");
    }
    Ok(host)
}

/// Takes the TXT record's options: only these may be there, and those of the string itself come first.
fn take(uri: &mut Uri, options: &str) -> Result<()> {
    for option in options.split('&') {
        let (name, _) = option.split_once('=').unwrap_or((option, ""));
        match name.to_ascii_lowercase().as_str() {
            "replicaset" if uri.replica_set.is_some() => {}
            "authsource" if uri.kept.iter().any(|(kept, _)| kept.eq_ignore_ascii_case("authSource")) => {}
            "replicaset" | "authsource" => uri.take_options(option)?,
            "loadbalanced" => uri.take_options(option)?,
            _ => bail!("the TXT record has an option that MongoDB does not allow there"),
        }
    }
    Ok(())
}

/// Those of the system (resolv.conf), in their order.
fn name_servers() -> Vec<SocketAddr> {
    let file = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = file.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|address| Some(SocketAddr::new(address.trim().parse::<IpAddr>().ok()?, 53))).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Record {
    Server { host: String, port: u16 },
    Text(String),
}

fn ask(servers: &[SocketAddr], name: &str, kind: u16) -> Result<Vec<Record>> {
    let id = u16::from_be_bytes(random()?);
    let question = question(id, name, kind)?;
    let mut last = anyhow::anyhow!("there is no name server in /etc/resolv.conf");
    for server in servers {
        match ask_one(*server, &question) {
            Ok(answer) => {
                return records(&answer, &question, kind).with_context(|| format!("looking up {name}"));
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last.context(format!("looking up {name}")))
}

/// An id that nobody can guess, so that nobody can answer in the name server's place.
fn random() -> std::io::Result<[u8; 2]> {
    let mut bytes = [0; 2];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn ask_one(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(question)?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    // Truncated: the rest is to be had over TCP.
    if answer.get(2).is_some_and(|flags| flags & 2 != 0) {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
        stream.write_all(&[&length.to_be_bytes(), question].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
    }
    Ok(answer)
}

/// A question for records of this kind (RFC 1035, section 4.1).
fn question(id: u16, name: &str, kind: u16) -> Result<Vec<u8>> {
    let mut message = [id, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        message.push(length.context("a name with an impossible part")?);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&[kind, 1].map(u16::to_be_bytes).concat());
    Ok(message)
}

/// The records of this kind in an answer to `question`.
fn records(answer: &[u8], question: &[u8], kind: u16) -> Result<Vec<Record>> {
    let short = || anyhow::anyhow!("the name server's answer is cut short");
    let number = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    if answer.get(..2) != question.get(..2) || answer.get(12..question.len()) != question.get(12..) {
        bail!("the name server answered another question");
    }
    match answer.get(3).map(|flags| flags & 15) {
        Some(0) => {}
        // The name is not there.
        Some(3) => return Ok(Vec::new()),
        code => bail!("the name server failed (code {})", code.unwrap_or(0)),
    }
    let mut at = question.len();
    let mut found = Vec::new();
    for _ in 0..number(6).ok_or_else(short)? {
        at = name_at(answer, at).ok_or_else(short)?.1;
        let its = number(at).ok_or_else(short)?;
        let length = usize::from(number(at + 8).ok_or_else(short)?);
        let data = at + 10;
        at = data + length;
        let bytes = answer.get(data..at).ok_or_else(short)?;
        if its != kind {
            // A CNAME on the way.
            continue;
        }
        found.push(match kind {
            SRV => {
                let port = number(data + 4).ok_or_else(short)?;
                Record::Server { host: name_at(answer, data + 6).ok_or_else(short)?.0, port }
            }
            _ => Record::Text(text(bytes).ok_or_else(short)?),
        });
    }
    Ok(found)
}

/// The name at an offset, and where what follows it begins (RFC 1035, section 4.1.4).
fn name_at(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels: Vec<String> = Vec::new();
    let mut end = None;
    for _ in 0..128 {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some((labels.join("."), end.unwrap_or(at + 1))),
            1..64 => {
                labels.push(String::from_utf8(message.get(at + 1..at + 1 + length)?.to_vec()).ok()?);
                at += 1 + length;
            }
            192.. if labels.len() < MOST_JUMPS => {
                end.get_or_insert(at + 2);
                at = (length & 63) << 8 | usize::from(*message.get(at + 1)?);
            }
            _ => return None,
        }
    }
    None
}

/// The strings of a TXT record, put together.
fn text(mut data: &[u8]) -> Option<String> {
    let mut whole = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (part, rest) = rest.split_at_checked(usize::from(*length))?;
        whole.extend_from_slice(part);
        data = rest;
    }
    String::from_utf8(whole).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(question: &[u8], kind: u16, data: &[&[u8]]) -> Vec<u8> {
        let mut answer = question.to_vec();
        answer[2] = 0x81;
        answer[7] = data.len() as u8;
        for data in data {
            answer.extend_from_slice(&[0xC0, 12]);
            answer.extend_from_slice(&[kind, 1, 0, 60, data.len() as u16].map(u16::to_be_bytes).concat());
            answer.extend_from_slice(data);
        }
        answer
    }

    fn server(host: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 5, 0x69, 0x89][..], host].concat()
    }

    #[test]
    fn answers_are_read() {
        let asked = question(7, "_mongodb._tcp.db.shop.example", SRV).unwrap();
        // A name in full, and one that ends where the question's does (offset 26: `db.shop.example`).
        let whole = server(b"\x01a\x04shop\x07example\x00");
        let part = server(b"\x01b\xC0\x1D");
        let found = records(&answer(&asked, SRV, &[&whole, &part]), &asked, SRV).unwrap();
        let at = |host: &str| Record::Server { host: host.into(), port: 27017 };
        assert_eq!(found, [at("a.shop.example"), at("b.shop.example")]);
        let asked = question(7, "db.shop.example", TXT).unwrap();
        let said = answer(&asked, TXT, &[b"\x0EauthSource=adm\x02in"]);
        assert_eq!(records(&said, &asked, TXT).unwrap(), [Record::Text("authSource=admin".into())]);
        for cut in 0..said.len() {
            assert!(records(&said[..cut], &asked, TXT).is_err(), "cut at {cut}");
        }
        let mut nowhere = said.clone();
        nowhere[3] = 3;
        assert_eq!(records(&nowhere, &asked, TXT).unwrap(), []);
        let mut another = said;
        another[0] ^= 1;
        assert!(records(&another, &asked, TXT).is_err());
        // A name that refers to itself.
        assert_eq!(name_at(&[0xC0, 0], 0), None);
    }

    #[test]
    fn servers_are_in_the_domain() {
        let good = [("db.shop.example", "a.shop.example."), ("db.shop.example", "x.y.Shop.example")];
        for (name, host) in good {
            assert!(checked(name, host).is_ok(), "{host}");
        }
        for (name, host) in [("mongo.internal", "a.mongo.internal."), ("local", "a.local")] {
            assert!(checked(name, host).is_ok(), "{host}");
        }
        for (name, host) in
            [("mongo.internal", "a.internal"), ("mongo.internal", "mongo.internal"), ("local", "local")]
        {
            assert!(checked(name, host).is_err(), "{host}");
        }
        for host in ["a.evil.example", "evilshop.example", "shop.example", "example"] {
            assert!(checked("db.shop.example", host).is_err(), "{host}");
        }
    }

    #[test]
    fn a_txt_record_may_say_little() {
        let mut uri = Uri::parse("mongodb+srv://db.shop.example/?authSource=mine").unwrap();
        take(&mut uri, "authSource=admin&replicaSet=rs0").unwrap();
        assert_eq!(uri.replica_set.as_deref(), Some("rs0"));
        assert_eq!(uri.kept, [("authSource".to_owned(), "mine".to_owned())]);
        assert!(take(&mut uri, "tls=false").is_err());
        assert!(take(&mut uri, "loadBalanced=true").is_err());
    }
}
