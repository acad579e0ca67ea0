//! `containerd.services.version.v1.Version`.

use std::sync::Arc;

use proto_containerd::services::version::VersionResponse;
use proto_containerd::services::version::version_server::Version;
use tonic::{Request, Response, Status};

use crate::Server;

pub(crate) struct VersionService(pub(crate) Arc<Server>);

#[tonic::async_trait]
impl Version for VersionService {
    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: self.0.version.clone(),
            revision: self.0.revision.clone(),
        }))
    }
}
