//! The `tcp` filter: an opaque relay. Each connection is one operation, `connection`, that ends when both directions have.
//!
//! Both directions run in one poll loop: what one side sends is written to the other before more of it is read, so a
//! direction never holds more than one read buffer, and none while it waits. The end of one direction is passed on and the
//! other goes on (half-close).

use crate::ground::address::Client;
use crate::ground::buffers::Buffers;
use crate::ground::idle::Idle;
use crate::ground::io::{Io, Watch, reason};
use crate::ground::outbox::MAX_MESSAGE;
use crate::shells::context::Context;
use crate::shells::filter::{Accepted, BuildError, Filter, Service};
use crate::shells::worker::Worker;
use crate::upstream::cluster::{Connected, Slot};
use bytes::{Buf, BytesMut};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use weir_config::{Field, Kind, Listener, Node, Section, Settings, Table, Walk};
use weir_decide::cluster::{Ticket, Tries};
use weir_decide::exchange::{
    Class, Fault, NameId, NameKind, Now, Operation, Outcome, Phase, Reason, Replies, RetryOn, Side,
};
use weir_decide::policy::{Known, RetryPolicy};
use weir_measure::Record;
use weir_measure::connections::OpenConnection;

/// A connection whose client has said its last, and on which nothing comes for so long in a drain, is closed.
const LAST_SILENCE: Duration = Duration::from_secs(3);

/// The `tcp` filter.
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

static TABLE: Table = Table {
    name: "tcp",
    doc: "Passes bytes both ways and looks at none of them.",
    fields: &[Field::required("cluster", Kind::Cluster, "Where connections go.")],
    rules: &[],
};

struct TcpSettings {
    cluster: Arc<str>,
}

impl Section for Tcp {
    fn key(&self) -> &'static str {
        "tcp"
    }

    fn table(&self) -> &'static Table {
        &TABLE
    }

    fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
        let fields = walk.fields(node, &TABLE)?;
        let cluster = fields.cluster(walk, "cluster")?;
        Some(Arc::new(TcpSettings { cluster }))
    }
}

impl Filter for Tcp {
    fn section(&self) -> &'static dyn Section {
        &Tcp
    }

    fn service(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<Rc<dyn Service>, BuildError> {
        Ok(Rc::new(TcpService { context: RefCell::new(context(listener, worker)?) }))
    }
}

fn context(listener: &Listener, worker: &Rc<Worker>) -> Result<Rc<Context>, BuildError> {
    let settings = listener.settings.downcast_ref::<TcpSettings>();
    let settings = settings.ok_or_else(|| BuildError::new(listener, "its settings are not of tcp"))?;
    let cluster = worker.cluster(&settings.cluster);
    let cluster = cluster.ok_or_else(|| BuildError::no_cluster(listener, &settings.cluster))?;
    Ok(Context::new(worker, listener, &cluster))
}

struct TcpService {
    context: RefCell<Rc<Context>>,
}

impl Service for TcpService {
    fn serve(self: Rc<Self>, connection: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let context = Rc::clone(&self.context.borrow());
        Box::pin(serve(context, connection))
    }

