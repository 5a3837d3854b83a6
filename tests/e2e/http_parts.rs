//! Everything that a message of HTTP may have, and much that may go wrong with one: in all four combinations of HTTP/1.1 and HTTP/2.

use crate::support::{
    certificates::Authority,
    parts::{json, nginx, node},
    process::{Process, command, output},
    weir::Weir,
};
use std::{net::TcpStream, process::Stdio};

crate::tests!("http_parts":
    messages_keep_all_their_parts,
    timeouts_and_retries_do_what_they_say,
    websockets_pass_in_every_combination,
    tls_on_both_sides_chooses_the_version,
);

/// HTTP/1.1 or HTTP/2 of the client, and of the server.
const COMBINATIONS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// Does it for every combination at a time.
fn each(test: impl Fn(bool, bool, &str) + Sync) {
    std::thread::scope(|scope| {
        for (down, up) in COMBINATIONS {
            let test = &test;
            scope.spawn(move || test(down, up, &format!("h2 down: {down}, h2 up: {up}")));
        }
    });
}

fn protocol(h2: bool) -> &'static str {
    if h2 { "http2" } else { "http1" }
}

/// A server that does what the path says, see `http_origin.js`.
fn origin(h2: bool) -> (Process, u16) {
    serving(node("http_origin.js").arg(protocol(h2)))
}

/// A server that prints its port.
fn serving(server: &mut std::process::Command) -> (Process, u16) {
    let mut process = Process::start("a server", server.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let port = process.line().parse().expect("it prints its port");
    (process, port)
}

fn front(port: u16, h2: bool, routes: &str) -> Weir {
    Weir::start(&format!(
        "listeners:\n  web:\n    bind: \"127.0.0.1:0\"\n    http:\n      routes:\n{routes}        - {{ name: rest, cluster: web }}\n\
         clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"], protocol: {} }} }}\n",
        protocol(h2)
    ))
}

fn curl(h2: bool) -> std::process::Command {
    let mut curl = command("curl");
    curl.args(["-sS", "--max-time", "30", if h2 { "--http2-prior-knowledge" } else { "--http1.1" }]);
    curl
}

fn messages_keep_all_their_parts() {
    let folder = tempfile::tempdir().expect("a folder");
    let large = folder.path().join("large");
    std::fs::File::create(&large).and_then(|file| file.set_len(8 << 20)).expect("ours");
    each(|down, up, what| {
        let (_origin, port) = origin(up);
        let weir = front(port, up, "");
        let base = format!("http://127.0.0.1:{}", weir.port("web"));
        let heads = |path: &str| {
            let mut curl = curl(down);
            output(curl.args(["-o", "/dev/null", "-D", "-"]).arg(format!("{base}{path}"))).to_lowercase()
        };
        // A 103 before the reply, with its fields.
        let hints = heads("/hints");
        let blocks: Vec<&str> = hints.trim().split("\r\n\r\n").collect();
        assert_eq!(blocks.len(), 2, "{what}: {hints}");
        assert!(blocks[0].contains(" 103") && blocks[0].contains("rel=preload"), "{what}: {hints}");
        assert!(blocks[1].contains(" 200") && !blocks[1].contains("rel=preload"), "{what}: {hints}");
        // Trailers come after the reply's head.
        let trailers = heads("/trailers");
        let (head, trailers) = trailers.split_once("\r\n\r\n").expect("two blocks");
        assert!(head.contains(" 200") && !head.contains("x-end: "), "{what}: {head}");
        assert_eq!(trailers.trim(), "x-end: yes", "{what}");
        // A reply before the request has been read. `Expect: 100-continue` would have curl wait for it.
        // (By nghttp in HTTP/2: curl 7.88 loses early replies there, of any server.)
        for expect in ["", "100-continue"] {
            // (And by hand in HTTP/1: curl gives up when it can send no more, before it has read.)
            let said = if down {
                let mut early = command("nghttp");
                early.args(["-v", "-n", "-H", ":method: PUT", "-d"]).arg(&large);
                if !expect.is_empty() {
                    early.args(["-H", "expect: 100-continue"]);
                }
                output(early.arg(format!("{base}/early")))
            } else {
                let expect = if expect.is_empty() { "" } else { "expect: 100-continue\r\n" };
                let head =
                    format!("PUT /early HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n{expect}\r\n", 8 << 20);
                let at = base.trim_start_matches("http://").parse().expect("an address");
                let (status, rest) = crate::support::net::exchange(at, &(head + &"x".repeat(10_000)));
                let is_early = status == 413 || (status == 100 && rest.starts_with("HTTP/1.1 413"));
                if is_early { ":status: 413".to_owned() } else { format!("{status} {rest}") }
            };
            assert!(said.contains(":status: 413"), "{what}: {said}");
        }
        let mut upload = curl(down);
        upload.args(["-T"]).arg(&large).args(["-H", "expect: 100-continue"]);
        assert_eq!(output(upload.arg(format!("{base}/length"))), (8 << 20).to_string(), "{what}");
        let numbers = weir.numbers_when(what, |n| n.sum("weir_operations_total", &[]) == 5);
        assert_eq!(numbers.sum("weir_operations_total", &[("code", "200"), ("result", "ok")]), 3, "{what}");
        let early = [("code", "413"), ("result", "client_error"), ("operation", "PUT")];
        assert_eq!(numbers.sum("weir_operations_total", &early), 2, "{what}");
        assert_eq!(numbers.sum("weir_operation_first_byte_seconds_count", &[]), 5, "{what}");
        assert_eq!(numbers.sum("weir_failures_total", &[]), 0, "{what}");
    });
}

