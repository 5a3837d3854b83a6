//! The `http:` section of a listener: routes, what they match and what they do.

mod matching;
mod retry;
mod said;
mod sense;
mod switches;

pub use retry::{Listed, Retry};
pub use said::{Said, Underscores};
pub use switches::Switches;

use crate::adds::ADDS;
use crate::seam::Request;
use crate::service::DialectFactory;
use crate::times::{self, HalfClose, Times};
use matching::{label, spec, target};
use retry::RETRY;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use weir_config::{Field, Fields, Kind, Node, Rule, Settings, Table, Walk, words};
use weir_decide::route::RouteSpec;

const DAY: u64 = 24 * 3_600_000;
const LIMIT: Kind = Kind::Duration { min: 1, max: DAY };
const TEXT: Kind = Kind::Text { max: 8192 };

/// The table of a section of this shape, whatever it is called.
pub const fn table(name: &'static str, doc: &'static str) -> Table {
    Table { name, doc, fields: &FIELDS, rules: RULES }
}

/// The same, where requests may be calls of methods.
pub const fn table_with_methods(name: &'static str, doc: &'static str) -> Table {
    Table { name, doc, fields: &FIELDS_WITH_METHODS, rules: RULES }
}

/// The table of the `http:` section.
pub static HTTP: Table = table_with_methods(
    "http",
    "HTTP/1.1, and HTTP/2 by ALPN or prior knowledge. It has either `cluster` (everything goes there) or `routes`.",
);

const RULES: &[Rule] = &[Rule::ExactlyOne(&["cluster", "routes"])];

const CLUSTER: Field = Field::optional("cluster", Kind::Cluster, "Where all requests go.");
const ROUTES: Field = Field::optional(
    "routes",
    Kind::List { item: &A_ROUTE, min: 1, max: 100_000 },
    "Where requests go: the first one that matches.",
);
static A_ROUTE: Kind = Kind::Table(&ROUTE);
const KEEP_ALIVE: Field =
    Field::with_default("keep_alive", LIMIT, "75s", "A connection without a request for so long is closed.");
const HEAD_TIMEOUT: Field = Field::with_default(
    "head_timeout",
    LIMIT,
    "10s",
    "How long a request's head may take to arrive, from its first byte on. In HTTP/2 also the preface and any frame but DATA.",
);
const IDEMPOTENT: Field = Field::optional(
    "idempotent",
    retry::METHODS,
    "gRPC methods of which doing it twice is the same as doing it once, on all routes of the dialect `grpc`: `shop.Cart/Get`, \
     `shop.Catalog/*`. They are tried again when the connection breaks before a reply's head.",
);

const HTTP2: Field = Field::optional(
    "http2",
    Kind::Table(&weir_config::HTTP2),
    "Its HTTP/2 connections. Left out: as with `{}`.",
);

const COMMON: [Field; 12] = [
    CLUSTER,
    ROUTES,
    KEEP_ALIVE,
    HEAD_TIMEOUT,
    HTTP2,
    times::REPLY_TIMEOUT,
    times::STREAM_IDLE,
    times::MIN_RATE,
    times::ON_HALF_CLOSE,
    Field::optional("adds", Kind::Table(&ADDS), "Which fields Weir adds by itself. Left out: as with `{}`."),
    Field::with_default(
        "keep_request_id",
        Kind::Bool,
        "false",
        "An x-request-id that the client sends is kept, whoever the client is; without, only that of a trusted peer.",
    ),
    Field::with_default(
        "underscores",
        Kind::OneOf(Underscores::CHOICES),
        "refuse",
        "What becomes of a field whose name is another's once `_`, or whatever is neither letter nor digit, is read as `-`: one about \
         the client, of framing, or that a route matches on. Names that are nobody else's pass, and in gRPC all do.",
    ),
];
static FIELDS: [Field; 12] = COMMON;
static FIELDS_WITH_METHODS: [Field; 13] = {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = COMMON;
    [a, b, c, d, e, f, g, h, i, j, k, l, IDEMPOTENT]
};

