//! Connections from clients that are open, for people to look at.
//!
//! Each worker has a list of slots, made in chunks as they are needed and used again: one for each connection that it serves,
//! never more than it may have connections. What a connection does is told in atomics that only its worker writes, without a
//! locked instruction; what is learnt of it once (who it is, where it goes) is behind a lock of its own. Who looks takes the
//! lock of one slot at a time, for as long as it takes to point at what is in it: no traffic waits for more.

use crate::capped::lock;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use weir_decide::exchange::Now;
use weir_decide::protocol::About;

/// Slots in a chunk.
const CHUNK: usize = 64;

type Chunk = [Mutex<Option<Arc<OpenConnection>>>; CHUNK];

/// The slots of one worker, as everybody sees them.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<Vec<Arc<Chunk>>>);

impl Slots {
    pub(crate) fn collect(&self, into: &mut Vec<Arc<OpenConnection>>) {
        let chunks = lock(&self.0).clone();
        for slot in chunks.iter().flat_map(|chunk| chunk.iter()) {
            into.extend(lock(slot).clone());
        }
    }
}

/// The same, as the worker sees them.
#[derive(Debug)]
pub(crate) struct Seats {
    shared: Arc<Slots>,
    chunks: RefCell<Vec<Arc<Chunk>>>,
    free: RefCell<Vec<u32>>,
}

impl Seats {
    pub(crate) fn new(shared: &Arc<Slots>) -> Rc<Seats> {
        Rc::new(Seats { shared: Arc::clone(shared), chunks: RefCell::default(), free: RefCell::default() })
    }

    pub(crate) fn enter(self: &Rc<Self>, connection: OpenConnection) -> Opened {
        let connection = Arc::new(connection);
        let free = self.free.borrow_mut().pop();
        let at = free.unwrap_or_else(|| self.grow());
        self.put(at, Some(Arc::clone(&connection)));
        Opened { connection, seats: Rc::clone(self), at }
    }

    /// Adds a chunk; gives its first slot, the others are free.
    fn grow(&self) -> u32 {
        let chunk: Arc<Chunk> = Arc::new(std::array::from_fn(|_| Mutex::new(None)));
        lock(&self.shared.0).push(Arc::clone(&chunk));
        let mut chunks = self.chunks.borrow_mut();
        let first = u32::try_from(chunks.len() * CHUNK).unwrap_or(u32::MAX);
        chunks.push(chunk);
        self.free.borrow_mut().extend((1..CHUNK as u32).rev().map(|n| first.saturating_add(n)));
        first
    }

    fn put(&self, at: u32, what: Option<Arc<OpenConnection>>) {
        let at = at as usize;
        if let Some(slot) = self.chunks.borrow().get(at / CHUNK).and_then(|chunk| chunk.get(at % CHUNK)) {
            *lock(slot) = what;
        }
    }
}

/// A connection in the list, until this is dropped.
#[derive(Debug)]
pub struct Opened {
    connection: Arc<OpenConnection>,
    seats: Rc<Seats>,
    at: u32,
}

impl Opened {
    /// The connection.
    pub fn connection(&self) -> &OpenConnection {
        &self.connection
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.seats.put(self.at, None);
        self.seats.free.borrow_mut().push(self.at);
    }
}

/// A connection from a client. What changes is written by the worker that serves it, and by nobody else.
#[derive(Debug)]
pub struct OpenConnection {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The protocol that the listener speaks.
    pub protocol: &'static str,
    /// When it was accepted, or taken over from another worker.
    pub opened: Now,
    /// When anything last came or went; 0 where its protocol does not tell.
    moved: AtomicU64,
    /// When the oldest operation under way began; 0 where there is none.
    since: AtomicU64,
    operations: AtomicU64,
    request_bytes: AtomicU64,
    reply_bytes: AtomicU64,
    known: Mutex<Known>,
}

/// What is learnt of a connection once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The client's address; `None`: it has come by a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether it speaks TLS with Weir.
    pub tls: bool,
    /// The endpoint that it goes to, where it goes to one.
    pub endpoint: Option<Arc<str>>,
    /// What it says of itself.
    pub about: About,
}

/// What a connection has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doings {
    /// When anything last came or went.
    pub moved: Now,
    /// When the oldest operation under way began, long polls left out.
    pub since: Option<Now>,
    /// Operations that have ended.
    pub operations: u64,
    /// Their bytes from the client.
    pub request_bytes: u64,
    /// Their bytes to the client.
    pub reply_bytes: u64,
}

