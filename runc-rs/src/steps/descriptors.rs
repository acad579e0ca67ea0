//! Letting go of the host: what init still has open of it is closed before the program is looked for, so that neither
//! a path nor a working directory can lead through it (CVE-2024-21626). Marks of "close on exec" alone would let it.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use rustix::io::Errno;

use super::Context;
use crate::error::{Context as _, Result};
use crate::log;

/// Closes all but the program's own descriptors, the way to the parent, the pipe to `start`, and the log.
pub fn close(context: &mut Context<'_>) -> Result<()> {
    // What owns them goes before they would be closed behind its back.
    drop((context.root.take(), context.console.take()));
    context.trees.clear();
    let procfs = context.procfs.take();
    let mut keep: Vec<RawFd> = Vec::new();
    keep.extend(context.channel.as_ref().map(|c| c.as_fd().as_raw_fd()));
    keep.extend(context.gate.as_ref().map(|gate| gate.descriptor().as_raw_fd()));
    keep.extend(context.seccomp.map(|slot| slot.as_fd().as_raw_fd()));
    keep.extend(log::descriptor());
    keep.extend(marks::descriptors());
    keep.extend(procfs.as_ref().map(|procfs| procfs.as_fd().as_raw_fd()));
    let first = 3 + context.preserve_fds;
    match (sys::fd::close_from(first, &keep), procfs) {
        // Told by the procfs that was opened on the host: the container's own would be the wrong one to ask.
        (Err(e), Some(procfs)) if e.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => {
            sys::fd::close_each(first, &keep, procfs.directory("self/fd")?)
        }
        (done, _) => done,
    }
    .context("close descriptors of the host")
}
