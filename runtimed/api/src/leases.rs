//! `containerd.services.leases.v1.Leases`.

use errors::{Error, Result};
use flows::Rooms;
use gc::Collector;
use ids::Digest;
use lease::{Lease, Leases, Resource};
use proto_containerd::services::leases as wire;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::convert::timestamp;
use crate::status::{refuse, required};

pub(crate) struct LeasesService {
    leases: Leases,
    collector: Collector,
}

impl LeasesService {
    pub(crate) fn new(rooms: &Rooms) -> LeasesService {
        LeasesService { leases: rooms.leases.clone(), collector: rooms.collector.clone() }
    }
}

#[tonic::async_trait]
impl wire::leases_server::Leases for LeasesService {
    async fn create(
        &self,
        request: Request<wire::CreateRequest>,
    ) -> Result<Response<wire::CreateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = if request.id.is_empty() { uuid::Uuid::new_v4().to_string() } else { request.id };
        let lease = self.leases.create(&caller.namespace, &id, request.labels).await.map_err(refuse)?;
        Ok(Response::new(wire::CreateResponse { lease: Some(to_wire(lease)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        self.leases.delete(&caller.namespace, &request.id).await.map_err(refuse)?;
        if request.sync {
            self.collector.collect().await.map_err(refuse)?;
        } else {
            self.collector.schedule();
        }
        Ok(Response::new(()))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let caller = Caller::of(&request)?;
        let leases = self.leases.list(&caller.namespace, &request.into_inner().filters).map_err(refuse)?;
        Ok(Response::new(wire::ListResponse { leases: leases.into_iter().map(to_wire).collect() }))
    }

    async fn add_resource(&self, request: Request<wire::AddResourceRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let resource = resource_from_wire(required(request.resource, "resource")?).map_err(refuse)?;
        self.leases.add(&caller.namespace, &request.id, resource).await.map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn delete_resource(
        &self,
        request: Request<wire::DeleteResourceRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let resource = resource_from_wire(required(request.resource, "resource")?).map_err(refuse)?;
        self.leases.remove(&caller.namespace, &request.id, resource).await.map_err(refuse)?;
        self.collector.schedule();
        Ok(Response::new(()))
    }

    async fn list_resources(
        &self,
        request: Request<wire::ListResourcesRequest>,
    ) -> Result<Response<wire::ListResourcesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let resources = self.leases.resources(&caller.namespace, &request.into_inner().id).map_err(refuse)?;
        let resources =
            resources.into_iter().map(|held| wire::Resource { id: held.id, r#type: held.kind }).collect();
        Ok(Response::new(wire::ListResourcesResponse { resources }))
    }
}

/// Checks that the resource is of a kind that leases can hold.
fn resource_from_wire(resource: wire::Resource) -> Result<Resource> {
    let wire::Resource { id, r#type: kind } = resource;
    match kind.split('/').collect::<Vec<_>>()[..] {
        ["content"] => {
            Digest::parse(&id).map_err(|error| {
                Error::with_source(error.kind(), format!("invalid content resource id {id}"), error)
            })?;
        }
        ["ingests"] | ["images"] | ["snapshots", _] => {}
        ["content" | "ingests" | "images", ..] => {
            return Err(Error::invalid(format!("invalid resource type {kind}")));
        }
        ["snapshots", ..] => return Err(Error::invalid(format!("invalid snapshot resource type {kind}"))),
        _ => return Err(Error::unimplemented(format!("resource type {kind} not supported yet"))),
    }
    Ok(Resource { kind, id })
}

fn to_wire(lease: Lease) -> wire::Lease {
    wire::Lease { id: lease.id, created_at: timestamp(lease.created_at), labels: lease.labels }
}

#[cfg(test)]
mod tests {
    use errors::Kind;

    use super::*;

    fn checked(kind: &str, id: &str) -> Result<Resource> {
        resource_from_wire(wire::Resource { id: id.into(), r#type: kind.into() })
    }

    #[test]
    fn resources_are_of_four_kinds() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (kind, id) in
            [("content", digest.as_str()), ("ingests", "r"), ("images", "i"), ("snapshots/overlayfs", "k")]
        {
            assert_eq!(checked(kind, id).unwrap(), Resource { kind: kind.into(), id: id.into() });
        }
    }

    #[test]
    fn other_resources_are_refused() {
        for (kind, id, expected) in [
            ("content", "x", Kind::InvalidArgument),
            ("content/x", "x", Kind::InvalidArgument),
            ("snapshots", "k", Kind::InvalidArgument),
            ("snapshots/a/b", "k", Kind::InvalidArgument),
            ("mounts", "m", Kind::Unimplemented),
        ] {
            assert_eq!(checked(kind, id).unwrap_err().kind(), expected, "{kind}");
        }
    }
}
