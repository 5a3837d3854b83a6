//! Numbers that no protocol's tests look at: of clusters, endpoints, workers, the log and the rings. Each has to move by exactly what
//! was done, through the real binary.

use crate::support::{
    net,
    numbers::Numbers,
    parts::{mongod, python},
    process::{Process, command, output},
    weir::{Weir, binary},
};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

crate::tests!("numbers":
    the_limits_of_the_file_are_in_effect,
    endpoints_that_fail_are_told_apart,
    names_that_lead_nowhere_are_counted,
    connections_are_shared_out,
    long_polls_and_what_is_under_way_are_gauges,
    slow_operations_are_crowded_and_not_all_logged,
    lines_that_nobody_reads_are_counted,
);

/// A server that answers every request so, and its port.
fn answering(status: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(&stream, status));
        }
    });
    port
}

fn serve(mut stream: &TcpStream, status: &str) {
    let mut head = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).is_err()
            {
                return;
            }
        }
    }
}

fn ask(weir: &Weir, listener: &str) -> u16 {
    net::get(std::net::SocketAddr::from(([127, 0, 0, 1], weir.port(listener))), "/").0
}

/// A metric, labels that its samples have, and their sum.
type Wanted<'a> = (&'a str, &'a [(&'a str, &'a str)], u64);

