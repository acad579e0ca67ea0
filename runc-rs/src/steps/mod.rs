//! Carrying the plan's steps out, inside the new process: a file each kind.

pub mod affinity;
pub mod cgroup_mount;
pub mod console;
pub mod copy_up;
pub mod descriptors;
pub mod device;
pub mod hooks;
pub mod identity;
pub mod keyring;
pub mod legacy;
pub mod mount;
pub mod null_streams;
pub mod paths;
pub mod pivot;
pub mod policy;
pub mod program;
pub mod seccomp;
pub mod security;
pub mod site;
pub mod tree;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci::runtime::Hook;

use crate::error::{Context as _, Error, Result};
use crate::plan::process::Process;
use crate::plan::{Enter, Step};
use crate::procfs::Procfs;
use crate::root::Root;
use crate::stage::channel::{Channel, Message};
use crate::stage::filter::Slot;
use site::Site;

/// The hooks that init runs itself, and the state that they read.
#[derive(Debug, Default)]
pub struct InitHooks {
    /// `createContainer`.
    pub create_container: Vec<Hook>,
    /// `startContainer`.
    pub start_container: Vec<Hook>,
    /// The container's state for a given status, as hooks read it.
    pub state: hooks::HookState,
}

/// What init has at hand, and what earlier steps have left for later ones.
pub struct Context<'a> {
    /// The program to become.
    pub process: &'a Process,
    /// Its environment, completed on the way.
    pub env: Vec<String>,
    /// Where the compiled filter is.
    pub seccomp: Option<&'a Slot>,
    /// Name of the session keyring.
    pub keyring: String,
    /// The root file system on the host, and then `/`.
    pub rootfs: &'a Path,
    /// The root by descriptor.
    pub root: Option<Root>,
    /// A /proc to write to.
    pub procfs: Option<Procfs>,
    /// Whether a user namespace of the container's own is in force.
    pub user_namespace: bool,
    /// Whether a cgroup namespace of the container's own is in force.
    pub cgroup_namespace: bool,
    /// Trees of bind mounts that the parent has opened, by destination.
    pub trees: Vec<(PathBuf, OwnedFd)>,
    /// Where the terminal's master is sent.
    pub console: Option<OwnedFd>,
    /// Whether the command stays and relays the terminal.
    pub foreground: bool,
    /// The pipe that `start` writes to.
    pub gate: Option<start_gate::Gate>,
    /// How many descriptors after the standard ones are the program's.
    pub preserve_fds: u32,
    /// Hooks.
    pub hooks: InitHooks,
    /// The way to the parent; gone once it has been told that all is well.
    pub channel: Option<Channel>,
    /// How many messages the parent has not answered yet.
    pub unanswered: u32,
    /// The program's path, once found.
    pub program: Option<PathBuf>,
}

impl Context<'_> {
    /// The root by descriptor.
    pub fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| Error::new("the root file system is not open yet"))
    }

    /// A /proc to write to, until descriptors of the host's are closed.
    pub fn procfs(&self) -> Result<&Procfs> {
        self.procfs.as_ref().ok_or_else(|| Error::new("the procfs is closed already"))
    }

    /// Where mounts are attached.
    pub fn site(&self) -> Result<Site<'_>> {
        Ok(Site { root: self.root()?, procfs: self.procfs()? })
    }

    /// Tells the parent and waits for its word to go on, and for those that are still to come.
    fn sync(&mut self, message: &Message) -> Result<()> {
        self.tell(message)?;
        self.settle()
    }

    /// Waits for the parent's words that are still to come. While it sets the limits of version 1, for an instant no device can be opened at
    /// all: whoever opens one has to have waited.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..std::mem::take(&mut self.unanswered) {
            self.channel()?.expect_go()?;
        }
        Ok(())
    }

    /// Tells the parent, whose answer is waited for when it is needed.
    fn tell(&mut self, message: &Message) -> Result<()> {
        self.channel()?.send(message)?;
        self.unanswered += 1;
        Ok(())
    }

    fn channel(&self) -> Result<&Channel> {
        self.channel.as_ref().ok_or_else(|| Error::new("the parent is gone"))
    }
}

/// Carries one step out.
pub fn run(step: &Step, context: &mut Context<'_>) -> Result<()> {
    let _mark = mark(step)?;
    match step {
        Step::Keyring => keyring(context),
        Step::Loopback => sys::net::loopback_up().context("bring up the loopback interface"),
        Step::BindRoot { .. } | Step::EnterRoot(_) | Step::RootPropagation(_) => root(step, context),
        Step::Mount(_) | Step::Device(_) | Step::BindDevice(_) | Step::Symlink { .. } => fill(step, context),
        Step::ReadonlyMount(_) | Step::ReadonlyPath(_) | Step::MaskedPaths { .. } => restrict(step, context),
        Step::RuntimeHooks { wait: true } => context.sync(&Message::Mounted),
        Step::RuntimeHooks { wait: false } => context.tell(&Message::Mounted),
        Step::CreateContainerHooks => hooks::run_all(
            "createContainer",
            &context.hooks.create_container,
            &context.hooks.state.json("creating", None),
        ),
        Step::StartContainerHooks => start_container_hooks(context),
        Step::WorkingDirectory(path) => context.root()?.make_dir(&crate::root::clean(path), 0o755).map(drop),
        Step::NullStreams => {
            context.settle()?;
            null_streams::reopen(context.root()?)
        }
        Step::Console { mount } => {
            context.settle()?;
            console::set_up(context, *mount)
        }
        Step::Ready => context.sync(&Message::Ready),
        Step::Environment => identity::complete_environment(context),
        Step::CloseDescriptors => descriptors::close(context),
        Step::Seccomp => load_filter(context),
        Step::Identity => identity::assume(context),
        Step::FindProgram => program::find(context),
        Step::AwaitStart => program::await_start(context),
        Step::Execute => program::execute(context),
        _ => policy(step, context),
    }
}

