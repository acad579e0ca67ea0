//! Questions about a process of the host, by its id.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

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

/// A descriptor of the process with this id and start time: what is done through it cannot hit another that took its
/// id.
pub fn open(pid: i32, start: u64) -> Option<OwnedFd> {
    let fd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    alive(pid, start).then_some(fd)
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
        assert!(open(pid, start).is_some());
        assert!(stat(0).is_none());
    }
}
