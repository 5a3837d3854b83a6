//! One try on an HTTP/1 server.

use super::body::{Incoming, Outgoing};
use super::head;
use super::wire::Wire;
use crate::exchange::{Open, Opening};
use crate::fields::Fields;
use crate::seam::{Broken, Length, Part, Recv, Reply, Request, Result, Sink, Upstream};
use crate::site::{Numbers, Site};
use bytes::Bytes;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use weir_codecs::http1::{self, Asked, Limits, Method, Parsed};
use weir_decide::cluster::Pick;
use weir_decide::exchange::{EndpointId, Now, Reason};
use weir_decide::policy::Sent;
use weir_drive::pool::Found;
use weir_drive::time;
use weir_drive::{Connected, Look, Offer, Pool, Reusable, Slot, Worker};

/// The rule that a server breaks by what it says when nothing is asked of it.
const UNASKED: &str = "unasked_bytes";

/// An HTTP/1 connection to a server, idle or serving one exchange.
pub struct Conn {
    pub wire: Wire,
    limits: Limits,
    /// Exchanges served before this one.
    served: u32,
    asked: Asked,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Where in what is written the request's head begins, and ends.
    head: (u64, u64),
    head_seen: bool,
    /// A byte of the reply has come.
    answered: bool,
    keep_alive: bool,
    tunnelled: bool,
    /// A part of the next head has been looked at.
    partial: bool,
    /// How long the server keeps it without a request, where it says so; and until when that is.
    kept_for: Option<Duration>,
    kept_until: Option<Now>,
    /// The reply had no body, though its kind may mislead a server into sending one.
    bodiless: bool,
    /// It leads to a listener of this process.
    leads_here: bool,
    numbers: Rc<Numbers>,
    /// Its place in the cluster's limit.
    slot: Slot,
}

impl Conn {
    pub fn new(wire: Wire, limits: Limits, numbers: Rc<Numbers>, slot: Slot) -> Conn {
        Conn {
            wire,
            limits,
            served: 0,
            asked: Asked::plain(Method::Other),
            incoming: Incoming::none(&limits),
            outgoing: Outgoing::Done,
            head: (0, 0),
            head_seen: false,
            answered: false,
            keep_alive: false,
            tunnelled: false,
            partial: false,
            kept_for: None,
            kept_until: None,
            bodiless: false,
            leads_here: false,
            numbers,
            slot,
        }
    }

    /// Begin an exchange: the head goes into the write buffer.
    pub fn begin(&mut self, request: &Request, worker: &Worker) -> Result<()> {
        self.asked = Asked { method: request.method, upgrade: !request.upgrade.is_empty() };
        self.outgoing = match request.method {
            Method::Connect => Outgoing::Done,
            _ => Outgoing::of(request.length, request.end, true),
        };
        self.incoming = Incoming::none(&self.limits);
        (self.head_seen, self.answered, self.keep_alive, self.tunnelled) = (false, false, false, false);
        self.partial = false;
        let begin = self.wire.position() + self.wire.waiting() as u64;
        let hop = self.leads_here.then(|| worker.hop(request.hops + 1));
        let written = head::write_request(self.wire.out(), request, hop.as_ref().map(|hop| &hop[..]));
        self.head = (begin, self.wire.position() + self.wire.waiting() as u64);
        written
    }

    /// How much of the request has been written.
    fn sent(&self) -> Sent {
        match self.wire.position() {
            at if at <= self.head.0 => Sent::Nothing,
            at if at < self.head.1 => Sent::Part,
            _ => Sent::Head,
        }
    }

    /// The exchange is over; whether the connection can serve another.
    pub fn finish(&mut self) -> bool {
        self.served = self.served.saturating_add(1);
        if self.head_seen && self.incoming.is_done() && !self.tunnelled && !self.wire.buf.is_empty() {
            self.numbers.rejected(UNASKED);
        }
        let clean = self.keep_alive
            && self.head_seen
            && !self.tunnelled
            && self.incoming.is_done()
            && self.outgoing.is_done()
            // Bytes that nobody asked for: what follows cannot be trusted.
            && self.wire.buf.is_empty()
            && self.wire.waiting() == 0
            && !self.wire.eof;
        if clean {
            self.wire.relax();
            self.kept_until = self.kept_for.map(|time| time::now().after(time));
        }
        clean
    }

    /// Each 1xx, then the final head.
    pub fn poll_head(&mut self, cx: &mut Context<'_>, reply: &mut Reply) -> Poll<Result<()>> {
        loop {
            if !self.wire.buf.is_empty() {
                if !self.partial {
                    reply.parsed.clear();
                }
                let parsed =
                    http1::parse_response(&self.wire.buf, &self.limits, self.asked, &mut reply.parsed);
                match parsed.map_err(head::refused)? {
                    Parsed::Complete { len } => {
                        self.partial = false;
                        self.take_head(len, reply);
                        return Poll::Ready(Ok(()));
                    }
                    Parsed::Partial => self.partial = true,
                }
            }
            match ready!(self.wire.fill(cx))? {
                0 => return Poll::Ready(Err(Broken::new(Reason::Closed))),
                _ => self.answered = true,
            }
        }
    }

