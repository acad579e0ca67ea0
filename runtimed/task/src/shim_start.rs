//! Launches a shim and learns where it listens.
//!
//! `shim -namespace NS -address GRPC -publish-binary DAEMON -id ID [-debug] start`, in the bundle folder, in
//! a process group of its own; it forks the shim proper, prints where that listens and ends.
//!
//! What standard input holds depends on the shim's age: the runtime's options as an `Any` (up to containerd
//! 2.2, and accepted by 2.3), or `BootstrapParams` (2.3 and later; the only form of the newest). Neither the
//! name nor `-info`, which is missing before 2.0 and would cost a second program on every create, tells. So
//! one form is tried, and the other if the shim refuses; what worked is remembered for this very file. Our
//! own shim is offered the new form first, every other one the old: so nobody who exists today is started
//! twice, but for containerd's newest, once in a daemon's life.

pub(crate) mod answer;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use errors::{Context, Error, Kind, Result, WithKind};
use ids::{ContainerId, Namespace};
use prost_types::Any;
use proto_shim::Message;
use proto_shim::bootstrap::{BootstrapParams, Extension, LogLevel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::bundle::Bootstrap;
use crate::files;
use crate::shim_conn::convert::theirs;
use crate::shim_end;
use crate::types::Config;

/// The file name of our own shim.
const OURS: &str = "containerd-shim-runtimed-v2";

/// More than any answer, and enough of a complaint.
const OUTPUT: u64 = 64 << 10;

/// The longest path of a unix socket, without the closing zero (unix(7)).
const SOCKET_PATH: usize = 107;

/// `/` and a SHA-256 in hexadecimal: the name of a shim's socket.
const SOCKET_NAME: usize = 65;

/// Whose shim is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    pub(crate) config: &'a Config,
    pub(crate) namespace: &'a Namespace,
    pub(crate) id: &'a ContainerId,
    pub(crate) binary: &'a Path,
    /// The bundle folder.
    pub(crate) bundle: &'a Path,
}

/// What a shim reads on standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The options, as `Any`; nothing if there are none.
    Options,
    /// `BootstrapParams`.
    Params,
}

/// Which form a binary has taken before.
#[derive(Debug, Default)]
pub(crate) struct Forms(Mutex<HashMap<FileId, Form>>);

/// A file as it is now; another one after an upgrade.
pub(crate) type FileId = (PathBuf, u64, u64, i64, i64);

/// Starts the shim; answers once it listens.
///
/// # Errors
/// "failed to start shim: start failed: ..." with what the shim printed; `DeadlineExceeded` after
/// `config.shim_timeout`.
pub(crate) async fn start(launch: Launch<'_>, options: Option<&Any>, forms: &Forms) -> Result<Bootstrap> {
    let first = forms.first(launch.binary);
    let refused = match attempt(launch, options, first).await {
        Ok(bootstrap) => {
            forms.remember(launch.binary, first);
            return Ok(bootstrap);
        }
        Err(error) if forms.known(launch.binary) || error.kind() != Kind::Unknown => return Err(error),
        Err(error) => error,
    };
    // It may have failed with a shim behind it.
    shim_end::clear_strays(launch.bundle, launch.id).await;
    let second = first.other();
    match attempt(launch, options, second).await {
        Ok(bootstrap) => {
            tracing::info!(binary = %launch.binary.display(), form = ?second, "shim takes another start form");
            forms.remember(launch.binary, second);
            Ok(bootstrap)
        }
        // The likelier form gave the better reason.
        Err(_) => Err(refused),
    }
}

/// Starts the shim with standard input in `form`. Kind `Unknown` means that the shim itself refused; one that was killed has not.
async fn attempt(launch: Launch<'_>, options: Option<&Any>, form: Form) -> Result<Bootstrap> {
    let input = match form {
        Form::Options => match options {
            Some(options) => theirs(options).write_to_bytes(),
            None => Ok(Vec::new()),
        },
        Form::Params => params(launch, options).write_to_bytes(),
    };
    let _step = marks::step("task.shim.start")?;
    let input = input.kind(Kind::Internal, || "encode the shim's input")?;
    let mut command = command(launch);
    command.arg("start");
    let output = run(command, &input, launch.config.shim_timeout)
        .await
        .context(|| format!("failed to start shim: start {}", launch.binary.display()))?;
    if !output.success {
        let text = format!("failed to start shim: start failed: {}: {}", output.complaint(), output.status);
        let kind = if output.status.code().is_some() { Kind::Unknown } else { Kind::Internal };
        return Err(Error::new(kind, text));
    }
    answer::parse(&output.stdout)
}

