//! Names and labels of all that has some beside containers and namespaces: execs, tasks, leases, snapshots, ingests, images.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use client::Client;
use harness::Scene;
use prost_types::Any;
use proto_containerd::services::containers::Container;
use proto_containerd::services::content::{
    ListContentRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use proto_containerd::services::images::{CreateImageRequest, Image, ListImagesRequest};
use proto_containerd::services::namespaces::{CreateNamespaceRequest, Namespace};
use proto_containerd::services::snapshots::{
    ListSnapshotsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
};
use proto_containerd::services::tasks::{CreateTaskRequest, ExecProcessRequest};
use proto_containerd::services::{containers, leases};
use proto_containerd::types::Descriptor;
use tonic::{Code, Status};

use crate::calls::names;
use crate::{bundles, connect, is_well, refused};

#[tokio::test]
async fn execs_and_tasks_have_names_that_are_some() -> Result<()> {
    let scene = e2e::scene()?;
    let client = connect(&scene).await?;
    scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "100000"])?;
    let id = scene.ok(&["inspect", "--format", "{{.Id}}", "box"])?.trim().to_owned();
    let process = br#"{"args":["/bin/true"],"cwd":"/","user":{"uid":0,"gid":0}}"#.to_vec();
    let spec =
        Any { type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(), value: process };
    let before = bundles(&scene);
    for name in names() {
        let exec = ExecProcessRequest {
            container_id: id.clone(),
            exec_id: name.clone(),
            spec: Some(spec.clone()),
            ..ExecProcessRequest::default()
        };
        let status = refused(client.tasks().exec(exec).await, &["identifier", "exec id"])?;
        ensure!(status.code() == Code::InvalidArgument, "{name:?}: {status:?}");
        let task = CreateTaskRequest { container_id: name.clone(), ..CreateTaskRequest::default() };
        refused(client.tasks().create(task).await, &["identifier", "id", "not found"])?;
    }
    for name in ["../x", "a/b", "a b", "\u{1b}[2J", "\u{202e}x", &"y".repeat(10_000)] {
        let said = scene.rctl(&["create", "--name", name, "busybox", "true"])?;
        ensure!(said.code == 1 && said.stderr.contains("Invalid container name"), "{name:?}: {said:?}");
        ensure!(said.stderr.len() < 4096, "{} bytes of error", said.stderr.len());
    }
    ensure!(bundles(&scene) == before, "{:?}", bundles(&scene));
    ensure!(scene.ok(&["ps", "--all", "--quiet"])?.lines().count() == 1);
    ensure!(scene.ok(&["exec", "box", "echo", "here"])? == "here\n");
    scene.ok(&["rm", "--force", "box"])?;
    is_well(&scene)?;
    scene.finish()
}

/// What a write of content that begins with this message is answered.
async fn first_answer(
    client: &Client,
    message: WriteContentRequest,
) -> Result<Option<WriteContentResponse>, Status> {
    client.content().write(tokio_stream::iter([message])).await?.into_inner().message().await
}