fn timeouts_and_retries_do_what_they_say() {
    let routes = "\
        \x20       - { name: silent, path: /silent, timeout: 300ms, cluster: web }\n\
        \x20       - { name: stall, path: /stall, timeout: 1s, cluster: web }\n\
        \x20       - { name: try, path_prefix: /first/silent, cluster: web, retry: { retry_on: [reset], per_try_timeout: 1s } }\n\
        \x20       - { name: refuse, path_prefix: /first/refuse, cluster: web, retry: { retry_on: [refused-stream] } }\n\
        \x20       - { name: any, path: /first/503/any, cluster: web,\n\
        \x20           retry: { retry_on: [gateway-error], any_method: true, back_off: 1h, max_back_off: 1ms } }\n\
        \x20       - { name: gateway, path_prefix: /first, cluster: web, retry: { retry_on: [gateway-error] } }\n";
    each(|down, up, what| {
        let (_origin, port) = origin(up);
        let weir = front(port, up, routes);
        let base = format!("http://127.0.0.1:{}", weir.port("web"));
        let ask = |method: &str, path: &str| {
            let mut curl = curl(down);
            curl.args(["-w", " %{http_code}", "-X", method]);
            if method == "POST" {
                // Nothing to send: what curl makes of a reply before the request's end is no matter here.
                curl.args(["-d", ""]);
            }
            output(curl.arg(format!("{base}{path}")))
        };
        assert_eq!(ask("GET", "/silent"), "the server did not answer in time\n 504", "{what}");
        assert_eq!(ask("GET", "/first/silent"), "fine 200", "{what}");
        // 503 is a gateway's error, 500 is not; what is not idempotent is repeated only where the route says so.
        assert_eq!(ask("GET", "/first/503"), "fine 200", "{what}");
        assert_eq!(ask("POST", "/first/503/post"), "not yet 503", "{what}");
        assert_eq!(ask("POST", "/first/503/any"), "fine 200", "{what}");
        assert_eq!(ask("GET", "/first/500"), "not yet 500", "{what}");
        let mut expected = vec![
            ("any 200", 1),
            ("gateway 200", 1),
            ("gateway 500", 1),
            ("gateway 503", 1),
            ("silent 504", 1),
            ("stall 200", 1),
            ("try 200", 1),
        ];
        if up {
            // HTTP/2 only. A POST too: the server says that it has not looked at it.
            assert_eq!(ask("POST", "/first/refuse"), "fine 200", "{what}");
            expected.insert(4, ("refuse 200", 1));
        }
        // A reply that cannot be completed is broken off.
        let stalled = curl(down).arg(format!("{base}/stall")).output().expect("curl runs");
        assert!(!stalled.status.success() && stalled.stdout == b"half", "{what}: {stalled:?}");
        let numbers =
            weir.numbers_when(what, |n| n.sum("weir_operations_total", &[]) == expected.len() as u64);
        let counted = numbers.operations("web", ["resource", "code"]);
        let counted: Vec<_> = counted.iter().map(|(key, n)| (key.join(" "), *n)).collect();
        let expected: Vec<_> = expected.into_iter().map(|(key, n)| (key.to_owned(), n)).collect();
        assert_eq!(counted, expected, "{what}");
        assert_eq!(numbers.sum("weir_operation_retries_total", &[]), 3 + u64::from(up), "{what}");
        for (phase, reason) in [("waiting", "timeout"), ("replying", "timeout")] {
            let failure = [("side", "upstream"), ("phase", phase), ("reason", reason)];
            assert_eq!(numbers.sum("weir_failures_total", &failure), 1, "{what}: {phase}");
        }
        let all: Vec<_> = numbers.of("weir_failures_total", &[]).collect();
        assert_eq!(numbers.sum("weir_failures_total", &[]), 2, "{what}: {all:?}");
    });
}

