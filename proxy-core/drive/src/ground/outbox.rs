//! Writes of small messages that go together: when all connections of a worker that have something to read have read it, what they
//! have to write is written, one after the other. The system's code for reading and that for writing are large; to change from one to
//! the other for every message costs more than either, so this saves a tenth of a relay's time under load. A worker that wakes up for
//! one message at a time has nothing to gain: there a connection writes as soon as it has read.
//!
//! A message is laid down in the outbox by its connection, in a [`Lane`] of its own; the worker's task that [`run`](Outbox::run)s
//! the outbox comes after the connections that were ready before. What does not go at once comes back to the connection, which
//! can also take its message back at any time, to write it by itself.

use crate::ground::io::send_once;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::net::TcpStream;
use weir_decide::exchange::Now;

/// The longest message that is laid down.
pub(crate) const MAX_MESSAGE: usize = 4 * 1024;

/// How much is laid down at once; before it gets more it is emptied.
const MAX_LAID: usize = 64 * 1024;

/// How many messages are laid down at once: the first of them waits for what the others' connections have to do.
const MAX_LANES: usize = 32;

/// How long the first of them may wait, in nanoseconds, if another one is laid down behind it.
const MAX_AGE: u64 = 100_000;

thread_local! {
    static TURNS: Turns = const { Turns { messages: Cell::new(0), before: Cell::new(0) } };
}

/// How much a worker has to do at a time.
struct Turns {
    /// Small messages since the worker last slept.
    messages: Cell<u32>,
    /// Those between the last two times.
    before: Cell<u32>,
}

/// The worker of this thread has nothing to do for now.
pub(crate) fn sleeps() {
    TURNS.with(|turns| turns.before.set(turns.messages.take()));
}

/// Counts a small message, and says whether there are several at a time.
pub(crate) fn are_many() -> bool {
    TURNS.with(|turns| {
        turns.messages.set(turns.messages.get().saturating_add(1));
        turns.before.get() > 1
    })
}

/// For tests: as long as the worker never sleeps there are.
#[cfg(test)]
pub(crate) fn pretend_many() {
    TURNS.with(|turns| turns.before.set(2));
}

/// A worker's outbox.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: RefCell<Vec<u8>>,
    lanes: RefCell<Vec<Rc<Lane>>>,
    /// When the first of them was laid down.
    since: Cell<Now>,
    /// The task that empties it.
    emptier: RefCell<Option<Waker>>,
}

/// Where a connection lays down what is to be written to one socket: one message at a time.
#[derive(Debug)]
pub(crate) struct Lane {
    socket: Arc<TcpStream>,
    outbox: Rc<Outbox>,
    /// From where to where in the outbox; nothing is laid down where they are the same.
    laid: Cell<(u32, u32)>,
    /// Whoever lays down, to be woken when something comes back.
    owner: RefCell<Option<Waker>>,
    /// What came back.
    back: RefCell<Back>,
    has_back: Cell<bool>,
}

#[derive(Debug, Default)]
enum Back {
    #[default]
    Nothing,
    /// The rest of it: the socket is full.
    Left(Bytes),
    Failed(io::Error),
}

impl Outbox {
    /// Empties it whenever something has been laid down, for as long as the worker runs.
    pub(crate) async fn run(self: Rc<Self>) {
        poll_fn(|cx| {
            let known = self.emptier.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if !known {
                self.emptier.replace(Some(cx.waker().clone()));
            }
            self.empty();
            Poll::<()>::Pending
        })
        .await;
    }

    /// Empties it before each step of something that takes long.
    pub(crate) async fn empty_before<F: Future>(&self, mut steps: Pin<Box<F>>) -> F::Output {
        poll_fn(|cx| {
            self.empty();
            steps.as_mut().poll(cx)
        })
        .await
    }

    fn has_room(&self, message: &[u8]) -> bool {
        self.bytes.borrow().len() + message.len() <= MAX_LAID
    }

