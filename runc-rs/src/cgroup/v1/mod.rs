//! Version 1: a hierarchy for each controller, a directory for the container in each (Documentation/admin-guide/cgroup-v1).

mod blkio;
mod cpu;
mod cpuacct;
mod cpuset;
mod devices;
mod freezer;
mod hugetlb;
mod memory;
mod net;
mod oom;
mod pids;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags};

use super::mounts::Hierarchies;
use super::{
    Entrance, Error, Leniency, Manager, OomWatch, Result, SIGKILL, Stats, file, rdma, signal_each, tree,
};
use crate::log;

/// Controllers in the order in which they are joined. `name=systemd` only counts processes, and `""` is the unified
/// hierarchy of a hybrid host.
const CONTROLLERS: [&str; 15] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "misc",
    "name=systemd",
];

/// Hierarchies that may fail without harm: nothing is limited by them.
const OPTIONAL: [&str; 3] = ["name=systemd", "misc", ""];

/// A container's cgroups on version 1.
#[derive(Debug)]
pub struct V1 {
    paths: RefCell<BTreeMap<String, PathBuf>>,
    lenient: Leniency,
}

impl V1 {
    /// The cgroups of a new container.
    pub fn new(hierarchies: &Hierarchies, path: &Path, lenient: Leniency) -> Result<Self> {
        let mut paths = BTreeMap::new();
        for controller in CONTROLLERS {
            if let Some(mount) = hierarchies.v1(controller) {
                paths.insert(controller.to_owned(), hierarchies.locate(mount, controller, path)?);
            }
        }
        if let Some(mount) = hierarchies.unified()
            && let Ok(dir) = hierarchies.locate(mount, "", path)
        {
            paths.insert(String::new(), dir);
        }
        if !paths.contains_key("devices") && !lenient.devices() {
            // Without it nothing keeps a container from the host's disks.
            return Err(Error::NotExist("cgroup controller \"devices\" is not mounted".into()));
        }
        Ok(Self::from_paths(paths, lenient))
    }

    /// The cgroups of a container that exists.
    pub fn from_paths(paths: BTreeMap<String, PathBuf>, lenient: Leniency) -> Self {
        Self { paths: RefCell::new(paths), lenient }
    }

    fn dir(&self, controller: &str) -> Option<PathBuf> {
        self.paths.borrow().get(controller).cloned()
    }

    /// The hierarchy that is asked for processes.
    fn main_dir(&self) -> Option<PathBuf> {
        ["devices", "freezer", "pids", "memory", ""].iter().find_map(|c| self.dir(c))
    }

    /// Does `act` in every hierarchy; one that may not be used is dropped where that is allowed.
    fn each(&self, act: impl Fn(&str, &Path) -> Result<()>) -> Result<()> {
        let paths = self.paths.borrow().clone();
        for (controller, dir) in in_order(&paths) {
            match act(controller, dir) {
                Err(e) if OPTIONAL.contains(&controller) || (self.lenient.cgroup() && e.is_permission()) => {
                    self.paths.borrow_mut().remove(controller);
                }
                done => done?,
            }
        }
        Ok(())
    }
}

impl Manager for V1 {
    fn create(&self) -> Result<()> {
        self.each(|controller, dir| match controller {
            "cpuset" => cpuset::create(dir),
            _ => tree::make(dir),
        })
    }

    fn join(&self, pid: i32) -> Result<()> {
        self.each(|_, dir| tree::join(dir, pid))
    }

