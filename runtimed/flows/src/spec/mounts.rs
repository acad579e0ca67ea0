//! `mounts` of config.json (OCI runtime-spec config.md "Mounts"): the defaults, the three files, and what was asked for.

use std::path::Path;

use errors::{Context, Error, Result};
use serde_json::{Value, json};

use super::SpecInput;
use crate::config::{ContainerConfig, MountConfig};

/// All mounts, parents before what is mounted below them. One that was asked for takes the place of a default.
pub fn mounts(input: &SpecInput<'_>) -> Result<Value> {
    let config = input.config;
    let mut own: Vec<&MountConfig> = config.mounts.iter().collect();
    for (at, mount) in own.iter().enumerate() {
        if own[..at].iter().any(|other| trimmed(&other.target) == trimmed(&mount.target)) {
            return Err(Error::invalid(format!("Duplicate mount point: {}", mount.target)));
        }
    }
    own.sort_by_key(|mount| Path::new(&mount.target).components().count());
    let replaced = |value: &Value| own.iter().any(|mount| value["destination"] == *trimmed(&mount.target));
    let mut all: Vec<Value> = defaults(config);
    all.extend(files(input));
    all.retain(|value| !replaced(value));
    for mount in own {
        all.push(one(mount)?);
    }
    Ok(Value::Array(all))
}

fn trimmed(target: &str) -> &str {
    match target.trim_end_matches('/') {
        "" => "/",
        other => other,
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn defaults(config: &ContainerConfig) -> Vec<Value> {
    let writable = if config.privileged { "rw" } else { "ro" };
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", writable]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", writable]),
    ];
    if config.network == "host" && config.privileged {
        // A sysfs of its own would belong to another network namespace than the container's.
        all[3] = mount("/sys", "bind", "/sys", &["rbind", "nosuid", "noexec", "nodev", "rw"]);
    }
    match config.ipc.as_str() {
        "host" => {
            // A machine need not have mounted its message queues anywhere.
            for folder in ["/dev/mqueue", "/dev/shm"].into_iter().filter(|folder| Path::new(folder).is_dir())
            {
                all.push(mount(folder, "bind", folder, &["rbind", "nosuid", "noexec", "nodev"]));
            }
        }
        ipc => {
            all.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
            if ipc != "none" {
                all.push(mount(
                    "/dev/shm",
                    "tmpfs",
                    "shm",
                    &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
                ));
            }
        }
    }
    all
}

/// What a container is told of its network; as little to be written as its root, as with docker.
fn files(input: &SpecInput<'_>) -> Vec<Value> {
    let access = if input.config.read_only { "ro" } else { "rw" };
    ["resolv.conf", "hostname", "hosts"]
        .map(|name| {
            let source = input.files.join(name);
            json!({
                "destination": format!("/etc/{name}"),
                "type": "bind",
                "source": source,
                "options": ["rbind", "rprivate", access],
            })
        })
        .into()
}

fn one(config: &MountConfig) -> Result<Value> {
    match config.kind.as_str() {
        "tmpfs" => Ok(tmpfs(config)),
        "bind" => bind(config),
        other => Err(Error::invalid(format!("invalid mount config: mount type unknown: {other:?}"))),
    }
}

fn tmpfs(config: &MountConfig) -> Value {
    let mut options: Vec<String> = Vec::new();
    let said = |name: &str| config.options.iter().any(|option| option == name);
    for (default, opposite) in [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev")] {
        if !said(opposite) && !said(default) {
            options.push(default.to_owned());
        }
    }
    options.extend(config.options.iter().cloned());
    if config.tmpfs_size > 0 {
        options.push(format!("size={}", config.tmpfs_size));
    }
    if config.tmpfs_mode > 0 {
        options.push(format!("mode={:o}", config.tmpfs_mode));
    }
    if config.read_only {
        options.push("ro".to_owned());
    }
    json!({ "destination": trimmed(&config.target), "type": "tmpfs", "source": "tmpfs", "options": options })
}

fn bind(config: &MountConfig) -> Result<Value> {
    let source = Path::new(&config.source);
    if !source.exists() {
        if !config.create_source {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                config.source
            )));
        }
        std::fs::create_dir_all(source)
            .context(|| format!("error while creating mount source path '{}'", config.source))?;
    }
    let propagation = match config.propagation.as_str() {
        "" => "rprivate",
        known @ ("private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave") => known,
        other => return Err(Error::invalid(format!("invalid propagation mode: {other}"))),
    };
    let (recursion, lock) = match (config.non_recursive, config.read_only) {
        (false, true) => ("rbind", "rro"),
        (true, true) => ("bind", "ro"),
        (false, false) => ("rbind", "rw"),
        (true, false) => ("bind", "rw"),
    };
    Ok(json!({
        "destination": trimmed(&config.target),
        "type": "bind",
        "source": config.source,
        "options": [recursion, lock, propagation],
    }))
}
