//! Collections over real rooms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use container::{Container, Containers};
use content::Content;
use events::Bus;
use filters::Filters;
use gc::Collector;
use ids::{ContainerId, Digest, Labels, Namespace};
use image::{Descriptor, Image, Names};
use lease::{Leases, Resource};
use metadata::Store;
use prost_types::Any;
use snapshot::Snapshotters;

use super::RoomsHeap;

const PAST: &str = "2020-01-01T00:00:00Z";

struct World {
    _directory: tempfile::TempDir,
    namespace: Namespace,
    events: Bus,
    store: Store,
    content: Content,
    snapshotters: Snapshotters,
    names: Names,
    containers: Containers,
    leases: Leases,
    collector: Collector,
}

fn labels(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let events = Bus::new();
    let store = Store::open(&root.join("metadata")).unwrap();
    let content = Content::open(root, store.clone(), events.clone()).unwrap();
    let snapshotters = Snapshotters::open(root, store.clone(), events.clone()).unwrap();
    let names = Names::new(store.clone(), events.clone());
    let containers = Containers::new(store.clone(), events.clone());
    let leases = Leases::new(store.clone());
    let heap = RoomsHeap::new(
        store.clone(),
        content.clone(),
        snapshotters.clone(),
        names.clone(),
        containers.clone(),
        leases.clone(),
    );
    let schedule =
        gc::Schedule { startup_delay: std::time::Duration::from_secs(3600), ..gc::Schedule::default() };
    World {
        _directory: directory,
        namespace: Namespace::parse("default").unwrap(),
        events,
        store,
        content,
        snapshotters,
        names,
        containers,
        leases,
        collector: Collector::start_with(Arc::new(heap), schedule),
    }
}

impl World {
    async fn blob(&self, text: &str, given: &[(&str, &str)]) -> Digest {
        let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
        self.content.put(&self.namespace, bytes, labels(given)).await.unwrap()
    }

