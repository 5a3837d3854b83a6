//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B). The code is canonical: among symbols of one length
//! the codes count up in the symbols' order, and longer ones follow. So the lengths are all that has to be written down;
//! the tables are made from them when the crate is compiled.

/// The length of each octet's code in bits.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The longest code, which the end-of-string symbol has too (all ones).
const LONGEST: usize = 30;
/// Codes up to this length are found by one look into a table.
const SHORT: usize = 8;

struct Tables {
    /// Each octet's code, in its lowest bits.
    codes: [u32; 256],
    /// By the next eight bits: an octet and the length of its code, or 0.
    short: [(u8, u8); 1 << SHORT],
    /// The octets in the order of their codes.
    order: [u8; 256],
    /// For each length: the first code that is longer, in the highest bits of a word.
    past: [u32; LONGEST + 1],
    /// For each length: its first code, and where that one's octet stands in `order`.
    first: [(u32, u16); LONGEST + 1],
}

static TABLES: Tables = tables();

#[allow(clippy::indexing_slicing)] // evaluated at compile time, where out of bounds is a compile error
const fn tables() -> Tables {
    let mut t = Tables {
        codes: [0; 256],
        short: [(0, 0); 1 << SHORT],
        order: [0; 256],
        past: [0; LONGEST + 1],
        first: [(0, 0); LONGEST + 1],
    };
    let (mut code, mut length, mut place) = (0u32, 1, 0u16);
    while length <= LONGEST {
        t.first[length] = (code, place);
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == length {
                t.codes[symbol] = code;
                t.order[place as usize] = symbol as u8;
                place += 1;
                if length <= SHORT {
                    let mut at = (code as usize) << (SHORT - length);
                    let end = at + (1 << (SHORT - length));
                    while at < end {
                        t.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                code += 1;
            }
            symbol += 1;
        }
        t.past[length] = code << (32 - length);
        code <<= 1;
        length += 1;
    }
    t
}

/// The octets that `bytes` take in this code.
pub fn encoded_len(bytes: &[u8]) -> usize {
    let bits: usize =
        bytes.iter().map(|&b| LENGTHS.get(usize::from(b)).copied().map_or(0, usize::from)).sum();
    bits.div_ceil(8)
}

/// Appends the code of `bytes`, and the ones that fill its last octet.
pub fn encode(bytes: &[u8], mut put: impl FnMut(&[u8])) {
    // At most 31 bits wait, at most 30 come.
    let (mut waiting, mut count) = (0u64, 0u32);
    for &byte in bytes {
        let at = usize::from(byte);
        let (Some(&length), Some(&code)) = (LENGTHS.get(at), TABLES.codes.get(at)) else { continue };
        waiting = (waiting << length) | u64::from(code);
        count += u32::from(length);
        if count >= 32 {
            count -= 32;
            let word = (waiting >> count) as u32;
            put(&word.to_be_bytes());
        }
    }
    if count > 0 {
        let filled = (waiting << 32 | 0xffff_ffff) >> count;
        let word = (filled as u32).to_be_bytes();
        put(word.get(..count.div_ceil(8) as usize).unwrap_or_default());
    }
}

/// Appends what `code` stands for. `None`: it has the end-of-string symbol in it, or ends in other than at most seven ones.
pub fn decode(code: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.reserve(code.len() * 8 / 5);
    let mut rest = code;
    // The next bits, from the highest one down.
    let (mut bits, mut count) = (0u64, 0u32);
    loop {
        while count <= 56 {
            let Some((&byte, tail)) = rest.split_first() else { break };
            bits |= u64::from(byte) << (56 - count);
            count += 8;
            rest = tail;
        }
        let (symbol, length) = match TABLES.short.get((bits >> 56) as usize) {
            Some(&(symbol, length)) if length != 0 => (symbol, u32::from(length)),
            _ => match long((bits >> 32) as u32) {
                Some(found) => found,
                // Only ones are left of a word: filling, or the end-of-string symbol.
                None => return (count < 8 && bits == ones(count)).then_some(()),
            },
        };
        if length > count {
            return (count < 8 && bits == ones(count)).then_some(());
        }
        out.push(symbol);
        bits <<= length;
        count -= length;
        if count == 0 && rest.is_empty() {
            return Some(());
        }
    }
}

/// So many ones in the highest bits.
const fn ones(count: u32) -> u64 {
    if count == 0 { 0 } else { u64::MAX << (64 - count) }
}

/// The octet whose code of more than eight bits `word` begins with, and the code's length.
#[cold]
fn long(word: u32) -> Option<(u8, u32)> {
    let length =
        (SHORT + 1..=LONGEST).find(|&length| TABLES.past.get(length).is_some_and(|&past| word < past))?;
    let &(first, place) = TABLES.first.get(length)?;
    let offset = (word >> (32 - length)).checked_sub(first)?;
    let symbol = TABLES.order.get(usize::from(place) + offset as usize)?;
    Some((*symbol, length as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(bytes, |piece| out.extend_from_slice(piece));
        assert_eq!(out.len(), encoded_len(bytes));
        out
    }

    fn decoded(code: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(code, &mut out).map(|()| out)
    }

    #[test]
    fn the_code_is_the_appendix_s() {
        // Samples of each length, from RFC 7541 appendix B.
        let samples = [
            (b'0', 0x0, 5),
            (b't', 0x9, 5),
            (b' ', 0x14, 6),
            (b'u', 0x2d, 6),
            (b':', 0x5c, 7),
            (b'z', 0x7b, 7),
            (b'&', 0xf8, 8),
            (b'Z', 0xfd, 8),
            (b'!', 0x3f8, 10),
            (b'?', 0x3fc, 10),
            (b'|', 0x7fc, 11),
            (b'#', 0xffa, 12),
            (0, 0x1ff8, 13),
            (b'^', 0x3ffc, 14),
            (b'<', 0x7ffc, 15),
            (b'\\', 0x7fff0, 19),
            (128, 0xfffe6, 20),
            (153, 0x1fffdc, 21),
            (129, 0x3fffd2, 22),
            (1, 0x7fffd8, 23),
            (9, 0xffffea, 24),
            (199, 0x1ffffec, 25),
            (192, 0x3ffffe0, 26),
            (203, 0x7ffffde, 27),
            (2, 0xfffffe2, 28),
            (22, 0x3ffffffe, 30),
        ];
        for (symbol, code, length) in samples {
            assert_eq!((TABLES.codes[symbol as usize], LENGTHS[symbol as usize]), (code, length), "{symbol}");
        }
    }

    #[test]
    fn every_octet_alone_and_beside_each_other_comes_back() {
        for a in 0..=255u8 {
            assert_eq!(decoded(&encoded(&[a])), Some(vec![a]));
            for b in 0..=255u8 {
                assert_eq!(decoded(&encoded(&[a, b, a])), Some(vec![a, b, a]), "{a} {b}");
            }
        }
        assert_eq!(decoded(b""), Some(vec![]));
    }

    #[test]
    fn filling_is_at_most_seven_ones_and_the_end_symbol_is_refused() {
        assert_eq!(decoded(&[0x1f]), Some(b"a".to_vec())); // 00011 111
        assert_eq!(decoded(&[0x1e]), None); // filled with other than ones
        assert_eq!(decoded(&[0x1f, 0xff]), None); // eleven ones
        assert_eq!(decoded(&[0xff]), None);
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None); // the end symbol, filled
        assert_eq!(decoded(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decoded(&[0xff; 16]), None);
    }
}
