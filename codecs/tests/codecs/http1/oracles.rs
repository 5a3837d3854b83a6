//! Other implementations of HTTP/1, asked what they make of the same bytes.

use super::cases::Case;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub start: String,
    /// Not compared where it is empty.
    pub target: String,
    pub body: Vec<u8>,
    pub whole: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Verdict {
    pub messages: Vec<Seen>,
    /// Why the oracle read no further: it refused, closed, or began a tunnel.
    pub stop: Option<String>,
}

impl Verdict {
    pub fn whole(&self) -> usize {
        self.messages.iter().filter(|m| m.whole).count()
    }
}

pub struct Oracle {
    pub name: &'static str,
    pub verdicts: Vec<Verdict>,
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/codecs/http1")
}

/// Node.js, from the path.
pub fn node(side: &str, cases: &[Case]) -> Oracle {
    let mut command = Command::new("node");
    command.arg(here().join("oracle.cjs"));
    Oracle { name: "node", verdicts: ask(command, side, cases, "install Node.js 20 or later") }
}

/// h11, in the virtual environment of the tests.
pub fn h11(side: &str, cases: &[Case]) -> Oracle {
    let hint = "`cargo xtask setup` installs it (python3 -m venv DIR && DIR/bin/pip install h11==0.16.0), and \
                WEIR_TEST_VENV=DIR says where; `cargo xtask test` does both";
    let venv =
        std::env::var_os("WEIR_TEST_VENV").unwrap_or_else(|| panic!("WEIR_TEST_VENV is not set: {hint}"));
    let mut command = Command::new(PathBuf::from(venv).join("bin/python"));
    command.arg(here().join("oracle.py"));
    Oracle { name: "h11", verdicts: ask(command, side, cases, hint) }
}

fn ask(mut command: Command, side: &str, cases: &[Case], hint: &str) -> Vec<Verdict> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}; {hint}"));
    let mut input = child.stdin.take().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let jobs: Vec<String> = cases.iter().map(|case| job(side, case)).collect();
    let writer = std::thread::spawn(move || {
        for job in jobs {
            // A child that has died is noticed by its missing verdicts.
            if writeln!(input, "{job}").is_err() {
                break;
            }
        }
    });
    let verdicts: Vec<Verdict> = output.lines().map(|line| verdict(&line.unwrap())).collect();
    writer.join().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() && verdicts.len() == cases.len(), "{command:?}: {status}; {hint}");
    verdicts
}

fn job(side: &str, case: &Case) -> String {
    let mut hex = String::new();
    for byte in &case.bytes {
        write!(hex, "{byte:02x}").unwrap();
    }
    let method = match case.context.as_str() {
        "" => "GET",
        "upgrade" => "UPGRADE",
        other => other,
    };
    json!({ "side": side, "method": method, "bytes": hex }).to_string()
}

