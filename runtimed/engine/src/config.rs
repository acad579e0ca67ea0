//! From the request's container to the flows'.

use flows::config::{ContainerConfig, MountConfig, Resources, Ulimit};
use proto_engine::v1;
use tonic::Status;

use crate::caller::bad_request;

/// Checks what can be checked without looking anywhere, and converts.
pub fn container_config(config: Option<v1::ContainerConfig>) -> Result<ContainerConfig, Status> {
    let config = config.ok_or_else(|| bad_request("config is required"))?;
    if config.image.is_empty() {
        return Err(bad_request("image is required"));
    }
    match config.network.as_str() {
        "" | "host" | "none" => {}
        other => {
            return Err(bad_request(format!("network {other:?} is not supported: it must be host or none")));
        }
    }
    match config.pid.as_str() {
        "" | "host" => {}
        other => return Err(bad_request(format!("--pid: invalid PID mode {other:?}"))),
    }
    match config.ipc.as_str() {
        "" | "host" | "private" | "none" | "shareable" => {}
        other => return Err(bad_request(format!("--ipc: invalid IPC mode {other:?}"))),
    }
    Ok(ContainerConfig {
        image: config.image,
        name: config.name,
        args: config.args,
        entrypoint: config.entrypoint_set.then_some(config.entrypoint),
        env: config.env,
        working_dir: clean(&config.working_dir),
        user: config.user,
        tty: config.tty,
        open_stdin: config.open_stdin,
        auto_remove: config.auto_remove,
        labels: config.labels.into_iter().collect(),
        hostname: config.hostname,
        mounts: config.mounts.into_iter().map(mount).collect::<Result<_, _>>()?,
        read_only: config.read_only,
        resources: config.resources.map(resources).unwrap_or_default(),
        cap_add: config.cap_add,
        cap_drop: config.cap_drop,
        privileged: config.privileged,
        security_opt: config.security_opt,
        ulimits: config.ulimits.into_iter().map(ulimit).collect(),
        network: config.network,
        pid: config.pid,
        ipc: config.ipc,
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        runtime: config.runtime,
        snapshotter: config.snapshotter,
        platform: config.platform,
        ..ContainerConfig::default()
    })
}

/// An absolute path without `.`, `..` and empty parts, as Go's path.Clean has it; what is no absolute path stays as it is.
fn clean(path: &str) -> String {
    if !path.starts_with('/') {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

fn mount(mount: v1::Mount) -> Result<MountConfig, Status> {
    if !mount.target.starts_with('/') {
        return Err(bad_request(format!(
            "invalid mount config for type {:?}: invalid mount path: '{}' mount path must be absolute",
            mount.r#type, mount.target
        )));
    }
    match mount.r#type.as_str() {
        "bind" if !mount.source.starts_with('/') => {
            return Err(bad_request(format!(
                "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
                mount.source
            )));
        }
        "bind" | "tmpfs" => {}
        "volume" => {
            let what = match mount.source.as_str() {
                "" => format!("anonymous volume at {:?}", mount.target),
                name => format!("named volume {name:?}"),
            };
            return Err(Status::unimplemented(format!("{what}: volumes are not supported yet")));
        }
        other => return Err(bad_request(format!("invalid mount config: mount type unknown: {other:?}"))),
    }
    Ok(MountConfig {
        kind: mount.r#type,
        source: mount.source,
        target: clean(&mount.target),
        read_only: mount.read_only,
        propagation: mount.propagation,
        create_source: mount.create_source,
        non_recursive: mount.non_recursive,
        tmpfs_size: mount.tmpfs_size,
        tmpfs_mode: mount.tmpfs_mode,
        options: mount.options,
    })
}

fn resources(resources: v1::Resources) -> Resources {
    Resources {
        memory: resources.memory,
        memory_swap: resources.memory_swap,
        memory_reservation: resources.memory_reservation,
        nano_cpus: resources.nano_cpus,
        cpu_shares: resources.cpu_shares,
        cpuset_cpus: resources.cpuset_cpus,
        cpuset_mems: resources.cpuset_mems,
        pids_limit: resources.pids_limit,
    }
}

fn ulimit(limit: v1::Ulimit) -> Ulimit {
    Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard }
}
