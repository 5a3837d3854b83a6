//! Any bytes as a stream of gRPC messages, and as every header value that is parsed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_codecs::grpc::{
    Code, MessageCounter, Method, Protocol, Pushback, TIMEOUT_LENGTH, Timeout, decode_message, encode_message,
};

fn count(limit: u32, parts: &[&[u8]]) -> String {
    let mut counter = MessageCounter::new(limit);
    for part in parts {
        let _ = counter.feed(part);
    }
    format!("{} {} {} {:?}", counter.messages(), counter.compressed(), counter.bytes(), counter.finish())
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, wire)) = data.split_first() else { return };
    let limit = u32::from(first) * 16;
    let whole = count(limit, &[wire]);
    assert_eq!(count(limit, &wire.chunks(1).collect::<Vec<_>>()), whole);
    assert_eq!(count(limit, &wire.chunks(usize::from(first).max(1)).collect::<Vec<_>>()), whole);

    let _ = (Code::parse(wire), Protocol::of(wire), Pushback::parse(wire));
    if let Some(method) = Method::parse(wire) {
        assert_eq!(format!("/{}/{}", method.service, method.method).as_bytes(), wire);
    }
    if let Some(timeout) = Timeout::parse(wire) {
        let mut buffer = [0; TIMEOUT_LENGTH];
        assert!(Timeout::parse(timeout.format(&mut buffer)).is_some_and(|again| again >= timeout));
    }
    let text = decode_message(wire);
    let mut encoded = bytes::BytesMut::new();
    encode_message(&text, &mut encoded);
    assert_eq!(decode_message(&encoded), text);
});
