//! What is learnt about a reply. `ok` comes late in a reply, so most of this is known at its end.

use super::bson::{as_bool, as_i64, as_number, as_str, kind};
use super::header::{Header, OpCode};
use super::inflate::Compressor;
use super::names::Short;
use super::problem::Problem;
use super::request::Flags;
use super::walk::{Element, Facts, Next, Place};

/// The error labels that drivers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Labels(pub u8);

impl Labels {
    /// No label.
    pub const NONE: Labels = Labels(0);
    /// `RetryableWriteError`
    pub const RETRYABLE_WRITE: Labels = Labels(1);
    /// `NoWritesPerformed`
    pub const NO_WRITES_PERFORMED: Labels = Labels(2);
    /// `TransientTransactionError`
    pub const TRANSIENT_TRANSACTION: Labels = Labels(4);
    /// `UnknownTransactionCommitResult`
    pub const UNKNOWN_COMMIT_RESULT: Labels = Labels(8);
    /// `ResumableChangeStreamError`
    pub const RESUMABLE_CHANGE_STREAM: Labels = Labels(16);
    /// `SystemOverloadedError`
    pub const SYSTEM_OVERLOADED: Labels = Labels(32);
    /// `RetryableError`
    pub const RETRYABLE: Labels = Labels(64);

    const NAMES: [(Labels, &str); 7] = [
        (Labels::RETRYABLE_WRITE, "RetryableWriteError"),
        (Labels::NO_WRITES_PERFORMED, "NoWritesPerformed"),
        (Labels::TRANSIENT_TRANSACTION, "TransientTransactionError"),
        (Labels::UNKNOWN_COMMIT_RESULT, "UnknownTransactionCommitResult"),
        (Labels::RESUMABLE_CHANGE_STREAM, "ResumableChangeStreamError"),
        (Labels::SYSTEM_OVERLOADED, "SystemOverloadedError"),
        (Labels::RETRYABLE, "RetryableError"),
    ];

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Labels) -> Labels {
        Labels(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub fn contains(self, other: Labels) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names on the wire.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Labels::NAMES.iter().filter(move |(label, _)| self.contains(*label)).map(|(_, name)| *name)
    }

    fn from_name(name: &[u8]) -> Labels {
        let known = Labels::NAMES.iter().find(|(_, known)| known.as_bytes() == name);
        known.map_or(Labels::NONE, |(label, _)| *label)
    }
}

/// What is known about a reply: with the message's first piece the header and the flags, with its last everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplyHead {
    /// The header on the wire.
    pub header: Header,
    /// The opcode of the message itself: what is inside, if it is compressed.
    pub op_code: OpCode,
    /// What it is compressed with.
    pub compressor: Option<Compressor>,
    /// The message's length when decompressed, header included; that on the wire if it is not compressed.
    pub uncompressed_length: u32,
    /// The flags of an `OP_MSG`.
    pub flags: Flags,
    /// The flags of an `OP_REPLY`.
    pub reply_flags: u32,
    /// Whether the message has been walked to its end: nothing here will change any more.
    pub complete: bool,
    /// Why not everything is known that could be.
    pub problem: Option<Problem>,

    /// `ok`, whichever type the server gave it; `None` when there was none.
    pub ok: Option<bool>,
    /// `code`, 0 when there was none.
    pub code: i32,
    /// `codeName`
    pub code_name: Short<64>,
    /// The known ones of `errorLabels`.
    pub labels: Labels,
    /// `n` (or `lastErrorObject.n`): documents matched, inserted, deleted or counted.
    pub n: i64,
    /// `nModified`
    pub modified: i64,
    /// How many documents were upserted.
    pub upserted: u32,
    /// `cursor.id`: what getMore asks for next, 0 when the cursor is exhausted.
    pub cursor_id: i64,
    /// `cursor.ns`
    pub cursor_namespace: Short<255>,
    /// Whether there was a cursor at all.
    pub has_cursor: bool,
    /// Documents in `firstBatch` or `nextBatch`, values of a `distinct`, or documents of an `OP_REPLY`.
    pub returned: u32,
    /// How many `writeErrors` there were, inside `ok: 1`.
    pub write_errors: u32,
    /// The code of the first of them.
    pub write_error_code: i32,
    /// The code of `writeConcernError`, inside `ok: 1`.
    pub write_concern_error: Option<i32>,
    /// Its `codeName`.
    pub write_concern_error_name: Short<64>,
    /// How many statements the server recognised as sent before.
    pub retried_statements: u32,
    /// `done`: an authentication is complete.
    pub done: bool,
    /// A hello that answers an authentication too.
    pub speculative: bool,
    /// `topologyVersion` was there: a hello, or an error that tells of a change.
    pub has_topology_version: bool,
    /// A hello that names a replica set's members: a driver may go to them directly.
    pub announces_members: bool,
    /// The server is the primary (or a mongos, or alone).
    pub is_writable_primary: bool,
    /// The server is a secondary.
    pub is_secondary: bool,
    /// The server is an arbiter.
    pub is_arbiter: bool,
    /// The server is of a replica set, or is meant to be.
    pub has_set: bool,
    /// The server is a mongos.
    pub is_router: bool,
    /// `electionId`, which grows with each election: by which one the server is primary.
    pub election: Option<[u8; 12]>,

    begun: bool,
}

impl ReplyHead {
    /// The documents of an `OP_REPLY` are an error (flag QueryFailure).
    pub fn query_failure(&self) -> bool {
        self.reply_flags & 2 != 0
    }

