//! A client's HTTP/2 connection: its streams are accepted here and served by one exchange loop each; budgets for what a client
//! may do to us are kept here.

use super::alive::{Alive, Pace};
use super::cork::{Cork, Corked, corked};
use super::frames::Frames;
use super::{CONNECTION_WINDOW, Down, FRAME_BUDGET, MAX_HEADER_LIST, SEND_BUFFER, STREAM_WINDOW, head};
use crate::exchange::Exchange;
use crate::seam::{Length, Reply, Request};
use crate::service::HttpService;
use crate::site::Peer;
use crate::timer::Timer;
use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason as Code, RecvStream};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use weir_codecs::http1::Rule;
use weir_decide::exchange::{Now, Reason};
use weir_drive::{Drain, Io, time};

/// Streams that a client may reset before their reply in one go, and how many more each second (CVE-2023-44487).
const RESETS: u32 = 200;
const RESETS_PER_SECOND: u64 = 20;

/// The rule that is broken by what does not come within `head_timeout`: the preface, or the rest of a head.
pub const LATE: &str = "h2_head_timeout";

/// Streams that were reset and that the application has not seen yet.
const PENDING_RESETS: usize = 50;

/// How long a connection without a stream that was told to go may take to do so.
const GOING: Duration = Duration::from_secs(5);

/// What the streams of one connection share.
struct Conn {
    service: Rc<HttpService>,
    peer: Peer,
    active: Cell<u32>,
    /// The most that it was told it may have.
    most: u32,
    budget: Cell<Budget>,
    /// The client has used up its resets.
    spent: Cell<bool>,
    task: Cell<Option<Waker>>,
    /// Heads and their buffers, for the next stream.
    spare: RefCell<Vec<Heads>>,
}

#[derive(Default)]
struct Heads {
    request: Request,
    reply: Reply,
    scratch: Vec<u8>,
    timer: Timer,
}

/// A token bucket.
#[derive(Debug, Clone, Copy)]
struct Budget {
    left: u32,
    filled: Now,
}

impl Budget {
    /// Take one; `false`: there is none.
    fn take(&mut self, now: Now) -> bool {
        let more = now.since(self.filled) * RESETS_PER_SECOND / 1_000_000_000;
        if more > 0 {
            self.left = RESETS.min(self.left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)));
            self.filled = now;
        }
        let there = self.left > 0;
        self.left = self.left.saturating_sub(1);
        there
    }
}

type Server = Connection<Corked, Bytes>;

/// Serve a connection to its end. `read`: bytes that were read to find out that it is HTTP/2.
pub async fn serve(service: Rc<HttpService>, io: Io, read: BytesMut, peer: Peer, drain: Rc<Drain>) {
    let site = service.site();
    let late = time::deadline(time::now().after(site.head_timeout));
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(site.h2.streams)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(FRAME_BUDGET)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .enable_connect_protocol();
    let (cork, io) = corked(io, read, Rc::clone(&site.worker), Some(Frames::new()));
    let mut handshake = pin!(builder.handshake::<_, Bytes>(io));
    let handshake = poll_fn(|cx| {
        let polled = handshake.as_mut().poll(cx);
        cork.pass(cx);
        polled
    });
    let mut connection = match tokio::time::timeout_at(late, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(e)) => return count(&service, &e),
        Err(_) => return site.numbers.rejected(LATE),
    };
    let conn = Rc::new(Conn {
        peer,
        active: Cell::new(0),
        most: site.h2.streams,
        budget: Cell::new(Budget { left: RESETS, filled: time::now() }),
        spent: Cell::new(false),
        task: Cell::new(None),
        spare: RefCell::default(),
        service: Rc::clone(&service),
    });
    drop(site);
    accept(&conn, &mut connection, &cork, &drain).await;
    cork.linger(&mut Timer::default()).await;
}

/// Count a connection that h2 has ended for what the client sent.
fn count(service: &HttpService, e: &h2::Error) {
    let site = service.site();
    let rule = match e.reason() {
        Some(_) if !e.is_library() => return,
        Some(Code::ENHANCE_YOUR_CALM) => return site.numbers.floods.inc(),
        Some(Code::PROTOCOL_ERROR) => "h2_protocol_error",
        Some(Code::FLOW_CONTROL_ERROR) => "h2_flow_control_error",
        Some(Code::STREAM_CLOSED) => "h2_stream_closed",
        Some(Code::FRAME_SIZE_ERROR) => "h2_frame_size_error",
        Some(Code::COMPRESSION_ERROR) => "h2_compression_error",
        Some(_) => "h2_other",
        None => return,
    };
    site.numbers.rejected(rule);
}

