//! Start, reload, drain and end, under load.

use crate::support::{
    net,
    parts::{nginx, python},
    process::{Process, command},
    weir::{Weir, binary},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Stdio,
};

crate::tests!("lifecycle":
    a_bad_file_changes_nothing,
    a_changed_file_is_taken_without_a_signal,
    drain_finishes_what_is_under_way,
    drain_finishes_http2_over_tls,
    a_second_signal_ends_it_at_once,
    a_second_weir_on_the_same_port_is_an_error,
    the_admin_answers,
    the_admin_answers_under_its_names,
    a_scrape_is_what_prometheus_reads,
);

fn origin() -> (Process, tempfile::TempDir, u16) {
    nginx(
        "server { listen 127.0.0.1:@PORT@; keepalive_requests 10000000; location / { return 200 ok; } }",
        |_| {},
    )
}

fn simple(port: u16) -> String {
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\", http: {{ cluster: web }} }} }}\n\
         clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    )
}

fn ok(weir: &Weir) {
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], weir.port("web")));
    assert_eq!(net::get(at, "/"), (200, "ok".to_owned()));
}

fn a_bad_file_changes_nothing() {
    let (_nginx, _folder, port) = origin();
    let weir = Weir::start(&simple(port));
    ok(&weir);
    let entry = weir.reload("listeners: { web: { bind: nowhere, htp: {} } }\n");
    assert_eq!(entry["message"], "the new configuration is not taken", "{entry}");
    let said = weir.log().iter().filter(|entry| entry["level"] == "ERROR").count();
    assert!(said >= 2, "every error is said: {:#?}", weir.log());
    ok(&weir);
    assert_eq!(weir.numbers().sum("weir_reloads_total", &[("result", "rejected")]), 1);
    assert_eq!(weir.reload(&simple(port))["message"], "reloaded");
    ok(&weir);
}

fn a_changed_file_is_taken_without_a_signal() {
    let (_nginx, _folder, port) = origin();
    let weir = Weir::start(&simple(net::nobody()));
    let text = std::fs::read_to_string(weir.file()).expect("ours");
    let start = text.find("127.0.0.1:").expect("an address");
    assert!(start > 0);
    let at = text.rfind("127.0.0.1:").expect("an address");
    let end = at + text[at..].find('"').expect("its end");
    std::fs::write(weir.file(), format!("{}127.0.0.1:{port}{}", &text[..at], &text[end..])).expect("ours");
    net::until("weir takes the file by itself", || {
        weir.log().iter().any(|entry| entry["message"] == "reloaded")
    });
    ok(&weir);
}

fn drain_finishes_what_is_under_way() {
    let (_slow, _folder, port) = nginx(
        "server { listen 127.0.0.1:@PORT@; location /big { root @ROOT@; limit_rate 300k; } location / { return 200 ok; } }",
        |root| std::fs::write(root.join("big"), vec![b'b'; 600_000]).expect("ours"),
    );
    let mut weir = Weir::start(&simple(port));
    let at = weir.port("web");
    let mut idle = TcpStream::connect(("127.0.0.1", at)).expect("it listens");
    let mut busy = TcpStream::connect(("127.0.0.1", at)).expect("it listens");
    busy.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n").expect("it reads");
    let mut first = [0; 100];
    busy.read_exact(&mut first).expect("it answers");
    weir.process().signal("TERM");
    // An idle connection is closed at once, one in the middle of a reply gets the rest of it.
    let mut rest = Vec::new();
    assert_eq!(idle.read_to_end(&mut rest).expect("closed in order"), 0);
    busy.read_to_end(&mut rest).expect("closed in order");
    assert!(rest.len() + first.len() > 600_000, "{} bytes", rest.len());
    assert_eq!(weir.process().wait(), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", at)).is_err());
}

fn drain_finishes_http2_over_tls() {
    const SIZE: usize = 12_000_000;
    let (_nginx, _files, port) = nginx("server { listen 127.0.0.1:@PORT@; root @ROOT@; }", |root| {
        std::fs::write(root.join("big"), vec![b'b'; SIZE]).expect("ours");
    });
    let folder = tempfile::tempdir().expect("a folder");
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.path().join("edge.pem"), certified.cert.pem()).expect("ours");
    std::fs::write(folder.path().join("edge.key"), certified.signing_key.serialize_pem()).expect("ours");
    let mut weir = Weir::start_in(
        folder,
        &format!(
            "listeners: {{ web: {{ bind: \"127.0.0.1:0\", tls: {{ certificate: \"@ROOT@/edge.pem\", key: \"@ROOT@/edge.key\" }}, \
             http: {{ cluster: web }} }} }}\nclusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
        ),
    );
    // It reads slowly, and so is still reading when Weir has said everything.
    let mut curl = command("curl");
    curl.args(["--http2", "--silent", "--insecure", "--limit-rate", "4M", "--output", "/dev/null"]);
    curl.args(["--write-out", "%{http_version} %{size_download}"]);
    let curl = curl.arg(format!("https://127.0.0.1:{}/big", weir.port("web"))).stdout(Stdio::piped());
    let curl = curl.spawn().expect("curl runs");
    weir.numbers_when("it is under way", |n| n.sum("weir_operations_in_flight", &[]) == 1);
    weir.process().signal("TERM");
    let done = curl.wait_with_output().expect("it ends");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), format!("2 {SIZE}"));
    assert_eq!(weir.process().wait(), Some(0));
}

