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
//! Getmores on cursors that wait for data ([`cursors`]) and hellos that wait for news are long polls: they count, but in
//! no latency. What cannot be understood makes its connection go on as bytes, and is counted.

mod cursors;
mod decode;
mod measure;
mod protocol;
mod refusal;
mod verdict;

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use weir_config::{Field, Kind, Listener, Node, Section, Settings, Table, Walk};
use weir_drive::message::{self, Context};
use weir_drive::{Accepted, BuildError, Filter, Service, Worker};

pub use cursors::AwaitCursors;
pub use decode::{Replies, Requests};
pub use measure::slow::SlowSettings;
pub use protocol::{MongoOp, Protocol, Session};

/// The `mongo` filter.
#[derive(Debug, Clone, Copy)]
pub struct Mongo;

static TABLE: Table = Table {
    name: "mongo",
    doc: "Speaks MongoDB's wire protocol: every command is counted, nothing is changed.",
    fields: &[
        Field::required("cluster", Kind::Cluster, "The MongoDB server, or the member of a replica set."),
        Field::optional("slow", Kind::Table(&measure::slow::TABLE), "What counts as slow."),
    ],
    rules: &[],
};

/// What stands in a listener's `mongo` section.
#[derive(Debug)]
struct MongoSettings {
    cluster: Arc<str>,
    slow: Arc<SlowSettings>,
    /// The operator has been told that drivers may go round this listener.
    told: Arc<AtomicBool>,
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
        let cluster = fields.cluster(walk, "cluster")?;
        let slow = fields.table_or_default(walk, "slow");
        let slow = SlowSettings::read(walk, &slow);
        Some(Arc::new(MongoSettings { cluster, slow: Arc::new(slow?), told: Arc::default() }))
    }
}

impl Filter for Mongo {
    fn section(&self) -> &'static dyn Section {
        &Mongo
    }

    fn service(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<Rc<dyn Service>, BuildError> {
        Ok(Rc::new(MongoService { parts: RefCell::new(parts(listener, worker)?) }))
    }
}

/// What a connection needs; a reload makes new ones, connections keep theirs.
type Parts = (Rc<Protocol>, Rc<Context>);

fn parts(listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<Parts, BuildError> {
    let settings = listener.settings.downcast_ref::<MongoSettings>();
    let settings = settings.ok_or_else(|| BuildError::new(listener, "its settings are not of mongo"))?;
    let cluster = worker.cluster(&settings.cluster);
    let cluster = cluster.ok_or_else(|| BuildError::no_cluster(listener, &settings.cluster))?;
    let measure = worker.measure().measure();
    let protocol = Protocol::new(&listener.name, measure, Arc::clone(&settings.told))
        .with_slow(measure, &settings.slow);
    Ok((Rc::new(protocol), Context::new(worker, listener, &cluster)))
}

struct MongoService {
    parts: RefCell<Parts>,
}

impl Service for MongoService {
    fn serve(self: Rc<Self>, connection: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let (protocol, context) = self.parts.borrow().clone();
        Box::pin(message::serve(protocol, context, connection))
    }

    fn reload(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<(), BuildError> {
        *self.parts.borrow_mut() = parts(listener, worker)?;
        Ok(())
    }
}
