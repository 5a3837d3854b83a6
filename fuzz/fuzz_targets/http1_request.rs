//! Any bytes as a request head: whole and byte by byte they come to the same, and a head that is accepted survives being
//! forwarded.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use weir_codecs::http1::{Class, Known, Limits, Parsed, Reject, RequestHead, encode, parse_request, path};

fn limits() -> Limits {
    Limits { head: 4096, fields: 20, target: 256, ..Limits::default() }
}

fn facts(head: &RequestHead, buf: &[u8]) -> String {
    let view = head.view(buf);
    let fields: Vec<_> = view.fields().iter().map(|(f, n, v)| (f.known, f.class, n, v)).collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {fields:?}",
        (view.method(), view.target(), head.form(), head.version()),
        (view.authority(), view.path(), view.query()),
        (head.framing(), head.keep_alive(), head.expects_continue()),
        (view.upgrade(), head.takes_trailers(), head.len()),
        view.host(),
        head.method(),
    )
}

fn bytewise(data: &[u8], head: &mut RequestHead) -> Result<Parsed, Reject> {
    for n in 0..data.len() {
        match parse_request(&data[..n], &limits(), head)? {
            Parsed::Partial => {}
            complete => return Ok(complete),
        }
    }
    parse_request(data, &limits(), head)
}

fuzz_target!(|data: &[u8]| {
    let (mut head, mut slow) = (RequestHead::new(), RequestHead::new());
    let whole = parse_request(data, &limits(), &mut head);
    assert_eq!(whole, bytewise(data, &mut slow));
    let Ok(Parsed::Complete { len }) = whole else { return };
    assert_eq!(facts(&head, data), facts(&slow, data));

    let view = head.view(data);
    let mut scratch = Vec::new();
    for merge_slashes in [false, true] {
        let _ = path::normalize(view.path(), path::Options { merge_slashes }, &mut scratch);
    }
    if view.fields().value(Known::Host).is_none() {
        // HTTP/1.0, which may do without; forwarding it takes a Host from somewhere else.
        return;
    }
    let mut out = BytesMut::new();
    encode::request_line(&mut out, view.method(), view.target()).unwrap();
    view.fields().copy_lines(&mut out, |f| f.class == Class::EndToEnd);
    head.framing().write(&mut out);
    encode::end(&mut out);
    let mut again = RequestHead::new();
    let parsed = parse_request(&out, &Limits { head: 8192, fields: 21, ..limits() }, &mut again).unwrap();
    assert_eq!(parsed, Parsed::Complete { len: out.len() });
    assert_eq!(again.framing(), head.framing());
    assert_eq!(again.view(&out).target(), view.target());
    assert_eq!(again.view(&out).authority(), view.authority());
    assert!(len <= data.len());
});
