//! Shared connections to the servers of one cluster, on one worker: streams go to one that has room; when none has, another
//! is opened within the cluster's limit, once for all who wait.

use super::alive::{Alive, Pace};
use super::cork::{Cork, Corked, corked};
use super::{
    SEND_BUFFER, STREAM_WINDOW, UPSTREAM_FRAME_BUDGET, UPSTREAM_HEADER_LIST, UPSTREAM_STREAMS,
    UPSTREAM_WINDOW,
};
use crate::site::{Numbers, Site};
use crate::timer::{NEVER, Timer};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use weir_decide::cluster::Pick;
use weir_decide::exchange::{EndpointId, Fault, Now, Phase, Reason, Side};
use weir_drive::{Cluster, Connected, Offer, Reached, Sweep, Worker, time};

/// What h2 says the server's limit is before the server has said it. No stream is opened before that: more than it takes would
/// be refused, and what does not speak HTTP/2 at all counts as a connection that could not be made.
const UNKNOWN: usize = 0x7654_3210;

/// Connections to a cluster.
pub struct Pool {
    cluster: Rc<Cluster>,
    endpoints: RefCell<HashMap<EndpointId, Rc<Endpoint>>>,
}

/// Connections to one endpoint.
#[derive(Default)]
struct Endpoint {
    open: RefCell<Vec<Rc<Shared>>>,
    dialling: Cell<bool>,
    /// The dial has no room: `max_connections` is met.
    full: Cell<bool>,
    /// How many operations wait.
    waiting: Cell<usize>,
    /// How many dials have failed, and how the last one did.
    failures: Cell<(u64, Option<Fault>)>,
    /// A dial has ended, or has no room, or a stream has ended.
    changed: Notify,
}

/// A connection that streams share.
pub struct Shared {
    /// Opens streams.
    pub send: RefCell<SendRequest<Bytes>>,
    /// Whether it is TLS.
    pub secure: bool,
    /// Whether it leads to a listener of this process.
    pub leads_here: bool,
    active: Cell<usize>,
    /// It has had a stream.
    served: Cell<bool>,
    /// A try on it took too long: is the server there at all?
    suspected: Cell<bool>,
    /// No new streams: it is going away, or gone.
    closing: Cell<bool>,
    /// Where it leads.
    reached: RefCell<Reached>,
    cluster: Rc<Cluster>,
    endpoint: Weak<Endpoint>,
    /// Since when it has had no stream.
    idle_since: Cell<Now>,
    /// Wakes its task when it has become idle, or is to close.
    task: Cell<Option<Waker>>,
}

impl Pool {
    /// No connection yet.
    pub fn new(cluster: &Rc<Cluster>) -> Rc<Pool> {
        let pool = Rc::new(Pool { cluster: Rc::clone(cluster), endpoints: RefCell::default() });
        let sweep: Weak<dyn Sweep> = Rc::<Pool>::downgrade(&pool);
        cluster.register(sweep);
        pool
    }

    /// The connection that has had no stream for longest.
    fn idlest(&self) -> Option<Rc<Shared>> {
        let endpoints = self.endpoints.borrow();
        let idle = endpoints.values().filter_map(|endpoint| {
            let open = endpoint.open.borrow();
            open.iter()
                .filter(|shared| shared.is_idle())
                .min_by_key(|shared| shared.idle_since.get())
                .cloned()
        });
        idle.min_by_key(|shared| shared.idle_since.get())
    }

