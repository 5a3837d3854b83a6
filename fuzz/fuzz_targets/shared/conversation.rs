//! One direction of a MongoDB connection, for a target each: however its bytes are cut, the same is learnt.

use std::fmt::Debug;
use std::rc::Rc;

use bytes::BytesMut;
use weir_codecs::mongo::{Budget, Decoder, Head, Inflate, Malformed};

fn decode<H: Head>(wire: &[u8], step: usize) -> (Vec<Rc<H>>, Option<Malformed>) {
    let (mut decoder, mut inflate) = (Decoder::<H>::default(), Inflate::new(Budget::new(16 << 20)));
    let (mut buf, mut heads, mut passed) = (BytesMut::new(), Vec::new(), 0);
    for part in wire.chunks(step) {
        buf.extend_from_slice(part);
        loop {
            match decoder.decode(&mut buf, &mut inflate) {
                Ok(Some(piece)) => {
                    assert!(!piece.bytes.is_empty() && wire[passed..].starts_with(&piece.bytes));
                    passed += piece.bytes.len();
                    heads.extend(piece.head.filter(|_| piece.last));
                }
                Ok(None) => break,
                Err(malformed) => return (heads, Some(malformed)),
            }
        }
        assert!(buf.len() <= 1024);
    }
    (heads, None)
}

/// A recorded conversation, in the notation of fixtures/mongo: then the seeds are worth something.
fn recorded(text: &[u8], who: &str) -> Vec<u8> {
    let digits = |line: &[u8]| -> Vec<u8> {
        let nibbles: Vec<u8> =
            line.iter().filter_map(|&c| char::from(c).to_digit(16).map(|d| d as u8)).collect();
        nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    };
    let messages = text.split(|&c| c == b'\n').filter_map(|line| line.strip_prefix(who.as_bytes()));
    messages.flat_map(digits).collect()
}

/// The heads of these bytes, or of the lines of `who` where they are a recorded conversation. `trouble` says whether a message is
/// compressed, and whether it has a problem.
pub fn heads<H: Head + Debug + PartialEq>(
    data: &[u8],
    who: &str,
    trouble: fn(&H) -> (bool, bool),
) -> Vec<Rc<H>> {
    let Some((&first, wire)) = data.split_first() else { return Vec::new() };
    let hex = if first == b'#' { recorded(wire, who) } else { Vec::new() };
    let wire = if hex.is_empty() { wire } else { &hex };
    let (heads, malformed) = decode::<H>(wire, wire.len().max(1));
    let (cut, malformed_cut) = decode(wire, usize::from(first).max(1));
    assert_eq!(malformed, malformed_cut);
    assert_eq!(heads.len(), cut.len());
    for (head, cut) in heads.iter().zip(&cut) {
        // A decompressor notices corrupt bytes sooner or later, as it is given more or less at once.
        if trouble(head) == (true, true) {
            assert!(trouble(cut).1);
        } else {
            assert_eq!(head, cut);
        }
    }
    heads
}
