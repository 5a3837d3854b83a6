//! Who is let in: source lists, limits by address, the rate of accepting, headers of the PROXY protocol in and out.

use crate::house::{House, Upstream, config, ping, rest, soon, until};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

fn text(listener: &str, cluster: &str, upstream: SocketAddr) -> String {
    format!(
        "workers: 2
listeners: {{ l: {{ bind: '127.0.0.1:0', tcp: {{ cluster: c }}{listener} }} }}
clusters: {{ c: {{ endpoints: ['{upstream}']{cluster} }} }}"
    )
}

/// Connects from an address of this host's own choosing.
async fn from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn is_closed(stream: &mut TcpStream) {
    assert_eq!(rest(stream).await, b"");
}

fn refused(house: &House, reason: &str) -> f64 {
    house.number("weir_listener_connections_refused_total", &[&format!("reason=\"{reason}\"")])
}

#[tokio::test]
async fn sources_are_let_in_or_not() {
    let upstream = Upstream::new().await.echo();
    let lists = ", source: { allow: [127.0.0.0/30, '::1'], deny: [127.0.0.2] }";
    let house = House::start(&text(lists, "", upstream)).await;
    let to = house.address("l");
    let mut standing = from("127.0.0.1", to).await;
    ping(&mut standing, b"one").await;
    is_closed(&mut from("127.0.0.2", to).await).await;
    ping(&mut from("127.0.0.3", to).await, b"three").await;
    is_closed(&mut from("127.0.0.4", to).await).await;
    assert_eq!(refused(&house, "source"), 2.0);
    assert_eq!(house.number("weir_listener_connections_total", &[]), 4.0);
    // The others hold from the next connection on; what stands stays.
    house.server.reload(config(&text(", source: { deny: [127.0.0.1] }", "", upstream))).await.unwrap();
    is_closed(&mut from("127.0.0.1", to).await).await;
    ping(&mut from("127.0.0.4", to).await, b"four").await;
    ping(&mut standing, b"still").await;
}

#[tokio::test]
async fn one_address_has_so_many_connections() {
    let upstream = Upstream::new().await.echo();
    let house = House::start(&text("", "", upstream)).await;
    let to = house.address("l");
    let mut first = from("127.0.0.1", to).await;
    ping(&mut first, b"before there was a limit").await;
    let limit = |n: u32| config(&text(&format!(", max_connections_per_address: {n}"), "", upstream));
    house.server.reload(limit(3)).await.unwrap();
    let mut standing = vec![first];
    for _ in 0..2 {
        let mut next = from("127.0.0.1", to).await;
        ping(&mut next, b"within it").await;
        standing.push(next);
    }
    // On whichever worker.
    for _ in 0..6 {
        is_closed(&mut from("127.0.0.1", to).await).await;
    }
    assert_eq!(refused(&house, "max_connections_per_address"), 6.0);
    ping(&mut from("127.0.0.2", to).await, b"another").await;
    standing.pop();
    house.becomes("weir_listener_connections_open", &[], 2.0).await;
    ping(&mut from("127.0.0.1", to).await, b"there is room again").await;
    house.becomes("weir_listener_connections_open", &[], 2.0).await;
    house.server.reload(limit(2)).await.unwrap();
    is_closed(&mut from("127.0.0.1", to).await).await;
    for mut stream in standing {
        ping(&mut stream, b"nobody is sent away").await;
    }
}

/// Whether there is an answer to a ping already, or will be in this time.
async fn answers(stream: &mut TcpStream, within: Duration) -> bool {
    let mut back = [0; 1];
    tokio::time::timeout(within, stream.read_exact(&mut back)).await.is_ok_and(|read| read.is_ok())
}

