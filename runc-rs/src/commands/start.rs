//! `start`: lets the init of a created container go.

use crate::cli::{Arity, Global, Matches, Verb};
use crate::error::{Error, Result};
use crate::stage::create;
use crate::stage::notify::Notify;
use crate::state::{Container, Status};

/// The verb.
pub const VERB: Verb = Verb {
    name: "start",
    args: "<container-id>",
    about: "executes the user defined process in a created container",
    flags: &[],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let container = Container::load(&global.root, matches.id()?)?;
    let notify = {
        let _step = marks::step("runc-rs.start.lock")?;
        let _lock = container.lock()?;
        match container.status()? {
            Status::Created => {
                let notify = Notify::open(&container.dir)?;
                release(&container)?;
                notify
            }
            Status::Stopped => return Err(Error::new("cannot start a container that has stopped")),
            Status::Running => return Err(Error::new("cannot start an already running container")),
            Status::Paused => return Err(Error::new("cannot start a container in the paused state")),
        }
    };
    // Outside of the lock: a hook may call this program.
    create::started(&container, &container.spec()?)?;
    if let Some(notify) = notify {
        notify.relay(container.state.init_process_pid)?;
    }
    Ok(0)
}

/// Lets init go, if it is there.
fn release(container: &Container) -> Result<()> {
    let fails = |e| Error::call(format_args!("open {}", container.dir.join(start_gate::NAME).display()), e);
    let gone = || Error::new("cannot start a container that has stopped");
    let gate = start_gate::open(&container.dir).map_err(fails)?.ok_or_else(gone)?;
    marks::passed("runc-rs.start.taken");
    gate.start().map_err(fails)?;
    marks::passed("runc-rs.start.released");
    Ok(())
}
