//! What is done with containers.

use std::time::Instant;

use anyhow::{Result, ensure};
use harness::Outcome;
use proto_containerd::services::snapshots::{ListSnapshotsRequest, RemoveSnapshotRequest};

use super::images::load;
use super::{Harm, NAME, Prepare, SLEEP, Thing, becomes, done_or, fresh, thing};
use crate::world::{FOREIGN, PATIENCE, STEPWISE, World};

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

/// All of them.
pub(super) fn all() -> Vec<Thing> {
    let nothing: Prepare = |_| Ok(());
    let sleeping: Prepare = |world| world.ok(SLEEP).map(drop);
    let small: Prepare = |world| load(world).and_then(Outcome::ok).map(drop);
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
    ]
}

fn said(outcome: Outcome, text: &str) -> Result<()> {
    let out = outcome.ok()?;
    ensure!(out == text, "it said {out:?}");
    Ok(())
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

pub(super) fn stays(world: &World, _: &Outcome, _: Harm) -> Result<()> {
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

pub(super) fn start(world: &mut World) -> Result<Outcome> {
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

pub(super) fn stepwise(world: &mut World) -> Result<()> {
    world.ok(&["create", "--name", NAME, "--runtime", STEPWISE, "busybox", "sleep", "100000"]).map(drop)
}

fn foreign(world: &mut World) -> Result<()> {
    world.ok(&["create", "--name", NAME, "--runtime", FOREIGN, "busybox", "sleep", "100000"]).map(drop)
}
