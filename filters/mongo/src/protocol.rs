//! MongoDB as a message protocol: which operation a request is, which reply answers it, and what is remembered between.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::measure::ledger::Ledger;
use crate::measure::topology::{Heard, Topology};
use bytes::BytesMut;
use weir_codecs::mongo::{Class, Command, Heads, MAX_CURSORS, ReplyHead, ReplyTo, RequestHead};
use weir_decide::exchange::{
    Belief, EndpointId, Fault, NameId, NameKind, Names, Now, Outcome, Phase, Reason, Replies as Due, Side,
    Trait,
};
use weir_decide::protocol::{self, Answer, Ending, Standing, Stays, Step, Unwritten};
use weir_measure::applications::{Application, Applications, Seated, Seats};
use weir_measure::slow::Subject;
use weir_measure::{Counter, Measure, names};

use crate::applications;
use crate::cursors::AwaitCursors;
use crate::custom::Custom;
use crate::decode::{Replies, Requests, Shared};
use crate::measure::Showing;
use crate::measure::connection::{Connection, Connections};
use crate::measure::listeners::Listeners;
use crate::measure::open::{Cursors, OpenHere};
use crate::measure::rename::Renames;
use crate::measure::slow::Kept;
use crate::members::door::Door;
use crate::members::{Fronted, role};
use crate::operation::{MongoOp, Session};
use crate::rules::{self, Control};
use crate::{measure, refusal, verdict};

/// `MaxTimeMSExpired`.
const MAX_TIME_EXPIRED: i32 = 50;

/// Drivers look whether a connection is still open only when they have not used it for so long.
const QUIET: Duration = Duration::from_secs(1);

static AWAITED: AwaitCursors = AwaitCursors::new();

/// MongoDB on one listener and worker.
pub struct Protocol {
    /// The rules in force.
    control: Rc<Control>,
    shared: Rc<Shared>,
    awaited: &'static AwaitCursors,
    /// Cursors that the table above had no room for.
    forgotten: Counter,
    /// Connections that had no room for what is open on them.
    limit_open: Counter,
    told: Arc<AtomicBool>,
    showing: Rc<RefCell<Showing>>,
    ledger: Arc<Ledger>,
    connections: Connections,
    applications: Applications,
    /// The names of commands, by [`Command::id`], once they have been asked for.
    commands: Box<[Cell<NameId>]>,
    topology: Arc<Topology>,
    /// Whether its clients authenticate, as far as that is known.
    custom: Cell<Custom>,
    /// Members mode.
    members: Option<Fronted>,
}

impl Protocol {
    /// The protocol of `listener`; `told` is set once the operator knows that drivers may go round it.
    pub fn new(listener: &Arc<str>, measure: &Arc<Measure>, told: Arc<AtomicBool>) -> Protocol {
        let inflate = crate::decode::workers_inflate();
        let shared = Rc::new(Shared {
            listener: Arc::clone(listener),
            inflate,
            requests: Heads::default(),
            replies: Heads::default(),
        });
        let forgotten = measure.counter(&crate::names::MONGO_AWAITED_CURSORS_FORGOTTEN, &[]);
        let limit_open = measure.counter(&names::MESSAGE_LIMITS, &[listener, "mongo", "open"]);
        let showing = Showing::new(listener, measure, Arc::default(), Renames::default(), None);
        let ledger = Listeners::of(measure).one(listener);
        Protocol {
            control: Rc::default(),
            shared,
            awaited: &AWAITED,
            forgotten,
            limit_open,
            told,
            showing: Rc::new(RefCell::new(showing)),
            ledger,
            connections: Connections::new(listener, measure),
            applications: Applications::new(listener, measure, &crate::names::MONGO_CONNECTIONS_REFUSED),
            commands: Command::ALL.iter().map(|_| Cell::new(NameId::NONE)).collect(),
            topology: Listeners::of(measure).one(listener),
            custom: Cell::new(Custom::Unknown),
            members: None,
        }
    }

