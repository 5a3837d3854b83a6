//! When requests are tried again: `retry` on a route, and the lists of gRPC methods that may be done twice.

use super::{LIMIT, Route};
use crate::exchange::REPLAY_LIMIT;
use crate::service::DialectFactory;
use std::sync::Arc;
use std::time::Duration;
use weir_config::{Field, Fields, Kind, Table, Walk, words};
use weir_decide::exchange::RetryOn;
use weir_decide::policy::RetryPolicy;

/// The kind of a list of gRPC methods.
pub(super) const METHODS: Kind = Kind::List { item: &Kind::Text { max: 512 }, min: 1, max: 1000 };

pub(super) static RETRY: Table = Table {
    name: "retry",
    doc: "When a request is tried again: on another endpoint while there is one that it has not been to. Never once the reply \
          has begun to go to the client, and never by Weir where the client says that it tries again by itself (`amz-sdk-request`, \
          `grpc-previous-rpc-attempts`). What a server asks for (`retry-after`, `x-amz-retry-after`, `grpc-retry-pushback-ms`) is \
          minded, up to ten seconds. docs/retries.md has it row by row. `5xx`, `gateway-error` and `reset` do not repeat a method that is not idempotent \
          (POST, PATCH) unless `any_method` says so.",
    fields: &[
        Field::required(
            "retry_on",
            Kind::List { item: &Kind::OneOf(Condition::CHOICES), min: 0, max: 16 },
            "The conditions. `[]`: nothing that a server may have seen.",
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

/// Methods that may be done twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// `/shop.Cart/Get`, or `/shop.Cart/` for all of a service.
    path: Box<str>,
}

impl Listed {
    /// `shop.Cart/Get` or `shop.Cart/*`.
    fn parse(text: &str) -> Option<Listed> {
        let (service, method) = text.split_once('/')?;
        let name = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
        };
        let whole = method == "*";
        if !name(service) || !(whole || name(method)) {
            return None;
        }
        let method = if whole { "" } else { method };
        Some(Listed { path: format!("/{service}/{method}").into() })
    }

    /// Whether the method with this path is one of them.
    pub fn takes(&self, path: &[u8]) -> bool {
        let own = self.path.as_bytes();
        if own.ends_with(b"/") { path.starts_with(own) } else { path == own }
    }
}

/// What a route carries, as far as it tells which conditions can apply.
pub(super) struct Carried<'a> {
    pub(super) dialect: Option<&'static dyn DialectFactory>,
    /// None: all.
    pub(super) methods: &'a [Box<str>],
    pub(super) forwards: bool,
}

/// Reads `retry`, and says which of its conditions can never apply.
pub(super) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>, carried: &Carried<'_>) -> Option<Retry> {
    let any_method = fields.flag(walk, "any_method");
    let mut on = RetryOn::NONE;
    for node in fields.items(walk, "retry_on").unwrap_or_default() {
        let Some(condition) = walk.word::<Condition>(node, &Kind::OneOf(Condition::CHOICES)) else {
            continue;
        };
        if let Some(why) = carried.never(bit(condition), any_method == Some(true)) {
            walk.warn(node, format!("never applies: {why}"));
        }
        on = on.and(bit(condition));
    }
    let max_retries = fields.number(walk, "max_retries");
    let (base, max) = (fields.duration(walk, "back_off"), fields.duration(walk, "max_back_off"));
    let per_try_timeout = fields.duration(walk, "per_try_timeout");
    let buffer = fields.number(walk, "buffer").unwrap_or(REPLAY_LIMIT);
    let policy = RetryPolicy {
        on,
        max_retries: max_retries?,
        base: base?,
        max: max?,
        any_method: any_method?,
        unasked: false,
    };
    Some(Retry { policy, per_try_timeout, buffer })
}

impl Carried<'_> {
    /// Why no request of the route can ever meet this condition, or be repeated for it.
    fn never(&self, condition: RetryOn, any_method: bool) -> Option<String> {
        if !self.forwards {
            return Some("the route forwards nothing".into());
        }
        let meets = self.dialect.map_or(RetryOn::HTTP, DialectFactory::conditions);
        if !meets.meets(condition) {
            return Some(match self.dialect {
                Some(dialect) => format!("no reply to a {} call meets it", dialect.name()),
                None => "it is a status of gRPC, and the route carries plain HTTP; `dialect: grpc` would change that".into(),
            });
        }
        let by_method = RetryOn::SERVER_ERROR.and(RetryOn::GATEWAY_ERROR).and(RetryOn::RESET);
        let repeated =
            |method: &str| matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "TRACE");
        let none = !self.methods.is_empty() && !self.methods.iter().any(|method| repeated(method));
        let barred = self.dialect.is_none() && none && !any_method && by_method.meets(condition);
        barred.then(|| "the route's methods are not idempotent, and `any_method` is not set".into())
    }
}

/// Reads `idempotent` of a section or route whose requests are of these dialects.
pub(super) fn methods(
    walk: &mut Walk<'_>,
    fields: &Fields<'_>,
    mut dialects: impl Iterator<Item = &'static dyn DialectFactory>,
) -> Option<Vec<Listed>> {
    let Some(node) = fields.child("idempotent") else { return Some(Vec::new()) };
    let items = fields.items(walk, "idempotent")?;
    if !dialects.any(|dialect| dialect.has_methods()) {
        walk.error(node, "`idempotent` lists gRPC methods: it needs `dialect: grpc`");
        return None;
    }
    let mut listed = Vec::with_capacity(items.len());
    for item in items {
        let text = walk.text(item, &Kind::Text { max: 512 })?;
        match Listed::parse(&text) {
            Some(one) => listed.push(one),
            None => walk.expected(item, "a gRPC method, `shop.Cart/Get`, or all of a service, `shop.Cart/*`"),
        }
    }
    Some(listed)
}

/// The section's own list holds on all of its routes that have methods. `complete`: `routes` are all there are.
pub(super) fn list(
    walk: &mut Walk<'_>,
    fields: &Fields<'_>,
    dialects: &[&'static dyn DialectFactory],
    routes: &mut [Route],
    complete: bool,
) {
    let of =
        |route: &Route| dialects.iter().find(|known| Some(known.name()) == route.dialect.as_deref()).copied();
    let found: Vec<_> = if complete { routes.iter().filter_map(of).collect() } else { dialects.to_vec() };
    let Some(listed) = methods(walk, fields, found.into_iter()).filter(|listed| !listed.is_empty()) else {
        return;
    };
    for route in routes {
        if of(route).is_some_and(|dialect| dialect.has_methods()) {
            route.idempotent = route.idempotent.iter().chain(&listed).cloned().collect::<Arc<[_]>>();
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_by_name_and_by_service() {
        for (text, path, takes) in [
            ("shop.Cart/Get", "/shop.Cart/Get", true),
            ("shop.Cart/Get", "/shop.Cart/GetAll", false),
            ("shop.Cart/*", "/shop.Cart/Get", true),
            ("shop.Cart/*", "/shop.Cartoon/Get", false),
            ("Cart/Get", "/Cart/Get", true),
        ] {
            let listed = Listed::parse(text).unwrap();
            assert_eq!(listed.takes(path.as_bytes()), takes, "{text} {path}");
        }
        for text in
            ["", "/", "/shop.Cart/Get", "shop.Cart", "shop.Cart/", "*/Get", "shop.Cart/Get/x", "a b/C", "*"]
        {
            assert_eq!(Listed::parse(text), None, "{text}");
        }
    }
}
