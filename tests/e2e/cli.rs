//! The command line, as a person types it.

use crate::support::{
    net,
    parts::{self, json, mongod, python},
    process::{Process, output},
    weir::{Weir, binary},
};
use serde_json::Value;
use std::process::Stdio;

crate::tests!("cli":
    version_and_help,
    check_says_everything_at_once,
    check_warns_of_grpc_over_http1,
    mongo_fronts_without_a_file,
    mongo_fronts_a_replica_set,
    mongo_prints_the_file_it_stands_for,
    stats_shows_what_happened,
    demo_moves_every_table,
);

fn version_and_help() {
    assert_eq!(output(binary().arg("--version")).trim(), format!("weir {}", env!("CARGO_PKG_VERSION")));
    let help = output(binary().arg("--help"));
    for command in ["run", "check", "mongo", "stats", "schema", "demo"] {
        assert!(help.contains(&format!("\n  {command}")), "{help}");
    }
    assert_eq!(binary().arg("nonsense").output().expect("weir runs").status.code(), Some(2));
}

fn check_says_everything_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weir.yaml");
    std::fs::write(
        &file,
        "listeners:\n  web: { bind: 127.0.0.1:8080, htp: { cluster: web } }\nclusters:\n  web: { endpoint: [\"a:1\"] }\n",
    )
    .expect("ours");
    let checked = binary().arg("check").arg(&file).arg("--json").output().expect("weir runs");
    assert_eq!(checked.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    let errors = said["errors"].as_array().expect("a list");
    assert_eq!(said["ok"], false);
    let has = |path: &str, line: u64, hint: &str| {
        errors.iter().any(|e| {
            e["path"] == path && e["line"] == line && e["message"].as_str().is_some_and(|m| m.contains(hint))
        })
    };
    assert!(has("listeners.web.htp", 2, "did you mean `http`?"), "{said}");
    assert!(has("clusters.web.endpoint", 4, "did you mean `endpoints`?"), "{said}");
}

fn check_warns_of_grpc_over_http1() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weir.yaml");
    let config = "listeners:\n  calls: { bind: \"127.0.0.1:50051\", grpc: { cluster: calls } }\n\
                  clusters:\n  calls: { endpoints: [\"127.0.0.1:1\"] }\n";
    for (config, warned) in
        [(config.to_owned(), true), (config.replace(" }\n", ", protocol: http2 }\n"), false)]
    {
        let config = config.replace("calls }, protocol: http2 }", "calls } }");
        std::fs::write(&file, &config).expect("ours");
        let checked = binary().arg("check").arg(&file).output().expect("weir runs");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{config}{said}");
        assert_eq!(said.contains("give it `protocol: http2`"), warned, "{config}{said}");
    }
}

