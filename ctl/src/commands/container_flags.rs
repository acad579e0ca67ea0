//! The flags that make a container: `run` and `create` share them.

use std::path::PathBuf;

use clap::Args;
use proto_engine::v1;

use crate::failure::{Failure, Result};
use crate::parse;

/// Flags of a container's making.
#[derive(Debug, Args)]
pub struct ContainerFlags {
    /// Assign a name to the container
    #[arg(long)]
    pub name: Option<String>,
    /// Keep standard input open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a pseudo-terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Remove the container when it ends
    #[arg(long)]
    pub rm: bool,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Working directory inside the container
    #[arg(short, long)]
    pub workdir: Option<String>,
    /// User name or id, with an optional group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Overwrite the image's entrypoint
    #[arg(long)]
    pub entrypoint: Option<String>,
    /// Bind mount a folder or file
    #[arg(short, long, value_name = "SOURCE:TARGET[:OPTIONS]")]
    pub volume: Vec<String>,
    /// Attach a file system mount
    #[arg(long, value_name = "type=TYPE,source=SOURCE,target=TARGET,...")]
    pub mount: Vec<String>,
    /// Mount a tmpfs
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    pub tmpfs: Vec<String>,
    /// Mount the container's root read-only
    #[arg(long)]
    pub read_only: bool,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES", value_parser = parse::size)]
    pub memory: Option<i64>,
    /// Limit of memory and swap together; -1 means unlimited swap
    #[arg(long, value_name = "BYTES", value_parser = parse::size, allow_hyphen_values = true)]
    pub memory_swap: Option<i64>,
    /// Memory soft limit
    #[arg(long, value_name = "BYTES", value_parser = parse::size)]
    pub memory_reservation: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_parser = parse::cpus)]
    pub cpus: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long)]
    pub cpu_shares: Option<i64>,
    /// CPUs in which to allow execution
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes in which to allow execution
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Limit of processes; -1 means unlimited
    #[arg(long, allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Add a Linux capability
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// Drop a Linux capability
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// Give the container all that the daemon may
    #[arg(long)]
    pub privileged: bool,
    /// Security options
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Host name of the container
    #[arg(short = 'h', long)]
    pub hostname: Option<String>,
    /// Set metadata on the container
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Resource limits of the first process
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// Connect the container to a network: host or none
    #[arg(long, visible_alias = "net", default_value = "none")]
    pub network: String,
    /// PID namespace to use: host
    #[arg(long)]
    pub pid: Option<String>,
    /// IPC mode to use: host, private, none or shareable
    #[arg(long)]
    pub ipc: Option<String>,
    /// Signal to stop the container
    #[arg(long)]
    pub stop_signal: Option<String>,
    /// Seconds until a container that is stopped is killed
    #[arg(long, allow_hyphen_values = true)]
    pub stop_timeout: Option<i64>,
    /// Runtime to use for this container
    #[arg(long)]
    pub runtime: Option<String>,
    /// Snapshotter of the container's root
    #[arg(long)]
    pub snapshotter: Option<String>,
    /// Platform of the image
    #[arg(long)]
    pub platform: Option<String>,
    /// Pull the image before running: always, missing or never
    #[arg(long, default_value = "missing", value_parser = ["always", "missing", "never"])]
    pub pull: String,
    /// Suppress the pull's output
    #[arg(short, long)]
    pub quiet: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
    /// The image
    pub image: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

impl ContainerFlags {
    /// What the daemon is asked for.
    pub fn config(&self) -> Result<v1::ContainerConfig> {
        let bad = Failure::Usage;
        let text = |option: &Option<String>| option.clone().unwrap_or_default();
        let number = |option: Option<i64>| option.unwrap_or_default();
        Ok(v1::ContainerConfig {
            image: self.image.clone(),
            name: text(&self.name),
            args: self.command.clone(),
            entrypoint: self.entrypoint.iter().cloned().collect(),
            entrypoint_set: self.entrypoint.is_some(),
            env: parse::environment(&self.env_file, &self.env).map_err(bad)?,
            working_dir: text(&self.workdir),
            user: text(&self.user),
            tty: self.tty,
            open_stdin: self.interactive,
            auto_remove: self.rm,
            labels: parse::labels(&self.label),
            hostname: text(&self.hostname),
            mounts: self.mounts().map_err(bad)?,
            read_only: self.read_only,
            resources: Some(v1::Resources {
                memory: number(self.memory),
                memory_swap: number(self.memory_swap),
                memory_reservation: number(self.memory_reservation),
                nano_cpus: number(self.cpus),
                cpu_shares: number(self.cpu_shares),
                cpuset_cpus: text(&self.cpuset_cpus),
                cpuset_mems: text(&self.cpuset_mems),
                pids_limit: number(self.pids_limit),
            }),
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            privileged: self.privileged,
            security_opt: self
                .security_opt
                .iter()
                .map(|option| security_opt(option))
                .collect::<Result<_>>()?,
            ulimits: self
                .ulimit
                .iter()
                .map(|flag| parse::ulimit(flag))
                .collect::<std::result::Result<_, String>>()
                .map_err(bad)?,
            network: self.network.clone(),
            pid: text(&self.pid),
            ipc: text(&self.ipc),
            stop_signal: text(&self.stop_signal),
            stop_timeout: self.stop_timeout,
            runtime: text(&self.runtime),
            snapshotter: text(&self.snapshotter),
            platform: text(&self.platform),
        })
    }

    fn mounts(&self) -> std::result::Result<Vec<v1::Mount>, String> {
        let volumes = self.volume.iter().map(|flag| parse::volume(flag));
        let mounts = self.mount.iter().map(|flag| {
            parse::mount(flag).map_err(|error| format!("invalid argument {flag:?} for --mount: {error}"))
        });
        let tmpfs = self.tmpfs.iter().map(|flag| parse::tmpfs(flag));
        volumes.chain(mounts).chain(tmpfs).collect()
    }
}

/// A seccomp profile is a file of this machine: the daemon is sent what is in it.
fn security_opt(option: &str) -> Result<String> {
    match option.split_once('=') {
        Some(("seccomp", file)) if file != "unconfined" && file != "builtin" => {
            let text = parse::read(std::path::Path::new(file)).map_err(|error| {
                Failure::Usage(format!("opening seccomp profile ({file}) failed: {error}"))
            })?;
            Ok(format!("seccomp={text}"))
        }
        _ => Ok(option.to_owned()),
    }
}
