//! What is learnt about a request: the command, its namespace, and the small facts that decide how it is treated.

use super::bson::{as_bool, as_i64, as_number, as_str, kind, subtype_bytes};
use super::command::{Class, Command, Namespace};
use super::header::{Header, OpCode};
use super::inflate::Compressor;
use super::names::Short;
use super::problem::Problem;
use super::walk::{Element, Facts, Next, Place};

/// The flags of an `OP_MSG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// The message ends with a CRC-32C.
    pub fn checksum_present(self) -> bool {
        self.0 & 1 != 0
    }

    /// In a request: no reply is due. In a reply: more replies follow without being asked for.
    pub fn more_to_come(self) -> bool {
        self.0 & 2 != 0
    }

    /// The client takes more than one reply.
    pub fn exhaust_allowed(self) -> bool {
        self.0 & (1 << 16) != 0
    }

    /// Flags that a peer which does not know them must refuse, and that nobody has given a meaning yet.
    pub fn unknown_required(self) -> u16 {
        (self.0 as u16) & !3
    }
}

macro_rules! mechanisms {
    ($($(#[$doc:meta])* $name:ident = $wire:literal,)*) => {
        /// How a client authenticates: the mechanisms that there are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mechanism {
            $($(#[$doc])* $name,)*
            /// None of those.
            Other,
        }
        impl Mechanism {
            /// The name on the wire, `other` for the others.
            pub fn name(self) -> &'static str {
                match self { $(Mechanism::$name => $wire,)* Mechanism::Other => "other" }
            }

            fn from_name(name: &[u8]) -> Mechanism {
                $(if name == $wire.as_bytes() { return Mechanism::$name; })*
                Mechanism::Other
            }
        }
    };
}

mechanisms! {
    /// `SCRAM-SHA-1`
    ScramSha1 = "SCRAM-SHA-1",
    /// `SCRAM-SHA-256`
    ScramSha256 = "SCRAM-SHA-256",
    /// `MONGODB-X509`
    X509 = "MONGODB-X509",
    /// `MONGODB-AWS`
    Aws = "MONGODB-AWS",
    /// `MONGODB-OIDC`
    Oidc = "MONGODB-OIDC",
    /// `GSSAPI`
    Gssapi = "GSSAPI",
    /// `PLAIN`
    Plain = "PLAIN",
}

/// Whose software a connection is, from its first hello. A string of more than 128 bytes is left out: the server
/// refuses such an application name, and no driver has such a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientMetadata {
    /// `client.application.name`
    pub application: Short<128>,
    /// `client.driver.name`
    pub driver: Short<128>,
    /// `client.driver.version`
    pub driver_version: Short<128>,
}

/// The most cursors of one `killCursors` that are looked at, the first not counted; `cursors` says how many there are.
pub const MAX_CURSORS: usize = 1024;

/// What is known about a request. It is handed out as soon as the operation can be named, and again, complete,
/// with the message's last piece.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHead {
    /// The header on the wire.
    pub header: Header,
    /// The opcode of the message itself: what is inside, if it is compressed.
    pub op_code: OpCode,
    /// What it is compressed with.
    pub compressor: Option<Compressor>,
    /// The message's length when decompressed, header included; that on the wire if it is not compressed.
    pub uncompressed_length: u32,
    /// The flags; none unless `op_code` is [`OpCode::MSG`].
    pub flags: Flags,
    /// Whether the message has been walked to its end: nothing here will change any more.
    pub complete: bool,
    /// Why not everything is known that could be.
    pub problem: Option<Problem>,

    /// What is asked for.
    pub command: Command,
    /// For `explain`, the command that is explained.
    pub explained: Option<Command>,
    /// The database, empty when unknown.
    pub database: Short<64>,
    /// The collection, empty when there is none.
    pub collection: Short<255>,
    /// `bulkWrite` on more than one namespace; `collection` is the first.
    pub more_namespaces: bool,

    /// Documents to be inserted, or update and delete statements.
    pub documents: u32,
    /// The cursor of a `getMore`, or the first of a `killCursors`.
    pub cursor_id: i64,
    /// How many cursors a `killCursors` names.
    pub cursors: u32,
    /// Those of them after the first, [`MAX_CURSORS`] at most. Takes memory only where there are such.
    pub more_cursors: Vec<i64>,
    /// `lsid.id`, the session.
    pub session: Option<[u8; 16]>,
    /// `txnNumber`: a retryable write or a transaction.
    pub txn_number: Option<i64>,
    /// `autocommit: false`: part of a transaction.
    pub in_transaction: bool,
    /// `startTransaction: true`.
    pub starts_transaction: bool,
    /// `maxTimeMS`, in milliseconds.
    pub max_time_ms: Option<i64>,
    /// Where in the (uncompressed) message the value of `comment` begins, and its BSON type.
    pub comment: Option<(u32, u8)>,
    /// The stages of an aggregation.
    pub stages: u32,
    /// The aggregation is a change stream.
    pub change_stream: bool,
    /// The aggregation may read other collections beside its own.
    pub joins: bool,
    /// The aggregation or map-reduce writes its result into a collection.
    pub writes_result: bool,
    /// An update with `multi: true`, or a delete without a limit.
    pub affects_many: bool,
    /// A `find` (or `count`) with a condition.
    pub has_filter: bool,
    /// A `find` with a limit.
    pub has_limit: bool,
    /// A `find` on a tailable cursor.
    pub tailable: bool,
    /// A `find` whose getMores wait for data.
    pub await_data: bool,
    /// A hello with `topologyVersion`: with `maxAwaitTimeMS` it waits until something changes.
    pub has_topology_version: bool,
    /// A hello with `maxAwaitTimeMS`, in milliseconds.
    pub max_await_time_ms: Option<i64>,
    /// `client` of a hello.
    pub client: Option<Box<ClientMetadata>>,
    /// A hello that authenticates at the same time.
    pub authenticates: bool,
    /// The `mechanism` of an authentication that this begins.
    pub mechanism: Option<Mechanism>,
    /// The compressors that a hello offers: bit n is [`Compressor`] n.
    pub offered_compressors: u8,

    /// An `OP_QUERY` that runs a command rather than reads a collection.
    pub is_query_command: bool,

    named: bool,
    // A last stage that writes, until it is known that it is the last.
    last_stage_writes: bool,
}

