//! TLS as a database's front needs it: certificates of clients, several names, certificates that change, connections that are
//! passed on as they are.

use crate::support::{
    certificates::Authority,
    net,
    parts::{json, mongod, nginx, node, part, python},
    process::{Process, command, output},
    weir::Weir,
};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

crate::tests!("tls":
    drivers_show_their_certificates,
    certificates_go_by_name_and_sessions_are_resumed,
    http2_shows_its_certificate,
    a_certificate_is_exchanged_under_load,
    x509_users_are_passed_through_beside_others,
    a_replica_set_is_passed_through_by_its_horizons,
);

const HANDSHAKES: &str = "weir_listener_tls_handshakes_total";

fn folder() -> (TempDir, Authority) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    (folder, authority)
}

/// An HTTP server that says `ok`.
fn origin() -> (Process, TempDir, u16) {
    nginx("server { listen 127.0.0.1:@PORT@; location / { return 200 ok; } }", |_| {})
}

fn drivers_show_their_certificates() {
    let (folder, authority) = folder();
    authority.issue("edge", "servers", &["db.test", "127.0.0.1"]);
    authority.issue("app", "apps", &[]);
    let roots = authority.path("root.pem");
    let app = authority.path("app.both");
    let weir = Weir::start_in(
        folder,
        &format!(
            "listeners:\n  db:\n    bind: \"127.0.0.1:0\"\n    tls: {{ certificate: \"@ROOT@/edge.pem\", key: \"@ROOT@/edge.key\", \
             client_certificates: {{ ca: \"@ROOT@/root.pem\" }} }}\n    mongo: {{ cluster: db }}\n\
             clusters: {{ db: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
            mongod()
        ),
    );
    let nobody =
        format!("mongodb://127.0.0.1:{}/?directConnection=true&tls=true&tlsCAFile={roots}", weir.port("db"));
    let somebody = format!("{nobody}&tlsCertificateKeyFile={app}");
    crate::mongo::compare_through(&weir, &somebody, &mut python("mongo.py"), "py_tls", None);
    assert!(weir.numbers().sum(HANDSHAKES, &[("result", "ok")]) > 0);
    assert_eq!(weir.numbers().sum(HANDSHAKES, &[("result", "failed")]), 0);
    for mut client in [python("mongo_tls.py"), node("mongo_tls.js")] {
        let before = weir.numbers().sum(HANDSHAKES, &[("reason", "no_certificate")]);
        let answer = json(client.arg(&nobody));
        assert!(answer["error"].as_str().is_some_and(|error| error.contains("ServerSelection")), "{answer}");
        weir.numbers_when("refusals are counted", |numbers| {
            numbers.sum(HANDSHAKES, &[("reason", "no_certificate")]) > before
        });
    }
    // The Node.js driver, by a name of the certificate.
    let named = somebody.replace("127.0.0.1", "db.test");
    for mut client in [python("mongo_tls.py"), node("mongo_tls.js")] {
        assert_eq!(json(client.arg(&named))["users"], Value::Array(Vec::new()));
    }
}

fn certificates_go_by_name_and_sessions_are_resumed() {
    let (folder, authority) = folder();
    authority.issue("first", "servers", &["first.test"]);
    authority.issue("second", "servers", &["second.test", "*.wild.test"]);
    let (_nginx, _origin, port) = origin();
    let roots = authority.path("root.pem");
    let weir = Weir::start_in(
        folder,
        &format!(
            "listeners:\n  web:\n    bind: \"127.0.0.1:0\"\n    tls:\n      certificate: \"@ROOT@/first.pem\"\n      key: \"@ROOT@/first.key\"\n\
             \x20     certificates: [{{ certificate: \"@ROOT@/second.pem\", key: \"@ROOT@/second.key\" }}]\n    http: {{ cluster: web }}\n\
             clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
        ),
    );
    let mut client = python("tls_names.py");
    client.arg(weir.port("web").to_string()).arg(roots).args([
        "first.test",
        "second.test",
        "a.wild.test",
        "other.test",
    ]);
    let answer = json(&mut client);
    let second = serde_json::json!(["second.test", "*.wild.test"]);
    assert_eq!(answer["shown"]["first.test"], serde_json::json!(["first.test"]));
    assert_eq!(answer["shown"]["second.test"], second);
    assert_eq!(answer["shown"]["a.wild.test"], second);
    let mismatch = answer["shown"]["other.test"].as_str().expect("refused");
    assert!(mismatch.contains("Hostname mismatch"), "{mismatch}");
    for name in ["first.test", "second.test", "a.wild.test"] {
        // Of TLS 1.2 and of 1.3: the first handshake, and the one that resumes.
        assert_eq!(answer["resumed"][name], serde_json::json!([false, true, false, true]), "{name}");
    }
    let numbers = weir.numbers();
    assert_eq!(numbers.sum(HANDSHAKES, &[("result", "ok")]), 6);
    assert_eq!(numbers.sum(HANDSHAKES, &[("result", "resumed")]), 6);
    assert_eq!(numbers.sum(HANDSHAKES, &[("reason", "refused_by_client")]), 2);
}

