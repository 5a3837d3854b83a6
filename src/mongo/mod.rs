//! `weir mongo`: fronts MongoDB without a configuration file. It asks the servers what they are, gives each member of a
//! replica set an address, and tells the URI that the application should use. Credentials in the given URI ([`uri`]) belong
//! to the application: they are neither used nor shown.

mod reach;
mod srv;
mod uri;

pub use uri::Uri;

use anyhow::{Result, bail};
use bson::{Document, doc};
use reach::{Unreached, names, unreached};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;
use weir_decide::text::clean;
use weir_drive::Server;

/// How long a server may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most addresses of a name that are tried.
const ADDRESSES: usize = 8;
/// How long members may take to get their addresses before the URI is told without them.
const SETTLING: Duration = Duration::from_secs(10);
/// The same where some cannot be reached.
const SETTLING_IN_PART: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The longest answer to `hello` that is read.
const CAP: usize = 1 << 20;
/// The fewest ports that are set aside for members.
const FEWEST_PORTS: u16 = 10;
/// The first of them where the listener's own port is the system's to choose.
const FIRST_PORT: u16 = 27018;

/// What was asked for on the command line.
#[derive(Debug)]
pub struct Wish {
    /// The servers.
    pub uri: Uri,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Under which host drivers reach that.
    pub advertise: Option<String>,
    /// Where members really are, by the set's names for them.
    pub members: Vec<(String, String)>,
    /// Where the admin API listens.
    pub admin: SocketAddr,
}

/// How the wish is to be read.
#[derive(Debug, Default)]
pub struct Means {
    /// Under which host drivers reach Weir.
    pub advertise: Option<String>,
    /// Where members really are: `NAME=ADDRESS`, each `host:port`.
    pub members: Vec<String>,
    /// The name server to ask for a `mongodb+srv://` name, instead of the system's.
    pub resolver: Option<SocketAddr>,
}

impl Wish {
    /// Reads the connection string, and looks up a `mongodb+srv://` name.
    pub fn new(uri: &str, listen: SocketAddr, admin: SocketAddr, means: Means) -> Result<Wish> {
        let Means { advertise, members, resolver } = means;
        let members = members.iter().map(|member| reach::member(member)).collect::<Result<_>>()?;
        let mut uri = Uri::parse(uri)?;
        if uri.is_srv {
            srv::resolve(&mut uri, resolver)?;
        }
        if listen.ip().is_unspecified() && advertise.is_none() && !uri.direct {
            bail!("--listen {listen}: drivers must be told an address, so --advertise HOST is needed");
        }
        Ok(Wish { uri, listen, advertise, members, admin })
    }

    /// The configuration file that `weir mongo` stands for.
    pub fn config(&self) -> String {
        let Wish { uri, listen, admin, .. } = self;
        let tls = match &uri.ca {
            Some(ca) => format!(", tls: {{ ca: {} }}", quoted(ca)),
            None if uri.tls => ", tls: {}".to_owned(),
            None => String::new(),
        };
        let servers: Vec<String> = uri.servers.iter().map(|server| quoted(server)).collect();
        let fronting = if uri.direct {
            "mode: transparent".to_owned()
        } else {
            let (first, last) = self.ports();
            let advertise = self.advertise.as_ref().map(|host| format!(", advertise: {}", quoted(host)));
            let members: Vec<String> =
                self.members.iter().map(|(name, at)| format!("{}: {}", quoted(name), quoted(at))).collect();
            let members = match members.is_empty() {
                true => String::new(),
                false => format!(", members: {{ {} }}", members.join(", ")),
            };
            format!("member_ports: {first}-{last}{}{members}", advertise.unwrap_or_default())
        };
        format!(
            "# What `weir mongo` runs on: save it, and `weir run` it.\n\
             admin: \"{admin}\"\n\n\
             listeners:\n  mongo:\n    bind: \"{listen}\"\n    mongo: {{ cluster: mongo, {fronting} }}\n\n\
             clusters:\n  mongo: {{ endpoints: [{}]{tls} }}\n",
            servers.join(", ")
        )
    }

    /// The ports for members: the listener's own and those after it, twice as many as there are servers.
    fn ports(&self) -> (u16, u16) {
        let count = u16::try_from(self.uri.servers.len() * 2).unwrap_or(u16::MAX).clamp(FEWEST_PORTS, 100);
        let first = if self.listen.port() == 0 { FIRST_PORT } else { self.listen.port() };
        let first = first.min(u16::MAX - count + 1);
        (first, first + (count - 1))
    }

