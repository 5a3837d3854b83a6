//! The resumable walk over a message's body: sections, documents, top-level elements, by length, never whole.
//!
//! The walker is fed whatever contiguous bytes there are. It reads names and lengths, shows each element to the
//! [`Facts`] it feeds, descends only where they ask it to, and jumps over everything else, however large: a jump
//! beyond the bytes at hand is remembered and continued with the next ones. An element's name, its length and the
//! first bytes of its value are looked at only when they are contiguous, for which the walker leaves at most
//! [`MAX_HELD`] bytes unread at the end of what it was given.

use nom::number::streaming::{le_i32, le_i64, le_u8, le_u32};
use nom::{IResult, Parser};

use super::bson::{Length, document_length, value_length};
use super::frame::{Cursor, Found, Frame, NO_FRAME, count, element, member};
use super::header::{HEADER_LENGTH, OpCode};
use super::problem::Problem;

/// Most bytes that a walk leaves unread while more of the message is to come.
pub(super) const MAX_HELD: usize = 1024;

/// Longest namespace or section identifier, NUL included.
pub(super) const MAX_CSTRING: usize = 512;
/// Deepest descent: body, explained command, pipeline or cursor, and one to spare.
pub(super) const DEPTH: usize = 6;

/// Where in a message an element was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    // Requests.
    Body,
    Explained,
    Legacy,
    Lsid,
    Client,
    Application,
    Driver,
    Compression,
    Speculative,
    Pipeline,
    Edits,
    Edit,
    Namespaces,
    NamespaceInfo,
    Cursors,
    // Replies.
    Reply,
    Replies,
    Cursor,
    Batch,
    Labels,
    WriteErrors,
    WriteError,
    WriteConcernError,
    LastErrorObject,
    RetriedStatements,
    Upserted,
    // Both.
    Documents,
    Ignored,
}

impl Place {
    /// Whether the members are only counted.
    pub fn is_counted(self) -> bool {
        matches!(
            self,
            Place::Documents | Place::Batch | Place::RetriedStatements | Place::Upserted | Place::Ignored
        )
    }
}

/// One element, as far as it is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    /// The BSON type.
    pub kind: u8,
    /// The name; empty for a member of a document sequence.
    pub key: &'a [u8],
    /// A string up to 512 bytes or a number whole, of anything else the first bytes at least.
    pub value: &'a [u8],
    /// How many bytes the value takes.
    pub length: u32,
    /// Where in the (uncompressed) message the value begins.
    pub offset: u32,
}

/// What to do with the element just shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Jump over its value.
    Skip,
    /// Go into it: it is a document or an array.
    Enter(Place),
}

/// What is learnt about a message as the walk passes over it.
pub(super) trait Facts {
    /// The flags of an `OP_MSG`, or of an `OP_REPLY`.
    fn flags(&mut self, bits: u32);
    /// The full collection name of a legacy opcode, `None` when it is too long to be one.
    fn full_name(&mut self, name: Option<&[u8]>);
    /// The cursor of a legacy opcode.
    fn cursor(&mut self, id: i64);
    /// The documents of a section with this identifier come next: what are they?
    fn section(&mut self, identifier: Option<&[u8]>) -> Place;
    /// An element of what was entered, or a member of an array or a sequence.
    fn element(&mut self, place: Place, index: u32, element: Element<'_>) -> Next;
    /// An entered document, array or sequence ended, with so many members.
    fn leave(&mut self, place: Place, members: u32);
    /// The place that stands for the body of a request or a reply.
    const BODY: Place;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The fixed fields after the header.
    Prefix,
    /// Between sections (or at the end of them).
    Section,
    /// Within a document or a sequence.
    Inside,
    /// Within a name too long to be known; then a value of this type.
    LongName(u8),
    /// Within a regular expression too long to be seen at once: so many strings to go.
    Strings(u8),
    /// Nothing more is looked at.
    Rest,
}

/// The state of a walk between two runs of bytes.
#[derive(Debug)]
pub(super) struct Walker {
    phase: Phase,
    op_code: OpCode,
    /// Offset in the message of the next byte to be fed.
    at: u32,
    /// Where the sections end.
    end: u32,
    /// Bytes to jump over before anything else.
    skip: u32,
    bodies: u32,
    depth: usize,
    frames: [Frame; DEPTH],
}

/// Whether a step could be made with the bytes at hand.
#[derive(PartialEq, Eq)]
enum Progress {
    On,
    Starved,
}

impl Walker {
    /// A walk over nothing.
    pub fn idle() -> Walker {
        Walker {
            phase: Phase::Rest,
            op_code: OpCode::default(),
            at: 0,
            end: 0,
            skip: 0,
            bodies: 0,
            depth: 0,
            frames: [NO_FRAME; DEPTH],
        }
    }

