//! Mount options: flags for the kernel, the rest for the file system.

use rustix::mount::{MountFlags, MountPropagationFlags};

/// Options as mount(2) wants them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Parsed {
    /// `MS_*` bits.
    pub(crate) flags: u32,
    /// `MS_SHARED` and its kin, which take a call of their own.
    pub(crate) propagation: Option<u32>,
    /// What only the file system understands.
    pub(crate) data: Vec<String>,
}

/// Parts flags from what is the file system's own (mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS").
pub(crate) fn parse(options: &[String]) -> Parsed {
    let mut parsed = Parsed::default();
    for option in options {
        let (flag, on) = match option.as_str() {
            "defaults" | "loop" | "bind" | "rbind" => continue,
            "ro" => (MountFlags::RDONLY, true),
            "rw" => (MountFlags::RDONLY, false),
            "nosuid" => (MountFlags::NOSUID, true),
            "suid" => (MountFlags::NOSUID, false),
            "nodev" => (MountFlags::NODEV, true),
            "dev" => (MountFlags::NODEV, false),
            "noexec" => (MountFlags::NOEXEC, true),
            "exec" => (MountFlags::NOEXEC, false),
            "noatime" => (MountFlags::NOATIME, true),
            "atime" => (MountFlags::NOATIME, false),
            "nodiratime" => (MountFlags::NODIRATIME, true),
            "diratime" => (MountFlags::NODIRATIME, false),
            "relatime" => (MountFlags::RELATIME, true),
            "norelatime" => (MountFlags::RELATIME, false),
            "strictatime" => (MountFlags::STRICTATIME, true),
            "sync" => (MountFlags::SYNCHRONOUS, true),
            "async" => (MountFlags::SYNCHRONOUS, false),
            "dirsync" => (MountFlags::DIRSYNC, true),
            other => {
                match propagation(other) {
                    Some(bits) => parsed.propagation = Some(bits),
                    None => parsed.data.push(option.clone()),
                }
                continue;
            }
        };
        parsed.flags = if on { parsed.flags | flag.bits() } else { parsed.flags & !flag.bits() };
    }
    parsed
}

fn propagation(option: &str) -> Option<u32> {
    let (kind, recursive) = match option.strip_prefix('r') {
        Some(kind) => (kind, MountPropagationFlags::REC),
        None => (option, MountPropagationFlags::empty()),
    };
    let flags = match kind {
        "private" => MountPropagationFlags::PRIVATE,
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some((flags | recursive).bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_flags_from_data() {
        let options = ["ro", "rbind", "nosuid", "size=1k", "rprivate", "suid"].map(str::to_owned);
        let parsed = parse(&options);
        assert_eq!(parsed.flags, MountFlags::RDONLY.bits());
        assert_eq!(parsed.data, ["size=1k"]);
        assert_eq!(
            parsed.propagation,
            Some((MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).bits())
        );
    }
}
