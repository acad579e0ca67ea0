//! Starts this project's own shim without its `start` command.
//!
//! `start` is a program that binds a socket, starts a second program to serve there, and ends. Where the shim is known
//! to be ours, the daemon binds the socket itself and starts that second program at once, with the socket as its
//! standard input and, if the caller wants the container's streams, a connection for them as its standard output. A
//! request waits in the socket until the shim is up, so nobody waits for the shim to say so.
//!
//! What `start` decides otherwise stays with it: groups of containers that share a shim, a cgroup for the shim, core
//! scheduling.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use errors::{Context, Result};
use ids::{ContainerId, Namespace};
use prost_types::Any;
use proto_shim::options::Options;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::bundle::Bootstrap;
use crate::files;
use crate::shim_conn::convert::theirs;
use crate::shim_end::{self, Held};
use crate::shim_socket;
use crate::shim_spare::Spares;
use crate::shim_start::{self, Launch};
use crate::types::Config;

/// Where shims make their sockets that are not told where.
const SHIMS: &str = "/run/containerd/s";

/// The task service that our shim speaks.
const VERSION: u32 = 3;

/// Annotations that put containers into a group which shares a shim.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// A shim that is about to serve.
pub(crate) struct Serving {
    pub(crate) bootstrap: Bootstrap,
    pub(crate) pid: Option<u32>,
    /// The process, if the daemon has started it itself.
    pub(crate) held: Option<Held>,
    /// It stood by: if nobody answers, it had ended before it was called.
    pub(crate) stood_by: bool,
    /// The other end of what the shim takes for a client of the container's streams.
    pub(crate) client: Option<tokio::net::UnixStream>,
}

/// Can the shim for this task be started so? Its socket's path then.
pub(crate) fn socket(launch: Launch<'_>, options: Option<&Any>, is_grouped: bool) -> Option<PathBuf> {
    let plain = shim_start::is_ours(launch.binary)
        && options.is_none_or(asks_for_no_cgroup)
        && !is_grouped
        && std::env::var_os("SCHED_CORE").is_none_or(|value| value.is_empty());
    plain.then(|| path(launch.config, launch.namespace, launch.id)).flatten()
}

/// May the task be of a group that shares a shim? As far as that can be told without reading its spec as a whole.
pub(crate) fn is_grouped(spec: &[u8]) -> bool {
    GROUPS.iter().any(|name| contains(spec, name.as_bytes()))
}

/// The name of the shim's socket, if the task is of a group that shares one.
pub(crate) fn joins(launch: Launch<'_>, spec: &[u8]) -> Option<String> {
    let spec: serde_json::Value = serde_json::from_slice(spec).ok()?;
    let group = GROUPS.iter().find_map(|name| spec["annotations"][name].as_str())?;
    Some(name(launch.config, launch.namespace, group))
}

/// Where the shim of a task serves: the same for the same task, so that who finds a half made one knows it.
fn path(config: &Config, namespace: &Namespace, id: &ContainerId) -> Option<PathBuf> {
    let folder = PathBuf::from(shim_start::socket_dir(config)?);
    Some(folder.join(name(config, namespace, id.as_str())))
}

