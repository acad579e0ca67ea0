//! `containerd.services.tasks.v1.Tasks`.

mod checkpoint;
mod convert;
mod create;
mod metrics;

use flows::Rooms;
use ids::ContainerId;
use proto_containerd::services::tasks as wire;
use proto_containerd::services::tasks::tasks_server::Tasks;
use proto_containerd::types::task::ProcessInfo;
use task::{Exec, Io};
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::convert::timestamp;
use crate::status::{invalid, refuse, required};

pub(crate) struct TasksService(pub(crate) Rooms);

#[tonic::async_trait]
impl Tasks for TasksService {
    async fn create(
        &self,
        request: Request<wire::CreateTaskRequest>,
    ) -> Result<Response<wire::CreateTaskResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (id, request) = addressed(request, |request| &request.container_id)?;
        let pid = create::create(&self.0, &caller, &id, request).await.map_err(refuse)?;
        Ok(Response::new(wire::CreateTaskResponse { container_id: id.to_string(), pid }))
    }

    async fn start(
        &self,
        request: Request<wire::StartRequest>,
    ) -> Result<Response<wire::StartResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (id, request) = addressed(request, |request| &request.container_id)?;
        let pid = self.0.tasks.start(&caller.namespace, &id, &request.exec_id).await.map_err(refuse)?;
        Ok(Response::new(wire::StartResponse { pid }))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteTaskRequest>,
    ) -> Result<Response<wire::DeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (id, _) = addressed(request, |request| &request.container_id)?;
        let exit = self.0.tasks.delete(&caller.namespace, &id).await.map_err(refuse)?;
        Ok(Response::new(convert::deleted(String::new(), exit)))
    }

    async fn delete_process(
        &self,
        request: Request<wire::DeleteProcessRequest>,
    ) -> Result<Response<wire::DeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (id, request) = addressed(request, |request| &request.container_id)?;
        if request.exec_id.is_empty() {
            return Err(invalid("exec id cannot be empty"));
        }
        let exit =
            self.0.tasks.delete_process(&caller.namespace, &id, &request.exec_id).await.map_err(refuse)?;
        Ok(Response::new(convert::deleted(request.exec_id, exit)))
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::GetResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (id, request) = addressed(request, |request| &request.container_id)?;
        let process = self.0.tasks.get(&caller.namespace, &id, &request.exec_id).await.map_err(refuse)?;
        Ok(Response::new(wire::GetResponse { process: Some(convert::process(process)) }))
    }

    /// containerd takes a filter here and applies none; so does this.
    async fn list(
        &self,
        request: Request<wire::ListTasksRequest>,
    ) -> Result<Response<wire::ListTasksResponse>, Status> {
        let caller = Caller::of(&request)?;
        let tasks = self.0.tasks.list(&caller.namespace).await.map_err(refuse)?;
        Ok(Response::new(wire::ListTasksResponse {
            tasks: tasks.into_iter().map(convert::process).collect(),
        }))
    }

    async fn kill(&self, request: Request<wire::KillRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let (id, wire::KillRequest { exec_id, signal, all, .. }) =
            addressed(request, |request| &request.container_id)?;
        self.0.tasks.kill(&caller.namespace, &id, &exec_id, signal, all).await.map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn exec(&self, request: Request<wire::ExecProcessRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let (id, request) = addressed(request, |request| &request.container_id)?;
        if request.exec_id.is_empty() {
            return Err(invalid("exec id cannot be empty"));
        }
        let exec = Exec {
            exec_id: ContainerId::parse(&request.exec_id).map_err(refuse)?,
            spec: required(request.spec, "spec")?,
            io: Io {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            },
        };
        self.0.tasks.exec(&caller.namespace, &id, exec).await.map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn resize_pty(&self, request: Request<wire::ResizePtyRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let (id, request) = addressed(request, |request| &request.container_id)?;
        let wire::ResizePtyRequest { exec_id, width, height, .. } = request;
        self.0.tasks.resize(&caller.namespace, &id, &exec_id, width, height).await.map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn close_io(&self, request: Request<wire::CloseIoRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let (id, request) = addressed(request, |request| &request.container_id)?;
        if request.stdin {
            self.0.tasks.close_io(&caller.namespace, &id, &request.exec_id).await.map_err(refuse)?;
        } else {
            // Nothing to close, but the process must be there.
            self.0.tasks.get(&caller.namespace, &id, &request.exec_id).await.map_err(refuse)?;
        }
        Ok(Response::new(()))
    }

    async fn pause(&self, request: Request<wire::PauseTaskRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let (id, _) = addressed(request, |request| &request.container_id)?;
        self.0.tasks.pause(&caller.namespace, &id).await.map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn resume(&self, request: Request<wire::ResumeTaskRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let (id, _) = addressed(request, |request| &request.container_id)?;
        self.0.tasks.resume(&caller.namespace, &id).await.map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn list_pids(
        &self,
        request: Request<wire::ListPidsRequest>,
    ) -> Result<Response<wire::ListPidsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (id, _) = addressed(request, |request| &request.container_id)?;
        let pids = self.0.tasks.pids(&caller.namespace, &id).await.map_err(refuse)?;
        let processes = pids.into_iter().map(|(pid, info)| ProcessInfo { pid, info }).collect();
        Ok(Response::new(wire::ListPidsResponse { processes }))
    }

    async fn checkpoint(
        &self,
        request: Request<wire::CheckpointTaskRequest>,
    ) -> Result<Response<wire::CheckpointTaskResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (id, request) = addressed(request, |request| &request.container_id)?;
        let descriptors =
            checkpoint::checkpoint(&self.0, &caller, &id, request.options).await.map_err(refuse)?;
        Ok(Response::new(wire::CheckpointTaskResponse { descriptors }))
    }

    async fn update(&self, request: Request<wire::UpdateTaskRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let (id, request) = addressed(request, |request| &request.container_id)?;
        let resources = required(request.resources, "resources")?;
        self.0.tasks.update(&caller.namespace, &id, resources, request.annotations).await.map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn metrics(
        &self,
        request: Request<wire::MetricsRequest>,
    ) -> Result<Response<wire::MetricsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let filters = request.into_inner().filters;
        let metrics = metrics::collect(&self.0.tasks, &caller.namespace, &filters).await.map_err(refuse)?;
        Ok(Response::new(wire::MetricsResponse { metrics }))
    }

    async fn wait(
        &self,
        request: Request<wire::WaitRequest>,
    ) -> Result<Response<wire::WaitResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (id, request) = addressed(request, |request| &request.container_id)?;
        let exit = self.0.tasks.wait(&caller.namespace, &id, &request.exec_id).await.map_err(refuse)?;
        Ok(Response::new(wire::WaitResponse { exit_status: exit.status, exited_at: timestamp(exit.at) }))
    }
}

/// The request with the container that it is about.
fn addressed<T>(request: Request<T>, id: impl FnOnce(&T) -> &String) -> Result<(ContainerId, T), Status> {
    let request = request.into_inner();
    let id = ContainerId::parse(id(&request)).map_err(refuse)?;
    Ok((id, request))
}