    /// The unified hierarchy of a hybrid host.
    fn dir_fd(&self) -> Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(self.dir("").and_then(|dir| rustix::fs::open(dir, flags, Mode::empty()).ok()))
    }

    fn entrances(&self) -> Result<Vec<Entrance>> {
        let entrances = RefCell::new(Vec::new());
        self.each(|controller, dir| {
            if !controller.is_empty() {
                let optional = OPTIONAL.contains(&controller);
                entrances.borrow_mut().push(Entrance::open(dir, optional)?);
            }
            Ok(())
        })?;
        Ok(entrances.into_inner())
    }

    fn set(&self, resources: &LinuxResources) -> Result<()> {
        memory::settle(self.dir("memory").as_deref(), resources);
        self.update(resources)?;
        let rules = resources.devices().as_deref().unwrap_or_default();
        match devices::set(self.dir("devices").as_deref(), rules) {
            // A user namespace may neither make device nodes nor change these rules.
            Err(_) if self.lenient.devices() => Ok(()),
            done => done,
        }
    }

    fn update(&self, resources: &LinuxResources) -> Result<()> {
        if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
            return Err(Error::invalid("linux.resources.unified", "cannot use unified on cgroup v1"));
        }
        let dir = |controller: &str| self.dir(controller);
        for name in passed_over(resources, dir("cpu").as_deref(), dir("memory").as_deref()) {
            log::warn(format!("linux.resources.{name} is ignored: this kernel has no such limit"));
        }
        cpuset::set(dir("cpuset").as_deref(), resources)?;
        memory::set(dir("memory").as_deref(), resources)?;
        cpu::set(dir("cpu").as_deref(), resources)?;
        pids::set(dir("pids").as_deref(), resources)?;
        blkio::set(dir("blkio").as_deref(), resources)?;
        hugetlb::set(dir("hugetlb").as_deref(), resources)?;
        net::set(dir("net_cls").as_deref(), dir("net_prio").as_deref(), resources)?;
        rdma::set(dir("rdma").as_deref(), resources)
    }

    fn freeze(&self, frozen: bool) -> Result<()> {
        match (self.dir("freezer"), frozen) {
            (Some(dir), true) => freezer::freeze(&dir),
            (Some(dir), false) => freezer::thaw(&dir),
            (None, _) => {
                Err(Error::NotExist("cannot toggle freezer: cgroups not configured for container".into()))
            }
        }
    }

    fn frozen(&self) -> Result<bool> {
        self.dir("freezer").map_or(Ok(false), |dir| freezer::frozen(&dir))
    }

    fn pids(&self) -> Result<Vec<i32>> {
        self.main_dir().map_or(Ok(Vec::new()), |dir| tree::pids(&dir))
    }

    fn kill_all(&self, signal: i32) -> Result<()> {
        if !self.exists() {
            return Err(Error::NotExist(self.main_dir().unwrap_or_default().display().to_string()));
        }
        if self.pids()?.is_empty() {
            // Nobody there can fork either.
            return Ok(());
        }
        let was_frozen = self.frozen()?;
        // A frozen process cannot fork: nobody is born after the list was read. Without a freezer it is a best effort.
        let freezer = self.dir("freezer").filter(|dir| was_frozen || freezer::freeze(dir).is_ok());
        let sent = self.pids().and_then(|pids| signal_each(&pids, signal));
        // Even SIGKILL only works on a thawed process.
        if let Some(dir) = freezer.filter(|_| !was_frozen || signal == SIGKILL) {
            freezer::thaw(&dir)?;
        }
        sent
    }

    fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        for (controller, dir) in in_order(&self.paths.borrow()).into_iter().filter(|(_, dir)| dir.exists()) {
            match controller {
                "cpu" => cpu::stats(dir, &mut stats)?,
                "cpuacct" => cpuacct::stats(dir, &mut stats)?,
                "cpuset" => cpuset::stats(dir, &mut stats)?,
                "memory" => memory::stats(dir, &mut stats)?,
                "pids" => pids::stats(dir, &mut stats)?,
                "blkio" => blkio::stats(dir, &mut stats)?,
                "hugetlb" => hugetlb::stats(dir, &mut stats)?,
                _ => {}
            }
        }
        Ok(stats)
    }

    fn destroy(&self) -> Result<()> {
        // Controllers mounted together share a directory, which is then simply gone the second time.
        Error::all(self.paths.borrow().values().map(|dir| tree::remove(dir)))
    }

    fn paths(&self) -> BTreeMap<String, PathBuf> {
        self.paths.borrow().clone()
    }

    fn exists(&self) -> bool {
        self.main_dir().is_some_and(|dir| dir.exists())
    }

    fn oom_kills(&self) -> Result<u64> {
        self.dir("memory").map_or(Ok(0), |dir| oom::kills(&dir))
    }

    fn oom_watch(&self) -> Result<Box<dyn OomWatch>> {
        match self.dir("memory") {
            Some(dir) => Ok(Box::new(oom::Watch::new(&dir)?)),
            None => Err(Error::NoController { controller: "memory".into(), what: "oom notice".into() }),
        }
    }
}

/// Limits that the kernel has none of, and that runc passes over in silence: a burst before Linux 5.14, and a cgroup for itself after
/// Linux 5.10, where every one is part of those above it.
fn passed_over(resources: &LinuxResources, cpu: Option<&Path>, memory: Option<&Path>) -> Vec<&'static str> {
    let burst = resources.cpu().as_ref().is_some_and(|cpu| cpu.burst().is_some());
    let alone = resources.memory().as_ref().is_some_and(|memory| memory.use_hierarchy() == Some(false));
    let hierarchical = memory
        .is_some_and(|dir| file::read(dir, "memory.use_hierarchy").is_ok_and(|text| text.trim() != "0"));
    let all = [
        ("cpu.burst", burst && cpu.is_some_and(|dir| !dir.join("cpu.cfs_burst_us").exists())),
        ("memory.useHierarchy", alone && hierarchical),
    ];
    all.into_iter().filter_map(|(name, asked)| asked.then_some(name)).collect()
}

/// The directory of a controller, or an error that names it and the limit that needs it.
fn need<'a>(dir: Option<&'a Path>, controller: &str, what: &str) -> Result<&'a Path> {
    dir.ok_or_else(|| Error::NoController { controller: controller.into(), what: what.into() })
}

/// The paths in the order of [`CONTROLLERS`], then the unified one.
fn in_order(paths: &BTreeMap<String, PathBuf>) -> Vec<(&str, &Path)> {
    let known = CONTROLLERS.iter().chain(&[""]);
    known.filter_map(|c| paths.get_key_value(*c)).map(|(c, dir)| (c.as_str(), dir.as_path())).collect()
}

#[cfg(test)]
mod tests;
