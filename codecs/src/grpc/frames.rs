//! The length-prefixed messages in a stream of DATA frames: `flag (1 byte) length (4 bytes, big-endian) payload`.

use thiserror::Error;

/// Bytes before each message.
pub const PREFIX: usize = 5;

/// The longest message that the prefix can announce; a counter made with it never refuses a length.
pub const MAX_MESSAGE: u32 = u32::MAX;

/// What is wrong with a stream of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The flag is neither 0 nor 1.
    #[error("message flag is {0}")]
    Flag(u8),
    /// Longer than the limit.
    #[error("message of {length} bytes, the limit is {limit}")]
    TooLong {
        /// What the prefix announces.
        length: u32,
        /// What is allowed.
        limit: u32,
    },
    /// The stream ended inside a message or its prefix.
    #[error("stream ended inside a message")]
    Truncated,
}

/// Counts the messages of one direction, however they are cut into frames. A fixed 40 bytes; the payload is skipped.
#[derive(Debug, Clone)]
pub struct MessageCounter {
    limit: u32,
    prefix: [u8; PREFIX],
    have: u8,
    /// Payload bytes still to come of the message that is being read.
    left: u32,
    messages: u64,
    compressed: u64,
    bytes: u64,
    failed: Option<FrameError>,
}

impl MessageCounter {
    /// One that refuses messages longer than `limit` bytes.
    pub const fn new(limit: u32) -> Self {
        let prefix = [0; PREFIX];
        MessageCounter { limit, prefix, have: 0, left: 0, messages: 0, compressed: 0, bytes: 0, failed: None }
    }

    /// Messages that have come whole.
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// How many of the announced messages had the compressed flag.
    pub const fn compressed(&self) -> u64 {
        self.compressed
    }

    /// Payload bytes that have come, without prefixes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether any byte of a message has come.
    pub const fn started(&self) -> bool {
        self.messages > 0 || self.have > 0 || self.left > 0
    }

    /// Whether the bytes were found to be no messages.
    pub const fn is_broken(&self) -> bool {
        self.failed.is_some()
    }

    /// Reads the next slice and returns how many messages it completed. After an error every call gives the same
    /// error: where the next message begins is no longer known.
    pub fn feed(&mut self, input: &[u8]) -> Result<u32, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut rest = input;
        let mut completed = 0u32;
        while !rest.is_empty() {
            if self.left > 0 {
                let take = rest.len().min(self.left as usize);
                self.left -= take as u32;
                self.bytes += take as u64;
                rest = rest.get(take..).unwrap_or_default();
                if self.left == 0 {
                    completed += 1;
                }
                continue;
            }
            let Some((&byte, tail)) = rest.split_first() else { break };
            rest = tail;
            if let Some(place) = self.prefix.get_mut(usize::from(self.have)) {
                *place = byte;
            }
            self.have += 1;
            if usize::from(self.have) == PREFIX {
                self.have = 0;
                match self.announced() {
                    Ok(0) => completed += 1,
                    Ok(length) => self.left = length,
                    Err(error) => {
                        self.messages += u64::from(completed);
                        self.failed = Some(error);
                        return Err(error);
                    }
                }
            }
        }
        self.messages += u64::from(completed);
        Ok(completed)
    }

    /// The stream has ended.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.have > 0 || self.left > 0 => Err(FrameError::Truncated),
            None => Ok(()),
        }
    }

    fn announced(&mut self) -> Result<u32, FrameError> {
        let [flag, a, b, c, d] = self.prefix;
        match flag {
            0 => {}
            1 => self.compressed += 1,
            _ => return Err(FrameError::Flag(flag)),
        }
        let length = u32::from_be_bytes([a, b, c, d]);
        if length > self.limit {
            return Err(FrameError::TooLong { length, limit: self.limit });
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let mut counter = MessageCounter::new(10);
        assert!(!counter.started());
        assert_eq!(counter.feed(b"\0\0\0\0\x03abc\x01\0\0\0\x01"), Ok(1));
        assert_eq!(counter.finish(), Err(FrameError::Truncated));
        assert_eq!(counter.feed(b"x\0\0\0\0\0\0\0"), Ok(2));
        assert_eq!((counter.messages(), counter.compressed(), counter.bytes()), (3, 1, 4));
        assert_eq!(counter.finish(), Err(FrameError::Truncated));
        assert_eq!(counter.feed(b"\0\0\0"), Ok(1));
        assert_eq!(counter.finish(), Ok(()));
    }

    #[test]
    fn errors_stay() {
        let mut counter = MessageCounter::new(10);
        let error = Err(FrameError::TooLong { length: 11, limit: 10 });
        assert_eq!(counter.feed(b"\0\0\0\0\x01x\0\0\0\0\x0babc"), error);
        assert_eq!(counter.feed(b"\0\0\0\0\0"), error);
        assert_eq!(counter.finish(), error.map(|_| ()));
        assert_eq!(counter.messages(), 1);

        let mut counter = MessageCounter::new(10);
        assert_eq!(counter.feed(b"\x80\0\0\0\x01x"), Err(FrameError::Flag(0x80)));
        let mut counter = MessageCounter::new(MAX_MESSAGE);
        assert_eq!(counter.feed(b"\0\xff\xff\xff\xff"), Ok(0));
        assert!(counter.started());
    }
}
