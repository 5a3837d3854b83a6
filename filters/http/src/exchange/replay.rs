//! What has come of a request's body, kept for another try.

use crate::fields::Fields;
use bytes::{Bytes, BytesMut};
use weir_drive::Kept;

/// The most of a body that is kept, unless the route says otherwise.
pub const REPLAY_LIMIT: usize = 64 * 1024;

/// How much of it is sent at a time.
const RUN: usize = 16 * 1024;

/// The body of a request so far, as long as it is within its limit.
pub struct Replay {
    kept: BytesMut,
    limit: usize,
    /// Something has come that was not kept.
    lost: bool,
    /// The limit was the reason.
    exceeded: bool,
    /// That of the process was.
    crowded: bool,
    /// Its memory.
    room: Kept,
    ended: bool,
    trailers: Option<Fields>,
    /// Bytes that came.
    pub bytes: u64,
}

impl Replay {
    /// Keeps up to `limit` bytes; 0: nothing is kept.
    pub fn new(limit: usize, ended: bool) -> Replay {
        Replay {
            kept: BytesMut::new(),
            limit,
            lost: false,
            exceeded: false,
            crowded: false,
            room: Kept::default(),
            ended,
            trailers: None,
            bytes: 0,
        }
    }

    /// Data has come.
    pub fn keep(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        if self.lost {
            return;
        }
        let size = self.kept.len() + data.len();
        if size > self.limit {
            self.exceeded = self.limit > 0;
            self.lose();
        } else if !self.room.grow(size) {
            self.crowded = true;
            self.lose();
        } else {
            self.kept.extend_from_slice(data);
        }
    }

    fn lose(&mut self) {
        self.lost = true;
        self.kept = BytesMut::new();
        self.room.free();
    }

    /// The body has ended.
    pub fn end(&mut self, trailers: Option<Fields>) {
        self.ended = true;
        self.trailers = trailers;
    }

    /// The request has become one direction of a tunnel: more comes, and none of it is kept.
    pub fn reopen(&mut self) {
        self.ended = false;
        self.limit = 0;
        self.lost = true;
    }

    /// Whether the request can be sent once more.
    pub fn is_possible(&self) -> bool {
        !self.lost
    }

    /// Whether it cannot because it was larger than what may be kept. Asked once.
    pub fn take_exceeded(&mut self) -> bool {
        std::mem::take(&mut self.exceeded)
    }

    /// Whether it cannot because there was no memory left for that. Asked once.
    pub fn take_crowded(&mut self) -> bool {
        std::mem::take(&mut self.crowded)
    }

    /// Whether the client has sent all of it.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next run that a new try has not sent yet, `sent` being how much it has.
    pub fn next(&self, sent: &mut usize) -> Option<Bytes> {
        let rest = self.kept.get(*sent..).filter(|rest| !rest.is_empty())?;
        let run = rest.get(..rest.len().min(RUN)).unwrap_or_default();
        *sent += run.len();
        Some(Bytes::copy_from_slice(run))
    }

    /// The end, if it has come, with its trailers.
    pub fn ended(&self) -> Option<Option<&Fields>> {
        self.ended.then_some(self.trailers.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_within_the_limit_can_be_sent_again() {
        let mut replay = Replay::new(10, false);
        replay.keep(b"hello");
        replay.keep(b"world");
        replay.end(None);
        assert!(replay.is_possible() && !replay.take_exceeded());
        let mut sent = 0;
        assert_eq!(replay.next(&mut sent), Some(Bytes::from_static(b"helloworld")));
        assert_eq!(replay.next(&mut sent), None);
        assert!(matches!(replay.ended(), Some(None)));
    }

    #[test]
    fn a_larger_one_cannot_and_says_so_once() {
        let mut replay = Replay::new(10, false);
        replay.keep(b"hello");
        replay.keep(b"world!");
        assert!(!replay.is_possible());
        assert!(replay.take_exceeded() && !replay.take_exceeded());
        assert_eq!((replay.next(&mut 0), replay.bytes), (None, 11));
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let mut replay = Replay::new(0, false);
        assert!(replay.is_possible());
        replay.keep(b"x");
        assert!(!replay.is_possible() && !replay.take_exceeded());
    }
}
