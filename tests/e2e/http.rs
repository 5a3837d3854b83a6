//! curl, h2load, WebSocket clients and plain sockets through Weir to nginx and Node.js, in all combinations of HTTP/1.1 and HTTP/2.

use crate::support::{
    h2, net,
    numbers::Numbers,
    parts::nginx,
    process::{Process, command, output},
    weir::Weir,
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Stdio,
};
use tempfile::TempDir;

crate::tests!("http":
    all_combinations_carry_bodies_of_every_size,
    counts_equal_what_h2load_counted,
    routes_do_what_they_say,
    uploads_of_64_mib_stream,
    slow_readers_hold_nothing_up,
    a_cluster_with_bad_endpoints_fails_no_request,
    malformed_requests_are_refused_and_counted,
);

/// HTTP/1.1 or HTTP/2 of the client, and of the server.
const COMBINATIONS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// The sizes of the files that nginx serves.
const SIZES: [usize; 5] = [0, 1, 1024, 100 * 1024, 64 << 20];

/// An nginx that serves files under `/f/`, echoes nothing, and takes uploads; on HTTP/1.1 or HTTP/2 by prior knowledge.
fn origin(h2: bool) -> (Process, TempDir, u16) {
    let protocol = if h2 { " http2" } else { "" };
    nginx(
        &format!(
            "server {{ listen 127.0.0.1:@PORT@{protocol}; root @ROOT@/www; client_max_body_size 100m; keepalive_requests 1000000;\n\
             location /put/ {{ proxy_pass http://127.0.0.1:1; dav_methods PUT; }} location /teapot {{ return 418 short; }}\n\
             location /status/500 {{ return 500; }} location /status/404 {{ return 404; }} }}"
        )
        .replace("proxy_pass http://127.0.0.1:1; dav_methods PUT;", "dav_methods PUT; create_full_put_path on;"),
        |root| {
            let www = root.join("www/f");
            std::fs::create_dir_all(&www).expect("ours");
            std::fs::create_dir_all(root.join("www/put")).expect("ours");
            for size in SIZES {
                std::fs::write(www.join(size.to_string()), vec![b'w'; size]).expect("ours");
            }
        },
    )
}

fn front(port: u16, h2: bool) -> Weir {
    let protocol = if h2 { "http2" } else { "http1" };
    Weir::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\", http: {{ cluster: web }} }} }}\n\
         clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"], protocol: {protocol} }} }}\n"
    ))
}

fn curl(h2: bool) -> std::process::Command {
    let mut curl = command("curl");
    curl.args(["-sS", "--max-time", "60", if h2 { "--http2-prior-knowledge" } else { "--http1.1" }]);
    curl
}

fn all_combinations_carry_bodies_of_every_size() {
    for (down, up) in COMBINATIONS {
        let (_nginx, _folder, port) = origin(up);
        let weir = front(port, up);
        let base = format!("http://127.0.0.1:{}", weir.port("web"));
        let what = format!("h2 down: {down}, h2 up: {up}");
        for size in SIZES {
            let got = output(
                curl(down)
                    .args(["-o", "/dev/null", "-w", "%{http_code} %{size_download} %{http_version}"])
                    .arg(format!("{base}/f/{size}")),
            );
            assert_eq!(got, format!("200 {size} {}", if down { "2" } else { "1.1" }), "{what}, {size} bytes");
        }
        let head = output(
            curl(down)
                .args(["-I", "-w", "%{http_code} %{size_download}", "-o", "/dev/null"])
                .arg(format!("{base}/f/1024")),
        );
        assert_eq!(head, "200 0", "{what}: HEAD");
        let missing =
            output(curl(down).args(["-o", "/dev/null", "-w", "%{http_code}"]).arg(format!("{base}/nothing")));
        assert_eq!(missing, "404", "{what}");
        let numbers = weir.numbers();
        let gets =
            numbers.sum("weir_operations_total", &[("operation", "GET"), ("result", "ok"), ("code", "200")]);
        assert_eq!(gets, SIZES.len() as u64, "{what}");
        assert_eq!(
            numbers.sum("weir_operations_total", &[("operation", "HEAD"), ("code", "200")]),
            1,
            "{what}"
        );
        assert_eq!(
            numbers.sum("weir_operations_total", &[("code", "404"), ("result", "client_error")]),
            1,
            "{what}"
        );
        let bytes = numbers.sum("weir_operation_reply_bytes_total", &[("operation", "GET")]);
        let least = SIZES.iter().sum::<usize>() as u64;
        assert!(bytes >= least && bytes < least + 20_000, "{what}: {bytes} bytes of replies");
    }
}

