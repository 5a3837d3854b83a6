//! HTTP/2: frames and field compression.

mod commands;
mod dice;
mod floods;
mod frame;
mod hpack;
mod hpack_oracle;
mod oracle;
mod pair;
mod random;
mod sections;
mod steady;
mod wire;

/// Bytes from hexadecimal digits; white space is skipped.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}