    /// A copy of the message, for which there is room: from where to where.
    fn add(&self, message: &[u8]) -> (u32, u32) {
        let mut bytes = self.bytes.borrow_mut();
        let at = bytes.len();
        bytes.reserve_exact(MAX_LAID.saturating_sub(at));
        bytes.extend_from_slice(message);
        (at as u32, bytes.len() as u32)
    }

    /// Writes all that is laid down. To be called before anything that takes longer than a small message does.
    pub(crate) fn empty(&self) {
        let mut lanes = self.lanes.take();
        if lanes.is_empty() {
            self.lanes.replace(lanes);
            return;
        }
        let mut bytes = self.bytes.take();
        for lane in lanes.drain(..) {
            let (at, end) = lane.laid.take();
            if at < end {
                lane.send(bytes.get(at as usize..end as usize).unwrap_or_default());
            }
        }
        // Nobody has laid anything down meanwhile.
        bytes.clear();
        self.bytes.replace(bytes);
        self.lanes.replace(lanes);
    }
}

/// Empties it when the worker ends.
pub(crate) struct Last(pub(crate) Rc<Outbox>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.empty();
    }
}

impl Lane {
    pub(crate) fn new(socket: &Arc<TcpStream>, outbox: &Rc<Outbox>) -> Rc<Lane> {
        Rc::new(Lane {
            socket: Arc::clone(socket),
            outbox: Rc::clone(outbox),
            laid: Cell::default(),
            owner: RefCell::default(),
            back: RefCell::default(),
            has_back: Cell::default(),
        })
    }

    /// Lays a message down, if it is small. For when nothing else is to be written before it.
    pub(crate) fn lay(self: &Rc<Self>, message: &[u8], now: Now, cx: &Context<'_>) -> bool {
        if message.len() > MAX_MESSAGE || !self.is_free() {
            return false;
        }
        let outbox = &*self.outbox;
        if !outbox.has_room(message) {
            outbox.empty();
        }
        if outbox.lanes.borrow().is_empty() {
            // Nobody empties it before the worker has begun to.
            let Some(emptier) = &*outbox.emptier.borrow() else { return false };
            emptier.wake_by_ref();
            outbox.since.set(now);
        }
        self.laid.set(outbox.add(message));
        self.own(cx.waker());
        outbox.lanes.borrow_mut().push(Rc::clone(self));
        // Nothing is borrowed any more: this may bring it back.
        if outbox.lanes.borrow().len() >= MAX_LANES || now.since(outbox.since.get()) > MAX_AGE {
            outbox.empty();
        }
        true
    }

    fn own(&self, waker: &Waker) {
        let mut owner = self.owner.borrow_mut();
        if !owner.as_ref().is_some_and(|owner| owner.will_wake(waker)) {
            *owner = Some(waker.clone());
        }
    }

    /// Whether nothing is laid down and nothing has come back.
    pub(crate) fn is_free(&self) -> bool {
        let (at, end) = self.laid.get();
        at == end && !self.has_back.get()
    }

    /// Whether something has come back.
    pub(crate) fn has_back(&self) -> bool {
        self.has_back.get()
    }

    /// Takes back what is laid down or came back; empty if that is nothing.
    ///
    /// # Errors
    /// Why it could not be written.
    pub(crate) fn recall(&self) -> io::Result<Bytes> {
        let (at, end) = self.laid.take();
        if at < end {
            let bytes = self.outbox.bytes.borrow();
            let message = bytes.get(at as usize..end as usize).unwrap_or_default();
            return Ok(Bytes::copy_from_slice(message));
        }
        self.has_back.set(false);
        match self.back.take() {
            Back::Nothing => Ok(Bytes::new()),
            Back::Left(bytes) => Ok(bytes),
            Back::Failed(error) => Err(error),
        }
    }

