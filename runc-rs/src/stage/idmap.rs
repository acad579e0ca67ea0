//! Id mappings: of a container's user namespace, and of mounts (mount_setattr(2), "ID-mapped mounts"), whose mapping is
//! that of a user namespace made for nothing else.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::unistd::{getegid, geteuid};

use rustix::event::poll;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use sys::clone::{CLONE_NEWUSER, Forked, clone, exit_now};

use super::parent;
use crate::error::{Context, Error, Result};
use crate::log;
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

/// Maps the ids of a process in a new user namespace (user_namespaces(7)). What a user may not map, newuidmap(1) and
/// newgidmap(1) do, within the bounds of subuid(5) and subgid(5).
pub fn write(procfs: &Procfs, pid: i32, uids: &[IdMap], gids: &[IdMap]) -> Result<()> {
    let user = !geteuid().is_root();
    if user && is_only(gids, getegid().as_raw()) {
        // Without privileges a group can be mapped only by one who cannot drop groups that deny it things.
        procfs.write(&format!("{pid}/setgroups"), b"deny")?;
    }
    for (file, tool, maps) in [("gid_map", "newgidmap", gids), ("uid_map", "newuidmap", uids)] {
        let Err(e) = procfs.write(&format!("{pid}/{file}"), IdMap::lines(maps).as_bytes()) else { continue };
        if !user {
            return Err(e);
        }
        log::debug(format!("{e}: trying {tool}"));
        map_by(tool, pid, maps)?;
    }
    Ok(())
}

/// Whether a mapping is that of one id to the caller's own, which needs no privileges.
fn is_only(maps: &[IdMap], own: u32) -> bool {
    matches!(maps, [map] if map.size == 1 && map.host == own)
}

fn map_by(tool: &str, pid: i32, maps: &[IdMap]) -> Result<()> {
    let numbers = maps.iter().flat_map(|m| [m.container, m.host, m.size]).map(|n| n.to_string());
    let output = Command::new(tool)
        .arg(pid.to_string())
        .args(numbers)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("rootless container needs {tool} to map its ids"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{tool} failed: {}", said.trim())))
}

fn mapped_namespace(pid: i32, uids: &[IdMap], gids: &[IdMap]) -> Result<OwnedFd> {
    let procfs = Procfs::open()?;
    procfs.write(&format!("{pid}/uid_map"), IdMap::lines(uids).as_bytes())?;
    procfs.write(&format!("{pid}/gid_map"), IdMap::lines(gids).as_bytes())?;
    let path = format!("/proc/{pid}/ns/user");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::call(format_args!("open {path}"), e))
}