/// Whatever may be a key is one, however it looks, and no more than that: no path comes of it. What is too long is refused.
#[tokio::test]
async fn keys_lead_nowhere_and_have_a_limit() -> Result<()> {
    let scene = Scene::start()?;
    let client = connect(&scene).await?;
    let snapshotter = || "overlayfs".to_owned();
    // Held, or the next collection takes it.
    let labels = || BTreeMap::from([("containerd.io/gc.root".to_owned(), "now".to_owned())]);
    let prepare = |key: &str| PrepareSnapshotRequest {
        snapshotter: snapshotter(),
        key: key.into(),
        labels: labels(),
        ..Default::default()
    };
    let stat = |reference: &str| WriteContentRequest {
        action: WriteAction::Stat.into(),
        r#ref: reference.into(),
        ..WriteContentRequest::default()
    };
    let long = "k".repeat(10_000);
    refused(client.snapshots().prepare(prepare(&long)).await, &["longer than"])?;
    let lease = leases::CreateRequest { id: long.clone(), labels: BTreeMap::new() };
    refused(client.leases().create(lease).await, &["longer than"])?;
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        digest: format!("sha256:{}", "a".repeat(64)),
        size: 1,
        ..Descriptor::default()
    };
    let image = Image { name: long.clone(), target: Some(target), ..Image::default() };
    let create = CreateImageRequest { image: Some(image), ..CreateImageRequest::default() };
    refused(client.images().create(create).await, &["4096 bytes"])?;
    refused(first_answer(&client, stat(&long)).await, &["longer than"])?;
    for key in ["../../../../escaped", "/escaped", "a/../../escaped", "\0escaped", "\u{1b}[2Jescaped"] {
        client.snapshots().prepare(prepare(key)).await?;
        first_answer(&client, stat(key)).await?;
        ensure!(scene.ok(&["snapshots", "ls"])?.contains("escaped"), "{key:?}");
        let remove = RemoveSnapshotRequest { snapshotter: snapshotter(), key: key.into() };
        client.snapshots().remove(remove).await?;
        scene.rctl(&["content", "abort", key.trim_start_matches('\0')])?;
    }
    let mut find = std::process::Command::new("find");
    let found = harness::sh::read(find.arg(scene.root()).args(["-name", "*escaped*"]))?;
    ensure!(found.is_empty(), "{found}");
    let listed = client.leases().list(leases::ListRequest::default()).await?.into_inner().leases;
    ensure!(listed.is_empty(), "{listed:?}");
    ensure!(client.images().list(ListImagesRequest::default()).await?.into_inner().images.is_empty());
    let list = ListSnapshotsRequest { snapshotter: snapshotter(), filters: vec![] };
    let mut snapshots = client.snapshots().list(list).await?.into_inner();
    while let Some(part) = snapshots.message().await? {
        ensure!(part.info.is_empty(), "{part:?}");
    }
    is_well(&scene)?;
    scene.finish()
}

#[tokio::test]
async fn labels_of_everything_have_a_limit() -> Result<()> {
    let scene = Scene::start()?;
    let client = connect(&scene).await?;
    let labels = || BTreeMap::from([("much".to_owned(), "v".repeat(4096))]);
    let invalid = |status: Status| {
        ensure!(status.code() == Code::InvalidArgument, "{status:?}");
        Ok(())
    };
    let lease = leases::CreateRequest { id: "held".into(), labels: labels() };
    invalid(refused(client.leases().create(lease).await, &["much"])?)?;
    let namespace = Namespace { name: "other".into(), labels: labels() };
    let create = CreateNamespaceRequest { namespace: Some(namespace) };
    invalid(refused(client.namespaces().create(create).await, &["much"])?)?;
    let prepare = PrepareSnapshotRequest {
        snapshotter: "overlayfs".into(),
        key: "one".into(),
        labels: labels(),
        ..Default::default()
    };
    invalid(refused(client.snapshots().prepare(prepare).await, &["much"])?)?;
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        digest: format!("sha256:{}", "a".repeat(64)),
        size: 1,
        ..Descriptor::default()
    };
    let image = Image { name: "one".into(), labels: labels(), target: Some(target), ..Image::default() };
    let create = CreateImageRequest { image: Some(image), ..CreateImageRequest::default() };
    invalid(refused(client.images().create(create).await, &["much"])?)?;
    let commit = WriteContentRequest {
        action: WriteAction::Commit.into(),
        r#ref: "one".into(),
        total: 1,
        data: b"x".to_vec().into(),
        labels: labels(),
        ..WriteContentRequest::default()
    };
    invalid(refused(first_answer(&client, commit).await, &["much"])?)?;
    let mut blobs = client.content().list(ListContentRequest::default()).await?.into_inner();
    ensure!(blobs.message().await?.is_none(), "a blob was made");
    let container = Container { id: "one".into(), labels: labels(), ..Container::default() };
    let create = containers::CreateContainerRequest { container: Some(container) };
    invalid(refused(client.containers().create(create).await, &["much"])?)?;
    ensure!(scene.ok(&["leases", "ls", "-q"])?.is_empty() && scene.ok(&["images", "-q"])?.is_empty());
    is_well(&scene)?;
    scene.finish()
}
