//! `containerd.services.diff.v1.Diff`.

mod create;

use ::diff::Compression;
use errors::{Error, Kind, Result, WithKind};
use flows::Rooms;
use ids::Digest;
use proto_containerd::services::diff as wire;
use proto_containerd::services::diff::diff_server::Diff;
use proto_containerd::types;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::convert::{mounts_from_wire, signed};
use crate::status::{refuse, required};

/// A layer that is not compressed.
pub(crate) const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

pub(crate) struct DiffService(pub(crate) Rooms);

#[tonic::async_trait]
impl Diff for DiffService {
    /// `payloads` are for processors of media types that this daemon does not have; clients send them along with plain
    /// layers too. `sync_fs` asks for what a snapshot's commit does in any case.
    async fn apply(
        &self,
        request: Request<wire::ApplyRequest>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let layer = required(request.diff, "diff")?;
        let applied = self.applied(&caller, &layer, request.mounts).await.map_err(refuse)?;
        let applied = types::Descriptor {
            media_type: PLAIN.to_owned(),
            digest: applied.diff_id.to_string(),
            size: signed(applied.size),
            ..Default::default()
        };
        Ok(Response::new(wire::ApplyResponse { applied: Some(applied) }))
    }

    async fn diff(
        &self,
        request: Request<wire::DiffRequest>,
    ) -> Result<Response<wire::DiffResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        if request.source_date_epoch.is_some() {
            return Err(refuse(Error::unimplemented("source_date_epoch is not served for diffs")));
        }
        let job = create::Job::new(&request.media_type, request.r#ref, request.labels).map_err(refuse)?;
        let left = mounts_from_wire(request.left);
        let right = mounts_from_wire(request.right);
        let made = job.run(&self.0, &caller, left, right).await.map_err(refuse)?;
        Ok(Response::new(wire::DiffResponse { diff: Some(made) }))
    }
}

impl DiffService {
    async fn applied(
        &self,
        caller: &Caller,
        layer: &types::Descriptor,
        mounts: Vec<types::Mount>,
    ) -> Result<::diff::Applied> {
        let digest = Digest::parse(&layer.digest)?;
        let compression = Compression::of_media_type(&layer.media_type)?;
        let file = self.0.content.open_blob(&caller.namespace, &digest)?.into_std()?;
        let mounts = mounts_from_wire(mounts);
        let (limits, scratch) = (self.0.layer_limits.clone(), self.0.scratch.clone());
        blocking(move || ::diff::apply(&mounts, file, compression, &limits, &scratch)).await
    }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.kind(Kind::Internal, || "a blocking task ended early")?
}

/// The media types that a diff can be written as.
fn compression_of(media_type: &str) -> Result<Compression> {
    match media_type {
        PLAIN => Ok(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd" => Ok(Compression::Zstd),
        other => Err(Error::unimplemented(format!("unsupported diff media type: {other}"))),
    }
}
