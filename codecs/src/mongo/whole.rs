//! A whole message taken apart, and put together again around another document: for the few that are rewritten. And the
//! beginning of a message in the clear, for the few that are remarkable.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::header::{HEADER_LENGTH, Header, OpCode};
use super::inflate::{Compressor, Inflate, Work};
use super::problem::Problem;
use super::request::Flags;
use crate::crc32c::crc32c;

/// `OP_REPLY` between header and document: flags, cursor, starting number, how many documents.
const REPLY_PREFACE: usize = 20;
/// `OP_MSG` between header and document: flags and the kind of the only section.
const MSG_PREFACE: usize = 5;
/// `OP_COMPRESSED` between header and compressed bytes.
const COMPRESSED_PREFACE: usize = 9;
/// `OP_MSG`'s checksum.
pub(super) const CHECKSUM: usize = 4;

/// A message of one document, decompressed.
#[derive(Debug)]
pub struct Whole {
    header: Header,
    /// What stands between header and document.
    preface: Vec<u8>,
    document: Vec<u8>,
    checksum: bool,
}

impl Whole {
    /// Takes `message` apart: an `OP_MSG` of one body, or an `OP_REPLY` of one document, compressed or not, which is at
    /// most `limit` bytes long when decompressed.
    ///
    /// # Errors
    /// Why it is no such message.
    pub fn take_apart(message: &[u8], inflate: &mut Inflate, limit: usize) -> Result<Whole, Problem> {
        let (header, body) = in_the_clear(message, inflate, limit)?;
        Whole::plain(header, &body)
    }

    fn plain(header: Header, body: &[u8]) -> Result<Whole, Problem> {
        let flags =
            body.first_chunk::<4>().map(|bits| u32::from_le_bytes(*bits)).ok_or(Problem::Truncated)?;
        let checksum = header.op_code == OpCode::MSG && Flags(flags).checksum_present();
        let body = match checksum {
            true => body.get(..body.len().saturating_sub(CHECKSUM)).unwrap_or_default(),
            false => body,
        };
        let length = match header.op_code {
            OpCode::MSG => MSG_PREFACE,
            OpCode::REPLY => REPLY_PREFACE,
            _ => return Err(Problem::NoBody),
        };
        let (preface, document) = body.split_at_checked(length).ok_or(Problem::Truncated)?;
        match (header.op_code, preface) {
            (OpCode::MSG, [.., 0]) | (OpCode::REPLY, [.., 1, 0, 0, 0]) => {}
            _ => return Err(Problem::NoBody),
        }
        let announced = document.first_chunk::<4>().map(|length| u32::from_le_bytes(*length));
        if announced.is_none_or(|length| length as usize != document.len()) {
            // Another section follows the body, or nobody knows what.
            return Err(Problem::SecondBody);
        }
        Ok(Whole { header, preface: preface.to_vec(), document: document.to_vec(), checksum })
    }

    /// The document, BSON.
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// Appends the same message with another document to `out`: its numbers and flags stay, its length and its checksum
    /// (where it had one) are right for what it is now. It is not compressed, which every driver takes.
    pub fn put_together(&self, document: &[u8], out: &mut BytesMut) {
        let start = out.len();
        let length = HEADER_LENGTH + self.preface.len() + document.len();
        let length = length + if self.checksum { CHECKSUM } else { 0 };
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        out.put_slice(&Header { length, ..self.header }.to_bytes());
        out.put_slice(&self.preface);
        out.put_slice(document);
        if self.checksum {
            let sum = crc32c(out.get(start..).unwrap_or_default());
            out.put_u32_le(sum);
        }
    }
}

