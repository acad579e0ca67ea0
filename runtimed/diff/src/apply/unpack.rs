//! Entry by entry into the tree.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;

use errors::{Context, Error, Kind as ErrorKind, Result};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, linkat, makedev, mkdirat, mknodat, openat, symlinkat,
};

use sys::writeback::Writeback;

use super::Style;
use super::implied::Implied;
use super::{attributes, policy, remove, whiteout};
use crate::archive::{Entry, Extent, Kind, Reader, Time};
use crate::pipe::Stream;
use crate::target::{Inode, Target, clean, inode, is_folder, is_whiteout, split, stat};
use crate::{Limits, OPAQUE};

/// How many bytes the names of folders may have together that are kept to the end: one long name may make a thousand folders, each with a name
/// that is almost as long. Tests have less time for making them.
const MAX_KEPT: usize = if cfg!(test) { 16 << 20 } else { 256 << 20 };

/// A folder whose time is set at the end, when nothing is put into it any more.
struct Dated {
    path: Vec<u8>,
    /// What was made there: the name may come to lead elsewhere.
    inode: Inode,
    time: Time,
}

/// Unpacks a layer into a tree.
pub(crate) struct Unpacker<'a> {
    pub(crate) target: Target,
    pub(crate) style: Style,
    /// Inodes that this layer made. One that it removed again may be there still; only this layer makes new ones.
    pub(crate) made: HashSet<Inode>,
    /// Those among them that it did not name.
    implied: Implied,
    limits: &'a Limits,
    entries: u64,
    bytes: u64,
    folders: Vec<Dated>,
    /// Bytes of the names in `implied` and `folders`.
    kept: usize,
}

