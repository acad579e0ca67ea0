//! Takes a checkpoint of a task: into a folder that the caller names, or into the content store.

use ::diff::Compression;
use bytes::Bytes;
use errors::{Error, Kind, Result, WithKind};
use flows::Rooms;
use ids::{ContainerId, Labels};
use prost::Message;
use prost_types::Any;
use proto_containerd::options::runc::CheckpointOptions;
use proto_containerd::types::Descriptor;
use proto_containerd::unpack;

use super::create::bind;
use crate::caller::Caller;
use crate::convert::signed;
use crate::diff::blocking;
use crate::scratch::Folder;
use crate::sink::{Sink, unique_reference};

/// The media type of a checkpoint's files, as a tar.
pub(super) const IMAGE: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
/// The media type of the spec of the container that it was taken of.
const CONFIG: &str = "application/vnd.containerd.container.checkpoint.config.v1+proto";

/// Takes the checkpoint; returns what is in the content store because of it, which is nothing when the options name a
/// folder.
pub(super) async fn checkpoint(
    rooms: &Rooms,
    caller: &Caller,
    id: &ContainerId,
    options: Option<Any>,
) -> Result<Vec<Descriptor>> {
    let container = rooms.containers.get(&caller.namespace, id)?;
    let path = image_path(options.as_ref())?;
    if !path.is_empty() {
        rooms.tasks.checkpoint(&caller.namespace, id, &path, options).await?;
        return Ok(Vec::new());
    }
    let folder = Folder::new(&rooms.scratch, "checkpoint")?;
    rooms.tasks.checkpoint(&caller.namespace, id, &folder.path().to_string_lossy(), options).await?;
    let image = packed(rooms, caller, &folder).await?;
    let spec = Bytes::from(container.spec.unwrap_or_default().encode_to_vec());
    let size = spec.len() as u64;
    let config = rooms.content.put(&caller.namespace, spec, Labels::new()).await?;
    caller.hold(&rooms.leases, "content", config.to_string()).await?;
    Ok(vec![image, descriptor(CONFIG, config.to_string(), size)])
}

/// Writes the folder's files into the content store.
async fn packed(rooms: &Rooms, caller: &Caller, folder: &Folder) -> Result<Descriptor> {
    let mut sink = Sink::open(rooms, caller, &unique_reference("checkpoint")).await?;
    let (upper, scratch) = ([bind(folder.path())], rooms.scratch.clone());
    let (created, sink) = blocking(move || {
        let created = ::diff::create(&[], &upper, &mut sink, Compression::None, &scratch);
        Ok((created, sink))
    })
    .await?;
    if let Err(error) = created {
        sink.abort().await;
        return Err(error);
    }
    let info = sink.commit(Labels::new()).await?;
    Ok(descriptor(IMAGE, info.digest.to_string(), info.size))
}

fn image_path(options: Option<&Any>) -> Result<String> {
    let Some(options) = options else { return Ok(String::new()) };
    let known: Option<CheckpointOptions> = unpack(options)
        .kind(Kind::InvalidArgument, || format!("decode checkpoint options {:?}", options.type_url))?;
    let known = known
        .ok_or_else(|| Error::invalid(format!("invalid task checkpoint option {:?}", options.type_url)))?;
    Ok(known.image_path)
}

fn descriptor(media_type: &str, digest: String, size: u64) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest, size: signed(size), ..Default::default() }
}
