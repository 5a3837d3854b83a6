//! Any bytes as a client's side of a MongoDB connection: however they are cut, the same is learnt.

#![no_main]

#[path = "shared/conversation.rs"]
mod conversation;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use weir_codecs::mongo::{Budget, Header, Inflate, ReplyTo, RequestHead, with_max_time};

fuzz_target!(|data: &[u8]| {
    let trouble = |head: &RequestHead| (head.compressor.is_some(), head.problem.is_some());
    for head in conversation::heads(data, "request ", trouble) {
        let _ = (ReplyTo::request(&head), head.class());
    }
    // Whatever a limit of time can be put into is a message of the length that it says.
    let (mut inflate, mut out) = (Inflate::new(Budget::new(1 << 20)), BytesMut::new());
    let length = match with_max_time(data, 500, &mut inflate, 1 << 20, &mut out) {
        Ok(()) => Header::parse(&out).unwrap().unwrap().length as usize,
        Err(_) => 0,
    };
    assert_eq!(length, out.len());
});
