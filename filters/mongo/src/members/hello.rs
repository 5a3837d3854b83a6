//! The answer to a hello, with Weir's addresses in place of the members'.

use super::MAX_HELLO;
use super::belief::MOST_MEMBERS;
use super::map::Map;
use bson::{Bson, Document};
use bytes::BytesMut;
use weir_codecs::mongo::{Inflate, Whole};

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    /// It names Weir's addresses now.
    Rewritten {
        /// Members that have none were left out: these, of whom nothing is known yet.
        new: Vec<String>,
        /// Somebody was left out.
        unmapped: bool,
    },
    /// It is of no replica set, or an error: it went on as it came.
    Passed,
    /// It is of a replica set whose members are not known: nothing was written.
    Unknown,
}

/// The lists of members: those who vote and serve, those who never become primary, those who only vote.
const LISTS: [&str; 3] = ["hosts", "passives", "arbiters"];

/// Writes the message `whole`, which came through the door `port`, to `out` as it shall go on.
///
/// # Errors
/// Why it cannot be, in a word.
pub(super) fn rewrite(
    map: &Map,
    port: u16,
    whole: &[u8],
    inflate: &mut Inflate,
    out: &mut BytesMut,
) -> Result<Done, &'static str> {
    let message = Whole::take_apart(whole, inflate, MAX_HELLO).map_err(|problem| problem.word())?;
    let mut document = Document::from_reader(message.document()).map_err(|_| "hello")?;
    let of_a_set =
        ["setName", "primary", "me"].into_iter().chain(LISTS).any(|key| document.contains_key(key));
    if !of_a_set {
        out.extend_from_slice(whole);
        return Ok(Done::Passed);
    }
    if !map.is_known() {
        return Ok(Done::Unknown);
    }
    let unmapped = translate(map, port, &mut document)?;
    message.put_together(&document.to_vec().map_err(|_| "hello")?, out);
    let is_unmapped = !unmapped.is_empty();
    // One that names more than a set has is not waited for.
    let new = if unmapped.len() > MOST_MEMBERS { Vec::new() } else { unmapped };
    let new = new.into_iter().filter(|member| map.awaits(member)).collect();
    Ok(Done::Rewritten { new, unmapped: is_unmapped })
}

/// Translates the addresses of `document`; says which had to be left out.
fn translate(map: &Map, port: u16, document: &mut Document) -> Result<Vec<String>, &'static str> {
    let mut unmapped = Vec::new();
    for key in LISTS {
        let Some(list) = document.get_mut(key) else { continue };
        let Bson::Array(list) = list else { return Err("hello_members") };
        let mut known = Vec::with_capacity(list.len());
        for member in list.iter() {
            let member = member.as_str().ok_or("hello_members")?;
            match map.advertised(member) {
                Some(address) => known.push(Bson::String(address)),
                None => unmapped.push(member.to_owned()),
            }
        }
        *list = known;
    }
    if let Some(primary) = document.get_mut("primary") {
        let name = primary.as_str().ok_or("hello_members")?;
        match map.advertised(name) {
            Some(address) => *primary = Bson::String(address),
            None => {
                unmapped.push(name.to_owned());
                document.remove("primary");
            }
        }
    }
    if let Some(me) = document.get_mut("me") {
        // Who came through a member's door knows it by that. Elsewhere the member's own door is named, so that the driver
        // goes on there.
        let known = map.advertised(me.as_str().ok_or("hello_members")?);
        let own = map.member_at(port).is_some().then(|| map.address(port));
        *me = Bson::String(own.or(known).unwrap_or_else(|| map.address(port)));
    }
    Ok(unmapped)
}

#[cfg(test)]
mod tests {
    use super::super::settings::Ports;
    use super::*;
    use bson::doc;
    use std::io::Write as _;
    use std::sync::Arc;
    use weir_codecs::mongo::{Budget, crc32c};

