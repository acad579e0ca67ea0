//! The things that are done, each with what must be true whatever dies on the way.

mod containers;
mod images;
mod restarts;

use std::time::Instant;

use anyhow::{Result, ensure};
use harness::Outcome;

use crate::world::{PATIENCE, World};

/// The container of every thing.
const NAME: &str = "subject";
/// A container that runs until it is told to end.
const SLEEP: &[&str] = &["run", "-d", "--name", NAME, "busybox", "sleep", "100000"];
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

type Prepare = fn(&mut World) -> Result<()>;
type Act = fn(&mut World) -> Result<Outcome>;
type Check = fn(&World, &Outcome, Harm) -> Result<()>;

fn thing(name: &'static str, prepare: Prepare, act: Act, check: Check, again: Prepare) -> Thing {
    Thing { name, prepare, beside: None, act, check, again }
}

/// All of them.
pub fn all() -> Vec<Thing> {
    [containers::all(), images::all(), restarts::all()].into_iter().flatten().collect()
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
