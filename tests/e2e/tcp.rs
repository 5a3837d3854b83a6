//! Listeners that pass bytes: all of them, in both directions, to the end of each; counted by the byte.

use crate::support::{net, weir::Weir};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    time::Duration,
};

crate::tests!("tcp":
    bytes_pass_both_ways_and_directions_end_by_themselves,
    connections_go_where_somebody_is,
    connections_end_with_either_side,
);

fn front(endpoints: &[u16], settings: &str) -> Weir {
    let endpoints: Vec<String> = endpoints.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    Weir::start(&format!(
        "listeners: {{ raw: {{ bind: \"127.0.0.1:0\", {settings} tcp: {{ cluster: raw }} }} }}\n\
         clusters: {{ raw: {{ endpoints: [{}], outlier_ejection: {{ consecutive_errors: 3 }} }} }}\n",
        endpoints.join(", ")
    ))
}

fn connect(weir: &Weir) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", weir.port("raw"))).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(50))).expect("an option");
    stream
}

/// A server that accepts one connection, handed over by the channel.
fn server() -> (u16, std::sync::mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let (give, take) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if give.send(stream).is_err() {
                return;
            }
        }
    });
    (port, take)
}

fn bytes_pass_both_ways_and_directions_end_by_themselves() {
    let (port, accepted) = server();
    let weir = front(&[port], "");
    let mut client = connect(&weir);
    let mut upstream = accepted.recv().expect("it comes");
    // The server may speak first, and the end of one direction is not the end of the other.
    upstream.write_all(b"welcome").expect("it reads");
    let mut seven = [0; 7];
    client.read_exact(&mut seven).expect("it answers");
    assert_eq!(&seven, b"welcome");
    let sent: Vec<u8> = (0..8 << 20).map(|n: u32| (n ^ (n >> 8)) as u8).collect();
    let mut got = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&sent).expect("it reads");
            client.shutdown(Shutdown::Write).expect("it is open");
        });
        upstream.read_to_end(&mut got).expect("in order");
    });
    assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
    // All of it goes back once the client's direction has ended.
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            upstream.write_all(&got).expect("it reads");
            drop(upstream);
        });
        client.read_to_end(&mut back).expect("in order");
    });
    assert!(back == sent, "{} bytes of {}", back.len(), sent.len());
    let numbers = weir.numbers_when("it is counted", |n| n.sum("weir_operations_total", &[]) == 1);
    let labels = [("protocol", "tcp"), ("operation", "connection"), ("result", "ok"), ("cluster", "raw")];
    assert_eq!(numbers.sum("weir_operations_total", &labels), 1);
    assert_eq!(numbers.sum("weir_operation_request_bytes_total", &labels[..2]), 8 << 20);
    assert_eq!(numbers.sum("weir_operation_reply_bytes_total", &labels[..2]), (8 << 20) + 7);
    assert_eq!(numbers.sum("weir_operation_first_byte_seconds_count", &labels[..2]), 1);
    assert_eq!(numbers.sum("weir_failures_total", &[]), 0);
}

fn connections_go_where_somebody_is() {
    let (echo, dead) = (net::echo(), net::nobody());
    let weir = front(&[dead, echo], "");
    for _ in 0..20 {
        let mut client = connect(&weir);
        client.write_all(b"anybody?").expect("it reads");
        client.shutdown(Shutdown::Write).expect("it is open");
        let mut back = String::new();
        client.read_to_string(&mut back).expect("in order");
        assert_eq!(back, "anybody?");
    }
    let numbers = weir.numbers_when("all are counted", |n| n.sum("weir_operations_total", &[]) == 20);
    assert_eq!(numbers.sum("weir_operations_total", &[("result", "ok")]), 20);
    assert!(numbers.sum("weir_cluster_repicks_total", &[]) > 0);
    assert_eq!(numbers.sum("weir_operation_retries_total", &[]), 0);
    let dead = format!("127.0.0.1:{dead}");
    assert!(numbers.sum("weir_endpoint_connect_failures_total", &[("endpoint", &dead)]) > 0);
    assert_eq!(numbers.sum("weir_endpoint_ejections_total", &[("endpoint", &dead)]), 1);

    // Nobody at all: closed without a byte.
    let weir = front(&[net::nobody()], "");
    let mut rest = Vec::new();
    assert!(matches!(connect(&weir).read_to_end(&mut rest), Ok(0) | Err(_)));
    let failure = [("phase", "connecting"), ("reason", "connect_failed"), ("side", "network")];
    weir.numbers_when("that is counted", |n| n.sum("weir_failures_total", &failure) == 1);
}

fn connections_end_with_either_side() {
    let (port, accepted) = server();
    let weir = front(&[port], "idle_timeout: 1s,");
    let reset = |stream: TcpStream| {
        // Unread bytes make a close a reset (RFC 1122 section 4.2.2.13).
        net::until("there is something unread", || stream.peek(&mut [0]).is_ok_and(|n| n == 1));
        drop(stream);
    };
    let pair = || {
        let client = connect(&weir);
        (client, accepted.recv().expect("it comes"))
    };
    // The client goes, with something unread: the server learns of it.
    let (client, mut upstream) = pair();
    upstream.write_all(b"x").expect("it reads");
    reset(client);
    assert!(matches!(upstream.read(&mut [0]), Ok(0) | Err(_)));
    // The server does: so does the client.
    let (mut client, upstream) = pair();
    client.write_all(b"x").expect("it reads");
    reset(upstream);
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    // Neither does, and nothing moves.
    let (mut client, mut upstream) = pair();
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    assert!(matches!(upstream.read(&mut [0]), Ok(0) | Err(_)));
    let numbers = weir.numbers_when("all are counted", |n| n.sum("weir_operations_total", &[]) == 3);
    for (side, reason) in [("client", "reset"), ("network", "reset"), ("proxy", "idle_timeout")] {
        let all: Vec<_> = numbers.of("weir_failures_total", &[]).collect();
        let failure = [("side", side), ("reason", reason)];
        assert_eq!(numbers.sum("weir_failures_total", &failure), 1, "{side}: {all:#?}");
    }
}
