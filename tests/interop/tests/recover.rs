//! What a daemon that died left half made, here made by hand with containerd's client, and what becomes of that client.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use harness::faults::{self, Faults};
use harness::{Scene, image, needs, programs};
use interop::{text, until};

#[test]
fn a_root_without_its_container_goes_when_the_daemon_starts() -> Result<()> {
    if !needs("a_root_without_its_container_goes_when_the_daemon_starts", &["ctr"]) {
        return Ok(());
    }
    let mut scene = Scene::start()?;
    let ctr = Path::new("ctr");
    for key in ["half", "others"] {
        scene.ctr(ctr, &["snapshots", "prepare", key])?;
    }
    scene.ctr(ctr, &["snapshots", "label", "half", "containerd.io/gc.root=runtimed"])?;
    scene.ctr(ctr, &["snapshots", "label", "others", "containerd.io/gc.root=somebody"])?;
    scene.kill_daemon()?;
    scene.start_daemon()?;
    let left = scene.ctr(ctr, &["snapshots", "ls"])?;
    ensure!(!left.contains("half") && left.contains("others"), "{left}");
    scene.ctr(ctr, &["snapshots", "rm", "others"])?;
    scene.finish()
}

/// The daemon dies before it passes on the first call of an exec, then the second, and so on. Nobody holds fifos open for an exec that is
/// never started, so the client goes, too.
#[test]
fn a_client_whose_exec_is_cut_ends_and_leaves_nothing_open() -> Result<()> {
    if !needs(
        "a_client_whose_exec_is_cut_ends_and_leaves_nothing_open",
        &["ctr", "umoci", "skopeo", "busybox"],
    ) {
        return Ok(());
    }
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    let faults = Faults::new()?;
    scene.set_environment(faults::VARIABLE, faults.folder());
    scene.start_daemon()?;
    let ctr = Path::new("ctr");
    scene.ctr(ctr, &["images", "import", text(&image::busybox_archive(scene.root())?)?])?;
    let name = "docker.io/library/busybox:latest";
    scene.ctr(ctr, &["run", "-d", "--null-io", name, "long", "sleep", "1000"])?;
    let shim = shim_of(&scene)?;
    let descriptors = || Ok::<_, anyhow::Error>(std::fs::read_dir(format!("/proc/{shim}/fd"))?.count());
    let before = descriptors()?;
    let mut deaths = 0;
    loop {
        ensure!(deaths < 20, "the daemon always dies");
        faults.arm_line(&format!("task.call.shim kill skip {deaths}"))?;
        let id = format!("e{deaths}");
        let mut command = scene.ctr_command(ctr, &["tasks", "exec", "--exec-id", &id, "long", "true"]);
        let mut client =
            command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
        let ended = until("the client ends", || Ok(client.try_wait()?.is_some()));
        if ended.is_err() {
            client.kill()?;
            client.wait()?;
            ended.with_context(|| format!("the daemon died at call {deaths}\n{}", scene.log()))?;
        }
        if faults.fired_at("task.call.shim", "kill").is_none() {
            break;
        }
        deaths += 1;
        faults.disarm();
        scene.kill_daemon()?;
        scene.start_daemon()?;
        // Connections come and go; the streams of an exec are nine descriptors.
        until("nothing is open for it", || Ok(descriptors()? <= before + 2))?;
    }
    ensure!(deaths > 2, "there are more calls than {deaths}");
    faults.disarm();
    scene.ctr(ctr, &["tasks", "rm", "--force", "long"])?;
    scene.ctr(ctr, &["containers", "rm", "long"])?;
    scene.finish()
}

/// The parent of the only task's process.
fn shim_of(scene: &Scene) -> Result<String> {
    let tasks = scene.ctr(Path::new("ctr"), &["tasks", "ls"])?;
    let pid =
        tasks.lines().nth(1).and_then(|line| line.split_whitespace().nth(1)).context("there is a task")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("it has a parent")?;
    Ok(parent.trim().to_owned())
}
