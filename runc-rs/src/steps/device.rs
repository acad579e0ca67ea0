//! Device nodes and links below /dev.

use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, OFlags, Uid, makedev};
use rustix::io::Errno;

use super::site::{Look, Site};
use super::tree::Tree;
use crate::error::{Error, Result};
use crate::plan::devices::Device;
use crate::root::Root;

/// Makes a device node. One of the same number that is there already will do; anything else is replaced.
pub fn make(root: &Root, device: &Device) -> Result<()> {
    let number = if device.kind == FileType::Fifo { 0 } else { makedev(device.major, device.minor) };
    if let Some(there) = root.stat(&device.path)? {
        if FileType::from_raw_mode(there.st_mode) == device.kind && there.st_rdev == number {
            return Ok(());
        }
        root.remove_file(&device.path)?;
    }
    root.make_node(&device.path, device.kind, device.mode, number)?;
    if (device.uid, device.gid) == (0, 0) {
        return Ok(());
    }
    let at = |e: Errno| Error::call(format_args!("chown {}", device.path.display()), e);
    let fd = root.open(&device.path, OFlags::PATH | OFlags::NOFOLLOW).map_err(at)?;
    let owner = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
    rustix::fs::chownat(&fd, "", owner.0, owner.1, AtFlags::EMPTY_PATH).map_err(at)
}

/// Binds the host's node of the same path.
pub fn bind(site: Site<'_>, device: &Device) -> Result<()> {
    let target = site.root.make_file(&device.path)?;
    let tree = Tree::at(&device.path, false)?;
    site.attach(tree, &target, &device.path, Look::default()).map(drop)
}

/// Makes a link below /dev.
pub fn link(root: &Root, target: &str, path: &Path) -> Result<()> {
    // The kernel may be built without it.
    if target == "/proc/kcore" && !Path::new(target).exists() {
        return Ok(());
    }
    if path == Path::new("/dev/ptmx") {
        root.remove_file(path)?;
    }
    root.make_symlink(target, path)
}
