//! Any bytes as a client's side of a MongoDB connection: however they are cut, the same is learnt.

#![no_main]

#[path = "shared/conversation.rs"]
mod conversation;

use libfuzzer_sys::fuzz_target;
use weir_codecs::mongo::{ReplyTo, RequestHead};

fuzz_target!(|data: &[u8]| {
    let trouble = |head: &RequestHead| (head.compressor.is_some(), head.problem.is_some());
    for head in conversation::heads(data, "request ", trouble) {
        let _ = (ReplyTo::request(&head), head.class());
    }
});
