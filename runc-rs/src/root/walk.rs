//! Paths inside a root without openat2(2) (before Linux 5.6): a name at a time.
//!
//! Every directory on the way stays open, and `..` goes back to the one before instead of asking the file system: however
//! directories and links are exchanged meanwhile, no step leads above the root. Links are read and followed by hand, so
//! the magic ones of /proc, which lead anywhere, do nothing.
//!
//! On any kernel this is also how that is made which is not there yet, since openat2(2) stops where a link leads to nothing.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags, fstat, fstatfs, mkdirat, openat, readlinkat};
use rustix::io::Errno;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Opens what `path` leads to, from the directory `root` on and never above it.
pub fn open(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    Walk::new(root, path).go(flags)
}

/// What is made where there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// A directory with these permissions, as are those on the way.
    Directory(u32),
    /// An empty file.
    File,
}

/// The same, as a path, and made if need be along with the directories on the way. A link to nothing is followed, as runc and crun
/// follow it: images have a resolv.conf that leads to where their service manager would put one.
pub fn make(root: &OwnedFd, path: &Path, what: Make) -> Result<OwnedFd, Errno> {
    let directory = if what == Make::File { OFlags::empty() } else { OFlags::DIRECTORY };
    Walk { make: Some(what), ..Walk::new(root, path) }.go(OFlags::PATH | directory)
}

enum Part {
    Up,
    Down(OsString),
}

fn parts(path: &Path) -> Vec<Part> {
    let one = |part: Component<'_>| match part {
        Component::Normal(name) => Some(Part::Down(name.to_owned())),
        Component::ParentDir => Some(Part::Up),
        _ => None,
    };
    path.components().filter_map(one).collect()
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directories from the root down to where we are.
    above: Vec<OwnedFd>,
    /// What is left of the path.
    left: VecDeque<Part>,
    links: usize,
    make: Option<Make>,
}

impl<'a> Walk<'a> {
    fn new(root: &'a OwnedFd, path: &Path) -> Self {
        let left = parts(path).into();
        Walk { root: root.as_fd(), above: Vec::new(), left, links: 0, make: None }
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.above.last().map_or(self.root, AsFd::as_fd)
    }

    fn go(mut self, flags: OFlags) -> Result<OwnedFd, Errno> {
        while let Some(part) = self.left.pop_front() {
            let Part::Down(name) = part else {
                self.above.pop();
                continue;
            };
            let last = self.left.is_empty();
            let flags_of_part = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let found = match (openat(self.here(), &name, flags_of_part, Mode::empty()), self.make) {
                (Err(Errno::NOENT), Some(Make::File)) if last => return self.make_file(&name),
                (Err(Errno::NOENT), Some(what)) => self.make_directory(&name, what)?,
                (other, _) => other?,
            };
            match FileType::from_raw_mode(fstat(&found)?.st_mode) {
                FileType::Symlink if last && flags.contains(OFlags::NOFOLLOW) => {
                    return if flags.contains(OFlags::PATH | OFlags::DIRECTORY) {
                        Err(Errno::NOTDIR)
                    } else if flags.contains(OFlags::PATH) {
                        Ok(found)
                    } else {
                        Err(Errno::LOOP)
                    };
                }
                FileType::Symlink => self.follow(&found)?,
                FileType::Directory => self.above.push(found),
                _ if last => return self.finish(&name, found, flags),
                _ => return Err(Errno::NOTDIR),
            }
        }
        openat(self.here(), ".", flags | OFlags::CLOEXEC, Mode::empty())
    }

    /// Makes a directory here. What another makes of the name meanwhile is taken if it is a directory, too.
    fn make_directory(&self, name: &OsStr, what: Make) -> Result<OwnedFd, Errno> {
        let mode = if let Make::Directory(mode) = what { mode } else { 0o755 };
        match mkdirat(self.here(), name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.here(), name, flags, Mode::empty())
    }

    fn make_file(&self, name: &OsStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        openat(self.here(), name, flags, Mode::from_raw_mode(0o755))
    }

