//! Whole conversations with the `h2` crate, in memory: it as client of ours, and as server of ours.

use super::dice::Dice;
use super::wire::fields;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use weir_codecs::http2::{Connection, Event, Next, Role, Settings, StreamRef};

/// What one of our streams has to send, and what it got.
struct Flow {
    at: StreamRef,
    rest: BytesMut,
    eof: bool,
    finished: bool,
    got: Vec<u8>,
    fields: Vec<(String, String)>,
    ended: bool,
}

struct Ours {
    connection: Connection,
    flows: BTreeMap<u32, Flow>,
    echoes: bool,
}

impl Ours {
    fn flow(at: StreamRef, rest: BytesMut, eof: bool) -> Flow {
        Flow { at, rest, eof, finished: false, got: Vec::new(), fields: Vec::new(), ended: false }
    }

    fn section(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.connection.fields().iter().map(|f| (text(f.name), text(f.value))).collect()
    }

    fn take(&mut self, event: Event, bytes: &[u8]) {
        match event {
            Event::Head { stream, end, .. } => {
                let section = self.section();
                if self.echoes {
                    let mut reply = vec![(":status", "200")];
                    let echoed = |(name, _): &&(String, String)| name.starts_with("x-");
                    reply.extend(section.iter().filter(echoed).map(|(n, v)| (n.as_str(), v.as_str())));
                    self.connection.head(stream, fields(&reply), false, false).unwrap();
                    self.flows.insert(stream.id, Self::flow(stream, BytesMut::new(), end));
                }
                let flow = self.flows.get_mut(&stream.id).unwrap();
                flow.fields.extend(section);
                flow.ended = end;
            }
            Event::Data { stream, range, end } => {
                let flow = self.flows.get_mut(&stream.id).unwrap();
                let data = &bytes[range];
                if self.echoes {
                    flow.rest.extend_from_slice(data);
                    flow.eof |= end;
                } else {
                    flow.got.extend_from_slice(data);
                }
                flow.ended |= end;
                self.connection.consumed(stream, data.len());
            }
            Event::Trailers { stream } => {
                let section = self.section();
                let flow = self.flows.get_mut(&stream.id).unwrap();
                flow.fields.extend(section);
                (flow.eof, flow.ended) = (true, true);
            }
            Event::Settled | Event::Credit | Event::Pong(_) | Event::GoAway { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self) {
        for flow in self.flows.values_mut().filter(|flow| !flow.finished) {
            while !flow.rest.is_empty() {
                let taken = self.connection.data(flow.at, &flow.rest, false).unwrap();
                if taken == 0 {
                    break;
                }
                flow.rest.advance(taken);
            }
            if flow.eof && flow.rest.is_empty() {
                self.connection.trailers(flow.at, fields(&[("x-sum", "1")])).unwrap();
                flow.finished = true;
            }
        }
    }

    /// Carries the connection until `done`, or the other end closes.
    async fn drive(&mut self, io: DuplexStream, done: impl Fn(&Self) -> bool) {
        let (mut reader, mut writer) = tokio::io::split(io);
        let (mut inbox, mut out, mut now) = (BytesMut::new(), BytesMut::new(), 0);
        loop {
            now += 1_000_000;
            self.write();
            out.unsplit(self.connection.out().split());
            if out.is_empty() && done(self) {
                return;
            }
            tokio::select! {
                read = reader.read_buf(&mut inbox) => if read.unwrap_or(0) == 0 { return },
                wrote = writer.write_buf(&mut out), if !out.is_empty() => if wrote.is_err() { return },
            }
            loop {
                let step = self.connection.receive(&inbox, now);
                assert!(self.connection.is_sound());
                match step.next {
                    Next::Event(event) => self.take(event, &inbox),
                    Next::Turn => self.connection.begin_turn(),
                    Next::More(_) | Next::Flush => {
                        inbox.advance(step.used);
                        break;
                    }
                    Next::Closed(violation) => panic!("{violation}"),
                }
                inbox.advance(step.used);
            }
        }
    }
}

fn body(dice: &mut Dice) -> Bytes {
    let len = *dice.pick(&[0, 1, 100, 16_384, 16_385, 70_000, 200_000]);
    (0..len).map(|i| (i * 7 + i / 255) as u8).collect::<Vec<_>>().into()
}

/// Names and values that repeat, so that the tables fill.
fn extra(dice: &mut Dice) -> Vec<(String, String)> {
    let value = |dice: &mut Dice| "v".repeat(1 + dice.below(60)) + &dice.below(30).to_string();
    (0..dice.below(6)).map(|_| (format!("x-{}", dice.below(40)), value(dice))).collect()
}

fn run<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

async fn collect(mut body: h2::RecvStream) -> (Vec<u8>, bool) {
    let mut got = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        got.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.unwrap();
    (got, trailers.is_some_and(|trailers| trailers.get("x-sum").is_some_and(|sum| sum == "1")))
}

/// Sends all of it at the pace that the peer allows.
async fn send(stream: &mut h2::SendStream<Bytes>, mut data: Bytes, end: bool) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await.unwrap().unwrap();
        let piece = data.split_to(room.min(data.len()));
        stream.send_data(piece, end && data.is_empty()).unwrap();
    }
}

