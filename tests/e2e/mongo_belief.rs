//! What Weir believes of servers, waits for, and makes of names that lead nowhere: by sets that only say that they are some.

use crate::support::{
    net,
    parts::python,
    process::Process,
    weir::{Weir, binary},
};
use serde_json::Value;
use std::process::Stdio;

crate::tests!("mongo_belief":
    members_are_found_where_the_file_says_they_are,
    a_hello_waits_for_a_new_member_and_for_nothing_else,
    connections_to_a_silent_primary_end_when_another_is_elected,
    no_more_members_are_believed_than_a_set_can_have,
    nothing_that_a_server_says_is_for_the_terminal,
);

/// A set that does this when it is told.
struct Fake {
    process: Process,
    ports: Vec<u16>,
}

impl Fake {
    fn new(what: &str) -> Fake {
        let mut script = python("mongo_fake_set.py");
        script.arg(what).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start("mongo_fake_set.py", &mut script);
        let ports = process.line().split(',').map(|port| port.parse().expect("a port")).collect();
        Fake { process, ports }
    }

    /// Weir in front of it, and the first of its ports for members.
    fn front(&self, more: &str) -> (Weir, u16) {
        let first = net::free_range(8);
        let weir = Weir::start(&format!(
            "listeners:\n  db:\n    bind: \"127.0.0.1:{first}\"\n    mongo:\n      cluster: db\n      member_ports: {first}-{}\n      {more}\n\
             clusters: {{ db: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
            first + 7,
            self.ports[0]
        ));
        (weir, first)
    }

    fn does(&mut self, first: u16) -> Value {
        self.process.tell(&first.to_string());
        let line = self.process.line();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }
}

fn hellos(weir: &Weir, result: &str) -> u64 {
    weir.numbers().sum("weir_mongo_hellos_total", &[("listener", "db"), ("result", result)])
}

fn members_are_found_where_the_file_says_they_are() {
    let mut fake = Fake::new("mapped");
    let at: Vec<String> = (0..3)
        .map(|n| format!("\"mongo-{n}.mongo.invalid:27017\": \"127.0.0.1:{}\"", fake.ports[n]))
        .collect();
    let (weir, first) = fake.front(&format!("members: {{ {} }}", at.join(", ")));
    let found = fake.does(first);
    assert_eq!(found["hosts"], true, "{found}");
    assert_eq!(
        (&found["one"], &found["third"]),
        (&1.into(), &2.into()),
        "each port leads to its member: {found}"
    );
    assert!(found["set"].is_u64(), "{found}");
    // They are known by their names.
    let (_, text) = weir.get("/members");
    assert!(text.contains("mongo-2.mongo.invalid:27017"), "{text}");
}

fn a_hello_waits_for_a_new_member_and_for_nothing_else() {
    let mut fake = Fake::new("held");
    let (weir, first) = fake.front("");
    let told = fake.does(first);
    assert_eq!(
        (&told["before"], &told["after"]),
        (&2.into(), &3.into()),
        "the new one has an address at once: {told}"
    );
    assert_eq!(told["told"], serde_json::json!([3, 3, 3]), "{told}");
    assert_eq!(hellos(&weir, "incomplete"), 1, "it is waited for once");
}

fn connections_to_a_silent_primary_end_when_another_is_elected() {
    let mut fake = Fake::new("silent");
    let (weir, first) = fake.front("");
    let came = fake.does(first);
    assert_eq!(came, serde_json::json!({ "old": "ended", "new": 1.0, "idle": 1.0 }));
    let (_, text) = weir.get("/members");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let silent = format!("127.0.0.1:{}", fake.ports[0]);
    let role =
        all["sets"][0]["members"].as_array().expect("members").iter().find(|one| one["member"] == *silent);
    assert_eq!(role.map(|one| &one["role"]), Some(&"unreachable".into()), "{text}");
}

fn no_more_members_are_believed_than_a_set_can_have() {
    let mut fake = Fake::new("many");
    let (weir, first) = fake.front("");
    let came = fake.does(first);
    // Weir's own, and those by which the client asks.
    assert!(came["connections"].as_u64().expect("how many") < 200, "{came}");
    let refused = |reason| {
        weir.numbers().sum("weir_mongo_members_refused_total", &[("listener", "db"), ("reason", reason)])
    };
    assert!(refused("too_many") > 0, "{:?}", weir.log());
    let (_, text) = weir.get("/members");
    assert!(text.matches("\"member\"").count() <= 50, "{text}");
}

fn nothing_that_a_server_says_is_for_the_terminal() {
    let mut fake = Fake::new("foul");
    let listen = net::free_range(12);
    let mut weir = binary();
    weir.args(["mongo", &format!("mongodb://127.0.0.1:{}/", fake.ports[0])]);
    weir.args(["--listen", &format!("127.0.0.1:{listen}"), "--admin", "127.0.0.1:0"]);
    weir.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut weir = Process::start("weir mongo", &mut weir);
    let mut said = weir.line();
    while !said.contains("watch it") {
        said = format!("{said}\n{}", weir.line());
    }
    fake.does(listen);
    weir.signal("TERM");
    assert!(!said.contains('\x1b') && !said.contains("tls=false"), "{said:?}");
    let mut log = String::new();
    std::io::Read::read_to_string(&mut weir.errors(), &mut log).expect("text");
    assert!(!log.contains('\x1b'), "{log:?}");
}
