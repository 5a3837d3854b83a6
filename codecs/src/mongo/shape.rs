//! The shape of a command: which fields and operators it names, with every value gone.
//!
//! What remains is written as one line, `{find: ?, filter: {age: {$gt: ?}, id: {$in: [?]}}, sort: {name: ?}}`, and hashed. Names
//! of fields and operators are kept, since they are what a query looks like; whatever stands in their place as data is not:
//! scalars become `?`, an array of scalars `[?]` however many there are, an array of documents its different shapes. What of a
//! field's name is data itself (a user, a day, a hash) becomes `?` there. The
//! documents of an insert, the replacement of an update and what is not known to be a query are data, so their field names
//! may be anybody's: they become `?` as a whole. Options that only say how it is done or sent are left out, and an `explain` has
//! the shape of what it explains: otherwise either would be a way round a rule.
//!
//! A string that begins with `$` names a field or a variable where the server reads expressions, and is kept there: a `$group` by
//! `$country` is another query than one by `$email`. In a filter the same string is a value, and goes.

use super::bson::kind;
use super::elements::{Element, MAX_ELEMENTS, document, elements, elements_up_to, sequence};
use super::header::{HEADER_LENGTH, Header, OpCode};

/// The deepest that a shape goes; what is below is `?`.
const DEPTH: u32 = 12;
/// The longest text of a shape, in bytes; it then ends in `…`.
pub const MAX_SHAPE: usize = 1024;
/// The longest name that is shown, and the longest path.
const MAX_NAME: usize = 128;
/// The longest part of a name that is taken for one.
const MAX_PART: usize = 64;
/// The most digits in one.
const MAX_DIGITS: usize = 6;

/// A command without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// One line, [`MAX_SHAPE`] bytes at most.
    pub text: String,
    /// FNV-1a of the text as it was before it was cut, 64 bits: the same in every version and on every machine. What was cut
    /// within a member of a list or a document counts by its own hash where paths are kept in it.
    pub hash: u64,
}

impl Shape {
    /// The shape of the command in `message`: the first bytes of an `OP_MSG` that is not compressed, whose first section is the
    /// body and is there whole. `None` for anything else.
    pub fn of(message: &[u8]) -> Option<Shape> {
        let header = Header::parse(message).ok().flatten().filter(|header| header.op_code == OpCode::MSG)?;
        let message = message.get(..message.len().min(header.length as usize))?;
        let (kind, body) = message.get(HEADER_LENGTH + 4..)?.split_first()?;
        if *kind != 0 {
            return None;
        }
        let mut writer = Writer::new();
        let command = document(body)?;
        writer.command(explained(command).unwrap_or(command))?;
        let mut rest = body.get(u32::from_le_bytes(*body.first_chunk()?) as usize..)?;
        while let Some((name, documents, after)) = sequence(rest) {
            writer.sequence(name, documents)?;
            rest = after;
        }
        writer.put("}");
        Some(Shape { text: writer.text, hash: writer.hash })
    }
}

/// The command inside an `explain`.
fn explained(body: &[u8]) -> Option<&[u8]> {
    let Element { kind, name, value } = elements(body).next()??;
    (name == b"explain" && kind == kind::DOCUMENT).then(|| document(value))?
}

/// What a value stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A condition, a sort, a projection, a pipeline: names are of fields and operators.
    Query(Reads),
    /// Variables and the expressions that they are set to: data, unless there are paths in it.
    Variables,
    /// Data of the user's: nothing of it is shown.
    Data,
    /// A list of update or delete statements.
    Statements,
    /// Not shown at all: the same for every command, or says who sent it or how it is done.
    Absent,
}

