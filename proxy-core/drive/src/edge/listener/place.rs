//! Which worker serves a connection, and how it comes to the listener's service.

use super::admission::Admission;
use super::secure::{Passed, Secured, Tls, agreed, secure};
use super::{Listening, header};
use crate::ground::address::{Address, Told};
use crate::ground::counted::{Counted, Held, Shared, enter};
use crate::ground::drain::Drain;
use crate::ground::socket::{Detached, Socket};
use crate::shells::filter::Accepted;
use crate::shells::relay;
use crate::shells::worker::Worker;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use weir_measure::Measure;
use weir_measure::connections::OpenConnection;

/// The most connections on their way to one worker from others; whoever accepts more serves them itself.
pub const MAX_HANDED: u32 = 256;

/// How long a connection has in a drain to say who it is: it came before, and its client may just be about to.
const SOON: Duration = Duration::from_secs(1);

/// A connection on its way from the worker that accepted it to another.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) listener: Arc<Shared>,
    socket: Detached,
    peer: Address,
    local: Address,
    counted: Counted,
}

/// Takes connections to each worker, by its number.
pub(crate) type Hands = Arc<[UnboundedSender<Handed>]>;

impl Listening {
    /// Serves a connection that another worker accepted.
    pub(crate) fn adopt(self: &Rc<Self>, worker: &Rc<Worker>, handed: Handed) {
        match handed.socket.attach() {
            Ok(socket) => self.serve(worker, socket, (handed.peer, handed.local), handed.counted),
            Err(error) => {
                self.shared.numbers.accept_errors.inc();
                tracing::warn!(listener = %self.shared.name, %error, "a connection could not be taken over");
            }
        }
    }

    /// Serves here, or has a less loaded worker do it.
    pub(super) fn place(self: &Rc<Self>, worker: &Rc<Worker>, socket: Socket, peer: Address, bound: Address) {
        let local = local(&socket, bound);
        self.shared.numbers.accepted.inc();
        let admission = Arc::clone(&self.current.borrow().admission);
        // Whose connection it is may only be known with a header.
        let known = admission.expects_header(peer).is_none();
        if known && !admission.admits(peer) {
            self.shared.numbers.refused_source.inc();
            return;
        }
        let process = worker.process();
        let target = process.least_loaded(worker.index());
        let Some(mut counted) = Counted::take(process, &self.shared, worker.index()) else { return };
        if known && !counted.belongs_to(peer, admission.per_address) {
            return;
        }
        let knows = self.shared.everywhere.load(Ordering::Acquire);
        let other = process.peer(target).filter(|_| target != worker.index() && knows);
        let room = other.is_some_and(|other| enter(&other.handed, &AtomicU32::new(MAX_HANDED)));
        if other.is_some() && !room {
            process.numbers.not_handed_over.inc();
        }
        if let Some(other) = other
            && room
        {
            let socket = match socket.detach() {
                Ok(socket) => socket,
                Err(error) => {
                    other.handed.fetch_sub(1, Ordering::AcqRel);
                    tracing::warn!(listener = %self.shared.name, %error, "a connection could not be handed over");
                    return;
                }
            };
            counted.move_to(target);
            process.numbers.handed_over.inc();
            let handed = Handed { listener: Arc::clone(&self.shared), socket, peer, local, counted };
            if self.hands.get(target).is_none_or(|worker| worker.send(handed).is_err()) {
                tracing::error!(listener = %self.shared.name, worker = target, "a worker is gone");
            }
            return;
        }
        self.serve(worker, socket, (peer, local), counted);
    }