    /// Begins a message of `length` bytes, header included, of which the first `at` (none or all of the header) are not
    /// going to be fed.
    pub fn begin(&mut self, op_code: OpCode, at: u32, length: u32) {
        self.phase = match op_code {
            OpCode::MSG
            | OpCode::QUERY
            | OpCode::REPLY
            | OpCode::GET_MORE
            | OpCode::INSERT
            | OpCode::UPDATE
            | OpCode::DELETE
            | OpCode::KILL_CURSORS => Phase::Prefix,
            _ => Phase::Rest,
        };
        self.op_code = op_code;
        self.at = at;
        self.end = length;
        self.skip = (HEADER_LENGTH as u32).saturating_sub(at);
        self.bodies = 0;
        self.depth = 0;
    }

    /// Looks at no more of this message.
    pub fn give_up(&mut self) {
        self.phase = Phase::Rest;
    }

    /// Walks over `bytes` as far as they allow, and returns how many are done with. What is left (at most
    /// [`MAX_HELD`]) is to be fed again with more behind it.
    ///
    /// # Errors
    /// A [`Problem`] of the content; the rest of the message is not looked at.
    pub fn feed<F: Facts>(&mut self, facts: &mut F, bytes: &[u8]) -> Result<usize, Problem> {
        let mut cursor = Cursor { bytes, base: self.at, i: self.skip as usize };
        // With nothing left to read a sequence or a section may still turn out to be at its end.
        while cursor.i <= bytes.len() {
            let progress = match self.phase {
                Phase::Inside => self.inside(facts, &mut cursor)?,
                Phase::Prefix => self.prefix(facts, &mut cursor)?,
                Phase::Section => self.section(facts, &mut cursor)?,
                Phase::LongName(kind) => self.long_name(kind, &mut cursor)?,
                Phase::Strings(n) => self.strings(n, &mut cursor),
                Phase::Rest => {
                    cursor.i = bytes.len();
                    Progress::Starved
                }
            };
            if progress == Progress::Starved {
                break;
            }
        }
        let done = cursor.i.min(bytes.len());
        self.skip = u32::try_from(cursor.i - done).map_err(|_| Problem::Length)?;
        self.at = self.at.saturating_add(u32::try_from(done).unwrap_or(u32::MAX));
        Ok(done)
    }

    /// Whether the message may end here.
    ///
    /// # Errors
    /// A [`Problem`] when something was still open, or when there was not exactly one body.
    pub fn finish<F: Facts>(&mut self, facts: &mut F) -> Result<(), Problem> {
        if self.phase == Phase::Section {
            self.section(facts, &mut Cursor { bytes: &[], base: self.at, i: 0 })?;
        }
        if self.phase != Phase::Rest || self.skip > 0 {
            return Err(Problem::Truncated);
        }
        Ok(())
    }

    fn prefix<F: Facts>(&mut self, facts: &mut F, cursor: &mut Cursor<'_>) -> Result<Progress, Problem> {
        let before = cursor.rest();
        let parsed = match self.op_code {
            OpCode::MSG => self.msg(facts, before),
            OpCode::REPLY => self.reply(facts, before),
            _ => self.legacy(facts, before),
        };
        match parsed {
            Ok((after, ())) => {
                cursor.i += before.len() - after.len();
                Ok(Progress::On)
            }
            Err(nom::Err::Incomplete(_)) => Ok(Progress::Starved),
            Err(_) => Err(Problem::Namespace),
        }
    }