    fn take_head(&mut self, len: usize, reply: &mut Reply) {
        let bytes = self.wire.buf.get(..len).unwrap_or_default();
        head::read_reply(reply, bytes);
        self.kept_for = head::kept_for(&reply.parsed, bytes);
        self.wire.skip(len);
        if reply.is_interim() {
            return;
        }
        self.head_seen = true;
        self.bodiless = self.asked.method == Method::Head || matches!(reply.status, 204 | 304);
        self.keep_alive = reply.parsed.keep_alive();
        if self.kept_for == Some(Duration::ZERO) {
            self.keep_alive = false;
        }
        self.incoming = Incoming::new(reply.parsed.framing(), &self.limits);
        if reply.length == Length::None && self.asked.method == Method::Head {
            reply.end = true;
        }
        self.wire.relax();
    }

    pub fn tunnel(&mut self) {
        self.tunnelled = true;
        self.incoming.tunnel(&self.limits);
        self.outgoing = Outgoing::Tunnel;
    }
}

/// A pooled connection.
pub type Pooled = Box<Conn>;

impl Reusable for Pooled {
    fn is_broken(&mut self, cx: &mut Context<'_>) -> bool {
        if self.kept_until.is_some_and(|until| time::now() >= until) {
            return true;
        }
        // Whatever has come, or a readiness of old: the look tells.
        self.wire.io.poll_readable(cx).is_ready() && self.is_spoilt() || self.slot.is_outdated()
    }

    fn is_spoilt(&mut self) -> bool {
        match self.wire.io.look() {
            Look::Quiet => self.slot.is_outdated(),
            Look::Ended => true,
            Look::Unasked => {
                self.numbers.rejected(UNASKED);
                true
            }
        }
    }
}

/// A connection while it serves one exchange.
pub struct Up {
    conn: Pooled,
    pool: Rc<Pool<Pooled>>,
    endpoint: EndpointId,
}

impl Open for Rc<Pool<Pooled>> {
    type Up = Up;

    async fn open(
        &self,
        pick: &Pick,
        request: &Request,
        fresh: bool,
        deadline: Option<Now>,
        site: &Site,
    ) -> std::result::Result<Up, Opening> {
        let found = match fresh {
            true => Found::Room(self.cluster().slot(pick, deadline).await.map_err(Opening::Failed)?),
            false => self.get(pick, deadline).await.map_err(Opening::Failed)?,
        };
        let mut conn = match found {
            Found::Idle(conn) => conn,
            Found::Room(slot) => {
                let dialled = self.cluster().dial(pick, slot, Offer::Http1, deadline).await;
                let Connected { io, slot, leads_here, .. } = dialled.map_err(Opening::Failed)?;
                let wire = Wire::new(io, Rc::clone(&site.worker));
                let mut conn = Conn::new(wire, site.limits, Rc::clone(&site.numbers), slot);
                conn.leads_here = leads_here;
                Box::new(conn)
            }
        };
        conn.begin(request, &site.worker).map_err(Opening::unfit)?;
        Ok(Up { conn, pool: Rc::clone(self), endpoint: pick.id() })
    }
}

impl Recv for Up {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Part>>> {
        let conn = &mut *self.conn;
        conn.incoming.poll_part(cx, &mut conn.wire)
    }

    fn consumed(&mut self, _: usize) {}
}

impl Sink for Up {
    fn poll_ready(&mut self, cx: &mut Context<'_>, _: usize) -> Poll<Result<usize>> {
        self.conn.wire.poll_room(cx)
    }

    fn send(&mut self, data: Bytes) -> Result<()> {
        let conn = &mut *self.conn;
        conn.outgoing.send(&mut conn.wire, data)
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<()> {
        let conn = &mut *self.conn;
        conn.outgoing.end(&mut conn.wire, trailers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.conn.wire.poll_write(cx)
    }
}

impl Upstream for Up {
    fn poll_head(&mut self, cx: &mut Context<'_>, head: &mut Reply) -> Poll<Result<()>> {
        self.conn.poll_head(cx, head)
    }

    fn tunnel(&mut self) {
        self.conn.tunnel();
    }

    fn stale(&self) -> bool {
        self.conn.served > 0 && !self.conn.answered
    }

    fn sent(&self) -> Sent {
        self.conn.sent()
    }

    fn release(mut self, clean: bool) {
        if !self.conn.finish() || !clean {
            return;
        }
        match self.conn.bodiless {
            true => self.pool.put_later(self.endpoint, self.conn),
            false => self.pool.put(self.endpoint, self.conn),
        }
    }
}
