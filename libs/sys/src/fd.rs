//! Descriptors by number: those that a process inherits, and all the rest at once.

use std::io;
use std::os::fd::RawFd;

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
