//! `restore`: a container that was written down, made again by criu.

use super::checkpoint::{
    AUTO_DEDUP, CGROUPS_MODE, EMPTY_NS, EXT_UNIX_SK, FILE_LOCKS, LAZY_PAGES, SHELL_JOB, TCP_ESTABLISHED,
    WORK_PATH, options,
};
use super::create::{BUNDLE, CONFIG, CONSOLE_SOCKET, NO_PIVOT, PID_FILE, config};
use super::delete;
use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::criu::restore::{Request, restore};
use crate::error::Result;
use crate::log;
use crate::stage::create::bundle;
use crate::stage::foreground::Foreground;

/// The verb.
pub const VERB: Verb = Verb {
    name: "restore",
    args: "<container-id>",
    about: "restore a container from a previous checkpoint",
    flags: &[
        CONSOLE_SOCKET,
        Flag::value("image-path", None, "value", "path to criu image files for restoring"),
        WORK_PATH,
        TCP_ESTABLISHED,
        EXT_UNIX_SK,
        SHELL_JOB,
        FILE_LOCKS,
        CGROUPS_MODE,
        BUNDLE,
        CONFIG,
        Flag::switch("detach", Some("d"), "detach from the container's process"),
        PID_FILE,
        Flag::switch(
            "no-subreaper",
            None,
            "disable the use of the subreaper used to reap reparented processes",
        ),
        // criu makes the mounts, and needs no pivot_root of ours.
        NO_PIVOT,
        EMPTY_NS,
        AUTO_DEDUP,
        LAZY_PAGES,
        Flag::value(
            "lsm-profile",
            None,
            "value",
            "Specify an LSM profile to be used during restore in the form of TYPE:NAME.",
        ),
        Flag::value(
            "lsm-mount-context",
            None,
            "value",
            "Specify an LSM mount context to be used during restore.",
        ),
    ],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    if !nix::unistd::geteuid().is_root() || crate::process::in_user_namespace() {
        log::warn("runc restore is untested with rootless containers");
    }
    let (mut options, place) = options(matches)?;
    let given = |name: &str| matches.value(name).filter(|text| !text.is_empty());
    let detach = matches.flag("detach");
    let config = config(matches)?;
    let request = Request {
        id: matches.id()?,
        bundle: bundle(matches.value("bundle"))?,
        config,
        place,
        console_socket: given("console-socket"),
        pid_file: given("pid-file"),
        detach,
    };
    if detach {
        return restore(global, &request, &mut options).map(|_| 0);
    }
    let mut foreground = Foreground::new(!matches.flag("no-subreaper"))?;
    let restored = restore(global, &request, &mut options)?;
    let pid = restored.container.state.init_process_pid;
    let attached = restored.master.map_or(Ok(()), |master| foreground.attach(master));
    let waited = attached.and_then(|()| foreground.wait(pid));
    delete::destroy(&restored.container)?;
    waited
}
