//! Looking into compressed messages in bounded memory.
//!
//! All three compressors are decoded as the bytes come, into a small window that the walk reads from; nothing is
//! ever whole. What a decompressor needs is taken from a [`Budget`] (one for the process, or one per worker): tens
//! of kilobytes for snappy and zlib, the window that the frame asks for with zstd. A message that comes when the
//! budget is used up, or that asks for a window above 8 MiB, passes unread and is reported as
//! [`Problem::OverBudget`].

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

    fn lease(self: &Arc<Budget>, bytes: usize) -> Option<Lease> {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= self.limit)
        });
        if taken.is_err() {
            return None;
        }
        Some(Lease { budget: Arc::clone(self), bytes })
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
struct Lease {
    budget: Arc<Budget>,
    bytes: usize,
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
    idle: Vec<Stream>,
}

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

/// The bytes at the beginning of the compressed data that [`Inflate::take`] wants to see, if there are so many.
pub(super) const FRAME_HEADER: usize = 18;

impl Inflate {
    /// Decompressors that share `budget`.
    pub fn new(budget: Arc<Budget>) -> Inflate {
        Inflate { budget, idle: Vec::with_capacity(MOST_IDLE) }
    }

    /// A decompressor for a message that announces `announced` bytes and begins with `start`.
    pub(super) fn take(
        &mut self,
        compressor: Compressor,
        announced: u32,
        start: &[u8],
    ) -> Result<Stream, Problem> {
        let cost = match compressor {
            Compressor::Noop => return Err(Problem::Compressor),
            Compressor::Snappy => HISTORY + WINDOW,
            Compressor::Zlib => ZLIB_STATE + WINDOW,
            Compressor::Zstd => zstd_cost(start)?,
        };
        let fits = |stream: &Stream| stream.engine.compressor() == compressor && stream.lease.bytes >= cost;
        let found = self.idle.iter().position(fits);
        let mut stream = match found {
            Some(index) => self.idle.swap_remove(index),
            None => self.make(compressor, cost)?,
        };
        stream.begin(announced)?;
        Ok(stream)
    }

    fn make(&mut self, compressor: Compressor, cost: usize) -> Result<Stream, Problem> {
        let lease = match self.budget.lease(cost) {
            Some(lease) => lease,
            None => {
                self.idle.clear();
                self.budget.lease(cost).ok_or_else(|| {
                    self.budget.refused.fetch_add(1, Ordering::Relaxed);
                    Problem::OverBudget
                })?
            }
        };
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
        Ok(Stream { engine, out, history, start: 0, end: 0, produced: 0, announced: 0, done: false, lease })
    }

    /// Takes a decompressor back, at its message's end or when the message turned out to be corrupt.
    pub(super) fn give_back(&mut self, stream: Stream) {
        if self.idle.len() < MOST_IDLE && stream.lease.bytes <= LARGEST_IDLE {
            self.idle.push(stream);
        }
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
    lease: Lease,
}

impl Stream {
    fn begin(&mut self, announced: u32) -> Result<(), Problem> {
        (self.start, self.end, self.produced) = (0, 0, 0);
        self.announced = announced;
        self.done = false;
        match &mut self.engine {
            Engine::Snappy(snappy) => *snappy = Snappy::new(),
            Engine::Zlib(zlib) => zlib.reset(true),
            Engine::Zstd(zstd) => zstd.reinit().map_err(|_| Problem::Corrupt)?,
        }
        Ok(())
    }

    /// Decompresses all of `input` and shows the result to `walk`, which says how much of it it is done with.
    pub fn run(
        &mut self,
        mut input: &[u8],
        mut walk: impl FnMut(&[u8]) -> Result<usize, Problem>,
    ) -> Result<(), Problem> {
        loop {
            if self.done {
                return if input.is_empty() { Ok(()) } else { Err(Problem::InflatedLength) };
            }
            self.make_room();
            let room = self.out.len() - self.end;
            let (read, written) = self.step(input)?;
            self.end += written;
            self.produced = self.produced.saturating_add(u32::try_from(written).unwrap_or(u32::MAX));
            if self.produced > self.announced {
                return Err(Problem::InflatedLength);
            }
            input = input.get(read..).unwrap_or_default();
            if written > 0 {
                self.start += walk(self.out.get(self.start..self.end).unwrap_or_default())?;
            }
            if !self.done && input.is_empty() && written < room {
                return Ok(());
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

/// What decoding the zstd frame that begins with `start` takes (RFC 8878, section 3.1.1.1).
fn zstd_cost(start: &[u8]) -> Result<usize, Problem> {
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
    let window = window as usize;
    // At least what a small frame takes, so that one decompressor serves all of them.
    let window = window.max(256 * 1024);
    Ok(window + 3 * ZSTD_BLOCK + ZSTD_STATE)
}
