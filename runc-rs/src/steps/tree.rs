//! Trees of mounts that are attached nowhere yet; or, on a kernel without such trees, what to mount.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, open_tree,
};

use crate::error::{Context, Error, Result};

/// Something to attach.
#[derive(Debug)]
pub enum Tree {
    /// A tree of mounts (open_tree(2), fsmount(2)).
    Detached(OwnedFd),
    /// What this stands for, by mount(2).
    Bind {
        /// The file or directory.
        source: OwnedFd,
        /// With what is mounted below it.
        recursive: bool,
    },
    /// A new file system, by mount(2).
    Filesystem(New),
}

/// A new file system.
#[derive(Debug, Clone, Default)]
pub struct New {
    /// Its type.
    pub fstype: String,
    /// Its source, as the type understands it.
    pub source: Option<String>,
    /// Words for it.
    pub data: Vec<String>,
    /// Words that are flags of the superblock.
    pub superblock: Vec<&'static str>,
    /// `MOUNT_ATTR_*` of the mount.
    pub attr: u64,
}

impl New {
    /// One of this type, which is also what it calls its source.
    pub fn named(fstype: &str, attr: u64) -> Self {
        New { fstype: fstype.into(), source: Some(fstype.into()), attr, ..New::default() }
    }
}

impl Tree {
    /// What is at a path of the host.
    pub fn at(path: &Path, recursive: bool) -> Result<Self> {
        if sys::mount::has_descriptor_calls() {
            return open_source(path, recursive).map(Tree::Detached);
        }
        let source = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::call(format_args!("open {}", path.display()), e))?;
        Ok(Tree::Bind { source, recursive })
    }

    /// What a descriptor stands for, with what is mounted below it. `path` goes into the error.
    pub fn of(fd: &OwnedFd, path: &Path) -> Result<Self> {
        let at = |e: std::io::Error| Error::call(format_args!("open_tree for {}", path.display()), e);
        if !sys::mount::has_descriptor_calls() {
            return Ok(Tree::Bind { source: fd.try_clone().map_err(at)?, recursive: true });
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH;
        open_tree(fd, "", flags).map(Tree::Detached).map_err(|e| at(e.into()))
    }

    /// A new file system.
    pub fn new(new: New) -> Result<Self> {
        // A flag that mount(2) alone has.
        let older = new.superblock.contains(&"iversion");
        if sys::mount::has_descriptor_calls() && !older {
            return make(&new).map(Tree::Detached);
        }
        Ok(Tree::Filesystem(new))
    }

    /// Whether its root is a directory.
    pub fn is_directory(&self) -> Result<bool> {
        let directory = |fd: &OwnedFd| Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory);
        match self {
            Tree::Detached(fd) | Tree::Bind { source: fd, .. } => directory(fd),
            Tree::Filesystem(_) => Ok(true),
        }
    }

    /// The type of its file system, as statfs(2) has it; `None` for one that is not made yet.
    pub fn magic(&self) -> Result<Option<i64>> {
        match self {
            Tree::Detached(fd) | Tree::Bind { source: fd, .. } => Ok(Some(rustix::fs::fstatfs(fd)?.f_type)),
            Tree::Filesystem(_) => Ok(None),
        }
    }
}

/// Opens the source of a bind mount as a tree that is attached nowhere.
pub fn open_source(path: &Path, recursive: bool) -> Result<OwnedFd> {
    try_open(path, recursive).map_err(|e| Error::call(format_args!("open_tree {}", path.display()), e))
}

/// The same, with the kernel's answer as it is.
pub fn try_open(path: &Path, recursive: bool) -> std::result::Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags)
}

/// Makes a file system and a mount of it that is attached nowhere (fsopen(2)).
fn make(new: &New) -> Result<OwnedFd> {
    let fstype = new.fstype.as_str();
    let fs = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|e| Error::call(format_args!("fsopen {fstype}"), e))?;
    let explain = |call: String, e| explain(&fs, call, e);
    if let Some(source) = &new.source {
        fsconfig_set_string(&fs, "source", source.as_str())
            .map_err(|e| explain(format!("fsconfig source={source}"), e))?;
    }
    configure(&fs, &new.superblock, &new.data)?;
    fsconfig_create(&fs).map_err(|e| explain(format!("create {fstype}"), e))?;
    // What is given here is a plain set of bits that all fit.
    let attr = MountAttrFlags::from_bits_retain(u32::try_from(new.attr).unwrap_or(0));
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attr).map_err(|e| explain(format!("fsmount {fstype}"), e))
}

/// Changes what is named of the file system that is mounted there, and nothing else (fspick(2)).
pub fn reconfigure(mount: &OwnedFd, superblock: &[&str], data: &[String]) -> Result<()> {
    let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
    let fs = fspick(mount, "", flags).map_err(|e| Error::call("fspick", e))?;
    configure(&fs, superblock, data)?;
    fsconfig_reconfigure(&fs).map_err(|e| explain(&fs, "remount".into(), e))
}

/// Tells a file system the words that are for it.
fn configure(fs: &OwnedFd, superblock: &[&str], data: &[String]) -> Result<()> {
    for word in superblock {
        fsconfig_set_flag(fs, *word).map_err(|e| explain(fs, format!("fsconfig {word}"), e))?;
    }
    for word in data {
        match word.split_once('=') {
            Some((key, value)) => fsconfig_set_string(fs, key, value),
            None => fsconfig_set_flag(fs, word.as_str()),
        }
        .map_err(|e| explain(fs, format!("fsconfig {word}"), e))?;
    }
    Ok(())
}

/// The kernel keeps a word of its own about what it did not like.
fn explain(fs: &OwnedFd, call: String, e: Errno) -> Error {
    let mut text = [0; 1024];
    let said = fs.try_clone().context("dup").map(File::from);
    let said = said.map(|mut file| file.read(&mut text).unwrap_or(0)).unwrap_or(0);
    let said = String::from_utf8_lossy(&text[..said]);
    let said = said.trim().trim_start_matches("e ");
    if said.is_empty() { Error::call(call, e) } else { Error::call(format_args!("{call}: {said}"), e) }
}
