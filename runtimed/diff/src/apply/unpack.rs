//! Entry by entry into the tree.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use errors::{Context, Error, Kind as ErrorKind, Result};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, linkat, makedev, mkdirat, mknodat, openat, symlinkat,
};

use sys::writeback::Writeback;

use super::Style;
use super::place::Lower;
use super::{attributes, remove, whiteout};
use crate::archive::{Entry, Extent, Kind, Reader, Time};
use crate::target::{Inode, Target, clean, inode, is_folder, is_whiteout, split, stat};
use crate::{Limits, OPAQUE};

/// Unpacks a layer into a tree.
pub(crate) struct Unpacker<'a> {
    pub(crate) target: Target,
    pub(crate) style: Style,
    /// Inodes that this layer made. One that it removed again may be there still; only this layer makes new ones.
    pub(crate) made: HashSet<Inode>,
    lower: Lower,
    limits: &'a Limits,
    entries: u64,
    bytes: u64,
    /// Folders whose time is set at the end, when nothing is put into them any more.
    folders: Vec<(Vec<u8>, Time)>,
}

impl<'a> Unpacker<'a> {
    /// Opens the tree.
    pub(crate) fn new(
        root: &Path,
        style: Style,
        lower: &[PathBuf],
        limits: &'a Limits,
    ) -> Result<Unpacker<'a>> {
        Ok(Unpacker {
            target: Target::open(root)?,
            style,
            made: HashSet::new(),
            lower: Lower::open(lower)?,
            limits,
            entries: 0,
            bytes: 0,
            folders: Vec::new(),
        })
    }

    /// Unpacks all, to the end of the stream.
    pub(crate) fn unpack(mut self, reader: &mut Reader) -> Result<()> {
        while let Some(entry) = reader.next()? {
            self.count(&entry)?;
            self.entry(&entry, reader)?;
        }
        self.set_times()?;
        reader.drain()
    }

    fn count(&mut self, entry: &Entry) -> Result<()> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("layer has more than the limit of {} entries", self.limits.entries),
            ));
        }
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > self.limits.bytes {
            return Err(crate::pipe::too_big(self.limits));
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, reader: &mut Reader) -> Result<()> {
        let path = clean(&entry.name);
        // The root is the snapshot's, not the layer's: as with containerd.
        if path.is_empty() {
            return Ok(());
        }
        let (folder, name) = split(&path);
        if name == OPAQUE {
            return self.make_opaque(folder, entry);
        }
        if let Some(removed) = whiteout::removed(name) {
            return self.white_out(folder, removed, entry);
        }
        self.place(&path, entry, reader)
    }

    fn place(&mut self, path: &[u8], entry: &Entry, reader: &mut Reader) -> Result<()> {
        let (folder_path, name) = split(path);
        if entry.kind == Kind::HardLink && clean(&entry.link) == path {
            return Ok(());
        }
        let folder = self.parent(folder_path)?;
        let at_name = folder.as_fd();
        let found = stat(at_name, name).map_err(|error| at(entry, "stat", error))?;
        let mut was_removed = false;
        let merges = entry.kind == Kind::Folder && found.as_ref().is_some_and(is_folder);
        if let Some(found) = found.filter(|_| !merges) {
            was_removed = is_whiteout(&found);
            remove::remove(at_name, name).map_err(|error| at(entry, "replace", error))?;
            let kind = FileType::from_raw_mode(found.st_mode);
            if matches!(kind, FileType::Directory | FileType::Symlink) {
                self.target.forget();
            }
        }
        self.make(at_name, name, entry, merges, reader)?;
        self.note(at_name, name, entry)?;
        if entry.kind == Kind::Folder {
            self.folders.push((path.to_vec(), entry.mtime));
            if was_removed {
                self.hide_below(folder_path, name, entry)?;
            }
        }
        Ok(())
    }

    fn make(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        merges: bool,
        reader: &mut Reader,
    ) -> Result<()> {
        let failed = |call: &'static str| move |error: rustix::io::Errno| at(entry, call, error.into());
        let device = |kind, major, minor| {
            mknodat(folder, name, kind, Mode::empty(), makedev(major, minor)).map_err(failed("mknod"))
        };
        match entry.kind {
            Kind::File => return write_file(folder, name, entry, reader),
            // Its attributes are those of the file it is another name for, which has them.
            Kind::HardLink => return self.hard_link(folder, name, entry),
            Kind::Folder if merges => {}
            Kind::Folder => mkdirat(folder, name, Mode::RWXU).map_err(failed("mkdir"))?,
            Kind::Symlink => symlinkat(entry.link.as_slice(), folder, name).map_err(failed("symlink"))?,
            Kind::Fifo => device(FileType::Fifo, 0, 0)?,
            Kind::CharDevice { major, minor } => device(FileType::CharacterDevice, major, minor)?,
            Kind::BlockDevice { major, minor } => device(FileType::BlockDevice, major, minor)?,
        }
        attributes::dress(folder, name, entry).map_err(|error| at(entry, "set attributes of", error))
    }

    fn hard_link(&mut self, folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
        let link = clean(&entry.link);
        let (source, file) = split(&link);
        let call = || {
            let (name, link) = (String::from_utf8_lossy(&entry.name), String::from_utf8_lossy(&entry.link));
            format!("link {name:?} to {link:?}")
        };
        if file.is_empty() {
            return Err(Error::invalid(format!("{}: the target is the root", call())));
        }
        let source = self
            .target
            .folder(source)
            .and_then(|found| found.ok_or_else(|| rustix::io::Errno::NOENT.into()))
            .context(call)?;
        linkat(&*source, file, folder, name, AtFlags::empty()).map_err(std::io::Error::from).context(call)
    }

    /// The folder that an entry goes into, made when the layer left it out.
    pub(crate) fn parent(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        let Unpacker { target, lower, made, folders, .. } = self;
        target
            .make_folder(path, |new| {
                lower.dress(&new)?;
                let Some(name) = new.path.last() else { return Ok(()) };
                if let Some(found) = stat(new.parent.as_fd(), name)? {
                    made.insert(inode(&found));
                    let nanoseconds = u32::try_from(found.st_mtime_nsec).unwrap_or(0);
                    folders.push((new.path.join(&b'/'), Time { seconds: found.st_mtime as _, nanoseconds }));
                }
                Ok(())
            })
            .context(|| format!("make the folder {:?} of the layer", String::from_utf8_lossy(path)))
    }

    /// Is it something this layer made?
    pub(crate) fn is_new(&self, found: &Stat) -> bool {
        self.made.contains(&inode(found))
    }

    /// Remembers that this layer made it.
    pub(crate) fn note(&mut self, folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
        if let Some(found) = stat(folder, name).map_err(|error| at(entry, "stat", error))? {
            self.made.insert(inode(&found));
        }
        Ok(())
    }

    fn set_times(&mut self) -> Result<()> {
        for (path, time) in std::mem::take(&mut self.folders) {
            let (folder, name) = split(&path);
            let call = || format!("set the time of {:?}", String::from_utf8_lossy(&path));
            let Some(folder) = self.target.folder(folder).context(call)? else { continue };
            // A later entry may have replaced it.
            if !stat(folder.as_fd(), name).context(call)?.as_ref().is_some_and(is_folder) {
                continue;
            }
            let times = attributes::times(time);
            rustix::fs::utimensat(&*folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(std::io::Error::from)
                .context(call)?;
        }
        Ok(())
    }
}