fn verdict(line: &str) -> Verdict {
    let value: Value = serde_json::from_str(line).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let messages = value["messages"].as_array().unwrap().iter().map(|m| Seen {
        start: text(&m["start"]),
        target: text(&m["target"]),
        body: unhex(m["body"].as_str().unwrap()),
        whole: m["whole"].as_bool().unwrap(),
    });
    Verdict { messages: messages.collect(), stop: value["stop"].as_str().map(str::to_owned) }
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

/// hyper's server, over an in-memory stream.
pub fn hyper(cases: &[Case]) -> Oracle {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let verdicts = cases.iter().map(|case| runtime.block_on(hyper_one(&case.bytes))).collect();
    Oracle { name: "hyper", verdicts }
}

async fn hyper_one(bytes: &[u8]) -> Verdict {
    let seen = Rc::new(RefCell::new(Verdict::default()));
    let (client, server) = tokio::io::duplex(1 << 20);
    let (mut from_server, mut to_server) = tokio::io::split(client);
    let serve = {
        let seen = Rc::clone(&seen);
        service_fn(move |request| answer(Rc::clone(&seen), request))
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .max_headers(4096)
        .max_buf_size(1 << 17)
        .serve_connection(TokioIo::new(server), serve);
    let mut answers = Vec::new();
    let (outcome, ()) = tokio::join!(connection, async {
        // Either side may stop early; what the server has made of the bytes is what counts.
        let writing = async {
            let _ = to_server.write_all(bytes).await;
            let _ = to_server.shutdown().await;
        };
        let reading = async {
            let _ = from_server.read_to_end(&mut answers).await;
        };
        tokio::join!(writing, reading);
    });
    let mut verdict = seen.take();
    let refused = outcome.err().filter(|e| e.is_parse() || e.is_user()).map(|e| format!("refused: {e}"));
    verdict.stop = refused.or(verdict.stop);
    verdict
}

async fn answer(
    seen: Rc<RefCell<Verdict>>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Empty<Bytes>>, Infallible> {
    let start = request.method().to_string();
    let connect = start == "CONNECT";
    let connection = request.headers().get_all("connection").iter().filter_map(|v| v.to_str().ok());
    let options: Vec<String> =
        connection.flat_map(|v| v.split(',')).map(|o| o.trim().to_ascii_lowercase()).collect();
    let old = request.version() == hyper::Version::HTTP_10;
    let closes = options.iter().any(|o| o == "close") || old && !options.iter().any(|o| o == "keep-alive");
    // hyper makes the target normal, so it is not compared.
    seen.borrow_mut().messages.push(Seen { start, ..Seen::default() });
    let mut body = request.into_body();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        match frame.map(|f| f.into_data()) {
            Ok(Ok(data)) => seen.borrow_mut().messages.last_mut().unwrap().body.extend_from_slice(&data),
            Ok(Err(_trailers)) => {}
            Err(error) => {
                whole = false;
                if !format!("{error:?}").contains("UnexpectedEof") && !error.is_incomplete_message() {
                    seen.borrow_mut().stop = Some(format!("refused: {error:?}"));
                }
                break;
            }
        }
    }
    let mut verdict = seen.borrow_mut();
    verdict.messages.last_mut().unwrap().whole = whole;
    if whole && (connect || closes) {
        verdict.stop = Some(if connect { "tunnel" } else { "closed" }.to_owned());
    }
    Ok(hyper::Response::new(Empty::new()))
}

/// hyper's client, over an in-memory stream.
pub fn hyper_client(cases: &[Case]) -> Oracle {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let verdicts = cases.iter().map(|case| runtime.block_on(hyper_reply(case))).collect();
    Oracle { name: "hyper", verdicts }
}

/// One exchange: what it makes of these bytes as the answer to its request.
async fn hyper_reply(case: &Case) -> Verdict {
    let seen = Arc::new(Mutex::new(Verdict::default()));
    let (client, mut peer) = tokio::io::duplex(1 << 20);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_headers(4096).max_buf_size(1 << 17);
    let (mut send, connection) = builder.handshake(TokioIo::new(client)).await.unwrap();
    let mut request = hyper::Request::builder().uri("/").header("host", "a");
    request = match case.context.as_str() {
        "" => request,
        "upgrade" => request.header("connection", "upgrade").header("upgrade", "websocket"),
        method => request.method(method).uri(if method == "CONNECT" { "a:80" } else { "/" }),
    };
    let mut request = request.body(Empty::<Bytes>::new()).unwrap();
    let interim = Arc::clone(&seen);
    hyper::ext::on_informational(&mut request, move |reply| {
        let start = reply.status().as_u16().to_string();
        interim.lock().unwrap().messages.push(Seen { start, whole: true, ..Seen::default() });
    });
    let ask = async {
        match send.send_request(request).await {
            Ok(reply) => take(&seen, reply, case.context == "CONNECT").await,
            Err(error) if error.is_incomplete_message() || error.is_canceled() => {}
            Err(error) => seen.lock().unwrap().stop = Some(format!("refused: {error:?}")),
        }
        drop(send);
    };
    let answer = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && peer.read_buf(&mut head).await.is_ok_and(|n| n > 0) {}
        let _ = peer.write_all(&case.bytes).await;
        let _ = peer.shutdown().await;
    };
    // The exchange is over when the answer has been read; the connection may see more in what follows it.
    let both = async { tokio::join!(ask, answer) };
    tokio::pin!(connection, both);
    tokio::select! {
        _ = &mut both => {}
        _ = &mut connection => drop(both.await),
    }
    let mut verdict = seen.lock().unwrap();
    std::mem::take(&mut *verdict)
}

async fn take(seen: &Mutex<Verdict>, reply: hyper::Response<Incoming>, connect: bool) {
    let status = reply.status();
    let mut message = Seen { start: status.as_u16().to_string(), whole: true, ..Seen::default() };
    let tunnel = status.as_u16() == 101 || (connect && status.is_success());
    let mut stop = tunnel.then(|| "tunnel".to_owned());
    let mut body = reply.into_body();
    while !tunnel && let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => message.body.extend_from_slice(&data),
            Ok(Err(_trailers)) => {}
            Err(error) => {
                message.whole = false;
                if !format!("{error:?}").contains("UnexpectedEof") && !error.is_incomplete_message() {
                    stop = Some(format!("refused: {error:?}"));
                }
                break;
            }
        }
    }
    let mut verdict = seen.lock().unwrap();
    verdict.messages.push(message);
    verdict.stop = stop;
}
