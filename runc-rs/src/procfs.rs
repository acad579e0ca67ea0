//! A /proc that nobody has mounted anything into (CVE-2019-16884, CVE-2025-52881).
//!
//! What is written to /proc decides over security labels, id mappings and sysctls. A container may have covered files of
//! the /proc that paths lead to, so writes go through a procfs instance of our own, or through a copy of the host's
//! mount without anything on top, or at the least through a descriptor that is proven to be a procfs's root.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
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

    /// Reads `path` below /proc.
    pub fn read(&self, path: &str) -> Result<String> {
        let name = || format!("read /proc/{path}");
        let file = File::from(self.file(path, OFlags::RDONLY)?);
        let mut text = String::new();
        file.take(MAX_READ).read_to_string(&mut text).map_err(|e| Error::call(name(), e))?;
        Ok(text)
    }

    fn file(&self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        // `self` is a plain symbolic link of procfs; what it must not lead through are magic links and other mounts.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
            .map_err(|e| Error::call(format_args!("open /proc/{path}"), e))
    }
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
        let e = proc.write("sys/kernel/no-such-file", b"1").unwrap_err().to_string();
        assert_eq!(e, "open /proc/sys/kernel/no-such-file: no such file or directory");
    }
}