/// As containerd's shims name theirs.
fn name(config: &Config, namespace: &Namespace, id: &str) -> String {
    let name = format!("{}/{namespace}/{id}", config.address.display());
    Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes the socket of a shim that was never reached, once nobody listens there: where the daemon makes one, and where shims do.
pub(crate) fn remove_socket(config: &Config, namespace: &Namespace, id: &ContainerId) {
    let usual = Path::new(SHIMS).join(name(config, namespace, id.as_str()));
    for path in path(config, namespace, id).into_iter().chain([usual]).filter(|path| path.exists()) {
        shim_end::remove_socket(&format!("unix://{}", path.display()));
    }
}

fn asks_for_no_cgroup(options: &Any) -> bool {
    match proto_shim::unpack::<Options>(&theirs(options)) {
        Ok(Some(options)) => options.shim_cgroup.is_empty(),
        // Options of another runtime: it may read them its own way.
        Ok(None) => options.value.is_empty(),
        Err(_) => false,
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// Starts the shim, or calls the one that stands by.
///
/// # Errors
/// Whatever binding and starting say, `AlreadyExists` when somebody serves there; nothing is left then.
pub(crate) fn start(launch: Launch<'_>, path: &Path, attach: bool, spares: &Spares) -> Result<Serving> {
    let listener = bind(path)?;
    let started = serve(launch, listener.into(), attach, spares).inspect_err(|_| {
        // The error in hand says more.
        let _ = std::fs::remove_file(path);
    });
    let Served { pid, held, client, stood_by } = started?;
    let address = format!("unix://{}", path.display());
    let bootstrap = Bootstrap { version: VERSION, address, protocol: "ttrpc".to_owned() };
    Ok(Serving { bootstrap, pid, held, client, stood_by })
}

/// Listens at `path`; a socket that nobody answers is replaced.
fn bind(path: &Path) -> Result<UnixListener> {
    let named = || format!("listen at {}", path.display());
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            let mut builder = std::fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .context(|| format!("create {}", folder.display()))?;
            UnixListener::bind(path)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && shim_socket::is_dead(path) => {
            std::fs::remove_file(path).context(|| format!("remove the dead socket {}", path.display()))?;
            UnixListener::bind(path)
        }
        other => other,
    };
    let listener = listener.context(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).context(named)?;
    Ok(listener)
}

/// The shim's pid, its process, and the daemon's end of the streams.
struct Served {
    pid: Option<u32>,
    held: Option<Held>,
    client: Option<tokio::net::UnixStream>,
    stood_by: bool,
}

fn serve(launch: Launch<'_>, listener: OwnedFd, attach: bool, spares: &Spares) -> Result<Served> {
    let (client, stdout) = match attach {
        true => {
            let (ours, theirs) = UnixStream::pair().context(|| "socketpair")?;
            ours.set_nonblocking(true).context(|| "set nonblocking")?;
            let ours = tokio::net::UnixStream::from_std(ours).context(|| "watch the streams")?;
            (Some(ours), Some(OwnedFd::from(theirs)))
        }
        false => (None, None),
    };
    if let Some(spare) = spares.take(launch.binary) {
        match spare.call(launch, &listener, stdout.as_ref()) {
            Ok((pid, held)) => {
                return Ok(Served { pid: Some(pid), held: Some(held), client, stood_by: true });
            }
            Err(error) => tracing::debug!(%error, "a shim that stands by cannot be used"),
        }
    }
    let (pid, held) = spawn(launch, listener, stdout)?;
    Ok(Served { pid, held, client, stood_by: false })
}

fn spawn(
    launch: Launch<'_>,
    listener: OwnedFd,
    stdout: Option<OwnedFd>,
) -> Result<(Option<u32>, Option<Held>)> {
    let mut command: Command = shim_start::command(launch);
    let stdout = stdout.map_or_else(Stdio::null, Stdio::from);
    command.stdin(Stdio::from(listener)).stdout(stdout).stderr(Stdio::null());
    // Reaped by the runtime; its life is watched through its connection.
    let child = command.spawn().context(|| format!("start {}", launch.binary.display()))?;
    let pid = child.id();
    // Not reaped before the child is let go: the pid is its own.
    let held = pid.and_then(Held::open);
    if let Some(pid) = pid {
        yield_first(pid);
        files::give_back(pid);
    }
    Ok((pid, held))
}

/// When memory runs out, a shim goes a little before the daemon.
pub(crate) fn yield_first(pid: u32) {
    let Some(score) = oom_score("self") else { return };
    if let Err(error) = std::fs::write(oom_file(&pid.to_string()), (score + 1).min(1000).to_string()) {
        // It has ended already, or the score may only rise and has been raised before.
        tracing::debug!(pid, %error, "set a shim's oom score");
    }
}

fn oom_file(process: &str) -> PathBuf {
    Path::new("/proc").join(process).join("oom_score_adj")
}

fn oom_score(process: &str) -> Option<i32> {
    std::fs::read_to_string(oom_file(process)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root, who may lower it again.
    #[test]
    fn a_shim_goes_before_the_daemon_as_that_is_now() {
        let own = oom_score("self").unwrap();
        for score in [own.min(990), own.min(990) + 5] {
            std::fs::write(oom_file("self"), score.to_string()).unwrap();
            let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
            yield_first(child.id());
            let seen = oom_score(&child.id().to_string());
            child.kill().unwrap();
            child.wait().unwrap();
            std::fs::write(oom_file("self"), own.to_string()).unwrap();
            assert_eq!(seen, Some(score + 1));
        }
    }
}
