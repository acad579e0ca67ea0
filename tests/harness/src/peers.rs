//! Programs that this project did not write.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{sh, traces};

/// How long it may take to answer, and the kernel to let things go.
const PATIENCE: Duration = Duration::from_secs(20);

static PEERS: AtomicU32 = AtomicU32::new(0);

/// Debian's containerd in a root of its own, with a namespace of its own.
pub struct Containerd {
    child: Child,
    root: PathBuf,
    search: std::ffi::OsString,
    namespace: String,
}

impl Containerd {
    /// Starts it below `root`, with `path` in front of PATH, so that it finds shims there.
    pub fn start(root: &Path, path: &Path) -> Result<Containerd> {
        let root = root.join("containerd");
        std::fs::create_dir_all(&root)?;
        let config = root.join("config.toml");
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {:?}\n",
            root.join("lib"),
            root.join("run"),
            root.join("containerd.sock"),
        );
        std::fs::write(&config, text)?;
        let mut search = path.as_os_str().to_owned();
        search.push(":");
        search.push(std::env::var_os("PATH").unwrap_or_default());
        let child = spawn(&root, &search)?;
        let number = PEERS.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("peer-{}-{number}", std::process::id());
        let mut peer = Containerd { child, root, search, namespace };
        peer.answers(Instant::now())?;
        Ok(peer)
    }

    /// Kills it with SIGKILL, starts it again and says how long it took until it answered.
    pub fn restart(&mut self) -> Result<Duration> {
        self.child.kill()?;
        self.child.wait()?;
        let began = Instant::now();
        self.child = spawn(&self.root, &self.search)?;
        self.answers(began)
    }

    /// Waits until it answers; says how long after `began` that was.
    fn answers(&mut self, began: Instant) -> Result<Duration> {
        while began.elapsed() < PATIENCE {
            if sh::output(&mut self.ctr(&["version"]))?.status.success() {
                return Ok(began.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("Debian's containerd ended: {status}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("Debian's containerd does not answer:\n{}", self.log())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder that everything of it is in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The namespace that its commands use.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A command line of Debian's ctr that speaks to it.
    pub fn ctr(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.root.join("containerd.sock"))
            .args(["--namespace", &self.namespace])
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("containerd.log")).unwrap_or_default()
    }

    /// Ends it, and says what stayed on the machine if anything did.
    pub fn finish(self) -> Result<()> {
        let (root, namespace, log) = (self.root.clone(), self.namespace.clone(), self.log());
        drop(self);
        let began = Instant::now();
        loop {
            let left = traces::of_scene(&root, &namespace)?;
            if left.is_empty() {
                return Ok(());
            }
            ensure!(began.elapsed() < Duration::from_secs(5), "left behind:\n  {}\n{log}", left.join("\n  "));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // A test that failed in the middle must not disturb the others.
        if let Ok(all) = sh::output(&mut self.ctr(&["containers", "ls", "-q"])) {
            for id in String::from_utf8_lossy(&all.stdout).lines() {
                let _ = sh::output(&mut self.ctr(&["tasks", "rm", "--force", id]));
                let _ = sh::output(&mut self.ctr(&["containers", "rm", id]));
            }
        }
        // SIGTERM, so that it unmounts what it mounted.
        let _ = sh::output(Command::new("kill").args(["-TERM", &self.child.id().to_string()]));
        let _ = self.child.wait();
        // Where shims keep the state of their executors; it stays while it is not empty.
        let executors = Path::new("/run/containerd/runc").join(&self.namespace);
        // Compiled filters stay with the folder of containers.
        let _ = std::fs::remove_dir_all(executors.join("@cache"));
        let _ = std::fs::remove_dir(executors);
        // Executors leave the parents of containers' cgroups; the kernel keeps those that are not empty.
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(hierarchy.path().join(&self.namespace));
        }
    }
}

fn spawn(root: &Path, search: &std::ffi::OsStr) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(root.join("containerd.log"))?;
    Command::new("containerd")
        .arg("--config")
        .arg(root.join("config.toml"))
        .env("PATH", search)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start Debian's containerd")
}

/// `ctr` 2.2, built from its Go module once a machine; `None`, said by name, where there is no Go or no module proxy.
pub fn new_ctr(test: &str) -> Option<PathBuf> {
    let module = "github.com/containerd/containerd/v2";
    go_program(test, "ctr-2.2.0", module, "v2.2.0", "cmd/ctr")
}

fn go_program(test: &str, name: &str, module: &str, version: &str, package: &str) -> Option<PathBuf> {
    if !crate::needs(test, &["go"]) {
        return None;
    }
    let cache = std::env::temp_dir().join("runtimed-peers");
    let program = cache.join(name);
    if program.is_file() {
        return Some(program);
    }
    match build_go(&cache, &program, module, version, package) {
        Ok(()) => Some(program),
        Err(error) => {
            println!("SKIP {test}: {module} {version} cannot be built here: {error:#}");
            None
        }
    }
}

/// Two tests may want the same program at the same time: each builds apart, and the last rename wins.
fn build_go(cache: &Path, program: &Path, module: &str, version: &str, package: &str) -> Result<()> {
    std::fs::create_dir_all(cache)?;
    let work = tempfile::tempdir_in(cache)?;
    let made = work.path().join("program");
    let go = |args: &[&str]| {
        let mut command = Command::new("go");
        command.current_dir(work.path()).args(args);
        sh::read(&mut command)
    };
    go(&["mod", "init", "peers"])?;
    let target = format!("{module}/{package}");
    go(&["get", &format!("{target}@{version}")])?;
    go(&["build", "-o", &made.display().to_string(), &target])?;
    std::fs::rename(&made, program)?;
    Ok(())
}