    /// A connection to `pick` on which a stream can be opened now. It is counted: [`Shared::leave`].
    pub async fn connection(&self, pick: &Pick, site: &Site) -> Result<Rc<Shared>, Fault> {
        let endpoint = Rc::clone(self.endpoints.borrow_mut().entry(pick.id()).or_default());
        if let Some(shared) = endpoint.with_room() {
            return Ok(shared);
        }
        let limits = self.cluster.view.cluster();
        // The first has a connection made, as each does over HTTP/1; the others wait for that one.
        let is_first = endpoint.waiting.get() == 0;
        let _waits = Waits::begin(&endpoint);
        // Both once, whoever has the connection made that it waits for.
        let mut has_met_the_limit = false;
        let mut place = None;
        let mut held_off = None;
        let failed = endpoint.failures.get().0;
        loop {
            let mut changed = pin!(endpoint.changed.notified());
            changed.as_mut().enable();
            if let Some(shared) = endpoint.with_room() {
                return Ok(shared);
            }
            match endpoint.failures.get() {
                (count, Some(fault)) if count != failed => return Err(fault),
                _ => {}
            }
            if endpoint.full.get() && !has_met_the_limit {
                has_met_the_limit = true;
                limits.stands_behind();
            }
            if (endpoint.full.get() || !is_first) && place.is_none() {
                place = Some(limits.pend()?);
            }
            if endpoint.is_held_off() {
                let patience = self.cluster.config().connect_timeout;
                let until = *held_off.get_or_insert_with(|| time::now().after(patience));
                if tokio::time::timeout_at(time::deadline(until), changed).await.is_err() {
                    return Err(Fault::new(Side::Upstream, Phase::Connecting, Reason::ConnectTimeout));
                }
                continue;
            }
            if !endpoint.dialling.replace(true) {
                let (worker, numbers) = (Rc::clone(&site.worker), Rc::clone(&site.numbers));
                let (cluster, endpoint) = (Rc::clone(&self.cluster), Rc::clone(&endpoint));
                site.worker.spawn(dial(cluster, worker, numbers, pick.clone(), endpoint));
            }
            changed.await;
        }
    }
}

/// An operation that waits.
struct Waits<'a>(&'a Endpoint);

impl Waits<'_> {
    fn begin(endpoint: &Endpoint) -> Waits<'_> {
        endpoint.waiting.set(endpoint.waiting.get() + 1);
        Waits(endpoint)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

impl Sweep for Pool {
    fn oldest(&self) -> Option<Now> {
        self.idlest().map(|shared| shared.idle_since.get())
    }

    // It lets go of its place when its task has closed it.
    fn evict(&self) -> bool {
        let idlest = self.idlest();
        if let Some(shared) = &idlest {
            shared.close();
        }
        idlest.is_some()
    }

    // Each connection's own task knows when it has ended or was idle for too long.
    fn sweep(&self, _: Now, _: Duration) {
        for endpoint in self.endpoints.borrow().values() {
            endpoint.open.borrow().iter().for_each(|shared| shared.close_if_outdated());
        }
    }
}

impl Endpoint {
    /// The first connection with room for a stream.
    fn with_room(&self) -> Option<Rc<Shared>> {
        let mut cx = Context::from_waker(Waker::noop());
        let open = self.open.borrow();
        open.iter().find(|shared| shared.enter(&mut cx)).cloned()
    }

    /// Whether there is a connection on which the server takes no streams for now: another would help no more than this one does.
    fn is_held_off(&self) -> bool {
        let takes_none = |shared: &Rc<Shared>| shared.send.borrow().current_max_send_streams() == 0;
        self.open.borrow().iter().any(|shared| !shared.closing.get() && takes_none(shared))
    }

    /// The dial has come to nothing: whoever waits is told.
    fn fail(&self, fault: Fault) {
        self.failures.set((self.failures.get().0 + 1, Some(fault)));
        self.changed.notify_waiters();
    }
}

impl Shared {
    /// Streams that are open may finish; new ones go to where the endpoint's name has moved.
    fn close_if_outdated(&self) {
        if !self.closing.get() && self.reached.borrow_mut().is_outdated() {
            self.close();
        }
    }

