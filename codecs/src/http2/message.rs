//! What a field section has to be like (RFC 9113 section 8), and what is learnt from it. A malformed message is its
//! stream's fault, never its connection's.

use super::{Code, Fields, Violation};
use crate::http1::token;

/// A stream's priority (RFC 9218).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority {
    /// 0 to 7; lower is sooner.
    pub urgency: u8,
    /// Whether the stream shares the connection with others of its urgency, or is sent whole before them.
    pub incremental: bool,
}

impl Priority {
    /// The priority of a stream that says nothing. RFC 9218 leaves it to the server how such streams share the connection:
    /// we take turns, so that no stream waits for a long one.
    pub const DEFAULT: Self = Self { urgency: 3, incremental: true };

    /// The priority that a `priority` field states. What cannot be read is as if it was not there.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let mut priority = Self { urgency: 3, incremental: false };
        for part in token::elements(value) {
            match part {
                [b'u', b'=', urgency @ b'0'..=b'7'] => priority.urgency = urgency - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }
}

/// What a field section is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A request; `:protocol` (RFC 8441) is allowed only where we offered it.
    Request {
        /// Whether we offered extended CONNECT.
        extended: bool,
    },
    /// A response.
    Response,
    /// Trailers.
    Trailers,
}

/// What is learnt from a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// A response's status; 0 for a request.
    pub status: u16,
    /// The length that content-length states.
    pub length: Option<u64>,
    /// Whether the request's method is HEAD.
    pub is_head: bool,
    /// Whether the request's method is CONNECT.
    pub is_connect: bool,
    /// What `priority` says, if it is there.
    pub priority: Option<Priority>,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const PATH: u8 = 4;
const AUTHORITY: u8 = 8;
const PROTOCOL: u8 = 16;
const STATUS: u8 = 32;

const fn malformed(section: &'static str, what: &'static str) -> Violation {
    Violation::new(Code::PROTOCOL_ERROR, section, what)
}

/// Holds a field section to the rules, and reads what the connection itself needs.
///
/// # Errors
/// The first rule that the section breaks.
pub fn check(fields: &Fields, wanted: Wanted) -> Result<Facts, Violation> {
    let mut facts = Facts { status: 0, length: None, is_head: false, is_connect: false, priority: None };
    let (mut seen, mut regular, mut rootless) = (0u8, false, false);
    for field in fields.iter() {
        if !is_value(field.value) {
            return Err(malformed("8.2.1", "a value with control characters"));
        }
        if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = field.value {
            return Err(malformed("8.2.1", "white space around a value"));
        }
        if field.name.first() != Some(&b':') {
            regular = true;
            named(field.name, field.value, &mut facts)?;
            continue;
        }
        if regular {
            return Err(malformed("8.3", "a pseudo-header field behind others"));
        }
        let bit =
            pseudo(field.name, wanted).ok_or(malformed("8.3", "a pseudo-header field of no meaning here"))?;
        if seen & bit != 0 {
            return Err(malformed("8.3", "a pseudo-header field twice"));
        }
        seen |= bit;
        match bit {
            METHOD if !token::is_token(field.value) => {
                return Err(malformed("8.3.1", "a method that is no token"));
            }
            METHOD => {
                facts.is_head = field.value == b"HEAD";
                facts.is_connect = field.value == b"CONNECT";
            }
            PATH => match field.value {
                [] => return Err(malformed("8.3.1", "an empty :path")),
                [b'/', ..] => {}
                _ => rootless = field.value != b"*",
            },
            STATUS => facts.status = status(field.value)?,
            _ => {}
        }
    }
    complete(wanted, seen, facts.is_connect, rootless)?;
    Ok(facts)
}

fn pseudo(name: &[u8], wanted: Wanted) -> Option<u8> {
    match (wanted, name) {
        (Wanted::Request { .. }, b":method") => Some(METHOD),
        (Wanted::Request { .. }, b":scheme") => Some(SCHEME),
        (Wanted::Request { .. }, b":path") => Some(PATH),
        (Wanted::Request { .. }, b":authority") => Some(AUTHORITY),
        (Wanted::Request { extended: true }, b":protocol") => Some(PROTOCOL),
        (Wanted::Response, b":status") => Some(STATUS),
        _ => None,
    }
}

