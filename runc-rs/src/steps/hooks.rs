//! Hooks (config.md, "POSIX-platform Hooks"): programs run at points of the container's life, its state on their input.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;

use crate::error::{Context, Error, Result, io_text};

/// How much of a hook's words is repeated in the error.
const MAX_OUTPUT: u64 = 4096;

/// A container's state as hooks read it (runtime.md, "State").
#[derive(Debug, Clone, Default, Serialize)]
pub struct HookState {
    /// ociVersion of config.json.
    #[serde(rename = "ociVersion")]
    pub version: String,
    /// The container's id.
    pub id: String,
    /// creating, created, running or stopped.
    pub status: String,
    /// Process id of init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The bundle's directory.
    pub bundle: String,
    /// Annotations of config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl HookState {
    /// The state as JSON, with this status.
    pub fn json(&self, status: &str, pid: Option<i32>) -> String {
        serde_json::to_string(&self.at(status, pid)).unwrap_or_default()
    }

    /// The state with this status.
    pub fn at(&self, status: &str, pid: Option<i32>) -> HookState {
        HookState { status: status.into(), pid: pid.or(self.pid), ..self.clone() }
    }
}

/// Runs hooks in order; the first failure ends it.
pub fn run_all(kind: &str, hooks: &[Hook], state: &str) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run(hook, state).with_context(|| format!("error running {kind} hook #{index}"))?;
    }
    Ok(())
}

/// Runs hooks in order; failures are warnings (`poststop`).
pub fn run_leniently(kind: &str, hooks: &[Hook], state: &str) {
    for (index, hook) in hooks.iter().enumerate() {
        if let Err(e) = run(hook, state) {
            crate::log::warn(format!("error running {kind} hook #{index}: {e}"));
        }
    }
}

fn run(hook: &Hook, state: &str) -> Result<()> {
    if !hook.path().is_absolute() {
        return Err(Error::new(format!("hook path {} is not absolute", hook.path().display())));
    }
    let mut child = spawn(hook)?;
    if let Some(mut input) = child.stdin.take() {
        // A hook need not read its input.
        let _ = input.write_all(state.as_bytes());
    }
    let timeout =
        hook.timeout().and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0).map(Duration::from_secs);
    let mut output = [child.stdout.take().map(Stream::Out), child.stderr.take().map(Stream::Err)];
    let mut words = [Vec::new(), Vec::new()];
    let finished = drain(&child, &mut output, &mut words, timeout)?;
    if !finished {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::new(format!(
            "hook ran past specified timeout of {:.1}s",
            timeout.unwrap_or_default().as_secs_f64()
        )));
    }
    let status = child.wait().context("wait for hook")?;
    if status.success() {
        return Ok(());
    }
    let said = words.map(|w| String::from_utf8_lossy(&w).trim_end().to_owned());
    Err(Error::new(format!("{}, stdout: {}, stderr: {}", describe(status), said[0], said[1])))
}

fn spawn(hook: &Hook) -> Result<Child> {
    let mut command = Command::new(hook.path());
    if let Some((name, args)) = hook.args().as_ref().and_then(|args| args.split_first()) {
        command.arg0(name).args(args);
    }
    command.env_clear();
    command.envs(hook.env().iter().flatten().filter_map(|pair| pair.split_once('=')));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|e| Error::new(format!("fork/exec {}: {}", hook.path().display(), io_text(&e))))
}

enum Stream {
    Out(std::process::ChildStdout),
    Err(std::process::ChildStderr),
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Out(s) => s.read(buffer),
            Stream::Err(s) => s.read(buffer),
        }
    }

    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        use std::os::fd::AsFd;
        match self {
            Stream::Out(s) => s.as_fd(),
            Stream::Err(s) => s.as_fd(),
        }
    }
}

/// Reads what the hook says until it ends; `false` when time has run out.
fn drain(
    child: &Child,
    streams: &mut [Option<Stream>; 2],
    words: &mut [Vec<u8>; 2],
    timeout: Option<Duration>,
) -> Result<bool> {
    let pid =
        Pid::from_raw(child.id().cast_signed()).ok_or_else(|| Error::new("hook without a process id"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| Error::call("pidfd_open", e))?;
    let deadline = timeout.map(|t| Instant::now() + t);
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let wait =
            left.map(|d| Timespec { tv_sec: d.as_secs().cast_signed(), tv_nsec: d.subsec_nanos().into() });
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        let open: Vec<usize> = (0..2).filter(|i| streams[*i].is_some()).collect();
        let borrowed: Vec<_> = open.iter().filter_map(|i| streams[*i].as_ref().map(|s| s.fd())).collect();
        fds.extend(borrowed.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        match poll(&mut fds, wait.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::call("poll", e)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        for (index, _) in open.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            take(&mut streams[*index], &mut words[*index]);
        }
        if ready[0] && !ready[1..].contains(&true) {
            return Ok(true);
        }
    }
}

fn take(stream: &mut Option<Stream>, words: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    let count = stream.as_mut().and_then(|s| s.read(&mut buffer).ok()).unwrap_or(0);
    if count == 0 {
        *stream = None;
    }
    let room = usize::try_from(MAX_OUTPUT).unwrap_or(0).saturating_sub(words.len());
    words.extend_from_slice(&buffer[..count.min(room)]);
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        _ => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(json: serde_json::Value) -> Hook {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn state_is_on_the_input() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state");
        let script = format!("cat > {}; test \"$A\" = 1", file.display());
        let hook = hook(serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=1"]}));
        let state = HookState { id: "c1".into(), ..HookState::default() }.json("creating", Some(7));
        run_all("prestart", &[hook], &state).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!((read["id"].as_str(), read["pid"].as_i64()), (Some("c1"), Some(7)));
        assert_eq!(read["status"], "creating");
    }

    #[test]
    fn failures_say_which_and_why() {
        let fails = hook(
            serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", "echo out; echo bad >&2; exit 3"]}),
        );
        let good = hook(serde_json::json!({"path": "/bin/true"}));
        let e = run_all("createRuntime", &[good, fails], "{}").unwrap_err().to_string();
        assert_eq!(e, "error running createRuntime hook #1: exit status 3, stdout: out, stderr: bad");
        let missing = hook(serde_json::json!({"path": "/no/such/hook"}));
        let e = run_all("prestart", &[missing], "{}").unwrap_err().to_string();
        assert_eq!(e, "error running prestart hook #0: fork/exec /no/such/hook: no such file or directory");
    }

    #[test]
    fn time_runs_out() {
        let slow = hook(serde_json::json!({"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}));
        let e = run_all("poststart", &[slow], "{}").unwrap_err().to_string();
        assert!(e.ends_with("hook ran past specified timeout of 1.0s"), "{e}");
    }
}
