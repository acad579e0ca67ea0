//! Creates a task: bundle, shim, task; each step undone when a later one fails.

use std::path::PathBuf;
use std::sync::Arc;

use errors::{Error, Kind, Result};
use ids::{ContainerId, Namespace};
use tokio::sync::oneshot;

use crate::actor::{self, Actor, Request};
use crate::bundle::{Bootstrap, Bundle};
use crate::call::Call;
use crate::ledger::Ledger;
use crate::shim_conn::ShimConn;
use crate::shim_end::Held;
use crate::shim_log::ShimLog;
use crate::shim_serve::{self, Serving};
use crate::shim_spare::Spares;
use crate::shim_start::Launch;
use crate::table::{Key, Table, blocking};
use crate::types::{Checkpoint, Config, Create, Ran, Status};
use crate::{shim_delete, shim_end, shim_lookup, shim_spare, shim_start};

/// What is wished beyond a task that is created.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    /// That it is started.
    pub(crate) start: bool,
    /// A connection to its streams from before it starts.
    pub(crate) attach: bool,
    /// That its end is the end of the container, which is deleted then.
    pub(crate) clear: bool,
}

/// Creates the task under a reserved id, in a task of its own: a caller who leaves stops nothing half way.
/// What he did not wait for is undone at the end.
pub(crate) async fn create(
    table: Arc<Table>,
    key: Key,
    ledger: Ledger,
    create: Create,
    wish: Wish,
) -> Result<Ran> {
    let (reply, answer) = oneshot::channel();
    tokio::spawn(marks::carry(async move {
        let result = make(&table, &key, ledger, create, wish).await;
        if result.is_err() {
            table.remove(&key);
        }
        if let Err(Ok(_)) = reply.send(result) {
            undo(&table, &key).await;
        }
    }));
    answer.await.unwrap_or_else(|_| Err(Error::internal("create was broken off")))
}

async fn make(table: &Arc<Table>, key: &Key, ledger: Ledger, create: Create, wish: Wish) -> Result<Ran> {
    let shared = &table.shared;
    let config = &shared.config;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let binary = shim_lookup::find(&create.runtime, &config.runtimes, &path, &config.binary)?;
    let bundle = Bundle::of(config, &key.0, &key.1);
    let launch = Launch { config, namespace: &key.0, id: &key.1, binary: &binary, bundle: bundle.path() };
    let is_grouped = shim_serve::is_grouped(&create.spec);
    if is_grouped && let Some(socket) = shim_serve::joins(launch, &create.spec) {
        table.joins(key, socket);
    }
    let io = create.io.clone();
    let mut made = Made { table, key, bundle: &bundle, is_grouped, conn: None, held: None };
    // What is restored begins with its start.
    let wish = Wish { start: wish.start && create.checkpoint == Checkpoint::None, ..wish };
    match made.launch_and_create(launch, Arc::new(create), wish).await {
        Ok(Launched { pid, log, shim, ours }) => {
            let conn = made.conn.take();
            let status = if ours && wish.start { Status::Running } else { Status::Created };
            if ours {
                shim_spare::after_creation(&table.shared, &binary);
            }
            let init = (pid, status, io);
            let actor = Actor::created(table, key, ledger, bundle, conn, shim.bootstrap, log, init, shim.pid);
            tokio::spawn(actor::enter(table, key, actor));
            Ok(Ran { pid, started: ours && wish.start, client: shim.client })
        }
        Err(error) => {
            made.abandon(&error, launch).await;
            // It may have had the one that stood by.
            let shared = shared.clone();
            tokio::spawn(async move { shim_spare::refill(&shared).await });
            Err(error)
        }
    }
}

/// What has been made so far.
struct Made<'a> {
    table: &'a Table,
    key: &'a Key,
    bundle: &'a Bundle,
    /// See [`shim_serve::is_grouped`].
    is_grouped: bool,
    conn: Option<ShimConn>,
    /// The shim's process, if the daemon started it itself.
    held: Option<Held>,
}

/// A shim with a task.
struct Launched {
    pid: u32,
    log: ShimLog,
    shim: Serving,
    /// It does what only our own shim does.
    ours: bool,
}

