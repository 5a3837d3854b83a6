//! Replies of our own on a DynamoDB route. An SDK parses every error as JSON and retries by its name, so anything else
//! (a plain "503 Service Unavailable") breaks it in worse ways than the failure that it reports.

use bytes::{BufMut, BytesMut};

use super::errors::ErrorName;

/// The content type of every DynamoDB reply.
pub const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// How much of a message is written; the rest is cut off.
pub const MAX_MESSAGE: usize = 512;

/// An error in DynamoDB's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// The HTTP status that the SDKs expect with the name: 400 for nearly all, 503 where retrying helps.
    pub status: u16,
    /// The exception.
    pub name: ErrorName,
    /// For humans. It says that the proxy speaks, not DynamoDB.
    pub message: &'a str,
    /// How long the SDK should wait, sent as `x-amz-retry-after`.
    pub retry_after_ms: Option<u32>,
}

impl<'a> ErrorReply<'a> {
    /// More was asked for than the proxy lets through: SDKs retry it, slowly.
    pub const fn throttled(message: &'a str, retry_after_ms: Option<u32>) -> Self {
        ErrorReply { status: 400, name: ErrorName::Throttling, message, retry_after_ms }
    }

    /// No server could be reached, or none answered in time.
    pub const fn unavailable(message: &'a str) -> Self {
        ErrorReply { status: 503, name: ErrorName::InternalServerError, message, retry_after_ms: None }
    }

    /// A rule forbids it: SDKs do not retry.
    pub const fn denied(message: &'a str) -> Self {
        ErrorReply { status: 400, name: ErrorName::AccessDenied, message, retry_after_ms: None }
    }

    /// The request cannot be read.
    pub const fn invalid(message: &'a str) -> Self {
        ErrorReply { status: 400, name: ErrorName::Validation, message, retry_after_ms: None }
    }

    /// Appends the JSON body to `out` and returns its CRC-32, the value of `x-amz-crc32` in decimal. The length is what
    /// `out` grew by: under 4 KiB.
    pub fn write_body(&self, out: &mut BytesMut) -> u32 {
        let start = out.len();
        out.put_slice(b"{\"__type\":\"");
        out.put_slice(self.namespace().as_bytes());
        out.put_u8(b'#');
        out.put_slice(self.name.as_str().as_bytes());
        out.put_slice(b"\",\"message\":\"");
        let mut room = MAX_MESSAGE;
        for character in self.message.chars() {
            let Some(left) = room.checked_sub(character.len_utf8()) else { break };
            room = left;
            put_escaped(character, out);
        }
        out.put_slice(b"\"}");
        crc32fast::hash(out.get(start..).unwrap_or_default())
    }

    fn namespace(&self) -> &'static str {
        match self.name {
            ErrorName::Throttling | ErrorName::ServiceUnavailable => "com.amazon.coral.availability",
            ErrorName::Validation => "com.amazon.coral.validate",
            ErrorName::AccessDenied | ErrorName::UnknownOperation | ErrorName::Serialization => {
                "com.amazon.coral.service"
            }
            _ => "com.amazonaws.dynamodb.v20120810",
        }
    }
}

fn put_escaped(character: char, out: &mut BytesMut) {
    match character {
        '"' => out.put_slice(b"\\\""),
        '\\' => out.put_slice(b"\\\\"),
        '\0'..='\x1f' | '\x7f' => out.put_u8(b' '),
        _ => out.put_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// A request id as DynamoDB makes them: 52 characters of base 32, here from 256 random bits that the caller gives.
pub fn request_id(random: [u64; 4]) -> [u8; 52] {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    let mut id = [b'0'; 52];
    let mut words = random.into_iter();
    for thirteen in id.chunks_mut(13) {
        let mut word = words.next().unwrap_or_default();
        for place in thirteen {
            *place = DIGITS.get((word & 31) as usize).copied().unwrap_or(b'0');
            word >>= 5;
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let cases = [
            (
                ErrorReply::throttled("slow \"down\"\n\\", Some(250)),
                r#"{"__type":"com.amazon.coral.availability#ThrottlingException","message":"slow \"down\" \\"}"#,
            ),
            (
                ErrorReply::unavailable("weir: no endpoint"),
                r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"weir: no endpoint"}"#,
            ),
            (
                ErrorReply::denied("é"),
                r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"é"}"#,
            ),
            (
                ErrorReply::invalid(""),
                r#"{"__type":"com.amazon.coral.validate#ValidationException","message":""}"#,
            ),
        ];
        for (reply, expected) in cases {
            let mut out = BytesMut::from(&b"before"[..]);
            let crc = reply.write_body(&mut out);
            assert_eq!(&out[6..], expected.as_bytes());
            assert_eq!(crc, crc32fast::hash(expected.as_bytes()));
        }
    }

    #[test]
    fn messages_are_cut_between_characters() {
        let long = "é".repeat(1000);
        let mut out = BytesMut::new();
        ErrorReply::denied(&long).write_body(&mut out);
        let text = std::str::from_utf8(&out).unwrap();
        assert_eq!(text.matches('é').count(), MAX_MESSAGE / 2);
        assert!(text.ends_with("\"}"));
    }

    #[test]
    fn request_ids() {
        let id = request_id([0, u64::MAX, 1, 0x1234_5678_9abc_def0]);
        assert!(id.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()));
        assert_eq!(&id[..13], b"0000000000000");
        assert_ne!(request_id([1, 2, 3, 4]), request_id([1, 2, 3, 5]));
    }
}