impl RequestHead {
    /// What the operation does, looking at what it contains. An aggregation or a map-reduce counts as a write until
    /// it is known where its result goes.
    pub fn class(&self) -> Class {
        let command = match self.command {
            // `explain` runs nothing unless told to, but what it explains is what it may run.
            Command::Explain => self.explained.unwrap_or_default(),
            command => command,
        };
        match command {
            Command::Aggregate if self.writes_result || !self.pipeline_known() => Class::Write,
            Command::MapReduce if self.is_understood() && !self.writes_result => Class::Read,
            command => command.class(),
        }
    }

    /// Whether a reply is due.
    pub fn expects_reply(&self) -> bool {
        match self.op_code {
            OpCode::INSERT | OpCode::UPDATE | OpCode::DELETE | OpCode::KILL_CURSORS | OpCode::OLD_MSG => {
                false
            }
            OpCode::MSG => !self.flags.more_to_come(),
            _ => true,
        }
    }

    /// A hello that is answered only when something changes, or after its time.
    pub fn is_awaitable_hello(&self) -> bool {
        self.command.is_hello() && self.has_topology_version && self.max_await_time_ms.is_some()
    }

    /// A read that may run twice without harm and outside of any transaction.
    pub fn is_retryable_read(&self) -> bool {
        let reads = matches!(
            self.command,
            Command::Find
                | Command::Aggregate
                | Command::Count
                | Command::Distinct
                | Command::ListCollections
                | Command::ListIndexes
                | Command::ListDatabases
        );
        reads && !self.in_transaction && !self.change_stream && self.class() == Class::Read
    }

    /// A write that the server recognises when it comes a second time.
    pub fn is_retryable_write(&self) -> bool {
        let writes = matches!(
            self.command,
            Command::Insert | Command::Update | Command::Delete | Command::FindAndModify | Command::BulkWrite
        );
        writes && self.txn_number.is_some() && !self.in_transaction
    }

    /// Begins a new message.
    pub(super) fn begin(&mut self, header: Header) {
        *self = RequestHead {
            header,
            op_code: header.op_code,
            uncompressed_length: header.length,
            ..RequestHead::default()
        };
    }

    /// Whether the command is known; if not, nothing that depends on it is.
    pub fn has_command(&self) -> bool {
        self.named
    }

    /// Whether database, collection and class can be told already.
    pub fn is_named(&self) -> bool {
        if !self.named || (self.database.is_empty() && !self.database.is_overlong()) {
            return false;
        }
        let command = self.explained.unwrap_or(self.command);
        let has_collection = !self.collection.is_empty() || self.collection.is_overlong();
        let somewhere = match command.namespace() {
            Namespace::Field | Namespace::NsInfo => has_collection,
            Namespace::Nested => false,
            _ => true,
        };
        somewhere && (command != Command::Aggregate || self.pipeline_known()) && command != Command::MapReduce
    }

    pub(super) fn end(&mut self) {
        self.complete = true;
    }

    fn pipeline_known(&self) -> bool {
        self.is_understood() || self.stages > 0
    }

    fn is_understood(&self) -> bool {
        self.complete && self.problem.is_none()
    }

