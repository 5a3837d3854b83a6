//! Looking into compressed messages in bounded memory.
//!
//! All three compressors are decoded as the bytes come, into a small window that the walk reads from; nothing is
//! ever whole. At one go no more than [`FUEL`] is decompressed (and what one block of zstd's holds, which is not to be had in
//! parts): the rest of the bytes stays where it is, for the next turn.
//!
//! What a decompressor needs is taken from a [`Budget`], one per worker: tens of kilobytes for snappy and zlib; with zstd as
//! much of the window that the frame asks for as has been written to. When the budget is used up, the decompressor gives way
//! that has been idle for longest in the middle of its message; one for a reply never to one for a request. A message that loses
//! its decompressor, or that asks for a window above 8 MiB, passes unread and is reported as [`Problem::OverBudget`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstd, Operation};

use super::problem::Problem;
use super::snappy::{HISTORY, Snappy};
use super::walk::MAX_HELD;

/// The compressors that an `OP_COMPRESSED` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compressor {
    /// Not compressed at all.
    Noop = 0,
    /// Snappy's block format.
    Snappy = 1,
    /// zlib (RFC 1950).
    Zlib = 2,
    /// Zstandard (RFC 8878).
    Zstd = 3,
}

impl Compressor {
    /// The number on the wire.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The name in a hello.
    pub fn name(self) -> &'static str {
        match self {
            Compressor::Noop => "noop",
            Compressor::Snappy => "snappy",
            Compressor::Zlib => "zlib",
            Compressor::Zstd => "zstd",
        }
    }

    /// Whether so many bytes can become so many more: what cannot is not worth a look.
    pub(super) fn can_make(self, compressed: usize, length: usize) -> bool {
        let most = match self {
            Compressor::Noop => 1,
            // A copy of 64 bytes takes three.
            Compressor::Snappy => 22,
            // A copy of 258 bytes takes two bits.
            Compressor::Zlib => 1032,
            // A block of 128 KiB takes four bytes: the length of a message is what bounds it.
            Compressor::Zstd => usize::MAX,
        };
        length <= compressed.saturating_mul(most).saturating_add(64)
    }

    pub(super) fn from_id(id: u8) -> Option<Compressor> {
        [Compressor::Noop, Compressor::Snappy, Compressor::Zlib, Compressor::Zstd]
            .get(usize::from(id))
            .copied()
    }

    pub(super) fn from_name(name: &[u8]) -> Option<Compressor> {
        (0..=3).filter_map(Compressor::from_id).find(|compressor| compressor.name().as_bytes() == name)
    }
}

