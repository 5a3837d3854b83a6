//! What a command touches: every namespace that it states, wherever it may hold one.
//!
//! The walk over a request's top level knows the one namespace that a command is about. This one goes into what names others:
//! the stages of pipelines, however deep they are nested (`$lookup`, `$facet`, `$unionWith`), where a result goes (`$out`, `$merge`,
//! `mapReduce`), what a view is of, what is renamed or copied to what, the namespaces of a `bulkWrite`, the entries of `applyOps`.
//! It is for rules, which must neither be passed by a name in an unusual place nor refuse what plainly names others: what
//! cannot be read is said to be anything ([`Touch::ANY`]), and nothing else is.

use std::borrow::Cow;

use super::bson::{Length, document_length, kind, name_end, value_length};
use super::command::{Command, Namespace};
use super::frame::MAX_KEY;
use super::header::OpCode;
use super::inflate::Inflate;
use super::problem::Problem;
use super::request::{Flags, RequestHead};
use super::walk::MAX_CSTRING;
use super::whole::{CHECKSUM, in_the_clear};

/// The most that is noted of one command; beyond it may be anything.
const MOST: usize = 512;

/// How deep pipelines and commands are followed into one another.
const DEEPEST: u32 = 64;

/// Something that a command touches. A name of `None` may be any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch<'a> {
    /// The database.
    pub database: Option<&'a [u8]>,
    /// The collection, empty where it is about none.
    pub collection: Option<&'a [u8]>,
    /// It may be changed; otherwise it is only read.
    pub changed: bool,
}

impl Touch<'_> {
    /// It may be anything.
    pub const ANY: Touch<'static> = Touch { database: None, collection: None, changed: true };
}

/// A whole request, decompressed.
#[derive(Debug)]
pub struct Clear<'a> {
    op_code: OpCode,
    body: Cow<'a, [u8]>,
}

impl<'a> Clear<'a> {
    /// The request that `message` is, which is at most `limit` bytes long when decompressed.
    ///
    /// # Errors
    /// Why it is not there in the clear.
    pub fn of(message: &'a [u8], inflate: &mut Inflate, limit: usize) -> Result<Clear<'a>, Problem> {
        let (header, body) = in_the_clear(message, inflate, limit)?;
        Ok(Clear { op_code: header.op_code, body })
    }

    /// What the command touches beside the namespace of its head, which is `head`, complete.
    pub fn touches<'b>(&'b self, head: &'b RequestHead) -> Vec<Touch<'b>> {
        let mut names = Names { found: Vec::new(), depth: 0 };
        let database = head.database.as_bytes();
        let read = match self.op_code {
            OpCode::MSG => self.msg(head, database, &mut names),
            OpCode::QUERY if head.is_query_command => self.query(database, &mut names),
            // The other opcodes are about one collection.
            _ => Some(()),
        };
        if read.is_none() || names.found.len() > MOST {
            names.found.push(Touch::ANY);
        }
        names.found
    }

    fn msg<'b>(&'b self, head: &RequestHead, database: &'b [u8], names: &mut Names<'b>) -> Option<()>
    where
        'a: 'b,
    {
        let (flags, sections) = self.body.split_first_chunk::<4>()?;
        let checksum = Flags(u32::from_le_bytes(*flags)).checksum_present();
        let end = sections.len().checked_sub(if checksum { CHECKSUM } else { 0 })?;
        let mut sections = sections.get(..end)?;
        let command = head.explained.unwrap_or(head.command);
        while let Some((&section, sized)) = sections.split_first() {
            let length = document_length(i32::from_le_bytes(*sized.first_chunk::<4>()?)).ok()? as usize;
            let (content, after) = sized.split_at_checked(length)?;
            if section == 0 {
                names.command(content, database)?;
            } else {
                let named = content.get(4..)?;
                let name = name_end(named, MAX_CSTRING)?;
                names.sequence(command, database, named.get(..name)?, named.get(name + 1..)?)?;
            }
            sections = after;
        }
        Some(())
    }

