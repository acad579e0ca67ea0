//! The allocator of glibc, for processes whose resident size counts (mallopt(3), malloc_trim(3)).

/// Keeps the heap of a process with many threads from growing with their number: two arenas for all, and free memory
/// returned as soon as it is worth a call.
pub fn few_arenas() {
    for (option, value) in
        [(libc::M_ARENA_MAX, 2), (libc::M_TRIM_THRESHOLD, 256 << 10), (libc::M_MMAP_THRESHOLD, 128 << 10)]
    {
        // SAFETY: mallopt takes numbers only; an option it does not know is refused without effect.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Gives free pages of the heap back to the kernel.
pub fn trim() {
    // SAFETY: malloc_trim has no preconditions.
    unsafe { libc::malloc_trim(0) };
}
