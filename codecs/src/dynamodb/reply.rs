//! What a reply body says, read while it passes: the error, which parts of a batch were not done, why a transaction was
//! cancelled, what was throttled and what the call cost. Bodies that are not JSON (a proxy's HTML, an XML from the front
//! door) are simply not that: nothing is found, and [`ReplyScanner::finish`] says so.

use super::errors::ErrorName;
use super::json::{Container, Malformed, Role, Scalar, Tokeniser, Visitor};
use super::table::{MAX_ARN, TableRef, Tables, cleared};

/// How many failed items of one reply are kept one by one: the API's limit of items in a batch or transaction.
pub const MAX_ENTRY_ERRORS: usize = 100;

/// How many throttling reasons of one reply are kept.
pub const MAX_THROTTLES: usize = 16;

/// Whether reading or writing was throttled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThrottleAccess {
    /// Read capacity.
    Read,
    /// Write capacity.
    Write,
}

/// Which limit was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThrottleCause {
    /// The provisioned throughput of the table or index.
    ProvisionedThroughput,
    /// The account's limit.
    AccountLimit,
    /// One partition: a hot key.
    KeyRangeThroughput,
    /// The configured maximum of an on-demand table.
    MaxOnDemandThroughput,
}

/// A throttling reason: `<Table|Index><Read|Write><cause>Exceeded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThrottleReason {
    /// An index was the bottleneck, not the table itself.
    pub of_index: bool,
    /// What the request wanted to do.
    pub access: ThrottleAccess,
    /// The limit.
    pub cause: ThrottleCause,
}

impl ThrottleReason {
    /// Reads the `reason` of an entry of `ThrottlingReasons`.
    pub fn parse(text: &[u8]) -> Option<ThrottleReason> {
        let (of_index, rest) = match text.strip_prefix(b"Table") {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix(b"Index")?),
        };
        let (access, rest) = match rest.strip_prefix(b"Read") {
            Some(rest) => (ThrottleAccess::Read, rest),
            None => (ThrottleAccess::Write, rest.strip_prefix(b"Write")?),
        };
        let cause = match rest {
            b"ProvisionedThroughputExceeded" => ThrottleCause::ProvisionedThroughput,
            b"AccountLimitExceeded" => ThrottleCause::AccountLimit,
            b"KeyRangeThroughputExceeded" => ThrottleCause::KeyRangeThroughput,
            b"MaxOnDemandThroughputExceeded" => ThrottleCause::MaxOnDemandThroughput,
            _ => return None,
        };
        Some(ThrottleReason { of_index, access, cause })
    }
}

/// One entry of `ThrottlingReasons`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Why; `None` for a reason that is not in the closed set.
    pub reason: Option<ThrottleReason>,
    /// The table (and index) that it names, as a position in [`Reply::tables`].
    pub table: Option<u8>,
}

/// What a reply says about one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableReply {
    /// Keys or items that were not processed.
    pub unprocessed: u32,
    /// Capacity units consumed, in thousandths.
    pub capacity_milliunits: u64,
    /// Those that were for reading, where the reply tells.
    pub read_milliunits: u64,
    /// Those that were for writing, where the reply tells.
    pub write_milliunits: u64,
}

/// An item of a batch of statements or of a cancelled transaction that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryError {
    /// Its position in the request.
    pub item: u32,
    /// Why it failed.
    pub name: ErrorName,
    /// The table that the reply names for it, as a position in [`Reply::tables`].
    pub table: Option<u8>,
}

/// What has been found in a reply body.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The name in `__type`, or in `code` where there is no such. A header `x-amzn-errortype`, where there is one, goes before it.
    pub error: Option<ErrorName>,
    /// The tables that the reply names.
    pub tables: Tables,
    rows: Vec<TableReply>,
    /// Failed statements of `BatchExecuteStatement`, at most [`MAX_ENTRY_ERRORS`].
    pub entry_errors: Vec<EntryError>,
    /// `CancellationReasons` other than `None`, at most [`MAX_ENTRY_ERRORS`].
    pub cancellations: Vec<EntryError>,
    /// `ThrottlingReasons`, at most [`MAX_THROTTLES`].
    pub throttles: Vec<Throttle>,
    /// Failed statements and cancellation reasons that there was no room for.
    pub more_errors: u32,
    /// `ThrottlingReasons` that there was no room for.
    pub more_throttles: u32,
    /// Keys and items not processed, over all tables, those without a readable name included.
    pub unprocessed: u32,
    /// Failed statements, those beyond the cap included.
    pub failed_entries: u32,
    /// `Count`
    pub count: Option<u64>,
    /// `ScannedCount`
    pub scanned: Option<u64>,
}

