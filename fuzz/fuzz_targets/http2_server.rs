//! Any bytes from a client: whole and byte by byte the same comes of them, windows stay in range, each stream ends once.
#![no_main]

#[path = "shared/http2.rs"]
mod shared;

use libfuzzer_sys::fuzz_target;
use weir_codecs::http2::{Connection, PREFACE, Role, frame};

fuzz_target!(|data: &[u8]| {
    let mut bytes = bytes::BytesMut::from(&PREFACE[..]);
    frame::put_settings(&mut bytes, &[]);
    bytes.extend_from_slice(data);
    let run = |step| {
        let mut connection = Connection::new(Role::Server, shared::settings());
        shared::feed(&mut connection, &bytes, step)
    };
    assert_eq!(run(usize::MAX), run(1));
});
