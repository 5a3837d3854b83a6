//! Frames about the connection, and about streams as a whole.

use super::super::budget::Waste;
use super::super::flow::PROBE;
use super::super::frame::{self, Head};
use super::super::message::Priority;
use super::super::state::State;
use super::super::{Code, Violation};
use super::receive::protocol;
use super::{Connection, Event, LEAVING, Leaving, Role};

impl Connection {
    pub(super) fn reset_came(&mut self, id: u32, code: Code, now: u64) -> Result<Option<Event>, Violation> {
        let Some(at) = self.living(id) else {
            if self.is_idle(id) && self.is_taken(id) {
                return Err(protocol("5.1", "RST_STREAM on a stream that was not begun"));
            }
            self.waste(Waste::Late, now)?;
            return Ok(None);
        };
        let state = self.streams.get(at).map_or(State::Closed, |stream| stream.state);
        self.close(at, false);
        if state.is_unanswered() || self.role == Role::Client {
            self.waste(Waste::Reset, now)?;
        }
        Ok(Some(Event::Reset { stream: at, code }))
    }

    pub(super) fn settings(
        &mut self,
        head: &Head,
        payload: &[u8],
        now: u64,
    ) -> Result<Option<Event>, Violation> {
        if head.has(frame::ACK) {
            if self.unsettled == 0 {
                self.waste(Waste::Settings, now)?;
                return Ok(None);
            }
            self.unsettled -= 1;
            self.decoder.allow(self.ours.header_table);
            return Ok(Some(Event::Settled));
        }
        if self.greeted {
            self.waste(Waste::Settings, now)?;
        }
        self.greeted = true;
        for (id, value) in frame::settings(payload) {
            self.set(id, value)?;
        }
        frame::put_settings_ack(&mut self.out);
        Ok(self.streams.front().filter(|_| self.send > 0).map(|_| Event::Credit))
    }

    fn set(&mut self, id: u16, value: u32) -> Result<(), Violation> {
        match id {
            1 => self.encoder.resize(value),
            2 if value > 1 || (value == 1 && self.role == Role::Client) => {
                return Err(protocol("6.5.2", "SETTINGS_ENABLE_PUSH has no such value"));
            }
            3 => self.theirs.max_streams = value,
            4 => self.set_window(value)?,
            5 => {
                if !(frame::MIN_MAX_SIZE..=frame::MAX_MAX_SIZE).contains(&value) {
                    return Err(protocol("6.5.2", "SETTINGS_MAX_FRAME_SIZE has no such value"));
                }
                self.theirs.max_frame = value;
            }
            8 => {
                if value > 1 || (value == 0 && self.theirs.extended_connect) {
                    return Err(protocol("RFC 8441 3", "SETTINGS_ENABLE_CONNECT_PROTOCOL has no such value"));
                }
                self.theirs.extended_connect = value == 1;
            }
            9 if value > 1 => {
                return Err(protocol("RFC 9218 2.1", "SETTINGS_NO_RFC7540_PRIORITIES has no such value"));
            }
            _ => {}
        }
        Ok(())
    }

    /// The peer's initial window changes those of all streams by the difference.
    fn set_window(&mut self, value: u32) -> Result<(), Violation> {
        let overflow = Violation::new(Code::FLOW_CONTROL_ERROR, "6.5.2", "a window beyond 2^31-1");
        if value > frame::MAX_31 {
            return Err(overflow);
        }
        let difference = i64::from(value) - i64::from(self.theirs.window);
        self.theirs.window = value;
        let mut wake = Vec::new();
        for (at, stream) in self.streams.iter_mut() {
            stream.send += difference;
            if stream.send > i64::from(frame::MAX_31) {
                return Err(overflow);
            }
            if stream.wants && stream.send > 0 {
                wake.push(at);
            }
        }
        wake.into_iter().for_each(|at| self.streams.enqueue(at, false));
        Ok(())
    }

    pub(super) fn ping_came(
        &mut self,
        head: &Head,
        payload: &[u8],
        now: u64,
    ) -> Result<Option<Event>, Violation> {
        let opaque = payload.first_chunk().copied().unwrap_or_default();
        if !head.has(frame::ACK) {
            self.waste(Waste::Ping, now)?;
            frame::put_ping(&mut self.out, true, opaque);
            return Ok(None);
        }
        match opaque {
            PROBE => {
                if self.bdp.answered(now) {
                    self.grow();
                }
                // Answers that were not asked for are paid for.
                self.waste(Waste::Ping, now)?;
                self.budget.earn(8);
                Ok(None)
            }
            LEAVING if self.leaving == Leaving::Announced => {
                self.leave(Code::NO_ERROR);
                Ok(None)
            }
            _ => {
                self.waste(Waste::Ping, now)?;
                Ok(Some(Event::Pong(opaque)))
            }
        }
    }

