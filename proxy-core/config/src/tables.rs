//! The field tables of everything that does not depend on a protocol.

use crate::limits::{CIRCUIT_BREAKER, OUTLIER_EJECTION};
use crate::model::{Balance, DnsFamily, LogFormat, LogLevel, Upstream};
use crate::network::ProxyVersion;
use crate::table::{Field, Kind, Rule, Table};
use crate::tls::{CLIENT_TLS, SERVER_TLS};

const SECOND: u64 = 1_000;
pub(crate) const HOUR: u64 = 3_600 * SECOND;
/// From a millisecond to an hour: what something may take.
pub(crate) const WAIT: Kind = Kind::Duration { min: 1, max: HOUR };
/// A count that bounds memory or sockets.
pub(crate) const COUNT: Kind = Kind::Integer { min: 0, max: 1_000_000 };
/// A count of which there has to be one.
pub(crate) const SOME: Kind = Kind::Integer { min: 1, max: 1_000_000 };
/// How many names of a kind are kept.
const NAMES: Kind = Kind::Integer { min: 16, max: 1_000_000 };
pub(crate) const PERCENT: Kind = Kind::Integer { min: 0, max: 100 };

/// The default of `limits.max_connections`.
pub const MAX_CONNECTIONS: u32 = 65_536;

/// The file.
pub static FILE: Table = Table {
    name: "file",
    doc: "The whole file.",
    fields: &[
        Field::optional(
            "workers",
            Kind::Integer { min: 1, max: 1024 },
            "How many worker threads. Left out: one per core.",
        ),
        Field::optional(
            "admin",
            Kind::Bind,
            "Where the admin API listens: metrics, state, this configuration. It has no authentication: keep it on loopback. \
             Left out: nowhere.",
        ),
        Field::optional(
            "admin_hosts",
            Kind::List { item: &Kind::Host, min: 1, max: 64 },
            "Names under which the admin API may be asked, beside its address and `localhost`: for whoever scrapes it by a name. \
             Left out: none, so that no page in a browser gets at it by DNS rebinding.",
        ),
        Field::optional("log", Kind::Table(&LOG), "How logs are written. Left out: as with `{}`."),
        Field::with_default(
            "drain_timeout",
            Kind::Duration { min: 0, max: 24 * HOUR },
            "30s",
            "How long a drain waits for what is in flight before it is cut off.",
        ),
        Field::with_default(
            "drain_delay",
            Kind::Duration { min: 0, max: HOUR },
            "0s",
            "How long Weir goes on accepting once it is told to end, while `/ready` says that it is not ready: for whoever sends \
             connections here to send them elsewhere. The drain comes after it.",
        ),
        Field::optional("limits", Kind::Table(&LIMITS), "The caps of the process. Left out: as with `{}`."),
        Field::required(
            "listeners",
            Kind::Map { key: "listener name", value: &Kind::Table(&LISTENER) },
            "The sockets Weir listens on, by name.",
        ),
        Field::optional(
            "clusters",
            Kind::Map { key: "cluster name", value: &Kind::Table(&CLUSTER) },
            "The sets of servers that listeners refer to, by name.",
        ),
    ],
    rules: &[],
};

static LOG: Table = Table {
    name: "log",
    doc: "How logs are written, on standard error.",
    fields: &[
        Field::with_default("format", Kind::OneOf(LogFormat::CHOICES), "human", "How a line looks."),
        Field::with_default("level", Kind::OneOf(LogLevel::CHOICES), "info", "The least severe level."),
    ],
    rules: &[],
};

