//! `resume`: a paused container goes on.

use crate::cli::{Arity, Global, Matches, Verb};
use crate::error::{Error, Result};
use crate::state::{Container, Status};

/// The verb.
pub const VERB: Verb = Verb {
    name: "resume",
    args: "<container-id>",
    about: "resumes all processes that have been previously paused",
    flags: &[],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let container = Container::load(&global.root, matches.id()?)?;
    let _lock = container.lock()?;
    if container.status()? != Status::Paused {
        return Err(Error::NotPaused);
    }
    let _step = marks::step("runc-rs.resume.thaw")?;
    container.cgroup()?.freeze(false)?;
    marks::passed("runc-rs.resume.thawed");
    Ok(0)
}
