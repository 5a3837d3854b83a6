//! What a head means, as tables: what is forwarded, what the connection is good for, where the target leads.

use bytes::BytesMut;
use weir_codecs::http1::{
    Asked, Body, Class, Framing, Known, Limits, Method, Parsed, RequestHead, ResponseHead, body, encode,
    parse_request, parse_response,
};

fn request(text: &str) -> RequestHead {
    let mut head = RequestHead::new();
    let parsed = parse_request(text.as_bytes(), &Limits::default(), &mut head);
    assert_eq!(parsed, Ok(Parsed::Complete { len: text.len() }), "{text}");
    head
}

fn response(text: &str, asked: Asked) -> ResponseHead {
    let mut head = ResponseHead::new();
    let parsed = parse_response(text.as_bytes(), &Limits::default(), asked, &mut head);
    assert_eq!(parsed, Ok(Parsed::Complete { len: text.len() }), "{text}");
    head
}

#[test]
fn hop_by_hop_fields_stay_behind_and_known_ones_cannot_be_nominated_away() {
    let text = "POST / HTTP/1.1\r\nHost: a\r\n\
        Connection: X-Secret, x-other , Host, Content-Length, Authorization, Cookie, X-Forwarded-For, close\r\n\
        X-Secret: 1\r\nAuthorization: Basic eA==\r\nx-SECRET: 2\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: x\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: x\r\nX-Other:3\r\n\
        Cookie: c\r\nX-Forwarded-For: 10.0.0.1\r\nTrailer: X-Sum\r\nContent-Length: 2\r\nX-Kept:  spaced \r\n\r\n";
    let head = request(text);
    let view = head.view(text.as_bytes());
    let mut out = BytesMut::new();
    view.fields().copy_lines(&mut out, |f| f.class == Class::EndToEnd);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "Host: a\r\nAuthorization: Basic eA==\r\nProxy-Authorization: x\r\nCookie: c\r\nX-Forwarded-For: 10.0.0.1\r\nTrailer: X-Sum\r\n\
         X-Kept:  spaced \r\n"
    );
    assert!(!head.keep_alive() && head.takes_trailers());
    assert_eq!(view.fields().value(Known::Host), Some(&b"a"[..]));
    assert_eq!(view.fields().values(b"x-secret").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(view.fields().value(Known::Via), None);
}

#[test]
fn framing_fields_are_copied_only_if_they_are_what_would_be_written() {
    for (fields, canonical, framing) in [
        ("Content-Length: 5", true, "content-length: 5\r\n"),
        ("Content-Length:\t5 ", true, "content-length: 5\r\n"),
        ("Content-Length: 0", true, "content-length: 0\r\n"),
        ("Content-Length: 05", false, "content-length: 5\r\n"),
        ("Content-Length: 00", false, "content-length: 0\r\n"),
        ("Content-Length: 5, 5", false, "content-length: 5\r\n"),
        ("Content-Length: 5\r\nContent-Length: 5", false, "content-length: 5\r\n"),
        ("Content-Length: 9223372036854775807", true, "content-length: 9223372036854775807\r\n"),
        ("Transfer-Encoding: chunked", true, "transfer-encoding: chunked\r\n"),
        ("Transfer-Encoding: CHUNKED", false, "transfer-encoding: chunked\r\n"),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let head = request(&text);
        let classes: Vec<Class> = head.fields().list().iter().skip(1).map(|f| f.class).collect();
        assert!(classes.iter().all(|c| *c == Class::Framing { canonical }), "{fields}: {classes:?}");
        let mut out = BytesMut::new();
        head.framing().write(&mut out);
        assert_eq!(out, framing, "{fields}");
    }
}

#[test]
fn connections_live_on_or_end() {
    for (version, connection, lives) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, Close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ] {
        let head = request(&format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n"));
        assert_eq!(head.keep_alive(), lives, "{version} {connection}");
        let answer = format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{connection}\r\n");
        assert_eq!(
            response(&answer, Asked::plain(Method::Get)).keep_alive(),
            lives,
            "{version} {connection}"
        );
    }
}

