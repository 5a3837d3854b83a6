//! A limit of time that is put into a command.

use bson::{Document, doc};
use bytes::BytesMut;
use weir_codecs::mongo::{Header, OpCode, RequestHead, crc32c, with_max_time};

use super::{body, compressed, head, inflate, message, op_msg, sequence};

fn limited(message: &[u8]) -> Option<Vec<u8>> {
    let mut out = BytesMut::from(&b"before"[..]);
    let done = with_max_time(message, 500, &mut inflate(), 1 << 20, &mut out);
    assert_eq!(&out[..6], b"before");
    assert!(done.is_ok() || out.len() == 6, "nothing is appended where it cannot be done");
    done.ok().map(|()| out[6..].to_vec())
}

fn update(more: Document) -> Document {
    let mut document = doc! { "update": "orders", "ordered": true, "lsid": { "id": 1 } };
    document.extend(more);
    document.insert("$db", "shop");
    document
}

#[test]
fn it_is_in_the_body_once_and_all_else_stays() {
    let statements = [doc! { "q": { "a": 1 }, "u": { "$inc": { "n": 1 } }, "multi": true }];
    let expected = |more: Document| {
        let mut document = update(more);
        document.insert("maxTimeMS", 500i64);
        document
    };
    for own in [doc! {}, doc! { "maxTimeMS": 90_000 }, doc! { "maxTimeMS": 1.5 }, doc! { "maxTimeMS": 0i64 }]
    {
        let before = body(&update(own));
        let after = body(&expected(doc! {}));
        for sections in [
            |body: Vec<u8>, more: Vec<u8>| vec![body, more],
            |body: Vec<u8>, more: Vec<u8>| vec![more, body],
            |body: Vec<u8>, _: Vec<u8>| vec![body],
        ] {
            let more = sequence("updates", &statements);
            let [asked, wanted] =
                [&before, &after].map(|body| op_msg(0, &sections(body.clone(), more.clone())));
            let written = limited(&asked).expect("a command");
            assert_eq!(written, wanted);
            let told: RequestHead = head(&written);
            assert_eq!((told.max_time_ms, told.problem), (Some(500), None));
        }
    }
    let inner = doc! { "updates": [{ "q": { "maxTimeMS": 7 }, "u": { "maxTimeMS": 8 } }] };
    let written = limited(&op_msg(0, &[body(&update(inner.clone()))])).expect("a command");
    assert_eq!(written, op_msg(0, &[body(&expected(inner))]), "what is no option of the command stays");
}

#[test]
fn what_was_compressed_is_not_and_a_checksum_is_right() {
    let plain = op_msg(0, &[body(&update(doc! {}))]);
    let wanted = limited(&plain).expect("a command");
    let packed = compressed(&plain, 0, &plain[16..], plain.len() as i32 - 16);
    assert_eq!(limited(&packed).as_ref(), Some(&wanted));
    let snappy = snap::raw::Encoder::new().compress_vec(&plain[16..]).unwrap();
    assert_eq!(limited(&compressed(&plain, 1, &snappy, plain.len() as i32 - 16)).as_ref(), Some(&wanted));

    let mut summed = op_msg(1, &[body(&update(doc! {}))]);
    summed.extend([0; 4]);
    let length = summed.len() as u32;
    summed[..4].copy_from_slice(&length.to_le_bytes());
    let written = limited(&summed).expect("a command");
    let (said, sum) = written.split_at(written.len() - 4);
    assert_eq!(crc32c(said), u32::from_le_bytes(sum.try_into().unwrap()));
    let header = Header::parse(&written).unwrap().unwrap();
    assert_eq!((header.length as usize, header.op_code), (written.len(), OpCode::MSG));
}

#[test]
fn what_is_no_command_is_left_alone() {
    let whole = op_msg(0, &[body(&update(doc! {}))]);
    let two = op_msg(0, &[body(&update(doc! {})), body(&update(doc! {}))]);
    let none = op_msg(0, &[sequence("updates", &[doc! {}])]);
    let query = message(2004, &[&[0; 4][..], b"a.b\0", &[0; 8], &doc! {}.to_vec().unwrap()].concat());
    for (message, what) in [(two, "two bodies"), (none, "no body"), (query, "another opcode")] {
        assert_eq!(limited(&message), None, "{what}");
    }
    for at in 21..whole.len() {
        let mut broken = whole.clone();
        broken[at] = 0xFE;
        // Whatever it makes of it, it is a message.
        if let Some(written) = limited(&broken) {
            assert_eq!(Header::parse(&written).unwrap().unwrap().length as usize, written.len());
        }
        let cut = message(2013, &whole[16..at]);
        assert_eq!(limited(&cut), None, "{at}");
    }
}
