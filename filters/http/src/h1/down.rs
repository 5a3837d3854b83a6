//! The client's side of an exchange on an HTTP/1 connection.

use super::body::{Incoming, Outgoing};
use super::head::{self, Answering};
use super::wire::{HIGH_WATER, Wire};
use crate::fields::Fields;
use crate::seam::{Broken, Downstream, Part, Recv, Reply, Request, Result, Sink, Version};
use bytes::Bytes;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use weir_codecs::http1::{Limits, Method, RequestHead};
use weir_decide::exchange::Reason;
use weir_drive::Drain;

/// An HTTP/1 connection to a client.
pub struct Down {
    pub wire: Wire,
    limits: Limits,
    drain: Rc<Drain>,
    incoming: Incoming,
    outgoing: Outgoing,
    version: Version,
    method: Method,
    /// The client waits for a 100, and has been sent none.
    expecting: bool,
    keep_alive: bool,
    replied: bool,
    tunnelled: bool,
    /// A client that ends its direction after a whole request has left, as far as we care.
    leaves: bool,
}

impl Down {
    pub fn new(wire: Wire, limits: Limits, drain: Rc<Drain>, leaves: bool) -> Down {
        Down {
            wire,
            limits,
            drain,
            incoming: Incoming::none(&limits),
            outgoing: Outgoing::Done,
            version: Version::Http11,
            method: Method::Other,
            expecting: false,
            keep_alive: true,
            replied: false,
            tunnelled: false,
            leaves,
        }
    }

    /// A request's head has been taken off the buffer: its body follows.
    pub fn begin(&mut self, parsed: &RequestHead, request: &Request) {
        self.incoming = Incoming::new(parsed.framing(), &self.limits);
        self.outgoing = Outgoing::Done;
        self.version = request.version;
        self.method = request.method;
        self.expecting = request.expects_continue;
        self.keep_alive = parsed.keep_alive();
        self.replied = false;
        self.tunnelled = false;
    }

    /// The head could not be read: nothing after it means anything.
    pub fn begin_broken(&mut self) {
        self.incoming = Incoming::none(&self.limits);
        self.method = Method::Other;
        self.version = Version::Http11;
        self.keep_alive = false;
        self.expecting = false;
        self.replied = false;
    }

    /// Whether the connection can serve another request: both messages have ended, and nobody wants it closed.
    pub fn is_reusable(&self) -> bool {
        self.keep_alive && self.incoming.is_done() && self.outgoing.is_done() && !self.tunnelled
    }

    /// Whether a reply is on its way whole: then it is worth waiting for the client to read it.
    pub fn may_linger(&self) -> bool {
        self.replied && self.outgoing.is_done()
    }
}

impl Recv for Down {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Part>>> {
        self.incoming.poll_part(cx, &mut self.wire)
    }

    // The next read happens only once the other side has room: that is all the flow control there is.
    fn consumed(&mut self, _: usize) {}
}

impl Sink for Down {
    fn poll_ready(&mut self, cx: &mut Context<'_>, _: usize) -> Poll<Result<usize>> {
        self.wire.poll_room(cx)
    }

    fn send(&mut self, data: Bytes) -> Result<()> {
        self.outgoing.send(&mut self.wire, data)
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<()> {
        self.outgoing.end(&mut self.wire, trailers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.wire.poll_write(cx)
    }
}

impl Downstream for Down {
    fn inform(&mut self, head: &Reply) -> Result<()> {
        self.expecting = false;
        if self.version != Version::Http10 {
            let to = Answering { version: self.version, method: self.method, close: false };
            head::write_reply(self.wire.out(), head, to)?;
        }
        Ok(())
    }

    fn respond(&mut self, reply: &Reply) -> Result<usize> {
        self.replied = true;
        let connect = self.method == Method::Connect;
        self.outgoing = Outgoing::of(reply.length, reply.end, self.version != Version::Http10);
        // A client that waits for a 100 may send its body or not once it has a final status: nobody knows which, unless it has.
        let lost = !self.incoming.is_done() && (self.expecting || reply.end);
        // CONNECT has no body, and what follows a refused one belongs to nobody.
        let refused = connect && !(200..300).contains(&reply.status);
        if self.drain.is_draining() || lost || refused || self.outgoing == Outgoing::Close {
            self.keep_alive = false;
        }
        let to = Answering { version: self.version, method: self.method, close: !self.keep_alive };
        head::write_reply(self.wire.out(), reply, to)
    }

    fn abandon(&mut self) {
        // What has arrived already is read past, so that a small body does not cost the connection.
        let mut cx = Context::from_waker(Waker::noop());
        while self.keep_alive && !self.incoming.is_done() {
            let in_hand = !self.wire.buf.is_empty();
            match self.incoming.poll_part(&mut cx, &mut self.wire) {
                Poll::Ready(Ok(_)) if in_hand => {}
                _ => break,
            }
        }
        if !self.incoming.is_done() {
            self.keep_alive = false;
        }
    }

    fn tunnel(&mut self) {
        self.tunnelled = true;
        self.incoming.tunnel(&self.limits);
        self.outgoing = Outgoing::Tunnel;
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        while self.wire.buf.len() < HIGH_WATER {
            match ready!(self.wire.fill(cx)) {
                Ok(0) if self.leaves => return Poll::Ready(Broken::new(Reason::Closed)),
                // It says no more, which does not mean that it does not read. That it does not will show when it is written to.
                Ok(0) => return Poll::Pending,
                Ok(_) => {}
                Err(broken) => return Poll::Ready(broken),
            }
        }
        Poll::Pending
    }

    fn says_no_more(&self) -> bool {
        self.wire.eof
    }

    fn abort(&mut self, _: Option<u32>) {
        // Whatever the framing, an end of the connection in the middle of it is seen for what it is.
        self.keep_alive = false;
        self.outgoing = Outgoing::Broken;
    }
}
