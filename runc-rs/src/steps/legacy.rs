//! mount(2) on descriptors: `self/fd/N`, relative to a procfs that is the working directory meanwhile.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::mount::{MsFlags, mount};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags, fstatvfs};
use sys::mount::{
    ATIME, MountAttr, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME,
};

use super::security;
use super::tree::New;
use crate::error::{Error, Result};
use crate::plan::options::Propagation;
use crate::procfs::Procfs;

const NONE: Option<&str> = None;
/// MS_NOSYMFOLLOW, which the library does not know.
const MS_NOSYMFOLLOW: u64 = 256;

/// Flags by their bit in mount_setattr(2) and in mount(2).
const FLAGS: &[(u64, MsFlags)] = &[
    (RDONLY, MsFlags::MS_RDONLY),
    (NOSUID, MsFlags::MS_NOSUID),
    (NODEV, MsFlags::MS_NODEV),
    (NOEXEC, MsFlags::MS_NOEXEC),
    (NODIRATIME, MsFlags::MS_NODIRATIME),
    (NOSYMFOLLOW, MsFlags::from_bits_retain(MS_NOSYMFOLLOW)),
];

/// Binds what `source` stands for onto what `target` stands for.
pub fn bind(procfs: &Procfs, source: BorrowedFd<'_>, target: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let mut flags = MsFlags::MS_BIND;
    flags.set(MsFlags::MS_REC, recursive);
    within(procfs, || mount(Some(name(source).as_str()), name(target).as_str(), NONE, flags, NONE))
}

/// Mounts a new file system.
pub fn filesystem(procfs: &Procfs, new: &New, target: BorrowedFd<'_>) -> Result<()> {
    let flags = to_flags(new.attr) | superblock(&new.superblock)?;
    let data = joined(&new.data);
    let source = new.source.as_deref();
    within(procfs, || mount(source, name(target).as_str(), Some(new.fstype.as_str()), flags, data.as_deref()))
}

/// Tells a file system that is mounted other words.
pub fn reconfigure(procfs: &Procfs, fd: BorrowedFd<'_>, words: &[&str], data: &[String]) -> Result<()> {
    let now = to_flags(attributes(fstatvfs(fd)?.f_flag));
    let flags = now | superblock(words)? | MsFlags::MS_REMOUNT;
    let data = joined(data);
    within(procfs, || mount(NONE, name(fd).as_str(), NONE, flags, data.as_deref()))
}

/// Words that are flags of the superblock.
fn superblock(words: &[&str]) -> Result<MsFlags> {
    words.iter().try_fold(MsFlags::empty(), |flags, word| {
        Ok(flags
            | match *word {
                "sync" => MsFlags::MS_SYNCHRONOUS,
                "dirsync" => MsFlags::MS_DIRSYNC,
                "mand" => MsFlags::MS_MANDLOCK,
                "lazytime" => MsFlags::MS_LAZYTIME,
                "iversion" => MsFlags::MS_I_VERSION,
                "ro" => MsFlags::MS_RDONLY,
                // What is so when nothing is said.
                "async" | "nomand" | "nolazytime" => MsFlags::empty(),
                other => return Err(Error::new(format!("mount option {other:?} is not known to mount(2)"))),
            })
    })
}

/// Words for the file system, as mount(2) takes them; nothing for none.
fn joined(data: &[String]) -> Option<String> {
    let words: Vec<_> = data.iter().map(|word| security::quoted(word)).collect();
    (!words.is_empty()).then(|| words.join(","))
}

/// Changes flags of a mount; those that are not named stay as they are.
pub fn change(procfs: &Procfs, fd: BorrowedFd<'_>, attr: MountAttr) -> Result<()> {
    let now = attributes(fstatvfs(fd)?.f_flag);
    let wanted = (now & !attr.clear) | attr.set;
    let flags = to_flags(wanted) | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    within(procfs, || mount(NONE, name(fd).as_str(), NONE, flags, NONE))
}

/// Changes the propagation of a mount.
pub fn propagate(procfs: &Procfs, fd: BorrowedFd<'_>, propagation: Propagation) -> Result<()> {
    let mut flags = MsFlags::from_bits_truncate(propagation.flag);
    flags.set(MsFlags::MS_REC, propagation.recursive);
    within(procfs, || mount(NONE, name(fd).as_str(), NONE, flags, NONE))
}

fn name(fd: BorrowedFd<'_>) -> String {
    format!("self/fd/{}", fd.as_raw_fd())
}

/// Does something with the procfs as working directory: what is mounted at /proc may be the container's.
fn within(procfs: &Procfs, call: impl FnOnce() -> nix::Result<()>) -> Result<()> {
    let here = rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::call("open .", e))?;
    rustix::process::fchdir(procfs).map_err(|e| Error::call("fchdir to procfs", e))?;
    let done = call();
    rustix::process::fchdir(&here).map_err(|e| Error::call("fchdir back", e))?;
    done.map_err(|e| Error::call("mount", e))
}

fn to_flags(attr: u64) -> MsFlags {
    let set = FLAGS.iter().filter(|(bit, _)| attr & bit != 0);
    let flags = set.fold(MsFlags::empty(), |all, (_, flag)| all | *flag);
    flags
        | match attr & ATIME {
            NOATIME => MsFlags::MS_NOATIME,
            STRICTATIME => MsFlags::MS_STRICTATIME,
            _ => MsFlags::MS_RELATIME,
        }
}

/// The flags of a mount as statvfs(3) tells them.
fn attributes(flags: StatVfsMountFlags) -> u64 {
    let time = match flags {
        f if f.contains(StatVfsMountFlags::NOATIME) => NOATIME,
        f if f.contains(StatVfsMountFlags::RELATIME) => 0,
        _ => STRICTATIME,
    };
    let other = [
        (StatVfsMountFlags::RDONLY, RDONLY),
        (StatVfsMountFlags::NOSUID, NOSUID),
        (StatVfsMountFlags::NODEV, NODEV),
        (StatVfsMountFlags::NOEXEC, NOEXEC),
        (StatVfsMountFlags::NODIRATIME, NODIRATIME),
        // ST_NOSYMFOLLOW
        (StatVfsMountFlags::from_bits_retain(0x2000), NOSYMFOLLOW),
    ];
    other.iter().filter(|(flag, _)| flags.contains(*flag)).fold(time, |all, (_, bit)| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_there_and_back() {
        for attr in [RDONLY | NOSUID, NODEV | NOEXEC | NODIRATIME | NOATIME, NOSYMFOLLOW | STRICTATIME, 0] {
            let flags = to_flags(attr);
            for (bit, flag) in FLAGS {
                assert_eq!(attr & bit != 0, flags.contains(*flag), "{attr:#x}");
            }
        }
        assert_eq!(attributes(StatVfsMountFlags::RDONLY | StatVfsMountFlags::RELATIME), RDONLY);
        assert_eq!(attributes(StatVfsMountFlags::NOATIME), NOATIME);
        assert_eq!(attributes(StatVfsMountFlags::empty()), STRICTATIME);
    }
}
