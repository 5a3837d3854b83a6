//! What holds for any bytes, and for anything that can be written.

use super::cases::{self, Case, show};
use super::differential::mutate;
use super::reader::{self, End, How};
use super::table::{Dice, asked};
use bytes::BytesMut;
use proptest::prelude::*;
use weir_codecs::http1::{
    Asked, Authority, Body, Class, Decoded, Framing, Limits, Method, Parsed, RequestHead, Then, encode,
    parse_request, path,
};

/// The fast scan sees what came whole, the machine what came in pieces: they must say the same.
#[test]
fn mutated_cases_read_the_same_however_they_are_cut() {
    let mut dice = Dice::new(7);
    let read = |case: &Case, cuts: &[usize], response: bool, how: How| match response {
        true => reader::responses(&case.bytes, cuts, how, asked(&case.context)),
        false => reader::requests(&case.bytes, cuts, how),
    };
    for (cases, response) in [(cases::requests(), false), (cases::responses(), true)] {
        for case in mutate(&cases, 3000, 3) {
            let whole = read(&case, &[], response, How::Decode);
            let bytewise: Vec<usize> = (1..case.bytes.len()).collect();
            for cuts in [bytewise, dice.cuts(case.bytes.len()), dice.cuts(case.bytes.len())] {
                let cut = read(&case, &cuts, response, How::Decode);
                assert_eq!(cut, whole, "{} at {cuts:?}: {}", case.name, show(&case.bytes));
                let relayed = read(&case, &cuts, response, How::Relay);
                assert_eq!(relayed.to_string(), whole.to_string(), "{}: {}", case.name, show(&case.bytes));
            }
        }
    }
}

fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,20}"
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => 0x21u8..0x7f, 1 => 0x80u8..=0xff, 1 => Just(b' '), 1 => Just(b'\t')];
    prop::collection::vec(byte, 0..40).prop_map(|v| v.trim_ascii().to_vec())
}

fn field() -> impl Strategy<Value = (String, Vec<u8>)> {
    let plain = token().prop_filter("a name without rules of its own", |name| {
        weir_codecs::http1::Known::of(name.as_bytes()).is_none()
    });
    (plain, value())
}

