//! A /proc that nobody has mounted anything into (CVE-2019-16884, CVE-2025-52881).
//!
//! What is written to /proc decides over security labels, id mappings and sysctls. A container may have covered files of
//! the /proc that paths lead to, so writes go through a procfs instance of our own, or through a copy of the host's
//! mount without anything on top, or at the least through a descriptor that is proven to be a procfs's root.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen, open_tree,
};

use crate::error::{Error, Result};

const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const PROC_ROOT_INO: u64 = 1;
const MAX_READ: u64 = 1 << 20;

/// A verified procfs, as the process id namespace of its opener sees it.
#[derive(Debug)]
pub struct Procfs {
    fd: OwnedFd,
}

impl Procfs {
    /// A procfs of our own where the kernel allows it, else the host's.
    pub fn open() -> Result<Self> {
        let fd = private()
            .or_else(|_| {
                open_tree(CWD, "/proc", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
            })
            .or_else(|_| {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::open("/proc", flags, Mode::empty())
            })
            .map_err(|e| Error::call("open /proc", e))?;
        let magic = rustix::fs::fstatfs(&fd)?.f_type;
        let inode = rustix::fs::fstat(&fd)?.st_ino;
        if magic != PROC_SUPER_MAGIC || inode != PROC_ROOT_INO {
            return Err(Error::new("/proc is not a procfs"));
        }
        Ok(Procfs { fd })
    }

    /// Writes `value` to `path` below /proc, in one write.
    pub fn write(&self, path: &str, value: &[u8]) -> Result<()> {
        let name = || format!("write /proc/{path}");
        let mut file = File::from(self.file(path, OFlags::WRONLY)?);
        file.write_all(value).map_err(|e| Error::call(name(), e))
    }

    /// Whether `path` is there below /proc.
    pub fn has(&self, path: &str) -> bool {
        self.file(path, OFlags::PATH).is_ok()
    }

    /// Reads `path` below /proc.
    pub fn read(&self, path: &str) -> Result<String> {
        let name = || format!("read /proc/{path}");
        let file = File::from(self.file(path, OFlags::RDONLY)?);
        let mut text = String::new();
        file.take(MAX_READ).read_to_string(&mut text).map_err(|e| Error::call(name(), e))?;
        Ok(text)
    }

    /// The mounts of this process up to those of the cgroups in `own` (the text of `self/cgroup`) below `place`.
    pub fn read_cgroup_mounts(&self, own: &str, place: &str) -> Result<String> {
        let file = File::from(self.file("self/mountinfo", OFlags::RDONLY)?);
        sys::mountinfo::up_to_cgroups(file, own, place)
            .map_err(|e| Error::call("read /proc/self/mountinfo", e))
    }

    /// Where the kernel says that a magic link below /proc leads, `self/fd/3` for one. Nothing is followed.
    pub fn link(&self, path: &str) -> Result<PathBuf> {
        rustix::fs::readlinkat(&self.fd, path, Vec::new())
            .map(|text| PathBuf::from(OsStr::from_bytes(text.to_bytes())))
            .map_err(|e| Error::call(format_args!("readlink /proc/{path}"), e))
    }

    /// Opens a directory below /proc, to list it.
    pub fn directory(&self, path: &str) -> Result<OwnedFd> {
        self.file(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn file(&self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        // `self` is a plain symbolic link of procfs; what it must not lead through are magic links and other mounts.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::NOSYS) => self.walk(Path::new(path), flags),
            other => other,
        }
        .map_err(|e| Error::call(format_args!("open /proc/{path}"), e))
    }

    /// The same without openat2(2): a name at a time, each proven to be of this procfs.
    fn walk(&self, path: &Path, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let mount = mount_id(&self.fd);
        let mut directory = rustix::io::fcntl_dupfd_cloexec(&self.fd, 3)?;
        let mut names = names(path)?;
        if let Some(first) = names.first().filter(|name| matches!(name.as_str(), "self" | "thread-self")) {
            // Plain links, that lead to a process's directory.
            let text = rustix::fs::readlinkat(&self.fd, first.as_str(), Vec::new())?;
            names.splice(..1, self::names(Path::new(OsStr::from_bytes(text.to_bytes())))?);
        }
        let last = names.len().saturating_sub(1);
        for (index, name) in names.iter().enumerate() {
            let flags = if index == last { flags } else { OFlags::PATH | OFlags::DIRECTORY };
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            directory = rustix::fs::openat(&directory, name.as_str(), flags, Mode::empty())?;
            let foreign = rustix::fs::fstatfs(&directory)?.f_type != PROC_SUPER_MAGIC;
            if foreign || mount_id(&directory) != mount {
                return Err(Errno::XDEV);
            }
        }
        Ok(directory)
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The parts of a path that goes nowhere but down.
fn names(path: &Path) -> std::result::Result<Vec<String>, Errno> {
    let one = |part: Component<'_>| match part {
        Component::Normal(name) => Ok(name.to_string_lossy().into_owned()),
        _ => Err(Errno::XDEV),
    };
    path.components().map(one).collect()
}

/// Which mount a descriptor is on, where the kernel says so (statx(2), Linux 5.8).
fn mount_id(fd: &OwnedFd) -> Option<u64> {
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    let statx = rustix::fs::statx(fd, "", flags, rustix::fs::StatxFlags::MNT_ID).ok()?;
    (statx.stx_mask & rustix::fs::StatxFlags::MNT_ID.bits() != 0).then_some(statx.stx_mnt_id)
}

fn private() -> std::result::Result<OwnedFd, rustix::io::Errno> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&fs)?;
    let attrs = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_refuses() {
        let proc = Procfs::open().unwrap();
        assert!(proc.read("self/stat").unwrap().starts_with(&std::process::id().to_string()));
        assert!(proc.read("self/root/etc/hostname").is_err(), "magic links are not followed");
        assert!(proc.read("../etc/hostname").is_err());
        assert_eq!(proc.link("self/cwd").unwrap(), std::env::current_dir().unwrap());
        let e = proc.write("sys/kernel/no-such-file", b"1").unwrap_err().to_string();
        assert_eq!(e, "open /proc/sys/kernel/no-such-file: no such file or directory");
    }

    #[test]
    fn a_name_at_a_time() {
        let proc = Procfs::open().unwrap();
        let walk = |path: &str| proc.walk(Path::new(path), OFlags::RDONLY);
        let mut text = String::new();
        File::from(walk("self/stat").unwrap()).read_to_string(&mut text).unwrap();
        assert!(text.starts_with(&std::process::id().to_string()));
        assert!(walk("thread-self/status").is_ok());
        assert_eq!(walk("self/root/etc/passwd").unwrap_err(), Errno::NOTDIR);
        assert_eq!(walk("self/exe").unwrap_err(), Errno::LOOP);
        assert_eq!(walk("../etc/passwd").unwrap_err(), Errno::XDEV);
        assert_eq!(walk("/etc/passwd").unwrap_err(), Errno::XDEV);
    }
}
