//! Reloads and a drain while every protocol is busy: no client may notice.

use crate::support::{
    certificates::Authority,
    net,
    parts::{grpc, mongod, moto, nginx, node, python},
    process::Process,
    weir::Weir,
};
use std::{collections::BTreeMap, process::Stdio};
use tempfile::TempDir;

crate::tests!("load":
    reload_twenty_times_under_load,
    drain_and_restart_under_load,
);

/// Two servers of each kind (but one mongod and one moto), and the files of a certificate.
struct Servers {
    http: [u16; 2],
    http2: [u16; 2],
    grpc: [u16; 2],
    tcp: [u16; 2],
    folder: TempDir,
    _nginxs: Vec<(Process, TempDir, u16)>,
    _calls: Vec<(Process, u16)>,
}

impl Servers {
    fn start() -> Servers {
        let folder = tempfile::tempdir().expect("a folder");
        Authority::new(folder.path()).issue("edge", "servers", &["127.0.0.1"]);
        let mut nginxs = Vec::new();
        let mut http = |protocol: &str| {
            let listen = format!("listen 127.0.0.1:@PORT@{protocol}; keepalive_requests 100000000;");
            nginxs.push(nginx(&format!("server {{ {listen} location / {{ return 200 ok; }} }}"), |_| {}));
            nginxs.last().expect("just now").2
        };
        let (http, http2) = ([http(""), http("")], [http(" http2"), http(" http2")]);
        let calls = vec![grpc("one", false), grpc("two", false)];
        Servers {
            http,
            http2,
            grpc: [calls[0].1, calls[1].1],
            tcp: [net::echo(), net::echo()],
            folder,
            _nginxs: nginxs,
            _calls: calls,
        }
    }

    /// The configuration of a round. Every listener but the spare one stays; where it leads, by which routes and with which settings
    /// changes, as do the clusters' servers. `bind`: where a listener is to listen.
    fn config(&self, round: usize, bind: impl Fn(&str) -> u16) -> String {
        let one_or_both = |ports: [u16; 2]| match round % 3 {
            0 => format!("\"127.0.0.1:{}\"", ports[0]),
            1 => format!("\"127.0.0.1:{}\", \"127.0.0.1:{}\"", ports[1], ports[0]),
            _ => format!("\"127.0.0.1:{}\"", ports[1]),
        };
        let routes = |cluster: &str| match round % 2 {
            0 => format!("{{ cluster: {cluster} }}"),
            _ => format!(
                "{{ keep_alive: 50s, routes: [{{ path: /other, direct_response: {{ status: 200, body: other }} }}, \
                 {{ name: round-{round}, path_prefix: /, cluster: {cluster}, timeout: 50s }}] }}"
            ),
        };
        let tls = format!(
            "tls: {{ certificate: \"{0}/edge.pem\", key: \"{0}/edge.key\" }}",
            self.folder.path().display()
        );
        let listeners = [
            ("one", format!("http: {}", routes("one"))),
            ("two", format!("http: {}", routes("two"))),
            ("secure", format!("{tls}, http: {}", routes("one"))),
            ("calls", format!("grpc: {}", routes("calls"))),
            ("tables", format!("dynamodb: {}", routes("tables"))),
            ("db", "mongo: { cluster: db }".to_owned()),
            ("raw", "tcp: { cluster: raw }".to_owned()),
        ];
        let mut text = "listeners:\n".to_owned();
        for (name, section) in listeners {
            let idle = 50 + round % 2;
            text += &format!(
                "  {name}: {{ bind: \"127.0.0.1:{}\", idle_timeout: {idle}m, {section} }}\n",
                bind(name)
            );
        }
        let spare = ["tcp: { cluster: raw }", "http: { cluster: one }", "mongo: { cluster: db }"][round % 3];
        let host = ["127.0.0.1", "localhost"][round % 2];
        text + &format!(
            "  spare{}: {{ bind: \"127.0.0.1:0\", {spare} }}\nclusters:\n\
             \x20 one: {{ endpoints: [{}] }}\n  two: {{ endpoints: [{}], protocol: http2 }}\n\
             \x20 calls: {{ endpoints: [{}], protocol: http2 }}\n  raw: {{ endpoints: [{}] }}\n\
             \x20 tables: {{ endpoints: [\"{host}:{}\"] }}\n  db: {{ endpoints: [\"127.0.0.1:{}\"], connect_timeout: {}s }}\n\
             \x20 unused{round}: {{ endpoints: [\"127.0.0.1:1\"] }}\n",
            round % 4,
            one_or_both(self.http),
            one_or_both(self.http2),
            one_or_both(self.grpc),
            one_or_both(self.tcp),
            moto(),
            mongod(),
            5 + round % 2,
        )
    }
}

