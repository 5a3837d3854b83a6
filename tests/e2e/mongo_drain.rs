//! Weir goes away in front of a replica set while applications have a transaction, a half-read cursor and a change stream open: they
//! notice nothing, and another Weir at the same ports goes on.

use crate::support::{
    counted::{Counts, assert_same, by_client},
    front::{Front, Says, UNPUBLISHED, members, published},
    net,
    parts::{SET, calm_set, node, part, python},
    process::Process,
    weir::Weir,
};
use serde_json::Value;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

crate::tests!("mongo_drain":
    applications_go_on_when_weir_is_told_to_end,
    applications_go_on_when_a_reload_removes_their_listener,
    what_is_open_on_a_connection_is_bounded,
);

/// An application that has all three open.
struct Application {
    process: Process,
    errors: std::thread::JoinHandle<Vec<String>>,
}

impl Application {
    fn start(mut client: Command, uri: &str, database: &str) -> Application {
        let client = client.arg(uri).arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(database, client.stderr(Stdio::piped()));
        let errors = process.errors();
        let errors = std::thread::spawn(move || errors.lines().map_while(Result::ok).collect());
        assert_eq!(process.line(), "ready");
        Application { process, errors }
    }

    /// It goes on, to its end: what it printed.
    fn finish(mut self) -> Value {
        self.process.tell("go on");
        let text = self.process.rest();
        let ended = self.process.wait();
        let errors = self.errors.join().expect("it reads");
        assert_eq!(ended, Some(0), "{errors:#?}");
        serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// The application noticed nothing, and neither did it lose anything.
fn verify(printed: &Value) {
    assert_eq!(printed["errors"], serde_json::json!([]), "{printed}");
    assert_eq!(printed["seen"], serde_json::json!([0, 1, 2, 3, 4, 5]), "{printed}");
    // What the transaction wrote may have been met by the cursor.
    let read = printed["read"].as_u64().expect("a count");
    assert!((100..=104).contains(&read) && printed["distinct"] == read, "{printed}");
    // What did fail, the driver did anew by itself, elsewhere: the stream was resumed (or went on, where its monitor was the first to
    // hear), and what belonged to the old one is no loss.
    let resumed = serde_json::json!(["getMore", 6, ["ResumableChangeStreamError"]]);
    for failure in printed["failures"].as_array().expect("a list") {
        let again = ["killCursors", "aggregate"].iter().any(|name| failure[0] == *name);
        assert!(*failure == resumed || (again && failure[1] == 0), "{printed}");
    }
}

/// A connection that a driver might keep in its pool: used once, then left alone.
fn idle(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let ping = b"\x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";
    let length = 16 + 5 + ping.len() as u32;
    let mut message: Vec<u8> = [length, 1, 0, 2013, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    message.push(0);
    message.extend_from_slice(ping);
    stream.write_all(&message).expect("it reads");
    let mut head = [0; 16];
    stream.read_exact(&mut head).expect("it answers");
    let mut rest = vec![0; u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize - 16];
    stream.read_exact(&mut rest).expect("it answers in full");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    stream
}

fn applications(front: &Front, database: &str) -> Vec<Application> {
    let uri = format!("mongodb://127.0.0.1:{}/?replicaSet={SET}", front.ports[0]);
    let mut older = python("mongo_drain.py");
    older.env("PYTHONPATH", part("pymongo46"));
    let clients = [("py", python("mongo_drain.py")), ("py46", older), ("node", node("mongo_drain.js"))];
    clients.map(|(name, client)| Application::start(client, &uri, &format!("{database}_{name}"))).into()
}

fn well(numbers: &[&Counts<3>]) -> Counts<3> {
    let mut sum = Counts::new();
    for counts in numbers {
        for (key, n) in counts.iter().filter(|(key, _)| key[2] == "ok" && key[0] != "endSessions") {
            *sum.entry(key.clone()).or_insert(0) += n;
        }
    }
    sum
}

fn count(counts: &Counts<3>, operation: &str, resource: &str) -> u64 {
    let of = |key: &&[String; 3]| key[0] == operation && key[1].ends_with(resource);
    counts.iter().filter(|(key, _)| of(key)).map(|(_, n)| n).sum()
}

fn applications_go_on_when_weir_is_told_to_end() {
    let set = calm_set();
    let first = net::free_range(8);
    let says = Says { top: "drain_timeout: 12s".to_owned(), ..Says::default() };
    let config = says.config("db", &format!("127.0.0.1:{}", set.ports[0]), first);
    let mut front = Front::start(config.clone(), first);
    let uri = format!("mongodb://127.0.0.1:{}/?replicaSet={SET}", front.ports[1]);
    let mut busy = python("mongo_members.py");
    busy.arg(&uri).args(["drain_busy", "busy", "until"]).stdin(Stdio::piped());
    busy.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut busy = Process::start("a busy client", &mut busy);
    let mut said = busy.errors();
    let mut line = String::new();
    said.read_line(&mut line).expect("it says that it is busy");
    let mut running = applications(&front, "drain");
    let mut idle = idle(front.port_of(set.primary()));
    let before = published(&front.weir.numbers());

    front.weir.process().signal("TERM");
    net::until("it listens no more", || {
        front.ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_err())
    });
    // The applications go on at once, whoever listens by then.
    running.iter_mut().for_each(|one| one.process.tell("go on"));
    let next = Weir::start(&config);
    assert_eq!(idle.read(&mut [0; 16]).expect("closed in order"), 0, "idle connections are closed at once");
    assert!(front.weir.process().runs(), "the transactions are still open");
    next.numbers_when("three members have an address", |numbers| members(numbers) == 3);
    for one in &mut running {
        assert_eq!(one.process.line(), "committed and read");
    }
    assert_eq!(front.weir.process().wait(), Some(0));
    let log = front.weir.log();
    let drained = log.iter().find(|entry| entry["message"] == "drained");
    assert_eq!(drained.expect("it says so")["cut_off"], 0, "{log:#?}");
    let printed: Vec<Value> = running.into_iter().map(Application::finish).collect();
    printed.iter().for_each(verify);
    busy.tell("enough");
    let text = busy.rest();
    let rest: Vec<String> = said.lines().map_while(Result::ok).collect();
    assert_eq!(busy.wait(), Some(0), "{rest:#?}");

    // The transactions were committed and the cursors read where they were opened; the streams went on at the next Weir.
    let after = published(&next.numbers());
    let clients: Vec<Counts<3>> = printed.iter().map(by_client).collect();
    let clients = well(&clients.iter().collect::<Vec<_>>());
    for name in ["py", "py46", "node"] {
        assert_eq!(count(&after, "commitTransaction", "admin"), 0);
        assert_eq!(count(&after, "getMore", &format!("drain_{name}.items")), 0);
        assert!(count(&after, "getMore", &format!("drain_{name}.changes")) >= 1, "{after:?}");
        assert!(count(&after, "insert", &format!("drain_{name}.changes")) == 5, "{after:?}");
    }
    assert_eq!(count(&clients, "commitTransaction", "admin"), 3);
    assert!(
        count(&before, "insert", "drain_busy.busy") > 0 && count(&after, "insert", "drain_busy.busy") > 0
    );
    let busy: Value = serde_json::from_str(&text).expect("JSON");
    front.assert_nowhere_else("busy", &busy);
}

fn applications_go_on_when_a_reload_removes_their_listener() {
    let set = calm_set();
    let first = net::free_range(8);
    let says = Says { top: "drain_timeout: 12s".to_owned(), ..Says::default() };
    let seed = format!("127.0.0.1:{}", set.ports[0]);
    let front = Front::start(says.config("db", &seed, first), first);
    let mut running = applications(&front, "removed");
    let mut idle = idle(front.port_of(set.primary()));
    // Another listener takes the ports over.
    assert_eq!(front.weir.reload(&says.config("next", &seed, first))["message"], "reloaded");
    running.iter_mut().for_each(|one| one.process.tell("go on"));
    assert_eq!(idle.read(&mut [0; 16]).expect("closed in order"), 0, "idle connections are closed at once");
    for one in &mut running {
        assert_eq!(one.process.line(), "committed and read");
    }
    front.weir.numbers_when("the connections of the listener that is gone have ended", |numbers| {
        numbers.sum("weir_listener_connections_open", &[("listener", "db")]) == 0
    });
    let printed: Vec<Value> = running.into_iter().map(Application::finish).collect();
    printed.iter().for_each(verify);
    let numbers = front.weir.numbers();
    let next = numbers.operations("next", ["operation", "resource", "result"]);
    assert_eq!(count(&next, "commitTransaction", "admin"), 0);
    let old = published(&numbers);
    assert_eq!(count(&old, "commitTransaction", "admin"), 3);
    // Every command went through one of the two.
    let clients: Vec<Counts<3>> = printed.iter().map(by_client).collect();
    let mut both = well(&[&old, &next]);
    both.retain(|key, _| key[0] != "ping" && !UNPUBLISHED.contains(&key[0].as_str()));
    assert_same("both", &well(&clients.iter().collect::<Vec<_>>()), &both);
    assert!(!front.weir.log().iter().any(|entry| entry["cut"].is_number()), "{:#?}", front.weir.log());
}

fn what_is_open_on_a_connection_is_bounded() {
    let set = calm_set();
    let front = Front::new(&set);
    let uri = format!("mongodb://127.0.0.1:{}/?maxPoolSize=1", front.ports[0]);
    front.compare("many cursors", python("mongo_members.py").arg(&uri).args(["drain_many", "cursors", "70"]));
    let limit = [("listener", "db"), ("limit", "open")];
    assert_eq!(front.weir.numbers().sum("weir_message_limits_total", &limit), 70 - 64);
}
