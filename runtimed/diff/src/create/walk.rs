//! Walks two trees side by side, in order of names, and tells what changed.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use errors::Result;
use rustix::fs::{FileType, Mode, OFlags, Stat, openat};

use super::at;
use super::compare::{Side, is_same};
use super::emit::Emitter;
use crate::WHITEOUT;
use crate::target::{is_folder, is_whiteout, names, os, stat};

/// The deepest tree that is walked: each level keeps two descriptors.
const MAX_DEPTH: usize = 1000;

/// A walk.
pub(super) struct Walk<'a, W: Write> {
    emitter: &'a mut Emitter<W>,
    /// The upper tree is a layer: what is not in it is unchanged, and removals are marks.
    layered: bool,
    /// Where it is, without a slash at either end.
    path: Vec<u8>,
}

impl<'a, W: Write> Walk<'a, W> {
    pub(super) fn new(emitter: &'a mut Emitter<W>, layered: bool) -> Walk<'a, W> {
        Walk { emitter, layered, path: Vec::new() }
    }

    /// Walks all below the two roots.
    pub(super) fn walk(mut self, lower: Option<OwnedFd>, upper: OwnedFd) -> Result<()> {
        self.folder(lower.as_ref().map(|folder| folder.as_fd()), upper.as_fd(), 0)
    }

    fn folder(&mut self, lower: Option<BorrowedFd<'_>>, upper: BorrowedFd<'_>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            let error = std::io::Error::new(
                std::io::ErrorKind::QuotaExceeded,
                format!("more than {MAX_DEPTH} folders in each other"),
            );
            return Err(at(&self.path, "walk", error));
        }
        let list = |folder| names(folder).map_err(|error| at(&self.path, "list", error));
        let mut all: BTreeSet<Vec<u8>> = list(upper)?.into_iter().collect();
        if let Some(lower) = lower.filter(|_| !self.layered) {
            all.extend(list(lower)?);
        }
        for name in all {
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name);
            self.name(&name, lower, upper, depth)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn name(
        &mut self,
        name: &[u8],
        lower: Option<BorrowedFd<'_>>,
        upper: BorrowedFd<'_>,
        depth: usize,
    ) -> Result<()> {
        if name.starts_with(WHITEOUT) {
            tracing::warn!(path = %self.path.escape_ascii(), "left out of the layer: its name would mean a removal");
            return Ok(());
        }
        let find = |folder| stat(folder, name).map_err(|error| at(&self.path, "stat", error));
        let before = lower.map(find).transpose()?.flatten();
        let after = find(upper)?.filter(|found| !self.layered || !is_whiteout(found));
        match (before, after) {
            (None, None) => Ok(()),
            (Some(_), None) => self.emitter.removed(&self.path),
            (before, Some(after)) if is_folder(&after) => {
                self.both_folders(name, lower, before, upper, &after, depth)
            }
            (before, Some(after)) => self.file(name, lower, before, upper, &after),
        }
    }

    fn file(
        &mut self,
        name: &[u8],
        lower: Option<BorrowedFd<'_>>,
        before: Option<Stat>,
        upper: BorrowedFd<'_>,
        after: &Stat,
    ) -> Result<()> {
        if FileType::from_raw_mode(after.st_mode) == FileType::Socket {
            return Ok(());
        }
        let now = Side { folder: upper, found: after };
        if self.same(name, lower, before.as_ref(), now)? {
            return self.emitter.unchanged(&self.path, name, now);
        }
        self.emitter.changed(&self.path, name, now)
    }

    fn same(
        &self,
        name: &[u8],
        lower: Option<BorrowedFd<'_>>,
        before: Option<&Stat>,
        now: Side<'_>,
    ) -> Result<bool> {
        let (Some(folder), Some(found)) = (lower, before) else { return Ok(false) };
        is_same(name, Side { folder, found }, now).map_err(|error| at(&self.path, "compare", error))
    }

    fn both_folders(
        &mut self,
        name: &[u8],
        lower: Option<BorrowedFd<'_>>,
        before: Option<Stat>,
        upper: BorrowedFd<'_>,
        after: &Stat,
        depth: usize,
    ) -> Result<()> {
        let now = Side { folder: upper, found: after };
        let before = before.filter(is_folder);
        let hides = before.is_some() && self.layered && self.is_opaque(upper, name)?;
        if hides || !self.same(name, lower, before.as_ref(), now)? {
            self.emitter.changed(&self.path, name, now)?;
        }
        if hides {
            self.emitter.opaque(&self.path)?;
        }
        let open = |folder| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(folder, name, flags, Mode::empty()).map_err(|error| at(&self.path, "open", error.into()))
        };
        let below = match lower.filter(|_| before.is_some() && !hides) {
            Some(lower) => Some(open(lower)?),
            None => None,
        };
        let above = open(upper)?;
        self.folder(below.as_ref().map(|folder| folder.as_fd()), above.as_fd(), depth + 1)
    }

    fn is_opaque(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
        for mark in ["trusted.overlay.opaque", "user.overlay.opaque"] {
            let value = sys::xattrat::get(folder, os(name), mark.as_bytes())
                .map_err(|error| at(&self.path, "read the marks of", error.into()))?;
            if value.as_deref() == Some(b"y") {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
