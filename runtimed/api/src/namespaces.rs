//! `containerd.services.namespaces.v1.Namespaces`.

use filters::{Fields, Filters};
use ids::Namespace;
use namespace::{Info, Namespaces};
use proto_containerd::services::namespaces as wire;
use tonic::{Request, Response, Status};

use crate::convert::mask_paths;
use crate::status::{refuse, required};

pub(crate) struct NamespacesService(pub(crate) Namespaces);

/// What a filter can ask of a namespace.
struct Filtered<'a>(&'a Info);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["name"] => Some(self.0.name.to_string()),
            ["labels", key @ ..] => self.0.labels.get(&key.join(".")).cloned(),
            _ => None,
        }
    }
}

#[tonic::async_trait]
impl wire::namespaces_server::Namespaces for NamespacesService {
    async fn get(
        &self,
        request: Request<wire::GetNamespaceRequest>,
    ) -> Result<Response<wire::GetNamespaceResponse>, Status> {
        let name = Namespace::parse(&request.into_inner().name).map_err(refuse)?;
        let info = self.0.get(&name).map_err(refuse)?;
        Ok(Response::new(wire::GetNamespaceResponse { namespace: Some(to_wire(info)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListNamespacesRequest>,
    ) -> Result<Response<wire::ListNamespacesResponse>, Status> {
        let filter = request.into_inner().filter;
        let texts = if filter.is_empty() { vec![] } else { vec![filter] };
        let filters = Filters::parse(&texts).map_err(refuse)?;
        let all = self.0.list().map_err(refuse)?;
        let namespaces =
            all.into_iter().filter(|info| filters.matches(&Filtered(info))).map(to_wire).collect();
        Ok(Response::new(wire::ListNamespacesResponse { namespaces }))
    }

    async fn create(
        &self,
        request: Request<wire::CreateNamespaceRequest>,
    ) -> Result<Response<wire::CreateNamespaceResponse>, Status> {
        let info = from_wire(request.into_inner().namespace)?;
        let info = self.0.create(info).await.map_err(refuse)?;
        Ok(Response::new(wire::CreateNamespaceResponse { namespace: Some(to_wire(info)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateNamespaceRequest>,
    ) -> Result<Response<wire::UpdateNamespaceResponse>, Status> {
        let request = request.into_inner();
        let info = from_wire(request.namespace)?;
        let info = self.0.update(info, &mask_paths(request.update_mask)).await.map_err(refuse)?;
        Ok(Response::new(wire::UpdateNamespaceResponse { namespace: Some(to_wire(info)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteNamespaceRequest>) -> Result<Response<()>, Status> {
        let name = Namespace::parse(&request.into_inner().name).map_err(refuse)?;
        self.0.delete(&name).await.map_err(refuse)?;
        Ok(Response::new(()))
    }
}

fn from_wire(namespace: Option<wire::Namespace>) -> Result<Info, Status> {
    let namespace = required(namespace, "namespace")?;
    let name = Namespace::parse(&namespace.name).map_err(refuse)?;
    Ok(Info { name, labels: namespace.labels })
}

fn to_wire(info: Info) -> wire::Namespace {
    wire::Namespace { name: info.name.to_string(), labels: info.labels }
}
