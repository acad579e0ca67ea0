//! The systemd driver: a container is a transient scope unit, which systemd makes, limits and removes; counting, freezing and
//! killing is done in the scope's cgroup as without systemd, which delegates it.
//!
//! Limits are told to systemd, so that it does not take them back, and written to the cgroup's files besides, which know more of them.

mod annotations;
mod dbus;
mod devices;
mod gvariant;
mod manager;
mod properties;
mod unit;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci::runtime::LinuxResources;

use self::dbus::Value;
use self::manager::{Property, ServiceManager};
pub use self::unit::Unit;
use super::device_rules::Policy;
use super::mounts::{self, Hierarchies};
use super::v1::V1;
use super::v2::V2;
use super::{Entrance, Error, Leniency, Manager, OomWatch, Result, Stats};

/// A container's scope.
pub struct Systemd {
    unit: Unit,
    /// The cgroup that the scope has, or will have.
    cgroup: Box<dyn Manager>,
    /// Properties that only annotations give; `None` for a container that exists.
    new: Option<Vec<Property>>,
    bus: RefCell<Option<ServiceManager>>,
}

impl Systemd {
    /// The scope of a new container.
    pub fn new(
        hierarchies: &Hierarchies,
        cgroups_path: Option<&Path>,
        id: &str,
        annotations: &HashMap<String, String>,
        lenient: Leniency,
    ) -> Result<Self> {
        if !Path::new("/run/systemd/system").symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(Error::Systemd(
                "systemd not running on this host, cannot use systemd cgroups manager".into(),
            ));
        }
        let unit = Unit::new(cgroups_path, id, lenient.rootless)?;
        let new = annotations::properties(annotations)?;
        // Whoever asks for systemd asks for a cgroup.
        let lenient = Leniency { unnamed: false, ..lenient };
        let cgroup = cgroup(hierarchies, &unit, lenient)?;
        Ok(Self { unit, cgroup, new: Some(new), bus: RefCell::new(None) })
    }

    /// The scope of a container that exists, whose cgroup was found otherwise.
    pub fn load(unit: &Unit, cgroup: Box<dyn Manager>) -> Self {
        Self { unit: unit.clone(), cgroup, new: None, bus: RefCell::new(None) }
    }

    /// Calls systemd, connecting first if that was not done before.
    fn call<T>(&self, act: impl FnOnce(&mut ServiceManager) -> Result<T>) -> Result<T> {
        let mut bus = self.bus.borrow_mut();
        let bus = match &mut *bus {
            Some(bus) => bus,
            none => none.insert(ServiceManager::connect(self.unit.user)?),
        };
        act(bus)
    }

    /// The properties that every scope of a container starts with.
    fn first(&self, pid: i32, asked: &[Property]) -> Vec<Property> {
        let on = |name: &str| (name.to_owned(), Value::Bool(true));
        let pid = u32::try_from(pid).unwrap_or_default();
        let io = if self.unified().is_some() { "IOAccounting" } else { "BlockIOAccounting" };
        let mut properties = vec![
            ("Description".into(), Value::Text(format!("libcontainer container {}", self.unit.name))),
            ("Slice".into(), Value::Text(self.unit.slice())),
            on("Delegate"),
            ("PIDs".into(), Value::Array("u".into(), vec![Value::U32(pid)])),
            on("MemoryAccounting"),
            on("CPUAccounting"),
            on(io),
            on("TasksAccounting"),
            ("DefaultDependencies".into(), Value::Bool(false)),
        ];
        properties.extend(asked.iter().cloned());
        properties
    }

    /// The cgroup's directory, on version 2.
    fn unified(&self) -> Option<PathBuf> {
        let mut paths = self.cgroup.paths();
        let dir = paths.remove("")?;
        paths.is_empty().then_some(dir)
    }

    fn limits(&self, resources: &LinuxResources) -> Result<Vec<Property>> {
        let mut version = || self.call(ServiceManager::version);
        match self.unified() {
            Some(dir) => properties::unified(resources, &dir, &mut version),
            None => {
                let dir = self.cgroup.paths().remove("cpu").unwrap_or_default();
                properties::legacy(resources, &dir, &mut version)
            }
        }
    }

    fn tell(&self, properties: &[Property]) -> Result<()> {
        match properties {
            [] => Ok(()),
            some => self.call(|bus| bus.set(&self.unit, some)),
        }
    }
}

