//! Frame heads, their rules, and how frames are written.

use super::hex;
use bytes::BytesMut;
use weir_codecs::http2::Code;
use weir_codecs::http2::frame::{self, Head, Kind, Wrong};

fn head(kind: Kind, flags: u8, stream: u32, len: u32) -> Head {
    Head { len, kind, flags, stream }
}

#[test]
fn heads_come_back_as_they_were_written() {
    for byte in 0..=255u8 {
        let kind = Kind::of(byte);
        assert_eq!(kind.byte(), byte);
        for (flags, stream, len) in [(0, 0, 0), (0x2d, 1, 16_384), (255, frame::MAX_31, frame::MAX_MAX_SIZE)]
        {
            let mut out = BytesMut::new();
            head(kind, flags, stream, len).put(&mut out);
            assert_eq!(Head::parse(&out), Some(head(kind, flags, stream, len)));
            for short in 0..frame::HEAD {
                assert_eq!(Head::parse(&out[..short]), None);
            }
        }
    }
    let reserved = hex("000000 00 00 80000001");
    assert_eq!(Head::parse(&reserved).unwrap().stream, 1, "the reserved bit means nothing");
}

#[test]
fn each_kind_has_its_length_and_its_stream() {
    use Kind::*;
    let connection = |code| Some((true, code));
    let cases = [
        (head(Data, 0, 1, 16_384), None),
        (head(Data, 0, 1, 16_385), connection(Code::FRAME_SIZE_ERROR)),
        (head(Unknown(99), 0, 0, 16_385), connection(Code::FRAME_SIZE_ERROR)),
        (head(Unknown(99), 0, 7, 3), None),
        (head(Data, 0, 0, 1), connection(Code::PROTOCOL_ERROR)),
        (head(Headers, 0, 0, 1), connection(Code::PROTOCOL_ERROR)),
        (head(Priority, 0, 0, 5), connection(Code::PROTOCOL_ERROR)),
        (head(Priority, 0, 1, 4), Some((false, Code::FRAME_SIZE_ERROR))),
        (head(RstStream, 0, 0, 4), connection(Code::PROTOCOL_ERROR)),
        (head(RstStream, 0, 1, 5), connection(Code::FRAME_SIZE_ERROR)),
        (head(Settings, 0, 1, 6), connection(Code::PROTOCOL_ERROR)),
        (head(Settings, 0, 0, 7), connection(Code::FRAME_SIZE_ERROR)),
        (head(Settings, frame::ACK, 0, 6), connection(Code::FRAME_SIZE_ERROR)),
        (head(Settings, frame::ACK, 0, 0), None),
        (head(PushPromise, 0, 0, 6), connection(Code::PROTOCOL_ERROR)),
        (head(Ping, 0, 1, 8), connection(Code::PROTOCOL_ERROR)),
        (head(Ping, 0, 0, 7), connection(Code::FRAME_SIZE_ERROR)),
        (head(GoAway, 0, 1, 8), connection(Code::PROTOCOL_ERROR)),
        (head(GoAway, 0, 0, 7), connection(Code::FRAME_SIZE_ERROR)),
        (head(WindowUpdate, 0, 0, 3), connection(Code::FRAME_SIZE_ERROR)),
        (head(Continuation, 0, 0, 3), connection(Code::PROTOCOL_ERROR)),
        (head(PriorityUpdate, 0, 3, 4), connection(Code::PROTOCOL_ERROR)),
        (head(PriorityUpdate, 0, 0, 3), connection(Code::FRAME_SIZE_ERROR)),
    ];
    for (head, expected) in cases {
        let got = match head.check(frame::MIN_MAX_SIZE) {
            Ok(()) => None,
            Err(Wrong::Connection(v)) => Some((true, v.code)),
            Err(Wrong::Stream(v)) => Some((false, v.code)),
        };
        assert_eq!(got, expected, "{head:?}");
    }
}

#[test]
fn padding_and_priority_leave_the_fragment() {
    let padded = head(Kind::Headers, frame::PADDED | frame::PRIORITY, 3, 0);
    let fragment = |head: &Head, payload: &str| {
        frame::fragment(head, &hex(payload))
            .map(|(fragment, on_itself)| (fragment.to_vec(), on_itself))
            .map_err(|v| v.code)
    };
    assert_eq!(fragment(&padded, "02 00000000 10 8286 0000"), Ok((hex("8286"), false)));
    assert_eq!(fragment(&padded, "02 00000003 10 8286 0000"), Ok((hex("8286"), true)), "depends on itself");
    assert_eq!(
        fragment(&padded, "09 00000000 10 82 0000"),
        Err(Code::PROTOCOL_ERROR),
        "padding beyond the frame"
    );
    assert_eq!(
        fragment(&padded, "02 00000000 0000"),
        Err(Code::FRAME_SIZE_ERROR),
        "no room for the priority"
    );
    assert_eq!(fragment(&padded, ""), Err(Code::FRAME_SIZE_ERROR), "no room for the padding's length");
    assert_eq!(fragment(&head(Kind::Headers, 0, 3, 0), "8286"), Ok((hex("8286"), false)));
}

#[test]
fn frames_are_written_as_the_rfc_draws_them() {
    let mut out = BytesMut::new();
    frame::put_settings(&mut out, &[(4, 65_535), (3, 100)]);
    frame::put_settings_ack(&mut out);
    frame::put_ping(&mut out, true, *b"weirweir");
    frame::put_goaway(&mut out, 7, Code::ENHANCE_YOUR_CALM, b"calm");
    frame::put_reset(&mut out, 5, Code::CANCEL);
    frame::put_window_update(&mut out, 0, 4096);
    frame::put_data(&mut out, 1, 2, true);
    out.extend_from_slice(b"ok");
    let expected = hex("00000c 04 00 00000000 0004 0000ffff 0003 00000064
         000000 04 01 00000000
         000008 06 01 00000000 7765697277656972
         00000c 07 00 00000000 00000007 0000000b 63616c6d
         000004 03 00 00000005 00000008
         000004 08 00 00000000 00001000
         000002 00 01 00000001 6f6b");
    assert_eq!(out, expected);
    let pairs: Vec<_> = frame::settings(&expected[9..21]).collect();
    assert_eq!(pairs, [(4, 65_535), (3, 100)]);
    assert_eq!(Code(11).name(), Some("ENHANCE_YOUR_CALM"));
    assert_eq!(Code(99).name(), None);
}

#[test]
fn a_long_section_continues() {
    for len in [0, 1, 99, 100, 101, 200, 201, 250] {
        let mut out = BytesMut::from(&b"before"[..]);
        let section = frame::begin_section(&mut out);
        let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
        out.extend_from_slice(&body);
        frame::end_section(&mut out, section, 9, true, 100);
        let (mut at, mut got, mut kinds) = (6, Vec::new(), Vec::new());
        while at < out.len() {
            let head = Head::parse(&out[at..]).unwrap();
            assert!(head.len <= 100 && head.stream == 9);
            got.extend_from_slice(&out[at + 9..at + 9 + head.len as usize]);
            at += 9 + head.len as usize;
            assert_eq!(head.has(frame::END_HEADERS), at == out.len());
            assert_eq!(head.kind == Kind::Headers && head.has(frame::END_STREAM), kinds.is_empty());
            kinds.push(head.kind);
        }
        assert_eq!(got, body);
        assert_eq!(kinds.len(), body.len().div_ceil(100).max(1));
    }
}
