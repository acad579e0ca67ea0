//! Kill: signal a process, or all of a container's.

use std::sync::Arc;

use errors::{Error, Kind, Result};
use proto_shim::Empty;
use proto_shim::task::v3::KillRequest;
use runc_client::KillOptions;

use super::Service;
use crate::container::Container;
use crate::process::Process;
use crate::state::{self, Status, Verb};

/// The signal that no process survives.
const SIGKILL: u32 = 9;
/// The highest real-time signal.
const HIGHEST: u32 = 64;

impl Service {
    /// # Errors
    /// NotFound for a process that has ended.
    pub(crate) async fn kill(self: Arc<Self>, request: KillRequest) -> Result<Empty> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        if request.signal > HIGHEST {
            return Err(Error::invalid(format!("there is no signal {}", request.signal)));
        }
        process.allows(Verb::Kill)?;
        if !process.is_init() || reached_by_init(&container, &process, &request) {
            let _step = marks::step("shim.kill.send")?;
            process.signal(request.signal)?;
            return Ok(Empty::default());
        }
        let _step = marks::step("shim.kill.executor")?;
        let options = KillOptions { all: request.all };
        container.runc.kill(&container.id, request.signal, options).await.map_err(told)?;
        Ok(Empty::default())
    }
}

/// Does it do to signal init, which is this shim's own child? With it the kernel ends all of its pid namespace. A frozen one
/// must be thawed to die, which the executor does.
fn reached_by_init(container: &Container, init: &Process, request: &KillRequest) -> bool {
    let frozen = matches!(init.status(), Status::Pausing | Status::Paused);
    if init.pid() == 0 {
        // It has none to reach, and says so.
        return true;
    }
    let all = request.all && !(request.signal == SIGKILL && container.has_own_pid_namespace);
    !frozen && !all
}

/// Callers stop containers that are about to stop: they look for these texts and codes.
fn told(error: runc_client::Error) -> Error {
    match error.kind() {
        runc_client::Kind::Finished => state::finished(),
        runc_client::Kind::NotFound => Error::not_found("no such container: not found"),
        runc_client::Kind::TimedOut => super::executor_error("OCI runtime kill failed", error),
        _ => Error::with_source(Kind::Unknown, "unknown error after kill", error),
    }
}
