//! Owner, extended attributes, mode, time: in this order, since each may undo the one after it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, openat, utimensat};
use rustix::io::Errno;

use crate::archive::{Entry, Kind, Time};
use crate::is_overlays;
use crate::target::{chmod, os};

/// Gives what is under `name` the entry's attributes. Folders get their time when all is unpacked.
pub(crate) fn dress(folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> std::io::Result<()> {
    let owner = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(folder, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
    set_xattrs(folder, name, entry)?;
    if entry.kind != Kind::Symlink {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        chmod(openat(folder, name, flags, Mode::empty())?.as_fd(), entry.mode)?;
    }
    if entry.kind != Kind::Folder {
        utimensat(folder, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// The same for a regular file that is still open and was created with the entry's mode; says what it is now. A layer
/// has mostly files, and most of those are root's: what fits already is not set again.
pub(crate) fn dress_file(
    file: &std::fs::File,
    folder: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
) -> std::io::Result<Stat> {
    let found = rustix::fs::fstat(file)?;
    if (found.st_uid, found.st_gid) != (entry.uid, entry.gid) {
        rustix::fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    set_xattrs(folder, name, entry)?;
    // Writing and chown(2) take lent rights away, so these are set at the end in any case.
    if found.st_mode & 0o7777 != entry.mode || entry.mode & 0o7000 != 0 {
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
    }
    rustix::fs::futimens(file, &times(entry.mtime))?;
    Ok(found)
}

fn set_xattrs(folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> std::io::Result<()> {
    for (key, value) in &entry.xattrs {
        if is_overlays(key) {
            tracing::warn!(key = %key.escape_ascii(), "ignored an attribute of overlayfs's own in a layer");
            continue;
        }
        match sys::xattrat::set(folder, os(name), key, value) {
            Ok(()) => {}
            // The file system has none of this sort; or user.*, which only files and folders have (xattr(7)).
            Err(Errno::OPNOTSUPP) => warn_ignored(key, name),
            Err(Errno::PERM)
                if key.starts_with(b"user.") && !matches!(entry.kind, Kind::File | Kind::Folder) =>
            {
                warn_ignored(key, name);
            }
            Err(error) => {
                let call = format!("set the attribute {:?}: {error}", key.escape_ascii().to_string());
                return Err(std::io::Error::new(std::io::Error::from(error).kind(), call));
            }
        }
    }
    Ok(())
}

fn warn_ignored(key: &[u8], name: &[u8]) {
    tracing::warn!(key = %key.escape_ascii(), name = %name.escape_ascii(), "ignored an attribute in a layer");
}

/// A time for utimensat(2); one the file system cannot hold, it cuts off itself.
pub(crate) fn times(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
