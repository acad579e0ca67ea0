//! Moving a terminal's bytes between the caller's and the container's side.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, read, write};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::error::{Error, Result};

/// The caller's terminal in raw mode; put back when dropped.
#[derive(Debug)]
pub struct RawMode {
    saved: Termios,
}

impl RawMode {
    /// Raw mode for standard input, if that is a terminal.
    pub fn enter() -> Result<Option<Self>> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(None);
        }
        let saved = tcgetattr(stdin).map_err(|e| Error::call("tcgetattr", e))?;
        let mut raw = saved.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw).map_err(|e| Error::call("tcsetattr", e))?;
        Ok(Some(RawMode { saved }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.saved);
    }
}

/// Gives the container's terminal the size of the caller's.
pub fn copy_size(master: &OwnedFd) {
    // Not every caller has a terminal, and a size is a nicety.
    if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
        let _ = tcsetwinsize(master, size);
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
