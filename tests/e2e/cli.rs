//! The command line, as a person types it.

use crate::support::{
    net, parts,
    process::output,
    weir::{Weir, binary},
};
use serde_json::Value;
use std::process::Stdio;

crate::tests!("cli":
    version_and_help,
    check_says_everything_at_once,
    check_warns_of_grpc_over_http1,
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
        .args(["stats", "--admin", &format!("127.0.0.1:{}", net::nobody())])
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
