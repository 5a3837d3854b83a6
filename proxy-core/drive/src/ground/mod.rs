//! The ground: what every other storey stands on. Sockets and streams, buffers, clock and timers, locks, the counts that all
//! workers share, and the parts of TLS that both sides of it use. It imports nothing from the storeys above.

pub mod address;
pub mod buffers;
pub(crate) mod counted;
pub mod drain;
pub(crate) mod hops;
pub(crate) mod idle;
pub mod io;
pub(crate) mod kept;
pub mod numbers;
pub(crate) mod outbox;
pub mod process;
pub mod socket;
pub(crate) mod sync;
pub mod time;
pub mod tls;
