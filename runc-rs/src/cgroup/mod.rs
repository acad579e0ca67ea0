//! Control groups: where a container's resources are limited, counted, frozen and killed.
//!
//! One trait stands in front of the hierarchies of version 1 ([`v1`]) and of version 2 ([`v2`]); nothing outside this
//! folder knows which one the host runs. Nothing here touches a cgroup outside of the container's own path, except
//! that missing parents are created.

pub(crate) mod device_rules;
mod entrance;
pub mod error;
mod file;
mod hugepages;
pub(crate) mod mounts;
mod pids;
mod rdma;
mod snapshot;
pub mod stats;
mod systemd;
mod tree;
pub(crate) mod v1;
pub(crate) mod v2;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use oci::runtime::LinuxResources;

pub use entrance::Entrance;
pub use error::{Error, Result};
pub use mounts::Hierarchies;
pub use stats::Stats;
pub use systemd::Unit;

/// What `--rootless` says, where it says something.
static ROOTLESS: OnceLock<bool> = OnceLock::new();

/// The signal that no process survives.
const SIGKILL: i32 = Signal::SIGKILL as i32;

/// A container's cgroup, or its set of cgroups on version 1.
///
/// The order a creator keeps: [`create`](Manager::create), [`set`](Manager::set), then either
/// [`dir_fd`](Manager::dir_fd) for `CLONE_INTO_CGROUP` with [`entrances`](Manager::entrances), or [`join`](Manager::join).
pub trait Manager {
    /// Makes the directories (and missing parents) of every mounted controller. Idempotent.
    fn create(&self) -> Result<()>;

    /// Moves a process into the cgroup, on every hierarchy.
    fn join(&self, pid: i32) -> Result<()>;

    /// A descriptor of the cgroup's directory for `clone3(CLONE_INTO_CGROUP)`: `Some` where version 2 is mounted.
    fn dir_fd(&self) -> Result<Option<OwnedFd>>;

    /// The ways by which a new process moves itself in, beside `CLONE_INTO_CGROUP`: one for each hierarchy of version 1.
    fn entrances(&self) -> Result<Vec<Entrance>> {
        Ok(Vec::new())
    }

    /// Applies `resources` to a new container. Devices are denied but for the rules given and runc's default ones; other
    /// limits that are not given are left alone. A limit for a controller that the host does not have is an error that
    /// names the controller.
    fn set(&self, resources: &LinuxResources) -> Result<()>;

    /// Like [`set`](Manager::set), for a container that runs: does not touch device rules.
    fn update(&self, resources: &LinuxResources) -> Result<()>;

    /// Freezes or thaws every process, and returns when the kernel says that it is done.
    fn freeze(&self, frozen: bool) -> Result<()>;

    /// Whether the cgroup is frozen (or freezing). `false` when there is no cgroup.
    fn frozen(&self) -> Result<bool>;

    /// The processes of the cgroup and of every cgroup below it.
    fn pids(&self) -> Result<Vec<i32>>;

    /// Sends `signal` to every process, so that none escapes by forking. No error when none is left;
    /// [`Error::NotExist`] when there is no cgroup.
    fn kill_all(&self, signal: i32) -> Result<()>;

    /// What the controllers have counted.
    fn stats(&self) -> Result<Stats>;

    /// Removes the cgroup and those below it; waits, bounded, for processes that are about to be gone.
    /// No error when it does not exist.
    fn destroy(&self) -> Result<()>;

    /// Where the cgroups are: controller name to directory on version 1, `""` to directory on version 2.
    /// What `state.json` keeps as `cgroup_paths`, and what [`load`] takes.
    fn paths(&self) -> BTreeMap<String, PathBuf>;

    /// Whether the cgroup's directory is there.
    fn exists(&self) -> bool;

    /// The unit of the systemd driver.
    fn unit(&self) -> Option<&Unit> {
        None
    }

    /// Hands a new container's cgroup over to a user, who may then divide it. On version 1 nobody but root does that.
    fn give_to(&self, _uid: u32) -> Result<()> {
        Ok(())
    }

    /// How many processes have been killed for lack of memory; none where that is not counted.
    fn oom_kills(&self) -> Result<u64>;

    /// A source of "a process was killed for lack of memory" notices.
    fn oom_watch(&self) -> Result<Box<dyn OomWatch>>;
}

/// Notices of the kernel's out-of-memory killer for one cgroup.
pub trait OomWatch: AsFd {
    /// Consumes what made the descriptor readable.
    fn read(&mut self) -> Result<OomNotice>;
}

/// What an [`OomWatch`] has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomNotice {
    /// A process was killed (or, with the killer off, waits) for lack of memory.
    Oom,
    /// Something else changed.
    Nothing,
    /// The cgroup is gone; nothing more will come.
    Gone,
}

