//! Standard streams that are the null device become the container's own: one of the host's would be a file out of reach
//! for whoever looks at the container from inside, and for criu.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat, major, minor};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::root::Root;

/// Opens the container's null device in place of the host's.
pub fn reopen(root: &Root) -> Result<()> {
    let streams: [BorrowedFd<'_>; 3] =
        [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let null: Vec<bool> = streams.iter().map(is_null).collect();
    if !null.contains(&true) {
        return Ok(());
    }
    let at = |e: Errno| Error::call("open /dev/null", e);
    let own = root.open(Path::new("/dev/null"), OFlags::RDWR | OFlags::NOFOLLOW).map_err(at)?;
    if !is_null(&own) {
        return Err(Error::new("/dev/null is not the null device"));
    }
    let put = [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr];
    for (put, _) in put.iter().zip(&null).filter(|(_, null)| **null) {
        put(&own).map_err(|e| Error::call("dup2 of /dev/null", e))?;
    }
    Ok(())
}

fn is_null(fd: impl std::os::fd::AsFd) -> bool {
    fstat(fd).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
    })
}
