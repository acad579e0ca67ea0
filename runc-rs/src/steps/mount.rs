//! Mounts inside the container's root, attached through descriptors: no path is resolved twice.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, OFlags, fstat, fstatfs};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use sys::mount::{MountAttr, RDONLY};

use super::{Context, cgroup_mount, copy_up};
use crate::error::{Context as _, Error, Result};
use crate::plan::mounts::{Mount, Source, check_proc};
use crate::plan::options::Propagation;
use crate::root::Root;

const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Carries one mount out.
pub fn mount(context: &mut Context<'_>, mount: &Mount) -> Result<()> {
    let what = || {
        let source = match &mount.source {
            Source::Bind { path, .. } => path.display().to_string(),
            Source::Filesystem { fstype, source } => source.clone().unwrap_or_else(|| fstype.clone()),
            Source::Cgroup => "cgroup".to_owned(),
            Source::Remount => String::new(),
        };
        format!("error mounting {source:?} to rootfs at {:?}", mount.destination.display().to_string())
    };
    match &mount.source {
        Source::Bind { path, recursive } => bind(context, mount, path, *recursive),
        Source::Filesystem { fstype, source } => {
            filesystem(context.root()?, mount, fstype, source.as_deref())
        }
        Source::Cgroup => cgroup_mount::mount(context, mount),
        Source::Remount => remount(context.root()?, mount),
    }
    .with_context(what)
}

/// Opens the source of a bind mount as a tree of mounts that is attached nowhere.
pub fn open_source(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags).map_err(|e| Error::call(format_args!("open_tree {}", path.display()), e))
}

fn bind(context: &mut Context<'_>, mount: &Mount, path: &Path, recursive: bool) -> Result<()> {
    let opened = context.trees.iter().position(|(at, _)| *at == mount.destination);
    let tree = match opened {
        Some(index) => context.trees.remove(index).1,
        None => open_source(path, recursive)?,
    };
    let directory = FileType::from_raw_mode(fstat(&tree)?.st_mode) == FileType::Directory;
    let root = context.root()?;
    let target = if directory {
        root.make_dir(&mount.destination, 0o755)?
    } else {
        root.make_file(&mount.destination)?
    };
    let place = place(root, &target)?;
    check_proc(&place, &mount.source)?;
    if place == Path::new("/proc") && fstatfs(&tree)?.f_type != PROC_SUPER_MAGIC {
        return Err(not_proc());
    }
    set_attributes(&tree, mount, mount.options.attr)?;
    attach(&tree, &target, &mount.destination)?;
    set_propagation(&tree, mount)
}

fn not_proc() -> Error {
    Error::new("\"/proc\" cannot be mounted because it is not of type proc")
}

/// Where a mount point lies within the root: an image's symlinks may lead elsewhere than its path says (CVE-2019-16884).
fn place(root: &Root, target: &OwnedFd) -> Result<PathBuf> {
    let link = |fd: std::os::fd::BorrowedFd<'_>| {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        std::fs::read_link(&path).map_err(|e| Error::call(format_args!("readlink {path}"), e))
    };
    let (root, target) = (link(root.as_fd())?, link(target.as_fd())?);
    let below = target.strip_prefix(&root).map_err(|_| {
        Error::new(format!("mount point {} is not below the root {}", target.display(), root.display()))
    })?;
    Ok(Path::new("/").join(below))
}

/// A new file system.
fn filesystem(root: &Root, mount: &Mount, fstype: &str, source: Option<&str>) -> Result<()> {
    let there = root.stat(&mount.destination)?;
    let mut data = mount.options.data.clone();
    if let Some(stat) = &there {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if matches!(fstype, "proc" | "sysfs") && !directory {
            return Err(Error::new(format!("filesystem {fstype:?} must be mounted on ordinary directory")));
        }
        if fstype == "tmpfs" && directory && !data.iter().any(|word| word.starts_with("mode=")) {
            data.push(format!("mode={:o}", stat.st_mode & 0o7777));
        }
    }
    let target = root.make_dir(&mount.destination, 0o755)?;
    check_proc(&place(root, &target)?, &mount.source)?;
    let made = new_filesystem(fstype, source, &data, &mount.options.superblock, attributes(mount))?;
    if mount.options.recursive_attr != MountAttr::default() {
        setattr(&made, true, mount.options.recursive_attr)?;
    }
    if mount.options.copy_up {
        let from = root
            .open(&mount.destination, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|e| Error::call("open for tmpcopyup", e))?;
        copy_up::copy(from, &made).context("tmpcopyup")?;
    }
    attach(&made, &target, &mount.destination)?;
    set_propagation(&made, mount)
}

