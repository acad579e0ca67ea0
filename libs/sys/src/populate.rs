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

/// Makes the pages that this process has been given by a fork, and is going to write to, its own: the stack about here, the
/// heap ([`crate::heap`]), and the program's data. What the kernel cannot copy now (before 5.14: all of it) is copied when it is
/// written to, as ever.
pub fn own() {
    let here = black_box(0_u8);
    let here = (&raw const here).addr();
    // Apart, for either may reach beyond what is mapped: the stack grows only where it is touched.
    populate(here, here + STACK);
    populate(here - STACK, here);
    crate::heap::ranges().for_each(|(first, end)| populate(first, end));
    data().for_each(|(first, end)| populate(first, end));
}

/// The program's own segments that can be written to, without what was writable only until it had been relocated.
fn data() -> impl Iterator<Item = (usize, usize)> {
    let (base, headers) = headers();
    let range = move |header: &libc::Elf64_Phdr| {
        let first = base.wrapping_add(header.p_vaddr as usize);
        (first, first + header.p_memsz as usize)
    };
    let of = move |kind| headers.iter().filter(move |header| header.p_type == kind);
    let fixed = of(libc::PT_GNU_RELRO).map(range).next().unwrap_or_default();
    of(libc::PT_LOAD).filter(|header| header.p_flags & libc::PF_W != 0).map(range).map(move |(first, end)| {
        if first <= fixed.0 && fixed.1 <= end { (fixed.1, end) } else { (first, end) }
    })
}

/// Where the program is, and its segments (dl_iterate_phdr(3), which begins with the program itself).
fn headers() -> (usize, &'static [libc::Elf64_Phdr]) {
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: `found` is the pair below; the segments of the program are there as long as it is.
        unsafe {
            let headers = std::slice::from_raw_parts((*info).dlpi_phdr, (*info).dlpi_phnum.into());
            *found.cast::<(usize, &[libc::Elf64_Phdr])>() = ((*info).dlpi_addr as usize, headers);
        }
        1
    }
    let mut found: (usize, &'static [libc::Elf64_Phdr]) = (0, &[]);
    // SAFETY: the function is called within this call alone, with the pair that lives through it.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    found
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