    /// The same in members mode, or not.
    pub(crate) fn fronting(self, members: Option<Fronted>) -> Protocol {
        Protocol { members, ..self }
    }

    /// The same, with these seats for connections, of which each application has so many.
    pub(crate) fn seating(mut self, seats: &Arc<Seats>, limit: Option<u32>) -> Protocol {
        self.applications = self.applications.with(seats, limit);
        self
    }

    /// The same, which shows operations so; that may be exchanged at any time.
    pub(crate) fn showing(self, showing: &Rc<RefCell<Showing>>) -> Protocol {
        Protocol { showing: Rc::clone(showing), ..self }
    }

    /// The same under these rules, which may be exchanged at any time.
    #[must_use]
    pub fn under(self, control: &Rc<Control>) -> Protocol {
        Protocol { control: Rc::clone(control), ..self }
    }

    /// Completes `op` with what `head` tells.
    fn describe(&self, session: &mut Session, names: &mut dyn Names, op: &mut MongoOp, head: &RequestHead) {
        // The server takes only the first hello's word for it.
        if head.command.is_hello() && !session.introduced {
            if let Some(client) = &head.client
                && *client.application.as_bytes() != *session.application_name
            {
                session.application.calls_itself(names, client.application.as_bytes());
                session.application_name = client.application.as_bytes().into();
            }
            session.introduced = head.complete;
        }
        // Rules look at heads of which the half is not known yet.
        if head.complete {
            self.applications.seat(&mut session.seated, &session.application_name);
            self.connections.request(&mut session.measured, head);
        }
        session.door.spoke |= !head.command.is_hello();
        session.authenticated |= head.authenticates
            || matches!(head.command, Command::SaslStart | Command::SaslContinue | Command::Authenticate);
        op.command = head.command;
        op.authenticates = head.authenticates;
        op.op_code = head.op_code;
        op.is_query_command = head.is_query_command;
        op.reply_to = ReplyTo::request(head);
        op.cursor_id = head.cursor_id;
        if head.cursors > 1 {
            op.killed.clone_from(&head.more_cursors);
            if head.complete && head.cursors as usize > 1 + MAX_CURSORS {
                self.limit_open.inc();
            }
        }
        op.opens_awaited = head.change_stream || (head.tailable && head.await_data);
        op.is_whole = head.complete;
        op.in_transaction = head.in_transaction;
        op.is_retryable_write = head.is_retryable_write();
        let shared = &mut op.shared;
        measure::request(shared, head);
        op.belongs.learn(&self.ledger, shared, head);
        shared.name = self.name(names, head.command);
        shared.resource = self.resource(names, head);
        shared.application = session.application.name(names);
        // Whoever comes is answered when he greets.
        shared.belief = match session.measured.has_authenticated() {
            true => Belief::Authenticated,
            false if head.command.class() == Class::Session => Belief::Never,
            false => Belief::Answered,
        };
        shared.tag = tag(head.header.request_id);
        shared.idempotent = head.is_retryable_read();
        shared.replies = match (head.expects_reply(), head.flags.exhaust_allowed()) {
            (false, _) => Due::None,
            (true, true) => Due::Stream,
            (true, false) => Due::One,
        };
        shared.parked = match head.command {
            // The server takes maxTimeMS on getMores that wait for data only.
            Command::GetMore => head.max_time_ms.is_some() || self.awaited.contains(head.cursor_id),
            _ => head.is_awaitable_hello(),
        };
    }

    /// `database.collection`, or the database where there is no collection, as they are shown.
    fn resource(&self, names: &mut dyn Names, head: &RequestHead) -> NameId {
        if head.database.is_overlong() || head.collection.is_overlong() {
            // No server takes such a name.
            return NameId::OTHER;
        }
        let (database, collection) = (head.database.as_bytes(), head.collection.as_bytes());
        self.showing.borrow().resource(names, database, collection)
    }

