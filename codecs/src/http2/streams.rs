//! The streams of a connection: a slab, an open hash of ids into it, and the lists of those that can write.

use super::message::Priority;
use super::state::State;

/// No slot.
const NONE: u32 = u32::MAX;
/// Levels of urgency (RFC 9218 section 4.1).
const LEVELS: usize = 8;

/// A stream, as its owner names it. Ids are never used twice on a connection, so a stream that has gone is not found
/// rather than mistaken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamRef {
    pub(super) slot: u32,
    /// The stream's id on the wire.
    pub id: u32,
}

/// What the connection knows of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    pub id: u32,
    pub state: State,
    /// How much the peer lets us send; below zero after it made its initial window smaller.
    pub send: i64,
    /// How much the peer may still send.
    pub receive: i64,
    /// What came and its owner has not yet consumed.
    pub held: u32,
    /// How large the window is when nothing is held.
    pub target: u32,
    /// What content-length leaves to come.
    pub expected: Option<u64>,
    pub priority: Priority,
    /// The owner has more to send than it could.
    pub wants: bool,
    /// The request is HEAD, whose response has a length and no content.
    pub is_head: bool,
    queued: bool,
    prev: u32,
    next: u32,
}

impl Stream {
    pub const fn new(id: u32, state: State, send: i64, window: u32) -> Self {
        Self {
            id,
            state,
            send,
            receive: window as i64,
            held: 0,
            target: window,
            expected: None,
            priority: Priority::DEFAULT,
            wants: false,
            is_head: false,
            queued: false,
            prev: NONE,
            next: NONE,
        }
    }
}

#[derive(Debug)]
enum Slot {
    Taken(Stream),
    Free(u32),
}

/// The streams of a connection.
#[derive(Debug)]
pub struct Streams {
    slots: Vec<Slot>,
    free: u32,
    len: usize,
    /// Slots by the hash of their ids, linear probing; `NONE` is empty. At most half full.
    index: Vec<u32>,
    /// First and last of those that can write, by urgency.
    queues: [(u32, u32); LEVELS],
}

impl Streams {
    pub const fn new() -> Self {
        let queues = [(NONE, NONE); LEVELS];
        Self { slots: Vec::new(), free: NONE, len: 0, index: Vec::new(), queues }
    }

    #[cfg(test)]
    const fn len(&self) -> usize {
        self.len
    }

    pub fn capacity(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.index.capacity() * size_of::<u32>()
    }

