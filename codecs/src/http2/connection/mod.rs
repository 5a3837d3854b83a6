//! One HTTP/2 connection: bytes in, events out; commands in, bytes out. It reads no socket and no clock.
//!
//! The shell reads into a buffer and calls [`Connection::receive`] until it wants more bytes, each time with what is left of
//! the buffer. DATA comes as ranges of that very buffer, field sections in [`Connection::fields`]. What is to be sent is in
//! [`Connection::out`], which the shell writes and drains. Streams whose owners had more to send than the windows allowed
//! are named by [`Connection::writable`] in the order in which they are to go on.

mod control;
mod gather;
mod receive;
mod send;

use super::budget::{Budget, Waste};
use super::flow::Bdp;
use super::frame;
use super::hpack::{Decoder, Encoder};
use super::message::Facts;
use super::state::State;
use super::streams::{Stream, StreamRef, Streams};
use super::{Code, Fields, PREFACE, Violation};
use bytes::BytesMut;
use gather::Gather;
use std::collections::VecDeque;
use std::ops::Range;

/// While more than this waits to be written nothing more is read or sent: a peer that does not read gets no answers.
pub const OUT_MOST: usize = 64 << 10;
/// What one turn reads at most before another connection has its own.
pub const TURN_BYTES: usize = 64 << 10;
/// How many frames one turn reads at most.
pub const TURN_FRAMES: u32 = 256;
/// How many streams that have gone are remembered.
const RECENT: usize = 64;
/// Marks a remembered stream as one that we have reset, so that what was on its way is no fault.
const OURS: u32 = 1 << 31;
/// What the PING behind the first GOAWAY carries.
const LEAVING: [u8; 8] = *b"weir-bye";

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Streams are begun by us.
    Client,
    /// Streams are begun by the peer.
    Server,
}

/// What we tell the peer, and what we hold it to.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The peer's compression table.
    pub header_table: u32,
    /// How many streams the peer may have open.
    pub max_streams: u32,
    /// Each stream's window at first; at least 65,535.
    pub window: u32,
    /// A stream's window at most, when its owner keeps up.
    pub window_most: u32,
    /// What all streams together may have of windows beyond `window`.
    pub window_budget: u32,
    /// The connection's window at first; at least 65,535.
    pub connection_window: u32,
    /// A field section beyond this is dropped, and its stream's owner told.
    pub section: u32,
    /// A field section beyond this ends the connection.
    pub section_most: u32,
    /// Whether we offer extended CONNECT (RFC 8441).
    pub extended_connect: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_table: 4096,
            max_streams: 100,
            window: 65_535,
            window_most: 4 << 20,
            window_budget: 8 << 20,
            connection_window: 1 << 20,
            section: 64 << 10,
            section_most: 1 << 20,
            extended_connect: false,
        }
    }
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A head; its fields are in [`Connection::fields`] until the next call.
    Head {
        /// Whose.
        stream: StreamRef,
        /// Whether nothing follows.
        end: bool,
        /// What was learnt from it.
        facts: Facts,
    },
    /// An interim response (1xx), behind which another head comes.
    Interim {
        /// Whose.
        stream: StreamRef,
        /// Its status.
        status: u16,
    },
    /// A piece of a body. The owner gives its length back by [`Connection::consumed`].
    Data {
        /// Whose.
        stream: StreamRef,
        /// Where it is in the bytes of this call.
        range: Range<usize>,
        /// Whether nothing follows.
        end: bool,
    },
    /// Trailers, which end the stream; in [`Connection::fields`].
    Trailers {
        /// Whose.
        stream: StreamRef,
    },
    /// A head or trailers beyond the limit: [`Connection::fields`] has what was within it. The stream goes on until its owner
    /// ends it.
    TooLarge {
        /// Whose.
        stream: StreamRef,
        /// Whether nothing follows.
        end: bool,
        /// Whether it was the trailers.
        trailers: bool,
    },
    /// The peer has reset the stream, or refused it by GOAWAY (then the code is REFUSED_STREAM).
    Reset {
        /// Which.
        stream: StreamRef,
        /// Why.
        code: Code,
    },
    /// The peer broke a rule on this stream, which we have reset.
    Broken {
        /// Which.
        stream: StreamRef,
        /// What rule.
        violation: Violation,
    },
    /// A stream that could not write can: see [`Connection::writable`].
    Credit,
    /// The peer takes no stream above this one any more.
    GoAway {
        /// The last stream that it has processed or may process.
        last: u32,
        /// Why.
        code: Code,
    },
    /// The peer has acknowledged our settings.
    Settled,
    /// The peer has answered our PING.
    Pong([u8; 8]),
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Something came; call again.
    Event(Event),
    /// So many bytes, counted from those that are not used, are needed at least.
    More(usize),
    /// The turn is over: call [`Connection::begin_turn`] when the others had theirs.
    Turn,
    /// Too much waits to be written.
    Flush,
    /// The connection has failed. What is in [`Connection::out`] tells the peer.
    Closed(Violation),
}

