//! Descriptors by number: those that a process inherits, and all the rest at once.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

/// Marks every descriptor from `first` on close-on-exec (close_range(2), kernel 5.11; before it, one by one).
pub fn cloexec_from(first: u32) -> io::Result<()> {
    // SAFETY: the call takes plain numbers and closes nothing now.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { cloexec_each(first) }
}

fn cloexec_each(first: u32) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if fd >= first {
            // The descriptor of this very listing is gone by the end, so a failure means nothing.
            let _ = set_cloexec(fd.cast_signed(), true);
        }
    }
    Ok(())
}

/// Closes every descriptor from `first` on but those in `keep` (close_range(2)).
///
/// For a process that is about to execute another program: what still believes itself to own one of the others must
/// not be used, nor dropped, any more.
///
/// # Errors
/// ENOSYS before Linux 5.9, with nothing closed: see [`close_each`].
pub fn close_from(first: u32, keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.cast_unsigned()).filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut from = first;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if from < fd {
            // SAFETY: the call takes plain numbers; that nobody uses what is closed is the promise of the caller.
            let done = unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
            if done != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        from = fd.saturating_add(1);
    }
    Ok(())
}

/// The same one by one, as `listing` has them: this process's /proc/self/fd.
pub fn close_each(first: u32, keep: &[RawFd], listing: OwnedFd) -> io::Result<()> {
    let mut open = Vec::new();
    for entry in rustix::fs::Dir::new(listing)? {
        open.extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for fd in open.into_iter().filter(|fd| fd.cast_unsigned() >= first && !keep.contains(fd)) {
        // SAFETY: as above. The listing's own descriptor is closed already, so a failure means nothing.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Sets or clears close-on-exec of a descriptor that this process was given by number.
pub fn set_cloexec(fd: RawFd, on: bool) -> io::Result<()> {
    // SAFETY: F_SETFD changes a flag of our own table's entry; an unknown number is an error.
    match unsafe { libc::fcntl(fd, libc::F_SETFD, if on { libc::FD_CLOEXEC } else { 0 }) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether this process has a descriptor of this number.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD only reads.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn numbers() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(is_open(file.as_raw_fd()));
        set_cloexec(file.as_raw_fd(), false).unwrap();
        set_cloexec(file.as_raw_fd(), true).unwrap();
        assert!(!is_open(100_000));
        assert!(set_cloexec(100_000, true).is_err());
    }
}
