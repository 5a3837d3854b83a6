//! Servers that are dead, slow or moving: who is taken out of rotation, what becomes of what they had, who comes back.

use crate::support::{net, weir::Weir};
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
);

/// An HTTP/1.1 server that answers every request by `status` (0: never), until it is told another; how many it got.
struct Origin {
    port: u16,
    status: Arc<AtomicU32>,
}

impl Origin {
    fn new(status: u32) -> Origin {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let status = Arc::new(AtomicU32::new(status));
        let shared = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let status = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &status));
            }
        });
        Origin { port, status }
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
    (0..10).for_each(|_| assert_eq!(get(&weir, Duration::from_secs(20)), 200));
}
