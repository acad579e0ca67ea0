//! Calls that are well-formed and mean harm.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use client::{Client, Transport};
use harness::Scene;
use prost_types::Any;
use proto_containerd::services::containers::container::Runtime;
use proto_containerd::services::containers::containers_client::ContainersClient;
use proto_containerd::services::containers::{
    Container, CreateContainerRequest, DeleteContainerRequest, GetContainerRequest, ListContainersRequest,
};
use proto_containerd::services::events::{PublishRequest, SubscribeRequest};
use proto_containerd::services::namespaces::{CreateNamespaceRequest, ListNamespacesRequest, Namespace};
use proto_containerd::services::tasks::CreateTaskRequest;
use tonic::{Code, Request};

use crate::{bundles, connect, is_well, refused};

fn container(id: &str, spec: Vec<u8>) -> CreateContainerRequest {
    let spec = Any { type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(), value: spec };
    let runtime = Runtime { name: "io.containerd.runc.v2".into(), options: None };
    let container =
        Container { id: id.into(), runtime: Some(runtime), spec: Some(spec), ..Container::default() };
    CreateContainerRequest { container: Some(container) }
}

/// One that sends what the daemon does not take.
fn unbounded(client: &Client) -> ContainersClient<Transport> {
    client.containers().max_encoding_message_size(64 << 20)
}

pub fn names() -> Vec<String> {
    let odd = [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/abs",
        "a\0b",
        "\u{fc}ber",
        "a b",
        "-a",
        "a-",
        "a..b",
        "\u{1b}[2J",
        "\u{202e}x",
    ];
    odd.map(str::to_owned).into_iter().chain(["x".repeat(77), "y".repeat(10_000)]).collect()
}

#[tokio::test]
async fn names_that_are_none_make_nothing() -> Result<()> {
    let scene = Scene::start()?;
    let client = connect(&scene).await?;
    for name in names() {
        let status = refused(
            client.containers().create(container(&name, b"{}".to_vec())).await,
            &["identifier", "id"],
        )?;
        ensure!(status.code() == Code::InvalidArgument, "{name:?}: {status:?}");
        let namespace = Namespace { name: name.clone(), labels: BTreeMap::new() };
        let request = CreateNamespaceRequest { namespace: Some(namespace) };
        let status = refused(client.namespaces().create(request).await, &["identifier", "name"])?;
        ensure!(status.code() == Code::InvalidArgument, "{name:?}: {status:?}");
        let get = GetContainerRequest { id: name.clone() };
        refused(client.containers().get(get).await, &["identifier", "id", "not found"])?;
    }
    ensure!(
        client.containers().list(ListContainersRequest::default()).await?.into_inner().containers.is_empty()
    );
    ensure!(bundles(&scene).is_empty(), "{:?}", bundles(&scene));
    is_well(&scene)?;
    scene.finish()
}

#[tokio::test]
async fn namespaces_in_headers_are_checked_and_asking_makes_none() -> Result<()> {
    let mut scene = Scene::start()?;
    let list =
        |client: Client| async move { client.containers().list(ListContainersRequest::default()).await };
    for name in ["../x", "a/b", "a b", "..", &"x".repeat(10_000)] {
        scene.use_namespace(name);
        let status = refused(list(connect(&scene).await?).await, &["identifier"])?;
        ensure!(status.code() == Code::InvalidArgument, "{name:?}: {status:?}");
    }
    // More headers than a call may have: the connection or the call ends, nothing is kept.
    scene.use_namespace(&"x".repeat(100_000));
    ensure!(list(connect(&scene).await?).await.is_err());
    scene.use_namespace("never-seen");
    let client = connect(&scene).await?;
    ensure!(list(client.clone()).await?.into_inner().containers.is_empty());
    // Nor does anything that finds nothing there, or fails.
    let asked: [&[&str]; 12] = [
        &["ps", "--all"],
        &["images"],
        &["content", "ls"],
        &["content", "active"],
        &["leases", "ls"],
        &["snapshots", "ls"],
        &["tasks", "ls"],
        &["inspect", "nothing"],
        &["rm", "nothing"],
        &["rmi", "nothing"],
        &["kill", "nothing"],
        &["load", "--input", "/proc/version"],
    ];
    for args in asked {
        scene.rctl(args)?;
        let known = client.namespaces().list(ListNamespacesRequest::default()).await?.into_inner().namespaces;
        ensure!(known.iter().all(|namespace| namespace.name != "never-seen"), "{args:?}: {known:?}");
    }
    is_well(&scene)?;
    scene.finish()
}

