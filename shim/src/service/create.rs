//! Create: mount the root filesystem, open the streams, let the executor set the container up.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use errors::{Context, Error, Kind, Result};
use proto_shim::MessageField;
use proto_shim::events::{TaskCreate, TaskIO, TaskOOM, TaskStart};
use proto_shim::task::v3::{CreateTaskRequest, CreateTaskResponse};
use runc_client::{ConsoleSocket, CreateOptions, Ready, Runc};

use super::root::Root;
use super::{More, Service, Slot, check_id, executor_error};
use crate::bundle::{self, Bundle};
use crate::cgroup::Cgroup;
use crate::container::{Container, Parts};
use crate::io::{Owner, Prepared, Stdio};
use crate::options::Options;
use crate::process::Process;
use crate::reaper::Pending;
use crate::spec::Spec;
use crate::state::Status;
use crate::sync::{beside, lock};
use crate::{executor, log, oom};

/// How long the executor may take to send the terminal, once it is done.
const TERMINAL: Duration = Duration::from_secs(10);
/// How long it may take to clean up after one of its kind that had to be killed.
const CLEANING: Duration = Duration::from_secs(10);

/// A container that the executor has set up.
struct Created {
    container: Container,
    /// None of one that is restored when it is started.
    pending: Option<Pending>,
}

impl Service {
    /// What is asked for beyond it is done too: the container is started by the same call of the executor.
    ///
    /// # Errors
    /// AlreadyExists for an id that is in use; whatever the executor says. Nothing is left behind then.
    pub(crate) async fn create(
        self: Arc<Self>,
        request: CreateTaskRequest,
        more: More,
    ) -> Result<CreateTaskResponse> {
        check_id("container", &request.id)?;
        self.reserve(&request.id)?;
        let created = match request.checkpoint.is_empty() {
            true => self.set_up(&request, more).await,
            false => self
                .prepare_restore(&request, more)
                .await
                .map(|container| Created { container, pending: None }),
        };
        let mut containers = lock(&self.containers);
        let Created { container, pending } = match created {
            Ok(created) => created,
            Err(error) => {
                containers.remove(&request.id);
                return Err(error);
            }
        };
        let container = Arc::new(container);
        containers.insert(request.id.clone(), Slot::Taken(container.clone()));
        drop(containers);
        let pid = container.init.pid();
        marks::passed("shim.create.done");
        let started = TaskStart { container_id: request.id.clone(), pid, ..TaskStart::default() };
        self.publisher.publish("/tasks/create", &event(request, pid));
        if more.start {
            container.init.set_status(Status::Running);
            self.publisher.publish("/tasks/start", &started);
        }
        if let Some(pending) = pending {
            self.watch_over(&container, pending);
        }
        Ok(CreateTaskResponse { pid, ..CreateTaskResponse::default() })
    }

    /// From now on its init has a pid.
    pub(super) fn watch_over(self: &Arc<Self>, container: &Arc<Container>, pending: Pending) {
        self.watch_memory(container);
        let exit = self.clone().await_exit(container.clone(), container.init.clone(), pending);
        tokio::spawn(marks::carry(exit));
    }

    fn reserve(&self, id: &str) -> Result<()> {
        let mut containers = lock(&self.containers);
        if containers.contains_key(id) {
            return Err(Error::already_exists(format!("container {id}: already exists")));
        }
        containers.insert(id.to_owned(), Slot::Reserved);
        Ok(())
    }

    async fn set_up(&self, request: &CreateTaskRequest, more: More) -> Result<Created> {
        let step = marks::step("shim.create.options")?;
        let bundle = Bundle::new(&request.bundle);
        let options = Options::from_request(request.options.as_ref())?;
        let spec = Spec::read(bundle.path())?;
        let binary = executor::choose(&options.binary_name);
        bundle.write_options(&options, &binary)?;
        let runc = executor::runc(&binary, &options, &self.namespace, &bundle);
        let runc = runc.spawner(Arc::new(self.reaper.clone()));
        let ready = lock(&self.first_executor).take().filter(|executor| executor.is(&binary));
        let (protected, ready) = match ready {
            Some(executor) => (Some(executor.file), Some(executor.process)),
            None => (executor::protected(&binary).map(Arc::new), None),
        };
        // Our own executor can be told when the root is there, and makes itself ready meanwhile.
        let waits = protected.is_some();
        let runc = match protected {
            Some(file) => runc.file(file),
            None => runc,
        };
        drop(step);
        let mut root = Root::new(request, &bundle);
        if !waits {
            root.mount()?;
        }
        let init = Arc::new(Process::new("", streams(request)));
        let pending = self.run_create(&mut root, &options, &runc, ready, &init, more.start).await?;
        root.keep();
        let cgroup = Cgroup::of(init.pid()).inspect_err(|error| log::warning!("{}", error.chain())).ok();
        let parts = Parts {
            id: request.id.clone(),
            namespace: self.namespace.clone(),
            bundle,
            options,
            runc,
            init,
            cgroup,
            checkpoint: None,
            has_own_pid_namespace: spec.has_own_pid_namespace(),
            has_poststop_hooks: spec.has_poststop_hooks(),
            starts_at_gate: waits && !spec.has_poststart_hooks(),
            goes_with_its_end: more.clear,
        };
        Ok(Created { container: Container::new(parts), pending: Some(pending) })
    }

