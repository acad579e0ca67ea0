//! `containerd.services.containers.v1.Containers`.

use std::time::SystemTime;

use container::{Container, Containers};
use flows::Rooms;
use futures::stream::{self, BoxStream, StreamExt};
use gc::Collector;
use ids::ContainerId;
use proto_containerd::services::containers as wire;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::convert::{mask_paths, timestamp};
use crate::status::{refuse, required};

pub(crate) struct ContainersService {
    containers: Containers,
    collector: Collector,
}

impl ContainersService {
    pub(crate) fn new(rooms: &Rooms) -> ContainersService {
        ContainersService { containers: rooms.containers.clone(), collector: rooms.collector.clone() }
    }

    fn listed(&self, request: Request<wire::ListContainersRequest>) -> Result<Vec<wire::Container>, Status> {
        let caller = Caller::of(&request)?;
        let all = self.containers.list(&caller.namespace, &request.into_inner().filters).map_err(refuse)?;
        Ok(all.into_iter().map(to_wire).collect())
    }
}

#[tonic::async_trait]
impl wire::containers_server::Containers for ContainersService {
    type ListStreamStream = BoxStream<'static, Result<wire::ListContainerMessage, Status>>;

    async fn get(
        &self,
        request: Request<wire::GetContainerRequest>,
    ) -> Result<Response<wire::GetContainerResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = ContainerId::parse(&request.into_inner().id).map_err(refuse)?;
        let container = self.containers.get(&caller.namespace, &id).map_err(refuse)?;
        Ok(Response::new(wire::GetContainerResponse { container: Some(to_wire(container)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Result<Response<wire::ListContainersResponse>, Status> {
        Ok(Response::new(wire::ListContainersResponse { containers: self.listed(request)? }))
    }

    async fn list_stream(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Result<Response<Self::ListStreamStream>, Status> {
        let containers = self.listed(request)?;
        let messages = stream::iter(containers)
            .map(|container| Ok(wire::ListContainerMessage { container: Some(container) }));
        Ok(Response::new(messages.boxed()))
    }

    async fn create(
        &self,
        request: Request<wire::CreateContainerRequest>,
    ) -> Result<Response<wire::CreateContainerResponse>, Status> {
        let caller = Caller::of(&request)?;
        let container = from_wire(request.into_inner().container)?;
        let container = self.containers.create(&caller.namespace, container).await.map_err(refuse)?;
        Ok(Response::new(wire::CreateContainerResponse { container: Some(to_wire(container)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateContainerRequest>,
    ) -> Result<Response<wire::UpdateContainerResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let container = from_wire(request.container)?;
        let mask = mask_paths(request.update_mask);
        let container = self.containers.update(&caller.namespace, container, &mask).await.map_err(refuse)?;
        Ok(Response::new(wire::UpdateContainerResponse { container: Some(to_wire(container)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteContainerRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let id = ContainerId::parse(&request.into_inner().id).map_err(refuse)?;
        self.containers.delete(&caller.namespace, &id).await.map_err(refuse)?;
        self.collector.schedule();
        Ok(Response::new(()))
    }
}

fn from_wire(container: Option<wire::Container>) -> Result<Container, Status> {
    let container = required(container, "container")?;
    let runtime = container.runtime.unwrap_or_default();
    // The room assigns both times.
    let now = SystemTime::now();
    Ok(Container {
        id: ContainerId::parse(&container.id).map_err(refuse)?,
        labels: container.labels,
        image: container.image,
        runtime: runtime.name,
        runtime_options: runtime.options,
        spec: container.spec,
        snapshotter: container.snapshotter,
        snapshot_key: container.snapshot_key,
        created_at: now,
        updated_at: now,
        extensions: container.extensions,
        sandbox: container.sandbox,
    })
}

fn to_wire(container: Container) -> wire::Container {
    wire::Container {
        id: container.id.to_string(),
        labels: container.labels,
        image: container.image,
        runtime: Some(wire::container::Runtime {
            name: container.runtime,
            options: container.runtime_options,
        }),
        spec: container.spec,
        snapshotter: container.snapshotter,
        snapshot_key: container.snapshot_key,
        created_at: timestamp(container.created_at),
        updated_at: timestamp(container.updated_at),
        extensions: container.extensions,
        sandbox: container.sandbox,
    }
}
