//! Bytes on their way: what has come in and is not yet cut into messages, and what waits to be written.

use crate::ground::buffers::Buffers;
use crate::ground::io::{Io, Watch};
use crate::ground::outbox::{self, Lane, Outbox};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use weir_decide::exchange::Now;

/// How many pieces one write takes at most.
const VECTOR: usize = 32;

/// A read that brings so much is likely to be followed by others, which then go where they are to stay.
const MUCH: usize = 4096;

/// Bytes that wait to be written. Bounded by its user: nothing that fills it is read while it is not empty.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Goes before all others. Made with the first message that is laid down.
    lane: Option<Rc<Lane>>,
    /// Empty when nothing waits; a message is in one piece as a rule.
    first: Bytes,
    /// Boxed, since most connections never need it.
    #[allow(clippy::box_collection)] // an idle connection has a pointer, not a list
    more: Option<Box<VecDeque<Bytes>>>,
    unflushed: bool,
}

impl Outgoing {
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if self.first.is_empty() {
            self.first = bytes;
        } else if !bytes.is_empty() {
            self.more.get_or_insert_default().push_back(bytes);
        }
    }

    /// Whether nothing waits but what is in the outbox, which goes without anybody's doing.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && !self.unflushed && self.lane.as_ref().is_none_or(|lane| !lane.has_back())
    }

    pub(crate) fn clear(&mut self) {
        if let Some(lane) = self.lane.take() {
            lane.recall().ok();
        }
        *self = Outgoing::default();
    }

    /// Writes these bytes, which are taken over as far as they do not go at once. For when nothing else waits.
    pub(crate) fn poll_write_bytes(
        &mut self,
        bytes: &[u8],
        io: &mut Io,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.recall()?;
        if !self.is_empty() {
            self.push(Bytes::copy_from_slice(bytes));
            return self.poll_write(io, cx);
        }
        let written = match io.poll_write_once(cx, bytes) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => written,
            Poll::Pending => 0,
        };
        self.unflushed = io.is_tls();
        if let Some(left) = bytes.get(written..)
            && !left.is_empty()
        {
            self.first = Bytes::copy_from_slice(left);
        }
        if self.is_empty() { Poll::Ready(Ok(())) } else { self.poll_write(io, cx) }
    }

    /// Writes until all is gone. Ready at once when there is nothing.
    pub(crate) fn poll_write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.recall()?;
        while !self.first.is_empty() {
            let written = match &self.more {
                Some(more) if !more.is_empty() => ready!(self.poll_write_some(io, cx))?,
                _ => ready!(io.poll_write_once(cx, &self.first))?,
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = io.is_tls();
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Lays these bytes down in the worker's outbox, if it has several messages at a time. Says whether that takes them; if not they are to be written.
    pub(crate) fn lay(&mut self, bytes: &[u8], io: &Io, to: &Rc<Outbox>, now: Now, cx: &Context<'_>) -> bool {
        let Io::Tcp(tcp) = io else { return false };
        // A lane is made only where there is something to gain.
        if !outbox::are_many() || !self.is_empty() {
            return false;
        }
        let lane = self.lane.get_or_insert_with(|| Lane::new(tcp.shared(), to));
        lane.lay(bytes, now, cx)
    }

    /// Takes back what is in the outbox, and what came back from there.
    fn recall(&mut self) -> io::Result<()> {
        match &self.lane {
            Some(lane) if !lane.is_free() => {
                let bytes = lane.recall()?;
                self.push_front(bytes);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    #[cold]
    fn push_front(&mut self, bytes: Bytes) {
        let next = std::mem::replace(&mut self.first, bytes);
        if !next.is_empty() {
            self.more.get_or_insert_default().push_front(next);
        }
    }

    #[cold]
    fn poll_write_some(&self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); VECTOR];
        let mut used = 0;
        let more = self.more.iter().flat_map(|more| more.iter());
        for (slice, part) in slices.iter_mut().zip([&self.first].into_iter().chain(more)) {
            *slice = IoSlice::new(part);
            used += 1;
        }
        Pin::new(io).poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
    }

    fn advance(&mut self, mut written: usize) {
        while written >= self.first.len() && !self.first.is_empty() {
            written -= self.first.len();
            self.first = self.more.as_mut().and_then(|more| more.pop_front()).unwrap_or_default();
        }
        self.first.advance(written.min(self.first.len()));
    }
}

/// Bytes that have come in and are not yet cut into messages. Holds a read buffer only while there are any.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    buffer: Option<BytesMut>,
    /// The decoder has seen all there is and wants more.
    starved: bool,
    ended: bool,
    /// The latest read brought more than is copied lightly.
    brings_much: bool,
    watch: Watch,
}

/// What reading brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Bytes: there may be another message, or a piece of one.
    More,
    /// The same, and they are still in the room that they were read into.
    Room,
    /// Nothing more will come.
    End,
}