    fn name(&mut self, element: &Element<'_>) {
        self.command = Command::from_name(element.key);
        self.named = true;
        match self.command.namespace() {
            Namespace::Value => {
                if element.kind == kind::STRING {
                    set(&mut self.collection, as_str(element));
                }
            }
            Namespace::Full => self.full(as_str(element)),
            Namespace::Field => self.cursor_id = as_i64(element).unwrap_or(0),
            Namespace::Nested | Namespace::NsInfo | Namespace::None => {}
        }
    }

    /// Takes `database.collection` apart.
    fn full(&mut self, name: Option<&[u8]>) {
        let Some(name) = name else {
            self.database.set_overlong();
            self.collection.set_overlong();
            return;
        };
        match memchr::memchr(b'.', name) {
            Some(dot) => {
                set(&mut self.database, name.get(..dot));
                set(&mut self.collection, name.get(dot + 1..));
            }
            None => set(&mut self.database, Some(name)),
        }
    }

    fn body(&mut self, element: &Element<'_>) -> Next {
        match element.key {
            b"$db" => {
                if self.database.is_empty() {
                    set(&mut self.database, as_str(element));
                }
            }
            b"lsid" => return enter(element, Place::Lsid),
            b"txnNumber" => self.txn_number = as_i64(element),
            b"autocommit" => self.in_transaction = as_bool(element) == Some(false),
            b"startTransaction" => self.starts_transaction = as_bool(element) == Some(true),
            b"maxTimeMS" => self.max_time_ms = as_number(element),
            b"comment" => self.comment = Some((element.offset, element.kind)),
            _ => return self.argument(element),
        }
        Next::Skip
    }

    /// What only some commands have.
    fn argument(&mut self, element: &Element<'_>) -> Next {
        match (self.explained.unwrap_or(self.command), element.key) {
            (Command::Find, b"filter") | (Command::Count, b"query") => {
                self.has_filter = element.kind == kind::DOCUMENT && element.length > 5;
            }
            (Command::Find, b"limit") => self.has_limit = as_number(element).is_some_and(|n| n != 0),
            (Command::Find, b"tailable") => self.tailable = as_bool(element) == Some(true),
            (Command::Find, b"awaitData") => self.await_data = as_bool(element) == Some(true),
            (Command::GetMore, b"collection") => set(&mut self.collection, as_str(element)),
            (Command::Aggregate, b"pipeline") => return enter(element, Place::Pipeline),
            (Command::MapReduce, b"out") => {
                // `{inline: 1}` is the only output that goes nowhere.
                self.writes_result |= first_key(element.value) != b"inline" || element.kind != kind::DOCUMENT;
            }
            (Command::Insert, b"documents") | (Command::BulkWrite, b"ops") => {
                return enter(element, Place::Documents);
            }
            (Command::Update, b"updates") | (Command::Delete, b"deletes") => {
                return enter(element, Place::Edits);
            }
            (Command::BulkWrite, b"nsInfo") => return enter(element, Place::Namespaces),
            (Command::SaslStart | Command::Authenticate, b"mechanism") => self.mechanism(element),
            (Command::KillCursors, b"cursors") => return enter(element, Place::Cursors),
            (Command::Hello | Command::IsMaster, key) => match key {
                b"client" => return enter(element, Place::Client),
                b"compression" => return enter(element, Place::Compression),
                b"speculativeAuthenticate" => {
                    self.authenticates = true;
                    return enter(element, Place::Speculative);
                }
                b"topologyVersion" => self.has_topology_version = true,
                b"maxAwaitTimeMS" => self.max_await_time_ms = as_number(element),
                _ => {}
            },
            _ => {}
        }
        Next::Skip
    }

    fn mechanism(&mut self, element: &Element<'_>) {
        self.mechanism = Some(as_str(element).map_or(Mechanism::Other, Mechanism::from_name));
    }

    /// The first field of a hello's `client.…`, made when first met.
    fn metadata(&mut self) -> &mut ClientMetadata {
        self.client.get_or_insert_default()
    }

    fn killed(&mut self, index: u32, id: i64) {
        if index == 0 {
            self.cursor_id = id;
        } else if self.more_cursors.len() < MAX_CURSORS {
            self.more_cursors.push(id);
        }
    }

    fn stage(&mut self, index: u32, element: &Element<'_>) {
        let name = first_key(element.value);
        self.change_stream |= index == 0 && name == b"$changeStream";
        self.joins |= matches!(name, b"$lookup" | b"$graphLookup" | b"$unionWith" | b"$facet");
        self.last_stage_writes = name == b"$out" || name == b"$merge";
    }
}

impl Facts for RequestHead {
    const BODY: Place = Place::Body;

    fn flags(&mut self, bits: u32) {
        self.flags = Flags(bits);
    }