/// What stands behind a top-level name of a command.
fn part(name: &[u8]) -> Part {
    match name {
        b"filter" | b"query" | b"q" => Part::Query(Reads::Filter),
        // Since MongoDB 4.4 these are read as a `$project` is.
        b"projection" | b"fields" => Part::Query(Reads::Expression),
        b"pipeline" => Part::Query(Reads::Pipeline),
        b"sort" | b"hint" | b"key" | b"collation" | b"min" | b"max" => Part::Query(Reads::Values),
        b"let" => Part::Variables,
        b"updates" | b"deletes" => Part::Statements,
        b"$db"
        | b"lsid"
        | b"$clusterTime"
        | b"$readPreference"
        | b"txnNumber"
        | b"autocommit"
        | b"startTransaction"
        | b"readConcern"
        | b"writeConcern"
        | b"apiVersion"
        | b"apiStrict"
        | b"apiDeprecationErrors"
        | b"comment"
        | b"maxTimeMS"
        | b"batchSize"
        | b"singleBatch"
        | b"cursor"
        | b"noCursorTimeout"
        | b"allowPartialResults"
        | b"allowDiskUse"
        | b"ordered"
        | b"bypassDocumentValidation"
        | b"$audit"
        | b"$client"
        | b"client" => Part::Absent,
        _ => Part::Data,
    }
}

/// What the server reads in a place: it says which strings are paths. Whatever is not known is read as values, so that nothing
/// of anybody's is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// Values, all the way down.
    Values,
    /// A condition, where it may say `$expr`: not behind a field, where the same is data.
    Filter,
    /// An expression.
    Expression,
    /// One name of a field or a collection, without a `$`.
    Name,
    /// A list of stages.
    Pipeline,
    /// What stands behind the name of these stages and operators, whose names are the server's.
    Facet,
    Join,
    Union,
    Unwind,
    Merge,
    Bucket,
    GeoNear,
    Function,
}

impl Reads {
    /// What is read behind a name.
    fn behind(self, name: &[u8]) -> Reads {
        match (self, name) {
            (Reads::Pipeline, stage) => Reads::stage(stage),
            (Reads::Filter, b"$and" | b"$or" | b"$nor")
            | (Reads::Join, b"restrictSearchWithMatch")
            | (Reads::GeoNear, b"query") => Reads::Filter,
            // A projection's `$elemMatch` is a condition.
            (Reads::Expression, b"$literal" | b"$elemMatch") => Reads::Values,
            (Reads::Expression, b"$function" | b"$accumulator") => Reads::Function,
            (Reads::Expression, _)
            | (Reads::Filter, b"$expr")
            | (Reads::Join, b"let" | b"startWith")
            | (Reads::Unwind, b"path")
            | (Reads::Merge, b"let")
            | (Reads::Bucket, b"groupBy" | b"output")
            // The others are code.
            | (Reads::Function, b"args" | b"initArgs" | b"accumulateArgs") => Reads::Expression,
            (Reads::Facet, _) | (Reads::Join | Reads::Union, b"pipeline") | (Reads::Merge, b"whenMatched") => {
                Reads::Pipeline
            }
            (
                Reads::Join,
                b"from" | b"localField" | b"foreignField" | b"as" | b"connectFromField" | b"connectToField",
            )
            | (Reads::Unwind, b"includeArrayIndex") => Reads::Name,
            _ => Reads::Values,
        }
    }

    fn stage(name: &[u8]) -> Reads {
        match name {
            b"$match" => Reads::Filter,
            b"$group" | b"$project" | b"$addFields" | b"$set" | b"$replaceRoot" | b"$replaceWith"
            | b"$redact" | b"$sortByCount" | b"$setWindowFields" | b"$fill" => Reads::Expression,
            b"$facet" => Reads::Facet,
            b"$lookup" | b"$graphLookup" => Reads::Join,
            b"$unionWith" => Reads::Union,
            b"$unwind" => Reads::Unwind,
            b"$merge" => Reads::Merge,
            b"$bucket" | b"$bucketAuto" => Reads::Bucket,
            b"$geoNear" => Reads::GeoNear,
            _ => Reads::Values,
        }
    }

    /// What is read in the members of a list.
    fn within(self) -> Reads {
        match self {
            Reads::Filter | Reads::Expression | Reads::Pipeline => self,
            _ => Reads::Values,
        }
    }

    /// The path that a value is.
    fn path(self, kind: u8, value: &[u8]) -> Option<&[u8]> {
        if kind != kind::STRING {
            return None;
        }
        let (_, text) = value.split_first_chunk::<4>()?;
        let (_, text) = text.split_last()?;
        let path = match self {
            Reads::Name => !text.is_empty(),
            Reads::Expression | Reads::Unwind => {
                text.starts_with(b"$") && text.iter().any(|byte| *byte != b'$')
            }
            _ => false,
        };
        (path && text.len() <= MAX_NAME).then_some(text)
    }
}

