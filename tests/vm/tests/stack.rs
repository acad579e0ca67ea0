//! The whole stack, command line, daemon, shim and executor, where version 2 is all there is.

use anyhow::{Result, ensure};
use harness::Scene;
use vm::{program, until};

/// Made where this is built: the machine has no tools for images.
const IMAGE: &str = "/vm/busybox.tar";

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn limits_figures_and_freezing_come_from_version_2() -> Result<()> {
    let scene = Scene::start()?;
    scene.ok(&["load", "--input", IMAGE])?;
    let start = ["run", "-d", "--name", "box", "--memory", "32m", "--pids-limit", "20", "--cpus", "0.5"];
    scene.ok(&[&start[..], &["busybox", "sleep", "1000"]].concat())?;
    let file = |name: &str| scene.ok(&["exec", "box", "cat", &format!("/sys/fs/cgroup/{name}")]);
    ensure!(file("memory.max")? == "33554432\n" && file("pids.max")? == "20\n");
    ensure!(file("cpu.max")? == "50000 100000\n", "{}", file("cpu.max")?);
    let stats = scene.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "box"])?;
    ensure!(stats.ends_with("/ 32MiB 1\n") && !stats.starts_with("0B"), "{stats}");
    scene.ok(&["pause", "box"])?;
    ensure!(scene.ok(&["ps"])?.contains("(Paused)"));
    scene.ok(&["unpause", "box"])?;
    scene.ok(&["rm", "--force", "box"])?;
    let eats = [
        "run",
        "--memory",
        "16m",
        "--name",
        "eats",
        "busybox",
        "sh",
        "-c",
        "head -c 99999999 /dev/zero | tail",
    ];
    ensure!(scene.rctl(&eats)?.code == 137);
    scene.ok(&["rm", "eats"])?;
    scene.finish()
}

/// A client of containerd's takes a checkpoint: criu works with this machine's kernel.
#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn ctr_takes_checkpoints() -> Result<()> {
    let scene = Scene::start()?;
    scene.ok(&["load", "--input", IMAGE])?;
    let ctr = |args: &[&str]| scene.ctr(&program("ctr"), args);
    let image = "docker.io/library/busybox:latest";
    ctr(&["run", "-d", image, "sleeper", "sleep", "1000"])?;
    let images = scene.root().join("images");
    ctr(&["task", "checkpoint", "--image-path", &images.to_string_lossy(), "sleeper"])?;
    ensure!(images.join("pstree.img").exists() && images.join("descriptors.json").exists());
    let is =
        |word: &str| Ok(ctr(&["task", "ls"])?.lines().any(|l| l.starts_with("sleeper ") && l.contains(word)));
    ensure!(is("RUNNING")?, "it did not go on");
    // Into the content store, as an image of its own.
    let name = ctr(&["task", "checkpoint", "--exit", "sleeper"])?;
    ensure!(name.starts_with("containerd.io/checkpoint/sleeper:"), "{name}");
    until("it has ended", || is("STOPPED"))?;
    ensure!(ctr(&["images", "ls", "-q"])?.contains(name.trim_end()));
    ctr(&["task", "rm", "sleeper"])?;
    ctr(&["containers", "rm", "sleeper"])?;
    ctr(&["images", "rm", "--sync", name.trim_end(), image])?;
    scene.finish()
}