    fn msg<'a, F: Facts>(&mut self, facts: &mut F, input: &'a [u8]) -> IResult<&'a [u8], ()> {
        let (input, bits) = le_u32(input)?;
        facts.flags(bits);
        if bits & 1 != 0 {
            self.end = self.end.saturating_sub(4);
        }
        self.phase = Phase::Section;
        Ok((input, ()))
    }

    fn reply<'a, F: Facts>(&mut self, facts: &mut F, input: &'a [u8]) -> IResult<&'a [u8], ()> {
        let (input, (bits, cursor, _, _)) = (le_u32, le_i64, le_i32, le_i32).parse(input)?;
        facts.flags(bits);
        facts.cursor(cursor);
        self.sequence(Place::Replies);
        Ok((input, ()))
    }

    fn legacy<'a, F: Facts>(&mut self, facts: &mut F, input: &'a [u8]) -> IResult<&'a [u8], ()> {
        if self.op_code == OpCode::KILL_CURSORS {
            let (input, _) = (le_i32, le_i32).parse(input)?;
            self.phase = Phase::Rest;
            return Ok((input, ()));
        }
        let (input, _) = le_i32(input)?;
        let (input, name) = cstring(input)?;
        let (input, place) = match self.op_code {
            OpCode::GET_MORE => {
                let (input, (_, cursor)) = (le_i32, le_i64).parse(input)?;
                facts.cursor(cursor);
                self.phase = Phase::Rest;
                (input, None)
            }
            OpCode::QUERY => (le_i32, le_i32).parse(input).map(|(i, _)| (i, Some(Place::Legacy)))?,
            OpCode::INSERT => (input, Some(Place::Documents)),
            _ => le_i32(input).map(|(i, _)| (i, Some(Place::Ignored)))?,
        };
        facts.full_name(name);
        if let Some(place) = place {
            self.sequence(place);
        }
        Ok((input, ()))
    }

    /// Opens a sequence of documents that fills the rest of the message.
    fn sequence(&mut self, place: Place) {
        self.bodies = 1;
        self.frames = [NO_FRAME; DEPTH];
        if let Some(frame) = self.frames.first_mut() {
            *frame = Frame { end: self.end, index: 0, place, sequence: true };
        }
        self.depth = 1;
        self.phase = Phase::Inside;
    }

    fn section<F: Facts>(&mut self, facts: &mut F, cursor: &mut Cursor<'_>) -> Result<Progress, Problem> {
        let start = cursor.offset();
        if start >= self.end {
            if start > self.end {
                return Err(Problem::Overrun);
            }
            self.phase = Phase::Rest;
            return if self.bodies == 0 { Err(Problem::NoBody) } else { Ok(Progress::On) };
        }
        let before = cursor.rest();
        let (used, head) = match section_head(before) {
            Ok((after, head)) => (before.len() - after.len(), head),
            Err(nom::Err::Incomplete(_)) => return Ok(Progress::Starved),
            Err(_) => return Err(Problem::SectionKind),
        };
        // Lengths count from the length field itself, one byte after the kind.
        let (length, frame) = match head {
            SectionHead::Body { length } => {
                self.bodies += 1;
                if self.bodies > 1 {
                    return Err(Problem::SecondBody);
                }
                let length = document_length(length)?;
                (length, Frame { end: 0, index: 0, place: F::BODY, sequence: false })
            }
            SectionHead::Sequence { length, identifier } => {
                let length = u32::try_from(length).map_err(|_| Problem::Length)?;
                let place = facts.section(identifier);
                (length, Frame { end: 0, index: 0, place, sequence: true })
            }
        };
        let end = start.saturating_add(1).saturating_add(length);
        cursor.i += used;
        if end > self.end || cursor.offset() > end {
            return Err(Problem::Overrun);
        }
        self.depth = 0;
        self.push(Frame { end, ..frame })?;
        self.phase = Phase::Inside;
        Ok(Progress::On)
    }

    fn push(&mut self, frame: Frame) -> Result<(), Problem> {
        let slot = self.frames.get_mut(self.depth).ok_or(Problem::Depth)?;
        *slot = frame;
        self.depth += 1;
        Ok(())
    }

    /// Walks within the innermost frame, and those it opens and closes, as far as the bytes allow.
    fn inside<F: Facts>(&mut self, facts: &mut F, cursor: &mut Cursor<'_>) -> Result<Progress, Problem> {
        while let Some(&top) = self.depth.checked_sub(1).and_then(|top| self.frames.get(top)) {
            let mut frame = top;
            let next = if frame.sequence {
                member(facts, cursor, &mut frame)?
            } else if frame.place.is_counted() {
                count(cursor, &mut frame)?
            } else {
                element(facts, cursor, &mut frame)?
            };
            if let Some(slot) = self.frames.get_mut(self.depth - 1) {
                slot.index = frame.index;
            }
            match next {
                Found::Skipped => {}
                Found::Entered(inner) => self.push(inner)?,
                Found::End => {
                    facts.leave(frame.place, frame.index);
                    self.depth -= 1;
                }
                Found::LongName(kind) => {
                    self.phase = Phase::LongName(kind);
                    return Ok(Progress::On);
                }
                Found::Strings => {
                    self.phase = Phase::Strings(2);
                    return Ok(Progress::On);
                }
                Found::Starved => return Ok(Progress::Starved),
            }
        }
        self.phase = Phase::Section;
        Ok(Progress::On)
    }

    fn long_name(&mut self, kind: u8, cursor: &mut Cursor<'_>) -> Result<Progress, Problem> {
        let rest = cursor.rest();
        let Some(name) = memchr::memchr(0, rest) else {
            // All but nothing: the value's length has to be contiguous only with itself.
            cursor.i += rest.len();
            return Ok(Progress::Starved);
        };
        let value = rest.get(name + 1..).unwrap_or_default();
        let used = match value_length(kind, value)? {
            Length::Known(length) => length,
            Length::Strings => {
                cursor.i += name + 1;
                self.phase = Phase::Strings(2);
                return Ok(Progress::On);
            }
            Length::Unknown => {
                // Keep the NUL, so that the name's end is found again.
                cursor.i += name;
                return Ok(Progress::Starved);
            }
        };
        cursor.i += name + 1;
        cursor.jump(used);
        self.phase = Phase::Inside;
        self.within(cursor)
    }

    fn strings(&mut self, left: u8, cursor: &mut Cursor<'_>) -> Progress {
        let rest = cursor.rest();
        let Some(end) = memchr::memchr(0, rest) else {
            cursor.i += rest.len();
            return Progress::Starved;
        };
        cursor.i += end + 1;
        self.phase = if left > 1 { Phase::Strings(left - 1) } else { Phase::Inside };
        Progress::On
    }

    /// Checks that a jump stayed inside the innermost frame.
    fn within(&self, cursor: &Cursor<'_>) -> Result<Progress, Problem> {
        let end = self.depth.checked_sub(1).and_then(|top| self.frames.get(top)).map_or(0, |frame| frame.end);
        if cursor.offset() < end { Ok(Progress::On) } else { Err(Problem::Overrun) }
    }
}

enum SectionHead<'a> {
    Body { length: i32 },
    Sequence { length: i32, identifier: Option<&'a [u8]> },
}

fn section_head(input: &[u8]) -> IResult<&[u8], SectionHead<'_>> {
    let (input, kind) = le_u8(input)?;
    match kind {
        0 => le_i32.map(|length| SectionHead::Body { length }).parse(input),
        1 => (le_i32, cstring)
            .map(|(length, identifier)| SectionHead::Sequence { length, identifier })
            .parse(input),
        _ => Err(failure(input)),
    }
}

/// A short string ended by NUL; a longer one is an error.
fn cstring(input: &[u8]) -> IResult<&[u8], Option<&[u8]>> {
    let window = input.get(..MAX_CSTRING).unwrap_or(input);
    match memchr::memchr(0, window) {
        Some(end) => Ok((input.get(end + 1..).unwrap_or_default(), input.get(..end))),
        None if window.len() < MAX_CSTRING => Err(nom::Err::Incomplete(nom::Needed::Unknown)),
        None => Err(failure(input)),
    }
}

fn failure(input: &[u8]) -> nom::Err<nom::error::Error<&[u8]>> {
    nom::Err::Failure(nom::error::Error::new(input, nom::error::ErrorKind::Verify))
}
