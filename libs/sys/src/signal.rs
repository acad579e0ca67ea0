//! Signal dispositions, as a program that is about to be executed wants them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The kernel's struct sigaction, all zero: default action, no flags, no mask.
#[repr(C)]
struct DefaultAction {
    words: [u64; 4],
}

/// Puts every signal back to its default action: Rust ignores SIGPIPE, and "ignored" is inherited through exec. The C
/// library keeps two signals to itself, so the kernel is asked directly.
pub fn reset_all() -> io::Result<()> {
    let action = DefaultAction { words: [0; 4] };
    let no_old = std::ptr::null_mut::<DefaultAction>();
    for signal in (1..=64).filter(|s| !matches!(*s, libc::SIGKILL | libc::SIGSTOP)) {
        // SAFETY: `action` is at least as large as the kernel's struct, a zero in which is valid; the mask is 8 bytes.
        let done = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, no_old, 8) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Signals that wait for this process to read them (signalfd(2)).
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks all signals in this thread but `others`, and has them read from here; numbers, those that C libraries keep to themselves
    /// included.
    ///
    /// # Errors
    /// The kernel's.
    pub fn block_all_but(others: &[i32]) -> io::Result<Self> {
        let set = others.iter().fold(!0_u64, |set, signal| set & !(1 << (signal - 1)));
        block(set)?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the kernel's set has 8 bytes, and lives through the call.
        let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const set, 8, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows of it.
        Ok(Signals(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// The next one's number; `None` when none is waiting.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        // SAFETY: the buffer has the length that is told.
        match unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), info.len()) } {
            count if count >= 4 => Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))),
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
                e => Err(e),
            },
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Does what may make a process's first thread, and has the same signals blocked afterwards: musl lets go of those that it keeps to itself
/// when it makes one.
///
/// # Errors
/// The kernel's, when it tells or takes no mask.
pub fn keep_mask<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let before = mask(libc::SIG_BLOCK, None)?;
    let done = work();
    mask(libc::SIG_SETMASK, Some(before))?;
    Ok(done)
}

fn block(set: u64) -> io::Result<()> {
    mask(libc::SIG_BLOCK, Some(set)).map(drop)
}

/// Changes this thread's mask; returns the one before.
fn mask(how: libc::c_int, set: Option<u64>) -> io::Result<u64> {
    let (mut before, set) = (0_u64, set.as_ref().map_or(std::ptr::null(), std::ptr::from_ref));
    // SAFETY: the kernel's set has 8 bytes, and both live through the call; null leaves the mask as it is.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set, &raw mut before, 8) };
    if done == 0 { Ok(before) } else { Err(io::Error::last_os_error()) }
}

/// kill(2) with a signal by number, real-time ones included.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// pidfd_send_signal(2) with a signal by number, real-time ones included.
pub fn pidfd_kill(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means that of kill(2).
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one that musl keeps to itself is among them, the two of glibc too.
    #[test]
    fn every_signal_is_read_and_the_others_are_not() {
        let this = std::thread::spawn(|| {
            let signals = Signals::block_all_but(&[libc::SIGUSR2]).unwrap();
            assert_eq!(signals.next().unwrap(), None);
            // SAFETY: plain numbers; a signal to a thread that has it blocked.
            let tell = |number: i32| unsafe {
                libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::syscall(libc::SYS_gettid), number)
            };
            for number in [libc::SIGTERM, 32, 33, 34, 64] {
                assert_eq!(tell(number), 0);
                assert_eq!(signals.next().unwrap(), Some(number));
            }
            let blocked = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let blocked = blocked.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
            let blocked = u64::from_str_radix(blocked, 16).unwrap();
            let made = || std::thread::spawn(|| ()).join().unwrap();
            keep_mask(made).unwrap();
            assert_eq!(tell(34), 0);
            assert_eq!(signals.next().unwrap(), Some(34));
            // Nobody can block SIGKILL and SIGSTOP.
            let free = [libc::SIGUSR2, libc::SIGKILL, libc::SIGSTOP].map(|number| 1 << (number - 1));
            assert_eq!(!blocked, free.iter().sum::<u64>());
        });
        this.join().unwrap();
    }
}
