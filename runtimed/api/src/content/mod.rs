//! `containerd.services.content.v1.Content`.

mod read;
mod write;

use content::{Content, Info, Status as Ingest};
use flows::Rooms;
use futures::stream::{self, BoxStream, StreamExt};
use gc::Collector;
use ids::Digest;
use lease::Leases;
use proto_containerd::services::content as wire;
use proto_containerd::services::content::content_server;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::convert::{mask_paths, signed, timestamp};
use crate::status::{refuse, required};

/// How many records go into one message of a list.
const BATCH: usize = 100;

#[derive(Clone)]
pub(crate) struct ContentService {
    content: Content,
    leases: Leases,
    collector: Collector,
}

impl ContentService {
    pub(crate) fn new(rooms: &Rooms) -> ContentService {
        ContentService {
            content: rooms.content.clone(),
            leases: rooms.leases.clone(),
            collector: rooms.collector.clone(),
        }
    }
}

#[tonic::async_trait]
impl content_server::Content for ContentService {
    type ListStream = BoxStream<'static, Result<wire::ListContentResponse, Status>>;
    type ReadStream = BoxStream<'static, Result<wire::ReadContentResponse, Status>>;
    type WriteStream = BoxStream<'static, Result<wire::WriteContentResponse, Status>>;

    async fn info(
        &self,
        request: Request<wire::InfoRequest>,
    ) -> Result<Response<wire::InfoResponse>, Status> {
        let caller = Caller::of(&request)?;
        let digest = Digest::parse(&request.into_inner().digest).map_err(refuse)?;
        let info = self.content.info(&caller.namespace, &digest).map_err(refuse)?;
        Ok(Response::new(wire::InfoResponse { info: Some(to_wire(info)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateRequest>,
    ) -> Result<Response<wire::UpdateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let info = required(request.info, "info")?;
        let digest = Digest::parse(&info.digest).map_err(refuse)?;
        let mask = mask_paths(request.update_mask);
        let info =
            self.content.update(&caller.namespace, &digest, info.labels, &mask).await.map_err(refuse)?;
        Ok(Response::new(wire::UpdateResponse { info: Some(to_wire(info)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListContentRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let caller = Caller::of(&request)?;
        let all = self.content.list(&caller.namespace, &request.into_inner().filters).map_err(refuse)?;
        let batches = stream::iter(all.into_iter().map(to_wire))
            .chunks(BATCH)
            .map(|info| Ok(wire::ListContentResponse { info }));
        Ok(Response::new(batches.boxed()))
    }

    async fn delete(&self, request: Request<wire::DeleteContentRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let digest = Digest::parse(&request.into_inner().digest).map_err(refuse)?;
        self.content.delete(&caller.namespace, &digest).await.map_err(refuse)?;
        caller.release(&self.leases, "content", digest.to_string()).await.map_err(refuse)?;
        self.collector.schedule();
        Ok(Response::new(()))
    }

    async fn read(
        &self,
        request: Request<wire::ReadContentRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let digest = Digest::parse(&request.digest).map_err(refuse)?;
        let blob = self.content.open_blob(&caller.namespace, &digest).map_err(refuse)?;
        let range = read::Range::new(request.offset, request.size, blob.size()).map_err(refuse)?;
        Ok(Response::new(read::stream(blob, range)))
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        let caller = Caller::of(&request)?;
        let status = self.content.status(&caller.namespace, &request.into_inner().r#ref).map_err(refuse)?;
        Ok(Response::new(wire::StatusResponse { status: Some(ingest_to_wire(status)) }))
    }

    async fn list_statuses(
        &self,
        request: Request<wire::ListStatusesRequest>,
    ) -> Result<Response<wire::ListStatusesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let all = self.content.statuses(&caller.namespace, &request.into_inner().filters).map_err(refuse)?;
        let statuses = all.into_iter().map(ingest_to_wire).collect();
        Ok(Response::new(wire::ListStatusesResponse { statuses }))
    }

    async fn write(
        &self,
        request: Request<Streaming<wire::WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let caller = Caller::of(&request)?;
        let session = write::Session::open(self, caller, request.into_inner()).await?;
        Ok(Response::new(session.into_stream()))
    }

    async fn abort(&self, request: Request<wire::AbortRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let reference = request.into_inner().r#ref;
        self.content.abort(&caller.namespace, &reference).await.map_err(refuse)?;
        caller.release(&self.leases, "ingests", reference).await.map_err(refuse)?;
        Ok(Response::new(()))
    }
}

fn to_wire(info: Info) -> wire::Info {
    wire::Info {
        digest: info.digest.to_string(),
        size: signed(info.size),
        created_at: timestamp(info.created_at),
        updated_at: timestamp(info.updated_at),
        labels: info.labels,
    }
}

fn ingest_to_wire(ingest: Ingest) -> wire::Status {
    wire::Status {
        started_at: timestamp(ingest.started_at),
        updated_at: timestamp(ingest.updated_at),
        r#ref: ingest.reference,
        offset: signed(ingest.offset),
        total: signed(ingest.total),
        expected: ingest.expected.map(|digest| digest.to_string()).unwrap_or_default(),
    }
}
