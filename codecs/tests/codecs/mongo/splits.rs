//! However the bytes come, the same pieces of knowledge come out.

use bson::doc;
use proptest::prelude::*;
use weir_codecs::mongo::{Decoder, Head, OpCode, ReplyHead, RequestHead};

use super::{decode_cut, inflate, message, recorded, recordings, tails};

fn same<H: Head + PartialEq + std::fmt::Debug>(bytes: &[u8], messages: &[Vec<u8>], cuts: &[usize]) {
    let pieces = decode_cut::<H>(bytes, cuts).unwrap();
    let out: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.to_vec()).collect();
    assert_eq!(out, bytes, "every byte goes on, in order");
    let mut lengths = vec![0];
    for piece in &pieces {
        *lengths.last_mut().unwrap() += piece.bytes.len();
        if piece.last {
            lengths.push(0);
        }
    }
    lengths.pop();
    assert_eq!(lengths, messages.iter().map(Vec::len).collect::<Vec<_>>(), "messages end where they end");
    let whole: Vec<H> = messages.iter().map(|message| super::head(message)).collect();
    assert_eq!(tails(&pieces), whole);
}

/// What is told of a message that came alone is what is told of it anyhow. Says whether anything was.
fn alone<H: Head + PartialEq + std::fmt::Debug>(message: &[u8]) -> bool {
    let mut decoder = Decoder::<H>::default();
    assert_eq!(decoder.whole(&message[..message.len() - 1]), None);
    assert_eq!(decoder.whole(&[message, &[0]].concat()), None);
    let told = decoder.whole(message);
    assert!(told.as_deref().is_none_or(|head| *head == super::head(message)));
    // In the middle of another one nothing is.
    let mut half = message[..message.len() - 1].into();
    if let Ok(Some(_)) = decoder.decode(&mut half, &mut inflate()) {
        assert_eq!(decoder.whole(message), None);
    }
    told.is_some()
}

fn both(name: &str, cuts: &dyn Fn(usize) -> Vec<usize>) {
    let requests = recorded(name, "request");
    let replies = recorded(name, "reply");
    let bytes = requests.concat();
    same::<RequestHead>(&bytes, &requests, &cuts(bytes.len()));
    let bytes = replies.concat();
    same::<ReplyHead>(&bytes, &replies, &cuts(bytes.len()));
}

#[test]
fn at_once() {
    for name in recordings() {
        both(&name, &|_| vec![]);
    }
}

#[test]
fn alone_and_whole() {
    let (mut told, mut all) = (0, 0);
    for name in recordings() {
        for message in recorded(&name, "request") {
            let head: RequestHead = super::head(&message);
            let plain = head.compressor.is_none() && matches!(head.op_code, OpCode::MSG | OpCode::QUERY);
            all += usize::from(plain);
            told += usize::from(alone::<RequestHead>(&message));
            assert!(plain || !alone::<RequestHead>(&message), "{name}");
        }
        for message in recorded(&name, "reply") {
            alone::<ReplyHead>(&message);
        }
    }
    assert!(told > 20 && told * 10 > all * 9, "{told} of {all}");
}

/// Queries and their replies as they were before `OP_MSG`: messages of the two sides.
fn legacy() -> [Vec<Vec<u8>>; 2] {
    let with = |fixed: &[u8], documents: &[bson::Document]| {
        let documents = documents.iter().flat_map(|document| document.to_vec().unwrap());
        [fixed.to_vec(), documents.collect()].concat()
    };
    let query = |name: &str, documents: &[bson::Document]| {
        message(2004, &with(&[&[0; 4], name.as_bytes(), &[0; 9]].concat(), documents))
    };
    let reply = |flags: u8, cursor: i64, documents: &[bson::Document]| {
        message(1, &with(&[&[flags, 0, 0, 0][..], &cursor.to_le_bytes(), &[0; 8]].concat(), documents))
    };
    let find = doc! { "find": "orders", "filter": { "a": 1 }, "limit": 3, "comment": "x".repeat(700) };
    let hello =
        doc! { "isMaster": 1, "client": { "application": { "name": "shell" } }, "compression": ["zlib"] };
    [
        vec![
            query("shop.orders", &[doc! { "a": { "$gt": 5 } }]),
            query("shop.orders", &[doc! { "$query": { "a": 1 }, "$orderby": { "b": -1 } }, doc! { "a": 1 }]),
            query("shop.$cmd", &[find]),
            query("admin.$cmd", &[hello]),
            query("admin.$cmd", &[]),
            query(&"long.".repeat(120), &[doc! { "a": 1 }]),
        ],
        vec![
            reply(8, 0, &[doc! { "ok": 1, "setName": "rs", "hosts": ["a:1", "b:2"] }]),
            reply(8, 77, &[doc! { "a": 1 }, doc! { "a": [1, 2] }, doc! {}]),
            reply(2, 0, &[doc! { "$err": "not master", "code": 13435 }]),
            reply(1, 0, &[]),
        ],
    ]
}

