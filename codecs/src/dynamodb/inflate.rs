//! A compressed body, decompressed piece by piece for looking at; the compressed bytes are what is forwarded. Memory is
//! fixed: the window of the decompressor and 8 KiB of output at a time.

use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

/// How many bytes of one body are decompressed before it is left alone: a body that large is no DynamoDB reply (16 MiB
/// is the limit of a request, 1 MiB of a page), and it may be a bomb.
pub const INFLATE_LIMIT: u64 = 16 << 20;

/// Beyond so many bytes a body that makes more than [`MAX_RATIO`] of each of its own is left alone as well.
pub const RATIO_FREE: u64 = 1 << 20;

/// What a byte may make. JSON that is not made for it is below 50.
pub const MAX_RATIO: u64 = 256;

/// The most that is decompressed at one go.
pub const FUEL: usize = 32 << 10;

/// How a body is coded, by its `content-encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952, one member or several.
    Gzip,
    /// The zlib format of RFC 1950, as HTTP means by `deflate`.
    Deflate,
    /// Anything else; it cannot be looked into.
    Other,
}

impl Coding {
    /// Reads the value of `content-encoding`, which is a list; `None` for an absent header is [`Coding::Identity`]. What is coded
    /// twice is not looked into.
    pub fn parse(value: Option<&[u8]>) -> Coding {
        let all = value.unwrap_or_default().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let mut codings =
            all.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
        match (codings.next(), codings.next()) {
            (None, _) => Coding::Identity,
            (Some(gzip), None)
                if gzip.eq_ignore_ascii_case(b"gzip") || gzip.eq_ignore_ascii_case(b"x-gzip") =>
            {
                Coding::Gzip
            }
            (Some(deflate), None) if deflate.eq_ignore_ascii_case(b"deflate") => Coding::Deflate,
            _ => Coding::Other,
        }
    }
}

/// Why a body cannot be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Opaque {
    /// A coding that we do not decode.
    #[error("content coding is not known")]
    Coding,
    /// The compressed bytes are broken.
    #[error("compressed bytes are broken")]
    Broken,
    /// Longer than [`INFLATE_LIMIT`].
    #[error("decompresses to more than {INFLATE_LIMIT} bytes")]
    TooLong,
    /// It makes more than [`MAX_RATIO`] of each of its bytes.
    #[error("decompresses to more than {MAX_RATIO} times its size")]
    TooDense,
    /// It ended in the middle.
    #[error("compressed body ended early")]
    Truncated,
}

/// Decompresses bodies, one after another; see the module.
#[derive(Debug)]
pub struct Inflater {
    state: State,
    /// Made at the first compressed body, and kept.
    engine: Option<Decompress>,
    output: Vec<u8>,
    produced: u64,
    taken: u64,
    coding: Coding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Identity,
    Header(Header),
    Body,
    /// The four bytes of a CRC and four of a length, of which so many are to come; the receiver checks them, not we.
    Trailer(u8),
    /// Behind the last byte; with gzip another member may follow.
    Ended,
    Failed(Opaque),
}

/// Where in the header of a gzip member we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Fixed { at: u8, flags: u8 },
    ExtraLength { flags: u8, low: Option<u8> },
    Extra { flags: u8, left: u16 },
    Text { flags: u8 },
    Crc { left: u8 },
}

const CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// One that allocates only if a compressed body comes.
    pub const fn new() -> Self {
        Inflater {
            state: State::Identity,
            engine: None,
            output: Vec::new(),
            produced: 0,
            taken: 0,
            coding: Coding::Identity,
        }
    }

    /// Begins a body.
    pub fn begin(&mut self, coding: Coding) {
        let Inflater { engine, output, .. } = std::mem::take(self);
        *self = Inflater { engine, output, coding, ..Inflater::new() };
        self.state = match coding {
            Coding::Identity => State::Identity,
            Coding::Gzip => State::Header(Header::Fixed { at: 0, flags: 0 }),
            Coding::Deflate => State::Body,
            Coding::Other => State::Failed(Opaque::Coding),
        };
        if matches!(coding, Coding::Gzip | Coding::Deflate) {
            let zlib = coding == Coding::Deflate;
            match &mut self.engine {
                Some(engine) => engine.reset(zlib),
                None => self.engine = Some(Decompress::new(zlib)),
            }
            self.output.resize(8 << 10, 0);
        }
    }

    /// Reads the next slice and gives what it decompresses to, in pieces, to `out`. After an error every call gives the
    /// same error.
    pub fn feed(&mut self, input: &[u8], mut out: impl FnMut(&[u8])) -> Result<(), Opaque> {
        let mut rest = input;
        while !rest.is_empty() {
            let used = self.step(rest, &mut out)?;
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// The same, but only as much of the slice as makes [`FUEL`]. Says how many bytes that were: of a slice that is not empty, one at
    /// least.
    pub fn step(&mut self, input: &[u8], mut out: impl FnMut(&[u8])) -> Result<usize, Opaque> {
        let (mut used, mut made) = (0, 0);
        while used < input.len() && made < FUEL {
            let rest = input.get(used..).unwrap_or_default();
            let before = self.produced;
            let step = match self.state {
                State::Identity => {
                    out(rest);
                    return Ok(input.len());
                }
                State::Header(header) => self.header(header, rest),
                State::Body => self.body(rest, &mut out),
                State::Trailer(left) => {
                    let read = rest.len().min(usize::from(left));
                    self.state = match left - read as u8 {
                        0 => State::Ended,
                        left => State::Trailer(left),
                    };
                    Ok(read)
                }
                State::Ended => self.after_the_end(rest),
                State::Failed(reason) => Err(reason),
            };
            match step {
                Ok(read) => {
                    used += read;
                    self.taken += read as u64;
                }
                Err(reason) => {
                    self.state = State::Failed(reason);
                    return Err(reason);
                }
            }
            made += (self.produced - before) as usize;
            if self.produced > RATIO_FREE && self.produced / MAX_RATIO > self.taken {
                self.state = State::Failed(Opaque::TooDense);
                return Err(Opaque::TooDense);
            }
        }
        Ok(used)
    }

    /// Another member begins, or padding of zeros: what else stands behind a body is broken.
    fn after_the_end(&mut self, input: &[u8]) -> Result<usize, Opaque> {
        match (self.coding, input.first()) {
            (_, Some(0)) => Ok(1),
            (Coding::Gzip, Some(_)) => {
                if let Some(engine) = &mut self.engine {
                    engine.reset(false);
                }
                self.state = State::Header(Header::Fixed { at: 0, flags: 0 });
                Ok(0)
            }
            _ => Err(Opaque::Broken),
        }
    }

    /// The body has ended.
    pub fn finish(&self) -> Result<(), Opaque> {
        match self.state {
            // Nobody minds a checksum that is not there.
            State::Identity | State::Ended | State::Trailer(_) => Ok(()),
            State::Failed(reason) => Err(reason),
            State::Header(_) | State::Body => Err(Opaque::Truncated),
        }
    }

    fn header(&mut self, header: Header, input: &[u8]) -> Result<usize, Opaque> {
        let Some(&byte) = input.first() else { return Ok(0) };
        let next = match header {
            Header::Fixed { at, flags } => {
                let fits = match at {
                    0 => byte == 0x1f,
                    1 => byte == 0x8b,
                    2 => byte == 8,
                    3 => byte & 0xe0 == 0,
                    _ => true,
                };
                if !fits {
                    return Err(Opaque::Broken);
                }
                let flags = if at == 3 { byte } else { flags };
                if at < 9 { Some(Header::Fixed { at: at + 1, flags }) } else { after(flags) }
            }
            Header::ExtraLength { flags, low: None } => Some(Header::ExtraLength { flags, low: Some(byte) }),
            Header::ExtraLength { flags, low: Some(low) } => match u16::from_le_bytes([low, byte]) {
                0 => after(flags),
                left => Some(Header::Extra { flags, left }),
            },
            Header::Extra { flags, left: 1 } => after(flags),
            Header::Extra { flags, left } => Some(Header::Extra { flags, left: left - 1 }),
            Header::Text { flags } if byte == 0 => after(flags),
            Header::Text { flags } => Some(Header::Text { flags }),
            Header::Crc { left: 1 } => None,
            Header::Crc { left } => Some(Header::Crc { left: left - 1 }),
        };
        self.state = next.map_or(State::Body, State::Header);
        Ok(1)
    }

    fn body(&mut self, input: &[u8], out: &mut impl FnMut(&[u8])) -> Result<usize, Opaque> {
        let Some(engine) = &mut self.engine else { return Err(Opaque::Broken) };
        let (mut used, mut all) = (0, 0);
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let (read, written) = (engine.total_in(), engine.total_out());
            let status = engine
                .decompress(rest, &mut self.output, FlushDecompress::None)
                .map_err(|_| Opaque::Broken)?;
            let made = (engine.total_out() - written) as usize;
            let took = (engine.total_in() - read) as usize;
            used += took;
            all += made;
            self.produced += made as u64;
            if self.produced > INFLATE_LIMIT {
                return Err(Opaque::TooLong);
            }
            out(self.output.get(..made).unwrap_or_default());
            if status == Status::StreamEnd {
                self.state = if self.coding == Coding::Gzip { State::Trailer(8) } else { State::Ended };
                return Ok(used);
            }
            if all >= FUEL && used > 0 && used < input.len() {
                return Ok(used);
            }
            // Full output: there may be more to come from the same input.
            if made < self.output.len() && used == input.len() {
                return Ok(used);
            }
            if made == 0 && took == 0 {
                return if used == input.len() { Ok(used) } else { Err(Opaque::Broken) };
            }
        }
    }
}

/// The next optional part of a gzip header; its flag is taken away. `None`: the header is over.
fn after(flags: u8) -> Option<Header> {
    if flags & EXTRA != 0 {
        Some(Header::ExtraLength { flags: flags & !EXTRA, low: None })
    } else if flags & NAME != 0 {
        Some(Header::Text { flags: flags & !NAME })
    } else if flags & COMMENT != 0 {
        Some(Header::Text { flags: flags & !COMMENT })
    } else if flags & CRC != 0 {
        Some(Header::Crc { left: 2 })
    } else {
        None
    }
}
