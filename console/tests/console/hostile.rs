//! Whom the console refuses, and what it bears.

use crate::fixture::{Fixture, Reply};
use std::io::{Read, Write};
use std::time::Duration;
use weir_console::Bounds;

#[test]
fn pages_and_names_of_others_are_refused() {
    let fixture = Fixture::new();
    let own = fixture.address().to_string();
    let localhost = format!("localhost:{}", fixture.address().port());
    let page = format!("http://{localhost}");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);
    let cases: &[Case<'_>] = &[
        ("GET", &[("Host", &own)], 200),
        ("GET", &[("Host", "weir.internal")], 200),
        ("GET", &[("Host", &localhost), ("Origin", &page)], 200),
        ("GET", &[("Host", "rebound.example")], 403),
        ("GET", &[("Host", "10.0.0.1")], 403),
        ("GET", &[("Host", &localhost), ("Origin", "http://rebound.example")], 403),
        ("GET", &[("Host", &localhost), ("Origin", "null")], 403),
        ("GET", &[("Host", &localhost), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Dest", "script")], 403),
        ("GET", &[], 400),
        ("GET", &[("Host", "localhost"), ("Host", "localhost")], 400),
        ("POST", &[("Host", "localhost"), ("Content-Length", "0")], 405),
        ("DELETE", &[("Host", "localhost")], 405),
        ("OPTIONS", &[("Host", "localhost"), ("Origin", "http://rebound.example")], 405),
        ("TRACE", &[("Host", "localhost")], 405),
    ];
    for (method, headers, status) in cases {
        let reply = fixture.ask(method, "/metrics", headers);
        assert_eq!(reply.status, *status, "{method} {headers:?}");
        assert_eq!(reply.header("allow"), if *status == 405 { "GET, HEAD" } else { "" });
        assert!(*status == 200 || !reply.body.contains("weir_"), "{method} {headers:?}");
    }
}

#[test]
fn what_is_no_http_gets_an_error_or_nothing() {
    let fixture = Fixture::new();
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "a: b\r\n".repeat(500));
    let cases: &[(&[u8], &str)] = &[
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello TLS\r\n\r\n", "400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        (b"GET\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", "400"),
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
        (long.as_bytes(), "431"),
        (many.as_bytes(), "431"),
    ];
    for (bytes, status) in cases {
        let said = fixture.say(bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        if status.is_empty() {
            assert!(!said.contains("200 OK"), "{shown}: {said}");
        } else {
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {said}");
        }
    }
    assert_eq!(fixture.get("/live").status, 200);
}

#[test]
fn requests_one_after_the_other_on_one_connection() {
    let fixture = Fixture::new();
    let one = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let said = fixture.say(format!("{one}{one}{last}").as_bytes());
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 3, "{said}");
    // A request whose body nobody reads is the last of its connection.
    let posted = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345";
    let said = fixture.say(format!("{posted}{one}").as_bytes());
    assert_eq!(Reply::parse(&said).status, 405);
    assert!(!said.contains("200 OK"), "{said}");
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let (head_timeout, idle_timeout) = (Duration::from_millis(50), Duration::from_millis(50));
    let bounds = Bounds { head_timeout, idle_timeout, ..Bounds::default() };
    let fixture = Fixture::with(bounds);
    for start in ["", "GET / HT", "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        // Returns because the console closes: the client asks for nothing of the kind.
        let said = fixture.say(start.as_bytes());
        assert_eq!(said.contains("200 OK"), start.ends_with("\r\n\r\n"), "{start:?}: {said}");
    }
}

#[test]
fn a_head_has_its_time_from_its_first_byte() {
    let bounds = Bounds { head_timeout: Duration::from_millis(50), ..Bounds::default() };
    let fixture = Fixture::with(bounds);
    let one = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut idle = fixture.connect();
    idle.write_all(one.as_bytes()).unwrap();
    assert!(idle.read(&mut [0; 512]).unwrap() > 0);
    // Others are given up meanwhile: it has idled for longer than a head may take.
    for start in ["", "GET / HT"] {
        assert_eq!(fixture.say(start.as_bytes()), "", "{start:?}");
    }
    idle.write_all(one.as_bytes()).unwrap();
    assert!(idle.read(&mut [0; 512]).unwrap() > 0);
    idle.write_all(b"GET /live HT").unwrap();
    assert_eq!(idle.read(&mut [0; 512]).unwrap_or(0), 0, "closed");
}