#[tokio::test]
async fn labels_have_a_limit_each_and_a_message_has_one() -> Result<()> {
    let scene = Scene::start()?;
    let client = connect(&scene).await?;
    let labelled = |id: &str, labels: BTreeMap<String, String>| {
        let mut request = container(id, b"{}".to_vec());
        if let Some(container) = &mut request.container {
            container.labels = labels;
        }
        request
    };
    let long = BTreeMap::from([("much".to_owned(), "v".repeat(4096))]);
    let status = refused(client.containers().create(labelled("c1", long)).await, &["much"])?;
    ensure!(status.code() == Code::InvalidArgument, "{status:?}");
    let huge = (0..5000).map(|n| (format!("k{n}"), "v".repeat(4000))).collect();
    let status =
        refused(unbounded(&client).create(labelled("c2", huge)).await, &["too large", "limit", "message"])?;
    ensure!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    let many: BTreeMap<_, _> = (0..5000).map(|n| (format!("k{n}"), format!("v{n}"))).collect();
    client.containers().create(labelled("c3", many.clone())).await?;
    let got = client.containers().get(GetContainerRequest { id: "c3".into() }).await?.into_inner();
    ensure!(got.container.is_some_and(|container| container.labels == many));
    client.containers().delete(DeleteContainerRequest { id: "c3".into() }).await?;
    ensure!(
        client.containers().list(ListContainersRequest::default()).await?.into_inner().containers.is_empty()
    );
    is_well(&scene)?;
    scene.finish()
}

#[tokio::test]
async fn specs_that_are_none_start_nothing() -> Result<()> {
    let scene = Scene::start()?;
    let client = connect(&scene).await?;
    let deep = [b"{\"a\":".repeat(10_000), b"1".to_vec(), b"}".repeat(10_000)].concat();
    let large =
        format!("{{\"ociVersion\":\"1.2.0\",\"hostname\":\"{}\"}}", "h".repeat(15 << 20)).into_bytes();
    let specs = [
        ("no-json", b"no json".to_vec()),
        ("cut", br#"{"ociVersion":"1.2.0","process":{"args":["#.to_vec()),
        ("deep", deep),
        ("large", large),
        ("zero", vec![0; 1000]),
        ("empty", Vec::new()),
    ];
    for (id, spec) in specs {
        // A spec is opaque to the record (containerd keeps anything): it is refused where it is to be carried out.
        client.containers().create(container(id, spec)).await?;
        let task = CreateTaskRequest { container_id: id.into(), ..CreateTaskRequest::default() };
        refused(client.tasks().create(task).await, &["spec", "config.json", "parse", "process", "root"])?;
        ensure!(bundles(&scene).is_empty(), "{id}: {:?}", bundles(&scene));
        client.containers().delete(DeleteContainerRequest { id: id.into() }).await?;
    }
    let status = refused(
        unbounded(&client).create(container("c", vec![b' '; 17 << 20])).await,
        &["too large", "limit", "message"],
    )?;
    ensure!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    is_well(&scene)?;
    scene.finish()
}

#[tokio::test]
async fn an_any_in_an_any_is_kept_as_it_came() -> Result<()> {
    let scene = Scene::start()?;
    let client = connect(&scene).await?;
    let mut nested = Any::default();
    for _ in 0..2000 {
        nested =
            Any { type_url: "google.protobuf.Any".into(), value: prost::Message::encode_to_vec(&nested) };
    }
    let mut request = container("c1", b"{}".to_vec());
    if let Some(container) = &mut request.container {
        container.extensions.insert("nested".into(), nested.clone());
    }
    client.containers().create(request).await?;
    let got = client.containers().get(GetContainerRequest { id: "c1".into() }).await?.into_inner();
    ensure!(got.container.and_then(|mut container| container.extensions.remove("nested")) == Some(nested));
    client.containers().delete(DeleteContainerRequest { id: "c1".into() }).await?;
    is_well(&scene)?;
    scene.finish()
}

#[tokio::test]
async fn events_that_nobody_takes_are_bounded() -> Result<()> {
    let scene = Scene::start()?;
    let client = connect(&scene).await?;
    // A subscriber that never reads.
    let stalled = client.events().subscribe(SubscribeRequest::default()).await?;
    let event = |size: usize| {
        let event = Any { type_url: "x".into(), value: vec![1; size] };
        Request::new(PublishRequest { topic: "/x/y".into(), event: Some(event) })
    };
    let mut refusals = 0;
    for _ in 0..60 {
        if let Err(status) = client.events().publish(event(8 << 20)).await {
            ensure!(status.code() == Code::ResourceExhausted, "{status:?}");
            refusals += 1;
        }
    }
    ensure!(refusals > 0, "480 MiB of events were kept for a subscriber that does not read");
    client.events().publish(event(100)).await?;
    let topicless = PublishRequest { topic: "no/topic".into(), event: Some(Any::default()) };
    refused(client.events().publish(topicless).await, &["no/topic"])?;
    is_well(&scene)?;
    drop(stalled);
    scene.finish()
}
