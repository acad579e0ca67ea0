//! From what a person asked for, and what the image says, to config.json. Pure: whatever must be looked up on the machine comes in
//! through [`SpecInput`] and [`Machine`].
//!
//! The defaults are docker's and containerd's: callers know them, and images count on them.

mod command;
mod devices;
pub(crate) mod limits;
mod mounts;
pub(crate) mod security;
mod stranger;

use std::collections::BTreeMap;
use std::path::Path;

use errors::{Error, Kind, Result, WithKind};
use ids::{ContainerId, Labels, Namespace};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::ContainerConfig;
use crate::user::{User, to_json};

pub use command::{command, merge_env};
pub use devices::Machine;

/// The version of the runtime spec that is written.
const OCI_VERSION: &str = "1.2.0";
/// docker's PATH for images that set none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image's config says of containers made from it (OCI image-spec config.md).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageDefaults {
    /// `USER`.
    pub user: String,
    /// `ENV`.
    pub env: Vec<String>,
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub cmd: Vec<String>,
    /// `WORKDIR`.
    pub working_dir: String,
    /// `LABEL`.
    pub labels: Labels,
    /// `STOPSIGNAL`.
    pub stop_signal: String,
}

/// Everything that a spec is made of.
pub struct SpecInput<'a> {
    /// The namespace: part of the cgroup's path.
    pub namespace: &'a Namespace,
    /// The container.
    pub id: &'a ContainerId,
    /// What was asked for; `command` is filled in.
    pub config: &'a ContainerConfig,
    /// What the image says.
    pub image: &'a ImageDefaults,
    /// Who the first process runs as.
    pub user: &'a User,
    /// The folder of hostname, hosts and resolv.conf.
    pub files: &'a Path,
    /// What a privileged container may.
    pub capabilities: &'a [String],
    /// The default seccomp profile is applied.
    pub seccomp: bool,
    /// Facts of this machine.
    pub machine: &'a Machine,
}

impl ImageDefaults {
    /// Reads an image's config.
    pub fn parse(raw: &[u8]) -> Result<ImageDefaults> {
        #[derive(Deserialize, Default)]
        struct Document {
            config: Option<Section>,
        }
        // Lists and maps may be null in documents that Go programs wrote.
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "PascalCase", default)]
        struct Section {
            user: Option<String>,
            env: Option<Vec<String>>,
            entrypoint: Option<Vec<String>>,
            cmd: Option<Vec<String>>,
            working_dir: Option<String>,
            labels: Option<BTreeMap<String, String>>,
            stop_signal: Option<String>,
        }
        let document: Document =
            serde_json::from_slice(raw).kind(Kind::InvalidArgument, || "read the image's config")?;
        let section = document.config.unwrap_or_default();
        let defaults = ImageDefaults {
            user: section.user.unwrap_or_default(),
            env: section.env.unwrap_or_default(),
            entrypoint: section.entrypoint.unwrap_or_default(),
            cmd: section.cmd.unwrap_or_default(),
            working_dir: section.working_dir.unwrap_or_default(),
            labels: section.labels.unwrap_or_default(),
            stop_signal: section.stop_signal.unwrap_or_default(),
        };
        stranger::check(defaults)
    }
}

/// Writes config.json.
pub fn build(input: &SpecInput<'_>) -> Result<Vec<u8>> {
    let config = input.config;
    let security = security::Security::parse(config)?;
    let mut spec = json!({
        "ociVersion": OCI_VERSION,
        "process": process(input, &security)?,
        "root": { "path": "rootfs", "readonly": config.read_only },
        "hostname": config.hostname,
        "mounts": mounts::mounts(input)?,
        "linux": {
            "resources": limits::resources(config, input.machine)?,
            "cgroupsPath": format!("/{}/{}", input.namespace, input.id),
            "namespaces": namespaces(config, input.machine),
            "maskedPaths": security.masked_paths(),
            "readonlyPaths": security.readonly_paths(),
        },
    });
    if config.privileged {
        spec["linux"]["devices"] = devices::to_json(&input.machine.devices);
    }
    if config.network != "host" {
        spec["linux"]["sysctl"] = json!({
            "net.ipv4.ip_unprivileged_port_start": "0",
            "net.ipv4.ping_group_range": "0 2147483647",
        });
    }
    if let Some(profile) =
        security.seccomp(input.seccomp, &security::capabilities(input)?, input.machine.kernel)?
    {
        spec["linux"]["seccomp"] = profile;
    }
    serde_json::to_vec(&spec).kind(Kind::Internal, || "write config.json")
}

fn process(input: &SpecInput<'_>, security: &security::Security) -> Result<Value> {
    let config = input.config;
    let capabilities = security::capabilities(input)?;
    let mut process = json!({
        "terminal": config.tty,
        "user": to_json(input.user),
        "args": config.command,
        "env": env(input)?,
        "cwd": cwd(input)?,
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
        },
        "noNewPrivileges": security.no_new_privileges,
        "oomScoreAdj": 0,
    });
    if !config.ulimits.is_empty() {
        process["rlimits"] = limits::rlimits(config)?;
    }
    Ok(process)
}

fn env(input: &SpecInput<'_>) -> Result<Vec<String>> {
    let config = input.config;
    for entry in &config.env {
        if entry.starts_with('=') || entry.contains('\0') {
            return Err(Error::invalid(format!("invalid environment variable: {entry:?}")));
        }
    }
    let mut base = vec![PATH.to_owned(), format!("HOSTNAME={}", config.hostname)];
    if config.tty {
        base.push("TERM=xterm".to_owned());
    }
    Ok(merge_env(merge_env(base, &input.image.env), &config.env))
}

fn cwd(input: &SpecInput<'_>) -> Result<String> {
    let chosen =
        [&input.config.working_dir, &input.image.working_dir].into_iter().find(|dir| !dir.is_empty());
    match chosen {
        None => Ok("/".to_owned()),
        Some(dir) if dir.starts_with('/') => Ok(dir.clone()),
        Some(dir) if std::ptr::eq(dir, &input.image.working_dir) => Ok(format!("/{dir}")),
        Some(dir) => Err(Error::invalid(format!(
            "the working directory '{dir}' is invalid, it needs to be an absolute path"
        ))),
    }
}

fn namespaces(config: &ContainerConfig, machine: &Machine) -> Value {
    let mut kinds = vec!["mount", "uts"];
    if config.network != "host" {
        kinds.push("network");
    }
    if config.pid != "host" {
        kinds.push("pid");
    }
    if config.ipc != "host" {
        kinds.push("ipc");
    }
    // docker's default: private where the container sees cgroup v2, the host's otherwise.
    if machine.cgroup_v2 && !config.privileged {
        kinds.push("cgroup");
    }
    kinds.into_iter().map(|kind| json!({ "type": kind })).collect()
}
