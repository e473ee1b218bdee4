//! How much memory is wanted. Counted only in a binary that says so:
//! `#[global_allocator] static MEMORY: Counting = Counting;`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What was wanted of the memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// How often.
    pub allocations: u64,
    /// All of it, whether or not it was given back.
    pub allocated: u64,
    /// What was in use at the same time, at the most; what is freed and was allocated before does not count.
    pub peak: u64,
    /// The largest piece.
    pub largest: usize,
    in_use: u64,
}

thread_local! {
    static USAGE: Cell<Usage> = const { Cell::new(Usage { allocations: 0, allocated: 0, peak: 0, largest: 0, in_use: 0 }) };
}

/// What this thread wants while `work` is done.
pub fn usage(work: impl FnOnce()) -> Usage {
    USAGE.set(Usage::default());
    work();
    USAGE.get()
}

/// The largest allocation of this thread while `work` is done, in bytes.
pub fn largest_allocation(work: impl FnOnce()) -> usize {
    usage(work).largest
}

/// The system's memory, and a note of what was wanted.
pub struct Counting;

impl Counting {
    fn note(freed: usize, wanted: usize) {
        // A thread that is ending has no notes any more.
        let _ = USAGE.try_with(|usage| {
            let mut now = usage.get();
            now.allocations += u64::from(wanted > 0);
            now.allocated += wanted as u64;
            now.largest = now.largest.max(wanted);
            now.in_use = now.in_use.saturating_sub(freed as u64) + wanted as u64;
            now.peak = now.peak.max(now.in_use);
            usage.set(now);
        });
    }
}

// SAFETY: each call is handed on to `System` as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::note(0, layout.size());
        // SAFETY: the caller's duty is the same here and there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Counting::note(0, layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counting::note(layout.size(), size);
        // SAFETY: as above; what `System` gave comes back to `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Counting::note(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
