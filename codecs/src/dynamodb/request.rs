//! What a request body says about itself, read while it passes: the tables, the index, and what decides whether it may
//! be sent twice.

use super::json::{Container, Malformed, Role, Scalar, Tokeniser, Visitor};
use super::operation::{Locate, Repeat, Target};
use super::partiql::StatementScanner;
use super::table::{MAX_ARN, TableRef, Tables, cleared, name};

/// How many items of a transaction or statements of a batch have their table remembered by position: the API's limit.
pub const MAX_ITEMS: usize = 100;

/// What has been found in a request body.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The different tables that it touches.
    pub tables: Tables,
    /// Something that should have named a table did not: a bad name, a statement that could not be followed, a value of
    /// the wrong type.
    pub unparsed: bool,
    /// A key that matters came twice in one object. Parsers differ in which one counts, so [`tables`](Self::tables)
    /// holds both.
    pub ambiguous: bool,
    /// `ConditionExpression` or its old form, `Expected`.
    pub conditional: bool,
    /// `ReturnValues` is something other than `NONE`.
    pub returns_values: bool,
    /// A `ClientRequestToken` that is not empty.
    pub client_token: bool,
    /// PartiQL statements seen, and how many of them only read.
    pub statements: u32,
    /// See [`statements`](Self::statements).
    pub reading_statements: u32,
    /// The table of each item of a transaction or statement of a batch, as a position in [`tables`](Self::tables);
    /// the first [`MAX_ITEMS`].
    items: Vec<Option<u8>>,
}

impl Request {
    const fn new() -> Self {
        Request {
            tables: Tables::new(),
            unparsed: false,
            ambiguous: false,
            conditional: false,
            returns_values: false,
            client_token: false,
            statements: 0,
            reading_statements: 0,
            items: Vec::new(),
        }
    }

    fn clear(&mut self) {
        let Request { tables, items, .. } = std::mem::take(self);
        *self = Request { tables: tables.cleared(), items: cleared(items), ..Request::new() };
    }

    /// The table of the item at `position` of a transaction or batch of statements.
    pub fn item(&self, position: usize) -> Option<TableRef<'_>> {
        let table = self.items.get(position).copied().flatten()?;
        self.tables.get(usize::from(table))
    }

    /// Whether all statements are known to only read.
    pub fn only_reads(&self) -> bool {
        self.statements > 0 && self.statements == self.reading_statements
    }

    /// Whether sending this request again cannot change more than sending it once, given what its operation allows.
    /// Only to be asked of a body that was read to its end.
    pub fn repeatable(&self, target: Target) -> bool {
        let Some(operation) = target.operation else { return false };
        if self.ambiguous {
            return false;
        }
        match operation.repeat() {
            Repeat::Always => true,
            Repeat::Unconditional => !self.conditional && !self.returns_values,
            Repeat::WithToken => self.client_token,
            Repeat::ReadStatements => self.only_reads(),
            Repeat::ReadStatementsOrToken => self.only_reads() || self.client_token,
            Repeat::Never => false,
        }
    }
}

/// The scanner: `begin`, `feed` every slice, `finish`. It can be used again and keeps its memory, a few KiB; what it
/// finds is capped by [`MAX_TABLES`](super::MAX_TABLES) and [`MAX_ITEMS`].
#[derive(Debug, Clone)]
pub struct RequestScanner {
    tokens: Tokeniser,
    walk: Walk,
    failed: Option<Malformed>,
}

impl Default for RequestScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestScanner {
    /// One that has not begun; it allocates nothing yet.
    pub const fn new() -> Self {
        RequestScanner { tokens: Tokeniser::new(), walk: Walk::new(), failed: None }
    }

    /// Begins the body of a request that says it is `target`.
    pub fn begin(&mut self, target: Target) {
        self.walk.begin(target.locate());
        let walk = std::mem::replace(&mut self.walk, Walk::new());
        *self = RequestScanner { walk, ..RequestScanner::new() };
    }

    /// Reads the next slice. Nothing is read after a malformed byte.
    pub fn feed(&mut self, input: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.tokens.feed(input, &mut self.walk).err();
        }
    }

    /// What has been found so far. Complete only after [`finish`](Self::finish).
    pub fn request(&self) -> &Request {
        &self.walk.found
    }

    /// The body has ended. An error says that it is not JSON; `Ok(None)` that it is empty.
    pub fn finish(&mut self) -> Result<Option<&Request>, Malformed> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.tokens.finish(&mut self.walk) {
            Ok(true) => {
                self.walk.finish();
                Ok(Some(&self.walk.found))
            }
            Ok(false) => Ok(None),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }
}

/// What the container that is being read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    /// Its keys are tables.
    RequestItems,
    TransactItems,
    TransactItem,
    TransactAction,
    Statements,
    StatementEntry,
    TableCreation,
    Skipped,
}

/// What the value that comes next, or the text being collected, means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// A name or an ARN.
    Table,
    Arn,
    ShardIterator,
    Index,
    RequestItems,
    TransactItems,
    Action,
    Statements,
    Statement,
    TableCreation,
    Condition,
    ReturnValues,
    ClientToken,
    Ignored,
}

