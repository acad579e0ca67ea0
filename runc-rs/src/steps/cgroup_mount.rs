//! The container's view of its cgroups (config.md, mounts of type `cgroup`).
//!
//! Version 2 is one file system. Version 1 is a tmpfs with a directory for each of the host's hierarchies: mounted anew
//! where the container has a cgroup namespace, which makes its own cgroup the root, else the container's own
//! directories of the host's mounts.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use sys::mount::{MountAttr, NODEV, NOEXEC, NOSUID, RDONLY};

use super::Context;
use super::mount::checked_place;
use super::security;
use super::site::{Look, Site};
use super::tree::{New, Tree};
use crate::error::{Error, Result};
use crate::plan::mounts::Mount;

const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
const HOST: &str = "/sys/fs/cgroup";
const SAFE: u64 = NOSUID | NODEV | NOEXEC;

/// Mounts what the host's version asks for.
pub fn mount(context: &Context<'_>, mount: &Mount) -> Result<()> {
    let unified = statfs(HOST).is_ok_and(|s| s.f_type == CGROUP2_SUPER_MAGIC);
    let site = context.site()?;
    let target = site.root.make_dir(&mount.destination, 0o755)?;
    // The image's symlinks may lead elsewhere than the destination says.
    checked_place(site, &target, mount)?;
    if unified { version_2(site, &target, mount) } else { version_1(context, site, &target, mount) }
}

fn version_2(site: Site<'_>, target: &OwnedFd, mount: &Mount) -> Result<()> {
    let options = &mount.options;
    let new = New { data: options.data.clone(), ..New::named("cgroup2", options.attr.set) };
    let new = New { source: Some("cgroup".into()), ..new };
    let look = Look { propagation: &options.propagation, ..Look::default() };
    let made = Tree::new(new).and_then(|tree| site.attach(tree, target, &mount.destination, look));
    // In a user namespace without a cgroup namespace it cannot be mounted anew; the host's whole tree must not be seen
    // instead (CVE-2023-25809).
    if made.is_err() {
        let own = own_unified(&site.procfs.read("self/cgroup")?)?;
        let look = Look { attr: options.attr, ..look };
        match Tree::at(&own, true) {
            Ok(tree) => drop(site.attach(tree, target, &mount.destination, look)?),
            Err(_) => hide(site, target, &mount.destination)?,
        }
    }
    Ok(())
}

/// Where not even the own cgroup is within reach, nobody's is to be seen.
fn hide(site: Site<'_>, target: &OwnedFd, path: &Path) -> Result<()> {
    let new = New { data: vec!["size=0".into(), "mode=755".into()], ..New::named("tmpfs", SAFE | RDONLY) };
    site.attach(Tree::new(new)?, target, path, Look::default()).map(drop)
}

/// This process's directory of version 2 (cgroups(7): the line of hierarchy 0).
fn own_unified(own: &str) -> Result<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"));
    let below = path.and_then(|p| Path::new(p).strip_prefix("/").ok());
    below.map(|p| Path::new(HOST).join(p)).ok_or_else(|| Error::new("no cgroup of version 2"))
}

fn version_1(context: &Context<'_>, site: Site<'_>, target: &OwnedFd, mount: &Mount) -> Result<()> {
    let mut data = vec!["mode=755".to_owned()];
    data.extend(security::mount_option(&mount.label));
    let top = New { data, ..New::named("tmpfs", SAFE) };
    let top = site.attach(Tree::new(top)?, target, &mount.destination, Look::default())?;
    let own = site.procfs.read("self/cgroup")?;
    for hierarchy in hierarchies(&site.procfs.read_cgroup_mounts(&own, HOST)?) {
        if !context.cgroup_namespace && hierarchy.is_out_of_sight() {
            continue;
        }
        let at = mount.destination.join(&hierarchy.name);
        let target = site.root.make_dir(&at, 0o755)?;
        let set = SAFE | mount.options.attr.set & RDONLY;
        if context.cgroup_namespace {
            let new = New { data: hierarchy.data(), ..New::named("cgroup", set) };
            site.attach(Tree::new(new)?, &target, &at, Look::default())?;
        } else {
            let look = Look { attr: MountAttr { set, ..MountAttr::default() }, ..Look::default() };
            site.attach(Tree::at(&hierarchy.own_directory(&own), true)?, &target, &at, look)?;
        }
        for alias in hierarchy.aliases() {
            site.root.make_symlink(&hierarchy.name, &mount.destination.join(alias))?;
        }
    }
    // Read-only once its directories are there.
    site.change(&top, Look { attr: mount.options.attr, ..Look::default() })?;
    mount.options.propagation.iter().try_for_each(|p| site.propagate(&top, *p))
}

/// The mounted version 1 hierarchies, by the name of their mount points, with their controllers.
pub fn points(mountinfo: &str) -> Vec<(String, Vec<String>)> {
    let all = hierarchies(mountinfo).into_iter().filter(|h| !h.is_out_of_sight());
    all.map(|h| (h.name, h.controllers)).collect()
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
    /// Whether the mount shows what is outside this process's cgroup namespace: of no use to take a directory from. Seen from a
    /// new namespace, the host's all do.
    fn is_out_of_sight(&self) -> bool {
        self.root.starts_with("/..")
    }

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
        if !point.starts_with(HOST) {
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

    /// As a process in a new cgroup namespace sees the host's mounts.
    #[test]
    fn hierarchies_seen_from_below() {
        let line = "33 30 0:29 /../.. /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let all = hierarchies(line);
        assert!(all[0].is_out_of_sight() && all[0].data() == ["pids"]);
        assert!(points(line).is_empty() && points(INFO).len() == 2);
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