fn counts_equal_what_h2load_counted() {
    for (down, up) in COMBINATIONS {
        let (_nginx, _folder, port) = origin(up);
        let weir = front(port, up);
        let mut load = command("h2load");
        load.args(["-n", "4000", "-c", "8", "-m", if down { "16" } else { "1" }]);
        if !down {
            load.arg("--h1");
        }
        let said = output(load.arg(format!("http://127.0.0.1:{}/f/1024", weir.port("web"))));
        let what = format!("h2 down: {down}, h2 up: {up}\n{said}");
        assert!(said.contains("4000 succeeded, 0 failed"), "{what}");
        let numbers = weir.numbers();
        assert_eq!(
            numbers.sum("weir_operations_total", &[("operation", "GET"), ("code", "200"), ("result", "ok")]),
            4000,
            "{what}"
        );
        assert_eq!(numbers.sum("weir_operations_total", &[]), 4000, "{what}");
        assert_eq!(numbers.sum("weir_operation_duration_seconds_count", &[]), 4000, "{what}");
    }
}

fn routes_do_what_they_say() {
    let (_nginx, _folder, port) = origin(false);
    let weir = Weir::start(&format!(
        "listeners:\n  web:\n    bind: \"127.0.0.1:0\"\n    http:\n      routes:\n\
         \x20       - {{ name: health, path: /health, direct_response: {{ status: 200, body: fine }} }}\n\
         \x20       - {{ name: old, path_prefix: /old, redirect: {{ path: /f/1, status: 301 }} }}\n\
         \x20       - {{ name: posts, method: [POST], cluster: nobody }}\n\
         \x20       - {{ name: shop, host: \"*.shop.example\", path_prefix: /f/, cluster: web }}\n\
         \x20       - {{ name: flagged, headers: [{{ name: x-flag, exact: yes-please }}], cluster: web }}\n\
         clusters:\n  web: {{ endpoints: [\"127.0.0.1:{port}\"] }}\n  nobody: {{ endpoints: [\"127.0.0.1:{}\"] }}\n",
        net::nobody()
    ));
    let base = format!("http://127.0.0.1:{}", weir.port("web"));
    let ask = |args: &[&str], path: &str| {
        output(
            curl(false)
                .args(["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"])
                .args(args)
                .arg(format!("{base}{path}")),
        )
    };
    assert_eq!(ask(&[], "/health"), "200 ");
    assert_eq!(ask(&[], "/old/page"), format!("301 {base}/f/1"));
    assert_eq!(ask(&["-X", "POST", "-d", "x"], "/f/1"), "502 ");
    assert_eq!(ask(&["-H", "host: eu.shop.example"], "/f/1"), "200 ");
    assert_eq!(ask(&["-H", "x-flag: yes-please"], "/f/1"), "200 ");
    assert_eq!(ask(&[], "/f/1"), "404 ");
    let reason = output(curl(false).args(["-D", "-", "-o", "/dev/null"]).arg(format!("{base}/f/1")));
    assert!(reason.to_lowercase().contains("x-weir-reason: no_route"), "{reason}");
    let counts = weir.numbers().operations("web", ["resource", "code"]);
    let mut seen: Vec<String> = counts.keys().map(|key| key.join(" ")).collect();
    seen.sort();
    assert_eq!(seen, [" 404", "flagged 200", "health 200", "old 301", "posts 502", "shop 200"]);
}

fn uploads_of_64_mib_stream() {
    for (down, up) in COMBINATIONS {
        let (_nginx, folder, port) = origin(up);
        let weir = front(port, up);
        let file = folder.path().join("www/f").join((64 << 20).to_string());
        let url = format!("http://127.0.0.1:{}/put/file", weir.port("web"));
        let status =
            output(curl(down).args(["-o", "/dev/null", "-w", "%{http_code}", "-T"]).arg(&file).arg(url));
        assert_eq!(status, "201", "h2 down: {down}, h2 up: {up}");
        assert_eq!(std::fs::metadata(folder.path().join("www/put/file")).expect("uploaded").len(), 64 << 20);
        assert_eq!(weir.numbers().sum("weir_operations_total", &[("operation", "PUT"), ("code", "201")]), 1);
    }
}