/// Levels deeper than this hold nothing that is looked for.
const LEVELS: usize = 5;

#[derive(Debug, Clone)]
struct Walk {
    locate: Locate,
    levels: [Level; LEVELS],
    depth: usize,
    field: Field,
    /// The text of the key or value that is being collected, up to [`MAX_ARN`].
    text: Vec<u8>,
    overlong: bool,
    statement: StatementScanner,
    /// Root keys seen, to notice duplicates: a bit per [`Field`].
    seen: u32,
    /// The item of a transaction or batch that is being read.
    item: Option<u8>,
    item_named: bool,
    index: Vec<u8>,
    found: Request,
}

impl Walk {
    const fn new() -> Self {
        Walk {
            locate: Locate::Nowhere,
            levels: [Level::Skipped; LEVELS],
            depth: 0,
            field: Field::Ignored,
            text: Vec::new(),
            overlong: false,
            statement: StatementScanner::new(),
            seen: 0,
            item: None,
            item_named: false,
            index: Vec::new(),
            found: Request::new(),
        }
    }

    fn begin(&mut self, locate: Locate) {
        self.found.clear();
        self.statement.clear();
        let Walk { text, statement, index, found, .. } = std::mem::replace(self, Walk::new());
        let (text, index) = (cleared(text), cleared(index));
        *self = Walk { locate, text, statement, index, found, ..Walk::new() };
    }

    fn finish(&mut self) {
        if let Some(index) = name(&self.index)
            && self.found.tables.only().is_some()
        {
            self.found.tables.note_index(0, index);
        }
    }

    fn level(&self) -> Level {
        match self.depth {
            0 => Level::Skipped,
            depth => self.levels.get(depth - 1).copied().unwrap_or(Level::Skipped),
        }
    }

    /// The level of a container that begins as the value of `field`.
    fn enter(&self, container: Container) -> Level {
        if self.depth == 0 {
            return if container == Container::Object { Level::Root } else { Level::Skipped };
        }
        match (self.level(), self.field, container) {
            (Level::Root, Field::RequestItems, Container::Object) => Level::RequestItems,
            (Level::Root, Field::TransactItems, Container::Array) => Level::TransactItems,
            (Level::TransactItems, _, Container::Object) => Level::TransactItem,
            (Level::TransactItem, Field::Action, Container::Object) => Level::TransactAction,
            (Level::Root, Field::Statements, Container::Array) => Level::Statements,
            (Level::Statements, _, Container::Object) => Level::StatementEntry,
            (Level::Root, Field::TableCreation, Container::Object) => Level::TableCreation,
            _ => Level::Skipped,
        }
    }

    fn key(&mut self) {
        let field = if self.overlong { Field::Ignored } else { self.named_field() };
        self.field = field;
        match (self.level(), field) {
            (_, Field::Ignored) => {}
            (Level::Root, _) => {
                let bit = 1 << field as u32;
                // Under `Anywhere` different keys lead to the same field; that is not a duplicate.
                self.found.ambiguous |= self.seen & bit != 0 && self.locate != Locate::Anywhere;
                self.seen |= bit;
            }
            (Level::TransactAction | Level::StatementEntry | Level::TableCreation, _) => {
                self.found.ambiguous |= self.item_named;
                self.item_named = true;
            }
            _ => {}
        }
    }

    fn named_field(&self) -> Field {
        let key = self.text.as_slice();
        match (self.level(), self.locate, key) {
            (Level::Root, Locate::TableName | Locate::Anywhere, b"TableName")
            | (Level::Root, Locate::GlobalTableName, b"GlobalTableName")
            | (Level::Root, Locate::TargetTableName, b"TargetTableName")
            | (Level::TransactAction | Level::TableCreation, _, b"TableName") => Field::Table,
            (Level::Root, Locate::ResourceArn | Locate::Anywhere, b"ResourceArn")
            | (Level::Root, Locate::TableArn | Locate::Anywhere, b"TableArn")
            | (Level::Root, Locate::BackupArn, b"BackupArn")
            | (Level::Root, Locate::ExportArn, b"ExportArn")
            | (Level::Root, Locate::ImportArn, b"ImportArn")
            | (Level::Root, Locate::StreamArn, b"StreamArn") => Field::Arn,
            (Level::Root, Locate::ShardIterator, b"ShardIterator") => Field::ShardIterator,
            (Level::Root, Locate::TableName, b"IndexName") => Field::Index,
            (Level::Root, Locate::RequestItems, b"RequestItems") => Field::RequestItems,
            (Level::Root, Locate::TransactItems, b"TransactItems") => Field::TransactItems,
            (Level::TransactItem, _, b"Get" | b"ConditionCheck" | b"Put" | b"Delete" | b"Update") => {
                Field::Action
            }
            (Level::Root, Locate::Statements, b"Statements")
            | (Level::Root, Locate::TransactStatements, b"TransactStatements") => Field::Statements,
            (Level::Root, Locate::Statement, b"Statement") | (Level::StatementEntry, _, b"Statement") => {
                Field::Statement
            }
            (Level::Root, Locate::TableCreationParameters, b"TableCreationParameters") => {
                Field::TableCreation
            }
            (Level::Root, Locate::TableName, b"ConditionExpression" | b"Expected") => Field::Condition,
            (Level::Root, Locate::TableName, b"ReturnValues") => Field::ReturnValues,
            (Level::Root, Locate::TransactItems | Locate::TransactStatements, b"ClientRequestToken") => {
                Field::ClientToken
            }
            _ => Field::Ignored,
        }
    }