fn http2_shows_its_certificate() {
    let (folder, authority) = folder();
    authority.issue("edge", "servers", &["edge.test"]);
    authority.issue("me", "people", &[]);
    let (_nginx, _origin, port) = origin();
    let weir = Weir::start_in(
        folder,
        &format!(
            "listeners:\n  web:\n    bind: \"127.0.0.1:0\"\n    tls: {{ certificate: \"@ROOT@/edge.pem\", key: \"@ROOT@/edge.key\", \
             client_certificates: {{ ca: \"@ROOT@/root.pem\" }} }}\n    http: {{ cluster: web }}\n\
             clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
        ),
    );
    let at = weir.port("web");
    let ask = |version: &str| {
        let mut curl = command("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            version,
            "--write-out",
            " %{http_version} %{http_code}",
        ]);
        curl.args([
            "--cacert",
            &authority.path("root.pem"),
            "--resolve",
            &format!("edge.test:{at}:127.0.0.1"),
        ]);
        curl.arg(format!("https://edge.test:{at}/"));
        curl
    };
    for (version, expected) in [("--http2", "ok 2 200"), ("--http1.1", "ok 1.1 200")] {
        let shown = output(ask(version).args([
            "--cert",
            &authority.path("me.pem"),
            "--key",
            &authority.path("me.key"),
        ]));
        assert_eq!(shown, expected);
        let refused = ask(version).output().expect("curl runs");
        assert!(!refused.status.success(), "{refused:?}");
    }
    let numbers = weir.numbers_when("both are counted", |numbers| {
        numbers.sum(HANDSHAKES, &[("result", "failed"), ("reason", "no_certificate")]) == 2
    });
    assert_eq!(numbers.sum(HANDSHAKES, &[("result", "ok")]), 2);
    assert_eq!(numbers.sum("weir_operations_total", &[("result", "ok")]), 2);
}

fn a_certificate_is_exchanged_under_load() {
    let (folder, authority) = folder();
    let root = folder.path().to_path_buf();
    let at = |file: &str| root.join(file);
    // As Kubernetes mounts a secret: what is read is a link through a link that is swapped.
    let version = |n: u32| {
        std::fs::create_dir(at(&format!("v{n}"))).expect("ours");
        authority.issue(&format!("v{n}/tls"), "servers", &["edge.test"]);
        std::os::unix::fs::symlink(format!("v{n}"), at("new")).expect("ours");
        std::fs::rename(at("new"), at("data")).expect("ours");
    };
    version(0);
    for file in ["tls.pem", "tls.key"] {
        std::os::unix::fs::symlink(Path::new("data").join(file), at(file)).expect("ours");
    }
    let (pem, key) = (at("v5/tls.pem"), at("v5/tls.key"));
    let (_nginx, _origin, port) = origin();
    let roots = authority.path("root.pem");
    let weir = Weir::start_in(
        folder,
        &format!(
            "listeners: {{ web: {{ bind: \"127.0.0.1:0\", tls: {{ certificate: \"@ROOT@/tls.pem\", key: \"@ROOT@/tls.key\" }}, http: {{ \
             cluster: web }} }} }}\nclusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
        ),
    );
    let mut busy = python("tls_busy.py");
    busy.args([&weir.port("web").to_string(), &roots, "edge.test", "4"]);
    let mut busy = Process::start("tls_busy.py", busy.stdin(Stdio::piped()).stdout(Stdio::piped()));
    assert_eq!(busy.line(), "busy");
    let count = |result: &str| weir.numbers().sum("weir_certificate_reloads_total", &[("result", result)]);
    let handshakes = || weir.numbers().sum(HANDSHAKES, &[("result", "ok")]);
    let some_more = || {
        let before = handshakes();
        net::until("connections are made", || handshakes() > before + 8);
    };
    some_more();
    // What rcgen says when it is not told: the first of January 4096.
    let ends = weir
        .numbers()
        .sum("weir_certificate_expires_timestamp_seconds", &[("side", "listener"), ("name", "web")]);
    assert_eq!(ends, 67_090_118_400);
    for n in 1..=5 {
        version(n);
        net::until("the certificate is exchanged", || count("ok") == u64::from(n));
        some_more();
    }
    // One file after the other, and with time between them.
    authority.issue("v6", "servers", &["edge.test"]);
    std::fs::copy(authority.path("v6.pem"), &pem).expect("ours");
    net::until("a pair that does not fit is not taken", || count("failed") == 1);
    some_more();
    std::fs::copy(authority.path("v6.key"), &key).expect("ours");
    net::until("the pair fits", || count("ok") == 6);
    some_more();
    busy.end_of_input();
    let answer: Value = serde_json::from_str(&busy.line()).expect("JSON");
    assert_eq!(answer["failed"], 0, "{answer}");
    assert_eq!(answer["certificates"], 7, "{answer}");
    assert_eq!(weir.numbers().sum(HANDSHAKES, &[("result", "failed")]), 0);
    let refused =
        |entry: &Value| entry["message"].as_str().is_some_and(|text| text.contains("not the key of"));
    assert!(weir.log().iter().any(refused), "{:#?}", weir.log());
}

