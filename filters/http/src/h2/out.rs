//! What goes out on a stream: given to h2 as there is capacity, and so that it costs little more than its bytes.
//!
//! What waits in h2 is bounded by bytes ([`SEND_BUFFER`]). But each piece costs an entry there, and keeps the buffer alive that it
//! was read into: a server that sends byte by byte to a client that reads nothing would cost megabytes for each of its streams. So
//! of small pieces only the first few go as they are. Then they are copied together, and h2 has one such run at a time, unless it
//! has become long: the next one goes when h2 has let go of the last.

use super::{SEND_BUFFER, broken, head};
use crate::fields::Fields;
use crate::seam::{Broken, Result};
use bytes::{Bytes, BytesMut};
use h2::SendStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use weir_decide::exchange::Reason;

/// A piece of this size is worth its entry and the buffer behind it: a quarter of one.
const LARGE: usize = 16 * 1024;

/// Smaller pieces of a stream that go as they are: most replies and requests have no more.
const AS_THEY_ARE: u8 = 3;

/// What goes out on a stream.
pub struct Out {
    stream: Option<SendStream<Bytes>>,
    /// How many small pieces may still go as they are.
    free: u8,
    /// Small pieces, copied together; h2 has not been given them.
    run: BytesMut,
    told: Option<Arc<Told>>,
}

/// Tells whether h2 has a run.
#[derive(Default)]
struct Told {
    has: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// A run that h2 has been given.
struct Run {
    bytes: Bytes,
    told: Arc<Told>,
}

impl AsRef<[u8]> for Run {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.told.has.store(false, Relaxed);
        let waker = self.told.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Out {
    /// Nothing yet.
    pub fn none() -> Out {
        Out { stream: None, free: AS_THEY_ARE, run: BytesMut::new(), told: None }
    }

    /// What goes out on this stream.
    pub fn new(stream: SendStream<Bytes>) -> Out {
        Out { stream: Some(stream), ..Out::none() }
    }

    /// The stream, if there is one by now.
    pub fn stream(&mut self) -> Option<&mut SendStream<Bytes>> {
        self.stream.as_mut()
    }

    pub fn has_stream(&self) -> bool {
        self.stream.is_some()
    }

    pub fn poll_ready(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize>> {
        self.settle(cx)?;
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        // What has been copied together is still to be given to h2, from the same room.
        let held = self.run.len();
        stream.reserve_capacity((held + wanted).min(SEND_BUFFER));
        loop {
            let room = stream.capacity().saturating_sub(held);
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(e)) => return Poll::Ready(Err(broken(&e))),
                None => return Poll::Ready(Err(Broken::new(Reason::Reset))),
            }
        }
    }

    pub fn send(&mut self, data: Bytes) -> Result<()> {
        if data.len() < LARGE && (!self.run.is_empty() || self.free == 0) {
            self.run.extend_from_slice(&data);
            return if self.may_pass() { self.pass() } else { Ok(()) };
        }
        self.pass()?;
        if data.len() < LARGE {
            self.free -= 1;
        }
        self.give(data)
    }

    pub fn end(&mut self, trailers: Option<&Fields>) -> Result<()> {
        self.pass()?;
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match trailers {
            Some(fields) => stream.send_trailers(head::header_map(fields)?),
            None => stream.send_data(Bytes::new(), true),
        }
        .map_err(|e| broken(&e))
    }

    /// Gives h2 what has been copied together, now or when it has let go of what it has: then the task is woken.
    pub fn settle(&mut self, cx: &mut Context<'_>) -> Result<()> {
        if self.run.is_empty() {
            return Ok(());
        }
        if let Some(told) = &self.told {
            let mut waker = told.waker.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        if self.may_pass() { self.pass() } else { Ok(()) }
    }

    /// Whether the next run may go: h2 has none, or it is long.
    fn may_pass(&self) -> bool {
        self.run.len() >= LARGE || self.told.as_ref().is_none_or(|told| !told.has.load(Relaxed))
    }

    fn pass(&mut self) -> Result<()> {
        if self.run.is_empty() {
            return Ok(());
        }
        let told = self.told.get_or_insert_default();
        told.has.store(true, Relaxed);
        let run = Run { bytes: self.run.split().freeze(), told: Arc::clone(told) };
        self.give(Bytes::from_owner(run))
    }

    fn give(&mut self, data: Bytes) -> Result<()> {
        self.stream.as_mut().map_or(Ok(()), |stream| stream.send_data(data, false).map_err(|e| broken(&e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that goes nowhere: what is given to it is gone at once, what h2 would have is in `had`.
    fn told(out: &Out) -> bool {
        out.told.as_ref().is_some_and(|told| told.has.load(Relaxed))
    }

    #[test]
    fn the_first_small_pieces_go_as_they_are_and_then_they_are_one() {
        let mut out = Out::none();
        for _ in 0..AS_THEY_ARE {
            out.send(Bytes::from_static(b"x")).unwrap();
            assert!(out.run.is_empty() && out.told.is_none());
        }
        // Nobody has it: the run is gone as soon as it was given.
        out.send(Bytes::from_static(b"x")).unwrap();
        assert!(out.run.is_empty() && !told(&out));
        // While h2 has one the next one waits, until it is long.
        let kept = Run { bytes: Bytes::new(), told: Arc::clone(out.told.as_ref().unwrap()) };
        out.told.as_ref().unwrap().has.store(true, Relaxed);
        for n in 1..LARGE {
            out.send(Bytes::from_static(b"x")).unwrap();
            assert_eq!(out.run.len(), n);
        }
        out.send(Bytes::from_static(b"x")).unwrap();
        assert!(out.run.is_empty());
        // A large piece does not overtake a small one.
        out.told.as_ref().unwrap().has.store(true, Relaxed);
        out.send(Bytes::from_static(b"x")).unwrap();
        assert_eq!(out.run.len(), 1);
        out.send(Bytes::from(vec![0; LARGE])).unwrap();
        assert!(out.run.is_empty());
        out.told.as_ref().unwrap().has.store(true, Relaxed);
        out.send(Bytes::from_static(b"x")).unwrap();
        out.settle(&mut Context::from_waker(Waker::noop())).unwrap();
        assert_eq!(out.run.len(), 1);
        drop(kept);
        out.settle(&mut Context::from_waker(Waker::noop())).unwrap();
        assert!(out.run.is_empty(), "h2 has let go of what it had");
    }
}
