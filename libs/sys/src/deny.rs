//! Programs that find system calls missing, as on an older kernel: for tests of what is done without them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::seccomp::{Insn, MAX_INSTRUCTIONS, set_filter};

/// Paths resolved below a directory (Linux 5.6).
pub const OPENAT2: &[i64] = &[libc::SYS_openat2];
/// Mounts by descriptor (Linux 5.2 to 5.12).
pub const MOUNT_API: &[i64] = &[
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
];
/// New processes with more than flags (Linux 5.3).
pub const CLONE3: &[i64] = &[libc::SYS_clone3];
/// Processes by descriptor (Linux 5.1 to 5.6).
pub const PIDFD: &[i64] = &[libc::SYS_pidfd_open, libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal];
/// Descriptors closed by the range (Linux 5.9).
pub const CLOSE_RANGE: &[i64] = &[libc::SYS_close_range];

/// Programs executed by descriptor (Linux 3.19).
pub const EXECVEAT: &[i64] = &[libc::SYS_execveat];

/// Makes `command` and all that it starts find that these calls of the native architecture do not exist. Needs
/// CAP_SYS_ADMIN, so that nothing else changes for them.
///
/// # Errors
/// EINVAL for more calls than a filter holds.
pub fn deny(command: &mut Command, calls: &[i64]) -> io::Result<()> {
    let program = filter(calls);
    if program.len() > MAX_INSTRUCTIONS || calls.len() > usize::from(u8::MAX) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the closure makes one system call with what was prepared before, and allocates nothing.
    unsafe { command.pre_exec(move || set_filter(&program, 0).map(drop)) };
    Ok(())
}

/// The number is loaded, and compared with each in turn.
fn filter(calls: &[i64]) -> Vec<Insn> {
    const LOAD: u16 = 0x20;
    const JUMP_EQ: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    let mut program = vec![Insn { code: LOAD, jt: 0, jf: 0, k: 0 }];
    for (index, call) in calls.iter().enumerate() {
        // Over the other comparisons and the permission.
        let distance = (calls.len() - index) as u8;
        program.push(Insn { code: JUMP_EQ, jt: distance, jf: 0, k: *call as u32 });
    }
    program.push(Insn { code: RETURN, jt: 0, jf: 0, k: ALLOW });
    program.push(Insn { code: RETURN, jt: 0, jf: 0, k: ERRNO | libc::ENOSYS as u32 });
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_not_there() {
        let mut command = Command::new("uname");
        deny(&mut command, &[libc::SYS_uname, libc::SYS_openat2]).unwrap();
        let output = command.output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("not implemented"));
        let mut command = Command::new("uname");
        deny(&mut command, OPENAT2).unwrap();
        assert!(command.status().unwrap().success());
    }
}
