//! `weir mongo`, as a person types it: what it prints, and that an application runs on that.

use crate::support::{
    net,
    parts::{self, json, mongod, python},
    process::{Process, command, output},
    weir::binary,
};
use std::path::Path;
use std::process::{Command, Stdio};

crate::tests!("mongo_front":
    a_server_is_fronted_without_a_file,
    a_replica_set_is_fronted,
    a_member_alone_keeps_its_drivers,
    an_srv_name_is_looked_up,
    an_srv_name_leads_to_servers_that_speak_tls,
    the_file_it_stands_for_is_printed,
);

/// A running `weir mongo`, and what it has said.
struct Front {
    process: Process,
    said: String,
    admin: String,
}

impl Front {
    fn start(mut weir: Command, uri: &str, listen: u16, more: &[&str]) -> Front {
        weir.args(["mongo", uri, "--listen", &format!("127.0.0.1:{listen}"), "--admin", "127.0.0.1:0"])
            .args(more);
        let mut process = Process::start("weir mongo", weir.stdout(Stdio::piped()).stderr(Stdio::null()));
        let mut said = String::new();
        while !said.contains("watch it") {
            said += &process.line();
            said.push('\n');
        }
        let admin = said.split_whitespace().skip_while(|word| *word != "--admin").nth(1).expect("an address");
        let admin = admin.to_owned();
        Front { process, said, admin }
    }

    /// The URI behind these words.
    fn uri(&self, words: &str) -> &str {
        let line = self.said.lines().find_map(|line| line.trim().strip_prefix(words));
        line.unwrap_or_else(|| panic!("no {words} in {}", self.said)).trim()
    }

    fn stats(&self) -> String {
        output(binary().args(["stats", "--admin", &self.admin]))
    }

    fn end(mut self) {
        self.process.signal("TERM");
        assert_eq!(self.process.wait(), Some(0));
    }
}

fn a_server_is_fronted_without_a_file() {
    let front = Front::start(binary(), &format!("mongodb://127.0.0.1:{}", mongod()), net::free_port(), &[]);
    // A standalone server needs no option in the URI; the application runs on what was printed.
    let uri = front.uri("for the application");
    assert!(!front.said.contains("directConnection"), "{}", front.said);
    json(python("mongo.py").arg(uri).arg("cli"));
    let table = front.stats();
    assert!(table.lines().any(|line| line.contains("insert") && line.contains("cli.people")), "{table}");
    front.end();
}

fn a_replica_set_is_fronted() {
    let set = parts::calm_set();
    let listen = net::free_range(12);
    let uri = format!(
        "mongodb://app:hunter2@127.0.0.1:{},127.0.0.1:{}/?retryWrites=true",
        set.ports[2], set.ports[0]
    );
    let front = Front::start(binary(), &uri, listen, &[]);
    let given = front.uri("for the application");
    let hosts = [listen, listen + 1, listen + 2].map(|port| format!("127.0.0.1:{port}"));
    let wanted = format!("mongodb://{}/?replicaSet={}&retryWrites=true", hosts.join(","), parts::SET);
    assert_eq!(given, wanted, "{}", front.said);
    assert!(!front.said.contains("hunter2"), "{}", front.said);
    let printed = json(python("mongo_members.py").arg(given).arg("cli_members").arg("all"));
    assert_eq!(printed["known"], serde_json::json!(hosts));
    // Who wants one member alone is told how, and stays there.
    let alone = front.uri("for one member alone");
    assert_eq!(alone, format!("mongodb://{}/?directConnection=true&retryWrites=true", hosts[0]));
    assert!(front.said.contains("directConnection=true keeps a driver there: "), "{}", front.said);
    let printed = json(python("mongo_members.py").arg(alone).args(["cli_members", "reads", "0.2"]));
    assert_eq!(printed["servers"], serde_json::json!([hosts[0]]));
    front.end();
}

