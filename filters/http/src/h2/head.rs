//! Between `http`'s heads and the seam's. What h2 has decoded is checked for what HTTP/1 could read differently.

use super::{MAX_HEAD, MAX_REPLY_HEAD};
use crate::fields::Fields;
use crate::h1::head::set_target;
use crate::seam::{Broken, Length, Reply, Request, Result, Version};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method as HttpMethod, StatusCode, Uri, request, response};
use weir_codecs::http1::token::is_protocol;
use weir_codecs::http1::{
    self, Authority, HOP, HOP_NAME, Known, Limits, Method, client_field, is_ambiguous, says_of_client,
};
use weir_decide::exchange::Reason;

/// Why a request's head was refused: a stable label value.
pub type Rule = &'static str;

/// Copy fields that h2 has decoded.
pub fn take_fields(map: &HeaderMap, into: &mut Fields) {
    for (name, value) in map {
        into.push(name.as_str().as_bytes(), value.as_bytes());
    }
}

/// How large fields are, as RFC 9113 section 6.5.2 counts them.
pub fn size(map: &HeaderMap) -> usize {
    map.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// Whether there are more fields than HTTP/1 takes, counted as they would come there: a cookie's crumbs are one.
fn has_too_many(map: &HeaderMap) -> bool {
    let crumbs = map.get_all(http::header::COOKIE).iter().count().saturating_sub(1);
    map.len().saturating_sub(crumbs) > Limits::FIELDS as usize
}

/// Whether the field is about framing or the connection: it must not come in the trailers of any dialect.
pub fn is_framing(name: &[u8]) -> bool {
    let framing = |known| matches!(known, Known::Host | Known::ContentLength | Known::TransferEncoding);
    name.eq_ignore_ascii_case(b"trailer")
        || Known::of(name).is_some_and(|known| framing(known) || known.is_hop_by_hop())
}

/// Whether a request's trailer section has a field that must not come in one (RFC 9110 section 6.5.1), or one about the client.
pub fn has_forbidden_trailer(fields: &Fields) -> bool {
    fields.iter().any(|(name, _)| is_forbidden_trailer(name) || says_of_client(name))
}

/// Whether the field must not come in a trailer section.
pub fn is_forbidden_trailer(name: &[u8]) -> bool {
    Known::of(name).is_some_and(Known::is_forbidden_in_trailers)
}

/// The rule that such a field breaks, in HTTP/1 too.
pub fn trailer_forbidden() -> Rule {
    weir_codecs::http1::Rule::TrailerForbidden.name()
}

/// Take over a request's head. `end`: nothing follows it. Where it breaks a rule all that could be read is there all the same, so that
/// a dialect can find its words for it.
pub fn read_request(
    parts: &request::Parts,
    end: bool,
    secure: bool,
    scratch: &mut Vec<u8>,
    into: &mut Request,
) -> std::result::Result<(), Rule> {
    into.clear();
    into.version = Version::Http2;
    into.secure = secure;
    into.end = end;
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let method = parts.method.as_str().as_bytes();
    let connect = parts.method == HttpMethod::CONNECT;
    // An extended CONNECT (RFC 8441) is what HTTP/1 does by GET and Upgrade.
    match protocol {
        Some(protocol) => {
            if !is_protocol(protocol.as_str().as_bytes()) {
                return Err("protocol_invalid");
            }
            into.upgrade.extend_from_slice(protocol.as_str().as_bytes());
            into.method_text.extend_from_slice(b"GET");
            into.end = true;
        }
        None => into.method_text.extend_from_slice(method),
    }
    into.method = Method::of(&into.method_text);
    let authority = read_authority(parts, into);
    let target = if connect && protocol.is_none() {
        into.target.extend_from_slice(&into.authority);
        into.path_len = into.target.len();
        into.end = true;
        Ok(())
    } else {
        read_target(parts, scratch, into)
    };
    into.head_bytes = (method.len() + into.target.len() + into.authority.len()) as u64;
    let size = size(&parts.headers) + method.len() + into.target.len() + into.authority.len();
    let fields = read_fields(&parts.headers, into);
    authority.and(target).and(fields)?;
    too_large(&parts.headers, size, MAX_HEAD).map_or(Ok(()), |rule| Err(rule.name()))
}

/// The limit that a head of this size is beyond, if it is beyond one.
fn too_large(map: &HeaderMap, size: usize, most: usize) -> Option<http1::Rule> {
    if size > most {
        return Some(http1::Rule::HeadTooLarge);
    }
    has_too_many(map).then_some(http1::Rule::TooManyFields)
}

/// The same of a trailer section.
pub fn trailers_too_large(map: &HeaderMap) -> Option<http1::Rule> {
    let rule = too_large(map, size(map), MAX_REPLY_HEAD)?;
    Some(if rule == http1::Rule::HeadTooLarge { http1::Rule::TrailersTooLarge } else { rule })
}

fn read_target(
    parts: &request::Parts,
    scratch: &mut Vec<u8>,
    into: &mut Request,
) -> std::result::Result<(), Rule> {
    let target = parts.uri.path_and_query().ok_or("path_missing")?;
    let fits = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    let asterisk = target.path() == "*" && parts.method == HttpMethod::OPTIONS;
    if !fits(target.as_str()) || !(target.path().starts_with('/') || asterisk) {
        return Err("target_char");
    }
    let query = target.query().map(str::as_bytes);
    set_target(into, target.path().as_bytes(), query, scratch).map_err(|reject| reject.rule())
}

/// Whether a request whose head did not end it is of a kind that has no body, and none is announced: in HTTP/1 it would have to
/// be sent in chunks, which servers refuse with such a method.
pub fn is_without_body(request: &Request) -> bool {
    let kind = matches!(
        request.method,
        Method::Get | Method::Head | Method::Delete | Method::Options | Method::Trace
    );
    kind && !request.end && request.length == Length::Unknown && request.upgrade.is_empty()
}

fn read_authority(parts: &request::Parts, into: &mut Request) -> std::result::Result<(), Rule> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("host_repeated");
    }
    let given = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let authority = given.or(host.map(HeaderValue::as_bytes)).ok_or("host_missing")?;
    let parsed = Authority::parse(authority).ok_or("host_invalid")?;
    if let Some(host) = host {
        let host = Authority::parse(host.as_bytes()).ok_or("host_invalid")?;
        if !host.same(&parsed, if into.secure { 443 } else { 80 }) {
            return Err("host_mismatch");
        }
    }
    into.authority.extend_from_slice(authority);
    Ok(())
}

