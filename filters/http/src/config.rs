//! The `http:` section of a listener: routes, what they match and what they do.

mod matching;
mod said;
mod sense;
mod switches;

pub use said::{Said, Underscores};
pub use switches::Switches;

use crate::adds::ADDS;
use crate::exchange::REPLAY_LIMIT;
use crate::seam::Request;
use crate::times::{self, HalfClose, Times};
use matching::{label, spec, target};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use weir_config::{Field, Fields, Kind, Node, Rule, Settings, Table, Walk, words};
use weir_decide::exchange::RetryOn;
use weir_decide::policy::RetryPolicy;
use weir_decide::route::RouteSpec;

const DAY: u64 = 24 * 3_600_000;
const LIMIT: Kind = Kind::Duration { min: 1, max: DAY };
const TEXT: Kind = Kind::Text { max: 8192 };

/// The table of a section of this shape, whatever it is called.
pub const fn table(name: &'static str, doc: &'static str) -> Table {
    Table { name, doc, fields: &FIELDS, rules: RULES }
}

/// The table of the `http:` section.
pub static HTTP: Table = table(
    "http",
    "HTTP/1.1, and HTTP/2 by ALPN or prior knowledge. It has either `cluster` (everything goes there) or `routes`.",
);

const RULES: &[Rule] = &[Rule::ExactlyOne(&["cluster", "routes"])];