impl Reply {
    const fn new() -> Self {
        Reply {
            error: None,
            tables: Tables::new(),
            rows: Vec::new(),
            entry_errors: Vec::new(),
            cancellations: Vec::new(),
            throttles: Vec::new(),
            more_errors: 0,
            more_throttles: 0,
            unprocessed: 0,
            failed_entries: 0,
            count: None,
            scanned: None,
        }
    }

    /// A new one in the memory of this one: what is not named here is new too.
    fn clear(&mut self) {
        let Reply { tables, rows, entry_errors, cancellations, throttles, .. } = std::mem::take(self);
        *self = Reply {
            tables: tables.cleared(),
            rows: cleared(rows),
            entry_errors: cleared(entry_errors),
            cancellations: cleared(cancellations),
            throttles: cleared(throttles),
            ..Reply::new()
        };
    }

    /// Each table with what was said about it.
    pub fn per_table(&self) -> impl Iterator<Item = (TableRef<'_>, TableReply)> {
        self.tables.iter().zip(self.rows.iter().copied())
    }

    fn table(&mut self, text: &[u8]) -> Option<u8> {
        let position = self.tables.add(TableRef::parse(text)?)?;
        while self.rows.len() <= position {
            self.rows.push(TableReply::default());
        }
        u8::try_from(position).ok()
    }
}

/// The scanner: `begin`, `feed` every slice, `finish`. It can be used again and keeps its memory.
#[derive(Debug, Clone)]
pub struct ReplyScanner {
    tokens: Tokeniser,
    walk: Walk,
    failed: Option<Malformed>,
}

impl Default for ReplyScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplyScanner {
    /// One that expects a body; it allocates nothing yet.
    pub const fn new() -> Self {
        ReplyScanner { tokens: Tokeniser::new(), walk: Walk::new(), failed: None }
    }

    /// Forgets the last body.
    pub fn begin(&mut self) {
        self.walk.begin();
        let walk = std::mem::replace(&mut self.walk, Walk::new());
        *self = ReplyScanner { walk, ..ReplyScanner::new() };
    }

    /// Reads the next slice. Nothing is read after a malformed byte.
    pub fn feed(&mut self, input: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.tokens.feed(input, &mut self.walk).err();
        }
    }

    /// What has been found so far, which holds even if the body turned out to be malformed further on.
    pub fn reply(&self) -> &Reply {
        &self.walk.found
    }

    /// The body has ended. An error says that it is not JSON; `Ok(None)` that it is empty, as some replies are.
    pub fn finish(&mut self) -> Result<Option<&Reply>, Malformed> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.tokens.finish(&mut self.walk) {
            Ok(whole) => Ok(whole.then_some(&self.walk.found)),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    /// `UnprocessedKeys`, `UnprocessedItems`: its keys are tables.
    Unprocessed,
    /// `{"Keys": [..]}` of one table.
    UnprocessedTable,
    /// The list whose entries are counted.
    UnprocessedList,
    Responses,
    ResponseEntry,
    EntryError,
    Cancellations,
    Cancellation,
    Capacities,
    Capacity,
    Throttles,
    Throttle,
    Skipped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Ignored,
    ErrorType,
    ErrorCode,
    Unprocessed,
    UnprocessedTable,
    Keys,
    Responses,
    EntryError,
    Code,
    Table,
    Cancellations,
    Capacity,
    Units,
    ReadUnits,
    WriteUnits,
    Throttles,
    Reason,
    Resource,
    Count,
    Scanned,
}

const LEVELS: usize = 5;

#[derive(Debug, Clone)]
struct Walk {
    levels: [Level; LEVELS],
    depth: usize,
    field: Field,
    text: Vec<u8>,
    overlong: bool,
    /// The table that is being read about.
    table: Option<u8>,
    /// Position of the entry in `Responses` or `CancellationReasons`.
    position: u32,
    /// The error of that entry.
    entry: Option<ErrorName>,
    capacity: TableReply,
    reason: Option<ThrottleReason>,
    found: Reply,
}

