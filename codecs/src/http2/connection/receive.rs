//! Frames from the peer, DATA among them.

use super::super::budget::Waste;
use super::super::flow::PROBE;
use super::super::frame::{self, Head, Kind, Wrong};
use super::super::streams::StreamRef;
use super::super::{Code, PREFACE, Violation};
use super::{Connection, Event, Next, OURS, OUT_MOST, Reading, Role, Step, TURN_BYTES, TURN_FRAMES};

/// What one look at the bytes came to.
pub(super) enum Look {
    /// So many bytes were used, and something came.
    Came(usize, Event),
    /// So many bytes were used.
    Used(usize),
    /// So many bytes are needed.
    Needs(usize),
}

pub(super) const fn protocol(section: &'static str, what: &'static str) -> Violation {
    Violation::new(Code::PROTOCOL_ERROR, section, what)
}

impl Connection {
    /// Reads from `bytes`, which begin with what earlier calls did not use. `now` counts nanoseconds.
    pub fn receive(&mut self, bytes: &[u8], now: u64) -> Step {
        let mut used = 0;
        loop {
            let next = if let Some(event) = self.pending.pop_front() {
                Next::Event(event)
            } else if let Some(violation) = self.failed {
                Next::Closed(violation)
            } else if self.out.len() >= OUT_MOST {
                Next::Flush
            } else if self.turn.0 >= TURN_BYTES || self.turn.1 >= TURN_FRAMES {
                Next::Turn
            } else {
                match self.look(bytes, used, now) {
                    Ok(Look::Came(n, event)) => {
                        self.turn.0 += n;
                        used += n;
                        Next::Event(event)
                    }
                    Ok(Look::Used(n)) => {
                        self.turn.0 += n;
                        used += n;
                        continue;
                    }
                    Ok(Look::Needs(n)) => Next::More(n),
                    Err(violation) => {
                        self.fail(violation);
                        continue;
                    }
                }
            };
            return Step { used, next };
        }
    }

    fn look(&mut self, bytes: &[u8], at: usize, now: u64) -> Result<Look, Violation> {
        let rest = bytes.get(at..).unwrap_or_default();
        match self.reading {
            Reading::Preface(seen) => self.preface(rest, seen),
            Reading::Head => self.frame(rest, now),
            Reading::Skip(left) => {
                let n = rest.len().min(left as usize);
                if n == 0 {
                    return Ok(Look::Needs(1));
                }
                let left = left - n as u32;
                self.reading = if left == 0 { Reading::Head } else { Reading::Skip(left) };
                Ok(Look::Used(n))
            }
            Reading::Data { stream, left, pad, end } => {
                let n = rest.len().min(left as usize);
                if n == 0 {
                    return Ok(Look::Needs(1));
                }
                let left = left - n as u32;
                self.reading = match (left, pad) {
                    (0, 0) => Reading::Head,
                    (0, pad) => Reading::Skip(pad),
                    _ => Reading::Data { stream, left, pad, end },
                };
                Ok(self.piece(stream, at, n, end && left == 0))
            }
        }
    }

    fn preface(&mut self, rest: &[u8], seen: usize) -> Result<Look, Violation> {
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let n = rest.len().min(expected.len());
        if rest.get(..n) != expected.get(..n) {
            return Err(protocol("3.4", "the client's preface is not there"));
        }
        if n == 0 {
            return Ok(Look::Needs(expected.len()));
        }
        self.reading = if n == expected.len() { Reading::Head } else { Reading::Preface(seen + n) };
        Ok(Look::Used(n))
    }

    /// A piece of data for its owner, if the stream is still wanted.
    fn piece(&mut self, at: StreamRef, start: usize, len: usize, end: bool) -> Look {
        let Some(stream) = self.streams.get_mut(at) else {
            // It was reset while the frame was coming, and all of the frame given back with it.
            return Look::Used(len);
        };
        if end {
            let _ = stream.state.receive_data(true);
            self.settle(at);
        }
        Look::Came(len, Event::Data { stream: at, range: start..start + len, end })
    }

    fn frame(&mut self, rest: &[u8], now: u64) -> Result<Look, Violation> {
        let Some(head) = Head::parse(rest) else { return Ok(Look::Needs(frame::HEAD)) };
        let wrong = match head.check(frame::MIN_MAX_SIZE) {
            Ok(()) => None,
            Err(Wrong::Stream(violation)) => Some(violation),
            Err(Wrong::Connection(violation)) => return Err(violation),
        };
        if !self.greeted && (head.kind != Kind::Settings || head.has(frame::ACK)) {
            return Err(protocol("3.4", "the first frame is not SETTINGS"));
        }
        if let Some(gather) = &self.gather
            && (head.kind != Kind::Continuation || head.stream != gather.stream)
        {
            return Err(protocol("6.10", "a field section is interrupted"));
        }
        match head.kind {
            Kind::Data => return self.data_came(&head, rest, now),
            Kind::Unknown(_) => {
                self.waste(Waste::Unknown, now)?;
                self.reading = if head.len == 0 { Reading::Head } else { Reading::Skip(head.len) };
                self.turn.1 += 1;
                return Ok(Look::Used(frame::HEAD));
            }
            _ => {}
        }
        let whole = frame::HEAD + head.len as usize;
        let Some(payload) = rest.get(frame::HEAD..whole) else { return Ok(Look::Needs(whole)) };
        self.turn.1 += 1;
        if let Some(violation) = wrong {
            if let Some(at) = self.living(head.stream) {
                self.break_stream(at, violation, now)?;
            }
            self.waste(Waste::Priority, now)?;
            return Ok(Look::Used(whole));
        }
        let event = match head.kind {
            Kind::Headers => self.headers(&head, payload, now)?,
            Kind::Continuation => self.continuation(&head, payload, now)?,
            Kind::RstStream => self.reset_came(head.stream, Code(frame::word(payload)), now)?,
            Kind::Settings => self.settings(&head, payload, now)?,
            Kind::Ping => self.ping_came(&head, payload, now)?,
            Kind::GoAway => self.goaway_came(payload)?,
            Kind::WindowUpdate => self.window_update(head.stream, frame::word(payload), now)?,
            Kind::Priority => self.priority(&head, payload, now)?,
            Kind::PriorityUpdate => self.priority_update(payload, now)?,
            Kind::PushPromise => return Err(protocol("8.4", "PUSH_PROMISE that we do not take")),
            Kind::Data | Kind::Unknown(_) => None,
        };
        Ok(match event {
            Some(event) => Look::Came(whole, event),
            None => Look::Used(whole),
        })
    }