    /// Whether more replies follow this one without being asked for.
    pub fn more_to_come(&self) -> bool {
        self.flags.more_to_come()
    }

    /// Begins a new message.
    pub(super) fn begin(&mut self, header: Header) {
        *self = ReplyHead {
            header,
            op_code: header.op_code,
            uncompressed_length: header.length,
            ..ReplyHead::default()
        };
    }

    /// Whether the flags are known, and with them how many replies follow.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    pub(super) fn end(&mut self) {
        self.complete = true;
    }

    fn top(&mut self, element: &Element<'_>) -> Next {
        match element.key {
            b"ok" => self.ok = as_bool(element),
            b"n" => self.n = as_number(element).unwrap_or(0),
            b"nModified" => self.modified = as_number(element).unwrap_or(0),
            b"code" => self.code = as_code(element),
            b"codeName" => name(&mut self.code_name, element),
            b"cursor" => {
                self.has_cursor = true;
                return enter(element, Place::Cursor);
            }
            b"errorLabels" => return enter(element, Place::Labels),
            b"writeErrors" => return enter(element, Place::WriteErrors),
            b"writeConcernError" => return enter(element, Place::WriteConcernError),
            // As findAndModify says it.
            b"retriedStmtId" => self.retried_statements = 1,
            b"retriedStmtIds" => return enter(element, Place::RetriedStatements),
            b"upserted" => return enter(element, Place::Upserted),
            b"lastErrorObject" => return enter(element, Place::LastErrorObject),
            b"values" => return enter(element, Place::Batch),
            b"nErrors" => self.write_errors = as_count(element),
            b"nUpserted" => self.upserted = as_count(element),
            b"nInserted" | b"nMatched" | b"nDeleted" => self.n += as_number(element).unwrap_or(0),
            b"done" => self.done = as_bool(element) == Some(true),
            b"speculativeAuthenticate" => {
                self.speculative = true;
                return enter(element, Place::Speculative);
            }
            b"topologyVersion" => self.has_topology_version = true,
            b"hosts" => self.announces_members = true,
            b"isWritablePrimary" | b"ismaster" => self.is_writable_primary = as_bool(element) == Some(true),
            b"arbiterOnly" => self.is_arbiter = as_bool(element) == Some(true),
            b"setName" | b"isreplicaset" => self.has_set = true,
            b"msg" => self.is_router = as_str(element) == Some(b"isdbgrid"),
            b"electionId" if element.kind == kind::OBJECT_ID => {
                self.election = element.value.first_chunk().copied();
            }
            b"secondary" => self.is_secondary = as_bool(element) == Some(true),
            _ => {}
        }
        Next::Skip
    }
}

impl Facts for ReplyHead {
    const BODY: Place = Place::Reply;

    fn flags(&mut self, bits: u32) {
        self.begun = true;
        match self.op_code {
            OpCode::REPLY => self.reply_flags = bits,
            _ => self.flags = Flags(bits),
        }
    }

    fn full_name(&mut self, _: Option<&[u8]>) {}

    fn cursor(&mut self, id: i64) {
        self.cursor_id = id;
    }

    fn section(&mut self, _: Option<&[u8]>) -> Place {
        Place::Ignored
    }

    fn element(&mut self, place: Place, index: u32, element: Element<'_>) -> Next {
        match (place, element.key) {
            (Place::Reply, _) => return self.top(&element),
            (Place::Replies, _) if index == 0 => return Next::Enter(Place::Reply),
            (Place::Speculative, b"done") => self.done = as_bool(&element) == Some(true),
            (Place::Cursor, b"id") => self.cursor_id = as_i64(&element).unwrap_or(0),
            (Place::Cursor, b"ns") => name(&mut self.cursor_namespace, &element),
            (Place::Cursor, b"firstBatch" | b"nextBatch") => return enter(&element, Place::Batch),
            (Place::Labels, _) => {
                let label = as_str(&element).map_or(Labels::NONE, Labels::from_name);
                self.labels = self.labels.and(label);
            }
            (Place::WriteErrors, _) if index == 0 => return enter(&element, Place::WriteError),
            (Place::WriteError, b"code") => self.write_error_code = as_code(&element),
            (Place::WriteConcernError, b"code") => self.write_concern_error = Some(as_code(&element)),
            (Place::WriteConcernError, b"codeName") => name(&mut self.write_concern_error_name, &element),
            (Place::LastErrorObject, b"n") => self.n = as_number(&element).unwrap_or(0),
            _ => {}
        }
        Next::Skip
    }

    fn leave(&mut self, place: Place, members: u32) {
        match place {
            Place::Batch => self.returned = members,
            Place::Replies => self.returned = members,
            Place::WriteErrors => self.write_errors = members,
            Place::RetriedStatements => self.retried_statements = members,
            Place::Upserted => self.upserted = members,
            // A writeConcernError without a code is one all the same.
            Place::WriteConcernError => {
                self.write_concern_error.get_or_insert(0);
            }
            _ => {}
        }
    }
}

fn enter(element: &Element<'_>, place: Place) -> Next {
    match element.kind {
        kind::DOCUMENT | kind::ARRAY => Next::Enter(place),
        _ => Next::Skip,
    }
}

fn name<const N: usize>(slot: &mut Short<N>, element: &Element<'_>) {
    match as_str(element) {
        Some(text) => slot.set(text),
        None => slot.set_overlong(),
    }
}

fn as_code(element: &Element<'_>) -> i32 {
    as_number(element).and_then(|code| i32::try_from(code).ok()).unwrap_or(0)
}

fn as_count(element: &Element<'_>) -> u32 {
    as_number(element).and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}
