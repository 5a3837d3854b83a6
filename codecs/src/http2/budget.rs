//! One budget for all that brings nothing. Every such frame is legal, so none is an error by itself: what is judged is how
//! many there are beside what is useful, and beside the time that passes.

use super::{Code, Violation};

macro_rules! wastes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $cost:literal;)*) => {
        /// What brings nothing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Waste { $($(#[$doc])* $variant,)* }

        impl Waste {
            /// Every kind, in the order of [`Budget::spent`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The kind's name, for metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn cost(self) -> i64 {
                match self { $(Self::$variant => $cost,)* }
            }
        }
    };
}

wastes! {
    /// SETTINGS, which we have to acknowledge.
    Settings = "settings", 8;
    /// PING, which we have to answer.
    Ping = "ping", 8;
    /// PRIORITY and PRIORITY_UPDATE.
    Priority = "priority", 8;
    /// WINDOW_UPDATE.
    WindowUpdate = "window_update", 8;
    /// A frame of a kind that is not known.
    Unknown = "unknown", 8;
    /// DATA with nothing in it that does not end its stream.
    EmptyData = "empty_data", 8;
    /// DATA of less than eight octets that does not end its stream.
    TinyData = "tiny_data", 1;
    /// A reset of a stream that was not answered, by either side.
    Reset = "reset", 32;
    /// A frame for a stream that has gone.
    Late = "late", 2;
    /// CONTINUATION of less than a KiB.
    Continuation = "continuation", 8;
    /// An interim response.
    Interim = "interim", 8;
    /// A field section beyond the limit.
    TooLarge = "too_large", 64;
}

/// What a connection may spend before it has earned anything: some two thousand frames.
const MOST: i64 = 16_000;
/// What each millisecond gives back: a thousand frames a second cost little.
const PER_MS: i64 = 8;
const MS: u64 = 1_000_000;

/// What a connection has left for frames that bring nothing.
#[derive(Debug)]
pub struct Budget {
    left: i64,
    filled: u64,
    spent: [u64; Waste::ALL.len()],
}

impl Budget {
    pub const fn new() -> Self {
        Self { left: MOST, filled: 0, spent: [0; Waste::ALL.len()] }
    }

    /// How many of each kind there were.
    #[must_use]
    pub const fn spent(&self) -> &[u64; Waste::ALL.len()] {
        &self.spent
    }

    /// Counts a frame that brought nothing.
    pub fn spend(&mut self, waste: Waste, now: u64) -> Result<(), Violation> {
        if let Some(count) = self.spent.get_mut(waste as usize) {
            *count += 1;
        }
        self.left -= waste.cost();
        if self.left >= 0 {
            return Ok(());
        }
        // The clock is only looked at when it matters.
        let passed = now.saturating_sub(self.filled) / MS;
        self.filled = now;
        let given = i64::try_from(passed).unwrap_or(i64::MAX).saturating_mul(PER_MS);
        self.left = self.left.saturating_add(given).min(MOST);
        if self.left >= 0 {
            return Ok(());
        }
        Err(Violation::new(Code::ENHANCE_YOUR_CALM, "10.5", waste.name()))
    }

    /// Something useful came or went.
    pub fn earn(&mut self, useful: i64) {
        self.left = (self.left + useful).min(MOST);
    }
}
