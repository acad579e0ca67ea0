//! Moving a terminal's bytes between the caller's and the container's side.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec, read, write};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::error::{Error, Result};

/// The caller's terminal: the first of standard error, output and input that is one, or else the controlling one. Without any, a
/// command that is to relay a terminal does not begin, as with runc.
pub fn host_console() -> Result<OwnedFd> {
    let streams = [rustix::stdio::stderr(), rustix::stdio::stdout(), rustix::stdio::stdin()];
    if let Some(console) = streams.into_iter().find(|stream| isatty(stream)) {
        return fcntl_dupfd_cloexec(console, 3).map_err(|e| Error::call("fcntl F_DUPFD_CLOEXEC", e));
    }
    open("/dev/tty", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::call("open /dev/tty", e))
}

/// The caller's terminal in raw mode; put back when dropped.
#[derive(Debug)]
pub struct RawMode {
    console: OwnedFd,
    saved: Termios,
}

impl RawMode {
    /// Raw mode for a terminal, but for its output: the container's does not end lines, so that this one does, and that a pipe in its
    /// place gets them as they were written.
    pub fn enter(console: OwnedFd) -> Result<Self> {
        let saved = tcgetattr(&console).map_err(|e| Error::call("tcgetattr", e))?;
        let mut raw = saved.clone();
        raw.make_raw();
        raw.output_modes.insert(OutputModes::OPOST);
        tcsetattr(&console, OptionalActions::Now, &raw)
            .map_err(|e| Error::call("failed to set the terminal from the stdin: tcsetattr", e))?;
        Ok(RawMode { console, saved })
    }

    /// Gives the container's terminal the size of this one.
    pub fn copy_size(&self, master: &OwnedFd) {
        // Not every terminal has a size, which is a nicety.
        if let Ok(size) = tcgetwinsize(&self.console) {
            let _ = tcsetwinsize(master, size);
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.console, OptionalActions::Now, &self.saved);
    }
}

/// Reads what is there, once; `false` when the source has no more.
pub fn read_some(from: impl AsFd, into: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0; 4096];
    match read(&from, &mut buffer) {
        Ok(0) | Err(Errno::IO) => Ok(false),
        Ok(count) => {
            into.extend_from_slice(&buffer[..count]);
            Ok(true)
        }
        Err(Errno::INTR | Errno::AGAIN) => Ok(true),
        Err(e) => Err(Error::call("read", e)),
    }
}

/// Moves what is there, once; `false` when the source has no more.
pub fn relay(from: impl AsFd, to: impl AsFd) -> Result<bool> {
    let mut buffer = [0; 16 << 10];
    let count = match read(&from, &mut buffer) {
        // A terminal whose other side is closed answers EIO.
        Ok(0) | Err(Errno::IO) => return Ok(false),
        Ok(count) => count,
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        Err(e) => return Err(Error::call("read", e)),
    };
    let mut rest = &buffer[..count];
    while !rest.is_empty() {
        match write(&to, rest) {
            Ok(done) => rest = &rest[done..],
            Err(Errno::INTR) => {}
            Err(Errno::PIPE | Errno::IO) => return Ok(false),
            Err(e) => return Err(Error::call("write", e)),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_pass_and_the_end_is_seen() {
        let (mut a, b) = UnixStream::pair().unwrap();
        let (c, mut d) = UnixStream::pair().unwrap();
        a.write_all(b"hello").unwrap();
        assert!(relay(&b, &c).unwrap());
        let mut got = [0; 5];
        d.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        drop(a);
        assert!(!relay(&b, &c).unwrap());
    }
}