static LIMITS: Table = Table {
    name: "limits",
    doc: "The caps of the process. Beyond a cap nothing grows: the excess is refused; of names that came from clients the one that was \
          silent for longest gives way, and what has nothing that could counts under `_other`. Each listener has a share of each, and \
          may borrow what nobody uses.",
    fields: &[
        Field::with_default(
            "max_connections",
            SOME,
            "65536",
            "The most downstream connections of all listeners together; further ones are closed at once.",
        ),
        Field::with_default(
            "replay_memory",
            Kind::Size { min: 0, max: 1024 * 1024 * 1024 * 1024 },
            "64MiB",
            "The most memory for what is kept of requests' bodies so that they can be sent once more. A request for which there is none \
             goes on, and is not tried again.",
        ),
        Field::with_default("operations", NAMES, "1024", "The most operations that are told apart."),
        Field::with_default("resources", NAMES, "4096", "The most resources that are told apart."),
        Field::with_default("codes", NAMES, "1024", "The most codes that are told apart."),
        Field::with_default("applications", NAMES, "256", "The most applications that are told apart."),
        Field::with_default(
            "places",
            NAMES,
            "1024",
            "The most pairs of listener and cluster that are counted apart.",
        ),
        Field::with_default(
            "rows",
            NAMES,
            "8192",
            "The most combinations of place, operation and resource that are counted apart: each takes about 650 bytes for \
             each worker that has seen it.",
        ),
        Field::with_default("outcomes", NAMES, "32768", "The most such rows by result and code."),
        Field::with_default(
            "application_rows",
            NAMES,
            "4096",
            "The most combinations of application, operation and result that are counted apart.",
        ),
        Field::with_default("call_sites", NAMES, "500", "The most call sites that are told apart."),
        Field::with_default(
            "call_site_rows",
            NAMES,
            "4096",
            "The most combinations of call site, operation and result that are counted apart.",
        ),
    ],
    rules: &[],
};

/// A listener, without the sections of the protocols.
pub static LISTENER: Table = Table {
    name: "listener",
    doc: "A listening socket. Beside these keys it has exactly one of those of the protocols.",
    fields: &[
        Field::required(
            "bind",
            Kind::Listen,
            "The address. Port 0: any free port. `unix:/path`: a Unix socket; a socket that nobody listens on any more is \
             replaced, one that somebody does is an error, and it is removed when Weir ends.",
        ),
        Field::with_default(
            "unix_mode",
            Kind::Text { max: 4 },
            "0660",
            "Who may connect to a Unix socket: the mode of its file, octal.",
        ),
        Field::optional(
            "tls",
            Kind::Table(&SERVER_TLS),
            "TLS 1.2 and 1.3 towards clients. Left out: plain text.",
        ),
        Field::with_default(
            "max_connections",
            SOME,
            "65536",
            "The most connections at a time; further ones are closed at once.",
        ),
        Field::optional(
            "max_connections_per_address",
            SOME,
            "The most connections at a time of one client address, which for IPv6 is a /64; further ones are closed at once. \
             Left out: no such limit.",
        ),
        Field::optional(
            "accept_rate",
            Kind::Table(&ACCEPT_RATE),
            "How fast connections are accepted; further ones wait in the system's queue. Left out: as fast as they come.",
        ),
        Field::optional(
            "source",
            Kind::Table(&SOURCE),
            "Which client addresses are let in; others are closed at once. Left out: all.",
        ),
        Field::optional(
            "proxy_protocol",
            Kind::Table(&PROXY_PROTOCOL),
            "Connections begin with a header of the PROXY protocol, version 1 or 2, before any TLS; the address in it is the \
             client's from then on. Left out: none is expected, nor believed.",
        ),
        Field::optional(
            "trusted",
            NETWORKS,
            "HTTP, gRPC and DynamoDB: the proxies in front. What their requests say about the client (x-forwarded-for and the \
             like) is kept and extended; in requests of all others it is removed first. On a Unix socket, whose peers have no \
             address, its peers are trusted where this key is there. Left out: nobody is.",
        ),
        Field::optional(
            "hops",
            Kind::Integer { min: 0, max: 100 },
            "With `trusted`: the most addresses of x-forwarded-for, from its right end, that are looked past or taken as the \
             client's. Left out: as many as are trusted.",
        ),
        Field::with_default("via", Kind::Bool, "false", VIA),
        Field::with_default(
            "idle_timeout",
            Kind::Duration { min: 0, max: 24 * HOUR },
            "1h",
            "A connection on which nothing moved for so long is closed, an operation that still waits for its reply with it; \
             while all that is under way are long polls, time does not count. `0s`: never.",
        ),
    ],
    rules: &[],
};

static ACCEPT_RATE: Table = Table {
    name: "accept_rate",
    doc: "A token bucket that all workers share.",
    fields: &[
        Field::required("count", SOME, "How many in the long run, in each `per`."),
        Field::with_default("per", Kind::Duration { min: 1, max: HOUR }, "1s", "In how long a time."),
        Field::optional("burst", SOME, "How many at once, after a pause. Left out: `count`."),
    ],
    rules: &[],
};

const VIA: &str = "HTTP, gRPC and DynamoDB: requests get a `Via` field. One that the client sends is passed on in any case.";

/// A list of networks.
const NETWORKS: Kind = Kind::List { item: &Kind::Network, min: 1, max: 100_000 };

