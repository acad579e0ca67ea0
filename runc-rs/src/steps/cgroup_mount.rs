//! The container's view of its cgroups (config.md, mounts of type `cgroup`).
//!
//! Version 2 is one file system. Version 1 is a tmpfs with a directory for each of the host's hierarchies: mounted anew
//! where the container has a cgroup namespace, which makes its own cgroup the root, else the container's own
//! directories of the host's mounts.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, statfs};
use sys::mount::{MountAttr, NODEV, NOEXEC, NOSUID, RDONLY};

use super::Context;
use super::mount::{attach, new_filesystem, open_source, propagate};
use crate::error::{Error, Result};
use crate::plan::mounts::Mount;
use crate::root::Root;

const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
const HOST: &str = "/sys/fs/cgroup";
const SAFE: u64 = NOSUID | NODEV | NOEXEC;

/// Mounts what the host's version asks for.
pub fn mount(context: &Context<'_>, mount: &Mount) -> Result<()> {
    let unified = statfs(HOST).is_ok_and(|s| s.f_type == CGROUP2_SUPER_MAGIC);
    let root = context.root()?;
    let fd = if unified { version_2(context, root, mount)? } else { version_1(context, root, mount)? };
    mount.options.propagation.iter().try_for_each(|p| propagate(&fd, *p))
}

fn version_2(context: &Context<'_>, root: &Root, mount: &Mount) -> Result<OwnedFd> {
    let target = root.make_dir(&mount.destination, 0o755)?;
    // In a user namespace without a cgroup namespace it cannot be mounted anew; the host's whole tree must not be seen
    // instead (CVE-2023-25809).
    let own = || own_unified(&context.procfs.read("self/cgroup")?);
    let made = new_filesystem("cgroup2", Some("cgroup"), &mount.options.data, &[], mount.options.attr.set)
        .or_else(|_| bound(&own()?, mount.options.attr))?;
    attach(&made, &target, &mount.destination)?;
    Ok(made)
}

/// This process's directory of version 2 (cgroups(7): the line of hierarchy 0).
fn own_unified(own: &str) -> Result<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"));
    let below = path.and_then(|p| Path::new(p).strip_prefix("/").ok());
    below.map(|p| Path::new(HOST).join(p)).ok_or_else(|| Error::new("no cgroup of version 2"))
}

fn bound(path: &Path, attr: MountAttr) -> Result<OwnedFd> {
    let tree = open_source(path, true)?;
    sys::mount::setattr(&tree, false, attr).map_err(|e| Error::call("mount_setattr", e))?;
    Ok(tree)
}

fn version_1(context: &Context<'_>, root: &Root, mount: &Mount) -> Result<OwnedFd> {
    let target = root.make_dir(&mount.destination, 0o755)?;
    let top = new_filesystem("tmpfs", Some("tmpfs"), &["mode=755".into()], &[], SAFE)?;
    attach(&top, &target, &mount.destination)?;
    let own = context.procfs.read("self/cgroup")?;
    for hierarchy in hierarchies(&context.procfs.read("self/mountinfo")?) {
        let at = mount.destination.join(&hierarchy.name);
        let target = root.make_dir(&at, 0o755)?;
        let readonly = mount.options.attr.set & RDONLY;
        let tree = if context.cgroup_namespace {
            new_filesystem("cgroup", Some("cgroup"), &hierarchy.data(), &[], SAFE | readonly)?
        } else {
            bound(&hierarchy.own_directory(&own), MountAttr { set: SAFE | readonly, ..MountAttr::default() })?
        };
        attach(&tree, &target, &at)?;
        for alias in hierarchy.aliases() {
            root.make_symlink(&hierarchy.name, &mount.destination.join(alias))?;
        }
    }
    finish(root, mount)
}

/// Read-only once its directories are there.
fn finish(root: &Root, mount: &Mount) -> Result<OwnedFd> {
    let at = |e: rustix::io::Errno| Error::call(format_args!("open {}", mount.destination.display()), e);
    let fd = root.open(&mount.destination, OFlags::PATH).map_err(at)?;
    sys::mount::setattr(&fd, false, mount.options.attr).map_err(|e| Error::call("mount_setattr", e))?;
    Ok(fd)
}

/// A mounted version 1 hierarchy of the host.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Last part of its mount point, `cpu,cpuacct` or `systemd`.
    name: String,
    /// Its mount point.
    point: PathBuf,
    /// Which of its directories the mount shows.
    root: String,
    /// Its controllers, or `name=...`.
    controllers: Vec<String>,
}

impl Hierarchy {
    fn data(&self) -> Vec<String> {
        self.controllers.clone()
    }

    /// Other names for it: those of its controllers.
    fn aliases(&self) -> impl Iterator<Item = &String> {
        self.controllers.iter().filter(|c| !c.contains('=') && **c != self.name)
    }

    /// This process's directory in it, by /proc/self/cgroup (cgroups(7)).
    fn own_directory(&self, own: &str) -> PathBuf {
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let same = controllers.split(',').any(|c| self.controllers.iter().any(|own| own == c));
            same.then_some(path)
        });
        let path = Path::new(path.unwrap_or("/"));
        let below =
            path.strip_prefix(&self.root).or_else(|_| path.strip_prefix("/")).unwrap_or(Path::new(""));
        self.point.join(below)
    }
}

/// Super block options that are no controllers (proc_pid_mountinfo(5)).
const PLAIN: &[&str] =
    &["rw", "ro", "noprefix", "clone_children", "xattr", "cpuset_v2_mode", "favordynmods", "all", "none"];

fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut all: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (left, right): (Vec<_>, Vec<_>) = (left.split(' ').collect(), right.split(' ').collect());
        let (["cgroup", _, options], [_, _, _, root, point, ..]) = (right.as_slice(), left.as_slice()) else {
            continue;
        };
        if !point.starts_with(HOST) || root.starts_with("/..") {
            continue;
        }
        let options = options.split(',');
        let controllers: Vec<String> = options
            .filter(|o| !PLAIN.contains(o) && !o.starts_with("release_agent="))
            .map(str::to_owned)
            .collect();
        let point = PathBuf::from(point);
        let Some(name) = point.file_name().map(|n| n.to_string_lossy().into_owned()) else { continue };
        if !all.iter().any(|h| h.controllers == controllers) {
            all.push(Hierarchy { name, point, root: (*root).to_owned(), controllers });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
        33 30 0:29 /docker/1 /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        34 30 0:30 / /elsewhere rw - cgroup cgroup rw,pids\n";

    #[test]
    fn hierarchies_of_the_host() {
        let all = hierarchies(INFO);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].data(), ["name=systemd"]);
        assert_eq!(all[0].aliases().count(), 0);
        assert_eq!(all[1].aliases().collect::<Vec<_>>(), ["cpu", "cpuacct"]);
    }

    #[test]
    fn own_directory_of_version_2() {
        assert_eq!(own_unified("1:pids:/x\n0::/a/b\n").unwrap(), Path::new("/sys/fs/cgroup/a/b"));
        assert!(own_unified("1:pids:/x\n").is_err());
    }

    #[test]
    fn own_directories() {
        let all = hierarchies(INFO);
        let own = "4:cpu,cpuacct:/docker/1/c\n1:name=systemd:/a\n0::/\n";
        assert_eq!(all[0].own_directory(own), Path::new("/sys/fs/cgroup/systemd/a"));
        assert_eq!(all[1].own_directory(own), Path::new("/sys/fs/cgroup/cpu,cpuacct/c"));
        assert_eq!(all[1].own_directory(""), Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    }
}
