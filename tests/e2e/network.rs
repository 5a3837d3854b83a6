//! The network side of listeners and clusters with real clients and servers: Unix sockets, IPv6, PROXY protocol headers, source
//! lists, limits, and many clients at once.

use crate::support::{
    net,
    parts::{json, mongod, nginx, node, part, python},
    process::{Process, command, output},
    weir::Weir,
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Stdio,
};

crate::tests!("network":
    drivers_and_servers_on_unix_sockets,
    curl_over_a_unix_socket_with_and_without_tls,
    a_killed_weir_leaves_a_socket_that_the_next_one_takes,
    http_over_ipv6,
    a_server_over_ipv6,
    a_replica_set_over_ipv6,
    headers_are_read_before_tls_and_http,
    nginx_takes_our_headers,
    a_database_behind_a_load_balancer,
    sources_and_addresses_are_limited,
    an_application_has_so_many_connections,
    a_storm_is_ridden_out,
);

/// A mongod of the test's own, with these further arguments.
fn mongod_with(folder: &Path, arguments: &[&str]) -> (Process, u16) {
    let port = net::free_port();
    let data = folder.join("data");
    std::fs::create_dir_all(&data).expect("the folder is ours");
    let mut mongod = command(part("mongod/fiftyone/db/bin/mongod"));
    mongod.args(["--wiredTigerCacheSizeGB", "0.25", "--port", &port.to_string(), "--dbpath"]).arg(&data);
    mongod.args(arguments).stdout(Stdio::null());
    (Process::start("mongod", &mut mongod), port)
}

/// How often a client says that it ran a command, whatever on.
fn ran(printed: &serde_json::Value, name: &str) -> u64 {
    let rows = printed["counted"].as_array().expect("a list").iter();
    let count =
        |row: &serde_json::Value| row.as_array().and_then(|row| row.last()?.as_u64()).expect("a count");
    rows.filter(|row| row[0] == name).map(count).sum()
}

fn encoded(path: &Path) -> String {
    path.display().to_string().replace('/', "%2F")
}

fn drivers_and_servers_on_unix_sockets() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().display().to_string();
    let arguments = ["--bind_ip", "127.0.0.1", "--unixSocketPrefix", &here];
    let (_mongod, port) = mongod_with(folder.path(), &arguments);
    net::wait_for(port);
    let mut weir = Weir::start(&format!(
        "workers: 2\nlisteners: {{ db: {{ bind: \"unix:{here}/weir.sock\", mongo: {{ cluster: db }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"unix:{here}/mongodb-{port}.sock\"] }} }}\n"
    ));
    let socket = folder.path().join("weir.sock");
    let uri = format!("mongodb://{}/?directConnection=true", encoded(&socket));
    let printed = json(python("mongo.py").arg(&uri).arg("unix"));
    let inserts = ran(&printed, "insert");
    assert!(inserts > 0, "{printed}");
    let numbers = weir.numbers_when("all of it is counted", |numbers| {
        numbers.sum("weir_operations_total", &[("operation", "insert")]) == inserts
    });
    assert!(
        numbers.sum(
            "weir_endpoint_connections_total",
            &[("endpoint", &format!("unix:{here}/mongodb-{port}.sock"))]
        ) > 0
    );
    let printed = json(node("mongo.js").arg(&uri).arg("unixjs"));
    assert!(ran(&printed, "insert") > 0, "{printed}");
    weir.process().signal("TERM");
    assert_eq!(weir.process().wait(), Some(0));
    assert!(!socket.exists(), "it is removed");
}

/// An nginx that says what it was told of the client.
fn echo(listen: &str) -> (Process, tempfile::TempDir, u16) {
    nginx(
        &format!(
            "server {{ listen {listen}; location / {{ return 200 \"$http_x_forwarded_for|$proxy_protocol_addr|$remote_addr\"; }} }}"
        ),
        |_| {},
    )
}

fn curl() -> std::process::Command {
    let mut curl = command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "30"]);
    curl
}

