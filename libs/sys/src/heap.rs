//! The heap of the programs that are one file each: dlmalloc over mmap(2).
//!
//! What C libraries bring does not fit them: musl's allocator asks the kernel for every handful of blocks, and glibc's cannot tell where
//! all of its memory is. These programs live for milliseconds or rest, and have one thread most of the time.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::{Allocator, Dlmalloc};

/// The allocator, for `#[global_allocator]`.
#[derive(Debug)]
pub struct Heap;

/// Memory by mmap(2), taken down in [`MAPPED`].
struct Pages;

static HEAP: Mutex<Dlmalloc<Pages>> = Mutex::new(
    const {
        let mut heap = Dlmalloc::new_with_allocator(Pages);
        heap.set_granularity(STEP);
        heap
    },
);

/// What is mapped at a time: as much as the executor needs. What it has taken before a child is made, the child needs not take.
const STEP: usize = 256 << 10;

/// Where the heap is. Whoever changes it holds the heap already.
static MAPPED: Mutex<Ranges> = Mutex::new(Ranges([(0, 0); RANGES]));

/// More than the executor ever has; what is beyond is not told.
const RANGES: usize = 16;

/// First addresses and ends; both are 0 where there is none.
#[derive(Debug, Clone, Copy)]
struct Ranges([(usize, usize); RANGES]);

/// Gives free pages at the end of the heap back to the kernel.
pub fn trim() {
    // SAFETY: only what nobody has is given back.
    unsafe { locked(&HEAP).trim(0) };
}

/// Where the heap of this process is: first addresses, and the ends, which are outside.
pub fn ranges() -> impl Iterator<Item = (usize, usize)> {
    let Ranges(mapped) = *locked(&MAPPED);
    mapped.into_iter().filter(|(first, end)| first < end)
}

/// Neither lock is held where anything could panic.
fn locked<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: dlmalloc keeps the contract of an allocator, and is called by one thread at a time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises the same.
        unsafe { locked(&HEAP).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises the same.
        unsafe { locked(&HEAP).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller promises the same.
        unsafe { locked(&HEAP).free(block, layout.size(), layout.align()) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises the same.
        unsafe { locked(&HEAP).realloc(block, layout.size(), layout.align(), size) }
    }
}

// SAFETY: what is told to be memory has been mapped for nobody else, what is told to be given back is unmapped.
unsafe impl Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let mapped = unsafe { libc::mmap(null_mut(), size, access, kind, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return (null_mut(), 0, 0);
        }
        locked(&MAPPED).add(mapped.addr(), mapped.addr() + size);
        (mapped.cast(), size, 0)
    }

    fn remap(&self, block: *mut u8, old: usize, new: usize, can_move: bool) -> *mut u8 {
        let flags = if can_move { libc::MREMAP_MAYMOVE } else { 0 };
        // SAFETY: the mapping is the allocator's own, which forgets the old address.
        let moved = unsafe { libc::mremap(block.cast(), old, new, flags) };
        if moved == libc::MAP_FAILED {
            return null_mut();
        }
        let mut mapped = locked(&MAPPED);
        mapped.take(block.addr(), block.addr() + old);
        mapped.add(moved.addr(), moved.addr() + new);
        moved.cast()
    }

    fn free_part(&self, block: *mut u8, old: usize, new: usize) -> bool {
        self.free(block.wrapping_add(new), old - new)
    }

    fn free(&self, block: *mut u8, size: usize) -> bool {
        // SAFETY: the mapping is the allocator's own, which has nothing in this part of it.
        let done = unsafe { libc::munmap(block.cast(), size) } == 0;
        if done {
            locked(&MAPPED).take(block.addr(), block.addr() + size);
        }
        done
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        4096
    }
}

impl Ranges {
    /// Takes down what is mapped; beside what is there already, both are one.
    fn add(&mut self, first: usize, end: usize) {
        let known = &mut self.0;
        if let Some(below) = known.iter_mut().find(|range| range.1 == first) {
            below.1 = end;
        } else if let Some(above) = known.iter_mut().find(|range| range.0 == end) {
            above.0 = first;
        } else if let Some(free) = known.iter_mut().find(|range| range.0 == range.1) {
            *free = (first, end);
        }
    }

    /// Takes out what is mapped no more. Of a range that is cut in two, the part above is forgotten.
    fn take(&mut self, first: usize, end: usize) {
        for range in self.0.iter_mut().filter(|range| range.0 < end && first < range.1) {
            if range.0 < first {
                range.1 = first;
            } else {
                range.0 = end.min(range.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ranges: &Ranges) -> Vec<(usize, usize)> {
        ranges.0.iter().copied().filter(|(first, end)| first < end).collect()
    }

    #[test]
    fn ranges_follow_what_is_mapped() {
        let mut ranges = Ranges([(0, 0); RANGES]);
        ranges.add(100, 200);
        ranges.add(200, 300);
        ranges.add(50, 100);
        ranges.add(400, 500);
        assert_eq!(told(&ranges), [(50, 300), (400, 500)]);
        ranges.take(250, 300);
        ranges.take(400, 500);
        ranges.take(50, 60);
        assert_eq!(told(&ranges), [(60, 250)]);
        (0..2 * RANGES).for_each(|n| ranges.add(1000 + 20 * n, 1010 + 20 * n));
        assert_eq!(told(&ranges).len(), RANGES);
    }

    #[test]
    fn blocks_keep_their_contents_and_their_place_is_told() {
        let layout = Layout::from_size_align(3 << 20, 64).unwrap();
        // SAFETY: the size is not nought; the block is freed below with its last size, and written to within it.
        unsafe {
            let block = Heap.alloc_zeroed(layout);
            assert!(block.addr().is_multiple_of(64) && *block.add((3 << 20) - 1) == 0);
            *block = 7;
            let block = Heap.realloc(block, layout, 9 << 20);
            assert_eq!(*block, 7);
            *block.add((9 << 20) - 1) = 8;
            let last = block.addr() + (9 << 20) - 1;
            let inside = |at: usize| ranges().any(|(first, end)| first <= at && at < end);
            assert!(inside(block.addr()) && inside(last));
            Heap.dealloc(block, Layout::from_size_align(9 << 20, 64).unwrap());
            trim();
            assert!(!inside(last));
        }
    }
}
