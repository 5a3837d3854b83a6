//! Clients and origins in both versions, as simple as can be, that show everything a message has.

use crate::house::soon;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_codecs::http1::body::{Body, Part};
use weir_codecs::http1::{self, Asked, Limits, Method, Parsed};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Version {
    H1,
    H2,
}

pub const BOTH: [Version; 2] = [Version::H1, Version::H2];

impl Version {
    pub fn protocol(self) -> &'static str {
        match self {
            Version::H1 => "http1",
            Version::H2 => "http2",
        }
    }
}

/// A message's body, as a client sends it.
#[derive(Debug, Clone)]
pub enum Sent {
    None,
    Length(Vec<u8>),
    Chunked(Vec<u8>),
    Trailers(Vec<u8>),
}

impl Sent {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Sent::None => b"",
            Sent::Length(b) | Sent::Chunked(b) | Sent::Trailers(b) => b,
        }
    }
}

#[derive(Debug, Default)]
pub struct Got {
    pub interim: Vec<u16>,
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The reply did not come to its end.
    pub broken: bool,
}

impl Got {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on a connection of its own.
pub async fn request(version: Version, to: SocketAddr, method: &str, path: &str, body: Sent) -> Got {
    match version {
        Version::H1 => h1_request(to, method, path, &[], body).await,
        Version::H2 => h2_request(to, method, path, &[], body).await,
    }
}

pub fn h1_bytes(method: &str, path: &str, fields: &[(&str, &str)], body: &Sent) -> Vec<u8> {
    let mut out = format!("{method} {path} HTTP/1.1\r\nHost: test.local\r\n");
    for (name, value) in fields {
        out += &format!("{name}: {value}\r\n");
    }
    let mut out = match body {
        Sent::None => out + "\r\n",
        Sent::Length(b) => out + &format!("Content-Length: {}\r\n\r\n", b.len()),
        Sent::Chunked(_) | Sent::Trailers(_) => out + "Transfer-Encoding: chunked\r\n\r\n",
    }
    .into_bytes();
    match body {
        Sent::None => {}
        Sent::Length(b) => out.extend_from_slice(b),
        Sent::Chunked(b) | Sent::Trailers(b) => {
            for (i, run) in b.chunks(1000).enumerate() {
                let extension = if i < 3 { ";ext=1" } else { "" };
                out.extend_from_slice(format!("{:x}{extension}\r\n", run.len()).as_bytes());
                out.extend_from_slice(run);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n");
            if matches!(body, Sent::Trailers(_)) {
                out.extend_from_slice(b"x-sum: 7\r\n");
            }
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

pub async fn h1_request(
    to: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: Sent,
) -> Got {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let out = h1_bytes(method, path, fields, &body);
    let (mut read, mut write) = stream.split();
    let send = async {
        write.write_all(&out).await.ok();
    };
    let mut buf = BytesMut::new();
    let (got, ()) =
        tokio::join!(soon(h1_reply(&mut read, &mut buf, Method::of(method.as_bytes()))), soon(send));
    got
}

fn lines(fields: http1::FieldsView<'_>) -> Vec<(String, String)> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    fields.iter().map(|(_, n, v)| (text(n), text(v))).collect()
}

/// Read one reply with its interim ones.
pub async fn h1_reply(stream: &mut (impl AsyncReadExt + Unpin), buf: &mut BytesMut, method: Method) -> Got {
    let mut got = Got::default();
    let mut head = http1::ResponseHead::new();
    let asked = Asked { method, upgrade: true };
    let len = loop {
        match http1::parse_response(buf, &Limits::default(), asked, &mut head).unwrap() {
            Parsed::Complete { len } if head.is_interim() => {
                got.interim.push(head.status());
                let _ = buf.split_to(len);
                head.clear();
            }
            Parsed::Complete { len } => break len,
            Parsed::Partial => {
                if stream.read_buf(buf).await.unwrap_or(0) == 0 {
                    got.broken = true;
                    return got;
                }
            }
        }
    };
    got.status = head.status();
    got.fields = lines(head.view(buf).fields());
    let _ = buf.split_to(len);
    if head.framing() == http1::Framing::Tunnel {
        return got;
    }
    let mut body = Body::new(head.framing(), &Limits::default());
    loop {
        match body.take(buf).unwrap() {
            Part::Data(data) => got.body.extend_from_slice(&data),
            Part::Trailers(section) => {
                let mut fields = http1::Fields::default();
                http1::body::trailers(&section, &mut fields);
                got.trailers = lines(fields.view(&section));
                return got;
            }
            Part::End => return got,
            Part::More => {
                if stream.read_buf(buf).await.unwrap_or(0) == 0 {
                    got.broken = body.eof().is_err();
                    return got;
                }
            }
        }
    }
}

pub async fn h2_request(
    to: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: Sent,
) -> Got {
    let stream = TcpStream::connect(to).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(async move {
        connection.await.ok();
    });
    let got = soon(h2_on(send, method, path, fields, body)).await;
    driver.abort();
    got
}

fn map_lines(map: &http::HeaderMap) -> Vec<(String, String)> {
    map.iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect()
}

pub async fn h2_on(
    send: h2::client::SendRequest<Bytes>,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: Sent,
) -> Got {
    let mut send = send.ready().await.unwrap();
    let mut head = http::Request::builder().method(method).uri(format!("http://test.local{path}"));
    for (name, value) in fields {
        head = head.header(*name, *value);
    }
    if let Sent::Length(b) = &body {
        head = head.header("content-length", b.len());
    }
    let head = head.body(()).unwrap();
    let (mut response, mut stream) = send.send_request(head, matches!(body, Sent::None)).unwrap();
    let send_body = async {
        if matches!(body, Sent::None) {
            return;
        }
        let mut rest = Bytes::copy_from_slice(body.bytes());
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let room = match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(room)) => room,
                _ => return,
            };
            if stream.send_data(rest.split_to(room.min(rest.len())), false).is_err() {
                return;
            }
        }
        if let Sent::Trailers(_) = body {
            let mut map = http::HeaderMap::new();
            map.insert("x-sum", "7".parse().unwrap());
            stream.send_trailers(map).ok();
        } else {
            stream.send_data(Bytes::new(), true).ok();
        }
    };
    let receive = async {
        let mut got = Got::default();
        while let Some(interim) = poll_fn(|cx| response.poll_informational(cx)).await {
            match interim {
                Ok(interim) => got.interim.push(interim.status().as_u16()),
                Err(_) => break,
            }
        }
        let reply = match response.await {
            Ok(reply) => reply,
            Err(_) => {
                got.broken = true;
                return got;
            }
        };
        got.status = reply.status().as_u16();
        got.fields = map_lines(reply.headers());
        let mut body = reply.into_body();
        while let Some(data) = body.data().await {
            match data {
                Ok(data) => {
                    got.body.extend_from_slice(&data);
                    body.flow_control().release_capacity(data.len()).unwrap();
                }
                Err(_) => {
                    got.broken = true;
                    return got;
                }
            }
        }
        match body.trailers().await {
            Ok(trailers) => got.trailers = trailers.iter().flat_map(map_lines).collect(),
            Err(_) => got.broken = true,
        }
        got
    };
    // A reply may end before the request does: then there is no point in waiting for it.
    tokio::pin!(send_body);
    tokio::pin!(receive);
    tokio::select! {
        () = &mut send_body => receive.await,
        got = &mut receive => got,
    }
}

/// A server that does what the path says, in either version.
pub async fn origin(version: Version) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                match version {
                    Version::H1 => h1_origin(stream).await,
                    Version::H2 => h2_origin(stream).await,
                }
            });
        }
    });
    address
}