impl Made<'_> {
    async fn launch_and_create(
        &mut self,
        launch: Launch<'_>,
        create: Arc<Create>,
        wish: Wish,
    ) -> Result<Launched> {
        let (namespace, id) = (launch.namespace, launch.id);
        let socket = shim_serve::socket(launch, create.options.as_ref(), self.is_grouped);
        let ours = socket.is_some();
        let (mut shim, log) = match &socket {
            Some(socket) => self.serve(launch, socket.clone(), create.clone(), wish).await?,
            None => self.start(launch, create.clone(), wish).await?,
        };
        self.held = shim.held.take();
        let limits = self.table.shared.config.timeouts;
        let Bootstrap { address, version, .. } = shim.bootstrap.clone();
        let mut conn = ShimConn::connect(&address, version, namespace, id, limits).await;
        if let (Err(error), true, Some(socket)) = (&conn, shim.stood_by, socket) {
            tracing::debug!(%namespace, %id, %error, "the shim that stood by is dead: start another");
            shim = serve_anew(launch, socket, wish).await?;
            self.held = shim.held.take();
            conn = ShimConn::connect(&address, version, namespace, id, limits).await;
        }
        self.conn = Some(conn?);
        let create = self.take_checkpoint(create, ours).await?;
        let conn = self.conn.as_ref().ok_or_else(|| Error::internal("the connection to the shim is gone"))?;
        let pid = conn.create(self.bundle.path(), &create, if ours { wish } else { Wish::default() }).await;
        let pid = pid.map_err(|error| {
            Error::new(error.kind(), format!("failed to create shim task: {}", error.chain()))
        })?;
        Ok(Launched { pid, log, shim, ours })
    }

    /// Images that were handed over lie in the work folder from now on.
    async fn take_checkpoint(&self, create: Arc<Create>, ours: bool) -> Result<Arc<Create>> {
        let Checkpoint::Given(images) = create.checkpoint.clone() else { return Ok(create) };
        let bundle = self.bundle.clone();
        let own = blocking(move || {
            if ours {
                // Otherwise it is there.
                bundle.create_work()?;
            }
            bundle.take_checkpoint(&images)
        })
        .await?;
        let taken = Create { checkpoint: Checkpoint::Given(own), ..Arc::unwrap_or_clone(create) };
        Ok(Arc::new(taken))
    }

    /// The bundle, and our own shim in it. How to reach it is written down before anything is created: whoever finds a bundle
    /// without that need not ask what the shim has done.
    async fn serve(
        &self,
        launch: Launch<'_>,
        socket: PathBuf,
        create: Arc<Create>,
        wish: Wish,
    ) -> Result<(Serving, ShimLog)> {
        let owned = Owned::of(launch);
        let (bundle, shared) = (self.bundle.clone(), self.table.shared.clone());
        blocking(move || {
            let mut step = marks::step("task.create.bundle")?;
            let launch = owned.launch();
            bundle.create(&create.spec, launch.binary, wish.clear)?;
            let log = ShimLog::open(&bundle.log(), launch.namespace, launch.id)?;
            step.next("task.create.shim")?;
            let shim = shim_serve::start(launch, &socket, wish.attach, &shared.spares)?;
            bundle.write_bootstrap(&shim.bootstrap)?;
            Ok((shim, log))
        })
        .await
    }

    /// The bundle, and in it whatever shim it is, by its `start` command.
    async fn start(&self, launch: Launch<'_>, create: Arc<Create>, wish: Wish) -> Result<(Serving, ShimLog)> {
        let mut step = marks::step("task.start-command.bundle")?;
        let (place, binary, from) = (self.bundle.clone(), launch.binary.to_owned(), create.clone());
        blocking(move || place.create(&from.spec, &binary, wish.clear)).await?;
        let log = ShimLog::open(&self.bundle.log(), launch.namespace, launch.id)?;
        step.next("task.start-command.shim")?;
        let place = self.bundle.clone();
        // The shim needs its work folder only once it is asked to create.
        let (bootstrap, work) = tokio::join!(
            shim_start::start(launch, create.options.as_ref(), &self.table.shared.forms),
            blocking(move || place.create_work())
        );
        let bootstrap = bootstrap?;
        work?;
        let (place, noted) = (self.bundle.clone(), bootstrap.clone());
        blocking(move || place.write_bootstrap(&noted)).await?;
        Ok((Serving { bootstrap, pid: None, held: None, client: None, stood_by: false }, log))
    }

    /// Takes everything down again; goes on past errors, which only the log hears of, since the caller is
    /// told the first.
    async fn abandon(&mut self, reason: &Error, launch: Launch<'_>) {
        let (namespace, id) = self.key;
        tracing::debug!(%namespace, %id, %reason, "undo the creation of a task");
        self.end_shim(reason, launch).await;
        let config = &self.table.shared.config;
        if let Err(error) = shim_delete::delete(config, namespace, id, self.bundle).await {
            tracing::debug!(%namespace, %id, error = %error.chain(), "clean after a failed creation");
        }
        let bundle = self.bundle.clone();
        if let Err(error) = blocking(move || bundle.remove()).await {
            tracing::warn!(%namespace, %id, error = %error.chain(), "remove the bundle of a failed creation");
        }
    }

    async fn end_shim(&mut self, reason: &Error, launch: Launch<'_>) {
        let is_alone = || self.conn.as_ref().is_none_or(|conn| self.table.is_alone(self.key, conn.address()));
        match &self.conn {
            Some(conn) if !matches!(reason.kind(), Kind::DeadlineExceeded | Kind::Unavailable) => {
                // Usually the shim knows no such task; one that is half made it deletes.
                if let Err(error) = conn.delete("").await {
                    tracing::debug!(%error, "delete a half made task");
                }
                shim_end::end(conn, None, is_alone).await;
            }
            Some(conn) if is_alone() && self.held.is_none() => shim_end::force(conn, None).await,
            _ => {}
        }
        if is_alone() {
            // A process that is being killed closes its connection before its socket; only when it has ended both are closed.
            if let Some(held) = &self.held {
                shim_end::kill(Some(held)).await;
            }
            shim_end::clear_strays(self.bundle.path(), &self.key.1).await;
            match &self.conn {
                Some(conn) => shim_end::remove_socket(conn.address()),
                None => shim_serve::remove_socket(launch.config, launch.namespace, launch.id),
            }
        }
    }
}