impl Incoming {
    /// Bytes that the decoder has not looked at.
    pub(crate) fn fresh(&mut self) -> Option<&mut BytesMut> {
        if self.starved { None } else { self.buffer.as_mut() }
    }

    /// Whether the stream has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether there are no bytes in hand.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.as_ref().is_none_or(|buffer| buffer.is_empty())
    }

    /// The decoder wants more than there is.
    pub(crate) fn starve(&mut self) {
        self.starved = true;
    }

    /// What was cut off has been written: the buffer goes back. What the decoder has left of it, a few bytes by its contract,
    /// moves to a small buffer, so that a connection that waits in mid-message does not keep a whole read buffer.
    pub(crate) fn release(&mut self, buffers: &Buffers) {
        if !self.starved {
            return;
        }
        match &self.buffer {
            Some(buffer) if buffer.is_empty() => {}
            Some(buffer) if buffer.len() <= buffer.capacity() / 4 => {
                let left = buffers.take_small(buffer);
                if let Some(buffer) = self.buffer.replace(left) {
                    buffers.give(buffer);
                }
                return;
            }
            _ => return,
        }
        if let Some(buffer) = self.buffer.take() {
            buffers.give(buffer);
        }
    }

    /// Reads once: into `room`, as a rule.
    pub(crate) fn poll_read(
        &mut self,
        io: &mut Io,
        buffers: &Buffers,
        room: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Read>> {
        if self.ended {
            return Poll::Ready(Ok(Read::End));
        }
        if self.buffer.is_some() || self.brings_much {
            return self.poll_read_much(io, buffers, cx);
        }
        let size = ready!(io.poll_read_to(cx, &mut self.watch, room))?;
        if size == 0 {
            self.ended = true;
            return Poll::Ready(Ok(Read::End));
        }
        self.brings_much = size >= MUCH;
        Poll::Ready(Ok(Read::Room))
    }

    /// What has been read stays in hand.
    pub(crate) fn keep(&mut self, room: &[u8], buffers: &Buffers) {
        let mut buffer = buffers.take();
        buffer.extend_from_slice(room);
        self.buffer = Some(buffer);
        self.starved = false;
    }

    /// Reads once, behind what is in hand or where a copy would be long.
    #[inline(never)]
    fn poll_read_much(
        &mut self,
        io: &mut Io,
        buffers: &Buffers,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Read>> {
        ready!(io.poll_readable_by(cx, &mut self.watch))?;
        let mut buffer = buffers.take();
        if let Some(left) = &self.buffer {
            if left.len() >= buffer.capacity() {
                buffers.give(buffer);
                return Poll::Pending;
            }
            buffer.extend_from_slice(left);
        }
        match io.poll_read_by(cx, &mut self.watch, &mut buffer) {
            Poll::Ready(Ok(0)) => {
                buffers.give(buffer);
                self.ended = true;
                Poll::Ready(Ok(Read::End))
            }
            Poll::Ready(Ok(size)) => {
                self.brings_much = size >= MUCH;
                if let Some(left) = self.buffer.replace(buffer) {
                    buffers.give(left);
                }
                self.starved = false;
                Poll::Ready(Ok(Read::More))
            }
            Poll::Ready(Err(error)) => {
                buffers.give(buffer);
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                buffers.give(buffer);
                Poll::Pending
            }
        }
    }

    /// After what was read has been cut: whether that was all there is, and this task is going to be woken when there is more.
    pub(crate) fn has_settled(&mut self, io: &mut Io, cx: &mut Context<'_>) -> bool {
        self.fresh().is_none() && self.watch == Watch::Drained && io.watch(cx, &mut self.watch)
    }

    /// All that is in hand, as it came.
    pub(crate) fn take(&mut self) -> Bytes {
        self.buffer.take().map(BytesMut::freeze).unwrap_or_default()
    }

    /// What is in hand is of no more use; what may come next is another stream.
    pub(crate) fn discard(&mut self, buffers: &Buffers) {
        if let Some(buffer) = self.buffer.take() {
            buffers.give(buffer);
        }
        *self = Incoming::default();
    }
}
