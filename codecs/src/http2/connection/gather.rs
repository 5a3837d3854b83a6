//! Field sections from the peer: HEADERS and what continues them.

use super::super::budget::Waste;
use super::super::frame::{self, Head};
use super::super::hpack::Outcome;
use super::super::message::{self, Facts, Wanted};
use super::super::state::{Section, State};
use super::super::streams::{Stream, StreamRef};
use super::super::{Code, Violation};
use super::receive::protocol;
use super::{Connection, Event, OURS, Role};

/// Memory that the field buffer keeps from section to section.
const KEEP: usize = 8 << 10;

/// A field section that is coming.
#[derive(Debug)]
pub(super) struct Gather {
    pub(super) stream: u32,
    end: bool,
    whose: Whose,
}

/// What a section is for.
#[derive(Debug, Clone, Copy)]
enum Whose {
    /// A stream that it begins.
    New,
    /// A stream that is there.
    Known(StreamRef, Section),
    /// A stream that has to be refused for this.
    Wrong(Option<StreamRef>, Violation),
    /// A stream that has gone: the section is decoded for the table's sake.
    Gone,
}

impl Connection {
    pub(super) fn headers(
        &mut self,
        head: &Head,
        payload: &[u8],
        now: u64,
    ) -> Result<Option<Event>, Violation> {
        let (fragment, on_itself) = frame::fragment(head, payload)?;
        let mut whose = self.whose(head.stream, now)?;
        if on_itself {
            let known = match whose {
                Whose::Known(at, _) => Some(at),
                _ => None,
            };
            whose = Whose::Wrong(known, protocol("RFC 7540 5.3.1", "a stream depends on itself"));
        }
        if self.role == Role::Server && head.stream > self.last_peer {
            self.last_peer = head.stream;
        }
        self.fields.clear(KEEP);
        self.gather = Some(Gather { stream: head.stream, end: head.has(frame::END_STREAM), whose });
        self.section(fragment, head.has(frame::END_HEADERS), now)
    }

    fn whose(&mut self, id: u32, now: u64) -> Result<Whose, Violation> {
        if id.is_multiple_of(2) {
            return Err(protocol("5.1.1", "HEADERS on a stream that the server would begin"));
        }
        if let Some(at) = self.living(id) {
            let state = self.streams.get(at).map_or(State::Closed, |stream| stream.state);
            return Ok(match state.next_section() {
                Ok(section) => Whose::Known(at, section),
                Err(violation) => Whose::Wrong(Some(at), violation),
            });
        }
        if !self.is_taken(id) {
            return Ok(Whose::Gone);
        }
        if self.is_idle(id) {
            return match self.role {
                Role::Server => Ok(Whose::New),
                Role::Client => Err(protocol("5.1.1", "HEADERS on a stream that we did not begin")),
            };
        }
        self.waste(Waste::Late, now)?;
        if self.recent.contains(&(id | OURS)) {
            return Ok(Whose::Gone);
        }
        if self.recent.contains(&id) {
            return Err(Violation::new(Code::STREAM_CLOSED, "5.1", "HEADERS on a closed stream"));
        }
        if self.recent.len() < super::RECENT {
            // All that were ever closed are remembered, so this one was skipped.
            return Err(protocol("5.1.1", "a stream's id is not above the last one"));
        }
        Ok(Whose::Wrong(None, Violation::new(Code::STREAM_CLOSED, "5.1", "HEADERS on a closed stream")))
    }

    pub(super) fn continuation(
        &mut self,
        head: &Head,
        payload: &[u8],
        now: u64,
    ) -> Result<Option<Event>, Violation> {
        if self.gather.is_none() {
            return Err(protocol("6.10", "CONTINUATION of nothing"));
        }
        if payload.len() < 1024 {
            self.waste(Waste::Continuation, now)?;
        }
        self.section(payload, head.has(frame::END_HEADERS), now)
    }

    /// A piece of a section; the last one says what it was.
    fn section(&mut self, piece: &[u8], last: bool, now: u64) -> Result<Option<Event>, Violation> {
        let limit = self.ours.section as usize;
        let outcome = self.decoder.feed(piece, last, limit, &mut self.fields)?;
        if self.decoder.seen() > self.ours.section_most as usize {
            return Err(Violation::new(
                Code::ENHANCE_YOUR_CALM,
                "10.5.1",
                "a field section beyond all bounds",
            ));
        }
        let Some(outcome) = outcome else { return Ok(None) };
        let Some(Gather { stream: id, end, whose }) = self.gather.take() else { return Ok(None) };
        match whose {
            Whose::Gone => Ok(None),
            Whose::Wrong(Some(at), violation) => {
                self.break_stream(at, violation, now)?;
                Ok(None)
            }
            Whose::Wrong(None, violation) => self.refuse(id, violation.code, now),
            Whose::New => self.begin(id, end, outcome, now),
            Whose::Known(at, section) => self.go_on(at, section, end, outcome, now),
        }
    }

