//! The HTTP filter: HTTP/1.1 and HTTP/2 through one exchange loop.
//!
//! A request passes through like this:
//!
//! 1. [`service`] accepts a connection and tells HTTP/2 from HTTP/1; `h1::serve` or `h2::serve` reads a request's head, checks
//!    it, and makes it a [`seam::Request`]: hop-by-hop fields and framing are gone, the path is normal.
//! 2. `exchange` finds its route, asks the route's [`dialect`] what it is, lets the cluster admit it, and joins the client's side
//!    to a server's ([`seam`]): the request goes up while the reply comes down, in one task, bounded both ways.
//! 3. A try that fails before anything of a reply has gone to the client may be followed by another. However it ends, exactly
//!    one record is counted.
//!
//! | module | what it holds |
//! |---|---|
//! | [`seam`] | what the loop knows of HTTP: heads, parts, the two sides |
//! | [`fields`] | header and trailer fields, in one reusable buffer |
//! | `h1`, `h2` | the two versions, each on both sides |
//! | `exchange` | the loop: route, tries, local answers, the record |
//! | `adds`, `signed` | what Weir adds by itself; requests that are left as they are |
//! | `client` | what is said of the client, by whom, and what the server is told |
//! | `websocket` | what differs between the versions when one is opened |
//! | [`dialect`], `watcher`, `plain` | who names and judges an exchange |
//! | [`config`], `site`, [`service`] | the section, what a worker makes of it, the filter |
//!
//! # Caps
//! | what | cap | when it is met |
//! |---|---|---|
//! | head, fields, target, trailers, chunk extensions of HTTP/1 | `weir_codecs::http1::Limits` | answered, closed, `weir_http_rejects_total{rule}` |
//! | fields of a head or a trailer section, either version, requests and replies | 1,600 | 431, 502, RESOURCE_EXHAUSTED, `weir_http_rejects_total{rule="too_many_fields"}` |
//! | head of a request of HTTP/2 | 64 KiB | 431, RESOURCE_EXHAUSTED, `weir_http_rejects_total{rule}`; beyond 256 KiB 431 by h2 |
//! | head of a reply and trailers of HTTP/2 | 192 KiB | 502, RESOURCE_EXHAUSTED, `weir_http_rejects_total{rule}` |
//! | time for a head, or another frame that is not DATA | `head_timeout` | 408; in HTTP/2 GOAWAY, `weir_http_rejects_total{rule="h2_head_timeout"}` |
//! | streams of a client's connection | 100 | refused by h2 |
//! | streams that a client resets | 200, then 20 a second | GOAWAY, `weir_http_floods_total` |
//! | bytes in hand per direction, HTTP/1 | 64 KiB each way | nothing more is read |
//! | bytes in hand per stream, HTTP/2 | 64 KiB in (100 of them per client's, 128 per server's connection), 64 KiB out | the peer's window is empty |
//! | pipelined requests | 64 KiB of them | nothing more is read |
//! | a request's body kept for another try | `retry.buffer`, 64 KiB | not tried again, `weir_http_replay_exceeded_total` |
//! | a reply held back for a dialect | 64 KiB | forwarded |
//! | informational replies to one request | 32 | the server is broken: 502 |
//! | streams on a connection to a server | what it allows, 128 at most | another connection |

mod adds;
mod again;
mod circle;
mod client;
pub mod config;
pub mod dialect;
mod exchange;
pub mod fields;
mod h1;
mod h2;
pub mod names;
mod plain;
pub mod seam;
pub mod service;
mod signed;
mod site;
mod timer;
pub mod times;
mod watcher;
mod websocket;

pub use again::asked;
pub use dialect::{AtHead, Dialect, End, LocalReply, Refusal, RequestHead, Watch};
pub use fields::Fields;
pub use h2::head::is_framing;
pub use service::{DialectFactory, Http, HttpSection};
