//! Hooks (config.md, "POSIX-platform Hooks"): programs run at points of the container's life, its state on their input.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use serde::Serialize;

use crate::error::{Context, Error, Result, io_text};
use crate::process::{Handle, TICK};

/// How much of a hook's words is repeated in the error.
const MAX_OUTPUT: usize = 4096;

/// A container's state as hooks read it (runtime.md, "State").
#[derive(Debug, Clone, Default, Serialize)]
pub struct HookState {
    /// The release of the specification that this complies with.
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
    // None means no limit, and nought or less none of the time.
    let timeout = hook.timeout().map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0)));
    let mut talk = Talk::new(&mut child, state)?;
    if !talk.hold(timeout.map(|t| Instant::now() + t))? {
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
    let said = talk.words.map(|w| String::from_utf8_lossy(&w).trim_end().to_owned());
    Err(Error::new(format!("{}, stdout: {}, stderr: {}", describe(status), said[0], said[1])))
}

/// A hook that is run where this program's environment is not to be: without one of its own it has none.
pub fn bare(mut hook: Hook) -> Hook {
    if hook.env().is_none() {
        hook.set_env(Some(Vec::new()));
    }
    hook
}

fn spawn(hook: &Hook) -> Result<Child> {
    let mut command = Command::new(hook.path());
    if let Some((name, args)) = hook.args().as_ref().and_then(|args| args.split_first()) {
        command.arg0(name).args(args);
    }
    // One without an environment of its own has this program's: the habit of runc and crun, by which hooks find their PATH.
    if let Some(env) = hook.env() {
        command.env_clear().envs(env.iter().filter_map(|pair| pair.split_once('=')));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|e| Error::new(format!("fork/exec {}: {}", hook.path().display(), io_text(&e))))
}

/// What is said to a hook and by it, until it ends.
struct Talk<'a> {
    child: Handle,
    /// The state, as long as there is some left and the hook listens: it need not read its input.
    input: Option<ChildStdin>,
    unsaid: &'a [u8],
    output: [Option<OwnedFd>; 2],
    words: [Vec<u8>; 2],
}

impl<'a> Talk<'a> {
    fn new(child: &mut Child, state: &'a str) -> Result<Self> {
        let input = child.stdin.take();
        if let Some(input) = &input {
            // A hook that does not read must not be waited for longer than its time.
            let flags = fcntl_getfl(input).map_err(|e| Error::call("fcntl F_GETFL", e))?;
            fcntl_setfl(input, flags | OFlags::NONBLOCK).map_err(|e| Error::call("fcntl F_SETFL", e))?;
        }
        Ok(Talk {
            child: Handle::of_child(child.id().cast_signed()),
            input,
            unsaid: state.as_bytes(),
            output: [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)],
            words: [Vec::new(), Vec::new()],
        })
    }

    /// Talks until the hook has ended; `false` when time has run out.
    fn hold(&mut self, deadline: Option<Instant>) -> Result<bool> {
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            if self.once(left)? {
                return Ok(true);
            }
        }
    }

    /// Waits for one thing to happen, and answers it; whether the hook has ended, with nothing left to hear.
    fn once(&mut self, left: Option<Duration>) -> Result<bool> {
        let left = if self.child.fd().is_none() { Some(left.unwrap_or(TICK).min(TICK)) } else { left };
        let left =
            left.map(|d| Timespec { tv_sec: d.as_secs().cast_signed(), tv_nsec: d.subsec_nanos().into() });
        let open: Vec<usize> = (0..2).filter(|i| self.output[*i].is_some()).collect();
        let mut fds: Vec<PollFd<'_>> =
            self.output.iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        fds.extend(self.input.as_ref().map(|fd| PollFd::new(fd, PollFlags::OUT)));
        fds.extend(self.child.fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::call("poll", e)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let spoken: Vec<usize> =
            open.iter().zip(&ready).filter(|(_, ready)| **ready).map(|(i, _)| *i).collect();
        spoken.iter().for_each(|index| self.hear(*index));
        if self.input.is_some() && ready[open.len()] {
            self.say();
        }
        Ok(spoken.is_empty() && self.child.is_gone())
    }

    fn hear(&mut self, index: usize) {
        let mut buffer = [0; 4096];
        let read = self.output[index].as_ref().map(|fd| rustix::io::read(fd, &mut buffer));
        let count = match read {
            Some(Ok(count)) if count > 0 => count,
            Some(Err(Errno::INTR)) => return,
            _ => {
                self.output[index] = None;
                return;
            }
        };
        let room = MAX_OUTPUT.saturating_sub(self.words[index].len());
        self.words[index].extend_from_slice(&buffer[..count.min(room)]);
    }

    fn say(&mut self) {
        let Some(input) = &self.input else { return };
        match rustix::io::write(input, self.unsaid) {
            Ok(count) => self.unsaid = self.unsaid.get(count..).unwrap_or_default(),
            Err(Errno::INTR | Errno::AGAIN) => return,
            Err(_) => self.unsaid = &[],
        }
        if self.unsaid.is_empty() {
            self.input = None;
        }
    }
}

/// How a program ended, in Go's words.
pub fn describe(status: ExitStatus) -> String {
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
        let none = hook(serde_json::json!({"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 0}));
        let e = run_all("poststart", &[none], "{}").unwrap_err().to_string();
        assert!(e.ends_with("hook ran past specified timeout of 0.0s"), "{e}");
    }

    #[test]
    fn time_runs_out_for_one_that_does_not_read() {
        let deaf = hook(serde_json::json!({"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}));
        // More than a pipe holds.
        let e = run_all("prestart", &[deaf], &"x".repeat(1 << 20)).unwrap_err().to_string();
        assert!(e.ends_with("hook ran past specified timeout of 1.0s"), "{e}");
        let closed = hook(serde_json::json!({"path": "/bin/true"}));
        run_all("prestart", &[closed], &"x".repeat(1 << 20)).unwrap();
    }

    #[test]
    fn a_long_state_arrives_whole() {
        let counts = serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", "test $(wc -c) = 1048576"]});
        run_all("prestart", &[hook(counts)], &"x".repeat(1 << 20)).unwrap();
    }
}