impl OpenConnection {
    /// A connection of `listener` that has done nothing yet.
    pub fn new(
        listener: &Arc<str>,
        protocol: &'static str,
        peer: Option<SocketAddr>,
        opened: Now,
    ) -> OpenConnection {
        OpenConnection {
            listener: Arc::clone(listener),
            protocol,
            opened,
            moved: AtomicU64::new(0),
            since: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            request_bytes: AtomicU64::new(0),
            reply_bytes: AtomicU64::new(0),
            known: Mutex::new(Known { peer, ..Known::default() }),
        }
    }

    /// The client is there, says the proxy before Weir.
    pub fn comes_from(&self, peer: Option<SocketAddr>) {
        lock(&self.known).peer = peer;
    }

    /// It speaks TLS.
    pub fn is_encrypted(&self) {
        lock(&self.known).tls = true;
    }

    /// It goes to this endpoint from now on, or to none.
    pub fn goes_to(&self, endpoint: Option<&Arc<str>>) {
        lock(&self.known).endpoint = endpoint.cloned();
    }

    /// That is what it says of itself.
    pub fn says(&self, about: About) {
        lock(&self.known).about = about;
    }

    /// Something has come or gone.
    pub fn moved(&self, now: Now) {
        self.moved.store(now.0, Relaxed);
    }

    /// The oldest operation under way began then, if there is any.
    pub fn under_way(&self, since: Option<Now>) {
        self.since.store(since.map_or(0, |since| since.0), Relaxed);
    }

    /// An operation has ended, with so many bytes each way.
    pub fn ended(&self, request_bytes: u64, reply_bytes: u64) {
        let counts =
            [(&self.operations, 1), (&self.request_bytes, request_bytes), (&self.reply_bytes, reply_bytes)];
        for (count, more) in counts {
            count.store(count.load(Relaxed).wrapping_add(more), Relaxed);
        }
    }

    /// So many bytes have passed each way, since it was opened.
    pub fn passed(&self, request_bytes: u64, reply_bytes: u64) {
        self.request_bytes.store(request_bytes, Relaxed);
        self.reply_bytes.store(reply_bytes, Relaxed);
    }

    /// What is known of it.
    pub fn known(&self) -> Known {
        lock(&self.known).clone()
    }

    /// What it has done; `None` where its protocol does not tell.
    pub fn doings(&self) -> Option<Doings> {
        let number = |count: &AtomicU64| count.load(Relaxed);
        let moved = Some(number(&self.moved)).filter(|moved| *moved > 0)?;
        Some(Doings {
            moved: Now(moved),
            since: Some(number(&self.since)).filter(|since| *since > 0).map(Now),
            operations: number(&self.operations),
            request_bytes: number(&self.request_bytes),
            reply_bytes: number(&self.reply_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(n: u64) -> OpenConnection {
        OpenConnection::new(&"db".into(), "mongo", None, Now(n))
    }

    #[test]
    fn slots_are_used_again_and_never_more_than_there_were_connections() {
        let slots = Arc::new(Slots::default());
        let seats = Seats::new(&slots);
        let all = || {
            let mut all = Vec::new();
            slots.collect(&mut all);
            all
        };
        let mut open: Vec<Opened> = (0..200).map(|n| seats.enter(connection(n))).collect();
        assert_eq!(all().len(), 200);
        for _ in 0..10 {
            open.drain(50..150);
            assert_eq!(all().len(), 100);
            open.extend((0..100).map(|n| seats.enter(connection(n))));
        }
        assert_eq!((all().len(), lock(&slots.0).len()), (200, 200_usize.div_ceil(CHUNK)));
        open.clear();
        assert!(all().is_empty());
    }

    #[test]
    fn others_may_look_while_the_worker_works() {
        let slots = Arc::new(Slots::default());
        let looks = Arc::clone(&slots);
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let looker = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut most = 0;
                while !over.load(Relaxed) {
                    let mut all = Vec::new();
                    looks.collect(&mut all);
                    assert!(all.iter().all(|one| one.doings().is_none_or(|doings| doings.operations <= 5)));
                    most = most.max(all.len());
                }
                most
            }
        });
        let seats = Seats::new(&slots);
        for _ in 0..2000 {
            let open: Vec<_> = (0..30).map(|n| seats.enter(connection(n))).collect();
            for one in &open {
                one.connection().moved(Now(7));
                (0..5).for_each(|_| one.connection().ended(1, 2));
                let doings = one.connection().doings().unwrap();
                assert_eq!((doings.operations, doings.request_bytes, doings.reply_bytes), (5, 5, 10));
            }
        }
        over.store(true, Relaxed);
        assert!(looker.join().unwrap() <= 30);
    }
}