async fn accept(conn: &Rc<Conn>, connection: &mut Server, cork: &Cork, drain: &Drain) {
    let mut draining = pin!(drain.wait());
    let mut going = None;
    let mut timer = Timer::default();
    let mut idle_since = time::now();
    let mut was_active = false;
    let mut alive = Alive::new(connection.ping_pong());
    let (mut age, old) = (Timer::default(), conn.service.site().old(idle_since));
    poll_fn(|cx| {
        conn.task.set(Some(cx.waker().clone()));
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => conn.begin(request, respond, cork.heard().0),
                Poll::Ready(Some(Err(e))) => {
                    count(&conn.service, &e);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        cork.pass(cx);
        if conn.spent.replace(false) {
            conn.service.site().numbers.floods.inc();
            connection.abrupt_shutdown(Code::ENHANCE_YOUR_CALM);
            cx.waker().wake_by_ref();
        }
        if going.is_none() && draining.as_mut().poll(cx).is_ready() {
            going = Some(time::now());
            // GOAWAY in two steps: first without a limit, then, when the client has seen it, with the last stream's number.
            connection.graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        // Whatever streams there are: nothing else can come before the rest of it has (RFC 9113 section 4.3).
        if let Some(since) = cork.unfinished() {
            let site = conn.service.site();
            if timer.poll(cx, since.after(site.head_timeout)).is_ready() {
                site.numbers.rejected(LATE);
                connection.abrupt_shutdown(Code::PROTOCOL_ERROR);
                let _told = connection.poll_accept(cx);
                cork.pass(cx);
                return Poll::Ready(());
            }
        }
        if going.is_none() && age.poll(cx, old).is_ready() {
            going = Some(time::now());
            connection.graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        let active = conn.active.get() > 0;
        let pace = Pace::client(conn.service.site().h2.keepalive);
        if alive.poll(cx, cork, active, &pace).is_ready() {
            conn.service.site().numbers.dead_clients.inc();
            return Poll::Ready(());
        }
        if std::mem::replace(&mut was_active, active) && !active {
            idle_since = time::now();
        }
        if active {
            return Poll::Pending;
        }
        match going {
            None => {
                let until = idle_since.after(conn.service.site().keep_alive);
                if let Poll::Ready(now) = timer.poll(cx, until) {
                    going = Some(now);
                    connection.graceful_shutdown();
                    cx.waker().wake_by_ref();
                }
            }
            // The client is to answer before the connection ends, and does not.
            Some(since) if timer.poll(cx, since.max(idle_since).after(GOING)).is_ready() => {
                return Poll::Ready(());
            }
            Some(_) => {}
        }
        Poll::Pending
    })
    .await;
}

impl Conn {
    /// A stream has come, in bytes that were read at `began`: how long it took the connection's task to see them is time that its
    /// client waits, too.
    fn begin(self: &Rc<Self>, request: http::Request<RecvStream>, respond: SendResponse<Bytes>, began: Now) {
        self.active.set(self.active.get() + 1);
        if self.active.get() == self.most {
            self.service.site().numbers.streams_met.inc();
        }
        let worker = Rc::clone(&self.service.site().worker);
        worker.spawn(stream(Active(Rc::clone(self)), request, respond, began));
    }

    /// The client reset a stream that had not been answered.
    fn was_reset(&self) {
        let mut budget = self.budget.get();
        let there = budget.take(time::now());
        self.budget.set(budget);
        if !there {
            self.spent.set(true);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

/// A stream under way.
struct Active(Rc<Conn>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get().saturating_sub(1));
        if self.0.active.get() == 0 {
            self.0.wake();
        }
    }
}

async fn stream(
    active: Active,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    began: Now,
) {
    let conn = &active.0;
    let site = conn.service.site();
    let mut heads = conn.spare.borrow_mut().pop().unwrap_or_default();
    let (parts, body) = request.into_parts();
    let end = body.is_end_stream();
    heads.timer.moved();
    let Heads { request, reply, scratch, timer } = &mut heads;
    let read = head::read_request(&parts, end, conn.peer.secure, scratch, request);
    drop(parts);
    let mut down = Down::new(body, respond);
    if read.is_ok() && head::is_without_body(request) && down.ends_alone(timer).await {
        (request.end, request.length) = (true, Length::None);
    }
    let mut exchange =
        Exchange { site: &site, peer: &conn.peer, down: &mut down, request, reply, timer, began };
    match read {
        Ok(()) => exchange.run().await,
        Err(rule) => {
            site.numbers.rejected(rule);
            let too_large =
                [Rule::HeadTooLarge, Rule::TooManyFields].iter().any(|limit| limit.name() == rule);
            let (status, reason) = if too_large { (431, Reason::TooLarge) } else { (400, Reason::Malformed) };
            exchange.reject(&site, status, rule, reason, site.nowhere).await;
        }
    }
    if down.reset {
        conn.was_reset();
    }
    let mut spare = conn.spare.borrow_mut();
    if spare.len() < 16 {
        spare.push(heads);
    }
}
