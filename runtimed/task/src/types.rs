//! What callers of this room hand over and get back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ids::ContainerId;
use prost_types::Any;

/// Where shims and bundles live, and how patient to be with them.
#[derive(Debug, Clone)]
pub struct Config {
    /// `<state>`: bundles are in `<state>/io.containerd.runtime.v2.task/<ns>/<id>`.
    pub state: PathBuf,
    /// `<root>`: work folders are in `<root>/io.containerd.runtime.v2.task/<ns>/<id>`.
    pub root: PathBuf,
    /// The daemon's gRPC socket, as shims are told.
    pub address: PathBuf,
    /// The daemon's ttrpc socket, as shims are told.
    pub ttrpc_address: PathBuf,
    /// The daemon's own binary, for `-publish-binary`.
    pub binary: PathBuf,
    /// Runtime names that stand for a shim binary, such as `io.containerd.runc.v2` -> path; other names are
    /// looked up as containerd does.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// How long a shim may take to start, and to answer at the daemon's start.
    pub shim_timeout: Duration,
    /// How long a shim may take for anything else.
    pub timeouts: Timeouts,
    /// Shims log at debug level.
    pub debug: bool,
    /// A shim of ours is started beforehand, to stand by for the next container.
    pub standby: bool,
}

/// How long a shim may take for what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To tell how a process is.
    pub state: Duration,
    /// For calls that it answers from memory, or with one short run of the executor.
    pub call: Duration,
    /// For calls that set up or tear down: hooks, checkpoints and slow disks are in them.
    pub long_call: Duration,
    /// To leave once it is asked to; then it is killed.
    pub shutdown: Duration,
    /// For its `delete` command, which cleans after it.
    pub cleanup: Duration,
    /// For one run of the executor, which the shim ends then. Our own shim is told; others know no such limit.
    pub executor: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            state: Duration::from_secs(2),
            call: Duration::from_secs(10),
            long_call: Duration::from_secs(120),
            shutdown: Duration::from_secs(3),
            cleanup: Duration::from_secs(10),
            executor: Duration::from_secs(100),
        }
    }
}

/// What a new task is made of.
#[derive(Debug, Clone, Default)]
pub struct Create {
    /// The runtime's name or an absolute path of a shim.
    pub runtime: String,
    /// The runtime's options.
    pub options: Option<Any>,
    /// config.json.
    pub spec: Vec<u8>,
    /// The mounts of the root.
    pub rootfs: Vec<Mount>,
    /// Standard streams, as the API has them: paths of fifos or URIs.
    pub io: Io,
    /// What it is restored from when it is started.
    pub checkpoint: Checkpoint,
}

/// What a task is restored from: a folder with criu's images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Checkpoint {
    /// Nothing: its program begins anew.
    #[default]
    None,
    /// A folder of somebody else's, who keeps it at least until the task is started.
    Theirs(PathBuf),
    /// A folder on the file system of the daemon's root. It becomes the task's own, and goes once that is started, or deleted.
    Given(PathBuf),
}

/// How far a task came that was to be created and started.
#[derive(Debug)]
pub struct Ran {
    /// Init's pid.
    pub pid: u32,
    /// It runs; otherwise the caller starts it.
    pub started: bool,
    /// A connection to its streams that was made before it started, in the frames of the shim's attach socket;
    /// otherwise the caller connects.
    pub client: Option<tokio::net::UnixStream>,
}

/// Standard streams of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Io {
    /// Where stdin comes from, or empty.
    pub stdin: String,
    /// Where stdout goes, or empty.
    pub stdout: String,
    /// Where stderr goes, or empty.
    pub stderr: String,
    /// Is there a terminal.
    pub terminal: bool,
}

/// A mount, as the API has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Type.
    pub kind: String,
    /// Source.
    pub source: String,
    /// Target.
    pub target: String,
    /// Options.
    pub options: Vec<String>,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not known: the shim does not answer.
    Unknown,
    /// Created, not started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Stopped,
    /// Frozen.
    Paused,
    /// Being frozen.
    Pausing,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its pid, as the host sees it.
    pub pid: u32,
    /// Its status: 0-255, 128+n after a signal.
    pub status: u32,
    /// When.
    pub at: SystemTime,
}

/// A process as the shim tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The container's id.
    pub id: ContainerId,
    /// The exec's id, or empty for init.
    pub exec_id: String,
    /// Its pid; 0 before start of an exec.
    pub pid: u32,
    /// What it does.
    pub status: Status,
    /// Its streams.
    pub io: Io,
    /// What it did when that was last known: says more than `status` where that is [`Status::Unknown`].
    pub known: Status,
    /// How it ended, if it did.
    pub exit: Option<Exit>,
    /// The bundle folder.
    pub bundle: PathBuf,
}

/// An additional process.
#[derive(Debug, Clone)]
pub struct Exec {
    /// Its id.
    pub exec_id: ContainerId,
    /// The OCI process, JSON in an `Any`.
    pub spec: Any,
    /// Its streams.
    pub io: Io,
}