    /// Lets the executor set the container up, and takes its init over. If the latter fails, the container is
    /// deleted.
    async fn run_create(
        &self,
        root: &mut Root<'_>,
        options: &Options,
        runc: &Runc,
        ready: Option<Ready>,
        init: &Process,
        start: bool,
    ) -> Result<Pending> {
        let (id, bundle) = (root.id(), root.bundle());
        let (namespace, reaper) = (&self.namespace, &self.reaper);
        let owner = Owner { id, namespace, uid: options.io_uid, gid: options.io_gid, reaper };
        let mut step = marks::step("shim.create.streams")?;
        let mut prepared = Prepared::open(&init.stdio, &owner).await?;
        if let Some(client) = lock(&self.first_client).take() {
            prepared.welcome(client)?;
        }
        let terminal = init.stdio.terminal.then(|| Terminal::new(bundle)).transpose()?;
        let watch = self.reaper.watch();
        let (await_root, told) = root.to_be_told()?;
        let create = CreateOptions {
            pid_file: Some(bundle.init_pid()),
            console_socket: terminal.as_ref().map(|terminal| terminal.socket.path().to_owned()),
            no_pivot: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            stdio: prepared.child_stdio(),
            await_root,
            ready,
        };
        step.next("shim.create.executor")?;
        let calling = async {
            match start {
                true => runc.run_detached(id, bundle.path(), create).await,
                false => runc.create(id, bundle.path(), create).await,
            }
        };
        // Our own executor says when it is done, before the kernel has taken it apart.
        let creating = async {
            let Some(told) = &told else { return calling.await };
            tokio::select! {
                biased;
                ended = calling => ended,
                () = told.done() => Ok(()),
            }
        };
        let (done, mounted) =
            beside(creating, || told.as_ref().map_or(Ok(()), |told| root.mount_and_tell(&told.say))).await;
        // Without its root, the executor has taken everything back by itself.
        mounted?;
        if let Err(error) = done {
            if error.kind() == runc_client::Kind::TimedOut {
                // Killed half way, it could not clean up after itself.
                let cleaned = runc.clone().limit(Some(CLEANING)).delete(id, true).await;
                cleaned.unwrap_or_else(|error| log::warning!("{error}"));
            }
            return Err(create_error(error, start));
        }
        let taken_over = async {
            step.next("shim.create.adopt")?;
            let master = receive(terminal).await?;
            let pid = bundle::read_pid(&bundle.init_pid())?;
            let pending = watch.claim(pid);
            init.set_started(pid, pending.reaped(), prepared.run(master)?);
            Ok(pending)
        };
        match taken_over.await {
            Ok(pending) => Ok(pending),
            Err(error) => {
                init.close_io();
                if let Err(error) = runc.delete(id, true).await {
                    log::warning!("{error}");
                }
                Err(error)
            }
        }
    }

    /// Publishes each time the kernel runs the container out of memory, until its cgroup is gone.
    fn watch_memory(self: &Arc<Self>, container: &Arc<Container>) {
        let Some(cgroup) = container.cgroup() else { return };
        let mut watcher = match oom::Watcher::new(cgroup) {
            Ok(watcher) => watcher,
            Err(error) => return log::debug!("{}", error.chain()),
        };
        let publisher = self.publisher.clone();
        let id = container.id.clone();
        tokio::spawn(async move {
            while watcher.next().await.is_some() {
                publisher.publish("/tasks/oom", &TaskOOM { container_id: id.clone(), ..TaskOOM::default() });
            }
        });
    }
}

/// The streams that are asked for.
pub(super) fn streams(request: &CreateTaskRequest) -> Stdio {
    Stdio {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
        terminal: request.terminal,
    }
}

/// Callers know a container that cannot be made by these words, with however many calls it was tried.
fn create_error(error: runc_client::Error, started: bool) -> Error {
    let error = executor_error("OCI runtime create failed", error);
    match error.message().strip_prefix("OCI runtime create failed: runc run failed") {
        Some(rest) if started => {
            Error::new(error.kind(), format!("OCI runtime create failed: runc create failed{rest}"))
        }
        _ => error,
    }
}

/// Where the executor sends the terminal's master. Shared with `exec`.
pub(super) struct Terminal {
    pub(super) socket: ConsoleSocket,
    /// Removed with it, if it was made for it.
    _dir: Option<PrivateDir>,
}

struct PrivateDir(PathBuf);

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // An empty directory in /run at worst.
        let _ = std::fs::remove_dir(&self.0);
    }
}

impl Terminal {
    /// Listens in the bundle, or, if that path is too long for an address, in a private directory.
    pub(super) fn new(bundle: &Bundle) -> Result<Terminal> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("pty-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut path = bundle.path().join(format!(".{name}.sock"));
        let mut dir = None;
        if path.as_os_str().len() > 107 {
            let private = PathBuf::from("/run").join(name);
            DirBuilder::new()
                .mode(0o700)
                .create(&private)
                .context(|| format!("create {}", private.display()))?;
            path = private.join("pty.sock");
            dir = Some(PrivateDir(private));
        }
        let socket = ConsoleSocket::bind(&path)
            .context(|| format!("listen for the terminal at {}", path.display()))?;
        Ok(Terminal { socket, _dir: dir })
    }
}

/// Takes the terminal's master, if there is to be one. The executor has sent it before it ended.
pub(super) async fn receive(terminal: Option<Terminal>) -> Result<Option<OwnedFd>> {
    let Some(terminal) = terminal else { return Ok(None) };
    match tokio::time::timeout(TERMINAL, terminal.socket.receive()).await {
        Ok(master) => master.map(Some).context(|| "receive the terminal from the executor"),
        Err(_) => Err(Error::new(Kind::Internal, "the executor sent no terminal")),
    }
}

fn event(request: CreateTaskRequest, pid: u32) -> TaskCreate {
    let io = TaskIO {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        terminal: request.terminal,
        ..TaskIO::default()
    };
    TaskCreate {
        container_id: request.id,
        bundle: request.bundle,
        rootfs: request.rootfs,
        io: MessageField::some(io),
        checkpoint: request.checkpoint,
        pid,
        ..TaskCreate::default()
    }
}