/// What a part of a field's name is.
enum Piece {
    /// A name.
    Name,
    /// One of many: an index, a number, a hash.
    Number,
    /// Somebody's.
    Data,
}

impl Piece {
    fn of(part: &[u8]) -> Piece {
        // `$`, `$$ROOT`, `$inc`; `$[]` and `$[name]` stand for members of a list.
        let bare = match part.strip_prefix(b"$[").and_then(|inner| inner.strip_suffix(b"]")) {
            Some(inner) => inner,
            None => part.get(part.iter().take_while(|byte| **byte == b'$').count()..).unwrap_or_default(),
        };
        let named = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' ');
        let digits = bare.iter().filter(|byte| byte.is_ascii_digit()).count();
        let is_hash = bare.len() >= 8
            && digits > 0
            && bare.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_'));
        match bare.first() {
            None => Piece::Name,
            Some(_) if !bare.iter().all(named) || bare.len() > MAX_PART => Piece::Data,
            Some(first) if first.is_ascii_digit() || is_hash || digits > MAX_DIGITS => Piece::Number,
            Some(_) => Piece::Name,
        }
    }
}

struct Writer {
    text: String,
    hash: u64,
    full: bool,
    /// A path has been kept.
    paths: bool,
}

impl Writer {
    fn new() -> Writer {
        // The offset basis of 64-bit FNV-1a.
        Writer { text: String::new(), hash: 0xCBF2_9CE4_8422_2325, full: false, paths: false }
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn put(&mut self, text: &str) {
        self.mix(text.as_bytes());
        if self.full {
            return;
        }
        if self.text.len() + text.len() > MAX_SHAPE - "…".len() {
            self.full = true;
            self.text.push('…');
        } else {
            self.text.push_str(text);
        }
    }

    /// What has been written apart.
    fn take(&mut self, one: &Writer) {
        if one.paths && !self.full {
            let room = (MAX_SHAPE - "…".len()).saturating_sub(self.text.len());
            if one.text.len() > room {
                self.text.push_str(one.text.get(..one.text.floor_char_boundary(room)).unwrap_or_default());
            }
        }
        self.put(&one.text);
        self.paths |= one.paths;
        // Of what was cut there only the hash knows: two long stages are not the same for that they begin alike.
        if one.paths && one.full {
            self.mix(&one.hash.to_le_bytes());
            self.full = true;
        }
    }

    fn path(&mut self, path: &[u8]) {
        self.paths = true;
        self.name(path);
    }

    /// The name of a field, or the path to one, without what is data in it: applications count by user, by day, by address, and then
    /// have those for names. A part that begins with a digit or is a hash stands for others of its kind; what follows a part that no
    /// program would call a field belongs to it.
    fn field(&mut self, path: &[u8]) {
        let path = path.get(..MAX_NAME).unwrap_or(path);
        for (at, part) in path.split(|byte| *byte == b'.').enumerate() {
            if at > 0 {
                self.put(".");
            }
            match Piece::of(part) {
                Piece::Name => self.name(part),
                Piece::Number => self.put("?"),
                Piece::Data => return self.put("?"),
            }
        }
    }

    /// A name, printable and cut.
    fn name(&mut self, name: &[u8]) {
        let shown = name.get(..MAX_NAME).unwrap_or(name);
        self.put(&shown.escape_ascii().to_string());
    }

    /// The top level, whose names are of the protocol.
    fn command(&mut self, body: &[u8]) -> Option<()> {
        self.put("{");
        let (mut first, mut distinct) = (true, false);
        for (at, element) in elements(body).enumerate() {
            let Element { kind, name, value } = element?;
            let part = if at == 0 { Part::Data } else { part(name) };
            distinct |= at == 0 && name == b"distinct";
            if part == Part::Absent {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.put(", ");
            }
            self.field(name);
            self.put(": ");
            match part {
                Part::Query(_) if distinct && name == b"key" => {
                    self.value(kind, value, DEPTH, (true, Reads::Name))?
                }
                Part::Query(reads) => self.value(kind, value, DEPTH, (reads != Reads::Pipeline, reads))?,
                Part::Variables => match document(value).filter(|_| kind == kind::DOCUMENT) {
                    Some(inner) => self.doubtful(inner, DEPTH, Reads::Expression),
                    None => self.put("?"),
                },
                Part::Statements => self.statements(kind, value)?,
                // An update document, or a pipeline, or a replacement.
                Part::Data if name == b"update" && at > 0 => self.change(kind, value, DEPTH)?,
                Part::Data | Part::Absent => self.put("?"),
            }
        }
        Some(())
    }

    /// A document sequence (a section of kind 1) of the command; `None` for its documents where they are not all there.
    fn sequence(&mut self, name: &[u8], documents: Option<&[u8]>) -> Option<()> {
        self.put(", ");
        self.name(name);
        self.put(": ");
        let Some(mut rest) = documents.filter(|_| part(name) == Part::Statements) else {
            self.put("?");
            return Some(());
        };
        self.put("[");
        let mut seen: Vec<u64> = Vec::new();
        for _ in 0..MAX_ELEMENTS {
            let Some(length) = rest.first_chunk().map(|length| u32::from_le_bytes(*length) as usize) else {
                break;
            };
            let mut one = Writer::new();
            one.statement(document(rest)?)?;
            self.distinct(&one, &mut seen);
            rest = rest.get(length..)?;
        }
        self.put("]");
        Some(())
    }

    /// `updates` and `deletes` in the body: their different shapes.
    fn statements(&mut self, kind: u8, value: &[u8]) -> Option<()> {
        if kind != kind::ARRAY {
            self.put("?");
            return Some(());
        }
        self.put("[");
        let mut seen: Vec<u64> = Vec::new();
        for element in elements(document(value)?) {
            let Element { kind, value, .. } = element?;
            let mut one = Writer::new();
            if kind == kind::DOCUMENT {
                one.statement(document(value)?)?;
            } else {
                one.put("?");
            }
            self.distinct(&one, &mut seen);
        }
        self.put("]");
        Some(())
    }

    fn statement(&mut self, body: &[u8]) -> Option<()> {
        self.put("{");
        let mut first = true;
        for element in elements(body) {
            let Element { kind, name, value } = element?;
            if !std::mem::take(&mut first) {
                self.put(", ");
            }
            self.name(name);
            self.put(": ");
            match name {
                b"q" => self.value(kind, value, DEPTH, (true, Reads::Filter))?,
                b"collation" | b"hint" | b"arrayFilters" | b"sort" => {
                    self.value(kind, value, DEPTH, (true, Reads::Values))?
                }
                b"u" => self.change(kind, value, DEPTH)?,
                _ => self.put("?"),
            }
        }
        self.put("}");
        Some(())
    }

    /// An update: operators and the fields that they touch, a pipeline, or a replacement, of which nothing is shown.
    fn change(&mut self, kind: u8, value: &[u8], depth: u32) -> Option<()> {
        let operators = kind == kind::ARRAY
            || (kind == kind::DOCUMENT
                && elements(document(value)?)
                    .next()
                    .flatten()
                    .is_some_and(|first| first.name.starts_with(b"$")));
        if !operators {
            self.put("?");
            return Some(());
        }
        if kind == kind::ARRAY {
            // Stages begin with an operator.
            return self.value(kind, value, depth, (false, Reads::Pipeline));
        }
        self.put("{");
        for (at, element) in elements(document(value)?).enumerate() {
            let Element { kind, name, value } = element?;
            if at > 0 {
                self.put(", ");
            }
            self.name(name);
            self.put(": ");
            // The fields of an operator, one level: what they are set to is data.
            if kind == kind::DOCUMENT {
                self.put("{");
                for (at, element) in elements(document(value)?).enumerate() {
                    if at > 0 {
                        self.put(", ");
                    }
                    self.field(element?.name);
                    self.put(": ?");
                }
                self.put("}");
            } else {
                self.put("?");
            }
        }
        self.put("}");
        Some(())
    }

    /// A value within a query. A document without operators that is compared with (not `fields`: it does not stand where fields
    /// are named) is data.
    fn value(&mut self, kind: u8, value: &[u8], depth: u32, (fields, reads): (bool, Reads)) -> Option<()> {
        let inner = match kind {
            kind::DOCUMENT | kind::ARRAY if depth > 0 => document(value)?,
            _ => {
                match reads.path(kind, value) {
                    Some(path) => self.path(path),
                    None => self.put("?"),
                }
                return Some(());
            }
        };
        if kind == kind::ARRAY {
            return self.list(inner, depth, (fields, reads.within()));
        }
        let operators = elements(inner).next().flatten().is_some_and(|first| first.name.starts_with(b"$"));
        if !fields && !operators {
            self.doubtful(inner, depth, reads);
            return Some(());
        }
        self.members(inner, depth, reads)
    }

    /// The members of a list: paths each in its place, of all others what is different.
    fn list(&mut self, inner: &[u8], depth: u32, (fields, reads): (bool, Reads)) -> Option<()> {
        self.put("[");
        let (mut seen, mut scalar, mut left) = (Vec::new(), false, MAX_ELEMENTS);
        let mut first = true;
        for element in elements_up_to(usize::MAX, inner) {
            let Element { kind, value, .. } = element?;
            let mut one = Writer::new();
            let path = reads.path(kind, value);
            if path.is_none() {
                match kind {
                    kind::DOCUMENT | kind::ARRAY => left = left.checked_sub(1)?,
                    // All the same, and there may be very many.
                    _ if std::mem::replace(&mut scalar, true) => continue,
                    _ => {}
                }
                one.value(kind, value, depth - 1, (fields, reads))?;
                if seen.contains(&one.hash) {
                    continue;
                }
                seen.push(one.hash);
            }
            if !std::mem::take(&mut first) {
                self.put(", ");
            }
            match path {
                Some(path) => self.path(path),
                None => self.take(&one),
            }
        }
        self.put("]");
        Some(())
    }

    /// A document that is data as far as is known: a path within says that it is an expression. Where there is none, or it cannot
    /// be looked for, nothing is shown.
    fn doubtful(&mut self, inner: &[u8], depth: u32, reads: Reads) {
        let mut one = Writer::new();
        if reads != Reads::Values && one.members(inner, depth, reads).is_some() && one.paths {
            self.take(&one);
        } else {
            self.put("?");
        }
    }

    fn members(&mut self, inner: &[u8], depth: u32, reads: Reads) -> Option<()> {
        self.put("{");
        for (at, element) in elements(inner).enumerate() {
            let Element { kind, name, value } = element?;
            if at > 0 {
                self.put(", ");
            }
            self.field(name);
            self.put(": ");
            self.value(kind, value, depth - 1, (names_fields(name), reads.behind(name)))?;
        }
        self.put("}");
        Some(())
    }

    /// A statement, unless one of that shape has been written.
    fn distinct(&mut self, one: &Writer, seen: &mut Vec<u64>) {
        if seen.contains(&one.hash) {
            return;
        }
        if !seen.is_empty() {
            self.put(", ");
        }
        seen.push(one.hash);
        self.take(one);
    }
}

/// Whether the document behind this name names fields itself; behind a field or a comparison it is data unless it begins with
/// an operator.
fn names_fields(name: &[u8]) -> bool {
    matches!(
        name,
        b"$and"
            | b"$or"
            | b"$nor"
            | b"$not"
            | b"$elemMatch"
            | b"$expr"
            | b"$match"
            | b"$project"
            | b"$sort"
            | b"$group"
            | b"$addFields"
            | b"$set"
            | b"$unset"
            | b"$unwind"
            | b"$lookup"
            | b"$facet"
            | b"$cond"
            | b"$filter"
            | b"$map"
            | b"$reduce"
            | b"$let"
            | b"$sortByCount"
            | b"$bucket"
            | b"$graphLookup"
            | b"$geoNear"
            | b"$replaceRoot"
            | b"$replaceWith"
            | b"$unionWith"
            | b"$setWindowFields"
            | b"$merge"
            | b"pipeline"
            | b"$dateToString"
            | b"$sum"
            | b"$avg"
            | b"$first"
            | b"$last"
            | b"$push"
            | b"$addToSet"
    )
}
