//! Debian's podman and buildah in a root of their own, with `runc-rs` as their executor and one small image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use harness::{Outcome, image, programs};
use tempfile::TempDir;

use crate::text;

/// The image's name.
pub const IMAGE: &str = "docker.io/library/busybox:latest";

/// A storage, and the settings of the programs that use it. Everything in it is gone when it is dropped.
pub struct Podman {
    root: TempDir,
    runtime: PathBuf,
    cgroup: String,
}

impl Podman {
    /// Makes the storage and loads the image.
    ///
    /// # Errors
    /// Fails if a program is missing or the image cannot be loaded.
    pub fn new() -> Result<Podman> {
        let root = tempfile::Builder::new().prefix("runtimed-podman-").tempdir()?;
        let cgroup =
            root.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let podman = Podman { runtime: programs::folder()?.join("runc-rs"), root, cgroup };
        podman.configure("")?;
        let archive = image::busybox_archive(podman.root.path())?;
        podman.ok(&["load", "--quiet", "--input", text(&archive)?])?;
        Ok(podman)
    }

    /// Writes the settings, with `more` of the table `engine`.
    ///
    /// # Errors
    /// Fails if they cannot be written.
    pub fn configure(&self, more: &str) -> Result<()> {
        let at = |name: &str| self.root.path().join(name);
        // Limits that any machine grants, no network, and nothing that takes a service manager.
        let engine = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\nnetns = \"none\"\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc-rs\"\n{more}\n\
             [engine.runtimes]\nrunc-rs = [{:?}]\n",
            self.runtime
        );
        fs::write(at("containers.conf"), engine)?;
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            at("storage"),
            at("run")
        );
        fs::write(at("storage.conf"), storage).context("write storage.conf")
    }

    /// The executor.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// A path in the root.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A cgroup for containers, from the root of the hierarchy.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.cgroup)
    }

    /// A command line of podman.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program("podman");
        command.arg("--tmpdir").arg(self.file("tmp")).args(args);
        command
    }

    /// A command line of podman or buildah that uses this storage.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        // conmon leaves a file where it works when memory runs out.
        command.current_dir(self.root.path());
        command.env("CONTAINERS_CONF", self.file("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.file("storage.conf"));
        command.arg("--root").arg(self.file("storage")).arg("--runroot").arg(self.file("run"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs podman to its end.
    ///
    /// # Errors
    /// Fails if it cannot be run.
    pub fn outcome(&self, args: &[&str]) -> Result<Outcome> {
        Outcome::of(&mut self.command(args), b"")
    }

    /// Runs podman to success and returns what it said, without the last newline.
    ///
    /// # Errors
    /// Fails if it does not succeed.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        Ok(self.outcome(args)?.ok()?.trim_end().to_owned())
    }

    /// What `podman inspect --format` says of a container.
    ///
    /// # Errors
    /// Fails if there is no such container.
    pub fn inspect(&self, name: &str, format: &str) -> Result<String> {
        self.ok(&["inspect", "--type", "container", "--format", format, name])
    }

    /// Removes every container and pod, and fails if anything of them stays on the machine.
    ///
    /// # Errors
    /// Says what stayed.
    pub fn finish(self) -> Result<()> {
        self.ok(&["pod", "rm", "--all", "--force"])?;
        self.ok(&["rm", "--all", "--force", "--time", "0"])?;
        self.sweep();
        let root = self.root.path().to_owned();
        crate::until("nothing is left of podman", || Ok(harness::left_by(&root, &self.cgroup)?.is_empty()))
            .with_context(|| format!("{:?}", harness::left_by(&root, &self.cgroup)))
    }

    /// podman makes the parents of cgroups and leaves them; the kernel keeps those that are not empty.
    fn sweep(&self) {
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            for parent in [self.cgroup.as_str(), "libpod_parent"] {
                let _ = fs::remove_dir(hierarchy.path().join(parent).join("conmon"));
                let _ = fs::remove_dir(hierarchy.path().join(parent));
            }
        }
    }
}

impl Drop for Podman {
    /// A test that failed in the middle must not disturb the others.
    fn drop(&mut self) {
        let _ = self.outcome(&["pod", "rm", "--all", "--force"]);
        let _ = self.outcome(&["rm", "--all", "--force", "--time", "0"]);
        self.sweep();
    }
}
