//! TLS on both sides: the types, the field tables, and how they are read.

use crate::diagnostic::Position;
use crate::fields::Fields;
use crate::node::Node;
use crate::scalar;
use crate::table::{Field, Kind, Rule, Table};
use crate::walk::Walk;
use hashbrown::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A file that the configuration names, and where it names it: for what is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// Where the path stands in the configuration.
    pub at: Position,
    /// The full path of the key under which it stands.
    pub key: Arc<str>,
}

impl File {
    /// One that was named elsewhere than in a configuration file.
    pub fn at_path(path: impl Into<PathBuf>) -> File {
        File { path: path.into(), at: Position::START, key: "".into() }
    }
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificates to choose from by the name that the client asks for; the first one also for names that are in none.
    /// Empty only beside `passthrough`.
    pub identities: Vec<Identity>,
    /// Whose certificates clients show; `None`: they are not asked.
    pub client_certificates: Option<ClientCertificates>,
    /// Whose connections are passed on as they are.
    pub passthrough: Vec<Passthrough>,
    /// Every request's host has to be in the certificate that its client was shown.
    pub match_host: bool,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A PEM file with the certificate and those between it and the root.
    pub certificate: File,
    /// A PEM file with the private key.
    pub key: File,
}

/// What clients have to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// A PEM file with the roots that clients' certificates come from.
    pub ca: File,
    /// Whether a client without one is refused. What is shown is verified in any case.
    pub require: bool,
}

/// Connections that ask for one of these names go to a cluster as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passthrough {
    /// The names.
    pub sni: Vec<NameMatch>,
    /// Where their connections go.
    pub cluster: Arc<str>,
}

/// Which server names. In lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NameMatch {
    /// This one.
    Exact(Arc<str>),
    /// Every name that ends in this and has something before it; begins with the dot.
    Below(Arc<str>),
}

/// TLS towards endpoints: 1.2 and 1.3, the certificate always verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTls {
    /// The name that is sent, and that the certificate has to be for; `None`: the host of the endpoint.
    pub sni: Option<Arc<str>>,
    /// A PEM file with the roots to trust; `None`: those of the system.
    pub ca: Option<File>,
    /// The certificate and the key to show when asked for one.
    pub identity: Option<Identity>,
}

impl ServerTls {
    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        let identities = self.identities.iter().flat_map(Identity::files);
        identities.chain(self.client_certificates.iter().map(|clients| &clients.ca))
    }
}

impl ClientTls {
    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.ca.iter().chain(self.identity.iter().flat_map(Identity::files))
    }
}

impl Identity {
    fn files(&self) -> [&File; 2] {
        [&self.certificate, &self.key]
    }
}

/// The most further certificates of a listener, and the most rules of its passthrough.
const MOST: usize = 1000;

const CERTIFICATE: Field = Field::required(
    "certificate",
    Kind::Path,
    "A PEM file with the certificate, and those between it and the root.",
);
const KEY: Field = Field::required("key", Kind::Path, "A PEM file with the private key.");

/// `tls` of a listener.
pub(crate) static SERVER_TLS: Table = Table {
    name: "listener tls",
    doc: "TLS towards clients. The files are read again when they change.",
    fields: &[
        Field::optional(
            "certificate",
            Kind::Path,
            "A PEM file with the certificate, and those between it and the root. Left out: only what `passthrough` names is \
             served.",
        ),
        Field::optional("key", Kind::Path, "A PEM file with the private key."),
        Field::optional(
            "certificates",
            Kind::List { item: &Kind::Table(&CERTIFICATES), min: 1, max: MOST },
            "Further certificates. Which one a client is shown goes by the name that it asks for (SNI) and the DNS names in the \
             certificates: one for this very name, else one for `*.` and the rest of it, else the first.",
        ),
        Field::optional(
            "client_certificates",
            Kind::Table(&CLIENT_CERTIFICATES),
            "Asks clients for a certificate. Left out: they are not asked.",
        ),
        Field::optional(
            "passthrough",
            Kind::List { item: &Kind::Table(&PASSTHROUGH), min: 1, max: MOST },
            "Passes connections on as they are, still encrypted, by the name that the client asks for. Left out: none.",
        ),
        Field::with_default(
            "match_host",
            Kind::Bool,
            "false",
            "A request for a host that is not in the certificate which its client was shown is answered with 421. Otherwise only \
             one for a host of `passthrough`, or of another certificate of this listener.",
        ),
    ],
    rules: &[Rule::AtLeastOne(&["certificate", "passthrough"]), Rule::Together(&["certificate", "key"])],
};

static CERTIFICATES: Table = Table {
    name: "listener certificate",
    doc: "A further certificate of a listener.",
    fields: &[CERTIFICATE, KEY],
    rules: &[],
};

static CLIENT_CERTIFICATES: Table = Table {
    name: "client certificates",
    doc: "What clients have to show. A certificate is verified: its chain up to one of the roots, its time, and that it may be \
          used by clients.",
    fields: &[
        Field::required("ca", Kind::Path, "A PEM file with the roots that clients' certificates come from."),
        Field::with_default(
            "require",
            Kind::Bool,
            "true",
            "Whether a client without a certificate is refused. One that shows a bad one always is.",
        ),
    ],
    rules: &[],
};

