//! What a person asked a container to be: kept with its record, so that it can be told and started again.

use std::collections::BTreeMap;
use std::time::SystemTime;

use errors::{Error, Kind, Result, WithKind};
use prost_types::Any;
use serde::{Deserialize, Serialize};

/// The extension of a container record that holds its [`ContainerConfig`].
pub const EXTENSION: &str = "runtimed.engine/config";
/// The label that marks, and names, a container made through the engine's API.
pub const NAME_LABEL: &str = "runtimed.engine/name";

/// containerd's label that keeps a snapshot from collection, and what the engine writes there: the mark of a container's root.
pub(crate) const GC_ROOT: &str = "containerd.io/gc.root";
pub(crate) const GC_ROOT_OWNER: &str = "runtimed";

/// A file system made visible in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountConfig {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: String,
    /// The host's path of a bind, or a volume's name.
    pub source: String,
    /// The absolute path in the container.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
    /// Propagation of a bind; empty: rprivate.
    pub propagation: String,
    /// A missing source is created as a folder.
    pub create_source: bool,
    /// A bind does not take along what is mounted below its source.
    pub non_recursive: bool,
    /// Bytes of a tmpfs; 0: no limit.
    pub tmpfs_size: i64,
    /// Mode of a tmpfs; 0: 1777.
    pub tmpfs_mode: u32,
    /// Further options of a tmpfs.
    pub options: Vec<String>,
}

/// A limit as setrlimit(2) has it; -1 is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// In lower case and without `RLIMIT_`.
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// Limits; 0 and empty mean none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes.
    pub memory: i64,
    /// Bytes of memory and swap; -1 is unlimited.
    pub memory_swap: i64,
    /// Bytes.
    pub memory_reservation: i64,
    /// Billionths of a CPU.
    pub nano_cpus: i64,
    /// Relative weight.
    pub cpu_shares: i64,
    /// List of CPUs.
    pub cpuset_cpus: String,
    /// List of memory nodes.
    pub cpuset_mems: String,
    /// Processes; -1 is unlimited.
    pub pids_limit: i64,
}

/// Everything that makes a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// The image as the user named it.
    pub image: String,
    /// The container's name.
    pub name: String,
    /// In place of the image's Cmd, unless empty.
    pub args: Vec<String>,
    /// In place of the image's Entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Working directory; empty: the image's.
    pub working_dir: String,
    /// User; empty: the image's.
    pub user: String,
    /// A terminal.
    pub tty: bool,
    /// stdin stays open.
    pub open_stdin: bool,
    /// Removed when it ends.
    pub auto_remove: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Host name; empty: the short id.
    pub hostname: String,
    /// Mounts.
    pub mounts: Vec<MountConfig>,
    /// The root is read-only.
    pub read_only: bool,
    /// Limits.
    pub resources: Resources,
    /// Capabilities added.
    pub cap_add: Vec<String>,
    /// Capabilities dropped.
    pub cap_drop: Vec<String>,
    /// All that the daemon may.
    pub privileged: bool,
    /// docker's security options.
    pub security_opt: Vec<String>,
    /// Resource limits of the first process.
    pub ulimits: Vec<Ulimit>,
    /// `none` or `host`; empty: none.
    pub network: String,
    /// `host` or empty.
    pub pid: String,
    /// `host`, `private`, `none`, `shareable` or empty.
    pub ipc: String,
    /// Empty: the image's, or SIGTERM.
    pub stop_signal: String,
    /// Seconds; `None`: 10.
    pub stop_timeout: Option<i64>,
    /// Empty: the daemon's default.
    pub runtime: String,
    /// Empty: the daemon's default.
    pub snapshotter: String,
    /// Empty: this machine's.
    pub platform: String,
    /// The digest of the image's config at creation: docker's image id.
    #[serde(default)]
    pub image_id: String,
    /// What runs, entrypoint and arguments together, once known.
    #[serde(default)]
    pub command: Vec<String>,
}

/// How a container's first process fares, as far as it must survive its task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// When it was last started.
    pub started_at: Option<SystemTime>,
    /// When it last ended.
    pub finished_at: Option<SystemTime>,
    /// Its exit code: 128+n after signal n.
    pub exit_code: u32,
    /// Why it did not start, or was lost.
    pub error: String,
    /// Starts after the first.
    pub restart_count: u64,
    /// A person stopped it.
    #[serde(default)]
    pub stopped_by_user: bool,
}

impl ContainerConfig {
    /// As a record's extension.
    pub fn to_any(&self) -> Result<Any> {
        let value = serde_json::to_vec(self).kind(Kind::Internal, || "write a container's configuration")?;
        Ok(Any { type_url: EXTENSION.to_owned(), value })
    }

    /// From a record's extension; `None` for a container that other clients made.
    pub fn of(container: &container::Container) -> Result<Option<ContainerConfig>> {
        let Some(any) = container.extensions.get(EXTENSION) else { return Ok(None) };
        serde_json::from_slice(&any.value).map(Some).map_err(|error| {
            Error::with_source(
                Kind::DataLoss,
                format!("read the configuration of container {}", container.id),
                error,
            )
        })
    }
}

impl State {
    /// Is a process of it meant to be running?
    pub fn is_started(&self) -> bool {
        match (self.started_at, self.finished_at) {
            (Some(started), Some(finished)) => started > finished,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}