    fn name(&self, names: &mut dyn Names, command: Command) -> NameId {
        if command == Command::Other {
            return NameId::OTHER;
        }
        let known = self.commands.get(usize::from(command.id()));
        if let Some(name) = known.map(Cell::get).filter(|name| *name != NameId::NONE) {
            return name;
        }
        let name = names.fixed(NameKind::Operation, command.name().as_bytes());
        if let Some(known) = known.filter(|_| name != NameId::OTHER) {
            known.set(name);
        }
        name
    }

    /// What a complete reply tells beyond its own operation.
    fn note(&self, op: &MongoOp, tail: &ReplyHead) {
        match op.command {
            _ if op.opens_awaited => self.remember(tail.cursor_id),
            Command::GetMore if tail.cursor_id == 0 => self.awaited.remove(op.cursor_id),
            Command::KillCursors => {
                self.awaited.remove(op.cursor_id);
                op.killed.iter().for_each(|id| self.awaited.remove(*id));
            }
            _ if op.command.is_hello() && tail.announces_members && self.members.is_none() => self.tell(),
            _ => {}
        }
    }

    /// A server has answered a hello.
    fn hear(&self, op: &MongoOp, mut heard: Heard, ending: &Ending<'_>) {
        let Some(endpoint) = ending.endpoint else { return };
        // In members mode Weir asks itself.
        if !op.shared.parked && !op.is_first && !self.topology.is_listed() {
            let took = ending.complete.zip(ending.first_byte).map(|(sent, first)| first.since(sent));
            heard.round_trip = took.map(Duration::from_nanos);
        }
        self.topology.heard(endpoint, &heard, ending.ended);
    }

    fn remember(&self, cursor: i64) {
        if !self.awaited.insert(cursor) {
            self.forgotten.inc();
        }
    }

    /// A driver must never be led round the proxy without the operator being told.
    fn tell(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                listener = %self.shared.listener,
                "the server is a member of a replica set: a driver whose URI does not say directConnection=true learns the \
                 addresses of its members here, and then goes to them past Weir; give the listener member_ports, one for \
                 each member"
            );
        }
    }
}

impl protocol::Protocol for Protocol {
    const NAME: &'static str = "mongo";
    type Session = Session;
    type Request = Requests;
    type Reply = Replies;
    type Op = MongoOp;

    fn session(&self) -> (Session, Requests, Replies) {
        let door = Door::default();
        let session = Session {
            application: Application::default(),
            application_name: Box::default(),
            introduced: false,
            seated: Seated::Nowhere,
            authenticated: false,
            last_request_id: 0,
            kept: Kept::default(),
            measured: Connection::default(),
            open: OpenHere::default(),
            door,
        };
        (session, Requests::guarded(&self.shared, &self.control), Replies::relayed(&self.shared))
    }

    fn connected(&self, session: &mut Session, local: SocketAddr) {
        session.door.port = local.port();
    }

    fn request(
        &self,
        session: &mut Session,
        names: &mut dyn Names,
        op: &mut MongoOp,
        head: Option<&Rc<RequestHead>>,
        end: bool,
    ) -> Step {
        if let Some(head) = head {
            self.describe(session, names, op, head);
        }
        op.is_first = !session.door.answered;
        if self.applications.asks(&session.seated, head.is_some_and(|head| head.complete)) {
            if !end {
                return Step::More { limit: applications::MOST };
            }
            self.applications.seat(&mut session.seated, &session.application_name);
        }
        if let Seated::Full = session.seated {
            return Step::Close(Fault::new(Side::Proxy, Phase::Admitted, Reason::MaxConnections));
        }
        if let Some(members) = &self.members
            && op.is_first
        {
            match members.affinity(&session.door) {
                Ok(affinity) => op.shared.affinity = affinity,
                Err(fault) => return Step::Close(fault),
            }
        }
        Step::Forward
    }

