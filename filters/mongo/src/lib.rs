//! MongoDB in front of Weir's core: a message protocol, transparent to the driver.
//!
//! How a command passes through: the message loop of the drive crate reads the client's bytes and has them cut into
//! messages ([`decode`], over `weir_codecs::mongo`). With the head of a request [`protocol`] names the operation: the
//! command, on `database.collection`, by the application of the connection's first hello. The bytes go on as they came,
//! over the one upstream connection that the client's is pinned to. With the head of a reply the loop is told whether
//! more of them follow (exhaust cursors, streamed hellos), with its end how the operation went ([`verdict`]): errors,
//! write errors and write concern errors inside `ok: 1`, with the name of their code. Where Weir itself has to answer,
//! because the server cannot be reached or a limit is met, [`refusal`] does so in the form that drivers know how to treat.
//!
//! What else is counted of an operation, and which are kept as slow or failed, is in [`measure`]; metrics that only MongoDB has are
//! declared in [`names`], its pages of the admin API are [`pages`].
//!
//! Getmores on cursors that wait for data ([`cursors`]) and hellos that wait for news are long polls: they count, but in
//! no latency. What cannot be understood makes its connection go on as bytes, and is counted.

mod applications;
mod cursors;
mod custom;
mod decode;
mod measure;
mod members;
pub mod names;
mod operation;
mod pages;
mod protocol;
mod refusal;
mod result;
mod rules;
mod verdict;

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use measure::Showing;
use measure::open::Patience;
use measure::rename::Renames;
use members::Members;
use members::discover::Discovery;
use members::settings::Said;
use weir_config::{Bind, Config, Field, Kind, Listener, MorePorts, Node, Section, Settings, Table, Walk};
use weir_drive::message::{self, Context};
use weir_drive::{Accepted, Advice, BuildError, Filter, Page, Service, Worker};
use weir_measure::Measure;
use weir_measure::applications::Seats;
use weir_measure::call_sites::CallSiteSettings;
use weir_measure::slow::Thresholds;

pub use cursors::AwaitCursors;
pub use decode::{Replies, Requests};
pub use measure::ledger::Ledger;
pub use measure::listeners::Listeners;
pub use measure::topology::{Heard, Role, Topology};
pub use members::belief::{is_member, is_set};
pub use operation::{MongoOp, Session};
pub use protocol::Protocol;
pub use rules::{Control, RuleSettings};

/// The `mongo` filter.
#[derive(Debug, Clone, Copy)]
pub struct Mongo;

static TABLE: Table = Table {
    name: "mongo",
    doc: "Speaks MongoDB's wire protocol: every command is counted, nothing is changed.",
    fields: &[
        Field::required(
            "cluster",
            Kind::Cluster,
            "The MongoDB server; of a replica set, one member or several.",
        ),
        members::settings::MODE,
        members::settings::ADVERTISE,
        members::settings::MEMBER_PORTS,
        members::settings::AT,
        applications::FIELD,
        Field::with_default(
            "message_timeout",
            Kind::Duration { min: 0, max: 86_400_000 },
            "30s",
            "How long a message that has begun may take to come: each KiB that comes gives it a second more, and what waits for the server \
             does not count. Then the connection is closed. `0s`: for ever.",
        ),
        Field::optional("slow", Kind::Table(&measure::slow::TABLE), "What counts as slow."),
        measure::open::FIELD,
        measure::rename::FIELD,
        measure::call_sites::FIELD,
        rules::FIELD,
    ],
    rules: &[],
};

/// What stands in a listener's `mongo` section.
#[derive(Debug)]
struct MongoSettings {
    cluster: Arc<str>,
    rules: Arc<[RuleSettings]>,
    slow: Arc<Thresholds>,
    patience: Patience,
    renames: Renames,
    call_sites: Option<CallSiteSettings>,
    /// The most connections of one application.
    per_application: Option<u32>,
    /// How long a message may take to come; for ever, if that is nothing.
    message_timeout: Duration,
    /// Of all workers; what was there before a reload goes on.
    seats: OnceLock<Arc<Seats>>,
    /// The operator has been told that drivers may go round this listener.
    told: Arc<AtomicBool>,
    said: Said,
    /// Of members mode; shared by all workers, and by the settings that come after as long as they ask for the same.
    members: OnceLock<Arc<Members>>,
}

impl Section for Mongo {
    fn key(&self) -> &'static str {
        "mongo"
    }

    fn table(&self) -> &'static Table {
        &TABLE
    }

    fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
        let fields = walk.fields(node, &TABLE)?;
        let cluster = fields.cluster(walk, "cluster");
        let slow = fields.table_or_default(walk, "slow");
        let slow = measure::slow::read(walk, &slow);
        let patience = Patience::read(walk, &fields);
        let renames = Renames::read(walk, &fields);
        let call_sites = measure::call_sites::read(walk, &fields);
        let per_application = fields.number(walk, "max_connections_per_application");
        let message_timeout = fields.duration(walk, "message_timeout");
        let said = members::settings::read(walk, &fields);
        let rules = rules::read(walk, &fields);
        Some(Arc::new(MongoSettings {
            cluster: cluster?,
            rules: rules?,
            slow: Arc::new(slow?),
            patience: patience?,
            renames: renames?,
            call_sites: call_sites?,
            per_application,
            message_timeout: message_timeout?,
            seats: OnceLock::new(),
            // Who says `transparent` knows.
            told: Arc::new(AtomicBool::new(said.as_ref()?.transparent)),
            said: said?,
            members: OnceLock::new(),
        }))
    }

    fn more_ports<'n>(
        &self,
        walk: &mut Walk<'_>,
        node: &'n Node,
        settings: &Settings,
        bind: &Bind,
    ) -> Option<MorePorts<'n>> {
        let settings = settings.downcast_ref::<MongoSettings>()?;
        members::settings::more_ports(walk, node, &settings.said, bind)
    }
}

