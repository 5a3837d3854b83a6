//! Any bytes as a response head, to any of the requests that make a difference: whole and byte by byte they come to the
//! same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_codecs::http1::{Asked, Limits, Method, Parsed, Reject, ResponseHead, parse_response};

fn limits() -> Limits {
    Limits { head: 4096, fields: 20, ..Limits::default() }
}

fn facts(head: &ResponseHead, buf: &[u8]) -> String {
    let view = head.view(buf);
    let fields: Vec<_> = view.fields().iter().map(|(f, n, v)| (f.known, f.class, n, v)).collect();
    format!(
        "{:?} {:?} {fields:?}",
        (head.version(), head.status(), view.reason(), head.framing(), head.keep_alive()),
        (head.content_length(), view.upgrade(), head.len(), head.describes_absent_body()),
    )
}

fn bytewise(data: &[u8], asked: Asked, head: &mut ResponseHead) -> Result<Parsed, Reject> {
    for n in 0..data.len() {
        match parse_response(&data[..n], &limits(), asked, head)? {
            Parsed::Partial => {}
            complete => return Ok(complete),
        }
    }
    parse_response(data, &limits(), asked, head)
}

fuzz_target!(|data: &[u8]| {
    for asked in [
        Asked::plain(Method::Get),
        Asked::plain(Method::Head),
        Asked::plain(Method::Connect),
        Asked { method: Method::Get, upgrade: true },
    ] {
        let (mut head, mut slow) = (ResponseHead::new(), ResponseHead::new());
        let whole = parse_response(data, &limits(), asked, &mut head);
        assert_eq!(whole, bytewise(data, asked, &mut slow));
        if matches!(whole, Ok(Parsed::Complete { .. })) {
            assert_eq!(facts(&head, data), facts(&slow, data));
        }
    }
});