#[test]
fn connections_have_a_cap_and_the_longest_idle_one_gives_way() {
    let fixture = Fixture::with(Bounds { max_connections: 3, ..Bounds::default() });
    let one = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answered = |stream: &mut std::net::TcpStream| {
        let _ = stream.write_all(one);
        stream.read(&mut [0; 512]).unwrap_or(0) > 0
    };
    let mut held: Vec<_> = (0..3).map(|_| fixture.connect()).collect();
    // Answered, so they are known to be there; the first one again, so that it is not the longest idle.
    assert!(held.iter_mut().all(answered) && answered(&mut held[0]));
    let mut fourth = fixture.connect();
    assert!(answered(&mut fourth));
    assert_eq!(held[1].read(&mut [0; 8]).unwrap_or(0), 0, "closed");
    assert!(answered(&mut held[0]) && answered(&mut held[2]) && answered(&mut fourth));
    assert!(fixture.metrics().contains("weir_admin_connections_refused_total 1\n"));
}

#[test]
fn whoever_says_nothing_keeps_no_probe_away() {
    let fixture = Fixture::new();
    let silent: Vec<_> = (0..80).map(|_| fixture.connect()).collect();
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(fixture.get(path).status, 200, "{path}");
    }
    drop(silent);
}

#[test]
fn there_are_places_for_probes_when_all_others_are_answered() {
    let patient = Duration::from_secs(3600);
    let bounds =
        Bounds { max_connections: 4, stall_timeout: patient, answer_timeout: patient, ..Bounds::default() };
    let fixture = Fixture::with(bounds);
    fixture.many_operations();
    let asleep = asleep(&fixture);
    for _ in 0..20 {
        for (path, status) in [("/live", 200), ("/ready", 200), ("/version", 503), ("/clusters", 503)] {
            let reply = fixture.get(path);
            assert_eq!((reply.status, reply.header("connection")), (status, "close"), "{path}");
        }
    }
    drop(asleep);
}

/// Readers that have asked for more than any socket's buffers hold, and read no further than the first line.
fn asleep(fixture: &Fixture) -> Vec<std::net::TcpStream> {
    let fall_asleep = |_| {
        let mut stream = fixture.connect();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        stream
    };
    (0..4).map(fall_asleep).collect()
}

#[test]
fn long_answers_under_way_have_a_cap() {
    let patient = Duration::from_secs(3600);
    let bounds = Bounds { stall_timeout: patient, answer_timeout: patient, ..Bounds::default() };
    let fixture = Fixture::with(bounds);
    fixture.many_operations();
    let asleep = asleep(&fixture);
    for path in ["/metrics", "/operations", "/clusters", "/config", "/slow", "/members", "/connections"] {
        let busy = fixture.get(path);
        assert_eq!((busy.status, busy.header("retry-after")), (503, "1"), "{path}");
    }
    assert_eq!(fixture.get("/ready").status, 200, "short answers go on");
    drop(asleep);
    // That they are gone is seen soon, not at once.
    while fixture.get("/metrics").status != 200 {}
}

#[test]
fn readers_that_have_gone_to_sleep_are_given_up() {
    let (short, long) = (Duration::from_millis(50), Duration::from_secs(3600));
    for (stall_timeout, answer_timeout) in [(short, long), (long, short)] {
        are_given_up(&Fixture::with(Bounds { stall_timeout, answer_timeout, ..Bounds::default() }));
    }
}

fn are_given_up(fixture: &Fixture) {
    fixture.many_operations();
    let asleep = asleep(fixture);
    // Room for another answer: one of them has been given up. The others may still be woken in time.
    while fixture.get("/operations").status != 200 {}
    let mut cut_off = 0;
    for mut stream in asleep {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        cut_off += usize::from(!rest.ends_with(b"\r\n0\r\n\r\n"));
    }
    assert!(cut_off >= 1, "an answer that was cut off does not look whole");
}

#[test]
fn stopping_finishes_what_is_under_way_and_frees_the_address() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fixture = Fixture::new();
    fixture.many_operations();
    let mut idle = fixture.connect();
    let mut busy = fixture.connect();
    busy.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = vec![0; 12];
    busy.read_exact(&mut answer).unwrap();
    let address = fixture.address();
    let reader = std::thread::spawn(move || {
        busy.read_to_end(&mut answer).unwrap();
        answer
    });
    runtime.block_on(fixture.console.stop());
    let answer = reader.join().unwrap();
    assert!(answer.ends_with(b"\r\n0\r\n\r\n"), "cut off after {} bytes", answer.len());
    assert_eq!(idle.read(&mut [0; 8]).unwrap_or(0), 0);
    assert!(std::net::TcpListener::bind(address).is_ok());
}

#[test]
fn an_address_that_is_taken_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let fixture = Fixture::new();
    let settings = weir_console::Settings {
        address,
        hosts: vec![],
        version: "0.1.0",
        protocols: vec![],
        pages: vec![],
        bounds: Bounds::default(),
    };
    let state = weir_console::State { measure: fixture.measure.clone(), status: fixture.status.clone() };
    let error = weir_console::Console::start(settings, state).unwrap_err();
    assert!(error.to_string().starts_with(&format!("admin: cannot listen on {address}: ")), "{error}");
}