fn read_fields(map: &HeaderMap, into: &mut Request) -> std::result::Result<(), Rule> {
    let (mut length, mut wrong) = (None, Ok(()));
    // Metadata may have white space around it (gRPC over HTTP2, "Custom-Metadata"): it arrives as it would directly, and over
    // HTTP/1 without.
    let is_grpc = map.get(http::header::CONTENT_TYPE);
    let is_grpc = is_grpc.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    into.fields.push(b"host", &into.authority);
    for name in map.keys() {
        let known = Known::of(name.as_str().as_bytes());
        match known {
            Some(Known::Host) => continue,
            Some(Known::ContentLength) => {
                match content_length(map.get_all(name).iter().map(HeaderValue::as_bytes)) {
                    Ok(n) => length = Some(n),
                    Err(rule) => wrong = wrong.and(Err(rule)),
                }
                continue;
            }
            // Crumbs of one cookie (RFC 9113 section 8.2.3).
            Some(Known::Cookie) => {
                join_cookies(map, name, &mut into.fields);
                continue;
            }
            Some(known) if known.is_hop_by_hop() && known != Known::Te => continue,
            Some(Known::TransferEncoding) => {
                wrong = wrong.and(Err("transfer_encoding_version"));
                continue;
            }
            _ => {}
        }
        let text = name.as_str().as_bytes();
        if text == HOP {
            // One line is enough to tell; whoever sends several is not this process.
            into.hop.extend_from_slice(map.get(name).map_or(b"", |value| value.as_bytes()));
            continue;
        }
        into.tells_client |= client_field(text).is_some();
        into.ambiguous |= is_ambiguous(text);
        for value in map.get_all(name) {
            if !is_grpc {
                wrong = wrong.and(check_value(value.as_bytes()));
            }
            into.fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    into.head_bytes +=
        map.iter().map(|(name, value)| (name.as_str().len() + value.len() + 4) as u64).sum::<u64>();
    into.expects_continue = map.get(http::header::EXPECT).is_some();
    wrong?;
    into.length = match (length, into.end) {
        (Some(0), true) => Length::Exact(0),
        (Some(_), true) => return Err("content_length_conflict"),
        (Some(n), false) => Length::Exact(n),
        (None, true) => Length::None,
        (None, false) => Length::Unknown,
    };
    Ok(())
}

fn join_cookies(map: &HeaderMap, name: &HeaderName, into: &mut Fields) {
    let mut crumbs = map.get_all(name).iter();
    let (Some(first), rest) = (crumbs.next(), crumbs) else { return };
    let mut whole = first.as_bytes().to_vec();
    for crumb in rest {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    into.push(name.as_str().as_bytes(), &whole);
}

/// White space around a value is malformed in HTTP/2 (RFC 9113 section 8.2.1), and lost in HTTP/1.
fn check_value(value: &[u8]) -> std::result::Result<(), Rule> {
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) { Err("value_space") } else { Ok(()) }
}

fn content_length<'a>(values: impl Iterator<Item = &'a [u8]>) -> std::result::Result<u64, Rule> {
    let mut known = None;
    for value in values {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| digits).ok_or("content_length_invalid")?;
        let n: u64 = text.parse().map_err(|_| "content_length_too_large")?;
        if n > weir_codecs::http1::MAX_BODY {
            return Err("content_length_too_large");
        }
        if known.is_some_and(|known| known != n) {
            return Err("content_length_conflict");
        }
        known = Some(n);
    }
    known.ok_or("content_length_invalid")
}

