//! Everything about a container or an image, as a JSON object with docker's names.

use std::time::SystemTime;

use errors::{Kind, Result, WithKind};
use ids::{ContainerId, Namespace, Reference};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::{ContainerConfig, MountConfig};
use crate::{Flows, Line, Phase};

/// docker's time of what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Flows {
    /// A container, as `docker inspect` tells of one; fields of things that this engine does not have are left out.
    pub async fn inspect(&self, namespace: &Namespace, id: &ContainerId, size: bool) -> Result<Value> {
        let line = self.line_of(namespace, id).await?;
        let config = line.config.clone().unwrap_or_default();
        let spec: Value = match &line.container.spec {
            Some(spec) => serde_json::from_slice(&spec.value)
                .kind(Kind::DataLoss, || format!("read the spec of {id}"))?,
            None => Value::Null,
        };
        let command = if config.command.is_empty() {
            strings(&spec["process"]["args"])
        } else {
            config.command.clone()
        };
        let files = self.container_state(namespace, id);
        let mut object = json!({
            "Id": id.as_str(),
            "Created": rfc3339(Some(line.container.created_at)),
            "Path": command.first().cloned().unwrap_or_default(),
            "Args": command.get(1..).unwrap_or_default(),
            "State": state(&line),
            "Image": config.image_id,
            "ResolvConfPath": files.join("resolv.conf"),
            "HostnamePath": files.join("hostname"),
            "HostsPath": files.join("hosts"),
            "LogPath": self.log_path(namespace, id),
            "Name": format!("/{}", line.name()),
            "RestartCount": line.state.restart_count,
            "Driver": line.container.snapshotter,
            "Platform": "linux",
            "HostConfig": host_config(&config, &line),
            "GraphDriver": { "Name": line.container.snapshotter, "Data": { "SnapshotKey": line.container.snapshot_key } },
            "Mounts": config.mounts.iter().map(mount).collect::<Vec<_>>(),
            "Config": container_config(&config, &line, &spec),
            "NetworkSettings": { "Networks": { network(&config): {} } },
        });
        if size {
            let snapshotter = self.rooms().snapshotters.get(&line.container.snapshotter)?;
            let usage = snapshotter.usage(namespace, &line.container.snapshot_key).await?;
            object["SizeRw"] = usage.size.into();
        }
        Ok(object)
    }

    /// An image, as `docker image inspect` tells of one.
    pub async fn inspect_image(&self, namespace: &Namespace, text: &str) -> Result<Value> {
        let found = self.find_image(namespace, text).await?;
        let Some(image) = found.names.first() else { return Ok(Value::Null) };
        let config = self.rooms().images.config(namespace, &image.target, None).await?;
        let raw: Value = serde_json::from_slice(&config.raw)
            .kind(Kind::DataLoss, || format!("read the config of {text}"))?;
        let same: Vec<_> = self
            .rooms()
            .names
            .list(namespace, &[])?
            .into_iter()
            .filter(|other| other.target.digest == image.target.digest)
            .filter_map(|other| Reference::parse(&other.name).ok())
            .collect();
        let tags: Vec<String> = same
            .iter()
            .filter_map(|name| Some(format!("{}:{}", name.familiar_name(), name.tag()?)))
            .collect();
        let mut digests: Vec<String> =
            same.iter().map(|name| format!("{}@{}", name.familiar_name(), image.target.digest)).collect();
        digests.dedup();
        Ok(json!({
            "Id": config.digest.to_string(),
            "RepoTags": tags,
            "RepoDigests": digests,
            "Comment": raw["history"].as_array().and_then(|all| all.last()).map_or("".into(), |last| last["comment"].clone()),
            "Created": raw["created"],
            "Author": raw["author"].as_str().unwrap_or_default(),
            "Config": raw["config"],
            "Architecture": raw["architecture"],
            "Variant": raw["variant"].as_str().unwrap_or_default(),
            "Os": raw["os"],
            "Size": config.layers.iter().map(|layer| layer.size).sum::<i64>(),
            "RootFS": { "Type": "layers", "Layers": config.diff_ids.iter().map(ToString::to_string).collect::<Vec<_>>() },
            "Metadata": { "LastTagTime": rfc3339(Some(image.updated_at)) },
            "Descriptor": { "mediaType": image.target.media_type, "digest": image.target.digest.to_string(), "size": image.target.size },
        }))
    }
}

fn state(line: &Line) -> Value {
    json!({
        "Status": line.phase.as_str(),
        "Running": line.is_running(),
        "Paused": line.phase == Phase::Paused,
        "Restarting": false,
        "Dead": line.phase == Phase::Dead,
        "Pid": line.pid,
        "ExitCode": if line.is_running() { 0 } else { line.state.exit_code },
        "Error": line.state.error,
        "StartedAt": rfc3339(line.state.started_at),
        "FinishedAt": rfc3339(line.state.finished_at),
    })
}

fn host_config(config: &ContainerConfig, line: &Line) -> Value {
    let resources = &config.resources;
    json!({
        "Binds": config.mounts.iter().filter(|mount| mount.kind == "bind").map(bind).collect::<Vec<_>>(),
        "NetworkMode": network(config),
        "AutoRemove": config.auto_remove,
        "CapAdd": config.cap_add,
        "CapDrop": config.cap_drop,
        "IpcMode": if config.ipc.is_empty() { "private" } else { &config.ipc },
        "PidMode": config.pid,
        "Privileged": config.privileged,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": config.security_opt,
        "Runtime": line.container.runtime,
        "Memory": resources.memory,
        "MemorySwap": resources.memory_swap,
        "MemoryReservation": resources.memory_reservation,
        "NanoCpus": resources.nano_cpus,
        "CpuShares": resources.cpu_shares,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "PidsLimit": resources.pids_limit,
        "Ulimits": config.ulimits.iter().map(|limit| json!({ "Name": limit.name, "Soft": limit.soft, "Hard": limit.hard })).collect::<Vec<_>>(),
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
    })
}

fn container_config(config: &ContainerConfig, line: &Line, spec: &Value) -> Value {
    json!({
        "Hostname": config.hostname,
        "User": config.user,
        "Tty": spec["process"]["terminal"].as_bool().unwrap_or_default(),
        "OpenStdin": config.open_stdin,
        "Env": strings(&spec["process"]["env"]),
        "Cmd": config.args,
        "Entrypoint": config.entrypoint,
        "Image": if config.image.is_empty() { &line.container.image } else { &config.image },
        "WorkingDir": spec["process"]["cwd"],
        "Labels": line.container.labels,
        "StopSignal": config.stop_signal,
        "StopTimeout": config.stop_timeout,
    })
}

fn network(config: &ContainerConfig) -> &str {
    if config.network.is_empty() { "none" } else { &config.network }
}

fn bind(mount: &MountConfig) -> String {
    let mode = if mount.read_only { ":ro" } else { "" };
    format!("{}:{}{mode}", mount.source, mount.target)
}

fn mount(mount: &MountConfig) -> Value {
    json!({
        "Type": mount.kind,
        "Source": mount.source,
        "Destination": mount.target,
        "Mode": if mount.read_only { "ro" } else { "" },
        "RW": !mount.read_only,
        "Propagation": if mount.kind == "bind" && mount.propagation.is_empty() { "rprivate" } else { &mount.propagation },
    })
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn rfc3339(at: Option<SystemTime>) -> String {
    let text = at.and_then(|at| OffsetDateTime::from(at).format(&Rfc3339).ok());
    text.unwrap_or_else(|| NEVER.to_owned())
}
