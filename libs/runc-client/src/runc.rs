//! One executor with its global options, and how a verb is run.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::output::{self, LIMIT};
use crate::ready::Ready;
use crate::spawn::{PidfdSpawner, Running, Spawner};
use crate::{log, stdio::ExecutorStdio};

/// An executor and its global options. Cheap to clone.
#[derive(Clone)]
pub struct Runc {
    binary: PathBuf,
    file: Option<Arc<OwnedFd>>,
    root: Option<PathBuf>,
    log: Option<PathBuf>,
    systemd_cgroup: bool,
    debug: bool,
    limit: Option<Duration>,
    spawner: Arc<dyn Spawner>,
}

/// How a verb ended.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    /// What the executor said of its failure.
    pub(crate) said: String,
}

impl Runc {
    /// An executor by its path, or by a name to be looked up in PATH, with all options at their defaults.
    pub fn new(binary: impl Into<PathBuf>) -> Runc {
        Runc {
            binary: binary.into(),
            file: None,
            root: None,
            log: None,
            systemd_cgroup: false,
            debug: false,
            limit: None,
            spawner: Arc::new(PidfdSpawner),
        }
    }

    /// Executes the program behind `file` instead of looking the path up each time; the path is what it is called.
    #[must_use]
    pub fn file(mut self, file: Arc<OwnedFd>) -> Runc {
        self.file = Some(file);
        self
    }

    /// `--root`: where the executor keeps the state of its containers.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Runc {
        self.root = Some(root.into());
        self
    }

    /// `--log`, with `--log-format json`: the file in which a failure is explained.
    #[must_use]
    pub fn log(mut self, log: impl Into<PathBuf>) -> Runc {
        self.log = Some(log.into());
        self
    }

    /// `--systemd-cgroup`: cgroups are made through systemd.
    #[must_use]
    pub fn systemd_cgroup(mut self, on: bool) -> Runc {
        self.systemd_cgroup = on;
        self
    }

    /// `--debug`.
    #[must_use]
    pub fn debug(mut self, on: bool) -> Runc {
        self.debug = on;
        self
    }

    /// How long a verb may take: then the executor is killed, with all that it has started and that has not left its process group. What it
    /// was making is left half made.
    #[must_use]
    pub fn limit(mut self, limit: Option<Duration>) -> Runc {
        self.limit = limit;
        self
    }

    /// Who starts and reaps the executor's processes.
    #[must_use]
    pub fn spawner(mut self, spawner: Arc<dyn Spawner>) -> Runc {
        self.spawner = spawner;
        self
    }

    /// Can [`Ready`] be made of it? Of this project's own, which is given as a [file](Runc::file).
    pub fn can_wait(&self) -> bool {
        self.file.is_some()
    }

    /// Where the executor keeps the state of a container, if it was told where to keep that of all.
    pub fn folder(&self, id: &str) -> Option<PathBuf> {
        Some(self.root.as_ref()?.join(id))
    }

    /// The path or name given at [`Runc::new`].
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The executor without arguments.
    pub(crate) fn program(&self) -> Command {
        let mut command = match &self.file {
            // The new process finds it there until it executes it, which closes it.
            Some(file) => Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())),
            None => Command::new(&self.binary),
        };
        command.arg0(&self.binary);
        // The service manager listens to the daemon, not to each container: an executor that finds its socket waits until the container's
        // program says that it is ready. go-runc takes it away as well.
        command.env_remove("NOTIFY_SOCKET");
        command
    }

    pub(crate) fn start_process(&self, command: Command) -> std::io::Result<Running> {
        self.spawner.spawn(command)
    }

    /// Is there a place for a log?
    pub(crate) fn has_log(&self) -> bool {
        self.log.as_deref().is_some_and(|log| log.parent().is_none_or(Path::is_dir))
    }

    /// The command line up to and without the verb.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.program();
        if let Some(root) = &self.root {
            command.arg("--root").arg(root);
        }
        if self.debug {
            command.arg("--debug");
        }
        // An executor refuses to work without its log; where there is no place for one, it says on standard error what there is to say.
        if let Some(log) = self.log.as_deref().filter(|_| self.has_log()) {
            command.arg("--log").arg(log).args(["--log-format", "json"]);
        }
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        marks::pass_on(&mut command);
        if self.limit.is_some() {
            // So that all of it can be ended.
            command.process_group(0);
        }
        command
    }

    /// Runs a verb that answers with its exit status alone.
    pub(crate) async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<()> {
        self.call(args, None).await.map(drop)
    }

    /// Runs a verb with `input` on its standard input, and gives what it printed.
    pub(crate) async fn call<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: Option<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let mut command = self.command();
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let line = display(&self.binary, &command);
        let outcome = self.wait(command, &line, input).await?;
        if outcome.status.success() {
            return Ok(outcome.stdout);
        }
        Err(Error::failed(line, &outcome.said, outcome.status))
    }

    /// Runs a verb whose standard streams become the container's, by an executor that waits for it, if there is one. `inherited` is closed
    /// here when the executor has it.
    pub(crate) async fn run_with_stdio(
        &self,
        args: Vec<OsString>,
        stdio: ExecutorStdio,
        inherited: Option<OwnedFd>,
        ready: Option<Ready>,
    ) -> Result<()> {
        let mut command = self.command();
        command.args(args);
        let line = display(&self.binary, &command);
        let mark = self.log.as_deref().map(log::mark);
        // One that is gone, or too small for this, is as good as none.
        let called = ready.and_then(|ready| ready.call(&command, &stdio, inherited.as_ref()).ok());
        let running = match called {
            Some(running) => {
                drop(stdio);
                running
            }
            None => {
                stdio.apply(&mut command);
                self.start_process(command)
                    .map_err(|error| Error::spawn(&self.binary, line.clone(), error))?
            }
        };
        drop(inherited);
        let outcome = self.outcome(running, &line, None, mark).await?;
        if outcome.status.success() {
            return Ok(());
        }
        Err(Error::failed(line, &outcome.said, outcome.status))
    }

    async fn wait(&self, command: Command, line: &str, input: Option<Vec<u8>>) -> Result<Outcome> {
        let mark = self.log.as_deref().map(log::mark);
        let running = self
            .start_process(command)
            .map_err(|error| Error::spawn(&self.binary, line.to_owned(), error))?;
        self.outcome(running, line, input, mark).await
    }

    /// Waits for its end, but not longer than the limit.
    async fn outcome(
        &self,
        running: Running,
        line: &str,
        input: Option<Vec<u8>>,
        mark: Option<u64>,
    ) -> Result<Outcome> {
        let Some(limit) = self.limit else { return self.converse(running, line, input, mark).await };
        let pid = running.pid;
        match tokio::time::timeout(limit, self.converse(running, line, input, mark)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                // It has not been reaped: its end would have been told.
                kill_group(pid);
                Err(Error::timed_out(line.to_owned(), limit))
            }
        }
    }

    async fn converse(
        &self,
        running: Running,
        line: &str,
        input: Option<Vec<u8>>,
        mark: Option<u64>,
    ) -> Result<Outcome> {
        let Running { stdin, stdout, stderr, exit, .. } = running;
        let io = |what: &'static str| move |error| Error::io(line.to_owned(), what, error);
        if let (Some(stdin), Some(input)) = (stdin, input) {
            feed(stdin.into(), input).await.map_err(io("cannot write to its standard input"))?;
        }
        let reading = async {
            match stdout {
                Some(stdout) => output::read_all(stdout.into(), LIMIT).await,
                None => Ok(Vec::new()),
            }
        };
        let (stdout, status) = tokio::join!(reading, exit);
        let stdout = stdout.map_err(io("cannot read its answer"))?;
        let status = status.map_err(io("cannot wait for it"))?;
        let mut said = String::new();
        if !status.success() {
            let logged = self.log.as_deref().zip(mark).and_then(|(log, mark)| log::last_error(log, mark));
            said = logged.unwrap_or_else(|| {
                let stderr = stderr.map_or_else(Vec::new, |fd| output::read_available(fd.into(), 64 << 10));
                last_words(&String::from_utf8_lossy(&stderr))
            });
        }
        Ok(Outcome { status, stdout, said })
    }
}

