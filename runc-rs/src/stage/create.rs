//! `create` and `run`, from config.json to an init that waits for `start` (or runs).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci::runtime::{Hook, LinuxSeccomp, Spec};
use rustix::fs::{Mode, OFlags};
use start_gate::Gate;

use super::channel::Channel;
use super::checks;
use super::fds;
use super::filter::Slot;
use super::idmap;
use super::init::{self, Setting};
use super::joined;
use super::listener;
use super::net_devices;
use super::network::Network;
use super::notify::{self, Notify};
use super::parent::{self, Answers};
use super::record;
use super::root_ready::{Caller, RootReady};
use super::spawn::{Birth, Born, spawn};
use super::trees;
use crate::cgroup;
use crate::cli::Global;
use crate::error::{Context as _, Error, Result};
use crate::plan::namespaces::Kind;
use crate::plan::{self, Choices, Plan};
use crate::procfs::Procfs;
use crate::resctrl;
use crate::spec;
use crate::state::{self, Container, Written};
use crate::steps::hooks;
use crate::steps::{Context, InitHooks};

/// What the command line says about a start.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// The container's id.
    pub id: &'a str,
    /// `--bundle`.
    pub bundle: PathBuf,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<&'a str>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<&'a str>,
    /// `--pid-file`.
    pub pid_file: Option<&'a str>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// Descriptors after the standard ones that are the program's.
    pub preserve_fds: u32,
    /// Whether init waits for a `start` of its own.
    pub await_start: bool,
    /// Whether the command stays with the container.
    pub foreground: bool,
    /// Who says when the root is mounted, if that is still to come.
    pub root_ready: Option<RootReady>,
}

/// A container that has been created.
pub struct Created {
    /// Its state.
    pub container: Container,
    /// Its config.json.
    pub spec: Spec,
    /// The terminal's master, for a command that stays.
    pub master: Option<OwnedFd>,
    /// Where the program says that it is ready, if it has been started.
    pub notify: Option<Notify>,
    /// Who waits to be told that the command is done, if somebody does.
    pub caller: Option<Caller>,
}

/// Creates a container. On failure nothing of it is left.
pub fn create(global: &Global, mut request: Request<'_>) -> Result<Created> {
    let root_ready = request.root_ready.take();
    let request = &request;
    let mut loaded = spec::load_of(&request.bundle, request.config.as_deref())?;
    state::validate_id(request.id)?;
    joined::fill_in(&mut loaded.spec)?;
    if notify::is_wanted() {
        notify::set_up(&mut loaded.spec, &global.root.join(request.id))?;
    }
    let choices = Choices {
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        host_net: checks::joins_own_network(&loaded.spec)?,
        await_start: request.await_start,
        ..Choices::of_this_process()
    };
    let plan = plan::create(request.id, &request.bundle, &loaded.spec, &choices)?;
    checks::check(&plan, request)?;
    plan.resources.iter().for_each(cgroup::warn_of_kernel_memory);
    let network = Network::begin(&plan.namespaces);
    let slot = seccomp_of(&loaded.spec).map(|_| Slot::new()).transpose()?;
    let dir = Container::reserve(&global.root, request.id)?;
    let annotations = loaded.spec.annotations().clone().unwrap_or_default();
    let systemd = global.systemd_cgroup.then_some(&annotations);
    let manager = cgroup::manager(plan.cgroups_path.as_deref(), request.id, systemd);
    let manager = manager.and_then(|manager| cgroup::check_unused(&*manager).map(|()| manager));
    let manager = match manager {
        Ok(manager) => manager,
        Err(e) => {
            state::remove(&dir)?;
            return Err(e.into());
        }
    };
    let state = record::first(&plan, &loaded.spec, &*manager, request.no_new_keyring);
    let mut creation = Creation {
        container: Container { dir, state },
        spec: &loaded.spec,
        plan: &plan,
        request,
        filter: slot.as_ref(),
        manager,
        pid: 0,
        network,
        hooks_due: false,
        notify: None,
        root_ready,
        caller: None,
        record: None,
    };
    match creation.go(&loaded.text) {
        Ok(master) => {
            let Creation { container, notify, caller, .. } = creation;
            Ok(Created { container, spec: loaded.spec, master, notify, caller })
        }
        Err(e) => {
            let e = creation.cause(e);
            creation.undo();
            Err(e).context("unable to start container process")
        }
    }
}

