//! Servers that are dead, slow or moving: who is taken out of rotation, what becomes of what they had, who comes back.

use crate::http_edges::resolver;
use crate::support::{
    net,
    weir::{Weir, binary},
};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

crate::tests!("dead":
    half_of_three_is_one,
    who_never_answers_leaves_though_clients_give_up_first,
    good_connections_stay_while_a_name_has_another_address_each_time,
    the_next_address_of_a_name_has_its_chance,
);

/// An HTTP/1.1 server that answers every request by `status` (0: never), until it is told another; how many it got.
struct Origin {
    port: u16,
    status: Arc<AtomicU32>,
}

impl Origin {
    fn new(status: u32) -> Origin {
        let origin = Origin { port: 0, status: Arc::new(AtomicU32::new(status)) };
        Origin { port: origin.listen(1, 0), ..origin }
    }

    /// Listens at 127.0.0.`last` as well; says at which port.
    fn listen(&self, last: u8, port: u16) -> u16 {
        let listener = TcpListener::bind(std::net::SocketAddr::from(([127, 0, 0, last], port)))
            .expect("the port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::clone(&self.status);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let status = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &status));
            }
        });
        port
    }
}

fn serve(mut stream: TcpStream, status: &AtomicU32) {
    let (mut read, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            read.drain(..end + 4);
            match status.load(Ordering::Relaxed) {
                0 => {}
                status => {
                    let reply = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
                    if stream.write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(n) => read.extend_from_slice(&chunk[..n]),
        }
    }
}

fn front(origins: &[&Origin], listener: &str, cluster: &str) -> Weir {
    let endpoints: Vec<_> = origins.iter().map(|origin| format!("\"127.0.0.1:{}\"", origin.port)).collect();
    Weir::start(&format!(
        "workers: 1\nlisteners: {{ web: {{ bind: \"127.0.0.1:0\", {listener} }} }}\n\
         clusters: {{ web: {{ endpoints: [{}], {cluster} }} }}\n",
        endpoints.join(", ")
    ))
}

/// One request on a connection of its own; the status, 0 if none came within `patience`.
fn get(weir: &Weir, patience: Duration) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", weir.port("web"))).expect("Weir listens");
    stream.set_read_timeout(Some(patience)).expect("a socket");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("Weir reads");
    let mut head = [0; 12];
    match stream.read_exact(&mut head) {
        Ok(()) => String::from_utf8_lossy(&head[9..]).parse().expect("a status"),
        Err(_) => 0,
    }
}

fn ask(weir: &Weir, times: u32) {
    for _ in 0..times {
        get(weir, Duration::from_secs(20));
    }
}

fn states(weir: &Weir) -> Vec<String> {
    let (_, clusters) = weir.get("/clusters");
    let clusters: serde_json::Value = serde_json::from_str(&clusters).expect("JSON");
    let endpoints = clusters["clusters"][0]["endpoints"].as_array().expect("a list");
    endpoints.iter().map(|endpoint| endpoint["state"].as_str().expect("a word").to_owned()).collect()
}

fn half_of_three_is_one() {
    let origins = [Origin::new(503), Origin::new(503), Origin::new(200)];
    let [a, b, c] = &origins;
    let ejection = "outlier_ejection: { base_ejection_time: 100ms }";
    let weir = front(&[a, b, c], "http: { cluster: web }", ejection);
    ask(&weir, 40);
    let out = states(&weir).iter().filter(|state| **state != "available").count();
    assert_eq!(out, 1, "at most half of three are out");
    // When all fail it is a common failure, and when that is over all are back.
    c.status.store(503, Ordering::Relaxed);
    net::until("all are back", || {
        ask(&weir, 20);
        states(&weir).iter().all(|state| state == "available")
    });
    origins.iter().for_each(|origin| origin.status.store(200, Ordering::Relaxed));
    (0..20).for_each(|_| assert_eq!(get(&weir, Duration::from_secs(20)), 200));
    assert_eq!(states(&weir), ["available"; 3]);
}

