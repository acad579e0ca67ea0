//! Version 2: one hierarchy, one directory for the container (Documentation/admin-guide/cgroup-v2.rst).

mod cpu;
mod cpuset;
mod create;
mod delegate;
mod devices;
mod freezer;
mod hugetlb;
mod io;
mod memory;
mod oom;
mod passed_over;
mod psi;
mod unified;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags};

pub use cpu::weight_of_shares;
pub use io::io_weight;
pub use memory::swap_of;

use super::mounts::Hierarchies;
use super::{
    Error, Leniency, Manager, OomWatch, Result, SIGKILL, Stats, file, pids, rdma, signal_each, tree,
};
use crate::log;

/// A container's cgroup on version 2.
#[derive(Debug)]
pub struct V2 {
    /// Where the hierarchy is mounted; only needed to make the cgroup.
    mountpoint: Option<PathBuf>,
    dir: PathBuf,
    lenient: Leniency,
}

impl V2 {
    /// The cgroup of a new container. A relative path is taken from the parent of this process's own cgroup: that one
    /// has processes, so that no controller could be enabled below it.
    pub fn new(hierarchies: &Hierarchies, path: &Path, lenient: Leniency) -> Result<Self> {
        let mount = hierarchies.unified().ok_or_else(|| Error::NotExist("no cgroup2 mount".into()))?;
        let path = match (path.is_absolute(), hierarchies.own.get("").and_then(|own| own.parent())) {
            (false, Some(parent)) => {
                let below = parent.strip_prefix(&mount.root).unwrap_or(parent);
                Path::new("/").join(below).join(super::mounts::clean(path))
            }
            _ => path.to_owned(),
        };
        let dir = hierarchies.locate(mount, "", &path)?;
        Ok(Self { mountpoint: Some(mount.mountpoint.clone()), dir, lenient })
    }

    /// The cgroup of a container that exists.
    pub fn from_dir(mountpoint: Option<PathBuf>, dir: PathBuf, lenient: Leniency) -> Self {
        Self { mountpoint, dir, lenient }
    }
}

impl Manager for V2 {
    fn create(&self) -> Result<()> {
        let Some(mountpoint) = &self.mountpoint else { return tree::make(&self.dir) };
        match create::create(mountpoint, &self.dir) {
            Err(e) if self.lenient.cgroup() && e.is_permission() => Ok(()),
            done => done,
        }
    }

    fn join(&self, pid: i32) -> Result<()> {
        match tree::join(&self.dir, pid) {
            Err(e) if self.lenient.cgroup() && (e.is_permission() || e.is_not_found()) => Ok(()),
            done => done,
        }
    }

    fn dir_fd(&self) -> Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&self.dir, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(rustix::io::Errno::NOENT) if self.lenient.cgroup() => Ok(None),
            Err(e) => Err(Error::io("open", &self.dir, e)),
        }
    }

    fn set(&self, resources: &LinuxResources) -> Result<()> {
        if self.lenient.cgroup() && !self.dir.exists() {
            return create::nothing_asked(resources);
        }
        self.update(resources)?;
        match devices::set(&self.dir, resources.devices().as_deref().unwrap_or_default()) {
            // A user namespace may neither make device nodes nor load programs.
            Err(_) if self.lenient.devices() => Ok(()),
            done => done,
        }
    }

    fn update(&self, resources: &LinuxResources) -> Result<()> {
        let dir = &self.dir;
        passed_over::refuse(resources)?;
        for name in passed_over::names(dir, resources) {
            log::warn(format!("linux.resources.{name} is ignored: cgroup v2 has no such limit"));
        }
        set_pids(dir, resources)?;
        memory::set(dir, resources)?;
        io::set(dir, resources)?;
        cpu::set(dir, resources)?;
        cpuset::set(dir, resources)?;
        hugetlb::set(dir, resources)?;
        rdma::set(Some(dir), resources)?;
        // Last: it says with precision what the others could only convert.
        unified::set(dir, resources)
    }

    fn freeze(&self, frozen: bool) -> Result<()> {
        freezer::freeze(&self.dir, frozen)
    }

    fn frozen(&self) -> Result<bool> {
        freezer::frozen(&self.dir)
    }

    fn pids(&self) -> Result<Vec<i32>> {
        Ok(file::optional(tree::pids(&self.dir))?.unwrap_or_default())
    }

    fn kill_all(&self, signal: i32) -> Result<()> {
        if !self.exists() {
            return Err(Error::NotExist(self.dir.display().to_string()));
        }
        if signal == SIGKILL && file::optional(file::write(&self.dir, "cgroup.kill", "1"))?.is_some() {
            return Ok(());
        }
        let was_frozen = self.frozen()?;
        let froze = was_frozen || self.freeze(true).is_ok();
        let sent = self.pids().and_then(|pids| signal_each(&pids, signal));
        if froze && !was_frozen {
            self.freeze(false)?;
        }
        sent
    }

    fn stats(&self) -> Result<Stats> {
        let dir = &self.dir;
        let mut stats = Stats::default();
        match file::optional(pids::stats(dir, &mut stats))? {
            Some(()) => {}
            // The controller is not enabled, so the list is counted.
            None => stats.pids.current = file::read(dir, "cgroup.procs")?.lines().count() as u64,
        }
        memory::stats(dir, &mut stats)?;
        io::stats(dir, &mut stats)?;
        cpu::stats(dir, &mut stats)?;
        hugetlb::stats(dir, &mut stats)?;
        stats.memory.psi = psi::read(dir, "memory.pressure")?;
        stats.blkio.psi = psi::read(dir, "io.pressure")?;
        stats.cpu.psi = psi::read(dir, "cpu.pressure")?;
        Ok(stats)
    }

    fn destroy(&self) -> Result<()> {
        tree::remove(&self.dir)
    }

    fn paths(&self) -> BTreeMap<String, PathBuf> {
        BTreeMap::from([(String::new(), self.dir.clone())])
    }

    fn exists(&self) -> bool {
        self.dir.exists()
    }

    fn give_to(&self, uid: u32) -> Result<()> {
        // Who may not give it away has it already, or has none.
        if self.lenient.rootless { Ok(()) } else { delegate::give_to(&self.dir, uid) }
    }

    fn oom_kills(&self) -> Result<u64> {
        oom::kills(&self.dir).map(Option::unwrap_or_default)
    }

    fn oom_watch(&self) -> Result<Box<dyn OomWatch>> {
        Ok(Box::new(oom::Watch::new(&self.dir)?))
    }
}

/// Writes a limit; where the file is missing, the error names the controller that is not enabled.
fn write_limit(dir: &Path, name: &str, value: &str, field: &str) -> Result<()> {
    match file::write(dir, name, value) {
        Err(e) if e.is_not_found() && dir.exists() => {
            let controller = name.split('.').next().unwrap_or(name);
            Err(Error::NoController { controller: controller.into(), what: field.into() })
        }
        done => done,
    }
}

fn set_pids(dir: &Path, resources: &LinuxResources) -> Result<()> {
    resources
        .pids()
        .map_or(Ok(()), |limit| write_limit(dir, "pids.max", &pids::max_of(limit.limit()), "pids.limit"))
}

#[cfg(test)]
mod tests;
