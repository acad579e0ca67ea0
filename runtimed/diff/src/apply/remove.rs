//! Takes away what a layer replaces or removes.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::io::Errno;

use crate::target::{Inode, inode, names, stat};

/// The deepest tree that is taken away: each level keeps a descriptor.
const MAX_DEPTH: usize = 1000;

/// Removes what is under `name`, with all below it.
pub(crate) fn remove(folder: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<()> {
    prune(folder, name, &HashSet::new(), 0)
}

/// Removes all in `folder` but the inodes `kept`, and the folders they are in.
pub(crate) fn empty(folder: BorrowedFd<'_>, kept: &HashSet<Inode>) -> std::io::Result<()> {
    empty_at(folder, kept, 0)
}

fn empty_at(folder: BorrowedFd<'_>, kept: &HashSet<Inode>, depth: usize) -> std::io::Result<()> {
    names(folder)?.iter().try_for_each(|name| prune(folder, name, kept, depth))
}

fn prune(folder: BorrowedFd<'_>, name: &[u8], kept: &HashSet<Inode>, depth: usize) -> std::io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(std::io::Error::new(
            std::io::ErrorKind::QuotaExceeded,
            format!("more than {MAX_DEPTH} folders in each other"),
        ));
    }
    let is_kept = !kept.is_empty() && stat(folder, name)?.is_some_and(|found| kept.contains(&inode(&found)));
    if !is_kept {
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // It is a folder: Linux says EISDIR, some file systems EPERM as POSIX does.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // What is mounted there is not the tree's to lose.
    let below = match openat2(folder, name, flags, Mode::empty(), ResolveFlags::NO_XDEV) {
        Ok(below) => below,
        Err(Errno::NOTDIR | Errno::LOOP) if is_kept => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    empty_at(below.as_fd(), kept, depth + 1)?;
    if is_kept {
        return Ok(());
    }
    match unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY) if !kept.is_empty() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