    fn serve(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        socket: Socket,
        (peer, local): (Address, Address),
        counted: Counted,
    ) {
        let current = self.current.borrow();
        let (name, protocol) = (&self.shared.name, current.config.protocol);
        let open = OpenConnection::new(name, protocol, peer.ip(), worker.now());
        let held = Held::new(counted, worker.measure().open(open));
        let (service, drain) = (Rc::clone(&current.service), Rc::clone(&current.drain));
        let shared = Arc::clone(&self.shared);
        let guard = Guard { shared: Arc::clone(&shared), drain: Rc::clone(&drain), _held: held.clone() };
        let drained = Rc::clone(&drain);
        let header = current.admission.expects_header(peer);
        // A reload may have reached this worker, and not yet the one that accepted: there a header was still to come.
        if header.is_none() && !held.counted().is_known() {
            if !current.admission.admits(peer) {
                return self.shared.numbers.refused_source.inc();
            }
            if !held.counted().belongs_to(peer, current.admission.per_address) {
                return;
            }
        }
        let served = move |io, Ends { peer, destination, told }: Ends, held, covered| {
            let (alpn, sni) = agreed(&io);
            Accepted { io, peer, told, local, destination, alpn, sni, covered, drain, held }
        };
        let ends = Ends { peer, destination: local, told: Told::default() };
        let task = if header.is_none() && current.tls.is_none() {
            let serving = service.serve(served(socket.into(), ends, held, None));
            worker.spawn(async move {
                serving.await;
                drop(guard);
            })
        } else {
            let (admission, tls) = (Arc::clone(&current.admission), current.tls.clone());
            let measure = Arc::clone(&worker.process().measure);
            let leaving = Rc::clone(&drained);
            let before = Before { shared, admission, header, tls, measure };
            let outbox = Rc::clone(worker.outbox());
            worker.spawn(async move {
                // Boxed, so that its size is only needed for as long as it lasts.
                let passing = Box::pin(before.pass_unless(&leaving, socket, ends, &held));
                match outbox.empty_before(passing).await {
                    Some((Secured::Terminated(io, covered), ends)) => {
                        service.serve(served(io, ends, held, covered)).await
                    }
                    Some((Secured::Passed(passed), ends)) => {
                        let Passed { context, socket, head } = *passed;
                        let passed = served(socket.into(), ends, held, None);
                        Box::pin(relay::serve_from(context, passed, Some(head))).await;
                    }
                    None => {}
                }
                drop(guard);
            })
        };
        drained.enter(task.abort_handle());
    }
}

/// Who is at the client's end of a connection, where it connected to, and what else is said of it.
#[derive(Clone, Copy)]
struct Ends {
    peer: Address,
    destination: Address,
    told: Told,
}

/// What comes before the service sees a connection.
struct Before {
    shared: Arc<Shared>,
    admission: Arc<Admission>,
    /// A header of the PROXY protocol has to come within this time.
    header: Option<Duration>,
    tls: Option<Tls>,
    measure: Arc<Measure>,
}

impl Before {
    /// The same; in a drain it has to come to its end soon.
    async fn pass_unless(
        self,
        drain: &Drain,
        socket: Socket,
        ends: Ends,
        held: &Held,
    ) -> Option<(Secured, Ends)> {
        let shared = Arc::clone(&self.shared);
        let mut passing = pin!(self.pass(socket, ends, held));
        tokio::select! {
            biased;
            passed = &mut passing => return passed,
            () = drain.wait() => {}
        }
        let passed = tokio::time::timeout(SOON, passing).await;
        passed.unwrap_or_else(|_| {
            shared.numbers.refused_draining.inc();
            None
        })
    }

    /// Passes a connection on with who the client is and where it connected to. `None`: it has failed or is refused; counted.
    async fn pass(self, socket: Socket, ends: Ends, held: &Held) -> Option<(Secured, Ends)> {
        let ends = match self.header {
            None => ends,
            Some(timeout) => {
                let ends = (ends.peer, ends.destination);
                let read = header::read(&self.shared, &self.measure, &socket, ends, timeout).await?;
                let ((peer, destination), told) = read;
                if !self.admission.admits(peer) {
                    self.shared.numbers.refused_source.inc();
                    return None;
                }
                held.connection().comes_from(peer.ip());
                let ends = Ends { peer, destination, told };
                held.counted().belongs_to(peer, self.admission.per_address).then_some(ends)?
            }
        };
        let secured = match &self.tls {
            None => Secured::Terminated(socket.into(), None),
            Some(tls) => {
                let secured = secure(&self.shared, tls, socket, ends.peer).await?;
                held.connection().is_encrypted();
                secured
            }
        };
        Some((secured, ends))
    }
}

/// Where a client has connected to. The system is asked only where the socket is bound to more than one address.
fn local(socket: &Socket, bound: Address) -> Address {
    match (socket, bound) {
        (Socket::Tcp(tcp), Address::Ip(address)) if address.ip().is_unspecified() => {
            tcp.local_addr().map_or(bound, Address::Ip)
        }
        _ => bound,
    }
}

/// Of a connection's task: takes it off those that a drain may cut off, counts and logs that it has panicked.
struct Guard {
    shared: Arc<Shared>,
    drain: Rc<Drain>,
    _held: Held,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(task) = tokio::task::try_id() {
            self.drain.leave(task);
        }
        if std::thread::panicking() {
            self.shared.numbers.panics.inc();
            tracing::error!(listener = %self.shared.name, "a bug in Weir has cost a connection");
        }
    }
}
