//! A Weir in front of a replica set, in members mode, and drivers that must not get past it: what proves it is that Weir counts every
//! command that the drivers count.

use super::counted::{Counts, assert_same, by_client};
use super::net;
use super::numbers::Numbers;
use super::parts::{ReplicaSet, json, node, part, python};
use super::process::Process;
use super::weir::Weir;
use serde_json::Value;
use std::io::BufRead as _;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What drivers do on their own account and do not publish as commands, or without saying what came of it.
pub const UNPUBLISHED: [&str; 5] = ["hello", "isMaster", "saslStart", "saslContinue", "_other"];

/// What its configuration says beside the usual.
#[derive(Debug, Clone, Default)]
pub struct Says {
    /// Fields of the file.
    pub top: String,
    /// Fields of the listener.
    pub listener: String,
    /// Fields of its `mongo` section.
    pub mongo: String,
    /// Fields of the cluster.
    pub cluster: String,
}

impl Says {
    /// The file of a Weir that knows one seed of the set; members get ports from `first` on.
    pub fn config(&self, listener: &str, seed: &str, first: u16) -> String {
        let Says { top, listener: more, mongo, cluster } = self;
        format!(
            "{top}\nlisteners:\n  {listener}:\n    bind: \"127.0.0.1:0\"\n    {more}\n    mongo:\n      cluster: db\n      \
             member_ports: {first}-{}\n      {mongo}\nclusters:\n  db:\n    endpoints: [\"{seed}\"]\n    {cluster}\n",
            first + 7
        )
    }
}

/// A Weir in front of the set that knows one seed of it.
pub struct Front {
    /// The Weir.
    pub weir: Weir,
    /// Of the members, in the order of their names.
    pub ports: Vec<u16>,
    /// Its file.
    pub config: String,
}

impl Front {
    /// Knows the first member.
    pub fn new(set: &ReplicaSet) -> Front {
        Front::knowing(set.ports[0])
    }

    /// Knows the member at this port.
    pub fn knowing(seed: u16) -> Front {
        let first = net::free_range(8);
        Front::start(Says::default().config("db", &format!("127.0.0.1:{seed}"), first), first)
    }

    /// Of this configuration, in which members get ports from `first` on.
    pub fn start(config: String, first: u16) -> Front {
        Front::start_in(tempfile::tempdir().expect("a folder"), config, first)
    }

    /// The same with files in a folder, which the configuration calls `@ROOT@`.
    pub fn start_in(folder: TempDir, config: String, first: u16) -> Front {
        let weir = Weir::start_in(folder, &config);
        weir.numbers_when("three members have an address", |numbers| members(numbers) == 3);
        Front { weir, ports: (first..first + 3).collect(), config }
    }

    /// The port that stands for a member.
    pub fn port_of(&self, member: u16) -> u16 {
        let log = self.weir.log();
        let is_its = |entry: &Value| {
            let name = entry["member"].as_str().and_then(|member| member.rsplit(':').next());
            entry["address"].is_string() && name == Some(&member.to_string())
        };
        let found = log.iter().rev().find(|entry| is_its(entry));
        let address =
            found.unwrap_or_else(|| panic!("{member} has no address: {log:#?}"))["address"].as_str();
        address.and_then(|a| a.rsplit(':').next()).and_then(|port| port.parse().ok()).expect("a port")
    }

    /// What a driver may know and use.
    pub fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Runs a client through the front and holds Weir's counts against its own. Returns what it printed.
    pub fn compare(&self, what: &str, client: &mut Command) -> Value {
        let before = published(&self.weir.numbers());
        let printed = json(client);
        let mut expected: Counts<3> = by_client(&printed);
        expected.retain(|key, _| !UNPUBLISHED.contains(&key[0].as_str()));
        let wanted: u64 = expected.values().sum();
        let fresh = |numbers: &Numbers| newly(&before, &published(numbers));
        let numbers = self.weir.numbers_soon(|numbers| fresh(numbers).values().sum::<u64>() >= wanted);
        assert_same(what, &expected, &fresh(&numbers));
        assert_eq!(numbers.sum("weir_mongo_hellos_total", &[("result", "refused")]), 0, "{what}");
        printed
    }

