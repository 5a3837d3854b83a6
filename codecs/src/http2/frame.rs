//! Frames (RFC 9113 sections 4 and 6): the head, the rules for each kind's length and stream, and how each is written.

use super::{Code, Violation};
use bytes::{BufMut, BytesMut};

/// The octets before each frame's payload.
pub const HEAD: usize = 9;
/// The smallest SETTINGS_MAX_FRAME_SIZE, which holds until the peer says otherwise.
pub const MIN_MAX_SIZE: u32 = 16_384;
/// The largest SETTINGS_MAX_FRAME_SIZE.
pub const MAX_MAX_SIZE: u32 = 0xff_ffff;
/// The largest window, and the largest stream id.
pub const MAX_31: u32 = 0x7fff_ffff;

/// END_STREAM on DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
/// ACK on SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// END_HEADERS on HEADERS, PUSH_PROMISE and CONTINUATION.
pub const END_HEADERS: u8 = 0x4;
/// PADDED on DATA, HEADERS and PUSH_PROMISE.
pub const PADDED: u8 = 0x8;
/// PRIORITY on HEADERS.
pub const PRIORITY: u8 = 0x20;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A piece of a body.
    Data,
    /// The beginning of a field section.
    Headers,
    /// The deprecated priority of RFC 7540.
    Priority,
    /// The end of a stream.
    RstStream,
    /// Settings, or their acknowledgement.
    Settings,
    /// A promised stream.
    PushPromise,
    /// A round trip.
    Ping,
    /// The end of the connection.
    GoAway,
    /// Credit.
    WindowUpdate,
    /// More of a field section.
    Continuation,
    /// A stream's priority (RFC 9218).
    PriorityUpdate,
    /// A kind that is not known, which is skipped.
    Unknown(u8),
}

impl Kind {
    /// The kind of this number.
    #[must_use]
    pub const fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            0x10 => Self::PriorityUpdate,
            other => Self::Unknown(other),
        }
    }

    /// The kind's number.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Priority => 2,
            Self::RstStream => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::PriorityUpdate => 0x10,
            Self::Unknown(other) => other,
        }
    }
}

/// Whom a violation of a frame's own rules ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// The stream that the frame names.
    Stream(Violation),
    /// The connection.
    Connection(Violation),
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The length of the payload.
    pub len: u32,
    /// What the frame is.
    pub kind: Kind,
    /// Flags; those that the kind does not define mean nothing.
    pub flags: u8,
    /// The stream, 0 for the connection.
    pub stream: u32,
}