fn kill_group(pid: u32) {
    let group = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It may have ended this moment.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Writes all of `input` and closes the pipe. An executor that ends without reading it all is judged by its
/// status.
async fn feed(pipe: std::os::fd::OwnedFd, input: Vec<u8>) -> std::io::Result<()> {
    use tokio::io::AsyncWriteExt;
    let mut pipe = tokio::net::unix::pipe::Sender::from_owned_fd(pipe)?;
    match pipe.write_all(&input).await {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// The error in what an executor without a log wrote to standard error: its last line.
fn last_words(stderr: &str) -> String {
    stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// The command line as a person would type it.
pub(crate) fn display(binary: &Path, command: &Command) -> String {
    let mut line = binary.to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_options_come_before_the_verb() {
        let runc = Runc::new("runc").root("/r").log("/l.json").systemd_cgroup(true).debug(true);
        assert_eq!(
            display(runc.binary(), &runc.command()),
            "runc --root /r --debug --log /l.json --log-format json --systemd-cgroup"
        );
    }

    #[test]
    fn no_executor_finds_the_service_managers_socket() {
        for runc in [Runc::new("runc"), Runc::new("runc-rs").debug(true)] {
            for command in [runc.program(), runc.command()] {
                assert!(command.get_envs().any(|(name, value)| name == "NOTIFY_SOCKET" && value.is_none()));
            }
        }
    }

    #[tokio::test]
    async fn a_missing_executor_is_named() {
        let error = Runc::new("/nonexistent/runc").run(["state", "c"]).await.unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Spawn);
        assert!(error.to_string().starts_with("/nonexistent/runc state c: "), "{error}");
        assert_eq!(error.message(), "exec: \"/nonexistent/runc\": no such file or directory");
        let error = Runc::new("no-such-runc").run(["state", "c"]).await.unwrap_err();
        assert_eq!(error.message(), "exec: \"no-such-runc\": executable file not found in $PATH");
    }

    #[tokio::test]
    async fn an_executor_that_hangs_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("stuck");
        let fifo = dir.path().join("fifo");
        // Whoever opens the fifo to write holds it for as long as it lives.
        let text = format!("#!/bin/sh\nsleep 1000 > {0} &\nsleep 1000 > {0}\n", fifo.display());
        programs::write(&script, &text).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let reading = std::thread::spawn(move || std::fs::read(fifo).unwrap());
        let runc = Runc::new(&script).limit(Some(Duration::from_millis(300)));
        let error = runc.start("c").await.unwrap_err();
        assert_eq!(error.kind(), crate::Kind::TimedOut, "{error:?}");
        assert!(error.to_string().contains("start c: the executor did not end within 300ms"), "{error}");
        // Ends with its last writer.
        assert!(reading.join().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_executor_that_never_stops_talking_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("chatty");
        programs::write(&script, "#!/bin/sh\nexec head -c 9000000 /dev/zero\n").unwrap();
        let error = Runc::new(&script).call(["state"], None).await.unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Io, "{error:?}");
    }
}
