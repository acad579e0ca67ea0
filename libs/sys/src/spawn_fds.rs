//! Handing descriptors to a child under chosen numbers (dup2(2)), and taking those a parent handed over.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Makes `command` start its child with `fds[0]` as descriptor 3, `fds[1]` as 4, and so on, as
/// sd_listen_fds(3) and Go's `ExtraFiles` lay them out. Descriptors stay open in this process until `command`
/// is dropped.
///
/// # Errors
/// Fails if this process has no descriptors left.
pub fn pass_fds(command: &mut Command, fds: Vec<OwnedFd>) -> io::Result<()> {
    let above = FIRST + fds.len() as RawFd;
    // Every target number is kept busy until the child is forked: the pipe on which the child reports a
    // failed exec must not land on one of them.
    let mut placeholders = Vec::new();
    let copies = fds.iter().map(|fd| dup_above(fd, above)).collect::<io::Result<Vec<OwnedFd>>>()?;
    for copy in &copies {
        let mut last = dup_above(copy, FIRST)?;
        while last.as_raw_fd() < above {
            placeholders.push(last);
            last = dup_above(copy, FIRST)?;
        }
    }
    drop(fds);
    let place = move || {
        let _busy = &placeholders;
        for (copy, target) in copies.iter().zip(FIRST..) {
            // SAFETY: dup2 is async-signal-safe and touches no memory; every source lies above the targets.
            cvt(unsafe { libc::dup2(copy.as_raw_fd(), target) })?;
        }
        Ok(())
    };
    // SAFETY: the closure makes only async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(place) };
    Ok(())
}

/// A copy of `fd` whose number is `least` or higher, closed on exec.
fn dup_above(fd: &OwnedFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl touches no memory; the descriptor is open, since it is owned.
    let copy = cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) })?;
    // SAFETY: the kernel just handed this number out, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Takes over descriptor `fd` (3 or above), which the parent left open for this process. Each number can be
/// taken once.
///
/// # Errors
/// EBADF if it is not open, or is a standard stream's; EBUSY if it was taken before.
pub fn inherited_fd(fd: RawFd) -> io::Result<OwnedFd> {
    static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
    if fd < FIRST {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    if !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(fd) {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // SAFETY: F_SETFD changes only the close-on-exec flag of that number, and fails if it is not open.
    cvt(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the number is open, came from the parent, and the guard above gives it out only once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The first descriptor after stdin, stdout and stderr.
const FIRST: RawFd = 3;

fn cvt(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use super::*;

    #[test]
    fn child_finds_descriptors_where_promised() {
        let (mut first, first_writer) = pipe().unwrap();
        let (mut second, second_writer) = pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo three >&3; echo four >&4"]);
        pass_fds(&mut command, vec![first_writer.into(), second_writer.into()]).unwrap();
        assert!(command.status().unwrap().success());
        drop(command);
        let mut text = String::new();
        first.read_to_string(&mut text).unwrap();
        second.read_to_string(&mut text).unwrap();
        assert_eq!(text, "three\nfour\n");
    }

    #[test]
    fn a_failed_exec_is_still_reported() {
        let (_reader, writer) = pipe().unwrap();
        let mut command = Command::new("/nonexistent/program");
        pass_fds(&mut command, vec![writer.into()]).unwrap();
        assert_eq!(command.spawn().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        assert_eq!(inherited_fd(61).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(inherited_fd(61).unwrap_err().raw_os_error(), Some(libc::EBUSY));
        assert_eq!(inherited_fd(1).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(inherited_fd(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    /// Whoever starts others for many containers has many descriptors.
    #[test]
    fn a_number_may_be_high() {
        use std::os::fd::IntoRawFd;
        let (_reader, writer) = pipe().unwrap();
        let high = dup_above(&writer.into(), 300).unwrap().into_raw_fd();
        let taken = inherited_fd(high).unwrap();
        assert_eq!(taken.as_raw_fd(), high);
        assert_eq!(inherited_fd(high).unwrap_err().raw_os_error(), Some(libc::EBUSY));
    }
}
