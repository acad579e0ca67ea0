//! Bundles that vanish, whole or in part, under a container that runs: what is left is found and ended, and told; the id can be used again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::{scene, until};
use harness::Scene;

/// Two containers that run: one whose bundle is to vanish, and one beside it.
fn stage() -> Result<(Scene, PathBuf)> {
    let scene = scene()?;
    scene.ok(&["run", "-d", "--name", "other", "busybox", "sleep", "1000"])?;
    scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?;
    let id = scene.ok(&["inspect", "--format", "{{.Id}}", "box"])?;
    let tasks = scene.root().join("run/io.containerd.runtime.v2.task").join(scene.namespace());
    let bundle = tasks.join(id.trim());
    ensure!(bundle.join("config.json").exists(), "no bundle at {}", bundle.display());
    Ok((scene, bundle))
}

/// Removes every file of a bundle; the root stays mounted where it is.
fn remove_files(bundle: &Path) -> Result<()> {
    for entry in std::fs::read_dir(bundle)?.flatten() {
        if entry.file_name() != "rootfs" {
            let path = entry.path();
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(&path)?,
                false => std::fs::remove_file(&path)?,
            }
        }
    }
    Ok(())
}

/// Takes the whole bundle away, with the mount in it.
fn remove_all(bundle: &Path) -> Result<()> {
    harness::sh::run(std::process::Command::new("umount").arg("--lazy").arg(bundle.join("rootfs")))?;
    std::fs::remove_dir_all(bundle).context("remove the bundle")
}

fn pid(scene: &Scene, name: &str) -> Result<u32> {
    let pid = scene.ok(&["inspect", "--format", "{{.State.Pid}}", name])?;
    pid.trim().parse().with_context(|| format!("the pid of {name}: {pid:?}"))
}

fn is_gone(pid: u32) -> bool {
    // One that waits for its parent to look has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty()
}

/// The other one has not noticed; this one can be started again, and removed without a trace.
fn goes_on(scene: Scene, other: u32) -> Result<()> {
    ensure!(pid(&scene, "other")? == other, "the other container is another\n{}", scene.log());
    scene.ok(&["start", "box"])?;
    ensure!(scene.ok(&["exec", "box", "echo", "here"])? == "here\n");
    scene.ok(&["rm", "--force", "box", "other"])?;
    scene.finish()
}

#[test]
fn a_container_without_its_bundle_is_ended_and_removed() -> Result<()> {
    for remove in [remove_files, remove_all] {
        let (scene, bundle) = stage()?;
        let (old, other) = (pid(&scene, "box")?, pid(&scene, "other")?);
        remove(&bundle)?;
        // What it can still do it does, or says what is missing.
        let exec = scene.rctl(&["exec", "box", "echo", "here"])?;
        ensure!(exec.stdout == "here\n" || !exec.stderr.is_empty(), "{exec:?}");
        scene.ok(&["kill", "box"])?;
        ensure!(scene.ok(&["wait", "box"])? == "137\n", "{}", scene.log());
        until("an end of its process", &scene, || Ok(is_gone(old)))?;
        goes_on(scene, other)?;
    }
    Ok(())
}

#[test]
fn a_daemon_that_finds_no_bundle_leaves_nothing_of_the_container() -> Result<()> {
    for remove in [remove_files, remove_all] {
        let (mut scene, bundle) = stage()?;
        let (old, other) = (pid(&scene, "box")?, pid(&scene, "other")?);
        scene.kill_daemon()?;
        remove(&bundle)?;
        scene.start_daemon()?;
        until("an end of its process", &scene, || Ok(is_gone(old)))?;
        let state = scene.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "box"])?;
        ensure!(state.starts_with("exited "), "{state:?}\n{}", scene.log());
        goes_on(scene, other)?;
    }
    Ok(())
}
