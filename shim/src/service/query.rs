//! Verbs that only ask: state, pids, wait, stats, connect.

use std::sync::Arc;

use errors::{Error, Kind, Result, WithKind};
use proto_shim::options::ProcessDetails;
use proto_shim::task::v3::{
    ConnectRequest, ConnectResponse, PidsRequest, PidsResponse, StateRequest, StateResponse, StatsRequest,
    StatsResponse, WaitRequest, WaitResponse,
};
use proto_shim::types::{ProcessInfo, Status as Wire};
use proto_shim::{MessageField, pack};

use super::Service;
use crate::container::Container;
use crate::process::Process;
use crate::state::Status;
use crate::{clock, stats};

impl Service {
    /// # Errors
    /// NotFound.
    pub(crate) async fn state(self: Arc<Self>, request: StateRequest) -> Result<StateResponse> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        let exit = process.exit();
        let stdio = process.stdio.clone();
        Ok(StateResponse {
            id: if process.is_init() { container.id.clone() } else { process.exec_id.clone() },
            bundle: container.bundle.path().to_string_lossy().into_owned(),
            pid: process.pid(),
            status: status(&container, &process).into(),
            stdin: stdio.stdin,
            stdout: stdio.stdout,
            stderr: stdio.stderr,
            terminal: stdio.terminal,
            exit_status: exit.map(|exit| exit.status).unwrap_or_default(),
            exited_at: MessageField::some(exit.map_or_else(clock::never, |exit| clock::timestamp(exit.at))),
            exec_id: process.exec_id.clone(),
            ..StateResponse::default()
        })
    }

    /// # Errors
    /// NotFound once the cgroup is gone.
    pub(crate) async fn pids(self: Arc<Self>, request: PidsRequest) -> Result<PidsResponse> {
        let container = self.container(&request.id)?;
        let pids = match container.cgroup() {
            Some(cgroup) => cgroup.pids()?,
            None => container
                .runc
                .ps(&container.id)
                .await
                .map_err(|error| super::executor_error("OCI runtime ps failed", error))?,
        };
        let execs = container.execs();
        let info = |pid: u32| {
            let exec = execs.iter().find(|process| process.pid() == pid);
            let details = exec.map(|process| {
                pack(&ProcessDetails { exec_id: process.exec_id.clone(), ..ProcessDetails::default() })
            });
            let info = details.transpose().kind(Kind::Internal, || "encode the process details")?.into();
            Ok(ProcessInfo { pid, info, ..ProcessInfo::default() })
        };
        let processes = pids.into_iter().map(info).collect::<Result<_>>()?;
        Ok(PidsResponse { processes, ..PidsResponse::default() })
    }

    /// # Errors
    /// NotFound.
    pub(crate) async fn wait(self: Arc<Self>, request: WaitRequest) -> Result<WaitResponse> {
        let (_, process) = self.process(&request.id, &request.exec_id)?;
        let exit = process.wait().await;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(clock::timestamp(exit.at)),
            ..WaitResponse::default()
        })
    }

    /// # Errors
    /// NotFound once the cgroup is gone.
    pub(crate) async fn stats(self: Arc<Self>, request: StatsRequest) -> Result<StatsResponse> {
        let container = self.container(&request.id)?;
        let cgroup =
            container.cgroup().ok_or_else(|| Error::not_found("cgroup does not exist: not found"))?;
        Ok(StatsResponse { stats: MessageField::some(stats::read(cgroup)?), ..StatsResponse::default() })
    }

    /// Tells who this shim is, even of a container it does not know.
    ///
    /// # Errors
    /// None.
    pub(crate) async fn connect(self: Arc<Self>, request: ConnectRequest) -> Result<ConnectResponse> {
        let task_pid = self.container(&request.id).map(|container| container.init.pid()).unwrap_or_default();
        Ok(ConnectResponse { shim_pid: std::process::id(), task_pid, ..ConnectResponse::default() })
    }
}

/// A process that runs in a paused container is paused, too.
fn status(container: &Container, process: &Process) -> Wire {
    let paused = matches!(container.init.status(), Status::Paused | Status::Pausing);
    match if paused { container.init.status() } else { process.status() } {
        Status::Created => Wire::CREATED,
        Status::Running => Wire::RUNNING,
        Status::Pausing => Wire::PAUSING,
        Status::Paused => Wire::PAUSED,
        Status::Stopped => Wire::STOPPED,
    }
}
