//! Making the new process: one clone3(2), and a second only where a namespace takes its members at birth alone.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use sys::clone::{CLONE_PARENT, Forked, clone, exit_now};

use super::channel::{Channel, Message};
use super::network;
use crate::cgroup::Entrance;
use crate::error::{Context, Error, Result};
use crate::plan::namespaces::Kind;
use crate::procfs::Procfs;

/// Where a process is born.
#[derive(Debug, Default)]
pub struct Birth {
    /// Namespaces to make. The cgroup namespace is not among them: it is made once the process is in its cgroup.
    pub new: Vec<Kind>,
    /// A network namespace that was made for it, and in which it is born.
    pub network: Option<OwnedFd>,
    /// Namespaces to join.
    pub join: Vec<(Kind, OwnedFd)>,
    /// Lines of timens_offsets for a new time namespace.
    pub time_offsets: String,
    /// The cgroup v2 directory to be born in.
    pub cgroup: Option<OwnedFd>,
    /// The cgroups of version 1 that it enters first of all.
    pub entrances: Vec<Entrance>,
    /// Whether it takes its own pages before it enters them, so that the container's limit of memory is for the container.
    pub pages_first: bool,
}

/// A new process, waiting for `Go`.
#[derive(Debug)]
pub struct Born {
    /// Its process id, as seen here.
    pub pid: i32,
    /// The way to it.
    pub channel: Channel,
    /// Whether it is in the cgroup already.
    pub in_cgroup: bool,
}

/// Makes this process one that only privileged processes look into (prctl(2), PR_SET_DUMPABLE).
pub fn hide_memory() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| Error::call("prctl PR_SET_DUMPABLE", e))
}

impl Birth {
    /// The files of a hidden process in /proc are root's, so a user could not map its ids. It hides once that is done,
    /// before it has joined anything of the container's.
    fn is_mapped_by_user(&self) -> bool {
        self.new.contains(&Kind::User) && !nix::unistd::geteuid().is_root()
    }

    /// A process enters a pid or time namespace at birth alone; and a namespace of the host's cannot be joined from
    /// within a new user namespace, so that is joined before.
    fn needs_intermediate(&self) -> bool {
        let joins = |kind| self.join.iter().any(|(k, _)| *k == kind);
        self.new.contains(&Kind::Time)
            || [Kind::Pid, Kind::Time, Kind::User].into_iter().any(joins)
            || (self.new.contains(&Kind::User) && !self.join.is_empty())
    }

    fn clone_flags(&self) -> i32 {
        let at_birth = self.new.iter().filter(|k| !matches!(k, Kind::Cgroup | Kind::Time));
        at_birth.fold(0, |all, kind| all | kind.flag())
    }
}

/// Makes a process that runs `child` and ends with it.
pub fn spawn(mut birth: Birth, child: impl FnOnce(Channel)) -> Result<Born> {
    // Before it shares a pid namespace with anyone who could look at it (CVE-2016-9962). Inherited by the child.
    if !birth.is_mapped_by_user() {
        hide_memory()?;
    }
    let (ours, theirs) = Channel::pair()?;
    let intermediate = birth.needs_intermediate();
    let mut notice = intermediate.then(std::io::pipe).transpose().context("pipe")?;
    let flags = if intermediate { 0 } else { birth.clone_flags() };
    let (forked, cloned_into) = clone_in_network(flags, birth.cgroup.as_ref(), birth.network.take())?;
    let in_cgroup = cloned_into || (birth.cgroup.is_none() && !birth.entrances.is_empty());
    match forked {
        Forked::Parent { pid, .. } => {
            drop(theirs);
            let pid = match notice.take() {
                Some((reader, writer)) => {
                    drop(writer);
                    adopt(&ours, reader, pid)?
                }
                None => pid,
            };
            Ok(Born { pid, channel: ours, in_cgroup })
        }
        Forked::Child => {
            drop(ours);
            // A directory of the host's: a program that is looked up through it would not be the container's (CVE-2024-21626).
            drop(birth.cgroup.take());
            // Files of the host's too; they are closed where they are not gone through.
            let entrances = std::mem::take(&mut birth.entrances);
            if birth.pages_first {
                sys::populate::own();
            }
            if in_cgroup && let Err(e) = enter_cgroups(entrances) {
                fail(&theirs, &e);
            } else if let Some((reader, writer)) = notice.take() {
                // Unless it is let go here, it is closed behind its owner's back with all that is the host's.
                drop(reader);
                second(birth, theirs, writer, child);
            } else {
                first(birth, theirs, child);
            }
            exit_now(255)
        }
    }
}

/// Nothing of the host's stays open.
fn enter_cgroups(entrances: Vec<Entrance>) -> Result<()> {
    entrances.into_iter().try_for_each(Entrance::enter).context("unable to apply cgroup configuration")
}

/// The new process has the network namespace that its maker is in, who comes back from there. Neither keeps a descriptor of the other's.
fn clone_in_network(
    flags: i32,
    cgroup: Option<&OwnedFd>,
    network: Option<OwnedFd>,
) -> Result<(Forked, bool)> {
    let Some(network) = network else { return clone_in_cgroup(flags, cgroup) };
    let own = network::own()?;
    enter(Kind::Net, &network)?;
    let cloned = clone_in_cgroup(flags, cgroup);
    if !matches!(cloned, Ok((Forked::Child, _))) {
        enter(Kind::Net, &own)?;
    }
    cloned
}

