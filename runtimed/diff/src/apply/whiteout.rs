//! What a layer removes (`layer.md`, "Whiteouts"). They speak of the layers below: what this layer itself has brought
//! stays, wherever in the stream the whiteout comes.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use errors::{Error, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, chownat, mknodat};

use super::Style;
use super::remove;
use super::unpack::{Unpacker, at};
use crate::archive::Entry;
use crate::target::{is_folder, os, stat};
use crate::{OPAQUE, WHITEOUT};

/// The name that a whiteout removes; `None` when `name` is no whiteout's.
pub(crate) fn removed(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(WHITEOUT).filter(|_| name != OPAQUE)
}

impl Unpacker<'_> {
    /// Removes, or marks removed, `name` in the folder `path`.
    pub(crate) fn white_out(&mut self, path: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        if name.is_empty() || name == b"." || name == b".." {
            return Err(Error::invalid(format!(
                "invalid whiteout name: {:?}",
                String::from_utf8_lossy(&entry.name)
            )));
        }
        let Some(folder) = self.parent_of_removed(path, entry)? else { return Ok(()) };
        let folder = folder.as_fd();
        let found = stat(folder, name).map_err(|error| at(entry, "stat", error))?;
        if let Some(found) = &found {
            if self.is_new(found) {
                return match self.style {
                    Style::Overlay(_) if is_folder(found) => self.hide_below(path, name, entry),
                    _ => Ok(()),
                };
            }
            remove::remove(folder, name).map_err(|error| at(entry, "remove", error))?;
            self.target.forget();
        }
        if let Style::Overlay(_) = self.style {
            let owner = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            mknodat(folder, name, FileType::CharacterDevice, Mode::empty(), 0)
                .and_then(|()| chownat(folder, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW))
                .map_err(|error| at(entry, "mknod", error.into()))?;
            self.note(folder, name, entry)?;
        }
        Ok(())
    }

    /// Hides what lower layers have in the folder `path`, and takes away what is there that this layer did not bring.
    pub(crate) fn make_opaque(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let Some(folder) = self.parent_of_removed(path, entry)? else { return Ok(()) };
        remove::empty(folder.as_fd(), &self.made).map_err(|error| at(entry, "empty", error))?;
        self.target.forget();
        match self.style {
            Style::Plain => Ok(()),
            Style::Overlay(mark) => sys::xattrat::set(folder.as_fd(), os(b""), mark.as_bytes(), b"y")
                .map_err(|error| at(entry, "mark opaque", error.into())),
        }
    }

    /// The folder that something is removed from; `None` when there is nothing that could be: it is not there, or, as
    /// umoci has it, the layer itself put a file in its place.
    fn parent_of_removed(&mut self, path: &[u8], entry: &Entry) -> Result<Option<Rc<OwnedFd>>> {
        match self.target.folder(path) {
            Ok(None) if self.style != Style::Plain => self.parent(path).map(Some),
            Ok(found) => Ok(found),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
            Err(error) => Err(at(entry, "find the folder of", error)),
        }
    }

    /// A folder of this layer that stands for another, removed one: nothing of that may show through.
    pub(crate) fn hide_below(&mut self, path: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let Style::Overlay(mark) = self.style else { return Ok(()) };
        let folder = self.parent(path)?;
        sys::xattrat::set(folder.as_fd(), os(name), mark.as_bytes(), b"y")
            .map_err(|error| at(entry, "mark opaque", error.into()))
    }
}
