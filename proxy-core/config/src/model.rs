//! The checked configuration: what the rest of Weir runs on. Nothing in it can be wrong any more, except what only the world
//! knows (a port that is taken, a certificate that does not parse, a name that does not resolve).

use crate::diagnostic::{Diagnostic, Position};
use crate::limits::{CircuitBreaker, OutlierEjection};
use crate::network::{Admission, Bind, ProxyVersion, Trusted};
use crate::tls::{ClientTls, ServerTls};
use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// What a filter made of its section; it alone knows the type.
pub type Settings = Arc<dyn Any + Send + Sync>;

/// A whole configuration file, checked.
#[derive(Debug)]
pub struct Config {
    /// The file it came from, as it was named.
    pub file: Arc<str>,
    /// How many worker threads; `None`: one per core.
    pub workers: Option<NonZeroUsize>,
    /// Where the admin API listens; `None`: nowhere.
    pub admin: Option<SocketAddr>,
    /// Names under which the admin API may be asked, beside its address.
    pub admin_hosts: Vec<Arc<str>>,
    /// How logs are written.
    pub log: Log,
    /// How long a drain may take before what is still open is cut off.
    pub drain_timeout: Duration,
    /// How long it goes on accepting before a drain, and says that it is not ready.
    pub drain_delay: Duration,
    /// The caps of the process.
    pub limits: Limits,
    /// The listeners, in the order of the file.
    pub listeners: Vec<Arc<Listener>>,
    /// The clusters, in the order of the file.
    pub clusters: Vec<Arc<Cluster>>,
    /// What is allowed but may not be meant, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// Canonical JSON of everything but listeners and clusters, redacted.
    pub(crate) text: Arc<str>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
}

crate::words! {
    /// How a log line looks.
    pub enum LogFormat {
        #[doc = "One line of text for people."]
        Human = "human",
        #[doc = "One JSON object a line."]
        Json = "json",
    }
}

crate::words! {
    /// The least severe level that is logged.
    pub enum LogLevel {
        #[doc = "What needs somebody to act."]
        Error = "error",
        #[doc = "Also what may need somebody to act."]
        Warn = "warn",
        #[doc = "Also the life of the process: start, reload, drain, ejections."]
        Info = "info",
        #[doc = "Also why single connections failed."]
        Debug = "debug",
        #[doc = "Everything, what libraries say included."]
        Trace = "trace",
    }
}

/// Caps of the process. Beyond a cap nothing grows: the excess is refused or counted under `_other`, and a counter moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most downstream connections of all listeners together.
    pub max_connections: u32,
    /// The most memory for what is kept of requests for another try, in bytes.
    pub replay_memory: usize,
    /// The most names of operations.
    pub operations: u32,
    /// The most names of resources.
    pub resources: u32,
    /// The most codes of outcomes.
    pub codes: u32,
    /// The most names of applications.
    pub applications: u32,
    /// The most pairs of listener and cluster that are counted apart.
    pub places: u32,
    /// The most operations on resources at places that are counted apart.
    pub rows: u32,
    /// The most rows by result and code.
    pub outcomes: u32,
    /// The most rows of operations of applications by result.
    pub application_rows: u32,
    /// The most names of call sites.
    pub call_sites: u32,
    /// The most rows of operations of call sites by result.
    pub call_site_rows: u32,
}

/// A listening socket and the protocol spoken on it.
pub struct Listener {
    /// Its name: its key in the file.
    pub name: Arc<str>,
    /// Where its key stands in the file.
    pub at: Position,
    /// The address it listens on. Port 0: any free port.
    pub bind: Bind,
    /// The mode of the file of a Unix socket.
    pub unix_mode: u32,
    /// TLS towards clients; `None`: plain text.
    pub tls: Option<ServerTls>,
    /// The most connections at a time; further ones are closed at once and counted.
    pub max_connections: u32,
    /// Which clients it takes, how many of each, and how fast.
    pub admission: Admission,
    /// Whose word about the client of an HTTP request counts.
    pub trusted: Trusted,
    /// Whether its requests get a `Via` field.
    pub via: bool,
    /// A connection on which nothing moved for so long is closed; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// The protocol: the key of its section.
    pub protocol: &'static str,
    /// What the protocol's filter made of its section.
    pub settings: Settings,
    /// Canonical JSON of its subtree, with `${..}` not replaced: what may be shown. Not enough to tell whether two are the
    /// same: [`Listener::same`] is.
    pub text: Arc<str>,
    pub(crate) print: u64,
}

