//! clone3(2): a child in new namespaces and in its cgroup from its first instruction.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

pub use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS,
    CLONE_PARENT,
};

/// The new process is born in the cgroup of a given descriptor (wider than a C int).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// New time namespace; for clone3 and unshare alone.
pub const CLONE_NEWTIME: libc::c_int = 0x80;

/// Which side of the clone this is.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The one that asked, and what it knows of the new one.
    Parent {
        /// Process id, as the asking process sees it.
        pid: i32,
        /// The new process's descriptor (close-on-exec), where the kernel gives one.
        pidfd: Option<OwnedFd>,
    },
}

/// Duplicates this process as fork(2) does, with `flags` (`CLONE_NEW*`, `CLONE_PARENT`), optionally straight into the
/// cgroup v2 directory `cgroup`.
///
/// # Errors
/// The kernel's, and `EDEADLK` in a process with more than one thread: the copy would hold locks that nobody releases.
/// `ENOSYS` when `cgroup` is given and the kernel has no clone3.
pub fn clone(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    single_threaded()?;
    let mut pidfd: libc::c_int = -1;
    let mut args = libc::clone_args {
        flags: (flags | libc::CLONE_PIDFD) as u64,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        // CLONE_PARENT takes over the caller's own exit signal and refuses another.
        exit_signal: if flags & libc::CLONE_PARENT == 0 { libc::SIGCHLD as u64 } else { 0 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is fork: the child gets copies of this stack and memory; there is one thread, so
    // no lock is held by another. `args` lives through the call and has the size that is passed.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent { pid: pid as i32, pidfd: owned(pidfd) }),
        _ => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ENOSYS) && cgroup.is_none() => legacy(flags),
            e => Err(e),
        },
    }
}

/// clone(2), for kernels before 5.3 and for sandboxes that hide clone3.
fn legacy(flags: libc::c_int) -> io::Result<Forked> {
    let signal = if flags & libc::CLONE_PARENT == 0 { libc::SIGCHLD } else { 0 };
    // SAFETY: as above; a null stack means a copy of this one.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, (flags | signal) as libc::c_ulong, 0 as libc::c_ulong, 0, 0, 0)
    };
    match pid {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent { pid: pid as i32, pidfd: None }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn owned(fd: libc::c_int) -> Option<OwnedFd> {
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows of it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until the kernel, too, is done with threads that have been joined, but no longer than `limit`: whoever joins one is told a moment
/// before it is gone.
pub fn outlast_threads(limit: Duration) {
    let begun = Instant::now();
    while single_threaded().is_err() && begun.elapsed() < limit {
        std::thread::yield_now();
    }
}

/// A directory's link count is two and one for each directory in it: here, one for each thread.
pub(crate) fn single_threaded() -> io::Result<()> {
    match std::fs::metadata("/proc/self/task") {
        Ok(meta) if meta.nlink() > 3 => Err(io::Error::from_raw_os_error(libc::EDEADLK)),
        _ => Ok(()),
    }
}

/// Ends this process at once: no destructors, no buffers flushed twice by both sides of a fork.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) is always allowed and does not return.
    unsafe { libc::_exit(code) }
}
