//! Counts allocations, so that "none in the steady state" is a test.

/// How many allocations (and growths of one) `work` makes on this thread.
pub fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| ()), 0);
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7)))), 1);
}
