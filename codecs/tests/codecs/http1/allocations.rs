//! What the hot path costs: nothing on the heap.

use crate::alloc::allocations;
use bytes::BytesMut;
use std::hint::black_box;
use weir_codecs::http1::{
    Asked, Body, Class, Decoded, Framing, Known, Limits, Method, Parsed, RequestHead, ResponseHead, encode,
    parse_request, parse_response, path,
};

/// A GET head of about 1 KiB, like a browser's.
fn head() -> Vec<u8> {
    let mut head = b"GET /orders/7/lines?after=12&limit=50 HTTP/1.1\r\nHost: shop.example.com\r\n".to_vec();
    for i in 0..12 {
        head.extend(format!("X-Field-Number-{i}: {}\r\n", "v".repeat(54)).bytes());
    }
    head.extend(b"Connection: keep-alive\r\nContent-Length: 0\r\n\r\n");
    head
}

#[test]
fn a_head_parses_and_forwards_without_allocating() {
    let bytes = head();
    assert!((950..1150).contains(&bytes.len()), "{}", bytes.len());
    let limits = Limits::default();
    let mut head = RequestHead::new();
    let mut out = BytesMut::with_capacity(4096);
    let mut once = |out: &mut BytesMut| {
        out.clear();
        assert_eq!(parse_request(&bytes, &limits, &mut head), Ok(Parsed::Complete { len: bytes.len() }));
        let view = head.view(&bytes);
        encode::request_line(out, view.method(), view.target()).unwrap();
        view.fields().copy_lines(out, |f| {
            matches!(f.class, Class::EndToEnd | Class::Framing { canonical: true })
                && f.known != Some(Known::Cookie)
        });
        encode::field(out, b"via", b"1.1 weir").unwrap();
        encode::end(out);
    };
    once(&mut out);
    let count = allocations(|| {
        for _ in 0..1000 {
            once(black_box(&mut out));
        }
    });
    assert_eq!(count, 0);
    let forwarded = String::from_utf8(out.to_vec()).unwrap();
    assert!(
        forwarded.starts_with(
            "GET /orders/7/lines?after=12&limit=50 HTTP/1.1\r\nHost: shop.example.com\r\nX-Field"
        )
    );
    assert!(forwarded.ends_with("\r\nContent-Length: 0\r\nvia: 1.1 weir\r\n\r\n"), "{forwarded}");
}

#[test]
fn a_head_in_two_pieces_parses_without_allocating() {
    let bytes = head();
    let limits = Limits::default();
    let mut head = RequestHead::new();
    let mut once = || {
        assert_eq!(parse_request(&bytes[..700], &limits, &mut head), Ok(Parsed::Partial));
        assert_eq!(parse_request(&bytes, &limits, &mut head), Ok(Parsed::Complete { len: bytes.len() }));
    };
    once();
    assert_eq!(allocations(|| (0..1000).for_each(|_| once())), 0);
}

#[test]
fn a_response_and_its_chunks_pass_without_allocating() {
    let bytes = b"HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut chunks = BytesMut::new();
    for size in [1, 15, 16, 4096, 70_000] {
        encode::chunk(&mut chunks, &vec![b'x'; size]);
    }
    encode::last_chunk(&mut chunks);
    let limits = Limits::default();
    let mut head = ResponseHead::new();
    let mut once = || {
        let asked = Asked::plain(Method::Get);
        assert_eq!(
            parse_response(bytes, &limits, asked, &mut head),
            Ok(Parsed::Complete { len: bytes.len() })
        );
        let mut body = Body::new(head.framing(), &limits);
        let (mut at, mut data) = (0, 0);
        loop {
            match body.decode(&chunks[at..]).unwrap() {
                Decoded::Data { skip, len, .. } => {
                    at += skip + len;
                    data += len;
                }
                Decoded::End { skip } => break at += skip,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((at, data), (chunks.len(), 74_128));
        let mut body = Body::new(Framing::Chunked, &limits);
        let run = body.relay(&chunks).unwrap();
        assert_eq!((run.len, run.data), (chunks.len(), 74_128));
    };
    once();
    assert_eq!(allocations(|| (0..100).for_each(|_| once())), 0);
}

#[test]
fn normal_paths_are_borrowed() {
    let mut scratch = Vec::new();
    let count = allocations(|| {
        let path = path::normalize(b"/orders/7/lines", path::Options { merge_slashes: true }, &mut scratch);
        assert_eq!(path, Ok(&b"/orders/7/lines"[..]));
    });
    assert_eq!(count, 0);
}