/// How much memory all decompressors that share it may take together, in bytes.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    refused: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes, unused.
    pub fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget { limit, used: AtomicUsize::new(0), refused: AtomicU64::new(0) })
    }

    /// Bytes taken now, by decompressors at work and by those kept for the next message.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How often it was met.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= self.limit)
        });
        taken.is_ok()
    }

    fn lease(self: &Arc<Budget>, bytes: usize) -> Option<Lease> {
        self.take(bytes).then(|| Lease { budget: Arc::clone(self), bytes })
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
struct Lease {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Lease {
    /// Makes it so large, if there is so much.
    fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let grown = self.budget.take(more);
        if grown {
            self.bytes += more;
        }
        grown
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A worker's decompressors: taken for a message, kept for the next.
#[derive(Debug)]
pub struct Inflate {
    budget: Arc<Budget>,
    idle: Vec<Rc<Work>>,
    /// Those that have been taken: no more than there is a budget for.
    taken: Vec<Weak<Work>>,
    /// Counts what is done, to tell which decompressor has been idle for longest.
    clock: u64,
    /// Bytes decompressed since somebody asked.
    spent: usize,
}

/// A decompressor that has been taken. It may be without one by now.
#[derive(Debug)]
pub(super) struct Work {
    stream: RefCell<Option<Stream>>,
    /// When it last did something.
    used: Cell<u64>,
    /// It is a server's bytes that it reads.
    is_reply: Cell<bool>,
}

/// The most that is decompressed at one go.
pub const FUEL: usize = 32 * 1024;

/// Decompressors kept between messages.
const MOST_IDLE: usize = 6;
/// A decompressor that takes more than this is not kept.
const LARGEST_IDLE: usize = 1 << 20;
/// What the walk reads from, beside a compressor's history.
const WINDOW: usize = 32 * 1024;
const _: () = assert!(WINDOW / 2 > MAX_HELD, "what a walk leaves unread must leave room for more");
/// zlib's own state: 32 KiB of history and its tables.
const ZLIB_STATE: usize = 48 * 1024;
/// Largest zstd window: level 19 and below stay within it.
const ZSTD_WINDOW_LOG: u32 = 23;
/// zstd's own state, without windows.
const ZSTD_STATE: usize = 192 * 1024;
const ZSTD_BLOCK: usize = 128 * 1024;
/// What decoding takes without a window.
const ZSTD_COST: usize = 3 * ZSTD_BLOCK + ZSTD_STATE;

/// The bytes at the beginning of the compressed data that [`Inflate::take`] wants to see, if there are so many.
pub(super) const FRAME_HEADER: usize = 18;

impl Inflate {
    /// Decompressors that share `budget`.
    pub fn new(budget: Arc<Budget>) -> Inflate {
        Inflate { budget, idle: Vec::with_capacity(MOST_IDLE), taken: Vec::new(), clock: 0, spent: 0 }
    }

    /// Whether [`FUEL`] or more has been decompressed since this last said so: as much as one turn should.
    pub fn has_toiled(&mut self) -> bool {
        let toiled = self.spent >= FUEL;
        if toiled {
            self.spent = 0;
        }
        toiled
    }

    /// A decompressor for a message that announces `announced` bytes and begins with `start`.
    pub(super) fn take(
        &mut self,
        compressor: Compressor,
        announced: u32,
        start: &[u8],
        is_reply: bool,
    ) -> Result<Rc<Work>, Problem> {
        let (cost, window) = match compressor {
            Compressor::Noop => return Err(Problem::Compressor),
            Compressor::Snappy => (HISTORY + WINDOW, 0),
            Compressor::Zlib => (ZLIB_STATE + WINDOW, 0),
            Compressor::Zstd => (ZSTD_COST, zstd_window(start)?),
        };
        let fits = |work: &Rc<Work>| {
            work.stream.borrow().as_ref().is_some_and(|stream| stream.engine.compressor() == compressor)
        };
        let found = self.idle.iter().position(fits);
        let work = match found {
            Some(index) => self.idle.swap_remove(index),
            None => {
                let stream = self.make(compressor, cost, is_reply)?;
                let (stream, used) = (RefCell::new(Some(stream)), Cell::new(0));
                Rc::new(Work { stream, used, is_reply: Cell::new(is_reply) })
            }
        };
        if let Some(stream) = work.stream.borrow_mut().as_mut() {
            stream.begin(announced, cost, window)?;
        }
        work.is_reply.set(is_reply);
        self.clock += 1;
        work.used.set(self.clock);
        self.taken.retain(|taken| taken.strong_count() > 0);
        self.taken.push(Rc::downgrade(&work));
        Ok(work)
    }

    /// Room in the budget, at the cost of those that have been idle for longest if need be.
    fn make_room(
        &mut self,
        is_reply: bool,
        mut lease: impl FnMut(&Arc<Budget>) -> bool,
    ) -> Result<(), Problem> {
        loop {
            if lease(&self.budget) {
                return Ok(());
            }
            if self.idle.pop().is_some() {
                continue;
            }
            let taken = self.taken.iter().filter_map(Weak::upgrade);
            let candidates = taken.filter(|work| {
                (is_reply || !work.is_reply.get())
                    && work.stream.try_borrow().is_ok_and(|stream| stream.is_some())
            });
            let Some(victim) = candidates.min_by_key(|work| (work.is_reply.get(), work.used.get())) else {
                self.budget.refused.fetch_add(1, Ordering::Relaxed);
                return Err(Problem::OverBudget);
            };
            self.budget.refused.fetch_add(1, Ordering::Relaxed);
            victim.stream.take();
        }
    }

    fn make(&mut self, compressor: Compressor, cost: usize, is_reply: bool) -> Result<Stream, Problem> {
        let mut lease = None;
        self.make_room(is_reply, |budget| {
            lease = budget.lease(cost);
            lease.is_some()
        })?;
        let lease = lease.ok_or(Problem::OverBudget)?;
        let (engine, history) = match compressor {
            Compressor::Noop | Compressor::Snappy => (Engine::Snappy(Snappy::new()), HISTORY),
            Compressor::Zlib => (Engine::Zlib(Decompress::new(true)), 0),
            Compressor::Zstd => {
                let mut zstd = Zstd::new().map_err(|_| Problem::OverBudget)?;
                zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(|_| Problem::OverBudget)?;
                (Engine::Zstd(zstd), 0)
            }
        };
        let out = vec![0; history + WINDOW];
        let (start, end, produced, announced, done, cost, window) = (0, 0, 0, 0, false, 0, 0);
        Ok(Stream { engine, out, history, start, end, produced, announced, done, cost, window, lease })
    }

    /// Decompresses what [`FUEL`] allows of `input` and shows the result to `walk`, which says how much of it it is done with. Says
    /// how much of `input` that was: at least a byte of it.
    pub(super) fn run(
        &mut self,
        work: &Work,
        input: &[u8],
        walk: impl FnMut(&[u8]) -> Result<usize, Problem>,
    ) -> Result<usize, Problem> {
        // Meanwhile it is nobody's to take.
        let mut stream = work.stream.take().ok_or(Problem::OverBudget)?;
        self.clock += 1;
        work.used.set(self.clock);
        let needs = stream.needs();
        if stream.lease.bytes < needs {
            self.make_room(work.is_reply.get(), |_| stream.lease.grow(needs))?;
        }
        let before = stream.produced;
        let done = stream.run(input, walk);
        self.spent = self.spent.saturating_add((stream.produced - before) as usize);
        work.stream.replace(Some(stream));
        done
    }

    /// Takes a decompressor back, at its message's end or when the message turned out to be corrupt.
    pub(super) fn give_back(&mut self, work: Rc<Work>) {
        let small = work.stream.borrow().as_ref().is_some_and(|stream| stream.lease.bytes <= LARGEST_IDLE);
        let mine = Rc::as_ptr(&work);
        // As a rule it was the last to be taken.
        if let Some(index) = self.taken.iter().rposition(|taken| std::ptr::eq(taken.as_ptr(), mine)) {
            self.taken.swap_remove(index);
        }
        if small && self.idle.len() < MOST_IDLE {
            self.idle.push(work);
        }
    }
}

impl Work {
    /// The message has ended: was that all?
    pub(super) fn finish(&self) -> Result<(), Problem> {
        self.stream.borrow().as_ref().map_or(Err(Problem::OverBudget), Stream::finish)
    }
}

enum Engine {
    Snappy(Snappy),
    Zlib(Decompress),
    Zstd(Zstd<'static>),
}

impl Engine {
    fn compressor(&self) -> Compressor {
        match self {
            Engine::Snappy(_) => Compressor::Snappy,
            Engine::Zlib(_) => Compressor::Zlib,
            Engine::Zstd(_) => Compressor::Zstd,
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.compressor().name())
    }
}

/// A decompressor at work on one message.
#[derive(Debug)]
pub(super) struct Stream {
    engine: Engine,
    /// The window: what the walk has read and the compressor may refer to, then what it has still to read.
    out: Vec<u8>,
    /// How much of what was read has to stay.
    history: usize,
    start: usize,
    end: usize,
    produced: u32,
    announced: u32,
    done: bool,
    /// What it takes without its window.
    cost: usize,
    /// How large that may get.
    window: usize,
    lease: Lease,
}

impl Stream {
    fn begin(&mut self, announced: u32, cost: usize, window: usize) -> Result<(), Problem> {
        (self.start, self.end, self.produced) = (0, 0, 0);
        (self.cost, self.window) = (cost, window);
        self.announced = announced;
        self.done = false;
        match &mut self.engine {
            Engine::Snappy(snappy) => *snappy = Snappy::new(),
            Engine::Zlib(zlib) => zlib.reset(true),
            Engine::Zstd(zstd) => zstd.reinit().map_err(|_| Problem::Corrupt)?,
        }
        Ok(())
    }

    /// What it takes with what it writes next.
    fn needs(&self) -> usize {
        let written = self.produced as usize + FUEL + 2 * ZSTD_BLOCK;
        self.cost + self.window.min(written)
    }

    /// As [`Inflate::run`].
    fn run(
        &mut self,
        input: &[u8],
        mut walk: impl FnMut(&[u8]) -> Result<usize, Problem>,
    ) -> Result<usize, Problem> {
        let mut used = 0;
        let until = self.produced.saturating_add(FUEL as u32);
        loop {
            let rest = input.get(used..).unwrap_or_default();
            if self.done {
                return if rest.is_empty() { Ok(used) } else { Err(Problem::InflatedLength) };
            }
            // What a compressor has taken in it also gives out: little, but where one block is large.
            if used > 0 && !rest.is_empty() && self.produced >= until {
                return Ok(used);
            }
            self.make_room();
            let room = self.out.len() - self.end;
            let (read, written) = self.step(rest)?;
            self.end += written;
            self.produced = self.produced.saturating_add(u32::try_from(written).unwrap_or(u32::MAX));
            if self.produced > self.announced {
                return Err(Problem::InflatedLength);
            }
            used += read;
            if written > 0 {
                self.start += walk(self.out.get(self.start..self.end).unwrap_or_default())?;
            }
            let drained = used >= input.len() && written < room;
            if !self.done && drained {
                return Ok(used);
            }
            if read == 0 && written == 0 && !self.done {
                return Err(Problem::Corrupt);
            }
        }
    }

    /// The message has ended: was that all?
    pub fn finish(&self) -> Result<(), Problem> {
        if !self.done {
            return Err(Problem::Corrupt);
        }
        if self.produced != self.announced { Err(Problem::InflatedLength) } else { Ok(()) }
    }

    /// Moves what is still needed to the window's beginning, once its end is near.
    fn make_room(&mut self) {
        if self.end + WINDOW / 2 <= self.out.len() {
            return;
        }
        let keep = self.start.min(self.end.saturating_sub(self.history));
        self.out.copy_within(keep..self.end, 0);
        self.start -= keep;
        self.end -= keep;
    }

    /// One call of the compressor: bytes read and written.
    fn step(&mut self, input: &[u8]) -> Result<(usize, usize), Problem> {
        match &mut self.engine {
            Engine::Snappy(snappy) => {
                let moved = snappy.run(input, &mut self.out, self.end)?;
                self.done = snappy.is_done();
                Ok(moved)
            }
            Engine::Zlib(zlib) => {
                let (before_in, before_out) = (zlib.total_in(), zlib.total_out());
                let out = self.out.get_mut(self.end..).unwrap_or_default();
                let status = zlib.decompress(input, out, FlushDecompress::None);
                self.done = match status {
                    Ok(Status::StreamEnd) => true,
                    Ok(Status::Ok | Status::BufError) => false,
                    Err(_) => return Err(Problem::Corrupt),
                };
                let moved = (zlib.total_in() - before_in, zlib.total_out() - before_out);
                Ok((moved.0 as usize, moved.1 as usize))
            }
            Engine::Zstd(zstd) => {
                let out = self.out.get_mut(self.end..).unwrap_or_default();
                let status = zstd.run_on_buffers(input, out).map_err(|_| Problem::Corrupt)?;
                self.done = status.remaining == 0 && (status.bytes_read > 0 || status.bytes_written > 0);
                Ok((status.bytes_read, status.bytes_written))
            }
        }
    }
}

/// The window that the zstd frame that begins with `start` asks for (RFC 8878, section 3.1.1.1).
fn zstd_window(start: &[u8]) -> Result<usize, Problem> {
    let [0x28, 0xB5, 0x2F, 0xFD, descriptor, rest @ ..] = start else { return Err(Problem::Corrupt) };
    let window = if descriptor & 0x20 == 0 {
        let window = *rest.first().ok_or(Problem::Corrupt)?;
        let base = 1u64 << (10 + u32::from(window >> 3));
        base + (base >> 3) * u64::from(window & 7)
    } else {
        // A single segment: the window is the content.
        let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied().unwrap_or(0);
        let field = rest.get(dictionary..).unwrap_or_default();
        let (width, base) = match descriptor >> 6 {
            0 => (1, 0),
            1 => (2, 256),
            2 => (4, 0),
            _ => (8, 0),
        };
        let field = field.get(..width).ok_or(Problem::Corrupt)?;
        field.iter().rev().fold(0u64, |size, &byte| size << 8 | u64::from(byte)).saturating_add(base)
    };
    if window > 1 << ZSTD_WINDOW_LOG {
        return Err(Problem::OverBudget);
    }
    Ok(window as usize)
}