fn with_certificate() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.path().join("edge.pem"), certified.cert.pem()).expect("ours");
    std::fs::write(folder.path().join("edge.key"), certified.signing_key.serialize_pem()).expect("ours");
    folder
}

fn curl_over_a_unix_socket_with_and_without_tls() {
    let (_nginx, _folder, port) = echo("127.0.0.1:@PORT@");
    let folder = with_certificate();
    let (plain, secure) = (folder.path().join("plain.sock"), folder.path().join("secure.sock"));
    let certificate = folder.path().join("edge.pem");
    let weir = Weir::start_in(
        folder,
        &format!(
            "listeners:\n  plain: {{ bind: \"unix:@ROOT@/plain.sock\", http: {{ cluster: web }} }}\n  \
             secure: {{ bind: \"unix:@ROOT@/secure.sock\", tls: {{ certificate: edge.pem, key: edge.key }}, http: {{ cluster: web }} }}\n\
             clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
        ),
    );
    let said = output(curl().arg("--unix-socket").arg(plain).arg("http://localhost/"));
    assert_eq!(said, "||127.0.0.1");
    for version in ["--http1.1", "--http2"] {
        let mut curl = curl();
        curl.arg(version).arg("--unix-socket").arg(&secure).arg("--cacert").arg(&certificate);
        assert_eq!(output(curl.arg("https://localhost/")), "||127.0.0.1", "{version}");
    }
    let numbers = weir.numbers();
    assert_eq!(numbers.sum("weir_listener_connections_total", &[("listener", "secure")]), 2);
    let (_, listeners) = weir.get("/listeners");
    assert!(listeners.contains("unix:/"), "{listeners}");
}

fn a_killed_weir_leaves_a_socket_that_the_next_one_takes() {
    let (_nginx, _folder, port) = echo("127.0.0.1:@PORT@");
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("weir.sock");
    let config = format!(
        "listeners: {{ web: {{ bind: \"unix:{}\", http: {{ cluster: web }} }} }}\n\
         clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n",
        socket.display()
    );
    let get = || output(curl().arg("--unix-socket").arg(&socket).arg("http://localhost/"));
    let mut first = Weir::start(&config);
    get();
    first.process().signal("KILL");
    assert_eq!(first.process().wait(), None);
    assert!(socket.exists());
    let _second = Weir::start(&config);
    assert_eq!(get(), "||127.0.0.1");
    // A third one on the same path is an error, and disturbs nobody.
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, &config).expect("ours");
    let third = crate::support::weir::binary().arg("run").arg(&file).output().expect("weir runs");
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert_eq!(third.status.code(), Some(1), "{said}");
    assert!(said.contains("somebody listens there"), "{said}");
    assert_eq!(get(), "||127.0.0.1");
}

fn http_over_ipv6() {
    let (_nginx, _folder, port) = echo("[::1]:@PORT@ ipv6only=on; listen 127.0.0.1:@PORT@");
    let weir = Weir::start(&format!(
        "listeners:\n  one: {{ bind: \"[::1]:0\", http: {{ cluster: web }} }}\n  all: {{ bind: \"[::]:0\", http: {{ cluster: web }} }}\n\
         clusters: {{ web: {{ endpoints: [\"[::1]:{port}\"] }} }}\n"
    ));
    for listener in ["one", "all"] {
        let url = format!("http://[::1]:{}/", weir.port(listener));
        assert_eq!(output(curl().arg(url)), "::1||::1", "{listener}");
    }
    // `[::]` is IPv6 alone: IPv4 can have a listener of its own on the same port.
    assert!(TcpStream::connect(("127.0.0.1", weir.port("all"))).is_err());
}

fn a_server_over_ipv6() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_mongod, port) = mongod_with(folder.path(), &["--ipv6", "--bind_ip", "::1", "--nounixsocket"]);
    net::until("mongod listens", || TcpStream::connect(("::1", port)).is_ok());
    let weir = Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"[::1]:0\", mongo: {{ cluster: db }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"[::1]:{port}\"] }} }}\n"
    ));
    let uri = format!("mongodb://[::1]:{}/?directConnection=true", weir.port("db"));
    for client in [python("mongo.py").arg(&uri).arg("v6"), node("mongo.js").arg(&uri).arg("v6js")] {
        let printed = json(client);
        assert!(ran(&printed, "insert") > 0, "{printed}");
    }
    assert!(weir.numbers().sum("weir_operations_total", &[("operation", "insert"), ("result", "ok")]) > 0);
}