/// What an HTTP/1.1 receiver is sent of a sound body without trailers.
fn relay(wire: &[u8]) -> BytesMut {
    let mut body = Body::new(Framing::Chunked, &Limits::default());
    let (mut out, mut at) = (BytesMut::new(), 0);
    loop {
        let run = body.relay(&wire[at..]).unwrap();
        out.extend_from_slice(&wire[at..at + run.len]);
        at += run.len;
        match run.then {
            Then::Line { skip, size } => {
                at += skip;
                encode::chunk_head(&mut out, size);
            }
            Then::End => return out,
            then => panic!("{then:?}"),
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_read_the_same_however_they_are_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        start in prop_oneof![Just(""), Just("GET / HTTP/1.1\r\n"), Just("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")],
        seed: u64,
    ) {
        let bytes = [start.as_bytes(), &bytes].concat();
        let cuts = Dice::new(seed).cuts(bytes.len());
        let whole = reader::requests(&bytes, &[], How::Decode);
        prop_assert_eq!(reader::requests(&bytes, &cuts, How::Decode), whole);
        let get = Asked::plain(Method::Get);
        let whole = reader::responses(&bytes, &[], How::Decode, get);
        prop_assert_eq!(reader::responses(&bytes, &cuts, How::Decode, get), whole);
    }

    #[test]
    fn what_is_written_reads_back(
        method in token(),
        target in "/[!-\"$-~]{0,60}",
        fields in prop::collection::vec(field(), 0..20),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assume!(method != "CONNECT");
        let mut out = BytesMut::new();
        encode::request_line(&mut out, method.as_bytes(), target.as_bytes()).unwrap();
        encode::field(&mut out, b"Host", b"example.com").unwrap();
        for (name, value) in &fields {
            encode::field(&mut out, name.as_bytes(), value).unwrap();
        }
        encode::content_length(&mut out, body.len() as u64);
        encode::end(&mut out);
        let head_len = out.len();
        out.extend_from_slice(&body);

        let reading = reader::requests(&out, &[], How::Decode);
        prop_assert_eq!(reading.end, End::Clean, "{:?}", reading);
        let [message] = &reading.messages[..] else { panic!("{reading:?}") };
        prop_assert_eq!(&message.start, &method);
        prop_assert_eq!(&message.target, target.as_bytes());
        prop_assert_eq!(&message.body, &body);
        let read: Vec<_> = message.fields[1..message.fields.len() - 1].iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
        let wrote: Vec<_> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_slice())).collect();
        prop_assert_eq!(read, wrote);

        // Copying the lines gives the same bytes.
        let mut head = RequestHead::new();
        let parsed = parse_request(&out, &Limits::default(), &mut head);
        prop_assert_eq!(parsed, Ok(Parsed::Complete { len: head_len }));
        let mut copy = BytesMut::new();
        encode::request_line(&mut copy, method.as_bytes(), target.as_bytes()).unwrap();
        head.view(&out).fields().copy_lines(&mut copy, |f| f.class != Class::HopByHop);
        encode::end(&mut copy);
        prop_assert_eq!(&copy[..], &out[..head_len]);
    }

    #[test]
    fn chunks_carry_any_data(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
        extension in prop_oneof![Just(""), Just(";a"), Just(";a=b;c=\"d \\\"\"")],
        zeros in 0usize..4,
        step in 1usize..64,
    ) {
        let mut wire = Vec::new();
        for piece in &pieces {
            wire.extend(format!("{}{:x}{extension}\r\n", "0".repeat(zeros), piece.len()).bytes());
            wire.extend(piece);
            wire.extend(b"\r\n");
        }
        wire.extend(format!("0{extension}\r\n\r\n").bytes());
        let mut body = Body::new(Framing::Chunked, &Limits::default());
        let (mut data, mut at, mut to) = (Vec::new(), 0, 0);
        loop {
            match body.decode(&wire[at..to]).unwrap() {
                Decoded::Data { skip, len, .. } => {
                    data.extend_from_slice(&wire[at + skip..at + skip + len]);
                    at += skip + len;
                }
                Decoded::More { skip } => {
                    prop_assert!(to < wire.len());
                    at += skip;
                    to = wire.len().min(to + step);
                }
                Decoded::End { skip } => break at += skip,
                Decoded::Trailers { .. } => panic!("no trailers were sent"),
            }
        }
        prop_assert_eq!(at, wire.len());
        prop_assert_eq!(data, pieces.concat());
        prop_assert!(body.is_done());

        // What is relayed is what we would have written ourselves, and that passes as it is.
        let mut canonical = BytesMut::new();
        pieces.iter().for_each(|piece| encode::chunk(&mut canonical, piece));
        encode::last_chunk(&mut canonical);
        prop_assert_eq!(&relay(&wire), &canonical);
        let run = Body::new(Framing::Chunked, &Limits::default()).relay(&canonical).unwrap();
        prop_assert_eq!((run.len, run.then), (canonical.len(), Then::End));
        prop_assert_eq!(run.data, pieces.concat().len() as u64);
    }

    #[test]
    fn a_field_is_refused_or_reads_back_as_one(name in prop::collection::vec(any::<u8>(), 0..12), value in prop::collection::vec(any::<u8>(), 0..24)) {
        let mut out = BytesMut::from("GET / HTTP/1.1\r\nHost: a\r\n");
        let before = out.len();
        let known = weir_codecs::http1::Known::of(&name).is_some();
        if encode::field(&mut out, &name, &value).is_err() {
            prop_assert_eq!(out.len(), before);
        } else if !known {
            encode::end(&mut out);
            let reading = reader::requests(&out, &[], How::Decode);
            prop_assert_eq!(reading.end, End::Clean);
            prop_assert_eq!(reading.messages[0].fields.len(), 2);
        }
    }

    #[test]
    fn authorities_and_paths_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), merge_slashes: bool) {
        if let Some(authority) = Authority::parse(&bytes) {
            prop_assert!(!authority.host.is_empty());
        }
        let path = [b"/".as_slice(), &bytes].concat();
        let mut scratch = Vec::new();
        if let Ok(normal) = path::normalize(&path, path::Options { merge_slashes }, &mut scratch) {
            prop_assert!(normal.starts_with(b"/"));
        }
    }
}
