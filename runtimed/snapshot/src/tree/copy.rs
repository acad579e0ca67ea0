//! Copies a tree with everything that belongs to it: owners, modes, times, extended attributes, hard links, devices.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use errors::Result;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod, ioctl_ficlone,
    linkat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::{MAX_DEPTH, at, each_name, open_folder, open_root, too_deep};

struct Copier<'a> {
    tree: &'a Path,
    to: BorrowedFd<'a>,
    /// The first name, below the target's root, of each file with several.
    linked: HashMap<(u64, u64), Vec<OsString>>,
    /// Where the walk is, below the root.
    path: Vec<OsString>,
}

/// Copies what is in `from` into the folder `to`, which is there, and the attributes of `from` onto it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let (source, target) = (open_root(from)?, open_root(to)?);
    let mut copier = Copier { tree: from, to: target.as_fd(), linked: HashMap::new(), path: Vec::new() };
    let done = copier.folder(source.as_fd(), target.as_fd()).and_then(|()| {
        let found = rustix::fs::fstat(&source)?;
        let here = OsStr::new("");
        copy_attributes(source.as_fd(), here, target.as_fd(), here)?;
        rustix::fs::fchown(&target, Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)))?;
        fchmod(&target, Mode::from_raw_mode(found.st_mode))?;
        Ok(rustix::fs::futimens(&target, &times(&found))?)
    });
    done.map_err(|error| {
        let place = copier.path.iter().fold(from.to_owned(), |path, name| path.join(name));
        at(&place, "copy", error)
    })
}

impl Copier<'_> {
    fn folder(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> std::io::Result<()> {
        if self.path.len() > MAX_DEPTH {
            return Err(too_deep(self.tree));
        }
        each_name(from, |name| {
            self.path.push(name.to_owned());
            self.entry(from, to, name)?;
            self.path.pop();
            Ok(())
        })
    }

    fn entry(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> std::io::Result<()> {
        let found = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind != FileType::Directory && found.st_nlink > 1 {
            let inode = (found.st_dev, found.st_ino);
            if let Some(first) = self.linked.get(&inode) {
                return self.link(first, to, name);
            }
            self.linked.insert(inode, self.path.clone());
        }
        let mode = Mode::from_raw_mode(found.st_mode);
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU)?;
                let (below, copy) = (open_folder(from, name)?, open_folder(to, name)?);
                self.folder(below.as_fd(), copy.as_fd())?;
            }
            FileType::RegularFile => copy_file(from, to, name)?,
            FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, name)?,
            FileType::Socket => return Ok(()),
            kind => mknodat(to, name, kind, mode, found.st_rdev)?,
        }
        chownat(
            to,
            name,
            Some(Uid::from_raw(found.st_uid)),
            Some(Gid::from_raw(found.st_gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        if kind != FileType::Symlink {
            // Not one that was opened: a device must not be. The target is ours alone, so the name stays what it is.
            rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
        }
        copy_attributes(from, name, to, name)?;
        Ok(utimensat(to, name, &times(&found), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Links `name` to the copy made earlier, reached component by component.
    fn link(&self, first: &[OsString], to: BorrowedFd<'_>, name: &OsStr) -> std::io::Result<()> {
        let Some((last, folders)) = first.split_last() else { return Err(Errno::NOENT.into()) };
        let mut at: OwnedFd = self.to.try_clone_to_owned()?;
        for folder in folders {
            at = open_folder(at.as_fd(), folder)?;
        }
        Ok(linkat(&at, last, to, name, AtFlags::empty())?)
    }
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut source = File::from(openat(from, name, flags, Mode::empty())?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut target = File::from(openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
    if ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    // Takes copy_file_range(2) where it can.
    std::io::copy(&mut source, &mut target).map(drop)
}

fn copy_attributes(
    from: BorrowedFd<'_>,
    name: &OsStr,
    to: BorrowedFd<'_>,
    copy: &OsStr,
) -> std::io::Result<()> {
    for key in sys::xattrat::list(from, name)? {
        let Some(value) = sys::xattrat::get(from, name, &key)? else { continue };
        match sys::xattrat::set(to, copy, &key, &value) {
            // Labels of a security module, and what the file system has no room for, are not ours to insist on.
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::NOSPC) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn times(found: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: found.st_atime as _, tv_nsec: found.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: found.st_mtime as _, tv_nsec: found.st_mtime_nsec as _ },
    }
}
