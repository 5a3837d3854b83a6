//! The definition of what a head may look like: a machine that takes one byte after the other and stops at the first
//! that breaks a rule. It is resumable, so a head that arrives in pieces is looked at once, and what it says never
//! depends on where the pieces were cut.
//!
//! The usual head arrives whole and is scanned by `httparse` instead ([`super::head`]); the machine then runs only if
//! something is wrong or missing, to say what. A property test holds the two to the same answers.

use super::reject::{Reject, Rule};
use super::token::is_tchar;
use super::{Limits, fields::Span};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a request; an empty line may still come.
    Before,
    BeforeLf,
    MethodStart,
    Method,
    TargetStart,
    Target,
    /// Bytes of `HTTP/1.x` seen so far.
    Version(u8),
    VersionEnd,
    RequestLineLf,
    /// Bytes of `HTTP/1.x` seen so far, in a response.
    StatusVersion(u8),
    StatusSpace,
    /// Digits of the status seen so far.
    Status(u8),
    StatusEnd,
    Reason,
    StatusLineLf,
    LineStart,
    Name,
    Value,
    ValueLf,
    EndLf,
}

/// The machine, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scan {
    state: State,
    at: usize,
    target: usize,
    fields: u32,
    trailers: bool,
}

impl Scan {
    const fn new(state: State, trailers: bool) -> Self {
        Self { state, at: 0, target: 0, fields: 0, trailers }
    }

    /// For a request head.
    pub(super) const fn request() -> Self {
        Self::new(State::Before, false)
    }

    /// For a response head.
    pub(super) const fn response() -> Self {
        Self::new(State::StatusVersion(0), false)
    }

    /// For a trailer section, from the byte after the last chunk's line.
    pub(super) const fn trailers() -> Self {
        Self::new(State::LineStart, true)
    }

    /// How many bytes have been looked at.
    pub(super) const fn seen(&self) -> usize {
        self.at
    }