    /// The connection's window is at least what one stream may have.
    fn grow(&mut self) {
        let window = self.bdp.window();
        if window > self.target {
            self.target = window;
            self.give_back(0);
        }
    }

    pub(super) fn goaway_came(&mut self, payload: &[u8]) -> Result<Option<Event>, Violation> {
        let (last, rest) = (frame::word(payload) & frame::MAX_31, payload.get(4..).unwrap_or_default());
        let code = Code(frame::word(rest));
        if self.gone.is_some_and(|before| last > before) {
            return Err(protocol("6.8", "the last stream of GOAWAY increases"));
        }
        self.gone = Some(last);
        if self.role == Role::Client {
            let refused: Vec<_> = self
                .streams
                .iter_mut()
                .filter(|(at, stream)| at.id > last && stream.state != State::Closed)
                .map(|(at, _)| at)
                .collect();
            for stream in refused {
                self.close(stream, true);
                self.pending.push_back(Event::Reset { stream, code: Code::REFUSED_STREAM });
            }
        }
        Ok(Some(Event::GoAway { last, code }))
    }

    pub(super) fn window_update(
        &mut self,
        id: u32,
        credit: u32,
        now: u64,
    ) -> Result<Option<Event>, Violation> {
        let credit = i64::from(credit & frame::MAX_31);
        self.waste(Waste::WindowUpdate, now)?;
        if id == 0 {
            if credit == 0 {
                return Err(protocol("6.9", "WINDOW_UPDATE of nothing"));
            }
            let blocked = self.send <= 0;
            self.send += credit;
            if self.send > i64::from(frame::MAX_31) {
                return Err(Violation::new(Code::FLOW_CONTROL_ERROR, "6.9.1", "a window beyond 2^31-1"));
            }
            let wakes = blocked && self.send > 0 && self.streams.front().is_some();
            return Ok(wakes.then_some(Event::Credit));
        }
        let Some(at) = self.living(id) else {
            if self.is_idle(id) && self.is_taken(id) {
                return Err(protocol("5.1", "WINDOW_UPDATE on a stream that was not begun"));
            }
            return Ok(None);
        };
        let Some(stream) = self.streams.get_mut(at) else { return Ok(None) };
        stream.send += credit;
        let violation = if credit == 0 {
            Some(protocol("6.9", "WINDOW_UPDATE of nothing"))
        } else if stream.send > i64::from(frame::MAX_31) {
            Some(Violation::new(Code::FLOW_CONTROL_ERROR, "6.9.1", "a window beyond 2^31-1"))
        } else {
            None
        };
        if let Some(violation) = violation {
            self.break_stream(at, violation, now)?;
            return Ok(None);
        }
        if stream.wants && stream.send > 0 {
            self.streams.enqueue(at, false);
            return Ok((self.send > 0).then_some(Event::Credit));
        }
        Ok(None)
    }

    pub(super) fn priority(
        &mut self,
        head: &Head,
        payload: &[u8],
        now: u64,
    ) -> Result<Option<Event>, Violation> {
        self.waste(Waste::Priority, now)?;
        // The scheme is deprecated (RFC 9113 section 5.3.2); only what was always wrong still is.
        if frame::word(payload) & frame::MAX_31 == head.stream
            && let Some(at) = self.living(head.stream)
        {
            self.break_stream(at, protocol("RFC 7540 5.3.1", "a stream depends on itself"), now)?;
        }
        Ok(None)
    }

    pub(super) fn priority_update(&mut self, payload: &[u8], now: u64) -> Result<Option<Event>, Violation> {
        self.waste(Waste::Priority, now)?;
        let id = frame::word(payload) & frame::MAX_31;
        if self.role == Role::Client || id == 0 {
            return Err(protocol("RFC 9218 7.1", "PRIORITY_UPDATE from a server, or about stream 0"));
        }
        if let Some(at) = self.living(id) {
            self.streams.prioritize(at, Priority::parse(payload.get(4..).unwrap_or_default()));
        }
        Ok(None)
    }
}