fn new_gate(folder: &Path) -> Result<Gate> {
    Gate::new(folder)
        .map_err(|e| Error::call(format_args!("mkfifo {}", folder.join(start_gate::NAME).display()), e))
}

/// A creation under way.
struct Creation<'a> {
    container: Container,
    spec: &'a Spec,
    plan: &'a Plan,
    request: &'a Request<'a>,
    filter: Option<&'a Slot>,
    manager: Box<dyn cgroup::Manager>,
    pid: i32,
    network: Option<Network>,
    hooks_due: bool,
    notify: Option<Notify>,
    root_ready: Option<RootReady>,
    caller: Option<Caller>,
    /// What the record will be once init is set up, written beforehand.
    record: Option<Written>,
}

impl Creation<'_> {
    fn go(&mut self, config: &[u8]) -> Result<Option<OwnedFd>> {
        let mut step = marks::step("runc-rs.create.state")?;
        Container::save_spec(&self.container.dir, config)?;
        marks::passed("runc-rs.create.config");
        self.container.save()?;
        step.next("runc-rs.create.cgroup")?;
        if notify::is_wanted() {
            notify::make_directory(&self.container.dir)?;
        }
        if !self.request.await_start {
            self.notify = Notify::open(&self.container.dir)?;
        }
        let gate = self.request.await_start.then(|| new_gate(&self.container.dir)).transpose()?;
        self.manager.create().context("unable to apply cgroup configuration")?;
        // Without rights over the host's cgroups there may be fewer, or none.
        self.container.state.cgroup_paths = self.manager.paths();
        step.next("runc-rs.create.spawn")?;
        let (ours, theirs) = fds::console(self.plan.process.terminal, self.request.console_socket)?;
        // The new process takes a copy of all mounts along.
        self.caller = self.root_ready.take().map(RootReady::wait).transpose()?;
        let born = self.spawn(gate, theirs)?;
        self.pid = born.pid;
        step.next("runc-rs.create.prepare")?;
        let prepared = self.prepare(&born);
        let channel = born.channel;
        let gone = prepared.and_then(|()| channel.send(&super::channel::Message::Go));
        gone.map_err(|e| parent::last_word(&channel, e))?;
        if let (Some(slot), Some(seccomp)) = (self.filter, seccomp_of(self.spec)) {
            slot.fill(seccomp, self.container.dir.parent().unwrap_or(&self.container.dir))?;
        }
        // Init mounts meanwhile. A terminal's streams are not what they will be yet.
        if !self.plan.process.terminal {
            record::started(&mut self.container.state, self.pid);
            self.record = Some(self.container.write_down()?);
        }
        step.next("runc-rs.create.serve")?;
        parent::serve(&channel, self)?;
        marks::passed("runc-rs.create.done");
        // The socket is read only now: what was sent waits in it.
        ours.map(|socket| fds::receive(socket).context("receive the terminal's master")).transpose()
    }

    /// Before init may go on: its cgroup, its ids, its score, and what of the host becomes its own.
    fn prepare(&mut self, born: &Born) -> Result<()> {
        if !born.in_cgroup {
            self.manager.join(born.pid).context("unable to apply cgroup configuration")?;
        }
        if let Some(owner) = self.plan.cgroup_owner() {
            self.manager.give_to(owner).context("unable to apply cgroup configuration")?;
        }
        self.control_resources(born.pid)?;
        self.map_ids(born)?;
        net_devices::move_all(&self.plan.net_devices, born.pid)
    }

    /// Its share of cache and memory bandwidth.
    fn control_resources(&mut self, pid: i32) -> Result<()> {
        let Some(asked) = &self.plan.resctrl else { return Ok(()) };
        let root = resctrl::mount_point(&Procfs::open()?.read("self/mountinfo")?)?;
        let group = resctrl::apply(&root, asked, pid)?;
        let state = &mut self.container.state;
        state.intel_rdt_path = group.path.display().to_string();
        state.intel_rdt_mon_path = group.monitoring.display().to_string();
        state.intel_rdt_made = group.made;
        Ok(())
    }

    fn map_ids(&self, born: &Born) -> Result<()> {
        let adj = self.plan.process.oom_score_adj;
        if !self.plan.namespaces.is_new(Kind::User) && adj.is_none() {
            return Ok(());
        }
        let procfs = Procfs::open()?;
        parent::set_oom_score(&procfs, born.pid, adj)?;
        if self.plan.namespaces.is_new(Kind::User) {
            idmap::write(&procfs, born.pid, &self.plan.uid_maps, &self.plan.gid_maps)?;
        }
        Ok(())
    }

    fn birth(&mut self) -> Result<Birth> {
        let open = |(kind, path): &(Kind, PathBuf)| {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map(|fd| (*kind, fd))
                .map_err(|e| Error::call(format_args!("open namespace {}", path.display()), e))
        };
        let mut new = self.plan.namespaces.new.clone();
        let mut network = None;
        match self.network.take().map(Network::wait) {
            Some(Ok(made)) => {
                new.retain(|kind| *kind != Kind::Net);
                network = Some(made);
            }
            Some(Err(e)) => crate::log::debug(e.to_string()),
            None => {}
        }
        Ok(Birth {
            new,
            network,
            join: self.plan.namespaces.join.iter().map(open).collect::<Result<_>>()?,
            time_offsets: self.plan.time_offsets.clone(),
            cgroup: self.manager.dir_fd()?,
            entrances: self.manager.entrances()?,
            pages_first: memory_limit(self.spec),
        })
    }

    fn spawn(&mut self, gate: Option<Gate>, console: Option<OwnedFd>) -> Result<Born> {
        let birth = self.birth()?;
        let trees = trees::of(self.plan)?;
        let namespaces = &self.plan.namespaces;
        let setting = Setting {
            new_cgroup_namespace: namespaces.is_new(Kind::Cgroup),
            user_namespace: namespaces.has(Kind::User),
        };
        let context = |channel: Channel| self.context(channel, gate, console, trees);
        spawn(birth, |channel| init::run(setting, &self.plan.steps, channel, context))
    }

    fn context(
        &self,
        channel: Channel,
        gate: Option<Gate>,
        console: Option<OwnedFd>,
        trees: Vec<(PathBuf, OwnedFd)>,
    ) -> Result<Context<'_>> {
        let mut env = self.plan.process.env.clone();
        env.extend(parent::handed_on());
        Ok(Context {
            process: &self.plan.process,
            env,
            seccomp: self.filter,
            keyring: format!("_ses.{}", self.plan.id),
            rootfs: &self.plan.rootfs,
            root: None,
            procfs: Some(Procfs::open()?),
            user_namespace: self.plan.namespaces.has(Kind::User),
            cgroup_namespace: self.plan.namespaces.has(Kind::Cgroup),
            trees,
            console,
            foreground: self.request.foreground,
            gate,
            preserve_fds: self.request.preserve_fds,
            hooks: InitHooks {
                create_container: self.hooks(|h| h.create_container()).into_iter().map(hooks::bare).collect(),
                start_container: self.hooks(|h| h.start_container()),
                state: record::hook_state(&self.container),
            },
            channel: Some(channel),
            unanswered: 0,
            program: None,
        })
    }

    fn hooks(&self, of: impl Fn(&oci::runtime::Hooks) -> &Option<Vec<Hook>>) -> Vec<Hook> {
        hook_list(self.spec, of)
    }

    /// Whatever an init that was killed for lack of memory was about, that is why it failed.
    fn cause(&self, e: Error) -> Error {
        if self.manager.oom_kills().is_ok_and(|kills| kills > 0) {
            crate::log::debug(e.to_string());
            return Error::new("container init was OOM-killed (memory limit too low?)");
        }
        e
    }

    /// Takes back what has been made, whatever it was.
    fn undo(&mut self) {
        if self.pid > 0 {
            parent::kill(self.pid);
        }
        let killed = self.manager.kill_all(nix::sys::signal::Signal::SIGKILL as i32);
        if let Err(e) = killed.and_then(|()| self.manager.destroy())
            && !e.is_not_found()
        {
            crate::log::warn(format!("remove cgroup: {e}"));
        }
        if let Err(e) = resctrl::remove(&self.container.state.intel_rdt_made) {
            crate::log::warn(e.to_string());
        }
        if self.hooks_due {
            let state = record::hook_state(&self.container).json("stopped", Some(0));
            hooks::run_leniently("poststop", &self.hooks(|h| h.poststop()), &state);
        }
        if let Err(e) = state::remove(&self.container.dir) {
            crate::log::warn(e.to_string());
        }
    }
}