    /// The driver knows Weir's addresses, all of them and no others.
    pub fn assert_behind(&self, what: &str, printed: &Value) {
        assert_eq!(printed["known"], serde_json::json!(self.addresses()), "{what}");
        self.assert_nowhere_else(what, printed);
    }

    /// The driver knows no other addresses than Weir's.
    pub fn assert_nowhere_else(&self, what: &str, printed: &Value) {
        for list in ["servers", "known"] {
            for server in printed[list].as_array().expect("a list") {
                let server = server.as_str().expect("text").to_owned();
                assert!(self.addresses().contains(&server), "{what}: {server}");
            }
        }
    }
}

/// A client of a replica set of each driver, by its name: PyMongo, PyMongo 4.6 and Node.js.
pub fn drivers() -> [(&'static str, Command); 3] {
    let mut older = python("mongo_members.py");
    older.env("PYTHONPATH", part("pymongo46"));
    [("py", python("mongo_members.py")), ("py46", older), ("node", node("mongo_members.js"))]
}

/// Starts a busy client of each driver and lets `disturb` happen while they write; all must end well, and all that succeeded must
/// have gone through Weir.
pub fn while_busy(front: &Front, uri: &str, database: &str, disturb: impl FnOnce()) {
    let mut running = Vec::new();
    for (name, mut client) in drivers() {
        client.arg(uri).arg(format!("{database}_{name}")).args(["busy", "until"]);
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::start("a busy client", &mut client);
        let mut errors = process.errors();
        let mut line = String::new();
        errors.read_line(&mut line).expect("it says that it is busy");
        assert_eq!(line, "busy\n");
        let errors = std::thread::spawn(move || errors.lines().map_while(Result::ok).collect::<Vec<_>>());
        running.push((process, errors));
    }
    let written = |numbers: &Numbers| {
        numbers.sum("weir_operations_total", &[("operation", "insert"), ("result", "ok")])
    };
    let some_more = || {
        let before = written(&front.weir.numbers());
        front.weir.numbers_when("some more are written", |numbers| written(numbers) > before + 40);
    };
    some_more();
    disturb();
    some_more();
    let mut expected: Counts<3> = Counts::new();
    for (mut process, errors) in running {
        // One that has died has said why.
        if process.runs() {
            process.tell("enough");
        }
        let text = process.rest();
        assert_eq!(process.wait(), Some(0), "{:#?}\n{:#?}", errors.join(), front.weir.log());
        let printed: Value = serde_json::from_str(&text).expect("JSON");
        // A member that is down may be unknown to the driver by then.
        front.assert_nowhere_else(database, &printed);
        for (key, n) in by_client::<3>(&printed) {
            *expected.entry(key).or_insert(0) += n;
        }
    }
    let well = |mut counts: Counts<3>| {
        counts.retain(|key, _| key[2] == "ok" && key[0] != "endSessions");
        counts
    };
    let expected = well(expected);
    let wanted: u64 = expected.values().sum();
    let numbers = front.weir.numbers_soon(|numbers| well(published(numbers)).values().sum::<u64>() >= wanted);
    assert_same(database, &expected, &well(published(&numbers)));
}

/// How many members have an address.
pub fn members(numbers: &Numbers) -> u64 {
    numbers.sum("weir_mongo_members", &[("listener", "db")])
}

/// What drivers publish too: by command, collection and result.
pub fn published(numbers: &Numbers) -> Counts<3> {
    let mut counts = numbers.operations("db", ["operation", "resource", "result"]);
    counts.retain(|key, _| !UNPUBLISHED.contains(&key[0].as_str()));
    counts
}

/// What has come since.
pub fn newly(before: &Counts<3>, after: &Counts<3>) -> Counts<3> {
    let fresh = after.iter().map(|(key, n)| (key.clone(), n - before.get(key).unwrap_or(&0)));
    fresh.filter(|(_, n)| *n > 0).collect()
}
