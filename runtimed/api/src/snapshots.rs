//! `containerd.services.snapshots.v1.Snapshots`.

use errors::Error;
use flows::Rooms;
use futures::stream::{self, BoxStream, StreamExt};
use gc::Collector;
use lease::Leases;
use proto_containerd::services::snapshots as wire;
use proto_containerd::services::snapshots::snapshots_server::Snapshots;
use snapshot::{Info, Kind, Snapshotter, Snapshotters};
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::convert::{mask_paths, mounts_to_wire, timestamp};
use crate::status::{invalid, refuse, required};

/// How many records go into one message of a list.
const BATCH: usize = 100;

pub(crate) struct SnapshotsService {
    snapshotters: Snapshotters,
    leases: Leases,
    collector: Collector,
}

impl SnapshotsService {
    pub(crate) fn new(rooms: &Rooms) -> SnapshotsService {
        SnapshotsService {
            snapshotters: rooms.snapshotters.clone(),
            leases: rooms.leases.clone(),
            collector: rooms.collector.clone(),
        }
    }

    fn snapshotter(&self, name: &str) -> Result<Snapshotter, Status> {
        if name.is_empty() {
            return Err(invalid("snapshotter argument missing"));
        }
        self.snapshotters.get(name).map_err(refuse)
    }

    async fn hold(&self, caller: &Caller, snapshotter: &str, key: &str) -> Result<(), Status> {
        caller.hold(&self.leases, kind(snapshotter), key).await.map_err(refuse)
    }
}

#[tonic::async_trait]
impl Snapshots for SnapshotsService {
    type ListStream = BoxStream<'static, Result<wire::ListSnapshotsResponse, Status>>;

    async fn prepare(
        &self,
        request: Request<wire::PrepareSnapshotRequest>,
    ) -> Result<Response<wire::PrepareSnapshotResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::PrepareSnapshotRequest { snapshotter, key, parent, labels } = request.into_inner();
        let room = self.snapshotter(&snapshotter)?;
        self.hold(&caller, &snapshotter, &key).await?;
        let mounts = room.prepare(&caller.namespace, &key, &parent, labels).await.map_err(refuse)?;
        Ok(Response::new(wire::PrepareSnapshotResponse { mounts: mounts_to_wire(mounts) }))
    }

    async fn view(
        &self,
        request: Request<wire::ViewSnapshotRequest>,
    ) -> Result<Response<wire::ViewSnapshotResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::ViewSnapshotRequest { snapshotter, key, parent, labels } = request.into_inner();
        let room = self.snapshotter(&snapshotter)?;
        self.hold(&caller, &snapshotter, &key).await?;
        let mounts = room.view(&caller.namespace, &key, &parent, labels).await.map_err(refuse)?;
        Ok(Response::new(wire::ViewSnapshotResponse { mounts: mounts_to_wire(mounts) }))
    }

    async fn mounts(
        &self,
        request: Request<wire::MountsRequest>,
    ) -> Result<Response<wire::MountsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let mounts = self
            .snapshotter(&request.snapshotter)?
            .mounts(&caller.namespace, &request.key)
            .map_err(refuse)?;
        Ok(Response::new(wire::MountsResponse { mounts: mounts_to_wire(mounts) }))
    }

    async fn commit(&self, request: Request<wire::CommitSnapshotRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let wire::CommitSnapshotRequest { snapshotter, name, key, labels, parent } = request.into_inner();
        let room = self.snapshotter(&snapshotter)?;
        if !parent.is_empty() && room.stat(&caller.namespace, &key).map_err(refuse)?.parent != parent {
            let message =
                format!("snapshotter {snapshotter} cannot move snapshot {key:?} onto {parent:?} at commit");
            return Err(refuse(Error::unimplemented(message)));
        }
        self.hold(&caller, &snapshotter, &name).await?;
        room.commit(&caller.namespace, &name, &key, labels).await.map_err(refuse)?;
        caller.release(&self.leases, kind(&snapshotter), key).await.map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn remove(&self, request: Request<wire::RemoveSnapshotRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let wire::RemoveSnapshotRequest { snapshotter, key } = request.into_inner();
        self.snapshotter(&snapshotter)?.remove(&caller.namespace, &key).await.map_err(refuse)?;
        caller.release(&self.leases, kind(&snapshotter), key).await.map_err(refuse)?;
        self.collector.schedule();
        Ok(Response::new(()))
    }

    async fn stat(
        &self,
        request: Request<wire::StatSnapshotRequest>,
    ) -> Result<Response<wire::StatSnapshotResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let info =
            self.snapshotter(&request.snapshotter)?.stat(&caller.namespace, &request.key).map_err(refuse)?;
        Ok(Response::new(wire::StatSnapshotResponse { info: Some(to_wire(info)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateSnapshotRequest>,
    ) -> Result<Response<wire::UpdateSnapshotResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let room = self.snapshotter(&request.snapshotter)?;
        let info = required(request.info, "info")?;
        let mask = mask_paths(request.update_mask);
        let info = room.update(&caller.namespace, &info.name, info.labels, &mask).await.map_err(refuse)?;
        Ok(Response::new(wire::UpdateSnapshotResponse { info: Some(to_wire(info)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListSnapshotsRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let room = self.snapshotter(&request.snapshotter)?;
        let all = room.list(&caller.namespace, &request.filters).map_err(refuse)?;
        let batches = stream::iter(all.into_iter().map(to_wire))
            .chunks(BATCH)
            .map(|info| Ok(wire::ListSnapshotsResponse { info }));
        Ok(Response::new(batches.boxed()))
    }

    async fn usage(
        &self,
        request: Request<wire::UsageRequest>,
    ) -> Result<Response<wire::UsageResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let room = self.snapshotter(&request.snapshotter)?;
        let usage = room.usage(&caller.namespace, &request.key).await.map_err(refuse)?;
        Ok(Response::new(wire::UsageResponse { size: usage.size, inodes: usage.inodes }))
    }

    async fn cleanup(&self, request: Request<wire::CleanupRequest>) -> Result<Response<()>, Status> {
        Caller::of(&request)?;
        self.snapshotter(&request.into_inner().snapshotter)?.cleanup().await.map_err(refuse)?;
        Ok(Response::new(()))
    }
}

/// The kind under which a lease holds a snapshot.
fn kind(snapshotter: &str) -> String {
    format!("snapshots/{snapshotter}")
}

fn to_wire(info: Info) -> wire::Info {
    let kind = match info.kind {
        Kind::View => wire::Kind::View,
        Kind::Active => wire::Kind::Active,
        Kind::Committed => wire::Kind::Committed,
    };
    wire::Info {
        name: info.name,
        parent: info.parent,
        kind: kind.into(),
        created_at: timestamp(info.created_at),
        updated_at: timestamp(info.updated_at),
        labels: info.labels,
    }
}
