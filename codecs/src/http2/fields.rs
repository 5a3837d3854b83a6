//! Field sections as one flat buffer, which is used again for the next section.

/// Where a field lies in the buffer: the name, and the value right behind it.
#[derive(Debug, Clone, Copy)]
struct Line {
    start: u32,
    value: u32,
    end: u32,
    secret: bool,
}

/// One field of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name; pseudo-header fields begin with a colon.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The sender wants the field never to enter a compression table (RFC 7541 section 7.1.3), on any hop.
    pub secret: bool,
}

/// An ordered list of fields: names and values as exact bytes. Clearing keeps the memory, so a section costs one copy
/// and no allocation.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

impl Fields {
    /// No fields, and no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets every field and keeps the memory, as long as it is not more than `keep` bytes.
    pub fn clear(&mut self, keep: usize) {
        self.bytes.clear();
        self.lines.clear();
        self.bytes.shrink_to(keep);
        self.lines.shrink_to(keep / size_of::<Line>());
    }

    /// Appends a field.
    pub fn push(&mut self, name: &[u8], value: &[u8], secret: bool) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.close(start, middle, secret);
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The bytes of memory behind the fields.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.lines.capacity() * size_of::<Line>()
    }

    /// The fields in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines.iter().map(|line| Field {
            name: self.bytes.get(line.start as usize..line.value as usize).unwrap_or_default(),
            value: self.bytes.get(line.value as usize..line.end as usize).unwrap_or_default(),
            secret: line.secret,
        })
    }

    /// The value of the first field of this name, which is in lower case.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|field| field.name == name).map(|field| field.value)
    }

    /// The buffer, behind whose end the next field is written.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes a field of what was written from `start` on, with its value from `middle` on.
    pub(super) fn close(&mut self, start: usize, middle: usize, secret: bool) {
        // Sections are bounded far below 4 GiB; an offset that saturates reads as an empty field.
        let fit = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let end = self.bytes.len();
        self.lines.push(Line { start: fit(start), value: fit(middle), end: fit(end), secret });
    }
}