    fn query<'b>(&'b self, database: &'b [u8], names: &mut Names<'b>) -> Option<()> {
        let named = self.body.get(4..)?;
        let name = name_end(named, MAX_CSTRING)?;
        let document = named.get(name + 1 + 8..)?;
        let length = document_length(i32::from_le_bytes(*document.first_chunk::<4>()?)).ok()? as usize;
        let document = document.get(..length)?;
        let first = Members::of(document)?.next()??;
        match first.key {
            b"$query" | b"query" if first.kind == kind::DOCUMENT => names.command(first.value, database),
            _ => names.command(document, database),
        }
    }
}

/// An element of a document.
#[derive(Clone, Copy)]
struct Member<'a> {
    kind: u8,
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Member<'a> {
    fn text(&self) -> Option<&'a [u8]> {
        if self.kind != kind::STRING {
            return None;
        }
        self.value.get(4..)?.split_last().map(|(_, text)| text)
    }

    fn is_document(&self) -> bool {
        self.kind == kind::DOCUMENT
    }

    fn is_number(&self) -> bool {
        matches!(self.kind, kind::INT32 | kind::INT64 | kind::DOUBLE)
    }

    /// The members of a document or an array.
    fn members(&self) -> Option<Members<'a>> {
        if matches!(self.kind, kind::DOCUMENT | kind::ARRAY) { Members::of(self.value) } else { None }
    }
}

/// The elements of a document; `None` where it cannot be read on.
struct Members<'a>(&'a [u8]);

impl<'a> Members<'a> {
    fn of(document: &'a [u8]) -> Option<Members<'a>> {
        document.get(4..).map(Members)
    }

    /// The document's one element of this name; `None` too where it cannot be read, or has several.
    fn only(self, key: &[u8]) -> Option<Option<Member<'a>>> {
        let mut found = None;
        for member in self {
            let member = member?;
            if member.key == key && found.replace(member).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Option<Member<'a>>;

    fn next(&mut self) -> Option<Option<Member<'a>>> {
        let (&of_kind, named) = self.0.split_first()?;
        if of_kind == 0 {
            self.0 = &[];
            return None;
        }
        let member = member(of_kind, named);
        self.0 = member.map_or(&[], |(_, after)| after);
        Some(member.map(|(member, _)| member))
    }
}

fn member(of_kind: u8, named: &[u8]) -> Option<(Member<'_>, &[u8])> {
    let name = name_end(named, MAX_KEY + 1)?;
    let (key, value) = (named.get(..name)?, named.get(name + 1..)?);
    let length = match value_length(of_kind, value).ok()? {
        Length::Known(length) => length as usize,
        Length::Strings => {
            let first = memchr::memchr(0, value)? + 1;
            first + memchr::memchr(0, value.get(first..)?)? + 1
        }
        Length::Unknown => return None,
    };
    let (value, after) = value.split_at_checked(length)?;
    Some((Member { kind: of_kind, key, value }, after))
}

/// What has been found so far. Its methods return `None` where something cannot be read.
struct Names<'a> {
    found: Vec<Touch<'a>>,
    depth: u32,
}

impl<'a> Names<'a> {
    fn add(&mut self, database: &'a [u8], collection: &'a [u8], changed: bool) {
        self.note(Touch { database: Some(database), collection: Some(collection), changed });
    }

    fn whole_database(&mut self, database: &'a [u8], changed: bool) {
        self.note(Touch { database: Some(database), collection: None, changed });
    }

    fn any(&mut self, changed: bool) {
        self.note(Touch { database: None, collection: None, changed });
    }

    fn note(&mut self, touch: Touch<'a>) {
        // One more than is read says that there is more.
        if self.found.len() <= MOST && !self.found.contains(&touch) {
            self.found.push(touch);
        }
    }

    /// `database.collection`
    fn full(&mut self, name: Option<&'a [u8]>, changed: bool) {
        let Some(name) = name else { return self.any(changed) };
        match memchr::memchr(b'.', name) {
            Some(dot) => {
                let (database, collection) = name.split_at(dot);
                self.add(database, collection.get(1..).unwrap_or_default(), changed);
            }
            None => self.whole_database(name, changed),
        }
    }

