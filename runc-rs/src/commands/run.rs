//! `run`: create, start, and in the foreground wait and delete.

use super::create::{
    AWAIT_ROOT, BUNDLE, CONFIG, CONSOLE_SOCKET, NO_NEW_KEYRING, NO_PIVOT, PID_FILE, PIDFD_SOCKET,
    PRESERVE_FDS, request,
};
use super::delete;
use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::error::{Context, Result};
use crate::stage::create::{self, Created, Request};
use crate::stage::foreground::Foreground;
use crate::stage::root_ready::Caller;

/// The verb.
pub const VERB: Verb = Verb {
    name: "run",
    args: "<container-id>",
    about: "create and run a container",
    flags: &[
        BUNDLE,
        CONFIG,
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        Flag::switch("detach", Some("d"), "detach from the container's process"),
        Flag::switch("keep", None, "do not delete the container after it exits"),
        PID_FILE,
        Flag::switch(
            "no-subreaper",
            None,
            "disable the use of the subreaper used to reap reparented processes",
        ),
        NO_PIVOT,
        NO_NEW_KEYRING,
        PRESERVE_FDS,
        AWAIT_ROOT,
    ],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let detach = matches.flag("detach");
    let go = || {
        let request = Request { await_start: false, foreground: !detach, ..request(matches)? };
        if detach {
            let created = create::create(global, request)?;
            create::started(&created.container, &created.spec)?;
            if let Some(notify) = &created.notify {
                notify.relay(created.container.state.init_process_pid)?;
            }
            created.caller.into_iter().for_each(Caller::tell);
            return Ok(0);
        }
        let foreground = Foreground::new(!matches.flag("no-subreaper"))?;
        let created = create::create(global, request)?;
        stay(foreground, created, matches.flag("keep"))
    };
    go().context("runc run failed")
}

fn stay(mut foreground: Foreground, created: Created, keep: bool) -> Result<i32> {
    let Created { container, spec, master, notify, caller } = created;
    foreground.hear(notify);
    let started = create::started(&container, &spec);
    caller.into_iter().for_each(Caller::tell);
    let waited = match master {
        Some(master) => foreground.attach(master),
        None => Ok(()),
    }
    .and_then(|()| foreground.wait(container.state.init_process_pid));
    if !keep {
        delete::destroy(&container)?;
    }
    started.and(waited)
}
