//! Kernel parameters: only those of a namespace that is the container's own (config-linux.md, "Sysctl").

use super::namespaces::{Kind, Namespaces};
use crate::error::{Error, Result};

const IPC: &[&str] = &[
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The file below /proc/sys. In `a.b.c` dots separate; in `a/b.c` slashes do, and dots belong to the name (sysctl.d(5)).
pub fn path(key: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'.') => key.chars().map(swap).collect(),
        _ => key.to_owned(),
    }
}

/// Whether the parameter may be set, given the container's namespaces.
pub fn check(key: &str, namespaces: &Namespaces, host_net: bool) -> Result<()> {
    let path = path(key);
    if path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(Error::new(format!("sysctl {key:?} is not a valid name")));
    }
    if IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
        return need(namespaces.has(Kind::Ipc), key, "ipc");
    }
    if path.starts_with("net/") {
        let own = namespaces.has(Kind::Net) && !host_net;
        let refused = || Error::new(format!("sysctl {key:?} not allowed in host network namespace"));
        return own.then_some(()).ok_or_else(refused);
    }
    match path.as_str() {
        "kernel/domainname" => need(namespaces.has(Kind::Uts), key, "uts"),
        "kernel/hostname" => Err(Error::new(format!(
            "sysctl {key:?} is not allowed as it conflicts with the OCI \"hostname\" field"
        ))),
        path if path.starts_with("user/") => need(namespaces.has(Kind::User), key, "user"),
        _ => Err(Error::new(format!("sysctl {key:?} is not in a separate kernel namespace"))),
    }
}

fn need(own: bool, key: &str, namespace: &str) -> Result<()> {
    if own {
        return Ok(());
    }
    Err(Error::new(format!("sysctl {key:?} is not allowed in the hosts {namespace} namespace")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }

    #[test]
    fn only_with_the_namespace() {
        let own = Namespaces { new: vec![Kind::Net, Kind::Ipc, Kind::Uts], join: Vec::new() };
        let none = Namespaces::default();
        for key in ["net.core.somaxconn", "kernel.shmmax", "fs.mqueue.msg_max", "kernel.domainname"] {
            assert!(check(key, &own, false).is_ok(), "{key}");
            assert!(check(key, &none, false).is_err(), "{key}");
        }
        assert!(check("net.core.somaxconn", &own, true).is_err());
        assert!(check("kernel.hostname", &own, false).unwrap_err().to_string().contains("conflicts"));
        assert!(check("kernel.panic", &own, false).is_err());
        assert!(check("net.ipv4/../../kernel.panic", &own, false).is_err());
        assert!(check("net/../kernel/panic", &own, false).is_err());
    }
}
