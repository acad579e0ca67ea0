//! The whole stack, command line, daemon, shim and executor, where version 2 is all there is.

use std::fs;
use std::path::Path;

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

/// Counts in its memory, and says each number also in a file of the host's.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; echo $i >/out/count; sleep 0.1; done";

/// A client of containerd's has a task made from its checkpoint: what it had in memory and in its root is there again.
#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn ctr_restores_a_task_that_goes_on_counting() -> Result<()> {
    let scene = Scene::start()?;
    scene.ok(&["load", "--input", IMAGE])?;
    let ctr = |args: &[&str]| scene.ctr(&program("ctr"), args);
    let (image, checkpoint) = ("docker.io/library/busybox:latest", "example.com/counter:1");
    let out = scene.root().join("out");
    fs::create_dir(&out)?;
    let count =
        || fs::read_to_string(out.join("count")).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let mount = format!("type=bind,src={},dst=/out,options=rbind:rw", out.display());
    let script = format!("echo kept >/kept; {COUNT}");
    ctr(&["run", "-d", "--mount", &mount, image, "counter", "sh", "-c", &script])?;
    until("it has counted", || Ok(count() > Some(20)))?;
    let before = count();
    ctr(&["containers", "checkpoint", "--image", "--rw", "--task", "counter", checkpoint])?;
    ensure!(!has_images(scene.root())?, "images are left");
    ctr(&["task", "kill", "--signal", "KILL", "counter"])?;
    let is = |word: &str| {
        Ok(ctr(&["task", "ls"])?.lines().any(|line| line.starts_with("counter ") && line.contains(word)))
    };
    until("it has ended", || is("STOPPED"))?;
    ctr(&["task", "rm", "counter"])?;
    ctr(&["containers", "rm", "counter"])?;
    fs::write(out.join("count"), "")?;
    // It leaves the task when that runs.
    ctr(&["containers", "restore", "--rw", "--live", "counter", checkpoint])?;
    until("it counts again", || Ok(count().is_some()))?;
    let first = count();
    ensure!(first >= before, "it began at {first:?}, not after {before:?}");
    until("it counts on", || Ok(count() > first))?;
    ensure!(is("RUNNING")?);
    let within = ctr(&["task", "exec", "--exec-id", "look", "counter", "cat", "/kept"])?;
    ensure!(within == "kept\n", "{within}");
    ensure!(ctr(&["task", "metrics", "counter"])?.contains("pids.current"));
    // Its images are not needed any more.
    until("its images are gone", || Ok(!has_images(scene.root())?))?;
    ctr(&["task", "kill", "--signal", "KILL", "counter"])?;
    until("it has ended again", || is("STOPPED"))?;
    ctr(&["task", "rm", "counter"])?;
    ctr(&["containers", "rm", "counter"])?;
    ctr(&["images", "rm", "--sync", checkpoint, image])?;
    scene.finish()
}

/// Are there images of criu's below a folder?
fn has_images(folder: &Path) -> Result<bool> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // Folders come and go.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "pstree.img") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