impl Answers for Creation<'_> {
    fn listener(&mut self, fd: i32) -> Result<()> {
        let seccomp = seccomp_of(self.spec).ok_or_else(|| Error::new("a listener without a filter"))?;
        let state = record::hook_state(&self.container).at("creating", Some(self.pid));
        listener::hand_over(self.pid, fd, seccomp, state)
    }

    fn awaits_start(&self) -> bool {
        self.request.await_start
    }

    fn fate(&self) -> String {
        parent::fate(self.pid)
    }

    fn mounted(&mut self) -> Result<()> {
        let _step = marks::step("runc-rs.create.limits")?;
        // Even without limits, devices are denied but for the usual ones.
        let resources = self.plan.resources.clone().unwrap_or_default();
        self.manager.set(&resources).context("error setting cgroup config for procHooks process")?;
        self.hooks_due = true;
        let state = record::hook_state(&self.container).json("creating", Some(self.pid));
        hooks::run_all("prestart", &self.hooks(|h| h.prestart()), &state)?;
        hooks::run_all("createRuntime", &self.hooks(|h| h.create_runtime()), &state)
    }

    fn ready(&mut self) -> Result<()> {
        let mut step = marks::step("runc-rs.create.record")?;
        parent::set_rlimits(self.pid, &self.plan.process.rlimits)?;
        match self.record.take() {
            Some(record) => record.publish()?,
            None => {
                record::started(&mut self.container.state, self.pid);
                self.container.save()?;
            }
        }
        if let Some(path) = self.request.pidfd_socket {
            fds::send_pidfd(path, "standard", self.pid)?;
        }
        step.next("runc-rs.create.pid-file")?;
        if let Some(path) = self.request.pid_file {
            parent::write_pid_file(path, self.pid)?;
        }
        Ok(())
    }
}

