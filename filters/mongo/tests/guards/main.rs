//! What a command costs in the steady state, exactly: no allocation, through a running server with the real filter: names,
//! traits, kept bytes, ledger, statistics, and rules where there are any. In a program of its own, because it counts the
//! allocations of all threads but the one that plays client and server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bson::{Document, doc};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_config::Section;
use weir_drive::{Filter, Server};
use weir_measure::{Limits, Measure};
use weir_mongo::Mongo;

#[path = "../../../../proxy-core/drive/tests/shared/allocations.rs"]
mod allocations;

static FILTERS: &[&dyn Filter] = &[&Mongo];

/// Rules that are asked about every command here, and let all pass.
const RULES: &str = "rules: [
        { name: no-drops, match: { command: [dropDatabase, drop], application: ['!admin*'] }, deny: {} },
        { name: frozen, match: { database: archive }, read_only: {} },
        { name: plenty, match: { class: [read, write] }, rate: { count: 1000000 } },
        { name: few, match: { collection: orders }, concurrency: 10 },
        { name: patience, match: { class: read }, deadline: 1h },
      ]";

/// An OP_MSG with one document.
fn message(id: i32, answers: i32, document: &Document) -> Vec<u8> {
    let document = document.to_vec().unwrap();
    let mut out = Vec::new();
    for word in [21 + document.len() as i32, id, answers, 2013, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.push(0);
    out.extend_from_slice(&document);
    out
}

/// What a client says, and what the server answers.
fn exchanges() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let session = bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![7; 16] };
    let batch = |id: i64, many: usize| {
        let documents: Vec<Document> =
            (0..many).map(|n| doc! { "_id": n as i64, "text": "x".repeat(100) }).collect();
        doc! { "cursor": { "firstBatch": documents, "id": id, "ns": "shop.orders" }, "ok": 1.0 }
    };
    let find = doc! { "find": "orders", "filter": { "sku": "a", "n": { "$gt": 3 } }, "limit": 1, "lsid": { "id": session.clone() }, "$db": "shop" };
    let insert = doc! { "insert": "orders", "documents": [{ "_id": 1, "text": "x".repeat(300) }], "lsid": { "id": session.clone() }, "txnNumber": 5_i64, "$db": "shop" };
    let update = doc! { "update": "orders", "updates": [{ "q": { "a": 1 }, "u": { "$set": { "b": 2 } }, "multi": true }], "$db": "shop" };
    let more = doc! { "getMore": 77_i64, "collection": "orders", "$db": "shop" };
    let in_transaction = doc! { "find": "orders", "filter": {}, "lsid": { "id": session }, "txnNumber": 6_i64, "autocommit": false, "$db": "shop" };
    let exchange =
        |name, asked: &Document, answered: &Document| (name, message(5, 0, asked), message(6, 5, answered));
    let modified = doc! { "n": 2, "nModified": 2, "ok": 1.0 };
    let duplicate =
        doc! { "n": 0, "writeErrors": [{ "index": 0, "code": 11000, "errmsg": "duplicate" }], "ok": 1.0 };
    let failed = doc! { "ok": 0.0, "code": 26, "codeName": "NamespaceNotFound", "errmsg": "ns not found" };
    vec![
        exchange("find", &find, &batch(0, 1)),
        exchange("a large reply", &find, &batch(0, 1500)),
        exchange("a cursor", &find, &batch(77, 2)),
        exchange("getMore", &more, &batch(77, 2)),
        exchange("a retryable write", &insert, &doc! { "n": 1, "ok": 1.0 }),
        exchange("an update of many", &update, &modified),
        exchange("a failed write", &insert, &duplicate),
        exchange("an error", &find, &failed),
        exchange("in a transaction", &in_transaction, &batch(0, 1)),
    ]
}

struct House {
    _server: Server,
    client: TcpStream,
    upstream: TcpStream,
}