    async fn image(&self, name: &str, target: &Digest, given: &[(&str, &str)]) {
        let target = Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: target.clone(),
            size: 1,
            annotations: BTreeMap::new(),
            platform: None,
        };
        let now = SystemTime::now();
        let labels = labels(given);
        let image = Image { name: name.to_owned(), labels, target, created_at: now, updated_at: now };
        self.names.create(&self.namespace, image).await.unwrap();
    }

    /// A committed snapshot on `parent`.
    async fn snapshot(&self, name: &str, parent: &str, given: &[(&str, &str)]) {
        let native = self.snapshotters.get("native").unwrap();
        let key = format!("{name}-active");
        native.prepare(&self.namespace, &key, parent, Labels::new()).await.unwrap();
        native.commit(&self.namespace, name, &key, labels(given)).await.unwrap();
    }

    async fn hold(&self, lease: &str, kind: &str, id: &str) {
        let resource = Resource { kind: kind.to_owned(), id: id.to_owned() };
        self.leases.add(&self.namespace, lease, resource).await.unwrap();
    }

    async fn container(&self, id: &str, snapshot: &str) {
        let now = SystemTime::now();
        let container = Container {
            id: ContainerId::parse(id).unwrap(),
            labels: Labels::new(),
            image: String::new(),
            runtime: "r".to_owned(),
            runtime_options: None,
            spec: Some(Any::default()),
            snapshotter: "native".to_owned(),
            snapshot_key: snapshot.to_owned(),
            created_at: now,
            updated_at: now,
            extensions: BTreeMap::new(),
            sandbox: String::new(),
        };
        self.containers.create(&self.namespace, container).await.unwrap();
    }

    fn has(&self, blob: &Digest) -> bool {
        self.content.info(&self.namespace, blob).is_ok()
    }

    /// The names of the snapshots that are left.
    fn left(&self) -> Vec<String> {
        let native = self.snapshotters.get("native").unwrap();
        native.list(&self.namespace, &[]).unwrap().into_iter().map(|info| info.name).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_keeps_its_tree_and_lets_it_go() {
    let world = world();
    let lease = world.leases.create(&world.namespace, "pull", Labels::new()).await.unwrap();
    let layer = world.blob("layer", &[]).await;
    world.snapshot("base", "", &[]).await;
    world.snapshot("top", "base", &[]).await;
    let config = world.blob("config", &[("containerd.io/gc.ref.snapshot.native", "top")]).await;
    let manifest = world
        .blob(
            "manifest",
            &[
                ("containerd.io/gc.ref.content.config", &config.to_string()),
                ("containerd.io/gc.ref.content.l.0", &layer.to_string()),
            ],
        )
        .await;
    let garbage = world.blob("garbage", &[("containerd.io/gc.ref.contentious", "x")]).await;
    world.image("i", &manifest, &[]).await;
    world.hold("pull", "content", &garbage.to_string()).await;
    world.collector.collect().await.unwrap();
    assert!([&layer, &config, &manifest, &garbage].iter().all(|blob| world.has(blob)));
    assert_eq!(world.left(), ["base", "top"]);

    world.leases.delete(&world.namespace, &lease.id).await.unwrap();
    world.collector.collect().await.unwrap();
    assert!(!world.has(&garbage) && world.has(&layer));

    let mut removals = world.events.subscribe(Filters::parse(&["topic==\"/snapshot/remove\""]).unwrap());
    world.names.delete(&world.namespace, "i", None).await.unwrap();
    world.collector.collect().await.unwrap();
    assert!([&layer, &config, &manifest].iter().all(|blob| !world.has(blob)));
    assert_eq!(world.left(), Vec::<String>::new());
    assert!(world.store.read().holders("default").unwrap().is_empty());
    // Children before parents.
    for key in ["top", "base"] {
        let envelope = removals.next().await.unwrap().unwrap();
        let message: proto_containerd::events::SnapshotRemove =
            proto_containerd::unpack(&envelope.event).unwrap().unwrap();
        assert_eq!(message.key, key);
    }
    let native = world.snapshotters.get("native").unwrap();
    native.cleanup().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_hold_and_what_has_run_out_does_not() {
    let world = world();
    let rooted = world.blob("rooted", &[("containerd.io/gc.root", "yes")]).await;
    let target = world.blob("target", &[]).await;
    world.image("expired", &target, &[("containerd.io/gc.expire", PAST)]).await;
    world.leases.create(&world.namespace, "old", labels(&[("containerd.io/gc.expire", PAST)])).await.unwrap();
    let held = world.blob("held by an expired lease", &[]).await;
    world.hold("old", "content", &held.to_string()).await;
    for name in ["kept", "used", "lost"] {
        world.snapshot(name, "", &[]).await;
    }
    world.snapshot("pinned", "kept", &[("containerd.io/gc.root", "1")]).await;
    world.container("c", "used").await;
    world.collector.collect().await.unwrap();
    assert_eq!([&rooted, &target, &held].map(|blob| world.has(blob)), [true, false, false]);
    assert!(world.names.list(&world.namespace, &[]).unwrap().is_empty());
    assert!(world.leases.list(&world.namespace, &[]).unwrap().is_empty());
    assert_eq!(world.left(), ["kept", "pinned", "used"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flat_lease_holds_what_it_names_and_its_parts() {
    let world = world();
    world.leases.create(&world.namespace, "flat", labels(&[("containerd.io/gc.flat", "1")])).await.unwrap();
    let child = world.blob("child", &[]).await;
    let parent = world.blob("parent", &[("containerd.io/gc.ref.content/0", &child.to_string())]).await;
    let referred = world.blob("referred", &[]).await;
    world.snapshot("base", "", &[]).await;
    world.snapshot("top", "base", &[("containerd.io/gc.ref.content", &referred.to_string())]).await;
    world.hold("flat", "content", &parent.to_string()).await;
    world.hold("flat", "snapshots/native", "top").await;
    world.collector.collect().await.unwrap();
    assert_eq!([&parent, &child, &referred].map(|blob| world.has(blob)), [true, false, false]);
    assert_eq!(world.left(), ["base", "top"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_may_point_back() {
    let world = world();
    world.snapshot("used", "", &[]).await;
    world.container("c", "used").await;
    let of_container = world.blob("a", &[("containerd.io/gc.bref.container", "c")]).await;
    let of_snapshot = world.blob("b", &[("containerd.io/gc.bref.snapshot.native/x", "used")]).await;
    let of_content = world.blob("c", &[("containerd.io/gc.bref.content.1", &of_snapshot.to_string())]).await;
    let of_nothing = world.blob("d", &[("containerd.io/gc.bref.image", "none")]).await;
    world.collector.collect().await.unwrap();
    let kept = [&of_container, &of_snapshot, &of_content, &of_nothing].map(|blob| world.has(blob));
    assert_eq!(kept, [true, true, true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn young_ingests_live_and_hold_what_they_expect() {
    let world = world();
    let expected = Digest::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap();
    let mut writer = world.content.writer(&world.namespace, "young", 4, Some(expected)).await.unwrap();
    writer.write(0, bytes::Bytes::from_static(b"ab")).await.unwrap();
    drop(writer);
    world.collector.collect().await.unwrap();
    assert_eq!(world.content.status(&world.namespace, "young").unwrap().offset, 2);

    let later = SystemTime::now() + std::time::Duration::from_secs(25 * 60 * 60);
    let heap = RoomsHeap::new(
        world.store.clone(),
        world.content.clone(),
        world.snapshotters.clone(),
        world.names.clone(),
        world.containers.clone(),
        world.leases.clone(),
    );
    let dead = super::graph::build(&heap, later).unwrap().unreachable();
    assert_eq!(dead, [gc::Node::new("default", "ingests", "young")]);
    world.leases.create(&world.namespace, "l", Labels::new()).await.unwrap();
    world.hold("l", "ingests", "young").await;
    assert_eq!(super::graph::build(&heap, later).unwrap().unreachable(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_leased_before_it_is_used_is_never_lost() {
    let world = Arc::new(world());
    let collecting = tokio::spawn({
        let world = world.clone();
        async move {
            for _ in 0..30 {
                world.collector.collect().await.unwrap();
            }
        }
    });
    // The way of every pull: lease, then ask whether it is there, make it if not, use it, give the lease back.
    for round in 0..40 {
        let lease = format!("l{round}");
        world.leases.create(&world.namespace, &lease, Labels::new()).await.unwrap();
        let digest = {
            let hash: [u8; 32] = sha2_of(b"shared");
            Digest::from_sha256(hash)
        };
        world.hold(&lease, "content", &digest.to_string()).await;
        if !world.has(&digest) {
            world.blob("shared", &[]).await;
        }
        tokio::task::yield_now().await;
        assert!(world.has(&digest), "round {round}");
        assert_eq!(&world.content.read(&world.namespace, &digest, 100).await.unwrap()[..], b"shared");
        world.leases.delete(&world.namespace, &lease).await.unwrap();
    }
    collecting.await.unwrap();
    world.collector.collect().await.unwrap();
    assert!(world.store.read().holders("default").unwrap().is_empty());
}

fn sha2_of(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}
