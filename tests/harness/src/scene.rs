//! A daemon in a temporary root, driven as a person drives it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{programs, sh, traces};

/// How long the daemon may take to answer, and the kernel to let things go.
const PATIENCE: Duration = Duration::from_secs(60);

static SCENES: AtomicU32 = AtomicU32::new(0);

/// A temporary root with a daemon in it, and a namespace of its own.
pub struct Scene {
    root: TempDir,
    programs: PathBuf,
    namespace: String,
    shim: PathBuf,
    settings: String,
    grpc: String,
    environment: Vec<(String, PathBuf)>,
    launcher: Vec<String>,
    daemon: Option<Child>,
}

/// How a program ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What ran.
    pub what: String,
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Scene {
    /// A scene without a daemon yet, with the programs in `programs`.
    pub fn with_programs(programs: &Path) -> Result<Scene> {
        let root = tempfile::Builder::new().prefix("runtimed-").tempdir().context("make a temporary root")?;
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        Ok(Scene {
            root,
            namespace: format!("scene-{}-{number}", std::process::id()),
            shim: programs.join("containerd-shim-runtimed-v2"),
            programs: programs.to_owned(),
            settings: String::new(),
            grpc: String::new(),
            environment: Vec::new(),
            launcher: Vec::new(),
            daemon: None,
        })
    }

    /// Sets a variable for daemons that are started from here on.
    pub fn set_environment(&mut self, name: &str, value: &Path) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Has daemons that are started from here on executed by a program that becomes them: `prlimit`, say.
    pub fn launch_with(&mut self, words: &[&str]) {
        self.launcher = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Adds tables to the configuration of daemons that are started from here on.
    pub fn configure(&mut self, toml: &str) {
        self.settings.push_str(toml);
    }

    /// Adds lines to the configuration's table `[grpc]` of daemons that are started from here on.
    pub fn configure_grpc(&mut self, lines: &str) {
        self.grpc.push_str(lines);
    }

    /// A scene with a daemon that answers.
    pub fn start() -> Result<Scene> {
        let mut scene = Scene::with_programs(&programs::folder()?)?;
        scene.start_daemon()?;
        Ok(scene)
    }

    /// Has daemons that are started from here on run containers with another shim.
    pub fn use_shim(&mut self, shim: &Path) {
        self.shim = shim.to_owned();
    }

    /// A scene whose daemon runs containers with another shim.
    pub fn start_with_shim(shim: &Path) -> Result<Scene> {
        let mut scene = Scene::with_programs(&programs::folder()?)?;
        scene.use_shim(shim);
        scene.start_daemon()?;
        Ok(scene)
    }

    /// The temporary root.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The folder of the programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The namespace that its commands use.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Uses another namespace from here on.
    pub fn use_namespace(&mut self, namespace: &str) {
        namespace.clone_into(&mut self.namespace);
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.root().join("runtimed.sock")
    }

    /// The daemon's process.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// The command line that starts the daemon.
    pub fn daemon_command(&self) -> Result<Command> {
        let config = self.root().join("config.toml");
        let text = format!(
            "root = {:?}\nstate = {:?}\n[grpc]\naddress = {:?}\n{}[runtime.shims]\n\"io.containerd.runc.v2\" = {:?}\n{}",
            self.root().join("lib"),
            self.root().join("run"),
            self.socket(),
            self.grpc,
            self.shim,
            self.settings,
        );
        std::fs::write(&config, text).context("write the daemon's configuration")?;
        let program = self.programs.join("runtimed");
        let mut command = match self.launcher.split_first() {
            None => Command::new(&program),
            Some((launcher, words)) => {
                let mut command = Command::new(launcher);
                command.args(words).arg(&program);
                command
            }
        };
        command.arg("--config").arg(config).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Starts the daemon and waits until it answers; says how long that took.
    pub fn start_daemon(&mut self) -> Result<Duration> {
        self.start_daemon_asked_by(|scene| scene.rctl_command(&["version"]))
    }

    /// Starts the daemon and waits until this command succeeds; says how long that took.
    pub fn start_daemon_asked_by(&mut self, ask: impl Fn(&Scene) -> Command) -> Result<Duration> {
        let began = Instant::now();
        self.spawn_daemon()?;
        while began.elapsed() < PATIENCE {
            if Outcome::of(&mut ask(self), b"")?.code == 0 {
                return Ok(began.elapsed());
            }
            if let Some(status) = self.daemon.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("runtimed ended: {status}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("runtimed does not answer\n{}", self.log())
    }

    /// Starts the daemon and does not wait for it.
    pub fn spawn_daemon(&mut self) -> Result<()> {
        let log =
            std::fs::File::options().create(true).append(true).open(self.root().join("runtimed.log"))?;
        let spawned = self.daemon_command()?.stdout(log.try_clone()?).stderr(log).spawn();
        self.daemon = Some(spawned.context("start runtimed")?);
        Ok(())
    }

    /// How the daemon ended, if it did.
    pub fn daemon_ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.daemon.as_mut().map(Child::try_wait).transpose()?.flatten())
    }

    /// The daemon's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root().join("runtimed.log")).unwrap_or_default()
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill_daemon(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { bail!("no daemon runs") };
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// Ends the daemon with SIGTERM, as a service manager would.
    pub fn stop_daemon(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { bail!("no daemon runs") };
        sh::run(Command::new("kill").args(["-TERM", &daemon.id().to_string()]))?;
        let status = daemon.wait()?;
        ensure!(status.success(), "runtimed ended with {status}\n{}", self.log());
        Ok(())
    }

    /// A command line of rctl.
    pub fn rctl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("rctl"));
        command
            .args(args)
            .env("RUNTIMED_ADDRESS", self.socket())
            .env("RUNTIMED_NAMESPACE", &self.namespace)
            .stdin(Stdio::null());
        command
    }

    /// Runs rctl to its end.
    pub fn rctl(&self, args: &[&str]) -> Result<Outcome> {
        Outcome::of(&mut self.rctl_command(args), b"")
    }

    /// Runs rctl to its end with `input` on its standard input.
    pub fn rctl_with(&self, args: &[&str], input: &[u8]) -> Result<Outcome> {
        Outcome::of(&mut self.rctl_command(args), input)
    }

    /// Runs rctl to success and returns what it said.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        self.rctl(args)?.ok().with_context(|| format!("the daemon's log:\n{}", self.log()))
    }

    /// A command line of a `ctr`, with this daemon's socket and namespace.
    pub fn ctr_command(&self, ctr: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(ctr);
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", &self.namespace])
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs a `ctr` to success and returns what it said.
    pub fn ctr(&self, ctr: &Path, args: &[&str]) -> Result<String> {
        Outcome::of(&mut self.ctr_command(ctr, args), b"")?
            .ok()
            .with_context(|| format!("the daemon's log:\n{}", self.log()))
    }

    /// What is on the machine of this scene just now, but for its daemon, what stands by for its next container, and cgroups that only hold
    /// others: mounts, processes, cgroups.
    pub fn traces(&self) -> Result<Vec<String>> {
        let daemon = self.pid().map(|pid| format!("process {pid} ")).unwrap_or_default();
        let parent = format!("/{}", self.namespace);
        let own = |trace: &String| {
            let is_daemon = !daemon.is_empty() && trace.starts_with(&daemon);
            let holds_others = trace.starts_with("cgroup ") && trace.ends_with(&parent);
            !is_daemon && !holds_others && !trace.contains(" --stand-by ")
        };
        Ok(traces::of_scene(self.root(), &self.namespace)?.into_iter().filter(own).collect())
    }

    /// Ends the daemon, waits until nothing of the scene is left on the machine, and says what stayed if anything did.
    pub fn finish(mut self) -> Result<()> {
        if self.daemon.is_some() {
            self.stop_daemon()?;
        }
        let began = Instant::now();
        loop {
            let left = traces::of_scene(self.root(), &self.namespace)?;
            if left.is_empty() {
                return Ok(());
            }
            // The kernel lets a cgroup go a moment after the last process in it.
            ensure!(
                began.elapsed() < Duration::from_secs(5),
                "left behind:\n  {}\n{}",
                left.join("\n  "),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Scene {
    /// A test that failed in the middle must not disturb the others.
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            if let Ok(all) = self.rctl(&["ps", "--all", "--quiet", "--no-trunc"]) {
                for id in all.stdout.lines() {
                    let _ = self.rctl(&["rm", "--force", id]);
                }
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Outcome {
    /// Runs a command to its end.
    pub fn of(command: &mut Command, input: &[u8]) -> Result<Outcome> {
        let what = format!("{command:?}");
        if !input.is_empty() {
            command.stdin(Stdio::piped());
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {what}"))?;
        let stdin = child.stdin.take();
        let input = input.to_vec();
        let feeding = std::thread::spawn(move || {
            if let Some(mut stdin) = stdin {
                // A program may end before it has read all.
                let _ = stdin.write_all(&input);
            }
        });
        let output = child.wait_with_output()?;
        let _ = feeding.join();
        Ok(Outcome {
            what,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Its standard output, if it succeeded.
    pub fn ok(self) -> Result<String> {
        ensure!(self.code == 0, "{}: exit code {}\n{}{}", self.what, self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }
}