fn a_replica_set_over_ipv6() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["--ipv6", "--bind_ip", "::1", "--nounixsocket", "--replSet", "six", "--oplogSize", "64"];
    let (_mongod, port) = mongod_with(folder.path(), &arguments);
    net::until("mongod listens", || TcpStream::connect(("::1", port)).is_ok());
    let first = net::free_range(4);
    let weir = Weir::start(&format!(
        "listeners:\n  db:\n    bind: \"[::1]:{first}\"\n    \
         mongo: {{ cluster: db, advertise: \"::1\", member_ports: {first}-{} }}\n\
         clusters: {{ db: {{ endpoints: [\"[::1]:{port}\"] }} }}\n",
        first + 3
    ));
    // The set is made through Weir, by its own address; then drivers find the member at Weir's, with and without a set's name.
    let printed = json(python("mongo_six.py").arg(format!("[::1]:{port}")).arg(format!("[::1]:{first}")));
    assert_eq!(printed["hosts"], serde_json::json!([format!("[::1]:{first}")]), "{printed}");
    assert_eq!(printed["found"], 3, "{printed}");
    let numbers = weir.numbers();
    assert_eq!(numbers.sum("weir_operations_total", &[("operation", "insert"), ("result", "ok")]), 3);
    assert!(numbers.sum("weir_mongo_hellos_total", &[("result", "rewritten")]) > 0);
}

fn headers_are_read_before_tls_and_http() {
    let (_nginx, _folder, port) = echo("127.0.0.1:@PORT@");
    let folder = with_certificate();
    let certificate = folder.path().join("edge.pem");
    let weir = Weir::start_in(
        folder,
        &format!(
            "listeners:\n  plain: {{ bind: \"127.0.0.1:0\", proxy_protocol: {{ from: [127.0.0.1] }}, http: {{ cluster: web }} }}\n  \
             secure:\n    bind: \"127.0.0.1:0\"\n    proxy_protocol: {{}}\n    tls: {{ certificate: edge.pem, key: edge.key }}\n    http: {{ cluster: web }}\n\
             clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
        ),
    );
    // The address in the header is the client's.
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let at = SocketAddr::from(([127, 0, 0, 1], weir.port("plain")));
    let headed = format!("PROXY TCP4 192.0.2.7 192.0.2.8 4000 80\r\n{request}");
    assert_eq!(net::exchange(at, &headed), (200, "192.0.2.7||127.0.0.1".to_owned()));
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    binary.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9].repeat(2));
    binary.extend([0, 1, 0, 2]);
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.write_all(&binary).expect("it reads");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("it answers");
    assert!(reply.ends_with("2001:db8::9||127.0.0.1"), "{reply}");
    // curl says where it comes from itself, then begins with TLS.
    let url = format!("https://localhost:{}/", weir.port("secure"));
    let mut secure = curl();
    secure.args(["--haproxy-protocol", "--ipv4", "--cacert"]).arg(&certificate).arg(&url);
    assert_eq!(output(&mut secure), "127.0.0.1||127.0.0.1");
    let without =
        curl().args(["--ipv4", "--cacert"]).arg(&certificate).arg(&url).output().expect("curl runs");
    assert!(!without.status.success());
    let numbers = weir.numbers();
    assert_eq!(
        numbers.sum("weir_listener_proxy_headers_total", &[("listener", "plain"), ("result", "client")]),
        2
    );
    assert_eq!(
        numbers.sum("weir_listener_proxy_headers_total", &[("listener", "secure"), ("result", "client")]),
        1
    );
    assert_eq!(
        numbers.sum("weir_listener_proxy_headers_total", &[("listener", "secure"), ("result", "absent")]),
        1
    );
}

