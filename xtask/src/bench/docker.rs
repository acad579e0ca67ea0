//! Debian's dockerd and podman in roots of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use harness::peers::Containerd;
use harness::sh;

use super::volatile::Volatile;

/// How long dockerd may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// dockerd without networks, on a containerd of its own.
pub struct Docker {
    child: Child,
    containerd: Option<Containerd>,
    root: PathBuf,
}

impl Docker {
    /// Starts both below `scratch`; containers go to the cgroup `parent`.
    pub fn start(scratch: &Path, volatile: &Volatile, programs: &Path, parent: &str) -> Result<Docker> {
        let root = scratch.join("docker");
        volatile.stand_in("docker-containerd", &root.join("containerd/run"))?;
        let exec = volatile.folder("docker")?;
        let containerd = Containerd::start(&root, programs).context("start dockerd's containerd")?;
        // So that it does not read the machine's own.
        std::fs::write(root.join("daemon.json"), "{}")?;
        let log = std::fs::File::create(root.join("dockerd.log"))?;
        let option = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let child = Command::new("dockerd")
            .arg(option("config-file", &root.join("daemon.json")))
            .arg(option("data-root", &root.join("data")))
            .arg(option("exec-root", &exec))
            .arg(option("pidfile", &root.join("docker.pid")))
            .arg(option("containerd", &containerd.root().join("containerd.sock")))
            .arg(format!("--host=unix://{}", root.join("docker.sock").display()))
            .arg(format!("--cgroup-parent=/{parent}"))
            .args(["--exec-opt=native.cgroupdriver=cgroupfs", "--storage-driver=overlay2"])
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start dockerd")?;
        let mut docker = Docker { child, containerd: Some(containerd), root };
        docker.answers()?;
        Ok(docker)
    }

    fn answers(&mut self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if sh::output(self.client().arg("version"))?.status.success() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("dockerd ended: {status}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("dockerd does not answer:\n{}", self.log())
    }

    /// Its command line, without a verb.
    pub fn client(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .arg(format!("--host=unix://{}", self.root.join("docker.sock").display()))
            .env("DOCKER_CONFIG", self.root.join("client"))
            .stdin(Stdio::null());
        command
    }

    /// dockerd and its containerd.
    pub fn pids(&self) -> Vec<u32> {
        let containerd = self.containerd.as_ref().map(Containerd::pid);
        std::iter::once(self.child.id()).chain(containerd).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("dockerd.log")).unwrap_or_default()
    }

    /// Ends both.
    pub fn finish(mut self) -> Result<()> {
        self.end();
        match self.containerd.take() {
            Some(containerd) => containerd.finish(),
            None => Ok(()),
        }
    }

    fn end(&mut self) {
        // SIGTERM, so that it unmounts what it mounted; a dockerd that has ended is fine.
        let _ = sh::output(Command::new("kill").args(["-TERM", &self.child.id().to_string()]));
        let _ = self.child.wait();
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if self.containerd.is_some() {
            self.end();
        }
    }
}

/// podman, which has no daemon: a command line with a storage of its own, nothing shared with the machine's.
pub fn podman(scratch: &Path, run: &Path, parent: &str, runtime: &str) -> Result<Command> {
    let root = scratch.join("podman");
    std::fs::create_dir_all(&root)?;
    let config = root.join("containers.conf");
    // The limits that podman would set by default may be above what this machine allows. Locks in files: those in shared memory are
    // the whole machine's.
    let text = format!(
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\ncgroup_parent = \"/{parent}\"\n[engine]\nlock_type = \"file\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = {runtime:?}\ntmp_dir = {:?}\n",
        run.join("tmp"),
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("podman");
    command
        .arg("--root")
        .arg(root.join("storage"))
        .arg("--runroot")
        .arg(run.join("root"))
        .args(["--storage-driver", "overlay", "--runtime", runtime])
        .env("CONTAINERS_CONF", &config)
        .env("XDG_RUNTIME_DIR", run)
        .stdin(Stdio::null());
    Ok(command)
}
