//! Malformed bytes and the exact reaction to each.

use bson::doc;
use weir_codecs::mongo::{Command, LooksLike, Malformed, Problem, ReplyHead, RequestHead};

use super::{body, compressed, decode_cut, head, message, op_msg, recorded, sequence};

#[test]
fn what_is_no_message_is_named() {
    for (bytes, looks_like) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], LooksLike::HttpRequest),
        (b"POST", LooksLike::HttpRequest),
        (b"HTTP/1.1 400 Bad Request\r\n", LooksLike::HttpResponse),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", LooksLike::Http2),
        (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", LooksLike::ProxyV1),
        (b"\r\n\r\n\0\r\nQUIT\n", LooksLike::ProxyV2),
        (b"SSH-2.0-OpenSSH_9.2\r\n", LooksLike::Ssh),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x68\x9a\x2c\x71\x3f", LooksLike::Tls),
        (b"\x16\x03\x01\x00\xf5\x01\x00\x00\xf1\x03\x03\x68\x9a\x2c\x71\x3f", LooksLike::Tls),
        (b"\x15\x03\x01\x00\x02\x02\x46\x00\x00\x00\x00\x00\x00\x00\x00\x00", LooksLike::Tls),
        (b"\x0f\0\0\0", LooksLike::Unknown),
        (b"\0\0\0\0", LooksLike::Unknown),
        (b"\xff\xff\xff\xff", LooksLike::Unknown),
        (b"\x01\x6c\xdc\x02", LooksLike::Unknown), // 48 000 001
    ] {
        let length = i32::from_le_bytes(bytes[..4].try_into().unwrap());
        assert_eq!(decode_cut::<RequestHead>(bytes, &[]), Err(Malformed { length, looks_like }), "{bytes:?}");
        let one_by_one: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(decode_cut::<RequestHead>(bytes, &one_by_one), Err(Malformed { length, looks_like }));
    }
    let http = decode_cut::<RequestHead>(b"HTTP/1.1", &[]).unwrap_err();
    assert_eq!(
        http.to_string(),
        "not a MongoDB message: its length would be 1347703880 (16 to 48000000 are valid); it looks like an HTTP response"
    );
}

#[test]
fn a_stranger_in_mid_stream_is_noticed() {
    let mut bytes = recorded("find", "request").concat();
    bytes.extend(b"GET / HTTP/1.1\r\n\r\n");
    let error = decode_cut::<RequestHead>(&bytes, &[]).unwrap_err();
    assert_eq!(error.looks_like, LooksLike::HttpRequest);
}

/// A body with these raw elements.
fn raw(elements: &[u8]) -> Vec<u8> {
    let mut section = vec![0];
    section.extend((elements.len() as i32 + 5).to_le_bytes());
    section.extend(elements);
    section.push(0);
    section
}

