//! What is done again, and what never is: every row of docs/retries.md, played by servers that misbehave once; and what retries may
//! cost.

use crate::support::{h2, net, parts::root, weir::Weir};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

crate::tests!("retries":
    every_row_of_the_docs_is_so,
    no_storm_when_every_endpoint_fails,
    one_that_refuses_costs_nothing,
    one_that_breaks_off_loses_no_get,
    who_is_turned_away_is_told_when_to_come_back,
    the_server_is_given_the_time_it_asks_for,
);

/// A row of the docs.
#[derive(Debug, Clone)]
struct Row {
    protocol: String,
    request: String,
    deed: String,
    tries: u32,
    retry_on: String,
    asked: Option<u32>,
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("docs/retries.md")).expect("the page is there");
    let (_, table) = text.split_once("<!-- rows -->").expect("the table is marked");
    let lines = table.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [protocol, request, deed, tries, retry_on, asked] = cells[..] else { panic!("{line}") };
        let text = str::to_owned;
        Row {
            protocol: text(protocol),
            request: text(request),
            deed: text(deed),
            tries: tries.parse().expect("a number"),
            retry_on: text(retry_on),
            asked: asked.parse().ok(),
        }
    };
    lines.map(row).collect()
}

/// Two endpoints that know of each other, so that the first request of all meets the misdeed; how many there were.
struct Pair {
    ports: [u16; 2],
    seen: Arc<AtomicU32>,
}

impl Pair {
    fn new(protocol: &str, deed: &str) -> Pair {
        let seen = Arc::new(AtomicU32::new(0));
        let serve = |deed: String| {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
            let port = listener.local_addr().expect("it is bound").port();
            let (seen, protocol) = (Arc::clone(&seen), protocol.to_owned());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (seen, deed, protocol) = (Arc::clone(&seen), deed.clone(), protocol.clone());
                    std::thread::spawn(move || match &*protocol {
                        "grpc" => serve_h2(stream, &seen, &deed),
                        "http" | "dynamodb" => serve_h1(stream, &seen, &deed),
                        _ => serve_bytes(stream, &seen),
                    });
                }
            });
            port
        };
        let ports = match deed {
            "refuses the connection" => [net::nobody(), serve("none".into())],
            deed => [serve(deed.into()), serve(deed.into())],
        };
        Pair { ports, seen }
    }

    fn endpoints(&self) -> String {
        format!("[\"127.0.0.1:{}\", \"127.0.0.1:{}\"]", self.ports[0], self.ports[1])
    }

    /// How many requests have come since this was asked last.
    fn count(&self) -> u32 {
        self.seen.swap(0, SeqCst)
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn serve_h1(stream: TcpStream, seen: &AtomicU32, deed: &str) -> Option<()> {
    let mut write = stream.try_clone().ok()?;
    let mut read = BufReader::new(stream);
    loop {
        read_request(&mut read)?;
        let first = seen.fetch_add(1, SeqCst) == 0;
        let error = |status: u16, name: &str| {
            let body = format!("{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{name}\"}}");
            format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        let answer = match deed.strip_prefix("answers ").unwrap_or(deed) {
            _ if !first => OK.to_vec(),
            "none" => OK.to_vec(),
            "closes before a head" => return None,
            "closes in the body" => {
                write.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").ok()?;
                return None;
            }
            "throttles" => error(400, "ProvisionedThroughputExceededException"),
            "InternalServerError" => error(500, "InternalServerError"),
            status => format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n").into_bytes(),
        };
        write.write_all(&answer).ok()?;
    }
}

/// A request, or a reply whose end is told by its length.
fn read_request(read: &mut impl BufRead) -> Option<String> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).ok()?;
    Some(head)
}

fn serve_bytes(mut stream: TcpStream, seen: &AtomicU32) -> Option<()> {
    if stream.read(&mut [0; 4096]).ok()? > 0 {
        seen.fetch_add(1, SeqCst);
    }
    None
}

/// A frame: its kind, flags, stream and payload.
fn frame(stream: &mut impl Read) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

fn write_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// Fields as HPACK literals that nobody needs to remember.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).expect("short"));
            out.extend(text.as_bytes());
        }
    }
    out
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

