//! Creates a task: bundle, shim, task; each step undone when a later one fails.

use std::sync::Arc;

use errors::{Error, Kind, Result};
use tokio::sync::oneshot;

use crate::actor::{self, Actor, Request};
use crate::bundle::Bundle;
use crate::call::Call;
use crate::ledger::Ledger;
use crate::shim_conn::ShimConn;
use crate::shim_log::ShimLog;
use crate::shim_start::Launch;
use crate::table::{Key, Table, blocking};
use crate::types::Create;
use crate::{shim_delete, shim_end, shim_lookup, shim_start};

/// Creates the task under a reserved id, in a task of its own: a caller who leaves stops nothing half way.
/// What he did not wait for is undone at the end.
pub(crate) async fn create(table: Arc<Table>, key: Key, ledger: Ledger, create: Create) -> Result<u32> {
    let (reply, answer) = oneshot::channel();
    tokio::spawn(marks::carry(async move {
        let result = make(&table, &key, ledger, create).await;
        if result.is_err() {
            table.remove(&key);
        }
        if let Err(Ok(_)) = reply.send(result) {
            undo(&table, &key).await;
        }
    }));
    answer.await.unwrap_or_else(|_| Err(Error::internal("create was broken off")))
}

async fn make(table: &Arc<Table>, key: &Key, ledger: Ledger, create: Create) -> Result<u32> {
    let shared = &table.shared;
    let config = &shared.config;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let binary = shim_lookup::find(&create.runtime, &config.runtimes, &path, &config.binary)?;
    let bundle = Bundle::of(config, &key.0, &key.1);
    let mut step = marks::step("task.create.bundle")?;
    let (place, shim) = (bundle.clone(), binary.clone());
    let create = Arc::new(create);
    let from = create.clone();
    blocking(move || place.create(&from.spec, &shim)).await?;
    step.next("task.create.shim")?;
    let launch = Launch { config, namespace: &key.0, id: &key.1, binary: &binary, bundle: bundle.path() };
    let mut made = Made { table, key, bundle: &bundle, conn: None };
    match made.launch_and_create(launch, &create).await {
        Ok((pid, log, address)) => {
            let conn = made.conn.take();
            let actor =
                Actor::created(table, key, ledger, bundle, conn, address, log, (pid, create.io.clone()));
            tokio::spawn(actor::enter(table, key, actor));
            Ok(pid)
        }
        Err(error) => {
            made.abandon(&error).await;
            Err(error)
        }
    }
}

/// What has been made so far.
struct Made<'a> {
    table: &'a Table,
    key: &'a Key,
    bundle: &'a Bundle,
    conn: Option<ShimConn>,
}

impl Made<'_> {
    async fn launch_and_create(
        &mut self,
        launch: Launch<'_>,
        create: &Create,
    ) -> Result<(u32, ShimLog, crate::bundle::Bootstrap)> {
        let shared = &self.table.shared;
        let (namespace, id) = (launch.namespace, launch.id);
        let log = ShimLog::open(&self.bundle.log(), namespace, id)?;
        let place = self.bundle.clone();
        // The shim needs its work folder only once it is asked to create.
        let (bootstrap, work) = tokio::join!(
            shim_start::start(launch, create.options.as_ref(), &shared.forms),
            blocking(move || place.create_work())
        );
        let bootstrap = bootstrap?;
        let (place, noted) = (self.bundle.clone(), bootstrap.clone());
        // Written down before anything is created: whoever finds a bundle without it need not ask what the shim has done.
        let (conn, noted) = tokio::join!(
            ShimConn::connect(&bootstrap.address, bootstrap.version, namespace, id, shared.config.timeouts),
            blocking(move || place.write_bootstrap(&noted))
        );
        let conn = self.conn.insert(conn?);
        work?;
        noted?;
        let pid = conn.create(self.bundle.path(), create).await;
        let pid = pid.map_err(|error| {
            Error::new(error.kind(), format!("failed to create shim task: {}", error.chain()))
        })?;
        Ok((pid, log, bootstrap))
    }

    /// Takes everything down again; goes on past errors, which only the log hears of, since the caller is
    /// told the first.
    async fn abandon(&mut self, reason: &Error) {
        let (namespace, id) = self.key;
        tracing::debug!(%namespace, %id, %reason, "undo the creation of a task");
        self.end_shim(reason).await;
        let config = &self.table.shared.config;
        if let Err(error) = shim_delete::delete(config, namespace, id, self.bundle).await {
            tracing::debug!(%namespace, %id, error = %error.chain(), "clean after a failed creation");
        }
        let bundle = self.bundle.clone();
        if let Err(error) = blocking(move || bundle.remove()).await {
            tracing::warn!(%namespace, %id, error = %error.chain(), "remove the bundle of a failed creation");
        }
    }

    async fn end_shim(&mut self, reason: &Error) {
        let alone = match &self.conn {
            Some(conn) => self.table.is_alone(self.key, conn.address()),
            None => true,
        };
        match &self.conn {
            Some(conn) if !matches!(reason.kind(), Kind::DeadlineExceeded | Kind::Unavailable) => {
                // Usually the shim knows no such task; one that is half made it deletes.
                if let Err(error) = conn.delete("").await {
                    tracing::debug!(%error, "delete a half made task");
                }
                shim_end::end(conn, None, alone).await;
            }
            Some(conn) if alone => shim_end::force(conn, None).await,
            _ => {}
        }
        if alone {
            shim_end::clear_strays(self.bundle.path(), &self.key.1).await;
            if let Some(conn) = &self.conn {
                shim_end::remove_socket(conn.address());
            }
        }
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
