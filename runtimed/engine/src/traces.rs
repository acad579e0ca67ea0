//! The service `Traces`: where the time of a request went.

use std::sync::Arc;

use errors::Context;
use proto_engine::v1;
use proto_engine::v1::traces_server::Traces;
use tonic::{Request, Response, Status};

use crate::caller::status;

/// Traces over gRPC.
pub struct Service {
    traces: Arc<marks::Traces>,
}

impl Service {
    /// The service over `traces`.
    pub fn new(traces: Arc<marks::Traces>) -> Service {
        Service { traces }
    }
}

#[tonic::async_trait]
impl Traces for Service {
    async fn get(
        &self,
        request: Request<v1::GetTraceRequest>,
    ) -> Result<Response<v1::GetTraceResponse>, Status> {
        let id = request.into_inner().id;
        let taken = self.traces.take(&id).context(|| format!("fetch the trace {id}")).map_err(status)?;
        let lines = taken.ok_or_else(|| Status::not_found(format!("trace {id}: not found")))?;
        Ok(Response::new(v1::GetTraceResponse { lines }))
    }
}
