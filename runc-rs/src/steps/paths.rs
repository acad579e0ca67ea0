//! Read-only and masked paths (config-linux.md).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fstat, major, minor};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};
use sys::mount::MountAttr;

use super::mount::attach;
use crate::error::{Error, Result};
use crate::root::{Root, clean};

const READONLY: MountAttr = MountAttr { set: sys::mount::RDONLY, clear: 0, propagation: 0 };

/// Makes the mount at `path` read-only.
pub fn readonly_mount(root: &Root, path: &Path) -> Result<()> {
    let at = |e: std::io::Error| Error::call(format_args!("make {} read-only", path.display()), e);
    let fd = root.open(path, OFlags::PATH).map_err(|e| at(e.into()))?;
    sys::mount::setattr(&fd, false, READONLY).map_err(at)
}

/// Makes a path read-only by binding it onto itself. One that does not exist needs nothing.
pub fn readonly(root: &Root, path: &Path) -> Result<()> {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    let tree = clone_of(&target, path)?;
    sys::mount::setattr(&tree, false, READONLY)
        .map_err(|e| Error::call(format_args!("make {} read-only", path.display()), e))?;
    attach(&tree, &target, path)
}

/// Hides paths: a file behind /dev/null, a directory behind an empty one.
pub fn mask(root: &Root, paths: &[PathBuf]) -> Result<()> {
    let mut null = None;
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = existing(root, path)? else { continue };
        let kind = FileType::from_raw_mode(fstat(&target)?.st_mode);
        if kind != FileType::Directory {
            if null.is_none() {
                null = Some(null_device(root)?);
            }
            let Some(source) = &null else { continue };
            attach(&clone_of(source, path)?, &target, path)?;
            continue;
        }
        // Directories share one empty file system: it costs a superblock, and a host has many containers.
        match &empty {
            Some(first) => attach(&clone_of(first, path)?, &target, path)?,
            None => {
                let first = empty_directory().map_err(|e| Error::call("make an empty tmpfs", e))?;
                attach(&first, &target, path)?;
                empty = Some(first);
            }
        }
    }
    Ok(())
}

fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>> {
    match root.open(&clean(path), OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(Error::call(format_args!("open {}", path.display()), e)),
    }
}

/// The container's /dev/null, if that is what it is (CVE-2025-31133): an image could have put a link there.
fn null_device(root: &Root) -> Result<OwnedFd> {
    let path = Path::new("/dev/null");
    let fd =
        root.open(path, OFlags::PATH | OFlags::NOFOLLOW).map_err(|e| Error::call("open /dev/null", e))?;
    let stat = fstat(&fd)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    if is_null { Ok(fd) } else { Err(Error::new("/dev/null is not the null device")) }
}

fn empty_directory() -> std::result::Result<OwnedFd, Errno> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "nr_blocks", "1")?;
    fsconfig_set_string(&fs, "nr_inodes", "1")?;
    fsconfig_set_string(&fs, "mode", "0755")?;
    fsconfig_set_flag(&fs, "ro")?;
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
}

fn clone_of(fd: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(fd, "", flags).map_err(|e| Error::call(format_args!("open_tree for {}", path.display()), e))
}
