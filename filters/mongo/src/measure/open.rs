//! What stays open between operations: which cursor, transaction or retryable write an operation belongs to, and what its end
//! means to them.

use std::time::Duration;

use crate::measure::ledger::{CursorEnd, Ledger, TransactionEnd};
use weir_codecs::mongo::{Command, RequestHead};
use weir_config::{Field, Fields, Kind, Table, Walk};
use weir_decide::exchange::{Class, Operation, Trait};
use weir_decide::protocol::Ending;

use crate::result;

/// The most that is remembered as open on one connection, of what its client has not ended there. When more comes, what has been
/// ended elsewhere is forgotten first, then the oldest, which moves `weir_message_limits_total{limit="open"}`; a drain may
/// then close the connection too soon.
pub const MAX_OPEN: usize = 64;

/// What is open on one connection: cursors and transactions that its client last went on with here. A drain waits for them.
#[derive(Debug, Default)]
pub(crate) struct OpenHere(Vec<Thing>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Cursor(i64),
    /// A hash of its session, and its number.
    Transaction(u64, i64),
}

impl Thing {
    fn is_open(self, ledger: &Ledger) -> bool {
        match self {
            Thing::Cursor(id) => ledger.has_cursor(id),
            Thing::Transaction(session, number) => ledger.has_transaction(session, number),
        }
    }
}

impl OpenHere {
    /// Whether anything is open, here or anywhere.
    pub(crate) fn is_any(&mut self, ledger: &Ledger) -> bool {
        self.0.retain(|thing| thing.is_open(ledger));
        !self.0.is_empty()
    }

    /// The client goes on with this. Says whether there was room.
    fn keep(&mut self, thing: Thing, ledger: &Ledger) -> bool {
        if self.0.contains(&thing) {
            return true;
        }
        let full = self.0.len() >= MAX_OPEN;
        if full {
            self.0.retain(|thing| thing.is_open(ledger));
        }
        let room = self.0.len() < MAX_OPEN;
        if !room {
            self.0.remove(0);
        }
        self.0.push(thing);
        room
    }

    fn drop(&mut self, thing: Thing) {
        self.0.retain(|open| *open != thing);
    }
}

/// The `abandoned` section.
static TABLE: Table = Table {
    name: "mongo abandoned",
    doc: "When what nobody goes on with counts as abandoned. Servers keep idle cursors for `cursorTimeoutMillis`, and end transactions \
          that live for `transactionLifetimeLimitSeconds`.",
    fields: &[
        Field::with_default("cursors", PATIENCE, "10m", "Cursors that are idle for longer."),
        Field::with_default("transactions", PATIENCE, "2m", "Transactions that are idle for longer."),
    ],
    rules: &[],
};

const PATIENCE: Kind = Kind::Duration { min: 1000, max: 86_400_000 };

/// The field of the `mongo` section.
pub(crate) const FIELD: Field = Field::optional(
    "abandoned",
    Kind::Table(&TABLE),
    "When a cursor or a transaction counts as abandoned. Left out: as with `{}`.",
);

/// How long what is open may be idle: cursors and transactions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience(Duration, Duration);

impl Patience {
    /// Reads the field; `None` only when an error was recorded.
    pub(crate) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Patience> {
        let fields = fields.table_or_default(walk, "abandoned");
        let (cursors, transactions) =
            (fields.duration(walk, "cursors"), fields.duration(walk, "transactions"));
        Some(Patience(cursors?, transactions?))
    }

    pub(crate) fn hold(self, ledger: &Ledger) {
        ledger.patience(self.0, self.1);
    }
}

/// The cursors that an operation is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursors<'a> {
    /// The one that it asks for more, or the first that it kills.
    pub asked: i64,
    /// The others that it kills.
    pub killed: &'a [i64],
    /// The one that its reply leaves open.
    pub left: i64,
}

impl Cursors<'_> {
    fn all_asked(&self) -> impl Iterator<Item = i64> {
        Some(self.asked).into_iter().chain(self.killed.iter().copied())
    }
}

/// What an operation belongs to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Belongs {
    /// A hash of the session, and the number, in a transaction.
    transaction: Option<(u64, i64)>,
    starts: bool,
    /// It has been looked for among the writes that came before, and was among them.
    resent: Option<bool>,
}

