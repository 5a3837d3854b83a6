//! Any bytes as a chunked body: decoded whole, byte by byte and by way of a relay they are the same data and the same end,
//! and what is relayed is canonical.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use weir_codecs::http1::{Body, Decoded, Framing, Limits, Rule, Then, encode};

#[derive(Debug, PartialEq)]
enum End {
    More,
    Done(usize),
    Refused(Rule, usize),
}

fn limits() -> Limits {
    Limits { chunk_extension: 32, chunk_extensions: 64, trailers: 256, fields: 8, ..Limits::default() }
}

/// The data, the trailer section, the end.
fn decode(data: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, End) {
    let mut body = Body::new(Framing::Chunked, &limits());
    let (mut out, mut at, mut to) = (Vec::new(), 0, 0);
    loop {
        match body.decode(&data[at..to]) {
            Ok(Decoded::Data { skip, len, last }) => {
                assert!(len > 0 && !last);
                out.extend_from_slice(&data[at + skip..at + skip + len]);
                at += skip + len;
            }
            Ok(Decoded::More { skip }) if to < data.len() => {
                at += skip;
                to = data.len().min(to + step);
            }
            Ok(Decoded::More { .. }) => return (out, Vec::new(), End::More),
            Ok(Decoded::Trailers { skip, len }) => {
                let end = at + skip + len;
                return (out, data[at + skip..end].to_vec(), End::Done(end));
            }
            Ok(Decoded::End { skip }) => return (out, Vec::new(), End::Done(at + skip)),
            Err(reject) => {
                return (out, Vec::new(), End::Refused(reject.rule, at + reject.offset.unwrap() as usize));
            }
        }
    }
}

/// What an HTTP/1.1 receiver is sent.
fn relay(data: &[u8]) -> Option<BytesMut> {
    let mut body = Body::new(Framing::Chunked, &limits());
    let (mut out, mut at) = (BytesMut::new(), 0);
    loop {
        let run = body.relay(&data[at..]).ok()?;
        out.extend_from_slice(&data[at..at + run.len]);
        at += run.len;
        match run.then {
            Then::Line { skip, size } => {
                at += skip;
                encode::chunk_head(&mut out, size);
            }
            Then::Trailers { len } => {
                out.extend_from_slice(&data[at..at + len]);
                return Some(out);
            }
            Then::More | Then::End => return Some(out),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = decode(data, data.len().max(1));
    assert_eq!(whole, decode(data, 1));
    assert_eq!(whole, decode(data, 7));
    let Some(relayed) = relay(data) else {
        assert!(matches!(whole.2, End::Refused(..)));
        return;
    };
    let again = decode(&relayed, usize::MAX / 2);
    assert_eq!((&again.0, &again.1), (&whole.0, &whole.1));
    assert!(!matches!(again.2, End::Refused(..)));
    // Once canonical, always the same.
    assert_eq!(relay(&relayed).as_deref(), Some(&relayed[..]));
});
