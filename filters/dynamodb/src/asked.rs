//! What a request says that it is. Servers differ in what they look at: DynamoDB itself takes `x-amz-target` exactly, emulators take
//! what stands behind its dot, by any method. So whatever some server may take for a call is one, and where two of them could
//! read it differently its operation is unknown.

use weir_codecs::dynamodb::Target;
use weir_http::RequestHead;

const TARGET: &[u8] = b"x-amz-target";

/// A call, by its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// What it asks for.
    pub target: Target,
    /// Its body is CBOR.
    pub cbor: bool,
    /// It names two targets: nobody can tell which one counts.
    pub twice: bool,
}

/// `None`: nothing that anybody could take for a call.
pub fn asked(head: &RequestHead<'_>) -> Option<Asked> {
    let (mut value, mut lines, mut alike) = (None, 0u32, false);
    for (name, line) in head.fields.iter().filter(|(name, _)| name.len() == TARGET.len()) {
        if name.eq_ignore_ascii_case(TARGET) {
            lines += 1;
            value = value.or(Some(line));
        } else {
            // Many servers read `_` and `-` as one in names of fields.
            alike |= name.iter().map(dashed).eq(TARGET.iter().copied());
        }
    }
    let protocol = head.fields.value(b"smithy-protocol");
    let by_path = Target::parse_rpc_path(head.path);
    let in_query = head.query.is_some_and(names_target);
    if lines == 0 && !alike && !in_query && protocol.is_none() && by_path.is_none() {
        return None;
    }
    let twice = lines > 1 || value.is_some_and(|value| value.contains(&b','));
    let known = match (value, protocol) {
        (Some(value), None) if by_path.is_none() => Target::parse(value),
        (None, Some(b"rpc-v2-cbor")) => by_path,
        _ => None,
    };
    let sure = head.method == b"POST" && !twice && !alike && !in_query;
    Some(Asked {
        target: known.filter(|_| sure).unwrap_or(Target::UNKNOWN),
        cbor: protocol.is_some() && value.is_none(),
        twice,
    })
}

fn dashed(byte: &u8) -> u8 {
    if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

/// Whether a query has a parameter of the field's name, in any case and spelling.
fn names_target(query: &[u8]) -> bool {
    query.split(|b| matches!(b, b'&' | b';')).any(|parameter| {
        let name = parameter.split(|b| *b == b'=').next().unwrap_or_default();
        decoded(name).map(|byte| dashed(&byte)).eq(TARGET.iter().copied())
    })
}

/// The bytes of `text`, escapes decoded.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (first, tail) = rest.split_first()?;
        let escaped = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                digit(*high).zip(digit(*low)).map(|(h, l)| (h << 4 | l, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, tail));
        rest = after;
        Some(byte)
    })
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}
