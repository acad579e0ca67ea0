//! What of a container is not in criu's images: mounts of the host's files, and namespaces that others have made.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat};

use super::options::{external_mount, inherited, joined};
use super::wire::Writer;
use crate::cgroup::Manager;
use crate::error::{Context, Error, Result};
use crate::plan::mounts::Source;
use crate::plan::namespaces::Kind;
use crate::plan::{Plan, Step};
use crate::procfs::Procfs;
use crate::root::Root;
use crate::steps::cgroup_mount;
use crate::steps::site::Site;

/// A mount of something of the host's.
#[derive(Debug, PartialEq, Eq)]
pub struct External {
    /// Where it is in the container.
    pub destination: PathBuf,
    /// What it is on the host.
    pub source: PathBuf,
}

/// All mounts of the host's files, devices among them.
pub fn mounts(plan: &Plan, cgroup: &dyn Manager) -> Result<Vec<External>> {
    let mut all = Vec::new();
    for step in &plan.steps {
        match step {
            Step::Mount(mount) => match &mount.source {
                Source::Bind { path, .. } => {
                    all.push(External { destination: mount.destination.clone(), source: path.clone() });
                }
                // With a cgroup namespace, and on version 2, they are real mounts.
                Source::Cgroup if !plan.namespaces.has(Kind::Cgroup) => {
                    all.extend(cgroups(&mount.destination, cgroup)?);
                }
                _ => {}
            },
            Step::Device(device) | Step::BindDevice(device) => {
                all.push(External { destination: device.path.clone(), source: device.path.clone() });
            }
            _ => {}
        }
    }
    Ok(all)
}

fn cgroups(destination: &Path, cgroup: &dyn Manager) -> Result<Vec<External>> {
    let paths = cgroup.paths();
    let points = cgroup_mount::points(&Procfs::open()?.read("self/mountinfo")?);
    let one = |(name, controllers): (String, Vec<String>)| {
        let source = controllers.iter().find_map(|c| paths.get(c))?.clone();
        Some(External { destination: destination.join(name), source })
    };
    Ok(points.into_iter().filter_map(one).collect())
}

/// Where a mount point really is in the root: criu knows nothing of the image's symbolic links.
fn resolved(site: Site<'_>, path: &Path) -> PathBuf {
    let found = site.root.open(path, OFlags::PATH).ok().and_then(|fd| site.place(&fd).ok());
    found.unwrap_or_else(|| path.to_owned())
}

/// Tells a dump of the mounts that are not its own. `pid` is the container's init.
pub fn of_dump(all: &mut Writer, plan: &Plan, cgroup: &dyn Manager, pid: i32) -> Result<()> {
    let procfs = Procfs::open()?;
    let root = Root::at(Path::new(&format!("/proc/{pid}/root")))?;
    let rootfs = Root::at(&plan.rootfs)?;
    let site = Site { root: &rootfs, procfs: &procfs };
    for mount in mounts(plan, cgroup)? {
        let place = resolved(site, &mount.destination).display().to_string();
        external_mount(all, &place, &place);
    }
    let masked = plan.steps.iter().filter_map(|step| match step {
        Step::MaskedPaths { paths, .. } => Some(paths),
        _ => None,
    });
    for path in masked.flatten() {
        let Ok(there) = root.open(&crate::root::clean(path), OFlags::PATH) else { continue };
        if FileType::from_raw_mode(fstat(&there)?.st_mode) != FileType::Directory {
            external_mount(all, &path.display().to_string(), "/dev/null");
        }
    }
    Ok(())
}

/// Tells a restore what is to be mounted where.
pub fn of_restore(all: &mut Writer, plan: &Plan, cgroup: &dyn Manager) -> Result<()> {
    let procfs = Procfs::open()?;
    let rootfs = Root::at(&plan.rootfs)?;
    let site = Site { root: &rootfs, procfs: &procfs };
    for mount in mounts(plan, cgroup)? {
        let place = resolved(site, &mount.destination).display().to_string();
        // criu takes a symbolic link for what is to be mounted, and cannot mount it.
        let source = std::fs::canonicalize(&mount.source).unwrap_or(mount.source);
        external_mount(all, &place, &source.display().to_string());
    }
    if plan.steps.iter().any(|step| matches!(step, Step::MaskedPaths { .. })) {
        external_mount(all, "/dev/null", "/dev/null");
    }
    Ok(())
}

/// Makes the mount points that the root lacks, as the container's creation did. What lies on a tmpfs is in the images.
pub fn mount_points(plan: &Plan) -> Result<()> {
    let rootfs = Root::at(&plan.rootfs)?;
    let mut below: Vec<(PathBuf, Option<PathBuf>)> = Vec::new();
    for step in &plan.steps {
        let Step::Mount(mount) = step else { continue };
        let above = below.iter().rev().find(|(path, _)| mount.destination.starts_with(path));
        match (above, &mount.source) {
            (Some((_, None)), _) | (_, Source::Cgroup | Source::Remount) => {}
            (above, source) => {
                let (root, path) = match above {
                    // A mount point in a directory of the host's that is mounted there.
                    Some((top, Some(host))) if host.is_dir() => {
                        let rest = mount.destination.strip_prefix(top).unwrap_or(Path::new(""));
                        (&Root::at(host)?, Path::new("/").join(rest))
                    }
                    _ => (&rootfs, mount.destination.clone()),
                };
                let made = match source {
                    Source::Bind { path: host, .. } if !host.is_dir() => root.make_file(&path),
                    _ => root.make_dir(&path, 0o755),
                };
                made.with_context(|| {
                    format!("create criu restore mountpoint for {} mount", mount.destination.display())
                })?;
            }
        }
        match &mount.source {
            Source::Filesystem { fstype, .. } if fstype == "tmpfs" => {
                below.push((mount.destination.clone(), None));
            }
            Source::Bind { path, .. } => below.push((mount.destination.clone(), Some(path.clone()))),
            _ => {}
        }
    }
    Ok(())
}

/// By which name criu knows a namespace that somebody else has made.
fn key(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Net => Some("extRootNetNS"),
        Kind::Pid => Some("extRootPidNS"),
        _ => None,
    }
}

/// Tells a dump of the namespaces that the container has joined.
pub fn namespaces_of_dump(all: &mut Writer, plan: &Plan) -> Result<()> {
    for (kind, path) in &plan.namespaces.join {
        let Some(key) = key(*kind) else { continue };
        let stat = rustix::fs::stat(path).with_context(|| format!("stat {}", path.display()))?;
        all.text(37, &format!("{}[{}]:{key}", kind.file(), stat.st_ino));
    }
    Ok(())
}

/// Tells a restore of the namespaces to join, and gives the descriptors that criu must have from 4 on.
pub fn namespaces_of_restore(all: &mut Writer, plan: &Plan) -> Result<Vec<OwnedFd>> {
    let mut fds = Vec::new();
    for (kind, path) in &plan.namespaces.join {
        match (key(*kind), kind) {
            (Some(key), _) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let fd = rustix::fs::open(path, flags, Mode::empty())
                    .with_context(|| format!("Requested namespace {} does not exist", path.display()))?;
                inherited(all, key, 4 + fds.len() as i32);
                fds.push(fd);
            }
            (None, Kind::Cgroup) => return Err(Error::new("Do not know how to handle namespace NEWCGROUP")),
            (None, kind) => joined(all, kind.file(), &path.display().to_string()),
        }
    }
    Ok(fds)
}
