//! `runtimed publish`: what a shim runs when it has no other way to report an event. The event comes on stdin as a protobuf `Any`.

use std::io::Read;
use std::path::Path;

use errors::{Context, Error, Kind, Result, WithKind};
use prost::Message;
use proto_containerd::services::events::PublishRequest;

/// The most bytes of an event.
const LIMIT: u64 = 16 << 20;

/// Publishes stdin under `topic`.
pub async fn publish(address: &Path, namespace: &str, topic: &str) -> Result<()> {
    let mut bytes = Vec::new();
    std::io::stdin().take(LIMIT).read_to_end(&mut bytes).context(|| "read the event from stdin")?;
    let event =
        prost_types::Any::decode(bytes.as_slice()).kind(Kind::InvalidArgument, || "decode the event")?;
    let client = client::Client::connect(address, namespace).await?;
    let request = PublishRequest { topic: topic.to_owned(), event: Some(event) };
    client.events().publish(request).await.map(drop).map_err(|status| {
        Error::with_source(Kind::from_grpc_code(status.code() as i32), format!("publish {topic}"), status)
    })
}