fn nginx_takes_our_headers() {
    let (_nginx, _folder, port) = echo("127.0.0.1:@PORT@ proxy_protocol");
    let clusters: String = ["v1", "v2"]
        .iter()
        .map(|version| {
            format!("  {version}: {{ endpoints: [\"127.0.0.1:{port}\"], proxy_protocol: {version} }}\n")
        })
        .collect();
    let weir = Weir::start(&format!(
        "listeners:\n  tcp1: {{ bind: \"127.0.0.1:0\", tcp: {{ cluster: v1 }} }}\n  tcp2: {{ bind: \"127.0.0.1:0\", tcp: {{ cluster: v2 }} }}\n  \
         http1: {{ bind: \"127.0.0.1:0\", http: {{ cluster: v1 }} }}\n  http2: {{ bind: \"127.0.0.1:0\", http: {{ cluster: v2 }} }}\n\
         clusters:\n{clusters}"
    ));
    for listener in ["tcp1", "tcp2"] {
        // Not the address that connections from Weir have.
        let url = format!("http://127.0.0.1:{}/", weir.port(listener));
        let said = output(curl().args(["--interface", "127.0.0.9"]).arg(url));
        assert_eq!(said, "|127.0.0.9|127.0.0.1", "{listener}");
    }
    for listener in ["http1", "http2"] {
        // Clients share the connection: it is nobody's, and each client is in its own request.
        for client in ["127.0.0.9", "127.0.0.10", "127.0.0.9"] {
            let url = format!("http://127.0.0.1:{}/", weir.port(listener));
            let said = output(curl().args(["--interface", client]).arg(url));
            assert_eq!(said, format!("{client}||127.0.0.1"), "{listener}");
        }
    }
    let log = weir.log();
    assert!(
        log.iter()
            .any(|entry| entry["level"] == "WARN" && entry.to_string().contains("share its connections")),
        "{log:#?}"
    );
}

fn a_database_behind_a_load_balancer() {
    // Two Weirs: the first one says on whose behalf it connects, the second one believes it.
    let server = mongod();
    let behind = Weir::start(&format!(
        "listeners:\n  db:\n    bind: \"127.0.0.1:0\"\n    proxy_protocol: {{ from: [127.0.0.1] }}\n    source: {{ deny: [127.0.0.66] }}\n    mongo: {{ cluster: db }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{server}\"] }} }}\n"
    ));
    let before = Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{}\"], proxy_protocol: v2 }} }}\n",
        behind.port("db")
    ));
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", before.port("db"));
    let printed = json(python("mongo.py").arg(&uri).arg("balanced"));
    let inserts = ran(&printed, "insert");
    assert!(inserts > 0);
    let numbers =
        behind.numbers_soon(|n| n.sum("weir_operations_total", &[("operation", "insert")]) == inserts);
    assert_eq!(numbers.sum("weir_operations_total", &[("operation", "insert")]), inserts);
    assert!(numbers.sum("weir_listener_proxy_headers_total", &[("result", "client")]) > 0);
    assert_eq!(numbers.sum("weir_listener_connections_refused_total", &[]), 0);
    // It is the client's address that is looked up, not the balancer's.
    let mut denied = connect_from("127.0.0.66", before.port("db"));
    denied.write_all(&hello()).expect("it reads");
    let mut reply = Vec::new();
    denied.read_to_end(&mut reply).ok();
    behind.numbers_when("the client is refused", |n| {
        n.sum("weir_listener_connections_refused_total", &[("reason", "source")]) > 0
    });
}

/// `hello`, as an `OP_MSG`.
fn hello() -> Vec<u8> {
    let document = b"\x1e\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";
    let mut message = Vec::new();
    let length = i32::try_from(16 + 5 + document.len()).expect("short");
    for word in [length, 1, 0, 2013] {
        message.extend(word.to_le_bytes());
    }
    message.extend([0; 5]);
    message.extend(document);
    message
}

/// Connects from another address of this host.
fn connect_from(address: &str, port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let bound: SocketAddr = format!("{address}:0").parse().expect("an address");
    socket.bind(&bound.into()).expect("an address of ours");
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("it listens");
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a timeout can be set");
    stream
}

