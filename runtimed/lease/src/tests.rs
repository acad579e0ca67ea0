//! Leases as containerd's clients use them.

use std::time::{Duration, SystemTime};

use errors::Kind;
use ids::{Labels, Namespace};
use metadata::Store;

use crate::{EXPIRE, FLAT, Leases, Resource};

fn world() -> (tempfile::TempDir, Leases, Namespace) {
    let directory = tempfile::tempdir().unwrap();
    let leases = Leases::new(Store::open(directory.path()).unwrap());
    (directory, leases, Namespace::parse("default").unwrap())
}

fn labels(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn resource(kind: &str, id: &str) -> Resource {
    Resource { kind: kind.to_owned(), id: id.to_owned() }
}

fn digest() -> String {
    format!("sha256:{}", "0a".repeat(32))
}

#[tokio::test]
async fn a_lease_holds_resources_until_it_ends() {
    let (_directory, leases, namespace) = world();
    leases.create(&namespace, "l", labels(&[("a", "b"), ("empty", "")])).await.unwrap();
    leases.create(&namespace, "l2", Labels::new()).await.unwrap();
    let all = [
        resource("content", &digest()),
        resource("images", "docker.io/library/x:latest"),
        resource("ingests", "layer-1"),
        resource("snapshots/native", "k"),
        resource("snapshots/overlayfs", "a/b c"),
    ];
    for resource in all.iter().rev() {
        leases.add(&namespace, "l", resource.clone()).await.unwrap();
        leases.add(&namespace, "l", resource.clone()).await.unwrap();
    }
    assert_eq!(leases.resources(&namespace, "l").unwrap(), all);
    leases.remove(&namespace, "l", all[0].clone()).await.unwrap();
    leases.remove(&namespace, "l", all[0].clone()).await.unwrap();
    let held = leases.held(&namespace).unwrap();
    assert_eq!((held.len(), &held[0].1[..], held[1].1.len()), (2, &all[1..], 0));

    leases.delete(&namespace, "l").await.unwrap();
    assert_eq!(leases.resources(&namespace, "l").unwrap_err().kind(), Kind::NotFound);
    leases.create(&namespace, "l", Labels::new()).await.unwrap();
    assert_eq!(leases.resources(&namespace, "l").unwrap(), []);
}

#[tokio::test]
async fn taken_and_unknown_ids_are_told() {
    let (_directory, leases, namespace) = world();
    leases.create(&namespace, "l", Labels::new()).await.unwrap();
    let error = leases.create(&namespace, "l", Labels::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::AlreadyExists, "lease \"l\": already exists"));
    for error in [
        leases.delete(&namespace, "x").await.unwrap_err(),
        leases.add(&namespace, "x", resource("images", "i")).await.unwrap_err(),
        leases.remove(&namespace, "x", resource("images", "i")).await.unwrap_err(),
        leases.resources(&namespace, "x").unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.message()), (Kind::NotFound, "lease \"x\": not found"));
    }
    let random = leases.create(&namespace, "", Labels::new()).await.unwrap();
    assert!(random.id.contains('-') && random.id.len() > 4, "{}", random.id);
}

#[tokio::test]
async fn resources_are_checked() {
    let (_directory, leases, namespace) = world();
    leases.create(&namespace, "l", Labels::new()).await.unwrap();
    for (kind, id, expected, words) in [
        ("content", "x", Kind::InvalidArgument, "invalid content resource id x"),
        ("content/x", "y", Kind::InvalidArgument, "invalid resource type content/x: invalid argument"),
        ("ingests", "", Kind::InvalidArgument, "must have an id"),
        (
            "snapshots",
            "k",
            Kind::InvalidArgument,
            "invalid snapshot resource type snapshots: invalid argument",
        ),
        ("snapshots/", "k", Kind::InvalidArgument, "invalid snapshot resource type snapshots/"),
        ("snapshots/a/b", "k", Kind::InvalidArgument, "invalid snapshot resource type snapshots/a/b"),
        ("volumes", "v", Kind::Unimplemented, "resource type volumes not supported yet: not implemented"),
        ("", "v", Kind::Unimplemented, "not supported yet"),
    ] {
        let error = leases.add(&namespace, "l", resource(kind, id)).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{kind}");
        assert!(error.chain().contains(words), "{}", error.chain());
    }
}

#[tokio::test]
async fn the_end_of_a_lease_is_read_from_its_label() {
    let (_directory, leases, namespace) = world();
    let now = SystemTime::now();
    let second = Duration::from_secs(1);
    let expire = labels(&[(EXPIRE, "2020-01-02T03:04:05+02:00"), (FLAT, "yes")]);
    let lease = leases.create(&namespace, "old", expire).await.unwrap();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_927_045);
    assert!(lease.is_flat() && lease.is_expired(now) && lease.is_expired(end + second));
    assert!(!lease.is_expired(end - second));
    let endless = leases.create(&namespace, "endless", Labels::new()).await.unwrap();
    assert!(!endless.is_expired(now + second * 1_000_000_000) && !endless.is_flat());
    let error = leases.create(&namespace, "bad", labels(&[(EXPIRE, "tomorrow")])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert!(error.message().contains("tomorrow"), "{error}");
}

#[tokio::test]
async fn lists_are_filtered() {
    let (_directory, leases, namespace) = world();
    for id in ["b", "a"] {
        leases.create(&namespace, id, labels(&[("x", id)])).await.unwrap();
    }
    let ids = |filters: &[&str]| -> Vec<String> {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        leases.list(&namespace, &filters).unwrap().into_iter().map(|lease| lease.id).collect()
    };
    assert_eq!(ids(&[]), ["a", "b"]);
    assert_eq!(ids(&["labels.x==b"]), ["b"]);
    assert_eq!(ids(&["id==a", "id==b"]), ["a", "b"]);
    assert_eq!(leases.list(&namespace, &["==".to_owned()]).unwrap_err().kind(), Kind::InvalidArgument);
}
