//! The bytes of one HTTP/1 connection: what has been read and not looked at, and what waits to be written. Holds a buffer
//! only while there is something in it.

use crate::seam::{Broken, Result};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use weir_decide::exchange::Reason;
use weir_drive::buffers::BUFFER_SIZE;
use weir_drive::{Io, Watch, Worker};

/// The most that waits to be written before the other side is held back.
pub const HIGH_WATER: usize = 64 * 1024;

/// Runs up to this size are copied behind the head, so that both leave in one contiguous write; longer ones are written
/// from where they lie.
const COPY: usize = 4 * 1024;

/// Where so many runs wait, only those are not copied that are a good part of the buffer which they were read into.
const QUEUED: usize = 4;

/// The least room that a read is given.
const ROOM: usize = 4 * 1024;

/// One connection's bytes.
pub struct Wire {
    pub io: Io,
    /// Read, and not consumed.
    pub buf: BytesMut,
    /// The peer has ended its direction.
    pub eof: bool,
    tail: BytesMut,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// How many bytes were written, ever.
    written: u64,
    shut: Shut,
    worker: Rc<Worker>,
}

#[derive(Clone, Copy, PartialEq)]
enum Shut {
    Open,
    Wanted,
    Done,
}

impl Wire {
    pub fn new(io: Io, worker: Rc<Worker>) -> Wire {
        Wire {
            io,
            buf: BytesMut::new(),
            eof: false,
            tail: BytesMut::new(),
            queue: VecDeque::new(),
            queued: 0,
            written: 0,
            shut: Shut::Open,
            worker,
        }
    }

    /// Take the bytes that were read before this wire was made.
    pub fn with_read(mut self, buf: BytesMut) -> Wire {
        self.buf = buf;
        self
    }

    /// Read once. `Ok(0)` is the end of the stream. Without a byte in hand it waits without a buffer.
    pub fn fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        if self.buf.capacity() == 0 {
            if let Err(e) = ready!(self.io.poll_readable_by(cx, &mut Watch::Unknown)) {
                return Poll::Ready(Err(Broken::io(&e)));
            }
            self.buf = self.worker.buffers().take();
        } else if self.buf.capacity() - self.buf.len() < ROOM {
            if !self.buf.is_empty() {
                self.buf.reserve(BUFFER_SIZE);
            } else if !self.buf.try_reclaim(BUFFER_SIZE) {
                self.buf = self.worker.buffers().take();
            }
        }
        match self.io.poll_read_by(cx, &mut Watch::Unknown, &mut self.buf) {
            Poll::Pending => {
                self.relax();
                Poll::Pending
            }
            Poll::Ready(Ok(0)) => {
                self.eof = true;
                self.relax();
                Poll::Ready(Ok(0))
            }
            Poll::Ready(Ok(n)) => Poll::Ready(Ok(n)),
            Poll::Ready(Err(e)) => Poll::Ready(Err(Broken::io(&e))),
        }
    }

    /// Give the read buffer back if nothing is in it.
    pub fn relax(&mut self) {
        if self.buf.is_empty() && self.buf.capacity() != 0 {
            self.worker.buffers().give(std::mem::take(&mut self.buf));
        }
    }

    /// Drop `n` bytes off the front of what was read.
    pub fn skip(&mut self, n: usize) {
        self.buf.advance(n.min(self.buf.len()));
    }

    /// Take `n` bytes off the front of what was read, uncopied.
    pub fn take(&mut self, n: usize) -> Bytes {
        self.buf.split_to(n.min(self.buf.len())).freeze()
    }

    /// Where to write what goes out next.
    pub fn out(&mut self) -> &mut BytesMut {
        if self.tail.capacity() == 0 {
            self.tail = self.worker.buffers().take();
        }
        &mut self.tail
    }

    /// Send a run of bytes.
    pub fn push(&mut self, data: Bytes) {
        // What is queued keeps all of the buffer alive that it was read into.
        if data.len() <= COPY || (self.queue.len() >= QUEUED && data.len() < BUFFER_SIZE / 4) {
            self.out().extend_from_slice(&data);
            return;
        }
        self.seal();
        self.queued += data.len();
        self.queue.push_back(data);
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let head = self.tail.split().freeze();
            self.queued += head.len();
            self.queue.push_back(head);
        }
    }

    /// How many bytes wait to be written.
    pub fn waiting(&self) -> usize {
        self.queued + self.tail.len()
    }

    /// How many bytes were written so far.
    pub fn position(&self) -> u64 {
        self.written
    }

    /// End our direction once everything has been written.
    pub fn shutdown(&mut self) {
        if self.shut == Shut::Open {
            self.shut = Shut::Wanted;
        }
    }

    /// Room for more to be sent.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        if self.waiting() >= HIGH_WATER
            && let Poll::Ready(Err(broken)) = self.poll_write(cx)
        {
            return Poll::Ready(Err(broken));
        }
        match HIGH_WATER.saturating_sub(self.waiting()) {
            0 => Poll::Pending,
            room => Poll::Ready(Ok(room)),
        }
    }

    /// Write what waits.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.waiting() > 0 {
            while self.waiting() > 0 {
                let written = ready!(self.write_once(cx));
                match written {
                    Ok(0) => return Poll::Ready(Err(Broken::new(Reason::Closed))),
                    Ok(n) => self.written(n),
                    Err(e) => return Poll::Ready(Err(Broken::io(&e))),
                }
            }
            self.worker.buffers().give(std::mem::take(&mut self.tail));
        }
        if self.io.is_tls()
            && let Err(e) = ready!(Pin::new(&mut self.io).poll_flush(cx))
        {
            return Poll::Ready(Err(Broken::io(&e)));
        }
        if self.shut == Shut::Wanted {
            let done = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
            self.shut = Shut::Done;
            // The peer may have closed before we did: nothing is lost by it.
            if let Err(e) = done
                && e.kind() != std::io::ErrorKind::NotConnected
            {
                return Poll::Ready(Err(Broken::io(&e)));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_once(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        if self.queue.is_empty() {
            return self.io.poll_write_once(cx, &self.tail);
        }
        let io = Pin::new(&mut self.io);
        const SLICES: usize = 16;
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        for (slot, bytes) in slices.iter_mut().zip(self.queue.iter().map(|b| &b[..]).chain(tail)) {
            *slot = IoSlice::new(bytes);
            used += 1;
        }
        io.poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
    }

    fn written(&mut self, mut n: usize) {
        self.written += n as u64;
        while n > 0 {
            let Some(front) = self.queue.front_mut() else {
                self.tail.advance(n.min(self.tail.len()));
                return;
            };
            let part = n.min(front.len());
            front.advance(part);
            n -= part;
            self.queued -= part;
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.buf.clear();
        self.relax();
        if self.tail.capacity() != 0 {
            self.worker.buffers().give(std::mem::take(&mut self.tail));
        }
    }
}