/// Whether all is there that has to be.
fn complete(wanted: Wanted, seen: u8, is_connect: bool, rootless: bool) -> Result<(), Violation> {
    match wanted {
        Wanted::Trailers => Ok(()),
        Wanted::Response if seen & STATUS == 0 => Err(malformed("8.3.2", "a response without :status")),
        Wanted::Response => Ok(()),
        Wanted::Request { .. } if is_connect && seen & PROTOCOL == 0 => {
            if seen & (SCHEME | PATH) != 0 || seen & AUTHORITY == 0 {
                return Err(malformed("8.5", "CONNECT with :scheme or :path, or without :authority"));
            }
            Ok(())
        }
        Wanted::Request { .. } => {
            let all = METHOD | SCHEME | PATH;
            if seen & all != all {
                return Err(malformed("8.3.1", "a request without :method, :scheme or :path"));
            }
            if seen & PROTOCOL != 0 && !is_connect {
                return Err(malformed("RFC 8441 4", ":protocol without CONNECT"));
            }
            if rootless {
                return Err(malformed("8.3.1", "a :path that does not begin with a slash"));
            }
            Ok(())
        }
    }
}

fn status(value: &[u8]) -> Result<u16, Violation> {
    let &[a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = value else {
        return Err(malformed("8.3.2", "a :status that is no number of three digits"));
    };
    let digit = |byte: u8| u16::from(byte - b'0');
    let status = digit(a) * 100 + digit(b) * 10 + digit(c);
    if status == 101 {
        return Err(malformed("8.6", "101 in HTTP/2"));
    }
    Ok(status)
}

/// What a name may have in it: a token's characters without upper case.
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let chars = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut i = 0;
    while i < chars.len() {
        // Evaluated at compile time, where an index out of bounds is a compile error.
        #[allow(clippy::indexing_slicing)]
        {
            table[chars[i] as usize] = true;
        }
        i += 1;
    }
    table
};

/// Whether a value has no control characters but HTAB in it.
fn is_value(value: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    // Whether one of eight octets is below 0x20, or is 0x7f. HTAB is, too, and then each is looked at.
    let is_plain = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let del = word ^ (ONES * 0x7f);
        let low = word.wrapping_sub(ONES * 0x20) & !word;
        (low | del.wrapping_sub(ONES) & !del) & (ONES * 0x80) == 0
    };
    let (words, rest) = value.as_chunks::<8>();
    words.iter().all(is_plain) && rest.iter().all(|&b| token::is_value_byte(b))
        || value.iter().all(|&b| token::is_value_byte(b))
}

/// A regular field.
fn named(name: &[u8], value: &[u8], facts: &mut Facts) -> Result<(), Violation> {
    if name.is_empty() || !name.iter().all(|&b| NAME.get(usize::from(b)) == Some(&true)) {
        return Err(malformed("8.2.1", "a name with other than lower-case token characters"));
    }
    match name {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
            Err(malformed("8.2.2", "a field about the connection"))
        }
        b"te" if value != b"trailers" => Err(malformed("8.2.2", "te of other than trailers")),
        b"content-length" => {
            let length = number(value).ok_or(malformed("8.1.1", "a content-length that is no number"))?;
            if facts.length.is_some_and(|before| before != length) {
                return Err(malformed("8.1.1", "two content-lengths that differ"));
            }
            facts.length = Some(length);
            Ok(())
        }
        b"priority" => {
            facts.priority = Some(Priority::parse(value));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A number of digits only.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, &b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_judged_alike_alone_and_among_others() {
        for byte in 0..=255u8 {
            let lower = token::is_tchar(byte) && !byte.is_ascii_uppercase();
            assert_eq!(NAME[usize::from(byte)], lower, "{byte}");
            for len in 1..20 {
                for at in 0..len {
                    for others in [b'a', 0x80, 0xff, b' '] {
                        let mut value = vec![others; len];
                        value[at] = byte;
                        assert_eq!(is_value(&value), token::is_value_byte(byte), "{byte} at {at} of {len}");
                    }
                }
            }
        }
    }
}