    fn send(&self, message: &[u8]) {
        match send_once(&self.socket, message) {
            Ok(written) if written == message.len() => {}
            Ok(written) => self.bring_back(left(message, written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.bring_back(left(message, 0)),
            Err(error) => self.bring_back(Back::Failed(error)),
        }
    }

    #[cold]
    fn bring_back(&self, back: Back) {
        self.back.replace(back);
        self.has_back.set(true);
        let owner = self.owner.take();
        if let Some(owner) = owner {
            owner.wake();
        }
    }
}

fn left(message: &[u8], written: usize) -> Back {
    Back::Left(Bytes::copy_from_slice(message.get(written..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::io::Io;
    use crate::shells::message::queue::Outgoing;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    /// Runs it with an outbox that is emptied, and the two ends of a connection.
    fn with<F: Future>(test: impl FnOnce(Rc<Outbox>, Io, TcpStream) -> F) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        runtime.unwrap().block_on(async {
            pretend_many();
            let outbox = Rc::new(Outbox::default());
            tokio::task::spawn_local(Rc::clone(&outbox).run());
            tokio::task::yield_now().await;
            let (io, peer) = ends().await;
            tokio::time::timeout(Duration::from_secs(20), test(outbox, io, peer)).await.unwrap();
        });
    }

    async fn ends() -> (Io, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Io::Tcp(listener.accept().await.unwrap().0.into()), peer)
    }

    async fn lay(out: &mut Outgoing, message: &[u8], io: &Io, outbox: &Rc<Outbox>) -> bool {
        poll_fn(|cx| Poll::Ready(out.lay(message, io, outbox, Now(1), cx))).await
    }

    async fn heard(peer: &mut TcpStream, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        peer.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[test]
    fn messages_go_when_those_that_were_ready_have_had_their_turn() {
        with(|outbox, one, mut peer| async move {
            let (other, mut other_peer) = ends().await;
            let (mut out, mut other_out) = (Outgoing::default(), Outgoing::default());
            for round in 0..3u8 {
                assert!(lay(&mut out, &[round; 100], &one, &outbox).await);
                assert!(lay(&mut other_out, &[round; 50], &other, &outbox).await);
                assert!(out.is_empty() && outbox.lanes.borrow().len() == 2, "nobody has to do anything");
                assert!(!lay(&mut out, b"another", &one, &outbox).await, "one at a time");
                assert_eq!(heard(&mut peer, 100).await, [round; 100]);
                assert_eq!(heard(&mut other_peer, 50).await, [round; 50]);
            }
            assert!(!lay(&mut out, &[1; MAX_MESSAGE + 1], &one, &outbox).await, "too large");
            // Rather than wait for very many others.
            let mut many = Vec::new();
            for _ in 0..MAX_LANES {
                many.push((ends().await, Outgoing::default()));
            }
            tokio::task::yield_now().await;
            for (at, ((io, _), out)) in many.iter_mut().enumerate() {
                assert_eq!(outbox.lanes.borrow().len(), at);
                assert!(lay(out, b"x", io, &outbox).await);
            }
            assert!(outbox.lanes.borrow().is_empty());
            tokio::task::yield_now().await;
            // And rather than take more than it has room for.
            assert!(lay(&mut out, b"first", &one, &outbox).await);
            outbox.bytes.borrow_mut().resize(MAX_LAID - 4, 0);
            assert!(lay(&mut other_out, b"other", &other, &outbox).await);
            assert_eq!((outbox.lanes.borrow().len(), outbox.bytes.borrow().len()), (1, 5));
            assert_eq!(heard(&mut peer, 5).await, b"first");
            assert_eq!(heard(&mut other_peer, 5).await, b"other");
        });
    }

    #[test]
    fn a_message_alone_is_not_laid_down() {
        with(|outbox, io, _peer| async move {
            let mut out = Outgoing::default();
            sleeps();
            sleeps();
            assert!(!lay(&mut out, b"alone", &io, &outbox).await);
            sleeps();
            assert!(!lay(&mut out, b"alone again", &io, &outbox).await);
            assert!(!lay(&mut out, b"and another", &io, &outbox).await);
            sleeps();
            assert!(lay(&mut out, b"several at a time", &io, &outbox).await);
        });
    }

    #[test]
    fn the_first_does_not_wait_for_long() {
        with(|outbox, io, mut peer| async move {
            let (other, _other_peer) = ends().await;
            let (mut out, mut other_out) = (Outgoing::default(), Outgoing::default());
            let later = Now(2 + MAX_AGE);
            assert!(lay(&mut out, b"first", &io, &outbox).await);
            poll_fn(|cx| Poll::Ready(other_out.lay(b"x", &other, &outbox, later, cx))).await;
            assert!(outbox.lanes.borrow().is_empty());
            assert_eq!(heard(&mut peer, 5).await, b"first");
        });
    }

    /// The one that makes it full comes back while it is laid down, whether its peer has gone or does not read.
    #[test]
    fn the_last_one_may_come_back_at_once() {
        with(|outbox, io, peer| async move {
            let mut full = (Outgoing::default(), 0usize);
            while full.0.is_empty() {
                assert!(lay(&mut full.0, &[7; MAX_MESSAGE], &io, &outbox).await);
                tokio::task::yield_now().await;
                full.1 += 1;
            }
            full.0.clear();
            let (gone, gone_peer) = ends().await;
            socket2::SockRef::from(&gone_peer).set_linger(Some(Duration::ZERO)).unwrap();
            drop(gone_peer);
            for bad in [&io, &gone] {
                let mut many = Vec::new();
                for _ in 1..MAX_LANES {
                    many.push((ends().await, Outgoing::default()));
                }
                tokio::task::yield_now().await;
                for ((io, _), out) in &mut many {
                    assert!(lay(out, b"hello", io, &outbox).await);
                }
                let mut last = Outgoing::default();
                assert!(lay(&mut last, b"the last", bad, &outbox).await);
                assert!(!last.is_empty() && outbox.lanes.borrow().is_empty());
                for ((_, peer), _) in &mut many {
                    assert_eq!(heard(peer, 5).await, b"hello");
                }
            }
            drop(peer);
        });
    }

    #[test]
    fn what_is_written_later_comes_later() {
        with(|outbox, mut io, mut peer| async move {
            let mut out = Outgoing::default();
            assert!(lay(&mut out, b"first, ", &io, &outbox).await);
            out.push(Bytes::from_static(b"second, "));
            assert!(!lay(&mut out, b"third", &io, &outbox).await, "there is something before it");
            poll_fn(|cx| out.poll_write_bytes(b"third", &mut io, cx)).await.unwrap();
            assert_eq!(heard(&mut peer, 20).await, b"first, second, third");
            // Forgotten with everything else.
            assert!(lay(&mut out, b"never", &io, &outbox).await);
            out.clear();
            out.push(Bytes::from_static(b"end"));
            poll_fn(|cx| out.poll_write(&mut io, cx)).await.unwrap();
            drop(io);
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"end");
        });
    }

    #[test]
    fn what_a_full_socket_leaves_comes_back_and_nothing_is_lost() {
        with(|outbox, mut io, mut peer| async move {
            let (mut out, mut sent) = (Outgoing::default(), 0usize);
            // Until it is full.
            while out.is_empty() {
                assert!(lay(&mut out, &[7; MAX_MESSAGE], &io, &outbox).await);
                sent += MAX_MESSAGE;
                tokio::task::yield_now().await;
            }
            assert!(!lay(&mut out, b"more", &io, &outbox).await);
            let all = async {
                let bytes = heard(&mut peer, sent).await;
                assert!(bytes.iter().all(|byte| *byte == 7));
            };
            let (written, ()) = tokio::join!(poll_fn(|cx| out.poll_write(&mut io, cx)), all);
            written.unwrap();
            assert!(out.is_empty() && lay(&mut out, b"more", &io, &outbox).await);
            assert_eq!(heard(&mut peer, 4).await, b"more");
        });
    }

    #[test]
    fn whoever_laid_it_down_is_told_that_it_failed() {
        with(|outbox, mut io, peer| async move {
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
            drop(peer);
            let mut out = Outgoing::default();
            let failed = poll_fn(|cx| {
                // Woken by what comes back, as the connection's task is.
                if out.is_empty() && out.lay(b"anybody there?", &io, &outbox, Now(1), cx) {
                    return Poll::Pending;
                }
                out.poll_write(&mut io, cx)
            });
            assert!(failed.await.is_err());
        });
    }
}
