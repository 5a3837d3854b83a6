//! A stream's life (RFC 9113 section 5.1) as a machine whose transitions may refuse. "Idle" is a stream that is not there
//! yet, and pushed streams do not exist, so that three states are left of the RFC's picture and what each side is at.

use super::{Code, Violation};

/// How far one side has come that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Before its final head.
    Head,
    /// Behind it: data, or trailers.
    Body,
}

/// The state of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Both sides may send.
    Open {
        /// Where we are.
        local: At,
        /// Where the peer is.
        remote: At,
    },
    /// We have ended; the peer may send.
    HalfClosedLocal(At),
    /// The peer has ended; we may send.
    HalfClosedRemote(At),
    /// Both have ended, or one of them reset the stream.
    Closed,
}

/// What a field section is by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// A response of 1xx, behind which another head comes.
    Interim,
    /// The head.
    Head,
    /// Trailers.
    Trailers,
}

/// A command that the stream's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream's state does not allow this")]
pub struct OutOfTurn;

impl State {
    /// A stream that the peer has begun.
    pub const fn begun_by_peer() -> Self {
        Self::Open { local: At::Head, remote: At::Head }
    }

    /// A stream that we have begun.
    pub const fn begun_by_us(end: bool) -> Self {
        if end { Self::HalfClosedLocal(At::Head) } else { Self::Open { local: At::Body, remote: At::Head } }
    }

    /// Where the peer is, if it has not ended.
    const fn remote(self) -> Option<At> {
        match self {
            Self::Open { remote, .. } | Self::HalfClosedLocal(remote) => Some(remote),
            _ => None,
        }
    }

    /// Where we are, if we have not ended.
    const fn local(self) -> Option<At> {
        match self {
            Self::Open { local, .. } | Self::HalfClosedRemote(local) => Some(local),
            _ => None,
        }
    }

    /// Whether the peer may still send.
    pub const fn receives(self) -> bool {
        self.remote().is_some()
    }

    /// Whether we may still send.
    pub const fn sends(self) -> bool {
        self.local().is_some()
    }

    /// Whether our final head is still to be sent.
    pub const fn is_unanswered(self) -> bool {
        matches!(self.local(), Some(At::Head))
    }

    const fn make(local: Option<At>, remote: Option<At>) -> Self {
        match (local, remote) {
            (Some(local), Some(remote)) => Self::Open { local, remote },
            (None, Some(remote)) => Self::HalfClosedLocal(remote),
            (Some(local), None) => Self::HalfClosedRemote(local),
            (None, None) => Self::Closed,
        }
    }

    /// What a field section is that begins now.
    pub const fn next_section(self) -> Result<Section, Violation> {
        match self.remote() {
            Some(At::Head) => Ok(Section::Head),
            Some(At::Body) => Ok(Section::Trailers),
            None => Err(Violation::new(Code::STREAM_CLOSED, "5.1", "HEADERS behind the end of a stream")),
        }
    }

    /// A field section came.
    pub const fn receive_section(&mut self, section: Section, end: bool) -> Result<(), Violation> {
        let remote = match (section, end) {
            (Section::Interim, true) => {
                return Err(Violation::new(
                    Code::PROTOCOL_ERROR,
                    "8.1",
                    "an interim response ends the stream",
                ));
            }
            (Section::Trailers, false) => {
                return Err(Violation::new(
                    Code::PROTOCOL_ERROR,
                    "8.1",
                    "trailers that do not end the stream",
                ));
            }
            (Section::Interim, false) => Some(At::Head),
            (Section::Head, false) => Some(At::Body),
            (_, true) => None,
        };
        *self = Self::make(self.local(), remote);
        Ok(())
    }

    /// Data came.
    pub const fn receive_data(&mut self, end: bool) -> Result<(), Violation> {
        match self.remote() {
            None => Err(Violation::new(Code::STREAM_CLOSED, "5.1", "DATA behind the end of a stream")),
            Some(At::Head) => Err(Violation::new(Code::PROTOCOL_ERROR, "8.1", "DATA before a head")),
            Some(At::Body) => {
                *self = Self::make(self.local(), if end { None } else { Some(At::Body) });
                Ok(())
            }
        }
    }

    /// We send a head, interim or final.
    pub const fn send_head(&mut self, interim: bool, end: bool) -> Result<(), OutOfTurn> {
        match (self.local(), interim && end) {
            (Some(At::Head), false) => {
                let local = match (interim, end) {
                    (true, _) => Some(At::Head),
                    (false, false) => Some(At::Body),
                    (false, true) => None,
                };
                *self = Self::make(local, self.remote());
                Ok(())
            }
            _ => Err(OutOfTurn),
        }
    }

    /// We send data, or with `end` trailers.
    pub const fn send_body(&mut self, end: bool) -> Result<(), OutOfTurn> {
        match self.local() {
            Some(At::Body) => {
                *self = Self::make(if end { None } else { Some(At::Body) }, self.remote());
                Ok(())
            }
            _ => Err(OutOfTurn),
        }
    }
}