/// A mongod that speaks nothing but TLS, to clients with a certificate.
fn tls_mongod(authority: &Authority, more: &[&str]) -> (Process, TempDir, u16) {
    let folder = tempfile::tempdir().expect("a folder");
    let port = net::free_port();
    let mut mongod = command(part("mongod/fiftyone/db/bin/mongod"));
    mongod.args(["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]);
    mongod.args(["--port", &port.to_string(), "--dbpath"]).arg(folder.path());
    mongod.args(["--tlsMode", "requireTLS", "--tlsCAFile", &authority.path("root.pem")]);
    mongod.args(["--tlsCertificateKeyFile", &authority.path("mongod.both")]);
    mongod.args(["--setParameter", "authenticationMechanisms=SCRAM-SHA-256,MONGODB-X509"]);
    let process = Process::start("mongod", mongod.args(more).stdout(Stdio::null()));
    net::wait_for(port);
    (process, folder, port)
}

fn x509_users_are_passed_through_beside_others() {
    let (folder, authority) = folder();
    authority.issue("mongod", "servers", &["mongod.test", "x509.test"]);
    authority.issue("edge", "edges", &["db.test"]);
    authority.issue("weir", "proxies", &[]);
    authority.issue("app", "apps", &[]);
    let (_mongod, _data, port) = tls_mongod(&authority, &[]);
    let (roots, app) = (authority.path("root.pem"), authority.path("app.both"));
    let weir = Weir::start_in(
        folder,
        &format!(
            "listeners:\n  db:\n    bind: \"127.0.0.1:0\"\n    tls:\n      certificate: \"@ROOT@/edge.pem\"\n      key: \"@ROOT@/edge.key\"\n\
             \x20     passthrough: [{{ sni: x509.test, cluster: as-it-is }}]\n    mongo: {{ cluster: again }}\n\
             clusters:\n  as-it-is: {{ endpoints: [\"127.0.0.1:{port}\"] }}\n\
             \x20 again:\n    endpoints: [\"127.0.0.1:{port}\"]\n    tls: {{ ca: \"@ROOT@/root.pem\", sni: mongod.test, certificate: \
             \"@ROOT@/weir.pem\", key: \"@ROOT@/weir.key\" }}\n"
        ),
    );
    let uri = |host: &str, more: &str| {
        format!(
            "mongodb://{host}:{}/?directConnection=true&tls=true&tlsCAFile={roots}&tlsCertificateKeyFile={app}{more}",
            weir.port("db")
        )
    };
    let x509 = "&authMechanism=MONGODB-X509&authSource=$external";
    let subject = "CN=app,OU=apps";
    let terminated = json(python("mongo_tls.py").arg(uri("db.test", "")).arg(subject));
    assert_eq!(terminated["users"], Value::Array(Vec::new()), "nobody in particular: {terminated}");
    for mut client in [python("mongo_tls.py"), node("mongo_tls.js")] {
        let passed = json(client.arg(uri("x509.test", x509)));
        assert_eq!(passed["users"], serde_json::json!([subject]), "{passed}");
    }
    // Where Weir terminates TLS the server sees Weir's certificate, which is no user's.
    for mut client in [python("mongo_tls.py"), node("mongo_tls.js")] {
        let answer = json(client.arg(uri("db.test", x509)));
        assert!(answer["says"].as_str().is_some_and(|says| says.contains("CN=weir,OU=proxies")), "{answer}");
    }
    let numbers = weir.numbers_when("connections have ended", |numbers| {
        numbers.sum("weir_listener_connections_open", &[]) == 0
    });
    let passed = [("listener", "db"), ("cluster", "as-it-is"), ("protocol", "tcp")];
    let connections = numbers.sum("weir_operations_total", &passed);
    assert!(connections >= 2, "{connections}");
    assert_eq!(numbers.sum(HANDSHAKES, &[("result", "passed")]), connections);
    let inserts =
        [("cluster", "again"), ("protocol", "mongo"), ("operation", "insert"), ("resource", "tls.things")];
    assert_eq!(numbers.sum("weir_operations_total", &inserts), 1);
    assert!(
        numbers.sum("weir_cluster_tls_handshakes_total", &[("cluster", "again"), ("result", "resumed")]) > 0
    );
    assert_eq!(numbers.sum("weir_cluster_tls_handshakes_total", &[("cluster", "as-it-is")]), 0);
}

/// What Weir cannot rewrite the servers say by themselves, to who asks by such a name.
fn a_replica_set_is_passed_through_by_its_horizons() {
    let (folder, authority) = folder();
    authority.issue("mongod", "servers", &["127.0.0.1", "m1.test", "m2.test"]);
    authority.issue("app", "apps", &[]);
    let (roots, app) = (authority.path("root.pem"), authority.path("app.both"));
    let options = ["--replSet", "horizons", "--oplogSize", "64"];
    let (_first, _data, one) = tls_mongod(&authority, &options);
    let (_second, _more_data, two) = tls_mongod(&authority, &options);
    let weir = Weir::start_in(
        folder,
        &format!(
            "listeners:\n  db:\n    bind: \"127.0.0.1:0\"\n    tls: {{ passthrough: [{{ sni: m1.test, cluster: m1 }}, {{ sni: m2.test, \
             cluster: m2 }}] }}\n    tcp: {{ cluster: m1 }}\n\
             clusters:\n  m1: {{ endpoints: [\"127.0.0.1:{one}\"] }}\n  m2: {{ endpoints: [\"127.0.0.1:{two}\"] }}\n"
        ),
    );
    let at = weir.port("db");
    let mut initiate = python("mongo_horizons.py");
    initiate.args([&roots, &app, &format!("{one}=m1.test:{at}"), &format!("{two}=m2.test:{at}")]);
    assert_eq!(output(&mut initiate).trim(), "ready");
    for seed in ["m1.test", "m2.test"] {
        let uri = format!(
            "mongodb://{seed}:{at}/?replicaSet=horizons&tls=true&tlsCAFile={roots}&tlsCertificateKeyFile={app}"
        );
        let answer = json(python("mongo_tls.py").arg(&uri));
        assert_eq!(
            answer["nodes"],
            serde_json::json!([format!("m1.test:{at}"), format!("m2.test:{at}")]),
            "{answer}"
        );
        assert!(json(node("mongo_tls.js").arg(&uri))["users"].is_array());
    }
    // Nobody else is let in: there is no certificate to show.
    let mut direct = python("mongo_tls.py");
    direct.arg(format!("mongodb://other.test:{at}/?directConnection=true&tls=true&tlsCAFile={roots}"));
    assert!(json(&mut direct)["error"].is_string());
    let numbers = weir.numbers();
    assert!(numbers.sum(HANDSHAKES, &[("reason", "unknown_name")]) > 0);
    for cluster in ["m1", "m2"] {
        assert!(numbers.sum("weir_cluster_connections_total", &[("cluster", cluster)]) > 0, "{cluster}");
    }
}
