//! Weir's shells: the only code that waits. They read and write sockets, keep time, and ask the crates that decide.
//!
//! ```text
//! process   server: start, reload, drain, status    ── control channel ──▶ worker (one thread per core)
//! edge      listener: accept, limits, hand-over between workers, TLS    ──▶ filter::Service::serve(Accepted)
//! shells    what a worker lends to connections; relay: the `tcp` filter, bytes both ways; message: the loop of message
//!           protocols, decide::protocol::Protocol over a pinned upstream connection
//! upstream  cluster: a worker's handle on a cluster, view, connections, addresses; pool: idle connections; TLS
//! ground    sockets and streams, buffers, time, the outbox of small writes, counts, what TLS shares
//! ```
//!
//! Each storey imports only from those below it.
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

mod edge;
mod ground;
mod process;
mod shells;
mod upstream;

#[cfg(test)]
mod allocations;

pub use edge::listener;
pub use ground::address::{Address, Client, Told};
pub use ground::buffers::Buffers;
pub use ground::counted::Held;
pub use ground::drain::Drain;
pub use ground::hops::HOP_LENGTH;
pub use ground::io::{Io, Look, Watch};
pub use ground::kept::Kept;
pub use ground::socket::Socket;
pub use ground::tls::alpn::{Alpn, Offer};
pub use ground::{address, buffers, drain, io, numbers, socket, time, tls};
pub use process::server;
pub use process::server::{Drained, Server, StartError, Status};
pub use shells::context::Context;
pub use shells::filter::{Accepted, Advice, BuildError, Filter, Service};
pub use shells::front::{Front, Fronted};
pub use shells::page::Page;
pub use shells::relay::Tcp;
pub use shells::worker::Worker;
pub use shells::{context, filter, message, page, relay};
pub use upstream::cluster::{Cluster, Connected, Reached, Slot, Sweep};
pub use upstream::pool::{Pool, Reusable};
pub use upstream::{blocking, cluster, pool};
