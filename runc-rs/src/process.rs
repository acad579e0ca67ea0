//! Questions about a process of the host, by its id.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

/// Start time (clock ticks since boot) and state letter of a process, or `None` when there is none.
pub fn stat(pid: i32) -> Option<(u64, char)> {
    if pid <= 0 {
        return None;
    }
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The start time and the state letter that a /proc/PID/stat tells. The name in parentheses may hold anything, so they are
/// counted from the last parenthesis (proc_pid_stat(5)).
pub fn parse_stat(text: &str) -> Option<(u64, char)> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((start, state))
}

/// Whether the process with this id and start time is there and has not ended.
pub fn alive(pid: i32, start: u64) -> bool {
    matches!(stat(pid), Some((s, state)) if s == start && !matches!(state, 'Z' | 'X'))
}

/// Whether this process is in a user namespace other than the first, whose map is that of all ids to themselves
/// (user_namespaces(7)).
pub fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// How often a process is looked at where the kernel has no descriptors of processes (before Linux 5.3).
pub const TICK: Duration = Duration::from_millis(10);

/// A process that is not confused with another that took its id.
#[derive(Debug)]
pub struct Handle {
    pid: i32,
    /// When it started; a child needs no telling apart.
    start: Option<u64>,
    /// Missing where the kernel has none.
    fd: Option<OwnedFd>,
}

impl Handle {
    /// The process with this id and start time; `None` once it has ended.
    pub fn of(pid: i32, start: u64) -> Option<Self> {
        let fd = match pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()) {
            Ok(fd) => Some(fd),
            Err(Errno::NOSYS) => None,
            Err(_) => return None,
        };
        alive(pid, start).then_some(Handle { pid, start: Some(start), fd })
    }

    /// A child that has not been waited for, and so keeps its id. Nothing of it is looked for in /proc, which may be
    /// that of other process ids.
    pub fn of_child(pid: i32) -> Self {
        let fd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Handle { pid, start: None, fd }
    }

    /// What becomes readable when it ends. Without it, ask [`Handle::is_gone`] every [`TICK`].
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Whether it has ended, collected or not.
    pub fn is_gone(&self) -> bool {
        let Some(start) = self.start else { return has_ended(self.pid) };
        !alive(self.pid, start)
    }

    /// Sends a signal. ESRCH once it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let by_fd = self.fd().map(|fd| sys::signal::pidfd_kill(fd, signal));
        match by_fd {
            Some(Err(e)) if e.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => {}
            Some(done) => return done,
            None => {}
        }
        if self.is_gone() {
            return Err(Errno::SRCH.into());
        }
        sys::signal::kill(self.pid, signal)
    }

    /// Waits until it has ended; `false` when that takes too long.
    pub fn wait(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while !self.is_gone() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let left = if self.fd.is_some() { left } else { left.min(TICK) };
            let mut fds: Vec<_> = self.fd.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            // However it ends, the process is looked at again.
            let _ = poll(&mut fds, Some(&left));
        }
        true
    }
}

/// Whether a child has ended. It is left to be collected.
fn has_ended(pid: i32) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let Some(pid) = Pid::from_raw(pid) else { return true };
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lie() {
        let line = "7 (a) Z 1) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 0 0";
        assert_eq!(parse_stat(line), Some((4242, 'S')));
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn this_process_lives() {
        let pid = std::process::id().cast_signed();
        let (start, _) = stat(pid).unwrap();
        assert!(alive(pid, start));
        assert!(!alive(pid, start + 1));
        let this = Handle::of(pid, start).unwrap();
        assert!(!this.is_gone() && this.signal(0).is_ok() && !this.wait(Duration::ZERO));
        assert!(Handle::of(pid, start + 1).is_none());
        assert!(stat(0).is_none());
    }
}