/// Another shim in a bundle that is there, under the same address.
async fn serve_anew(launch: Launch<'_>, socket: PathBuf, wish: Wish) -> Result<Serving> {
    let owned = Owned::of(launch);
    blocking(move || shim_serve::start(owned.launch(), &socket, wish.attach, &Spares::default())).await
}

/// A launch for another thread.
struct Owned {
    config: Config,
    namespace: Namespace,
    id: ContainerId,
    binary: PathBuf,
    bundle: PathBuf,
}

impl Owned {
    fn of(launch: Launch<'_>) -> Owned {
        Owned {
            config: launch.config.clone(),
            namespace: launch.namespace.clone(),
            id: launch.id.clone(),
            binary: launch.binary.to_owned(),
            bundle: launch.bundle.to_owned(),
        }
    }

    fn launch(&self) -> Launch<'_> {
        let Owned { config, namespace, id, binary, bundle } = self;
        Launch { config, namespace, id, binary, bundle }
    }
}

/// Takes a created task away again that nobody waited for.
async fn undo(table: &Table, key: &Key) {
    let (namespace, id) = key;
    tracing::info!(%namespace, %id, "the caller left: undo the creation of a task");
    let Ok(handle) = table.find(key) else { return };
    if let Err(error) = handle.ask(id, |reply| Request::Delete { reply }).await {
        tracing::warn!(%namespace, %id, error = %error.chain(), "delete a task nobody waited for");
        let kill = Call::Kill { exec_id: String::new(), signal: 9, all: true };
        let _ = handle.call(id, kill).await;
        let _ = handle.ask(id, |reply| Request::Wait { exec_id: String::new(), reply }).await;
        let _ = handle.ask(id, |reply| Request::Delete { reply }).await;
    }
}