/// The cgroup that systemd will make: below its own, which for the user's is deep in the tree.
fn cgroup(hierarchies: &Hierarchies, unit: &Unit, lenient: Leniency) -> Result<Box<dyn Manager>> {
    let path = unit.path()?;
    if !hierarchies.unified_only() {
        if unit.user {
            return Err(Error::Systemd("cannot use rootless systemd cgroups manager on cgroup v1".into()));
        }
        return Ok(Box::new(V1::new(hierarchies, &Path::new("/").join(path), lenient)?));
    }
    let mount = hierarchies.unified().ok_or_else(|| Error::NotExist("no cgroup2 mount".into()))?;
    let above = match unit.user {
        true => mounts::clean(&ServiceManager::connect(true)?.cgroup()?),
        false => PathBuf::new(),
    };
    let dir = mount.mountpoint.join(above).join(path);
    Ok(Box::new(V2::from_dir(Some(mount.mountpoint.clone()), dir, lenient)))
}

impl Manager for Systemd {
    /// A scope begins with its first process: see [`join`](Manager::join).
    fn create(&self) -> Result<()> {
        Ok(())
    }

    fn join(&self, pid: i32) -> Result<()> {
        if let Some(asked) = &self.new {
            self.call(|bus| bus.start(&self.unit, &self.first(pid, asked)))?;
            // systemd enables controllers that it knows; and on version 1 it keeps processes in its own hierarchy alone.
            self.cgroup.create()?;
            return match self.unified() {
                Some(_) => Ok(()),
                None => self.cgroup.join(pid),
            };
        }
        match (self.cgroup.join(pid), self.unified()) {
            // Without rights over the cgroup that the process comes from, only systemd can move it.
            (Err(e), Some(dir)) if e.is_permission() => {
                self.call(|bus| bus.attach(&self.unit, &self.unit.below(&dir), pid))
            }
            (done, _) => done,
        }
    }

    fn dir_fd(&self) -> Result<Option<OwnedFd>> {
        if self.new.is_some() { Ok(None) } else { self.cgroup.dir_fd() }
    }

    fn entrances(&self) -> Result<Vec<Entrance>> {
        if self.new.is_some() { Ok(Vec::new()) } else { self.cgroup.entrances() }
    }

    fn set(&self, resources: &LinuxResources) -> Result<()> {
        let mut properties = self.limits(resources)?;
        // The user's service manager may not filter devices.
        if !self.unit.user {
            let rules = resources.devices().as_deref().unwrap_or_default();
            properties.extend(devices::properties(&Policy::for_container(rules)?));
        }
        self.tell(&properties)?;
        self.cgroup.set(resources)
    }

    fn update(&self, resources: &LinuxResources) -> Result<()> {
        // What the kernel refuses is not told to systemd; and what systemd rounds is put right again.
        self.cgroup.update(resources)?;
        self.tell(&self.limits(resources)?)?;
        self.cgroup.update(resources)
    }

    fn freeze(&self, frozen: bool) -> Result<()> {
        self.cgroup.freeze(frozen)
    }

    fn frozen(&self) -> Result<bool> {
        self.cgroup.frozen()
    }

    fn pids(&self) -> Result<Vec<i32>> {
        self.cgroup.pids()
    }

    fn kill_all(&self, signal: i32) -> Result<()> {
        self.cgroup.kill_all(signal)
    }

    fn stats(&self) -> Result<Stats> {
        self.cgroup.stats()
    }

    fn destroy(&self) -> Result<()> {
        let stopped = self.call(|bus| bus.stop(&self.unit));
        // Some hierarchies are not systemd's.
        Error::all([stopped, self.cgroup.destroy()])
    }

    fn paths(&self) -> BTreeMap<String, PathBuf> {
        self.cgroup.paths()
    }

    fn exists(&self) -> bool {
        self.cgroup.exists()
    }

    fn oom_kills(&self) -> Result<u64> {
        self.cgroup.oom_kills()
    }

    fn oom_watch(&self) -> Result<Box<dyn OomWatch>> {
        self.cgroup.oom_watch()
    }

    fn give_to(&self, uid: u32) -> Result<()> {
        self.cgroup.give_to(uid)
    }

    fn unit(&self) -> Option<&Unit> {
        Some(&self.unit)
    }
}