/// Holds numbers against what they have to be.
fn assert_numbers(numbers: &Numbers, wanted: &[Wanted<'_>]) {
    let wrong: Vec<String> = wanted
        .iter()
        .filter(|(name, labels, wanted)| numbers.sum(name, labels) != *wanted)
        .map(|(name, labels, wanted)| {
            format!("{name} {labels:?}: {}, not {wanted}", numbers.sum(name, labels))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn the_limits_of_the_file_are_in_effect() {
    let limits = [
        ("max_connections", 37),
        ("max_pending", 41),
        ("max_requests", 43),
        ("max_parked", 47),
        ("max_retries", 53),
    ];
    let said: Vec<String> = limits.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    let weir = Weir::start(&format!(
        "listeners: {{ l: {{ bind: \"127.0.0.1:0\", tcp: {{ cluster: c }} }} }}\n\
         clusters:\n  c:\n    endpoints: [\"127.0.0.1:1\"]\n\
         \x20   circuit_breaker: {{ {}, retry_budget: {{ percent: 59, min_retries: 61 }} }}\n",
        said.join(", ")
    ));
    let numbers = weir.numbers();
    for (key, value) in limits {
        let shown = numbers.sum("weir_cluster_limit", &[("cluster", "c"), ("limit", key)]);
        assert_eq!(shown, value, "{key}");
    }
    // Nothing was tried yet, so what may be spent is the floor over ten seconds.
    let (_, clusters) = weir.get("/clusters");
    let clusters: serde_json::Value = serde_json::from_str(&clusters).expect("JSON");
    assert_eq!(clusters["clusters"][0]["circuit_breaker"]["retry_budget"]["limit"], 610, "{clusters}");
}

fn endpoints_that_fail_are_told_apart() {
    let (good, failing, dead) = (answering("200 OK"), answering("503 Service Unavailable"), net::nobody());
    let retry = "retry: { retry_on: [5xx, connect-failure], max_retries: 2 }";
    let weir = Weir::start(&format!(
        "workers: 1\nlisteners:\n\
         \x20 web: {{ bind: \"127.0.0.1:0\", http: {{ routes: [{{ cluster: web, {retry} }}] }} }}\n\
         \x20 lone: {{ bind: \"127.0.0.1:0\", http: {{ cluster: lone }} }}\n\
         clusters:\n  web:\n    endpoints: [\"127.0.0.1:{good}\", \"127.0.0.1:{failing}\", \"127.0.0.1:{dead}\"]\n\
         \x20   outlier_ejection: {{ consecutive_errors: 1, base_ejection_time: 1h, max_ejection_time: 1h, max_ejection_percent: 100 }}\n\
         \x20 lone: {{ endpoints: [\"127.0.0.1:{failing}\"], outlier_ejection: {{ consecutive_errors: 2 }} }}\n"
    ));
    for _ in 0..12 {
        assert_eq!(ask(&weir, "web"), 200);
    }
    for _ in 0..3 {
        assert_eq!(ask(&weir, "lone"), 503);
    }
    let at = |port: u16| format!("127.0.0.1:{port}");
    let (good, failing, dead) = (at(good), at(failing), at(dead));
    let web = ("cluster", "web");
    let lone = ("cluster", "lone");
    let numbers = weir.numbers_when("both are out", |n| n.sum("weir_cluster_endpoints_ejected", &[web]) == 2);
    assert_numbers(
        &numbers,
        &[
            ("weir_listener_connections_total", &[("listener", "web")], 12),
            ("weir_cluster_attempts_total", &[web], 14),
            ("weir_cluster_retries_total", &[web], 1),
            ("weir_cluster_repicks_total", &[web], 1),
            ("weir_operation_retries_total", &[web], 1),
            ("weir_cluster_retries_active", &[web], 0),
            ("weir_cluster_ejections_total", &[web], 2),
            ("weir_endpoint_ejected", &[web, ("endpoint", &failing)], 1),
            ("weir_endpoint_ejected", &[web, ("endpoint", &dead)], 1),
            ("weir_endpoint_ejected", &[web, ("endpoint", &good)], 0),
            ("weir_endpoint_ejections_total", &[web, ("endpoint", &failing)], 1),
            ("weir_endpoint_ejections_total", &[web, ("endpoint", &dead)], 1),
            ("weir_endpoint_attempts_total", &[web, ("endpoint", &good), ("outcome", "success")], 12),
            ("weir_endpoint_attempts_total", &[web, ("endpoint", &failing), ("outcome", "failed")], 1),
            ("weir_endpoint_connect_failures_total", &[web, ("endpoint", &dead)], 1),
            ("weir_endpoint_connect_failures_total", &[web], 1),
            ("weir_endpoint_connections_total", &[web, ("endpoint", &good)], 1),
            ("weir_endpoint_connections_open", &[web, ("endpoint", &good)], 1),
            ("weir_cluster_ejections_withheld_total", &[web], 0),
            ("weir_cluster_ejections_total", &[lone], 0),
            ("weir_cluster_endpoints_ejected", &[lone], 0),
            // Two would have been its ejection, were it not the last; the row goes on.
            ("weir_endpoint_consecutive_errors", &[lone], 3),
        ],
    );
    assert!(numbers.sum("weir_cluster_ejections_withheld_total", &[lone]) >= 1, "the last is never ejected");
    for metric in ["weir_operation_first_byte_seconds_count", "weir_operation_duration_seconds_count"] {
        assert_eq!(numbers.sum(metric, &[("listener", "web"), ("operation", "GET")]), 12, "{metric}");
    }
}

fn names_that_lead_nowhere_are_counted() {
    let weir = Weir::start(
        "listeners: { web: { bind: \"127.0.0.1:0\", http: { cluster: nowhere } } }\n\
         clusters: { nowhere: { dns: \"weir-test.invalid:80\" } }\n",
    );
    assert_eq!(ask(&weir, "web"), 503);
    let nowhere = ("cluster", "nowhere");
    let numbers = weir.numbers();
    assert_numbers(
        &numbers,
        &[
            ("weir_cluster_no_endpoint_total", &[nowhere], 1),
            ("weir_cluster_endpoints", &[nowhere], 0),
            ("weir_refusals_total", &[nowhere, ("reason", "no_endpoint")], 1),
        ],
    );
    assert!(numbers.sum("weir_cluster_dns_resolutions_total", &[nowhere, ("result", "failed")]) >= 1);
}

fn connections_are_shared_out() {
    let port = answering("200 OK");
    let weir = Weir::start(&format!(
        "workers: 2\nlisteners: {{ web: {{ bind: \"127.0.0.1:0\", http: {{ cluster: web }} }} }}\n\
         clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    ));
    let open: Vec<TcpStream> =
        (0..60).map(|_| TcpStream::connect(("127.0.0.1", weir.port("web"))).expect("it listens")).collect();
    let numbers = weir.numbers_when("all are there", |n| n.sum("weir_listener_connections_open", &[]) == 60);
    for worker in ["0", "1"] {
        let share = numbers.sum("weir_worker_connections_open", &[("worker", worker)]);
        assert!((20..=40).contains(&share), "worker {worker} has {share}");
    }
    drop(open);
    weir.numbers_when("all are gone", |n| n.sum("weir_worker_connections_open", &[]) == 0);
}

fn long_polls_and_what_is_under_way_are_gauges() {
    let weir = Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        mongod()
    ));
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db"));
    let mut sleeper = python("mongo_dies.py");
    let mut sleeper = Process::start("mongo_dies.py", sleeper.arg(uri).stdout(Stdio::piped()));
    assert_eq!(sleeper.line(), "sleeping");
    // The find, and the driver's monitor, which waits for news.
    let gauges = [
        ("weir_operations_in_flight", 1),
        ("weir_cluster_requests_active", 1),
        ("weir_endpoint_requests_active", 1),
        ("weir_operations_parked", 1),
        ("weir_cluster_parked_active", 1),
        ("weir_endpoint_parked_active", 1),
    ];
    weir.numbers_when("one is under way and one waits", |numbers| {
        gauges.iter().all(|(gauge, wanted)| numbers.sum(gauge, &[]) == *wanted)
    });
    sleeper.signal("KILL");
    let numbers = weir
        .numbers_when("nothing is", |numbers| gauges.iter().all(|(gauge, _)| numbers.sum(gauge, &[]) == 0));
    assert_eq!(numbers.sum("weir_operations_total", &[("operation", "find"), ("result", "client_gone")]), 1);
}

fn slow_operations_are_crowded_and_not_all_logged() {
    let weir = Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db, slow: {{ threshold: 1h, commands: {{ find: 2ms }} }} }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        mongod()
    ));
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db"));
    output(python("mongo_slowly.py").arg(uri).arg("60"));
    let numbers = weir.numbers();
    let logged = weir.log().iter().filter(|entry| entry["message"] == "a slow operation").count() as u64;
    let unlogged = numbers.sum("weir_slow_operations_unlogged_total", &[("protocol", "mongo")]);
    assert_numbers(
        &numbers,
        &[
            ("weir_slow_operations_total", &[("why", "slow")], 60),
            // Eight of a kind are kept.
            ("weir_slow_operations_crowded_total", &[("listener", "db")], 52),
        ],
    );
    assert!(unlogged > 0 && logged + unlogged == 60, "{logged} logged, {unlogged} not");
}

fn lines_that_nobody_reads_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (admin, port) = (net::free_port(), net::free_port());
    let file = folder.path().join("weir.yaml");
    let config = format!(
        "admin: \"127.0.0.1:{admin}\"\nlog: {{ level: trace }}\nlisteners:\n\
         \x20 web: {{ bind: \"127.0.0.1:{port}\", http: {{ routes: [{{ direct_response: {{ status: 200 }} }}] }} }}\n"
    );
    std::fs::write(&file, config).expect("ours");
    // Its errors go into a pipe that nobody empties.
    let mut run = binary();
    let _weir = Process::start("weir", run.arg("run").arg(&file).stderr(Stdio::piped()));
    net::wait_for(admin);
    let dropped = || {
        output(command("h2load").args(["-n", "500", "-c", "1", &format!("http://127.0.0.1:{port}/")]));
        let (_, text) = net::get(std::net::SocketAddr::from(([127, 0, 0, 1], admin)), "/metrics");
        Numbers::parse(&text).sum("weir_log_lines_dropped_total", &[]) > 0
    };
    net::until("lines are dropped, and Weir goes on", dropped);
}
