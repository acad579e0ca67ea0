//! Which namespaces are made, and which are joined (config-linux.md, "Namespaces").

use std::path::{Path, PathBuf};

use oci::runtime::{LinuxNamespaceType, Spec};
use serde::Serialize;

use crate::error::{Error, Result};

/// A kind of namespace, in the order in which they are joined: the user namespace gives the rights over the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// Users and groups.
    User,
    /// System V IPC, message queues.
    Ipc,
    /// Host name.
    Uts,
    /// Network.
    Net,
    /// Process ids.
    Pid,
    /// Mounts.
    Mount,
    /// Cgroup root.
    Cgroup,
    /// Clocks.
    Time,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] =
        [Kind::User, Kind::Ipc, Kind::Uts, Kind::Net, Kind::Pid, Kind::Mount, Kind::Cgroup, Kind::Time];

    /// Its CLONE_NEW* flag.
    pub fn flag(self) -> i32 {
        match self {
            Kind::User => sys::clone::CLONE_NEWUSER,
            Kind::Ipc => sys::clone::CLONE_NEWIPC,
            Kind::Uts => sys::clone::CLONE_NEWUTS,
            Kind::Net => sys::clone::CLONE_NEWNET,
            Kind::Pid => sys::clone::CLONE_NEWPID,
            Kind::Mount => sys::clone::CLONE_NEWNS,
            Kind::Cgroup => sys::clone::CLONE_NEWCGROUP,
            Kind::Time => sys::clone::CLONE_NEWTIME,
        }
    }

    /// Its file in /proc/PID/ns.
    pub fn file(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Net => "net",
            Kind::Pid => "pid",
            Kind::Mount => "mnt",
            Kind::Cgroup => "cgroup",
            Kind::Time => "time",
        }
    }

    /// Its name in config.json.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Net => "network",
            Kind::Mount => "mount",
            other => other.file(),
        }
    }

    /// Its key in state.json.
    pub fn key(self) -> &'static str {
        match self {
            Kind::User => "NEWUSER",
            Kind::Ipc => "NEWIPC",
            Kind::Uts => "NEWUTS",
            Kind::Net => "NEWNET",
            Kind::Pid => "NEWPID",
            Kind::Mount => "NEWNS",
            Kind::Cgroup => "NEWCGROUP",
            Kind::Time => "NEWTIME",
        }
    }

    fn from_spec(kind: LinuxNamespaceType) -> Self {
        match kind {
            LinuxNamespaceType::User => Kind::User,
            LinuxNamespaceType::Ipc => Kind::Ipc,
            LinuxNamespaceType::Uts => Kind::Uts,
            LinuxNamespaceType::Network => Kind::Net,
            LinuxNamespaceType::Pid => Kind::Pid,
            LinuxNamespaceType::Mount => Kind::Mount,
            LinuxNamespaceType::Cgroup => Kind::Cgroup,
            LinuxNamespaceType::Time => Kind::Time,
        }
    }
}

/// A container's namespaces; a kind that is in neither list is the runtime's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Those to make.
    pub new: Vec<Kind>,
    /// Those to join, by file.
    pub join: Vec<(Kind, PathBuf)>,
}

impl Namespaces {
    /// Reads `linux.namespaces`.
    pub fn from_spec(spec: &Spec) -> Result<Self> {
        let mut all = Namespaces::default();
        let listed = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
        for namespace in listed.into_iter().flatten() {
            let kind = Kind::from_spec(namespace.typ());
            if all.has(kind) {
                let path = namespace.path().as_deref().map(Path::display).map(|p| p.to_string());
                let (word, path) = (kind.word(), path.unwrap_or_default());
                return Err(Error::new(format!("malformed spec file: duplicated ns {{{word:?} {path:?}}}")));
            }
            match namespace.path().as_ref().filter(|p| !p.as_os_str().is_empty()) {
                Some(path) if !path.is_absolute() => {
                    return Err(Error::new(format!("namespace path {} is not absolute", path.display())));
                }
                Some(path) => all.join.push((kind, path.clone())),
                None => all.new.push(kind),
            }
        }
        all.new.sort_unstable();
        all.join.sort_unstable();
        Ok(all)
    }

    /// Whether it is the container's own, made or joined.
    pub fn has(&self, kind: Kind) -> bool {
        self.is_new(kind) || self.path(kind).is_some()
    }

    /// Whether it is made.
    pub fn is_new(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
    }

    /// The file of one that is joined.
    pub fn path(&self, kind: Kind) -> Option<&PathBuf> {
        self.join.iter().find(|(k, _)| *k == kind).map(|(_, path)| path)
    }
}
