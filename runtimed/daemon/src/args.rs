//! The command line: containerd's flags, so that whatever starts containerd can start this daemon.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Config;

/// The container daemon.
#[derive(Debug, Parser)]
#[command(name = "runtimed", disable_version_flag = true, args_conflicts_with_subcommands = false)]
pub struct Args {
    /// The configuration file [default: /etc/runtimed/config.toml, if there is one].
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Durable files.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// Files that may vanish with a reboot.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub state: Option<PathBuf>,
    /// The socket of the gRPC server.
    #[arg(short, long, value_name = "SOCKET")]
    pub address: Option<PathBuf>,
    /// trace, debug, info, warn, error, fatal or panic.
    #[arg(short, long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// text or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Print the version.
    #[arg(short, long)]
    pub version: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the daemon's binary does besides being the daemon.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The configuration.
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// The store of records: looked at, written out, made anew.
    Metadata {
        #[command(subcommand)]
        verb: MetadataVerb,
    },
    /// Publishes an event for a shim that cannot reach the daemon over ttrpc.
    #[command(hide = true)]
    Publish {
        /// The namespace.
        #[arg(long)]
        namespace: String,
        /// The topic.
        #[arg(long)]
        topic: String,
    },
}

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the defaults, with what each means.
    Default,
    /// Check the file, and say what is wrong with it.
    Check,
    /// Print what is in force: the file, and the command line over it.
    Dump,
}

/// What can be done with the store.
#[derive(Debug, Subcommand)]
pub enum MetadataVerb {
    /// Say what is wrong with the store, and what records name that is not there. No daemon may run.
    Check {
        /// Also read every blob.
        #[arg(long)]
        deep: bool,
    },
    /// Write every record as a line of JSON, as far as the store can be read. A daemon may run.
    Export,
    /// Move the store aside, and make a new one of all that can be read of it, of its copy, and of what lies on disk and runs. No
    /// daemon may run.
    Rebuild {
        /// Also when nothing is wrong.
        #[arg(long)]
        force: bool,
    },
}

impl Args {
    /// The file's configuration with the command line over it.
    pub fn configuration(&self) -> errors::Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        let put = |from: &Option<PathBuf>, to: &mut PathBuf| {
            if let Some(path) = from {
                *to = path.clone();
            }
        };
        put(&self.root, &mut config.root);
        put(&self.state, &mut config.state);
        put(&self.address, &mut config.grpc.address);
        if let Some(level) = &self.log_level {
            config.log.level = level.clone();
        }
        if let Some(format) = &self.log_format {
            config.log.format = format.clone();
        }
        config.check()?;
        Ok(config)
    }
}
