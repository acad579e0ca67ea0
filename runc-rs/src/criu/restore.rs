//! Making a container again that was written down.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use oci::runtime::Spec;

use super::checkpoint::{DESCRIPTORS, Place};
use super::lent::Lent;
use super::options::{Options, cgroup_root, inherited};
use super::rpc::{Criu, Kind};
use super::wire::Writer;
use super::{check_version, config_file, explain, external, open_directories};
use crate::cgroup::{self, Manager};
use crate::cli::Global;
use crate::error::{Context, Error, Result};
use crate::plan::{self, Choices, Plan};
use crate::procfs::Procfs;
use crate::stage::create::hook_list;
use crate::stage::{checks, fds, joined, parent, record};
use crate::state::{self, Container};
use crate::steps::console::leave_line_ends;
use crate::steps::hooks;
use crate::{log, spec};

const LOG: &str = "restore.log";
const NONE: Option<&str> = None;
/// The first criu that takes another label than the one written down.
const RELABELS: i64 = 31_600;

/// What the command line says about a restore.
#[derive(Debug)]
pub struct Request<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// The file to read in place of the bundle's config.json.
    pub config: Option<PathBuf>,
    /// Where it was written.
    pub place: Place,
    /// `--console-socket`.
    pub console_socket: Option<&'a str>,
    /// `--pid-file`.
    pub pid_file: Option<&'a str>,
    /// `--detach`.
    pub detach: bool,
}

/// A container that runs again.
pub struct Restored {
    /// Its state.
    pub container: Container,
    /// The terminal's master, for a command that stays.
    pub master: Option<OwnedFd>,
}

/// Restores a container. On failure nothing of it is left.
pub fn restore(global: &Global, request: &Request<'_>, options: &mut Options) -> Result<Restored> {
    let version = check_version(super::OLDEST)?;
    let relabelled = !options.lsm_profile.is_empty() || !options.lsm_mount_context.is_empty();
    if relabelled && version < RELABELS {
        return Err(Error::new("--lsm-profile and --lsm-mount-context require at least CRIU 3.16"));
    }
    let mut loaded = spec::load_of(&request.bundle, request.config.as_deref())?;
    joined::fill_in(&mut loaded.spec)?;
    let plan = plan::create(request.id, &request.bundle, &loaded.spec, &Choices::of_this_process())?;
    checks::terminal(plan.process.terminal, request.detach, request.console_socket)?;
    let annotations = loaded.spec.annotations().clone().unwrap_or_default();
    let systemd = global.systemd_cgroup.then_some(&annotations);
    let dir = Container::reserve(&global.root, request.id)?;
    let manager = cgroup::manager(plan.cgroups_path.as_deref(), request.id, systemd);
    let manager = match manager.and_then(|m| cgroup::check_unused(&*m).map(|()| m)) {
        Ok(manager) => manager,
        Err(e) => {
            state::remove(&dir)?;
            return Err(e.into());
        }
    };
    let state = record::first(&plan, &loaded.spec, &*manager, false);
    let container = Container { dir, state };
    options.config_file = config_file(&container.annotations());
    let mut restoration =
        Restoration { container, spec: &loaded.spec, plan: &plan, manager, request, master: None };
    match restoration.go(options, &loaded.text) {
        Ok(()) => Ok(Restored { container: restoration.container, master: restoration.master }),
        Err(e) => {
            restoration.undo();
            Err(e)
        }
    }
}

/// A restoration under way.
struct Restoration<'a> {
    container: Container,
    spec: &'a Spec,
    plan: &'a Plan,
    manager: Box<dyn Manager>,
    request: &'a Request<'a>,
    master: Option<OwnedFd>,
}

