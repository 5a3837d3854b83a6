//! Conditions of routes that can match nothing a client can send. A guard that never holds is worse than none, since somebody
//! relies on it: each is an error that says what was probably meant.

use super::{Action, Route};
use weir_codecs::http1::{Known, Method};
use weir_config::{Fields, Node, Walk};
use weir_decide::route::{HeaderMatch, PathMatch, RouteSpec, ValueMatch};

/// Methods beyond those of RFC 9110, which nobody sends in small letters either (RFC 4918, 3253, 5323, and caches').
const MORE_METHODS: [&str; 12] = [
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "QUERY",
    "PURGE",
    "MKCALENDAR",
];

/// A method as clients send it: they are compared by case (RFC 9110 section 9.1).
pub(super) fn method(walk: &mut Walk<'_>, node: &Node, text: &str) {
    let capitals = text.to_ascii_uppercase();
    let usual = Method::of(capitals.as_bytes()) != Method::Other || MORE_METHODS.contains(&&*capitals);
    if text == "PRI" {
        walk.error(node, "no request has this method: connections of HTTP/2 begin with it");
    } else if usual && text != capitals {
        walk.error(node, format!("methods are compared by case, and clients send `{capitals}`"));
    }
}

/// A condition on a header that routes can see, on a value that it can have.
pub(super) fn header(walk: &mut Walk<'_>, fields: &Fields<'_>, header: &HeaderMatch) {
    let Some(node) = fields.child("name") else { return };
    let known = Known::of(header.name.as_bytes());
    let never = match known {
        // Only this much of it is left.
        Some(Known::Te) => !header.value.matches(b"trailers"),
        Some(Known::ContentLength | Known::TransferEncoding) => true,
        Some(known) => known.is_hop_by_hop(),
        None => false,
    };
    if never {
        let what = if known == Some(Known::Te) {
            "only `trailers` of it goes on"
        } else {
            "it is about one connection, or the framing"
        };
        return walk.error(node, format!("routes never see this header: {what}"));
    }
    for key in ["exact", "prefix", "suffix", "contains"] {
        let Some(node) = fields.child(key) else { continue };
        let (ValueMatch::Exact(text)
        | ValueMatch::Prefix(text)
        | ValueMatch::Suffix(text)
        | ValueMatch::Contains(text)) = &header.value
        else {
            continue;
        };
        let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
        let bytes = text.as_bytes();
        if bytes.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) {
            walk.error(node, "no value of a header has such a character in it");
        } else if (blank(bytes.first()) && matches!(key, "exact" | "prefix"))
            || (blank(bytes.last()) && matches!(key, "exact" | "suffix"))
        {
            walk.error(node, "values of headers come without blanks around them");
        }
    }
}

/// Conditions that cannot hold together.
pub(super) fn route(walk: &mut Walk<'_>, node: &Node, fields: &Fields<'_>, spec: &RouteSpec) {
    if let Some(pair) = spec.contradiction() {
        let at = fields.child("headers").unwrap_or(node);
        walk.error(at, format!("these conditions on `{pair}` never hold together"));
    }
    let only = |method: &str| !spec.methods.is_empty() && spec.methods.iter().all(|known| &**known == method);
    if only("CONNECT") && spec.path != PathMatch::Any {
        let at = fields.child("path").or(fields.child("path_prefix")).unwrap_or(node);
        walk.error(at, "a CONNECT has no path");
    }
}

/// A denial that an earlier route takes all requests from.
pub(super) fn shadowed(walk: &mut Walk<'_>, item: &Node, route: &Route, by: usize, earlier: Option<&Route>) {
    let denies = |route: &Route| matches!(&route.action, Action::Direct(direct) if direct.status >= 400);
    let message = format!("never taken: route {by} takes all its requests");
    if denies(route) && !earlier.is_some_and(denies) {
        walk.error(item, format!("{message}; put it before that one"));
    } else {
        walk.warn(item, message);
    }
}
