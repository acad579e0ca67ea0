//! Paths inside a container's root, resolved through a descriptor of that root.
//!
//! Whatever symbolic links an image holds, and however its processes swap them while we look, a path never leads out:
//! the kernel resolves it with openat2(2) RESOLVE_IN_ROOT, or, where that is missing, we do, a name at a time. What is
//! made is made relative to a descriptor of its parent.

mod walk;

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dev, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use walk::Make;

/// How often a resolution that raced with a rename is tried again, as openat2(2) advises.
const RETRIES: usize = 64;

/// A directory that paths do not lead out of.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// The root behind this descriptor of a directory.
    pub fn new(fd: OwnedFd) -> Self {
        Root { fd }
    }

    /// The root at this path, which is trusted.
    pub fn at(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .map(Root::new)
            .map_err(|e| Error::call(format_args!("open {}", path.display()), e))
    }

    /// Opens what `path` leads to inside the root; a last symbolic link is followed unless `flags` say NOFOLLOW.
    pub fn open(&self, path: &Path, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        self.open_with(path, flags, Mode::empty(), resolve)
    }

    /// Opens a directory (as a path), made if need be along with its parents.
    pub fn make_dir(&self, path: &Path, mode: u32) -> Result<OwnedFd> {
        self.dir(path, mode).map_err(|e| Error::call(format_args!("mkdir {}", path.display()), e))
    }

    /// Opens a file or whatever is there (as a path); an empty file is made if there is nothing.
    pub fn make_file(&self, path: &Path) -> Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(|e| Error::call(format_args!("open {}", path.display()), e)),
        }
        let made = walk::make(&self.fd, path, Make::File);
        made.map_err(|e| Error::call(format_args!("create {}", path.display()), e))
    }

    /// Makes a device node, or a FIFO.
    pub fn make_node(&self, path: &Path, kind: FileType, mode: u32, dev: Dev) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(mode), dev)
            .map_err(|e| Error::call(format_args!("mknod {}", path.display()), e))
    }

    /// Makes a symbolic link; one that is there already stays.
    pub fn make_symlink(&self, target: &str, path: &Path) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::symlinkat(target, &parent, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(Error::call(format_args!("symlink {target} {}", path.display()), e)),
        }
    }

    /// Removes a file, if there is one.
    pub fn remove_file(&self, path: &Path) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::call(format_args!("unlink {}", path.display()), e)),
        }
    }

    /// What `path` is, without following a last symbolic link; `None` when there is nothing.
    pub fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        match self.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(Error::call(format_args!("open {}", path.display()), e)),
            Ok(fd) => Ok(Some(rustix::fs::fstat(fd)?)),
        }
    }

    /// The directory that holds `path` (made if need be), and the last name.
    fn parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or_else(|| Error::new(format!("{path:?} has no file name")))?;
        Ok((self.make_dir(path.parent().unwrap_or(Path::new("/")), 0o755)?, name))
    }

    fn dir(&self, path: &Path, mode: u32) -> std::result::Result<OwnedFd, Errno> {
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => walk::make(&self.fd, path, Make::Directory(mode)),
            other => other,
        }
    }

    fn open_with(
        &self,
        path: &Path,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> std::result::Result<OwnedFd, Errno> {
        for _ in 0..RETRIES {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => return walk::open(&self.fd, path, flags),
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A path without `.`, `..` and doubled slashes, from `/` on: what Go's `filepath.Clean` makes of it.
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn cleaning() {
        for (from, to) in [("/a/../b//c/.", "/b/c"), ("../../x", "/x"), ("", "/"), ("rel", "/rel")] {
            assert_eq!(clean(Path::new(from)), Path::new(to), "{from}");
        }
    }

    #[test]
    fn links_stay_inside() {
        let (dir, root) = root();
        symlink("/etc", dir.path().join("out")).unwrap();
        root.make_dir(Path::new("/out/a/b"), 0o755).unwrap();
        assert!(!Path::new("/etc/a").exists());
        assert!(dir.path().join("etc/a/b").is_dir());
        symlink("../../../../..", dir.path().join("up")).unwrap();
        root.make_file(Path::new("/up/file")).unwrap();
        assert!(dir.path().join("file").is_file());
    }

    #[test]
    fn a_link_to_nothing_is_followed_inside() {
        let (dir, root) = root();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        symlink("/nowhere/yet", dir.path().join("link")).unwrap();
        symlink("../../../../run/./stub/resolv.conf", dir.path().join("etc/resolv.conf")).unwrap();
        symlink("/etc/round", dir.path().join("etc/round")).unwrap();
        root.make_dir(Path::new("/link/x"), 0o750).unwrap();
        assert!(dir.path().join("nowhere/yet/x").is_dir());
        root.make_file(Path::new("/etc/resolv.conf")).unwrap();
        assert!(dir.path().join("run/stub/resolv.conf").is_file());
        root.make_file(Path::new("/link/other/file")).unwrap();
        assert!(dir.path().join("nowhere/yet/other/file").is_file());
        for path in ["/etc/round", "/etc/round/x", "/etc/resolv.conf/x"] {
            assert!(root.make_dir(Path::new(path), 0o755).is_err(), "{path}");
            assert!(path == "/etc/resolv.conf" || root.make_file(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn nodes_links_and_removal() {
        let (dir, root) = root();
        root.make_symlink("/proc/self/fd", Path::new("/dev/fd")).unwrap();
        root.make_symlink("other", Path::new("/dev/fd")).unwrap();
        assert_eq!(std::fs::read_link(dir.path().join("dev/fd")).unwrap(), Path::new("/proc/self/fd"));
        root.make_node(Path::new("/dev/p"), FileType::Fifo, 0o600, 0).unwrap();
        assert!(root.stat(Path::new("/dev/p")).unwrap().is_some());
        root.remove_file(Path::new("/dev/p")).unwrap();
        root.remove_file(Path::new("/dev/p")).unwrap();
        assert!(root.stat(Path::new("/dev/p")).unwrap().is_none());
    }
}