fn who_never_answers_leaves_though_clients_give_up_first() {
    let (silent, well) = (Origin::new(0), Origin::new(200));
    let weir = front(&[&silent, &well], "http: { cluster: web }", "outlier_ejection: {}");
    net::until("it is out", || {
        get(&weir, Duration::from_millis(200));
        states(&weir)[0] == "ejected"
    });
    let (_, clusters) = weir.get("/clusters");
    let clusters: serde_json::Value = serde_json::from_str(&clusters).expect("JSON");
    let last = |n: usize| clusters["clusters"][0]["endpoints"][n]["last_ejection"].clone();
    assert_eq!((&last(0)["why"], last(1)), (&"clients_left".into(), serde_json::Value::Null));
    let told =
        || weir.log().into_iter().find(|entry| entry["message"] == "an endpoint was taken out of rotation");
    net::until("the log tells of it", || told().is_some());
    let told = told().expect("found");
    assert_eq!(told["why"], "clients_left");
    let apart = told["at"].as_f64().zip(last(0)["at"].as_f64()).map(|(log, admin)| (log - admin).abs());
    assert!(apart.is_some_and(|apart| apart < 0.5), "both say when it was: {told}, {clusters}");
    (0..10).for_each(|_| assert_eq!(get(&weir, Duration::from_secs(20)), 200));
}

/// Weir in front of a name that a file in `folder` gives addresses to.
fn named(folder: &std::path::Path, port: u16, cluster: &str) -> Weir {
    let mut run = binary();
    run.env("LD_PRELOAD", resolver(folder)).env("WEIR_TEST_NAMES", folder.join("names"));
    let config = format!(
        "workers: 1\nlisteners: {{ web: {{ bind: \"127.0.0.1:0\", http: {{ cluster: web }} }} }}\n\
         clusters: {{ web: {{ endpoints: [\"web.moves.test:{port}\"], dns_refresh: 1s, {cluster} }} }}\n"
    );
    Weir::start_as(run, tempfile::tempdir().expect("a folder"), &config)
}

fn good_connections_stay_while_a_name_has_another_address_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = folder.path().join("names");
    let name = |last: u8| std::fs::write(&names, format!("web.moves.test 127.0.0.{last}\n")).expect("ours");
    name(1);
    let origin = Origin::new(200);
    for last in 2..9 {
        origin.listen(last, origin.port);
    }
    let weir = named(folder.path(), origin.port, "idle_timeout: 1h");
    let opened = |weir: &Weir| weir.numbers().sum("weir_cluster_connections_total", &[]);
    let resolved =
        |weir: &Weir| weir.numbers().sum("weir_cluster_dns_resolutions_total", &[("result", "ok")]);
    assert_eq!(get(&weir, Duration::from_secs(20)), 200);
    for last in 2..7 {
        name(last);
        let before = resolved(&weir);
        net::until("it has been asked for", || resolved(&weir) > before + 1);
        assert_eq!(get(&weir, Duration::from_secs(20)), 200);
    }
    assert_eq!(opened(&weir), 1, "a connection that is good is used for as long as answers keep changing");
    net::until("the name has moved", || {
        ask(&weir, 1);
        opened(&weir) == 2
    });
}

fn the_next_address_of_a_name_has_its_chance() {
    let folder = tempfile::tempdir().expect("a folder");
    // An address that answers no SYN: its queue is full.
    let origin = Origin::new(200);
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let address = std::net::SocketAddr::from(([127, 0, 0, 2], origin.port));
    silent.bind(&address.into()).expect("the port is free");
    silent.listen(0).expect("it listens");
    let queue: Vec<_> = (0..3)
        .map(|_| {
            let waits =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            waits.set_nonblocking(true).expect("a socket");
            waits.connect(&address.into()).ok();
            waits
        })
        .collect();
    let names = "web.moves.test 127.0.0.2\nweb.moves.test 127.0.0.1\n";
    std::fs::write(folder.path().join("names"), names).expect("ours");
    let weir = named(folder.path(), origin.port, "");
    assert_eq!(get(&weir, Duration::from_secs(20)), 200);
    let numbers = weir.numbers();
    assert_eq!(numbers.sum("weir_cluster_connections_total", &[]), 1, "one place for both");
    assert_eq!(numbers.sum("weir_cluster_connect_failures_total", &[]), 0);
    drop(queue);
}