static SOURCE: Table = Table {
    name: "source",
    doc: "Addresses are compared with that of the client, which is the one in a PROXY protocol header where there is one. \
          IPv4 addresses that are written as IPv6 (`::ffff:10.0.0.1`) are IPv4 addresses.",
    fields: &[
        Field::optional("allow", NETWORKS, "Only clients from these networks. Left out: from everywhere."),
        Field::optional("deny", NETWORKS, "No clients from these networks, whatever `allow` says."),
    ],
    rules: &[],
};

static PROXY_PROTOCOL: Table = Table {
    name: "listener proxy_protocol",
    doc: "Which connections have to begin with a header of the PROXY protocol.",
    fields: &[
        Field::optional(
            "from",
            NETWORKS,
            "Those from these networks: the proxies in front. Others are taken as they are, and a header from them is not \
             believed. Left out: all connections.",
        ),
        Field::with_default("timeout", WAIT, "10s", "How long the header may take."),
    ],
    rules: &[],
};

/// A cluster.
pub static CLUSTER: Table = Table {
    name: "cluster",
    doc: "A set of servers that can stand in for each other. It has either `endpoints` or `dns`.",
    fields: &[
        Field::optional(
            "endpoints",
            Kind::List {
                item: &Kind::Either(&Kind::Endpoint, &Kind::Table(&ENDPOINT)),
                min: 1,
                max: 100_000,
            },
            "The servers. A name is one endpoint; it is resolved at start and refreshed. `unix:/path` is a Unix socket.",
        ),
        Field::optional("dns", Kind::HostPort, "A name every address of which is an endpoint."),
        Field::optional(
            "tls",
            Kind::Table(&CLIENT_TLS),
            "TLS 1.2 and 1.3 towards the endpoints, the certificate always verified; `{}` for the roots of the system. Left \
             out: plain text.",
        ),
        Field::optional(
            "proxy_protocol",
            Kind::OneOf(ProxyVersion::CHOICES),
            "Connections begin with a header of the PROXY protocol that says the client's address, before any TLS. Connections \
             that HTTP listeners share between clients say that they are Weir's own. Left out: none.",
        ),
        Field::with_default(
            "protocol",
            Kind::OneOf(Upstream::CHOICES),
            "http1",
            "The version of HTTP that HTTP listeners speak to it.",
        ),
        Field::with_default("via", Kind::Bool, "false", VIA),
        Field::with_default(
            "balance",
            Kind::OneOf(Balance::CHOICES),
            "round_robin",
            "How an endpoint is picked.",
        ),
        Field::optional(
            "circuit_breaker",
            Kind::Table(&CIRCUIT_BREAKER),
            "Its limits. Left out: as with `{}`.",
        ),
        Field::optional(
            "outlier_ejection",
            Kind::Table(&OUTLIER_EJECTION),
            "Takes endpoints that fail out of rotation; `{}` for the defaults. Left out: never.",
        ),
        Field::with_default(
            "connect_timeout",
            WAIT,
            "5s",
            "How long making a connection may take, TLS included.",
        ),
        Field::with_default("idle_timeout", WAIT, "60s", "How long an idle pooled connection is kept."),
        Field::optional(
            "http2",
            Kind::Table(&crate::http2::HTTP2),
            "Its HTTP/2 connections. Left out: as with `{}`.",
        ),
        Field::with_default(
            "dns_refresh",
            Kind::Duration { min: SECOND, max: HOUR },
            "10s",
            "How often names are resolved anew. A connection to an address that its name has no more takes nothing new once the name has \
             moved: its answers have stayed the same for 10s, and for twice as long as between their last changes. Where answers keep \
             changing, good connections stay, for 15 to 20 minutes.",
        ),
        Field::with_default(
            "dns_family",
            Kind::OneOf(DnsFamily::CHOICES),
            "auto",
            "Which addresses of names are used. A name among `endpoints` with several is connected to as RFC 8305 says: the next one \
             has its chance after 250ms, the families in turn.",
        ),
    ],
    rules: &[Rule::ExactlyOne(&["endpoints", "dns"])],
};

/// An endpoint.
pub(crate) static ENDPOINT: Table = Table {
    name: "endpoint",
    doc: "One server, where an address alone does not do.",
    fields: &[
        Field::required("address", Kind::Endpoint, "Where it is."),
        Field::with_default(
            "weight",
            Kind::Integer { min: 1, max: 1000 },
            "1",
            "Its share of the load, relative to the others'.",
        ),
    ],
    rules: &[],
};
