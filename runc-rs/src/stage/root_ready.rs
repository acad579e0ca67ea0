//! A caller that mounts the container's root while this command makes itself ready says when it has done so.
//!
//! That is no part of runc's command line; this project's shim uses it, so that the kernel's work on a mount and the
//! start of a program do not wait for each other. Where the caller listens, it is told in turn when the container is made, and need not wait
//! until the kernel has taken this process apart.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use crate::error::{Context as _, Error, Result};

/// This process's end of the caller's socket, or the reading end of its pipe.
#[derive(Debug)]
pub struct RootReady(OwnedFd);

/// A caller that has mounted the root.
#[derive(Debug)]
pub struct Caller(File);

impl Caller {
    /// Tells it that this command has done what it was called for.
    pub fn tell(self) {
        // One that gave a pipe does not listen; it waits for the end of this process.
        let _ = (&self.0).write_all(b"2");
    }
}

impl RootReady {
    /// Takes over descriptor `fd`, which the caller left open for this process.
    pub fn inherit(fd: u32) -> Result<RootReady> {
        let number = i32::try_from(fd).unwrap_or(-1);
        let fd = sys::spawn_fds::inherited_fd(number)
            .with_context(|| format!("take over descriptor {fd}, which --await-root names"))?;
        Ok(RootReady(fd))
    }

    /// Waits for the byte that says that the root is mounted. A pipe that is closed without one says that it is not.
    pub fn wait(self) -> Result<Caller> {
        let caller = File::from(self.0);
        match (&caller).read(&mut [0]).context("wait for the root file system")? {
            0 => Err(Error::new("the root file system was not mounted by the caller")),
            _ => Ok(Caller(caller)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_listens_is_told() {
        let (mut caller, theirs) = UnixStream::pair().unwrap();
        caller.write_all(b"1").unwrap();
        RootReady(theirs.into()).wait().unwrap().tell();
        let mut told = Vec::new();
        caller.read_to_end(&mut told).unwrap();
        assert_eq!(told, b"2");
    }

    #[test]
    fn a_byte_says_that_it_is_there_and_an_end_that_it_is_not() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"1").unwrap();
        // Who gives a pipe is not told.
        RootReady(reader.into()).wait().unwrap().tell();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        let error = RootReady(reader.into()).wait().unwrap_err();
        assert!(error.to_string().contains("was not mounted"), "{error}");
    }

    #[test]
    fn a_descriptor_that_is_not_there_is_named() {
        let error = RootReady::inherit(63).unwrap_err().to_string();
        assert!(error.contains("descriptor 63, which --await-root names"), "{error}");
    }
}