impl Walk {
    const fn new() -> Self {
        Walk {
            levels: [Level::Skipped; LEVELS],
            depth: 0,
            field: Field::Ignored,
            text: Vec::new(),
            overlong: false,
            table: None,
            position: 0,
            entry: None,
            capacity: TableReply {
                unprocessed: 0,
                capacity_milliunits: 0,
                read_milliunits: 0,
                write_milliunits: 0,
            },
            reason: None,
            found: Reply::new(),
        }
    }

    fn begin(&mut self) {
        self.found.clear();
        let Walk { text, found, .. } = std::mem::replace(self, Walk::new());
        *self = Walk { text: cleared(text), found, ..Walk::new() };
    }

    fn level(&self) -> Level {
        match self.depth {
            0 => Level::Skipped,
            depth => self.levels.get(depth - 1).copied().unwrap_or(Level::Skipped),
        }
    }

    fn enter(&mut self, container: Container) -> Level {
        use Container::{Array, Object};
        if self.depth == 0 {
            return if container == Object { Level::Root } else { Level::Skipped };
        }
        match (self.level(), self.field, container) {
            (Level::Root, Field::Unprocessed, Object) => Level::Unprocessed,
            (Level::Unprocessed, Field::UnprocessedTable, Object) => Level::UnprocessedTable,
            (Level::Unprocessed, Field::UnprocessedTable, Array)
            | (Level::UnprocessedTable, Field::Keys, Array) => Level::UnprocessedList,
            (Level::UnprocessedList, ..) => {
                self.found.unprocessed = self.found.unprocessed.saturating_add(1);
                if let Some(row) = self.table.and_then(|table| self.found.rows.get_mut(usize::from(table))) {
                    row.unprocessed = row.unprocessed.saturating_add(1);
                }
                Level::Skipped
            }
            (Level::Root, Field::Responses, Array) => {
                self.position = 0;
                Level::Responses
            }
            (Level::Responses, _, Object) => {
                self.table = None;
                self.entry = None;
                Level::ResponseEntry
            }
            (Level::ResponseEntry, Field::EntryError, Object) => Level::EntryError,
            (Level::Root, Field::Cancellations, Array) => {
                self.position = 0;
                Level::Cancellations
            }
            (Level::Cancellations, _, Object) => {
                self.entry = None;
                Level::Cancellation
            }
            (Level::Root, Field::Capacity, Array) => Level::Capacities,
            (Level::Root, Field::Capacity, Object) | (Level::Capacities, _, Object) => {
                self.table = None;
                self.capacity = TableReply::default();
                Level::Capacity
            }
            (Level::Root, Field::Throttles, Array) => Level::Throttles,
            (Level::Throttles, _, Object) => {
                self.table = None;
                self.reason = None;
                Level::Throttle
            }
            _ => Level::Skipped,
        }
    }

    fn leave(&mut self, level: Level) {
        match level {
            Level::ResponseEntry => {
                if let Some(name) = self.entry {
                    self.found.failed_entries = self.found.failed_entries.saturating_add(1);
                    if self.found.entry_errors.len() < MAX_ENTRY_ERRORS {
                        self.found.entry_errors.push(EntryError {
                            item: self.position,
                            name,
                            table: self.table,
                        });
                    } else {
                        self.found.more_errors = self.found.more_errors.saturating_add(1);
                    }
                }
                self.position = self.position.saturating_add(1);
            }
            Level::Cancellation => {
                match self.entry {
                    Some(name) if self.found.cancellations.len() < MAX_ENTRY_ERRORS => {
                        self.found.cancellations.push(EntryError { item: self.position, name, table: None });
                    }
                    Some(_) => self.found.more_errors = self.found.more_errors.saturating_add(1),
                    None => {}
                }
                self.position = self.position.saturating_add(1);
            }
            Level::Capacity => {
                let sum = &self.capacity;
                if let Some(row) = self.table.and_then(|table| self.found.rows.get_mut(usize::from(table))) {
                    row.capacity_milliunits = row.capacity_milliunits.saturating_add(sum.capacity_milliunits);
                    row.read_milliunits = row.read_milliunits.saturating_add(sum.read_milliunits);
                    row.write_milliunits = row.write_milliunits.saturating_add(sum.write_milliunits);
                }
            }
            Level::Throttle if self.found.throttles.len() < MAX_THROTTLES => {
                self.found.throttles.push(Throttle { reason: self.reason, table: self.table });
            }
            Level::Throttle => self.found.more_throttles = self.found.more_throttles.saturating_add(1),
            _ => {}
        }
    }