#[test]
fn what_is_wrong_inside_a_message_is_named() {
    let ping = doc! { "ping": 1, "$db": "admin" };
    let with = |section: Vec<u8>| op_msg(0, &[section]);
    let longer = |by: i32| {
        let mut section = body(&ping);
        let length = i32::from_le_bytes(section[1..5].try_into().unwrap()) + by;
        section[1..5].copy_from_slice(&length.to_le_bytes());
        with(section)
    };
    // A regular expression goes on where its document has ended, and something that looks like an element follows.
    let beyond = [b"\x10ping\0\x01\0\0\0\x0bx\0", &[b'a'; 1500][..], b"\0i\0\x02$db\0\x02\0\0\0x\0"].concat();
    let mut beyond = raw(&beyond);
    beyond[1..5].copy_from_slice(&40_i32.to_le_bytes());
    for (bytes, problem) in [
        (with(beyond), Problem::Overrun),
        (op_msg(0, &[]), Problem::NoBody),
        (op_msg(0, &[sequence("documents", &[])]), Problem::NoBody),
        (op_msg(0, &[body(&ping), body(&ping)]), Problem::SecondBody),
        (op_msg(0, &[vec![2, 0, 0, 0, 0]]), Problem::SectionKind),
        (op_msg(0, &[vec![0, 4, 0, 0, 0]]), Problem::Length),
        (op_msg(0, &[vec![0, 0xff, 0xff, 0xff, 0xff]]), Problem::Length),
        (op_msg(0, &[vec![0, 6, 0, 0, 0]]), Problem::Overrun),
        (op_msg(0, &[vec![0, 5, 0]]), Problem::Truncated),
        (op_msg(0, &[body(&ping), vec![1, 3, 0, 0, 0, b'a', 0]]), Problem::Overrun),
        (op_msg(0, &[body(&ping), vec![1, 8, 0, 0, 0, b'a', b'b', b'c']]), Problem::Truncated),
        (op_msg(0, &[body(&ping), [&[1, 0, 2, 0, 0][..], &[b'a'; 600]].concat()]), Problem::SectionKind),
        (op_msg(0, &[body(&ping), vec![1, 10, 0, 0, 0, b'a', 0, 9, 0, 0, 0]]), Problem::Overrun),
        (longer(-1), Problem::Overrun),
        (longer(1), Problem::Overrun),
        (with(raw(b"\x21x\0")), Problem::Type),
        (with(raw(b"\x10x\0\0\0")), Problem::Overrun),
        (with(raw(b"\x02x\0\0\0\0\0")), Problem::Length),
        (with(raw(b"\x02x\0\xff\xff\xff\x7fa\0")), Problem::Overrun),
        (with(raw(b"\x02x\0\xff\xff\xff\xffa\0")), Problem::Length),
        (with(raw(b"\x03x\0\x04\0\0\0\0")), Problem::Length),
        (with(raw(b"\x05x\0\x09\0\0\0\0")), Problem::Overrun),
        (with(raw(b"\x0bx\0abc")), Problem::Truncated),
        (with(raw(b"\x10name without end")), Problem::Overrun),
        (with(raw(b"\x10ping\0\0\0\0\0\0\x10y\0\0\0\0\0")), Problem::Terminator),
        (message(2013, &[0, 0]), Problem::Truncated),
        (message(2004, b"\0\0\0\0admin.$cmd"), Problem::Truncated),
        (message(2004, &[b'x'; 600]), Problem::Namespace),
        (message(2012, &[0; 8]), Problem::Compressed),
        (compressed(&op_msg(0, &[body(&ping)]), 9, b"", 20), Problem::Compressor),
        (compressed(&op_msg(0, &[body(&ping)]), 0, b"four", 20), Problem::InflatedLength),
        (compressed(&op_msg(0, &[body(&ping)]), 1, b"", 47_999_985), Problem::Inflated),
        (compressed(&op_msg(0, &[body(&ping)]), 2, b"", -1), Problem::Compressed),
        (compressed(&op_msg(0, &[body(&ping)]), 2, b"not zlib", 20), Problem::Corrupt),
        (compressed(&op_msg(0, &[body(&ping)]), 3, b"not zstd at all", 20), Problem::Corrupt),
        (compressed(&message(2012, b""), 1, b"", 0), Problem::Compressed),
    ] {
        let whole: RequestHead = head(&bytes);
        assert_eq!(whole.problem, Some(problem), "{bytes:?}");
        assert!(whole.complete);
        // Its length is right, so the next message is read as ever.
        let after = recorded("find", "request").concat();
        let cuts: Vec<usize> = (0..bytes.len() + after.len()).collect();
        let pieces = decode_cut::<RequestHead>(&[bytes.clone(), after].concat(), &cuts).unwrap();
        let tails = super::tails(&pieces);
        assert_eq!(tails[0], whole, "byte by byte: {bytes:?}");
        assert_eq!(tails[1].command, Command::Find);
        head::<ReplyHead>(&bytes);
    }
}

#[test]
fn a_checksum_that_does_not_fit_is_named() {
    let mut bytes = op_msg(1, &[body(&doc! { "ping": 1 })]);
    bytes.extend([0; 3]);
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    assert_eq!(head::<RequestHead>(&bytes).problem, Some(Problem::Overrun));
}

#[test]
fn long_names_and_expressions_are_passed_over() {
    for length in [1, 254, 255, 256, 257, 1000, 70_000] {
        let mut elements = b"\x10ping\0\x01\0\0\0".to_vec();
        for (kind, value) in
            [(0x10u8, &b"\x01\0\0\0"[..]), (0x02, b"\x02\0\0\0a\0"), (0x0A, b""), (0x0B, b"a\0i\0")]
        {
            elements.push(kind);
            elements.extend(vec![b'n'; length]);
            elements.push(0);
            elements.extend(value);
        }
        elements.push(0x0B);
        elements.extend(b"re\0");
        elements.extend(vec![b'r'; length]);
        elements.extend(b"\0im\0");
        elements.extend(b"\x02$db\0\x06\0\0\0admin\0");
        let bytes = op_msg(0, &[raw(&elements)]);
        let whole: RequestHead = head(&bytes);
        assert_eq!((whole.command, whole.problem), (Command::Ping, None), "{length}");
        assert_eq!(whole.database.as_bytes(), b"admin");
        let cuts: Vec<usize> = (0..bytes.len()).step_by(if length > 2000 { 61 } else { 1 }).collect();
        let pieces = decode_cut::<RequestHead>(&bytes, &cuts).unwrap();
        assert_eq!(super::tails(&pieces), [whole]);
    }
    // The first name is the command, even one too long to be known.
    let mut elements = vec![0x10];
    elements.extend(vec![b'n'; 300]);
    elements.extend(b"\0\x01\0\0\0\x02find\0\x02\0\0\0c\0");
    assert_eq!(head::<RequestHead>(&op_msg(0, &[raw(&elements)])).command, Command::Other);
}
