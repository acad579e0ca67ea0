//! `containerd.services.streaming.v1.Streaming`: streams that a client opens here and names in another call.

mod bytes;
mod registry;

use futures::stream::BoxStream;
use prost_types::Any;
use proto_containerd::services::streaming::StreamInit;
use proto_containerd::services::streaming::streaming_server::Streaming;
use proto_containerd::unpack;
use tonic::{Request, Response, Status};

pub(crate) use bytes::{receive, relay, send};
pub(crate) use registry::{Duplex, Outgoing, Streams};

use crate::caller::Caller;
use crate::status::{invalid, refuse};

/// The longest name of a stream, in bytes.
const MAX_NAME: usize = 1024;

pub(crate) struct StreamingService(pub(crate) Streams);

#[tonic::async_trait]
impl Streaming for StreamingService {
    type StreamStream = BoxStream<'static, Result<Any, Status>>;

    async fn stream(
        &self,
        request: Request<tonic::Streaming<Any>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let caller = Caller::of(&request)?;
        let mut incoming = request.into_inner();
        let first =
            incoming.message().await?.ok_or_else(|| invalid("stream ended before its first message"))?;
        let name = name_of(&first)?;
        let outgoing = self.0.register(&caller.namespace, name, incoming).map_err(refuse)?;
        Ok(Response::new(outgoing))
    }
}

fn name_of(first: &Any) -> Result<String, Status> {
    let init: Option<StreamInit> =
        unpack(first).map_err(|error| invalid(format!("decode the first message of a stream: {error}")))?;
    let id = init
        .ok_or_else(|| invalid(format!("a stream begins with StreamInit, not with {:?}", first.type_url)))?
        .id;
    match id.len() {
        0 => Err(invalid("stream id must not be empty")),
        1..=MAX_NAME => Ok(id),
        length => Err(invalid(format!(
            "stream id is {length} bytes long, greater than maximum length ({MAX_NAME})"
        ))),
    }
}
