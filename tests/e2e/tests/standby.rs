//! The shim that stands by for the next container: it becomes that container's, and what happens to it harms nobody.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{scene, scene_without_standby, until};
use harness::Scene;

/// The processes of the scene whose arguments have this among them, by program.
fn processes(scene: &Scene, program: &str, word: &str) -> Result<Vec<u32>> {
    let root = scene.root().display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split('\0');
        let is_program = words.next().is_some_and(|name| name.ends_with(program));
        if is_program && line.contains(&root) && words.any(|other| other == word) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn standing_by(scene: &Scene) -> Result<(u32, u32)> {
    let (mut shim, mut executor) = (Vec::new(), Vec::new());
    until("a shim and an executor that stand by", scene, || {
        shim = processes(scene, "containerd-shim-runtimed-v2", "--stand-by")?;
        executor = processes(scene, "runc-rs", "--stand-by")?;
        Ok(shim.len() == 1 && executor.len() == 1)
    })?;
    Ok((shim[0], executor[0]))
}

fn kill(pid: u32) -> Result<()> {
    harness::sh::run(Command::new("kill").args(["-s", "KILL", &pid.to_string()]))
}

fn gone(scene: &Scene, pids: (u32, u32)) -> Result<()> {
    let there = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
    until("the end of who stands by", scene, || Ok(!there(pids.0) && !there(pids.1)))
}

#[test]
fn it_becomes_the_next_containers() -> Result<()> {
    let scene = scene()?;
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "one"])? == "one\n");
    let (shim, _) = standing_by(&scene)?;
    let id = scene.ok(&["run", "-d", "--name", "two", "busybox", "sleep", "1000"])?;
    let id = id.trim();
    let of_two = processes(&scene, "containerd-shim-runtimed-v2", id)?;
    ensure!(of_two == [shim], "{of_two:?}, not {shim}");
    // It is the process that the command line would have made.
    let stat =
        |file: &str| std::fs::read_to_string(format!("/proc/{shim}/{file}")).context("read of the shim");
    let folder = std::fs::read_link(format!("/proc/{shim}/cwd"))?;
    ensure!(folder.ends_with(id), "it works in {}", folder.display());
    let nice = stat("stat")?.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(16)).map(str::to_owned);
    let own = std::fs::read_to_string("/proc/self/stat")?;
    let own = own.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(16)).map(str::to_owned);
    ensure!(nice == own, "its nice value is {nice:?}, that of others {own:?}");
    ensure!(stat("environ")?.contains("GRPC_ADDRESS="), "it has no address");
    // Another stands by by now, or soon.
    ensure!(standing_by(&scene)?.0 != shim);
    scene.ok(&["rm", "--force", "two"])?;
    scene.finish()
}

#[test]
fn another_stands_by_after_a_failure() -> Result<()> {
    let scene = scene()?;
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "one"])? == "one\n");
    let (before, _) = standing_by(&scene)?;
    let failed = scene.rctl(&["run", "--rm", "busybox", "/nonexistent"])?;
    ensure!(failed.code == 127, "{failed:?}");
    ensure!(standing_by(&scene)?.0 != before, "it was not needed");
    scene.finish()
}

#[test]
fn what_happens_to_it_harms_nobody() -> Result<()> {
    let mut scene = scene()?;
    scene.ok(&["run", "--rm", "busybox", "true"])?;
    let killed = standing_by(&scene)?;
    kill(killed.0)?;
    gone(&scene, killed)?;
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "two"])? == "two\n");
    let without_executor = standing_by(&scene)?;
    kill(without_executor.1)?;
    until("the end of the executor", &scene, || {
        let line = std::fs::read(format!("/proc/{}/cmdline", without_executor.1)).unwrap_or_default();
        // It is nobody's command line once it is dead, reaped or not.
        Ok(line.is_empty())
    })?;
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "three"])? == "three\n");
    // It goes with the daemon, however that ends.
    let orphaned = standing_by(&scene)?;
    scene.kill_daemon()?;
    gone(&scene, orphaned)?;
    scene.start_daemon()?;
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "four"])? == "four\n");
    let stopped = standing_by(&scene)?;
    scene.stop_daemon()?;
    gone(&scene, stopped)?;
    scene.start_daemon()?;
    scene.finish()
}

#[test]
fn a_program_that_was_replaced_is_not_used() -> Result<()> {
    let programs = harness::programs::folder()?;
    let mut scene = Scene::with_programs(&programs)?;
    // Copies, which can be replaced.
    let folder = scene.root().join("programs");
    std::fs::create_dir(&folder)?;
    let (shim, executor) = (folder.join("containerd-shim-runtimed-v2"), folder.join("runc-rs"));
    for path in [&shim, &executor] {
        std::fs::copy(programs.join(path.file_name().context("a program has a name")?), path)?;
    }
    scene.use_shim(&shim);
    scene.start_daemon()?;
    e2e::load(&scene)?;
    scene.ok(&["run", "--rm", "busybox", "true"])?;
    let before = standing_by(&scene)?;
    let (new, old) = (folder.join("new"), &shim);
    std::fs::copy(programs.join("containerd-shim-runtimed-v2"), &new)?;
    std::fs::rename(&new, old)?;
    let id = scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?;
    let of_box = processes(&scene, "containerd-shim-runtimed-v2", id.trim())?;
    ensure!(of_box.len() == 1 && of_box != [before.0], "{of_box:?} is the old program");
    gone(&scene, before)?;
    // The executor is looked at by the shim.
    let after = standing_by(&scene)?;
    std::fs::copy(programs.join("runc-rs"), &new)?;
    std::fs::rename(&new, &executor)?;
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "two"])? == "two\n");
    gone(&scene, after)?;
    scene.ok(&["rm", "--force", "box"])?;
    scene.finish()
}

/// Tasks that end and stay, and the executors that stand by then.
fn ended(scene: &Scene, count: usize) -> Result<(Vec<String>, Vec<u32>)> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = scene.ok(&["create", "busybox", "true"])?.trim().to_owned();
        scene.ok(&["tasks", "start", "-d", "--null-io", &id])?;
        let is_over = |line: &str| line.starts_with(&id) && line.ends_with("STOPPED");
        until("the end of a task", scene, || Ok(scene.ok(&["tasks", "ls"])?.lines().any(is_over)))?;
        ids.push(id);
    }
    Ok((ids, processes(scene, "runc-rs", "--stand-by")?))
}

fn clear(scene: &Scene, ids: &[String]) -> Result<()> {
    for id in ids {
        scene.ok(&["tasks", "rm", id])?;
        scene.ok(&["rm", id])?;
    }
    Ok(())
}

#[test]
fn nobody_stands_by_where_that_is_turned_off() -> Result<()> {
    let with = scene()?;
    let (ids, _) = ended(&with, 3)?;
    // One more waits for the next container.
    until("executors that wait to delete", &with, || {
        Ok(processes(&with, "runc-rs", "--stand-by")?.len() == 4)
    })?;
    clear(&with, &ids)?;
    with.finish()?;
    let without = scene_without_standby()?;
    let (ids, waiting) = ended(&without, 5)?;
    ensure!(waiting.is_empty(), "{waiting:?} stand by");
    ensure!(processes(&without, "containerd-shim-runtimed-v2", "--stand-by")?.is_empty());
    clear(&without, &ids)?;
    without.finish()
}