    fn data_came(&mut self, head: &Head, rest: &[u8], now: u64) -> Result<Look, Violation> {
        let (pad, before) = if head.has(frame::PADDED) {
            if head.len == 0 {
                return Err(Violation::new(
                    Code::FRAME_SIZE_ERROR,
                    "6.1",
                    "a padded frame without its padding's length",
                ));
            }
            let Some(&pad) = rest.get(frame::HEAD) else { return Ok(Look::Needs(frame::HEAD + 1)) };
            (u32::from(pad), 1)
        } else {
            (0, 0)
        };
        let Some(len) = head.len.checked_sub(before + pad) else {
            return Err(protocol("6.1", "padding longer than the frame"));
        };
        self.turn.1 += 1;
        let used = frame::HEAD + before as usize;
        let end = head.has(frame::END_STREAM);
        // All of the frame counts against the windows, padding too.
        self.receive -= i64::from(head.len);
        if self.receive < 0 {
            return Err(Violation::new(
                Code::FLOW_CONTROL_ERROR,
                "6.9.1",
                "more than the connection's window",
            ));
        }
        self.held += u64::from(head.len);
        self.judge_data(len, end, now)?;
        let skip = |n: u32| if n == 0 { Reading::Head } else { Reading::Skip(n) };
        let Some(at) = self.living(head.stream) else {
            self.late(head.stream, Code::STREAM_CLOSED, now)?;
            self.give_back(head.len);
            self.reading = skip(len + pad);
            return Ok(Look::Used(used));
        };
        if let Err(violation) = self.admit_data(at, head.len, len, end) {
            self.give_back(head.len);
            self.reading = skip(len + pad);
            self.break_stream(at, violation, now)?;
            return Ok(Look::Used(used));
        }
        self.give_back(before + pad);
        if self.bdp.received(head.len, now) {
            frame::put_ping(&mut self.out, false, PROBE);
        }
        if len > 0 {
            self.reading = Reading::Data { stream: at, left: len, pad, end };
            return Ok(Look::Used(used));
        }
        self.reading = skip(pad);
        if !end {
            return Ok(Look::Used(used));
        }
        self.settle(at);
        Ok(Look::Came(used, Event::Data { stream: at, range: 0..0, end }))
    }

    /// Counts a DATA frame as useful or not.
    fn judge_data(&mut self, len: u32, end: bool, now: u64) -> Result<(), Violation> {
        match len {
            _ if end => Ok(()),
            0 => self.waste(Waste::EmptyData, now),
            1..8 => self.waste(Waste::TinyData, now),
            64.. => {
                self.budget.earn(8);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Holds a DATA frame to its stream's state, window and length.
    fn admit_data(&mut self, at: StreamRef, whole: u32, len: u32, end: bool) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(at) else { return Ok(()) };
        // The end takes effect with the last octet, but for a frame that has none; and nothing does if a rule is broken.
        let mut state = stream.state;
        state.receive_data(end && len == 0)?;
        if stream.receive < i64::from(whole) {
            return Err(Violation::new(Code::FLOW_CONTROL_ERROR, "6.9.1", "more than the stream's window"));
        }
        if let Some(expected) = &mut stream.expected {
            let left = expected.checked_sub(u64::from(len)).filter(|&left| left == 0 || !end);
            *expected = left.ok_or(protocol("8.1.1", "content-length is not the length of the content"))?;
        }
        stream.state = state;
        stream.receive -= i64::from(len);
        stream.held += len;
        let padding = whole - len;
        if padding > 0 {
            // Padding is consumed at once.
            let id = at.id;
            if !end {
                frame::put_window_update(&mut self.out, id, padding);
            }
        }
        Ok(())
    }

    /// A frame for a stream that is not there: a fault, unless it was on its way when we reset the stream.
    pub(super) fn late(&mut self, id: u32, code: Code, now: u64) -> Result<(), Violation> {
        if self.is_idle(id) {
            return Err(protocol("5.1", "a frame for a stream that was not begun"));
        }
        self.waste(Waste::Late, now)?;
        if !self.recent.contains(&(id | OURS)) && self.is_taken(id) {
            frame::put_reset(&mut self.out, id, code);
            self.waste(Waste::Reset, now)?;
        }
        Ok(())
    }

    /// Whether the stream was not begun yet.
    pub(super) const fn is_idle(&self, id: u32) -> bool {
        match self.role {
            Role::Server => id.is_multiple_of(2) || id > self.last_peer,
            Role::Client => id.is_multiple_of(2) || id >= self.next_id,
        }
    }

    /// Whether the stream is not above the last one of our GOAWAY.
    pub(super) const fn is_taken(&self, id: u32) -> bool {
        match self.leaving {
            super::Leaving::Final(last) => id <= last,
            _ => true,
        }
    }
}