/// `linux.seccomp`.
pub fn seccomp_of(spec: &Spec) -> Option<&LinuxSeccomp> {
    spec.linux().as_ref().and_then(|l| l.seccomp().as_ref())
}

/// Whether `linux.resources.memory` has a limit.
fn memory_limit(spec: &Spec) -> bool {
    let resources = spec.linux().as_ref().and_then(|l| l.resources().as_ref());
    resources.and_then(|r| r.memory().as_ref()?.limit()).is_some_and(|limit| limit > 0)
}

/// The hooks of one kind.
pub fn hook_list(spec: &Spec, of: impl Fn(&oci::runtime::Hooks) -> &Option<Vec<Hook>>) -> Vec<Hook> {
    spec.hooks().as_ref().and_then(|h| of(h).clone()).unwrap_or_default()
}

/// Runs the `poststart` hooks; a failure ends the container (runtime-spec 1.3, config.md, "Poststart").
pub fn started(container: &Container, spec: &Spec) -> Result<()> {
    let list = hook_list(spec, |h| h.poststart());
    if list.is_empty() {
        return Ok(());
    }
    let pid = container.state.init_process_pid;
    let state = record::hook_state(container).json("running", Some(pid));
    hooks::run_all("poststart", &list, &state).inspect_err(|_| {
        let _ = sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL as i32);
    })
}

/// The bundle's path, absolute: what relative paths of config.json start from.
pub fn bundle(given: Option<&str>) -> Result<PathBuf> {
    let given = given.filter(|b| !b.is_empty()).unwrap_or(".");
    let path = std::fs::canonicalize(given).with_context(|| format!("chdir {given}"))?;
    rustix::process::chdir(&path).map_err(|e| Error::call(format_args!("chdir {}", path.display()), e))?;
    Ok(path)
}
