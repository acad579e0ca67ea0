//! Debian's dockerd, with its own containerd, in a root and a mount namespace of their own, with `runc-rs` as an added runtime and in
//! the place of `runc`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use harness::{Outcome, image, programs, sh};
use tempfile::TempDir;

use crate::text;

/// The image's name.
pub const IMAGE: &str = "busybox:latest";
/// Debian's client; machines may have another one besides.
pub const CLIENT: &str = "/usr/bin/docker";
/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon. It is gone when this is dropped, with all that it made.
pub struct Docker {
    root: TempDir,
    cgroup: String,
    daemon: Child,
}

impl Docker {
    /// Starts it and loads the image.
    ///
    /// # Errors
    /// Fails if it does not answer.
    pub fn start(flags: &[&str]) -> Result<Docker> {
        let root = tempfile::Builder::new().prefix("runtimed-docker-").tempdir()?;
        // Containers in a user namespace have to get through to their root.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o711))?;
        let cgroup =
            root.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let archive = image::busybox_archive(root.path())?;
        let daemon = spawn(root.path(), &cgroup, flags)?;
        let mut docker = Docker { root, cgroup, daemon };
        docker.answers()?;
        docker.ok(&["load", "--quiet", "--input", text(&archive)?])?;
        Ok(docker)
    }

    fn answers(&mut self) -> Result<()> {
        let began = Instant::now();
        while self.outcome(&["version"])?.code != 0 {
            if let Some(status) = self.daemon.try_wait()? {
                bail!("dockerd ended: {status}\n{}", self.log());
            }
            if began.elapsed() > PATIENCE {
                bail!("dockerd does not answer:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("dockerd.log")).unwrap_or_default()
    }

    /// Its containers' cgroup, from the root of the hierarchy.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// A command line of its client.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(CLIENT);
        command.arg("--host").arg(format!("unix://{}", self.root.path().join("docker.sock").display()));
        command
            .args(args)
            .env_remove("DOCKER_CONTEXT")
            .env("DOCKER_CONFIG", self.root.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the client to its end.
    ///
    /// # Errors
    /// Fails if it cannot be run.
    pub fn outcome(&self, args: &[&str]) -> Result<Outcome> {
        Outcome::of(&mut self.command(args), b"")
    }

    /// Runs the client to success and returns what it said, without the last newline.
    ///
    /// # Errors
    /// Fails if it does not succeed.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let said = self.outcome(args)?.ok().with_context(|| format!("the daemon's log:\n{}", self.log()))?;
        Ok(said.trim_end().to_owned())
    }

    /// What `docker inspect --format` says.
    ///
    /// # Errors
    /// Fails if there is no such container.
    pub fn inspect(&self, name: &str, format: &str) -> Result<String> {
        self.ok(&["inspect", "--format", format, name])
    }

    /// Ends the daemon, and fails if anything of it stays on the machine.
    ///
    /// # Errors
    /// Says what stayed.
    pub fn finish(mut self) -> Result<()> {
        self.end();
        let (root, cgroup) = (self.root.path().to_owned(), self.cgroup.clone());
        crate::until("nothing is left of dockerd", || Ok(harness::left_by(&root, &cgroup)?.is_empty()))
            .with_context(|| format!("{:?}", harness::left_by(&root, &cgroup)))
    }

    fn end(&mut self) {
        if let Ok(all) = self.outcome(&["ps", "--all", "--quiet", "--no-trunc"]) {
            for id in all.stdout.lines() {
                let _ = self.outcome(&["rm", "--force", id]);
            }
        }
        // SIGTERM, so that it ends its containerd as well.
        let _ = sh::output(Command::new("kill").args(["-TERM", &self.daemon.id().to_string()]));
        let _ = self.daemon.wait();
        // Executors leave the parents of containers' cgroups; the kernel keeps those that are not empty.
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(&self.cgroup));
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if matches!(self.daemon.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

fn spawn(root: &Path, cgroup: &str, flags: &[&str]) -> Result<Child> {
    let executor = programs::folder()?.join("runc-rs");
    let search = search_path(root, &executor)?;
    let log = fs::File::create(root.join("dockerd.log"))?;
    // No settings of the machine's own.
    fs::write(root.join("daemon.json"), "{}")?;
    // Ids for user namespaces come from these files, which only the daemon sees.
    fs::write(root.join("ranges"), "nobody:1000000:65536\nnogroup:1000000:65536\n")?;
    let script = "mount --make-rprivate / && mount --bind \"$0/ranges\" /etc/subuid && \
        mount --bind \"$0/ranges\" /etc/subgid && exec dockerd \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(root);
    let at = |name: &str| root.join(name).display().to_string();
    command.args([
        "--config-file",
        &at("daemon.json"),
        "--data-root",
        &at("data"),
        "--exec-root",
        &at("exec"),
    ]);
    command.args([
        "--pidfile",
        &at("pid"),
        "--host",
        &format!("unix://{}", at("docker.sock")),
        "--group",
        "root",
    ]);
    command.args([
        "--iptables=false",
        "--ip6tables=false",
        "--bridge=none",
        "--ip-forward=false",
        "--ip-masq=false",
    ]);
    command.args([
        "--storage-driver",
        "vfs",
        "--default-ulimit",
        "nofile=1024:1024",
        "--cgroup-parent",
        &format!("/{cgroup}"),
    ]);
    command.args(["--add-runtime", &format!("runc-rs={}", executor.display())]).args(flags);
    command.env("PATH", search).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("start dockerd")
}

/// PATH, with a folder in front where `runc` is ours.
fn search_path(root: &Path, executor: &Path) -> Result<std::ffi::OsString> {
    let folder: PathBuf = root.join("path");
    fs::create_dir(&folder)?;
    symlink(executor, folder.join("runc"))?;
    let mut search = folder.into_os_string();
    search.push(":");
    search.push(std::env::var_os("PATH").unwrap_or_default());
    Ok(search)
}
