//! `pause`: every process of a container stands still.

use crate::cli::{Arity, Global, Matches, Verb};
use crate::error::{Error, Result};
use crate::state::{Container, Status};

/// The verb.
pub const VERB: Verb = Verb {
    name: "pause",
    args: "<container-id>",
    about: "pause suspends all processes inside the container",
    flags: &[],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let container = Container::load(&global.root, matches.id()?)?;
    let _lock = container.lock()?;
    match container.status()? {
        Status::Created | Status::Running => {}
        Status::Paused | Status::Stopped => return Err(Error::NotRunning),
    }
    let _step = marks::step("runc-rs.pause.freeze")?;
    container.cgroup()?.freeze(true)?;
    marks::passed("runc-rs.pause.frozen");
    Ok(0)
}