fn mongo_fronts_without_a_file() {
    let (listen, admin) = (net::free_port(), net::free_port());
    let mut front = binary();
    front.args(["mongo", &format!("mongodb://127.0.0.1:{}", mongod())]);
    front.args(["--listen", &format!("127.0.0.1:{listen}"), "--admin", &format!("127.0.0.1:{admin}")]);
    let mut front = Process::start("weir mongo", front.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut said = String::new();
    while !said.contains("mongodb://127.0.0.1:") || !said.contains(&listen.to_string()) {
        said += &front.line();
        said.push('\n');
    }
    // A standalone server needs no option in the URI; the application runs on what was printed.
    let uri = said
        .split_whitespace()
        .find(|word| word.starts_with(&format!("mongodb://127.0.0.1:{listen}")))
        .expect("a URI");
    assert!(!uri.contains("directConnection"), "{said}");
    net::wait_for(admin);
    json(python("mongo.py").arg(uri).arg("cli"));
    let table = output(binary().args(["stats", "--admin", &format!("127.0.0.1:{admin}")]));
    assert!(table.lines().any(|line| line.contains("insert") && line.contains("cli.people")), "{table}");
    front.signal("TERM");
    assert_eq!(front.wait(), Some(0));
}

fn mongo_fronts_a_replica_set() {
    let set = parts::replica_set().read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (listen, admin) = (net::free_range(12), net::free_port());
    let uri = format!(
        "mongodb://app:hunter2@127.0.0.1:{},127.0.0.1:{}/?retryWrites=true",
        set.ports[2], set.ports[0]
    );
    let mut front = binary();
    front.args(["mongo", &uri, "--listen", &format!("127.0.0.1:{listen}")]);
    front.args(["--admin", &format!("127.0.0.1:{admin}")]);
    let mut front = Process::start("weir mongo", front.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut said = String::new();
    while !said.contains("for the application") {
        said += &front.line();
        said.push('\n');
    }
    let given = said.split_whitespace().find(|word| word.starts_with("mongodb://")).expect("a URI");
    let hosts = [listen, listen + 1, listen + 2].map(|port| format!("127.0.0.1:{port}")).join(",");
    assert_eq!(given, format!("mongodb://{hosts}/?replicaSet={}&retryWrites=true", parts::SET), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let printed = json(python("mongo_members.py").arg(given).arg("cli_members").arg("all"));
    assert_eq!(printed["known"], serde_json::json!(hosts.split(',').collect::<Vec<_>>()));
    front.signal("TERM");
    assert_eq!(front.wait(), Some(0));
}

fn mongo_prints_the_file_it_stands_for() {
    let printed = output(binary().args([
        "mongo",
        "mongodb://app:secret@127.0.0.1:27017/?directConnection=true",
        "--print-config",
    ]));
    assert!(!printed.contains("secret") && !printed.contains("app:"), "{printed}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, &printed).expect("ours");
    output(binary().arg("check").arg(&file));
    assert!(printed.contains("127.0.0.1:27017") && printed.contains("127.0.0.1:27018"), "{printed}");
}

fn stats_shows_what_happened() {
    let (_nginx, _folder, port) =
        parts::nginx("server { listen 127.0.0.1:@PORT@; location / { return 200 ok; } }", |_| {});
    let weir = Weir::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\", http: {{ routes: [{{ name: everything, cluster: web }}] }} }} }}\n\
         clusters: {{ web: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    ));
    for _ in 0..3 {
        net::get(std::net::SocketAddr::from(([127, 0, 0, 1], weir.port("web"))), "/");
    }
    let admin = weir.admin().to_string();
    let table = output(binary().args(["stats", "--admin", &admin]));
    let row = table.lines().find(|line| line.contains("everything")).unwrap_or_else(|| panic!("{table}"));
    assert!(row.contains("GET") && row.split_whitespace().any(|word| word == "3"), "{table}");
    let said: Value =
        serde_json::from_str(&output(binary().args(["stats", "--json", "--admin", &admin]))).expect("JSON");
    assert_eq!(said["operations"][0]["operation"], "GET", "{said}");
    let nobody = binary()
        .args(["stats", "--admin", &format!("127.0.0.1:{}", net::free_port())])
        .output()
        .expect("weir runs");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no Weir answers"), "{nobody:?}");
}

fn demo_moves_every_table() {
    let shown = output(binary().args(["demo", "--seconds", "4", "--redraw", "never"]).stderr(Stdio::null()));
    for (protocol, operation) in
        [("mongo", "find"), ("dynamodb", "GetItem"), ("grpc", "SayHello"), ("http", "GET")]
    {
        let row = |line: &&str| line.contains(protocol) && line.contains(operation);
        let last =
            shown.lines().rfind(row).unwrap_or_else(|| panic!("no {protocol} {operation} in:\n{shown}"));
        let moved = last.split_whitespace().any(|word| word.parse::<u64>().is_ok_and(|n| n >= 10));
        assert!(moved, "{last}\n{shown}");
    }
}
