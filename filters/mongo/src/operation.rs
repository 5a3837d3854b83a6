//! What is remembered of a connection, and of a command under way.

use crate::measure::connection::Connection;
use crate::measure::open::{Belongs, OpenHere};
use crate::measure::slow::Kept;
use crate::measure::topology::Heard;
use crate::members::door::Door;
use weir_codecs::mongo::{Command, OpCode, ReplyTo};
use weir_decide::exchange::{Affinity, NameId, Operation};
use weir_measure::applications::{Application, Seated};
use weir_measure::rules::Governed;

/// What is remembered of one connection: a few numbers.
#[derive(Debug)]
pub struct Session {
    /// The client's application, by the hello that said so last.
    pub(crate) application: Application,
    /// The same, for rules.
    pub(crate) application_name: Box<[u8]>,
    /// The first hello has come whole.
    pub(crate) introduced: bool,
    /// Among the connections of that application.
    pub(crate) seated: Seated,
    /// Somebody has authenticated on it.
    pub(crate) authenticated: bool,
    /// The number of the last reply that Weir made itself.
    pub(crate) last_request_id: i32,
    pub(crate) kept: Kept,
    pub(crate) measured: Connection,
    pub(crate) open: OpenHere,
    /// Where it came in.
    pub(crate) door: Door,
}

/// One command under way.
#[derive(Debug)]
pub struct MongoOp {
    pub(crate) shared: Operation,
    pub(crate) command: Command,
    pub(crate) op_code: OpCode,
    pub(crate) is_query_command: bool,
    /// How Weir would answer it; `None` where no answer is due, or while it is not known how.
    pub(crate) reply_to: Option<ReplyTo>,
    pub(crate) cursor_id: i64,
    /// The cursors that it kills after that one.
    pub(crate) killed: Vec<i64>,
    pub(crate) opens_awaited: bool,
    /// Everything that its head says is known.
    pub(crate) is_whole: bool,
    pub(crate) in_transaction: bool,
    pub(crate) is_retryable_write: bool,
    pub(crate) governed: Governed,
    /// What the server is told of the time that it may take, in milliseconds.
    pub(crate) max_time: Option<u32>,
    /// One of its replies has been judged.
    pub(crate) is_judged: bool,
    /// What to ask [`Kept`] with.
    pub(crate) kept: u32,
    /// The cursor that its reply left open.
    pub(crate) left_open: i64,
    pub(crate) belongs: Belongs,
    /// It is the first of its connection: its time holds that of connecting.
    pub(crate) is_first: bool,
    /// What the answer to a hello said of the server.
    pub(crate) heard: Option<Heard>,
    /// A hello by which somebody authenticates.
    pub(crate) authenticates: bool,
}

impl Default for MongoOp {
    fn default() -> MongoOp {
        let shared = Operation::new(NameId::OTHER, NameId::NONE);
        MongoOp {
            shared: Operation { affinity: Affinity::Connection, ..shared },
            command: Command::Other,
            op_code: OpCode::default(),
            is_query_command: false,
            reply_to: None,
            cursor_id: 0,
            killed: Vec::new(),
            opens_awaited: false,
            is_whole: false,
            in_transaction: false,
            is_retryable_write: false,
            governed: Governed::default(),
            max_time: None,
            is_judged: false,
            kept: 0,
            left_open: 0,
            belongs: Belongs::default(),
            is_first: false,
            heard: None,
            authenticates: false,
        }
    }
}

impl AsRef<Operation> for MongoOp {
    fn as_ref(&self) -> &Operation {
        &self.shared
    }
}

impl AsMut<Operation> for MongoOp {
    fn as_mut(&mut self) -> &mut Operation {
        &mut self.shared
    }
}
