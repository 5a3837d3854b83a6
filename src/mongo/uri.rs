//! MongoDB connection strings, as far as they concern who stands between application and servers. Credentials in one belong
//! to the application: they are not kept.

use anyhow::{Context as _, Result, bail};

/// Options that may hold a secret, beyond those whose names say so: the application has to be given them again.
const SECRET: [&str; 2] = ["authMechanismProperties", "proxyUsername"];

/// Parts of the names of options that hold secrets.
const SECRET_PARTS: [&str; 5] = ["pass", "pwd", "secret", "token", "key"];

/// Options that Weir cannot honour for the application, and why.
const REFUSED: [(&str, &str); 8] = [
    ("loadBalanced", "servers behind a load balancer: front those themselves"),
    ("proxyHost", "Weir connects to the servers itself, without a SOCKS proxy"),
    ("sslInvalidCertificatesAllowed", "Weir verifies the servers' certificates"),
    ("tlsAllowInvalidCertificates", "Weir verifies the servers' certificates"),
    ("tlsAllowInvalidHostnames", "Weir verifies the servers' names"),
    ("tlsCertificateKeyFile", "a client certificate goes into the cluster's `tls` of a configuration file"),
    ("tlsInsecure", "Weir verifies the servers' certificates"),
    ("srvServiceName", "Weir asks for the service `mongodb` only"),
];

/// What a connection string says, without its credentials.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uri {
    /// `host:port` of each server; of a `mongodb+srv://` string its name, to be looked up.
    pub servers: Vec<String>,
    /// It is a `mongodb+srv://` string that has not been looked up yet.
    pub is_srv: bool,
    /// Whether the servers speak TLS.
    pub tls: bool,
    /// A PEM file with the roots to trust.
    pub ca: Option<String>,
    /// The set that they are said to belong to.
    pub replica_set: Option<String>,
    /// Only the one server is meant.
    pub direct: bool,
    /// There were credentials.
    pub has_credentials: bool,
    /// What stands behind the host: the database.
    pub database: String,
    /// Options that pass to the application's new string: those that say nothing of the way to the servers and hold no secret.
    pub kept: Vec<(String, String)>,
    /// The names of those that pass neither there nor into Weir's own settings.
    pub left_out: Vec<String>,
}

impl Uri {
    /// Whether the application's identity is its certificate.
    pub fn is_x509(&self) -> bool {
        let says = |(key, value): &(String, String)| {
            key.eq_ignore_ascii_case("authMechanism") && value.eq_ignore_ascii_case("MONGODB-X509")
        };
        self.kept.iter().any(says)
    }
    /// Reads a connection string. No error shows what may be a credential.
    pub fn parse(uri: &str) -> Result<Uri> {
        let (rest, is_srv) = match (uri.strip_prefix("mongodb+srv://"), uri.strip_prefix("mongodb://")) {
            (Some(rest), _) => (rest, true),
            (_, Some(rest)) => (rest, false),
            _ => bail!("expected mongodb://HOST:PORT or mongodb+srv://HOST"),
        };
        let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
        // Where a password has a question mark, the hosts stand in what looks like options, and the password like a host.
        if query.split('&').any(|option| option.contains('@') && !may_have_at(front, option)) {
            bail!(
                "in a user name, a password or an option, `@`, `:`, `/` and `?` are written as %40, %3A, %2F and %3F"
            );
        }
        // A slash may stand in a password that was not escaped, so the last @ comes first.
        let (hosts, has_credentials) =
            front.rsplit_once('@').map_or((front, false), |(_, hosts)| (hosts, true));
        let (hosts, database) = hosts.split_once('/').unwrap_or((hosts, ""));
        let mut parsed =
            Uri { is_srv, tls: is_srv, has_credentials, database: database.to_owned(), ..Uri::default() };
        for host in hosts.split(',') {
            parsed.add(if is_srv { srv_name(host)? } else { server(host)? });
        }
        if is_srv && parsed.servers.len() > 1 {
            bail!("expected mongodb+srv://HOST: one name, which stands for all servers");
        }
        parsed.take_options(query)?;
        if parsed.direct && parsed.servers.len() > 1 {
            bail!("directConnection=true is for one server, and there are {}", parsed.servers.len());
        }
        Ok(parsed)
    }

    /// One more server, unless it is there already: drivers take it once, too.
    pub fn add(&mut self, server: String) {
        if !self.servers.iter().any(|known| known.eq_ignore_ascii_case(&server)) {
            self.servers.push(server);
        }
    }

