//! A replica set behind Weir: drivers that ask for its members are told Weir's addresses, whatever their URI says, and never
//! get past it. What proves it is that Weir counts every command that the drivers count.

use crate::support::{
    front::{Front, Says, drivers, members, while_busy},
    net,
    parts::{SET, calm_set, json, node, part, python, replica_set},
    weir::{Weir, binary},
};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::sync::PoisonError;

crate::tests!("mongo_members":
    every_member_is_a_seed_for_pymongo,
    every_member_is_a_seed_for_node,
    pymongo_4_6_stays_behind_weir,
    compressed_hellos_are_rewritten,
    a_direct_connection_stays_with_its_member,
    the_entry_leads_to_the_primary,
    writes_survive_a_step_down,
    writes_survive_the_death_of_a_member,
    members_come_and_go,
    ports_of_others_are_passed_over,
    a_reload_keeps_the_members,
    without_ports_the_operator_is_told,
);

fn every_seed(client: fn() -> Command, database: &str) {
    let set = calm_set();
    let front = Front::new(&set);
    let options = ["".to_owned(), format!("?replicaSet={SET}")];
    for (nth, port) in front.ports.iter().enumerate() {
        for (option, options) in options.iter().enumerate() {
            // Each member with and without the option, but not everything twice.
            if nth > 0 && option != nth % 2 {
                continue;
            }
            let uri = format!("mongodb://127.0.0.1:{port}/{options}");
            let mut client = client();
            let printed = front.compare(&uri, client.arg(&uri).arg(database).arg("all"));
            front.assert_behind(&uri, &printed);
        }
    }
    let uri = format!("mongodb://127.0.0.1:{}/?replicaSet={SET}", front.weir.port("db"));
    let printed = front.compare(&uri, client().arg(&uri).arg(database).arg("all"));
    front.assert_behind(&uri, &printed);
}

fn every_member_is_a_seed_for_pymongo() {
    every_seed(|| python("mongo_members.py"), "members_py");
}

fn every_member_is_a_seed_for_node() {
    every_seed(|| node("mongo_members.js"), "members_node");
}

fn pymongo_4_6_stays_behind_weir() {
    let set = calm_set();
    let front = Front::new(&set);
    for options in ["".to_owned(), format!("?replicaSet={SET}")] {
        let uri = format!("mongodb://127.0.0.1:{}/{options}", front.ports[1]);
        let mut client = python("mongo_members.py");
        client.env("PYTHONPATH", part("pymongo46")).arg(&uri).arg("members_py46").arg("all");
        let printed = front.compare(&uri, &mut client);
        assert!(printed["driver"].as_str().is_some_and(|driver| driver.starts_with("4.6")));
        front.assert_behind(&uri, &printed);
    }
}

fn compressed_hellos_are_rewritten() {
    let set = calm_set();
    let front = Front::new(&set);
    for compressor in ["snappy", "zlib", "zstd"] {
        let uri = format!("mongodb://127.0.0.1:{}/?compressors={compressor}", front.ports[2]);
        let mut client = python("mongo_members.py");
        let printed = front.compare(&uri, client.arg(&uri).arg(format!("members_{compressor}")).arg("all"));
        front.assert_behind(&uri, &printed);
    }
}

fn a_direct_connection_stays_with_its_member() {
    let set = calm_set();
    let front = Front::new(&set);
    let primary = set.primary();
    for member in set.ports {
        let port = front.port_of(member);
        let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
        let what = if member == primary { "busy" } else { "reads" };
        for (_, mut client) in drivers() {
            client.stderr(Stdio::null()).arg(&uri).arg("members_direct").args([what, "0.2"]);
            let printed = front.compare(&uri, &mut client);
            assert_eq!(printed["servers"], serde_json::json!([format!("127.0.0.1:{port}")]));
        }
        // What came through the door went to the member behind it.
        let numbers = front.weir.numbers();
        let endpoint = format!("127.0.0.1:{member}");
        assert!(numbers.sum("weir_endpoint_attempts_total", &[("endpoint", &endpoint)]) > 0, "{endpoint}");
    }
}

fn the_entry_leads_to_the_primary() {
    let set = calm_set();
    let front = Front::new(&set);
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", front.weir.port("db"));
    front.compare(&uri, python("mongo_members.py").arg(&uri).arg("members_entry").args(["busy", "0.3"]));
}

fn named(front: &Front) -> String {
    format!("mongodb://127.0.0.1:{}/?replicaSet={SET}", front.ports[0])
}

fn writes_survive_a_step_down() {
    let set = replica_set().write().unwrap_or_else(PoisonError::into_inner);
    let front = Front::new(&set);
    while_busy(&front, &named(&front), "members_step_down", || {
        let before = set.primary();
        assert_ne!(set.ask("step_down"), before.to_string(), "somebody else is primary");
    });
}

fn writes_survive_the_death_of_a_member() {
    let set = replica_set().write().unwrap_or_else(PoisonError::into_inner);
    let front = Front::new(&set);
    let primary = set.primary();
    let mut again = None;
    while_busy(&front, &named(&front), "members_death", || {
        again = Some(set.kill_for_now(primary));
        assert_ne!(set.primary(), primary);
    });
}

