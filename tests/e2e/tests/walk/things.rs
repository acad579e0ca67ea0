//! The things that are done, each with what must be true whatever dies on the way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::Outcome;
use proto_containerd::services::content::{
    AbortRequest, ListStatusesRequest, WriteAction, WriteContentRequest,
};
use proto_containerd::services::snapshots::{ListSnapshotsRequest, RemoveSnapshotRequest};

use crate::world::{FOREIGN, PATIENCE, STEPWISE, Target, World};

/// The container of every thing.
const NAME: &str = "subject";
/// A container that runs until it is told to end.
const SLEEP: &[&str] = &["run", "-d", "--name", NAME, "busybox", "sleep", "100000"];
/// A container that ends when asked.
const POLITE: &[&str] =
    &["run", "-d", "--name", NAME, "busybox", "sh", "-c", "trap 'exit 3' TERM; sleep 100000 & wait"];
/// A container that writes and ends by itself.
const HELLO: &[&str] =
    &["--trace", "run", "--rm", "--name", NAME, "busybox", "sh", "-c", "echo hello; exit 7"];

/// The same by a shim that has another name.
const HELLO_STEPWISE: &[&str] = &[
    "--trace",
    "run",
    "--rm",
    "--name",
    NAME,
    "--runtime",
    STEPWISE,
    "busybox",
    "sh",
    "-c",
    "echo hello; exit 7",
];

/// A container whose layers are unpacked as whole copies.
const NATIVE: &[&str] = &["create", "--name", NAME, "--snapshotter", "native", "small:loaded", "true"];

/// Something that is done, with faults armed.
pub struct Thing {
    /// Its name.
    pub name: &'static str,
    /// Makes what it is done to. Nothing is armed yet.
    pub prepare: fn(&mut World) -> Result<()>,
    /// A line that is armed beside the fault: something slow that makes the thing possible.
    pub beside: Option<&'static str>,
    /// Does it. The daemon may be dead afterwards.
    pub act: fn(&mut World) -> Result<Outcome>,
    /// The daemon serves again: what was acknowledged holds, and nothing else was lost.
    pub check: fn(&World, &Outcome, Harm) -> Result<()>,
    /// The same works now.
    pub again: fn(&mut World) -> Result<()>,
}

/// What the fault may have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Nothing that was acknowledged: the daemon or its client died, or a call failed.
    None,
    /// The container's processes: its shim or its executor died.
    Container,
}