#[test]
fn targets_lead_somewhere() {
    // The target, and: the authority, the path, the query, the target for an origin server.
    for (method, target, host, authority, path, query, origin) in [
        ("GET", "/a/b?c=d?e", "h:8", "h:8", "/a/b", Some("c=d?e"), "/a/b?c=d?e"),
        ("GET", "/a?", "h", "h", "/a", Some(""), "/a?"),
        ("GET", "//x/y", "h", "h", "//x/y", None, "//x/y"),
        ("GET", "http://H/a?b", "h", "H", "/a", Some("b"), "/a?b"),
        ("GET", "HTTP://h:80", "h", "h:80", "/", None, "/"),
        ("GET", "http://h?q", "h", "h", "/", Some("q"), "/?q"),
        ("GET", "https://h:443/", "h", "h:443", "/", None, "/"),
        ("OPTIONS", "*", "h", "h", "*", None, "*"),
        ("OPTIONS", "http://h", "h", "h", "*", None, "*"),
        ("OPTIONS", "http://h/", "h", "h", "/", None, "/"),
        ("CONNECT", "h:443", "h:443", "h:443", "", None, "h:443"),
    ] {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = request(&text);
        let view = head.view(text.as_bytes());
        assert_eq!(view.authority(), authority.as_bytes(), "{target}");
        assert_eq!(view.path(), path.as_bytes(), "{target}");
        assert_eq!(view.query(), query.map(str::as_bytes), "{target}");
        let mut out = BytesMut::new();
        view.write_origin_target(&mut out);
        assert_eq!(out, origin, "{target}");
        assert_eq!(view.host().unwrap().host.to_ascii_lowercase(), b"h");
    }
}

#[test]
fn upgrades_and_expectations_are_offered_only_where_they_count() {
    for (text, upgrade, expects) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            Some("websocket"),
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c, ,foo/2\r\n\r\n",
            Some("foo/2"),
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: x\r\n\r\n",
            Some("x"),
            false,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: H2C\r\n\r\n", None, false),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", None, false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n", None, false),
        ("GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", None, false),
        ("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", None, true),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-CONTINUE\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
            true,
        ),
        ("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", None, false),
        ("PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", None, false),
    ] {
        let head = request(text);
        assert_eq!(head.view(text.as_bytes()).upgrade(), upgrade.map(str::as_bytes), "{text}");
        assert_eq!(head.offers_upgrade(), upgrade.is_some());
        assert_eq!(head.expects_continue(), expects, "{text}");
        let dropped = head.fields().all(Known::Expect).all(|f| f.class == Class::HopByHop);
        assert!(dropped || text.contains("HTTP/1.1"), "{text}");
    }
}

#[test]
fn bodies_of_responses_end_as_they_should() {
    let get = Asked::plain(Method::Get);
    let (head, connect) = (Asked::plain(Method::Head), Asked::plain(Method::Connect));
    let upgrade = Asked { method: Method::Get, upgrade: true };
    for (asked, rest, framing, lives, describes) in [
        (get, "200\r\nContent-Length: 5\r\n", Framing::Length(5), true, false),
        (get, "200\r\nTransfer-Encoding: chunked\r\n", Framing::Chunked, true, false),
        (get, "200\r\n", Framing::UntilClose, false, false),
        (get, "204\r\n", Framing::None, true, false),
        (get, "204\r\nContent-Length: 0\r\n", Framing::None, true, false),
        (get, "204\r\nContent-Length: 1\r\n", Framing::None, false, false),
        (get, "103\r\nTransfer-Encoding: chunked\r\n", Framing::None, false, false),
        (get, "304\r\nContent-Length: 5\r\n", Framing::None, true, true),
        (head, "200\r\nContent-Length: 5\r\n", Framing::None, true, true),
        (head, "200\r\nTransfer-Encoding: chunked\r\n", Framing::None, true, true),
        (head, "500\r\n", Framing::None, true, false),
        (connect, "200\r\nContent-Length: 5\r\n", Framing::Tunnel, false, false),
        (connect, "502\r\nContent-Length: 5\r\n", Framing::Length(5), true, false),
        (upgrade, "101\r\nUpgrade: websocket\r\n", Framing::Tunnel, false, false),
        (upgrade, "200\r\nContent-Length: 0\r\n", Framing::Length(0), true, false),
    ] {
        let parsed = response(&format!("HTTP/1.1 {rest}\r\n"), asked);
        assert_eq!(parsed.framing(), framing, "{asked:?} {rest}");
        assert_eq!(parsed.keep_alive(), lives, "{asked:?} {rest}");
        assert_eq!(parsed.describes_absent_body(), describes, "{asked:?} {rest}");
    }
}