impl Filter for Mongo {
    fn section(&self) -> &'static dyn Section {
        &Mongo
    }

    fn pages(&self) -> &'static [Page] {
        &pages::PAGES
    }

    fn count(&self, measure: &Arc<Measure>) {
        Listeners::<Ledger>::of(measure);
    }

    fn service(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<Rc<dyn Service>, BuildError> {
        let control = Rc::<Control>::default();
        let made = parts(listener, worker, &control, None)?;
        let topology =
            (worker.index() == 0).then(|| Listeners::of(worker.measure().measure()).one(&listener.name));
        Ok(Rc::new(MongoService { made: RefCell::new(made), control, topology }))
    }

    fn check(&self, listener: &Listener, config: &Config) -> Result<Option<Advice>, BuildError> {
        Ok(members::settings::check(settings(listener)?, config))
    }
}

fn settings(listener: &Listener) -> Result<&MongoSettings, BuildError> {
    let settings = listener.settings.downcast_ref::<MongoSettings>();
    settings.ok_or_else(|| BuildError::new(listener, "its settings are not of mongo"))
}

/// What a connection needs; a reload makes new ones, connections keep theirs, but for what is shared with the new ones: the rules in
/// force, and how operations are shown.
type Parts = (Rc<Protocol>, Rc<Context>);

/// What a listener has on one worker.
struct Made {
    parts: Parts,
    showing: Rc<RefCell<Showing>>,
    seats: Arc<Seats>,
    members: Option<Arc<Members>>,
    /// On the first worker, in members mode.
    discovery: Option<Discovery>,
}

fn parts(
    listener: &Arc<Listener>,
    worker: &Rc<Worker>,
    control: &Rc<Control>,
    before: Option<&Made>,
) -> Result<Made, BuildError> {
    let settings = settings(listener)?;
    let cluster = worker.cluster(&settings.cluster);
    let cluster = cluster.ok_or_else(|| BuildError::no_cluster(listener, &settings.cluster))?;
    let measure = worker.measure().measure();
    settings.patience.hold(&Listeners::of(measure).one(&listener.name));
    Listeners::<Topology>::of(measure).one(&listener.name).of_cluster(&settings.cluster);
    let showing = showing(settings, &listener.name, measure, before);
    let protocol =
        Protocol::new(&listener.name, measure, Arc::clone(&settings.told)).showing(&showing).under(control);
    let seats =
        settings.seats.get_or_init(|| before.map(|before| Arc::clone(&before.seats)).unwrap_or_default());
    let protocol = protocol.seating(seats, settings.per_application);
    let before = before.and_then(|before| before.members.as_ref());
    let members = settings.said.fronting.as_ref().map(|fronting| {
        let made = || Members::after(before, fronting, &settings.cluster);
        Arc::clone(settings.members.get_or_init(made))
    });
    let fronted = members
        .as_ref()
        .map(|members| members::Fronted::new(members, &cluster.view, &listener.name, measure));
    let first = members.as_ref().filter(|_| worker.index() == 0);
    let discovery = first.map(|members| Discovery::start(worker, listener, &cluster, members));
    let protocol = Rc::new(protocol.fronting(fronted));
    control.replace(&listener.name, &settings.rules, measure);
    let timeout = Some(settings.message_timeout).filter(|timeout| !timeout.is_zero());
    let context = Context::timed(worker, listener, &cluster, timeout);
    if let Some(members) = &members {
        members::follow_cuts(members, &context);
    }
    Ok(Made { parts: (protocol, context), showing, seats: Arc::clone(seats), members, discovery })
}

/// How operations are shown from now on, also those of connections that stand.
fn showing(
    settings: &MongoSettings,
    listener: &Arc<str>,
    measure: &Arc<Measure>,
    before: Option<&Made>,
) -> Rc<RefCell<Showing>> {
    let MongoSettings { slow, renames, call_sites, .. } = settings;
    let next = Showing::new(listener, measure, Arc::clone(slow), renames.clone(), call_sites.clone());
    match before {
        Some(before) => {
            before.showing.replace(next);
            Rc::clone(&before.showing)
        }
        None => Rc::new(RefCell::new(next)),
    }
}

struct MongoService {
    /// Of all connections, also of those that stood before a reload.
    control: Rc<Control>,
    made: RefCell<Made>,
    /// On the first worker: it ends with the listener.
    topology: Option<Arc<Topology>>,
}

impl Drop for MongoService {
    fn drop(&mut self) {
        if let Some(topology) = &self.topology {
            topology.clear();
        }
    }
}

impl Service for MongoService {
    fn serve(self: Rc<Self>, connection: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let (protocol, context) = self.made.borrow().parts.clone();
        Box::pin(message::serve(protocol, context, connection))
    }

    fn reload(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<(), BuildError> {
        let made = parts(listener, worker, &self.control, Some(&self.made.borrow()))?;
        let before = self.made.replace(made);
        let after = self.made.borrow();
        if let Some(retired) = before.members
            && after.members.as_ref().is_none_or(|members| !Arc::ptr_eq(members, &retired))
        {
            retired.retire();
        }
        if let Some(discovery) = &before.discovery
            && let Some(successor) = &after.discovery
        {
            discovery.hand_over(successor);
        }
        Ok(())
    }
}
