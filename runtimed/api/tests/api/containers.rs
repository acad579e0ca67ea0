//! Container records.

use prost_types::{Any, FieldMask};
use proto_containerd::services::containers::containers_client::ContainersClient;
use proto_containerd::services::containers::*;
use tonic::Code;
use tonic::transport::Channel;

use crate::daemon::{Daemon, asked};

pub fn client(daemon: &Daemon) -> ContainersClient<Channel> {
    ContainersClient::new(daemon.channel.clone())
}

pub fn container(id: &str) -> Container {
    let spec = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
        value: br#"{"ociVersion":"1.0.2","unknown":[1]}"#.to_vec(),
    };
    Container {
        id: id.into(),
        image: "img".into(),
        runtime: Some(container::Runtime { name: "io.containerd.runc.v2".into(), options: None }),
        spec: Some(spec.clone()),
        extensions: [("x".to_owned(), spec)].into(),
        ..Default::default()
    }
}

pub async fn create(daemon: &Daemon, container: Container) -> Result<Container, tonic::Status> {
    let request = CreateContainerRequest { container: Some(container) };
    Ok(client(daemon).create(asked(request)).await?.into_inner().container.unwrap())
}

#[tokio::test]
async fn record_comes_back_as_it_was() {
    let daemon = Daemon::start().await;
    let made = create(&daemon, container("c1")).await.unwrap();
    let got = client(&daemon).get(asked(GetContainerRequest { id: "c1".into() })).await.unwrap().into_inner();
    assert_eq!(got.container.as_ref(), Some(&made));
    let expected = Container { created_at: made.created_at, updated_at: made.updated_at, ..container("c1") };
    assert_eq!(made, expected);
    assert_eq!(create(&daemon, container("c1")).await.unwrap_err().code(), Code::AlreadyExists);
}

#[tokio::test]
async fn records_are_listed_at_once_and_one_by_one() {
    let daemon = Daemon::start().await;
    for id in ["c1", "c2", "c3"] {
        create(&daemon, container(id)).await.unwrap();
    }
    let request = ListContainersRequest { filters: vec!["id==c1".into(), "id==c3".into()] };
    let listed = client(&daemon).list(asked(request.clone())).await.unwrap().into_inner().containers;
    assert_eq!(listed.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["c1", "c3"]);
    let mut stream = client(&daemon).list_stream(asked(request)).await.unwrap().into_inner();
    for expected in listed {
        assert_eq!(stream.message().await.unwrap().unwrap().container, Some(expected));
    }
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test]
async fn record_is_updated_by_mask() {
    let daemon = Daemon::start().await;
    create(&daemon, container("c1")).await.unwrap();
    let changed = Container {
        image: "other".into(),
        labels: [("k".to_owned(), "v".to_owned())].into(),
        ..container("c1")
    };
    let mask = FieldMask { paths: vec!["labels".into()] };
    let request = UpdateContainerRequest { container: Some(changed), update_mask: Some(mask) };
    let updated = client(&daemon).update(asked(request)).await.unwrap().into_inner().container.unwrap();
    assert_eq!((updated.labels["k"].as_str(), updated.image.as_str()), ("v", "img"));
}

#[tokio::test]
async fn bad_ids_and_absent_records_are_told() {
    let daemon = Daemon::start().await;
    let status = create(&daemon, container("../x")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("\"../x\""), "{status}");
    let status = client(&daemon).get(asked(GetContainerRequest { id: "c".into() })).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("container \"c\" in namespace \"test\": not found"), "{status}");
    let status = client(&daemon).delete(asked(DeleteContainerRequest { id: "c".into() })).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}
