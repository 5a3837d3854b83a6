//! Every snippet of the README and the docs: a configuration must be taken, a command must be one that some test runs.

use crate::support::{
    parts::{json, part, root},
    process::command,
    weir::binary,
};
use serde_json::Value;
use std::path::{Path, PathBuf};

crate::tests!("docs":
    configurations_are_taken,
    manifests_fit_together,
    commands_are_ones_that_tests_run,
    links_lead_somewhere,
    the_readme_shows_what_check_says,
);

/// The commands that docs may show, and who runs them.
const RUN: &[(&str, &str)] = &[
    ("cargo run --release -- demo", "cli::demo_moves_every_table runs the same command of a debug build"),
    ("cargo xtask test", "continuous integration is this command"),
    ("cargo xtask test --full", "the same with longer matrices"),
    ("cargo xtask setup", "the first half of `cargo xtask test`"),
    ("cargo xtask fuzz", "part of `cargo xtask test`"),
    ("cargo xtask loom", "part of `cargo xtask test`"),
    ("cargo build --release", "what Cargo does"),
    ("weir demo", "cli::demo_moves_every_table"),
    ("weir run weir.yaml", "every lifecycle test"),
    ("weir check weir.yaml", "config::good_files_are_taken"),
    ("weir check weir.yaml --json", "cli::check_says_everything_at_once"),
    ("weir mongo mongodb://127.0.0.1:27017", "mongo_front::a_server_is_fronted_without_a_file"),
    ("weir mongo mongodb://127.0.0.1:27017 --print-config", "mongo_front::the_file_it_stands_for_is_printed"),
    ("weir stats", "cli::stats_shows_what_happened"),
    ("weir stats --json", "cli::stats_shows_what_happened"),
    ("weir schema", "config::every_option_has_a_fixture"),
    ("curl http://127.0.0.1:9901/metrics", "lifecycle::the_admin_answers"),
    ("curl http://127.0.0.1:9901/operations", "lifecycle::the_admin_answers"),
];

fn pages() -> Vec<PathBuf> {
    fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|e| e == "md") {
                into.push(path);
            }
        }
    }
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    collect(&root().join("docs"), &mut pages);
    pages
}

