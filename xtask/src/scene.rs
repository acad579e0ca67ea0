//! A daemon in a temporary root, driven as a person drives it, and the proof that nothing of it is left.

use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::sh;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A temporary root with a daemon in it.
pub struct Scene {
    root: PathBuf,
    dist: PathBuf,
    daemon: Option<Child>,
    before: Traces,
}

/// What a container runtime leaves behind when it is careless.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Traces {
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
    namespaces: BTreeSet<String>,
    processes: BTreeSet<String>,
    sockets: BTreeSet<String>,
}

impl Scene {
    /// Makes the root, and remembers how the machine is.
    pub fn new(dist: &Path) -> Result<Scene> {
        let root = std::env::temp_dir().join(format!("runtimed-demo-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o711)
            .create(&root)
            .with_context(|| format!("create {}", root.display()))?;
        Ok(Scene { before: Traces::take()?, root, dist: dist.to_owned(), daemon: None })
    }

    /// The temporary root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Starts the daemon and waits until it answers; says how long that took.
    pub fn start(&mut self) -> Result<Duration> {
        let log = std::fs::File::options().create(true).append(true).open(self.root.join("runtimed.log"))?;
        let mut command = Command::new(self.dist.join("runtimed"));
        command.arg("--config").arg(self.config()?).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        println!("$ {}", shown(&command));
        let began = Instant::now();
        self.daemon = Some(command.spawn().context("start runtimed")?);
        while began.elapsed() < PATIENCE {
            if self.rctl(&["version"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
                return Ok(began.elapsed());
            }
            if let Some(status) = self.daemon.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("runtimed ended: {status}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("runtimed does not answer\n{}", self.log())
    }

    fn config(&self) -> Result<PathBuf> {
        let path = self.root.join("config.toml");
        let shim = self.dist.join("containerd-shim-runtimed-v2");
        let text = format!(
            "root = {root:?}\nstate = {state:?}\n[grpc]\naddress = {socket:?}\n[runtime.shims]\n\"io.containerd.runc.v2\" = {shim:?}\n",
            root = self.root.join("lib"),
            state = self.root.join("run"),
            socket = self.socket(),
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }

    fn socket(&self) -> PathBuf {
        self.root.join("runtimed.sock")
    }

    /// The daemon's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("runtimed.log")).unwrap_or_default()
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { bail!("no daemon runs") };
        println!("$ kill -KILL {}", daemon.id());
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// Ends the daemon with SIGTERM, as a service manager would.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { bail!("no daemon runs") };
        println!("$ kill -TERM {}", daemon.id());
        sh::run(Command::new("kill").args(["-TERM", &daemon.id().to_string()]))?;
        let status = daemon.wait()?;
        if !status.success() {
            bail!("runtimed ended with {status}\n{}", self.log());
        }
        Ok(())
    }

    /// A command line of rctl.
    pub fn rctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.dist.join("rctl"));
        command.args(args).env("RUNTIMED_ADDRESS", self.socket()).stdin(Stdio::null());
        command
    }

    /// Shows a command line, runs it to success and shows what it says.
    pub fn show(&self, args: &[&str]) -> Result<String> {
        let mut command = self.rctl(args);
        println!("$ rctl {}", args.join(" "));
        let output = sh::output(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{}{text}", String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("rctl {}: {}\n{}", args.join(" "), output.status, self.log());
        }
        Ok(text)
    }

    /// Removes the root, and compares the machine with how it was: a list of what is left.
    pub fn tear_down(mut self) -> Result<Vec<String>> {
        if self.daemon.is_some() {
            self.stop()?;
        }
        let mut left;
        // The kernel frees a cgroup and a namespace a moment after the last process in it.
        let began = Instant::now();
        loop {
            let after = Traces::take()?;
            left = after.beyond(&self.before);
            if left.is_empty() || began.elapsed() > Duration::from_secs(3) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        std::fs::remove_dir_all(&self.root).with_context(|| format!("remove {}", self.root.display()))?;
        Ok(left)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Traces {
    fn take() -> Result<Traces> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let point = |line: &str| line.split(' ').nth(4).map(str::to_owned);
        let mut cgroups = BTreeSet::new();
        folders(Path::new("/sys/fs/cgroup"), &mut cgroups);
        let (mut namespaces, mut processes) = (BTreeSet::new(), BTreeSet::new());
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            if let Ok(namespace) = std::fs::read_link(entry.path().join("ns/net")) {
                namespaces.insert(namespace.display().to_string());
            }
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.contains("containerd-shim") || command.contains("runc-rs") {
                processes.insert(format!("{name} {command}"));
            }
        }
        let sockets = std::fs::read_dir("/run/containerd/s").into_iter().flatten().flatten();
        Ok(Traces {
            mounts: mounts.lines().filter_map(point).collect(),
            cgroups,
            namespaces,
            processes,
            sockets: sockets.map(|entry| entry.path().display().to_string()).collect(),
        })
    }

    fn beyond(&self, before: &Traces) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(self.mounts.difference(&before.mounts).map(|what| format!("mount {what}")));
        left.extend(
            self.cgroups.difference(&before.cgroups).map(|what| format!("cgroup {}", what.display())),
        );
        left.extend(
            self.namespaces.difference(&before.namespaces).map(|what| format!("network namespace {what}")),
        );
        left.extend(self.processes.difference(&before.processes).map(|what| format!("process {what}")));
        left.extend(self.sockets.difference(&before.sockets).map(|what| format!("socket {what}")));
        left
    }
}

fn folders(parent: &Path, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders(&entry.path(), found);
            found.insert(entry.path());
        }
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
