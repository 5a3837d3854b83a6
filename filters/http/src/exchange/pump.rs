//! The two directions of an exchange, each a poll function, so that both run in one task without splitting anything.

use super::replay::Replay;
use crate::fields::Fields;
use crate::seam::{Broken, Part, Recv, Sink, Upstream};
use crate::watcher::Watcher;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use weir_decide::exchange::Names;

/// Which end of a direction cannot go on.
pub enum Stuck {
    /// The one that sends.
    From(Broken),
    /// The one that receives.
    To(Broken),
}

/// The request's body on its way to one server. What has come stays in [`Replay`] as far as it may be needed again.
#[derive(Default)]
pub struct Upward {
    /// Taken, and not yet sent.
    held: Bytes,
    /// Whether what is held came from the client just now.
    fresh: bool,
    /// How much of the replay has been sent.
    replayed: usize,
    /// The end has been sent.
    ended: bool,
}

impl Upward {
    /// For a request that ends with its head.
    pub fn ended() -> Upward {
        Upward { ended: true, ..Upward::default() }
    }

    /// Whether everything has been given to the server's side.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether nothing is at hand that could be sent: the client is to say more.
    pub fn waits_for_client(&self) -> bool {
        !self.ended && self.held.is_empty()
    }

    /// The try is over: what was taken from the client and not sent is in the replay, or lost with the exchange.
    pub fn stop(&mut self, from: &mut impl Recv) {
        if self.fresh && !self.held.is_empty() {
            from.consumed(self.held.len());
        }
        self.held = Bytes::new();
    }

    /// Ready when the request has been sent and flushed.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Recv,
        to: &mut impl Sink,
        replay: &mut Replay,
        watcher: &mut Watcher,
        names: &mut dyn Names,
    ) -> Poll<Result<(), Stuck>> {
        loop {
            if self.ended {
                return to.poll_flush(cx).map_err(Stuck::To);
            }
            if !self.held.is_empty() {
                let Poll::Ready(room) = to.poll_ready(cx, self.held.len()).map_err(Stuck::To)? else {
                    return Poll::Pending;
                };
                let n = room.min(self.held.len());
                to.send(self.held.split_to(n)).map_err(Stuck::To)?;
                if self.fresh {
                    from.consumed(n);
                }
                continue;
            }
            if let Some(again) = replay.next(&mut self.replayed) {
                self.held = again;
                self.fresh = false;
                continue;
            }
            if let Some(trailers) = replay.ended() {
                to.end(trailers).map_err(Stuck::To)?;
                self.ended = true;
                continue;
            }
            let toils = watcher.request_work();
            if toils {
                put_off(cx);
            }
            let part = if toils { Poll::Pending } else { from.poll_part(cx).map_err(Stuck::From)? };
            let Poll::Ready(part) = part else {
                return match to.poll_flush(cx) {
                    Poll::Ready(Err(broken)) => Poll::Ready(Err(Stuck::To(broken))),
                    _ => Poll::Pending,
                };
            };
            match part {
                Some(Part::Data(data)) => {
                    watcher.request_data(names, &data);
                    replay.keep(&data);
                    self.replayed += data.len();
                    self.held = data;
                    self.fresh = true;
                }
                Some(Part::Trailers(trailers)) => {
                    watcher.request_end(names, Some(&trailers));
                    replay.end(Some(trailers));
                }
                None => {
                    watcher.request_end(names, None);
                    replay.end(None);
                }
            }
        }
    }
}

/// The reply's body on its way to the client.
#[derive(Default)]
pub struct Downward {
    held: Bytes,
    /// Held back before; goes first. Its flow control has been given back already.
    queue: VecDeque<Bytes>,
    /// Whether what is held has still to be acknowledged.
    owed: bool,
    /// The client's side has not taken all that it was given.
    unread: bool,
    /// Bytes of body that came.
    pub bytes: u64,
}

/// What became of the reply's body.
pub enum Down {
    /// It has ended; the client's side has not been told yet.
    End(Option<Fields>),
    /// More has come than may be held back.
    Outgrown,
}

/// Pieces of a held reply below this are copied.
const SMALL: usize = 4 * 1024;

/// A reply that is held back: its body so far.
#[derive(Default)]
pub struct Hold {
    /// The most bytes to hold.
    pub limit: usize,
    /// What is held. Small pieces are copied together: each would keep all of the buffer alive that it was read into.
    parts: Vec<Bytes>,
    small: BytesMut,
    /// How much that is.
    pub bytes: usize,
}

