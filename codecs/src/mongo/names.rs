//! Fixed storage for the few strings that outlive the bytes they came in.

use std::fmt;

/// A string of at most `N` bytes (and at most 255), stored in place; what does not fit is noted, not kept.
#[derive(Clone, Copy)]
pub struct Short<const N: usize> {
    length: u8,
    overlong: bool,
    bytes: [u8; N],
}

impl<const N: usize> Short<N> {
    /// Nothing.
    pub const EMPTY: Self = Short { length: 0, overlong: false, bytes: [0; N] };

    /// The bytes: empty when there were none or too many.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Whether there is nothing to see.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether there was something, too long to be kept.
    pub fn is_overlong(&self) -> bool {
        self.overlong
    }

    pub(super) fn set(&mut self, text: &[u8]) {
        let slot = u8::try_from(text.len()).ok().and_then(|n| Some((n, self.bytes.get_mut(..text.len())?)));
        match slot {
            Some((length, slot)) => {
                slot.copy_from_slice(text);
                self.length = length;
                self.overlong = false;
            }
            None => self.set_overlong(),
        }
    }

    pub(super) fn set_overlong(&mut self) {
        self.length = 0;
        self.overlong = true;
    }

    pub(super) fn clear(&mut self) {
        self.length = 0;
        self.overlong = false;
    }
}

impl<const N: usize> Default for Short<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> PartialEq for Short<N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes() && self.overlong == other.overlong
    }
}

impl<const N: usize> Eq for Short<N> {}

impl<const N: usize> fmt::Debug for Short<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.overlong {
            return f.write_str("(too long)");
        }
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}
