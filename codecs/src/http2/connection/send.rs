//! Commands: what the owners of streams, and of the connection, want sent.

use super::super::frame;
use super::super::hpack::Class;
use super::super::state::{OutOfTurn, State};
use super::super::streams::{Stream, StreamRef};
use super::super::{Code, Field, Violation};
use super::{Connection, LEAVING, Leaving, OUT_MOST, Role};

/// What a DATA frame holds at most, whatever the peer takes: streams take turns after that.
const QUANTUM: usize = 16 << 10;

impl Connection {
    /// Begins a stream with a request's head.
    ///
    /// # Errors
    /// If the peer takes no further stream; see [`Self::room`].
    pub fn open<'f>(
        &mut self,
        fields: impl Iterator<Item = Field<'f>>,
        end: bool,
    ) -> Result<StreamRef, OutOfTurn> {
        if self.role == Role::Server || self.room() == 0 {
            return Err(OutOfTurn);
        }
        let id = self.next_id;
        self.next_id += 2;
        let mut stream =
            Stream::new(id, State::begun_by_us(end), i64::from(self.theirs.window), self.ours.window);
        let mut is_head = false;
        let watched = fields.inspect(|field| is_head |= field.name == b":method" && field.value == b"HEAD");
        self.put_section(id, watched, end);
        stream.is_head = is_head;
        self.open += 1;
        Ok(self.streams.insert(stream))
    }

    /// Sends a response's head; with `interim` one of 1xx, behind which another has to follow.
    ///
    /// # Errors
    /// If the stream has gone, or has a head already.
    pub fn head<'f>(
        &mut self,
        at: StreamRef,
        fields: impl Iterator<Item = Field<'f>>,
        interim: bool,
        end: bool,
    ) -> Result<(), OutOfTurn> {
        let stream = self.streams.get_mut(at).ok_or(OutOfTurn)?;
        stream.state.send_head(interim, end)?;
        self.put_section(at.id, fields, end);
        if !interim {
            // An answered request is what connections are for.
            self.budget.earn(64);
        }
        self.settle(at);
        Ok(())
    }

    /// Sends as much of `data` as the windows and the peer's pace allow, at most a frame's worth, and with the last of it the
    /// stream's end if `end` says so. Gives how much was taken; for the rest the stream waits until [`Self::writable`]
    /// names it.
    ///
    /// # Errors
    /// If the stream has gone, or is not between its head and its end.
    pub fn data(&mut self, at: StreamRef, data: &[u8], end: bool) -> Result<usize, OutOfTurn> {
        let stream = self.streams.get_mut(at).ok_or(OutOfTurn)?;
        let window = stream.send.min(self.send).max(0);
        let room = OUT_MOST.saturating_sub(self.out.len());
        let most = QUANTUM.min(room).min(self.theirs.max_frame as usize);
        let len = data.len().min(usize::try_from(window).unwrap_or(usize::MAX)).min(most);
        let whole = len == data.len();
        let last = whole && end;
        stream.state.send_body(last)?;
        stream.wants = !whole;
        if len > 0 || last {
            stream.send -= len as i64;
            self.send -= len as i64;
            frame::put_data(&mut self.out, at.id, len as u32, last);
            self.out.extend_from_slice(data.get(..len).unwrap_or_default());
            self.budget.earn(16);
        }
        self.streams.dequeue(at);
        if last {
            self.settle(at);
        } else if let Some(stream) = self.streams.get(at) {
            let (wants, can) = (stream.wants, stream.send > 0);
            let incremental = stream.priority.incremental;
            if wants && can {
                self.streams.enqueue(at, !incremental);
            }
        }
        Ok(len)
    }

    /// The stream whose turn it is to write, of those whose data was not taken whole. It keeps its turn until its owner calls
    /// [`Self::data`].
    pub fn writable(&mut self) -> Option<StreamRef> {
        if self.send <= 0 || self.out.len() >= OUT_MOST || self.failed.is_some() {
            return None;
        }
        self.streams.front()
    }

    /// Ends the stream with trailers.
    ///
    /// # Errors
    /// If the stream has gone, or is not between its head and its end.
    pub fn trailers<'f>(
        &mut self,
        at: StreamRef,
        fields: impl Iterator<Item = Field<'f>>,
    ) -> Result<(), OutOfTurn> {
        let stream = self.streams.get_mut(at).ok_or(OutOfTurn)?;
        stream.state.send_body(true)?;
        stream.wants = false;
        self.streams.dequeue(at);
        self.put_section(at.id, fields, true);
        self.settle(at);
        Ok(())
    }

    /// Ends the stream both ways. What the owner holds of it counts as consumed.
    pub fn reset(&mut self, at: StreamRef, code: Code) {
        let Some(stream) = self.streams.get(at) else { return };
        if stream.state != State::Closed {
            frame::put_reset(&mut self.out, at.id, code);
        }
        self.close(at, true);
    }

    /// Whether we may still send on the stream.
    #[must_use]
    pub fn sends(&self, at: StreamRef) -> bool {
        self.streams.get(at).is_some_and(|stream| stream.state.sends())
    }

    /// The owner has done with so much of what came, so that the peer may send as much again. A stream of which nothing is held
    /// after that keeps up: its window grows.
    pub fn consumed(&mut self, at: StreamRef, len: usize) {
        let (window, first) = (self.bdp.window(), self.ours.window);
        let spare = self.ours.window_budget - self.grown;
        let Some(stream) = self.streams.get_mut(at) else { return };
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(stream.held);
        stream.held -= len;
        if stream.state.receives() {
            if stream.held == 0 && window > stream.target {
                let more = (window - stream.target).min(spare);
                stream.target += more;
                self.grown += more;
            }
            let due = i64::from(stream.target) - stream.receive - i64::from(stream.held);
            if due >= i64::from(stream.target.min(first.max(256 << 10)) / 2) {
                stream.receive += due;
                frame::put_window_update(&mut self.out, at.id, u32::try_from(due).unwrap_or(0));
            }
        }
        self.give_back(len);
        self.forget(at);
    }

    /// Sends a PING, whose answer comes as an event.
    pub fn ping(&mut self, opaque: [u8; 8]) {
        frame::put_ping(&mut self.out, false, opaque);
    }

    /// Asks the peer to begin no more streams, in two steps: those that are on their way are still taken (section 6.8).
    pub fn goaway(&mut self) {
        if self.leaving == Leaving::No && self.failed.is_none() {
            frame::put_goaway(&mut self.out, frame::MAX_31, Code::NO_ERROR, b"");
            frame::put_ping(&mut self.out, false, LEAVING);
            self.leaving = Leaving::Announced;
        }
    }

    /// Takes no stream above the last one from now on.
    pub fn leave(&mut self, code: Code) {
        if !matches!(self.leaving, Leaving::Final(_)) && self.failed.is_none() {
            frame::put_goaway(&mut self.out, self.last_peer, code, b"");
            self.leaving = Leaving::Final(self.last_peer);
        }
    }

    /// Ends the connection at once, for a reason of the owner's.
    pub fn abort(&mut self, code: Code, what: &'static str) {
        self.fail(Violation::new(code, "5.4.1", what));
    }

    fn put_section<'f>(&mut self, id: u32, fields: impl Iterator<Item = Field<'f>>, end: bool) {
        let section = frame::begin_section(&mut self.out);
        self.encoder.begin(&mut self.out);
        for Field { name, value, secret } in fields {
            let class = if secret { Class::Never } else { Class::of(name, value) };
            self.encoder.field(&mut self.out, name, value, class);
        }
        frame::end_section(&mut self.out, section, id, end, self.theirs.max_frame);
    }
}
