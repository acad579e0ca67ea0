//! Start: let init run its program, or run an added process.

use std::path::Path;
use std::sync::Arc;

use errors::{Context, Error, Result};
use proto_shim::events::{TaskExecStarted, TaskStart};
use proto_shim::task::v3::{StartRequest, StartResponse};

use super::{Service, executor_error};
use crate::container::Container;
use crate::process::Process;
use crate::state::{Status, Verb};

/// Lets init go without the executor, where that would do no more; `false` where it has to be asked.
fn start_at_gate(container: &Container) -> Result<bool> {
    let folder = container.starts_at_gate.then(|| container.runc.folder(&container.id)).flatten();
    let Some(Ok(Some(gate))) = folder.map(|folder| start_gate::open(&folder)) else { return Ok(false) };
    marks::passed("shim.start.taken");
    gate.start().context(|| format!("start container {}", container.id))?;
    Ok(true)
}

impl Service {
    /// # Errors
    /// FailedPrecondition for a process that has been started; whatever the executor says.
    pub(crate) async fn start(self: Arc<Self>, request: StartRequest) -> Result<StartResponse> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        let _operation = process.operation.lock().await;
        process.allows(Verb::Start)?;
        // An exit that comes now is told after the start.
        let _starting = process.starting.lock().await;
        if process.is_init() {
            self.start_init(&container, &process).await?;
        } else {
            // One that could not be started once has nothing left to be started with.
            if process.exit().is_some() {
                return Err(Error::precondition("cannot start a stopped process"));
            }
            if container.init_has_ended() {
                let refusal = format!("container {} init process is not running", container.id);
                return Err(Error::precondition(refusal));
            }
            self.start_exec(&container, &process).await?;
        }
        Ok(StartResponse { pid: process.pid(), ..StartResponse::default() })
    }

    async fn start_init(self: &Arc<Self>, container: &Arc<Container>, init: &Process) -> Result<()> {
        let _step = marks::step("shim.start.executor")?;
        init.catch_up();
        match container.to_be_restored().map(Path::to_owned) {
            Some(images) => {
                let pending = self.restore(container, init, images).await?;
                self.watch_over(container, pending);
            }
            None if start_at_gate(container)? => {}
            // It knows what is wrong, or what else there is to do.
            None => container
                .runc
                .start(&container.id)
                .await
                .map_err(|error| executor_error("OCI runtime start failed", error))?,
        }
        marks::passed("shim.start.done");
        init.set_status(Status::Running);
        let started =
            TaskStart { container_id: container.id.clone(), pid: init.pid(), ..TaskStart::default() };
        self.publisher.publish("/tasks/start", &started);
        Ok(())
    }

    async fn start_exec(self: &Arc<Self>, container: &Arc<Container>, process: &Arc<Process>) -> Result<()> {
        let pending = match self.run_exec(container, process).await {
            Ok(pending) => pending,
            Err(error) => {
                process.set_refused();
                return Err(error);
            }
        };
        process.set_status(Status::Running);
        let started = TaskExecStarted {
            container_id: container.id.clone(),
            exec_id: process.exec_id.clone(),
            pid: process.pid(),
            ..TaskExecStarted::default()
        };
        self.publisher.publish("/tasks/exec-started", &started);
        tokio::spawn(marks::carry(self.clone().await_exit(container.clone(), process.clone(), pending)));
        Ok(())
    }
}
