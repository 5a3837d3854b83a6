//! Clients that are slow, or never come to the point; servers whose names move.

use crate::support::{
    h2, net,
    parts::{nginx, root},
    process::{Process, command, output},
    weir::{Weir, binary},
};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;

crate::tests!("http_edges":
    slow_clients_eject_nobody,
    heads_that_do_not_come_in_time_end_the_connection,
    a_slow_upload_is_no_slow_head,
    servers_are_followed_when_their_names_move,
);

/// HTTP/1.1 and HTTP/2 on either side.
const COMBINATIONS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// An nginx with a file of 64 MiB at `/large`, which takes uploads at `/put/`.
fn origin(h2: bool) -> (Process, TempDir, u16) {
    let protocol = if h2 { " http2" } else { "" };
    nginx(
        &format!(
            "server {{ listen 127.0.0.1:@PORT@{protocol}; listen 127.0.0.2:@PORT@{protocol}; root @ROOT@/www;\n\
             client_max_body_size 100m;\n\
             location /put/ {{ dav_methods PUT; create_full_put_path on; }} location = / {{ return 200 ok; }} }}"
        ),
        |root| {
            std::fs::create_dir_all(root.join("www/put")).expect("ours");
            std::fs::File::create(root.join("www/large")).and_then(|f| f.set_len(64 << 20)).expect("ours");
        },
    )
}

fn curl(h2: bool) -> std::process::Command {
    let mut curl = command("curl");
    curl.args(["-sS", "--max-time", "60", if h2 { "--http2-prior-knowledge" } else { "--http1.1" }]);
    curl
}

fn slow_clients_eject_nobody() {
    std::thread::scope(|scope| {
        for (down, up) in COMBINATIONS {
            scope.spawn(move || slow_clients(down, up));
        }
    });
}

fn slow_clients(down: bool, up: bool) {
    let (_nginx, folder, port) = origin(up);
    let weir = Weir::start(&format!(
        "listeners:\n  web:\n    bind: \"127.0.0.1:0\"\n    idle_timeout: 1s\n    http:\n      routes:\n\
         \x20       - {{ path_prefix: /put, timeout: 2s, cluster: web }}\n\
         \x20       - {{ cluster: web }}\n\
         clusters:\n  web:\n    protocol: {}\n    endpoints: [\"127.0.0.1:{port}\", \"127.0.0.2:{port}\"]\n\
         \x20   outlier_ejection: {{ consecutive_errors: 2 }}\n",
        if up { "http2" } else { "http1" }
    ));
    let base = format!("http://127.0.0.1:{}", weir.port("web"));
    let large = folder.path().join("www/large");
    let clients: Vec<Process> = (0..14)
        .map(|n| {
            let mut slow = curl(down);
            // A download stands still at once; an upload goes on, but will not be done.
            let rate = if n % 2 == 0 { "1k" } else { "200k" };
            slow.args(["--limit-rate", rate, "-o", "/dev/null", "-H", "expect:"]).stderr(Stdio::null());
            if n % 2 == 0 {
                Process::start("curl", slow.arg(format!("{base}/large")))
            } else {
                Process::start("curl", slow.arg("-T").arg(&large).arg(format!("{base}/put/{n}")))
            }
        })
        .collect();
    let what = format!("h2 down: {down}, h2 up: {up}");
    let numbers = weir.numbers_when(&what, |n| n.sum("weir_failures_total", &[]) == 14);
    let blamed = |phase, reason| {
        numbers.sum("weir_failures_total", &[("side", "client"), ("phase", phase), ("reason", reason)])
    };
    let all: Vec<_> = numbers.of("weir_failures_total", &[]).collect();
    assert_eq!(blamed("replying", "idle_timeout"), 7, "{what}: {all:#?}");
    assert_eq!(blamed("sending", "timeout"), 7, "{what}");
    assert_eq!(numbers.sum("weir_operations_total", &[("result", "timeout")]), 14, "{what}");
    assert_eq!(numbers.sum("weir_endpoint_ejections_total", &[]), 0, "{what}");
    assert_eq!(numbers.sum("weir_endpoint_attempts_total", &[("outcome", "failed")]), 0, "{what}");
    drop(clients);
    assert_eq!(output(curl(down).arg(format!("{base}/"))), "ok", "{what}");
}

