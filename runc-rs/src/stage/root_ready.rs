//! A caller that mounts the container's root while this command makes itself ready says when it has done so.
//!
//! That is no part of runc's command line; this project's shim uses it, so that the kernel's work on a mount and the
//! start of a program do not wait for each other.

use std::io::Read;
use std::os::fd::OwnedFd;

use crate::error::{Context as _, Error, Result};

/// The reading end of the caller's pipe.
#[derive(Debug)]
pub struct RootReady(OwnedFd);

impl RootReady {
    /// Takes over descriptor `fd`, which the caller left open for this process.
    pub fn inherit(fd: u32) -> Result<RootReady> {
        let number = i32::try_from(fd).unwrap_or(-1);
        let fd = sys::spawn_fds::inherited_fd(number)
            .with_context(|| format!("take over descriptor {fd}, which --await-root names"))?;
        Ok(RootReady(fd))
    }

    /// Waits for the byte that says that the root is mounted. A pipe that is closed without one says that it is not.
    pub fn wait(self) -> Result<()> {
        let mut byte = [0];
        let read = std::fs::File::from(self.0).read(&mut byte).context("wait for the root file system")?;
        match read {
            0 => Err(Error::new("the root file system was not mounted by the caller")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_byte_says_that_it_is_there_and_an_end_that_it_is_not() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"1").unwrap();
        RootReady(reader.into()).wait().unwrap();
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
