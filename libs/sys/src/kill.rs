//! Signals by number, real-time signals included (kill(2)).

use std::io;

/// Sends signal `signal` (0 tests only) to process `pid`.
///
/// # Errors
/// ESRCH if there is no such process, EINVAL for a signal out of range or a pid that means more than one
/// process.
pub fn kill(pid: u32, signal: u32) -> io::Result<()> {
    let (Ok(pid), Ok(signal)) = (i32::try_from(pid), i32::try_from(signal)) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    if pid == 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: kill takes two numbers and touches no memory of ours.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_signalled_one_at_a_time() {
        kill(std::process::id(), 0).unwrap();
        for (pid, signal) in [(0, 0), (u32::MAX, 0), (std::process::id(), 4096)] {
            assert_eq!(kill(pid, signal).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{pid} {signal}");
        }
    }
}
