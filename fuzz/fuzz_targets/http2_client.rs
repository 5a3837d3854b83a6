//! Any bytes from a server that was asked for three things: whole and byte by byte the same comes of them.
#![no_main]

#[path = "shared/http2.rs"]
mod shared;

use libfuzzer_sys::fuzz_target;
use weir_codecs::http2::{Connection, Role, frame};

fuzz_target!(|data: &[u8]| {
    let mut bytes = bytes::BytesMut::new();
    frame::put_settings(&mut bytes, &[]);
    bytes.extend_from_slice(data);
    let run = |step| {
        let mut connection = Connection::new(Role::Client, shared::settings());
        for end in [true, false, true] {
            let method = if end { "HEAD" } else { "POST" };
            let head = [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "a")];
            connection.open(shared::fields(&head), end).unwrap();
        }
        shared::feed(&mut connection, &bytes, step)
    };
    assert_eq!(run(usize::MAX), run(1));
});
