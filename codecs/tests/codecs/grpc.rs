//! gRPC messages, whole, byte by byte and at random cuts.

use super::alloc::allocations;
use proptest::prelude::*;
use weir_codecs::grpc::{
    Code, FrameError, MAX_MESSAGE, MessageCounter, TIMEOUT_LENGTH, Timeout, decode_message, encode_message,
};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../fixtures/grpc/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is left to say of a direction: messages, compressed, bytes, and how it ended.
type Summary = (u64, u64, u64, Result<(), FrameError>);

fn count<'a>(limit: u32, parts: impl IntoIterator<Item = &'a [u8]>) -> Summary {
    let mut counter = MessageCounter::new(limit);
    let mut completed = 0;
    for part in parts {
        completed += u64::from(counter.feed(part).unwrap_or_default());
    }
    if counter.finish().is_ok() {
        assert_eq!(completed, counter.messages());
    }
    (counter.messages(), counter.compressed(), counter.bytes(), counter.finish())
}

fn framed(messages: &[(bool, Vec<u8>)]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (compressed, payload) in messages {
        wire.push(u8::from(*compressed));
        wire.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        wire.extend_from_slice(payload);
    }
    wire
}

#[test]
fn fixtures() {
    let cases: &[(&str, Summary)] = &[
        ("unary_request.bin", (1, 0, 7, Ok(()))),
        ("gzip_reply.bin", (2, 1, 60, Ok(()))),
        ("empty_messages.bin", (3, 0, 0, Ok(()))),
        ("truncated_prefix.bin", (1, 0, 2, Err(FrameError::Truncated))),
        ("truncated_payload.bin", (0, 0, 3, Err(FrameError::Truncated))),
        ("web_trailer_flag.bin", (1, 0, 2, Err(FrameError::Flag(0x80)))),
    ];
    for (name, expected) in cases {
        let wire = fixture(name);
        assert_eq!(count(MAX_MESSAGE, [&wire[..]]), *expected, "{name}");
        assert_eq!(count(MAX_MESSAGE, wire.chunks(1)), *expected, "{name}, byte by byte");
    }
}

#[test]
fn nothing_is_allocated() {
    let wire = framed(&[(false, vec![1; 100]), (true, vec![2; 3000])]);
    let mut counter = MessageCounter::new(MAX_MESSAGE);
    let made = allocations(|| {
        for part in wire.chunks(7) {
            counter.feed(part).unwrap();
        }
        assert_eq!(Timeout::parse(b"250m").map(|t| t.0.as_millis()), Some(250));
        Timeout(std::time::Duration::from_secs(3)).format(&mut [0; TIMEOUT_LENGTH]);
        assert_eq!(Code::parse(b"14"), Code::Unavailable);
        assert_eq!(decode_message(b"plain text"), "plain text");
    });
    assert_eq!((made, counter.messages()), (0, 2));
}

proptest! {
    #[test]
    fn cuts_make_no_difference(
        messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        cut in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1usize..20, 1..20),
        keep in any::<prop::sample::Index>(),
    ) {
        let wire = framed(&messages);
        let compressed = messages.iter().filter(|message| message.0).count() as u64;
        let bytes = messages.iter().map(|message| message.1.len() as u64).sum::<u64>();
        let expected = (messages.len() as u64, compressed, bytes, Ok(()));
        prop_assert_eq!(count(MAX_MESSAGE, [&wire[..]]), expected);
        prop_assert_eq!(count(MAX_MESSAGE, wire.chunks(1)), expected);
        let cut = cut.index(wire.len() + 1);
        prop_assert_eq!(count(MAX_MESSAGE, [&wire[..cut], &wire[cut..]]), expected);
        // Any start of it, in chunks of any size, is the same as that start whole.
        let start = &wire[..keep.index(wire.len() + 1)];
        let mut rest = start;
        let mut parts = Vec::new();
        for size in sizes {
            let (part, tail) = rest.split_at(size.min(rest.len()));
            parts.push(part);
            rest = tail;
        }
        parts.push(rest);
        prop_assert_eq!(count(30, parts), count(30, [start]));
    }

    #[test]
    fn any_bytes_are_taken(wire in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(count(50, wire.chunks(1)), count(50, [&wire[..]]));
    }

    #[test]
    fn timeouts_survive(nanos in 0u64..u64::MAX) {
        let timeout = Timeout(std::time::Duration::from_nanos(nanos));
        let mut buffer = [0; TIMEOUT_LENGTH];
        let again = Timeout::parse(timeout.format(&mut buffer)).unwrap();
        prop_assert!(again >= timeout);
        // Eight digits: from a hundred thousand seconds on it is whole seconds. So never longer by more than one part in a
        // hundred thousand, or a nanosecond.
        prop_assert!(again.0 - timeout.0 <= timeout.0 / 100_000 + std::time::Duration::from_nanos(1));
    }

    #[test]
    fn messages_survive(text in "\\PC*") {
        let mut wire = bytes::BytesMut::new();
        encode_message(&text, &mut wire);
        prop_assert!(wire.iter().all(|byte| (b' '..=b'~').contains(byte)));
        prop_assert_eq!(decode_message(&wire), text);
    }

    #[test]
    fn any_message_is_decoded(wire in prop::collection::vec(any::<u8>(), 0..60)) {
        let text = decode_message(&wire);
        prop_assert!(text.len() <= wire.len() * 3);
    }
}
