//! Who the servers behind a listener are: roles, elections, round trips, as Weir hears of them.

use crate::support::{
    front::Front,
    numbers::Numbers,
    parts::{SET, mongod, python, replica_set},
    process::output,
    weir::{Weir, binary},
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::PoisonError;

crate::tests!("mongo_topology":
    roles_elections_and_round_trips_are_seen,
    what_passes_tells_who_the_server_is,
);

/// `member: role`, as the admin API says.
fn roles(weir: &Weir) -> BTreeMap<String, String> {
    let (status, text) = weir.get("/members");
    assert_eq!(status, 200);
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let members = all["sets"].as_array().expect("a list").iter().flat_map(|set| set["members"].as_array());
    let word = |one: &Value, key: &str| one[key].as_str().expect("a word").to_owned();
    members.flatten().map(|one| (word(one, "member"), word(one, "role"))).collect()
}

fn roles_elections_and_round_trips_are_seen() {
    let set = replica_set().write().unwrap_or_else(PoisonError::into_inner);
    let front = Front::new(&set);
    let name = |port: u16| format!("127.0.0.1:{port}");
    let role = |numbers: &Numbers, port: u16, role: &str| {
        numbers.sum("weir_mongo_member_role", &[("listener", "db"), ("member", &name(port)), ("role", role)])
    };
    let elections = |numbers: &Numbers| numbers.sum("weir_mongo_elections_total", &[("listener", "db")]);
    let primary = set.primary();
    let followers = |primary: u16| set.ports.into_iter().filter(move |port| *port != primary);
    let settled = |numbers: &Numbers, primary: u16| {
        role(numbers, primary, "primary") == 1
            && followers(primary).all(|port| role(numbers, port, "secondary") == 1)
    };
    let numbers = front.weir.numbers_when("all roles are known", |numbers| settled(numbers, primary));
    assert_eq!(elections(&numbers), 0, "nobody was elected since Weir has looked");
    assert_eq!(numbers.of("weir_mongo_member_role", &[]).count(), 3);
    for port in set.ports {
        let round_trips: Vec<f64> = numbers
            .of("weir_mongo_member_round_trip_seconds", &[("member", &name(port))])
            .map(|s| s.value)
            .collect();
        assert!(matches!(round_trips[..], [took] if took > 0.0 && took < 5.0), "{round_trips:?}");
    }
    let next: u16 = set.ask("step_down").parse().expect("a port");
    let numbers = front.weir.numbers_when("the new primary is seen", |numbers| settled(numbers, next));
    assert_eq!(elections(&numbers), 1);
    let (_, text) = front.weir.get("/members");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let [one] = &all["sets"].as_array().expect("a list")[..] else { panic!("one set: {text}") };
    assert_eq!(
        (one["listener"].as_str(), one["set"].as_str(), one["elections"].as_u64()),
        (Some("db"), Some(SET), Some(1))
    );
    for member in one["members"].as_array().expect("a list") {
        let is_next = member["member"] == name(next).as_str();
        assert_eq!((member["role"] == "primary", member["elected"] == 1), (is_next, is_next), "{member}");
        let port = front.port_of(
            member["member"].as_str().and_then(|m| m.rsplit(':').next()?.parse().ok()).expect("a port"),
        );
        assert_eq!(member["advertised"], name(port).as_str());
        assert!(member["connections"].as_u64() >= Some(1), "Weir's own: {member}");
    }
    let admin = front.weir.admin().to_string();
    let page = output(binary().args(["top", "--once", "--page", "members", "--admin", &admin]));
    assert!(page.contains(&format!("replica set {SET}, 1 election seen")), "{page}");
    let line = page.lines().find(|line| line.contains(&name(next))).unwrap_or_else(|| panic!("{page}"));
    assert!(line.contains("primary") && line.contains(&name(front.port_of(next))), "{page}");
    // One that is gone does not answer.
    let gone = followers(next).next().expect("there are three");
    let _again = set.kill_for_now(gone);
    front.weir.numbers_when("it is found to be gone", |numbers| role(numbers, gone, "unreachable") == 1);
}

fn what_passes_tells_who_the_server_is() {
    let set = replica_set().write().unwrap_or_else(PoisonError::into_inner);
    let primary = set.primary();
    let follower = set.ports.into_iter().find(|port| *port != primary).expect("there are three");
    let config = |port: u16| {
        format!(
            "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db, mode: transparent }} }} }}\n\
             clusters: {{ db: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
        )
    };
    let ask = |weir: &Weir| {
        let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db"));
        output(python("mongo_calls.py").args([&uri, "hellos"]));
        roles(weir)
    };
    for (port, role) in [(primary, "primary"), (follower, "secondary"), (mongod(), "standalone")] {
        let weir = Weir::start(&config(port));
        assert!(roles(&weir).is_empty(), "nobody has asked yet");
        assert_eq!(ask(&weir), BTreeMap::from([(format!("127.0.0.1:{port}"), role.to_owned())]));
        let numbers = weir.numbers();
        assert!(numbers.of("weir_mongo_member_round_trip_seconds", &[]).all(|sample| sample.value > 0.0));
        assert_eq!(numbers.of("weir_mongo_member_round_trip_seconds", &[]).count(), 1);
    }
    // It steps down, and is elected again.
    let weir = Weir::start(&config(primary));
    ask(&weir);
    let elections = || weir.numbers().sum("weir_mongo_elections_total", &[("listener", "db")]);
    assert_eq!(elections(), 0);
    while set.ask("step_down") != primary.to_string() {}
    ask(&weir);
    assert_eq!(elections(), 1);
    // What a listener that is gone knew nobody knows any more.
    assert_eq!(weir.reload("listeners: {}\nclusters: {}\n")["message"], "reloaded");
    weir.numbers_when("it is forgotten", |numbers| numbers.of("weir_mongo_member_role", &[]).count() == 0);
}