#[tokio::test]
async fn connections_beyond_the_rate_wait_and_are_not_refused() {
    let upstream = Upstream::new().await.echo();
    let rate = |rate: &str| text(&format!(", accept_rate: {{ {rate} }}"), "", upstream);
    let house = House::start(&rate("count: 1, per: 1h, burst: 3")).await;
    let to = house.address("l");
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = TcpStream::connect(to).await.unwrap();
        client.write_all(b"x").await.unwrap();
        clients.push(client);
    }
    // Three by both workers together, whoever they are.
    assert!(until(|| house.number("weir_listener_connections_total", &[]) == 3.0).await);
    house.becomes("weir_operations_in_flight", &[], 3.0).await;
    let mut waiting = Vec::new();
    for mut client in clients {
        if !answers(&mut client, Duration::from_millis(20)).await {
            waiting.push(client);
        }
    }
    assert_eq!(waiting.len(), 7);
    assert_eq!(house.number("weir_listener_connections_total", &[]), 3.0);
    let delayed = house.number("weir_listener_connections_delayed_total", &[]);
    assert!((1.0..=2.0).contains(&delayed), "one for each worker that has any waiting, not {delayed}");
    // The same rate again changes nothing; a faster one holds at once.
    house
        .server
        .reload(config(&rate("count: 1, per: 1h, burst: 3").replace("workers", "\nworkers")))
        .await
        .unwrap();
    assert_eq!(house.number("weir_listener_connections_total", &[]), 3.0);
    house.server.reload(config(&rate("count: 1000, burst: 2"))).await.unwrap();
    for client in &mut waiting {
        assert!(soon(answers(client, Duration::from_secs(20))).await);
    }
    assert_eq!(house.number("weir_listener_connections_total", &[]), 10.0);
    assert_eq!(house.number("weir_listener_connections_refused_total", &[]), 0.0);
}

#[tokio::test]
async fn who_is_turned_away_takes_nobodys_turn() {
    let upstream = Upstream::new().await.echo();
    let more = ", max_connections_per_address: 1, accept_rate: { count: 1, per: 1h, burst: 2 }";
    let house = House::start(&text(more, "", upstream)).await;
    let to = house.address("l");
    let mut standing = from("127.0.0.1", to).await;
    ping(&mut standing, b"its turn").await;
    for _ in 0..20 {
        is_closed(&mut from("127.0.0.1", to).await).await;
    }
    assert_eq!(refused(&house, "max_connections_per_address"), 20.0);
    ping(&mut from("127.0.0.2", to).await, b"the other turn").await;
}

#[tokio::test]
async fn who_never_says_who_he_is_holds_up_no_drain() {
    let upstream = Upstream::new().await.echo();
    let house = House::start(&text(", proxy_protocol: { timeout: 60s }", "", upstream)).await;
    let mut silent = TcpStream::connect(house.address("l")).await.unwrap();
    house.becomes("weir_listener_connections_open", &[], 1.0).await;
    let drained = soon(house.server.drain(Duration::from_secs(600))).await;
    assert_eq!((drained.finished, drained.cut), (1, 0));
    is_closed(&mut silent).await;
    assert_eq!(refused(&house, "draining"), 1.0);
}

#[tokio::test]
async fn a_listener_that_waits_drains_and_goes_like_any_other() {
    let upstream = Upstream::new().await.echo();
    let slow = ", accept_rate: { count: 1, per: 1h, burst: 1 }";
    let house = House::start(&text(slow, "", upstream)).await;
    let to = house.address("l");
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(TcpStream::connect(to).await.unwrap());
    }
    assert!(until(|| house.number("weir_listener_connections_delayed_total", &[]) >= 1.0).await);
    // What is queued is not kept waiting by a listener that goes.
    let without = text(slow, "", upstream).replace("l: {", "other: {");
    house.server.reload(config(&without)).await.unwrap();
    for client in &mut clients {
        ping(client, b"served").await;
    }
    drop(clients);
    // Nor by one that another takes its place over from: those that it had accepted already are served too.
    let to = house.address("other");
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(TcpStream::connect(to).await.unwrap());
    }
    assert!(until(|| house.number("weir_listener_connections_delayed_total", &["other"]) >= 1.0).await);
    let heir = text("", "", upstream).replace("l: {", "heir: {").replace("127.0.0.1:0", &to.to_string());
    house.server.reload(config(&heir)).await.unwrap();
    for client in &mut clients {
        ping(client, b"served").await;
    }
    // A drain does not wait for a turn either.
    let slow = text(slow, "", upstream).replace("l: {", "last: {");
    house.server.reload(config(&slow)).await.unwrap();
    let to = house.address("last");
    let mut left = Vec::new();
    for _ in 0..4 {
        // Who has left again takes nobody's turn.
        TcpStream::connect(to).await.unwrap();
        left.push(TcpStream::connect(to).await.unwrap());
    }
    assert!(until(|| house.number("weir_listener_connections_delayed_total", &["last"]) >= 1.0).await);
    drop((clients, left));
    soon(house.server.drain(Duration::from_secs(20))).await;
}

