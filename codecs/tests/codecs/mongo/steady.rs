//! The steady state allocates nothing.

use bytes::BytesMut;
use weir_codecs::mongo::{Decoder, Head, Inflate, ReplyHead, RequestHead};

use super::{inflate, recorded};
use crate::alloc::allocations;

/// Passes the messages through, each fed in `parts` parts.
fn pass<H: Head>(
    decoder: &mut Decoder<H>,
    inflate: &mut Inflate,
    buf: &mut BytesMut,
    messages: &[Vec<u8>],
    parts: usize,
) {
    for message in messages {
        for part in message.chunks(message.len().div_ceil(parts)) {
            buf.reserve(part.len());
            buf.extend_from_slice(part);
            while let Some(piece) = decoder.decode(buf, inflate).unwrap() {
                std::hint::black_box(&piece);
            }
        }
    }
}

fn allocates<H: Head>(name: &str, side: &str) {
    let messages = recorded(name, side);
    let (mut decoder, mut inflate, mut buf) =
        (Decoder::<H>::default(), inflate(), BytesMut::with_capacity(65536));
    // A hello's client metadata is kept on the heap, once for each connection: start after the handshake.
    let operations = if messages.len() > 4 { &messages[4..] } else { &messages };
    for parts in [1, 3] {
        pass(&mut decoder, &mut inflate, &mut buf, &messages, parts);
        let count = allocations(|| {
            for _ in 0..10 {
                pass(&mut decoder, &mut inflate, &mut buf, operations, parts);
            }
        });
        assert_eq!(count, 0, "{name} {side} in {parts} parts");
    }
}

#[test]
fn nothing_is_allocated_for_an_operation() {
    for name in [
        "find",
        "find_getmore",
        "insert",
        "update_many",
        "aggregate",
        "transaction",
        "exhaust",
        "insert_dup",
        "explain",
    ] {
        allocates::<RequestHead>(name, "request");
        allocates::<ReplyHead>(name, "reply");
    }
    for name in ["snappy", "zlib", "zstd"] {
        allocates::<RequestHead>(name, "request");
        allocates::<ReplyHead>(name, "reply");
    }
}