/// The flags a new mount has from the start.
fn attributes(mount: &Mount) -> u64 {
    let set = mount.options.attr.set;
    if mount.late_readonly { set & !RDONLY } else { set }
}

/// Makes a file system and a mount of it that is attached nowhere (fsopen(2)).
pub fn new_filesystem(
    fstype: &str,
    source: Option<&str>,
    data: &[String],
    superblock: &[&str],
    attr: u64,
) -> Result<OwnedFd> {
    let fs = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|e| Error::call(format_args!("fsopen {fstype}"), e))?;
    let explain = |call: String, e| explain(&fs, call, e);
    if let Some(source) = source {
        fsconfig_set_string(&fs, "source", source)
            .map_err(|e| explain(format!("fsconfig source={source}"), e))?;
    }
    for word in superblock {
        fsconfig_set_flag(&fs, *word).map_err(|e| explain(format!("fsconfig {word}"), e))?;
    }
    for word in data {
        match word.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&fs, key, value),
            None => fsconfig_set_flag(&fs, word.as_str()),
        }
        .map_err(|e| explain(format!("fsconfig {word}"), e))?;
    }
    fsconfig_create(&fs).map_err(|e| explain(format!("create {fstype}"), e))?;
    // What is given here is a plain set of bits that all fit.
    let attr = MountAttrFlags::from_bits_retain(u32::try_from(attr).unwrap_or(0));
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attr).map_err(|e| explain(format!("fsmount {fstype}"), e))
}

/// The kernel keeps a word of its own about what it did not like.
fn explain(fs: &OwnedFd, call: String, e: rustix::io::Errno) -> Error {
    let mut text = [0; 1024];
    let said = fs.try_clone().map(File::from).and_then(|mut f| f.read(&mut text)).unwrap_or(0);
    let said = String::from_utf8_lossy(&text[..said]);
    let said = said.trim().trim_start_matches("e ");
    if said.is_empty() { Error::call(call, e) } else { Error::call(format_args!("{call}: {said}"), e) }
}

/// Other flags for the mount at the destination.
fn remount(root: &Root, mount: &Mount) -> Result<()> {
    let fd = root.open(&mount.destination, OFlags::PATH).map_err(|e| Error::call("open", e))?;
    set_attributes(&fd, mount, mount.options.attr)?;
    set_propagation(&fd, mount)
}

fn set_attributes(fd: &OwnedFd, mount: &Mount, attr: MountAttr) -> Result<()> {
    let attr = if mount.late_readonly { MountAttr { set: attr.set & !RDONLY, ..attr } } else { attr };
    if attr != MountAttr::default() {
        setattr(fd, false, attr)?;
    }
    if mount.options.recursive_attr != MountAttr::default() {
        setattr(fd, true, mount.options.recursive_attr)?;
    }
    Ok(())
}

fn set_propagation(fd: &OwnedFd, mount: &Mount) -> Result<()> {
    mount.options.propagation.iter().try_for_each(|p| propagate(fd, *p))
}

/// Changes the propagation of the mount behind a descriptor.
pub fn propagate(fd: impl AsFd, propagation: Propagation) -> Result<()> {
    let attr = MountAttr { propagation: propagation.flag, ..MountAttr::default() };
    setattr(fd, propagation.recursive, attr)
}

fn setattr(fd: impl AsFd, recursive: bool, attr: MountAttr) -> Result<()> {
    sys::mount::setattr(fd, recursive, attr).map_err(|e| Error::call("mount_setattr", e))
}

/// Attaches a detached tree of mounts onto what `target` stands for.
pub fn attach(tree: &OwnedFd, target: &OwnedFd, path: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags)
        .map_err(|e| Error::call(format_args!("move_mount to {}", path.display()), e))
}
