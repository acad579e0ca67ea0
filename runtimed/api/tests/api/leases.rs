//! Leases.

use proto_containerd::services::leases::leases_client::LeasesClient;
use proto_containerd::services::leases::*;
use tonic::Code;

use crate::daemon::{Daemon, asked};

#[tokio::test]
async fn lease_lives_and_ends() {
    let daemon = Daemon::start().await;
    let mut leases = LeasesClient::new(daemon.channel.clone());
    let labels = [("k".to_owned(), "v".to_owned())].into();
    let made = leases.create(asked(CreateRequest { id: String::new(), labels })).await.unwrap();
    let id = made.into_inner().lease.unwrap().id;
    assert!(!id.is_empty());
    let again = CreateRequest { id: id.clone(), ..Default::default() };
    assert_eq!(leases.create(asked(again)).await.unwrap_err().code(), Code::AlreadyExists);
    let request = ListRequest { filters: vec!["labels.k==v".into()] };
    assert_eq!(leases.list(asked(request)).await.unwrap().into_inner().leases.len(), 1);

    let resource = Resource { id: "key".into(), r#type: "snapshots/overlayfs".into() };
    let add = AddResourceRequest { id: id.clone(), resource: Some(resource.clone()) };
    leases.add_resource(asked(add)).await.unwrap();
    let listed =
        leases.list_resources(asked(ListResourcesRequest { id: id.clone() })).await.unwrap().into_inner();
    assert_eq!(listed.resources, std::slice::from_ref(&resource));
    let delete = DeleteResourceRequest { id: id.clone(), resource: Some(resource) };
    leases.delete_resource(asked(delete)).await.unwrap();
    let listed =
        leases.list_resources(asked(ListResourcesRequest { id: id.clone() })).await.unwrap().into_inner();
    assert!(listed.resources.is_empty());

    leases.delete(asked(DeleteRequest { id: id.clone(), sync: true })).await.unwrap();
    let status = leases.delete(asked(DeleteRequest { id, sync: false })).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}