/// The fields as h2 wants them, values uncopied but for one allocation for all of them.
pub fn header_map(fields: &Fields) -> Result<HeaderMap> {
    let mut map = HeaderMap::with_capacity(fields.len() + 1);
    for (name, value) in fields.shared() {
        let name = HeaderName::from_bytes(name).map_err(|_| Broken::new(Reason::Malformed))?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Broken::new(Reason::Malformed))?;
        map.append(name, value);
    }
    Ok(map)
}

/// Write a request's head for a server. `secure`: the connection to it is TLS.
/// `hop`: what it says to a listener of this process.
pub fn write_request(from: &Request, secure: bool, hop: Option<&[u8]>) -> Result<http::Request<()>> {
    let malformed = |_| Broken::new(Reason::Malformed);
    let mut map = header_map(&from.fields)?;
    map.remove(http::header::HOST);
    map.remove(http::header::SEC_WEBSOCKET_KEY);
    if let Some(hop) = hop.and_then(|hop| HeaderValue::from_bytes(hop).ok()) {
        map.insert(HeaderName::from_static(HOP_NAME), hop);
    }
    if let Length::Exact(n) = from.length {
        map.insert(http::header::CONTENT_LENGTH, HeaderValue::from(n));
    }
    let mut uri = http::uri::Parts::default();
    let authority = match from.fields.value(b"host") {
        _ if !from.authority.is_empty() => &from.authority,
        // An empty Host, which HTTP/2 has no form for.
        None | Some(b"") => &b"localhost"[..],
        Some(host) => host,
    };
    uri.authority = Some(authority.try_into().map_err(|_: http::uri::InvalidUri| malformed(()))?);
    let tunnel = !from.upgrade.is_empty();
    if from.method != Method::Connect || tunnel {
        uri.scheme = Some(if secure { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
        let target = from.target.as_slice();
        uri.path_and_query = Some(target.try_into().map_err(|_: http::uri::InvalidUri| malformed(()))?);
    }
    let mut request = http::Request::new(());
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| malformed(()))?;
    *request.method_mut() = if tunnel {
        HttpMethod::CONNECT
    } else {
        HttpMethod::from_bytes(&from.method_text).map_err(|_| malformed(()))?
    };
    *request.version_mut() = http::Version::HTTP_2;
    if tunnel {
        let protocol = std::str::from_utf8(&from.upgrade).map_err(|_| malformed(()))?;
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol));
    }
    *request.headers_mut() = map;
    Ok(request)
}

/// Take over a reply's head.
pub fn read_reply(parts: &response::Parts, end: bool, head_only: bool, into: &mut Reply) -> Result<()> {
    into.clear();
    if let Some(rule) = too_large(&parts.headers, size(&parts.headers), MAX_REPLY_HEAD) {
        return Err(Broken { rule: Some(rule.name()), ..Broken::new(Reason::TooLarge) });
    }
    into.status = parts.status.as_u16();
    let mut length = None;
    for (name, value) in &parts.headers {
        match Known::of(name.as_str().as_bytes()) {
            Some(Known::ContentLength) => {
                let all = parts.headers.get_all(name).iter().map(HeaderValue::as_bytes);
                let n = content_length(all)
                    .map_err(|rule| Broken { rule: Some(rule), ..Broken::new(Reason::Malformed) })?;
                length = Some(n);
            }
            Some(known) if known.is_hop_by_hop() || known == Known::TransferEncoding => {}
            _ => into.fields.push(name.as_str().as_bytes(), value.as_bytes()),
        }
        into.head_bytes += (name.as_str().len() + value.len() + 4) as u64;
    }
    into.end = end || head_only || matches!(into.status, 204 | 304);
    into.length = match (length, end) {
        (Some(n), _) => Length::Exact(n),
        (None, true) => Length::None,
        (None, false) => Length::Unknown,
    };
    Ok(())
}

