//! Snappy's block format, decoded as it arrives.
//!
//! The format allows a copy to reach back over everything decoded so far, but every compressor works in blocks of
//! 64 KiB and never reaches further. Keeping that much is therefore enough, and a message of 48 MB passes in
//! constant memory; a copy that does reach further is reported, and the message counts as too large to look into.

use super::problem::Problem;

/// How far back a copy may reach.
pub(super) const HISTORY: usize = 64 * 1024;

#[derive(Debug, Clone, Copy)]
enum State {
    /// The varint of the decompressed length.
    Length {
        value: u64,
        shift: u32,
    },
    Tag,
    /// Within the bytes that follow a tag: so many to go, so many had.
    Argument {
        tag: u8,
        left: u8,
        value: u32,
        had: u8,
    },
    Literal {
        left: u32,
    },
    Copy {
        offset: u32,
        left: u32,
    },
}

/// The decoder's state between two runs of bytes.
#[derive(Debug)]
pub(super) struct Snappy {
    state: State,
    /// The decompressed length that the stream begins with.
    total: u32,
    produced: u32,
}

impl Snappy {
    pub fn new() -> Snappy {
        Snappy { state: State::Length { value: 0, shift: 0 }, total: 0, produced: 0 }
    }

    /// Whether all that was announced has been produced.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Tag) && self.produced == self.total
    }

    /// Decodes from `input` into `out` from `end` on; what stands before `end` is the history. Returns bytes read
    /// and bytes written; it stops when either runs out.
    pub fn run(&mut self, input: &[u8], out: &mut [u8], end: usize) -> Result<(usize, usize), Problem> {
        let (mut read, mut at) = (0, end);
        loop {
            match self.state {
                State::Literal { left } => {
                    let n = (left as usize).min(input.len() - read).min(out.len() - at);
                    let (Some(from), Some(to)) = (input.get(read..read + n), out.get_mut(at..at + n)) else {
                        return Err(Problem::Corrupt);
                    };
                    to.copy_from_slice(from);
                    (read, at) = (read + n, at + n);
                    self.wrote(n)?;
                    self.state = State::Literal { left: left - n as u32 };
                    if left as usize > n {
                        break;
                    }
                    self.state = State::Tag;
                }
                State::Copy { offset, left } => {
                    let n = (left as usize).min(out.len() - at);
                    copy(out, at, offset as usize, n)?;
                    at += n;
                    self.wrote(n)?;
                    self.state = State::Copy { offset, left: left - n as u32 };
                    if left as usize > n {
                        break;
                    }
                    self.state = State::Tag;
                }
                _ => {
                    let Some(&byte) = input.get(read) else { break };
                    read += 1;
                    self.state = self.step(byte, at)?;
                }
            }
        }
        Ok((read, at - end))
    }

    fn wrote(&mut self, n: usize) -> Result<(), Problem> {
        self.produced = self.produced.saturating_add(n as u32);
        if self.produced > self.total { Err(Problem::InflatedLength) } else { Ok(()) }
    }

    /// One byte of length, tag or argument; `at` is how much can be reached back to.
    fn step(&mut self, byte: u8, at: usize) -> Result<State, Problem> {
        match self.state {
            State::Length { value, shift } => {
                let value = value | u64::from(byte & 0x7F) << shift;
                if byte & 0x80 != 0 {
                    return if shift >= 28 {
                        Err(Problem::Corrupt)
                    } else {
                        Ok(State::Length { value, shift: shift + 7 })
                    };
                }
                self.total = u32::try_from(value).map_err(|_| Problem::Corrupt)?;
                Ok(State::Tag)
            }
            State::Argument { tag, left, value, had } => {
                let value = value | u32::from(byte) << (8 * u32::from(had));
                if left > 1 {
                    return Ok(State::Argument { tag, left: left - 1, value, had: had + 1 });
                }
                match tag & 3 {
                    0 => Ok(State::Literal { left: value.checked_add(1).ok_or(Problem::Corrupt)? }),
                    1 => self.copy(u32::from(tag >> 5) << 8 | value, 4 + (u32::from(tag >> 2) & 7), at),
                    _ => self.copy(value, 1 + u32::from(tag >> 2), at),
                }
            }
            _ => {
                let argument = |left| State::Argument { tag: byte, left, value: 0, had: 0 };
                match byte & 3 {
                    0 if byte >> 2 < 60 => Ok(State::Literal { left: u32::from(byte >> 2) + 1 }),
                    0 => Ok(argument((byte >> 2) - 59)),
                    1 => Ok(argument(1)),
                    2 => Ok(argument(2)),
                    _ => Ok(argument(4)),
                }
            }
        }
    }

    fn copy(&self, offset: u32, left: u32, at: usize) -> Result<State, Problem> {
        if offset == 0 || offset > self.produced {
            return Err(Problem::Corrupt);
        }
        if offset as usize > at {
            return Err(Problem::OverBudget);
        }
        Ok(State::Copy { offset, left })
    }
}

/// Copies `n` bytes from `offset` back, which may overlap: then the bytes repeat.
fn copy(out: &mut [u8], at: usize, offset: usize, n: usize) -> Result<(), Problem> {
    let start = at.checked_sub(offset).ok_or(Problem::Corrupt)?;
    let mut done = 0;
    while done < n {
        // What has just been written may be copied again: each round doubles the stretch.
        let step = (offset + done).min(n - done);
        out.copy_within(start..start + step, at + done);
        done += step;
    }
    Ok(())
}
