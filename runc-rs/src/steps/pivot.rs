//! The container's root: made a mount, and stepped into.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MoveMountFlags, move_mount};

use super::Context;
use super::tree::open_source;
use crate::error::{Context as _, Error, Result};
use crate::plan::options::Propagation;
use crate::root::Root;

const NONE: Option<&str> = None;

/// Cuts the namespace's mounts off from the host's and puts the root's mount in place.
pub fn bind_root(context: &mut Context<'_>, propagation: Propagation) -> Result<()> {
    let mut flags = MsFlags::from_bits_truncate(propagation.flag);
    flags.set(MsFlags::MS_REC, propagation.recursive);
    mount(NONE, "/", NONE, flags, NONE).map_err(|e| Error::call("set propagation of /", e))?;
    if flags.contains(MsFlags::MS_SHARED) {
        make_parent_private(context.rootfs)?;
    }
    let at = || format!("bind root file system {}", context.rootfs.display());
    context.root = Some(Root::new(bind_onto_itself(context.rootfs).with_context(at)?));
    Ok(())
}

/// Makes a directory of the host, by a path that is trusted, a mount.
fn bind_onto_itself(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::call("open", e));
    if sys::mount::has_descriptor_calls() {
        let tree = open_source(path, true)?;
        let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&tree, "", open()?, "", empty).map_err(|e| Error::call("move_mount", e))?;
        return Ok(tree);
    }
    mount(Some(path), path, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .map_err(|e| Error::call("mount", e))?;
    open()
}

/// pivot_root(2) refuses a root below a shared mount. Only a mount's own root can be changed, so go up until one is found.
fn make_parent_private(rootfs: &Path) -> Result<()> {
    for path in rootfs.ancestors() {
        match mount(NONE, path, NONE, MsFlags::MS_PRIVATE, NONE) {
            Err(nix::errno::Errno::EINVAL) => {}
            other => {
                return other.map_err(|e| Error::call(format_args!("make {} private", path.display()), e));
            }
        }
    }
    Err(Error::new(format!("no mount found above {}", rootfs.display())))
}

/// Makes the root the namespace's root and lets go of the host's (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot(context: &mut Context<'_>) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).map_err(|e| Error::call("open /", e))?;
    rustix::process::fchdir(context.root()?).map_err(|e| Error::call("fchdir to the new root", e))?;
    rustix::process::pivot_root(".", ".").map_err(|e| Error::call("pivot_root", e))?;
    rustix::process::fchdir(&old).map_err(|e| Error::call("fchdir to the old root", e))?;
    // What is unmounted here must not be unmounted on the host.
    let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(NONE, ".", NONE, slave, NONE).map_err(|e| Error::call("make the old root a slave", e))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(|e| Error::call("unmount the old root", e))?;
    finish(context)
}

/// Moves the root's mount over `/`, after the host's proc and sysfs mounts are out of reach: their files would show
/// what the container's own hide.
pub fn move_root(context: &mut Context<'_>) -> Result<()> {
    for point in kernel_mounts(&context.procfs()?.read("self/mountinfo")?, context.rootfs) {
        let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
        mount(NONE, point.as_str(), NONE, slave, NONE)
            .map_err(|e| Error::call(format_args!("make {point} a slave"), e))?;
        if umount2(point.as_str(), MntFlags::MNT_DETACH).is_err() {
            mount(Some("tmpfs"), point.as_str(), Some("tmpfs"), MsFlags::empty(), NONE)
                .map_err(|e| Error::call(format_args!("cover {point}"), e))?;
        }
    }
    rustix::process::fchdir(context.root()?).map_err(|e| Error::call("fchdir to the new root", e))?;
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE).map_err(|e| Error::call("move the root to /", e))?;
    rustix::process::chroot(".").map_err(|e| Error::call("chroot", e))?;
    finish(context)
}

/// Mount points of proc and sysfs outside of the container's root, the innermost first (proc_pid_mountinfo(5)).
fn kernel_mounts(mountinfo: &str, rootfs: &Path) -> Vec<String> {
    let one = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?;
        let kind = right.split(' ').next()?;
        (matches!(kind, "proc" | "sysfs") && !Path::new(point).starts_with(rootfs)).then(|| point.to_owned())
    };
    let mut all: Vec<String> = mountinfo.lines().filter_map(one).collect();
    all.sort_by_key(|point| std::cmp::Reverse(point.len()));
    all
}

/// Without a mount namespace there is only chroot(2).
pub fn change_root(context: &mut Context<'_>) -> Result<()> {
    let at = |e| Error::call(format_args!("chroot {}", context.rootfs.display()), e);
    rustix::process::chroot(context.rootfs).map_err(at)?;
    finish(context)
}

fn finish(context: &mut Context<'_>) -> Result<()> {
    rustix::process::chdir("/").map_err(|e| Error::call("chdir /", e))?;
    context.root = Some(Root::at(Path::new("/"))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_mounts_outside_the_root() {
        let info = "1 0 0:1 / /proc rw - proc proc rw\n2 0 0:2 / /sys rw shared:1 - sysfs sysfs rw\n\
                    3 0 0:3 / / rw - ext4 /dev/x rw\n4 0 0:1 / /r/proc rw - proc proc rw\n5 1 0:1 /x /proc/a rw - proc p rw\n";
        assert_eq!(kernel_mounts(info, Path::new("/r")), ["/proc/a", "/proc", "/sys"]);
    }
}
