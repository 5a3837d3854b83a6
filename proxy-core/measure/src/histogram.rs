//! Distributions of durations: fixed buckets of single-writer counters, and percentiles estimated from them.

use crate::table::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of the exposed buckets, in nanoseconds; above the last one is `+Inf`.
pub const BOUNDS: [u64; 15] = [
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Upper bounds of the buckets that are kept: every bound of [`BOUNDS`], and more between and below them, so that percentiles
/// are estimated within a bucket whose ends differ by a factor of at most 2 from 25 µs to 10 s.
const FINE: [u64; 33] = [
    25_000,
    50_000,
    100_000,
    175_000,
    250_000,
    350_000,
    500_000,
    700_000,
    1_000_000,
    1_600_000,
    2_500_000,
    3_500_000,
    5_000_000,
    7_000_000,
    10_000_000,
    16_000_000,
    25_000_000,
    35_000_000,
    50_000_000,
    70_000_000,
    100_000_000,
    160_000_000,
    250_000_000,
    350_000_000,
    500_000_000,
    700_000_000,
    1_000_000_000,
    1_600_000_000,
    2_500_000_000,
    3_500_000_000,
    5_000_000_000,
    7_000_000_000,
    10_000_000_000,
];

const BUCKETS: usize = FINE.len() + 1;

/// Upper bounds for what may last long (cursors, transactions), in nanoseconds.
pub const SPANS: [u64; BOUNDS.len()] = [
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    120_000_000_000,
    300_000_000_000,
    600_000_000_000,
];

/// Upper bounds for whole numbers: documents, batches. 101 is what MongoDB puts into a first batch.
pub const COUNTS: [u64; BOUNDS.len()] =
    [0, 1, 2, 5, 10, 20, 50, 101, 200, 500, 1000, 2000, 5000, 10_000, 100_000];

/// A histogram with a single writer.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [Cell; BUCKETS],
    sum: Cell,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: std::array::from_fn(|_| Cell::default()), sum: Cell::default() }
    }
}

/// A duration and the bucket that it falls into: looked for once, however many histograms count it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed {
    bucket: usize,
    nanos: u64,
}

impl Timed {
    /// A duration of `nanos`. A value on a bound belongs to the bucket below it.
    pub(crate) fn new(nanos: u64) -> Timed {
        Timed { bucket: FINE.partition_point(|bound| *bound < nanos), nanos }
    }
}

impl Histogram {
    pub(crate) fn add(&self, time: Timed) {
        if let Some(bucket) = self.buckets.get(time.bucket) {
            bucket.add(1);
        }
        self.sum.add(time.nanos);
    }
}

/// A coarse distribution by one of the lists of bounds, which whoever adds has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buckets {
    /// How many fell between each bound and the one before, the last above all.
    counts: [u64; BOUNDS.len() + 1],
    sum: u64,
}

impl Buckets {
    pub(crate) fn add(&mut self, other: &Buckets) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum, in the unit of the bounds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many were at most each of `bounds`, then how many there were at all.
    pub(crate) fn cumulative<'a>(
        &'a self,
        bounds: &'a [u64; BOUNDS.len()],
    ) -> impl Iterator<Item = (Option<u64>, u64)> + 'a {
        let bounds = bounds.iter().copied().map(Some).chain(std::iter::once(None));
        bounds.zip(self.counts).scan(0, |below, (bound, n)| {
            *below += n;
            Some((bound, *below))
        })
    }
}

/// A coarse distribution with a single writer.
#[derive(Debug, Default)]
pub(crate) struct Coarse {
    counts: [Cell; BOUNDS.len() + 1],
    sum: Cell,
}

impl Coarse {
    pub(crate) fn add(&self, bounds: &[u64; BOUNDS.len()], value: u64) {
        if let Some(bucket) = self.counts.get(bounds.partition_point(|bound| *bound < value)) {
            bucket.add(1);
        }
        self.sum.add(value);
    }

    pub(crate) fn load(&self) -> Buckets {
        Buckets { counts: self.counts.each_ref().map(Cell::load), sum: self.sum.load() }
    }
}

/// A coarse distribution that any thread may add to: for what happens more rarely than operations do.
#[derive(Debug, Default)]
pub struct Shared {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum: AtomicU64,
}

impl Shared {
    /// Adds `value`, counted by `bounds`.
    pub fn add(&self, bounds: &[u64; BOUNDS.len()], value: u64) {
        if let Some(bucket) = self.counts.get(bounds.partition_point(|bound| *bound < value)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
    }

    /// What was added by now.
    pub fn load(&self) -> Buckets {
        let load = |n: &AtomicU64| n.load(Relaxed);
        Buckets { counts: self.counts.each_ref().map(load), sum: load(&self.sum) }
    }
}

/// The numbers of one or more histograms added up. The count is that of the buckets, so that what is shown always agrees with
/// itself, even when it was read while a writer was between two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Distribution { buckets: [0; BUCKETS], sum: 0 }
    }
}

impl Distribution {
    pub(crate) fn merge(&mut self, histogram: &Histogram) {
        for (mine, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *mine += bucket.load();
        }
        self.sum += histogram.sum.load();
    }