fn members_come_and_go() {
    let set = replica_set().write().unwrap_or_else(PoisonError::into_inner);
    let front = Front::new(&set);
    let primary = set.primary();
    let gone = set.ports.into_iter().rev().find(|port| *port != primary).expect("there are three");
    let port = front.port_of(gone);
    set.ask(&format!("remove {gone}"));
    front.weir.numbers_when("a member has gone", |numbers| members(numbers) == 2);
    net::until("its door is closed", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    set.ask(&format!("add {gone}"));
    front.weir.numbers_when("a member has come", |numbers| members(numbers) == 3);
    // Old connections of drivers may lead to the port that it had, so it got another.
    let fresh = front.port_of(gone);
    assert_eq!(fresh, front.ports[2] + 1);
    let uri = format!("mongodb://127.0.0.1:{fresh}/?replicaSet={SET}");
    let printed = front.compare(&uri, python("mongo_members.py").arg(&uri).arg("members_new").arg("all"));
    assert!(printed["known"].as_array().is_some_and(|known| known.len() == 3 && known.iter().any(|k| k == &format!("127.0.0.1:{fresh}"))));
}

fn ports_of_others_are_passed_over() {
    let set = calm_set();
    let first = net::free_range(8);
    let seed = format!("127.0.0.1:{}", set.ports[0]);
    let hold = |nth: u16| std::net::TcpListener::bind(("127.0.0.1", first + nth)).expect("it is free");
    // Ports that cannot be had, and members that are left out.
    let told = |weir: &Weir| {
        let log = weir.log();
        let count = |is: fn(&Value) -> bool| log.iter().filter(|entry| is(entry)).count();
        let ports = count(|entry| entry["port"].is_number());
        (ports, count(|entry| entry["member"].is_string() && !entry["address"].is_string()))
    };
    let addresses = |weir: &Weir| -> Vec<u64> {
        let log = weir.log();
        let port = |address: &str| address.rsplit(':').next()?.parse::<u64>().ok();
        let given = log.iter().filter(|entry| entry["member"].is_string());
        given.filter_map(|entry| Some(port(entry["address"].as_str()?)? - u64::from(first))).collect()
    };
    let held = [hold(0), hold(2), hold(3)];
    let weir = Weir::start(&Says::default().config("db", &seed, first));
    weir.numbers_when("three members have an address", |numbers| members(numbers) == 3);
    assert_eq!(addresses(&weir), [1, 4, 5]);
    assert_eq!(told(&weir), (3, 0), "{:#?}", weir.log());
    drop(weir);
    // With one port too few somebody is left out until there is one.
    let few = Says::default()
        .config("db", &seed, first)
        .replace(&format!("{first}-{}", first + 7), &format!("{}-{}", first + 1, first + 3));
    let weir = Weir::start(&few);
    weir.numbers_when("one has an address", |numbers| members(numbers) == 1);
    assert_eq!((addresses(&weir), told(&weir)), (vec![1], (2, 2)), "{:#?}", weir.log());
    drop(held);
    weir.numbers_when("all have one", |numbers| members(numbers) == 3);
    assert_eq!(addresses(&weir), [1, 2, 3]);
    assert_eq!(told(&weir), (2, 2), "{:#?}", weir.log());
}

fn a_reload_keeps_the_members() {
    let set = calm_set();
    let front = Front::new(&set);
    let uri = format!("mongodb://127.0.0.1:{}/?replicaSet={SET}", front.ports[0]);
    let changed = front.config.replace("bind:", "idle_timeout: 1h\n    bind:");
    assert_eq!(front.weir.reload(&changed)["message"], "reloaded");
    assert_eq!(members(&front.weir.numbers()), 3);
    let printed = front.compare(&uri, python("mongo_members.py").arg(&uri).arg("members_reload").arg("all"));
    front.assert_behind(&uri, &printed);
    // Transparent again: the doors close.
    let first = front.ports[0];
    let transparent = front.config.replace(&format!("member_ports: {first}-{}", first + 7), "");
    assert_ne!(transparent, front.config);
    assert_eq!(front.weir.reload(&transparent)["message"], "reloaded");
    for port in &front.ports {
        net::until("its door is closed", || std::net::TcpStream::connect(("127.0.0.1", *port)).is_err());
    }
}

fn without_ports_the_operator_is_told() {
    let set = calm_set();
    let endpoints = set.ports.map(|port| format!("\"127.0.0.1:{port}\"")).join(", ");
    let config = format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db }} }} }}\n\
         clusters: {{ db: {{ endpoints: [{endpoints}] }} }}\n"
    );
    let weir = Weir::start(&config);
    let warned = |weir: &Weir| {
        let log = weir.log();
        log.iter().filter(|e| e["message"].as_str().is_some_and(|m| m.contains("member_ports"))).count()
    };
    assert_eq!(warned(&weir), 1, "at start: {:#?}", weir.log());
    let checked = |weir: &Weir| {
        let checked = binary().arg("check").arg(weir.file()).output().expect("weir runs");
        assert!(checked.status.success(), "it can be run");
        String::from_utf8_lossy(&checked.stderr).into_owned()
    };
    let text = checked(&weir);
    assert!(text.contains("warning: ") && text.contains("member_ports"), "{text}");
    // Of one endpoint nobody can say what it is until it is asked.
    let weir = Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        set.ports[1]
    ));
    assert_eq!(warned(&weir), 0, "{:#?}", weir.log());
    let text = checked(&weir);
    assert!(text.contains("note: ") && text.contains("member_ports"), "{text}");
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db"));
    json(python("mongo_members.py").arg(&uri).arg("members_told").arg("reads"));
    assert_eq!(warned(&weir), 1, "when a hello has named members: {:#?}", weir.log());
    // Who says that it is meant is not told.
    let weir = Weir::start(&config.replace("cluster: db }", "cluster: db, mode: transparent }"));
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db"));
    json(python("mongo_members.py").arg(&uri).arg("members_told").arg("reads"));
    assert_eq!(warned(&weir), 0, "{:#?}", weir.log());
    assert!(checked(&weir).is_empty());
}