    /// Count one more stream, if there is room for it.
    fn enter(&self, cx: &mut Context<'_>) -> bool {
        self.close_if_outdated();
        let mut send = self.send.borrow_mut();
        let most = self.cluster.config().http2.max_streams.unwrap_or(UPSTREAM_STREAMS);
        let room = send.current_max_send_streams().min(most as usize);
        if self.closing.get() || self.active.get() >= room {
            return false;
        }
        match send.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                self.active.set(self.active.get() + 1);
                self.served.set(true);
                true
            }
            Poll::Ready(Err(_)) => {
                self.closing.set(true);
                false
            }
            Poll::Pending => false,
        }
    }

    /// Whether it has no stream, and could have one.
    fn is_idle(&self) -> bool {
        self.active.get() == 0 && !self.closing.get()
    }

    /// A stream has ended.
    pub fn leave(&self) {
        self.active.set(self.active.get().saturating_sub(1));
        // First those who can go on with this connection, then those who would have it closed to make room.
        if let Some(endpoint) = self.endpoint.upgrade() {
            endpoint.changed.notify_waiters();
        }
        if self.active.get() == 0 {
            let now = time::now();
            self.idle_since.set(now);
            self.wake();
            self.cluster.idled(now);
        }
    }

    /// A try took too long.
    pub fn suspect(&self) {
        self.suspected.set(true);
        self.wake();
    }

    /// It takes no new streams.
    pub fn close(&self) {
        self.closing.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

/// Open one more connection, and keep it going to its end.
async fn dial(
    cluster: Rc<Cluster>,
    worker: Rc<Worker>,
    numbers: Rc<Numbers>,
    pick: Pick,
    endpoint: Rc<Endpoint>,
) {
    let random = worker.random();
    let made = connect(&cluster, worker, &pick, &endpoint).await;
    endpoint.dialling.set(false);
    let (send, connection, slot, (secure, leads_here)) = match made {
        Ok(Some(made)) => made,
        // Nobody waits any more.
        Ok(None) => return,
        Err(fault) => return endpoint.fail(fault),
    };
    let shared = Rc::new(Shared {
        send: RefCell::new(send),
        secure,
        leads_here,
        active: Cell::new(0),
        served: Cell::new(false),
        suspected: Cell::new(false),
        closing: Cell::new(false),
        reached: RefCell::new(slot.reached().clone()),
        cluster: Rc::clone(&cluster),
        endpoint: Rc::downgrade(&endpoint),
        idle_since: Cell::new(time::now()),
        task: Cell::new(None),
    });
    endpoint.open.borrow_mut().push(Rc::clone(&shared));
    endpoint.changed.notify_waiters();
    let weak = Rc::downgrade(&shared);
    drop(shared);
    if drive(cluster, weak, &endpoint, connection, random).await {
        numbers.dead_servers.inc();
    }
    drop(slot);
}

/// A connection that writes once when it has been polled.
struct Connection {
    connection: h2::client::Connection<Corked, Bytes>,
    cork: Cork,
}

impl Future for Connection {
    type Output = Result<(), h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.connection).poll(cx);
        self.cork.pass(cx);
        polled
    }
}

/// The last two: whether it is TLS, and whether it leads to a listener of this process.
type Made = (SendRequest<Bytes>, Connection, weir_drive::Slot, (bool, bool));

