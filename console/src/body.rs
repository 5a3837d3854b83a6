//! What is sent: a few bytes at once, or something long in chunks, made as the reader takes them.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;
use weir_measure::{OperationRow, Scrape};

/// A chunk is at least this large, but for the last.
const CHUNK: usize = 64 * 1024;

/// What is sent.
pub(crate) enum Content {
    Whole(Bytes),
    /// A scrape; with the leave to have one in memory, given back when it is written or the reader is gone.
    Scrape {
        scrape: Box<Scrape>,
        _leave: OwnedSemaphorePermit,
    },
    /// A list in JSON; likewise.
    List {
        list: List,
        _leave: OwnedSemaphorePermit,
    },
    /// Rows of operations; likewise.
    Rows {
        rows: Rows,
        _leave: OwnedSemaphorePermit,
    },
    End,
}

/// A JSON object whose last member is a list (or a mapping), written item by item in the manner of `serde_json`'s pretty form.
pub(crate) struct List {
    /// Up to the list's `[`.
    head: String,
    items: Box<dyn Iterator<Item = Vec<u8>> + Send>,
    is_first: bool,
    /// What stands before an item, and before the end, of a list that has any.
    indent: &'static str,
    tail: &'static str,
}

/// An item of a list.
pub(crate) fn json<T: Serialize>(item: &T) -> Vec<u8> {
    // Plain data always has a JSON form.
    serde_json::to_vec_pretty(item).unwrap_or_default()
}

impl List {
    /// `{ "name": [..] }`, after what `before` says. Items are [`json`].
    pub(crate) fn new(
        before: &[(&str, usize)],
        name: &str,
        items: impl Iterator<Item = Vec<u8>> + Send + 'static,
    ) -> List {
        let mut head = String::from("{\n");
        for (name, number) in before {
            head += &format!("  \"{name}\": {number},\n");
        }
        head += &format!("  \"{name}\": [");
        List { head, items: Box::new(items), is_first: true, indent: "    ", tail: "]\n}\n" }
    }

    /// A text that is there piece by piece.
    pub(crate) fn pieces(items: impl Iterator<Item = Vec<u8>> + Send + 'static) -> List {
        List { head: String::new(), items: Box::new(items), is_first: true, indent: "", tail: "" }
    }

    /// Appends at least a chunk, or all that is left. False when all is written.
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(std::mem::take(&mut self.head).as_bytes());
        for item in self.items.by_ref() {
            if self.indent.is_empty() {
                out.extend_from_slice(&item);
            } else {
                out.extend_from_slice(if self.is_first { b"\n" } else { b",\n" });
                // No text in it has a line end of its own.
                for (at, line) in item.split(|byte| *byte == b'\n').enumerate() {
                    out.extend_from_slice(if at > 0 { b"\n" } else { b"" });
                    out.extend_from_slice(self.indent.as_bytes());
                    out.extend_from_slice(line);
                }
            }
            self.is_first = false;
            if out.len() >= CHUNK {
                return true;
            }
        }
        if !self.is_first && !self.indent.is_empty() {
            out.extend_from_slice(b"\n  ");
        }
        out.extend_from_slice(self.tail.as_bytes());
        false
    }
}

/// A list that is written row by row, by a function that appends one.
pub(crate) struct Rows {
    pub(crate) head: &'static str,
    pub(crate) rows: std::vec::IntoIter<OperationRow>,
    pub(crate) row: fn(&OperationRow, &mut Vec<u8>),
    pub(crate) between: &'static str,
    pub(crate) tail: &'static str,
}

impl Rows {
    /// Appends at least a chunk, or all that is left. False when all is written.
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        let mut between = "";
        if !self.head.is_empty() {
            out.extend_from_slice(std::mem::take(&mut self.head).as_bytes());
        } else {
            between = self.between;
        }
        for row in self.rows.by_ref() {
            out.extend_from_slice(between.as_bytes());
            (self.row)(&row, out);
            between = self.between;
            if out.len() >= CHUNK {
                return true;
            }
        }
        out.extend_from_slice(self.tail.as_bytes());
        false
    }
}

impl Content {
    fn next(&mut self) -> Option<Bytes> {
        let (chunk, more) = match self {
            Content::Whole(bytes) => (std::mem::take(bytes), false),
            Content::Scrape { scrape, .. } => {
                let mut out = Vec::with_capacity(CHUNK + CHUNK / 8);
                let more = scrape.write(&mut out, CHUNK);
                (out.into(), more)
            }
            Content::List { list, .. } => {
                let mut out = Vec::with_capacity(CHUNK / 8);
                let more = list.write(&mut out);
                (out.into(), more)
            }
            Content::Rows { rows, .. } => {
                let mut out = Vec::with_capacity(CHUNK + CHUNK / 8);
                let more = rows.write(&mut out);
                (out.into(), more)
            }
            Content::End => return None,
        };
        if !more {
            *self = Content::End;
        }
        Some(chunk)
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().filter(|chunk| !chunk.is_empty()).map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Scrape { .. } | Content::List { .. } | Content::Rows { .. } => false,
            Content::End => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Scrape { .. } | Content::List { .. } | Content::Rows { .. } => SizeHint::new(),
            Content::End => SizeHint::with_exact(0),
        }
    }
}