fn a_member_alone_keeps_its_drivers() {
    let set = parts::calm_set();
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", set.ports[1]);
    let listen = net::free_port();
    let front = Front::start(binary(), &uri, listen, &[]);
    let given = front.uri("for the application");
    assert_eq!(given, format!("mongodb://127.0.0.1:{listen}/?directConnection=true"));
    assert!(front.said.contains("past Weir"), "it says why: {}", front.said);
    let printed = json(python("mongo_members.py").arg(given).args(["cli_member", "reads", "0.2"]));
    assert_eq!(printed["servers"], serde_json::json!([format!("127.0.0.1:{listen}")]));
    front.end();
}

/// A name server in whose zone these ports are `a.shop.example`, `b.shop.example` and so on; and its address.
fn name_server(ports: &[u16]) -> (Process, String) {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut server = python("dns_server.py");
    let mut process = Process::start("dns_server.py", server.arg(ports.join(",")).stdout(Stdio::piped()));
    let port = process.line();
    (process, format!("127.0.0.1:{port}"))
}

fn an_srv_name_is_looked_up() {
    let (_server, resolver) = name_server(&[1001, 1002]);
    let weir = |name: &str| {
        let mut weir = binary();
        weir.args(["mongo", &format!("mongodb+srv://app:hunter2@{name}/?w=2"), "--print-config"]);
        weir.args(["--resolver", &resolver]);
        weir
    };
    let printed = output(&mut weir("db.shop.example"));
    assert!(
        printed.contains(r#"endpoints: ["a.shop.example:1001", "b.shop.example:1002"], tls: {}"#),
        "{printed}"
    );
    assert!(!printed.contains("hunter2"), "{printed}");
    for (name, why) in
        [("lost.shop.example", "leads out of the domain"), ("no.shop.example", "no SRV record")]
    {
        let run = weir(name).output().expect("weir runs");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(1), "{said}");
        assert!(said.contains(why) && !said.contains("hunter2"), "{said}");
    }
}

/// A mongod that speaks nothing but TLS, under the name `a.shop.example`.
fn mongod_with_tls(folder: &Path) -> (Process, u16) {
    let certified = rcgen::generate_simple_self_signed(["a.shop.example".to_owned()]).expect("a certificate");
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    std::fs::write(folder.join("ca.pem"), &certificate).expect("ours");
    std::fs::write(folder.join("server.pem"), certificate + &key).expect("ours");
    let data = folder.join("data");
    std::fs::create_dir(&data).expect("ours");
    let port = net::free_port();
    let mut mongod = parts::mongod_at(port, &data);
    mongod.args(["--tlsMode", "requireTLS", "--tlsAllowConnectionsWithoutCertificates"]);
    mongod.arg("--tlsCertificateKeyFile").arg(folder.join("server.pem"));
    mongod.arg("--tlsCAFile").arg(folder.join("ca.pem"));
    let process = Process::start("mongod", mongod.stdout(Stdio::null()));
    net::wait_for(port);
    (process, port)
}

fn an_srv_name_leads_to_servers_that_speak_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_mongod, port) = mongod_with_tls(folder.path());
    let (_names, resolver) = name_server(&[port]);
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost a.shop.example\n").expect("ours");
    // In a mount namespace of its own, where the system knows the name.
    let mut weir = command("unshare");
    weir.args(["--map-root-user", "--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
    weir.arg(&hosts).arg(env!("CARGO_BIN_EXE_weir"));
    let ca = folder.path().join("ca.pem").display().to_string();
    let uri = format!("mongodb+srv://db.shop.example/?tlsCAFile={ca}");
    let front = Front::start(weir, &uri, net::free_port(), &["--resolver", &resolver]);
    let fronts = format!("Weir fronts a.shop.example:{port}\n");
    assert!(front.said.starts_with(&fronts) && !front.said.contains("not known yet"), "{}", front.said);
    let given = front.uri("for the application");
    assert!(given.ends_with("/?authSource=admin"), "{given}");
    json(python("mongo.py").arg(given).arg("srv"));
    let table = front.stats();
    assert!(table.lines().any(|line| line.contains("insert") && line.contains("srv.people")), "{table}");
    front.end();
}

fn the_file_it_stands_for_is_printed() {
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