static ROUTE: Table = Table {
    name: "route",
    doc: "What requests it takes, and what becomes of them. Without a match key it takes everything.",
    fields: &[
        Field::optional(
            "name",
            Kind::Text { max: 128 },
            "What it is called in the numbers (`resource`). Left out: what it matches.",
        ),
        Field::optional(
            "host",
            Kind::OneOrMany(&Kind::Text { max: 260 }),
            "Hosts: `example.com`, `*.example.com` (everything below it), `*`.",
        ),
        Field::optional(
            "path",
            TEXT,
            "The whole path, without the query, in its normal form: no `.` and `..`, no needless escapes.",
        ),
        Field::optional(
            "path_prefix",
            TEXT,
            "The first segments of the path: `/orders` takes `/orders` and `/orders/7`, not `/orders7`.",
        ),
        Field::optional("method", Kind::OneOrMany(&Kind::Method), "Methods."),
        Field::optional(
            "headers",
            Kind::List { item: &Kind::Table(&HEADER), min: 1, max: 64 },
            "Conditions on headers; all have to hold.",
        ),
        Field::optional("cluster", Kind::Cluster, "Forward to this cluster."),
        Field::optional("redirect", Kind::Table(&REDIRECT), "Answer with a redirect."),
        Field::optional("direct_response", Kind::Table(&DIRECT), "Answer with this."),
        Field::optional(
            "timeout",
            LIMIT,
            "How long the whole exchange may take, retries included. Left out: as long as `reply_timeout`, `stream_idle` and `min_rate` let it.",
        ),
        times::ROUTES_REPLY_TIMEOUT,
        times::ROUTES_STREAM_IDLE,
        times::ROUTES_MIN_RATE,
        Field::optional(
            "retry",
            Kind::Table(&RETRY),
            "When it is tried again. Left out: what is idempotent, when the connection breaks before a reply's head.",
        ),
        Field::optional(
            "idempotent",
            retry::METHODS,
            "gRPC methods of this route which may be done twice, besides those of the listener.",
        ),
        Field::optional(
            "signed",
            Kind::Bool,
            "A request with a signature of AWS (version 4) is left as it is: nothing is added, and what the signature covers stays. Left \
             out: `true` with `dialect: dynamodb`, else `false`.",
        ),
        Field::optional(
            "dialect",
            Kind::Text { max: 64 },
            "What its requests are beyond HTTP: `grpc`, `dynamodb`.",
        ),
        Field::with_default(
            "connect",
            Kind::Bool,
            "false",
            "CONNECT is forwarded, and what follows a 2xx passes unread, past every route and rule. Otherwise it is answered with 405.",
        ),
        Field::optional(
            "upgrades",
            Kind::List { item: &Kind::Text { max: 64 }, min: 0, max: 16 },
            "The protocols that a client may switch to, in any case. Left out: `[websocket]`. Any other `Upgrade` is taken off, and the \
             request goes on without it; an extended CONNECT of HTTP/2 for one is answered with 405.",
        ),
    ],
    rules: &[
        Rule::AtMostOne(&["path", "path_prefix"]),
        Rule::ExactlyOne(&["cluster", "redirect", "direct_response"]),
    ],
};

static HEADER: Table = Table {
    name: "header match",
    doc: "A condition on one header. With `name` alone: it is there.",
    fields: &[
        Field::required("name", Kind::Text { max: 256 }, "The header's name, in any case."),
        Field::optional("exact", TEXT, "The value is this."),
        Field::optional("prefix", TEXT, "The value begins with this."),
        Field::optional("suffix", TEXT, "The value ends with this."),
        Field::optional("contains", TEXT, "The value has this in it."),
        Field::with_default("invert", Kind::Bool, "false", "The opposite has to hold."),
    ],
    rules: &[Rule::AtMostOne(&["exact", "prefix", "suffix", "contains"])],
};

static REDIRECT: Table = Table {
    name: "redirect",
    doc: "Sends the client elsewhere. What is left out stays as in the request.",
    fields: &[
        Field::with_default("status", Kind::OneOf(RedirectStatus::CHOICES), "301", "The status."),
        Field::optional("scheme", Kind::OneOf(Scheme::CHOICES), "The scheme."),
        Field::optional("host", Kind::Host, "The host."),
        Field::optional("port", Kind::Integer { min: 1, max: 65535 }, "The port."),
        Field::optional("path", TEXT, "The path; the query goes."),
    ],
    rules: &[],
};

static DIRECT: Table = Table {
    name: "direct response",
    doc: "An answer of Weir's own.",
    fields: &[
        Field::required("status", Kind::Status, "The status."),
        Field::with_default(
            "body",
            Kind::Text { max: 65_536 },
            "",
            "The body, as text. 204, 205 and 304 have none.",
        ),
    ],
    rules: &[],
};

words! {
    /// Statuses of a redirect.
    enum RedirectStatus {
        #[doc = "Moved Permanently."]
        Moved = "301",
        #[doc = "Found."]
        Found = "302",
        #[doc = "See Other: with GET."]
        Other = "303",
        #[doc = "Temporary Redirect: with the same method."]
        Temporary = "307",
        #[doc = "Permanent Redirect: with the same method."]
        Permanent = "308",
    }
}