    fn govern(
        &self,
        session: &mut Session,
        names: &mut dyn Names,
        op: &mut MongoOp,
        head: Option<&Rc<RequestHead>>,
        at: protocol::At<'_>,
    ) -> protocol::Ruling {
        let head = head.map(|head| &**head);
        if let Some(head) = head {
            op.shared.call_site =
                self.showing.borrow().call_sites.of(names, head, at.bytes, &self.shared.inflate);
        }
        self.control.govern(session, names, op, (head, &*self.shared.inflate), at)
    }

    fn standing(&self, session: &Session) -> Standing {
        match self.custom.get() {
            _ if session.measured.has_authenticated() => Standing::Known,
            Custom::Authenticates => Standing::Stranger,
            Custom::Unknown | Custom::Open => Standing::Unknown,
        }
    }

    fn half_closes(&self) -> bool {
        true
    }

    fn survives(&self, session: &Session) -> bool {
        !session.authenticated
    }

    fn watches(&self, session: &Session) -> bool {
        // A driver's monitor. The Node.js driver does not retry what was under way on connections that its monitor gave up.
        !session.door.spoke
    }

    fn stays(&self, session: &mut Session, parked: Option<&MongoOp>) -> Stays {
        if session.open.is_any(&self.ledger) {
            return Stays::Open;
        }
        match parked {
            // A change stream: its driver resumes it elsewhere, perhaps on connections that are still to go. Or a driver's
            // monitor: when that is gone the driver gives up all its connections, with what is open on them.
            Some(_) => Stays::Others,
            None if self.watches(session) => Stays::Others,
            None => Stays::Quiet(QUIET),
        }
    }

    fn repeats(&self, _: &Session, op: &MongoOp) -> bool {
        let opens_stream = op.shared.traits.has(Trait::Watch) && !op.in_transaction;
        op.is_whole && (op.shared.idempotent || op.is_retryable_write || opens_stream)
    }

    fn learn(&self, session: &mut Session, names: &mut dyn Names, op: &mut MongoOp, head: &Rc<RequestHead>) {
        self.describe(session, names, op, head);
        // It may have come late.
        if op.shared.call_site == NameId::NONE
            && let Some(bytes) = session.kept.of(op.kept)
        {
            op.shared.call_site =
                self.showing.borrow().call_sites.of(names, head, bytes, &self.shared.inflate);
        }
    }

    fn answers(&self, _: &Session, head: &Rc<ReplyHead>) -> Option<u64> {
        Some(tag(head.header.response_to))
    }

    fn reply(&self, session: &mut Session, op: &mut MongoOp, _: EndpointId, head: &Rc<ReplyHead>) -> Answer {
        session.door.answered = true;
        let more = head.more_to_come();
        if more {
            // The next one answers this one.
            op.shared.tag = tag(head.header.request_id);
            op.reply_to = op.reply_to.map(|to| to.after(head.header.request_id));
        }
        match &self.members {
            Some(members) if op.command.is_hello() => members.answer(more),
            _ => Answer::Relay { more, hold: false },
        }
    }

    fn rewrite(
        &self,
        session: &mut Session,
        op: &MongoOp,
        whole: &[u8],
        waited: Duration,
        out: &mut BytesMut,
    ) -> Result<(), Unwritten> {
        if let Some(max_time) = op.max_time {
            // A request; no reply to a write is ever rewritten.
            rules::write_max_time(max_time, whole, &self.shared.inflate, out);
            return Ok(());
        }
        match &self.members {
            Some(members) => members.rewrite(&session.door, (whole, waited), &self.shared, out),
            None => {
                // Transparent: never asked for.
                out.extend_from_slice(whole);
                Ok(())
            }
        }
    }