/// All of them.
pub fn all() -> Vec<Thing> {
    let nothing: fn(&mut World) -> Result<()> = |_| Ok(());
    let sleeping: fn(&mut World) -> Result<()> = |world| world.ok(SLEEP).map(drop);
    let watched: fn(&mut World) -> Result<()> = |world| world.ok(SLEEP).and_then(|_| watch(world));
    let small: fn(&mut World) -> Result<()> = |world| load(world).and_then(Outcome::ok).map(drop);
    let thing = |name, prepare, act, check, again| Thing { name, prepare, beside: None, act, check, again };
    vec![
        thing("run", nothing, |world| world.rctl(HELLO), ran, |world| fresh(world, HELLO).and_then(hello)),
        thing(
            "run-detached",
            nothing,
            |world| world.rctl(SLEEP),
            runs,
            |world| {
                fresh(world, SLEEP)?.ok()?;
                becomes(world, &["running"])
            },
        ),
        thing("create", nothing, create, created, |world| {
            fresh(world, &["create", "--name", NAME, "busybox", "true"])?.ok()?;
            world.ok(&["start", "--attach", NAME]).map(drop)
        }),
        thing(
            "create-native",
            small,
            |world| world.rctl(NATIVE),
            created,
            |world| fresh(world, NATIVE)?.ok().map(drop),
        ),
        thing("create-unpack", unpacked_no_more, create_small, created, |world| {
            fresh(world, &["create", "--name", NAME, "small:loaded", "true"])?.ok().map(drop)
        }),
        thing(
            "start",
            |world| world.ok(&["create", "--name", NAME, "busybox", "sleep", "100000"]).map(drop),
            start,
            runs_or_stays,
            |world| {
                start(world)?.ok()?;
                becomes(world, &["running"])
            },
        ),
        // By a shim that is not known to be ours: it is started, told to create, and told to start.
        thing(
            "run-stepwise",
            nothing,
            |world| world.rctl(HELLO_STEPWISE),
            ran,
            |world| fresh(world, HELLO_STEPWISE).and_then(hello),
        ),
        thing("start-stepwise", stepwise, start, runs_or_stays, |world| {
            start(world)?.ok()?;
            becomes(world, &["running"])
        }),
        thing("start-foreign", foreign, start, runs_or_stays, |world| {
            start(world)?.ok()?;
            becomes(world, &["running"])
        }),
        Thing {
            name: "start-ended",
            prepare: |world| world.ok(&["create", "--name", NAME, "busybox", "true"]).map(drop),
            beside: Some("flows.exit.told delay:200"),
            act: |world| {
                start(world)?;
                start(world)
            },
            check: stays,
            again: |world| start(world)?.ok().map(drop),
        },
        thing("exec", sleeping, exec, executed, |world| said(exec_in_running(world)?, "hi\n")),
        thing(
            "stop",
            |world| world.ok(POLITE).map(drop),
            |world| world.rctl(&["stop", NAME]),
            stopped,
            |world| {
                world.ok(&["stop", NAME])?;
                becomes(world, &["exited"])
            },
        ),
        thing(
            "stop-hard",
            sleeping,
            |world| world.rctl(&["stop", "--time", "0", NAME]),
            stopped,
            |world| {
                world.ok(&["stop", "--time", "0", NAME])?;
                becomes(world, &["exited"])
            },
        ),
        thing(
            "kill",
            sleeping,
            |world| world.rctl(&["kill", NAME]),
            killed,
            |world| {
                done_or(world.rctl(&["kill", NAME])?, "is not running")?;
                becomes(world, &["exited"])
            },
        ),
        thing("pause", sleeping, |world| world.rctl(&["pause", NAME]), froze, |world| freeze(world, true)),
        thing(
            "unpause",
            |world| {
                world.ok(SLEEP)?;
                world.ok(&["pause", NAME]).map(drop)
            },
            |world| world.rctl(&["unpause", NAME]),
            thawed,
            |world| freeze(world, false),
        ),
        thing(
            "rm",
            |world| world.ok(&["run", "--name", NAME, "busybox", "true"]).map(drop),
            |world| world.rctl(&["rm", NAME]),
            |world, outcome, _| removed(world, outcome, "(0)"),
            |world| done_or(world.rctl(&["rm", NAME])?, "No such container"),
        ),
        thing(
            "rm-force",
            sleeping,
            |world| world.rctl(&["rm", "--force", NAME]),
            |world, outcome, _| removed(world, outcome, "(137)"),
            |world| done_or(world.rctl(&["rm", "--force", NAME])?, "No such container"),
        ),
        thing(
            "rm-force-shared",
            |world| {
                world
                    .ok(&["run", "--detach", "--pid", "host", "--name", NAME, "busybox", "sleep", "100000"])
                    .map(drop)
            },
            |world| world.rctl(&["rm", "--force", NAME]),
            |world, outcome, _| removed(world, outcome, "(137)"),
            |world| done_or(world.rctl(&["rm", "--force", NAME])?, "No such container"),
        ),
        thing(
            "pull",
            nothing,
            pull,
            |world, outcome, _| has_image(world, outcome, "small:1"),
            |world| {
                pull(world)?.ok()?;
                image_is_whole(world, "small:1")
            },
        ),
        thing(
            "load",
            nothing,
            |world| load(world),
            |world, outcome, _| has_image(world, outcome, "small:loaded"),
            |world| {
                load(world)?.ok()?;
                image_is_whole(world, "small:loaded")
            },
        ),
        thing("save", nothing, save, saved, |world| {
            let outcome = save(world)?;
            outcome.clone().ok()?;
            saved(world, &outcome, Harm::None)
        }),
        thing(
            "tag",
            nothing,
            tag,
            |world, outcome, _| has_image(world, outcome, "other:1"),
            |world| {
                tag(world)?.ok()?;
                ensure!(images(world)?.contains("other"), "the tag is not listed");
                Ok(())
            },
        ),
        thing(
            "rmi",
            small,
            remove_image,
            |world, outcome, _| {
                ensure!(outcome.code != 0 || !images(world)?.contains("small"), "a removed image is listed");
                Ok(())
            },
            |world| done_or(remove_image(world)?, "No such image"),
        ),
        thing(
            "commit",
            prepared,
            commit,
            |_, _, _| Ok(()),
            |world| {
                // Nothing refers to it: what is committed, and what is not, may have been collected meanwhile.
                let outcome = commit(world)?;
                let known = ["already exists", "does not exist"];
                let known = known.iter().any(|text| outcome.stderr.contains(text));
                ensure!(outcome.code == 0 || known, "{outcome:?}");
                Ok(())
            },
        ),
        thing("ingest-abort", ingesting, abort, aborted, |world| {
            let outcome = abort(world)?;
            // Nobody holds it: a collection may have been quicker.
            ensure!(outcome.code == 0 || outcome.stderr.contains("not found"), "{outcome:?}");
            aborted(world, &outcome, Harm::None)
        }),
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

/// Takes away what things leave, in whatever state.
pub fn clear(world: &World) -> Result<()> {
    remove(world)?;
    let (images, snapshots) = world.images_and_snapshots()?;
    for image in images.iter().filter(|image| !image.contains("busybox")) {
        done_or(world.rctl(&["rmi", "--force", image])?, "No such image")?;
    }
    for key in snapshots.iter().filter(|key| key.starts_with("layer")) {
        done_or(world.rctl(&["snapshots", "rm", key])?, "not found")?;
    }
    Ok(())
}

fn done_or(outcome: Outcome, text: &str) -> Result<()> {
    if outcome.code != 0 && outcome.stderr.contains(text) {
        return Ok(());
    }
    outcome.ok().map(drop)
}

fn said(outcome: Outcome, text: &str) -> Result<()> {
    let out = outcome.ok()?;
    ensure!(out == text, "it said {out:?}");
    Ok(())
}

fn becomes(world: &World, states: &[&str]) -> Result<()> {
    world.until(NAME, states).map(drop)
}

/// Removes the container if it is there.
fn remove(world: &World) -> Result<()> {
    let began = Instant::now();
    while world.state(NAME)? != "none" {
        done_or(world.rctl(&["rm", "--force", NAME])?, "No such container")?;
        ensure!(began.elapsed() < PATIENCE, "the container cannot be removed");
    }
    Ok(())
}

/// Does something that takes the container's name. Where an earlier attempt, whose client was not told, has made the container, that
/// must be there to be seen and removed.
fn fresh(world: &World, args: &[&str]) -> Result<Outcome> {
    let began = Instant::now();
    loop {
        let outcome = world.rctl(args)?;
        if !outcome.stderr.contains("is already in use by container") {
            return Ok(outcome);
        }
        while world.state(NAME)? == "none" {
            // It may have gone since; then the name is free.
            let outcome = world.rctl(args)?;
            if !outcome.stderr.contains("is already in use by container") {
                return Ok(outcome);
            }
            ensure!(
                began.elapsed() < PATIENCE / 4,
                "the name is taken and nobody has it: {}",
                outcome.stderr
            );
        }
        remove(world)?;
    }
}

fn hello(outcome: Outcome) -> Result<()> {
    ensure!(outcome.code == 7 && outcome.stdout == "hello\n", "{outcome:?}");
    Ok(())
}

fn ran(world: &World, outcome: &Outcome, _: Harm) -> Result<()> {
    if outcome.code == 7 {
        hello(outcome.clone())?;
        ensure!(world.state(NAME)? == "none", "a container that was to be removed is there");
    }
    Ok(())
}

fn runs(world: &World, outcome: &Outcome, harm: Harm) -> Result<()> {
    if outcome.code == 0 && harm == Harm::None {
        let state = world.state(NAME)?;
        ensure!(state == "running", "it was started, and is {state}");
    }
    Ok(())
}

fn runs_or_stays(world: &World, outcome: &Outcome, harm: Harm) -> Result<()> {
    stays(world, outcome, harm)?;
    runs(world, outcome, harm)
}

fn stays(world: &World, _: &Outcome, _: Harm) -> Result<()> {
    ensure!(world.state(NAME)? != "none", "the container is gone");
    Ok(())
}

fn create(world: &mut World) -> Result<Outcome> {
    world.rctl(&["create", "--name", NAME, "busybox", "true"])
}

fn create_small(world: &mut World) -> Result<Outcome> {
    world.rctl(&["create", "--name", NAME, "small:loaded", "true"])
}

fn created(world: &World, outcome: &Outcome, _: Harm) -> Result<()> {
    let state = world.state(NAME)?;
    ensure!(outcome.code != 0 || state == "created", "it was created, and is {state}");
    Ok(())
}

/// An image whose layers are packed only.
fn unpacked_no_more(world: &mut World) -> Result<()> {
    load(world)?.ok()?;
    let own = world.ok(&["inspect", "small:loaded"])?;
    ensure!(own.contains("sha256:"), "{own}");
    world.ask(|client| async move {
        let snapshotter = "overlayfs".to_owned();
        let request = ListSnapshotsRequest { snapshotter: snapshotter.clone(), filters: vec![] };
        let mut listed = client.snapshots().list(request).await?.into_inner();
        let mut all = Vec::new();
        while let Some(part) = listed.message().await? {
            all.extend(part.info);
        }
        // Children first, and only what nobody else stands on: busybox has a container.
        for _ in 0..all.len() {
            let parents: Vec<String> = all.iter().map(|info| info.parent.clone()).collect();
            for info in all.clone() {
                if info.name.starts_with("sha256:") && !parents.contains(&info.name) {
                    let request =
                        RemoveSnapshotRequest { snapshotter: snapshotter.clone(), key: info.name.clone() };
                    match client.snapshots().remove(request).await {
                        // A collection was faster: what it stood on is nobody's any more.
                        Err(status) if !status.message().contains("not found") => return Err(status.into()),
                        _ => {}
                    }
                    all.retain(|other| other.name != info.name);
                }
            }
        }
        Ok(())
    })
}

fn start(world: &mut World) -> Result<Outcome> {
    world.rctl(&["start", NAME])
}

fn exec(world: &mut World) -> Result<Outcome> {
    world.rctl(&["exec", NAME, "echo", "hi"])
}

/// A container whose shim was killed is seen to have ended a moment later.
fn exec_in_running(world: &mut World) -> Result<Outcome> {
    let began = Instant::now();
    loop {
        world.ok(&["start", NAME])?;
        let outcome = exec(world)?;
        let ended = ["is not running", "in a stopped state"].iter().any(|text| outcome.stderr.contains(text));
        if !ended || began.elapsed() > PATIENCE / 4 {
            return Ok(outcome);
        }
    }
}

fn executed(world: &World, outcome: &Outcome, harm: Harm) -> Result<()> {
    if outcome.code == 0 && harm == Harm::None {
        said(outcome.clone(), "hi\n")?;
    }
    runs(world, &Outcome { code: 0, ..outcome.clone() }, harm)
}

fn stopped(world: &World, outcome: &Outcome, harm: Harm) -> Result<()> {
    stays(world, outcome, harm)?;
    let state = world.state(NAME)?;
    ensure!(outcome.code != 0 || state == "exited", "it was stopped, and is {state}");
    Ok(())
}

fn killed(world: &World, outcome: &Outcome, harm: Harm) -> Result<()> {
    stays(world, outcome, harm)?;
    if outcome.code == 0 {
        becomes(world, &["exited"])?;
        let status = world.container(NAME)?.map(|container| container.status).unwrap_or_default();
        ensure!(status.contains("(137)"), "it was killed, and is {status}");
    }
    Ok(())
}

fn froze(world: &World, outcome: &Outcome, harm: Harm) -> Result<()> {
    stays(world, outcome, harm)?;
    let state = world.state(NAME)?;
    let held = outcome.code == 0 && harm == Harm::None;
    ensure!(!held || state == "paused", "it was paused, and is {state}");
    Ok(())
}

fn thawed(world: &World, outcome: &Outcome, harm: Harm) -> Result<()> {
    stays(world, outcome, harm)?;
    runs(world, outcome, harm)
}

/// Freezes it, or thaws it, whatever it is by now: the end of one whose shim was killed is seen a moment later.
fn freeze(world: &World, frozen: bool) -> Result<()> {
    let (verb, other, wanted) = match frozen {
        true => ("pause", "unpause", "paused"),
        false => ("unpause", "pause", "running"),
    };
    let began = Instant::now();
    loop {
        match world.state(NAME)?.as_str() {
            "exited" => world.ok(&["start", NAME]).map(drop)?,
            // Undone, and done again.
            state if state == wanted && world.rctl(&[other, NAME])?.code == 0 => {
                if world.rctl(&[verb, NAME])?.code == 0 {
                    return becomes(world, &[wanted]);
                }
            }
            // It may have ended, which is not known yet.
            _ => drop(world.rctl(&[verb, NAME])?),
        }
        ensure!(began.elapsed() < PATIENCE, "the container is not {wanted}");
    }
}

/// It is gone, or at least, if it has ended, known to have ended with `code`.
fn removed(world: &World, outcome: &Outcome, code: &str) -> Result<()> {
    let Some(left) = world.container(NAME)? else { return Ok(()) };
    ensure!(outcome.code != 0, "it was removed, and is {}", left.state);
    ensure!(left.state != "exited" || left.status.contains(code), "not {code}, but {}", left.status);
    Ok(())
}

fn pull(world: &mut World) -> Result<Outcome> {
    let remote = world.remote.clone();
    world.rctl(&["pull", "--quiet", &remote])
}

fn load(world: &World) -> Result<Outcome> {
    world.rctl(&["load", "--quiet", "--input", &world.archive])
}

fn images(world: &World) -> Result<String> {
    world.ok(&["images"])
}

fn has_image(world: &World, outcome: &Outcome, name: &str) -> Result<()> {
    match outcome.code {
        0 => image_is_whole(world, name),
        _ => Ok(()),
    }
}

/// It is listed, and a container can be made of it: its layers are unpacked.
fn image_is_whole(world: &World, name: &str) -> Result<()> {
    let name = if name == "small:1" { world.remote.as_str() } else { name };
    let made = world
        .ok(&["create", "--name", "look", name, "true"])
        .with_context(|| format!("use the image {name}"));
    world.ok(&["rm", "--force", "look"])?;
    made.map(drop)
}

fn save(world: &mut World) -> Result<Outcome> {
    let path = world.scene.root().join("scratch/saved.tar");
    // It may not be there yet.
    let _ = std::fs::remove_file(&path);
    world.rctl(&["save", "--output", &path.display().to_string(), "busybox"])
}

fn saved(world: &World, outcome: &Outcome, _: Harm) -> Result<()> {
    let path = world.scene.root().join("scratch/saved.tar");
    if outcome.code != 0 {
        return Ok(());
    }
    let listed = harness::sh::read(std::process::Command::new("tar").arg("-tf").arg(&path))?;
    ensure!(listed.contains("manifest.json") && listed.contains("index.json"), "the archive has {listed}");
    Ok(())
}

fn tag(world: &mut World) -> Result<Outcome> {
    world.rctl(&["tag", "busybox", "other:1"])
}

fn remove_image(world: &mut World) -> Result<Outcome> {
    world.rctl(&["rmi", "small:loaded"])
}

fn prepared(world: &mut World) -> Result<()> {
    world.ok(&["snapshots", "prepare", "layer"]).map(drop)
}

fn commit(world: &mut World) -> Result<Outcome> {
    world.rctl(&["snapshots", "commit", "layer-done", "layer"])
}

fn stepwise(world: &mut World) -> Result<()> {
    world.ok(&["create", "--name", NAME, "--runtime", STEPWISE, "busybox", "sleep", "100000"]).map(drop)
}

fn foreign(world: &mut World) -> Result<()> {
    world.ok(&["create", "--name", NAME, "--runtime", FOREIGN, "busybox", "sleep", "100000"]).map(drop)
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

/// The name of an ingest that is never finished.
const INGEST: &str = "half";

/// A blob of which the first bytes have come.
fn ingesting(world: &mut World) -> Result<()> {
    let part = WriteContentRequest {
        action: WriteAction::Write.into(),
        r#ref: INGEST.to_owned(),
        total: 1000,
        data: vec![b'x'; 500].into(),
        ..WriteContentRequest::default()
    };
    world.ask(|client| async move {
        let mut answers = client.content().write(tokio_stream::once(part)).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    })
}

/// Ends it as `ctr` and other clients do.
fn abort(world: &mut World) -> Result<Outcome> {
    let request = AbortRequest { r#ref: INGEST.to_owned() };
    let answer = world.ask(|client| async move { Ok(client.content().abort(request).await.err()) });
    let (code, stderr) = match answer {
        Ok(None) => (0, String::new()),
        Ok(Some(status)) => (1, status.message().to_owned()),
        Err(error) => (1, format!("{error:#}")),
    };
    Ok(Outcome { what: "abort an ingest".into(), code, stdout: String::new(), stderr })
}

fn aborted(world: &World, outcome: &Outcome, _: Harm) -> Result<()> {
    let statuses = world.ask(|client| async move {
        Ok(client.content().list_statuses(ListStatusesRequest::default()).await?)
    })?;
    let left = statuses.into_inner().statuses.into_iter().any(|status| status.r#ref == INGEST);
    ensure!(outcome.code != 0 || !left, "an ingest that was aborted is there");
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
