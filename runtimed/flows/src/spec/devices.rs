//! Facts of this machine that a spec depends on.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Folders of /dev that are no devices of the machine, but of somebody's session.
const SKIPPED: &[&str] = &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];
/// How deep /dev is looked through.
const DEPTH: usize = 4;

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where.
    pub path: PathBuf,
    /// Block, or else character.
    pub block: bool,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a spec depends on.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Only cgroup v2 is mounted.
    pub cgroup_v2: bool,
    /// Swap is accounted.
    pub swap: bool,
    /// The devices that a privileged container gets.
    pub devices: Vec<Device>,
    /// The machine's name, which a container on the host's network shares.
    pub hostname: String,
    /// The running kernel's release, major and minor.
    pub kernel: (u32, u32),
}

impl Machine {
    /// Looks at the machine; at its devices only when `devices`.
    pub fn look(devices: bool) -> Machine {
        let cgroup_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let swap = cgroup_v2 || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
        let mut found = Vec::new();
        if devices {
            walk(Path::new("/dev"), DEPTH, &mut found);
            found.sort_by(|a, b| a.path.cmp(&b.path));
        }
        let hostname =
            std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end().to_owned();
        Machine { cgroup_v2, swap, devices: found, hostname, kernel: kernel() }
    }
}

/// Major and minor of the kernel's release; zeroes when it has another form, which then counts as old.
fn kernel() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// What cannot be looked at is left out: it could not be given away either.
fn walk(folder: &Path, depth: usize, found: &mut Vec<Device>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let (Ok(kind), false) = (entry.file_type(), name.to_str().is_none_or(|name| SKIPPED.contains(&name)))
        else {
            continue;
        };
        if kind.is_dir() && depth > 1 {
            walk(&entry.path(), depth - 1, found);
        } else if kind.is_char_device() || kind.is_block_device() {
            let Ok(metadata) = entry.metadata() else { continue };
            found.push(Device {
                path: entry.path(),
                block: kind.is_block_device(),
                major: nix::sys::stat::major(metadata.rdev()),
                minor: nix::sys::stat::minor(metadata.rdev()),
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
            });
        }
    }
}

/// `linux.devices` (OCI runtime-spec config-linux.md "Devices").
pub fn to_json(devices: &[Device]) -> Value {
    let device = |device: &Device| {
        json!({
            "path": device.path,
            "type": if device.block { "b" } else { "c" },
            "major": device.major,
            "minor": device.minor,
            "fileMode": device.mode,
            "uid": device.uid,
            "gid": device.gid,
        })
    };
    devices.iter().map(device).collect()
}