/// Starts a client for each listener and kind.
fn clients(weir: &Weir, kinds: &[(&'static str, &'static str)]) -> Vec<(String, Process)> {
    let start = |(listener, kind): &(&'static str, &'static str)| {
        let mut client = if kind.starts_with("http_2") {
            let scheme = if *listener == "secure" { "https" } else { "http" };
            let mut client = node("busy.js");
            client.arg(scheme);
            client
        } else {
            let mut client = python("busy.py");
            client.arg(kind);
            client
        };
        client.arg(weir.port(listener).to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        (format!("{listener} {kind}"), Process::start(kind, &mut client))
    };
    kinds.iter().map(start).collect()
}

/// Waits until each of these listeners has served so many more than before.
fn progress(weir: &Weir, kinds: &[(&'static str, &'static str)], more: u64) {
    let served = |numbers: &crate::support::numbers::Numbers, listener: &str| {
        numbers.sum("weir_operations_total", &[("listener", listener), ("result", "ok")])
    };
    let before = weir.numbers();
    let before: BTreeMap<_, _> =
        kinds.iter().map(|(listener, _)| (*listener, served(&before, listener))).collect();
    weir.numbers_when("every listener serves", |numbers| {
        before.iter().all(|(listener, count)| served(numbers, listener) >= count + more)
    });
}

/// Ends the clients, none of whom may have noticed anything.
fn end(clients: Vec<(String, Process)>) {
    for (what, mut client) in clients {
        client.end_input();
        let answer: serde_json::Value = serde_json::from_str(&client.rest()).expect("JSON");
        assert_eq!(answer["failed"], 0, "{what}: {answer}");
        assert!(answer["done"].as_u64().is_some_and(|n| n > 20), "{what}: {answer}");
    }
}

fn reload_twenty_times_under_load() {
    let servers = Servers::start();
    let weir = Weir::start(&servers.config(0, |_| 0));
    let kinds = [
        ("one", "http"),
        ("one", "http_2"),
        ("two", "http"),
        ("two", "http_2"),
        ("secure", "http_2"),
        ("calls", "grpc"),
        ("tables", "dynamodb"),
        ("db", "mongo"),
        ("raw", "tcp"),
        ("raw", "tcp_long"),
    ];
    let clients = clients(&weir, &kinds);
    progress(&weir, &kinds, 5);
    for round in 1..=20 {
        let entry = weir.reload(&servers.config(round, |_| 0));
        assert_eq!(entry["message"], "reloaded", "round {round}: {entry}");
        // Each of the short ones has met this configuration.
        progress(&weir, &kinds, 3);
    }
    end(clients);
    let numbers = weir.numbers();
    assert_eq!(numbers.sum("weir_reloads_total", &[("result", "applied")]), 20);
    // (A stream that is open at the end goes with its client.)
    for result in ["server_error", "upstream_lost", "refused", "timeout", "error", "unavailable"] {
        let of = [("result", result)];
        let all: Vec<_> = numbers.of("weir_operations_total", &of).collect();
        assert_eq!(numbers.sum("weir_operations_total", &of), 0, "{all:#?}");
    }
}

fn drain_and_restart_under_load() {
    let servers = Servers::start();
    let mut weir = Weir::start(&servers.config(0, |_| 0));
    let kinds = [
        ("one", "http"),
        ("one", "http_2"),
        ("two", "http"),
        ("two", "http_2"),
        ("secure", "http_2"),
        ("calls", "grpc_unary"),
        ("tables", "dynamodb"),
        ("db", "mongo_reads"),
        ("raw", "tcp"),
    ];
    let clients = clients(&weir, &kinds);
    progress(&weir, &kinds, 20);
    let ports: BTreeMap<&str, u16> =
        kinds.iter().map(|(listener, _)| (*listener, weir.port(listener))).collect();
    weir.process().signal("TERM");
    assert_eq!(weir.process().wait(), Some(0));
    // What takes its place finds the clients where they are.
    let weir = Weir::start(&servers.config(1, |listener| ports[listener]));
    progress(&weir, &kinds, 20);
    end(clients);
}
