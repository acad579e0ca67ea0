//! The layers below, asked for the folders that a layer leaves out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use errors::{Context, Result};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, openat2};
use rustix::io::Errno;

use crate::target::{chmod, is_folder, os};

/// The lower folders, open, nearest first.
pub(crate) struct Lower {
    layers: Vec<OwnedFd>,
}

impl Lower {
    /// Opens them.
    pub(crate) fn open(layers: &[PathBuf]) -> Result<Lower> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &PathBuf| {
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(std::io::Error::from)
                .context(|| format!("open {}", path.display()))
        };
        Ok(Lower { layers: layers.iter().map(open).collect::<Result<_>>()? })
    }

    /// The folder `name` in `folder`, which is `path` below the root, was made because the layer has something in it, but
    /// not itself: it shows instead of the one below, so it takes that one's owner, mode, time and attributes.
    pub(crate) fn dress(&self, folder: BorrowedFd<'_>, path: &[u8], name: &[u8]) -> std::io::Result<()> {
        let Some(source) = self.find(path)? else { return Ok(()) };
        let found = rustix::fs::fstat(&source)?;
        if !is_folder(&found) {
            return Ok(());
        }
        let owner = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
        rustix::fs::chownat(folder, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
        copy_attributes(source.as_fd(), folder, name)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(folder, name, flags, Mode::empty())?;
        chmod(target.as_fd(), found.st_mode & 0o7777)?;
        let times = Timestamps {
            last_access: Timespec { tv_sec: found.st_atime as _, tv_nsec: found.st_atime_nsec as _ },
            last_modification: Timespec { tv_sec: found.st_mtime as _, tv_nsec: found.st_mtime_nsec as _ },
        };
        Ok(rustix::fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// What the nearest layer that knows the path has there.
    fn find(&self, path: &[u8]) -> std::io::Result<Option<OwnedFd>> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for layer in &self.layers {
            match openat2(layer, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Ok(found) => return Ok(Some(found)),
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<()> {
    for key in sys::xattrat::list(from, os(b""))? {
        // Overlayfs's own marks say something about the layer they are in.
        if crate::is_overlays(&key) {
            continue;
        }
        let Some(value) = sys::xattrat::get(from, os(b""), &key)? else { continue };
        match sys::xattrat::set(to, os(name), &key, &value) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
