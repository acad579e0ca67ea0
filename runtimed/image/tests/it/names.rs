//! The records: containerd's rules for images.

use std::time::SystemTime;

use errors::Kind;
use ids::Namespace;
use image::{Descriptor, Image};

use crate::local::Local;
use crate::stub::digest;

fn image(name: &str, of: &[u8]) -> Image {
    let long_ago = SystemTime::UNIX_EPOCH;
    Image {
        name: name.into(),
        labels: [("a".to_owned(), "1".to_owned())].into(),
        target: Descriptor::new(image::media_type::OCI_MANIFEST, digest(of), 7),
        created_at: long_ago,
        updated_at: long_ago,
    }
}

#[tokio::test]
async fn created_names_are_read_back_with_the_servers_times() {
    let local = Local::new();
    let created = local.names.create(&local.space, image("docker.io/library/x:1", b"x")).await.unwrap();
    assert!(created.created_at > SystemTime::UNIX_EPOCH && created.created_at == created.updated_at);
    assert_eq!(local.names.get(&local.space, "docker.io/library/x:1").unwrap(), created);
    let other = Namespace::parse("other").unwrap();
    let absent = local.names.get(&other, "docker.io/library/x:1").unwrap_err();
    assert_eq!(absent.to_string(), "image \"docker.io/library/x:1\": not found");
    let again = local.names.create(&local.space, image("docker.io/library/x:1", b"y")).await.unwrap_err();
    assert_eq!(again.to_string(), "image \"docker.io/library/x:1\": already exists");
    assert_eq!(again.kind(), Kind::AlreadyExists);
}

#[tokio::test]
async fn what_a_target_must_have_is_asked_for() {
    let local = Local::new();
    let mut no_size = image("x", b"x");
    no_size.target.size = 0;
    let mut no_type = image("x", b"x");
    no_type.target.media_type.clear();
    let mut large_label = image("x", b"x");
    large_label.labels.insert("k".into(), "v".repeat(4096));
    for wrong in [image("", b"x"), no_size, no_type, large_label] {
        let error = local.names.create(&local.space, wrong).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error:?}");
    }
    assert!(local.names.list(&local.space, &[]).unwrap().is_empty());
}

#[tokio::test]
async fn updates_change_what_the_mask_names() {
    let local = Local::new();
    let created = local.names.create(&local.space, image("x", b"x")).await.unwrap();
    let mut wanted = image("x", b"y");
    wanted.labels = [("b".to_owned(), "2".to_owned())].into();
    wanted.target.annotations.insert("n".into(), "v".into());

    let mask = |fields: &[&str]| fields.iter().map(|field| field.to_string()).collect::<Vec<_>>();
    let one = local.names.update(&local.space, wanted.clone(), &mask(&["labels.b"])).await.unwrap();
    assert_eq!((one.labels.len(), &one.target), (2, &created.target));
    assert!(one.updated_at >= created.updated_at && one.created_at == created.created_at);
    let two = local
        .names
        .update(&local.space, wanted.clone(), &mask(&["labels.a", "annotations.n"]))
        .await
        .unwrap();
    assert_eq!(two.labels, wanted.labels, "a label that is not given is deleted");
    assert_eq!((two.target.annotations["n"].as_str(), &two.target.digest), ("v", &created.target.digest));
    let three = local.names.update(&local.space, wanted.clone(), &[]).await.unwrap();
    assert_eq!((&three.target, &three.labels), (&wanted.target, &wanted.labels));

    let wrong = local.names.update(&local.space, wanted.clone(), &mask(&["name"])).await.unwrap_err();
    assert_eq!(wrong.to_string(), "cannot update \"name\" field on image \"x\"");
    wanted.name = "none".into();
    assert!(local.names.update(&local.space, wanted, &[]).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn filters_and_conditional_deletes() {
    let local = Local::new();
    for (name, of) in [("a:1", &b"x"[..]), ("b:1", b"y"), ("c:1", b"x")] {
        local.names.create(&local.space, image(name, of)).await.unwrap();
    }
    let names = |filter: String| {
        let found = local.names.list(&local.space, &[filter]).unwrap();
        found.into_iter().map(|image| image.name).collect::<Vec<_>>()
    };
    assert_eq!(names(format!("target.digest=={:?}", digest(b"x").to_string())), ["a:1", "c:1"]);
    assert_eq!(names("name~=^b".into()), ["b:1"]);
    assert_eq!(names("labels.a==1".into()).len(), 3);
    assert_eq!(names("labels.none".into()).len(), 0);
    assert_eq!(local.names.list(&local.space, &["name=".into()]).unwrap_err().kind(), Kind::InvalidArgument);

    let other = local.names.delete(&local.space, "a:1", Some(&digest(b"y"))).await.unwrap_err();
    assert!(other.is_not_found() && other.to_string().contains("has target"), "{other:?}");
    local.names.delete(&local.space, "a:1", Some(&digest(b"x"))).await.unwrap();
    assert_eq!(
        local.names.delete(&local.space, "a:1", None).await.unwrap_err().to_string(),
        "image \"a:1\": not found"
    );
}

#[tokio::test]
async fn every_change_is_an_event() {
    let local = Local::new();
    let mut events = local.bus.subscribe(filters::Filters::default());
    local.names.put(&local.space, image("x", b"x")).await.unwrap();
    local.names.put(&local.space, image("x", b"y")).await.unwrap();
    local.names.delete(&local.space, "x", None).await.unwrap();
    for topic in ["/images/create", "/images/update", "/images/delete"] {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!((event.topic.as_str(), event.namespace.as_str()), (topic, "test"));
    }
}