/// What a call used, and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// How many of the bytes will not be needed again.
    pub used: usize,
    /// What it came to.
    pub next: Next,
}

/// What the peer has told us.
#[derive(Debug)]
struct Theirs {
    window: u32,
    max_frame: u32,
    max_streams: u32,
    extended_connect: bool,
}

/// What the next bytes are.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// The rest of the client's preface, behind so many octets of it.
    Preface(usize),
    /// A frame's head.
    Head,
    /// The rest of a DATA frame.
    Data { stream: StreamRef, left: u32, pad: u32, end: bool },
    /// The rest of a frame that means nothing to us.
    Skip(u32),
}

/// How far our own GOAWAY has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// The peer was told not to begin streams; those on their way are still taken.
    Announced,
    /// Nothing above this stream is taken.
    Final(u32),
}

/// One end of an HTTP/2 connection.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    ours: Settings,
    theirs: Theirs,
    reading: Reading,
    /// Whether the peer's first SETTINGS have come.
    greeted: bool,
    /// SETTINGS that are not acknowledged.
    unsettled: u32,
    streams: Streams,
    /// Streams of the peer, or for a client our own, that are not closed.
    open: u32,
    /// The highest stream that the peer has begun.
    last_peer: u32,
    /// The next stream that we begin.
    next_id: u32,
    recent: VecDeque<u32>,
    decoder: Decoder,
    encoder: Encoder,
    fields: Fields,
    gather: Option<Gather>,
    /// How much the peer lets us send on all streams.
    send: i64,
    /// How much the peer may still send on all streams.
    receive: i64,
    /// What came on all streams and was not consumed.
    held: u64,
    /// The connection's window when nothing is held.
    target: u32,
    /// What the streams have of windows beyond the first.
    grown: u32,
    bdp: Bdp,
    budget: Budget,
    leaving: Leaving,
    /// The last stream that the peer takes.
    gone: Option<u32>,
    pending: VecDeque<Event>,
    failed: Option<Violation>,
    out: BytesMut,
    turn: (usize, u32),
}

impl Connection {
    /// A connection at its beginning; what it says first is in [`Self::out`].
    #[must_use]
    pub fn new(role: Role, settings: Settings) -> Self {
        let mut ours = settings;
        ours.window = ours.window.clamp(65_535, frame::MAX_31);
        ours.connection_window = ours.connection_window.clamp(65_535, frame::MAX_31);
        ours.window_most = ours.window_most.clamp(ours.window, frame::MAX_31);
        let reading = if role == Role::Server { Reading::Preface(0) } else { Reading::Head };
        let mut connection = Self {
            role,
            ours,
            theirs: Theirs {
                window: 65_535,
                max_frame: frame::MIN_MAX_SIZE,
                max_streams: u32::MAX,
                extended_connect: false,
            },
            reading,
            greeted: false,
            unsettled: 1,
            streams: Streams::new(),
            open: 0,
            last_peer: 0,
            next_id: 1,
            recent: VecDeque::new(),
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            fields: Fields::new(),
            gather: None,
            send: 65_535,
            receive: i64::from(ours.connection_window),
            held: 0,
            target: ours.connection_window,
            grown: 0,
            bdp: Bdp::new(ours.window, ours.window_most),
            budget: Budget::new(),
            leaving: Leaving::No,
            gone: None,
            pending: VecDeque::new(),
            failed: None,
            out: BytesMut::new(),
            turn: (0, 0),
        };
        connection.greet();
        connection
    }

    fn greet(&mut self) {
        let ours = &self.ours;
        let mut pairs = [(0u16, 0u32); 5];
        let all = [
            (1, ours.header_table, ours.header_table != super::hpack::DEFAULT_TABLE),
            (2, 0, self.role == Role::Client),
            (3, ours.max_streams, self.role == Role::Server),
            (4, ours.window, ours.window != 65_535),
            (6, ours.section, true),
            (8, 1, ours.extended_connect && self.role == Role::Server),
        ];
        let mut count = 0;
        for ((id, value, _), place) in all.into_iter().filter(|&(_, _, said)| said).zip(&mut pairs) {
            *place = (id, value);
            count += 1;
        }
        if self.role == Role::Client {
            self.out.extend_from_slice(PREFACE);
        }
        frame::put_settings(&mut self.out, pairs.get(..count).unwrap_or_default());
        if self.target > 65_535 {
            frame::put_window_update(&mut self.out, 0, self.target - 65_535);
        }
    }

    /// The fields of the last head or trailers.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// What is to be written.
    pub const fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Begins a turn: the connection may read anew.
    pub const fn begin_turn(&mut self) {
        self.turn = (0, 0);
    }

    /// How many streams are not closed.
    #[must_use]
    pub const fn open_streams(&self) -> u32 {
        self.open
    }