    pub(crate) fn add(&mut self, other: &Distribution) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum in nanoseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many were at most each of [`BOUNDS`], then how many there were at all.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let mut fine = FINE.iter().copied().zip(self.buckets.iter()).peekable();
        let mut count = 0;
        BOUNDS
            .iter()
            .map(move |bound| {
                while let Some((_, n)) = fine.next_if(|(at, _)| at <= bound) {
                    count += n;
                }
                (Some(*bound), count)
            })
            .chain(std::iter::once_with(|| (None, self.count())))
    }

    /// The same by [`BOUNDS`] alone.
    pub(crate) fn coarse(&self) -> Buckets {
        let mut coarse = Buckets { sum: self.sum, ..Buckets::default() };
        let mut below = 0;
        for (mine, (_, count)) in coarse.counts.iter_mut().zip(self.cumulative()) {
            *mine = count - below;
            below = count;
        }
        coarse
    }

    /// The duration in nanoseconds below which the share `of` (0 to 1) lies: the end of the bucket in which it falls, less the
    /// part of the bucket that is not needed, as if its durations were spread evenly (what Prometheus's `histogram_quantile`
    /// does, over finer buckets). Beyond the last bound it is the last bound. `None` when nothing was counted.
    pub fn percentile(&self, of: f64) -> Option<u64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = of.clamp(0.0, 1.0) * total as f64;
        let (mut below, mut from) = (0u64, 0u64);
        for (to, n) in FINE.iter().zip(&self.buckets) {
            if *n > 0 && (below + n) as f64 >= rank {
                let part = ((rank - below as f64) / *n as f64).clamp(0.0, 1.0);
                return Some(from + ((to - from) as f64 * part) as u64);
            }
            below += n;
            from = *to;
        }
        Some(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exposed_bound_is_kept_and_bounds_rise() {
        assert!(FINE.windows(2).all(|w| w[0] < w[1] && w[1] <= 2 * w[0]));
        assert!(BOUNDS.iter().all(|b| FINE.contains(b)));
        assert_eq!(BOUNDS.last(), FINE.last());
    }

    #[test]
    fn durations_fall_into_the_buckets_of_their_bounds() {
        let h = Histogram::default();
        for nanos in
            [0, 25_000, 250_000, 250_001, 300_000, 10_000_000_000, 10_000_000_001, u64::from(u32::MAX) * 100]
        {
            h.add(Timed::new(nanos));
        }
        let mut d = Distribution::default();
        d.merge(&h);
        d.merge(&h);
        let cumulative: Vec<_> = d.cumulative().collect();
        assert_eq!(cumulative.len(), 16);
        assert_eq!(cumulative[0], (Some(250_000), 6));
        assert_eq!(cumulative[1], (Some(500_000), 10));
        assert_eq!(cumulative[13], (Some(5_000_000_000), 10));
        assert_eq!(cumulative[14], (Some(10_000_000_000), 12));
        assert_eq!(cumulative[15], (None, 16));
        assert_eq!(d.count(), 16);
        assert_eq!(d.coarse().cumulative(&BOUNDS).collect::<Vec<_>>(), cumulative);
        assert_eq!(d.coarse().sum(), d.sum());
        assert_eq!(
            d.sum(),
            2 * (25_000 + 250_000 + 250_001 + 300_000 + 20_000_000_001 + u64::from(u32::MAX) * 100)
        );
    }

    #[test]
    fn coarse_distributions_fall_into_their_buckets() {
        for bounds in [&SPANS, &COUNTS] {
            assert!(bounds.windows(2).all(|w| w[0] < w[1]));
        }
        let (coarse, shared) = (Coarse::default(), Shared::default());
        for documents in [0, 0, 1, 101, 102, 100_001] {
            coarse.add(&COUNTS, documents);
            shared.add(&COUNTS, documents);
        }
        assert_eq!(coarse.load(), shared.load());
        let mut both = coarse.load();
        both.add(&shared.load());
        assert_eq!((both.count(), both.sum()), (12, 2 * 100_205));
        let cumulative: Vec<_> = both.cumulative(&COUNTS).collect();
        assert_eq!(cumulative.len(), 16);
        assert_eq!(cumulative[..2], [(Some(0), 4), (Some(1), 6)]);
        assert_eq!(cumulative[7..9], [(Some(101), 8), (Some(200), 10)]);
        assert_eq!(cumulative[14..], [(Some(100_000), 10), (None, 12)]);
    }

    #[test]
    fn percentiles_lie_within_their_bucket() {
        assert_eq!(Distribution::default().percentile(0.5), None);
        let h = Histogram::default();
        (1..=1000u64).for_each(|i| h.add(Timed::new(i * 100_000))); // evenly, 0.1 ms to 100 ms
        let mut d = Distribution::default();
        d.merge(&h);
        for (of, exact) in [(0.01, 1.0), (0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (1.0, 100.0)] {
            let got = d.percentile(of).unwrap() as f64 / 1e6;
            assert!((got - exact).abs() <= exact * 0.02 + 0.1, "p{of}: {got} ms for {exact} ms");
        }
        let far = Histogram::default();
        far.add(Timed::new(60_000_000_000));
        let mut d = Distribution::default();
        d.merge(&far);
        assert_eq!(d.percentile(0.5), Some(10_000_000_000), "beyond the last bound only the bound is known");
    }
}
