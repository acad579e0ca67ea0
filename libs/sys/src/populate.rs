//! Having pages of one's own before they are written to (madvise(2), MADV_POPULATE_WRITE).
//!
//! What a child of fork(2) writes to is copied at that moment, and the copy is charged to the memory cgroup that the
//! child is in by then. It stays with that cgroup when the child moves on.

use std::hint::black_box;
use std::ptr::without_provenance_mut;

/// Since Linux 5.14 (include/uapi/asm-generic/mman-common.h).
const MADV_POPULATE_WRITE: libc::c_int = 23;

/// The stack's part above and below the caller. The next calls write to both.
const STACK: usize = 16 << 10;

unsafe extern "C" {
    /// Where the program's writable data begins, by the C library's start-up code.
    safe static data_start: u8;
    /// Where it ends (end(3)).
    safe static end: u8;
}

/// Makes the pages that this process has been given by a fork, and is going to write to, its own: the stack about here, the main
/// arena's heap, and the program's data. What the kernel cannot copy now (before 5.14: all of it) is copied when it is
/// written to, as ever.
pub fn own() {
    let here = black_box(0_u8);
    let here = (&raw const here).addr();
    // Apart, for either may reach beyond what is mapped: the stack grows only where it is touched.
    populate(here, here + STACK);
    populate(here - STACK, here);
    let (first, last) = heap();
    populate(first, last);
    populate((&raw const data_start).addr(), (&raw const end).addr());
}

/// Has all threads to come take their memory from the one heap that [`own`] knows (mallopt(3)).
pub fn share_heap() {
    // SAFETY: it changes how later calls of malloc choose, and no memory.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

fn heap() -> (usize, usize) {
    // SAFETY: with nought, nothing is changed.
    let last = unsafe { libc::sbrk(0) }.addr();
    // SAFETY: it takes and changes nothing.
    let size = unsafe { libc::mallinfo2() }.arena;
    (last.saturating_sub(size), last)
}

/// A range that is not mapped is refused from there on.
fn populate(first: usize, last: usize) {
    let page = page_size();
    let first = first / page * page;
    let length = last.saturating_sub(first).next_multiple_of(page);
    // SAFETY: no byte of what is mapped changes, and nothing is mapped or unmapped.
    unsafe { libc::madvise(without_provenance_mut(first), length, MADV_POPULATE_WRITE) };
}

fn page_size() -> usize {
    // SAFETY: it only tells a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minor faults of this thread so far.
    fn faults() -> i64 {
        // SAFETY: all zeroes is a value of the structure.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the structure lives through the call.
        unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
        usage.ru_minflt
    }

    fn touch(bytes: &mut [u8]) {
        for page in bytes.chunks_mut(4096) {
            black_box(page)[0] = 2;
        }
    }

    /// In a child: how many pages of a part of the stack, written to by the parent, are copied when it is written to.
    fn copied(prepare: fn()) -> i32 {
        let mut pages = [1_u8; 3 * 4096];
        black_box(&mut pages);
        // SAFETY: the child calls nothing that takes a lock before it ends.
        match unsafe { libc::fork() } {
            0 => {
                prepare();
                // The code of both is mapped anew in a child, by faults that are not meant here.
                touch(&mut [0]);
                let before = faults();
                touch(&mut pages);
                // SAFETY: the process ends here.
                unsafe { libc::_exit((faults() - before) as i32) }
            }
            pid => {
                let mut status = 0;
                // SAFETY: the number lives through the call.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                assert!(libc::WIFEXITED(status), "{status:#x}");
                libc::WEXITSTATUS(status)
            }
        }
    }

    #[test]
    fn what_is_owned_is_copied_no_more() {
        assert!(copied(|| {}) >= 2);
        assert_eq!(copied(own), 0);
    }
}