    /// How many streams the peer lets us have open, and whether it takes new ones at all.
    #[must_use]
    pub const fn room(&self) -> u32 {
        if self.gone.is_some() || self.failed.is_some() || self.next_id > frame::MAX_31 {
            return 0;
        }
        self.theirs.max_streams.saturating_sub(self.open)
    }

    /// Whether the peer takes extended CONNECT (RFC 8441).
    #[must_use]
    pub const fn takes_extended_connect(&self) -> bool {
        self.theirs.extended_connect
    }

    /// How many frames that brought nothing have come, in the order of [`Waste::ALL`].
    #[must_use]
    pub const fn wasted(&self) -> &[u64; Waste::ALL.len()] {
        self.budget.spent()
    }

    /// The bytes of memory that the connection holds, buffers to write included.
    #[must_use]
    pub fn capacity(&self) -> usize {
        size_of::<Self>()
            + self.streams.capacity()
            + self.decoder.capacity()
            + self.encoder.capacity()
            + self.fields.capacity()
            + self.out.capacity()
            + self.recent.capacity() * size_of::<u32>()
            + self.pending.capacity() * size_of::<Event>()
    }

    /// What is held to be true of every connection, for tests.
    #[must_use]
    pub fn is_sound(&mut self) -> bool {
        if self.failed.is_some() {
            return true;
        }
        let (mut open, mut held, mut grown) = (0, 0, 0u64);
        let first = self.ours.window;
        for (_, stream) in self.streams.iter_mut() {
            open += u32::from(stream.state != State::Closed);
            held += u64::from(stream.held);
            grown += u64::from(stream.target - first);
            let most = i64::from(stream.target);
            if stream.receive < 0 || stream.receive + i64::from(stream.held) > most {
                return false;
            }
        }
        let window = self.receive + held as i64;
        (open, held, grown) == (self.open, self.held, u64::from(self.grown))
            && (0..=i64::from(self.target)).contains(&window)
            && self.send <= i64::from(frame::MAX_31)
            && self.grown <= self.ours.window_budget
    }

    /// Ends the connection.
    fn fail(&mut self, violation: Violation) {
        if self.failed.is_none() {
            let last = match self.leaving {
                Leaving::Final(last) => last,
                _ => self.last_peer,
            };
            frame::put_goaway(&mut self.out, last, violation.code, violation.what.as_bytes());
            self.failed = Some(violation);
        }
    }

    fn waste(&mut self, waste: Waste, now: u64) -> Result<(), Violation> {
        self.budget.spend(waste, now)
    }

    /// Ends a stream for a fault of the peer's.
    fn break_stream(&mut self, at: StreamRef, violation: Violation, now: u64) -> Result<(), Violation> {
        frame::put_reset(&mut self.out, at.id, violation.code);
        self.close(at, true);
        self.pending.push_back(Event::Broken { stream: at, violation });
        self.waste(Waste::Reset, now)
    }

    /// A stream was reset by one of both: what is held goes back to the connection, and it is forgotten.
    fn close(&mut self, at: StreamRef, by_us: bool) {
        let Some(stream) = self.streams.get_mut(at) else { return };
        let was_open = stream.state != State::Closed;
        stream.state = State::Closed;
        let held = std::mem::take(&mut stream.held);
        if was_open {
            self.closed(at.id, by_us);
        }
        self.give_back(held);
        self.forget(at);
    }

    /// The stream of this id, if it is not closed. One that is may still be there because its owner holds what came.
    fn living(&self, id: u32) -> Option<StreamRef> {
        let at = self.streams.find(id)?;
        self.streams.get(at).is_some_and(|stream| stream.state != State::Closed).then_some(at)
    }

    /// A stream's state has become Closed.
    fn closed(&mut self, id: u32, by_us: bool) {
        self.open = self.open.saturating_sub(1);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(if by_us { id | OURS } else { id });
    }

    /// Drops a stream that is closed and of which nothing is held any more.
    fn forget(&mut self, at: StreamRef) {
        let Some(&Stream { state, held, target, .. }) = self.streams.get(at) else { return };
        if state == State::Closed && held == 0 {
            self.grown -= target - self.ours.window;
            self.streams.remove(at);
        }
    }

    /// Notes that a transition may have closed the stream.
    fn settle(&mut self, at: StreamRef) {
        if self.streams.get(at).is_some_and(|stream| stream.state == State::Closed) {
            self.streams.dequeue(at);
            self.closed(at.id, false);
            self.forget(at);
        }
    }

    /// Returns credit for all streams, in steps that are worth a frame.
    fn give_back(&mut self, len: u32) {
        self.held = self.held.saturating_sub(u64::from(len));
        let due = i64::from(self.target) - self.receive - self.held as i64;
        if due >= i64::from(self.target / 2).min(256 << 10) {
            self.receive += due;
            frame::put_window_update(&mut self.out, 0, u32::try_from(due).unwrap_or(0));
        }
    }
}
