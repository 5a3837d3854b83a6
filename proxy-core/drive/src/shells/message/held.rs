//! The beginning of a request that is held until it is known what to do with it, and how much of that there may be.
//!
//! Some of what a rule asks for stands at the end of a message: drivers send `$db` behind a filter, however large that is. So a
//! message may be held whole. What all connections hold together is bounded for the process ([`super::room`]); a share of that goes
//! back when the bytes have gone, to the upstream or away.

use super::room::{Claim, Share};
use bytes::Bytes;
use std::task::Context;
use weir_decide::exchange::Now;

/// Bytes that have a share, which lasts as long as any slice of them.
struct Shared {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The beginning of a message.
pub(super) struct Held<H> {
    /// Everything before `latest`, copied: a slice of a read buffer keeps all of that, however small it is itself. No memory of
    /// its own while that is nothing.
    gathered: Vec<u8>,
    latest: Bytes,
    /// All of it is still where it was read into, which everybody who asks for it has to bring.
    in_room: bool,
    /// How much of it there is memory for, with the share that this takes.
    room: usize,
    share: Share,
    pub(super) size: usize,
    /// More than that is not held.
    pub(super) limit: usize,
    pub(super) head: Option<H>,
    /// The message ends here.
    pub(super) last: bool,
    pub(super) began: Now,
}

impl<H> Held<H> {
    pub(super) fn new(bytes: Bytes, head: Option<H>, last: bool, began: Now) -> Held<H> {
        let size = bytes.len();
        let (gathered, share) = (Vec::new(), Share::default());
        let (room, in_room, limit) = (0, false, usize::MAX);
        Held { gathered, latest: bytes, in_room, room, share, size, limit, head, last, began }
    }

    /// One that came alone and whole, so many bytes of them.
    pub(super) fn in_room(size: usize, head: H, began: Now) -> Held<H> {
        Held { in_room: true, size, ..Held::new(Bytes::new(), Some(head), true, began) }
    }

    pub(super) fn is_in_room(&self) -> bool {
        self.in_room
    }

    /// It is to last longer than that room does.
    #[cold]
    pub(super) fn leave(&mut self, room: &[u8]) {
        if std::mem::take(&mut self.in_room) {
            self.latest = Bytes::copy_from_slice(room);
        }
    }

    /// Another piece of it.
    pub(super) fn add(&mut self, bytes: Bytes, head: Option<H>, last: bool) {
        self.size += bytes.len();
        self.gather();
        self.latest = bytes;
        self.last = last;
        self.head = head.or(self.head.take());
    }

    /// Nothing more of it will be shown.
    pub(super) fn is_end(&self) -> bool {
        self.last || self.size > self.limit
    }

    /// It has to wait for more, `limit` bytes at most. Says whether there is memory for that; if not this is its end.
    pub(super) fn wait(&mut self, limit: usize, claim: &Claim) -> bool {
        self.limit = limit;
        // Twice what has come, so that not each piece is a copy of all before: that is there, so it is charged.
        let more = match self.size > self.room {
            true => self.room.saturating_mul(2).min(limit).max(self.size),
            false => self.room,
        };
        if !self.share.cover(more, self.size, claim) {
            self.limit = 0;
            return false;
        }
        if more > self.room {
            self.room = more;
            self.gathered.reserve_exact(more - self.gathered.len());
        }
        self.gather();
        true
    }

    /// Whether its memory has been taken back, for somebody who needs it. If not the task is woken when it is.
    pub(super) fn is_taken_back(&self, cx: &Context<'_>) -> bool {
        !self.share.is_none() && self.share.is_taken_back(cx)
    }

    fn gather(&mut self) {
        let latest = std::mem::take(&mut self.latest);
        self.gathered.reserve_exact(latest.len());
        self.gathered.extend_from_slice(&latest);
    }

    /// Makes one piece of it.
    pub(super) fn join(&mut self) {
        if !self.gathered.is_empty() {
            self.gather();
        }
    }

    /// Its first piece: all that has come, when that has been joined.
    pub(super) fn first<'a>(&'a self, room: &'a [u8]) -> &'a [u8] {
        match (self.in_room, self.gathered.is_empty()) {
            (true, _) => room,
            (_, true) => &self.latest,
            (_, false) => &self.gathered,
        }
    }

    /// Whether the first piece is all of the message.
    pub(super) fn is_whole(&self) -> bool {
        self.last && (self.gathered.is_empty() || self.latest.is_empty())
    }

    /// Hands out its pieces, in order.
    pub(super) fn give(self, mut to: impl FnMut(Bytes)) {
        let Held { gathered, latest, share, .. } = self;
        // Nearly always it has come at once.
        if !gathered.is_empty() {
            let gathered = Bytes::from(gathered);
            to(if share.is_none() {
                gathered
            } else {
                share.settle();
                Bytes::from_owner(Shared { bytes: gathered, _share: share })
            });
        }
        to(latest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shells::message::HELD_ANYWAY;
    use weir_decide::protocol::Standing;

    fn claim(now: u64) -> Claim {
        Claim { listener: "db".into(), address: None, standing: Standing::Unknown, now: Now(now) }
    }

    #[test]
    fn a_share_goes_back_with_the_last_slice() {
        let held = |size: usize| Held::<()>::new(vec![7; size].into(), None, false, Now(0));
        let mut small = held(HELD_ANYWAY);
        let mut large = held(40 << 20);
        assert!(small.wait(usize::MAX, &claim(0)) && large.wait(usize::MAX, &claim(0)));
        assert!(small.share.is_none());
        // Another one has to be decided as it is; a small one is held as ever.
        let mut next = held(10 << 20);
        assert!(!next.wait(usize::MAX, &claim(0)) && next.is_end() && !next.last);
        assert!(small.wait(usize::MAX, &claim(0)));
        let slice = {
            let mut pieces = Vec::new();
            large.give(|piece| pieces.push(piece));
            assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 40 << 20);
            pieces[0].slice(5..6)
        };
        assert!(!next.wait(usize::MAX, &claim(u64::MAX)), "the bytes have not gone");
        drop(slice);
        assert!(next.wait(48 << 20, &claim(0)));
        next.add(vec![8; 1 << 20].into(), None, false);
        assert!(next.wait(48 << 20, &claim(0)));
        next.add(vec![8; 37 << 20].into(), None, true);
        assert!(next.wait(48 << 20, &claim(0)) && next.is_whole());
        assert_eq!(next.first(&[]).len(), 48 << 20);
        assert!(!held(40 << 20).wait(48 << 20, &claim(0)), "there is room for one of them");
        drop(next);
        assert!(held(40 << 20).wait(48 << 20, &claim(0)));
    }
}
