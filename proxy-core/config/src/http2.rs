//! The keys of HTTP/2 connections, the same towards clients (in a listener's section) and towards servers (in a cluster).

use crate::{Field, Fields, Kind, Table, Walk};
use std::time::Duration;

const HOUR: u64 = 3_600_000;

/// Limits of HTTP/2 connections. What is `None` was left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Http2 {
    /// The most streams at a time on one connection.
    pub max_streams: Option<u32>,
    /// After how long a silence the peer is asked whether it is there; zero: never.
    pub keepalive: Option<Duration>,
    /// How old a connection gets before it takes no new streams; zero: any age.
    pub max_age: Option<Duration>,
}

impl Http2 {
    /// Reads the key `http2` of `fields`.
    pub fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Http2 {
        let Some(table) = fields.table(walk, "http2") else { return Http2::default() };
        Http2 {
            max_streams: table.child("max_streams").and_then(|_| table.number(walk, "max_streams")),
            keepalive: table.child("keepalive").and_then(|_| table.duration(walk, "keepalive")),
            max_age: table.child("max_age").and_then(|_| table.duration(walk, "max_age")),
        }
    }
}

/// The table of the key `http2`.
pub static HTTP2: Table = Table {
    name: "http2",
    doc: "HTTP/2 connections: a listener's to its clients, a cluster's to its servers.",
    fields: &[
        Field::optional(
            "max_streams",
            Kind::Integer { min: 1, max: 100_000 },
            "The most streams at a time on one connection. Left out: 1000 on `grpc` listeners, 100 on others; towards servers 128. A \
             server's own limit holds beside it.",
        ),
        Field::optional(
            "keepalive",
            Kind::Duration { min: 0, max: HOUR },
            "Where streams are open and nothing has come for so long, a PING asks whether the peer is there; one that says nothing \
             for 5 seconds more (a client: 20) loses its connection. `0s`: never. Left out: 60s towards clients; towards servers 10s, \
             and five minutes after two that brought nothing but their answer, which is what gRPC servers put up with.",
        ),
        Field::optional(
            "max_age",
            Kind::Duration { min: 0, max: 24 * HOUR },
            "A connection this old, and up to a tenth more, takes no new streams and ends with its last. Left out, or `0s`: any age.",
        ),
    ],
    rules: &[],
};
