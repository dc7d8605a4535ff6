//! What the running thread holds of memory, counted where it is allocated.
//!
//! Every program of this package allocates through [`Counting`]. [`Measured`] tells how much more than at its beginning was
//! held at the worst moment. [`REFUSED`] bytes at once are not given at all: the process then ends with a message instead of
//! taking the machine along.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// An allocation of so many bytes is refused.
pub const REFUSED: usize = 1 << 30;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator with a count per thread.
#[derive(Debug)]
pub struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe to be one; all it does is hand on and count"
)]
// SAFETY: every call is handed on to the system's allocator as it came, or refused, which a null pointer says.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= REFUSED {
            return std::ptr::null_mut();
        }
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the pointer is one of the system's allocator, as all of ours are.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(bytes: isize) {
    // A thread that is ending has no counters any more, and nobody is asking it.
    let _ = HELD.try_with(|held| {
        held.set(held.get().wrapping_add(bytes));
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

/// A measurement of this thread; one at a time, or the later one spoils the earlier.
#[derive(Debug)]
pub struct Measured {
    held_before: isize,
}

impl Measured {
    /// Begins to measure.
    #[must_use]
    pub fn begin() -> Self {
        let held_before = HELD.get();
        MOST.set(held_before);
        Self { held_before }
    }

    /// How much more than at the beginning was held at the worst moment since.
    #[must_use]
    pub fn most(&self) -> usize {
        usize::try_from(MOST.get() - self.held_before).unwrap_or(0)
    }
}

/// How many bytes this thread holds now. Only differences mean something.
#[must_use]
pub fn held() -> isize {
    HELD.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_moment_counts_also_when_it_is_over() {
        let measured = Measured::begin();
        drop(std::hint::black_box(vec![0_u8; 10_000]));
        drop(std::hint::black_box(vec![0_u8; 300]));
        assert!(
            (10_000..11_000).contains(&measured.most()),
            "{}",
            measured.most()
        );
    }
}
