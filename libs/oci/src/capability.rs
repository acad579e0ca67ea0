//! Names of Linux capabilities (include/uapi/linux/capability.h) and the sets that containers start with.

/// Every capability, at the place of its number.
pub const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The fourteen that docker and containerd give a container.
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Whether it is a name of a capability, spelled as config.json wants it.
pub fn is_known(name: &str) -> bool {
    ALL.contains(&name)
}

/// The full name of what people write: `net_admin`, `NET_ADMIN`, `CAP_NET_ADMIN`. `None` for no capability at all.
pub fn normalize(name: &str) -> Option<&'static str> {
    let upper = name.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    ALL.iter().find(|known| known.strip_prefix("CAP_") == Some(bare)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_people_write() {
        assert_eq!(normalize("net_admin"), Some("CAP_NET_ADMIN"));
        assert_eq!(normalize("CAP_SYS_PTRACE"), Some("CAP_SYS_PTRACE"));
        assert_eq!(normalize("CAP_ALL"), None);
        assert!(!is_known("net_admin") && is_known("CAP_BPF"));
    }

    #[test]
    fn defaults_are_known_and_numbers_are_right() {
        assert!(DEFAULT.iter().all(|name| is_known(name)));
        assert_eq!(ALL.iter().position(|name| *name == "CAP_SYS_ADMIN"), Some(21));
        assert_eq!(ALL.iter().position(|name| *name == "CAP_CHECKPOINT_RESTORE"), Some(40));
    }
}
