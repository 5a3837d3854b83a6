//! Where a connection leads, and whether its endpoint still is there.

use super::answers::old;
use super::book::is_name;
use super::shared::Shared;
use crate::ground::time;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use weir_decide::exchange::Now;

/// Where a connection leads: to an address that its endpoint's name stood for when it was made, and may not any more. Boxed: most
/// endpoints are no names, and every connection has one of these.
#[derive(Debug, Clone, Default)]
pub struct Reached(Option<Box<Led>>);

#[derive(Debug, Clone)]
struct Led {
    shared: Arc<Shared>,
    name: Arc<str>,
    peer: SocketAddr,
    /// The book's generation that was looked at last.
    seen: u64,
    /// The name did not stand for it then: until when it may be used all the same.
    until: Option<Now>,
    /// When it is too old for that in any case.
    old: Now,
}

impl Reached {
    /// An endpoint's `address`, at `peer`, which is asked for only if that is a name.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        address: &Arc<str>,
        peer: impl FnOnce() -> Option<SocketAddr>,
    ) -> Reached {
        let peer = if is_name(address) { peer() } else { None };
        let (shared, name) = (Arc::clone(shared), Arc::clone(address));
        let led = |peer| Led { shared, name, peer, seen: 0, until: None, old: old(time::now()) };
        Reached(peer.map(|peer| Box::new(led(peer))))
    }

    /// Whether the endpoint's name stands for other addresses by now, and that is no passing answer ([`answers`](super::answers)): what
    /// is under way may finish, and the connection is then of no further use. One load for as long as nothing has changed, none where the endpoint is no name.
    pub fn is_outdated(&mut self) -> bool {
        let Some(led) = &mut self.0 else { return false };
        let generation = led.shared.book.generation.load(Ordering::Acquire);
        if generation != led.seen {
            led.seen = generation;
            let found = led.shared.book.read();
            // A name that is not listed any more is the endpoint's end, not its move.
            let answer = found.get(&led.name).filter(|answer| !answer.names(led.peer));
            led.until = answer.map(|answer| answer.settled.min(led.old));
        }
        led.until.is_some_and(|until| time::now() >= until)
    }
}