    fn full_name(&mut self, name: Option<&[u8]>) {
        self.full(name);
        self.named = true;
        self.command = match self.op_code {
            OpCode::INSERT => Command::Insert,
            OpCode::UPDATE => Command::Update,
            OpCode::DELETE => Command::Delete,
            OpCode::GET_MORE => Command::GetMore,
            OpCode::QUERY if self.collection.as_bytes() == b"$cmd" => {
                self.collection.clear();
                self.named = false;
                self.is_query_command = true;
                Command::Other
            }
            OpCode::QUERY if self.collection.as_bytes().starts_with(b"$cmd.") => Command::Other,
            OpCode::QUERY => Command::Find,
            _ => Command::Other,
        };
        if matches!(self.op_code, OpCode::UPDATE | OpCode::DELETE) {
            self.documents = 1;
        }
    }

    fn cursor(&mut self, id: i64) {
        self.cursor_id = id;
    }

    fn section(&mut self, identifier: Option<&[u8]>) -> Place {
        match identifier {
            Some(b"documents" | b"ops") => Place::Documents,
            Some(b"updates" | b"deletes") => Place::Edits,
            Some(b"nsInfo") => Place::Namespaces,
            Some(b"pipeline") => Place::Pipeline,
            _ => Place::Ignored,
        }
    }

    fn element(&mut self, place: Place, index: u32, element: Element<'_>) -> Next {
        match place {
            Place::Body if index == 0 => {
                if self.op_code == OpCode::QUERY && matches!(element.key, b"$query" | b"query") {
                    return enter(&element, Place::Body);
                }
                // The rest of a wrapped query are its options.
                if !self.named {
                    self.name(&element);
                }
                match self.command {
                    Command::Explain => enter(&element, Place::Explained),
                    Command::Other => self.body(&element),
                    _ => Next::Skip,
                }
            }
            Place::Body => self.body(&element),
            Place::Explained if index == 0 => {
                self.name(&element);
                self.explained = Some(std::mem::replace(&mut self.command, Command::Explain));
                Next::Skip
            }
            Place::Explained => self.argument(&element),
            Place::Legacy => match index {
                0 if !self.named => Next::Enter(Place::Body),
                _ => Next::Skip,
            },
            Place::Lsid => {
                if element.key == b"id" {
                    self.session = subtype_bytes(&element).and_then(|id| id.first_chunk().copied());
                }
                Next::Skip
            }
            Place::Client => match element.key {
                b"application" => enter(&element, Place::Application),
                b"driver" => enter(&element, Place::Driver),
                _ => Next::Skip,
            },
            Place::Application | Place::Driver => {
                let client = self.metadata();
                let slot = match (place, element.key) {
                    (Place::Application, b"name") => &mut client.application,
                    (Place::Driver, b"name") => &mut client.driver,
                    (Place::Driver, b"version") => &mut client.driver_version,
                    _ => return Next::Skip,
                };
                set(slot, as_str(&element));
                Next::Skip
            }
            Place::Speculative => {
                if element.key == b"mechanism" {
                    self.mechanism(&element);
                }
                Next::Skip
            }
            Place::Compression => {
                let offered = as_str(&element).and_then(Compressor::from_name);
                self.offered_compressors |= offered.map_or(0, |compressor| 1 << compressor.id());
                Next::Skip
            }
            Place::Pipeline => {
                self.stage(index, &element);
                Next::Skip
            }
            Place::Edits => enter(&element, Place::Edit),
            Place::Edit => {
                self.affects_many |= match element.key {
                    b"multi" => as_bool(&element) == Some(true),
                    b"limit" => as_number(&element) == Some(0),
                    _ => false,
                };
                Next::Skip
            }
            Place::Namespaces => {
                self.more_namespaces |= index > 0;
                if index == 0 { enter(&element, Place::NamespaceInfo) } else { Next::Skip }
            }
            Place::NamespaceInfo => {
                if element.key == b"ns" {
                    self.database.clear();
                    self.full(as_str(&element));
                }
                Next::Skip
            }
            Place::Cursors => {
                self.killed(index, as_i64(&element).unwrap_or(0));
                Next::Skip
            }
            _ => Next::Skip,
        }
    }

    fn leave(&mut self, place: Place, members: u32) {
        match place {
            Place::Documents | Place::Edits => self.documents = self.documents.saturating_add(members),
            Place::Cursors => self.cursors = members,
            Place::Pipeline => {
                self.stages = members;
                self.writes_result |= self.last_stage_writes;
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

fn set<const N: usize>(slot: &mut Short<N>, text: Option<&[u8]>) {
    match text {
        Some(text) => slot.set(text),
        None => slot.set_overlong(),
    }
}

/// The name of a document's first element, as far as it is shown.
fn first_key(document: &[u8]) -> &[u8] {
    let named = document.get(5..).unwrap_or_default();
    memchr::memchr(0, named).and_then(|end| named.get(..end)).unwrap_or_default()
}
