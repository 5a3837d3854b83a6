//! Header and trailer fields, whichever version of HTTP they came in: names and values as bytes in one buffer that is
//! used again for the next message, so that a head costs one copy and no allocation.

use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;
use weir_codecs::http1;

/// Where a field lies in the buffer: `name`, colon, white space, `value`, white space, CRLF.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    name_end: u32,
    value: u32,
    value_end: u32,
    end: u32,
}

/// An ordered list of fields. Names keep the case in which they came (HTTP/2's are lower case) and are looked up without
/// regard to it; duplicates and their order are kept; values are exact bytes without surrounding white space.
///
/// The buffer holds them as HTTP/1 lines, so that those which nobody touched are written in one go, exactly as they came.
#[derive(Clone, Default)]
pub struct Fields {
    buf: BytesMut,
    spans: Vec<Span>,
}

impl Fields {
    /// No fields, and no buffer yet.
    pub fn new() -> Fields {
        Fields::default()
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

    /// Take over the fields of an HTTP/1 head that `keep` accepts, exactly as they came, in one copy.
    pub(crate) fn import(
        &mut self,
        parsed: &http1::Fields,
        bytes: &[u8],
        mut keep: impl FnMut(&http1::Field) -> bool,
    ) {
        let list = parsed.list();
        let Some(first) = list.first() else { return };
        let from = first.name.start;
        let to = self.buf.len() as u32;
        parsed.view(bytes).copy_lines(&mut self.buf, |_| true);
        let end = self.buf.len() as u32;
        self.spans.reserve(list.len());
        let shift = |at: u32| at.wrapping_sub(from).wrapping_add(to);
        for (i, f) in list.iter().enumerate() {
            if keep(f) {
                let next = list.get(i + 1).map_or(end, |n| shift(n.name.start));
                self.spans.push(Span {
                    start: shift(f.name.start),
                    name_end: shift(f.name.end),
                    value: shift(f.value.start),
                    value_end: shift(f.value.end),
                    end: next,
                });
            }
        }
    }

    /// Append a field. The caller has validated both (no CR, LF, NUL; a token as name).
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_parts(name, &[value]);
    }

    /// Append a field whose value is made of `parts`.
    pub fn push_parts(&mut self, name: &[u8], parts: &[&[u8]]) {
        let start = self.buf.len();
        self.buf.put_slice(name);
        let name_end = self.buf.len();
        self.buf.put_slice(b": ");
        for part in parts {
            self.buf.put_slice(part);
        }
        self.close(start, name_end);
    }

    /// Make one line of all fields of this name, their values in order (RFC 9110 section 5.3) and `more` behind them, at the end of
    /// the fields. Without such a field and with nothing `more` nothing happens.
    pub fn fold(&mut self, name: &[u8], more: &[u8]) {
        let start = self.buf.len();
        let mut name_end = None;
        for at in 0..self.spans.len() {
            let its = self.spans.get(at).filter(|s| s.name(&self.buf).eq_ignore_ascii_case(name));
            let Some(old) = its.copied() else { continue };
            let begun = name_end.unwrap_or_else(|| {
                self.copy_within(old.start, old.name_end);
                let end = self.buf.len();
                self.buf.put_slice(b": ");
                end
            });
            name_end = Some(begun);
            if old.value_end > old.value {
                self.separate(begun);
                self.copy_within(old.value, old.value_end);
            }
        }
        let name_end = match name_end {
            Some(end) => end,
            None if more.is_empty() => return,
            None => return self.push(name, more),
        };
        if !more.is_empty() {
            self.separate(name_end);
            self.buf.put_slice(more);
        }
        self.remove(name);
        self.close(start, name_end);
    }

    /// Between two values of a line whose name ends there.
    fn separate(&mut self, name_end: usize) {
        if self.buf.len() > name_end + 2 {
            self.buf.put_slice(b", ");
        }
    }

    fn copy_within(&mut self, from: u32, to: u32) {
        let at = self.buf.len();
        self.buf.put_bytes(0, to.saturating_sub(from) as usize);
        self.buf.copy_within(from as usize..to as usize, at);
    }