fn a_second_signal_ends_it_at_once() {
    let (_nginx, _folder, port) =
        nginx("server { listen 127.0.0.1:@PORT@; location / { root @ROOT@; limit_rate 1k; } }", |root| {
            std::fs::write(root.join("big"), vec![b'b'; 600_000]).expect("ours")
        });
    let mut weir = Weir::start(&simple(port));
    let mut busy = TcpStream::connect(("127.0.0.1", weir.port("web"))).expect("it listens");
    busy.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n").expect("it reads");
    busy.read_exact(&mut [0; 100]).expect("it answers");
    weir.process().signal("TERM");
    net::until("it drains", || weir.log().iter().any(|entry| entry["message"] == "draining"));
    weir.process().signal("TERM");
    assert_ne!(weir.process().wait(), Some(0));
}

fn a_second_weir_on_the_same_port_is_an_error() {
    let (_nginx, _folder, port) = origin();
    let weir = Weir::start(&simple(port));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, simple(port).replace("127.0.0.1:0", &format!("127.0.0.1:{}", weir.port("web"))))
        .expect("ours");
    let second = binary().arg("run").arg(&file).output().expect("weir runs");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("web") && said.to_lowercase().contains("in use"), "{said}");
    ok(&weir);
}

fn the_admin_answers() {
    let (_nginx, _folder, port) = origin();
    let weir = Weir::start(&simple(port));
    ok(&weir);
    for (path, holds) in [
        ("/metrics", "weir_operations_total{listener=\"web\""),
        ("/ready", ""),
        ("/live", ""),
        ("/version", env!("CARGO_PKG_VERSION")),
        ("/operations", "\"operation\":\"GET\""),
        ("/clusters", &format!("127.0.0.1:{port}")),
        ("/listeners", "\"web\""),
        ("/config", "\"listeners\""),
    ] {
        let (status, body) = weir.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        assert!(body.replace(": ", ":").contains(holds), "{path}: {body}");
    }
    assert_eq!(weir.get("/nothing").0, 404);
    let foreign = "GET /config HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert_eq!(net::exchange(weir.admin(), foreign).0, 403);
    let origin = format!(
        "GET /config HTTP/1.1\r\nhost: {}\r\norigin: http://evil.example\r\nconnection: close\r\n\r\n",
        weir.admin()
    );
    assert_eq!(net::exchange(weir.admin(), &origin).0, 403);
}

fn the_admin_answers_under_its_names() {
    let (_nginx, _folder, port) = origin();
    let weir = Weir::start(&format!("admin_hosts: [weir.monitoring.svc]\n{}", simple(port)));
    for (host, status) in
        [("weir.monitoring.svc:9901", 200), ("WEIR.monitoring.svc", 200), ("monitoring.svc", 403)]
    {
        let asked = format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(net::exchange(weir.admin(), &asked).0, status, "{host}");
    }
}

fn a_scrape_is_what_prometheus_reads() {
    let (_nginx, _folder, port) = origin();
    let weir = Weir::start(&simple(port));
    ok(&weir);
    let read =
        crate::support::parts::json(python("scrape.py").arg(format!("http://{}/metrics", weir.admin())));
    assert_eq!(read["operations"], 1.0, "{read}");
    assert!(read["families"].as_u64().is_some_and(|n| n > 20), "{read}");
}