#[test]
fn the_end_of_a_connection_ends_only_a_body_without_a_length() {
    for (framing, ends) in [
        (Framing::None, true),
        (Framing::Length(0), true),
        (Framing::UntilClose, true),
        (Framing::Tunnel, true),
        (Framing::Length(1), false),
        (Framing::Chunked, false),
    ] {
        let mut body = Body::new(framing, &Limits::default());
        assert_eq!(body.eof().is_ok(), ends, "{framing:?}");
        assert_eq!(body.is_done(), ends, "{framing:?}");
    }
}

#[test]
fn pieces_are_taken_out_of_the_buffer() {
    let mut body = Body::new(Framing::Chunked, &Limits::default());
    let mut buf = BytesMut::from("5;x\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\nGET");
    assert_eq!(body.take(&mut buf), Ok(body::Part::Data("hello".into())));
    assert_eq!(body.take(&mut buf), Ok(body::Part::Trailers("X-Sum: 1\r\n\r\n".into())));
    assert_eq!(body.take(&mut buf), Ok(body::Part::End));
    assert_eq!(buf, "GET");
    let mut body = Body::new(Framing::Length(4), &Limits::default());
    let mut buf = BytesMut::from("ab");
    assert_eq!(body.take(&mut buf), Ok(body::Part::Data("ab".into())));
    assert_eq!(body.take(&mut buf), Ok(body::Part::More));
    assert_eq!(body.remaining(), Some(2));
}

#[test]
fn nothing_that_could_split_a_message_is_written() {
    use encode::Unencodable;
    let mut out = BytesMut::new();
    for bad in ["", "a b", "a:", "a\r\nb", "caf\u{e9}", "a\0"] {
        assert_eq!(encode::field(&mut out, bad.as_bytes(), b"v"), Err(Unencodable::Name), "{bad:?}");
        assert_eq!(encode::request_line(&mut out, bad.as_bytes(), b"/"), Err(Unencodable::Method), "{bad:?}");
    }
    for bad in ["a\r\nb", "a\r", "\n", "a\0", "\u{7f}"] {
        assert_eq!(encode::field(&mut out, b"a", bad.as_bytes()), Err(Unencodable::Value), "{bad:?}");
        assert_eq!(
            encode::status_line(&mut out, 200, Some(bad.as_bytes())),
            Err(Unencodable::Reason),
            "{bad:?}"
        );
    }
    for bad in ["", " ", "/a b", "/a\r\n", "/#", "/\u{e9}"] {
        assert_eq!(
            encode::request_line(&mut out, b"GET", bad.as_bytes()),
            Err(Unencodable::Target),
            "{bad:?}"
        );
    }
    assert_eq!(encode::status_line(&mut out, 99, None), Err(Unencodable::Status));
    assert_eq!(encode::status_line(&mut out, 1000, None), Err(Unencodable::Status));
    assert!(out.is_empty());

    encode::status_line(&mut out, 503, None).unwrap();
    encode::field(&mut out, b"Server", b"weir").unwrap();
    encode::end(&mut out);
    encode::chunk(&mut out, &[b'x'; 26]);
    encode::chunk(&mut out, b"");
    encode::last_chunk(&mut out);
    let data = "x".repeat(26);
    assert_eq!(
        out,
        format!("HTTP/1.1 503 Service Unavailable\r\nServer: weir\r\n\r\n1a\r\n{data}\r\n0\r\n\r\n")
    );
    for (n, decimal, hex) in [
        (0, "0", "0"),
        (10, "10", "a"),
        (4096, "4096", "1000"),
        (u64::MAX, "18446744073709551615", "ffffffffffffffff"),
    ] {
        let mut out = BytesMut::new();
        encode::decimal(&mut out, n);
        encode::chunk_head(&mut out, n);
        assert_eq!(out, format!("{decimal}{hex}\r\n"));
    }
}