fn sources_and_addresses_are_limited() {
    let server = mongod();
    let weir = Weir::start(&format!(
        "listeners:\n  db:\n    bind: \"127.0.0.1:0\"\n    source: {{ allow: [127.0.0.0/24], deny: [127.0.0.66] }}\n    \
         max_connections_per_address: 3\n    accept_rate: {{ count: 20, burst: 1 }}\n    mongo: {{ cluster: db }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{server}\"] }} }}\n"
    ));
    let greeted = |stream: &mut TcpStream| {
        let mut length = [0; 4];
        stream.write_all(&hello()).is_ok() && stream.read_exact(&mut length).is_ok()
    };
    let port = weir.port("db");
    let mut standing: Vec<TcpStream> = (0..3).map(|_| connect_from("127.0.0.5", port)).collect();
    assert!(standing.iter_mut().all(greeted));
    assert!(!greeted(&mut connect_from("127.0.0.5", port)));
    assert!(greeted(&mut connect_from("127.0.0.6", port)));
    assert!(!greeted(&mut connect_from("127.0.0.66", port)));
    assert!(!greeted(&mut connect_from("127.0.1.1", port)));
    let numbers = weir.numbers();
    let refused = |reason| numbers.sum("weir_listener_connections_refused_total", &[("reason", reason)]);
    assert_eq!((refused("source"), refused("max_connections_per_address")), (2, 1));
    assert!(numbers.sum("weir_listener_connections_delayed_total", &[]) > 0);
    assert!(numbers.sum("weir_connections_max", &[]) > 0);
}

fn an_application_has_so_many_connections() {
    let server = mongod();
    let config = |limit: &str| {
        format!(
            "workers: 2\nlisteners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db{limit} }} }} }}\n\
             clusters: {{ db: {{ endpoints: [\"127.0.0.1:{server}\"] }} }}\n"
        )
    };
    let weir = Weir::start(&config(", max_connections_per_application: 6"));
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db"));
    let crowd = |client: &mut std::process::Command| {
        let mut crowd = Process::start("crowd", client.arg(&uri).args(["20", "4"]).stdout(Stdio::piped()));
        // While they crowd, the others are none the worse for it.
        let mut most = 0;
        net::until("the crowd has gone", || {
            let open = weir.numbers().sum("weir_mongo_connections_open", &[("application", "crowd")]);
            most = most.max(open);
            !crowd.runs()
        });
        let printed: serde_json::Value = serde_json::from_str(&crowd.rest()).expect("JSON");
        // One that is turned away is open for the moment that it takes to close it.
        (most, printed)
    };
    let (most, printed) = crowd(&mut python("mongo_crowd.py"));
    assert!(
        printed["done"].as_u64().is_some_and(|done| done > 500),
        "it goes on with what it has: {printed}"
    );
    assert!(most >= 6, "{most}");
    let refused =
        |weir: &Weir| weir.numbers().sum("weir_mongo_connections_refused_total", &[("application", "crowd")]);
    let first = refused(&weir);
    assert!(first > 0 && first < 5_000, "turned away {first} times in four seconds: it backs off");
    let (_, printed) = crowd(&mut node("mongo_crowd.js"));
    assert!(printed["done"].as_u64().is_some_and(|done| done > 30), "{printed}");
    // An old one pauses and comes back; its last ping is alone and goes through.
    let (_, printed) = crowd(python("mongo_crowd.py").env("PYTHONPATH", part("pymongo46")));
    assert!(printed["done"].as_u64().is_some_and(|done| done > 0), "{printed}");
    // They are operations that were refused, and counted as such.
    let numbers = weir.numbers();
    let shed = numbers.sum("weir_refusals_total", &[("reason", "max_connections")]);
    assert_eq!(shed, numbers.sum("weir_mongo_connections_refused_total", &[]));
    assert_eq!(numbers.sum("weir_operations_total", &[("result", "shed"), ("operation", "ping")]), 0);
    // Exactly so many, on two workers, whoever stood there before a reload.
    let greeted = |stream: &mut TcpStream| {
        let mut length = [0; 4];
        stream.write_all(&hello()).is_ok() && stream.read_exact(&mut length).is_ok()
    };
    let mut standing: Vec<TcpStream> = (0..6).map(|_| connect_from("127.0.0.1", weir.port("db"))).collect();
    assert!(standing.iter_mut().all(greeted), "connections without a name");
    assert!(!greeted(&mut connect_from("127.0.0.1", weir.port("db"))));
    weir.reload(&config(""));
    assert!(greeted(&mut connect_from("127.0.0.1", weir.port("db"))));
    weir.reload(&config(", max_connections_per_application: 7"));
    standing.push(connect_from("127.0.0.1", weir.port("db")));
    net::until("the one in between is gone", || greeted(&mut connect_from("127.0.0.1", weir.port("db"))));
    weir.reload(&config(", max_connections_per_application: 6"));
    assert!(!greeted(&mut connect_from("127.0.0.1", weir.port("db"))), "those from before the reload count");
    drop(standing);
}

