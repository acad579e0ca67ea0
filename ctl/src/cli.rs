//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::*;

/// Run containers, and manage images.
#[derive(Debug, Parser)]
#[command(name = "rctl", version, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// What every verb understands.
#[derive(Debug, Args)]
pub struct Globals {
    /// The daemon's socket.
    #[arg(
        short = 'H',
        long,
        global = true,
        env = "RUNTIMED_ADDRESS",
        default_value = "/run/runtimed/runtimed.sock"
    )]
    pub address: PathBuf,
    /// The namespace.
    #[arg(long, global = true, env = "RUNTIMED_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Show on standard error where the time went, step by step, in this program, the daemon, the shim and the executor
    #[arg(long, global = true)]
    pub trace: bool,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create and run a new container from an image
    Run(run::Args),
    /// Create a new container
    Create(create::Args),
    /// Run a command in a running container
    Exec(exec::Args),
    /// List containers
    #[command(visible_alias = "list", alias = "ls")]
    Ps(ps::Args),
    /// Fetch the output of a container
    Logs(logs::Args),
    /// Start one or more stopped containers
    Start(start::Args),
    /// Stop one or more running containers
    Stop(stop::Args),
    /// Restart one or more containers
    Restart(restart::Args),
    /// Kill one or more running containers
    Kill(kill::Args),
    /// Remove one or more containers
    Rm(rm::Args),
    /// Return low-level information on containers or images
    Inspect(inspect::Args),
    /// Load images from an archive
    Load(load::Args),
    /// Attach standard input, output and error to a running container
    Attach(attach::Args),
    /// Block until one or more containers stop, then print their exit codes
    Wait(wait::Args),
    /// Pause all processes within one or more containers
    Pause(pause::Args),
    /// Unpause all processes within one or more containers
    Unpause(unpause::Args),
    /// Pull an image from a registry
    Pull(pull::Args),
    /// List images
    Images(images::Args),
    /// Remove one or more images
    Rmi(rmi::Args),
    /// Create a tag TARGET that refers to SOURCE
    Tag(tag::Args),
    /// Display the running processes of a container
    Top(top::Args),
    /// Display a live stream of what containers use
    Stats(stats::Args),
    /// Save one or more images to an archive
    Save(save::Args),
    /// Display the daemon's settings and what it holds
    Info(info::Args),
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Show the version of rctl and of the daemon
    Version(version::Args),
    /// docker's verbs for containers: `rctl container ls` is `rctl ps` (for containerd's records: `rctl containers`)
    #[command(subcommand)]
    Container(manage::Container),
    /// docker's verbs for images: `rctl image rm` is `rctl rmi`
    #[command(subcommand)]
    Image(manage::Image),
    /// Manage containerd's records of containers, as ctr does (for docker's verbs: `rctl container`)
    #[command(subcommand, visible_alias = "c")]
    Containers(nouns::containers::Verb),
    /// Manage content, as ctr does
    #[command(subcommand)]
    Content(nouns::content::Verb),
    /// Manage leases, as ctr does
    #[command(subcommand, visible_alias = "lease")]
    Leases(nouns::leases::Verb),
    /// Manage namespaces, as ctr does
    #[command(subcommand, visible_aliases = ["namespace", "ns"])]
    Namespaces(nouns::namespaces::Verb),
    /// Tell of the daemon's plugins, as ctr does
    #[command(subcommand, visible_alias = "plugin")]
    Plugins(nouns::plugins::Verb),
    /// Manage snapshots, as ctr does
    #[command(visible_alias = "snapshot")]
    Snapshots(nouns::snapshots::Snapshots),
    /// Manage tasks, as ctr does
    #[command(subcommand, visible_aliases = ["task", "t"])]
    Tasks(nouns::tasks::Verb),
}
