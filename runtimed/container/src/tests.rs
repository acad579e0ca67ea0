//! Records as containerd's clients expect them.

use std::time::SystemTime;

use errors::Kind;
use events::Bus;
use filters::Filters;
use ids::{ContainerId, Namespace};
use metadata::Store;
use prost_types::Any;

use crate::{Container, Containers};

struct World {
    directory: tempfile::TempDir,
    containers: Containers,
    events: events::Subscription,
    namespace: Namespace,
}

fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::new();
    let events = bus.subscribe(Filters::default());
    let containers = Containers::new(Store::open(directory.path()).unwrap(), bus);
    World { directory, containers, events, namespace: Namespace::parse("default").unwrap() }
}

fn any(type_url: &str, value: &[u8]) -> Any {
    Any { type_url: type_url.to_owned(), value: value.to_vec() }
}

fn container(id: &str) -> Container {
    Container {
        id: ContainerId::parse(id).unwrap(),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        image: "busybox".to_owned(),
        runtime: "io.containerd.runc.v2".to_owned(),
        runtime_options: Some(any("containerd.runc.v1.Options", &[1])),
        spec: Some(any("types.containerd.io/opencontainers/runtime-spec/1/Spec", b"{\"x\":1}")),
        snapshotter: "overlayfs".to_owned(),
        snapshot_key: id.to_owned(),
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
        extensions: [("e".to_owned(), any("t", &[0, 255]))].into(),
        sandbox: "s".to_owned(),
    }
}

#[tokio::test]
async fn records_survive_a_restart_whole() {
    let world = world();
    let created = world.containers.create(&world.namespace, container("c")).await.unwrap();
    assert!(created.created_at > SystemTime::UNIX_EPOCH && created.created_at == created.updated_at);
    drop(world.containers);
    let store = Store::open(world.directory.path()).unwrap();
    assert_eq!(store.read().holders("default").unwrap(), ["containers"]);
    let containers = Containers::new(store, Bus::new());
    assert_eq!(containers.get(&world.namespace, &created.id).unwrap(), created);
}

#[tokio::test]
async fn taken_and_unknown_ids_are_told() {
    let World { containers, namespace, .. } = world();
    containers.create(&namespace, container("c")).await.unwrap();
    let error = containers.create(&namespace, container("c")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.chain()),
        (Kind::AlreadyExists, "container \"c\": already exists".to_owned())
    );
    let other = Namespace::parse("other").unwrap();
    containers.create(&other, container("c")).await.unwrap();

    let unknown = ContainerId::parse("x").unwrap();
    let words = "container \"x\" in namespace \"default\": not found";
    for error in [
        containers.get(&namespace, &unknown).unwrap_err(),
        containers.delete(&namespace, &unknown).await.unwrap_err(),
        containers.update(&namespace, container("x"), &[]).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.chain().as_str()), (Kind::NotFound, words));
    }
}

#[tokio::test]
async fn bad_records_are_refused() {
    let World { containers, namespace, .. } = world();
    let bad = |change: fn(&mut Container)| {
        let mut bad = container("bad");
        change(&mut bad);
        bad
    };
    for (bad, words) in [
        (bad(|c| c.runtime.clear()), "container.Runtime.Name must be set"),
        (bad(|c| c.spec = None), "container.Spec must be set"),
        (bad(|c| c.snapshotter.clear()), "container.Snapshotter must be set"),
        (bad(|c| drop(c.extensions.insert(String::new(), Any::default()))), "container.Extension keys"),
        (bad(|c| drop(c.labels.insert("k".repeat(64), "v".repeat(4096)))), "containers.Labels"),
    ] {
        let error = containers.create(&namespace, bad).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.chain().starts_with("create container failed validation: "), "{}", error.chain());
        assert!(error.chain().contains(words), "{}", error.chain());
    }
    assert_eq!(containers.list(&namespace, &[]).unwrap(), []);
}

async fn update(world: &World, change: fn(&mut Container), mask: &[&str]) -> errors::Result<Container> {
    let mut wanted = container("c");
    change(&mut wanted);
    let mask: Vec<String> = mask.iter().map(|path| (*path).to_owned()).collect();
    world.containers.update(&world.namespace, wanted, &mask).await
}

