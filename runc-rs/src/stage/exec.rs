//! `exec`: a further process in a container that is there.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use oci::runtime::LinuxSeccomp;
use rustix::fs::{Mode, OFlags};

use super::channel::{Channel, Message};
use super::checks;
use super::fds;
use super::filter::Slot;
use super::init::{self, Setting};
use super::listener;
use super::parent::{self, Answers};
use super::record;
use super::spawn::{Birth, spawn};
use crate::cgroup;
use crate::error::{Context as _, Error, Result};
use crate::plan;
use crate::plan::namespaces::Kind;
use crate::plan::process::Process;
use crate::process;
use crate::procfs::Procfs;
use crate::root::Root;
use crate::state::Container;
use crate::steps::{Context, InitHooks, affinity, security};

/// What the command line says about an exec.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// `--console-socket`.
    pub console_socket: Option<&'a str>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<&'a str>,
    /// `--pid-file`.
    pub pid_file: Option<&'a str>,
    /// `--detach`.
    pub detach: bool,
    /// Descriptors after the standard ones that are the program's.
    pub preserve_fds: u32,
}

/// A process that runs in the container.
pub struct Started {
    /// Its id, as seen here.
    pub pid: i32,
    /// The terminal's master, for a command that stays.
    pub master: Option<OwnedFd>,
}

/// Starts `process` in the container, in `cgroup`.
pub fn exec(
    container: &Container,
    process: &Process,
    filter: Option<&LinuxSeccomp>,
    cgroup: &dyn cgroup::Manager,
    request: &Request<'_>,
) -> Result<Started> {
    let mut step = marks::step("runc-rs.exec.spawn")?;
    check(process, request)?;
    let join = namespaces(container)?;
    let user_namespace = join.iter().any(|(kind, _)| *kind == Kind::User);
    let (ours, theirs) = fds::console(process.terminal, request.console_socket)?;
    let steps = plan::exec(process, container.state.config.no_new_keyring, filter.is_some());
    let birth = Birth { join, cgroup: cgroup.dir_fd()?, entrances: cgroup.entrances()?, ..Birth::default() };
    let slot = filter.map(|_| Slot::new()).transpose()?;
    let keyring = format!("_ses.{}", container.state.id);
    let setting = Setting { new_cgroup_namespace: false, user_namespace };
    let context =
        |channel: Channel| inside(process, slot.as_ref(), keyring, user_namespace, theirs, request, channel);
    let born = spawn(birth, |channel| {
        // A failure shows when the list is applied a second time, as a step.
        let _ = process.cpu_affinity.0.as_deref().map(affinity::set);
        init::run(setting, &steps, channel, context);
    })?;
    let mut exec = Exec { container, process, filter, pid: born.pid, request };
    let serve = || {
        step.next("runc-rs.exec.begin")?;
        let begun = exec.begin(cgroup, born.in_cgroup).and_then(|()| born.channel.send(&Message::Go));
        begun.map_err(|e| parent::last_word(&born.channel, e))?;
        if let (Some(slot), Some(seccomp)) = (&slot, filter) {
            slot.fill(seccomp, container.dir.parent().unwrap_or(&container.dir))?;
        }
        step.next("runc-rs.exec.serve")?;
        parent::serve(&born.channel, &mut exec)?;
        marks::passed("runc-rs.exec.done");
        ours.map(|socket| fds::receive(socket).context("receive the terminal's master")).transpose()
    };
    match serve() {
        Ok(master) => Ok(Started { pid: born.pid, master }),
        Err(e) => {
            parent::kill(born.pid);
            // Of all that were in this cgroup, it may have been this one.
            let killed =
                e.to_string().ends_with("SIGKILL") && cgroup.oom_kills().is_ok_and(|kills| kills > 0);
            Err(if killed { Error::new(format!("{e} (possibly OOM-killed)")) } else { e })
        }
    }
}

fn check(process: &Process, request: &Request<'_>) -> Result<()> {
    checks::terminal(process.terminal, request.detach, request.console_socket)?;
    security::check(&process.apparmor, &process.selinux)
}

