//! Weir's own replies, as DynamoDB would put them. Anything that is not JSON with a `__type` breaks the SDKs for JavaScript
//! and Rust, and is retried by none of them as it should be.

use std::borrow::Cow;

use bytes::BytesMut;
use weir_codecs::dynamodb::{CONTENT_TYPE, ErrorName, ErrorReply, request_id};
use weir_decide::exchange::{Fault, Reason, Side};
use weir_http::{Fields, LocalReply};

/// The error that says it best, and its HTTP status.
///
/// Limits are told as throttling, which SDKs retry slowly; a server that is not there or late as an internal error, which they
/// retry; what is forbidden or wrong is not retried.
pub fn error_of(fault: &Fault, status: u16) -> (ErrorName, u16) {
    match (fault.side, fault.reason) {
        (Side::Client, Reason::TooLarge) => (ErrorName::Validation, 413),
        (Side::Client, _) => (ErrorName::Serialization, status),
        (_, Reason::Denied) => (ErrorName::AccessDenied, 400),
        (_, Reason::NoRoute) => (ErrorName::UnknownOperation, 400),
        (
            Side::Proxy,
            Reason::Limited
            | Reason::MaxRequests
            | Reason::MaxPending
            | Reason::MaxConnections
            | Reason::MaxParked
            | Reason::RetryBudget,
        ) => (ErrorName::Throttling, 400),
        _ => (ErrorName::InternalServerError, 503),
    }
}

/// The whole reply: `text` says what happened, `random` makes its id.
pub fn reply(name: ErrorName, status: u16, text: &str, random: [u64; 4]) -> LocalReply {
    let message = format!("weir: {text}");
    let error = ErrorReply { status, name, message: &message, retry_after_ms: None };
    let mut body = BytesMut::with_capacity(256);
    let crc = error.write_body(&mut body);
    let mut fields = Fields::new();
    fields.push(b"content-type", CONTENT_TYPE.as_bytes());
    fields.push(b"x-amzn-requestid", &request_id(random));
    fields.push(b"x-amz-crc32", crc.to_string().as_bytes());
    if name == ErrorName::Throttling {
        // Half a second to one and a half, so that those who were turned away together do not come back together.
        let [some, ..] = random;
        fields.push(b"x-amz-retry-after", (500 + some % 1000).to_string().as_bytes());
    }
    LocalReply { status, fields, body: Cow::Owned(body.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_decide::exchange::Phase;

    #[test]
    fn faults_have_names() {
        use Side::*;
        let cases = [
            (Client, Reason::TooLarge, 413, ErrorName::Validation, 413),
            (Client, Reason::Malformed, 400, ErrorName::Serialization, 400),
            (Proxy, Reason::Denied, 403, ErrorName::AccessDenied, 400),
            (Proxy, Reason::NoRoute, 404, ErrorName::UnknownOperation, 400),
            (Proxy, Reason::MaxRequests, 503, ErrorName::Throttling, 400),
            (Proxy, Reason::Limited, 429, ErrorName::Throttling, 400),
            (Network, Reason::NoEndpoint, 503, ErrorName::InternalServerError, 503),
            (Network, Reason::ConnectFailed, 502, ErrorName::InternalServerError, 503),
            (Upstream, Reason::Timeout, 504, ErrorName::InternalServerError, 503),
            (Proxy, Reason::Draining, 503, ErrorName::InternalServerError, 503),
        ];
        for (side, reason, plain, name, status) in cases {
            let fault = Fault::new(side, Phase::Admitted, reason);
            assert_eq!(error_of(&fault, plain), (name, status), "{fault}");
        }
    }

    #[test]
    fn replies_are_complete() {
        let reply = reply(ErrorName::Throttling, 400, "too many \"requests\"", [1, 2, 3, 4]);
        assert_eq!(reply.status, 400);
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["__type"], "com.amazon.coral.availability#ThrottlingException");
        assert_eq!(body["message"], "weir: too many \"requests\"");
        assert_eq!(reply.fields.value(b"content-type"), Some(&b"application/x-amz-json-1.0"[..]));
        assert_eq!(reply.fields.value(b"x-amzn-requestid").map(<[u8]>::len), Some(52));
        let crc = crc32fast::hash(&reply.body).to_string();
        assert_eq!(reply.fields.value(b"x-amz-crc32"), Some(crc.as_bytes()));
        assert_eq!(reply.fields.value(b"x-amz-retry-after"), Some(&b"501"[..]));
    }
}