    /// A line has been written from `start`, its value two bytes after `name_end`.
    fn close(&mut self, start: usize, name_end: usize) {
        let value_end = self.buf.len();
        self.buf.put_slice(b"\r\n");
        // Heads are capped far below 4 GiB before they get here.
        self.spans.push(Span {
            start: start as u32,
            name_end: name_end as u32,
            value: name_end as u32 + 2,
            value_end: value_end as u32,
            end: self.buf.len() as u32,
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
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + DoubleEndedIterator {
        self.spans.iter().map(|s| (s.name(&self.buf), s.value(&self.buf)))
    }

    /// Write the fields as HTTP/1 lines; neighbours in one copy.
    pub(crate) fn write_lines(&self, out: &mut BytesMut) {
        let mut spans = self.spans.iter();
        let Some(first) = spans.next() else { return };
        let (mut start, mut end) = (first.start, first.end);
        for s in spans {
            if s.start != end {
                out.put_slice(slice(&self.buf, start, end));
                start = s.start;
            }
            end = s.end;
        }
        out.put_slice(slice(&self.buf, start, end));
    }

    /// Name and shared value of every field, in order: one allocation for all of them.
    pub(crate) fn shared(&self) -> impl Iterator<Item = (&[u8], Bytes)> {
        let all = Bytes::copy_from_slice(&self.buf);
        self.spans
            .iter()
            .map(move |s| (s.name(&self.buf), all.slice(s.value as usize..s.value_end.max(s.value) as usize)))
    }
}

fn slice(buf: &[u8], from: u32, to: u32) -> &[u8] {
    buf.get(from as usize..to as usize).unwrap_or_default()
}

impl Span {
    fn name<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        slice(buf, self.start, self.name_end)
    }

    fn value<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        slice(buf, self.value, self.value_end)
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

    #[test]
    fn lists_grow_and_lines_are_written_as_they_stand() {
        let mut f = Fields::new();
        f.push(b"A", b"1");
        f.push(b"X-Forwarded-For", b"10.0.0.1");
        f.push(b"b", b"2");
        f.push(b"x-forwarded-FOR", b"");
        f.push(b"x-forwarded-for", b"10.0.0.3");
        f.fold(b"x-forwarded-for", b"10.0.0.2");
        f.fold(b"via", b"1.1 weir");
        f.fold(b"forwarded", b"");
        f.push_parts(b"c", &[b"3", b"/", b"4"]);
        let mut out = BytesMut::new();
        f.write_lines(&mut out);
        assert_eq!(
            out,
            "A: 1\r\nb: 2\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.3, 10.0.0.2\r\nvia: 1.1 weir\r\nc: 3/4\r\n"
        );
        let shared: Vec<_> = f.shared().map(|(n, v)| (n.to_vec(), v)).collect();
        assert_eq!(
            shared[2],
            (b"X-Forwarded-For".to_vec(), Bytes::from_static(b"10.0.0.1, 10.0.0.3, 10.0.0.2"))
        );
    }

    #[test]
    fn a_parsed_head_is_taken_over_exactly() {
        let bytes = b"GET / HTTP/1.1\r\nHost:a\r\nConnection: close\r\nX-B:  v \t\r\n\r\n";
        let mut head = http1::RequestHead::new();
        let parsed = http1::parse_request(bytes, &http1::Limits::default(), &mut head).unwrap();
        assert!(matches!(parsed, http1::Parsed::Complete { .. }));
        let mut f = Fields::new();
        f.push(b"first", b"0");
        f.import(head.fields(), bytes, |f| f.class != http1::Class::HopByHop);
        assert_eq!(
            f.iter().collect::<Vec<_>>(),
            [(&b"first"[..], &b"0"[..]), (b"Host", b"a"), (b"X-B", b"v")]
        );
        let mut out = BytesMut::new();
        f.write_lines(&mut out);
        assert_eq!(out, "first: 0\r\nHost:a\r\nX-B:  v \t\r\n");
    }
}