    fn key(&mut self, level: Level) -> Field {
        if level == Level::Unprocessed {
            self.table = if self.overlong { None } else { self.found.table(&self.text) };
            return Field::UnprocessedTable;
        }
        if self.overlong {
            return Field::Ignored;
        }
        match (level, self.text.as_slice()) {
            (Level::Root, b"__type") => Field::ErrorType,
            (Level::Root, b"code") => Field::ErrorCode,
            (Level::Root, b"UnprocessedKeys" | b"UnprocessedItems") => Field::Unprocessed,
            (Level::Root, b"Responses") => Field::Responses,
            (Level::Root, b"CancellationReasons") => Field::Cancellations,
            (Level::Root, b"ConsumedCapacity") => Field::Capacity,
            (Level::Root, b"ThrottlingReasons" | b"throttlingReasons") => Field::Throttles,
            (Level::Root, b"Count") => Field::Count,
            (Level::Root, b"ScannedCount") => Field::Scanned,
            (Level::UnprocessedTable, b"Keys") => Field::Keys,
            (Level::ResponseEntry, b"Error") => Field::EntryError,
            (Level::ResponseEntry | Level::Capacity, b"TableName") => Field::Table,
            (Level::EntryError | Level::Cancellation, b"Code") => Field::Code,
            (Level::Capacity, b"CapacityUnits") => Field::Units,
            (Level::Capacity, b"ReadCapacityUnits") => Field::ReadUnits,
            (Level::Capacity, b"WriteCapacityUnits") => Field::WriteUnits,
            (Level::Throttle, b"reason") => Field::Reason,
            (Level::Throttle, b"resource") => Field::Resource,
            _ => Field::Ignored,
        }
    }

    fn value(&mut self) {
        match self.field {
            Field::ErrorType => self.found.error = Some(ErrorName::parse(&self.text)),
            Field::ErrorCode if self.found.error.is_none() => {
                self.found.error = Some(ErrorName::parse(&self.text));
            }
            Field::Code => self.entry = ErrorName::parse_entry(&self.text),
            Field::Table | Field::Resource if !self.overlong => self.table = self.found.table(&self.text),
            Field::Reason => self.reason = ThrottleReason::parse(&self.text),
            _ => {}
        }
    }

    fn number_value(&mut self) {
        match self.field {
            Field::Units => self.capacity.capacity_milliunits = milliunits(&self.text),
            Field::ReadUnits => self.capacity.read_milliunits = milliunits(&self.text),
            Field::WriteUnits => self.capacity.write_milliunits = milliunits(&self.text),
            Field::Count => self.found.count = whole(&self.text),
            Field::Scanned => self.found.scanned = whole(&self.text),
            _ => {}
        }
    }
}

/// A JSON number in thousandths, rounded; 0 for what cannot be a count of units.
fn milliunits(text: &[u8]) -> u64 {
    let units = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // The cast saturates, and makes 0 of negative numbers.
    (units * 1000.0).round() as u64
}

fn whole(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok())
}

impl Visitor for Walk {
    fn open(&mut self, container: Container) {
        let level = self.enter(container);
        if let Some(slot) = self.levels.get_mut(self.depth) {
            *slot = level;
        }
        self.depth += 1;
        self.field = Field::Ignored;
    }

    fn close(&mut self) {
        let level = self.level();
        self.leave(level);
        self.depth = self.depth.saturating_sub(1);
        self.field = Field::Ignored;
    }

    fn string(&mut self, role: Role) -> bool {
        if self.level() == Level::Skipped {
            return false;
        }
        self.text.clear();
        self.overlong = false;
        role == Role::Key || self.field != Field::Ignored
    }

    fn number(&mut self) -> bool {
        self.text.clear();
        self.overlong = false;
        self.field != Field::Ignored
    }

    fn text(&mut self, part: &[u8]) {
        let room = MAX_ARN.saturating_sub(self.text.len());
        self.overlong |= part.len() > room;
        self.text.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn string_end(&mut self, role: Role) {
        let level = self.level();
        if level == Level::Skipped {
            return;
        }
        if role == Role::Key {
            self.field = self.key(level);
        } else {
            self.value();
            self.field = Field::Ignored;
        }
    }

    fn scalar(&mut self, scalar: Scalar) {
        if scalar == Scalar::Number {
            self.number_value();
        }
        self.field = Field::Ignored;
    }
}