    fn map() -> Map {
        let members: Vec<Arc<str>> = ["a:1", "b:1", "c:1"].map(Arc::from).to_vec();
        Map::unknown().with(&"rs".into(), &"weir".into(), &members, Ports { first: 10, last: 12 }, &[])
    }

    fn message(op_code: i32, preface: &[u8], body: &[u8], tail: &[u8]) -> Vec<u8> {
        let length = 16 + preface.len() + body.len() + tail.len();
        let words = [length as i32, 77, 5, op_code];
        [&words.map(i32::to_le_bytes).concat(), preface, body, tail].concat()
    }

    fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
        let length = bytes.len() as i32 + 4;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let sum = crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn forms(document: &Document) -> Vec<(&'static str, Vec<u8>)> {
        let body = document.to_vec().unwrap();
        let reply = [&8i32.to_le_bytes()[..], &[0; 12], &1i32.to_le_bytes()].concat();
        let clear = [&[0; 5][..], &body].concat();
        let compressed = |id: u8, packed: Vec<u8>| {
            let words = [2013, clear.len() as i32].map(i32::to_le_bytes).concat();
            message(2012, &[&words[..], &[id]].concat(), &packed, &[])
        };
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(&clear).unwrap();
        vec![
            ("OP_MSG", message(2013, &[0; 5], &body, &[])),
            ("OP_MSG, more to come", message(2013, &[2, 0, 0, 0, 0], &body, &[])),
            ("OP_MSG, summed", summed(message(2013, &[1, 0, 0, 0, 0], &body, &[]))),
            ("OP_REPLY", message(1, &reply, &body, &[])),
            ("OP_COMPRESSED, zlib", compressed(2, zlib.finish().unwrap())),
            ("OP_COMPRESSED, zstd", compressed(3, zstd::bulk::compress(&clear, 3).unwrap())),
            ("OP_COMPRESSED, snappy", compressed(1, snap::raw::Encoder::new().compress_vec(&clear).unwrap())),
            ("OP_COMPRESSED, noop", compressed(0, clear.clone())),
        ]
    }

    fn rewritten(map: &Map, port: u16, whole: &[u8]) -> (Result<Done, &'static str>, Vec<u8>) {
        let (mut inflate, mut out) = (Inflate::new(Budget::new(16 << 20)), BytesMut::new());
        (rewrite(map, port, whole, &mut inflate, &mut out), out.to_vec())
    }

    #[test]
    fn every_form_of_a_hello_names_weir() {
        let before = doc! {
            "topologyVersion": { "counter": 4_i64 }, "hosts": ["a:1", "b:1"], "passives": ["c:1"], "arbiters": ["x:1"],
            "setName": "rs", "setVersion": 3, "primary": "b:1", "me": "a:1", "saslSupportedMechs": ["SCRAM-SHA-256"],
            "speculativeAuthenticate": { "payload": "untouched a:1" }, "ok": 1.0,
        };
        let mut after = before.clone();
        after.insert("hosts", vec!["weir:10", "weir:11"]);
        after.insert("passives", vec!["weir:12"]);
        after.insert("arbiters", Vec::<String>::new());
        after.insert("primary", "weir:11");
        after.insert("me", "weir:10");
        for ((form, whole), (_, expected)) in forms(&before).into_iter().zip(forms(&after)) {
            let (done, out) = rewritten(&map(), 10, &whole);
            let new = vec!["x:1".to_owned()];
            assert_eq!(done, Ok(Done::Rewritten { new, unmapped: true }), "{form}");
            // What was compressed comes out in the clear.
            let expected =
                if form.starts_with("OP_COMPRESSED") { forms(&after).remove(0).1 } else { expected };
            assert_eq!(out, expected, "{form}");
        }
    }