    /// Puts what a link says in front of what is left.
    fn follow(&mut self, link: &OwnedFd) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let text = readlinkat(link, "", Vec::new())?;
        let target = Path::new(OsStr::from_bytes(text.to_bytes()));
        // Those of procfs that are plain, `self` and the like, are relative and name no object.
        let magic = target.is_absolute() || text.to_bytes().contains(&b':');
        if magic && fstatfs(link)?.f_type == PROC_SUPER_MAGIC {
            return Err(Errno::LOOP);
        }
        if target.is_absolute() {
            self.above.clear();
        }
        for part in parts(target).into_iter().rev() {
            self.left.push_front(part);
        }
        Ok(())
    }

    /// Opens the last name as asked for. That it was no link was seen; if it is one now, the answer is an error.
    fn finish(&self, name: &OsStr, found: OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        if flags.contains(OFlags::DIRECTORY) {
            return Err(Errno::NOTDIR);
        }
        if flags.contains(OFlags::PATH) {
            return Ok(found);
        }
        openat(self.here(), name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = fs::File::open(dir.path()).unwrap().into();
        (dir, fd)
    }

    fn text(root: &OwnedFd, path: &str) -> Result<String, Errno> {
        let fd = open(root, Path::new(path), OFlags::RDONLY)?;
        Ok(std::io::read_to_string(fs::File::from(fd)).unwrap())
    }

    #[test]
    fn nothing_leads_above_the_root() {
        let (dir, root) = root();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("secret"), "inside").unwrap();
        symlink("/secret", dir.path().join("a/absolute")).unwrap();
        symlink("../../../../../secret", dir.path().join("a/b/up")).unwrap();
        symlink("..", dir.path().join("a/parent")).unwrap();
        for path in
            ["/secret", "../secret", "a/absolute", "a/b/up", "a/parent/secret", "/a/b/../../../secret"]
        {
            assert_eq!(text(&root, path).as_deref(), Ok("inside"), "{path}");
        }
        symlink("loop", dir.path().join("loop")).unwrap();
        assert_eq!(text(&root, "loop"), Err(Errno::LOOP));
        assert_eq!(text(&root, "secret/x"), Err(Errno::NOTDIR));
        assert_eq!(text(&root, "none/x"), Err(Errno::NOENT));
    }

    #[test]
    fn flags_mean_what_they_do_for_the_kernel() {
        let (dir, root) = root();
        fs::write(dir.path().join("file"), "").unwrap();
        symlink("file", dir.path().join("link")).unwrap();
        let tried = |path: &str, flags| open(&root, Path::new(path), flags);
        let path = OFlags::PATH | OFlags::NOFOLLOW;
        let kind = |fd: OwnedFd| FileType::from_raw_mode(fstat(fd).unwrap().st_mode);
        assert_eq!(kind(tried("link", path).unwrap()), FileType::Symlink);
        assert_eq!(kind(tried("link", OFlags::PATH).unwrap()), FileType::RegularFile);
        assert_eq!(kind(tried("/", OFlags::PATH).unwrap()), FileType::Directory);
        assert_eq!(tried("link", OFlags::RDONLY | OFlags::NOFOLLOW).unwrap_err(), Errno::LOOP);
        assert_eq!(tried("file", OFlags::PATH | OFlags::DIRECTORY).unwrap_err(), Errno::NOTDIR);
        assert_eq!(tried("link", path | OFlags::DIRECTORY).unwrap_err(), Errno::NOTDIR);
    }

    #[test]
    fn magic_links_do_nothing() {
        let root = OwnedFd::from(fs::File::open("/").unwrap());
        let tried = |path: &str| open(&root, Path::new(path), OFlags::PATH);
        assert_eq!(tried("/proc/self/exe").unwrap_err(), Errno::LOOP);
        assert_eq!(tried("/proc/self/root/etc").unwrap_err(), Errno::LOOP);
        assert_eq!(tried("/proc/self/ns/net").unwrap_err(), Errno::LOOP);
        assert!(tried("/proc/self/status").is_ok() && tried("/proc/mounts").is_ok());
    }
}