    /// Takes over options, of the string itself or of the TXT record that belongs to it.
    pub fn take_options(&mut self, query: &str) -> Result<()> {
        let mut tls = None;
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').context("expected options as NAME=VALUE")?;
            let is = |known: &str| known.eq_ignore_ascii_case(name);
            let begins = |with: &str| name.get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with));
            let holds = |part: &&str| name.to_ascii_lowercase().contains(*part);
            if let Some((name, why)) = REFUSED.iter().find(|(known, _)| is(known))
                && value != "false"
            {
                bail!("{name}: {why}");
            }
            match () {
                () if is("replicaSet") => self.replica_set = Some(value.to_owned()),
                () if is("directConnection") => self.direct = flag("directConnection", value)?,
                () if is("tls") || is("ssl") => {
                    let said = flag("tls", value)?;
                    if tls.replace(said).is_some_and(|before| before != said) {
                        bail!("tls: it is said twice, and not the same");
                    }
                }
                () if is("tlsCAFile") => self.ca = Some(unescape(value)?),
                () if REFUSED.iter().any(|(known, _)| is(known)) => {}
                // Of the way to the servers, which is Weir's, or a secret.
                () if ["tls", "ssl", "srv", "proxy"].into_iter().any(begins)
                    || SECRET.into_iter().any(is)
                    || SECRET_PARTS.iter().any(holds) =>
                {
                    self.left_out.push(name.to_owned());
                }
                () => self.kept.push((name.to_owned(), value.to_owned())),
            }
        }
        self.tls = tls.unwrap_or(self.tls || self.ca.is_some());
        Ok(())
    }

    /// The string to give the application: these hosts instead of the servers, without credentials.
    pub fn fronted(&self, hosts: &str, replica_set: Option<&str>, direct: bool) -> String {
        // A set's name is a server's text: a percent sign in it is one.
        let ours = replica_set.map(|set| ("replicaSet".to_owned(), set.replace('%', "%25")));
        let direct = direct.then(|| ("directConnection".to_owned(), "true".to_owned()));
        let options: Vec<String> = ours
            .iter()
            .chain(&direct)
            .chain(&self.kept)
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let options = if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) };
        format!("mongodb://{hosts}/{}{options}", encoded(&self.database))
    }
}

/// Text as it may stand in a URI: all but what RFC 3986 leaves unreserved, and a few delimiters that mean nothing there, by percent.
/// What is encoded already stays.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let hex = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
        match byte {
            b'-' | b'.' | b'_' | b'~' | b',' | b':' | b'$' | b'+' | b'!' | b'*' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            b'%' if hex(at + 1) && hex(at + 2) => out.push('%'),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// `host:port` of a host that may come without a port.
fn server(host: &str) -> Result<String> {
    if host.is_empty() || host.contains(['%', '/', ' ', '"', '\\']) {
        bail!("expected mongodb://HOST:PORT, a host and not a socket file");
    }
    let bare = host.ends_with(']') || !host.contains(':');
    let with_port = host.rsplit_once(':').is_some_and(|(name, port)| {
        port.parse::<u16>().is_ok_and(|port| port > 0)
            && (!name.contains(':') || name.ends_with(']'))
            && !name.is_empty()
    });
    match (bare, with_port) {
        (true, _) => Ok(format!("{host}:27017")),
        (_, true) => Ok(host.to_owned()),
        // What stands here may be a password whose host is missing, so it is not repeated.
        _ => bail!("expected HOST:PORT with a port from 1 to 65535"),
    }
}

/// Whether it is the option of Cosmos DB's strings, `appName=@account@`. Without credentials before it, it may be they.
fn may_have_at(front: &str, option: &str) -> bool {
    let is_name = option.split_once('=').is_some_and(|(name, _)| name.eq_ignore_ascii_case("appName"));
    is_name && front.contains('@')
}

/// Drivers differ in what they make of anything else (they ignore it, or guess): here it might cost TLS.
fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => bail!("{name}: expected `true` or `false`"),
    }
}

fn srv_name(host: &str) -> Result<String> {
    let labels = host.split('.').filter(|label| !label.is_empty() && label.len() < 64).count();
    let clean = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if !clean || host.len() > 253 || labels < 1 || labels != host.split('.').count() {
        bail!("expected mongodb+srv://HOST: a name, without a port");
    }
    Ok(host.to_ascii_lowercase())
}

