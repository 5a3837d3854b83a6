//! How far windows grow: by the bandwidth-delay product, measured by PING as gRPC does.

/// What our own PINGs for measuring carry.
pub const PROBE: [u8; 8] = *b"weir-bdp";

const MS: u64 = 1_000_000;

/// Measures how much comes in a round trip. As long as that fills most of the window, the window is what limits it.
#[derive(Debug)]
pub struct Bdp {
    window: u32,
    most: u32,
    /// What has come since the PING that is under way.
    sample: Option<u64>,
    /// When the next measurement may begin.
    next: u64,
    /// How long to wait after one that changed nothing.
    pause: u64,
    /// Whether the window has just grown, so that what is on its way still kept to the smaller one.
    grew: bool,
}

impl Bdp {
    pub const fn new(window: u32, most: u32) -> Self {
        Self { window, most, sample: None, next: 0, pause: 0, grew: false }
    }

    /// The window that a stream gets whose owner keeps up.
    pub const fn window(&self) -> u32 {
        self.window
    }

    /// Data came. Says whether a PING is to be sent now.
    pub const fn received(&mut self, len: u32, now: u64) -> bool {
        if let Some(sample) = &mut self.sample {
            *sample += len as u64;
            return false;
        }
        if self.window >= self.most || now < self.next {
            return false;
        }
        self.sample = Some(len as u64);
        true
    }

    /// The PING was answered. Says whether the window has grown.
    pub fn answered(&mut self, now: u64) -> bool {
        let Some(sample) = self.sample.take() else { return false };
        if sample * 3 < u64::from(self.window) * 2 {
            if std::mem::take(&mut self.grew) {
                return false;
            }
            // Not the window limits this connection: measure more and more seldom.
            self.pause = (self.pause * 2).clamp(10 * MS, 10_000 * MS);
            self.next = now.saturating_add(self.pause);
            return false;
        }
        (self.pause, self.grew) = (0, true);
        // Twice the product would do; four times gets there in half the round trips.
        self.window = u32::try_from(sample * 4).unwrap_or(u32::MAX).max(self.window).min(self.most);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grows_while_it_is_what_limits() {
        let mut bdp = Bdp::new(65_535, 1 << 20);
        let mut windows = Vec::new();
        for round in 0..6 {
            let now = round * 50 * MS;
            assert!(bdp.received(16_384, now) || bdp.window() == 1 << 20);
            bdp.received(bdp.window().saturating_sub(16_384), now);
            bdp.answered(now + 50 * MS);
            windows.push(bdp.window());
        }
        assert_eq!(windows, [262_140, 1_048_560, 1 << 20, 1 << 20, 1 << 20, 1 << 20]);
    }

    #[test]
    fn a_connection_that_is_not_limited_is_measured_seldom() {
        let mut bdp = Bdp::new(65_535, 1 << 20);
        let pings = (0..10_000u64).filter(|ms| {
            let probe = bdp.received(100, ms * MS);
            if probe {
                bdp.answered(ms * MS);
            }
            probe
        });
        assert!(pings.count() < 15);
        assert_eq!(bdp.window(), 65_535);
    }
}
