//! What is looked at before anything is made.

use oci::runtime::Spec;

use super::create::Request;
use super::streams::host_console;
use crate::error::{Context, Error, Result};
use crate::plan::Plan;
use crate::plan::namespaces::{Kind, Namespaces};
use crate::steps::security;

/// A network namespace "joined" by path that is the runtime's own is the host's, whatever config.json calls it.
pub fn joins_own_network(spec: &Spec) -> Result<bool> {
    let namespaces = Namespaces::from_spec(spec)?;
    let Some(path) = namespaces.path(Kind::Net) else { return Ok(false) };
    let (Ok(there), Ok(here)) = (rustix::fs::stat(path), rustix::fs::stat("/proc/self/ns/net")) else {
        return Ok(false);
    };
    Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
}

/// Whether somebody is there to take the terminal: who names a socket, if the command does not stay; else the caller's own terminal.
pub fn terminal(asked: bool, detached: bool, socket: Option<&str>) -> Result<()> {
    if asked && detached && socket.is_none() {
        return Err(Error::new("cannot allocate tty if runc will detach without setting console socket"));
    }
    if socket.is_some() && !(asked && detached) {
        return Err(Error::new("cannot use console socket if runc will not detach or allocate tty"));
    }
    if asked && !detached { host_console().map(drop) } else { Ok(()) }
}

/// What would fail late, or unclearly.
pub fn check(plan: &Plan, request: &Request<'_>) -> Result<()> {
    terminal(plan.process.terminal, !request.foreground, request.console_socket)?;
    let meta = std::fs::symlink_metadata(&plan.rootfs)
        .with_context(|| format!("invalid rootfs: stat {}", plan.rootfs.display()))?;
    if !meta.is_dir() {
        return Err(Error::new(format!("invalid rootfs: {} is not a directory", plan.rootfs.display())));
    }
    security::check(&plan.process.apparmor, &plan.process.selinux)?;
    security::check_mount_label(&plan.mount_label)
}