impl Head {
    /// The head at the beginning of `bytes`; `None` if it is not there whole.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, s0, s1, s2, s3] = bytes.first_chunk::<HEAD>()?;
        Some(Self {
            len: u32::from_be_bytes([0, a, b, c]),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & MAX_31,
        })
    }

    /// Whether the frame has this flag.
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Writes the head.
    pub fn put(&self, out: &mut BytesMut) {
        let [_, a, b, c] = self.len.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        out.put_slice(&[a, b, c, self.kind.byte(), self.flags, s0, s1, s2, s3]);
    }

    /// Holds the frame to the rules for its kind's length and stream, and to the limit that we have set.
    ///
    /// # Errors
    /// The violation, and whether it ends the stream or the connection.
    pub fn check(&self, max_size: u32) -> Result<(), Wrong> {
        let protocol = |section, what| Wrong::Connection(Violation::new(Code::PROTOCOL_ERROR, section, what));
        let size = |section, what| Violation::new(Code::FRAME_SIZE_ERROR, section, what);
        if self.len > max_size {
            return Err(Wrong::Connection(size("4.2", "a frame is longer than SETTINGS_MAX_FRAME_SIZE")));
        }
        let on_stream = self.stream != 0;
        match self.kind {
            Kind::Data if !on_stream => Err(protocol("6.1", "DATA on stream 0")),
            Kind::Headers if !on_stream => Err(protocol("6.2", "HEADERS on stream 0")),
            Kind::Priority if !on_stream => Err(protocol("6.3", "PRIORITY on stream 0")),
            Kind::Priority if self.len != 5 => {
                Err(Wrong::Stream(size("6.3", "PRIORITY of other than 5 octets")))
            }
            Kind::RstStream if !on_stream => Err(protocol("6.4", "RST_STREAM on stream 0")),
            Kind::RstStream if self.len != 4 => {
                Err(Wrong::Connection(size("6.4", "RST_STREAM of other than 4 octets")))
            }
            Kind::Settings if on_stream => Err(protocol("6.5", "SETTINGS on a stream")),
            Kind::Settings if self.has(ACK) && self.len != 0 => {
                Err(Wrong::Connection(size("6.5", "an acknowledgement of SETTINGS with a payload")))
            }
            Kind::Settings if !self.len.is_multiple_of(6) => {
                Err(Wrong::Connection(size("6.5", "SETTINGS of other than a multiple of 6 octets")))
            }
            Kind::PushPromise if !on_stream => Err(protocol("6.6", "PUSH_PROMISE on stream 0")),
            Kind::Ping if on_stream => Err(protocol("6.7", "PING on a stream")),
            Kind::Ping if self.len != 8 => Err(Wrong::Connection(size("6.7", "PING of other than 8 octets"))),
            Kind::GoAway if on_stream => Err(protocol("6.8", "GOAWAY on a stream")),
            Kind::GoAway if self.len < 8 => {
                Err(Wrong::Connection(size("6.8", "GOAWAY of less than 8 octets")))
            }
            Kind::WindowUpdate if self.len != 4 => {
                Err(Wrong::Connection(size("6.9", "WINDOW_UPDATE of other than 4 octets")))
            }
            Kind::Continuation if !on_stream => Err(protocol("6.10", "CONTINUATION on stream 0")),
            Kind::PriorityUpdate if on_stream => Err(protocol("RFC 9218 7.1", "PRIORITY_UPDATE on a stream")),
            Kind::PriorityUpdate if self.len < 4 => {
                Err(Wrong::Connection(size("RFC 9218 7.1", "PRIORITY_UPDATE of less than 4 octets")))
            }
            _ => Ok(()),
        }
    }
}

/// What is left of a HEADERS payload without its padding and its priority, and whether the stream says that it depends on
/// itself.
///
/// # Errors
/// If the padding is longer than the frame, or the frame too short for what its flags promise.
pub fn fragment<'a>(head: &Head, payload: &'a [u8]) -> Result<(&'a [u8], bool), Violation> {
    let (mut rest, mut on_itself) = (unpad(head, payload)?, false);
    if head.has(PRIORITY) {
        let Some((priority, fragment)) = rest.split_first_chunk::<5>() else {
            return Err(Violation::new(Code::FRAME_SIZE_ERROR, "6.2", "HEADERS too short for its priority"));
        };
        let &[a, b, c, d, _] = priority;
        on_itself = u32::from_be_bytes([a, b, c, d]) & MAX_31 == head.stream;
        rest = fragment;
    }
    Ok((rest, on_itself))
}

/// A payload without its padding.
fn unpad<'a>(head: &Head, payload: &'a [u8]) -> Result<&'a [u8], Violation> {
    if !head.has(PADDED) {
        return Ok(payload);
    }
    let Some((&pad, rest)) = payload.split_first() else {
        return Err(Violation::new(
            Code::FRAME_SIZE_ERROR,
            "6.2",
            "a padded frame without the padding's length",
        ));
    };
    let kept = rest.len().checked_sub(usize::from(pad));
    let wrong = Violation::new(Code::PROTOCOL_ERROR, "6.2", "padding longer than the frame");
    kept.and_then(|kept| rest.get(..kept)).ok_or(wrong)
}

/// The number in four octets, without the reserved bit.
#[must_use]
pub fn word(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |&word| u32::from_be_bytes(word))
}

/// The pairs of a SETTINGS payload.
pub fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.chunks_exact(6).map(|pair| {
        let id = pair.first_chunk().map_or(0, |&id| u16::from_be_bytes(id));
        (id, pair.last_chunk().map_or(0, |&value| u32::from_be_bytes(value)))
    })
}