fn write_file(folder: BorrowedFd<'_>, name: &[u8], entry: &Entry, reader: &mut Reader) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| at(entry, "create", error.into()))?;
    let mut file = File::from(file);
    match &entry.sparse {
        None => write_whole(&mut file, entry, reader)?,
        Some(extents) => write_sparse(&mut file, extents, entry, reader)?,
    }
    attributes::dress_file(&file, folder, name, entry).map_err(|error| at(entry, "set attributes of", error))
}

fn write_whole(file: &mut File, entry: &Entry, reader: &mut Reader) -> Result<()> {
    let (mut writeback, mut size) = (Writeback::default(), 0);
    reader.data(|bytes| {
        file.write_all(bytes).map_err(|error| at(entry, "write", error))?;
        size += bytes.len() as u64;
        writeback.grown(file.as_fd(), size);
        Ok(())
    })
}

fn write_sparse(file: &mut File, extents: &[Extent], entry: &Entry, reader: &mut Reader) -> Result<()> {
    let failed = |error| at(entry, "write", error);
    for extent in extents {
        let mut offset = extent.offset;
        reader.data_up_to(extent.length, |bytes| {
            file.write_all_at(bytes, offset).map_err(failed)?;
            offset += bytes.len() as u64;
            Ok(())
        })?;
    }
    file.set_len(entry.size).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map(drop).map_err(failed)
}

/// Names the entry at which a call failed.
pub(crate) fn at(entry: &Entry, call: &str, error: std::io::Error) -> Error {
    let name = String::from_utf8_lossy(&entry.name);
    Error::with_source(ErrorKind::of_io(&error), format!("{call} {name:?} of the layer"), error)
}