    /// Looks at the bytes of `buf` that have not been looked at. `buf` begins where it began before, and has grown.
    /// Gives the length of the section once its end has been seen.
    pub(super) fn run(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, Reject> {
        let (cap, too_large) = if self.trailers {
            (limits.trailers as usize, Rule::TrailersTooLarge)
        } else {
            (limits.head as usize, Rule::HeadTooLarge)
        };
        for (at, &byte) in buf.iter().enumerate().skip(self.at) {
            if at >= cap {
                return Err(Reject::at(too_large, at));
            }
            self.at = at + 1;
            match self.step(at, byte, limits) {
                Ok(false) => {}
                Ok(true) => return Ok(Some(at + 1)),
                Err(rule) => return Err(Reject::at(rule, at)),
            }
        }
        Ok(None)
    }

    /// Takes one byte; true if it ended the section.
    fn step(&mut self, at: usize, byte: u8, limits: &Limits) -> Result<bool, Rule> {
        self.state = match self.state {
            State::Before if byte == b'\r' => State::BeforeLf,
            State::BeforeLf => lf(byte, State::MethodStart)?,
            State::Before | State::MethodStart => method_start(byte)?,
            State::Method => match byte {
                b' ' => State::TargetStart,
                b if is_tchar(b) => State::Method,
                b => return Err(ends(b, Rule::MethodChar)),
            },
            State::TargetStart => {
                self.target = at;
                self.target(at, byte, limits)?
            }
            State::Target => self.target(at, byte, limits)?,
            State::Version(n) => match version(n, byte, Rule::RequestLineSpace)? {
                8 => State::VersionEnd,
                n => State::Version(n),
            },
            State::VersionEnd => match byte {
                b'\r' => State::RequestLineLf,
                b' ' | b'\t' => return Err(Rule::RequestLineSpace),
                b => return Err(ends(b, Rule::VersionMalformed)),
            },
            State::StatusVersion(0) if matches!(byte, b'\r' | b'\n') => return Err(Rule::EmptyLines),
            State::StatusVersion(n) => match version(n, byte, Rule::VersionMalformed)? {
                8 => State::StatusSpace,
                n => State::StatusVersion(n),
            },
            State::StatusSpace => match byte {
                b' ' => State::Status(0),
                b'0'..=b'9' => return Err(Rule::VersionMalformed),
                _ => return Err(Rule::StatusMalformed),
            },
            State::Status(n) => match (n, byte) {
                (0, b'1'..=b'9') | (1, b'0'..=b'9') => State::Status(n + 1),
                (2, b'0'..=b'9') => State::StatusEnd,
                _ => return Err(Rule::StatusMalformed),
            },
            State::StatusEnd => match byte {
                b' ' => State::Reason,
                b'\r' => State::StatusLineLf,
                b => return Err(ends(b, Rule::StatusMalformed)),
            },
            State::Reason => match byte {
                b'\r' => State::StatusLineLf,
                b'\n' => return Err(Rule::BareLf),
                b if super::token::is_value_byte(b) => State::Reason,
                _ => return Err(Rule::ReasonChar),
            },
            State::RequestLineLf | State::StatusLineLf | State::ValueLf => lf(byte, State::LineStart)?,
            State::LineStart => self.line_start(byte, limits)?,
            State::Name => name(byte)?,
            State::Value => value(byte)?,
            State::EndLf => return if byte == b'\n' { Ok(true) } else { Err(Rule::BareCr) },
        };
        Ok(false)
    }

    fn target(&self, at: usize, byte: u8, limits: &Limits) -> Result<State, Rule> {
        let len = at.saturating_sub(self.target);
        Ok(match byte {
            b' ' if len == 0 => return Err(Rule::RequestLineSpace),
            b' ' => State::Version(0),
            b'\r' => return Err(Rule::VersionMissing),
            b'\n' => return Err(Rule::BareLf),
            b'#' => return Err(Rule::TargetFragment),
            0x21..=0x7e if len >= limits.target as usize => return Err(Rule::TargetTooLong),
            0x21..=0x7e => State::Target,
            _ => return Err(Rule::TargetChar),
        })
    }

    fn line_start(&mut self, byte: u8, limits: &Limits) -> Result<State, Rule> {
        Ok(match byte {
            b'\r' => State::EndLf,
            b'\n' => return Err(Rule::BareLf),
            b' ' | b'\t' if self.fields == 0 => return Err(Rule::FieldLeadingSpace),
            b' ' | b'\t' => return Err(Rule::ObsFold),
            b':' => return Err(Rule::FieldNameEmpty),
            b if !is_tchar(b) => return Err(Rule::FieldNameChar),
            _ if self.fields >= limits.fields => return Err(Rule::TooManyFields),
            _ => {
                self.fields += 1;
                State::Name
            }
        })
    }
}

/// The rule for a byte that ends a line too early, or else `other`.
const fn ends(byte: u8, other: Rule) -> Rule {
    match byte {
        b'\n' => Rule::BareLf,
        b'\r' if matches!(other, Rule::MethodChar) => Rule::VersionMissing,
        _ => other,
    }
}

const fn lf(byte: u8, then: State) -> Result<State, Rule> {
    if byte == b'\n' { Ok(then) } else { Err(Rule::BareCr) }
}

fn method_start(byte: u8) -> Result<State, Rule> {
    match byte {
        b' ' | b'\t' => Err(Rule::RequestLineSpace),
        b'\r' => Err(Rule::EmptyLines),
        b'\n' => Err(Rule::BareLf),
        b if is_tchar(b) => Ok(State::Method),
        _ => Err(Rule::MethodChar),
    }
}

/// The byte number `n` of the version; gives how many there are now.
fn version(n: u8, byte: u8, space: Rule) -> Result<u8, Rule> {
    let fits = match n {
        5 if byte.is_ascii_digit() && byte != b'1' => return Err(Rule::VersionUnsupported),
        7 if byte.is_ascii_digit() && byte > b'1' => return Err(Rule::VersionUnsupported),
        7 => matches!(byte, b'0' | b'1'),
        _ => b"HTTP/1.".get(usize::from(n)) == Some(&byte),
    };
    match byte {
        _ if fits => Ok(n + 1),
        b' ' | b'\t' => Err(space),
        b => Err(ends(b, Rule::VersionMalformed)),
    }
}

fn name(byte: u8) -> Result<State, Rule> {
    match byte {
        b':' => Ok(State::Value),
        b if is_tchar(b) => Ok(State::Name),
        b' ' | b'\t' => Err(Rule::FieldNameSpace),
        b'\r' => Err(Rule::FieldColonMissing),
        b'\n' => Err(Rule::BareLf),
        _ => Err(Rule::FieldNameChar),
    }
}

fn value(byte: u8) -> Result<State, Rule> {
    match byte {
        b'\r' => Ok(State::ValueLf),
        b'\n' => Err(Rule::BareLf),
        0 => Err(Rule::ValueNul),
        b if super::token::is_value_byte(b) => Ok(State::Value),
        _ => Err(Rule::ValueCtl),
    }
}

/// Each field line of a section the machine has accepted, from `start` (the first byte after the start line) to its
/// empty line: name and value, the value trimmed.
pub(super) fn lines(section: &[u8], start: usize) -> impl Iterator<Item = (Span, Span)> {
    let mut at = start;
    std::iter::from_fn(move || {
        let rest = section.get(at..)?;
        let cr = memchr::memchr(b'\r', rest)?;
        let line = rest.get(..cr)?;
        let colon = memchr::memchr(b':', line)?;
        let name = Span::new(at, at + colon);
        let raw = line.get(colon + 1..)?;
        let value = super::token::trim(raw);
        let lead = raw.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let from = at + colon + 1 + if value.is_empty() { 0 } else { lead };
        at += cr + 2;
        Some((name, Span::new(from, from + value.len())))
    })
}