    fn add(&mut self, kind: Field) {
        let text = match kind {
            Field::ShardIterator => self.text.split(|&byte| byte == b'|').next().unwrap_or_default(),
            _ => self.text.as_slice(),
        };
        let table = match kind {
            _ if self.overlong && kind != Field::ShardIterator => None,
            Field::Table => TableRef::parse(text),
            _ => TableRef::parse_arn(text),
        };
        match table {
            Some(table) => {
                let position = self.found.tables.add(table);
                self.item = position.and_then(|position| u8::try_from(position).ok());
            }
            None => self.found.unparsed = true,
        }
    }

    fn end_statement(&mut self) {
        self.found.statements = self.found.statements.saturating_add(1);
        match self.statement.finish() {
            Some(statement) => {
                self.found.reading_statements += u32::from(statement.reads);
                let position = self.found.tables.add(statement.table);
                self.item = position.and_then(|position| u8::try_from(position).ok());
            }
            None => self.found.unparsed = true,
        }
        if self.level() == Level::Root {
            self.push_item();
        }
    }

    fn push_item(&mut self) {
        if self.found.items.len() < MAX_ITEMS {
            self.found.items.push(self.item);
        }
        self.item = None;
        self.item_named = false;
    }

    /// A value that is not what its key should have: nothing can be said about the tables.
    fn wrong_type(&mut self) {
        match self.field {
            Field::Ignored | Field::Condition | Field::ReturnValues | Field::ClientToken | Field::Index => {}
            _ => self.found.unparsed = true,
        }
    }
}

impl Visitor for Walk {
    fn open(&mut self, container: Container) {
        let level = self.enter(container);
        if level == Level::Skipped {
            match self.level() {
                Level::Skipped => self.found.unparsed |= self.depth == 0,
                Level::TransactItems | Level::Statements => self.found.unparsed = true,
                Level::RequestItems => {}
                _ => self.wrong_type(),
            }
        }
        if self.field == Field::Condition {
            self.found.conditional = true;
        }
        if let Some(slot) = self.levels.get_mut(self.depth) {
            *slot = level;
        }
        self.depth += 1;
        self.field = Field::Ignored;
    }

    fn close(&mut self) {
        match self.level() {
            Level::TransactItem | Level::StatementEntry => self.push_item(),
            _ => {}
        }
        self.depth = self.depth.saturating_sub(1);
        self.field = Field::Ignored;
    }

    fn string(&mut self, role: Role) -> bool {
        let level = self.level();
        if role == Role::Key {
            self.field = Field::Ignored;
        }
        self.text.clear();
        self.overlong = false;
        match (role, level) {
            (_, Level::Skipped) => {
                self.found.unparsed |= self.depth == 0;
                false
            }
            (Role::Key, _) => true,
            (Role::Value, Level::TransactItems | Level::Statements) => {
                self.found.unparsed = true;
                false
            }
            (Role::Value, _) => {
                if self.field == Field::Statement {
                    self.statement.clear();
                }
                !matches!(self.field, Field::Ignored)
            }
        }
    }

    fn number(&mut self) -> bool {
        false
    }

    fn text(&mut self, part: &[u8]) {
        if self.field == Field::Statement {
            return self.statement.feed(part);
        }
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
            return match level {
                Level::RequestItems => self.add(Field::Table),
                _ => self.key(),
            };
        }
        match self.field {
            Field::Table | Field::Arn | Field::ShardIterator => self.add(self.field),
            Field::Statement => self.end_statement(),
            Field::Index => {
                self.index.clear();
                self.index.extend_from_slice(&self.text);
            }
            Field::Condition => self.found.conditional = true,
            Field::ReturnValues => self.found.returns_values |= self.text != b"NONE",
            Field::ClientToken => self.found.client_token = !self.text.is_empty(),
            Field::RequestItems
            | Field::TransactItems
            | Field::Action
            | Field::Statements
            | Field::TableCreation => self.wrong_type(),
            Field::Ignored => {}
        }
        self.field = Field::Ignored;
    }

    fn scalar(&mut self, scalar: Scalar) {
        match self.level() {
            Level::Skipped => {
                self.found.unparsed |= self.depth == 0;
                return;
            }
            Level::TransactItems | Level::Statements => self.found.unparsed = true,
            _ => {}
        }
        // An explicit null is the same as an absent member.
        if scalar != Scalar::Null {
            match self.field {
                Field::Condition => self.found.conditional = true,
                Field::ReturnValues => self.found.returns_values = true,
                _ => self.wrong_type(),
            }
        }
        self.field = Field::Ignored;
    }
}
