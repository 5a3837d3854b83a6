//! Reloads of a Weir in front of a replica set: whatever changes, a door leads to its member, and the members are all there.

use crate::support::{
    net,
    parts::{ReplicaSet, SET, calm_set, json, python},
    weir::Weir,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

crate::tests!("mongo_reloads":
    a_listener_leaves_the_others_their_members,
    a_listener_takes_another_name,
    a_cluster_takes_another_name,
    a_listener_is_taken_back_and_comes_again,
    a_hello_that_cannot_be_rewritten_is_not_the_servers_fault,
);

/// A file that knows a seed which is not the primary, and can name no member by itself. `listeners`: name, cluster, first port.
fn config(set: &ReplicaSet, listeners: &[(&str, &str, u16)], clusters: &[&str]) -> String {
    let primary = set.primary();
    let seed = set.ports.into_iter().find(|port| *port != primary).expect("there are three");
    let listener = |(name, cluster, first): &(&str, &str, u16)| {
        let last = first + 7;
        format!(
            "  {name}: {{ bind: \"127.0.0.1:{first}\", mongo: {{ cluster: {cluster}, member_ports: {first}-{last} }} }}\n"
        )
    };
    let listeners: String = listeners.iter().map(listener).collect();
    let cluster = |name: &&str| format!("  {name}: {{ endpoints: [\"127.0.0.1:{seed}\"] }}\n");
    let clusters: String = clusters.iter().map(cluster).collect();
    format!("drain_timeout: 2s\nlisteners:\n{listeners}clusters:\n{clusters}")
}

/// The doors of a listener's members, as the admin API says.
fn doors(weir: &Weir, listener: &str) -> BTreeMap<String, String> {
    let all: Value = serde_json::from_str(&weir.get("/members").1).expect("JSON");
    let sets = all["sets"].as_array().expect("a list").iter().filter(|set| set["listener"] == listener);
    let members = sets.flat_map(|set| set["members"].as_array().expect("a list"));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    members.filter_map(|one| Some((text(&one["member"])?, text(&one["advertised"])?))).collect()
}

/// The same once there are three.
fn settled(weir: &Weir, listener: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    net::until("every member has a door", || {
        found = doors(weir, listener);
        found.len() == 3
    });
    found
}

/// Each door leads to its member, and drivers find the primary.
fn assert_led(weir: &Weir, listener: &str, cluster: &str) {
    let doors = settled(weir, listener);
    for (member, door) in &doors {
        let tries = |endpoint: &str| {
            let labels = [("cluster", cluster), ("endpoint", endpoint)];
            weir.numbers().sum("weir_endpoint_attempts_total", &labels)
        };
        let before = tries(member);
        let uri = format!("mongodb://{door}/?directConnection=true");
        json(python("mongo_members.py").arg(&uri).args(["reloads", "reads"]));
        assert!(tries(member) >= before + 6, "{door} does not lead to {member}: {:#?}", weir.log());
    }
    let any = doors.values().next().expect("there are three");
    let uri = format!("mongodb://{any}/?replicaSet={SET}&serverSelectionTimeoutMS=10000");
    let database = format!("reloads_{}", any.replace(['.', ':'], "_"));
    json(python("mongo_members.py").arg(&uri).args([&database, "busy", "0.2"]));
}

fn reload(weir: &Weir, config: &str) {
    assert_eq!(weir.reload(config)["message"], "reloaded");
}

fn a_listener_leaves_the_others_their_members() {
    let set = calm_set();
    let (a, b) = (net::free_range(8), net::free_range(8));
    let weir = Weir::start(&config(&set, &[("a", "rs", a), ("b", "rs", b)], &["rs"]));
    settled(&weir, "a");
    settled(&weir, "b");
    reload(&weir, &config(&set, &[("a", "rs", a)], &["rs"]));
    net::until("the other is forgotten", || doors(&weir, "b").is_empty());
    assert_led(&weir, "a", "rs");
}

fn a_listener_takes_another_name() {
    let set = calm_set();
    let first = net::free_range(8);
    let weir = Weir::start(&config(&set, &[("a", "rs", first)], &["rs"]));
    let before = settled(&weir, "a");
    reload(&weir, &config(&set, &[("a2", "rs", first)], &["rs"]));
    net::until("the name before is forgotten", || doors(&weir, "a").is_empty());
    assert_eq!(settled(&weir, "a2"), before);
    assert_led(&weir, "a2", "rs");
}

fn a_cluster_takes_another_name() {
    let set = calm_set();
    let first = net::free_range(8);
    let weir = Weir::start(&config(&set, &[("a", "rs", first)], &["rs", "other"]));
    let before = settled(&weir, "a");
    for (cluster, clusters) in [("rs2", &["rs2", "other"][..]), ("other", &["rs2", "other"])] {
        reload(&weir, &config(&set, &[("a", cluster, first)], clusters));
        let endpoints = |name: &str| {
            let all: Value = serde_json::from_str(&weir.get("/clusters").1).expect("JSON");
            let mut clusters = all["clusters"].as_array().expect("a list").iter();
            let found = clusters.find(|cluster| cluster["name"] == name).expect("it is there");
            found["endpoints"].as_array().map(Vec::len)
        };
        net::until("its members are known", || endpoints(cluster) == Some(3));
        assert_eq!(settled(&weir, "a"), before);
        assert_led(&weir, "a", cluster);
        let left = if cluster == "rs2" { "other" } else { "rs2" };
        assert_eq!(endpoints(left), Some(1), "nobody fronts {left}");
    }
}

fn a_listener_is_taken_back_and_comes_again() {
    let set = calm_set();
    let (a, b) = (net::free_range(8), net::free_range(8));
    let both = config(&set, &[("a", "rs", a), ("b", "rs", b)], &["rs"]);
    let weir = Weir::start(&both);
    // It stays with what it is asked for, until it is cut off.
    let (_, door) = settled(&weir, "b").pop_first().expect("there are three");
    let held = std::net::TcpStream::connect(&door).expect("it listens");
    reload(&weir, &config(&set, &[("a", "rs", a)], &["rs"]));
    reload(&weir, &both);
    net::until("the one before has gone", || {
        let mut byte = [0];
        held.set_nonblocking(true).is_ok() && matches!(held.peek(&mut byte), Ok(0))
    });
    assert_led(&weir, "a", "rs");
    assert_led(&weir, "b", "rs");
}

fn a_hello_that_cannot_be_rewritten_is_not_the_servers_fault() {
    let set = calm_set();
    let first = net::free_range(8);
    let before = config(&set, &[("a", "rs", first)], &["rs"]);
    let weir = Weir::start(&before);
    let (_, door) = settled(&weir, "a").pop_first().expect("there are three");
    let mut client = std::net::TcpStream::connect(&door).expect("it listens");
    let body = bson::doc! { "hello": 1, "$db": "admin" }.to_vec().expect("BSON");
    let words = [21 + body.len() as i32, 1, 0, 2013, 0].map(i32::to_le_bytes).concat();
    let hello = [&words, &[0][..], &body].concat();
    client.write_all(&hello).expect("it reads");
    assert!(client.read(&mut [0; 4096]).expect("an answer") > 0);
    // The connection keeps what it began with, and that is no longer true.
    reload(&weir, &before.replace("member_ports", "advertise: localhost, member_ports"));
    client.write_all(&hello).expect("it reads");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).ok();
    assert!(answer.is_empty(), "{answer:?}");
    let refused = [("listener", "a"), ("reason", "unready")];
    let numbers =
        weir.numbers_when("it is counted", |numbers| numbers.sum("weir_refusals_total", &refused) == 1);
    assert_eq!(numbers.sum("weir_mongo_hellos_total", &[("result", "refused")]), 1);
    for name in ["weir_malformed_total", "weir_failures_total"] {
        assert_eq!(numbers.sum(name, &[("side", "upstream")]), 0, "{name}");
    }
}