words! {
    /// Schemes of a redirect.
    enum Scheme {
        #[doc = "Plain text."]
        Http = "http",
        #[doc = "TLS."]
        Https = "https",
    }
}

/// A listener's checked settings.
#[derive(Debug)]
pub struct Http {
    /// In the order of the file.
    pub routes: Vec<Route>,
    /// How long a connection may be without a request.
    pub keep_alive: Duration,
    /// How long a request's head may take.
    pub head_timeout: Duration,
    /// Somebody who is not trusted has said who the client is, which is told once for each listener that is read.
    pub first_sight: Arc<AtomicBool>,
    /// Its HTTP/2 connections.
    pub http2: weir_config::Http2,
    /// What becomes of requests whose client has ended its direction.
    pub half_closed: HalfClose,
    /// What it does with what requests say.
    pub said: Said,
}

/// A checked route.
#[derive(Debug)]
pub struct Route {
    /// What it matches.
    pub spec: RouteSpec,
    /// Its label.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// Of the whole exchange.
    pub timeout: Option<Duration>,
    /// Of its parts.
    pub times: Times,
    /// When it is tried again.
    pub retry: Option<Retry>,
    /// Methods that may be done twice, whatever their dialect knows of them.
    pub idempotent: Arc<[Listed]>,
    /// Its dialect.
    pub dialect: Option<Arc<str>>,
    /// What ends routing for a connection.
    pub switches: Switches,
    /// A request with a signature is left as it is; `None`: as the dialect says.
    pub signed: Option<bool>,
}

/// What a route does.
#[derive(Debug)]
pub enum Action {
    /// Forward to this cluster.
    Cluster(Arc<str>),
    /// Redirect.
    Redirect(Arc<Redirect>),
    /// Answer.
    Direct(Arc<Direct>),
}

/// A redirect.
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    scheme: Option<Scheme>,
    host: Option<Arc<str>>,
    port: Option<u16>,
    path: Option<Arc<str>>,
}

/// A direct response.
#[derive(Debug)]
pub struct Direct {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Arc<str>,
}

impl Redirect {
    /// Where `request` is sent. Without scheme, host and port it stays on the same server. `None`: nowhere, it names no path, or
    /// no host where one is needed.
    pub fn location(&self, request: &Request) -> Option<Vec<u8>> {
        if !request.target.starts_with(b"/") {
            return None;
        }
        let mut to = Vec::with_capacity(request.target.len() + 64);
        if self.scheme.is_some() || self.host.is_some() || self.port.is_some() {
            let secure = self.scheme.map_or(request.secure, |scheme| scheme == Scheme::Https);
            to.extend_from_slice(if secure { b"https://" } else { b"http://" });
            let given = weir_decide::route::host_of(&request.authority);
            if self.host.is_none() && given.is_empty() {
                return None;
            }
            to.extend_from_slice(self.host.as_ref().map_or(given, |host| host.as_bytes()));
            // Another scheme has another default port: the request's own goes then.
            let own =
                request.authority.get(given.len()..).filter(|_| self.scheme.is_none() && self.host.is_none());
            match self.port {
                Some(port) => to.extend_from_slice(format!(":{port}").as_bytes()),
                None => to.extend_from_slice(own.unwrap_or_default()),
            }
        }
        match &self.path {
            Some(path) => to.extend_from_slice(path.as_bytes()),
            None => to.extend_from_slice(&request.target),
        }
        Some(to)
    }
}