fn heads_that_do_not_come_in_time_end_the_connection() {
    // Takes requests and never answers, so that there is one under way.
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let up = silent.local_addr().expect("bound");
    let weir = Weir::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\", http: {{ cluster: web, head_timeout: 500ms, keep_alive: 24h }} }} }}\n\
         clusters: {{ web: {{ endpoints: [\"{up}\"] }} }}\n"
    ));
    let open = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", weir.port("web"))).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(50))).expect("an option");
        stream.write_all(bytes).expect("it reads");
        stream
    };
    let whole = h2::headers(1, 5, "/");
    let h1: [&[u8]; 2] = [b"G", b"GET / HTTP/1.1\r\nhost: a\r\n"];
    let h2 = [
        h2::PREFACE[..20].to_vec(),
        // A HEADERS frame without END_HEADERS; a part of its payload; of its own header; of a SETTINGS frame.
        [h2::PREFACE, &h2::headers(1, 1, "/")].concat(),
        [h2::PREFACE, &whole[..12]].concat(),
        [h2::PREFACE, &whole[..4]].concat(),
        [h2::PREFACE, &[0, 0, 6, 4, 0, 0]].concat(),
        // Beside a request that is under way.
        [h2::PREFACE, &whole, &h2::headers(3, 1, "/")].concat(),
    ];
    let first: Vec<TcpStream> = h1.map(open).into();
    let second: Vec<TcpStream> = h2.iter().map(|bytes| open(bytes)).collect();
    for mut stream in first {
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("closed in order");
        assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
        assert!(reply.contains("x-weir-reason: request_timeout"), "{reply}");
    }
    for (n, mut stream) in second.into_iter().enumerate() {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap_or_else(|error| panic!("connection {n} stays: {error}"));
        // All but the one without a whole preface are told: a GOAWAY with PROTOCOL_ERROR.
        let goaway = rest.windows(9).any(|w| w[..4] == [0, 0, 8, 7]) && rest.ends_with(&[0, 0, 0, 1]);
        assert!(goaway || n == 0, "connection {n}: {rest:?}");
    }
    let late = [("rule", "h2_head_timeout")];
    weir.numbers_when("all are counted", |n| {
        n.sum("weir_http_rejects_total", &late) == h2.len() as u64
            && n.sum("weir_operations_total", &[("code", "408"), ("result", "timeout")]) == h1.len() as u64
    });
}

fn a_slow_upload_is_no_slow_head() {
    let (_nginx, folder, port) = origin(false);
    let weir = Weir::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\", http: {{ cluster: web, head_timeout: 300ms }} }} }}\n\
         clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    ));
    let body = folder.path().join("slow");
    std::fs::write(&body, vec![b'b'; 3000]).expect("ours");
    for h2 in [false, true] {
        let url = format!("http://127.0.0.1:{}/put/{h2}", weir.port("web"));
        let mut slow = curl(h2);
        slow.args(["--limit-rate", "1500", "-o", "/dev/null", "-w", "%{http_code}", "-T"]).arg(&body);
        assert_eq!(output(slow.arg(url)), "201", "h2: {h2}");
    }
}

/// A resolver of our own in front of the system's: its path, to be preloaded.
pub fn resolver(folder: &Path) -> String {
    let shim = folder.join("names.so").display().to_string();
    output(
        command("cc")
            .args(["-shared", "-fPIC", "-o", &shim])
            .arg(root().join("tests/clients/names.c"))
            .arg("-ldl"),
    );
    shim
}

fn servers_are_followed_when_their_names_move() {
    let folder = tempfile::tempdir().expect("a folder");
    let shim = resolver(folder.path());
    for (source, h2) in [("endpoints", false), ("endpoints", true), ("dns", false)] {
        let protocol = if h2 { " http2" } else { "" };
        let (_nginx, _folder, port) = nginx(
            &format!(
                "server {{ listen 127.0.0.1:@PORT@{protocol}; location / {{ return 200 old; }}\n\
                 location /slow {{ root @ROOT@; limit_rate 100k; }} }}\n\
                 server {{ listen 127.0.0.2:@PORT@{protocol}; location / {{ return 200 new; }} }}"
            ),
            |root| std::fs::write(root.join("slow"), vec![b's'; 600_000]).expect("ours"),
        );
        let names = folder.path().join("names");
        std::fs::write(&names, "web.moves.test 127.0.0.1\n").expect("ours");
        let config = format!(
            "workers: 1\nlisteners: {{ web: {{ bind: \"127.0.0.1:0\", http: {{ cluster: web }} }} }}\n\
             clusters: {{ web: {{ {}, protocol: {}, dns_refresh: 1s, idle_timeout: 1h }} }}\n",
            if source == "dns" {
                format!("dns: \"web.moves.test:{port}\"")
            } else {
                format!("endpoints: [\"web.moves.test:{port}\"]")
            },
            if h2 { "http2" } else { "http1" }
        );
        let mut run = binary();
        run.env("LD_PRELOAD", &shim).env("WEIR_TEST_NAMES", &names);
        let weir = Weir::start_as(run, tempfile::tempdir().expect("a folder"), &config);
        let base = format!("http://127.0.0.1:{}", weir.port("web"));
        let ask = || output(curl(false).arg(format!("{base}/")));
        assert_eq!(ask(), "old", "{source}");
        let slow = curl(false).arg(format!("{base}/slow")).stdout(Stdio::piped()).spawn().expect("curl runs");
        weir.numbers_when("it is under way", |n| n.sum("weir_operations_in_flight", &[]) == 1);
        std::fs::write(&names, "web.moves.test 127.0.0.2\n").expect("ours");
        net::until("new requests go to where the name has moved", || ask() == "new");
        for _ in 0..10 {
            assert_eq!(ask(), "new", "{source}");
        }
        // What was under way finishes where it was, and takes its connection with it.
        assert_eq!(slow.wait_with_output().expect("it ends").stdout.len(), 600_000, "{source}");
        let numbers = weir.numbers_when("one connection is left", |n| {
            source == "dns" || n.sum("weir_cluster_connections_open", &[]) == 1
        });
        assert_eq!(numbers.sum("weir_failures_total", &[]), 0, "{source}");
        assert!(numbers.sum("weir_cluster_dns_resolutions_total", &[("result", "ok")]) >= 2);
        // A name that is not found any more stays where it was.
        std::fs::write(&names, "").expect("ours");
        weir.numbers_when("that is counted", |n| {
            n.sum("weir_cluster_dns_resolutions_total", &[("result", "failed")]) >= 1
        });
        assert_eq!(ask(), "new", "{source}");
    }
}
