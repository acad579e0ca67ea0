//! Where mounts are attached, and how: through descriptors alone, so that no path is resolved twice.
//!
//! The kernel's newer mount calls take descriptors. On a kernel without them (or in a sandbox that hides them) mount(2)
//! gets names that stand for descriptors, `self/fd/N` below a procfs that was opened before anything of the container's
//! was mounted.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};
use sys::mount::MountAttr;

use super::legacy;
use super::tree::{self, Tree};
use crate::error::{Context as _, Error, Result};
use crate::plan::options::Propagation;
use crate::procfs::Procfs;
use crate::root::Root;

/// A container's root, and the procfs that names descriptors.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// What mount points lie in.
    pub root: &'a Root,
    /// Names for descriptors.
    pub procfs: &'a Procfs,
}

/// How a mount is to look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look<'a> {
    /// Flags of the mount itself.
    pub attr: MountAttr,
    /// Flags of it and all below it.
    pub recursive: MountAttr,
    /// Changes of propagation, in order.
    pub propagation: &'a [Propagation],
}

impl Look<'_> {
    /// Read-only, and nothing else.
    pub const READONLY: Look<'static> = Look {
        attr: MountAttr { set: sys::mount::RDONLY, clear: 0, propagation: 0 },
        recursive: MountAttr { set: 0, clear: 0, propagation: 0 },
        propagation: &[],
    };
}

impl Site<'_> {
    /// Attaches a tree onto what `target` stands for, which `path` has led to, and gives a descriptor of the mount.
    pub fn attach(&self, tree: Tree, target: &OwnedFd, path: &Path, look: Look<'_>) -> Result<OwnedFd> {
        let mounted = match tree {
            Tree::Detached(fd) => {
                // It never shows up with other flags than those asked for.
                self.change(&fd, look)?;
                move_onto(&fd, target, path)?;
                fd
            }
            Tree::Bind { source, recursive } => {
                legacy::bind(self.procfs, source.as_fd(), target.as_fd(), recursive)
                    .with_context(|| format!("mount to {}", path.display()))?;
                let mounted = self.mounted(target, path)?;
                self.change(&mounted, look)?;
                mounted
            }
            Tree::Filesystem(new) => {
                let fails = || format!("mount {} to {}", new.fstype, path.display());
                legacy::filesystem(self.procfs, &new, target.as_fd()).with_context(fails)?;
                let mounted = self.mounted(target, path)?;
                self.change(&mounted, look)?;
                mounted
            }
        };
        look.propagation.iter().try_for_each(|p| self.propagate(&mounted, *p))?;
        Ok(mounted)
    }

    /// The flags of a mount.
    pub fn change(&self, mount: &OwnedFd, look: Look<'_>) -> Result<()> {
        for (recursive, attr) in [(false, look.attr), (true, look.recursive)] {
            if attr == MountAttr::default() {
                continue;
            }
            if sys::mount::has_descriptor_calls() {
                let set = sys::mount::setattr(mount, recursive, attr);
                set.map_err(|e| Error::call("mount_setattr", e))?;
            } else if recursive {
                return Err(Error::new(
                    "recursive mount options such as \"rro\" need mount_setattr (Linux 5.12)",
                ));
            } else {
                legacy::change(self.procfs, mount.as_fd(), attr).context("remount")?;
            }
        }
        Ok(())
    }

    /// The words that a file system goes by, wherever it is mounted.
    pub fn reconfigure(&self, mount: &OwnedFd, superblock: &[&str], data: &[String]) -> Result<()> {
        if sys::mount::has_descriptor_calls() {
            return tree::reconfigure(mount, superblock, data);
        }
        legacy::reconfigure(self.procfs, mount.as_fd(), superblock, data).context("remount")
    }

    /// The propagation of a mount.
    pub fn propagate(&self, mount: impl AsFd, propagation: Propagation) -> Result<()> {
        if sys::mount::has_descriptor_calls() {
            return propagate_detached(mount, propagation);
        }
        legacy::propagate(self.procfs, mount.as_fd(), propagation).context("set propagation")
    }

    /// Where a mount point lies within the root: an image's symlinks may lead elsewhere than its path says
    /// (CVE-2019-16884).
    pub fn place(&self, target: impl AsFd) -> Result<PathBuf> {
        let (root, target) = (self.link(self.root.as_fd())?, self.link(target.as_fd())?);
        let below = target.strip_prefix(&root).map_err(|_| {
            Error::new(format!("mount point {} is not below the root {}", target.display(), root.display()))
        })?;
        Ok(Path::new("/").join(below))
    }

    fn link(&self, fd: BorrowedFd<'_>) -> Result<PathBuf> {
        self.procfs.link(&format!("self/fd/{}", fd.as_raw_fd()))
    }

    /// What has just been mounted on `target`: `path` leads there now, and to the same place as before (CVE-2021-30465).
    fn mounted(&self, target: &OwnedFd, path: &Path) -> Result<OwnedFd> {
        let mounted = self
            .root
            .open(&crate::root::clean(path), OFlags::PATH)
            .map_err(|e| Error::call(format_args!("open {}", path.display()), e))?;
        if self.place(&mounted)? != self.place(target)? {
            return Err(Error::new(format!("{} was exchanged while it was mounted to", path.display())));
        }
        Ok(mounted)
    }
}

/// The propagation of a mount that is attached nowhere.
pub fn propagate_detached(mount: impl AsFd, propagation: Propagation) -> Result<()> {
    let attr = MountAttr { propagation: propagation.flag, ..MountAttr::default() };
    sys::mount::setattr(mount, propagation.recursive, attr).map_err(|e| Error::call("mount_setattr", e))
}

fn move_onto(tree: &OwnedFd, target: &OwnedFd, path: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    let done = move_mount(tree, "", target, "", flags).map_err(|e| match e {
        // mount(2) tells one from the other, and people are told what to look for by those words.
        Errno::INVAL if is_directory(tree) != is_directory(target) => Errno::NOTDIR,
        other => other,
    });
    done.map_err(|e| Error::call(format_args!("move_mount to {}", path.display()), e))
}

fn is_directory(fd: &OwnedFd) -> bool {
    fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