/// Write a reply's head for a client; also gives how large it is.
pub fn write_reply(from: &Reply) -> Result<(http::Response<()>, usize)> {
    let mut map = header_map(&from.fields)?;
    // A CONNECT that was extended is answered by 200 where HTTP/1 says 101.
    let status = if from.status == 101 { 200 } else { from.status };
    if from.status == 101 {
        map.remove(http::header::SEC_WEBSOCKET_ACCEPT);
    }
    if let Length::Exact(n) = from.length
        && status != 204
        && !from.is_interim()
    {
        map.insert(http::header::CONTENT_LENGTH, HeaderValue::from(n));
    }
    let bytes = map.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut response = http::Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Broken::new(Reason::Malformed))?;
    *response.headers_mut() = map;
    Ok((response, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> (std::result::Result<(), Rule>, Request) {
        let builder = http::Request::builder().method("POST").uri("http://calls/shop.Cart/Add");
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let mut request = Request::default();
        let read = read_request(&parts, true, false, &mut Vec::new(), &mut request);
        (read, request)
    }

    #[test]
    fn blanks_around_metadata_are_legal_and_around_fields_refused() {
        for value in [" x", "x ", "\t x \t"] {
            let (read_, request) = read(&[("content-type", "application/grpc+proto"), ("a", value)]);
            assert_eq!((read_, request.fields.value(b"a")), (Ok(()), Some(value.as_bytes())), "{value:?}");
            assert_eq!(read(&[("a", value)]).0, Err("value_space"), "{value:?}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_read_as_far_as_it_can_be() {
        let long = "x".repeat(MAX_HEAD);
        for (field, rule) in [
            (("host", "elsewhere"), "host_mismatch"),
            (("a", " x"), "value_space"),
            (("content-length", "x"), "content_length_invalid"),
            (("a", &*long), "head_too_large"),
        ] {
            let (read, request) = read(&[field, ("content-type", "application/json"), ("b", "c")]);
            assert_eq!(read, Err(rule));
            assert_eq!((request.method, request.path()), (Method::Post, &b"/shop.Cart/Add"[..]), "{rule}");
            assert_eq!(request.fields.value(b"content-type"), Some(&b"application/json"[..]), "{rule}");
        }
    }

    #[test]
    fn a_reply_with_too_large_a_head_is_refused() {
        for (length, refused) in [(MAX_REPLY_HEAD - 100, false), (MAX_REPLY_HEAD, true)] {
            let reply = http::Response::builder().header("a", "x".repeat(length));
            let (parts, ()) = reply.body(()).unwrap().into_parts();
            let read = read_reply(&parts, true, false, &mut Reply::default());
            assert_eq!(
                read.err().map(|broken| broken.reason),
                refused.then_some(Reason::TooLarge),
                "{length}"
            );
        }
    }

    #[test]
    fn fields_are_counted_as_in_http1() {
        let most = Limits::FIELDS as usize;
        for (fields, crumbs, refused) in
            [(most, 0, false), (most - 1, 300, false), (most, 2, true), (most + 1, 0, true)]
        {
            let mut map = HeaderMap::new();
            (0..fields).for_each(|_| _ = map.append("a", HeaderValue::from_static("")));
            (0..crumbs).for_each(|_| _ = map.append("cookie", HeaderValue::from_static("")));
            assert_eq!(has_too_many(&map), refused, "{fields} and {crumbs}");
            let mut reply = http::Response::new(());
            *reply.headers_mut() = map;
            let read = read_reply(&reply.into_parts().0, true, false, &mut Reply::default());
            let rule = refused.then_some(Some("too_many_fields"));
            assert_eq!(read.err().map(|broken| broken.rule), rule, "{fields} and {crumbs}");
        }
    }

    #[test]
    fn trailers_have_the_limits_of_heads_and_a_name_of_their_own_for_bytes() {
        let long = HeaderValue::from_str(&"x".repeat(MAX_REPLY_HEAD)).unwrap();
        let short = HeaderValue::from_static("");
        for (fields, value, rule) in [
            (Limits::FIELDS, &short, None),
            (Limits::FIELDS + 1, &short, Some(http1::Rule::TooManyFields)),
            (1, &long, Some(http1::Rule::TrailersTooLarge)),
        ] {
            let mut map = HeaderMap::new();
            (0..fields).for_each(|_| _ = map.append("a", value.clone()));
            assert_eq!(trailers_too_large(&map), rule, "{fields}");
        }
    }

    #[test]
    fn framing_is_no_dialects_metadata() {
        for name in ["connection", "TE", "trailer", "content-length", "transfer-encoding", "host", "upgrade"]
        {
            assert!(is_framing(name.as_bytes()), "{name}");
        }
        for name in [
            "authorization",
            "location",
            "set-cookie",
            "range",
            "cache-control",
            "x-amz-target",
            "grpc-status",
        ] {
            assert!(!is_framing(name.as_bytes()), "{name}");
        }
    }
}