fn slow_readers_hold_nothing_up() {
    for (down, up) in COMBINATIONS {
        let what = format!("h2 down: {down}, h2 up: {up}");
        let (_nginx, _folder, port) = origin(up);
        let mut weir = front(port, up);
        let at = weir.port("web");
        let before = weir.process().size("VmRSS");
        // Twenty clients ask for 64 MiB each and read nothing. In HTTP/2 half of them allow all of it to be sent, so that TCP
        // holds it back, and half only what is allowed anyway.
        let stalled: Vec<TcpStream> = (0..20)
            .map(|n| {
                let mut stream = TcpStream::connect(("127.0.0.1", at)).expect("it listens");
                let path = format!("/f/{}", 64 << 20);
                let ask = match down {
                    true => h2::get(&path, n % 2 == 0),
                    false => format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes(),
                };
                stream.write_all(&ask).expect("it reads");
                stream.read_exact(&mut [0; 15]).expect("it answers");
                stream
            })
            .collect();
        // Others are served meanwhile.
        for _ in 0..20 {
            let got = output(
                curl(down)
                    .args(["-o", "/dev/null", "-w", "%{http_code}"])
                    .arg(format!("http://127.0.0.1:{at}/f/102400")),
            );
            assert_eq!(got, "200", "{what}");
        }
        weir.numbers_when(&what, |n| n.sum("weir_operations_total", &[("code", "200")]) == 20);
        let grown = weir.process().size("VmRSS").saturating_sub(before);
        assert!(grown < 32 << 20, "{what}: twenty stalled readers cost {} KiB", grown >> 10);
        drop(stalled);
        weir.numbers_when(&format!("{what}: the stalled are counted as gone"), |n| {
            n.sum("weir_operations_total", &[("result", "client_gone")]) == 20
        });
    }
}

fn a_cluster_with_bad_endpoints_fails_no_request() {
    for (down, up) in COMBINATIONS {
        let what = format!("h2 down: {down}, h2 up: {up}");
        let protocol = if up { " http2" } else { "" };
        let server = |answer: &str| {
            let config = format!(
                "server {{ listen 127.0.0.1:@PORT@{protocol}; keepalive_requests 1000000; {answer} }}"
            );
            nginx(&config, |_| {})
        };
        let (_good, _one, good) = server("location / { return 200 ok; }");
        let (_failing, _two, failing) = server("location / { return 503; }");
        let (dies, _three, dying) = server("location / { return 200 ok; }");
        let weir = Weir::start(&format!(
            "listeners:\n  web:\n    bind: \"127.0.0.1:0\"\n    http:\n      routes:\n\
             \x20       - {{ cluster: web, retry: {{ retry_on: [5xx, reset, connect-failure], max_retries: 3 }} }}\n\
             clusters:\n  web:\n    endpoints: [\"127.0.0.1:{good}\", \"127.0.0.1:{failing}\", \"127.0.0.1:{dying}\"]\n\
             \x20   protocol: {}\n    outlier_ejection: {{}}\n",
            if up { "http2" } else { "http1" }
        ));
        let mut load = command("h2load");
        load.args(["-n", "12000", "-c", "30"]).args((!down).then_some("--h1")).stdout(Stdio::piped());
        let load =
            load.arg(format!("http://127.0.0.1:{}/f/1", weir.port("web"))).spawn().expect("h2load runs");
        let dead = format!("127.0.0.1:{dying}");
        let attempts = |numbers: &Numbers, outcome| {
            let labels = [("endpoint", &*dead), ("outcome", outcome)];
            numbers.sum("weir_endpoint_attempts_total", &labels)
        };
        weir.numbers_when("it serves some", |n| attempts(n, "success") > 100);
        dies.signal("KILL");
        let at_death = weir.numbers().sum("weir_operations_total", &[]);
        assert!(at_death < 11_000, "{what}: it was killed too late");
        let said = String::from_utf8(load.wait_with_output().expect("it ends").stdout).expect("text");
        let numbers = weir.numbers();
        assert!(
            said.contains("12000 2xx, 0 3xx, 0 4xx, 0 5xx"),
            "{what}: {said}\n{:#?}",
            numbers.of("weir_failures_total", &[]).collect::<Vec<_>>()
        );
        assert_eq!(numbers.sum("weir_operations_total", &[("result", "ok")]), 12_000, "{what}");
        assert!(numbers.sum("weir_operation_retries_total", &[]) > 0, "{what}");
        assert!(attempts(&numbers, "failed") > 0, "{what}: its death was noticed");
        assert!(numbers.sum("weir_endpoint_ejections_total", &[]) >= 1, "{what}");
    }
}

fn malformed_requests_are_refused_and_counted() {
    let (_nginx, _folder, port) = origin(false);
    let weir = front(port, false);
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], weir.port("web")));
    let attacks = [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n folded: yes\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\n\n",
    ];
    for attack in attacks {
        let (status, _) = net::exchange(at, attack);
        assert_eq!(status, 400, "{attack:?}");
    }
    let numbers = weir.numbers();
    assert_eq!(numbers.sum("weir_http_rejects_total", &[]), attacks.len() as u64);
}
