//! MongoDB: a server with next to no memory, and a shop that uses it.

use bson::{Bson, Document, doc};
use std::{io, net::SocketAddr, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const OP_MSG: i32 = 2013;
/// The most that a message of the demo may be.
const CAP: i32 = 1 << 20;

/// Serves: finds answer, an insert now and then meets a duplicate key, an aggregate is slow.
pub async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(async move {
            let mut wire = Mongo { stream, number: 0 };
            let mut served = 0u32;
            while let Ok(Some((id, request))) = wire.receive().await {
                served += 1;
                let (pause, reply) = answer(&request, served);
                tokio::time::sleep(pause).await;
                if wire.send(&reply, id).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn answer(request: &Document, served: u32) -> (Duration, Document) {
    let command = request.keys().next().map_or("", String::as_str);
    let database = request.get_str("$db").unwrap_or("shop");
    let of = |name: &str| format!("{database}.{}", request.get_str(name).unwrap_or(""));
    match command {
        "hello" => (
            Duration::ZERO,
            doc! { "isWritablePrimary": true, "minWireVersion": 0, "maxWireVersion": 17, "maxBsonObjectSize": 16_777_216,
            "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "ok": 1.0 },
        ),
        "find" => (
            Duration::from_micros(300),
            doc! { "cursor": { "firstBatch": [{ "_id": 1, "coffee": "espresso" }, { "_id": 2, "coffee": "ristretto" }],
            "id": 0_i64, "ns": of("find") }, "ok": 1.0 },
        ),
        "aggregate" => (
            Duration::from_millis(12),
            doc! { "cursor": { "firstBatch": [{ "_id": Bson::Null, "sum": 42 }], "id": 0_i64, "ns": of("aggregate") },
            "ok": 1.0 },
        ),
        "insert" if served.is_multiple_of(9) => (
            Duration::from_millis(1),
            doc! { "n": 0, "writeErrors": [{ "index": 0, "code": 11000, "errmsg": "E11000 duplicate key error" }], "ok": 1.0 },
        ),
        "insert" | "update" => (Duration::from_millis(1), doc! { "n": 1, "ok": 1.0 }),
        "ping" => (Duration::ZERO, doc! { "ok": 1.0 }),
        _ => (
            Duration::ZERO,
            doc! { "ok": 0.0, "errmsg": format!("no such command: '{command}'"), "code": 59, "codeName": "CommandNotFound" },
        ),
    }
}

/// A hundred commands a second.
pub async fn load(weir: SocketAddr) {
    let commands = [
        doc! { "find": "orders", "filter": { "customer": "Ada" }, "limit": 10, "$db": "shop" },
        doc! { "insert": "orders", "documents": [{ "coffee": "lungo" }], "$db": "shop" },
        doc! { "find": "customers", "filter": {}, "limit": 1, "$db": "shop" },
        doc! { "update": "stock", "updates": [{ "q": {}, "u": { "$inc": { "beans": -1 } } }], "$db": "shop" },
        doc! { "aggregate": "orders", "pipeline": [{ "$group": { "_id": Bson::Null } }], "cursor": {}, "$db": "reports" },
        doc! { "nosuch": 1, "$db": "shop" },
    ];
    loop {
        let Ok(stream) = TcpStream::connect(weir).await else { return };
        let mut wire = Mongo { stream, number: 0 };
        let hello = doc! { "hello": 1, "client": { "application": { "name": "coffee-shop" }, "driver": { "name": "demo",
        "version": "1" } }, "$db": "admin" };
        for command in std::iter::once(&hello).chain(commands.iter().cycle()) {
            if wire.send(command, 0).await.is_err() || !matches!(wire.receive().await, Ok(Some(_))) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One end of a connection that carries nothing but OP_MSG with one document.
struct Mongo {
    stream: TcpStream,
    number: i32,
}

impl Mongo {
    async fn send(&mut self, document: &Document, answers: i32) -> io::Result<()> {
        let body = document.to_vec().map_err(io::Error::other)?;
        self.number = self.number.wrapping_add(1);
        let length = i32::try_from(16 + 4 + 1 + body.len()).map_err(io::Error::other)?;
        let mut out = Vec::new();
        for word in [length, self.number, answers, OP_MSG, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.push(0);
        out.extend_from_slice(&body);
        self.stream.write_all(&out).await
    }

    async fn receive(&mut self) -> io::Result<Option<(i32, Document)>> {
        let length = self.stream.read_i32_le().await?;
        let id = self.stream.read_i32_le().await?;
        let _answers = self.stream.read_i32_le().await?;
        let _opcode = self.stream.read_i32_le().await?;
        if !(26..=CAP).contains(&length) {
            return Ok(None);
        }
        let mut rest = vec![0; usize::try_from(length - 16).unwrap_or(0)];
        self.stream.read_exact(&mut rest).await?;
        let document = Document::from_reader(rest.get(5..).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(Some((id, document)))
    }
}