/// Writes SETTINGS.
pub fn put_settings(out: &mut BytesMut, pairs: &[(u16, u32)]) {
    let len = u32::try_from(pairs.len() * 6).unwrap_or(0);
    Head { len, kind: Kind::Settings, flags: 0, stream: 0 }.put(out);
    for &(id, value) in pairs {
        out.put_u16(id);
        out.put_u32(value);
    }
}

/// Acknowledges SETTINGS.
pub fn put_settings_ack(out: &mut BytesMut) {
    Head { len: 0, kind: Kind::Settings, flags: ACK, stream: 0 }.put(out);
}

/// Writes PING, or with `ack` the answer to one.
pub fn put_ping(out: &mut BytesMut, ack: bool, opaque: [u8; 8]) {
    Head { len: 8, kind: Kind::Ping, flags: if ack { ACK } else { 0 }, stream: 0 }.put(out);
    out.put_slice(&opaque);
}

/// Writes GOAWAY: streams above `last` were not processed and will not be.
pub fn put_goaway(out: &mut BytesMut, last: u32, code: Code, debug: &[u8]) {
    let debug = debug.get(..debug.len().min(1024)).unwrap_or_default();
    let len = u32::try_from(8 + debug.len()).unwrap_or(8);
    Head { len, kind: Kind::GoAway, flags: 0, stream: 0 }.put(out);
    out.put_u32(last);
    out.put_u32(code.0);
    out.put_slice(debug);
}

/// Writes RST_STREAM.
pub fn put_reset(out: &mut BytesMut, stream: u32, code: Code) {
    Head { len: 4, kind: Kind::RstStream, flags: 0, stream }.put(out);
    out.put_u32(code.0);
}

/// Writes WINDOW_UPDATE.
pub fn put_window_update(out: &mut BytesMut, stream: u32, credit: u32) {
    Head { len: 4, kind: Kind::WindowUpdate, flags: 0, stream }.put(out);
    out.put_u32(credit);
}

/// Writes the head of a DATA frame, whose `len` octets the caller writes behind it.
pub fn put_data(out: &mut BytesMut, stream: u32, len: u32, end: bool) {
    Head { len, kind: Kind::Data, flags: if end { END_STREAM } else { 0 }, stream }.put(out);
}

/// Where a field section that is being written began.
#[derive(Debug)]
#[must_use = "a section that is begun has to be ended"]
pub struct Section(usize);

/// Leaves room for the head of a HEADERS frame, behind which the caller writes the section.
pub fn begin_section(out: &mut BytesMut) -> Section {
    let at = out.len();
    out.put_slice(&[0; HEAD]);
    Section(at)
}

/// Writes the head of a section that is there by now, and splits it into CONTINUATION where it is longer than the peer
/// takes in one frame.
pub fn end_section(out: &mut BytesMut, section: Section, stream: u32, end: bool, max_size: u32) {
    let Section(at) = section;
    let len = out.len().saturating_sub(at + HEAD);
    let most = max_size as usize;
    let mut flags = if end { END_STREAM } else { 0 };
    if len <= most {
        flags |= END_HEADERS;
    }
    set(out, at, Head { len: fit(len.min(most)), kind: Kind::Headers, flags, stream });
    if len <= most {
        return;
    }
    // A section of several frames is rare, so it pays for its copy.
    let rest = out.split_off(at + HEAD + most);
    let mut pieces = rest.chunks(most).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        Head { len: fit(piece.len()), kind: Kind::Continuation, flags, stream }.put(out);
        out.put_slice(piece);
    }
}

fn fit(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn set(out: &mut BytesMut, at: usize, head: Head) {
    let [_, a, b, c] = head.len.to_be_bytes();
    let [s0, s1, s2, s3] = head.stream.to_be_bytes();
    if let Some(room) = out.get_mut(at..at + HEAD) {
        room.copy_from_slice(&[a, b, c, head.kind.byte(), head.flags, s0, s1, s2, s3]);
    }
}
