//! What a route matches, as the file says it.

use super::{HEADER, sense};
use crate::h1::head::PATHS;
use std::sync::Arc;
use weir_codecs::http1::path::normalize;
use weir_config::{Fields, Kind, Node, Walk};
use weir_decide::route::{HeaderMatch, HostMatch, PathMatch, RouteSpec, ValueMatch};

/// A path as routes see it: without the query, and in its normal form. Another one would match nothing.
fn path(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) -> Option<Arc<str>> {
    let (text, node) = (target(walk, fields, key)?, fields.child(key)?);
    if text.contains('?') {
        walk.expected(node, "a path without a query: routes see none");
        return None;
    }
    let mut scratch = Vec::new();
    match normalize(text.as_bytes(), PATHS, &mut scratch) {
        Ok(normal) if normal == text.as_bytes() => Some(text),
        Ok(_) => {
            let wanted = "a path in its normal form, as routes see it: no `.` and `..`, escapes only where they are \
                          needed, in upper case";
            walk.expected(node, wanted);
            None
        }
        Err(_) => {
            walk.expected(node, "a path without backslashes, `%00` and broken escapes, which are refused");
            None
        }
    }
}

/// A path that can stand in a request line.
pub(super) fn target(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) -> Option<Arc<str>> {
    let text = fields.text(walk, key)?;
    let fits = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if !fits && let Some(node) = fields.child(key) {
        walk.expected(node, "a path that begins with `/`, without spaces");
        return None;
    }
    Some(text)
}

pub(super) fn spec(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<RouteSpec> {
    let before = fields.items(walk, "host").unwrap_or_default();
    let mut hosts = Vec::new();
    let mut any = false;
    for node in before {
        let Some(text) = walk.text(node, &Kind::Text { max: 260 }) else { continue };
        match HostMatch::parse(&text) {
            Ok(Some(host)) => hosts.push(host),
            Ok(None) => any = true,
            Err(error) => walk.error(node, error.to_string()),
        }
    }
    if any {
        hosts.clear();
    }
    let path = match (path(walk, fields, "path"), path(walk, fields, "path_prefix")) {
        (Some(path), _) => PathMatch::Exact((*path).into()),
        (None, Some(prefix)) => PathMatch::Prefix((*prefix).into()),
        (None, None) => PathMatch::Any,
    };
    let methods = fields.items(walk, "method").unwrap_or_default();
    let mut method = |node: &Node| {
        let text = walk.method(node)?;
        sense::method(walk, node, &text);
        Some((*text).into())
    };
    let methods = methods.iter().filter_map(&mut method).collect();
    let headers = fields.items(walk, "headers").unwrap_or_default();
    let headers = headers.iter().filter_map(|node| header(walk, node)).collect();
    Some(RouteSpec { hosts, path, methods, headers })
}

fn header(walk: &mut Walk<'_>, node: &Node) -> Option<HeaderMatch> {
    let fields = walk.fields(node, &HEADER)?;
    let name = fields.text(walk, "name")?;
    if let Some(node) = fields.child("name")
        && !weir_codecs::http1::token::is_token(name.as_bytes())
    {
        let pseudo = name.starts_with(':');
        walk.expected(node, if pseudo { "the name of a header; `host`, `path` and `method` of the route match what begins with a colon" } else { "the name of a header" });
        return None;
    }
    let mut text = |key| fields.text(walk, key).map(|text| Box::<str>::from(&*text));
    let value = match (text("exact"), text("prefix"), text("suffix"), text("contains")) {
        (Some(exact), ..) => ValueMatch::Exact(exact),
        (_, Some(prefix), ..) => ValueMatch::Prefix(prefix),
        (_, _, Some(suffix), _) => ValueMatch::Suffix(suffix),
        (_, _, _, Some(part)) => ValueMatch::Contains(part),
        _ => ValueMatch::Present,
    };
    let invert = fields.flag(walk, "invert")?;
    let header = HeaderMatch { name: name.to_ascii_lowercase().into(), value, invert };
    sense::header(walk, &fields, &header);
    Some(header)
}

/// What a route is called that has no name: what it matches.
pub(super) fn label(spec: &RouteSpec) -> String {
    let mut label = String::new();
    match spec.methods.first() {
        Some(method) if spec.methods.len() == 1 => label = format!("{method} "),
        _ => {}
    }
    match spec.hosts.first() {
        Some(HostMatch::Exact(host)) => label.push_str(host),
        Some(HostMatch::Suffix(suffix)) => label.push_str(&format!("*{suffix}")),
        None => {}
    }
    match &spec.path {
        PathMatch::Exact(path) => label.push_str(path),
        PathMatch::Prefix(prefix) => label.push_str(&format!("{}/*", prefix.trim_end_matches('/'))),
        PathMatch::Any if label.is_empty() => label.push_str("default"),
        PathMatch::Any => {}
    }
    label.trim_end().into()
}