impl<'a> Unpacker<'a> {
    /// Opens the tree.
    pub(crate) fn new(root: &Path, style: Style, limits: &'a Limits) -> Result<Unpacker<'a>> {
        Ok(Unpacker {
            target: Target::open(root)?,
            style,
            made: HashSet::new(),
            implied: Implied::default(),
            limits,
            entries: 0,
            bytes: 0,
            folders: Vec::new(),
            kept: 0,
        })
    }

    /// Unpacks all, to the end of the stream. Returns the folders that the layer only implied.
    pub(crate) fn unpack(mut self, reader: &mut Reader<Stream>) -> Result<Implied> {
        while let Some(mut entry) = reader.next()? {
            self.count(&entry)?;
            policy::admit(&mut entry, self.limits)?;
            self.entry(&entry, reader)?;
            if self.kept > MAX_KEPT {
                return Err(Error::new(
                    ErrorKind::ResourceExhausted,
                    format!("the names of the layer's folders have more than {MAX_KEPT} bytes together"),
                ));
            }
        }
        self.set_times()?;
        reader.drain()?;
        Ok(self.implied)
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

    fn entry(&mut self, entry: &Entry, reader: &mut Reader<Stream>) -> Result<()> {
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

    fn place(&mut self, path: &[u8], entry: &Entry, reader: &mut Reader<Stream>) -> Result<()> {
        let (folder_path, name) = split(path);
        if entry.kind == Kind::HardLink && clean(&entry.link) == path {
            return Ok(());
        }
        let folder = self.parent(folder_path)?;
        let at_name = folder.as_fd();
        let mut was_removed = false;
        // Mostly there is nothing under the name yet.
        let mut made = self.make(at_name, name, entry)?;
        if matches!(made, Made::Occupied) {
            was_removed = self.make_room(at_name, name, entry)?;
            made = self.make(at_name, name, entry)?;
        }
        match made {
            Made::File(file) => return self.fill(file, at_name, name, entry, reader),
            // Its attributes are those of the file it is another name for, which has them.
            Made::Other if entry.kind == Kind::HardLink => {}
            Made::Other => attributes::dress(at_name, name, entry)
                .map_err(|error| at(entry, "set attributes of", error))?,
            Made::Occupied => return Err(at(entry, "create", rustix::io::Errno::EXIST.into())),
        }
        let found = self.note(at_name, name, entry)?;
        if entry.kind == Kind::Folder {
            if let Some(inode) = found {
                self.kept += path.len();
                self.folders.push(Dated { path: path.to_vec(), inode, time: entry.mtime });
            }
            if was_removed {
                self.hide_below(folder_path, name, entry)?;
            }
        }
        Ok(())
    }

    /// Takes away what is in the way of `entry`; says whether that was the mark of a removal.
    fn make_room(&mut self, folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<bool> {
        let Some(found) = stat(folder, name).map_err(|error| at(entry, "stat", error))? else {
            return Ok(false);
        };
        remove::remove(folder, name).map_err(|error| at(entry, "replace", error))?;
        if matches!(FileType::from_raw_mode(found.st_mode), FileType::Directory | FileType::Symlink) {
            self.target.forget();
        }
        Ok(is_whiteout(&found))
    }

    /// Makes what the entry is, without attributes and content.
    fn make(&mut self, folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<Made> {
        let device = |kind, major, minor| mknodat(folder, name, kind, Mode::empty(), makedev(major, minor));
        let (call, made) = match entry.kind {
            Kind::File => return create(folder, name, entry),
            Kind::HardLink => return self.hard_link(folder, name, entry),
            Kind::Folder => ("mkdir", mkdirat(folder, name, Mode::RWXU)),
            Kind::Symlink => ("symlink", symlinkat(entry.link.as_slice(), folder, name)),
            Kind::Fifo => ("mknod", device(FileType::Fifo, 0, 0)),
            Kind::CharDevice { major, minor } => ("mknod", device(FileType::CharacterDevice, major, minor)),
            Kind::BlockDevice { major, minor } => ("mknod", device(FileType::BlockDevice, major, minor)),
        };
        match made {
            Ok(()) => Ok(Made::Other),
            Err(rustix::io::Errno::EXIST) => {
                let found = stat(folder, name).map_err(|error| at(entry, "stat", error))?;
                let merges = entry.kind == Kind::Folder && found.as_ref().is_some_and(is_folder);
                Ok(if merges { Made::Other } else { Made::Occupied })
            }
            Err(error) => Err(at(entry, call, error.into())),
        }
    }

    fn fill(
        &mut self,
        mut file: File,
        folder: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        reader: &mut Reader<Stream>,
    ) -> Result<()> {
        match &entry.sparse {
            None => write_whole(&mut file, entry, reader)?,
            Some(extents) => write_sparse(&mut file, extents, entry, reader)?,
        }
        let found = attributes::dress_file(&file, folder, name, entry)
            .map_err(|error| at(entry, "set attributes of", error))?;
        self.made.insert(inode(&found));
        Ok(())
    }

    fn hard_link(&mut self, folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<Made> {
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
        match linkat(&*source, file, folder, name, AtFlags::empty()) {
            Ok(()) => Ok(Made::Other),
            Err(rustix::io::Errno::EXIST) => Ok(Made::Occupied),
            Err(error) => Err(std::io::Error::from(error)).context(call),
        }
    }

    /// The folder that an entry goes into, made when the layer left it out.
    pub(crate) fn parent(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        let Unpacker { target, made, implied, folders, kept, .. } = self;
        target
            .make_folder(path, |new| {
                let Some(name) = new.path.last() else { return Ok(()) };
                if let Some(found) = stat(new.parent.as_fd(), name)? {
                    let path = new.path.join(&b'/');
                    let inode = inode(&found);
                    made.insert(inode);
                    *kept += 2 * path.len();
                    implied.add(inode, path.clone());
                    let nanoseconds = u32::try_from(found.st_mtime_nsec).unwrap_or(0);
                    let time = Time { seconds: found.st_mtime as _, nanoseconds };
                    folders.push(Dated { path, inode, time });
                }
                Ok(())
            })
            .context(|| format!("make the folder {:?} of the layer", String::from_utf8_lossy(path)))
    }

    /// Is it something this layer made?
    pub(crate) fn is_new(&self, found: &Stat) -> bool {
        self.made.contains(&inode(found))
    }

    /// Remembers that this layer made it; says what it is.
    pub(crate) fn note(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
    ) -> Result<Option<Inode>> {
        let found = stat(folder, name).map_err(|error| at(entry, "stat", error))?;
        let found = found.as_ref().map(inode);
        if let Some(found) = found {
            self.made.insert(found);
            self.implied.remove(&found);
        }
        Ok(found)
    }

    fn set_times(&mut self) -> Result<()> {
        for Dated { path, inode, time } in std::mem::take(&mut self.folders) {
            let (_, name) = split(&path);
            let call = || format!("set the time of {:?}", String::from_utf8_lossy(&path));
            let Some(folder) = self.target.holder_of(&path, inode).context(call)? else { continue };
            let times = attributes::times(time);
            rustix::fs::utimensat(&*folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(std::io::Error::from)
                .context(call)?;
        }
        Ok(())
    }
}

/// What came of making an entry.
enum Made {
    /// A file, to be filled.
    File(File),
    /// Anything else, or a folder that was there.
    Other,
    /// Something else has the name.
    Occupied,
}

/// A new file, with the mode that it will have unless the umask or lent rights take some of it away.
fn create(folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<Made> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(folder, name, flags, Mode::from_raw_mode(entry.mode & 0o777)) {
        Ok(file) => Ok(Made::File(File::from(file))),
        Err(rustix::io::Errno::EXIST) => Ok(Made::Occupied),
        Err(error) => Err(at(entry, "create", error.into())),
    }
}

fn write_whole(file: &mut File, entry: &Entry, reader: &mut Reader<Stream>) -> Result<()> {
    let (mut writeback, mut size) = (Writeback::default(), 0);
    reader.data(|bytes| {
        file.write_all(bytes).map_err(|error| at(entry, "write", error))?;
        size += bytes.len() as u64;
        writeback.grown(file.as_fd(), size);
        Ok(())
    })
}

fn write_sparse(
    file: &mut File,
    extents: &[Extent],
    entry: &Entry,
    reader: &mut Reader<Stream>,
) -> Result<()> {
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