    fn judge(
        &self,
        session: &mut Session,
        names: &mut dyn Names,
        op: &mut MongoOp,
        tail: &Rc<ReplyHead>,
    ) -> Outcome {
        self.note(op, tail);
        measure::reply(&mut op.shared, op.command, op.is_judged, tail);
        op.is_judged = true;
        if !tail.more_to_come() {
            op.governed.release();
        }
        // The server has ended it, for the time that it was told.
        if tail.code == MAX_TIME_EXPIRED && op.max_time.is_some() {
            op.governed.note_overdue();
        }
        op.left_open = tail.cursor_id;
        let outcome = verdict::of_reply(names, op, tail);
        let ok = outcome.result == crate::result::OK;
        self.connections.reply(&mut session.measured, op.command, ok, tail);
        if ok && self.custom.get() != Custom::Open {
            self.custom.set(self.custom.get().after(op.command, session.measured.has_authenticated()));
        }
        op.heard = (ok && op.command.is_hello()).then(|| role::of_reply(tail));
        outcome
    }

    fn refuse(
        &self,
        session: &mut Session,
        names: &mut dyn Names,
        op: &mut MongoOp,
        fault: &Fault,
        out: &mut BytesMut,
    ) -> Outcome {
        let before = out.len();
        let mut outcome = refusal::refuse(session, names, op, fault, out);
        let ends = self.members.is_some() || session.authenticated;
        if ends && fault.side == Side::Network && out.len() > before {
            // A driver that gets an error asks the same member again, on a connection that ends (or leads to a member that is
            // down). One whose connection ends at once makes another, or looks for another primary, as it would without Weir.
            out.truncate(before);
            outcome.code = NameId::NONE;
        }
        outcome
    }

    fn begun(&self, session: &mut Session, op: &mut MongoOp, bytes: &[u8], _whole: bool) {
        op.kept = session.kept.keep(op.command, bytes);
    }

    fn further(&self, _: &mut Session, op: &mut MongoOp, now: Now) -> Option<Now> {
        op.governed.further(now)
    }

    fn ended(&self, session: &mut Session, op: &mut MongoOp, ending: &Ending<'_>) {
        op.governed.ended(Duration::from_nanos(ending.ended.since(ending.began)));
        if let Some(heard) = op.heard.take() {
            self.hear(op, heard, ending);
        }
        if ending.outcome.fault.is_some_and(|fault| fault.side == Side::Network)
            && let Some(endpoint) = ending.endpoint
            && !self.topology.is_listed()
        {
            self.topology.missed(endpoint, ending.ended);
        }
        let cursors = Cursors { asked: op.cursor_id, killed: &op.killed, left: op.left_open };
        op.belongs.ended(&self.ledger, op.command, cursors, &op.shared, ending);
        // A getMore that waits is one on a change stream, or on a tailable cursor, which is known from its beginning.
        let streams = op.shared.parked || op.shared.traits.has(Trait::Watch);
        if !op.belongs.remember(&mut session.open, &self.ledger, cursors, streams) {
            self.limit_open.inc();
        }
        let cursor = if op.cursor_id == 0 { op.left_open } else { op.cursor_id };
        if op.command.is_hello() && !op.authenticates {
            // By these drivers see whether the server is well, again and again: they are nobody's operations.
            return;
        }
        let shape = || session.kept.shape(op.kept, &self.shared.inflate);
        let is_secret = op.command.is_sensitive();
        let subject = Subject { operation: op.command.id(), is_secret, cursor, shape: &shape };
        self.showing.borrow().slow.ended(&op.shared, &subject, ending);
    }

    fn news(&self, session: &mut Session) -> Option<protocol::About> {
        session.measured.news()
    }

    fn degrades(&self, session: &Session) -> bool {
        // In members mode a driver's monitor must not see a hello that has not been rewritten.
        !self.control.is_enforced() && (self.members.is_none() || session.door.spoke)
    }
}

/// A message's number as a tag.
fn tag(request_id: i32) -> u64 {
    u64::from(request_id.cast_unsigned())
}
