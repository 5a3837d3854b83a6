//! Follows a client's frames (RFC 9113 section 4.1), as far as it takes to know whether a head was begun and not finished: the
//! `h2` crate waits for the rest of a header block for as long as it likes.

use weir_decide::exchange::Now;
use weir_drive::time;

/// What a client sends before its first frame (section 3.4).
const PREFACE: u32 = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Where in a client's frames we are. Bytes are only counted; whether they make sense is for h2 to say.
pub struct Frames {
    /// What is left of the preface or of a frame's payload.
    left: u32,
    /// A frame's header as far as it has come.
    header: [u8; 9],
    have: usize,
    /// Inside of a payload that is not DATA.
    within: bool,
    /// A header block has begun, and its last frame has not.
    block: bool,
    /// Since when there has been nothing to read though something other than DATA is unfinished.
    since: Option<Now>,
}

impl Frames {
    /// Before the preface.
    pub fn new() -> Frames {
        Frames { left: PREFACE, header: [0; 9], have: 0, within: false, block: false, since: None }
    }

    /// These bytes have come.
    pub fn came(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = bytes.len().min(self.left as usize);
                self.left -= n as u32;
                bytes = bytes.get(n..).unwrap_or_default();
                continue;
            }
            let n = bytes.len().min(self.header.len() - self.have);
            let (some, rest) = bytes.split_at_checked(n).unwrap_or_default();
            if let Some(slot) = self.header.get_mut(self.have..self.have + n) {
                slot.copy_from_slice(some);
            }
            (self.have, bytes) = (self.have + n, rest);
            if self.have == self.header.len() {
                self.begin();
            }
        }
        if !self.is_unfinished() {
            self.since = None;
        }
    }

    /// A frame's header is there.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.have = 0;
        self.left = u32::from_be_bytes([0, a, b, c]);
        self.within = kind != DATA;
        self.block = match kind {
            HEADERS | PUSH_PROMISE | CONTINUATION => flags & END_HEADERS == 0,
            _ => self.block,
        };
    }

    fn is_unfinished(&self) -> bool {
        self.block || self.have > 0 || (self.within && self.left > 0)
    }

    /// There is nothing more to read.
    pub fn paused(&mut self) {
        if self.since.is_none() && self.is_unfinished() {
            self.since = Some(time::now());
        }
    }

    /// Since when the rest of a head, or of another frame that is not DATA, has been waited for. The preface has a limit of its own.
    pub fn unfinished(&self) -> Option<Now> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, payload as u8, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(7, payload));
        frame
    }

    #[test]
    fn a_head_is_unfinished_until_its_last_byte() {
        let settings = frame(4, 0, 6);
        let head =
            [frame(HEADERS, 0, 20), frame(CONTINUATION, 0, 3), frame(CONTINUATION, END_HEADERS, 0)].concat();
        let data = frame(DATA, 1, 100);
        let all =
            [vec![b'P'; 24], settings, head, data, frame(HEADERS, END_HEADERS, 5), frame(6, 0, 8)].concat();
        // What is unfinished once so many bytes have come: a header block, a frame header, a payload other than DATA.
        let begun = |n: usize| match n {
            0..=24 => false,
            25..39 => true,
            39 => false,
            40..89 => true,
            89 => false,
            // The nine bytes of a DATA frame's header.
            90..98 => true,
            98..=198 => false,
            199..212 => true,
            212 => false,
            213..229 => true,
            _ => false,
        };
        for n in 0..=all.len() {
            let (mut whole, mut bytewise) = (Frames::new(), Frames::new());
            whole.came(&all[..n]);
            whole.paused();
            for byte in &all[..n] {
                bytewise.came(std::slice::from_ref(byte));
                bytewise.paused();
            }
            assert_eq!(whole.unfinished().is_some(), begun(n), "{n} bytes of {}", all.len());
            assert_eq!(bytewise.unfinished().is_some(), begun(n), "{n} bytes, one by one");
        }
    }

    #[test]
    fn it_is_counted_from_the_first_pause() {
        let mut frames = Frames::new();
        frames.came(&[vec![b'P'; 24], vec![0]].concat());
        assert_eq!(frames.unfinished(), None);
        frames.paused();
        let since = frames.unfinished();
        frames.came(&[0, 9]);
        frames.paused();
        assert!(since.is_some() && frames.unfinished() == since);
    }
}
