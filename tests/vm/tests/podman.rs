//! Debian's podman as it comes there: systemd makes the cgroups, root's and an ordinary user's.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use harness::sh;
use vm::{as_user, program, until};

const ARCHIVE: &str = "/vm/busybox.tar";
const IMAGE: &str = "docker.io/library/busybox:latest";

/// Whose containers.
struct Podman {
    user: bool,
}

impl Podman {
    fn command(&self, name: &str) -> Command {
        if self.user { as_user(name) } else { Command::new(name) }
    }

    fn ok(&self, args: &[&str]) -> Result<String> {
        let mut command = self.command("podman");
        command
            .args(["--storage-driver", "vfs", "--events-backend", "file", "--runtime"])
            .arg(program("runc-rs"));
        Ok(sh::read(command.current_dir("/").args(args))?.trim_end().to_owned())
    }

    /// A property of a unit of whoever it is.
    fn property(&self, unit: &str, name: &str) -> Result<String> {
        let mut command = self.command("systemctl");
        if self.user {
            command.arg("--user");
        }
        Ok(sh::read(command.args(["show", "--value", "--property", name, unit]))?.trim_end().to_owned())
    }

    fn drives_a_container(&self, archive: &str) -> Result<()> {
        self.ok(&["load", "--quiet", "--input", archive])?;
        let info = self.ok(&["info", "--format", "{{.Host.CgroupManager}} {{.Host.CgroupsVersion}}"])?;
        ensure!(info == "systemd v2", "{info}");
        ensure!(self.ok(&["run", "--rm", "--network", "none", IMAGE, "echo", "hello"])? == "hello");
        let limits = ["--memory", "64m", "--pids-limit", "20", "--network", "none", "--name", "box"];
        let id = self.ok(&[&["run", "-d"], &limits[..], &[IMAGE, "sleep", "1000"]].concat())?;
        let unit = format!("libpod-{id}.scope");
        ensure!(self.property(&unit, "ActiveState")? == "active");
        ensure!(
            self.property(&unit, "MemoryMax")? == "67108864" && self.property(&unit, "TasksMax")? == "20"
        );
        let seen =
            self.ok(&["exec", "box", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max"])?;
        ensure!(seen == "67108864\n20", "{seen}");
        self.ok(&["pause", "box"])?;
        self.ok(&["unpause", "box"])?;
        ensure!(
            self.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "box"])?
                .ends_with("/ 67.11MB 1")
        );
        self.ok(&["kill", "box"])?;
        ensure!(self.ok(&["wait", "box"])? == "137");
        self.ok(&["rm", "box"])?;
        ensure!(self.property(&unit, "LoadState")? == "not-found");
        Ok(())
    }
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn roots_containers_are_scopes() -> Result<()> {
    Podman { user: false }.drives_a_container(ARCHIVE)
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_users_containers_are_scopes_of_the_users() -> Result<()> {
    let copy = "/home/user/busybox.tar";
    fs::copy(ARCHIVE, copy)?;
    Podman { user: true }.drives_a_container(copy)
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_container_is_written_down_and_restored() -> Result<()> {
    let podman = Podman { user: false };
    podman.ok(&["load", "--quiet", "--input", ARCHIVE])?;
    let count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";
    podman.ok(&["run", "-d", "--network", "none", "--name", "counter", IMAGE, "sh", "-c", count])?;
    let numbers = || -> Result<Vec<u32>> {
        Ok(podman.ok(&["logs", "counter"])?.lines().filter_map(|line| line.parse().ok()).collect())
    };
    until("it counts", || Ok(numbers()?.len() > 2))?;
    podman.ok(&["container", "checkpoint", "counter"])?;
    ensure!(
        podman.ok(&["inspect", "--format", "{{.State.Checkpointed}} {{.State.Running}}", "counter"])?
            == "true false"
    );
    let before = numbers()?.len();
    podman.ok(&["container", "restore", "counter"])?;
    until("it counts on", || Ok(numbers()?.len() > before + 2))?;
    let all = numbers()?;
    ensure!(all.iter().copied().eq(1..=u32::try_from(all.len())?), "{all:?}");
    podman.ok(&["rm", "--force", "--time", "0", "counter"])?;
    Ok(())
}
