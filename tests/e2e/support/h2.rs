//! HTTP/2 (RFC 9113) by the byte, for clients that no real one would be.

/// What a client begins with: the preface, and a SETTINGS frame that changes nothing.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A HEADERS frame of `GET http://a` and a path of less than 127 bytes. Flags: 1 ends the stream, 4 the head.
pub fn headers(stream: u8, flags: u8, path: &str) -> Vec<u8> {
    let mut block = b"\x82\x86\x41\x01a\x04".to_vec();
    block.push(u8::try_from(path.len()).expect("short"));
    block.extend_from_slice(path.as_bytes());
    let mut frame = vec![0, 0, block.len() as u8, 1, flags, 0, 0, 0, stream];
    frame.extend_from_slice(&block);
    frame
}

/// A connection's beginning and a request. `wide`: as much may be sent as HTTP/2 can say.
pub fn get(path: &str, wide: bool) -> Vec<u8> {
    let mut all = PREFACE.to_vec();
    if wide {
        // INITIAL_WINDOW_SIZE of streams, and a WINDOW_UPDATE of the connection's.
        all.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]);
        all.extend_from_slice(&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0, 0]);
    }
    all.extend_from_slice(&headers(1, 5, path));
    all
}
