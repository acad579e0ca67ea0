//! `create`: a container whose init waits for `start`.

use std::path::PathBuf;

use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::error::{Context, Result};
use crate::stage::create::{self, Request};
use crate::stage::parent;
use crate::stage::root_ready::{Caller, RootReady};

/// The flags that `create` and `run` share.
pub const BUNDLE: Flag = Flag::value(
    "bundle",
    Some("b"),
    "value",
    "path to the root of the bundle directory, defaults to the current directory",
);
/// See [`BUNDLE`].
pub const CONFIG: Flag = Flag::value(
    "config",
    None,
    "value",
    "path to the container specification file, defaults to \"config.json\" in the bundle directory",
);
/// See [`BUNDLE`].
pub const CONSOLE_SOCKET: Flag = Flag::value(
    "console-socket",
    None,
    "value",
    "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal",
);
/// See [`BUNDLE`].
pub const PIDFD_SOCKET: Flag = Flag::value(
    "pidfd-socket",
    None,
    "value",
    "path to an AF_UNIX socket which will receive a file descriptor referencing the init process",
);
/// See [`BUNDLE`].
pub const PID_FILE: Flag =
    Flag::value("pid-file", None, "value", "specify the file to write the process id to");
/// See [`BUNDLE`].
pub const NO_PIVOT: Flag = Flag::switch(
    "no-pivot",
    None,
    "do not use pivot root to jail process inside rootfs. This should be used whenever the rootfs is on top of a ramdisk",
);
/// See [`BUNDLE`].
pub const NO_NEW_KEYRING: Flag = Flag::switch(
    "no-new-keyring",
    None,
    "do not create a new session keyring for the container. This will cause the container to inherit the calling processes session key",
);
/// See [`BUNDLE`].
pub const PRESERVE_FDS: Flag = Flag::number(
    "preserve-fds",
    "Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total) (default: 0)",
);
/// See [`BUNDLE`]. Not runc's.
pub const AWAIT_ROOT: Flag = Flag::number(
    "await-root",
    "number of an inherited pipe on which one byte says that the caller has mounted the root file system; or of a socket, which is told in turn when the container is made",
);

/// The verb.
pub const VERB: Verb = Verb {
    name: "create",
    args: "<container-id>",
    about: "create a container",
    flags: &[
        BUNDLE,
        CONFIG,
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        PID_FILE,
        NO_PIVOT,
        NO_NEW_KEYRING,
        PRESERVE_FDS,
        AWAIT_ROOT,
    ],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

/// The file that `--config` names, from where the command was called: the bundle is entered later.
pub fn config(matches: &Matches) -> Result<Option<PathBuf>> {
    let given = matches.value("config").filter(|path| !path.is_empty());
    given.map(|path| std::path::absolute(path).with_context(|| format!("resolve {path}"))).transpose()
}

/// What the command line says, for `create` and `run`.
pub fn request(matches: &Matches) -> Result<Request<'_>> {
    // First of all, before anything is opened.
    let preserve_fds = parent::preserve_fds(matches.number("preserve-fds")?.unwrap_or(0))?;
    crate::sealed::ensure()?;
    let config = config(matches)?;
    Ok(Request {
        id: matches.id()?,
        bundle: create::bundle(matches.value("bundle"))?,
        config,
        console_socket: matches.value("console-socket").filter(|s| !s.is_empty()),
        pidfd_socket: matches.value("pidfd-socket").filter(|s| !s.is_empty()),
        pid_file: matches.value("pid-file").filter(|s| !s.is_empty()),
        no_pivot: matches.flag("no-pivot"),
        no_new_keyring: matches.flag("no-new-keyring"),
        preserve_fds,
        await_start: true,
        foreground: false,
        root_ready: matches.number("await-root")?.map(RootReady::inherit).transpose()?,
    })
}

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let _whole = marks::step("runc-rs.create.whole")?;
    let done = request(matches).and_then(|request| create::create(global, request));
    let created = done.context("runc create failed")?;
    created.caller.into_iter().for_each(Caller::tell);
    Ok(0)
}
