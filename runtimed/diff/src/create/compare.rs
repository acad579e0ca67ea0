//! Is a file what it was? (continuity's rules: attributes and time, and content where the time may have been cut.)

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, Stat, openat, readlinkat};

use super::is_layers;
use crate::target::os;

/// Bytes compared at once.
const BUFFER: usize = 64 << 10;

/// Something in a folder.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) folder: BorrowedFd<'a>,
    pub(super) found: &'a Stat,
}

/// Does `name` stand for the same in both?
pub(super) fn is_same(name: &[u8], a: Side<'_>, b: Side<'_>) -> std::io::Result<bool> {
    let (x, y) = (a.found, b.found);
    let kind = FileType::from_raw_mode(x.st_mode);
    let same = x.st_mode == y.st_mode
        && (x.st_uid, x.st_gid) == (y.st_uid, y.st_gid)
        && (x.st_rdev == y.st_rdev || !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice));
    if !same {
        return Ok(false);
    }
    let same = match kind {
        FileType::Directory => true,
        FileType::Symlink => {
            readlinkat(a.folder, name, Vec::new())? == readlinkat(b.folder, name, Vec::new())?
        }
        FileType::RegularFile => x.st_size == y.st_size && is_same_data(name, a, b)?,
        _ => x.st_mtime == y.st_mtime,
    };
    Ok(same && xattrs(name, a)? == xattrs(name, b)?)
}

/// Archives often keep whole seconds: then the time does not say whether the content is the same.
fn is_same_data(name: &[u8], a: Side<'_>, b: Side<'_>) -> std::io::Result<bool> {
    let (x, y) = (a.found, b.found);
    if x.st_mtime != y.st_mtime {
        return Ok(false);
    }
    if x.st_mtime_nsec != 0 && y.st_mtime_nsec != 0 {
        return Ok(x.st_mtime_nsec == y.st_mtime_nsec);
    }
    let (mut x, mut y) = (open(name, a)?, open(name, b)?);
    let (mut first, mut second) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let (read, other) = (fill(&mut x, &mut first)?, fill(&mut y, &mut second)?);
        if first[..read] != second[..other] {
            return Ok(false);
        }
        if read < BUFFER {
            return Ok(true);
        }
    }
}

fn open(name: &[u8], side: Side<'_>) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(openat(side.folder, name, flags, Mode::empty())?))
}

fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// The attributes that belong to a layer.
pub(super) fn xattrs(
    name: &[u8],
    side: Side<'_>,
) -> std::io::Result<std::collections::BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut all = std::collections::BTreeMap::new();
    for key in sys::xattrat::list(side.folder, os(name))? {
        if !is_layers(&key) {
            continue;
        }
        if let Some(value) = sys::xattrat::get(side.folder, os(name), &key)? {
            all.insert(key, value);
        }
    }
    Ok(all)
}
