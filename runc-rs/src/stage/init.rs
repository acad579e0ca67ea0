//! The new process, from its first instruction to the program's.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};
use rustix::fs::Mode;

use super::channel::{Channel, Message, PARENT_GONE};
use super::spawn::hide_memory;
use crate::error::{Context as _, Error, Result};
use crate::plan::Step;
use crate::plan::namespaces::Kind;
use crate::steps::{self, Context};

/// What the process knows before it has done anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setting {
    /// A cgroup namespace is to be made.
    pub new_cgroup_namespace: bool,
    /// It is in a user namespace of the container's.
    pub user_namespace: bool,
}

/// Takes the steps. Returns only when one has failed, with the failure told.
pub fn run<'a>(
    setting: Setting,
    steps: &[Step],
    channel: Channel,
    context: impl FnOnce(Channel) -> Result<Context<'a>>,
) {
    if let Err(e) = begin(setting, &channel) {
        return tell(Some(&channel), &e);
    }
    // A second handle on the channel would keep it open past exec's end of file.
    let mut context = match context(channel) {
        Ok(context) => context,
        // The channel went with it: the parent sees an end of file, and this.
        Err(e) => return crate::log::error(e.to_string()),
    };
    for step in steps {
        crate::log::debug(format!("init: {step}"));
        if let Err(e) = steps::run(step, &mut context) {
            return tell(context.channel.as_ref(), &e);
        }
    }
}

fn begin(setting: Setting, channel: &Channel) -> Result<()> {
    channel.expect_go()?;
    hide_memory()?;
    if setting.new_cgroup_namespace {
        unshare(CloneFlags::from_bits_retain(Kind::Cgroup.flag()))
            .map_err(|e| Error::call("unshare CLONE_NEWCGROUP", e))?;
    }
    if setting.user_namespace {
        become_root()?;
    }
    setsid().map_err(|e| Error::call("setsid", e))?;
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// The user namespace's root.
fn become_root() -> Result<()> {
    // Denied for good where an unprivileged user wrote the mapping.
    let _ = setgroups(&[]);
    let (gid, uid) = (Gid::from_raw(0), Uid::from_raw(0));
    setresgid(gid, gid, gid).context("setgid 0 in the user namespace")?;
    setresuid(uid, uid, uid).context("setuid 0 in the user namespace")
}

fn tell(channel: Option<&Channel>, e: &Error) {
    let failed = Message::Failed { text: e.to_string() };
    if e.to_string().ends_with(PARENT_GONE) {
        // A command that gave up has said why.
        return crate::log::debug(e.to_string());
    }
    if channel.is_none_or(|c| c.send(&failed).is_err()) {
        // Nobody waits any more: standard error is the container's, as runc does it.
        crate::log::error(e.to_string());
    }
}
