//! Id-mapped mounts (mount_setattr(2), "ID-mapped mounts"): the mapping is that of a user namespace made for nothing else.

use std::os::fd::OwnedFd;

use rustix::event::poll;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use sys::clone::{CLONE_NEWUSER, Forked, clone, exit_now};

use super::parent;
use crate::error::{Error, Result};
use crate::plan::mounts::IdMap;
use crate::procfs::Procfs;

/// Maps the owners of a detached tree.
pub fn apply(tree: &OwnedFd, recursive: bool, uids: &[IdMap], gids: &[IdMap]) -> Result<()> {
    let pid = match clone(CLONE_NEWUSER, None).map_err(|e| Error::call("clone3 CLONE_NEWUSER", e))? {
        Forked::Child => {
            // Only its namespace matters: it waits to be killed, by the parent or by the parent's end.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let _ = poll(&mut [], None);
            exit_now(1)
        }
        Forked::Parent { pid, .. } => pid,
    };
    let namespace = mapped_namespace(pid, uids, gids);
    parent::kill(pid);
    sys::mount::idmap(tree, recursive, namespace?)
        .map_err(|e| Error::call("mount_setattr MOUNT_ATTR_IDMAP", e))
}

fn mapped_namespace(pid: i32, uids: &[IdMap], gids: &[IdMap]) -> Result<OwnedFd> {
    let procfs = Procfs::open()?;
    procfs.write(&format!("{pid}/uid_map"), IdMap::lines(uids).as_bytes())?;
    procfs.write(&format!("{pid}/gid_map"), IdMap::lines(gids).as_bytes())?;
    let path = format!("/proc/{pid}/ns/user");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::call(format_args!("open {path}"), e))
}
