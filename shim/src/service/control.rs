//! Verbs that change a container while it runs: pause, resume, update, resize, close stdin.

use std::sync::Arc;
use std::time::Duration;

use errors::{Error, Result};
use proto_shim::Empty;
use proto_shim::events::{TaskPaused, TaskResumed};
use proto_shim::task::v3::{
    CloseIORequest, PauseRequest, ResizePtyRequest, ResumeRequest, UpdateTaskRequest,
};

use super::{Service, executor_error};
use crate::container::Container;
use crate::log;
use crate::process::Process;
use crate::state::{Status, Verb};

/// How long an executor may take to mend what another has left.
const MENDING: Duration = Duration::from_secs(10);

impl Service {
    /// # Errors
    /// FailedPrecondition unless the container runs; whatever the executor says.
    pub(crate) async fn pause(self: Arc<Self>, request: PauseRequest) -> Result<Empty> {
        let container = self.container(&request.id)?;
        let init = &container.init;
        let _operation = init.operation.lock().await;
        init.allows(Verb::Pause)?;
        let _step = marks::step("shim.pause.executor")?;
        init.set_status(Status::Pausing);
        let paused = container.runc.pause(&container.id).await;
        let found = match &paused {
            Ok(()) => Status::Paused,
            Err(_) => thawed(&container).await,
        };
        settle(init, Status::Pausing, found);
        marks::passed("shim.pause.settled");
        paused.map_err(|error| executor_error("OCI runtime pause failed", error))?;
        let event = TaskPaused { container_id: container.id.clone(), ..TaskPaused::default() };
        self.publisher.publish("/tasks/paused", &event);
        Ok(Empty::default())
    }

    /// # Errors
    /// FailedPrecondition unless the container is paused; whatever the executor says.
    pub(crate) async fn resume(self: Arc<Self>, request: ResumeRequest) -> Result<Empty> {
        let container = self.container(&request.id)?;
        let init = &container.init;
        let _operation = init.operation.lock().await;
        init.allows(Verb::Resume)?;
        let _step = marks::step("shim.resume.executor")?;
        let resumed = container.runc.resume(&container.id).await;
        if resumed.is_err() && !is_frozen(&container).await {
            settle(init, Status::Paused, Status::Running);
        }
        resumed.map_err(|error| executor_error("OCI runtime resume failed", error))?;
        settle(init, Status::Paused, Status::Running);
        marks::passed("shim.resume.settled");
        let event = TaskResumed { container_id: container.id.clone(), ..TaskResumed::default() };
        self.publisher.publish("/tasks/resumed", &event);
        Ok(Empty::default())
    }

    /// # Errors
    /// FailedPrecondition for a stopped container; whatever the executor says.
    pub(crate) async fn update(self: Arc<Self>, request: UpdateTaskRequest) -> Result<Empty> {
        let container = self.container(&request.id)?;
        let _operation = container.init.operation.lock().await;
        container.init.allows(Verb::Update)?;
        let resources =
            request.resources.into_option().ok_or_else(|| Error::invalid("the update names no resources"))?;
        let updated = container.runc.update(&container.id, resources.value).await;
        updated.map_err(|error| executor_error("OCI runtime update failed", error))?;
        Ok(Empty::default())
    }

    /// # Errors
    /// NotFound; whatever the terminal says.
    pub(crate) async fn resize_pty(self: Arc<Self>, request: ResizePtyRequest) -> Result<Empty> {
        let (_, process) = self.process(&request.id, &request.exec_id)?;
        process.allows(Verb::Resize)?;
        process.resize(request.width, request.height)?;
        Ok(Empty::default())
    }

    /// # Errors
    /// NotFound.
    pub(crate) async fn close_io(self: Arc<Self>, request: CloseIORequest) -> Result<Empty> {
        let (_, process) = self.process(&request.id, &request.exec_id)?;
        // containerd's shim does not look at `stdin` either, which every client sets.
        process.close_stdin();
        Ok(Empty::default())
    }
}

/// Thaws what an executor may have frozen before it failed, since nothing frozen hears a signal; says how that went.
async fn thawed(container: &Container) -> Status {
    let runc = container.runc.clone().limit(Some(MENDING));
    // It may not have come as far as that.
    if let Err(error) = runc.resume(&container.id).await {
        log::debug!("{error}");
    }
    match is_frozen(container).await {
        true => Status::Paused,
        false => Status::Running,
    }
}

/// Has the executor left the container frozen? Then it says so.
async fn is_frozen(container: &Container) -> bool {
    let runc = container.runc.clone().limit(Some(MENDING));
    runc.state(&container.id).await.is_ok_and(|state| state.status == "paused")
}

/// Sets the new status, unless init has ended meanwhile.
fn settle(init: &Process, from: Status, to: Status) {
    if init.status() == from {
        init.set_status(to);
    }
}
