//! What is shown of the connections that are open, whatever their protocol.

use crate::support::{
    net,
    parts::{mongod_at, python},
    process::{Process, output},
    weir::{Weir, binary},
};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

crate::tests!("connections":
    a_driver_is_shown_with_what_it_says_of_itself,
    other_protocols_are_shown_as_far_as_they_tell,
);

/// Those that are open.
fn connections(weir: &Weir, query: &str) -> (Value, Vec<Value>) {
    let (status, text) = weir.get(&format!("/connections{query}"));
    assert_eq!(status, 200, "{text}");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let rows = all["connections"].as_array().expect("a list").clone();
    (all, rows)
}

/// The one that does operations, of the application's two or three.
fn pooled(weir: &Weir) -> Option<Value> {
    let (_, rows) = connections(weir, "");
    let is_its = |row: &Value| row["application"] == "weir-e2e-stays" && !row["mechanism"].is_null();
    rows.into_iter().find(is_its)
}

fn a_driver_is_shown_with_what_it_says_of_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = tempfile::tempdir().expect("a folder");
    let port = net::free_port();
    let mut mongod = mongod_at(port, data.path());
    let _server = Process::start("mongod", mongod.arg("--auth").stdout(Stdio::null()));
    net::wait_for(port);
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.path().join("weir.pem"), certified.cert.pem()).expect("ours");
    std::fs::write(folder.path().join("weir.key"), certified.signing_key.serialize_pem()).expect("ours");
    let weir = Weir::start_in(
        folder,
        &format!(
            "listeners:\n  db: {{ bind: \"127.0.0.1:0\", tls: {{ certificate: \"@ROOT@/weir.pem\", key: \"@ROOT@/weir.key\" }}, \
             mongo: {{ cluster: db, mode: transparent }} }}\nclusters: {{ db: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
        ),
    );
    let uri = format!("mongodb://127.0.0.1:{}/", weir.port("db"));
    let mut client = python("mongo_stays.py");
    client.args([uri, format!("mongodb://127.0.0.1:{port}/")]);
    let mut client = Process::start("a client", client.stdin(Stdio::piped()).stdout(Stdio::piped()));
    assert_eq!(client.line(), "stays");
    net::until("its operations are counted", || {
        pooled(&weir).is_some_and(|row| row["operations"].as_u64() >= Some(6))
    });
    let row = pooled(&weir).expect("it stays");
    for (key, wanted) in [
        ("listener", Value::from("db")),
        ("protocol", "mongo".into()),
        ("tls", true.into()),
        ("compression", "zstd".into()),
        ("mechanism", "SCRAM-SHA-256".into()),
        ("endpoint", format!("127.0.0.1:{port}").into()),
        ("under_way_for", Value::Null),
    ] {
        assert_eq!(row[key], wanted, "{key}: {row}");
    }
    assert!(row["driver"].as_str().is_some_and(|driver| driver.starts_with("PyMongo")), "{row}");
    assert!(row["driver_version"].as_str().is_some_and(|version| version.starts_with('4')), "{row}");
    assert!(row["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{row}");
    assert!(row["request_bytes"].as_u64() > Some(500) && row["reply_bytes"].as_u64() > Some(200), "{row}");
    assert!(!row.to_string().contains("ada"), "who has authenticated is nobody's business: {row}");
    client.tell("slow");
    net::until("an operation is under way", || {
        pooled(&weir)
            .is_some_and(|row| row["under_way_for"].as_f64() > Some(0.5) && row["idle_for"].is_null())
    });
    let admin = weir.admin().to_string();
    let page = output(binary().args(["top", "--once", "--page", "connections", "--admin", &admin]));
    let line = page.lines().find(|line| line.contains("SCRAM-SHA-256")).unwrap_or_else(|| panic!("{page}"));
    assert!(
        line.contains("weir-e2e-stays") && line.contains("tls SCRAM-SHA-256") && line.contains("zstd"),
        "{page}"
    );
    net::until("it is over", || pooled(&weir).is_some_and(|row| row["under_way_for"].is_null()));
    client.tell("end");
    assert_eq!(client.wait(), Some(0));
    net::until("its connections are gone", || connections(&weir, "").1.is_empty());
}

fn other_protocols_are_shown_as_far_as_they_tell() {
    let echo = net::echo();
    let weir = Weir::start(&format!(
        "workers: 2\nlisteners:\n  raw: {{ bind: \"127.0.0.1:0\", tcp: {{ cluster: echo }} }}\n\
         \x20 web: {{ bind: \"127.0.0.1:0\", http: {{ cluster: echo }} }}\n\
         clusters: {{ echo: {{ endpoints: [\"127.0.0.1:{echo}\"] }} }}\n"
    ));
    let connect =
        |listener: &str| TcpStream::connect(("127.0.0.1", weir.port(listener))).expect("it listens");
    let mut raw = connect("raw");
    raw.write_all(b"twelve bytes").expect("it reads");
    let mut back = [0; 12];
    raw.read_exact(&mut back).expect("it comes back");
    let web = connect("web");
    let find = |stream: &TcpStream| {
        let peer = stream.local_addr().expect("it is bound").to_string();
        connections(&weir, "").1.into_iter().find(|row| row["peer"] == peer.as_str())
    };
    net::until("both are there", || find(&raw).is_some() && find(&web).is_some());
    let row = find(&raw).expect("it is open");
    let endpoint = format!("127.0.0.1:{echo}");
    assert_eq!((row["protocol"].as_str(), row["endpoint"].as_str()), (Some("tcp"), Some(&*endpoint)));
    assert_eq!((row["request_bytes"].as_u64(), row["reply_bytes"].as_u64()), (Some(12), Some(12)));
    assert!(row["idle_for"].is_u64() && row["operations"].is_null() && row["tls"] == false, "{row}");
    let row = find(&web).expect("it is open");
    assert_eq!((row["protocol"].as_str(), row["listener"].as_str()), (Some("http"), Some("web")));
    assert!(row["open_for"].is_u64() && row["idle_for"].is_null() && row["application"].is_null(), "{row}");
    // More than one is shown of, and more than a chunk of slots.
    let many: Vec<_> = (0..300).map(|_| connect("raw")).collect();
    net::until("all are there", || connections(&weir, "").0["open"] == 302);
    let (all, rows) = connections(&weir, "?limit=10");
    assert_eq!((all["open"].as_u64(), all["shown"].as_u64(), rows.len()), (Some(302), Some(10), 10));
    let first: Vec<_> = rows.iter().take(2).filter_map(|row| row["peer"].as_str()).collect();
    for one in [&raw, &web] {
        let peer = one.local_addr().expect("it is bound").to_string();
        assert!(first.contains(&&*peer), "these two have been idle the longest: {rows:#?}");
    }
    for wrong in ["?limit=0", "?limit=4097", "?limit=x", "?l=1"] {
        assert_eq!(weir.get(&format!("/connections{wrong}")).0, 400, "{wrong}");
    }
    drop((many, raw, web));
    net::until("all are gone", || connections(&weir, "").0["open"] == 0);
}
