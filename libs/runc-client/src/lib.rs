//! Drives an OCI executor through runc's command line: what a shim and a daemon do with `runc`, `runc-rs`,
//! `crun`.
//!
//! The command line is the contract (<https://github.com/opencontainers/runc/tree/main/man>): global options
//! `--root`, `--log`, `--log-format json`, `--systemd-cgroup`, then a verb. Verbs that answer print JSON on
//! standard output; a verb that fails leaves its reason as the last line of level `error` in the log, which
//! becomes the message of [`Error`].
//!
//! A process that reaps all its children in one place hands in its own [`Spawner`]; everyone else uses
//! [`PidfdSpawner`].

mod async_fd;
mod checkpoint;
mod console;
mod create;
pub mod doors;
mod error;
mod lifecycle;
mod log;
mod output;
mod query;
mod ready;
mod restore;
mod runc;
mod spawn;
mod stdio;

pub use async_fd::async_fd;
pub use checkpoint::CheckpointOptions;
pub use console::ConsoleSocket;
pub use create::{CreateOptions, ExecOptions};
pub use error::{Error, Kind, Result};
pub use lifecycle::KillOptions;
pub use query::State;
pub use ready::Ready;
pub use restore::RestoreOptions;
pub use runc::Runc;
pub use spawn::{ExitFuture, PidfdSpawner, Running, Spawner};
pub use stdio::ExecutorStdio;
