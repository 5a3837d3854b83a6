//! Any bytes as a server's side of a MongoDB connection: however they are cut, the same is learnt.

#![no_main]

use std::rc::Rc;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use weir_codecs::mongo::{Budget, Inflate, Malformed, ReplyDecoder, ReplyHead};

fn decode(wire: &[u8], step: usize) -> (Vec<Rc<ReplyHead>>, Option<Malformed>, usize) {
    let (mut decoder, mut inflate) = (ReplyDecoder::default(), Inflate::new(Budget::new(16 << 20)));
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
                Err(malformed) => return (heads, Some(malformed), passed),
            }
        }
        assert!(buf.len() <= 1024);
    }
    (heads, None, passed)
}

/// A recorded conversation, in the notation of fixtures/mongo: then the seeds are worth something.
fn recorded(text: &[u8]) -> Vec<u8> {
    let digits = |line: &[u8]| -> Vec<u8> {
        let nibbles: Vec<u8> =
            line.iter().filter_map(|&c| char::from(c).to_digit(16).map(|d| d as u8)).collect();
        nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    };
    let messages = text.split(|&c| c == b'\n').filter_map(|line| line.strip_prefix(b"reply "));
    messages.flat_map(digits).collect()
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, wire)) = data.split_first() else { return };
    let hex = if first == b'#' { recorded(wire) } else { Vec::new() };
    let wire = if hex.is_empty() { wire } else { &hex };
    let (heads, malformed, _) = decode(wire, wire.len().max(1));
    let (cut, malformed_cut, _) = decode(wire, usize::from(first).max(1));
    assert_eq!(malformed, malformed_cut);
    assert_eq!(heads.len(), cut.len());
    for (head, cut) in heads.iter().zip(&cut) {
        // A decompressor notices corrupt bytes sooner or later, as it is given more or less at once.
        if head.compressor.is_some() && head.problem.is_some() {
            assert!(cut.problem.is_some());
        } else {
            assert_eq!(head, cut);
        }
    }
});
