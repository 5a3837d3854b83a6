//! Weir's shells: the only code that waits. They read and write sockets, keep time, and ask the crates that decide.
//!
//! ```text
//! server    the process: start, reload, drain, status       ── control channel ──▶ worker (one thread per core)
//! listener  accept, limits, hand-over between workers, TLS   ──▶ filter::Service::serve(Accepted)
//! relay     the `tcp` filter: bytes both ways
//! message   the loop of message protocols (mongo): decide::protocol::Protocol over a pinned upstream connection
//! outbox    small writes of a worker, which go together
//! cluster   a worker's handle on a cluster: view, connections, addresses; pool keeps idle connections
//! tls       terminate and originate
//! ```
//!
//! The life of a connection: [`listener`] accepts it on some worker, which may hand it to a less loaded one, and
//! terminates TLS; the listener's [`Service`] then owns it. The service asks the cluster's view for an endpoint
//! (`View::admit`), the [`Cluster`] for a connection to it, and moves bytes until both sides are done. What happened is
//! given back to the view (`Ticket::finish`) and written to the worker's numbers ([`Worker::measure`]).
//!
//! A worker is one thread with one current-thread runtime. Its connections, pools and views are `Rc`; what workers share
//! is in [`process`], [`cluster`] (limits, addresses, who waits) and `weir-decide`, and none of it locks on the path of a
//! request.
//!
//! # Caps
//! | what | cap | when it is met |
//! |---|---|---|
//! | connections of a listener | `max_connections` | closed at once, `weir_listener_connections_refused_total{reason="max_connections"}` |
//! | connections of a client address; the map of these | `max_connections_per_address`; `max_connections` | closed at once, the same with its reason |
//! | connections of the process | `limits.max_connections`, half of the descriptors | closed at once, `process_max_connections` |
//! | a PROXY protocol header | 107 bytes, or 16 and `proxy_protocol::MAX_V2_REST` | closed, `weir_listener_proxy_headers_total{result="too_long"}` |
//! | connections to a cluster | `circuit_breaker.max_connections` | the oldest idle one makes room, else the operation waits |
//! | who waits for a connection | `circuit_breaker.max_pending` | refused with `max_pending` |
//! | spare read buffers of a worker | [`buffers::MAX_SPARE`] × [`buffers::BUFFER_SIZE`] | freed |
//! | idle connections per endpoint and pool | [`pool::MAX_IDLE`] | the oldest is closed |
//! | connections on their way from one worker to another | [`listener::MAX_HANDED`] | not handed over |
//! | bytes in hand per direction | one read buffer | nothing more is read |
//! | small messages of a worker that wait to be written together | 64 KiB | their connections write by themselves |
//! | operations under way on a message connection | [`message::MAX_PENDING`] | nothing more is read from the client |

/// So that the toy protocol of the integration tests compiles here too.
#[cfg(test)]
extern crate self as weir_drive;

pub mod address;
pub mod buffers;
pub mod cluster;
pub mod context;
pub mod drain;
pub mod filter;
mod hops;
mod idle;
pub mod io;
mod kept;
pub mod listener;
pub mod message;
pub mod numbers;
mod outbox;
pub mod page;
pub mod pool;
pub mod process;
pub mod relay;
pub mod server;
pub mod socket;
pub mod time;
pub mod tls;
pub mod worker;

#[cfg(test)]
mod allocations;

pub use address::{Address, Client, Told};
pub use buffers::Buffers;
pub use cluster::{Cluster, Connected, Offer, Reached, Slot};
pub use context::Context;
pub use drain::Drain;
pub use filter::{Accepted, Advice, Alpn, BuildError, Filter, Service};
pub use hops::HOP_LENGTH;
pub use io::{Io, Look, Watch};
pub use kept::Kept;
pub use listener::Held;
pub use page::Page;
pub use pool::{Pool, Reusable, Sweep};
pub use relay::Tcp;
pub use server::doors::{Front, Fronted};
pub use server::{Drained, Server, StartError, Status};
pub use socket::Socket;
pub use worker::Worker;
