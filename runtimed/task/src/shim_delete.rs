//! Cleans after a shim that is dead: `shim ... -bundle PATH delete`.
//!
//! The command kills what is left of the container, removes the executor's state and unmounts the root; it
//! prints how init ended, as far as the shim can still know it (containerd's says 137).

use std::time::SystemTime;

use errors::{Context, Error, Kind, Result, WithKind};
use ids::{ContainerId, Namespace};
use proto_shim::Message;
use proto_shim::task::v3::DeleteResponse;

use crate::bundle::Bundle;
use crate::cgroup;
use crate::shim_conn::convert;
use crate::shim_lookup;
use crate::shim_start::{Launch, command, run};
use crate::table::blocking;
use crate::types::{Config, Exit};

/// The runtime that containerd takes when it is told of none.
const USUAL: &str = "io.containerd.runc.v2";

/// The status of a process of which nothing is known but that it ended (containerd's `UnknownExitStatus`).
pub(crate) const UNKNOWN_STATUS: u32 = 255;

/// The status of a process that was killed here: 128 and SIGKILL.
const KILLED: u32 = 137;

/// Runs the command with the binary that the bundle names. What it leaves of the container's processes, since it fails or because its
/// executor does, is killed.
pub(crate) async fn delete(
    config: &Config,
    namespace: &Namespace,
    id: &ContainerId,
    bundle: &Bundle,
) -> Result<Exit> {
    let mut told = command_delete(config, namespace, id, bundle).await;
    let cut = told.as_ref().is_err_and(|error| error.kind() != Kind::DeadlineExceeded);
    if cut && bundle.path().exists() {
        // Killed half way, it has left the executor's state, and the id taken.
        told = command_delete(config, namespace, id, bundle).await;
    }
    let (path, name) = (bundle.path().to_owned(), id.clone());
    match (blocking(move || cgroup::clear(&path, &name)).await, told) {
        (Ok(0), told) => told,
        (Ok(killed), told) => {
            tracing::warn!(%namespace, %id, killed, "processes were left of a container without a shim");
            told.or_else(|_| Ok(Exit { pid: 0, status: KILLED, at: SystemTime::now() }))
        }
        (Err(error), told) => {
            tracing::error!(%namespace, %id, error = %error.chain(), "processes are left of a container without a shim");
            told
        }
    }
}

async fn command_delete(
    config: &Config,
    namespace: &Namespace,
    id: &ContainerId,
    bundle: &Bundle,
) -> Result<Exit> {
    let _step = marks::step("task.shim.delete")?;
    let binary = match bundle.read_binary() {
        // Somebody has removed it: any shim knows how to end what it has not started.
        Err(error) if error.is_not_found() => usual(config).ok_or(error)?,
        binary => binary?,
    };
    let launch = Launch { config, namespace, id, binary: &binary, bundle: bundle.path() };
    let mut command = command(launch);
    command.arg("-bundle").arg(bundle.path()).arg("delete");
    let shown = || format!("{} delete, task {id}", binary.display());
    let output = run(command, &[], config.timeouts.cleanup).await.context(shown)?;
    if !output.success {
        return Err(Error::internal(format!("{}: {}: {}", shown(), output.complaint(), output.status)));
    }
    let answer = DeleteResponse::parse_from_bytes(&output.stdout).kind(Kind::DataLoss, shown)?;
    Ok(convert::exit(&answer))
}

/// The shim for whoever asks for none.
fn usual(config: &Config) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    shim_lookup::find(USUAL, &config.runtimes, &path, &config.binary).ok()
}

/// The exit to report when even the command cannot tell.
pub(crate) fn unknown(pid: u32) -> Exit {
    Exit { pid, status: UNKNOWN_STATUS, at: SystemTime::now() }
}