fn a_storm_is_ridden_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_mongod, server) = mongod_with(folder.path(), &["--bind_ip", "127.0.0.1", "--nounixsocket"]);
    net::wait_for(server);
    let weir = Weir::start(&format!(
        "workers: 2\nlisteners:\n  db:\n    bind: \"127.0.0.1:0\"\n    max_connections: 1500\n    \
         accept_rate: {{ count: 400, per: 1s, burst: 100 }}\n    mongo: {{ cluster: db }}\n\
         clusters:\n  db:\n    endpoints: [\"127.0.0.1:{server}\"]\n    \
         circuit_breaker: {{ max_connections: 150, max_pending: 20 }}\n"
    ));
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db"));
    // Real clients that are there before it, and go on all the while.
    let mut regulars: Vec<Process> = (0..3)
        .map(|_| {
            let mut busy = python("mongo_busy.py");
            Process::start("mongo_busy.py", busy.args([&uri, "14"]).stdout(Stdio::piped()))
        })
        .collect();
    weir.numbers_when("the regulars are at work", |n| {
        n.sum("weir_operations_total", &[("operation", "insert")]) > 30
    });
    let mut storm = python("mongo_storm.py");
    storm.args([&weir.port("db").to_string(), &server.to_string(), "5000", "150"]).stdout(Stdio::piped());
    let mut storm = Process::start("mongo_storm.py", &mut storm);
    let mut most = 0;
    while storm.runs() {
        most = most.max(weir.numbers().sum("weir_cluster_connections_open", &[]));
    }
    let printed: serde_json::Value = serde_json::from_str(&storm.rest()).expect("JSON");
    assert_eq!(printed["through"], 5000, "{printed}");
    assert!((50..=150).contains(&most), "{most} connections to the server");
    // The server still counts those that Weir has closed until it has noticed.
    assert!(printed["seen"].as_u64().is_some_and(|seen| (50..=170).contains(&seen)), "{printed}");
    for regular in &mut regulars {
        let answer: serde_json::Value = serde_json::from_str(&regular.line()).expect("JSON");
        assert_eq!(answer["failed"], 0, "{answer}");
    }
    // Afterwards all is as before.
    let after = json(python("mongo.py").arg(&uri).arg("after"));
    assert!(ran(&after, "insert") > 0, "{after}");
    let numbers = weir.numbers_when("they have gone", |n| n.sum("weir_listener_connections_open", &[]) == 0);
    assert!(numbers.sum("weir_listener_connections_delayed_total", &[]) > 0, "some waited to be accepted");
    let told = ["closed", "code 462"].map(|how| printed["turned_away"][how].as_u64().unwrap_or(0));
    assert!(told.iter().sum::<u64>() > 0, "some were turned away: {printed}");
    assert!(numbers.sum("weir_refusals_total", &[]) >= told[1], "{printed}");
    assert!(numbers.sum("weir_listener_connections_refused_total", &[]) <= told[0], "{printed}");
    let pings = numbers.sum("weir_operations_total", &[("operation", "ping"), ("result", "ok")]);
    assert!(pings >= 5000, "{pings}");
}