/// The steps that are long, or that others wait for.
fn mark(step: &Step) -> Result<Option<marks::Step>> {
    let mark = match step {
        Step::BindRoot { .. } => marks::step("runc-rs.init.root")?,
        Step::Mount(_) => marks::step("runc-rs.init.mount")?,
        Step::EnterRoot(_) => marks::step("runc-rs.init.pivot")?,
        Step::RuntimeHooks { .. } => marks::step("runc-rs.init.mounted")?,
        Step::Ready => marks::step("runc-rs.init.ready")?,
        Step::Seccomp => marks::step("runc-rs.init.seccomp")?,
        Step::Identity => marks::step("runc-rs.init.identity")?,
        Step::AwaitStart => marks::step("runc-rs.init.wait")?,
        Step::Execute => {
            // It never ends if all goes well.
            drop(marks::step("runc-rs.init.execute")?);
            return Ok(None);
        }
        _ => return Ok(None),
    };
    Ok(Some(mark))
}

/// The keyring is labelled as the program is.
fn keyring(context: &Context<'_>) -> Result<()> {
    let join = || keyring::join(&context.keyring, context.user_namespace);
    match context.process.selinux.as_str() {
        "" => join(),
        label => security::with_key_label(context.procfs()?, label, join),
    }
}

/// Steps about the root as a whole.
fn root(step: &Step, context: &mut Context<'_>) -> Result<()> {
    match step {
        Step::BindRoot { propagation } => pivot::bind_root(context, *propagation),
        Step::EnterRoot(Enter::Pivot) => pivot::pivot(context),
        Step::EnterRoot(Enter::Move) => pivot::move_root(context),
        Step::EnterRoot(Enter::Chroot) => pivot::change_root(context),
        Step::RootPropagation(propagation) => context.site()?.propagate(context.root()?, *propagation),
        _ => Ok(()),
    }
}

/// Steps that put something into the root.
fn fill(step: &Step, context: &mut Context<'_>) -> Result<()> {
    match step {
        Step::Mount(m) => mount::mount(context, m),
        Step::Device(d) => device::make(context.root()?, d),
        Step::BindDevice(d) => device::bind(context.site()?, d),
        Step::Symlink { target, path } => device::link(context.root()?, target, path),
        _ => Ok(()),
    }
}

/// Steps that take something away.
fn restrict(step: &Step, context: &mut Context<'_>) -> Result<()> {
    match step {
        Step::ReadonlyMount(path) => paths::readonly_mount(context.site()?, path),
        Step::ReadonlyPath(path) => paths::readonly(context.site()?, path),
        Step::MaskedPaths { paths, label } => paths::mask(context.site()?, paths, label),
        _ => Ok(()),
    }
}

/// Steps that set something of the kernel's.
fn policy(step: &Step, context: &mut Context<'_>) -> Result<()> {
    match step {
        Step::Hostname(name) => policy::hostname(name),
        Step::Domainname(name) => policy::domainname(name),
        Step::Sysctl { path, value } => policy::sysctl(context.procfs()?, path, value),
        Step::Apparmor(profile) => security::apparmor(context.procfs()?, profile),
        Step::Selinux(label) => security::selinux(context.procfs()?, label),
        Step::NoNewPrivileges => security::no_new_privileges(),
        Step::Scheduler(attr) => policy::scheduler(*attr),
        Step::IoPriority { class, level } => policy::io_priority(*class, *level),
        Step::MemoryPolicy { mode, nodes } => policy::memory(*mode, nodes),
        Step::Personality(domain) => policy::personality(*domain),
        Step::CpuAffinity(list) => affinity::set(list),
        _ => Ok(()),
    }
}

fn load_filter(context: &mut Context<'_>) -> Result<()> {
    let listener = match context.seccomp {
        Some(slot) => slot.take()?.load().map_err(|e| Error::new(e.to_string()))?,
        None => None,
    };
    // The parent takes it to the supervisor; here it is not needed any more.
    match listener {
        Some(fd) => context.sync(&Message::Listener { fd: fd.as_raw_fd() }),
        None => Ok(()),
    }
}

fn start_container_hooks(context: &mut Context<'_>) -> Result<()> {
    // A hook without an environment of its own gets the container's: runc's habit.
    for hook in &mut context.hooks.start_container {
        if hook.env().is_none() {
            hook.set_env(Some(context.env.clone()));
        }
    }
    let state = context.hooks.state.json("created", Some(std::process::id().cast_signed()));
    hooks::run_all("startContainer", &context.hooks.start_container, &state)
}