/// The namespaces of init that are not ours already. Init is looked at again afterwards: had it ended meanwhile, its id
/// could be another's.
fn namespaces(container: &Container) -> Result<Vec<(Kind, OwnedFd)>> {
    let pid = container.state.init_process_pid;
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let path = format!("/proc/{pid}/ns/{}", kind.file());
        let Ok(own) = rustix::fs::stat(format!("/proc/self/ns/{}", kind.file())) else { continue };
        let at = |e| Error::call(format_args!("open namespace {path}"), e);
        let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(at)?;
        if rustix::fs::fstat(&fd)?.st_ino != own.st_ino {
            all.push((kind, fd));
        }
    }
    if !process::alive(pid, container.state.init_process_start) {
        return Err(Error::NotRunning);
    }
    Ok(all)
}

fn inside<'a>(
    process: &'a Process,
    filter: Option<&'a Slot>,
    keyring: String,
    user_namespace: bool,
    console: Option<OwnedFd>,
    request: &Request<'_>,
    channel: Channel,
) -> Result<Context<'a>> {
    let mut env = process.env.clone();
    env.extend(parent::handed_on());
    Ok(Context {
        process,
        env,
        seccomp: filter,
        keyring,
        rootfs: Path::new("/"),
        root: Some(Root::at(Path::new("/"))?),
        procfs: Some(Procfs::open()?),
        user_namespace,
        cgroup_namespace: false,
        trees: Vec::new(),
        console,
        foreground: !request.detach,
        gate: None,
        preserve_fds: request.preserve_fds,
        hooks: InitHooks::default(),
        channel: Some(channel),
        unanswered: 0,
        program: None,
    })
}

struct Exec<'a> {
    container: &'a Container,
    filter: Option<&'a LinuxSeccomp>,
    process: &'a Process,
    pid: i32,
    request: &'a Request<'a>,
}

impl Exec<'_> {
    fn begin(&self, cgroup: &dyn cgroup::Manager, in_cgroup: bool) -> Result<()> {
        if !in_cgroup {
            self.enter(cgroup).context("error adding pid to cgroups")?;
        }
        if self.process.oom_score_adj.is_some() {
            parent::set_oom_score(&Procfs::open()?, self.pid, self.process.oom_score_adj)?;
        }
        Ok(())
    }
}

impl Exec<'_> {
    /// A container that has divided its cgroup has processes in the parts only (Documentation/admin-guide/cgroup-v2.rst, "No
    /// Internal Process Constraint"): unless told a part, a further one goes where init is.
    fn enter(&self, cgroup: &dyn cgroup::Manager) -> cgroup::Result<()> {
        let state = &self.container.state;
        match cgroup.join(self.pid) {
            Err(e) if e.errno() == Some(Errno::EBUSY) && cgroup.paths() == state.cgroup_paths => {
                cgroup::join_beside(state.init_process_pid, self.pid)
            }
            done => done,
        }
    }
}

impl Answers for Exec<'_> {
    fn listener(&mut self, fd: i32) -> Result<()> {
        let seccomp = self.filter.ok_or_else(|| Error::new("a listener without a filter"))?;
        listener::hand_over(self.pid, fd, seccomp, record::hook_state(self.container).at("running", None))
    }

    fn awaits_start(&self) -> bool {
        false
    }

    fn fate(&self) -> String {
        parent::fate(self.pid)
    }

    fn is_init(&self) -> bool {
        false
    }

    fn mounted(&mut self) -> Result<()> {
        Err(Error::new("an exec'd process mounts nothing"))
    }

    fn ready(&mut self) -> Result<()> {
        parent::set_rlimits(self.pid, &self.process.rlimits)?;
        if let Some(path) = self.request.pidfd_socket {
            fds::send_pidfd(path, "setns", self.pid)?;
        }
        if let Some(path) = self.request.pid_file {
            parent::write_pid_file(path, self.pid)?;
        }
        Ok(())
    }
}
