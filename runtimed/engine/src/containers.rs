//! The service `Containers`: one function a verb.

mod attach;
mod exec;
mod list;
mod logs;
mod run;

use flows::Flows;
use flows::config::ContainerConfig;
use ids::{ContainerId, Namespace};
use proto_engine::v1;
use proto_engine::v1::containers_server::Containers;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::{bad_request, namespace, status};
use crate::config::container_config;
use crate::session::Answers;
use crate::stats;

/// Containers over gRPC.
pub struct Service {
    flows: Flows,
}

impl Service {
    /// The service over `flows`.
    pub fn new(flows: Flows) -> Service {
        Service { flows }
    }

    /// Whom a request means.
    fn find(&self, metadata: &MetadataMap, text: &str) -> Result<(Namespace, ContainerId), Status> {
        let namespace = namespace(metadata)?;
        let container = self.flows.find(&namespace, text).map_err(status)?;
        Ok((namespace, container.id))
    }

    /// As [`Service::find`], with what the engine knows of it.
    fn find_config(
        &self,
        metadata: &MetadataMap,
        text: &str,
    ) -> Result<(Namespace, ContainerId, ContainerConfig), Status> {
        let namespace = namespace(metadata)?;
        let container = self.flows.find(&namespace, text).map_err(status)?;
        let config = ContainerConfig::of(&container).map_err(status)?.unwrap_or_default();
        Ok((namespace, container.id, config))
    }
}

#[tonic::async_trait]
impl Containers for Service {
    type RunStream = Answers<v1::RunResponse>;
    type StatsStream = Answers<v1::StatsResponse>;
    type LogsStream = Answers<v1::LogsResponse>;
    type AttachStream = Answers<v1::AttachResponse>;
    type ExecStream = Answers<v1::ExecResponse>;

    async fn create(
        &self,
        request: Request<v1::CreateRequest>,
    ) -> Result<Response<v1::CreateResponse>, Status> {
        let namespace = namespace(request.metadata())?;
        let config = container_config(request.into_inner().config)?;
        let id = self.flows.create(&namespace, config).await.map_err(status)?;
        Ok(Response::new(v1::CreateResponse { id: id.to_string(), warnings: Vec::new() }))
    }

    async fn run(
        &self,
        request: Request<Streaming<v1::RunRequest>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        run::run(&self.flows, request).await.map(Response::new)
    }

    async fn start(&self, request: Request<v1::StartRequest>) -> Result<Response<v1::StartResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        self.flows.start(&namespace, &id, flows::Want::Nothing).await.map_err(status)?;
        Ok(Response::new(v1::StartResponse {}))
    }

    async fn stop(&self, request: Request<v1::StopRequest>) -> Result<Response<v1::StopResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        let request = request.into_inner();
        self.flows.stop(&namespace, &id, request.timeout, &request.signal).await.map_err(status)?;
        Ok(Response::new(v1::StopResponse {}))
    }

    async fn restart(
        &self,
        request: Request<v1::RestartRequest>,
    ) -> Result<Response<v1::RestartResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        let request = request.into_inner();
        self.flows.restart(&namespace, &id, request.timeout, &request.signal).await.map_err(status)?;
        Ok(Response::new(v1::RestartResponse {}))
    }

    async fn kill(&self, request: Request<v1::KillRequest>) -> Result<Response<v1::KillResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        self.flows.kill(&namespace, &id, &request.get_ref().signal).await.map_err(status)?;
        Ok(Response::new(v1::KillResponse {}))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveRequest>,
    ) -> Result<Response<v1::RemoveResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        self.flows.remove(&namespace, &id, request.get_ref().force).await.map_err(status)?;
        Ok(Response::new(v1::RemoveResponse {}))
    }

    async fn pause(&self, request: Request<v1::PauseRequest>) -> Result<Response<v1::PauseResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        self.flows.pause(&namespace, &id).await.map_err(status)?;
        Ok(Response::new(v1::PauseResponse {}))
    }

    async fn unpause(
        &self,
        request: Request<v1::UnpauseRequest>,
    ) -> Result<Response<v1::UnpauseResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        self.flows.unpause(&namespace, &id).await.map_err(status)?;
        Ok(Response::new(v1::UnpauseResponse {}))
    }

    async fn wait(&self, request: Request<v1::WaitRequest>) -> Result<Response<v1::WaitResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        let code = match request.get_ref().condition() {
            v1::wait_request::Condition::NotRunning => self.flows.wait_stopped(&namespace, &id).await,
            v1::wait_request::Condition::NextExit => self.flows.wait_next_exit(&namespace, &id).await,
            v1::wait_request::Condition::Removed => self.flows.wait_removed(&namespace, &id).await,
        };
        Ok(Response::new(v1::WaitResponse { code: code.map_err(status)?, error: String::new() }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let namespace = namespace(request.metadata())?;
        list::list(&self.flows, &namespace, request.get_ref()).await.map(Response::new)
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectRequest>,
    ) -> Result<Response<v1::InspectResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        let object = self.flows.inspect(&namespace, &id, request.get_ref().size).await.map_err(status)?;
        Ok(Response::new(v1::InspectResponse { json: object.to_string().into_bytes() }))
    }

    async fn top(&self, request: Request<v1::TopRequest>) -> Result<Response<v1::TopResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        let table = self.flows.top(&namespace, &id, &request.get_ref().ps_args).await.map_err(status)?;
        let processes = table.rows.into_iter().map(|fields| v1::top_response::Process { fields }).collect();
        Ok(Response::new(v1::TopResponse { titles: table.titles, processes }))
    }

    async fn stats(&self, request: Request<v1::StatsRequest>) -> Result<Response<Self::StatsStream>, Status> {
        let namespace = namespace(request.metadata())?;
        stats::stats(&self.flows, namespace, request.into_inner()).map(Response::new)
    }

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        logs::logs(&self.flows, &namespace, &id, request.into_inner()).await.map(Response::new)
    }

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        attach::attach(self, request).await.map(Response::new)
    }

    async fn exec(
        &self,
        request: Request<Streaming<v1::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        exec::exec(self, request).await.map(Response::new)
    }

    async fn resize(
        &self,
        request: Request<v1::ResizeRequest>,
    ) -> Result<Response<v1::ResizeResponse>, Status> {
        let (namespace, id) = self.find(request.metadata(), &request.get_ref().id)?;
        let request = request.into_inner();
        let size = request.size.filter(|size| size.width > 0 && size.height > 0);
        let size = size.ok_or_else(|| bad_request("a terminal has at least one row and one column"))?;
        let size = (size.width, size.height);
        self.flows.resize(&namespace, &id, &request.exec_id, size).await.map_err(status)?;
        Ok(Response::new(v1::ResizeResponse {}))
    }
}
