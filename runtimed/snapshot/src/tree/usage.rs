//! What a tree takes on disk.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use errors::Result;
use rustix::fs::{AtFlags, FileType, statat};

use super::{MAX_DEPTH, at, each_name, open_folder, open_root, too_deep};
use crate::Usage;

/// Bytes of a block in `st_blocks` (stat(2)).
const BLOCK: i64 = 512;

#[derive(Default)]
struct Counter {
    usage: Usage,
    /// Files with several names, counted once.
    linked: HashSet<(u64, u64)>,
}

/// Counts inodes and the bytes they take, the tree's root included, a file with several names once.
pub(crate) fn usage(tree: &Path) -> Result<Usage> {
    let root = open_root(tree)?;
    let mut counter = Counter::default();
    let own = rustix::fs::fstat(&root).map_err(|error| at(tree, "stat", error.into()))?;
    counter.add(own.st_blocks);
    counter.walk(tree, root.as_fd(), 0).map_err(|error| at(tree, "count", error))?;
    Ok(counter.usage)
}

impl Counter {
    fn add(&mut self, blocks: i64) {
        self.usage.inodes += 1;
        self.usage.size += blocks * BLOCK;
    }

    fn walk(&mut self, tree: &Path, folder: BorrowedFd<'_>, depth: usize) -> std::io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(too_deep(tree));
        }
        each_name(folder, |name| {
            let found = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => found,
                // A running container may remove what was just listed.
                Err(rustix::io::Errno::NOENT) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if is_folder || found.st_nlink < 2 || self.linked.insert((found.st_dev, found.st_ino)) {
                self.add(found.st_blocks);
            }
            if !is_folder {
                return Ok(());
            }
            match open_folder(folder, name) {
                Ok(below) => self.walk(tree, below.as_fd(), depth + 1),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            }
        })
    }
}
