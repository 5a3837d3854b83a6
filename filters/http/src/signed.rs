//! AWS Signature Version 4: which fields a request's signature covers. Nobody but the server can tell whether it is good, so what is here
//! is the client's claim, and only holds where a route says that its requests are signed.

use crate::seam::{Length, Request};

/// What the value of Authorization begins with.
const ALGORITHMS: [&[u8]; 2] = [b"AWS4-HMAC-SHA256", b"AWS4-ECDSA-P256-SHA256"];

/// Find the signature of `request`, in Authorization or in the query; what it covers goes into `request.signed`.
pub fn read(request: &mut Request) {
    let mut signed = std::mem::take(&mut request.signed);
    signed.clear();
    let found = in_header(request, &mut signed) || in_query(request, &mut signed);
    request.is_signed = found;
    request.signed = signed;
}

fn in_header(request: &Request, into: &mut Vec<u8>) -> bool {
    let mut values = request.fields.values(b"authorization");
    // Two of them are nothing that any signer writes.
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let rest = ALGORITHMS.iter().find_map(|algorithm| value.strip_prefix(*algorithm));
    let Some(rest) = rest.filter(|rest| matches!(rest.first(), Some(b' ' | b'\t'))) else { return false };
    let mut signature = false;
    for part in rest.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        if let Some(names) = part.strip_prefix(b"SignedHeaders=") {
            into.extend_from_slice(names);
        }
        signature |= part.strip_prefix(b"Signature=").is_some_and(|text| !text.is_empty());
    }
    signature && !into.is_empty()
}

fn in_query(request: &Request, into: &mut Vec<u8>) -> bool {
    let mut signature = false;
    for part in request.query().unwrap_or_default().split(|b| *b == b'&') {
        if let Some(names) = part.strip_prefix(b"X-Amz-SignedHeaders=") {
            into.clear();
            unescape(names, into);
        }
        signature |= part.strip_prefix(b"X-Amz-Signature=").is_some_and(|text| !text.is_empty());
    }
    signature && !into.is_empty()
}

/// Percent-decoding (RFC 3986 section 2.1).
fn unescape(text: &[u8], into: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                into.push((high * 16 + low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                into.push(byte);
                rest = after;
            }
        }
    }
}

/// Whether the signature covers the field.
pub fn covers(signed: &[u8], name: &[u8]) -> bool {
    signed.split(|b| *b == b';').any(|covered| covered.eq_ignore_ascii_case(name))
}

/// Whether something that the signature covers did not get here as it was sent: a field of the connection's that does not go on, or a path
/// that was made normal.
pub fn is_changed(request: &Request) -> bool {
    let is_there = |name: &[u8]| match name {
        b"content-length" => matches!(request.length, Length::Exact(_)),
        _ => request.fields.value(name).is_some(),
    };
    request.normalized || !request.signed.split(|b| *b == b';').all(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(authorization: &[&str], target: &str) -> Request {
        let mut request = Request::default();
        for value in authorization {
            request.fields.push(b"Authorization", value.as_bytes());
        }
        request.target = target.into();
        request.path_len = target.find('?').unwrap_or(target.len());
        read(&mut request);
        request
    }

    #[test]
    fn signatures_are_found_in_the_header_and_in_the_query() {
        let v4 = "AWS4-HMAC-SHA256 Credential=A/20260101/r/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=ab";
        let tight = "AWS4-HMAC-SHA256 Credential=A/20260101/r/dynamodb/aws4_request,SignedHeaders=host;x-amz-date,Signature=ab";
        let v4a = "AWS4-ECDSA-P256-SHA256 Credential=A, SignedHeaders=host, Signature=ab";
        let query =
            "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host%3Bx-a%3bX-B&X-Amz-Signature=ab";
        let table: &[(&[&str], &str, Option<&str>)] = &[
            (&[v4], "/", Some("host;x-amz-date")),
            (&[tight], "/?a", Some("host;x-amz-date")),
            (&[v4a], "/", Some("host")),
            (&[], query, Some("host;x-a;X-B")),
            (&["Bearer x"], query, Some("host;x-a;X-B")),
            (&[], "/", None),
            (&[v4, v4], "/", None),
            (&["AWS4-HMAC-SHA256X SignedHeaders=host, Signature=ab"], "/", None),
            (&["AWS4-HMAC-SHA256 SignedHeaders=host"], "/", None),
            (&["AWS4-HMAC-SHA256 SignedHeaders=, Signature=ab"], "/", None),
            (&["Basic AWS4-HMAC-SHA256 SignedHeaders=host, Signature=ab"], "/", None),
            (&[], "/?X-Amz-Signature=ab", None),
            (&[], "/?X-Amz-SignedHeaders=host&X-Amz-Signature=", None),
            (&[], "/?x=X-Amz-SignedHeaders=host&X-Amz-Signature=ab", None),
        ];
        for (authorization, target, signed) in table {
            let request = request(authorization, target);
            let found = request.is_signed.then(|| String::from_utf8(request.signed.clone()).unwrap());
            assert_eq!(found.as_deref(), *signed, "{authorization:?} {target}");
        }
        assert!(covers(b"host;x-b", b"X-B") && !covers(b"host;x-b", b"x") && !covers(b"", b"host"));
    }
}
