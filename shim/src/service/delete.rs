//! Delete: forget a process that has ended; with init goes the container.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use errors::{Error, Result};
use proto_shim::MessageField;
use proto_shim::events::TaskDelete;
use proto_shim::task::v3::{DeleteRequest, DeleteResponse};

use super::{Service, executor_error};
use crate::container::Container;
use crate::process::Process;
use crate::reaper::Exit;
use crate::state::{Status, Verb};
use crate::sync::{beside, lock};
use crate::{clock, log, mounts};

/// How long output may take to be delivered, by now that its process's end was told: to a reader that is slow.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the end of an init that is killed here may take.
const KILLED: Duration = Duration::from_secs(10);

impl Service {
    /// # Errors
    /// FailedPrecondition for a process that runs; whatever the executor says.
    pub(crate) async fn delete(self: Arc<Self>, request: DeleteRequest) -> Result<DeleteResponse> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        let _operation = process.operation.lock().await;
        // Somebody else may have deleted it while we waited.
        self.process(&request.id, &request.exec_id)?;
        process.allows(Verb::Delete)?;
        if process.is_init() {
            self.delete_container(&container, &process).await?;
        } else {
            delete_exec(&container, &process).await;
        }
        let exit =
            process.exit().unwrap_or(Exit { pid: process.pid(), status: 0, at: SystemTime::UNIX_EPOCH });
        Ok(DeleteResponse {
            pid: process.pid(),
            exit_status: exit.status,
            exited_at: MessageField::some(clock::timestamp(exit.at)),
            ..DeleteResponse::default()
        })
    }

    async fn delete_container(&self, container: &Container, init: &Process) -> Result<()> {
        let begun = lock(&container.deletion).take();
        let done = match begun {
            Some(deletion) => deletion.await.ok(),
            None => None,
        };
        // What could not be done before it was asked for is tried again.
        let unmounted = match done {
            Some(Ok(unmounted @ Ok(()))) => unmounted,
            _ => take_apart(container, init).await?,
        };
        lock(&self.containers).remove(&container.id);
        marks::passed("shim.delete.done");
        self.publisher.publish("/tasks/delete", &event(container, init));
        unmounted
    }
}

/// Takes away what the executor has made, then the root's mounts. The outer error says that the container is still there, the inner one that
/// only a mount is.
pub(super) async fn take_apart(container: &Container, init: &Process) -> Result<Result<()>> {
    let never_ran = init.status() == Status::Created;
    if !never_ran && !init.caught_up(DRAIN).await {
        log::warning!("container {}: output could not be delivered", container.id);
    }
    let whole = marks::step("shim.delete.executor")?;
    let undertaker = lock(&container.undertaker).take();
    let deleting = async {
        match undertaker {
            Some(ready) => container.runc.delete_by(ready, &container.id).await,
            None => container.runc.delete(&container.id, false).await,
        }
    };
    // The kernel waits while it unmounts, and the executor has work of its own meanwhile; unless something of it may need the root.
    let (deleted, unmounted) = match never_ran || container.has_poststop_hooks {
        true => (deleting.await, None),
        false => beside(deleting, || Some(let_go(container, init))).await,
    };
    match deleted {
        Err(error) if error.kind() != runc_client::Kind::NotFound => {
            return Err(executor_error("failed to delete task", error));
        }
        _ => {}
    }
    if container.to_be_restored().is_some() {
        // Nobody will ever run that others could wait for.
        init.set_failed();
    } else if never_ran && tokio::time::timeout(KILLED, init.wait()).await.is_err() {
        let (pid, id) = (init.pid(), &container.id);
        return Err(Error::internal(format!("the init process {pid} of {id} does not end")));
    }
    drop(whole);
    Ok(unmounted.unwrap_or_else(|| let_go(container, init)))
}

/// Closes the streams and unmounts the root.
fn let_go(container: &Container, init: &Process) -> Result<()> {
    let _step = marks::step("shim.delete.unmount")?;
    container.execs().iter().for_each(|process| process.close_io());
    init.close_io();
    mounts::take_below(&container.bundle.rootfs())
        .map_err(|error| Error::with_source(error.kind(), "failed rootfs umount", error))
}

async fn delete_exec(container: &Container, process: &Process) {
    if !process.caught_up(DRAIN).await {
        log::warning!("process {}: output could not be delivered", process.exec_id);
    }
    process.close_io();
    // It is missing if the process never ran.
    let _ = std::fs::remove_file(container.bundle.exec_pid(&process.exec_id));
    container.remove(&process.exec_id);
}

fn event(container: &Container, init: &Process) -> TaskDelete {
    let exit = init.exit();
    TaskDelete {
        container_id: container.id.clone(),
        pid: init.pid(),
        exit_status: exit.map(|exit| exit.status).unwrap_or_default(),
        exited_at: exit.map(|exit| clock::timestamp(exit.at)).into(),
        ..TaskDelete::default()
    }
}