/// A set of servers that can stand in for each other.
#[derive(Debug)]
pub struct Cluster {
    /// Its name: its key in the file.
    pub name: Arc<str>,
    /// Where its key stands in the file.
    pub at: Position,
    /// Where its endpoints come from.
    pub source: Source,
    /// TLS towards the endpoints, verified; `None`: plain text.
    pub tls: Option<ClientTls>,
    /// A header that says on whose behalf a connection is made; `None`: none.
    pub proxy_protocol: Option<ProxyVersion>,
    /// The version of HTTP that HTTP listeners speak to it.
    pub protocol: Upstream,
    /// Whether requests to it get a `Via` field.
    pub via: bool,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// Its limits.
    pub circuit_breaker: CircuitBreaker,
    /// When an endpoint is taken out of rotation; `None`: never.
    pub outlier_ejection: Option<OutlierEjection>,
    /// How long making a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long an idle pooled connection is kept.
    pub idle_timeout: Duration,
    /// How often names are resolved anew.
    pub dns_refresh: Duration,
    /// Which addresses of names are used.
    pub dns_family: DnsFamily,
    /// Its HTTP/2 connections.
    pub http2: crate::http2::Http2,
    /// Canonical JSON of its subtree, with `${..}` not replaced: what may be shown. Not enough to tell whether two are the
    /// same: [`Cluster::same`] is.
    pub text: Arc<str>,
    pub(crate) print: u64,
}

/// Where a cluster's endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// They are listed. A name is one endpoint, whatever addresses it has.
    Endpoints(Vec<EndpointSpec>),
    /// Every address of a name is one.
    Dns {
        /// The name. An IPv6 address is without brackets.
        host: Arc<str>,
        /// The port of each.
        port: u16,
    },
}

/// One listed endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// `host:port`; an IPv6 address is in brackets. Or `unix:` and an absolute path.
    pub address: Arc<str>,
    /// Its share of the load, relative to the others', from 1.
    pub weight: u32,
}

impl EndpointSpec {
    /// The host, an IPv6 address without its brackets, and the port.
    pub fn host_port(&self) -> (&str, u16) {
        split_host_port(&self.address)
    }
}

/// Splits an address that was checked; the brackets of an IPv6 address go.
pub(crate) fn split_host_port(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host.trim_start_matches('[').trim_end_matches(']'), port.parse().unwrap_or_default())
}

crate::words! {
    /// The version of HTTP spoken to a cluster.
    pub enum Upstream {
        #[doc = "HTTP/1.1."]
        Http1 = "http1",
        #[doc = "HTTP/2: by ALPN with `tls`, by prior knowledge without."]
        Http2 = "http2",
    }
}

crate::words! {
    /// Which addresses of names are used.
    pub enum DnsFamily {
        #[doc = "All; of `dns` without the family none of whose addresses can be connected to while the other's can, which is looked at every 30 seconds."]
        Auto = "auto",
        #[doc = "IPv4."]
        V4 = "v4",
        #[doc = "IPv6."]
        V6 = "v6",
        #[doc = "All."]
        All = "all",
    }
}

crate::words! {
    /// How an endpoint is picked.
    pub enum Balance {
        #[doc = "One after the other, in proportion to their weights."]
        RoundRobin = "round_robin",
        #[doc = "Of two at random, by weight, the one with fewer requests in flight."]
        LeastRequest = "least_request",
    }
}

impl Listener {
    /// Whether both say the same: nothing has to be done to come from one to the other. Files that they name (certificates)
    /// are not looked into.
    pub fn same(&self, other: &Listener) -> bool {
        self.text == other.text && self.print == other.print
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("name", &self.name).field("text", &self.text).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Whether both say the same: nothing has to be done to come from one to the other. Files that they name (certificates)
    /// are not looked into.
    pub fn same(&self, other: &Cluster) -> bool {
        self.text == other.text && self.print == other.print
    }
}

impl Config {
    /// The listener called `name`.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| &*listener.name == name)
    }

    /// The cluster called `name`.
    pub fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.iter().find(|cluster| &*cluster.name == name)
    }
}