impl Hold {
    /// Holds so many bytes at most.
    pub fn new(limit: usize) -> Hold {
        Hold { limit, ..Hold::default() }
    }

    fn push(&mut self, data: Bytes) {
        if data.len() < SMALL {
            self.small.extend_from_slice(&data);
            return;
        }
        self.seal();
        self.parts.push(data);
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.parts.push(self.small.split().freeze());
        }
    }

    /// What is held, in order.
    pub fn into_parts(mut self) -> Vec<Bytes> {
        self.seal();
        self.parts
    }
}

impl Downward {
    /// Give these to the client before anything else.
    pub fn first(&mut self, parts: impl IntoIterator<Item = Bytes>) {
        self.queue.extend(parts);
    }

    /// Whether it is the client that has to read before more can go to it. As of the last poll.
    pub fn waits_for_client(&self) -> bool {
        self.unread || !self.held.is_empty() || !self.queue.is_empty()
    }

    /// Ready when all that was given to [`Downward::first`] has been given to the client's side.
    pub fn poll_first(&mut self, cx: &mut Context<'_>, to: &mut impl Sink) -> Poll<Result<(), Broken>> {
        loop {
            if self.held.is_empty() {
                match self.queue.pop_front() {
                    Some(data) => self.held = data,
                    None => return Poll::Ready(Ok(())),
                }
                continue;
            }
            let room = ready!(to.poll_ready(cx, self.held.len()))?;
            to.send(self.held.split_to(room.min(self.held.len())))?;
        }
    }

    /// Take the reply's body from the server, and give it to the client or into `hold`.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Recv,
        to: &mut impl Sink,
        hold: Option<&mut Hold>,
        watcher: &mut Watcher,
    ) -> Poll<Result<Down, Stuck>> {
        if let Some(hold) = hold {
            return self.poll_hold(cx, from, hold, watcher).map_err(Stuck::From);
        }
        loop {
            if !self.owed {
                ready!(self.poll_first(cx, to)).map_err(Stuck::To)?;
            }
            if !self.held.is_empty() {
                let Poll::Ready(room) = to.poll_ready(cx, self.held.len()).map_err(Stuck::To)? else {
                    return Poll::Pending;
                };
                let n = room.min(self.held.len());
                to.send(self.held.split_to(n)).map_err(Stuck::To)?;
                from.consumed(n);
                continue;
            }
            self.owed = false;
            let toils = watcher.reply_work();
            if toils {
                put_off(cx);
            }
            let part = if toils { Poll::Pending } else { from.poll_part(cx).map_err(Stuck::From)? };
            let Poll::Ready(part) = part else {
                let flushed = to.poll_flush(cx).map_err(Stuck::To)?;
                self.unread = flushed.is_pending();
                return Poll::Pending;
            };
            match part {
                Some(Part::Data(data)) => {
                    self.bytes += data.len() as u64;
                    watcher.reply_data(&data);
                    self.held = data;
                    self.owed = true;
                }
                Some(Part::Trailers(trailers)) => return Poll::Ready(Ok(Down::End(Some(trailers)))),
                None => return Poll::Ready(Ok(Down::End(None))),
            }
        }
    }

    fn poll_hold(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Recv,
        hold: &mut Hold,
        watcher: &mut Watcher,
    ) -> Poll<Result<Down, Broken>> {
        loop {
            if watcher.reply_work() {
                put_off(cx);
                return Poll::Pending;
            }
            match ready!(from.poll_part(cx))? {
                Some(Part::Data(data)) => {
                    self.bytes += data.len() as u64;
                    watcher.reply_data(&data);
                    hold.bytes += data.len();
                    from.consumed(data.len());
                    hold.push(data);
                    if hold.bytes > hold.limit {
                        return Poll::Ready(Ok(Down::Outgrown));
                    }
                }
                Some(Part::Trailers(trailers)) => return Poll::Ready(Ok(Down::End(Some(trailers)))),
                None => return Poll::Ready(Ok(Down::End(None))),
            }
        }
    }
}

/// The watcher has done enough for now: the task is woken when others have had their turn, and sockets have been looked at.
pub fn put_off(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// A reply that nobody wants: if all of it, `left` bytes at most, is there already, its connection can serve another exchange.
pub fn release_now<U: Upstream>(mut up: U, mut left: usize) {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match up.poll_part(&mut cx) {
            Poll::Ready(Ok(None | Some(Part::Trailers(_)))) => return up.release(true),
            Poll::Ready(Ok(Some(Part::Data(data)))) if data.len() <= left => {
                left -= data.len();
                up.consumed(data.len());
            }
            _ => return,
        }
    }
}
