//! Kill: signal a process, or all of a container's.

use std::sync::Arc;

use errors::{Error, Kind, Result};
use proto_shim::Empty;
use proto_shim::task::v3::KillRequest;
use runc_client::KillOptions;

use super::Service;
use crate::state::{self, Verb};

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
        if !process.is_init() {
            process.signal(request.signal)?;
            return Ok(Empty::default());
        }
        let _step = marks::step("shim.kill.executor")?;
        let options = KillOptions { all: request.all };
        container.runc.kill(&container.id, request.signal, options).await.map_err(told)?;
        Ok(Empty::default())
    }
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