    fn reload(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<(), BuildError> {
        *self.context.borrow_mut() = context(listener, worker)?;
        Ok(())
    }
}

pub(crate) fn serve(context: Rc<Context>, connection: Accepted) -> impl Future<Output = ()> {
    serve_from(context, connection, None)
}

/// As [`serve`], where some bytes have come from the client already.
///
/// Not an `async fn`: that would keep its arguments, whole, beside what it makes of them, for as long as the connection lives.
pub(crate) fn serve_from(
    context: Rc<Context>,
    connection: Accepted,
    head: Option<BytesMut>,
) -> impl Future<Output = ()> {
    let from = connection.client();
    let Accepted { io, held, .. } = connection;
    // Boxed, so that its size is only needed for as long as connecting lasts.
    let joined = Box::pin(join(Rc::clone(&context), from, io, head));
    async move {
        // What can be had again is not kept while it lasts: see `record_of`.
        let began = context.worker.now();
        let _in_flight = context.worker.measure().started(context.place);
        let mut relay = match joined.await {
            Ok(joined) => Relay::new(joined, &context, held.connection(), began),
            Err((fault, retries)) => {
                let record = Record {
                    fault: Some(fault),
                    refused: fault.side == Side::Proxy,
                    result: fault.reason.label(),
                    retries,
                    duration: Some(context.worker.now().since(began)),
                    ..record_of(&context)
                };
                return context.worker.measure().record(&record);
            }
        };
        let ended = match poll_fn(|cx| relay.poll_open(cx)).await {
            Some(ended) => ended,
            // Boxed: most connections never come here.
            None => Box::pin(relay.finish()).await,
        };
        context.worker.measure().record(&relay.close(ended, record_of(&context), began));
    }
}

/// The record of a connection of which nothing is known yet.
fn record_of(context: &Context) -> Record {
    let name = context.worker.measure().intern(NameKind::Operation, &[b"connection"]);
    Record::new(context.place, name, NameId::NONE)
}

/// Client and upstream.
struct Joined {
    client: Io,
    /// What has come from the client already.
    head: Option<BytesMut>,
    upstream: Connected,
    ticket: Ticket,
    retries: u32,
}

/// Makes the upstream connection; a fault comes with how often that was tried again.
async fn join(
    context: Rc<Context>,
    from: Client,
    client: Io,
    head: Option<BytesMut>,
) -> Result<Joined, (Fault, u32)> {
    let name = context.worker.measure().intern(NameKind::Operation, &[b"connection"]);
    let op = Operation { replies: Replies::Stream, ..Operation::new(name, NameId::NONE) };
    let mut tries = Tries::new();
    let made = context.connect(&op, &mut tries, &from).await;
    let retries = tries.retries();
    let head = head.filter(|head| !head.is_empty());
    made.map(|(ticket, upstream)| Joined { client, head, upstream, ticket, retries })
        .map_err(|fault| (fault, retries))
}

/// How a connection's end counts: `ok`, or the reason of the fault.
fn judge(ended: Result<(), Fault>, latency: u64) -> Outcome {
    let class = match ended {
        Ok(()) => Class::Success,
        Err(fault) if fault.side == Side::Network => Class::Failed,
        Err(_) => Class::Cancelled,
    };
    Outcome {
        class,
        result: ended.err().map_or("ok", |fault| fault.reason.label()),
        code: NameId::NONE,
        retryable: RetryOn::NONE,
        fault: ended.err(),
        latency,
    }
}

/// Two connections, joined.
struct Relay<'a> {
    client: Io,
    upstream: Io,
    ticket: Ticket,
    _slot: Slot,
    retries: u32,
    up: Half,
    down: Half,
    /// When the first byte of a reply came, in the words of [`Now`], which is never zero.
    first_byte: Option<NonZeroU64>,
    idle: Idle,
    worker: &'a Worker,
    shown: &'a OpenConnection,
}

