//! The daemon goes and comes, and what it finds then.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::Outcome;

use super::containers::{start, stays, stepwise};
use super::{Harm, NAME, Prepare, SLEEP, Thing, becomes, thing};
use crate::world::{PATIENCE, Target, World};

/// All of them.
pub(super) fn all() -> Vec<Thing> {
    let watched: Prepare = |world| world.ok(SLEEP).and_then(|_| watch(world));
    vec![
        thing("restart", watched, |world| restart(world, Loss::Nothing), survives, again_alive),
        thing("restart-exited", watched, |world| restart(world, Loss::Process), is_over, again_over),
        thing("restart-lost", watched, |world| restart(world, Loss::Shim), is_over, again_over),
        thing(
            "restart-half-started",
            half_started,
            |world| restart(world, Loss::Nothing),
            |world, outcome, harm| {
                stays(world, outcome, harm)?;
                becomes(world, &["created", "exited"])
            },
            |world| {
                start(world)?.ok()?;
                becomes(world, &["running"])
            },
        ),
        thing("restart-machine", watched, |world| restart(world, Loss::Machine), is_over, again_over),
    ]
}

/// A container that the daemon has created, and died before it had it started.
fn half_started(world: &mut World) -> Result<()> {
    stepwise(world)?;
    world.faults.arm_line("flows.start.init kill")?;
    let outcome = start(world)?;
    ensure!(outcome.code != 0, "it was started by a daemon that died: {outcome:?}");
    let began = Instant::now();
    while world.scene.daemon_ended()?.is_none() {
        ensure!(began.elapsed() < PATIENCE, "the daemon passes no start: {outcome:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    world.faults.disarm();
    Ok(())
}

/// What is lost while the daemon is away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Nothing,
    /// The container's process.
    Process,
    /// Its shim.
    Shim,
    /// All that does not outlive a machine.
    Machine,
}

/// The daemon dies, something is lost, and the daemon comes again; with a fault armed that may take more than one start.
fn restart(world: &mut World, loss: Loss) -> Result<Outcome> {
    let Target { id, pid } = world.target.borrow().clone();
    world.scene.kill_daemon()?;
    if loss != Loss::Nothing {
        let shim = parent(pid)?;
        if loss != Loss::Process {
            end(shim)?;
        }
        end(pid)?;
        if loss == Loss::Machine {
            forget_task(world, &id)?;
        }
    }
    let served = world.try_start()?;
    Ok(Outcome {
        what: "start the daemon".into(),
        code: i32::from(!served),
        stdout: pid.to_string(),
        stderr: String::new(),
    })
}

/// Remembers which process the container is.
fn watch(world: &World) -> Result<()> {
    let pid = world.container(NAME)?.context("the container is there")?.pid;
    let id = world.ok(&["inspect", "--format", "{{.Id}}", NAME])?.trim().to_owned();
    *world.target.borrow_mut() = Target { id, pid };
    Ok(())
}

fn parent(pid: u32) -> Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("PPid:")).context("a process has a parent")?;
    Ok(line.trim().parse()?)
}

fn end(pid: u32) -> Result<()> {
    // It may have gone already.
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    );
    let began = Instant::now();
    loop {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "process {pid} does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a reboot takes along: the executor's state, the root's mount, the bundle, the shim's socket.
fn forget_task(world: &World, id: &str) -> Result<()> {
    let namespace = world.scene.namespace();
    let root = format!("/run/containerd/runc/{namespace}");
    let executor = world.scene.programs().join("runc-rs");
    harness::sh::run(std::process::Command::new(executor).args(["--root", &root, "delete", "--force", id]))?;
    let bundle = world.scene.root().join("run/io.containerd.runtime.v2.task").join(namespace).join(id);
    harness::sh::run(std::process::Command::new("umount").arg("--lazy").arg(bundle.join("rootfs")))?;
    let address = std::fs::read_to_string(bundle.join("address")).unwrap_or_default();
    if let Some(socket) = address.strip_prefix("unix://") {
        // The shim may have taken it along.
        let _ = std::fs::remove_file(socket);
    }
    std::fs::remove_dir_all(&bundle).context("remove the bundle")
}

fn survives(world: &World, outcome: &Outcome, harm: Harm) -> Result<()> {
    if harm == Harm::None {
        let container = world.container(NAME)?.context("the container is gone")?;
        ensure!(container.state == "running", "the container is {}", container.state);
        ensure!(container.pid.to_string() == outcome.stdout, "{} became {}", outcome.stdout, container.pid);
    }
    Ok(())
}

fn is_over(world: &World, _: &Outcome, _: Harm) -> Result<()> {
    becomes(world, &["exited"])
}

fn again_alive(world: &mut World) -> Result<()> {
    let outcome = restart(world, Loss::Nothing)?;
    ensure!(outcome.code == 0, "the daemon died at its start");
    match world.state(NAME)?.as_str() {
        "running" | "exited" => Ok(()),
        other => bail!("the container is {other}"),
    }
}

fn again_over(world: &mut World) -> Result<()> {
    again_alive(world)?;
    world.ok(&["start", NAME])?;
    becomes(world, &["running"])
}
