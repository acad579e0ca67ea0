//! Whole trees: counted, copied, synced, removed. By descriptor, never through a symlink.

mod copy;
mod remove;
mod usage;

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use errors::{Context, Error, Kind, Result};
use rustix::fs::{Mode, OFlags, RawDir};

pub(crate) use copy::copy;
pub(crate) use remove::remove;
pub(crate) use usage::usage;

/// The deepest tree that is walked: each level keeps a descriptor and some stack. Deeper ones are out of reach for
/// path names (`PATH_MAX`) soon anyway.
const MAX_DEPTH: usize = 1000;

/// Brings the file system that holds `tree` to disk: one call however many files there are.
pub(crate) fn sync(tree: &Path) -> Result<()> {
    let open = File::open(tree).context(|| format!("open {}", tree.display()))?;
    rustix::fs::syncfs(&open).map_err(std::io::Error::from).context(|| format!("syncfs {}", tree.display()))
}

fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(std::io::Error::from)
        .context(|| format!("open {}", path.display()))
}

fn open_folder(parent: BorrowedFd<'_>, name: &OsStr) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Calls `visit` for each name in the folder but `.` and `..`.
fn each_name(
    folder: BorrowedFd<'_>,
    mut visit: impl FnMut(&OsStr) -> std::io::Result<()>,
) -> std::io::Result<()> {
    // An earlier round through the same descriptor left it at the end.
    rustix::fs::seek(folder, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name != c"." && name != c".." {
            visit(OsStr::from_bytes(name.to_bytes()))?;
        }
    }
    Ok(())
}

/// Names an error with the path below the root at which it happened.
fn at(path: &Path, call: &str, error: std::io::Error) -> Error {
    Error::with_source(Kind::of_io(&error), format!("{call} {}", path.display()), error)
}

fn too_deep(path: &Path) -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::QuotaExceeded,
        format!("{} has more than {MAX_DEPTH} folders in each other", path.display()),
    )
}
