//! Namespaces.

use proto_containerd::services::images::images_client::ImagesClient;
use proto_containerd::services::images::{CreateImageRequest, Image};
use proto_containerd::services::namespaces::namespaces_client::NamespacesClient;
use proto_containerd::services::namespaces::*;
use proto_containerd::types::Descriptor;
use tonic::{Code, Request};

use crate::daemon::{Daemon, NAMESPACE, asked};

fn namespace(name: &str, labels: &[(&str, &str)]) -> Option<Namespace> {
    let labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Some(Namespace { name: name.into(), labels })
}

#[tokio::test]
async fn namespace_has_labels() {
    let daemon = Daemon::start().await;
    let mut namespaces = NamespacesClient::new(daemon.channel.clone());
    let create = CreateNamespaceRequest { namespace: namespace("a", &[("k", "v")]) };
    namespaces.create(Request::new(create.clone())).await.unwrap();
    assert_eq!(namespaces.create(Request::new(create)).await.unwrap_err().code(), Code::AlreadyExists);

    let mask = Some(prost_types::FieldMask { paths: vec!["labels.k".into()] });
    let update = UpdateNamespaceRequest { namespace: namespace("a", &[("k", "")]), update_mask: mask };
    namespaces.update(Request::new(update)).await.unwrap();
    let got =
        namespaces.get(Request::new(GetNamespaceRequest { name: "a".into() })).await.unwrap().into_inner();
    assert_eq!(got.namespace, namespace("a", &[]));

    namespaces.delete(Request::new(DeleteNamespaceRequest { name: "a".into() })).await.unwrap();
    let status =
        namespaces.delete(Request::new(DeleteNamespaceRequest { name: "a".into() })).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn namespace_that_nobody_made_has_no_labels() {
    let daemon = Daemon::start().await;
    let mut namespaces = NamespacesClient::new(daemon.channel.clone());
    let got =
        namespaces.get(Request::new(GetNamespaceRequest { name: "b".into() })).await.unwrap().into_inner();
    assert_eq!(got.namespace, namespace("b", &[]));
}

#[tokio::test]
async fn namespace_in_use_is_listed_and_stays() {
    let daemon = Daemon::start().await;
    let target = Descriptor {
        media_type: "application/vnd.oci.image.index.v1+json".into(),
        digest: format!("sha256:{}", "1".repeat(64)),
        size: 7,
        ..Default::default()
    };
    let image = Image { name: "i".into(), target: Some(target), ..Default::default() };
    let create = CreateImageRequest { image: Some(image), ..Default::default() };
    ImagesClient::new(daemon.channel.clone()).create(asked(create)).await.unwrap();

    let mut namespaces = NamespacesClient::new(daemon.channel.clone());
    let listed = namespaces.list(Request::new(ListNamespacesRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.namespaces.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), [NAMESPACE]);
    let status =
        namespaces.delete(Request::new(DeleteNamespaceRequest { name: NAMESPACE.into() })).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("must be empty"), "{status}");
}