/// Read the section. `dialects`: those that a route may name; `default`: the one of routes that name none.
pub fn read(
    walk: &mut Walk<'_>,
    node: &Node,
    table: &'static Table,
    dialects: &[&'static dyn DialectFactory],
    default: Option<&'static dyn DialectFactory>,
) -> Option<Settings> {
    let fields = walk.fields(node, table)?;
    let keep_alive = fields.duration(walk, "keep_alive");
    let head_timeout = fields.duration(walk, "head_timeout");
    let http2 = weir_config::Http2::read(walk, &fields);
    let (times, half_closed) = times::listeners(walk, &fields)?;
    let said = said::read(walk, &fields);
    let mut routes = Vec::new();
    if fields.child("cluster").is_some() {
        routes.push(Route {
            spec: RouteSpec::default(),
            name: "default".into(),
            action: Action::Cluster(fields.cluster(walk, "cluster")?),
            timeout: None,
            times,
            retry: None,
            idempotent: Arc::default(),
            dialect: default.map(|dialect| dialect.name().into()),
            switches: Switches::default(),
            signed: None,
        });
    }
    let items = fields.items(walk, "routes").unwrap_or_default();
    for item in items {
        routes.extend(route(walk, item, dialects, default, times));
    }
    let complete = items.is_empty() || items.len() == routes.len();
    retry::list(walk, &fields, dialects, &mut routes, complete);
    warn_of_unreachable(walk, items, &routes);
    let first_sight = Arc::default();
    Some(Arc::new(Http {
        routes,
        keep_alive: keep_alive?,
        head_timeout: head_timeout?,
        first_sight,
        http2,
        half_closed,
        said: said?,
    }))
}

fn warn_of_unreachable(walk: &mut Walk<'_>, items: &[Node], routes: &[Route]) {
    if items.len() != routes.len() {
        return;
    }
    let table = weir_decide::route::RouteTable::new(routes.iter().map(|route| route.spec.clone()).collect());
    for shadowed in table.unreachable() {
        if let Some(item) = items.get(shadowed.route) {
            let Some(route) = routes.get(shadowed.route) else { continue };
            sense::shadowed(walk, item, route, shadowed.by, routes.get(shadowed.by));
        }
    }
}

fn route(
    walk: &mut Walk<'_>,
    node: &Node,
    dialects: &[&'static dyn DialectFactory],
    default: Option<&'static dyn DialectFactory>,
    usual: Times,
) -> Option<Route> {
    let fields = walk.fields(node, &ROUTE)?;
    let spec = spec(walk, &fields);
    let name = fields.text(walk, "name");
    let action = action(walk, &fields);
    let timeout = fields.duration(walk, "timeout");
    let times = times::routes(walk, &fields, usual);
    let dialect = dialect(walk, &fields, dialects, default);
    let carried = retry::Carried {
        dialect: dialect.flatten(),
        methods: spec.as_ref().map_or(&[][..], |spec| &spec.methods),
        forwards: matches!(action, Some(Action::Cluster(_)) | None),
    };
    let retry = fields.table(walk, "retry").map(|table| retry::read(walk, &table, &carried));
    let idempotent = retry::methods(walk, &fields, carried.dialect.into_iter());
    let switches = switches::read(walk, &fields);
    let signed = fields.child("signed").and_then(|_| fields.flag(walk, "signed"));
    let dialect = dialect?;
    let spec = spec?;
    let route = Route {
        name: name.map_or_else(|| label(&spec), |name| name.to_string()),
        spec,
        action: action?,
        timeout,
        times,
        retry: match retry {
            None => None,
            Some(retry) => Some(retry?),
        },
        idempotent: idempotent?.into(),
        dialect: dialect.map(|dialect| dialect.name().into()),
        signed,
        switches: switches?,
    };
    switches::check(walk, &fields, &route);
    sense::route(walk, node, &fields, &route.spec);
    Some(route)
}

/// What the route's requests are beyond HTTP; outside `None`: it names what there is not.
fn dialect(
    walk: &mut Walk<'_>,
    fields: &Fields<'_>,
    dialects: &[&'static dyn DialectFactory],
    default: Option<&'static dyn DialectFactory>,
) -> Option<Option<&'static dyn DialectFactory>> {
    let (Some(name), Some(node)) = (fields.text(walk, "dialect"), fields.child("dialect")) else {
        return Some(default);
    };
    let named = dialects.iter().find(|known| known.name() == &*name).copied();
    if named.is_none() {
        let known =
            dialects.iter().map(|known| format!("`{}`", known.name())).collect::<Vec<_>>().join(" or ");
        walk.expected(node, &if known.is_empty() { "no dialect: none is built in".into() } else { known });
    }
    named.map(Some)
}

fn action(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Action> {
    if let Some(table) = fields.table(walk, "redirect") {
        let status = table.word::<RedirectStatus>(walk, "status").map(|status| match status {
            RedirectStatus::Moved => 301,
            RedirectStatus::Found => 302,
            RedirectStatus::Other => 303,
            RedirectStatus::Temporary => 307,
            RedirectStatus::Permanent => 308,
        });
        let redirect = Redirect {
            scheme: table.word(walk, "scheme"),
            host: table.text(walk, "host"),
            port: table.number(walk, "port"),
            path: target(walk, &table, "path"),
            status: status?,
        };
        return Some(Action::Redirect(Arc::new(redirect)));
    }
    if let Some(table) = fields.table(walk, "direct_response") {
        let (status, body) = (table.number(walk, "status"), table.text(walk, "body"));
        let (status, body) = (status?, body?);
        // What stood behind such a head would be read as the next reply (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5).
        if let (204 | 205 | 304, Some(node), false) = (status, table.child("body"), body.is_empty()) {
            walk.error(node, format!("cannot stand beside `status: {status}`: such a reply has no body"));
            return None;
        }
        return Some(Action::Direct(Arc::new(Direct { status, body })));
    }
    fields.cluster(walk, "cluster").map(Action::Cluster)
}