/// Percent-encoding (RFC 3986, section 2.1) undone.
fn unescape(text: &str) -> Result<String> {
    let mut bytes = text.bytes();
    let mut clear = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            clear.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| {
            byte.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok())
        };
        let (high, low) = (digit(bytes.next()), digit(bytes.next()));
        let (Some(high), Some(low)) = (high, low) else { bail!("% is followed by two hexadecimal digits") };
        clear.push(high << 4 | low);
    }
    String::from_utf8(clear).context("expected UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(servers: &[&str]) -> Uri {
        Uri { servers: servers.iter().map(|&server| server.into()).collect(), ..Uri::default() }
    }

    #[test]
    fn connection_strings() {
        let set = Some("rs0".to_owned());
        let secret = |uri: Uri| Uri { has_credentials: true, ..uri };
        let good = [
            ("mongodb://h", plain(&["h:27017"])),
            ("mongodb://h:1/", plain(&["h:1"])),
            ("mongodb://h:1/db?tls=true", Uri { tls: true, database: "db".into(), ..plain(&["h:1"]) }),
            (
                "mongodb://u:p%40@h:1/?replicaSet=rs0&ssl=false",
                secret(Uri { replica_set: set.clone(), ..plain(&["h:1"]) }),
            ),
            ("mongodb://u:p/p@h:1", secret(plain(&["h:1"]))),
            (
                "mongodb://a,b:2,[::1]:3?replicaset=rs0",
                Uri { replica_set: set, ..plain(&["a:27017", "b:2", "[::1]:3"]) },
            ),
            ("mongodb://[::1]", plain(&["[::1]:27017"])),
            ("mongodb://a,b:2,A:27017,b:2", plain(&["a:27017", "b:2"])),
            ("mongodb://h/?directConnection=true", Uri { direct: true, ..plain(&["h:27017"]) }),
            (
                "mongodb://h/?tlsCAFile=%2Fetc%2Fca.pem&w=2&passwordish=x",
                Uri {
                    tls: true,
                    ca: Some("/etc/ca.pem".into()),
                    kept: vec![("w".into(), "2".into())],
                    left_out: vec!["passwordish".into()],
                    ..plain(&["h:27017"])
                },
            ),
            (
                "mongodb://u:p@h:1/?ssl=true&appName=@u@",
                secret(Uri { tls: true, kept: vec![("appName".into(), "@u@".into())], ..plain(&["h:1"]) }),
            ),
            ("mongodb+srv://u:p@db.Shop.example/x", {
                let srv =
                    Uri { is_srv: true, tls: true, database: "x".into(), ..plain(&["db.shop.example"]) };
                secret(srv)
            }),
        ];
        for (text, wanted) in good {
            assert_eq!(Uri::parse(text).unwrap(), wanted, "{text}");
        }
        let is_x509 = |text| Uri::parse(text).unwrap().is_x509();
        assert!(
            is_x509("mongodb://h/?authMechanism=MONGODB-X509")
                && !is_x509("mongodb://h/?authMechanism=PLAIN")
        );
        let bad = [
            "h:1",
            "http://h",
            "mongodb://",
            "mongodb://a,,b",
            "mongodb://h:x",
            "mongodb://h:0",
            "mongodb://::1",
            "mongodb://%2Ftmp%2Fs",
            "mongodb://a,b/?directConnection=true",
            "mongodb://h/?tlsInsecure=true",
            "mongodb://h/?tlsCertificateKeyFile=k",
            "mongodb://h/?loadBalanced=true",
            "mongodb://h/?tls",
            "mongodb://h/?tls=TRUE",
            "mongodb://h/?ssl=1",
            "mongodb://h/?tls=true&ssl=false",
            "mongodb://h/?directConnection=TRUE",
            "mongodb://h/?appName=@u@",
            "mongodb+srv://.b",
            "mongodb+srv://a.b.c:1",
            "mongodb+srv://a.b.c,d.e.f",
            "mongodb+srv://a..c",
        ];
        for text in bad {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_error_shows_a_password() {
        for host in ["", "h:x", "%2Ftmp", "h/?tlsInsecure=true", "a,b/?directConnection=true"] {
            let error = Uri::parse(&format!("mongodb://app:hunter2@{host}")).unwrap_err();
            assert!(!format!("{error:#}").contains("hunter2"), "{error:#}");
        }
    }

    #[test]
    fn a_password_is_never_taken_for_a_host() {
        for text in [
            "mongodb://app:hunter2?x@h:1/",
            "mongodb://app:1234?a=hunter2@h:1/",
            "mongodb://app:hunter2@1234?a=b@h:1/",
            "mongodb://app:1234?appName=hunter2@h:1/",
            "mongodb://app:hunter2/",
            "mongodb://app:hunter2",
            "mongodb+srv://app:hunter2?x@a.b.c/",
        ] {
            let error = format!("{:#}", Uri::parse(text).expect_err(text));
            assert!(!error.contains("hunter2") && !error.contains("app"), "{text}: {error}");
        }
    }

    #[test]
    fn the_applications_string_keeps_what_is_its_own() {
        let own = "authSource=admin&W=majority&wtimeoutMS=5000&timeoutMS=3000&maxConnecting=4&heartbeatFrequencyMS=2000\
                   &waitQueueTimeoutMS=100&uuidRepresentation=standard&zlibCompressionLevel=3&compressors=zlib";
        let uri = format!(
            "mongodb://app:hunter2@a,b/shop?replicaSet=rs&tls=true&{own}&authMechanismProperties=AWS_SESSION_TOKEN:hunter2\
             &proxyUsername=hunter2&tlsCertificateKeyFilePassword=hunter2&loadBalanced=false&srvMaxHosts=2"
        );
        let uri = Uri::parse(&uri).unwrap();
        let fronted = uri.fronted("weir:1,weir:2", Some("rs"), false);
        assert_eq!(fronted, format!("mongodb://weir:1,weir:2/shop?replicaSet=rs&{own}"));
        let left_out =
            ["authMechanismProperties", "proxyUsername", "tlsCertificateKeyFilePassword", "srvMaxHosts"];
        assert_eq!(uri.left_out, left_out);
        let fronted = |direct| Uri::parse("mongodb://a").unwrap().fronted("weir:1", None, direct);
        assert_eq!(fronted(false), "mongodb://weir:1/");
        assert_eq!(fronted(true), "mongodb://weir:1/?directConnection=true");
    }
}