fn websockets_pass_in_every_combination() {
    each(|down, up, what| {
        let (_server, port) = serving(node("ws_server.js").arg(protocol(up)));
        let weir = front(port, up, "");
        let url = format!("ws://127.0.0.1:{}/chat", weir.port("web"));
        let printed = json(node("ws_client.js").arg(url).arg(protocol(down)));
        assert_eq!(printed["echoed"], 100, "{what}");
        assert_eq!(printed["largest"], 1 << 20, "{what}");
        let numbers = weir.numbers_when("the tunnel is counted", |n| {
            n.sum("weir_operations_total", &[("operation", "GET"), ("code", "101"), ("result", "ok")]) == 1
        });
        // 99 messages of up to 9.8 kB and one of 1 MiB, each way.
        for bytes in ["weir_operation_request_bytes_total", "weir_operation_reply_bytes_total"] {
            let passed = numbers.sum(bytes, &[]);
            assert!((1_530_000..1_560_000).contains(&passed), "{what}: {bytes} {passed}");
        }
    });
}

fn tls_on_both_sides_chooses_the_version() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    authority.issue("edge", "servers", &["edge.test"]);
    authority.issue("up", "servers", &["127.0.0.1"]);
    let origin = |protocol: &str| {
        nginx(
            &format!(
                "server {{ listen 127.0.0.1:@PORT@ ssl{protocol}; ssl_certificate {}; ssl_certificate_key {};\n\
                 root @ROOT@; location = / {{ return 200 \"$server_protocol\"; }} }}",
                authority.path("up.pem"),
                authority.path("up.key"),
            ),
            |root| std::fs::File::create(root.join("large")).and_then(|f| f.set_len(4 << 20)).expect("ours"),
        )
    };
    let (_one, _folder, h1) = origin("");
    let (_two, _other, h2) = origin(" http2");
    let roots = authority.path("root.pem");
    let tls = "tls: { certificate: \"@ROOT@/edge.pem\", key: \"@ROOT@/edge.key\" }";
    let weir = Weir::start_in(
        folder,
        &format!(
            "listeners:\n  one: {{ bind: \"127.0.0.1:0\", {tls}, http: {{ cluster: one }} }}\n\
             \x20 two: {{ bind: \"127.0.0.1:0\", {tls}, http: {{ cluster: two }} }}\n\
             clusters:\n  one: {{ endpoints: [\"127.0.0.1:{h1}\"], tls: {{ ca: \"@ROOT@/root.pem\" }} }}\n\
             \x20 two: {{ endpoints: [\"127.0.0.1:{h2}\"], protocol: http2, tls: {{ ca: \"@ROOT@/root.pem\" }} }}\n"
        ),
    );
    // Says nothing: its time runs while the others are served.
    let silent = TcpStream::connect(("127.0.0.1", weir.port("one"))).expect("it listens");
    for (down, up) in COMBINATIONS {
        let at = weir.port(if up { "two" } else { "one" });
        let ask = |path: &str| {
            let mut curl = command("curl");
            curl.args(["-sS", "--max-time", "30", if down { "--http2" } else { "--http1.1" }]);
            curl.args(["--cacert", &roots, "--resolve", &format!("edge.test:{at}:127.0.0.1")]);
            if path != "/" {
                curl.args(["-o", "/dev/null"]);
            }
            curl.args(["-w", " %{http_version} %{http_code} %{size_download}"]);
            output(curl.arg(format!("https://edge.test:{at}{path}")))
        };
        let (client, server) = (if down { "2" } else { "1.1" }, if up { "HTTP/2.0" } else { "HTTP/1.1" });
        assert_eq!(ask("/"), format!("{server} {client} 200 8"));
        assert_eq!(ask("/large"), format!(" {client} 200 {}", 4 << 20));
    }
    let handshakes = "weir_listener_tls_handshakes_total";
    let numbers = weir.numbers_when("the silent one's time is over", |n| {
        n.sum(handshakes, &[("listener", "one"), ("result", "timeout")]) == 1
    });
    drop(silent);
    assert_eq!(numbers.sum(handshakes, &[("result", "ok")]), 8);
    assert_eq!(numbers.sum("weir_operations_total", &[("result", "ok"), ("code", "200")]), 8);
    let up = "weir_cluster_tls_handshakes_total";
    for cluster in ["one", "two"] {
        assert!(numbers.sum(up, &[("cluster", cluster), ("result", "ok")]) > 0, "{cluster}");
        assert_eq!(numbers.sum(up, &[("cluster", cluster), ("result", "failed")]), 0, "{cluster}");
    }
}