    /// What the first server that answers says of itself, and which members cannot be reached from here.
    pub fn look(&self) -> Found {
        let hello = self.ask();
        let asked = hello.as_ref().ok().filter(|_| !self.uri.direct);
        let unreached = asked.map_or_else(Vec::new, |hello| unreached(&names(hello), &self.members));
        Found { hello, unreached }
    }

    /// `Err`: none answered.
    fn ask(&self) -> Result<Document> {
        let tls = self.uri.tls.then(|| weir_config::ClientTls {
            ca: self.uri.ca.as_ref().map(weir_config::File::at_path),
            ..weir_config::ClientTls::default()
        });
        let mut last = anyhow::anyhow!("there is no server");
        for server in &self.uri.servers {
            match ask(server, tls.as_ref()) {
                Ok(hello) => return Ok(hello),
                Err(error) => last = error.context(server.clone()),
            }
        }
        Err(last)
    }

    /// What to tell the person: the URI to give the application. Waits until the members have their addresses.
    /// `admin` is where the admin API really listens.
    pub async fn advice(&self, server: &Server, admin: Option<SocketAddr>, found: &Found) -> String {
        let Found { hello: found, unreached } = found;
        let listen = server.address("mongo").unwrap_or(self.listen);
        let set = match found {
            Ok(hello) => {
                hello.get_str("setName").ok().filter(|set| weir_mongo::is_set(set)).map(str::to_owned)
            }
            Err(_) => self.uri.replica_set.clone(),
        };
        let members = found.as_ref().map_or(0, |hello| names(hello).len());
        let mut hosts = vec![listen.port()];
        if set.is_some() && !self.uri.direct {
            let patience = if unreached.is_empty() { SETTLING } else { SETTLING_IN_PART };
            hosts = self.settled(server, listen, members, patience).await;
        }
        let host = self.advertise.clone().unwrap_or_else(|| listen.ip().to_string());
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let hosts: Vec<String> = hosts.iter().map(|port| format!("{host}:{port}")).collect();
        let is_member = set.is_some();
        let set = set.filter(|_| !self.uri.direct);
        let uri = self.uri.fronted(&hosts.join(","), set.as_deref(), self.uri.direct);
        let mut text = match &set {
            Some(set) => {
                let hosts = found.as_ref().map(names).unwrap_or_else(|_| self.uri.servers.clone());
                format!("Weir fronts the replica set {}: {}\n", clean(set), hosts.join(", "))
            }
            None => format!("Weir fronts {}\n", self.uri.servers.join(", ")),
        };
        text += &format!("  for the application    {uri}\n");
        match (&set, hosts.first()) {
            (Some(_), Some(host)) => {
                let one = self.uri.fronted(host, None, true);
                text += &format!(
                    "  for one member alone   {one}\n\
                     \x20                        directConnection=true keeps a driver there: without it, it goes to all members\n"
                );
            }
            _ if is_member => {
                text += "  directConnection=true  is to stay: without it a driver asks for the members, and goes to them past Weir\n";
            }
            _ => {}
        }
        text += &reach::told(unreached);
        if self.uri.has_credentials {
            text += "  credentials            those of the application, as before: put them in front of the hosts\n";
        }
        if !self.uri.left_out.is_empty() {
            text += &format!(
                "  not in the URI         {}: of the way to the servers, or a secret; add what the application itself needs\n",
                self.uri.left_out.join(", ")
            );
        }
        if self.uri.is_x509() {
            text += "  MONGODB-X509           cannot work here: the server would see Weir's certificate. docs/mongodb.md says how such users pass\n";
        }
        if let Err(error) = found {
            let (first, last) = self.ports();
            text += &format!(
                "  not known yet          the server could not be asked what it is ({error}); should it be of a replica set, its\n\
                 \x20                        members get ports of {first}-{last}\n",
                error = clean(&format!("{error:#}")),
            );
        }
        let admin = admin.unwrap_or(self.admin);
        text + &format!("  watch it               weir stats --admin {admin}   http://{admin}/metrics\n")
    }

