//! Weir's own replies, read by the `bson` crate and by our own decoder.

use bson::{Document, doc};
use bytes::BytesMut;
use weir_codecs::mongo::{
    ErrorReply, Labels, OpCode, ReplyHead, ReplyTo, RequestHead, crc32c, error_reply, op_msg as write_op_msg,
};

use super::{body, compressed, head, message, op_msg, recorded};

const UNREACHABLE: ErrorReply<'static> = ErrorReply {
    code: 6,
    code_name: "HostUnreachable",
    message: "weir: the server cannot be reached",
    labels: Labels::RETRYABLE_WRITE.and(Labels::NO_WRITES_PERFORMED),
    base_backoff_ms: None,
};

fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let to = ReplyTo::request(&head::<RequestHead>(request))?;
    let mut out = BytesMut::from(&b"before"[..]);
    error_reply(&mut out, to, 99, &UNREACHABLE);
    Some(out.split_off(6).to_vec())
}

#[test]
fn an_error_mirrors_the_request() {
    let reply = answer(&recorded("find", "request")[0]).unwrap();
    assert_eq!(
        Document::from_reader(&reply[21..]).unwrap(),
        doc! { "ok": 0.0, "errmsg": "weir: the server cannot be reached", "code": 6, "codeName": "HostUnreachable",
        "errorLabels": ["RetryableWriteError", "NoWritesPerformed"] }
    );
    let read: ReplyHead = head(&reply);
    let request: RequestHead = head(&recorded("find", "request")[0]);
    assert_eq!((read.header.request_id, read.header.response_to), (99, request.header.request_id));
    assert_eq!((read.op_code, read.ok, read.code), (OpCode::MSG, Some(false), 6));
    assert_eq!(read.code_name.as_bytes(), b"HostUnreachable");
    assert_eq!(read.labels, UNREACHABLE.labels);
    assert_eq!(read.problem, None);
}

#[test]
fn a_query_is_answered_by_a_reply() {
    let handshake: ReplyHead = head(&answer(&recorded("handshake_op_query", "request")[0]).unwrap());
    assert_eq!((handshake.op_code, handshake.reply_flags, handshake.code), (OpCode::REPLY, 8, 6));
    let find = [b"\0\0\0\0shop.orders\0".as_slice(), &[0; 8], &doc! {}.to_vec().unwrap()].concat();
    let reply = answer(&message(2004, &find)).unwrap();
    let read: ReplyHead = head(&reply);
    assert!(read.query_failure());
    let document = Document::from_reader(&reply[36..]).unwrap();
    assert_eq!(document.get_str("$err").unwrap(), UNREACHABLE.message);
}

#[test]
fn a_checksum_is_answered_with_a_checksum() {
    let mut request = op_msg(1, &[body(&doc! { "ping": 1, "$db": "admin" })]);
    let length = request.len() as u32 + 4;
    request[..4].copy_from_slice(&length.to_le_bytes());
    request.extend(crc32c(&request).to_le_bytes());
    let reply = answer(&request).unwrap();
    let (covered, sum) = reply.split_at(reply.len() - 4);
    assert_eq!(crc32c(covered).to_le_bytes(), sum);
    let read: ReplyHead = head(&reply);
    assert!(read.flags.checksum_present());
    assert_eq!((read.code, read.problem), (6, None));
    // RFC 3720, B.4
    assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
}

#[test]
fn a_compressed_request_is_answered_in_the_clear() {
    let clear = op_msg(0, &[body(&doc! { "ping": 1, "$db": "admin" })]);
    let packed = snap::raw::Encoder::new().compress_vec(&clear[16..]).unwrap();
    let read: ReplyHead = head(&answer(&compressed(&clear, 1, &packed, clear.len() as i32 - 16)).unwrap());
    assert_eq!((read.op_code, read.compressor, read.code), (OpCode::MSG, None, 6));
}

#[test]
fn nothing_is_said_where_no_reply_is_due() {
    assert_eq!(answer(&recorded("unacknowledged", "request")[0]), None);
    assert_eq!(answer(&op_msg(2, &[body(&doc! { "find": "c", "$db": "d" })])), None);
    for op_code in [1000, 2001, 2002, 2006, 2007, 2010, 4711] {
        assert_eq!(answer(&message(op_code, b"\0\0\0\0a.b\0\0\0\0\0")), None, "{op_code}");
    }
}

#[test]
fn a_back_off_is_told() {
    let to = ReplyTo::request(&head(&recorded("find", "request")[0])).unwrap();
    let mut out = BytesMut::new();
    error_reply(
        &mut out,
        to,
        1,
        &ErrorReply { base_backoff_ms: Some(100), labels: Labels::NONE, ..UNREACHABLE },
    );
    let document = Document::from_reader(&out[21..]).unwrap();
    assert_eq!(document.get_i32("baseBackoffMS").unwrap(), 100);
    assert!(!document.contains_key("errorLabels"));
}

#[test]
fn a_document_is_wrapped() {
    let mut out = BytesMut::new();
    write_op_msg(&mut out, 3, 4, &doc! { "ok": 1 }.to_vec().unwrap());
    let read: ReplyHead = head(&out);
    assert_eq!((read.header.request_id, read.header.response_to, read.ok), (3, 4, Some(true)));
}
