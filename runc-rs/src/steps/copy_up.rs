//! `tmpcopyup`: a tmpfs that starts with what the directory below it holds.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, fchmod, fstat, mkdirat, mknodat, openat,
    readlinkat, statat, symlinkat,
};

use crate::error::{Error, Result};

/// More levels than any sane tree has.
const MAX_DEPTH: usize = 64;

/// Copies the directory `from` into the root of the mount `to`.
pub fn copy(from: OwnedFd, to: impl AsFd) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let to = openat(to, ".", flags, Mode::empty())?;
    directory(from, &to, 0)
}

fn directory(from: OwnedFd, to: &OwnedFd, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::new("directories nested too deeply"));
    }
    for entry in Dir::read_from(&from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        one(&from, to, name, &stat, depth)?;
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let stat = fstat(&from)?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(())
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr, stat: &Stat, depth: usize) -> Result<()> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, mode)?;
            let from = openat(from, name, read | OFlags::DIRECTORY, Mode::empty())?;
            directory(from, &openat(to, name, read | OFlags::DIRECTORY, Mode::empty())?, depth + 1)
        }
        FileType::RegularFile => {
            let mut from = File::from(openat(from, name, read, Mode::empty())?);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let to = openat(to, name, flags, mode)?;
            io::copy(&mut from, &mut File::from(to))?;
            Ok(())
        }
        FileType::Symlink => Ok(symlinkat(readlinkat(from, name, Vec::new())?, to, name)?),
        kind => Ok(mknodat(to, name, kind, mode, stat.st_rdev)?),
    }
}
