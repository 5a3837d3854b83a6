//! A request with a limit of time of somebody else's in it: for what a server goes on with though its client has gone.

use bytes::{BufMut, BytesMut};

use super::bson::{Length, document_length, kind, name_end, value_length};
use super::frame::MAX_KEY;
use super::header::{Header, OpCode};
use super::inflate::Inflate;
use super::problem::Problem;
use super::request::Flags;
use super::whole::{CHECKSUM, in_the_clear};
use crate::crc32c::crc32c;

const KEY: &[u8] = b"maxTimeMS";

/// Appends the `OP_MSG` that `message` is to `out` with `maxTimeMS` in its body, in place of another one. It is not compressed, which
/// every server takes; where it had a checksum it has the right one. At most `limit` bytes are decompressed.
///
/// # Errors
/// Why it cannot be; nothing is appended.
pub fn with_max_time(
    message: &[u8],
    milliseconds: u32,
    inflate: &mut Inflate,
    limit: usize,
    out: &mut BytesMut,
) -> Result<(), Problem> {
    let (header, content) = in_the_clear(message, inflate, limit)?;
    let start = out.len();
    let done = write(header, &content, milliseconds, out);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn write(header: Header, content: &[u8], milliseconds: u32, out: &mut BytesMut) -> Result<(), Problem> {
    if header.op_code != OpCode::MSG {
        return Err(Problem::NoBody);
    }
    let start = out.len();
    let flags = content.first_chunk::<4>().ok_or(Problem::Truncated)?;
    let checksum = Flags(u32::from_le_bytes(*flags)).checksum_present();
    let end = if checksum { content.len().saturating_sub(CHECKSUM) } else { content.len() };
    let mut sections = content.get(4..end).ok_or(Problem::Truncated)?;
    out.put_slice(&header.to_bytes());
    out.put_slice(flags);
    let mut bodies = 0;
    while let Some((&section, sized)) = sections.split_first() {
        let length = i32::from_le_bytes(*sized.first_chunk::<4>().ok_or(Problem::Truncated)?);
        let length = document_length(length)? as usize;
        let (content, after) = sized.split_at_checked(length).ok_or(Problem::Overrun)?;
        out.put_u8(section);
        if section == 0 {
            bodies += 1;
            body(content, milliseconds, out)?;
        } else {
            out.put_slice(content);
        }
        sections = after;
    }
    if bodies != 1 {
        return Err(Problem::NoBody);
    }
    let length = out.len() - start + if checksum { CHECKSUM } else { 0 };
    let length = u32::try_from(length).map_err(|_| Problem::Length)?;
    set(out, start, length);
    if checksum {
        let sum = crc32c(out.get(start..).unwrap_or_default());
        out.put_u32_le(sum);
    }
    Ok(())
}

/// The document with the limit at its end.
fn body(document: &[u8], milliseconds: u32, out: &mut BytesMut) -> Result<(), Problem> {
    let start = out.len();
    out.put_u32_le(0);
    let mut rest = document.get(4..).ok_or(Problem::Length)?;
    loop {
        let (&of_kind, named) = rest.split_first().ok_or(Problem::Truncated)?;
        if of_kind == 0 {
            if !named.is_empty() {
                return Err(Problem::Overrun);
            }
            break;
        }
        let name = name_end(named, MAX_KEY + 1).ok_or(Problem::Truncated)?;
        let value = named.get(name + 1..).ok_or(Problem::Truncated)?;
        let Length::Known(length) = value_length(of_kind, value)? else { return Err(Problem::Type) };
        let size = 1 + name + 1 + length as usize;
        let (element, after) = rest.split_at_checked(size).ok_or(Problem::Overrun)?;
        if named.get(..name) != Some(KEY) {
            out.put_slice(element);
        }
        rest = after;
    }
    out.put_u8(kind::INT64);
    out.put_slice(KEY);
    out.put_u8(0);
    out.put_i64_le(milliseconds.into());
    out.put_u8(0);
    let length = u32::try_from(out.len() - start).map_err(|_| Problem::Length)?;
    set(out, start, length);
    Ok(())
}

fn set(out: &mut BytesMut, at: usize, length: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}