impl House {
    async fn start(rules: &str) -> House {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let text = format!(
            "workers: 1
listeners:
  db:
    bind: '127.0.0.1:0'
    mongo: {{ cluster: up, mode: transparent, slow: {{ threshold: 1h }}, {rules} }}
clusters: {{ up: {{ endpoints: ['{}'] }} }}",
            listener.local_addr().unwrap()
        );
        let sections: Vec<&dyn Section> =
            FILTERS.iter().map(|filter| filter.section() as &dyn Section).collect();
        let config = match weir_config::parse(&text, "test.yaml", &sections) {
            Ok(config) => Arc::new(config),
            Err(errors) => panic!("{errors}"),
        };
        let measure = Measure::new(Limits::default());
        let server = Server::start(config, FILTERS, &measure).await.unwrap();
        let mut client = TcpStream::connect(server.address("db").unwrap()).await.unwrap();
        let hello = message(
            1,
            0,
            &doc! { "hello": 1, "client": { "application": { "name": "shop" } }, "$db": "admin" },
        );
        client.write_all(&hello).await.unwrap();
        let mut upstream = listener.accept().await.unwrap().0;
        let mut seen = vec![0; hello.len()];
        upstream.read_exact(&mut seen).await.unwrap();
        let welcome = message(2, 1, &doc! { "isWritablePrimary": true, "ok": 1.0 });
        upstream.write_all(&welcome).await.unwrap();
        client.read_exact(&mut vec![0; welcome.len()]).await.unwrap();
        House { _server: server, client, upstream }
    }

    /// So many allocations in so many times, with replies that come in two parts, cut at many a place.
    async fn cut(&mut self, times: usize, request: &[u8], reply: &[u8]) -> u64 {
        let mut buffer = vec![0; reply.len()];
        let before = allocations::counted();
        for n in 0..times {
            self.client.write_all(request).await.unwrap();
            self.upstream.read_exact(&mut buffer[..request.len()]).await.unwrap();
            let (first, rest) = reply.split_at(reply.len() / 2 + n);
            self.upstream.write_all(first).await.unwrap();
            // All but what the decoder may leave for later.
            let sure = first.len() - 1024;
            self.client.read_exact(&mut buffer[..sure]).await.unwrap();
            self.upstream.write_all(rest).await.unwrap();
            self.client.read_exact(&mut buffer[sure..reply.len()]).await.unwrap();
        }
        allocations::counted() - before
    }

    /// So many allocations in so many times.
    async fn exchange(&mut self, times: usize, request: &[u8], reply: &[u8]) -> u64 {
        let mut buffer = vec![0; request.len().max(reply.len())];
        let before = allocations::counted();
        for _ in 0..times {
            self.client.write_all(request).await.unwrap();
            self.upstream.read_exact(&mut buffer[..request.len()]).await.unwrap();
            let (upstream, client) = (&mut self.upstream, &mut self.client);
            let (sent, read) =
                tokio::join!(upstream.write_all(reply), client.read_exact(&mut buffer[..reply.len()]));
            sent.and(read.map(drop)).unwrap();
        }
        allocations::counted() - before
    }
}

#[test]
fn a_command_allocates_nothing() {
    allocations::leave_out_this_thread();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let measured = async {
        for rules in ["", RULES] {
            let mut house = House::start(rules).await;
            for (name, request, reply) in exchanges() {
                // Names, rows and buffers are made when they are first needed.
                house.exchange(200, &request, &reply).await;
                let allocations = house.exchange(1000, &request, &reply).await;
                // What a worker does now and then (its tick) is not a command's.
                assert!(
                    allocations < 50,
                    "{name}, rules '{rules}': {allocations} allocations for 1000 commands"
                );
                if reply.len() > 4096 {
                    house.cut(200, &request, &reply).await;
                    let allocations = house.cut(1000, &request, &reply).await;
                    assert!(
                        allocations < 50,
                        "{name} in parts, rules '{rules}': {allocations} allocations for 1000 commands"
                    );
                }
            }
        }
    };
    let patient = async { tokio::time::timeout(Duration::from_secs(120), measured).await };
    runtime.block_on(patient).expect("nothing takes so long unless it hangs");
}