/// The cgroup of a container that is being created.
///
/// `cgroups_path` is config.json's `linux.cgroupsPath`: an absolute one is taken from the root of the hierarchy, a
/// relative one from this process's own cgroup; without one the container's id is the relative path. With the systemd
/// driver, for which the `annotations` are given, it is `slice:prefix:name`.
pub fn manager(
    cgroups_path: Option<&Path>,
    id: &str,
    systemd: Option<&HashMap<String, String>>,
) -> Result<Box<dyn Manager>> {
    let hierarchies = Hierarchies::read()?;
    let named = cgroups_path.filter(|path| !path.as_os_str().is_empty());
    let lenient = Leniency { rootless: is_rootless(), unnamed: named.is_none() };
    if let Some(annotations) = systemd {
        return Ok(Box::new(systemd::Systemd::new(&hierarchies, named, id, annotations, lenient)?));
    }
    let path = named.unwrap_or(Path::new(id));
    if mounts::clean(path).as_os_str().is_empty() {
        return Err(Error::invalid("linux.cgroupsPath", format!("{path:?} is the root of the hierarchy")));
    }
    if hierarchies.unified_only() {
        Ok(Box::new(v2::V2::new(&hierarchies, path, lenient)?))
    } else {
        Ok(Box::new(v1::V1::new(&hierarchies, path, lenient)?))
    }
}

/// The cgroup of a container that exists, from what [`Manager::paths`] and [`Manager::unit`] said when it was created.
pub fn load(paths: &BTreeMap<String, PathBuf>, unit: &Unit) -> Result<Box<dyn Manager>> {
    let lenient = Leniency { rootless: is_rootless(), unnamed: !unit.systemd };
    let cgroup: Box<dyn Manager> = match paths.get("") {
        Some(dir) if paths.len() == 1 => Box::new(v2::V2::from_dir(None, dir.clone(), lenient)),
        _ => Box::new(v1::V1::from_paths(paths.clone(), lenient)),
    };
    match unit.systemd {
        true => Ok(Box::new(systemd::Systemd::load(unit, cgroup))),
        false => Ok(cgroup),
    }
}

/// What may fail without failing the container, since its user has no say over the host's cgroups.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Leniency {
    /// The user has no privileges on the host.
    rootless: bool,
    /// The user did not ask for a certain cgroup.
    unnamed: bool,
}

impl Leniency {
    /// Whether the container may do without its cgroup, as long as no limit is asked for.
    fn cgroup(self) -> bool {
        self.rootless && self.unnamed
    }

    /// Whether device rules may stay undone: such a user cannot make device nodes either.
    fn devices(self) -> bool {
        self.rootless
    }
}

/// Decides, from the command line, whether refusals of the host's cgroups are borne. Undecided, it goes by this process's
/// privileges.
pub fn bear_refusals(rootless: bool) {
    // There is one command line.
    let _ = ROOTLESS.set(rootless);
}

/// Whether this process is without privileges on the host: no root, or root of a user namespace only.
fn is_rootless() -> bool {
    if let Some(told) = ROOTLESS.get() {
        return *told;
    }
    let maps = || file::read(Path::new("/proc/self"), "uid_map").unwrap_or_default();
    !geteuid().is_root() || !maps_everything(&maps())
}

/// The map of the first user namespace: all 2^32-1 ids to themselves (user_namespaces(7)).
fn maps_everything(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Moves a process into the very cgroup of another, on version 2.
pub fn join_beside(other: i32, pid: i32) -> Result<()> {
    let hierarchies = Hierarchies::read()?;
    let mount = hierarchies.unified().ok_or_else(|| Error::NotExist("no cgroup2 mount".into()))?;
    let of_other = mounts::parse_own(&file::read(Path::new(&format!("/proc/{other}")), "cgroup")?);
    let path = of_other.get("").ok_or_else(|| Error::NotExist(format!("process {other} has no cgroup")))?;
    let below = path.strip_prefix(&mount.root).unwrap_or(path);
    tree::join(&mount.mountpoint.join(mounts::clean(below)), pid)
}

/// Says that limits of kernel memory are not kept: kernels have dropped them, and runc does not set them any more.
#[allow(deprecated, reason = "the field is read only to say that it is ignored")]
pub fn warn_of_kernel_memory(resources: &LinuxResources) {
    let asked = resources.memory().is_some_and(|m| m.kernel().is_some() || m.kernel_tcp().is_some());
    if asked {
        crate::log::warn("Kernel memory settings are ignored and will be removed");
    }
}

/// [`Manager::update`], all of it or nothing: if a limit is refused, those that were set before it are taken back.
pub fn update(manager: &dyn Manager, resources: &LinuxResources) -> Result<()> {
    let before = snapshot::Snapshot::of(manager);
    manager.update(resources).map_err(|error| match before.restore() {
        Ok(()) => error,
        Err(also) => Error::Several(vec![error, also]),
    })
}

/// Refuses a cgroup that somebody else uses or that stands still: a new container would share limits with strangers,
/// or hang. To be asked before [`Manager::create`].
pub fn check_unused(manager: &dyn Manager) -> Result<()> {
    if !manager.exists() {
        return Ok(());
    }
    let count = manager.pids()?.len();
    if count != 0 {
        let reason = format!("container's cgroup is not empty: {count} process(es) found");
        return Err(Error::invalid("linux.cgroupsPath", reason));
    }
    match manager.frozen()? {
        true => Err(Error::invalid("linux.cgroupsPath", "container's cgroup unexpectedly frozen")),
        false => Ok(()),
    }
}

/// Sends a signal to every process; one that is gone is no error.
fn signal_each(pids: &[i32], number: i32) -> Result<()> {
    Error::all(pids.iter().map(|pid| match sys::signal::kill(*pid, number) {
        Err(e) if e.raw_os_error() != Some(Errno::ESRCH as i32) => {
            Err(Error::io(format!("kill({pid}, {number})"), format!("/proc/{pid}"), e))
        }
        _ => Ok(()),
    }))
}

#[cfg(test)]
mod tests;