impl Belongs {
    /// What a request's head tells.
    pub(crate) fn learn(&mut self, ledger: &Ledger, shared: &mut Operation, head: &RequestHead) {
        let (Some(session), Some(number)) = (head.session, head.txn_number) else { return };
        let session = hash(session);
        if head.in_transaction {
            self.transaction = Some((session, number));
            self.starts = head.starts_transaction;
        } else if head.is_retryable_write() {
            let resent = *self.resent.get_or_insert_with(|| ledger.is_resent(session, number));
            shared.traits = shared.traits.with(Trait::Resent, resent);
        }
    }

    /// The same on the operation's own connection, once the ledger knows; `streams`: it is about a change stream, which is never
    /// waited for. Says whether there was room to remember it.
    pub(crate) fn remember(
        &self,
        here: &mut OpenHere,
        ledger: &Ledger,
        cursors: Cursors<'_>,
        streams: bool,
    ) -> bool {
        let Cursors { asked, left, .. } = cursors;
        if left == 0 && asked != 0 {
            cursors.all_asked().for_each(|id| here.drop(Thing::Cursor(id)));
        }
        let mut room = true;
        if left != 0 && !streams && ledger.has_cursor(left) {
            room = here.keep(Thing::Cursor(left), ledger);
        }
        if let Some((session, number)) = self.transaction {
            let thing = Thing::Transaction(session, number);
            if ledger.has_transaction(session, number) {
                room &= here.keep(thing, ledger);
            } else {
                here.drop(thing);
            }
        }
        room
    }

    /// The operation (or one reply of a stream) has ended.
    pub(crate) fn ended(
        &self,
        ledger: &Ledger,
        command: Command,
        cursors: Cursors<'_>,
        op: &Operation,
        ending: &Ending<'_>,
    ) {
        let (outcome, now) = (ending.outcome, ending.ended);
        ledger.tick(now);
        // First: a cursor may be opened by what begins a transaction.
        if let Some(transaction) = self.transaction {
            self.goes_on(ledger, command, transaction, ending);
        }
        // Nobody knows what became of it, or nobody waited: a long poll that its client left has no reply either.
        if outcome.fault.is_some() || outcome.class == Class::Cancelled {
            return;
        }
        let Cursors { asked, left, .. } = cursors;
        match (command, outcome.result) {
            (Command::GetMore, result::OK) if left != 0 => {
                ledger.batch(left, op.resource, op.application, now)
            }
            (Command::GetMore, result::OK) => ledger.close(asked, CursorEnd::Exhausted, true, now),
            (Command::GetMore, _) => ledger.close(asked, CursorEnd::Failed, false, now),
            (Command::KillCursors, result::OK) => {
                cursors.all_asked().for_each(|id| ledger.close(id, CursorEnd::Killed, false, now));
            }
            _ if left != 0 => {
                ledger.batch(left, op.resource, op.application, now);
                if let Some((session, _)) = self.transaction {
                    ledger.belongs(left, session);
                }
            }
            _ => {}
        }
    }

    fn goes_on(&self, ledger: &Ledger, command: Command, (session, number): (u64, i64), ending: &Ending<'_>) {
        let (outcome, now) = (ending.outcome, ending.ended);
        let end = match (command, outcome.fault, outcome.result) {
            // Nobody knows how that went: the driver will ask again.
            (Command::CommitTransaction | Command::AbortTransaction, Some(_), _) => return,
            (Command::CommitTransaction, None, result::OK | result::WRITE_CONCERN_ERROR) => {
                TransactionEnd::Committed
            }
            (Command::CommitTransaction, ..) => TransactionEnd::CommitFailed,
            // However it is answered, the transaction is no more.
            (Command::AbortTransaction, ..) => TransactionEnd::Aborted,
            _ => {
                let first = self.starts.then_some(ending.began);
                return ledger.statement(session, number, first, now);
            }
        };
        ledger.finish(session, number, end, now);
    }
}

/// Sessions are random: little mixing is good enough.
fn hash(session: [u8; 16]) -> u64 {
    let all = u128::from_le_bytes(session);
    (all as u64).wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add((all >> 64) as u64)
}
