//! The fields by which proxies say who the client is and what it asked for: the one list of them. Whoever believes such a field believes
//! whoever wrote it, so a proxy keeps those of the proxies it trusts and removes all others.

use super::known::Known;

/// By this field a process knows the requests again that it has sent to itself. It never leaves the process, and nobody may say it.
pub const HOP_NAME: &str = "x-weir-hop";
/// The same in bytes.
pub const HOP: &[u8] = HOP_NAME.as_bytes();

/// How often such a field may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Its lines make one list, in order (RFC 9110 section 5.3).
    List,
    /// Once: of two lines nobody knows which one a server takes.
    Single,
}

use Shape::{List, Single};

/// Every such field, by the length of its name. Beside them there are all that begin with one of [`PREFIXES`].
pub static CLIENT_FIELDS: &[(&str, Shape)] = &[
    ("x-host", Single),
    ("x-scheme", Single),
    ("client-ip", Single),
    ("forwarded", List),
    ("x-arr-ssl", Single),
    ("x-real-ip", Single),
    ("cf-visitor", Single),
    ("cdn-src-ip", Single),
    ("fastly-ssl", Single),
    ("client-cert", Single),
    ("remote-addr", Single),
    ("x-client-ip", Single),
    ("x-forwarded", List),
    ("x-real-port", Single),
    ("x-remote-ip", Single),
    ("wl-proxy-ssl", Single),
    ("x-url-scheme", Single),
    ("fly-client-ip", Single),
    ("x-remote-addr", Single),
    ("x-remote-host", Single),
    ("x-rewrite-url", Single),
    ("x-script-name", Single),
    ("true-client-ip", Single),
    ("x-original-uri", Single),
    ("x-original-url", Single),
    ("x-proxyuser-ip", Single),
    ("ali-cdn-real-ip", Single),
    ("cf-pseudo-ipv4", Single),
    ("front-end-https", Single),
    ("incap-client-ip", Single),
    ("proxy-client-ip", Single),
    ("x-arr-clientcert", Single),
    ("cf-connecting-ip", Single),
    ("do-connecting-ip", Single),
    ("fastly-client-ip", Single),
    ("x-azure-clientip", Single),
    ("x-azure-socketip", Single),
    ("x-envoy-internal", Single),
    ("x-original-host", Single),
    ("x-originating-ip", Single),
    ("client-cert-chain", List),
    ("x-original-proto", Single),
    ("x-original-scheme", Single),
    ("x-original-method", Single),
    ("x-sucuri-clientip", Single),
    ("fly-forwarded-ssl", Single),
    ("cf-connecting-ipv6", Single),
    ("fly-forwarded-port", Single),
    ("fly-forwarded-proto", Single),
    ("wl-proxy-client-ip", Single),
    ("x-appengine-user-ip", Single),
    ("x-cluster-client-ip", Single),
    ("x-http-host-override", Single),
    ("x-vercel-proxied-for", List),
    ("x-vercel-forwarded-for", List),
    ("x-appengine-remote-addr", Single),
    ("x-original-remote-addr", Single),
    ("x-envoy-external-address", Single),
    ("x-nf-client-connection-ip", Single),
    ("x-original-forwarded-for", List),
    ("cloudfront-forwarded-proto", Single),
    ("cloudfront-viewer-address", Single),
];

/// What the names of such fields begin with. All of `x-forwarded-` but [`SINGLE_FORWARDED`] are lists.
pub static PREFIXES: &[&str] = &["x-forwarded-", "x-ssl-client-", "x-amzn-mtls-clientcert"];

/// Of `x-forwarded-`: what stands behind it in the names of fields that are there once.
pub static SINGLE_FORWARDED: &[&str] =
    &["proto", "protocol", "scheme", "ssl", "host", "port", "prefix", "path", "uri", "method"];

/// What `name` is of the client's fields, in any case.
#[must_use]
pub fn client_field(name: &[u8]) -> Option<Shape> {
    // Most names begin with none of the letters that these do, or are of no such length.
    let first = name.first()? | 0x20;
    if !matches!(first, b'a' | b'c' | b'd' | b'f' | b'i' | b'p' | b'r' | b't' | b'w' | b'x') || name.len() < 6
    {
        return None;
    }
    if first == b'x'
        && let Some(prefix) = PREFIXES.iter().find(|prefix| begins_with(name, prefix.as_bytes()))
    {
        let rest = name.get(prefix.len()..).unwrap_or_default();
        let forwarded = prefix.ends_with("forwarded-");
        let single = SINGLE_FORWARDED.iter().any(|single| rest.eq_ignore_ascii_case(single.as_bytes()));
        return Some(if forwarded && !single { List } else { Single });
    }
    let last = name.last()? | 0x20;
    let is = |of: &&(&str, Shape)| {
        let of = of.0.as_bytes();
        of.len() == name.len() && of.last() == Some(&last) && name.eq_ignore_ascii_case(of)
    };
    CLIENT_FIELDS.iter().find(is).map(|(_, shape)| *shape)
}

