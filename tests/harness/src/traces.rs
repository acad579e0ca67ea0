//! What a container runtime leaves behind when it is careless.

mod namespaces;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// The machine's mounts, cgroups, network namespaces, processes and shim sockets at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
    namespaces: BTreeSet<String>,
    processes: BTreeSet<String>,
    sockets: BTreeSet<String>,
}

impl Traces {
    /// Looks at the whole machine.
    pub fn take() -> Result<Traces> {
        let mut cgroups = BTreeSet::new();
        folders(Path::new("/sys/fs/cgroup"), &mut cgroups);
        let (mut namespaces, mut processes) = (BTreeSet::new(), BTreeSet::new());
        for pid in pids()? {
            if let Ok(namespace) = std::fs::read_link(format!("/proc/{pid}/ns/net")) {
                namespaces.insert(namespace.display().to_string());
            }
            let command = command(&pid);
            if command.contains("containerd-shim") || command.contains("runc-rs") {
                processes.insert(format!("{pid} {command}"));
            }
        }
        let sockets = std::fs::read_dir("/run/containerd/s").into_iter().flatten().flatten();
        Ok(Traces {
            mounts: mounts()?.into_iter().collect(),
            cgroups,
            namespaces,
            processes,
            sockets: sockets.map(|entry| entry.path().display().to_string()).collect(),
        })
    }

    /// What is here and was not there before.
    pub fn beyond(&self, before: &Traces) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(self.mounts.difference(&before.mounts).map(|what| format!("mount {what}")));
        left.extend(
            self.cgroups.difference(&before.cgroups).map(|what| format!("cgroup {}", what.display())),
        );
        left.extend(
            self.namespaces.difference(&before.namespaces).map(|what| format!("network namespace {what}")),
        );
        left.extend(self.processes.difference(&before.processes).map(|what| format!("process {what}")));
        left.extend(self.sockets.difference(&before.sockets).map(|what| format!("socket {what}")));
        left
    }
}

/// What belongs to one scene alone: mounts below its root, processes that name it, cgroups of its namespace, and kernel namespaces that
/// processes of it keep. Other scenes may run beside it.
pub fn of_scene(root: &Path, namespace: &str) -> Result<Vec<String>> {
    let root = root.display().to_string();
    let mut left: Vec<String> = mounts()?
        .into_iter()
        .filter(|point| point.starts_with(&root))
        .map(|point| format!("mount {point}"))
        .collect();
    for pid in pids()? {
        let command = command(&pid);
        if command.contains(&root) {
            left.push(format!("process {pid} {command}"));
        }
    }
    left.extend(namespaces::of_scene(&root, namespace)?);
    for controller in std::fs::read_dir("/sys/fs/cgroup")?.flatten() {
        let folder = controller.path().join(namespace);
        let mut found = BTreeSet::new();
        folders(&folder, &mut found);
        if folder.is_dir() {
            found.insert(folder);
        }
        left.extend(found.iter().map(|cgroup| format!("cgroup {}", cgroup.display())));
    }
    Ok(left)
}

fn mounts() -> Result<Vec<String>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text.lines().filter_map(|line| line.split(' ').nth(4).map(str::to_owned)).collect())
}

fn pids() -> Result<Vec<String>> {
    let names =
        std::fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let own = std::process::id().to_string();
    Ok(names.filter(|name| *name != own && name.bytes().all(|byte| byte.is_ascii_digit())).collect())
}

fn command(pid: &str) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

fn folders(parent: &Path, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders(&entry.path(), found);
            found.insert(entry.path());
        }
    }
}
