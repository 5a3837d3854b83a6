//! Counts the allocations of a whole program but of the threads that say that theirs are not to be counted, so that "none in the steady
//! state" is a test. Included by the tests of this crate's users, by its path; one thread alone is counted by `allocation-counter`.
#![allow(unsafe_code)] // a global allocator cannot be had otherwise; this one forwards every call

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static UNCOUNTED: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread's are not counted.
pub fn leave_out_this_thread() {
    UNCOUNTED.with(|uncounted| uncounted.set(true));
}

/// How many there were so far.
pub fn counted() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

fn count() {
    if !UNCOUNTED.try_with(Cell::get).unwrap_or(true) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