static PASSTHROUGH: Table = Table {
    name: "passthrough",
    doc: "Connections that go to a cluster as they are. They count as operations of the protocol `tcp`.",
    fields: &[
        Field::required(
            "sni",
            Kind::OneOrMany(&Kind::Text { max: 255 }),
            "Server names: `db.example.com`, `*.example.com` (everything below it). The longest that fits counts.",
        ),
        Field::required("cluster", Kind::Cluster, "Where such connections go."),
    ],
    rules: &[],
};

/// `tls` of a cluster.
pub(crate) static CLIENT_TLS: Table = Table {
    name: "cluster tls",
    doc: "TLS towards the endpoints. The files are read again when they change.",
    fields: &[
        Field::optional(
            "sni",
            Kind::Host,
            "The name that is sent, and that the certificate has to be for. Left out: the host of the endpoint.",
        ),
        Field::optional(
            "ca",
            Kind::Path,
            "A PEM file with the roots to trust. Left out: those of the system.",
        ),
        Field::optional(
            "certificate",
            Kind::Path,
            "A PEM file with the certificate to show when asked for one. Left out: none.",
        ),
        Field::optional("key", Kind::Path, "A PEM file with the private key of `certificate`."),
    ],
    rules: &[Rule::Together(&["certificate", "key"])],
};

/// Reads `tls` of a listener.
pub(crate) fn server(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<ServerTls> {
    let first = identity(walk, fields);
    let has_certificate = fields.child("certificate").is_some();
    for key in ["certificates", "client_certificates"] {
        if let (Some(node), false) = (fields.child(key), has_certificate) {
            walk.error(node, format!("`{key}` needs `certificate` and `key` beside it"));
        }
    }
    let mut identities: Vec<_> = first.into_iter().collect();
    for node in fields.items(walk, "certificates").unwrap_or_default() {
        let fields = walk.fields(node, &CERTIFICATES);
        identities.extend(fields.and_then(|fields| identity(walk, &fields)));
    }
    let clients = fields.table(walk, "client_certificates");
    let clients = clients.map(|clients| {
        let (ca, require) = (clients.file(walk, "ca"), clients.flag(walk, "require"));
        Some(ClientCertificates { ca: ca?, require: require? })
    });
    let mut known = HashMap::default();
    let mut passthrough = Vec::new();
    for node in fields.items(walk, "passthrough").unwrap_or_default() {
        passthrough.extend(pass(walk, node, &mut known));
    }
    let client_certificates = match clients {
        None => None,
        Some(clients) => Some(clients?),
    };
    let match_host = fields.flag(walk, "match_host")?;
    if let (true, false, Some(node)) = (match_host, has_certificate, fields.child("match_host")) {
        walk.error(node, "`match_host` needs `certificate` and `key` beside it");
    }
    Some(ServerTls { identities, client_certificates, passthrough, match_host })
}

fn identity(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Identity> {
    let (certificate, key) = (fields.file(walk, "certificate"), fields.file(walk, "key"));
    Some(Identity { certificate: certificate?, key: key? })
}

fn pass<'n>(
    walk: &mut Walk<'_>,
    node: &'n Node,
    known: &mut HashMap<NameMatch, &'n Node>,
) -> Option<Passthrough> {
    let fields = walk.fields(node, &PASSTHROUGH)?;
    let cluster = fields.cluster(walk, "cluster");
    if let (Some(name), Some(node)) = (&cluster, fields.child("cluster"))
        && walk.has_tls(name)
    {
        walk.error(
            node,
            format!("`{name}` has `tls`: what is passed through is encrypted already, by the client"),
        );
    }
    let mut sni = Vec::new();
    for node in fields.items(walk, "sni")? {
        let Some(name) = name_match(walk, node) else { continue };
        match known.get(&name) {
            Some(first) => {
                let at = first.position();
                walk.error(node, format!("this name is listed twice, first at {at}"));
            }
            None => {
                known.insert(name.clone(), node);
            }
        }
        sni.push(name);
    }
    Some(Passthrough { sni, cluster: cluster? })
}

fn name_match(walk: &mut Walk<'_>, node: &Node) -> Option<NameMatch> {
    let text = walk.text(node, &Kind::Text { max: 255 })?;
    let (below, bare) = match text.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, &*text),
    };
    // RFC 6066 section 3: a server name is a DNS name, never an address, and without a dot at its end.
    let bare = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
    if bare.parse::<IpAddr>().is_ok() || scalar::read(&Kind::Host, &bare, true).is_err() {
        walk.expected(node, "a server name such as `db.example.com` or `*.example.com`");
        return None;
    }
    Some(if below { NameMatch::Below(format!(".{bare}").into()) } else { NameMatch::Exact(bare.into()) })
}

/// Reads `tls` of a cluster.
pub(crate) fn client(walk: &mut Walk<'_>, fields: &Fields<'_>) -> ClientTls {
    ClientTls { sni: fields.text(walk, "sni"), ca: fields.file(walk, "ca"), identity: identity(walk, fields) }
}