/// Into the cgroup where the kernel can do it; where it cannot (or the cgroup is one that refuses), the caller moves the
/// process before it lets it go on.
fn clone_in_cgroup(flags: i32, cgroup: Option<&OwnedFd>) -> Result<(Forked, bool)> {
    if let Some(fd) = cgroup
        && let Ok(forked) = clone(flags, Some(fd.as_fd()))
    {
        return Ok((forked, true));
    }
    let forked = clone(flags, None).map_err(|e| Error::call(format_args!("clone3 flags {flags:#x}"), e))?;
    Ok((forked, false))
}

/// Parent: the intermediate process ends, and its child is ours (CLONE_PARENT). Its notice comes by a pipe that nobody
/// but it holds: were it killed in between, the channel, which its child holds as well, would never say so.
fn adopt(channel: &Channel, mut notice: PipeReader, intermediate: i32) -> Result<i32> {
    let mut number = [0; 4];
    let told = notice.read_exact(&mut number);
    let ended = waitpid(Pid::from_raw(intermediate), None).map_err(|e| Error::call("waitpid", e))?;
    if told.is_ok() {
        return Ok(i32::from_ne_bytes(number));
    }
    match channel.pending()? {
        Some(Message::Failed { text, .. }) => Err(Error::new(text)),
        _ => Err(Error::new(format!("intermediate process ended: {}", describe(ended)))),
    }
}

fn describe(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit status {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("signal: {signal}"),
        other => format!("{other:?}"),
    }
}

fn first(birth: Birth, channel: Channel, child: impl FnOnce(Channel)) {
    match join(birth.join) {
        Ok(()) => child(channel),
        Err(e) => fail(&channel, &e),
    }
}

fn second(birth: Birth, channel: Channel, mut notice: PipeWriter, child: impl FnOnce(Channel)) {
    let flags = birth.clone_flags();
    let prepared =
        join(birth.join).and_then(|()| make_time(birth.new.contains(&Kind::Time), &birth.time_offsets));
    if let Err(e) = prepared {
        return fail(&channel, &e);
    }
    match clone(flags | CLONE_PARENT, None) {
        Ok(Forked::Child) => {
            drop(notice);
            child(channel);
        }
        Ok(Forked::Parent { pid, .. }) => {
            let _forked = marks::begun("runc-rs.birth.forked");
            let _ = notice.write_all(&pid.to_ne_bytes());
            exit_now(0)
        }
        Err(e) => fail(&channel, &Error::call(format_args!("clone3 flags {flags:#x}"), e)),
    }
}

fn fail(channel: &Channel, e: &Error) {
    let _ = channel.send(&Message::Failed { text: e.to_string() });
}

/// A user namespace gives the right over the others that belong to it, and takes that over those that do not: so join
/// what can be joined before, then it, then the rest.
fn join(namespaces: Vec<(Kind, OwnedFd)>) -> Result<()> {
    let mut later = Vec::new();
    let (user, others): (Vec<_>, Vec<_>) = namespaces.into_iter().partition(|(kind, _)| *kind == Kind::User);
    for (kind, fd) in others {
        if enter(kind, &fd).is_err() {
            later.push((kind, fd));
        }
    }
    for (kind, fd) in user.into_iter().chain(later) {
        enter(kind, &fd)?;
    }
    Ok(())
}

fn enter(kind: Kind, fd: &OwnedFd) -> Result<()> {
    setns(fd, CloneFlags::from_bits_retain(kind.flag()))
        .map_err(|e| Error::call(format_args!("failed to setns into {} namespace", kind.file()), e))
}

/// The offsets of a time namespace can be set only while it is empty.
fn make_time(wanted: bool, offsets: &str) -> Result<()> {
    if !wanted {
        return Ok(());
    }
    unshare(CloneFlags::from_bits_retain(Kind::Time.flag()))
        .map_err(|e| Error::call("unshare CLONE_NEWTIME", e))?;
    if offsets.is_empty() {
        return Ok(());
    }
    Procfs::open()?.write("self/timens_offsets", offsets.as_bytes()).context("set timeOffsets")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birth(new: &[Kind], join: &[Kind]) -> Birth {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        Birth { new: new.to_vec(), join: join.iter().map(|k| (*k, null())).collect(), ..Birth::default() }
    }

    #[test]
    fn one_clone_is_enough_most_of_the_time() {
        use Kind::*;
        for (new, join) in [
            (vec![Pid, Net, Mount, Uts, Ipc, Cgroup], vec![]),
            (vec![Pid, Mount], vec![Net, Ipc, Uts]),
            (vec![User, Pid, Mount], vec![]),
        ] {
            assert!(!birth(&new, &join).needs_intermediate(), "{new:?} {join:?}");
        }
        for (new, join) in [
            (vec![Time], vec![]),
            (vec![], vec![Pid]),
            (vec![], vec![Time]),
            (vec![], vec![User]),
            (vec![User], vec![Net]),
        ] {
            assert!(birth(&new, &join).needs_intermediate(), "{new:?} {join:?}");
        }
    }

    #[test]
    fn cgroup_and_time_are_not_made_at_birth() {
        use Kind::*;
        assert_eq!(birth(&[Pid, Cgroup, Time], &[]).clone_flags(), sys::clone::CLONE_NEWPID);
    }
}
