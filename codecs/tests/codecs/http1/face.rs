//! The `tokio_util` decoder, fed by a stream that gives a byte at a time.

use bytes::BytesMut;
use tokio_util::codec::Decoder;
use weir_codecs::http1::face::{Broken, Frame, RequestDecoder};
use weir_codecs::http1::{Limits, Rule};

fn decode(bytes: &[u8]) -> (Vec<String>, Option<Broken>) {
    let mut decoder = RequestDecoder::new(Limits::default());
    let (mut buf, mut frames) = (BytesMut::new(), Vec::new());
    let mut feed = |frame: Result<Option<Frame>, Broken>| match frame {
        Ok(None) => Ok(false),
        Ok(Some(frame)) => {
            frames.push(match frame {
                Frame::Head(head, bytes) => String::from_utf8_lossy(head.view(&bytes).target()).into_owned(),
                Frame::Data(data) | Frame::Trailers(data) => String::from_utf8_lossy(&data).into_owned(),
                Frame::End => "end".to_owned(),
            });
            Ok(true)
        }
        Err(broken) => Err(broken),
    };
    let mut run = || {
        for byte in bytes {
            buf.extend_from_slice(&[*byte]);
            while feed(decoder.decode(&mut buf))? {}
        }
        while feed(decoder.decode_eof(&mut buf))? {}
        Ok(())
    };
    let broken = run().err();
    (frames, broken)
}

#[test]
fn frames_come_as_the_bytes_do() {
    let (frames, broken) = decode(
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\nhi\r\n0\r\nX: y\r\n\r\n",
    );
    assert!(broken.is_none(), "{broken:?}");
    assert_eq!(frames, ["/a", "end", "/b", "h", "i", "X: y\r\n\r\n", "end"]);
}

#[test]
fn a_stream_that_breaks_off_or_breaks_a_rule_is_an_error() {
    let (frames, broken) = decode(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx");
    assert_eq!(frames, ["/", "x"]);
    assert!(matches!(broken, Some(Broken::Reject(reject)) if reject.rule == Rule::BodyTruncated));
    let (_, broken) = decode(b"GET / HTTP/1.1\r\nHo");
    assert!(matches!(broken, Some(Broken::Io(_))));
    let (_, broken) = decode(b"GET / HTTP/1.1\r\nHost: a\n\n");
    let Some(Broken::Reject(reject)) = broken else { panic!("{broken:?}") };
    assert_eq!((reject.rule(), reject.status(), reject.to_string().as_str()), ("bare_lf", 400, "bare_lf@23"));
}
