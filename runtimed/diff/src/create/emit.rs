//! Writes what changed: parents before what is in them, a file with several names once.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use errors::{Error, Kind as ErrorKind, Result};
use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, Stat, fstat, major, minor, openat, openat2, readlinkat,
};

use super::compare::{Side, xattrs};
use super::{Hashing, at};
use crate::archive::{Entry, Kind, Time, Writer};
use crate::target::{Inode, inode, is_folder, split};
use crate::{OPAQUE, WHITEOUT};

/// Bytes copied at once.
const BUFFER: usize = 256 << 10;

/// Writes a layer.
pub(super) struct Emitter<W: Write> {
    writer: Writer<BufWriter<Hashing<W>>>,
    /// The upper tree, for folders that only hold what changed.
    root: OwnedFd,
    /// Folders that are in the layer.
    folders: HashSet<Vec<u8>>,
    /// Files with several names that are in the layer, by inode.
    linked: HashMap<Inode, Vec<u8>>,
    /// Unchanged names of files that another name may bring into the layer yet.
    waiting: HashMap<Inode, Vec<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl<W: Write> Emitter<W> {
    pub(super) fn new(writer: Writer<BufWriter<Hashing<W>>>, root: OwnedFd) -> Emitter<W> {
        Emitter {
            writer,
            root,
            folders: HashSet::new(),
            linked: HashMap::new(),
            waiting: HashMap::new(),
            buffer: vec![0; BUFFER],
        }
    }

    /// The name is gone.
    pub(super) fn removed(&mut self, path: &[u8]) -> Result<()> {
        let (folder, name) = split(path);
        let mark = [WHITEOUT, name].concat();
        self.mark(folder, &mark)
    }

    /// What lower layers have in the folder is gone.
    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<()> {
        self.mark(path, OPAQUE)
    }

    /// An empty file of no date: the same whoever removes.
    fn mark(&mut self, folder: &[u8], name: &[u8]) -> Result<()> {
        let name = if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() };
        self.parents(&name)?;
        self.writer.entry(&Entry { name, ..Entry::default() })
    }

    /// The name is as it was; if it is another name of a file that changed, the layer must say so.
    pub(super) fn unchanged(&mut self, path: &[u8], name: &[u8], side: Side<'_>) -> Result<()> {
        let Some(inode) = several_names(side.found) else { return Ok(()) };
        match self.linked.get(&inode).cloned() {
            Some(first) => self.link(path, &first, name, side),
            None => {
                self.waiting.entry(inode).or_default().push(path.to_vec());
                Ok(())
            }
        }
    }

    /// The name is new or other than it was.
    pub(super) fn changed(&mut self, path: &[u8], name: &[u8], side: Side<'_>) -> Result<()> {
        let inode = several_names(side.found);
        if let Some(first) = inode.and_then(|inode| self.linked.get(&inode)).cloned() {
            return self.link(path, &first, name, side);
        }
        self.write(path, name, side)?;
        let Some(inode) = inode else { return Ok(()) };
        self.linked.insert(inode, path.to_vec());
        for other in self.waiting.remove(&inode).unwrap_or_default() {
            self.link(&other, path, name, side)?;
        }
        Ok(())
    }

    /// Ends the layer.
    pub(super) fn finish(self) -> Result<Hashing<W>> {
        self.writer.finish()?.into_inner().map_err(|error| {
            let error = error.into_error();
            Error::with_source(ErrorKind::of_io(&error), "write the layer", error)
        })
    }

    fn link(&mut self, path: &[u8], first: &[u8], name: &[u8], side: Side<'_>) -> Result<()> {
        self.parents(path)?;
        let mut entry = describe(path, name, side)?;
        entry.kind = Kind::HardLink;
        entry.link = first.to_vec();
        entry.size = 0;
        self.writer.entry(&entry)
    }

    fn write(&mut self, path: &[u8], name: &[u8], side: Side<'_>) -> Result<()> {
        self.parents(path)?;
        let mut entry = describe(path, name, side)?;
        match entry.kind {
            Kind::File => return self.file(path, name, side.folder, entry),
            Kind::Folder => {
                self.folders.insert(path.to_vec());
            }
            Kind::Symlink => {
                entry.link = readlinkat(side.folder, name, Vec::new())
                    .map_err(|error| at(path, "read the link", error.into()))?
                    .into_bytes();
            }
            _ => {}
        }
        self.writer.entry(&entry)
    }

    fn file(&mut self, path: &[u8], name: &[u8], folder: BorrowedFd<'_>, mut entry: Entry) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            openat(folder, name, flags, Mode::empty()).map_err(|error| at(path, "open", error.into()))?;
        let mut file = File::from(file);
        entry.size = file.metadata().map_err(|error| at(path, "stat", error))?.len();
        self.writer.entry(&entry)?;
        let mut left = entry.size;
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = file.read(&mut self.buffer[..want]).map_err(|error| at(path, "read", error))?;
            if read == 0 {
                return Err(Error::new(
                    ErrorKind::Aborted,
                    format!("{:?} became shorter while it was read", String::from_utf8_lossy(path)),
                ));
            }
            self.writer.write(&self.buffer[..read])?;
            left -= read as u64;
        }
        self.writer.pad(entry.size)
    }

    /// The folders above come first, changed or not: who unpacks the layer need not guess how they look.
    fn parents(&mut self, path: &[u8]) -> Result<()> {
        let slashes: Vec<usize> =
            path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index).collect();
        for slash in slashes {
            let parent = &path[..slash];
            if self.folders.contains(parent) {
                continue;
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let folder = openat2(&self.root, parent, flags, Mode::empty(), resolve)
                .map_err(|error| at(parent, "open", error.into()))?;
            let found = fstat(&folder).map_err(|error| at(parent, "stat", error.into()))?;
            let entry = describe(parent, b"", Side { folder: folder.as_fd(), found: &found })?;
            self.writer.entry(&entry)?;
            self.folders.insert(parent.to_vec());
        }
        Ok(())
    }
}

/// The inode of a file that has other names too.
fn several_names(found: &Stat) -> Option<Inode> {
    (!is_folder(found) && found.st_nlink > 1).then(|| inode(found))
}

/// What there is to say about `name`, but for its content. Times are whole seconds, as with containerd.
fn describe(path: &[u8], name: &[u8], side: Side<'_>) -> Result<Entry> {
    let found = side.found;
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => {
            Kind::CharDevice { major: major(found.st_rdev), minor: minor(found.st_rdev) }
        }
        FileType::BlockDevice => {
            Kind::BlockDevice { major: major(found.st_rdev), minor: minor(found.st_rdev) }
        }
        _ => Kind::File,
    };
    let mut entry_name = path.to_vec();
    if kind == Kind::Folder {
        entry_name.push(b'/');
    }
    Ok(Entry {
        name: entry_name,
        kind,
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        mtime: Time { seconds: found.st_mtime as _, nanoseconds: 0 },
        xattrs: xattrs(name, side).map_err(|error| at(path, "read the attributes of", error))?,
        ..Entry::default()
    })
}
