//! A field section as offsets into the bytes it was parsed from.

use bytes::{BufMut, BytesMut};

use super::known::{Known, KnownSet};

/// A range of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The offset of the first byte.
    pub start: u32,
    /// The offset after the last byte.
    pub end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        // Heads are capped far below this; a span that saturates reads as empty, never out of bounds.
        let fit = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { start: fit(start), end: fit(end) }
    }

    /// The bytes of `buf` in the range; empty if `buf` is not the buffer the range was made for and is too short.
    #[must_use]
    pub fn of<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        buf.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// How many bytes the range has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether the range has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// What a forwarder does with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// For the recipient: forward it as it is.
    EndToEnd,
    /// For this connection: drop it. The fixed set ([`Known::is_hop_by_hop`]) and what Connection nominates.
    HopByHop,
    /// Content-Length and Transfer-Encoding: the framing of the forwarded message is written from
    /// [`Framing`](super::Framing). `canonical` says that the field is the only one of its kind and that its bytes are
    /// those [`Framing::write`](super::Framing::write) would put after the name, so a forwarder that keeps the framing may copy it as it
    /// is.
    Framing {
        /// Whether a copy of the field is as good as one of our own.
        canonical: bool,
    },
}

/// One field line, by offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The name, in the case it came in.
    pub name: Span,
    /// The value, without the white space around it.
    pub value: Span,
    /// The name, if it is one the proxy looks at.
    pub known: Option<Known>,
    /// What a forwarder does with it.
    pub class: Class,
}

/// A field section in the order it came. Reused from message to message: clearing keeps the allocation.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    list: Vec<Field>,
    known: KnownSet,
    end: u32,
}

impl Fields {
    pub(super) fn clear(&mut self) {
        let Fields { mut list, .. } = std::mem::take(self);
        list.clear();
        *self = Fields { list, ..Fields::default() };
    }

    pub(super) fn push(&mut self, buf: &[u8], name: Span, value: Span) {
        let known = Known::of(name.of(buf));
        let class = match known {
            Some(Known::ContentLength | Known::TransferEncoding) => Class::Framing { canonical: false },
            Some(k) if k.is_hop_by_hop() => Class::HopByHop,
            _ => Class::EndToEnd,
        };
        if let Some(k) = known {
            self.known.insert(k);
        }
        self.list.push(Field { name, value, known, class });
    }

    /// Where the lines end, before the empty line.
    pub(super) fn finish(&mut self, end: usize) {
        self.end = Span::new(end, end).end;
    }

    /// Makes every field of this name one that is not forwarded.
    pub(super) fn mark_hop_by_hop(&mut self, known: Known) {
        if self.contains(known) {
            for field in self.list.iter_mut().filter(|f| f.known == Some(known)) {
                field.class = Class::HopByHop;
            }
        }
    }

    pub(super) fn list_mut(&mut self) -> &mut [Field] {
        &mut self.list
    }

    /// The fields in the order they came.
    #[must_use]
    pub fn list(&self) -> &[Field] {
        &self.list
    }

    /// Whether there is a field of this name.
    #[must_use]
    pub const fn contains(&self, known: Known) -> bool {
        self.known.contains(known)
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The fields of this name.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &Field> {
        let list = if self.contains(known) { self.list.as_slice() } else { &[] };
        list.iter().filter(move |f| f.known == Some(known))
    }

    /// The fields together with the bytes they were parsed from.
    #[must_use]
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> FieldsView<'a> {
        FieldsView { buf, fields: self }
    }
}

/// Fields with the bytes behind them.
#[derive(Debug, Clone, Copy)]
pub struct FieldsView<'a> {
    buf: &'a [u8],
    fields: &'a Fields,
}

impl<'a> FieldsView<'a> {
    /// Each field with its name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a Field, &'a [u8], &'a [u8])> + use<'a> {
        let buf = self.buf;
        self.fields.list.iter().map(move |f| (f, f.name.of(buf), f.value.of(buf)))
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn value(&self, known: Known) -> Option<&'a [u8]> {
        self.fields.all(known).next().map(|f| f.value.of(self.buf))
    }

    /// The values of all fields of this name (any case), in order.
    pub fn values<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.iter().filter(move |(_, n, _)| n.eq_ignore_ascii_case(name)).map(|(_, _, v)| v)
    }

    /// Copies the lines of the fields that `keep` accepts into `out`, exactly as they came (case, white space around
    /// the value). Neighbours are copied in one go, so a head with one field dropped costs two copies. They have been
    /// validated when they were parsed, so nothing is looked at again.
    pub fn copy_lines(&self, out: &mut BytesMut, mut keep: impl FnMut(&Field) -> bool) {
        let list = &self.fields.list;
        let mut run: Option<u32> = None;
        for field in list {
            match (keep(field), run) {
                (true, None) => run = Some(field.name.start),
                (false, Some(start)) => {
                    out.put_slice(Span { start, end: field.name.start }.of(self.buf));
                    run = None;
                }
                _ => {}
            }
        }
        if let Some(start) = run {
            out.put_slice(Span { start, end: self.fields.end }.of(self.buf));
        }
    }
}
