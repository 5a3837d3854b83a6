//! The beginning of a request that is held until it is known what to do with it, and how much of that there may be.
//!
//! Some of what a rule asks for stands at the end of a message: drivers send `$db` behind a filter, however large that is. So a
//! message may be held whole. What all connections hold together is bounded for the process; a share of that goes back when the
//! bytes have gone, to the upstream or away.

use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use weir_decide::exchange::Now;

/// What one connection may hold of a request whatever others do: as much as one reading brings.
pub const HELD_ANYWAY: usize = 16 * 1024;

/// What all connections of the process may hold beyond that together: the longest message that MongoDB has (48,000,000 bytes), or
/// many shorter ones. When it is met a request is decided by what is known of it, and `weir_message_limits_total{limit="held_request"}`
/// moves.
pub const MAX_HELD_REQUESTS: usize = 48 << 20;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// What one request has of [`MAX_HELD_REQUESTS`]; it goes back with this.
#[derive(Debug, Default)]
struct Share(usize);

impl Share {
    /// Enough for so many bytes, if there is.
    fn cover(&mut self, size: usize) -> bool {
        let more = size.saturating_sub(HELD_ANYWAY).saturating_sub(self.0);
        let room = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= MAX_HELD_REQUESTS);
        let covered = more == 0 || TAKEN.fetch_update(Relaxed, Relaxed, room).is_ok();
        if covered {
            self.0 += more;
        }
        covered
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.0 > 0 {
            TAKEN.fetch_sub(self.0, Relaxed);
        }
    }
}

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
    pub(super) fn wait(&mut self, limit: usize) -> bool {
        self.limit = limit;
        if self.size > self.room {
            let room = self.room.saturating_mul(2).min(limit).max(self.size);
            if !self.share.cover(room) {
                self.limit = 0;
                return false;
            }
            self.room = room;
            self.gathered.reserve_exact(room - self.gathered.len());
        }
        self.gather();
        true
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
            to(match share.0 {
                0 => gathered,
                _ => Bytes::from_owner(Shared { bytes: gathered, _share: share }),
            });
        }
        to(latest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_goes_back_with_the_last_slice() {
        let held = |size: usize| Held::<()>::new(vec![7; size].into(), None, false, Now(0));
        let mut small = held(HELD_ANYWAY);
        let mut large = held(40 << 20);
        assert!(small.wait(usize::MAX) && large.wait(usize::MAX));
        assert_eq!(TAKEN.load(Relaxed), (40 << 20) - HELD_ANYWAY);
        // Another one has to be decided as it is; a small one is held as ever.
        let mut next = held(10 << 20);
        assert!(!next.wait(usize::MAX) && next.is_end() && !next.last);
        assert!(small.wait(usize::MAX));
        let slice = {
            let mut pieces = Vec::new();
            large.give(|piece| pieces.push(piece));
            assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 40 << 20);
            pieces[0].slice(5..6)
        };
        assert!(!next.wait(usize::MAX), "the bytes have not gone");
        drop(slice);
        assert_eq!(TAKEN.load(Relaxed), 0);
        assert!(next.wait(48 << 20));
        next.add(vec![8; 1 << 20].into(), None, false);
        assert!(next.wait(48 << 20));
        assert_eq!(
            TAKEN.load(Relaxed),
            (20 << 20) - HELD_ANYWAY,
            "room for twice as much, but not for more than there is"
        );
        next.add(vec![8; 37 << 20].into(), None, true);
        assert!(next.wait(48 << 20) && next.is_whole());
        assert_eq!(TAKEN.load(Relaxed), (48 << 20) - HELD_ANYWAY);
        assert_eq!(next.first(&[]).len(), 48 << 20);
        drop(next);
        assert_eq!(TAKEN.load(Relaxed), 0);
    }
}