/// The fenced blocks of a page: the word after the fence, the line it begins at, the text.
fn blocks(page: &Path) -> Vec<(String, usize, String)> {
    let text = std::fs::read_to_string(page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
    let mut found = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(word), None) => open = Some((word.trim().to_owned(), number + 1, String::new())),
            (None, Some((_, _, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block without an end", page.display());
    found
}

fn configurations_are_taken() {
    let mut checked = 0;
    for page in pages() {
        for (word, line, block) in
            blocks(&page).into_iter().filter(|(word, ..)| word == "yaml" || word == "json weir")
        {
            let folder = tempfile::tempdir().expect("a folder");
            let certified =
                rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            for name in ["edge", "server", "ca"] {
                std::fs::write(folder.path().join(format!("{name}.pem")), certified.cert.pem())
                    .expect("ours");
                std::fs::write(
                    folder.path().join(format!("{name}.key")),
                    certified.signing_key.serialize_pem(),
                )
                .expect("ours");
            }
            std::fs::write(folder.path().join("connections.txt"), "100").expect("ours");
            let file = folder.path().join("weir.yaml");
            std::fs::write(&file, completed(&block)).expect("ours");
            let mut check = binary();
            check.arg("check").arg(&file).current_dir(folder.path()).env("PORT", "8080");
            let run = check.output().expect("weir runs");
            assert!(
                run.status.success(),
                "{}:{line} ({word}): {}",
                page.display(),
                String::from_utf8_lossy(&run.stderr)
            );
            checked += 1;
        }
    }
    assert!(checked >= 3, "only {checked} configurations in the docs");
}

/// Kubernetes manifests: they can be read, the configuration in a ConfigMap is taken, and what refers to something else finds it.
fn manifests_fit_together() {
    let mut checked = 0;
    for page in pages() {
        for (_, line, block) in blocks(&page).into_iter().filter(|(word, ..)| word == "yaml kubernetes") {
            let at = format!("{}:{line}", page.display());
            let folder = tempfile::tempdir().expect("a folder");
            let manifest = folder.path().join("manifest.yaml");
            std::fs::write(&manifest, &block).expect("ours");
            let read =
                "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
            let mut python = command(part("venv/bin/python"));
            let objects = json(python.args(["-c", read]).arg(&manifest));
            Manifest::of(&at, folder.path(), objects.as_array().expect("a list")).fits_together();
            checked += 1;
        }
    }
    assert!(checked >= 2, "only {checked} manifests in the docs");
}

/// The objects of one manifest, and the configuration in it.
struct Manifest<'a> {
    at: &'a str,
    config: String,
    map: &'a Value,
    deployment: &'a Value,
    service: Option<&'a Value>,
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl Manifest<'_> {
    fn of<'a>(at: &'a str, folder: &Path, objects: &'a [Value]) -> Manifest<'a> {
        let of = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
        let named =
            |object: &Value| object["apiVersion"].is_string() && object["metadata"]["name"].is_string();
        assert!(objects.iter().all(named), "{at}");
        let map = of("ConfigMap").unwrap_or_else(|| panic!("{at}: no ConfigMap"));
        let config = map["data"]["weir.yaml"].as_str().unwrap_or_else(|| panic!("{at}: no weir.yaml in it"));
        let file = folder.join("weir.yaml");
        std::fs::write(&file, config).expect("ours");
        let run = binary().arg("check").arg(&file).output().expect("weir runs");
        assert!(run.status.success(), "{at}: {}", String::from_utf8_lossy(&run.stderr));
        let deployment = of("Deployment").unwrap_or_else(|| panic!("{at}: no Deployment"));
        Manifest { at, config: config.to_owned(), map, deployment, service: of("Service") }
    }

    fn fits_together(&self) {
        let template = &self.deployment["spec"]["template"];
        assert_eq!(
            self.deployment["spec"]["selector"]["matchLabels"], template["metadata"]["labels"],
            "{}",
            self.at
        );
        let pod = &template["spec"];
        let mut containers = list(&pod["containers"]).iter().chain(list(&pod["initContainers"]));
        let weir = containers.find(|c| c["name"] == "weir").unwrap_or_else(|| panic!("{}: no Weir", self.at));
        assert_eq!(pod["volumes"][0]["configMap"]["name"], self.map["metadata"]["name"], "{}", self.at);
        let mount = weir["volumeMounts"][0]["mountPath"].as_str().expect("a path");
        assert_eq!(weir["args"], serde_json::json!(["run", format!("{mount}/weir.yaml")]), "{}", self.at);
        self.has_time_to_drain(pod, weir);
        self.can_be_probed(weir);
        if let Some(service) = self.service {
            self.is_served(service, template, weir);
        }
    }

    /// A key at the left margin of the configuration, without a comment.
    fn top(&self, key: &str) -> Option<&str> {
        let line = self.config.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))?;
        Some(line.split('#').next().unwrap_or(line).trim())
    }

    fn has_time_to_drain(&self, pod: &Value, weir: &Value) {
        let drain = self.top("drain_timeout").unwrap_or("30s").trim_end_matches('s');
        let drain: u64 = drain.parse().expect("seconds");
        let before = weir["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        assert!(grace > drain + before, "{}: {grace} s are too few", self.at);
    }

    fn can_be_probed(&self, weir: &Value) {
        let admin = self.top("admin").and_then(|admin| admin.rsplit_once(':')).expect("an admin").1;
        let probes = ["readinessProbe", "livenessProbe", "startupProbe"];
        let probes: Vec<&Value> = probes.iter().map(|probe| &weir[probe]["httpGet"]).collect();
        assert!(probes.iter().any(|get| get["path"] == "/ready"), "{}", self.at);
        for get in probes.iter().filter(|get| !get.is_null()) {
            assert!(get["path"] == "/ready" || get["path"] == "/live", "{}: {get}", self.at);
            assert_eq!(container_port(weir, &get["port"]).expect("a port").to_string(), admin, "{}", self.at);
        }
    }

    /// Every port of the members is the service's, under the same number, and the service's name is what drivers are told.
    fn is_served(&self, service: &Value, template: &Value, weir: &Value) {
        assert_eq!(service["spec"]["selector"], template["metadata"]["labels"], "{}", self.at);
        let mut served = Vec::new();
        for exposed in list(&service["spec"]["ports"]) {
            let port = exposed["port"].as_u64().expect("a port");
            assert_eq!(container_port(weir, &exposed["targetPort"]), Some(port), "{}: {exposed}", self.at);
            served.push(port);
        }
        let said =
            self.config.split("member_ports: ").nth(1).and_then(|rest| rest.split([',', ' ', '}']).next());
        let (first, last) = said.and_then(|range| range.split_once('-')).expect("member_ports");
        let (first, last): (u64, u64) = (first.parse().expect("a port"), last.parse().expect("a port"));
        assert_eq!(served, (first..=last).collect::<Vec<_>>(), "{}: all of member_ports", self.at);
        let named = |key: &str| service["metadata"][key].as_str().expect("a name");
        let host = format!("advertise: {}.{}.svc", named("name"), named("namespace"));
        assert!(self.config.contains(&host), "{}: {host}", self.at);
    }
}

fn container_port(container: &Value, name: &Value) -> Option<u64> {
    let port = list(&container["ports"]).iter().find(|port| port["name"] == *name)?;
    port["containerPort"].as_u64()
}

/// A page may show only the part that it speaks of; the rest is put in here.
fn completed(block: &str) -> String {
    let mut whole = block.to_owned();
    if !block.lines().any(|line| line.starts_with("clusters:")) {
        let cluster = |name: &str| format!("{name}: {{ endpoints: [\"127.0.0.1:80\"] }}");
        whole += &format!("clusters: {{ {} }}\n", ["web", "db", "mongo"].map(cluster).join(", "));
    }
    if !block.lines().any(|line| line.starts_with("listeners:")) {
        whole += "listeners: { shown: { bind: \"127.0.0.1:0\", tcp: { cluster: web } } }\n";
    }
    whole
}

fn commands_are_ones_that_tests_run() {
    for page in pages() {
        for (_, line, block) in
            blocks(&page).into_iter().filter(|(word, ..)| word == "console" || word == "sh")
        {
            for command in block.lines().filter_map(|l| l.strip_prefix("$ ")) {
                // The console's own tests compare that page's answers with real ones.
                if page.ends_with("docs/admin.md") && command.starts_with("curl -s ") {
                    continue;
                }
                assert!(
                    RUN.iter().any(|(known, _)| *known == command.trim()),
                    "{}:{line}: no test runs `{command}`",
                    page.display()
                );
            }
        }
    }
}

fn the_readme_shows_what_check_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "listeners:\n  web: { bind: \"127.0.0.1:8080\", http: { cluster: wbe, keep_alive: 60 } }\n\
                clusters:\n  web: { endpoints: [\"10.0.0.7\"], balance: least_requests }\n";
    std::fs::write(folder.path().join("weir.yaml"), file).expect("ours");
    let checked =
        binary().args(["check", "weir.yaml"]).current_dir(folder.path()).output().expect("weir runs");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    let readme = std::fs::read_to_string(root().join("README.md")).expect("readable");
    assert!(readme.contains(&format!("$ weir check weir.yaml\n{said}```")), "not in the README:\n{said}");
}

fn links_lead_somewhere() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("readable");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let link = link.split('#').next().unwrap_or("");
            if link.is_empty() || link.contains("://") {
                continue;
            }
            let target = page.parent().expect("it lies in a folder").join(link);
            assert!(target.exists(), "{}: nothing at {link}", page.display());
        }
    }
}
