//! Removes a tree, however deep, with few descriptors and little stack.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use errors::{Context, Result};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2, renameat, unlinkat};
use rustix::io::Errno;

use super::{at, each_name, open_root};

/// Folders deeper than this are first moved up to the root: a container may have made a chain of any length.
const REACH: usize = 64;

struct Removal<'a> {
    root: BorrowedFd<'a>,
    /// Names given to moved folders so far.
    moved: u64,
}

/// Removes `tree` and everything below it; nothing to do when it is not there.
pub(crate) fn remove(tree: &Path) -> Result<()> {
    let root = match open_root(tree) {
        Ok(root) => root,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut removal = Removal { root: root.as_fd(), moved: 0 };
    loop {
        let before = removal.moved;
        removal.empty(root.as_fd(), 0).map_err(|error| at(tree, "empty", error))?;
        if removal.moved == before {
            break;
        }
    }
    std::fs::remove_dir(tree).context(|| format!("rmdir {}", tree.display()))
}

impl Removal<'_> {
    fn empty(&mut self, folder: BorrowedFd<'_>, depth: usize) -> std::io::Result<()> {
        let mut names = Vec::new();
        each_name(folder, |name| {
            names.push(name.to_owned());
            Ok(())
        })?;
        names.into_iter().try_for_each(|name| self.remove(folder, &name, depth))
    }

    fn remove(&mut self, folder: BorrowedFd<'_>, name: &OsStr, depth: usize) -> std::io::Result<()> {
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Linux says EISDIR; POSIX, and some file systems, EPERM.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        if depth >= REACH {
            return self.lift(folder, name);
        }
        let below = open_own(folder, name)?;
        let moved = self.moved;
        self.empty(below.as_fd(), depth + 1)?;
        match unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // The next round comes back for it.
            Err(Errno::NOTEMPTY) if self.moved > moved => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn lift(&mut self, folder: BorrowedFd<'_>, name: &OsStr) -> std::io::Result<()> {
        loop {
            self.moved += 1;
            let target = OsString::from(format!(".removing-{}", self.moved));
            match renameat(folder, name, self.root, &target) {
                Ok(()) => return Ok(()),
                // A name of the tree's own, or of an earlier try.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Opens a folder of the tree; what is mounted there is not the tree's to lose (`EXDEV`).
fn open_own(folder: BorrowedFd<'_>, name: &OsStr) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat2(folder, name, flags, Mode::empty(), ResolveFlags::NO_XDEV)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{mkdirat, openat};

    #[test]
    fn removes_what_is_deeper_than_any_path() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let mut at = open_root(&tree).unwrap();
        for _ in 0..3000 {
            mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
            at = openat(&at, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        std::fs::write(tree.join(".removing-1"), "in the way").unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
        remove(&tree).unwrap();
    }

    #[test]
    fn leaves_what_a_symlink_points_at() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, kept) = (folder.path().join("tree"), folder.path().join("kept"));
        std::fs::create_dir(&tree).unwrap();
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("link")).unwrap();
        remove(&tree).unwrap();
        assert!(kept.join("file").exists() && !tree.exists());
    }

    #[test]
    fn spares_what_is_mounted_in_the_tree() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, kept) = (folder.path().join("tree"), folder.path().join("kept"));
        std::fs::create_dir_all(tree.join("a/mounted")).unwrap();
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "").unwrap();
        rustix::mount::mount_bind(&kept, tree.join("a/mounted")).unwrap();
        let removed = remove(&tree);
        crate::mounter::unmount_all(&tree.join("a/mounted")).unwrap();
        removed.unwrap_err();
        assert!(kept.join("file").exists());
        remove(&tree).unwrap();
    }
}