    /// A collection by its name, of the database or, as a document of both, of another one. Says of which it is.
    fn namespace(&mut self, member: Member<'a>, database: &'a [u8], changed: bool) -> Option<&'a [u8]> {
        if let Some(name) = member.text() {
            self.add(database, name, changed);
            return Some(database);
        }
        if !member.is_document() {
            return None;
        }
        let own = member.members()?.only(b"db")?.map_or(Some(database), |own| own.text())?;
        let name = member.members()?.only(b"coll")??.text()?;
        self.add(own, name, changed);
        Some(own)
    }

    fn deeper(&mut self, go: impl FnOnce(&mut Names<'a>) -> Option<()>) -> Option<()> {
        if self.depth == DEEPEST {
            return None;
        }
        self.depth += 1;
        let read = go(self);
        self.depth -= 1;
        read
    }

    /// What a command names beside its own collection.
    fn command(&mut self, document: &'a [u8], database: &'a [u8]) -> Option<()> {
        let mut members = Members::of(document)?;
        let first = members.next()??;
        let command = Command::from_name(first.key);
        if command == Command::Explain {
            let inner = first.members()?.only(b"$db")?;
            if inner.is_some_and(|inner| inner.text() != Some(database)) {
                self.any(true);
            }
            return self.deeper(|names| names.command(first.value, database));
        }
        self.subject(command, first, document, database)?;
        for member in members {
            let member = member?;
            self.argument(command, member.key, member, database)?;
        }
        Some(())
    }

    /// What its first element says, and what it touches whatever else it says.
    fn subject(
        &mut self,
        command: Command,
        first: Member<'a>,
        document: &'a [u8],
        database: &'a [u8],
    ) -> Option<()> {
        let field = |key: &[u8]| Members::of(document)?.only(key);
        match command {
            Command::Other => self.any(true),
            // An aggregation of no collection touches what its stages say; one that is not named by text has it by its UUID.
            Command::Aggregate if first.text().is_none() && !first.is_number() => {
                self.whole_database(database, false);
            }
            Command::CloneCollectionAsCapped => {
                self.add(database, first.text()?, false);
                self.add(database, field(b"toCollection")??.text()?, true);
            }
            Command::ApplyOps => {
                for entry in first.members()? {
                    let entry = entry?;
                    self.deeper(|names| names.entry(entry))?;
                }
            }
            Command::Group => match first.members()?.only(b"ns")?.and_then(|ns| ns.text()) {
                Some(name) => self.add(database, name, false),
                None => self.whole_database(database, false),
            },
            Command::DbHash => match field(b"collections")? {
                Some(list) if list.members()?.next().is_some() => {
                    for name in list.members()? {
                        self.add(database, name?.text()?, false);
                    }
                }
                _ => self.whole_database(database, false),
            },
            Command::ValidateDbMetadata => {
                let database = field(b"db")?.and_then(|name| name.text());
                let collection = field(b"collection")?.and_then(|name| name.text());
                self.note(Touch { database, collection, changed: false });
            }
            Command::Copydb => {
                let from = field(b"fromdb")?.and_then(|name| name.text());
                let to = field(b"todb")?.and_then(|name| name.text());
                self.note(Touch { database: from, collection: None, changed: false });
                self.note(Touch { database: to, collection: None, changed: true });
            }
            Command::MovePrimary | Command::EnableSharding => self.whole_database(first.text()?, true),
            Command::DropDatabase | Command::Clone | Command::RepairDatabase => {
                self.whole_database(database, true);
            }
            Command::Eval => self.any(true),
            // They show copies of what others do.
            Command::CurrentOp | Command::GetLog => self.any(false),
            Command::FileMd5 => self.whole_database(database, false),
            _ => {}
        }
        Some(())
    }

    /// What one of its other elements says.
    fn argument(
        &mut self,
        command: Command,
        key: &[u8],
        member: Member<'a>,
        database: &'a [u8],
    ) -> Option<()> {
        match (command, key) {
            (Command::Aggregate | Command::Create | Command::CollMod, b"pipeline") => {
                self.pipeline(member, database)
            }
            (Command::Create | Command::CollMod, b"viewOn") => {
                self.add(database, member.text()?, false);
                Some(())
            }
            // The collections behind an encrypted one.
            (Command::Create | Command::CollMod, b"encryptedFields") => {
                for field in member.members()? {
                    let field = field?;
                    if field.key.ends_with(b"Collection") {
                        self.add(database, field.text()?, true);
                    }
                }
                Some(())
            }
            (Command::MapReduce, b"out") => self.output(member, database),
            (Command::RenameCollection, b"to") => {
                self.full(member.text(), true);
                Some(())
            }
            (Command::BulkWrite, b"nsInfo") => {
                for info in member.members()? {
                    let name = info?.members()?.only(b"ns")??.text();
                    self.full(name, true);
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    /// Documents that stand behind the command, as the array of one of its arguments.
    fn sequence(
        &mut self,
        command: Command,
        database: &'a [u8],
        name: &[u8],
        documents: &'a [u8],
    ) -> Option<()> {
        let of_pipeline = matches!(command, Command::Aggregate | Command::Create | Command::CollMod);
        let mut rest = documents;
        while let Some(length) = rest.first_chunk::<4>() {
            let length = document_length(i32::from_le_bytes(*length)).ok()? as usize;
            let (document, after) = rest.split_at_checked(length)?;
            match name {
                b"pipeline" if of_pipeline => self.stages(document, database)?,
                b"nsInfo" if command == Command::BulkWrite => {
                    self.full(Members::of(document)?.only(b"ns")??.text(), true);
                }
                b"applyOps" if command == Command::ApplyOps => {
                    self.entry(Member { kind: kind::DOCUMENT, key: &[], value: document })?;
                }
                // Something in the middle of an argument.
                _ if name.contains(&b'.') => return None,
                _ => {}
            }
            rest = after;
        }
        rest.is_empty().then_some(())
    }

    /// An entry of `applyOps`.
    fn entry(&mut self, entry: Member<'a>) -> Option<()> {
        let field = |key: &[u8]| entry.members()?.only(key);
        let name = field(b"ns")??.text()?;
        // A UUID goes before the name.
        if field(b"ui")?.is_some() {
            self.any(true);
        }
        let operation = field(b"op")??.text()?;
        if operation != b"c" {
            self.full(Some(name), true);
            return Some(());
        }
        let database = name.get(..memchr::memchr(b'.', name).unwrap_or(name.len()))?;
        let command = field(b"o")??;
        let first = command.members()?.next()??;
        match Command::from_name(first.key).namespace() {
            Namespace::Value => self.add(database, first.text()?, true),
            Namespace::Full => self.full(first.text(), true),
            _ => {}
        }
        self.deeper(|names| names.command(command.value, database))
    }

    /// Where a `mapReduce` puts its result.
    fn output(&mut self, out: Member<'a>, database: &'a [u8]) -> Option<()> {
        if let Some(name) = out.text() {
            self.add(database, name, true);
            return Some(());
        }
        if !out.is_document() {
            return None;
        }
        let database = out.members()?.only(b"db")?.map_or(Some(database), |own| own.text())?;
        for member in out.members()? {
            let member = member?;
            if matches!(member.key, b"replace" | b"merge" | b"reduce") {
                self.add(database, member.text()?, true);
            } else if member.key == b"normal" {
                return None;
            }
        }
        Some(())
    }

    fn pipeline(&mut self, pipeline: Member<'a>, database: &'a [u8]) -> Option<()> {
        for stage in pipeline.members()? {
            let stage = stage?;
            if !stage.is_document() {
                return None;
            }
            self.stages(stage.value, database)?;
        }
        Some(())
    }

    /// The stages of one member of a pipeline: a server takes one.
    fn stages(&mut self, document: &'a [u8], database: &'a [u8]) -> Option<()> {
        for stage in Members::of(document)? {
            let stage = stage?;
            self.deeper(|names| names.stage(stage, database))?;
        }
        Some(())
    }

    fn stage(&mut self, stage: Member<'a>, database: &'a [u8]) -> Option<()> {
        match stage.key {
            b"$lookup" | b"$graphLookup" => self.join(stage, b"from", database),
            b"$unionWith" if stage.is_document() => self.join(stage, b"coll", database),
            b"$unionWith" => {
                self.add(database, stage.text()?, false);
                Some(())
            }
            b"$facet" => self.pipelines(stage, database),
            b"$rankFusion" | b"$scoreFusion" => {
                let input = stage.members()?.only(b"input")??;
                self.pipelines(input.members()?.only(b"pipelines")??, database)
            }
            b"$out" => self.namespace(stage, database, true).map(|_| ()),
            b"$merge" if stage.is_document() => {
                self.namespace(stage.members()?.only(b"into")??, database, true)?;
                match stage.members()?.only(b"whenMatched")? {
                    Some(matched) if matched.kind == kind::ARRAY => self.pipeline(matched, database),
                    _ => Some(()),
                }
            }
            b"$merge" => {
                self.add(database, stage.text()?, true);
                Some(())
            }
            b"$changeStream" => {
                if stage.members()?.only(b"allChangesForCluster")?.is_some() {
                    self.any(false);
                }
                Some(())
            }
            b"$listSampledQueries" => {
                self.full(stage.members()?.only(b"namespace")?.and_then(|name| name.text()), false);
                Some(())
            }
            // They show copies of what others do.
            b"$currentOp" | b"$querySettings" => {
                self.any(false);
                Some(())
            }
            name => names_nothing(name).then_some(()),
        }
    }

    /// Pipelines by names of their own.
    fn pipelines(&mut self, pipelines: Member<'a>, database: &'a [u8]) -> Option<()> {
        for pipeline in pipelines.members()? {
            self.pipeline(pipeline?, database)?;
        }
        Some(())
    }

    /// A stage that reads another collection, perhaps by a pipeline, which then is of the database of that.
    fn join(&mut self, stage: Member<'a>, key: &[u8], database: &'a [u8]) -> Option<()> {
        let pipeline = stage.members()?.only(b"pipeline")?;
        let database = match stage.members()?.only(key)? {
            // `$unionWith` says its database beside the collection.
            Some(name) if key == b"coll" => {
                let own = stage.members()?.only(b"db")?.map_or(Some(database), |own| own.text())?;
                self.add(own, name.text()?, false);
                own
            }
            Some(from) => self.namespace(from, database, false)?,
            // It joins documents of its own: `$documents`.
            None if pipeline.is_some() => database,
            None => return None,
        };
        pipeline.map_or(Some(()), |pipeline| self.pipeline(pipeline, database))
    }
}

/// Stages that name no collection, and show nothing but what comes to them or is their own collection's.
fn names_nothing(stage: &[u8]) -> bool {
    matches!(
        stage,
        b"$addFields"
            | b"$bucket"
            | b"$bucketAuto"
            | b"$changeStreamSplitLargeEvent"
            | b"$collStats"
            | b"$count"
            | b"$densify"
            | b"$documents"
            | b"$fill"
            | b"$geoNear"
            | b"$group"
            | b"$indexStats"
            | b"$limit"
            | b"$listCatalog"
            | b"$listClusterCatalog"
            | b"$listLocalSessions"
            | b"$listSearchIndexes"
            | b"$listSessions"
            | b"$match"
            | b"$planCacheStats"
            | b"$project"
            | b"$queryStats"
            | b"$redact"
            | b"$replaceRoot"
            | b"$replaceWith"
            | b"$sample"
            | b"$score"
            | b"$search"
            | b"$searchMeta"
            | b"$set"
            | b"$setWindowFields"
            | b"$shardedDataDistribution"
            | b"$skip"
            | b"$sort"
            | b"$sortByCount"
            | b"$unset"
            | b"$unwind"
            | b"$vectorSearch"
    )
}