#[tokio::test]
async fn masks_name_what_changes() {
    let world = world();
    let created = world.containers.create(&world.namespace, container("c")).await.unwrap();
    let change: fn(&mut Container) = |c| {
        c.labels = [("n".to_owned(), "m".to_owned())].into();
        c.image = "other".to_owned();
        c.extensions = [("f".to_owned(), any("u", &[1]))].into();
        c.runtime = "ignored with a mask".to_owned();
    };
    let updated = update(&world, change, &["labels.n", "extensions.f"]).await.unwrap();
    assert_eq!(updated.labels.len(), 2);
    assert_eq!(updated.extensions.len(), 2);
    assert_eq!((&updated.image, &updated.runtime), (&created.image, &created.runtime));
    assert_eq!(updated.created_at, created.created_at);
    assert!(updated.updated_at >= created.updated_at);

    let updated = update(&world, change, &["labels.a", "extensions.e", "image"]).await.unwrap();
    assert_eq!(updated.labels.keys().collect::<Vec<_>>(), ["n"]);
    assert_eq!(updated.extensions.keys().collect::<Vec<_>>(), ["f"]);
    assert_eq!(updated.image, "other");

    let updated = update(&world, |c| c.labels.clear(), &["labels"]).await.unwrap();
    assert!(updated.labels.is_empty());
    let error = update(&world, |_| (), &["runtime"]).await.unwrap_err();
    assert_eq!(error.chain(), "cannot update \"runtime\" field on \"c\": invalid argument");
}

#[tokio::test]
async fn an_empty_mask_replaces_all_that_may_change() {
    let world = world();
    world.containers.create(&world.namespace, container("c")).await.unwrap();
    let updated = update(
        &world,
        |c| {
            c.image.clear();
            c.labels = [("k".to_owned(), String::new())].into();
            c.snapshot_key = "k2".to_owned();
        },
        &[],
    )
    .await
    .unwrap();
    assert_eq!((updated.image.as_str(), updated.snapshot_key.as_str()), ("", "k2"));
    assert!(updated.labels.is_empty());
    let error = update(&world, |c| c.runtime.push('x'), &[]).await.unwrap_err();
    assert_eq!(error.chain(), "container.Runtime.Name field is immutable: invalid argument");
    let error = update(&world, |c| c.snapshotter.push('x'), &[]).await.unwrap_err();
    assert_eq!(error.chain(), "container.Snapshotter field is immutable: invalid argument");
    let error = update(&world, |c| c.spec = None, &[]).await.unwrap_err();
    assert_eq!(error.chain(), "update failed validation: container.Spec must be set: invalid argument");
    assert_eq!(world.containers.get(&world.namespace, &updated.id).unwrap(), updated);
}

#[tokio::test]
async fn lists_are_filtered_and_changes_told() {
    let mut world = world();
    for id in ["b", "a"] {
        world.containers.create(&world.namespace, container(id)).await.unwrap();
    }
    let ids = |filters: &[&str]| -> Vec<String> {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let found = world.containers.list(&world.namespace, &filters).unwrap();
        found.into_iter().map(|container| container.id.to_string()).collect()
    };
    assert_eq!(ids(&[]), ["a", "b"]);
    assert_eq!(ids(&["id==b", "id==none"]), ["b"]);
    assert_eq!(ids(&["labels.a==b,runtime.name~=runc,image==busybox"]), ["a", "b"]);
    assert_eq!(ids(&["labels.x"]), Vec::<String>::new());
    let error = world.containers.list(&world.namespace, &["a=".to_owned()]).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);

    let a = ContainerId::parse("a").unwrap();
    world.containers.update(&world.namespace, container("a"), &[]).await.unwrap();
    world.containers.delete(&world.namespace, &a).await.unwrap();
    drop(world.containers);
    let mut topics = Vec::new();
    while let Some(envelope) = world.events.next().await.unwrap() {
        topics.push(envelope.topic);
    }
    let create = "/containers/create";
    assert_eq!(topics, [create, create, "/containers/update", "/containers/delete"]);
}
