//! Manifests and indexes, right and wrong.

use bytes::Bytes;
use errors::Kind;
use image::PullOptions;

use crate::local::{Local, find, unpacking};
use crate::odd::{refused, sample, stub};
use crate::stub::{Reply, Request, Sample, Stub, digest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_that_are_old_large_or_odd_are_refused() {
    let sample = sample();
    for (kind, body, words) in [
        (image::media_type::DOCKER_SCHEMA1_SIGNED, Bytes::from("{}"), "schema 1"),
        ("text/html", Bytes::from("<html>"), "not an image"),
        (image::media_type::OCI_MANIFEST, Bytes::from(vec![b'['; 9 << 20]), "are not read"),
        (image::media_type::OCI_MANIFEST, Bytes::from(vec![b'['; 1 << 20]), "parse manifest"),
    ] {
        let answer = move |request: &Request| {
            let stated = digest(&body).to_string();
            request.path.contains("manifests").then(|| {
                Reply::new(200, body.clone()).with("content-type", kind).with("docker-content-digest", stated)
            })
        };
        let error = refused(&Local::hasty(), &stub(&sample, answer).await, &sample).await;
        assert!(error.chain().contains(words), "{words}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_is_not_what_its_head_said_is_refused() {
    let sample = sample();
    let stub = stub(&sample, |request| {
        let get = request.method == "GET" && request.path.contains("manifests");
        get.then(|| Reply::new(200, vec![b'x'; 8]).with("content-type", image::media_type::OCI_MANIFEST))
    });
    let error = refused(&Local::hasty(), &stub.await, &sample).await;
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error:?}");
}

/// An index over `sample` for one platform and nothing for another.
fn index_over(sample: &Sample, platform: &str) -> Bytes {
    let (os, architecture) = platform.split_once('/').unwrap();
    let entry = |bytes: &[u8], size: usize, os: &str, architecture: &str| {
        serde_json::json!({ "mediaType": image::media_type::OCI_MANIFEST, "digest": digest(bytes), "size": size,
            "platform": { "os": os, "architecture": architecture } })
    };
    let manifests = [
        entry(b"elsewhere", 100, "windows", "amd64"),
        entry(b"attestation", 100, "unknown", "unknown"),
        entry(&sample.manifest, sample.manifest.len(), os, architecture),
    ];
    serde_json::json!({ "schemaVersion": 2, "mediaType": image::media_type::OCI_INDEX, "manifests": manifests })
        .to_string()
        .into()
}

async fn index_stub(sample: &Sample, index: Bytes) -> Stub {
    stub(sample, move |request| {
        let wanted = request.path.ends_with("/v1") || request.path.ends_with(&digest(&index).to_string());
        let stated = digest(&index).to_string();
        wanted.then(|| {
            Reply::new(200, index.clone())
                .with("content-type", image::media_type::OCI_INDEX)
                .with("docker-content-digest", stated)
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platform_is_chosen_from_an_index_and_only_it_is_fetched() {
    let (local, sample) = (Local::hasty(), sample());
    let stub = index_stub(&sample, index_over(&sample, "linux/amd64")).await;
    let options =
        PullOptions { platform: Some(image::Platform::parse("linux/amd64").unwrap()), ..unpacking() };
    let image = local.pull(&format!("{}/a:v1", stub.host), &options).await.unwrap();
    assert_eq!(image.target.media_type, image::media_type::OCI_INDEX);
    assert!(stub.asked(&digest(b"elsewhere").to_string()).is_empty());
    let config = local.images.config(&local.space, &image.target, options.platform.as_ref()).await.unwrap();
    let folders = local.folders("overlayfs", &config.chain_id.unwrap()).await;
    assert!(find(&folders, "file").is_some());
    // Two missing manifests are no harm: the index keeps a label for each.
    let labels = local.content.info(&local.space, &image.target.digest).unwrap().labels;
    assert_eq!(labels["containerd.io/gc.ref.content.m.2"], digest(&sample.manifest).to_string());

    let other = PullOptions { platform: Some(image::Platform::parse("linux/s390x").unwrap()), ..unpacking() };
    let error = local.pull(&format!("{}/a:v1", stub.host), &other).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.chain().contains("no match for platform linux/s390x in manifest"), "{error:?}");
}

/// An index that lists `child` over and over.
fn index_of(child: &str, size: usize, kind: &str, times: usize) -> Bytes {
    let entry = serde_json::json!({ "mediaType": kind, "digest": child, "size": size });
    serde_json::json!({ "schemaVersion": 2, "mediaType": image::media_type::OCI_INDEX, "manifests": vec![entry; times] })
        .to_string()
        .into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_that_name_each_other_over_and_over_are_read_once() {
    let (local, sample) = (Local::hasty(), sample());
    let manifest =
        (digest(&sample.manifest).to_string(), sample.manifest.len(), image::media_type::OCI_MANIFEST);
    let mut indexes = vec![index_of(&manifest.0, manifest.1, manifest.2, 2000)];
    for _ in 0..3 {
        let last = indexes.last().unwrap();
        indexes.push(index_of(&digest(last).to_string(), last.len(), image::media_type::OCI_INDEX, 2000));
    }
    for (depth, works) in [(3, true), (4, false)] {
        let mut nested = indexes.clone();
        if depth == 4 {
            for _ in 0..2 {
                let last = nested.last().unwrap();
                nested.push(index_of(&digest(last).to_string(), last.len(), image::media_type::OCI_INDEX, 1));
            }
        }
        let stub = stub(&sample, move |request| {
            let top = request.path.ends_with("/v1").then(|| nested.last().unwrap());
            let by_digest = || nested.iter().find(|index| request.path.ends_with(&digest(index).to_string()));
            top.or_else(by_digest).map(|index| {
                Reply::new(200, index.clone())
                    .with("content-type", image::media_type::OCI_INDEX)
                    .with("docker-content-digest", digest(index).to_string())
            })
        });
        let stub = stub.await;
        let pulled = local.pull(&format!("{}/a:v1", stub.host), &unpacking()).await;
        match works {
            true => assert!(local.images.config(&local.space, &pulled.unwrap().target, None).await.is_ok()),
            false => {
                let error = pulled.unwrap_err();
                assert_eq!(error.kind(), Kind::ResourceExhausted);
                assert!(error.chain().contains("indexes more than 4 deep"), "{error:?}");
            }
        }
        assert!(stub.asked("manifests").len() < 20, "{}", stub.asked("manifests").len());
    }
}
