//! Header and trailer fields, whichever version of HTTP they came in: names and values as bytes in one buffer that is
//! used again for the next message, so that a head costs one copy and no allocation.

use std::fmt;

/// Where a field lies in the buffer.
#[derive(Debug, Clone, Copy)]
struct Span {
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
}

/// An ordered list of fields. Names keep the case in which they came (HTTP/2's are lower case) and are looked up without
/// regard to it; duplicates and their order are kept; values are exact bytes without surrounding white space.
#[derive(Clone, Default)]
pub struct Fields {
    buf: Vec<u8>,
    spans: Vec<Span>,
}

impl Fields {
    /// No fields, and no buffer yet.
    pub const fn new() -> Fields {
        Fields { buf: Vec::new(), spans: Vec::new() }
    }

    /// Forget every field, keep the buffer.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.spans.clear();
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The bytes of memory behind the fields.
    pub fn capacity(&self) -> usize {
        self.buf.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    /// Append a field. The caller has validated both (no CR, LF, NUL; a token as name).
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let at = self.buf.len();
        // Heads are capped far below 4 GiB before they get here.
        let Ok(start) = u32::try_from(at + name.len() + value.len()).map(|_| at as u32) else { return };
        self.buf.extend_from_slice(name);
        self.buf.extend_from_slice(value);
        self.spans.push(Span {
            name: start,
            name_len: name.len() as u32,
            value: start + name.len() as u32,
            value_len: value.len() as u32,
        });
    }

    /// Replace every field of this name by one with this value, at the end.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.push(name, value);
    }

    /// Remove every field of this name; whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let before = self.spans.len();
        let buf = &self.buf;
        self.spans.retain(|s| !s.name(buf).eq_ignore_ascii_case(name));
        self.spans.len() != before
    }

    /// Keep the fields for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let buf = &self.buf;
        self.spans.retain(|s| keep(s.name(buf), s.value(buf)));
    }

    /// The value of the first field of this name.
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// The values of all fields of this name, in order.
    pub fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// Name and value of every field, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.spans.iter().map(|s| (s.name(&self.buf), s.value(&self.buf)))
    }
}

impl Span {
    fn name<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        buf.get(self.name as usize..).and_then(|b| b.get(..self.name_len as usize)).unwrap_or_default()
    }

    fn value<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        buf.get(self.value as usize..).and_then(|b| b.get(..self.value_len as usize)).unwrap_or_default()
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(n, _)| String::from_utf8_lossy(n).into_owned())).finish()
    }
}

impl<'a> FromIterator<(&'a [u8], &'a [u8])> for Fields {
    fn from_iter<T: IntoIterator<Item = (&'a [u8], &'a [u8])>>(fields: T) -> Fields {
        let mut all = Fields::new();
        for (name, value) in fields {
            all.push(name, value);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_case_order_and_duplicates() {
        let mut f = Fields::new();
        f.push(b"Set-Cookie", b"a=1");
        f.push(b"X-A", b"");
        f.push(b"set-cookie", b"b=2");
        assert_eq!(f.values(b"SET-COOKIE").collect::<Vec<_>>(), [&b"a=1"[..], b"b=2"]);
        assert_eq!(f.value(b"x-a"), Some(&b""[..]));
        assert_eq!(f.value(b"x-b"), None);
        f.set(b"x-a", b"1");
        assert!(f.remove(b"set-cookie") && !f.remove(b"set-cookie"));
        assert_eq!(f.iter().collect::<Vec<_>>(), [(&b"x-a"[..], &b"1"[..])]);
        f.clear();
        assert!(f.is_empty());
    }
}
