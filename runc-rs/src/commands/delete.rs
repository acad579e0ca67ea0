//! `delete`: what is left of a container, taken away.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::error::{Error, Result};
use crate::log;
use crate::process::Handle;
use crate::resctrl;
use crate::stage::create::hook_list;
use crate::stage::record::hook_state;
use crate::state::{self, Container, Status, validate_id};
use crate::steps::hooks;

/// How long a killed process may take to end, as runc has it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The verb.
pub const VERB: Verb = Verb {
    name: "delete",
    args: "<container-id>",
    about: "delete any resources held by the container often used with detached container",
    flags: &[Flag::switch(
        "force",
        Some("f"),
        "Forcibly deletes the container if it is still running (uses SIGKILL)",
    )],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let _whole = marks::step("runc-rs.delete.whole")?;
    let (id, force) = (matches.id()?, matches.flag("force"));
    let container = match Container::load(&global.root, id) {
        Ok(container) => container,
        Err(Error::NotExist) => {
            // A creation that was cut off before it wrote anything leaves an empty directory.
            validate_id(id)?;
            state::remove(&global.root.join(id))?;
            return if force { Ok(0) } else { Err(Error::NotExist) };
        }
        // A state that cannot be read says nothing to take back but itself.
        Err(e) if force => {
            validate_id(id)?;
            log::warn(e.to_string());
            state::remove(&global.root.join(id))?;
            return Ok(0);
        }
        Err(e) => return Err(e),
    };
    match container.status()? {
        Status::Stopped => {}
        _ if force => kill_init(&container)?,
        Status::Created => kill_init(&container)?,
        status => {
            let status = status.as_str();
            return Err(Error::new(format!("cannot delete container {id} that is not stopped: {status}")));
        }
    }
    destroy(&container)?;
    Ok(0)
}

/// Kills init and waits until it has ended.
fn kill_init(container: &Container) -> Result<()> {
    let (pid, start) = (container.state.init_process_pid, container.state.init_process_start);
    let Some(init) = Handle::of(pid, start) else { return Ok(()) };
    // It may have ended by now, which is what is waited for.
    let _ = init.signal(Signal::SIGKILL as i32);
    // A frozen process takes its death when it is thawed; version 2 does it by itself.
    if let Ok(cgroup) = container.cgroup()
        && cgroup.frozen().unwrap_or(false)
    {
        cgroup.freeze(false)?;
    }
    if init.wait(PATIENCE) { Ok(()) } else { Err(Error::new("container init still running")) }
}

/// Takes away the cgroup with all that is in it, and the state directory; runs the `poststop` hooks. Goes on past a
/// failure, and says the first one.
pub fn destroy(container: &Container) -> Result<()> {
    let step = marks::begun("runc-rs.delete.cgroup");
    let emptied = container.cgroup().and_then(|cgroup| {
        match cgroup.kill_all(Signal::SIGKILL as i32) {
            Err(e) if !e.is_not_found() => log::warn(format!("kill processes of the cgroup: {e}")),
            _ => {}
        }
        Ok(cgroup.destroy()?)
    });
    let hooks = container.spec().map(|spec| hook_list(&spec, |h| h.poststop()));
    let ungrouped = resctrl::remove(&container.state.intel_rdt_made);
    drop(step);
    let step = marks::begun("runc-rs.delete.state");
    let removed = state::remove(&container.dir);
    drop(step);
    match hooks {
        Ok(list) => {
            let state = hook_state(container).json("stopped", Some(0));
            hooks::run_leniently("poststop", &list, &state);
        }
        Err(e) => log::warn(format!("poststop hooks: {e}")),
    }
    emptied.and(ungrouped).and(removed)
}
