//! Namespaces with a record and without.

use errors::Kind;
use events::Bus;
use filters::Filters;
use ids::{Labels, Namespace};
use metadata::{Store, Table};

use crate::{Info, Namespaces};

const IMAGES: Table<u32> = Table::namespaced("images");
const BLOBS: Table<u32> = Table::namespaced("content.blobs");
const SNAPSHOTS: Table<u32> = Table::namespaced("snapshot.records");
const LEASES: Table<u32> = Table::namespaced("leases");

fn world() -> (tempfile::TempDir, Store, Namespaces, Bus) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let bus = Bus::new();
    (directory, store.clone(), Namespaces::new(store, bus.clone()), bus)
}

fn info(name: &str, labels: &[(&str, &str)]) -> Info {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Info { name: Namespace::parse(name).unwrap(), labels }
}

async fn put(store: &Store, table: &'static Table<u32>, key: &'static [&'static str]) {
    store.write(|transaction| transaction.put(table, key, &1)).await.unwrap();
}

#[tokio::test]
async fn records_make_namespaces_and_so_does_what_lives_in_them() {
    let (_directory, store, namespaces, _) = world();
    put(&store, &IMAGES, &["k8s.io", "busybox"]).await;
    let made = namespaces.create(info("b", &[("x", "y"), ("empty", "")])).await.unwrap();
    assert_eq!(made, info("b", &[("x", "y")]));
    assert_eq!(namespaces.list().unwrap(), [made.clone(), info("k8s.io", &[])]);
    assert_eq!(namespaces.get(&made.name).unwrap(), made);
    assert_eq!(namespaces.get(&info("unknown", &[]).name).unwrap(), info("unknown", &[]));
    for taken in ["b", "k8s.io"] {
        let error = namespaces.create(info(taken, &[])).await.unwrap_err();
        assert_eq!(error.kind(), Kind::AlreadyExists);
        assert_eq!(error.chain(), format!("namespace {taken:?}: already exists"));
    }
}

#[tokio::test]
async fn labels_are_set_by_mask() {
    let (_directory, _store, namespaces, _) = world();
    let update = async |labels: &[(&str, &str)], mask: &[&str]| {
        let mask: Vec<String> = mask.iter().map(|path| (*path).to_owned()).collect();
        namespaces.update(info("n", labels), &mask).await
    };
    assert_eq!(update(&[("a", "1"), ("b", "2")], &["labels.a"]).await.unwrap(), info("n", &[("a", "1")]));
    assert_eq!(update(&[("b", "2")], &["labels.b"]).await.unwrap(), info("n", &[("a", "1"), ("b", "2")]));
    assert_eq!(update(&[], &["labels.a"]).await.unwrap(), info("n", &[("b", "2")]));
    assert_eq!(update(&[("c", "3")], &[]).await.unwrap(), info("n", &[("c", "3")]));
    assert_eq!(update(&[("d", "4")], &["labels"]).await.unwrap(), info("n", &[("d", "4")]));
    let error = update(&[], &["name"]).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::InvalidArgument, "cannot update \"name\" field"));
    let long = "v".repeat(5000);
    assert_eq!(update(&[("k", &long)], &[]).await.unwrap_err().kind(), Kind::InvalidArgument);
}

#[tokio::test]
async fn only_empty_namespaces_are_deleted() {
    let (_directory, store, namespaces, _) = world();
    let name = namespaces.create(info("n", &[])).await.unwrap().name;
    put(&store, &BLOBS, &["n", "sha256:00"]).await;
    put(&store, &IMAGES, &["n", "i"]).await;
    put(&store, &SNAPSHOTS, &["n", "overlayfs", "k"]).await;
    put(&store, &SNAPSHOTS, &["n", "native", "k"]).await;
    put(&store, &LEASES, &["n", "l"]).await;
    let error = namespaces.delete(&name).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert_eq!(
        error.chain(),
        "namespace \"n\" must be empty, but it still has images, blobs, snapshots on \"native\" snapshotter, \
         snapshots on \"overlayfs\" snapshotter: failed precondition"
    );
    store
        .write(|transaction| {
            transaction.delete_all(&BLOBS, &["n"])?;
            transaction.delete_all(&IMAGES, &["n"])?;
            transaction.delete_all(&SNAPSHOTS, &["n"])
        })
        .await
        .unwrap();
    namespaces.delete(&name).await.unwrap();
    assert!(store.read().holders("n").unwrap().is_empty());
    let error = namespaces.delete(&name).await.unwrap_err();
    assert_eq!((error.kind(), error.chain().as_str()), (Kind::NotFound, "namespace \"n\": not found"));
}

#[tokio::test]
async fn changes_are_told() {
    let (_directory, _store, namespaces, bus) = world();
    let mut events = bus.subscribe(Filters::parse(&["event.name==n"]).unwrap());
    namespaces.create(info("n", &[])).await.unwrap();
    namespaces.update(Info { labels: Labels::new(), ..info("n", &[]) }, &[]).await.unwrap();
    namespaces.delete(&info("n", &[]).name).await.unwrap();
    for topic in ["/namespaces/create", "/namespaces/update", "/namespaces/delete"] {
        let envelope = events.next().await.unwrap().unwrap();
        assert_eq!((envelope.topic.as_str(), envelope.namespace.as_str()), (topic, "n"));
    }
}