    pub fn get(&self, at: StreamRef) -> Option<&Stream> {
        match self.slots.get(at.slot as usize) {
            Some(Slot::Taken(stream)) if stream.id == at.id => Some(stream),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, at: StreamRef) -> Option<&mut Stream> {
        match self.slots.get_mut(at.slot as usize) {
            Some(Slot::Taken(stream)) if stream.id == at.id => Some(stream),
            _ => None,
        }
    }

    fn at(&mut self, slot: u32) -> Option<&mut Stream> {
        match self.slots.get_mut(slot as usize) {
            Some(Slot::Taken(stream)) => Some(stream),
            _ => None,
        }
    }

    /// All streams.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (StreamRef, &mut Stream)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, its)| match its {
            Slot::Taken(stream) => Some((StreamRef { slot: slot as u32, id: stream.id }, stream)),
            Slot::Free(_) => None,
        })
    }

    pub fn insert(&mut self, stream: Stream) -> StreamRef {
        let id = stream.id;
        if (self.len + 1) * 2 > self.index.len() {
            self.rehash();
        }
        let slot = match self.slots.get(self.free as usize) {
            Some(&Slot::Free(next)) => std::mem::replace(&mut self.free, next),
            _ => {
                self.slots.push(Slot::Free(NONE));
                (self.slots.len() - 1) as u32
            }
        };
        if let Some(its) = self.slots.get_mut(slot as usize) {
            *its = Slot::Taken(stream);
        }
        self.len += 1;
        self.enter(slot, id);
        StreamRef { slot, id }
    }

    pub fn find(&self, id: u32) -> Option<StreamRef> {
        let mask = self.index.len().checked_sub(1)?;
        let mut place = Self::place(id, mask);
        loop {
            let slot = *self.index.get(place)?;
            if slot == NONE {
                return None;
            }
            let found = StreamRef { slot, id };
            if self.get(found).is_some() {
                return Some(found);
            }
            place = (place + 1) & mask;
        }
    }

    pub fn remove(&mut self, at: StreamRef) {
        if self.get(at).is_none() {
            return;
        }
        self.dequeue(at);
        self.leave(at.id);
        if let Some(slot) = self.slots.get_mut(at.slot as usize) {
            *slot = Slot::Free(std::mem::replace(&mut self.free, at.slot));
            self.len -= 1;
        }
    }

    fn place(id: u32, mask: usize) -> usize {
        // Ids of one side are two apart.
        (id >> 1).wrapping_mul(0x9e37_79b1).rotate_right(8) as usize & mask
    }

    fn enter(&mut self, slot: u32, id: u32) {
        let Some(mask) = self.index.len().checked_sub(1) else { return };
        let mut place = Self::place(id, mask);
        while self.index.get(place).is_some_and(|&slot| slot != NONE) {
            place = (place + 1) & mask;
        }
        if let Some(empty) = self.index.get_mut(place) {
            *empty = slot;
        }
    }

    fn rehash(&mut self) {
        let size = (self.index.len() * 2).max(8);
        self.index.clear();
        self.index.resize(size, NONE);
        for slot in 0..self.slots.len() as u32 {
            if let Some(id) = self.at(slot).map(|stream| stream.id) {
                self.enter(slot, id);
            }
        }
    }

    /// Takes an id out of the hash, and moves those behind it that would no longer be found.
    fn leave(&mut self, id: u32) {
        let Some(mask) = self.index.len().checked_sub(1) else { return };
        let mut hole = Self::place(id, mask);
        loop {
            match self.index.get(hole).copied() {
                Some(slot) if slot != NONE => {
                    if self.at(slot).is_some_and(|stream| stream.id == id) {
                        break;
                    }
                }
                _ => return,
            }
            hole = (hole + 1) & mask;
        }
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let Some(slot) = self.index.get(next).copied().filter(|&slot| slot != NONE) else { break };
            let Some(its) = self.at(slot).map(|stream| stream.id) else { break };
            let home = Self::place(its, mask);
            // It may move into the hole if its own place is not between the hole and where it stands.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                if let Some(place) = self.index.get_mut(hole) {
                    *place = slot;
                }
                hole = next;
            }
        }
        if let Some(place) = self.index.get_mut(hole) {
            *place = NONE;
        }
    }

    /// Puts a stream behind those of its urgency that can write, or before them.
    pub fn enqueue(&mut self, at: StreamRef, first: bool) {
        let Some(stream) = self.get_mut(at).filter(|stream| !stream.queued) else { return };
        stream.queued = true;
        let level = usize::from(stream.priority.urgency);
        let Some(&(head, tail)) = self.queues.get(level) else { return };
        let (prev, next) = if first { (NONE, head) } else { (tail, NONE) };
        if let Some(stream) = self.get_mut(at) {
            (stream.prev, stream.next) = (prev, next);
        }
        self.link(level, prev, next, at.slot, at.slot);
    }

    /// Takes a stream out of the list of those that can write.
    pub fn dequeue(&mut self, at: StreamRef) {
        let Some(stream) = self.get_mut(at).filter(|stream| stream.queued) else { return };
        stream.queued = false;
        let (level, prev, next) = (usize::from(stream.priority.urgency), stream.prev, stream.next);
        self.link(level, prev, next, next, prev);
    }

    /// Makes `after` follow `prev`, and `before` precede `next`; at the ends the queue's own.
    fn link(&mut self, level: usize, prev: u32, next: u32, after: u32, before: u32) {
        match self.at(prev) {
            Some(stream) => stream.next = after,
            None => {
                if let Some(queue) = self.queues.get_mut(level) {
                    queue.0 = after;
                }
            }
        }
        match self.at(next) {
            Some(stream) => stream.prev = before,
            None => {
                if let Some(queue) = self.queues.get_mut(level) {
                    queue.1 = before;
                }
            }
        }
    }

    /// Changes a stream's priority, wherever it waits.
    pub fn prioritize(&mut self, at: StreamRef, priority: Priority) {
        let Some(queued) = self.get(at).map(|stream| stream.queued) else { return };
        self.dequeue(at);
        if let Some(stream) = self.get_mut(at) {
            stream.priority = priority;
        }
        if queued {
            self.enqueue(at, false);
        }
    }

    /// The first of the most urgent streams that can write.
    pub fn front(&mut self) -> Option<StreamRef> {
        let slot = self.queues.iter().map(|&(head, _)| head).find(|&head| head != NONE)?;
        self.at(slot).map(|stream| StreamRef { slot, id: stream.id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn ids_are_found_as_in_a_map() {
        let (mut streams, mut map) = (Streams::new(), BTreeMap::new());
        let mut random = 7u64;
        let mut dice = |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        for step in 0..20_000u32 {
            let id = step * 2 + 1;
            map.insert(id, streams.insert(Stream::new(id, State::begun_by_peer(), 0, 0)));
            if dice(10) < 3 {
                streams.enqueue(map[&id], dice(2) == 0);
            }
            while map.len() > 60 || dice(3) == 0 && !map.is_empty() {
                let nth = dice(map.len() as u64) as usize;
                let gone = *map.keys().nth(nth).unwrap();
                let at = map.remove(&gone).unwrap();
                streams.remove(at);
                assert!(streams.get(at).is_none() && streams.find(gone).is_none());
            }
            assert_eq!(streams.len(), map.len());
            assert!(map.iter().all(|(&id, &at)| streams.find(id) == Some(at)), "{step}");
        }
        assert!(streams.slots.len() <= 64 && streams.index.len() <= 256);
        let mut queued = 0;
        while let Some(at) = streams.front() {
            streams.dequeue(at);
            queued += 1;
        }
        assert!(queued <= streams.len());
    }

    #[test]
    fn the_urgent_come_first_and_equals_take_turns() {
        let mut streams = Streams::new();
        let all: Vec<_> =
            (0..6).map(|i| streams.insert(Stream::new(i * 2 + 1, State::begun_by_peer(), 0, 0))).collect();
        for (i, &at) in all.iter().enumerate() {
            streams.enqueue(at, false);
            streams.prioritize(at, Priority { urgency: [3, 3, 0, 7, 3, 0][i], incremental: true });
        }
        streams.remove(all[1]);
        let mut order = Vec::new();
        while let Some(at) = streams.front() {
            streams.dequeue(at);
            order.push(at.id);
        }
        assert_eq!(order, [5, 11, 1, 9, 7]);
    }
}