/// The first line that the upstream gets.
async fn first_line(upstream: &Upstream) -> (String, TcpStream) {
    let mut stream = upstream.accept().await;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(soon(stream.read_u8()).await.unwrap());
    }
    (String::from_utf8(line).unwrap(), stream)
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family, 0, u8::try_from(rest.len()).unwrap()], rest].concat()
}

#[tokio::test]
async fn headers_are_believed_of_those_who_are_trusted() {
    let upstream = Upstream::new().await;
    let trust = ", proxy_protocol: { from: [127.0.0.1] }";
    let house = House::start(&text(trust, ", proxy_protocol: v1", upstream.address())).await;
    let to = house.address("l");
    let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xC3, 0x50, 0x01, 0xBB];
    let mut v6 = vec![0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    v6.extend_from_within(..);
    v6.extend([0, 1, 0, 2]);
    let long = [&v4[..], &[4, 0, 200], &[0; 200]].concat();
    let table: [(Vec<u8>, &str); 5] = [
        (
            b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n".to_vec(),
            "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n",
        ),
        (v2(0x21, 0x11, &v4), "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n"),
        (v2(0x21, 0x21, &v6), "PROXY TCP6 2001:db8::1 2001:db8::1 1 2\r\n"),
        (v2(0x21, 0x11, &long), "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n"),
        (v2(0x21, 0x31, &[0; 216]), "PROXY UNKNOWN\r\n"),
    ];
    for (header, expected) in table {
        // In one piece with what follows, and byte by byte.
        let mut whole = from("127.0.0.1", to).await;
        whole.write_all(&[&header[..], b"hello"].concat()).await.unwrap();
        let mut bytewise = from("127.0.0.1", to).await;
        bytewise.set_nodelay(true).unwrap();
        for byte in header.iter().chain(b"hello") {
            bytewise.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        for _ in 0..2 {
            let (line, mut stream) = first_line(&upstream).await;
            assert_eq!(line, expected);
            let mut hello = [0; 5];
            soon(stream.read_exact(&mut hello)).await.unwrap();
            assert_eq!(&hello, b"hello");
        }
    }
    assert_eq!(house.number("weir_listener_proxy_headers_total", &["client"]), 10.0);
    // LOCAL and UNKNOWN: the connection's own address.
    for (header, result) in [(v2(0x20, 0, &[]), "proxy"), (b"PROXY UNKNOWN\r\n".to_vec(), "unknown")] {
        let mut local = from("127.0.0.1", to).await;
        local.write_all(&header).await.unwrap();
        let own = local.local_addr().unwrap();
        let (line, _stream) = first_line(&upstream).await;
        assert_eq!(line, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", own.port(), to.port()));
        house.becomes("weir_listener_proxy_headers_total", &[&format!("result=\"{result}\"")], 1.0).await;
    }
    // Others are taken for themselves, and what they send is what they send.
    let mut other = from("127.0.0.2", to).await;
    other.write_all(b"PROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\n").await.unwrap();
    let own = other.local_addr().unwrap();
    let (line, mut stream) = first_line(&upstream).await;
    assert_eq!(line, format!("PROXY TCP4 127.0.0.2 127.0.0.1 {} {}\r\n", own.port(), to.port()));
    let mut sent = [0; 32];
    soon(stream.read_exact(&mut sent)).await.unwrap();
    assert_eq!(&sent, b"PROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\n");
}

#[tokio::test]
async fn connections_without_a_header_are_closed() {
    let upstream = Upstream::new().await.echo();
    let house = House::start(&text(", proxy_protocol: { timeout: 300ms }", "", upstream)).await;
    let to = house.address("l");
    let bad_sum = v2(0x21, 0x11, &[&[1; 12][..], &[3, 0, 4, 1, 2, 3, 4]].concat());
    let table: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\n\r\n", "absent"),
        (b"PROXY TCP4 nonsense\r\n", "malformed"),
        (&[b'P'; 1], "timeout"),
        (&bad_sum, "checksum"),
    ];
    for (sent, result) in table {
        let mut client = TcpStream::connect(to).await.unwrap();
        client.write_all(sent).await.unwrap();
        is_closed(&mut client).await;
        house.becomes("weir_listener_proxy_headers_total", &[&format!("result=\"{result}\"")], 1.0).await;
    }
    let mut long = TcpStream::connect(to).await.unwrap();
    long.write_all(format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).as_bytes()).await.unwrap();
    is_closed(&mut long).await;
    house.becomes("weir_listener_proxy_headers_total", &["too_long"], 1.0).await;
    let mut gone = TcpStream::connect(to).await.unwrap();
    gone.write_all(b"PROXY").await.unwrap();
    drop(gone);
    house.becomes("weir_listener_proxy_headers_total", &["closed"], 1.0).await;
    house.becomes("weir_listener_connections_open", &[], 0.0).await;
}