/// `None`: whoever it was for has found another.
async fn connect(
    cluster: &Cluster,
    worker: Rc<Worker>,
    pick: &Pick,
    endpoint: &Endpoint,
) -> Result<Option<Made>, Fault> {
    let slot = match cluster.shared_slot(pick) {
        Some(slot) => Some(slot),
        None => {
            endpoint.full.set(true);
            endpoint.changed.notify_waiters();
            let slot = cluster.shared_slot_in_turn(pick, || endpoint.waiting.get() > 0).await;
            endpoint.full.set(false);
            slot?
        }
    };
    let Some(slot) = slot else { return Ok(None) };
    let Connected { io, slot, leads_here, .. } = cluster.dial(pick, slot, Offer::H2, None).await?;
    let secure = io.is_tls();
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(UPSTREAM_WINDOW)
        .max_header_list_size(UPSTREAM_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(UPSTREAM_FRAME_BUDGET)
        .enable_push(false)
        .initial_max_send_streams(UNKNOWN)
        // A proxy cancels for a living: its own resets say nothing about the server.
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(1024);
    let (cork, io) = corked(io, BytesMut::new(), worker, None);
    let made = builder.handshake::<_, Bytes>(io).await;
    let failed = |reason| Fault::new(Side::Network, Phase::Connecting, reason);
    let (send, connection) = made.map_err(|e| failed(super::broken(&e).reason))?;
    let mut connection = Connection { connection, cork };
    let settings = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(failed(Reason::Closed))),
        Poll::Ready(Err(e)) => Poll::Ready(Err(failed(super::broken(&e).reason))),
        Poll::Pending if send.current_max_send_streams() != UNKNOWN => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    });
    let limit = time::deadline(time::now().after(cluster.config().connect_timeout));
    tokio::time::timeout_at(limit, settings).await.map_err(|_| failed(Reason::ConnectTimeout))??;
    Ok(Some((send, connection, slot, (secure, leads_here))))
}

/// Read and write until the connection ends. Lets go of it when it takes no new streams, was idle for too long or is too old; it
/// then ends with its last stream. Says whether the server was dead.
async fn drive(
    cluster: Rc<Cluster>,
    shared: Weak<Shared>,
    endpoint: &Endpoint,
    mut connection: Connection,
    random: u64,
) -> bool {
    let forget =
        || endpoint.open.borrow_mut().retain(|open| !std::ptr::eq(Rc::as_ptr(open), shared.as_ptr()));
    let mut alive = Alive::new(connection.connection.ping_pong());
    let old = old(cluster.config().http2.max_age, time::now(), random);
    let (mut idle, mut age) = (Timer::default(), Timer::default());
    let (mut takes, mut served) = (usize::MAX, false);
    let dead = poll_fn(|cx| {
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        let open = shared.upgrade();
        let streams = open.as_ref().is_some_and(|open| open.active.get() > 0);
        if open.as_ref().is_some_and(|open| open.suspected.take()) {
            alive.suspect();
        }
        let pace = Pace::server(cluster.config().http2.keepalive);
        if alive.poll(cx, &connection.cork, streams, &pace).is_ready() {
            return Poll::Ready(true);
        }
        let Some(open) = open else { return Poll::Pending };
        open.task.set(Some(cx.waker().clone()));
        served = open.served.get();
        if open.closing.get() {
            forget();
            return Poll::Pending;
        }
        let now_takes = open.send.borrow().current_max_send_streams();
        if std::mem::replace(&mut takes, now_takes) < now_takes {
            endpoint.changed.notify_waiters();
        }
        let until = if streams { NEVER } else { open.idle_since.get().after(cluster.config().idle_timeout) };
        if idle.poll(cx, until).is_ready() || age.poll(cx, old).is_ready() {
            open.closing.set(true);
            forget();
        }
        Poll::Pending
    })
    .await;
    if let Some(open) = shared.upgrade() {
        open.closing.set(true);
        served = open.served.get();
    }
    forget();
    match served {
        true => endpoint.changed.notify_waiters(),
        // It was of no use, so the next would not be either.
        false => endpoint.fail(Fault::new(Side::Network, Phase::Connecting, Reason::Closed)),
    }
    dead
}

/// When a connection of this age is too old: up to a tenth later, at random, so that those which began together do not end together.
pub fn old(max_age: Option<Duration>, began: Now, random: u64) -> Now {
    let Some(age) = max_age.filter(|age| !age.is_zero()) else { return NEVER };
    began.after(age + age.mul_f64((random >> 40) as f64 / f64::from(1u32 << 24) / 10.0))
}
