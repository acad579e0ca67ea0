//! The mappings of a user namespace that a container joins: config.json need not have them, and the rest of a plan
//! (id-mapped mounts, the owner of the cgroup, state.json) is made of them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceType, Spec};
use rustix::event::poll;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sys::clone::{Forked, clone, exit_now};

use super::parent;
use crate::error::{Context, Error, Result};
use crate::log;
use crate::plan::mounts::IdMap;
use crate::procfs::Procfs;

/// Gives a config.json that joins a user namespace the mappings of that namespace. Those that it has must be the same:
/// containerd and CRI-O hand over both, and runc bears with it.
pub fn fill_in(spec: &mut Spec) -> Result<()> {
    let Some(mut linux) = spec.linux().clone() else { return Ok(()) };
    let listed = linux.namespaces().iter().flatten();
    let user = listed.filter(|namespace| namespace.typ() == LinuxNamespaceType::User);
    let path = user.filter_map(|namespace| namespace.path().clone()).find(|path| path.is_absolute());
    let Some(path) = path else { return Ok(()) };
    let (uids, gids) = of(&path).context("failed to cache mappings for userns")?;
    let given = (IdMap::all(linux.uid_mappings().as_ref()), IdMap::all(linux.gid_mappings().as_ref()));
    if !given.0.is_empty() || !given.1.is_empty() {
        if !is_same(&given.0, &uids) || !is_same(&given.1, &gids) {
            return Err(Error::new(
                "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may only provide one",
            ));
        }
        log::warn(
            "config.json has both a userns path to join and a matching userns mapping specified -- you may only provide one",
        );
    }
    linux.set_uid_mappings(Some(listed_again(&uids)?));
    linux.set_gid_mappings(Some(listed_again(&gids)?));
    spec.set_linux(Some(linux));
    Ok(())
}

/// Whether two lists say the same, in whatever order.
fn is_same(one: &[IdMap], other: &[IdMap]) -> bool {
    one.len() == other.len() && one.iter().all(|map| other.contains(map))
}

fn listed_again(maps: &[IdMap]) -> Result<Vec<LinuxIdMapping>> {
    let one = |map: &IdMap| {
        LinuxIdMappingBuilder::default()
            .container_id(map.container)
            .host_id(map.host)
            .size(map.size)
            .build()
            .map_err(|e| Error::new(format!("id mapping: {e}")))
    };
    maps.iter().map(one).collect()
}

/// The mappings of the user namespace of that file, of users and of groups, with the host's ids as this process sees them.
fn of(path: &Path) -> Result<(Vec<IdMap>, Vec<IdMap>)> {
    let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::call(format_args!("open namespace {}", path.display()), e))?;
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::call("pipe2", e))?;
    // Only /proc tells the mappings, and only of a process that is in there.
    let pid = match clone(0, None).map_err(|e| Error::call("clone3", e))? {
        Forked::Child => stay_in(&namespace, &theirs),
        Forked::Parent { pid, .. } => pid,
    };
    drop(theirs);
    let maps = read(&ours, path, pid);
    parent::kill(pid);
    maps
}

/// What the child does: it says how joining went, and waits to be killed, by the parent or by the parent's end.
fn stay_in(namespace: &OwnedFd, report: &OwnedFd) -> ! {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let joined = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User));
    let errno = joined.err().map_or(0, rustix::io::Errno::raw_os_error);
    let _ = rustix::io::write(report, &errno.to_ne_bytes());
    let _ = poll(&mut [], None);
    exit_now(1)
}

fn read(report: &OwnedFd, path: &Path, pid: i32) -> Result<(Vec<IdMap>, Vec<IdMap>)> {
    let mut errno = [0; 4];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(report, &mut errno))
        .map_err(|e| Error::call("read from a pipe", e))?;
    let join = || format!("join user namespace {}", path.display());
    match (count, i32::from_ne_bytes(errno)) {
        (4, 0) => {}
        (4, errno) => return Err(Error::call(join(), rustix::io::Errno::from_raw_os_error(errno))),
        _ => return Err(Error::new(format!("{}: its process has ended", join()))),
    }
    let procfs = Procfs::open()?;
    let maps = |file: &str| IdMap::parse(&procfs.read(&format!("{pid}/{file}"))?);
    Ok((maps("uid_map")?, maps("gid_map")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container: u32, host: u32) -> IdMap {
        IdMap { container, host, size: 1 }
    }

    #[test]
    fn order_makes_no_difference() {
        assert!(is_same(&[map(0, 5), map(1, 9)], &[map(1, 9), map(0, 5)]));
        assert!(!is_same(&[map(0, 5)], &[map(0, 5), map(1, 9)]));
        assert!(!is_same(&[map(0, 5)], &[map(0, 6)]));
    }
}