#[tokio::test]
async fn lists_and_limits_are_about_the_client_in_the_header() {
    let upstream = Upstream::new().await.echo();
    let more = ", proxy_protocol: { from: [127.0.0.1] }, max_connections_per_address: 1, source: { allow: [192.0.2.0/24] }";
    let house = House::start(&text(more, "", upstream)).await;
    let to = house.address("l");
    let client = async |address: &str| {
        let mut stream = from("127.0.0.1", to).await;
        stream.write_all(format!("PROXY TCP4 {address} 192.0.2.9 1 2\r\n").as_bytes()).await.unwrap();
        stream
    };
    let mut first = client("192.0.2.1").await;
    ping(&mut first, b"in").await;
    let mut second = client("192.0.2.2").await;
    ping(&mut second, b"in").await;
    is_closed(&mut client("192.0.2.1").await).await;
    is_closed(&mut client("10.0.0.1").await).await;
    is_closed(&mut from("127.0.0.2", to).await).await;
    assert_eq!((refused(&house, "source"), refused(&house, "max_connections_per_address")), (2.0, 1.0));
    drop(first);
    house.becomes("weir_listener_connections_open", &[], 1.0).await;
    ping(&mut client("192.0.2.1").await, b"again").await;
}

#[tokio::test]
async fn a_header_in_version_2_goes_first() {
    let upstream = Upstream::new().await;
    let house = House::start(&text("", ", proxy_protocol: v2", upstream.address())).await;
    let mut client = house.connect("l").await;
    client.write_all(b"hello").await.unwrap();
    let mut stream = upstream.accept().await;
    let mut got = [0; 33];
    soon(stream.read_exact(&mut got)).await.unwrap();
    let port = |address: SocketAddr| address.port().to_be_bytes();
    let ends = [[127, 0, 0, 1], [127, 0, 0, 1]].concat();
    let ports = [port(client.local_addr().unwrap()), port(house.address("l"))].concat();
    assert_eq!(got.to_vec(), [v2(0x21, 0x11, &[ends, ports].concat()), b"hello".to_vec()].concat());
}