    /// The ports of the members, once there are so many (or it has taken too long).
    async fn settled(
        &self,
        server: &Server,
        listen: SocketAddr,
        members: usize,
        patience: Duration,
    ) -> Vec<u16> {
        let (first, last) = self.ports();
        let mut patience = patience.as_millis() / LOOK.as_millis();
        loop {
            let mut ports: Vec<u16> = server.doors("mongo").iter().map(SocketAddr::port).collect();
            if ports.is_empty() || (first..=last).contains(&listen.port()) {
                ports.insert(0, listen.port());
            }
            if ports.len() >= members || patience == 0 {
                return ports;
            }
            patience -= 1;
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What was found before anything was started.
#[derive(Debug)]
pub struct Found {
    /// What a server says it is; `Err`: none answered.
    hello: Result<Document>,
    /// Members that cannot be reached from here.
    unreached: Vec<Unreached>,
}

/// A YAML string in double quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Asks a server what it is, in the clear or through TLS.
fn ask(server: &str, tls: Option<&weir_config::ClientTls>) -> Result<Document> {
    let mut stream = reach(server.to_socket_addrs()?)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match tls {
        None => hello(&mut stream),
        Some(tls) => hello(&mut weir_drive::blocking::connect(tls, server, stream)?),
    }
}

/// A connection to the first of these addresses, of one name, where somebody listens. `localhost` often is two, of which a server has
/// one.
fn reach(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream> {
    let mut last = anyhow::anyhow!("the name has no address");
    for address in addresses.take(ADDRESSES) {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn hello(stream: &mut (impl Read + Write)) -> Result<Document> {
    let body = doc! { "hello": 1, "$db": "admin" }.to_vec()?;
    let mut message = Vec::new();
    let length = i32::try_from(16 + 4 + 1 + body.len())?;
    for word in [length, 1, 0, 2013, 0] {
        message.extend_from_slice(&word.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(&body);
    stream.write_all(&message)?;
    stream.flush()?;
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

    #[test]
    fn another_address_of_the_name_will_do() {
        let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = there.local_addr().unwrap();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let reached = reach([gone, there].into_iter()).unwrap();
        assert_eq!(reached.peer_addr().unwrap(), there);
        assert!(reach([gone].into_iter()).is_err() && reach([].into_iter()).is_err());
    }

    fn wish(uri: &str, listen: &str) -> Result<Wish> {
        let admin = SocketAddr::from(([127, 0, 0, 1], 9901));
        Wish::new(uri, listen.parse().unwrap(), admin, Means::default())
    }

    #[test]
    fn the_file_it_stands_for_can_be_run() {
        for uri in [
            "mongodb://app:hunter2@127.0.0.1:9/",
            "mongodb://app:hunter2@a,b:1,[::1]:3/db?replicaSet=rs&tls=true",
            "mongodb://app:hunter2@a/?tlsCAFile=ca.pem",
            "mongodb://app:hunter2@a/?directConnection=true",
        ] {
            for listen in ["127.0.0.1:27018", "127.0.0.1:0", "127.0.0.1:65535"] {
                let wish = wish(uri, listen).unwrap();
                let text = wish.config();
                assert!(!text.contains("hunter2") && !format!("{wish:?}").contains("hunter2"), "{text}");
                let config = weir_config::parse(&text, "weir.yaml", &crate::filters::sections());
                assert!(config.is_ok_and(|config| config.warnings.is_empty()), "{text}");
            }
        }
    }

    #[test]
    fn members_may_be_elsewhere() {
        let means = |members: &[&str]| Means {
            members: members.iter().map(|m| (*m).to_owned()).collect(),
            ..Means::default()
        };
        let admin = SocketAddr::from(([127, 0, 0, 1], 9901));
        let listen = "127.0.0.1:27018".parse().unwrap();
        let wish = |members: &[&str]| Wish::new("mongodb://127.0.0.1:9/", listen, admin, means(members));
        let text = wish(&["mongo-0.mongo.svc:27017=127.0.0.1:27017", "m-1:1=localhost:2"]).unwrap().config();
        assert!(
            text.contains(
                r#"members: { "mongo-0.mongo.svc:27017": "127.0.0.1:27017", "m-1:1": "localhost:2" }"#
            ),
            "{text}"
        );
        let config = weir_config::parse(&text, "weir.yaml", &crate::filters::sections());
        assert!(config.is_ok_and(|config| config.warnings.is_empty()), "{text}");
        for bad in ["a", "a:1", "a=b", "a:1=b", "a=b:1", "a b:1=c:1", "a:1=\x1b:1", "=a:1"] {
            assert!(wish(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn drivers_must_be_told_an_address() {
        assert!(wish("mongodb://a", "0.0.0.0:27018").is_err());
        assert!(wish("mongodb://a/?directConnection=true", "0.0.0.0:27018").is_ok());
    }
}
