//! `grpc-message`: UTF-8 text, percent-encoded outside of printable ASCII.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

/// Appends `text` as a value of `grpc-message`: everything outside of space to `~`, and `%` itself, becomes `%XX`.
pub fn encode_message(text: &str, out: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.put_u8(byte),
            _ => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble & 15)).copied().unwrap_or(b'0');
                out.put_slice(&[b'%', digit(byte >> 4), digit(byte)]);
            }
        }
    }
}

/// The text of a value of `grpc-message`. A `%` that two hex digits do not follow stays as it is, and bytes that are no
/// UTF-8 become U+FFFD: the specification forbids to refuse or drop a broken message.
pub fn decode_message(value: &[u8]) -> Cow<'_, str> {
    if !value.contains(&b'%') {
        return String::from_utf8_lossy(value);
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or_default() as u8;
                decoded.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            _ => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes() {
        let cases = [
            ("all fine ~", "all fine ~"),
            ("100%", "100%25"),
            ("a\tb\n", "a%09b%0A"),
            ("é", "%C3%A9"),
            ("", ""),
        ];
        for (text, expected) in cases {
            let mut out = BytesMut::new();
            encode_message(text, &mut out);
            assert_eq!(out, expected.as_bytes(), "{text}");
            assert_eq!(decode_message(&out), text);
        }
    }

    #[test]
    fn decodes_what_is_broken() {
        let cases: &[(&[u8], &str)] = &[
            (b"50%", "50%"),
            (b"%4", "%4"),
            (b"%zz%41", "%zzA"),
            (b"%c3%A9", "\u{e9}"),
            (b"%FF", "\u{fffd}"),
            (b"\xff", "\u{fffd}"),
        ];
        for (value, expected) in cases {
            assert_eq!(decode_message(value), *expected, "{value:?}");
        }
    }
}