impl Restoration<'_> {
    fn go(&mut self, options: &mut Options, config: &[u8]) -> Result<()> {
        let place = &self.request.place;
        open_directories(options, &place.images, place.work.as_deref())?;
        Container::save_spec(&self.container.dir, config)?;
        self.container.save()?;
        self.manager.create().context("unable to apply cgroup configuration")?;
        self.container.state.cgroup_paths = self.manager.paths();
        external::mount_points(self.plan)?;
        let root = BoundRoot::new(&self.plan.rootfs, &self.container.dir)?;
        let lent = options.images.as_ref().map(|images| Lent::new(images, self.plan)).transpose()?;
        let done = self.ask(options, &root.path.display().to_string());
        drop(lent);
        // criu has looked at it for the last time.
        drop(root);
        done.map_err(|e| explain(e, &place.log(LOG)))?;
        match self.request.pid_file {
            Some(path) => parent::write_pid_file(path, self.container.state.init_process_pid),
            None => Ok(()),
        }
    }

    fn ask(&mut self, options: &Options, root: &str) -> Result<()> {
        let mut all = options.common(root, LOG);
        options.restore(&mut all);
        let extra = external::namespaces_of_restore(&mut all, self.plan)?;
        external::of_restore(&mut all, self.plan, &*self.manager)?;
        self.streams(&mut all)?;
        let mut criu = Criu::start(extra, !self.plan.process.terminal)?;
        let asked = self.cgroups(criu.pid(), &mut all).and_then(|()| {
            let mut request = Writer::default();
            request.number(1, Kind::Restore as i64).message(2, all);
            criu.ask(Kind::Restore, request, &mut |script, pid, fd| self.heed(script, pid, fd))
        });
        let ended = criu.end();
        asked?;
        match ended? {
            status if status.success() => Ok(()),
            status => Err(Error::new(format!("criu failed: {}", hooks::describe(status)))),
        }
    }

    /// Pipes that were standard streams are criu's standard streams now.
    fn streams(&self, all: &mut Writer) -> Result<()> {
        let path = self.request.place.images.join(DESCRIPTORS);
        let text = spec::read_bounded(&path)?;
        let streams: Vec<String> = serde_json::from_slice(&text)
            .map_err(|e| Error::new(format!("parse {}: {e}", path.display())))?;
        for (fd, stream) in (0..3).zip(&streams).filter(|(_, stream)| stream.contains("pipe:")) {
            inherited(all, stream, fd);
        }
        Ok(())
    }

    /// criu goes into the container's cgroups first, and the restored processes follow it there.
    fn cgroups(&self, pid: i32, all: &mut Writer) -> Result<()> {
        self.manager.join(pid).context("unable to apply cgroup configuration")?;
        self.manager.set(&self.plan.resources.clone().unwrap_or_default())?;
        for line in Procfs::open()?.read(&format!("{pid}/cgroup"))?.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            if let (Some(controllers), Some(path)) = (fields.next(), fields.next()) {
                cgroup_root(all, controllers, path);
            }
        }
        Ok(())
    }

    /// A step that criu has come to.
    fn heed(&mut self, script: &str, pid: i32, fd: Option<OwnedFd>) -> Result<()> {
        match script {
            "setup-namespaces" => {
                let state = record::hook_state(&self.container).json("creating", Some(pid));
                hooks::run_all("prestart", &hook_list(self.spec, |h| h.prestart()), &state)?;
                hooks::run_all("createRuntime", &hook_list(self.spec, |h| h.create_runtime()), &state)
            }
            "post-restore" => {
                record::started(&mut self.container.state, pid);
                self.container.save()
            }
            "orphan-pts-master" => self.terminal(fd),
            _ => Ok(()),
        }
    }

    fn terminal(&mut self, master: Option<OwnedFd>) -> Result<()> {
        let master = master.ok_or_else(|| Error::new("criu sent no terminal"))?;
        match self.request.console_socket {
            Some(path) => fds::send(fds::connect(path)?, b"orphan-pts-master", master.as_fd())
                .context("send the terminal's master"),
            None => {
                leave_line_ends(&master)?;
                self.master = Some(master);
                Ok(())
            }
        }
    }

    /// Takes back what has been made, whatever it was.
    fn undo(&self) {
        let killed = self.manager.kill_all(nix::sys::signal::Signal::SIGKILL as i32);
        if let Err(e) = killed.and_then(|()| self.manager.destroy())
            && !e.is_not_found()
        {
            log::warn(format!("remove cgroup: {e}"));
        }
        if let Err(e) = state::remove(&self.container.dir) {
            log::warn(e.to_string());
        }
    }
}

/// The root as criu wants it: a mount point that nothing is mounted over.
struct BoundRoot {
    path: PathBuf,
}

impl BoundRoot {
    fn new(rootfs: &Path, dir: &Path) -> Result<Self> {
        let path = dir.join("criu-root");
        std::fs::create_dir(&path).with_context(|| format!("mkdir {}", path.display()))?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        let bound = BoundRoot { path };
        mount(Some(rootfs), &bound.path, NONE, flags, NONE)
            .map_err(|e| Error::call(format_args!("bind {}", rootfs.display()), e))?;
        Ok(bound)
    }
}

impl Drop for BoundRoot {
    fn drop(&mut self) {
        // A mount that failed leaves nothing to unmount.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.path);
    }
}