    #[test]
    fn what_names_nobody_passes_byte_for_byte() {
        for document in [
            doc! { "ismaster": true, "ok": 1.0, "maxWireVersion": 17 },
            doc! { "isWritablePrimary": true, "msg": "isdbgrid", "ok": 1.0 },
            doc! { "ok": 0.0, "code": 31368, "errmsg": "no" },
        ] {
            for map in [map(), Map::unknown()] {
                for (form, whole) in forms(&document) {
                    let (done, out) = rewritten(&map, 10, &whole);
                    assert_eq!((done, out), (Ok(Done::Passed), whole), "{form}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_rewritten_does_not_pass() {
        let good = doc! { "hosts": ["a:1"], "setName": "rs", "me": "a:1", "ok": 1.0 };
        let whole = forms(&good).remove(0).1;
        let mut second_section = whole.clone();
        second_section.extend_from_slice(&[1, 5, 0, 0, 0]);
        let length = second_section.len() as i32;
        second_section[..4].copy_from_slice(&length.to_le_bytes());
        let mut two_documents = forms(&good).remove(3).1;
        two_documents[32] = 2;
        let table = [
            (map(), forms(&doc! { "hosts": [1] }).remove(0).1, "hello_members"),
            (map(), forms(&doc! { "hosts": "a:1" }).remove(0).1, "hello_members"),
            (map(), forms(&doc! { "primary": 1 }).remove(0).1, "hello_members"),
            (map(), forms(&doc! { "me": 1 }).remove(0).1, "hello_members"),
            (map(), second_section, "second_body"),
            (map(), two_documents, "no_body"),
            (map(), whole[..20].to_vec(), "truncated"),
        ];
        for (map, whole, why) in table {
            let (done, out) = rewritten(&map, 10, &whole);
            assert_eq!((done, out), (Err(why), Vec::new()), "{why}");
        }
        assert_eq!(rewritten(&Map::unknown(), 10, &whole), (Ok(Done::Unknown), Vec::new()));
        for cut in 16..whole.len() {
            let mut short = whole[..cut].to_vec();
            short[..4].copy_from_slice(&(cut as i32).to_le_bytes());
            let (done, out) = rewritten(&map(), 10, &short);
            assert!(done.is_err() && out.is_empty(), "cut at {cut}");
        }
    }

    #[test]
    fn only_a_member_that_nothing_is_known_of_is_new() {
        let new = |map: &Map, document: &Document| match rewritten(map, 10, &forms(document).remove(0).1).0 {
            Ok(Done::Rewritten { new, .. }) => new.join(" "),
            other => panic!("{other:?}"),
        };
        let hello =
            |hosts: &[&str], primary: &str| doc! { "setName": "rs", "hosts": hosts, "primary": primary };
        assert_eq!(new(&map(), &hello(&["a:1", "b:1"], "a:1")), "");
        assert_eq!(new(&map(), &hello(&["a:1", "B:1"], "C:1")), "");
        assert_eq!(new(&map(), &hello(&["a:1", "x:1"], "y:1")), "x:1 y:1");
        // Who has no port, or is not believed in, will not have one in a moment either.
        let known = Map { left_out: vec!["x:1".into()], refused: vec!["y:1".into()], ..map() };
        assert_eq!(new(&known, &hello(&["a:1", "X:1"], "y:1")), "");
        assert_eq!(new(&map(), &hello(&["a:1", "no name"], "a:1")), "");
        let many: Vec<String> = (0..60).map(|n| format!("h{n}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(new(&map(), &hello(&many, "a:1")), "");
    }

    #[test]
    fn me_is_the_door_that_was_used() {
        // (port, who answers, what it calls itself)
        for (port, me, expected) in [
            (10, "a:1", "weir:10"),
            (11, "hidden:1", "weir:11"),
            (99, "b:1", "weir:11"),
            (99, "hidden:1", "weir:99"),
        ] {
            let mut document = doc! { "hosts": ["a:1"], "me": me };
            translate(&map(), port, &mut document).unwrap();
            assert_eq!(document.get_str("me").unwrap(), expected, "{port} {me}");
        }
    }
}
