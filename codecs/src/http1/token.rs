//! Characters and lists of RFC 9110 section 5.6.

/// `tchar` of RFC 9110 section 5.6.2, by byte.
static TCHAR: [bool; 256] = {
    let mut table = [false; 256];
    let chars = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
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

/// Whether `byte` may stand in a token.
#[must_use]
pub fn is_tchar(byte: u8) -> bool {
    TCHAR.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Whether `bytes` is a token: at least one character, all of them [`is_tchar`].
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_tchar(b))
}

/// Whether `bytes` names a protocol that a connection may be switched to: a token, perhaps with a version behind a slash
/// (RFC 9110 section 7.8), and not `h2c`. HTTP/2 without TLS is spoken by prior knowledge, and a peer that switches to it
/// would carry requests past us.
#[must_use]
pub fn is_protocol(bytes: &[u8]) -> bool {
    bytes.splitn(2, |&b| b == b'/').all(is_token) && !bytes.eq_ignore_ascii_case(b"h2c")
}

/// Whether `byte` may stand in a field value: HTAB, SP, visible ASCII and obs-text.
#[must_use]
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// `bytes` without SP and HTAB at its ends; nothing else counts as white space.
#[must_use]
pub fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b' ' | b'\t', tail @ ..] = rest {
        rest = tail;
    }
    while let [init @ .., b' ' | b'\t'] = rest {
        rest = init;
    }
    rest
}

/// The trimmed elements of a comma-separated list, empty ones included: the caller decides whether those are an error.
/// An empty value is one empty element.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_tokens_with_a_version_at_most() {
        for good in ["websocket", "WebSocket", "foo/1.0", "h2", "connect-udp"] {
            assert!(is_protocol(good.as_bytes()), "{good}");
        }
        for bad in
            ["", "h2c", "H2C", "a b", "a/", "/1", "a/b/c", "a,b", "websocket\r\nhost: x", "a\0", "\u{e4}"]
        {
            assert!(!is_protocol(bad.as_bytes()), "{bad:?}");
        }
    }
}