/// A message's header, as of what is inside of it, and what stands behind that, decompressed.
pub(super) fn in_the_clear<'a>(
    message: &'a [u8],
    inflate: &mut Inflate,
    limit: usize,
) -> Result<(Header, Cow<'a, [u8]>), Problem> {
    let header = Header::parse(message).ok().flatten().ok_or(Problem::Length)?;
    let body = message.get(HEADER_LENGTH..header.length as usize).ok_or(Problem::Truncated)?;
    if header.op_code != OpCode::COMPRESSED {
        return Ok((header, body.into()));
    }
    let (preface, compressed) = body.split_at_checked(COMPRESSED_PREFACE).ok_or(Problem::Compressed)?;
    let (op_code, length, id) = match *preface {
        [a, b, c, d, e, f, g, h, id] => {
            (i32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), id)
        }
        _ => return Err(Problem::Compressed),
    };
    if length as usize > limit {
        return Err(Problem::Inflated);
    }
    let known = Compressor::from_id(id).ok_or(Problem::Compressor)?;
    if !known.can_make(compressed.len(), length as usize) {
        return Err(Problem::InflatedLength);
    }
    let header = Header { op_code: OpCode(op_code), ..header };
    let body = match known {
        Compressor::Noop => compressed.into(),
        compressor => inflated(compressor, length, compressed, inflate)?.into(),
    };
    Ok((header, body))
}

/// Puts the first bytes of a compressed message in the clear into `clear`, header included, at most `limit` of them: of
/// `start`, the first bytes of the message as it came, be it whole or not. Fewer where the compressor gives no more of that
/// (zstd gives nothing of a block before its end). `false` where it is not compressed, or cannot be read.
pub fn opening(start: &[u8], inflate: &mut Inflate, limit: usize, clear: &mut Vec<u8>) -> bool {
    clear.clear();
    open(start, inflate, limit, clear).is_some()
}

fn open(start: &[u8], inflate: &mut Inflate, limit: usize, clear: &mut Vec<u8>) -> Option<()> {
    let header = Header::parse(start).ok().flatten().filter(|header| header.op_code == OpCode::COMPRESSED)?;
    let body = start.get(HEADER_LENGTH..start.len().min(header.length as usize))?;
    let (preface, compressed) = body.split_at_checked(COMPRESSED_PREFACE)?;
    let [a, b, c, d, e, f, g, h, id] = *preface else { return None };
    let (op_code, length) = (OpCode(i32::from_le_bytes([a, b, c, d])), u32::from_le_bytes([e, f, g, h]));
    let length_in_the_clear = length.saturating_add(HEADER_LENGTH as u32);
    clear.put_slice(&Header { length: length_in_the_clear, op_code, ..header }.to_bytes());
    match Compressor::from_id(id)? {
        Compressor::Noop => clear.extend_from_slice(compressed),
        compressor => {
            let work = inflate.take(compressor, length, compressed, true).ok()?;
            let done = run_all(inflate, &work, compressed, |more| {
                clear.extend_from_slice(more);
                // Enough: what this says is thrown away.
                if clear.len() < limit { Ok(more.len()) } else { Err(Problem::Inflated) }
            });
            inflate.give_back(work);
            if done.is_err() && clear.len() < limit {
                return None;
            }
        }
    }
    clear.truncate(limit);
    Some(())
}

fn inflated(
    compressor: Compressor,
    length: u32,
    compressed: &[u8],
    inflate: &mut Inflate,
) -> Result<Vec<u8>, Problem> {
    let work = inflate.take(compressor, length, compressed, true)?;
    // Not more in advance than a compressor makes of so little: what is announced need not be true.
    let mut whole = Vec::with_capacity((length as usize).min(compressed.len().saturating_mul(16)));
    let done = run_all(inflate, &work, compressed, |clear| {
        whole.extend_from_slice(clear);
        Ok(clear.len())
    });
    let done = done.and_then(|()| work.finish());
    inflate.give_back(work);
    done.map(|()| whole)
}

/// Decompresses all of `input`: no more than its caller has set a limit to.
fn run_all(
    inflate: &mut Inflate,
    work: &Work,
    mut input: &[u8],
    mut walk: impl FnMut(&[u8]) -> Result<usize, Problem>,
) -> Result<(), Problem> {
    loop {
        let used = inflate.run(work, input, &mut walk)?;
        input = input.get(used..).unwrap_or_default();
        if input.is_empty() {
            return Ok(());
        }
    }
}