#[test]
fn legacy_messages_too() {
    let [requests, replies] = legacy();
    // The one whose namespace is too long is left to the walk that can say so.
    let told: Vec<bool> = requests.iter().map(|message| alone::<RequestHead>(message)).collect();
    assert_eq!(told, [true, true, true, true, true, false]);
    assert!(replies.iter().all(|message| alone::<ReplyHead>(message)));
    let (asked, answered) = (requests.concat(), replies.concat());
    for cuts in [|_| vec![], |length| (0..length).collect(), |length| (0..length).step_by(7).collect()] {
        same::<RequestHead>(&asked, &requests, &cuts(asked.len()));
        same::<ReplyHead>(&answered, &replies, &cuts(answered.len()));
    }
}

#[test]
fn one_byte_at_a_time() {
    for name in recordings() {
        both(&name, &|length| (0..length).collect());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn at_random_cuts(mut at in prop::collection::vec(0.0..1.0f64, 1..40)) {
        at.sort_by(f64::total_cmp);
        for name in recordings() {
            both(&name, &|length| at.iter().map(|part| (part * length as f64) as usize).collect());
        }
    }
}

/// A message with these bytes in place of others: never in its length, so that it still ends where it ends.
fn broken(message: &[u8], edits: &[(f64, u8)]) -> Vec<u8> {
    let mut message = message.to_vec();
    for (at, byte) in edits {
        let at = 4 + (at * (message.len() - 4) as f64) as usize;
        message[at] = *byte;
    }
    message
}

/// Whatever is wrong with the messages, the same is said of them however they are cut; but how far a corrupt compressed one can be
/// looked into depends on the pieces, so of those that are `doubtful` only that is compared.
fn same_trouble<H: Head + PartialEq + std::fmt::Debug>(
    messages: &[Vec<u8>],
    cuts: &[f64],
    doubtful: impl Fn(&H) -> bool,
) {
    let bytes = messages.concat();
    let cuts: Vec<_> = cuts.iter().map(|part| (part * bytes.len() as f64) as usize).collect();
    // Bytes of another protocol end the reading.
    let Ok(pieces) = decode_cut::<H>(&bytes, &cuts) else { return };
    for (cut, message) in tails(&pieces).iter().zip(messages) {
        let whole: H = super::head(message);
        alone::<H>(message);
        assert_eq!(doubtful(cut), doubtful(&whole));
        if !doubtful(cut) {
            assert_eq!(cut, &whole);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn what_is_broken_too(
        edits in prop::collection::vec((0.0..1.0f64, prop_oneof![any::<u8>(), 0..20u8]), 1..4),
        mut at in prop::collection::vec(0.0..1.0f64, 1..40),
    ) {
        at.sort_by(f64::total_cmp);
        let [requests, replies] = legacy().map(|all| all.iter().map(|one| broken(one, &edits)).collect::<Vec<_>>());
        same_trouble::<RequestHead>(&requests, &at, |head| head.compressor.is_some() && head.problem.is_some());
        same_trouble::<ReplyHead>(&replies, &at, |head| head.compressor.is_some() && head.problem.is_some());
        for name in recordings() {
            let side = |side| recorded(&name, side).iter().map(|message| broken(message, &edits)).collect::<Vec<_>>();
            let corrupt = |head: &RequestHead| head.compressor.is_some() && head.problem.is_some();
            same_trouble(&side("request"), &at, corrupt);
            let corrupt = |head: &ReplyHead| head.compressor.is_some() && head.problem.is_some();
            same_trouble(&side("reply"), &at, corrupt);
        }
    }
}

#[test]
fn what_is_known_early_stays_true() {
    for name in recordings() {
        for message in recorded(&name, "request") {
            let pieces =
                decode_cut::<RequestHead>(&message, &(0..message.len()).collect::<Vec<_>>()).unwrap();
            let heads: Vec<&RequestHead> = pieces.iter().filter_map(|piece| piece.head.as_deref()).collect();
            let (first, last) = (heads[0], heads[heads.len() - 1]);
            assert!(heads.len() <= 2, "a head comes when it is known, and at the end");
            assert!(last.complete);
            assert_eq!(first.command, last.command, "{name}");
            assert_eq!(first.database, last.database, "{name}");
            assert_eq!(first.collection, last.collection, "{name}");
            assert_eq!(first.class(), last.class(), "{name}");
            assert_eq!(first.expects_reply(), last.expects_reply(), "{name}");
        }
        for message in recorded(&name, "reply") {
            let pieces = decode_cut::<ReplyHead>(&message, &(0..message.len()).collect::<Vec<_>>()).unwrap();
            let first = pieces.iter().find_map(|piece| piece.head.as_ref()).unwrap();
            assert_eq!(first.flags, super::head::<ReplyHead>(&message).flags, "{name}");
        }
    }
}
