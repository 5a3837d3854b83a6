//! A connection's byte stream on which writes are gathered: the `h2` crate writes each DATA frame by itself, which would be one
//! system call a frame, and reads 8 KiB at a time. Here all that it has to say in one turn of its connection's task leaves in
//! one, and all that has come is read at once.
//!
//! What h2 writes is copied behind what waits, and its flushes do nothing. Whoever polls the connection calls [`Cork::pass`]
//! after that: then everything is written. No byte waits longer than that poll; where the socket takes no more, the task is
//! woken when it does, as with any write. Holds a buffer only while something waits.

use super::frames::Frames;
use crate::timer::{LINGER, LINGER_BYTES, Timer};
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_decide::exchange::Now;
use weir_drive::buffers::BUFFER_SIZE;
use weir_drive::{Io, Worker, time};

/// The most that waits to be written; beyond it h2 has to wait for the socket.
const HIGH_WATER: usize = BUFFER_SIZE;

/// The handle of whoever polls the connection.
#[derive(Clone)]
pub struct Cork(Rc<RefCell<Inner>>);

/// The stream that h2 is given.
pub struct Corked(Rc<RefCell<Inner>>);

struct Inner {
    io: Io,
    /// Read, and not yet taken by h2.
    read: BytesMut,
    /// How what is read has ended, which h2 is told in the turn after.
    end: Option<io::Result<()>>,
    /// Waits to be written.
    out: BytesMut,
    /// Bytes were lost on their way: whatever came after them would be read for something else, so nothing does, for ever.
    broken: Option<io::ErrorKind>,
    /// TLS has something that it has not written yet.
    unflushed: bool,
    /// What comes, if it is watched.
    frames: Option<Frames>,
    /// When something came last, and how often something has.
    heard: (Now, u64),
    worker: Rc<Worker>,
}

/// `io` with writes gathered; `read` are bytes that were read from it already; `frames` is to watch what comes.
pub fn corked(io: Io, read: BytesMut, worker: Rc<Worker>, frames: Option<Frames>) -> (Cork, Corked) {
    let out = BytesMut::new();
    let inner = Inner {
        io,
        read,
        end: None,
        out,
        broken: None,
        unflushed: false,
        frames,
        heard: (time::now(), 0),
        worker,
    };
    let inner = Rc::new(RefCell::new(inner));
    (Cork(Rc::clone(&inner)), Corked(inner))
}

impl Cork {
    /// Writes what h2 said while it was polled just now.
    pub fn pass(&self, cx: &mut Context<'_>) {
        let mut inner = self.0.borrow_mut();
        let was = inner.broken;
        if let Poll::Ready(Err(_)) = inner.poll_write(cx)
            && was.is_none()
        {
            // h2 learns of it when it flushes the next time.
            cx.waker().wake_by_ref();
        }
    }
}

impl Cork {
    /// Ends the stream in such a way that what was sent arrives: a socket that is closed while something is unread tells its
    /// peer to forget what that has not read yet. So what still comes is read and thrown away, until the peer has closed too,
    /// nothing has come for [`LINGER`], or more than [`LINGER_BYTES`] have.
    pub async fn linger(&self, timer: &mut Timer) {
        let mut is_shut = false;
        let mut left = LINGER_BYTES;
        let mut until = time::now().after(LINGER);
        poll_fn(|cx| {
            let mut inner = self.0.borrow_mut();
            if !is_shut {
                let shut = match inner.poll_write(cx) {
                    Poll::Ready(Ok(())) => Pin::new(&mut inner.io).poll_shutdown(cx),
                    other => other,
                };
                match shut {
                    Poll::Ready(Ok(())) => is_shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            loop {
                left = left.saturating_sub(inner.read.len());
                inner.read.clear();
                match inner.poll_fill(cx) {
                    // Whoever says that he has read something is to have the rest as well.
                    Poll::Ready(Ok(true)) if left > 0 => until = time::now().after(LINGER),
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return timer.poll(cx, until).map(drop),
                }
            }
        })
        .await;
    }

    /// When something came last, and how often something has.
    pub fn heard(&self) -> (Now, u64) {
        self.0.borrow().heard
    }

    /// Since when the rest of something that was begun has been waited for, where frames are watched.
    pub fn unfinished(&self) -> Option<Now> {
        self.0.borrow().frames.as_ref().and_then(Frames::unfinished)
    }
}

impl Inner {
    /// Reads what there is, in one go; `false`: the stream has ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        ready!(self.io.poll_readable(cx))?;
        let mut read = self.worker.buffers().take();
        match self.io.poll_read_buf(cx, &mut read) {
            Poll::Ready(Ok(1..)) => {
                self.read = read;
                self.heard = (time::now(), self.heard.1 + 1);
                Poll::Ready(Ok(true))
            }
            other => {
                self.worker.buffers().give(read);
                other.map_ok(|_| false)
            }
        }
    }

    /// Writes what waits.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        let written = ready!(self.write_all(cx));
        if let Err(e) = &written {
            self.broken = Some(e.kind());
            self.out.clear();
            self.release();
        }
        Poll::Ready(written)
    }

    fn write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(n);
            self.unflushed = self.io.is_tls();
        }
        self.release();
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn release(&mut self) {
        if self.out.capacity() != 0 {
            self.worker.buffers().give(std::mem::take(&mut self.out));
        }
    }

    /// Whether all that was ever taken has been written or still waits.
    fn check(&self) -> io::Result<()> {
        self.broken.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Room for more to wait.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.check()?;
        if self.out.len() >= HIGH_WATER
            && let Poll::Ready(Err(e)) = self.poll_write(cx)
        {
            return Poll::Ready(Err(e));
        }
        match HIGH_WATER.saturating_sub(self.out.len()) {
            0 => Poll::Pending,
            room => Poll::Ready(Ok(room)),
        }
    }

    /// Copies what there is room for.
    fn append<'a>(&mut self, room: usize, runs: impl Iterator<Item = &'a [u8]>) -> usize {
        if self.out.capacity() == 0 {
            self.out = self.worker.buffers().take();
        }
        let mut left = room;
        for run in runs {
            let some = run.get(..run.len().min(left)).unwrap_or_default();
            self.out.extend_from_slice(some);
            left -= some.len();
        }
        room - left
    }
}

impl AsyncRead for Corked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self.0.borrow_mut();
        if this.read.is_empty() {
            if let Some(end) = this.end.take() {
                return Poll::Ready(end);
            }
            match this.poll_fill(cx) {
                Poll::Pending => {
                    this.frames.iter_mut().for_each(Frames::paused);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(true)) => {}
                // Those whose streams have just got something take it first. To h2 a stream whose request is still being sent is
                // broken when its connection ends, though its reply had come whole.
                Poll::Ready(end) => {
                    this.end = Some(end.map(drop));
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        let n = this.read.len().min(buf.remaining());
        let some = this.read.get(..n).unwrap_or_default();
        if let Some(frames) = &mut this.frames {
            frames.came(some);
        }
        buf.put_slice(some);
        this.read.advance(n);
        if this.read.is_empty() {
            this.worker.buffers().give(std::mem::take(&mut this.read));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut this = self.0.borrow_mut();
        let room = ready!(this.poll_room(cx))?;
        Poll::Ready(Ok(this.append(room, std::iter::once(bytes))))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut this = self.0.borrow_mut();
        let room = ready!(this.poll_room(cx))?;
        Poll::Ready(Ok(this.append(room, slices.iter().map(|slice| &**slice))))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    // See the module.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.borrow().check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.0.borrow_mut();
        ready!(this.poll_write(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