/// Whether a server that makes variables of names can read `name` as another one. CGI reads `-` as `_` (RFC 3875 section 4.1.18), and so
/// do WSGI, Rack and PHP; PHP reads `.` so too, lighttpd and older Apaches every character that is neither a letter nor a digit.
#[must_use]
pub fn is_ambiguous(name: &[u8]) -> bool {
    !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// `name` as all of those read it, in lower case and with `-`.
pub fn read_as(name: &[u8], into: &mut Vec<u8>) {
    into.clear();
    into.extend(name.iter().map(|b| if b.is_ascii_alphanumeric() { b.to_ascii_lowercase() } else { b'-' }));
}

/// Whether the field is about the client, or may be read as one that is, or as another that is reserved.
#[must_use]
pub fn says_of_client(name: &[u8]) -> bool {
    if !is_ambiguous(name) {
        return client_field(name).is_some() || name.eq_ignore_ascii_case(HOP);
    }
    let mut read = Vec::new();
    read_as(name, &mut read);
    is_reserved(&read)
}

/// Whether nobody may say this name in another way: it is about the client, frames or routes a message, or is what a proxy says.
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    use Known::{
        ContentLength, Expect, Host, MaxForwards, ProxyAuthorization, Trailer, TransferEncoding, Via,
        XAmzTarget, XRequestId,
    };
    let of_ours = begins_with(name, b"x-weir-");
    let known = Known::of(name).is_some_and(|known| {
        known.is_hop_by_hop()
            || matches!(
                known,
                Host | ContentLength
                    | TransferEncoding
                    | Trailer
                    | Expect
                    | MaxForwards
                    | ProxyAuthorization
                    | Via
                    | XRequestId
                    | XAmzTarget
            )
    });
    known || of_ours || client_field(name).is_some()
}

fn begins_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_read_as_others() {
        let mut into = Vec::new();
        for (name, as_, reserved) in [
            ("X_Forwarded_For", "x-forwarded-for", true),
            ("x-forwarded_for", "x-forwarded-for", true),
            ("X.Real.IP", "x-real-ip", true),
            ("x!real~ip", "x-real-ip", true),
            ("Content_Length", "content-length", true),
            ("transfer_encoding", "transfer-encoding", true),
            ("proxy_connection", "proxy-connection", true),
            ("x_request_id", "x-request-id", true),
            ("x_weir_hop", "x-weir-hop", true),
            ("x_amz_target", "x-amz-target", true),
            ("session_id", "session-id", false),
            ("x_amz_date", "x-amz-date", false),
        ] {
            read_as(name.as_bytes(), &mut into);
            assert_eq!(into, as_.as_bytes(), "{name}");
            assert!(is_ambiguous(name.as_bytes()) && !is_ambiguous(as_.as_bytes()), "{name}");
            assert_eq!(is_reserved(&into), reserved, "{name}");
        }
    }

    #[test]
    fn every_name_is_found_in_any_case() {
        for (name, shape) in CLIENT_FIELDS {
            assert_eq!(client_field(name.as_bytes()), Some(*shape), "{name}");
            assert_eq!(client_field(name.to_ascii_uppercase().as_bytes()), Some(*shape), "{name}");
            assert_eq!(client_field(&name.as_bytes()[1..]), None, "{name}");
            let underscored = client_field(name.replace('-', "_").as_bytes());
            assert_eq!(underscored, (!name.contains('-')).then_some(*shape), "{name}");
            assert_eq!(CLIENT_FIELDS.iter().filter(|(other, _)| other == name).count(), 1, "{name}");
        }
        for (name, shape) in [
            ("x-forwarded-for", List),
            ("X-Forwarded-Proto", Single),
            ("x-forwarded-host", Single),
            ("x-forwarded-port", Single),
            ("x-forwarded-prefix", Single),
            ("x-forwarded-anything", List),
            ("x-ssl-client-verify", Single),
            ("x-amzn-mtls-clientcert-leaf", Single),
        ] {
            assert_eq!(client_field(name.as_bytes()), Some(shape), "{name}");
        }
        for name in [
            "",
            "x",
            "host",
            "x-forward",
            "x-forwarded_for",
            "accept",
            "x-request-id",
            "content-type",
            "xforwarded-for",
        ] {
            assert_eq!(client_field(name.as_bytes()), None, "{name}");
        }
    }
}
