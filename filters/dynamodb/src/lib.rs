//! DynamoDB as a dialect of HTTP: which API operation on which table a request is, how its reply is to be understood, and
//! Weir's own replies in words that the SDKs take in. Nothing is altered in passing that a signature covers: no byte of a body and no field, so
//! every client's signature stays valid.
//!
//! How a call passes through:
//!
//! 1. [`DynamoDbDialect`] looks at the head: a POST with `x-amz-target: DynamoDB_20120810.GetItem` (or a Streams target, or an
//!    rpc-v2-cbor path) is a call whose operation is known from here on. Whatever else a server could take for one (any other target,
//!    by any method, in a query) is a call of an unknown operation; with two targets it is refused. All other requests are plain HTTP;
//! 2. [`Call`] feeds the request's body to a scanner as it goes by. At its end the table is known, or that there are
//!    several (`_multiple`), or that they cannot be told (`_unparsed`), and whether the call may be sent twice;
//! 3. the reply's status, headers and body say how it went ([`verdict`]): errors by their names, batches that were done in
//!    part, cancelled transactions;
//! 4. a call that is over charges each of its tables ([`numbers`]); a call that Weir refuses is answered by [`refusal`].
//!
//! Nothing that may have reached DynamoDB is tried again for an SDK, which says that it does so itself (`amz-sdk-request`): the two
//! would multiply. For others it is what may be done twice, by what the body tells.

mod asked;
mod call;
pub mod names;
mod numbers;
pub mod refusal;
pub mod verdict;

pub use call::Call;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use numbers::Numbers;
use weir_codecs::dynamodb::{ApiOperation, ErrorName, Inflater, ReplyScanner, RequestScanner, Target};
use weir_config::{Listener, Table};
use weir_decide::exchange::{NameId, NameKind, Names};
use weir_drive::Worker;
use weir_http::{Dialect, DialectFactory, HttpSection, RequestHead, Watch};
use weir_measure::Local;

/// The `protocol` label value, and the key of the listener's section.
pub const NAME: &str = "dynamodb";

/// The resource of a call on more than one table.
pub const MULTIPLE: &str = "_multiple";

/// The resource of a call whose tables cannot be told: a body that is broken, in CBOR or in an unknown coding, a statement
/// that cannot be followed, a key that is there twice.
pub const UNPARSED: &str = "_unparsed";

/// How many sets of scanners a listener keeps on each worker for the next calls: about 6 KiB each.
const MAX_POOLED: usize = 64;

/// Makes the dialect's instances, for routes with `dialect: dynamodb`.
#[derive(Debug, Clone, Copy)]
pub struct DynamoDb;

impl DialectFactory for DynamoDb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_signed(&self) -> bool {
        true
    }

    fn dialect(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Rc<dyn Dialect> {
        Rc::new(DynamoDbDialect::new(worker.measure(), &listener.name, worker.random()))
    }
}

static TABLE: Table = weir_http::config::table(
    NAME,
    "DynamoDB: an `http` listener whose routes have `dialect: dynamodb`. It has either `cluster` (all calls go there) or `routes`; a call that no route takes is answered with an UnknownOperationException.",
);

/// The `dynamodb:` section of a listener. `dialects`: those that its routes may name instead.
pub const fn section(dialects: &'static [&'static dyn DialectFactory]) -> HttpSection {
    HttpSection { key: NAME, table: &TABLE, dialect: Some(&DynamoDb), dialects }
}

/// The dialect, for one listener on one worker.
#[derive(Debug)]
pub struct DynamoDbDialect {
    shared: Rc<Shared>,
}

impl DynamoDbDialect {
    /// For `listener`, whose name is a label. `seed`: any number that differs between workers; ids of Weir's own replies are
    /// made from it.
    pub fn new(local: &Rc<Local>, listener: &str, seed: u64) -> DynamoDbDialect {
        let shared = Shared {
            numbers: Numbers::new(local, listener),
            operations: ApiOperation::ALL.iter().map(|_| Cell::new(None)).collect(),
            errors: ErrorName::ALL.iter().map(|_| Cell::new(None)).collect(),
            pool: RefCell::default(),
            seed,
            replies: Cell::new(0),
        };
        DynamoDbDialect { shared: Rc::new(shared) }
    }
}

impl Dialect for DynamoDbDialect {
    fn name(&self) -> &'static str {
        NAME
    }

    fn words_denials(&self) -> bool {
        true
    }

    fn watch(&self, names: &mut dyn Names, head: &RequestHead<'_>) -> Option<Box<dyn Watch>> {
        let asked = asked::asked(head)?;
        Some(Box::new(Call::new(Rc::clone(&self.shared), names, head, asked)))
    }
}

/// What the calls of a listener on a worker share.
#[derive(Debug)]
struct Shared {
    numbers: Numbers,
    /// Ids by position in [`ApiOperation::ALL`].
    operations: Box<[Cell<Option<NameId>>]>,
    /// Ids by position in [`ErrorName::ALL`].
    errors: Box<[Cell<Option<NameId>>]>,
    #[expect(clippy::vec_box, reason = "they are large, and go in and out with every call")]
    pool: RefCell<Vec<Box<Scanners>>>,
    seed: u64,
    /// How many replies of our own there were, for their ids.
    replies: Cell<u64>,
}

/// What reads one call's bodies.
#[derive(Debug, Default)]
struct Scanners {
    request: RequestScanner,
    request_coding: Inflater,
    /// What has come and has not been looked at: the rest of one slice at most.
    request_left: Vec<u8>,
    reply: ReplyScanner,
    reply_coding: Inflater,
    reply_left: Vec<u8>,
}

impl Shared {
    fn operation(&self, names: &mut dyn Names, target: Target) -> NameId {
        let Some(operation) = target.operation else { return NameId::OTHER };
        interned(self.operations.get(operation as usize), names, NameKind::Operation, operation.name())
    }

    fn error(&self, names: &mut dyn Names, error: ErrorName) -> NameId {
        match error {
            ErrorName::Other => NameId::OTHER,
            known => interned(self.errors.get(known as usize), names, NameKind::Code, known.as_str()),
        }
    }

    fn scanners(&self) -> Box<Scanners> {
        self.pool.borrow_mut().pop().unwrap_or_default()
    }

    fn give_back(&self, mut scanners: Box<Scanners>) {
        // Few calls leave anything, and then much.
        (scanners.request_left, scanners.reply_left) = (Vec::new(), Vec::new());
        let mut pool = self.pool.borrow_mut();
        if pool.len() < MAX_POOLED {
            pool.push(scanners);
        }
    }
}

fn interned(
    cell: Option<&Cell<Option<NameId>>>,
    names: &mut dyn Names,
    kind: NameKind,
    text: &str,
) -> NameId {
    let Some(cell) = cell else { return NameId::OTHER };
    cell.get().unwrap_or_else(|| {
        let id = names.fixed(kind, text.as_bytes());
        cell.set(Some(id));
        id
    })
}

#[cfg(test)]
mod tests;
