//! Read-only and masked paths (config-linux.md).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fstat, major, minor};
use rustix::io::Errno;

use super::security;
use super::site::{Look, Site};
use super::tree::{New, Tree};
use crate::error::{Context, Error, Result};
use crate::root::{Root, clean};

/// Makes the mount at `path` read-only.
pub fn readonly_mount(site: Site<'_>, path: &Path) -> Result<()> {
    let at = || format!("make {} read-only", path.display());
    let fd = site.root.open(path, OFlags::PATH).with_context(at)?;
    site.change(&fd, Look::READONLY).with_context(at)
}

/// Makes a path read-only by binding it onto itself. One that does not exist needs nothing.
pub fn readonly(site: Site<'_>, path: &Path) -> Result<()> {
    let Some(target) = existing(site.root, path)? else { return Ok(()) };
    site.attach(Tree::of(&target, path)?, &target, path, Look::READONLY)
        .map(drop)
        .with_context(|| format!("make {} read-only", path.display()))
}

/// Hides paths: a file behind /dev/null, a directory behind an empty one, which gets the SELinux label if there is one.
pub fn mask(site: Site<'_>, paths: &[PathBuf], label: &str) -> Result<()> {
    let mut null = None;
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = existing(site.root, path)? else { continue };
        let kind = FileType::from_raw_mode(fstat(&target)?.st_mode);
        if kind != FileType::Directory {
            if null.is_none() {
                null = Some(null_device(site.root)?);
            }
            let Some(source) = &null else { continue };
            site.attach(Tree::of(source, path)?, &target, path, Look::default())?;
            continue;
        }
        // Directories share one empty file system: it costs a superblock, and a host has many containers.
        match &empty {
            Some(first) => drop(site.attach(Tree::of(first, path)?, &target, path, Look::default())?),
            None => empty = Some(site.attach(empty_directory(label)?, &target, path, Look::default())?),
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

fn empty_directory(label: &str) -> Result<Tree> {
    let mut data = ["nr_blocks=1", "nr_inodes=1", "mode=0755"].map(str::to_owned).to_vec();
    data.extend(security::mount_option(label));
    Tree::new(New { data, superblock: vec!["ro"], ..New::named("tmpfs", sys::mount::RDONLY) })
}