fn serve_h2(mut stream: TcpStream, seen: &AtomicU32, deed: &str) -> Option<()> {
    stream.write_all(&write_frame(SETTINGS, 0, 0, &[])).ok()?;
    stream.read_exact(&mut [0; 24]).ok()?;
    loop {
        let (kind, flags, id, _) = frame(&mut stream)?;
        if kind == SETTINGS && flags & 1 == 0 {
            stream.write_all(&write_frame(SETTINGS, 1, 0, &[])).ok()?;
        }
        if !matches!(kind, DATA | HEADERS) || flags & 1 == 0 {
            continue;
        }
        let first = seen.fetch_add(1, SeqCst) == 0;
        let head = |status: &str, code: &str| {
            let fields = [(":status", status), ("content-type", "application/grpc"), ("grpc-status", code)];
            let some = if code.is_empty() { &fields[..1] } else { &fields[..] };
            write_frame(HEADERS, 5, id, &block(some))
        };
        let reset = |code: u32| write_frame(RESET, 0, id, &code.to_be_bytes());
        let goaway = |last: u32| write_frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
        let answer = match deed {
            _ if !first => head("200", "0"),
            "none" => head("200", "0"),
            "closes before a head" => return None,
            "sends GOAWAY that covers it, and closes" => {
                stream.write_all(&goaway(id)).ok()?;
                return None;
            }
            "sends GOAWAY that does not cover it" => {
                stream.write_all(&goaway(0)).ok()?;
                return None;
            }
            "resets by REFUSED_STREAM" => reset(7),
            "resets by INTERNAL_ERROR" => reset(2),
            "answers UNAVAILABLE" => head("200", "14"),
            "answers HTTP 503" => head("503", ""),
            other => panic!("nobody knows how a server {other}"),
        };
        stream.write_all(&answer).ok()?;
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("Weir listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
    stream
}

/// Sends the request of a row, and waits for its end, whatever that is.
fn send(row: &Row, port: u16) {
    let (what, who) = row.request.split_once(", ").unwrap_or((&row.request, ""));
    let sdk = match who {
        "an SDK's first of 4" => "amz-sdk-request: attempt=1; max=4\r\n",
        "an SDK's second of 4" => "amz-sdk-request: attempt=2; max=4\r\n",
        "an SDK's third of 4" => "amz-sdk-request: attempt=3; max=4\r\n",
        "an SDK's only one" => "amz-sdk-request: attempt=1; max=1\r\n",
        "" | "listed" | "tried before" => "",
        other => panic!("nobody knows {other}"),
    };
    let mut stream = connect(port);
    match &*row.protocol {
        "http" => {
            let body = if matches!(what, "POST" | "PUT") { "content-length: 4\r\n\r\nbody" } else { "\r\n" };
            let request = format!("{what} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{sdk}{body}");
            stream.write_all(request.as_bytes()).expect("it reads");
            stream.read_to_end(&mut Vec::new()).ok();
        }
        "dynamodb" => {
            let (operation, with) = what.split_once(" with a ").unwrap_or((what, ""));
            let body = match with {
                "condition" => {
                    r#"{"TableName":"t","Item":{},"ConditionExpression":"attribute_not_exists(a)"}"#
                }
                "token" => r#"{"ClientRequestToken":"abc","TransactItems":[]}"#,
                _ if operation == "TransactWriteItems" => r#"{"TransactItems":[]}"#,
                _ => r#"{"TableName":"t","Item":{},"Key":{}}"#,
            };
            let length = body.len();
            let request = format!(
                "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
                 content-type: application/x-amz-json-1.0\r\n{sdk}content-length: {length}\r\n\r\n{body}"
            );
            stream.write_all(request.as_bytes()).expect("it reads");
            stream.read_to_end(&mut Vec::new()).ok();
        }
        "grpc" => {
            let path = format!("/shop.Cart/{what}");
            let mut fields = vec![
                (":method", "POST"),
                (":scheme", "http"),
                (":path", &path),
                (":authority", "a"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ];
            if who == "tried before" {
                fields.push(("grpc-previous-rpc-attempts", "1"));
            }
            let mut request = h2::PREFACE.to_vec();
            request.extend(write_frame(HEADERS, 4, 1, &block(&fields)));
            request.extend(write_frame(DATA, 1, 1, &[0, 0, 0, 0, 2, b'h', b'i']));
            stream.write_all(&request).expect("it reads");
            while let Some((kind, flags, id, _)) = frame(&mut stream) {
                let ended = matches!(kind, DATA | HEADERS) && flags & 1 == 1;
                if id == 1 && (ended || kind == RESET) {
                    break;
                }
            }
        }
        "tcp" => {
            stream.write_all(b"hello").expect("it reads");
            stream.read_to_end(&mut Vec::new()).ok();
        }
        "mongo" => {
            let document = b"\x1f\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";
            let mut message = (21 + document.len() as i32).to_le_bytes().to_vec();
            for word in [1, 0, 2013, 0i32] {
                message.extend(word.to_le_bytes());
            }
            message.push(0);
            message.extend(document);
            stream.write_all(&message).expect("it reads");
            // The server has gone by then: Weir says so, or ends the connection.
            stream.read_exact(&mut [0; 1]).ok();
        }
        other => panic!("nobody speaks {other}"),
    }
}

fn every_row_of_the_docs_is_so() {
    let rows = rows();
    assert!(rows.len() > 40, "{} rows", rows.len());
    let (mut listeners, mut clusters) = (String::new(), String::new());
    let mut pairs = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        for (how, retry) in [("unasked", None), ("asked", row.asked.map(|_| &row.retry_on))] {
            let pair = Pair::new(&row.protocol, &row.deed);
            let name = format!("r{n}-{how}");
            let retry =
                retry.map(|on| format!(", retry: {{ retry_on: [{on}], back_off: 1ms }}")).unwrap_or_default();
            let section = match &*row.protocol {
                "tcp" | "mongo" => format!("{}: {{ cluster: {name} }}", row.protocol),
                "grpc" => {
                    format!("grpc: {{ idempotent: [shop.Cart/Get], routes: [{{ cluster: {name}{retry} }}] }}")
                }
                protocol => format!("{protocol}: {{ routes: [{{ cluster: {name}{retry} }}] }}"),
            };
            listeners += &format!("  {name}: {{ bind: \"127.0.0.1:0\", {section} }}\n");
            let version = if row.protocol == "grpc" { ", protocol: http2" } else { "" };
            clusters += &format!("  {name}: {{ endpoints: {}{version} }}\n", pair.endpoints());
            pairs.push((name, pair));
        }
    }
    let weir = Weir::start(&format!("workers: 1\nlisteners:\n{listeners}clusters:\n{clusters}"));
    let mut wrong = Vec::new();
    for ((name, pair), (row, tries)) in
        pairs.iter().zip(rows.iter().flat_map(|row| [(row, Some(row.tries)), (row, row.asked)]))
    {
        let Some(tries) = tries else { continue };
        // Whoever begins, one of two goes to the endpoint that refuses.
        let requests = if row.deed == "refuses the connection" { 2 } else { 1 };
        (0..requests).for_each(|_| send(row, weir.port(name)));
        if matches!(&*row.protocol, "tcp" | "mongo") {
            net::until("they have come", || pair.seen.load(SeqCst) >= requests * tries);
        }
        let count = pair.count();
        if count != requests * tries {
            wrong.push(format!("{name}: {count} tries of {requests} requests, not {tries} each: {row:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let repicks: u64 = weir.numbers().sum("weir_cluster_repicks_total", &[]);
    assert!(repicks >= 10, "one for each of those that were refused: {repicks}");
}

/// A server that answers every request so, or closes where that is nothing; its port, and how many there were.
fn always(answer: &'static [u8]) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let seen = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&counted);
            std::thread::spawn(move || {
                let mut write = stream.try_clone().expect("a socket");
                let mut read = BufReader::new(stream);
                while read_request(&mut read).is_some() {
                    seen.fetch_add(1, SeqCst);
                    if answer.is_empty() || write.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, seen)
}

fn front(ports: &[u16], route: &str, cluster: &str) -> Weir {
    let endpoints: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    Weir::start(&format!(
        "workers: 2\nlisteners: {{ edge: {{ bind: \"127.0.0.1:0\", http: {{ routes: [{{ cluster: web{route} }}] }} }} }}\n\
         clusters: {{ web: {{ endpoints: [{}]{cluster} }} }}\n",
        endpoints.join(", ")
    ))
}

/// So many requests of each of so many clients, one after another on one connection; the statuses.
fn clients(weir: &Weir, clients: usize, each: usize, method: &str) -> Vec<String> {
    let port = weir.port("edge");
    std::thread::scope(|scope| {
        let client = || {
            let mut write = connect(port);
            let mut read = BufReader::new(write.try_clone().expect("a socket"));
            let mut statuses = Vec::new();
            for _ in 0..each {
                let request = format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
                write.write_all(request.as_bytes()).expect("it reads");
                let head = read_request(&mut read).expect("it answers");
                statuses.push(head[9..12].to_owned());
            }
            statuses
        };
        let all: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        all.into_iter().flat_map(|one| one.join().expect("it ends")).collect()
    })
}

fn no_storm_when_every_endpoint_fails() {
    let down = b"HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n";
    let servers = [always(down), always(down), always(down)];
    let ports = servers.each_ref().map(|(port, _)| *port);
    let weir = front(&ports, ", retry: { retry_on: [5xx], max_retries: 5 }", "");
    let statuses = clients(&weir, 16, 200, "GET");
    assert!(statuses.iter().all(|status| status == "503"));
    let tries: u32 = servers.iter().map(|(_, seen)| seen.load(SeqCst)).sum();
    let each = f64::from(tries) / statuses.len() as f64;
    assert!((1.0..=1.25).contains(&each), "{each} tries a request");
    let numbers = weir.numbers();
    assert_eq!(numbers.sum("weir_cluster_retries_total", &[]), u64::from(tries) - 3200);
    assert!(numbers.sum("weir_cluster_overflows_total", &[("limit", "retry_budget")]) > 0);
}

fn one_that_refuses_costs_nothing() {
    for method in ["GET", "POST"] {
        let (well, seen) = always(OK);
        let budget = ", circuit_breaker: { retry_budget: { percent: 0, min_retries: 0 } }";
        let weir = front(&[net::nobody(), well], "", budget);
        let statuses = clients(&weir, 4, 50, method);
        assert!(statuses.iter().all(|status| status == "200"), "{method}");
        assert_eq!(seen.load(SeqCst), 200);
        let numbers = weir.numbers();
        assert!(numbers.sum("weir_cluster_repicks_total", &[]) >= 90, "{method}");
        assert_eq!(numbers.sum("weir_cluster_retries_total", &[]), 0);
        assert_eq!(numbers.sum("weir_operation_retries_total", &[]), 0);
        assert_eq!(numbers.sum("weir_cluster_overflows_total", &[]), 0);
    }
}

fn one_that_breaks_off_loses_no_get() {
    let (breaks, one, two) = (always(b""), always(OK), always(OK));
    let weir = front(&[breaks.0, one.0, two.0], "", "");
    let statuses = clients(&weir, 1, 60, "GET");
    assert!(statuses.iter().all(|status| status == "200"), "{statuses:?}");
    assert!(breaks.1.load(SeqCst) >= 15);
    // A POST is nobody's to repeat.
    let before = breaks.1.load(SeqCst);
    let statuses = clients(&weir, 1, 30, "POST");
    let lost = statuses.iter().filter(|status| *status == "502").count();
    assert_eq!(lost, (breaks.1.load(SeqCst) - before) as usize);
    assert!(lost >= 9, "{statuses:?}");
}

fn who_is_turned_away_is_told_when_to_come_back() {
    // A connection that is taken up and never answered holds the one place there is.
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = silent.local_addr().expect("it is bound").port();
    let weir = front(&[port], "", ", circuit_breaker: { max_requests: 1 }");
    let mut first = connect(weir.port("edge"));
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("it reads");
    let (_held, _) = silent.accept().expect("Weir connects");
    let mut second = connect(weir.port("edge"));
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut reply = String::new();
    second.read_to_string(&mut reply).expect("text");
    assert!(reply.starts_with("HTTP/1.1 503") && reply.contains("retry-after: 1\r\n"), "{reply}");
}

fn the_server_is_given_the_time_it_asks_for() {
    // Longer than Weir waits: the reply goes to the client, who is asked for the same.
    for asks in
        ["retry-after: 3600", "retry-after: Sun, 06 Nov 2094 08:49:37 GMT", "x-amz-retry-after: 60000"]
    {
        let answer = format!("HTTP/1.1 503 Down\r\n{asks}\r\ncontent-length: 0\r\n\r\n").leak().as_bytes();
        let down = always(answer);
        let weir = front(&[down.0], ", retry: { retry_on: [5xx], max_retries: 3 }", "");
        assert_eq!(clients(&weir, 1, 1, "GET"), ["503"]);
        assert_eq!(down.1.load(SeqCst), 1, "{asks}");
    }
    let down = always(b"HTTP/1.1 503 Down\r\nx-amz-retry-after: 1\r\ncontent-length: 0\r\n\r\n");
    let weir = front(&[down.0], ", retry: { retry_on: [5xx], max_retries: 3 }", "");
    assert_eq!(clients(&weir, 1, 1, "GET"), ["503"]);
    assert_eq!(down.1.load(SeqCst), 4);
}
