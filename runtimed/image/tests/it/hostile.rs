//! Registries that stall, break, lie, redirect and ask for credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use errors::{Error, Kind};
use image::{PullOptions, RegistryConfig};
use tokio::sync::Notify;

use crate::local::{Local, credentials, find, unpacking};
use crate::stub::{End, Reply, Request, Sample, Stub, digest, tar_of};
use crate::tools::noise;

fn sample() -> Sample {
    Sample::new(&noise(768 << 10))
}

/// An honest registry but for what `odd` answers.
async fn stub(sample: &Sample, odd: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Stub {
    let sample = sample.clone();
    Stub::start(move |request| odd(request).unwrap_or_else(|| sample.answer(request))).await
}

/// The pull fails, leaving neither name nor snapshot nor the layer.
async fn refused(local: &Local, stub: &Stub, sample: &Sample) -> Error {
    let reference = format!("{}/a:v1", stub.host);
    let error = local.pull(&reference, &unpacking()).await.unwrap_err();
    assert!(local.names.get(&local.space, &reference).unwrap_err().is_not_found());
    assert!(local.content.info(&local.space, &sample.layer_digest()).unwrap_err().is_not_found());
    local.no_active_snapshots();
    error
}

async fn works(local: &Local, stub: &Stub) {
    local.pull(&format!("{}/a:v1", stub.host), &unpacking()).await.unwrap();
    local.no_active_snapshots();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_blob_is_an_error_that_names_the_host() {
    let config =
        RegistryConfig { attempts: 2, idle_timeout: Duration::from_millis(400), ..RegistryConfig::default() };
    let (local, sample) = (Local::with(config), sample());
    let layer = sample.clone();
    let stub = stub(&sample, move |request| {
        layer.is_layer(request).then(|| Reply::new(200, layer.layer.clone()).ending(End::Stall(256 << 10)))
    });
    let stub = stub.await;
    let error = refused(&local, &stub, &sample).await;
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
    assert!(error.chain().contains(&format!("registry {}: no answer for 400ms", stub.host)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_never_answers_is_given_up() {
    let (local, sample) = (Local::hasty(), sample());
    let stub = stub(&sample, |request| {
        let head = request.method == "HEAD";
        head.then(|| Reply::new(503, "").with("retry-after", "0"))
    });
    let stub = stub.await;
    let error = refused(&local, &stub, &sample).await;
    assert!(error.chain().contains("503"), "{error:?}");
    assert_eq!(stub.asked("manifests").len(), 2, "tried as often as configured, and not more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_blob_goes_on_where_it_stopped() {
    let (local, sample) = (Local::hasty(), sample());
    let (layer, answers) = (sample.clone(), AtomicUsize::new(0));
    let stub = stub(&sample, move |request| {
        if !layer.is_layer(request) {
            return None;
        }
        // Each answer breaks a quarter of a megabyte further on.
        let reply = layer.answer(request);
        let left = reply.body.len();
        answers.fetch_add(1, Ordering::Relaxed);
        Some(if left > 256 << 10 { reply.ending(End::Cut(256 << 10)) } else { reply })
    });
    let stub = stub.await;
    works(&local, &stub).await;
    let ranges: Vec<_> = stub
        .asked(&sample.layer_digest().to_string())
        .iter()
        .map(|r| r.headers.get("range").cloned())
        .collect();
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=262144-"));
    assert_eq!(ranges[2].as_deref(), Some("bytes=524288-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_without_ranges_is_read_again_from_the_start() {
    let (local, sample) = (Local::hasty(), sample());
    let (layer, broken) = (sample.clone(), AtomicUsize::new(0));
    let stub = stub(&sample, move |request| {
        if !layer.is_layer(request) {
            return None;
        }
        let reply = Reply::new(200, layer.layer.clone());
        Some(match broken.fetch_add(1, Ordering::Relaxed) {
            0 => reply.ending(End::Cut(512 << 10)),
            _ => reply,
        })
    });
    works(&local, &stub.await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_with_the_wrong_digest_is_refused_and_not_kept() {
    let (local, sample) = (Local::hasty(), sample());
    let other = Sample::new(&noise(768 << 10).iter().map(|byte| !byte).collect::<Vec<u8>>());
    let mut wrong = other.layer.to_vec();
    wrong.resize(sample.layer.len(), 0);
    let (layer, honest) = (sample.clone(), Arc::new(AtomicUsize::new(0)));
    let later = honest.clone();
    let stub = stub(&sample, move |request| {
        let lie = layer.is_layer(request) && later.load(Ordering::Relaxed) == 0;
        lie.then(|| Reply::new(200, Bytes::from(wrong.clone())))
    });
    let stub = stub.await;
    refused(&local, &stub, &sample).await;
    assert!(
        local
            .content
            .statuses(&local.space, &[])
            .unwrap()
            .iter()
            .all(|status| status.offset == 0 || status.offset < sample.layer.len() as u64)
    );
    // What was wrong is not taken up again.
    honest.store(1, Ordering::Relaxed);
    works(&local, &stub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_or_fewer_bytes_than_declared_are_refused() {
    let sample = sample();
    let mut longer = sample.layer.to_vec();
    longer.extend_from_slice(b"more");
    let shorter = sample.layer.slice(..sample.layer.len() - 4);
    for (body, end, words) in [
        (Bytes::from(longer.clone()), End::Whole, "its descriptor says"),
        (shorter.clone(), End::Whole, "its descriptor says"),
        (Bytes::from(longer), End::Chunked, "is longer than the"),
        (shorter, End::Chunked, "ended after"),
    ] {
        let (local, layer) = (Local::hasty(), sample.clone());
        let stub = stub(&sample, move |request| {
            layer.is_layer(request).then(|| Reply::new(200, body.clone()).ending(end.clone()))
        });
        let error = refused(&local, &stub.await, &sample).await;
        assert_eq!(error.kind(), Kind::FailedPrecondition, "{error:?}");
        assert!(error.chain().contains(words), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_is_not_what_the_config_says_is_refused() {
    let local = Local::hasty();
    let sample = Sample::of(&tar_of("file", b"one"), &digest(b"two"));
    let stub = stub(&sample, |_| None).await;
    let error = local.pull(&format!("{}/a:v1", stub.host), &unpacking()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.chain().contains("wrong diff id"), "{error:?}");
    assert!(local.snapshotters.get("").unwrap().list(&local.space, &[]).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_is_unpacked_while_it_comes() {
    let (local, sample) = (Local::new(), Sample::new(&noise(3 << 20)));
    let extracting = Arc::new(Notify::new());
    let (layer, told) = (sample.clone(), extracting.clone());
    // The second half is sent only when the first is being unpacked.
    let stub = stub(&sample, move |request| {
        let half = End::Wait(layer.layer.len() / 2, told.clone());
        layer.is_layer(request).then(|| Reply::new(200, layer.layer.clone()).ending(half))
    });
    let stub = stub.await;
    let sink = Arc::new(move |progress: image::Progress| {
        if progress.status == "extracting" && progress.offset > 0 {
            extracting.notify_one();
        }
    });
    let reference = ids::Reference::parse(&format!("{}/a:v1", stub.host)).unwrap();
    local.images.pull(&local.space, &reference, "a", &unpacking(), sink).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_is_given_up_cleans_up_after_itself() {
    let (local, sample) = (Local::new(), Sample::new(&noise(3 << 20)));
    let (layer, reached) = (sample.clone(), Arc::new(Notify::new()));
    let stub = stub(&sample, move |request| {
        layer.is_layer(request).then(|| Reply::new(200, layer.layer.clone()).ending(End::Stall(2 << 20)))
    });
    let stub = stub.await;
    let mut removed = local.bus.subscribe(filters::Filters::parse(&["topic==\"/snapshot/remove\""]).unwrap());
    let told = reached.clone();
    let sink = Arc::new(move |progress: image::Progress| {
        if progress.status == "extracting" && progress.offset > 0 {
            told.notify_one();
        }
    });
    let reference = ids::Reference::parse(&format!("{}/a:v1", stub.host)).unwrap();
    {
        let options = unpacking();
        let pull = local.images.pull(&local.space, &reference, "a", &options, sink);
        tokio::select! {
            ended = pull => panic!("{ended:?}"),
            () = reached.notified() => {}
        }
    }
    assert_eq!(removed.next().await.unwrap().unwrap().topic, "/snapshot/remove");
    local.no_active_snapshots();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let (local, sample) = (Local::hasty(), sample());
    let store = stub(&sample, |_| None).await;
    let (layer, elsewhere) = (sample.clone(), store.host.clone());
    let front = stub(&sample, move |request| {
        if !request.headers.contains_key("authorization") {
            return Some(Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""));
        }
        layer.is_layer(request).then(|| Reply::redirect(format!("http://{elsewhere}{}", request.path)))
    });
    let front = front.await;
    let options = PullOptions { credentials: credentials("ann", "secret"), ..unpacking() };
    local.pull(&format!("{}/a:v1", front.host), &options).await.unwrap();
    assert!(front.asked("manifests").iter().any(|request| request.headers.contains_key("authorization")));
    let there = store.asked("/");
    assert!(!there.is_empty());
    assert!(there.iter().all(|request| !request.headers.contains_key("authorization")), "{there:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_redirected_to_gets_no_credentials_even_if_it_asks() {
    let (local, sample) = (Local::hasty(), sample());
    let greedy =
        stub(&sample, |_| Some(Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""))).await;
    let (layer, elsewhere) = (sample.clone(), greedy.host.clone());
    let front = stub(&sample, move |request| {
        layer.is_layer(request).then(|| Reply::redirect(format!("http://{elsewhere}{}", request.path)))
    });
    let front = front.await;
    let options = PullOptions { credentials: credentials("ann", "secret"), ..unpacking() };
    let error = local.pull(&format!("{}/a:v1", front.host), &options).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthenticated);
    assert!(greedy.asked("/").iter().all(|request| !request.headers.contains_key("authorization")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_that_go_round_end() {
    let (local, sample) = (Local::hasty(), sample());
    let layer = sample.clone();
    let stub =
        stub(&sample, move |request| layer.is_layer(request).then(|| Reply::redirect(request.path.clone())));
    let error = refused(&local, &stub.await, &sample).await;
    assert!(error.chain().contains("more than 10 redirects"), "{error:?}");
}

/// A registry that wants a token from a server of its own.
async fn token_registry(sample: &Sample, realm: String) -> Stub {
    stub(sample, move |request| {
        let known = request.headers.get("authorization").is_some_and(|value| value == "Bearer the-token");
        let challenge =
            format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:other:pull,push\"");
        (!known).then(|| Reply::new(401, "").with("www-authenticate", challenge))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_fetched_once_for_the_scope_of_the_pull() {
    let (local, sample) = (Local::hasty(), sample());
    let tokens = Stub::start(|_| Reply::new(200, r#"{"token":"the-token","expires_in":300}"#)).await;
    let registry = token_registry(&sample, format!("http://{}/token", tokens.host)).await;
    let reference = format!("{}/a/b:v1", registry.host);
    local.pull(&reference, &unpacking()).await.unwrap();
    let asked = tokens.asked("/token");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].path, "/token?service=reg&scope=repository%3Aa%2Fb%3Apull");
    assert!(!asked[0].headers.contains_key("authorization"), "anonymous");

    let options = PullOptions { credentials: credentials("ann", "secret"), ..unpacking() };
    local.pull(&reference, &options).await.unwrap();
    let asked = tokens.asked("account=ann");
    // ann:secret
    assert_eq!(asked[0].headers["authorization"], "Basic YW5uOnNlY3JldA==");
    let at_registry = registry.asked("/");
    assert!(
        !at_registry.iter().any(|r| r.headers.get("authorization").is_some_and(|v| v.starts_with("Basic")))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_token_goes_by_post() {
    let (local, sample) = (Local::hasty(), sample());
    let tokens = Stub::start(|_| Reply::new(200, r#"{"access_token":"the-token"}"#)).await;
    let registry = token_registry(&sample, format!("http://{}/token", tokens.host)).await;
    let options = PullOptions { credentials: credentials("", "id&token"), ..unpacking() };
    local.pull(&format!("{}/a:v1", registry.host), &options).await.unwrap();
    let asked = tokens.asked("/token");
    assert_eq!(asked[0].method, "POST");
    assert_eq!(
        asked[0].body,
        "grant_type=refresh_token&service=reg&client_id=runtimed&refresh_token=id%26token&scope=repository%3Aa%3Apull"
    );
    assert_eq!(asked[0].headers["content-type"], "application/x-www-form-urlencoded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_server_that_refuses_or_rambles_is_an_error() {
    let sample = sample();
    for (reply, words) in [
        (
            Reply::new(401, r#"{"details":"incorrect\u0007 username"}"#),
            "401 Unauthorized: incorrect username",
        ),
        (Reply::new(200, "<html>"), "not understood"),
        (Reply::new(200, "{}"), "no token"),
        (Reply::new(200, vec![b' '; 2 << 20]), "longer than"),
        (Reply::new(200, r#"{"token":"another"}"#), "pull access denied"),
    ] {
        let tokens = Stub::start(move |_| reply.clone()).await;
        let registry = token_registry(&sample, format!("http://{}/token", tokens.host)).await;
        let error = refused(&Local::hasty(), &registry, &sample).await;
        assert!(error.chain().contains(words), "{words}: {error:?}");
    }
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_arrives_is_held_first() {
    let (local, sample) = (Local::hasty(), sample());
    let stub = stub(&sample, |_| None).await;
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, content) = (held.clone(), local.content.clone());
    let space = local.space.clone();
    let hold: image::Hold = Arc::new(move |sort: String, id: String| {
        if sort == "content" {
            let digest = ids::Digest::parse(&id).unwrap();
            assert!(content.info(&space, &digest).is_err(), "held before it is there");
        }
        seen.lock().unwrap().push((sort, id));
        Box::pin(async { Ok(()) })
    });
    let options = PullOptions { hold: Some(hold), ..unpacking() };
    let image = local.pull(&format!("{}/a:v1", stub.host), &options).await.unwrap();
    let held = held.lock().unwrap();
    for descriptor in local.images.blobs(&local.space, &image.target).await.unwrap() {
        assert!(held.contains(&("content".into(), descriptor.digest.to_string())), "{descriptor:?}");
    }
    let snapshots = local.snapshotters.get("").unwrap().list(&local.space, &[]).unwrap();
    assert!(held.contains(&("snapshots/overlayfs".into(), snapshots[0].name.clone())));
}