    /// Resets a stream that has no owner yet.
    fn refuse(&mut self, id: u32, code: Code, now: u64) -> Result<Option<Event>, Violation> {
        frame::put_reset(&mut self.out, id, code);
        if self.recent.len() == super::RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(id | OURS);
        self.waste(Waste::Reset, now)?;
        Ok(None)
    }

    fn begin(&mut self, id: u32, end: bool, outcome: Outcome, now: u64) -> Result<Option<Event>, Violation> {
        if self.open >= self.ours.max_streams {
            return self.refuse(id, Code::REFUSED_STREAM, now);
        }
        let wanted = Wanted::Request { extended: self.ours.extended_connect };
        let facts = match self.facts(wanted, outcome, end) {
            Ok(facts) => facts,
            Err(violation) => return self.refuse(id, violation.code, now),
        };
        let mut state = State::begun_by_peer();
        state.receive_section(Section::Head, end)?;
        let mut stream = Stream::new(id, state, i64::from(self.theirs.window), self.ours.window);
        if let Some(facts) = facts {
            stream.expected = facts.length;
            stream.is_head = facts.is_head;
            stream.priority = facts.priority.unwrap_or(stream.priority);
        }
        self.open += 1;
        let stream = self.streams.insert(stream);
        match facts {
            Some(facts) => Ok(Some(Event::Head { stream, end, facts })),
            None => {
                self.waste(Waste::TooLarge, now)?;
                Ok(Some(Event::TooLarge { stream, end, trailers: false }))
            }
        }
    }

    fn go_on(
        &mut self,
        at: StreamRef,
        section: Section,
        end: bool,
        outcome: Outcome,
        now: u64,
    ) -> Result<Option<Event>, Violation> {
        match self.take_up(at, section, end, outcome) {
            Ok(event) => {
                match event {
                    Event::TooLarge { .. } => self.waste(Waste::TooLarge, now)?,
                    Event::Interim { .. } => self.waste(Waste::Interim, now)?,
                    // An answered request is what connections are for.
                    Event::Head { .. } => self.budget.earn(64),
                    _ => self.budget.earn(8),
                }
                self.settle(at);
                Ok(Some(event))
            }
            Err(violation) => {
                self.break_stream(at, violation, now)?;
                Ok(None)
            }
        }
    }

    /// A section of a stream that is there.
    fn take_up(
        &mut self,
        at: StreamRef,
        section: Section,
        end: bool,
        outcome: Outcome,
    ) -> Result<Event, Violation> {
        let is_trailers = section == Section::Trailers;
        let wanted = if is_trailers { Wanted::Trailers } else { Wanted::Response };
        let facts = self.facts(wanted, outcome, end)?;
        let gone = protocol("5.1", "a section for no stream");
        let stream = self.streams.get_mut(at).ok_or(gone)?;
        let Some(facts) = facts else {
            stream.state.receive_section(section, end)?;
            return Ok(Event::TooLarge { stream: at, end, trailers: is_trailers });
        };
        // A section that breaks a rule changes nothing.
        let mut state = stream.state;
        if is_trailers {
            state.receive_section(section, end)?;
            if stream.expected.is_some_and(|left| left > 0) {
                return Err(protocol("8.1.1", "content-length is not the length of the content"));
            }
            stream.state = state;
            return Ok(Event::Trailers { stream: at });
        }
        if facts.status < 200 {
            stream.state.receive_section(Section::Interim, end)?;
            return Ok(Event::Interim { stream: at, status: facts.status });
        }
        state.receive_section(section, end)?;
        if !stream.is_head && facts.status != 304 {
            if end && facts.length.is_some_and(|length| length > 0) {
                return Err(protocol("8.1.1", "content-length is not the length of the content"));
            }
            stream.expected = facts.length;
        }
        stream.state = state;
        Ok(Event::Head { stream: at, end, facts })
    }

    /// What the section says; `None` if it was beyond the limit.
    fn facts(&self, wanted: Wanted, outcome: Outcome, end: bool) -> Result<Option<Facts>, Violation> {
        if outcome.over {
            return Ok(None);
        }
        let facts = message::check(&self.fields, wanted)?;
        if matches!(wanted, Wanted::Request { .. }) && end && facts.length.is_some_and(|length| length > 0) {
            return Err(protocol("8.1.1", "content-length is not the length of the content"));
        }
        Ok(Some(facts))
    }
}
