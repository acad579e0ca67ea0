//! The tree a layer is unpacked into, reached by descriptor: a name is never more than one component of an open folder.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use errors::{Context, Result};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

/// How many open folders are kept: layers come folder by folder.
const CACHE: usize = 64;
/// How many symlinks are followed in one name (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The tree.
pub(crate) struct Target {
    root: Rc<OwnedFd>,
    folders: HashMap<Vec<u8>, Rc<OwnedFd>>,
}

/// A folder that had to be made on the way to a name.
pub(crate) struct Made {
    /// Its components below the root, all real folders.
    pub(crate) path: Vec<Vec<u8>>,
    /// The folder that holds it.
    pub(crate) parent: Rc<OwnedFd>,
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Target {
    /// Opens the tree.
    pub(crate) fn open(root: &Path) -> Result<Target> {
        let open = rustix::fs::open(root, FOLDER | OFlags::NOFOLLOW, Mode::empty())
            .map_err(std::io::Error::from)
            .context(|| format!("open {}", root.display()))?;
        Ok(Target { root: Rc::new(open), folders: HashMap::new() })
    }

    /// The folder `path` (as [`clean`] has it), through symlinks as they would be seen from inside; `None` when it is
    /// not there.
    pub(crate) fn folder(&mut self, path: &[u8]) -> std::io::Result<Option<Rc<OwnedFd>>> {
        if path.is_empty() {
            return Ok(Some(self.root.clone()));
        }
        if let Some(found) = self.folders.get(path) {
            return Ok(Some(found.clone()));
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let opened = loop {
            match openat2(&*self.root, path, FOLDER, Mode::empty(), resolve) {
                // A rename somewhere on the system got in the way of the check.
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => break done,
            }
        };
        match opened {
            Ok(folder) => Ok(Some(self.keep(path, folder))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The folder that holds `path`, if that is still the folder `known`. Something later in a layer may have taken the place
    /// of it or of one that it is in: a file, or a symlink that leads nowhere, in circles, or to another folder.
    pub(crate) fn holder_of(&mut self, path: &[u8], known: Inode) -> std::io::Result<Option<Rc<OwnedFd>>> {
        let (folder, name) = split(path);
        let folder = match self.folder(folder) {
            Err(error) if is_no_folder(&error) => return Ok(None),
            found => found?,
        };
        let Some(folder) = folder else { return Ok(None) };
        let found = stat(folder.as_fd(), name)?;
        Ok(found.filter(|found| is_folder(found) && inode(found) == known).map(|_| folder))
    }

    /// The folder `path`, made if need be: what is missing on the way gets mode 0755. `made` is told of each.
    pub(crate) fn make_folder(
        &mut self,
        path: &[u8],
        made: impl FnMut(Made) -> std::io::Result<()>,
    ) -> std::io::Result<Rc<OwnedFd>> {
        if let Some(found) = self.folder(path)? {
            return Ok(found);
        }
        let folder = Walk::new(self.root.clone()).make(path, made)?;
        self.folders.insert(path.to_vec(), folder.clone());
        Ok(folder)
    }

    fn keep(&mut self, path: &[u8], folder: OwnedFd) -> Rc<OwnedFd> {
        if self.folders.len() >= CACHE {
            self.folders.clear();
        }
        let folder = Rc::new(folder);
        self.folders.insert(path.to_vec(), folder.clone());
        folder
    }

    /// Forgets which name leads where: a folder or a symlink was taken away.
    pub(crate) fn forget(&mut self) {
        self.folders.clear();
    }
}

/// A path followed component by component, in user space: the kernel does not make what is missing.
struct Walk {
    root: Rc<OwnedFd>,
    /// The real folders from the root to here.
    at: Vec<(Vec<u8>, Rc<OwnedFd>)>,
    links: usize,
}

impl Walk {
    fn new(root: Rc<OwnedFd>) -> Walk {
        Walk { root, at: Vec::new(), links: 0 }
    }

    fn here(&self) -> Rc<OwnedFd> {
        self.at.last().map_or_else(|| self.root.clone(), |(_, folder)| folder.clone())
    }

    fn make(
        mut self,
        path: &[u8],
        mut made: impl FnMut(Made) -> std::io::Result<()>,
    ) -> std::io::Result<Rc<OwnedFd>> {
        // Components still to go, the next one last.
        let mut todo = reversed(path);
        while let Some(name) = todo.pop() {
            if name == b".." {
                self.at.pop();
                continue;
            }
            let here = self.here();
            match openat(&*here, name.as_slice(), FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(folder) => self.at.push((name, Rc::new(folder))),
                Err(Errno::NOENT) => {
                    mkdirat(&*here, name.as_slice(), Mode::from_raw_mode(0o755))?;
                    let folder = openat(&*here, name.as_slice(), FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
                    chmod(folder.as_fd(), 0o755)?;
                    self.at.push((name, Rc::new(folder)));
                    let path = self.at.iter().map(|(name, _)| name.clone()).collect();
                    made(Made { path, parent: here })?;
                }
                // What it is when it is no folder.
                Err(Errno::NOTDIR | Errno::LOOP) => self.follow(&here, &name, &mut todo)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.here())
    }

    fn follow(&mut self, folder: &OwnedFd, name: &[u8], todo: &mut Vec<Vec<u8>>) -> std::io::Result<()> {
        let link = match readlinkat(folder, name, Vec::new()) {
            Ok(link) => link.into_bytes(),
            Err(Errno::INVAL) => return Err(Errno::NOTDIR.into()),
            Err(error) => return Err(error.into()),
        };
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        if link.starts_with(b"/") {
            self.at.clear();
        }
        todo.extend(reversed(&link));
        Ok(())
    }
}

/// Says the error that something on the way is no folder, nor a symlink that leads to one?
fn is_no_folder(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOTDIR | Errno::LOOP))
}

fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// The name without `.`, `..` and doubled slashes, relative to the root, which `..` does not leave; empty for the root.
pub(crate) fn clean(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in components(name) {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join(&b'/')
}

/// Parts a cleaned name into folder and last component.
pub(crate) fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (b"", name),
    }
}

/// What is under the name itself.
pub(crate) fn stat(folder: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<Option<Stat>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A file whatever its names: device and inode, since one tree may show files of several devices.
pub(crate) type Inode = (u64, u64);

/// Which file was found.
pub(crate) fn inode(found: &Stat) -> Inode {
    (found.st_dev, found.st_ino)
}

/// Sets a mode through any descriptor, also one that only names (`O_PATH`).
pub(crate) fn chmod(file: BorrowedFd<'_>, mode: u32) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}

/// Is it a folder?
pub(crate) fn is_folder(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

/// Overlayfs's mark of a removed name (kernel documentation, "overlayfs", "whiteouts and opaque directories").
pub(crate) fn is_whiteout(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

/// Names in a folder, sorted.
pub(crate) fn names(folder: BorrowedFd<'_>) -> std::io::Result<Vec<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = openat(folder, c".", flags, Mode::empty())?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = rustix::fs::RawDir::new(&open, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// For calls that want an `OsStr`.
pub(crate) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaned_names_stay_inside() {
        for (name, cleaned) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("../../etc", "etc"),
            ("a/../../b", "b"),
            ("a/..", ""),
            (".", ""),
            ("/", ""),
        ] {
            assert_eq!(clean(name.as_bytes()), cleaned.as_bytes(), "{name}");
        }
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
    }
}