#[test]
fn the_crate_as_client_gets_back_what_it_sends() {
    for seed in 0..6 {
        let (io, theirs) = tokio::io::duplex(20_000);
        let mut ours = Ours {
            connection: Connection::new(Role::Server, Settings::default()),
            flows: BTreeMap::new(),
            echoes: true,
        };
        let client = async move {
            let mut dice = Dice::new(seed);
            let mut builder = h2::client::Builder::new();
            builder
                .header_table_size(*dice.pick(&[0, 200, 4096]))
                .initial_window_size(*dice.pick(&[65_535, 10_000]));
            let (mut client, connection) = builder.handshake::<_, Bytes>(theirs).await.unwrap();
            let calls = async {
                for _ in 0..25 {
                    let (extra, data) = (extra(&mut dice), body(&mut dice));
                    let mut request = http::Request::post("http://shop/shop.Cart/Add");
                    for (name, value) in &extra {
                        request = request.header(name, value);
                    }
                    client = client.ready().await.unwrap();
                    let (response, mut stream) =
                        client.send_request(request.body(()).unwrap(), data.is_empty()).unwrap();
                    let sending = async { send(&mut stream, data.clone(), true).await };
                    let receiving = async {
                        let response = response.await.unwrap();
                        for (name, _) in &extra {
                            let sent: Vec<_> =
                                extra.iter().filter(|(n, _)| n == name).map(|(_, v)| v).collect();
                            assert!(response.headers().get_all(name).iter().eq(sent), "{name}");
                        }
                        collect(response.into_body()).await
                    };
                    let ((), (got, summed)) = tokio::join!(sending, receiving);
                    assert!(got == data && summed, "seed {seed}");
                }
                drop(client);
            };
            let (connection, ()) = tokio::join!(connection, calls);
            connection.unwrap();
        };
        run(async { tokio::join!(ours.drive(io, |_| false), client) });
        assert_eq!((ours.flows.len(), ours.connection.open_streams()), (25, 0));
    }
}

#[test]
fn the_crate_as_server_gets_and_sends_the_same() {
    for seed in 0..6 {
        let (io, theirs) = tokio::io::duplex(20_000);
        let mut dice = Dice::new(seed);
        let mut ours = Ours {
            connection: Connection::new(Role::Client, Settings::default()),
            flows: BTreeMap::new(),
            echoes: false,
        };
        let server = async move {
            let mut builder = h2::server::Builder::new();
            builder
                .initial_window_size(if seed % 2 == 0 { 65_535 } else { 5000 })
                .max_frame_size(16_384 << (seed % 3));
            let mut connection = builder.handshake::<_, Bytes>(theirs).await.unwrap();
            let mut calls = Vec::new();
            // What is not polled does not move: the calls run beside the connection.
            let local = tokio::task::LocalSet::new();
            local
                .run_until(async {
                    while let Some(call) = connection.accept().await {
                        let Ok((request, mut respond)) = call else { break };
                        calls.push(tokio::task::spawn_local(async move {
                            let mut reply = http::Response::builder();
                            for (name, value) in request.headers() {
                                reply = reply.header(name, value);
                            }
                            let (data, _) = collect(request.into_body()).await;
                            let mut stream = respond.send_response(reply.body(()).unwrap(), false).unwrap();
                            send(&mut stream, data.into(), false).await;
                            let mut trailers = http::HeaderMap::new();
                            trailers.insert("x-sum", http::HeaderValue::from_static("1"));
                            stream.send_trailers(trailers).unwrap();
                        }));
                    }
                })
                .await;
        };
        let mut expected = Vec::new();
        for _ in 0..20 {
            let (extra, data) = (extra(&mut dice), body(&mut dice));
            let mut request = vec![
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/shop.Cart/Add"),
                (":authority", "shop"),
            ];
            request.extend(extra.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let at = ours.connection.open(fields(&request), false).unwrap();
            ours.flows.insert(at.id, Ours::flow(at, BytesMut::from(&data[..]), true));
            expected.push((at.id, extra, data));
        }
        let done = |ours: &Ours| ours.flows.values().all(|flow| flow.ended);
        run(async {
            tokio::select! {
                () = ours.drive(io, done) => {}
                () = server => {}
            }
        });
        for (id, extra, data) in expected {
            let flow = &ours.flows[&id];
            assert!(
                flow.ended && flow.got == data,
                "seed {seed} stream {id}: {} of {}",
                flow.got.len(),
                data.len()
            );
            for (name, _) in &extra {
                let of = |list: &[(String, String)]| -> Vec<String> {
                    list.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
                };
                assert_eq!(of(&flow.fields), of(&extra));
            }
        }
    }
}
