//! Any bytes as a server's side of a MongoDB connection: however they are cut, the same is learnt.

#![no_main]

#[path = "shared/conversation.rs"]
mod conversation;

use libfuzzer_sys::fuzz_target;
use weir_codecs::mongo::ReplyHead;

fuzz_target!(|data: &[u8]| {
    conversation::heads(data, "reply ", |head: &ReplyHead| {
        (head.compressor.is_some(), head.problem.is_some())
    });
});
