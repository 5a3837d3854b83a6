//! Memory for what is kept of requests so that they can be sent once more: bounded for the process (`limits.replay_memory`), beside
//! what each request may have.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static KEPT: Room = Room::new(64 << 20);

struct Room {
    limit: AtomicUsize,
    taken: AtomicUsize,
}

impl Room {
    const fn new(limit: usize) -> Room {
        Room { limit: AtomicUsize::new(limit), taken: AtomicUsize::new(0) }
    }
}

/// From now on so much is there; what is kept already stays.
pub(crate) fn limit(bytes: usize) {
    KEPT.limit.store(bytes, Relaxed);
}

/// What one request has of it; it goes back with this.
#[derive(Debug, Default)]
pub struct Kept(usize);

impl Kept {
    /// Has it be so much. Says whether there is; if not it is as before.
    pub fn grow(&mut self, bytes: usize) -> bool {
        self.grow_in(&KEPT, bytes)
    }

    fn grow_in(&mut self, room: &Room, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.0);
        if more == 0 {
            return true;
        }
        let limit = room.limit.load(Relaxed);
        let fits = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= limit);
        let there = room.taken.fetch_update(Relaxed, Relaxed, fits).is_ok();
        if there {
            self.0 = bytes;
        }
        there
    }

    /// All of it goes back.
    pub fn free(&mut self) {
        self.free_in(&KEPT);
    }

    fn free_in(&mut self, room: &Room) {
        room.taken.fetch_sub(std::mem::take(&mut self.0), Relaxed);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_so_much_and_no_more() {
        let room = Room::new(100);
        let (mut one, mut other) = (Kept::default(), Kept::default());
        assert!(one.grow_in(&room, 60) && one.grow_in(&room, 50) && other.grow_in(&room, 40));
        assert!(!other.grow_in(&room, 41) && !one.grow_in(&room, 61));
        // Less than is there already: nothing more is given.
        room.limit.store(10, Relaxed);
        assert!(one.grow_in(&room, 60) && !one.grow_in(&room, 61));
        one.free_in(&room);
        other.free_in(&room);
        assert_eq!(room.taken.load(Relaxed), 0);
        assert!(one.grow_in(&room, 10) && !other.grow_in(&room, 1));
        one.free_in(&room);
    }
}