static FIELDS: [Field; 12] = [
    Field::optional("cluster", Kind::Cluster, "Where all requests go."),
    Field::optional(
        "routes",
        Kind::List { item: &Kind::Table(&ROUTE), min: 1, max: 100_000 },
        "Where requests go: the first one that matches.",
    ),
    Field::with_default("keep_alive", LIMIT, "75s", "A connection without a request for so long is closed."),
    Field::with_default(
        "head_timeout",
        LIMIT,
        "10s",
        "How long a request's head may take to arrive, from its first byte on. In HTTP/2 also the preface and any frame but DATA.",
    ),
    Field::optional(
        "http2",
        Kind::Table(&weir_config::HTTP2),
        "Its HTTP/2 connections. Left out: as with `{}`.",
    ),
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
            "When it is tried again. Left out: never, or as the dialect says.",
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

static RETRY: Table = Table {
    name: "retry",
    doc: "When a request is tried again: on another endpoint while there is one that it has not been to. Never once the reply \
          has begun to go to the client. `5xx`, `gateway-error` and `reset` do not repeat a method that is not idempotent \
          (POST, PATCH) unless `any_method` says so.",
    fields: &[
        Field::required(
            "retry_on",
            Kind::List { item: &Kind::OneOf(Condition::CHOICES), min: 1, max: 16 },
            "The conditions.",
        ),
        Field::with_default(
            "max_retries",
            Kind::Integer { min: 1, max: 100 },
            "1",
            "The most tries after the first.",
        ),
        Field::optional(
            "per_try_timeout",
            LIMIT,
            "How long a try may take until the reply's head; counts as `reset`.",
        ),
        Field::with_default(
            "back_off",
            LIMIT,
            "25ms",
            "The n-th retry waits a random time below this times 2^n - 1.",
        ),
        Field::with_default("max_back_off", LIMIT, "250ms", "No wait is longer than this."),
        Field::with_default("any_method", Kind::Bool, "false", "Repeat every method."),
        Field::with_default(
            "buffer",
            Kind::Size { min: 0, max: 16 * 1024 * 1024 },
            "64KiB",
            "The most of a request's body that is kept; a larger one is not tried again, and counted.",
        ),
    ],
    rules: &[],
};

words! {
    /// Conditions of a retry.
    enum Condition {
        #[doc = "Any 5xx, and whatever keeps a reply from coming."]
        ServerError = "5xx",
        #[doc = "502, 503, 504, and whatever Weir would answer so."]
        GatewayError = "gateway-error",
        #[doc = "The connection or stream was lost, or a try timed out, before the reply's head."]
        Reset = "reset",
        #[doc = "No connection could be made."]
        ConnectFailure = "connect-failure",
        #[doc = "The server said that it has not processed the request."]
        RefusedStream = "refused-stream",
        #[doc = "The server said to come again later: 429, DynamoDB's throttling."]
        Throttled = "throttled",
        #[doc = "gRPC status CANCELLED."]
        Cancelled = "cancelled",
        #[doc = "gRPC status DEADLINE_EXCEEDED."]
        DeadlineExceeded = "deadline-exceeded",
        #[doc = "gRPC status INTERNAL."]
        Internal = "internal",
        #[doc = "gRPC status RESOURCE_EXHAUSTED."]
        ResourceExhausted = "resource-exhausted",
        #[doc = "gRPC status UNAVAILABLE."]
        Unavailable = "unavailable",
    }
}

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

/// When a request is tried again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The policy.
    pub policy: RetryPolicy,
    /// Of one try.
    pub per_try_timeout: Option<Duration>,
    /// The most of a body that is kept.
    pub buffer: usize,
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

/// Read the section. `dialects`: the names that a route may use; `default`: the dialect of routes that name none.
pub fn read(
    walk: &mut Walk<'_>,
    node: &Node,
    table: &'static Table,
    dialects: &[&str],
    default: Option<&'static str>,
) -> Option<Settings> {
    let fields = walk.fields(node, table)?;
    let keep_alive = fields.duration(walk, "keep_alive");
    let head_timeout = fields.duration(walk, "head_timeout");
    let http2 = weir_config::Http2::read(walk, &fields);
    let (times, half_closed) = times::listeners(walk, &fields)?;
    let said = said::read(walk, &fields);
    let default: Option<Arc<str>> = default.map(Into::into);
    let mut routes = Vec::new();
    if fields.child("cluster").is_some() {
        routes.push(Route {
            spec: RouteSpec::default(),
            name: "default".into(),
            action: Action::Cluster(fields.cluster(walk, "cluster")?),
            timeout: None,
            times,
            retry: None,
            dialect: default.clone(),
            switches: Switches::default(),
            signed: None,
        });
    }
    let items = fields.items(walk, "routes").unwrap_or_default();
    for item in items {
        routes.extend(route(walk, item, dialects, &default, times));
    }
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
    dialects: &[&str],
    default: &Option<Arc<str>>,
    usual: Times,
) -> Option<Route> {
    let fields = walk.fields(node, &ROUTE)?;
    let spec = spec(walk, &fields);
    let name = fields.text(walk, "name");
    let action = action(walk, &fields);
    let timeout = fields.duration(walk, "timeout");
    let times = times::routes(walk, &fields, usual);
    let retry = fields.table(walk, "retry").map(|table| retry(walk, &table));
    let dialect = fields.text(walk, "dialect");
    let switches = switches::read(walk, &fields);
    let signed = fields.child("signed").and_then(|_| fields.flag(walk, "signed"));
    if let (Some(dialect), Some(node)) = (&dialect, fields.child("dialect"))
        && !dialects.contains(&&**dialect)
    {
        let known = dialects.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(" or ");
        walk.expected(node, &if known.is_empty() { "no dialect: none is built in".into() } else { known });
        return None;
    }
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
        dialect: dialect.or_else(|| default.clone()),
        signed,
        switches: switches?,
    };
    switches::check(walk, &fields, &route);
    sense::route(walk, node, &fields, &route.spec);
    Some(route)
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

fn retry(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Retry> {
    let mut on = RetryOn::NONE;
    for node in fields.items(walk, "retry_on").unwrap_or_default() {
        let condition = walk.word::<Condition>(node, &Kind::OneOf(Condition::CHOICES));
        on = on.and(condition.map_or(RetryOn::NONE, bit));
    }
    let max_retries = fields.number(walk, "max_retries");
    let (base, max) = (fields.duration(walk, "back_off"), fields.duration(walk, "max_back_off"));
    let any_method = fields.flag(walk, "any_method");
    let per_try_timeout = fields.duration(walk, "per_try_timeout");
    let buffer = fields.number(walk, "buffer").unwrap_or(REPLAY_LIMIT);
    let policy =
        RetryPolicy { on, max_retries: max_retries?, base: base?, max: max?, any_method: any_method? };
    Some(Retry { policy, per_try_timeout, buffer })
}

fn bit(condition: Condition) -> RetryOn {
    match condition {
        Condition::ServerError => RetryOn::SERVER_ERROR,
        Condition::GatewayError => RetryOn::GATEWAY_ERROR,
        Condition::Reset => RetryOn::RESET,
        Condition::ConnectFailure => RetryOn::CONNECT_FAILURE,
        Condition::RefusedStream => RetryOn::REFUSED_STREAM,
        Condition::Throttled => RetryOn::THROTTLED,
        Condition::Cancelled => RetryOn::GRPC_CANCELLED,
        Condition::DeadlineExceeded => RetryOn::GRPC_DEADLINE_EXCEEDED,
        Condition::Internal => RetryOn::GRPC_INTERNAL,
        Condition::ResourceExhausted => RetryOn::GRPC_RESOURCE_EXHAUSTED,
        Condition::Unavailable => RetryOn::GRPC_UNAVAILABLE,
    }
}
