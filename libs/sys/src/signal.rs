//! Signal dispositions, as a program that is about to be executed wants them.

use std::io;

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

/// kill(2) with a signal by number, real-time ones included.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// pidfd_send_signal(2) with a signal by number, real-time ones included.
pub fn pidfd_kill(pidfd: std::os::fd::BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means that of kill(2).
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