#[allow(clippy::too_many_lines, reason = "a table of scripted replies")]
async fn h1_origin(mut stream: TcpStream) {
    let mut buf = BytesMut::new();
    loop {
        let mut head = http1::RequestHead::new();
        let len = loop {
            match http1::parse_request(&buf, &Limits::default(), &mut head).unwrap() {
                Parsed::Complete { len } => break len,
                Parsed::Partial => {
                    if stream.read_buf(&mut buf).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
            }
        };
        let path = String::from_utf8_lossy(head.view(&buf).path()).into_owned();
        let seen = format!("{:?}", lines(head.view(&buf).fields()));
        let is_head = head.method() == Method::Head;
        let upgrade = head.offers_upgrade();
        let _ = buf.split_to(len);
        match &*path {
            "/early" => {
                stream
                    .write_all(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig")
                    .await
                    .ok();
                // What is still coming is read, so that the reply is not lost in a reset.
                while stream.read_buf(&mut buf).await.unwrap_or(0) > 0 {
                    buf.clear();
                }
                return;
            }
            "/reset-at-once" => return,
            "/ws" if upgrade => {
                stream
                    .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
                    .await
                    .unwrap();
                stream.write_all(&buf).await.unwrap();
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
                write.write_all(b"bye").await.ok();
                return;
            }
            _ => {}
        }
        let mut body = Body::new(head.framing(), &Limits::default());
        let (mut whole, mut trailers) = (Vec::new(), Vec::new());
        loop {
            match body.take(&mut buf).unwrap() {
                Part::Data(data) => whole.extend_from_slice(&data),
                Part::Trailers(section) => {
                    let mut fields = http1::Fields::default();
                    http1::body::trailers(&section, &mut fields);
                    trailers = lines(fields.view(&section));
                    break;
                }
                Part::End => break,
                Part::More => {
                    if stream.read_buf(&mut buf).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
            }
        }
        let reply = match &*path {
            "/reset-after-body" => return,
            "/reset-mid" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.ok();
                return;
            }
            "/garbage" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab").await.ok();
                return;
            }
            "/interim" => b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_vec(),
            "/trailers" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx-end: yes\r\n\r\n".to_vec(),
            "/until-close" => {
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nall of it").await.ok();
                return;
            }
            "/204" => b"HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n".to_vec(),
            "/304" => b"HTTP/1.1 304 Not Modified\r\netag: x\r\ncontent-length: 99\r\n\r\n".to_vec(),
            "/500" => b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno".to_vec(),
            "/seen" => plain(&seen),
            "/big" => {
                let big = vec![b'x'; 8 << 20];
                let mut reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", big.len()).into_bytes();
                reply.extend_from_slice(&big);
                reply
            }
            "/echo" => {
                let mut reply = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
                for run in whole.chunks(7000) {
                    reply.extend_from_slice(format!("{:x}\r\n", run.len()).as_bytes());
                    reply.extend_from_slice(run);
                    reply.extend_from_slice(b"\r\n");
                }
                reply.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    reply.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                reply.extend_from_slice(b"\r\n");
                reply
            }
            _ if is_head => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec(),
            _ => plain("hello"),
        };
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

fn plain(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nX-Case: Kept\r\ncontent-length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

async fn h2_origin(stream: TcpStream) {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(h2_answer(request, respond));
    }
}

async fn h2_answer(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    let reply = |status: u16| http::Response::builder().status(status);
    let path = parts.uri.path().to_string();
    match &*path {
        "/early" => {
            let mut out = respond.send_response(reply(413).body(()).unwrap(), false).unwrap();
            out.send_data(Bytes::from_static(b"big"), true).unwrap();
            return;
        }
        "/reset-at-once" => return respond.send_reset(h2::Reason::INTERNAL_ERROR),
        _ => {}
    }
    if parts.extensions.get::<h2::ext::Protocol>().is_some() {
        let mut out = respond.send_response(reply(200).body(()).unwrap(), false).unwrap();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            out.send_data(data, false).unwrap();
        }
        out.send_data(Bytes::from_static(b"bye"), true).ok();
        return;
    }
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        let Ok(data) = data else { return };
        body.flow_control().release_capacity(data.len()).unwrap();
        whole.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.unwrap_or_default();
    let send = |respond: &mut h2::server::SendResponse<Bytes>, status: u16, body: Bytes| {
        let head = reply(status).header("content-length", body.len()).body(()).unwrap();
        let mut out = respond.send_response(head, false).unwrap();
        out.send_data(body, true).unwrap();
    };
    match &*path {
        "/reset-after-body" => respond.send_reset(h2::Reason::INTERNAL_ERROR),
        "/reset-mid" => {
            let mut out = respond.send_response(reply(200).body(()).unwrap(), false).unwrap();
            out.send_data(Bytes::from_static(b"half"), false).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            out.send_reset(h2::Reason::INTERNAL_ERROR);
        }
        "/interim" => {
            respond.send_informational(reply(103).header("link", "<a>").body(()).unwrap()).unwrap();
            send(&mut respond, 200, Bytes::from_static(b"hello"));
        }
        "/trailers" => {
            let mut out = respond.send_response(reply(200).body(()).unwrap(), false).unwrap();
            out.send_data(Bytes::from_static(b"hello"), false).unwrap();
            let mut map = http::HeaderMap::new();
            map.insert("x-end", "yes".parse().unwrap());
            out.send_trailers(map).unwrap();
        }
        "/204" => {
            respond.send_response(reply(204).header("x-a", "b").body(()).unwrap(), true).unwrap();
        }
        "/304" => {
            respond.send_response(reply(304).header("etag", "x").body(()).unwrap(), true).unwrap();
        }
        "/500" => send(&mut respond, 500, Bytes::from_static(b"no")),
        "/seen" => send(&mut respond, 200, format!("{:?} {}", map_lines(&parts.headers), parts.uri).into()),
        "/big" => send(&mut respond, 200, vec![b'x'; 8 << 20].into()),
        "/half" => send(&mut respond, 200, vec![b'x'; 1 << 19].into()),
        "/echo" => {
            let mut out = respond.send_response(reply(200).body(()).unwrap(), false).unwrap();
            out.send_data(whole.into(), trailers.is_none()).unwrap();
            if let Some(trailers) = trailers {
                out.send_trailers(trailers).unwrap();
            }
        }
        _ if parts.method == http::Method::HEAD => {
            respond.send_response(reply(200).header("content-length", 5).body(()).unwrap(), true).unwrap();
        }
        _ => send(&mut respond, 200, Bytes::from_static(b"hello")),
    }
}