fn params(launch: Launch<'_>, options: Option<&Any>) -> BootstrapParams {
    let config = launch.config;
    let level = if config.debug { LogLevel::LOG_LEVEL_DEBUG } else { LogLevel::LOG_LEVEL_INFO };
    BootstrapParams {
        instance_id: launch.id.as_str().to_owned(),
        namespace: launch.namespace.as_str().to_owned(),
        log_level: level.into(),
        containerd_version: env!("CARGO_PKG_VERSION").to_owned(),
        containerd_ttrpc_address: config.ttrpc_address.to_string_lossy().into_owned(),
        containerd_grpc_address: config.address.to_string_lossy().into_owned(),
        containerd_binary: config.binary.to_string_lossy().into_owned(),
        extensions: options
            .map(|options| Extension { value: Some(theirs(options)).into(), ..Default::default() })
            .into_iter()
            .collect(),
        socket_dir: socket_dir(config),
        ..Default::default()
    }
}

/// Sockets belong beside the bundles, unless the path would not fit into an address.
pub(crate) fn socket_dir(config: &Config) -> Option<String> {
    let folder = config.state.join("s").to_str()?.to_owned();
    (folder.len() + SOCKET_NAME <= SOCKET_PATH).then_some(folder)
}

/// The command line up to the action, as every shim knows it.
pub(crate) fn command(launch: Launch<'_>) -> Command {
    let config = launch.config;
    let mut command = program(config, launch.binary);
    command
        .current_dir(launch.bundle)
        .arg("-namespace")
        .arg(launch.namespace.as_str())
        .arg("-address")
        .arg(&config.address)
        .arg("-publish-binary")
        .arg(&config.binary)
        .arg("-id")
        .arg(launch.id.as_str())
        .env("NAMESPACE", launch.namespace.as_str());
    if config.debug {
        command.arg("-debug");
    }
    marks::pass_on(command.as_std_mut());
    command
}

/// A shim's program in its own process group, and what of its surroundings is the same for all containers.
pub(crate) fn program(config: &Config, binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .process_group(0)
        .env("TTRPC_ADDRESS", &config.ttrpc_address)
        .env("GRPC_ADDRESS", &config.address)
        // Where our executor keeps what it has compiled; others do not look.
        .env("RUNC_RS_CACHE", config.state.join("executor"))
        .env("GOMAXPROCS", "2")
        // Ours ends an executor that takes longer; seconds.
        .env("RUNTIMED_EXECUTOR_TIMEOUT", config.timeouts.executor.as_secs().to_string())
        // Ours may start an executor for a deletion before it is asked for.
        .env("RUNTIMED_STANDBY", if config.standby { "1" } else { "0" })
        // The newest form of the start answer, not of the task service.
        .env("MAX_SHIM_VERSION", "2");
    command
}

/// What a shim's command left behind.
pub(crate) struct Output {
    pub(crate) success: bool,
    pub(crate) status: std::process::ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// Everything it printed, as containerd shows it.
    pub(crate) fn complaint(&self) -> String {
        let bytes = [self.stdout.as_slice(), self.stderr.as_slice()].concat();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// Runs a shim's command to its end, `input` on its stdin; what it started is killed when it takes longer
/// than `limit`.
pub(crate) async fn run(mut command: Command, input: &[u8], limit: Duration) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context(|| "spawn")?;
    if let Some(pid) = child.id() {
        files::give_back(pid);
    }
    match tokio::time::timeout(limit, converse(&mut child, input)).await {
        Ok(output) => output.context(|| "read its output"),
        Err(_) => {
            kill_group(&mut child).await;
            let text = format!("no answer in {} s: context deadline exceeded", limit.as_secs_f32());
            Err(Error::new(Kind::DeadlineExceeded, text))
        }
    }
}

async fn converse(child: &mut Child, input: &[u8]) -> std::io::Result<Output> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A shim need not read its options.
            let _ = stdin.write_all(input).await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(feed, read(stdout), read(stderr));
    let status = child.wait().await?;
    Ok(Output { success: status.success(), status, stdout: stdout?, stderr: stderr? })
}

async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(OUTPUT).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Kills the command and what it forked into its group, and reaps it. Its pid is its own until it is reaped
/// here.
async fn kill_group(child: &mut Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended this moment; then there is nobody to kill.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    let _ = child.wait().await;
}

impl Form {
    fn other(self) -> Form {
        match self {
            Form::Options => Form::Params,
            Form::Params => Form::Options,
        }
    }
}

impl Forms {
    fn first(&self, binary: &Path) -> Form {
        let likely = if is_ours(binary) { Form::Params } else { Form::Options };
        file_id(binary).and_then(|id| self.lock().get(&id).copied()).unwrap_or(likely)
    }

    fn known(&self, binary: &Path) -> bool {
        file_id(binary).is_some_and(|id| self.lock().contains_key(&id))
    }

    fn remember(&self, binary: &Path, form: Form) {
        let Some(id) = file_id(binary) else { return };
        let mut forms = self.lock();
        // One entry a path: an upgraded binary takes the place of the old.
        forms.retain(|known, _| known.0 != id.0 || *known == id);
        forms.insert(id, form);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FileId, Form>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is this program the shim of this project?
pub(crate) fn is_ours(binary: &Path) -> bool {
    binary.file_name().is_some_and(|name| name == OURS)
}

pub(crate) fn file_id(path: &Path) -> Option<FileId> {
    let meta = std::fs::metadata(path).ok()?;
    Some((path.to_owned(), meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

#[cfg(test)]
mod tests;