impl<'a> Relay<'a> {
    fn new(joined: Joined, context: &'a Context, shown: &'a OpenConnection, began: Now) -> Relay<'a> {
        let Joined { client, head, upstream: Connected { io, slot, .. }, ticket, retries } = joined;
        shown.goes_to(Some(ticket.pick().address()));
        shown.moved(began);
        Relay {
            client,
            upstream: io,
            ticket,
            _slot: slot,
            retries,
            up: Half { in_hand: head, ..Half::default() },
            down: Half::default(),
            first_byte: None,
            idle: Idle::new(context.idle_timeout, began),
            worker: &context.worker,
            shown,
        }
    }

    /// It has ended like that: gives back its place in the cluster and completes its record.
    fn close(self, ended: Result<(), Fault>, record: Record, began: Now) -> Record {
        let now = self.worker.now();
        let outcome = judge(ended, now.since(began));
        self.ticket.finish(&outcome, &RetryPolicy::NONE, &Known::OVER, &mut Tries::new(), now);
        Record {
            result: outcome.result,
            fault: outcome.fault,
            request_bytes: self.up.bytes,
            reply_bytes: self.down.bytes,
            first_byte: self.first_byte.map(|at| Now(at.get()).since(began)),
            duration: Some(now.since(began)),
            retries: self.retries,
            ..record
        }
    }

    /// Until it has ended, or (`None`) the client has said its last.
    fn poll_open(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Result<(), Fault>>> {
        match self.poll(cx) {
            Poll::Pending if self.up.closed => Poll::Ready(None),
            polled => polled.map(Some),
        }
    }

    /// What is left once the client has said its last. Most have gone for good then, which looks the same: when the process
    /// drains silence is taken for that.
    async fn finish(&mut self) -> Result<(), Fault> {
        let (passed, worker) = (Cell::new(0), self.worker);
        let silent = async {
            worker.drain().wait().await;
            loop {
                let before = passed.get();
                tokio::time::sleep(LAST_SILENCE).await;
                if passed.get() == before {
                    return;
                }
            }
        };
        let polled = poll_fn(|cx| {
            let polled = self.poll(cx);
            passed.set(self.down.bytes);
            polled
        });
        tokio::select! {
            biased;
            ended = polled => ended,
            () = silent => Ok(()),
        }
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Fault>> {
        let before = self.up.bytes + self.down.bytes;
        let (client, upstream, worker) = (&mut self.client, &mut self.upstream, self.worker);
        let up = self.up.poll(client, upstream, self.down.closed, worker, cx);
        let down = self.down.poll(upstream, client, self.up.closed, worker, cx);
        if self.up.bytes + self.down.bytes > before {
            let now = self.worker.now();
            self.idle.moved(now);
            self.shown.moved(now);
            self.shown.passed(self.up.bytes, self.down.bytes);
            if self.down.bytes > 0 && self.first_byte.is_none() {
                self.first_byte = NonZeroU64::new(now.0);
                self.ticket.answered();
            }
        }
        let phase = if self.down.bytes > 0 { Phase::Replying } else { Phase::Waiting };
        let lost = |side, error: &io::Error| Fault::new(side, phase, reason(error));
        // `up` reads from the client and writes to the upstream, `down` the other way round.
        match (&up, &down) {
            (Poll::Ready(Err(Broken::Read(error))), _) | (_, Poll::Ready(Err(Broken::Write(error)))) => {
                return Poll::Ready(Err(lost(Side::Client, error)));
            }
            (Poll::Ready(Err(Broken::Write(error))), _) | (_, Poll::Ready(Err(Broken::Read(error)))) => {
                return Poll::Ready(Err(lost(Side::Network, error)));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
            _ => {}
        }
        ready!(self.idle.poll(cx));
        Poll::Ready(Err(Fault::new(Side::Proxy, phase, Reason::Idle)))
    }
}

/// Which end of a direction broke.
pub(crate) enum Broken {
    Read(io::Error),
    Write(io::Error),
}

/// One direction.
#[derive(Default)]
pub(crate) struct Half {
    /// What has been read and not yet written: never empty.
    in_hand: Option<BytesMut>,
    unflushed: bool,
    ended: bool,
    watch: Watch,
    pub(crate) closed: bool,
    /// Bytes that have been written.
    pub(crate) bytes: u64,
}

impl Half {
    /// Moves bytes until one side has to be waited for. Ready when the direction has ended and that has been passed on.
    pub(crate) fn poll(
        &mut self,
        from: &mut Io,
        to: &mut Io,
        other_closed: bool,
        worker: &Worker,
        cx: &mut task::Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_write(to, worker.buffers(), cx)).map_err(Broken::Write)?;
            if self.ended {
                // When the other direction has ended too, both sockets are closed in a moment, which says the same.
                let said = other_closed && !to.is_tls();
                if !self.closed && !said {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Broken::Write)?;
                }
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
            let room = &mut *worker.buffers().room();
            let size = ready!(from.poll_read_to(cx, &mut self.watch, room)).map_err(Broken::Read)?;
            self.ended = size == 0;
            // What is longer takes longer.
            if size > MAX_MESSAGE {
                worker.outbox().empty();
            }
            // Nearly always it goes on at once.
            let mut written = 0;
            if size > 0
                && let Poll::Ready(some) = to.poll_write_once(cx, room)
            {
                written = some.map_err(Broken::Write)?;
                self.wrote(written, to).map_err(Broken::Write)?;
            }
            if let Some(left) = room.get(written..)
                && !left.is_empty()
            {
                let mut buffer = worker.buffers().take();
                buffer.extend_from_slice(left);
                self.in_hand = Some(buffer);
            }
        }
    }

    /// Some of it has been written.
    fn wrote(&mut self, written: usize, to: &Io) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes += written as u64;
        self.unflushed = to.is_tls();
        Ok(())
    }

    fn poll_write(
        &mut self,
        to: &mut Io,
        buffers: &Buffers,
        cx: &mut task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(buffer) = &mut self.in_hand {
            let written = ready!(to.poll_write_once(cx, buffer))?;
            buffer.advance(written);
            if buffer.is_empty()
                && let Some(buffer) = self.in_hand.take()
            {
                buffers.give(buffer);
            }
            self.wrote(written, to)?;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
