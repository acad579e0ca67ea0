//! Blobs from registries that stall, break and lie.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use errors::Kind;
use image::{PullOptions, RegistryConfig};
use tokio::sync::Notify;

use crate::local::{Local, credentials, unpacking};
use crate::odd::{refused, sample, stub, works};
use crate::stub::{End, Reply, Sample, Stub, digest, tar_of};
use crate::tools::noise;

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
    let ranges = ranges(&stub, &sample);
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
async fn a_mirror_that_breaks_off_is_left_for_the_registry() {
    let (local, sample) = (Local::hasty(), sample());
    let layer = sample.clone();
    let mirror = stub(&sample, move |request| {
        layer.is_layer(request).then(|| layer.answer(request).ending(End::Cut(0)))
    });
    let (mirror, registry) = (mirror.await, stub(&sample, |_| None).await);
    let folder = mirrored(&registry, &mirror);
    let options = PullOptions {
        hosts_directory: Some(folder.path().into()),
        headers: vec![("x-mine".into(), "1".into())],
        credentials: credentials("ann", "secret"),
        ..unpacking()
    };
    local.pull("r.example/a:v1", &options).await.unwrap();
    assert!(mirror.asked("/").iter().all(|request| request.path.ends_with("?ns=r.example")));
    assert!(mirror.asked("/").iter().all(|request| !request.headers.contains_key("x-mine")));
    assert!(registry.asked("/").iter().all(|request| request.headers["x-mine"] == "1"));
}

/// Where `r.example` is `registry`, with `mirror` before it.
fn mirrored(registry: &Stub, mirror: &Stub) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("r.example")).unwrap();
    let hosts = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", registry.host, mirror.host);
    std::fs::write(folder.path().join("r.example/hosts.toml"), hosts).unwrap();
    folder
}

/// The `Range` of each request for the layer so far.
fn ranges(stub: &Stub, sample: &Sample) -> Vec<Option<String>> {
    let asked = stub.asked(&sample.layer_digest().to_string());
    asked.iter().map(|request| request.headers.get("range").cloned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_cannot_go_on_is_asked_for_the_whole() {
    let sample = sample();
    let (layer, size) = (&sample.layer, sample.layer.len());
    let partial = |from: usize, to: usize| {
        Reply::new(206, layer.slice(from..to))
            .with("content-range", format!("bytes {from}-{}/{size}", to - 1))
    };
    for (case, refusal) in [
        ("refused", Reply::new(416, "")),
        ("begins too far on", partial((512 << 10) + 1000, size)),
        ("begins too far on, no length", partial((512 << 10) + 1000, size).ending(End::Chunked)),
        ("too little", partial(512 << 10, (512 << 10) + 1000)),
    ] {
        let (local, layer, begun) = (Local::hasty(), sample.clone(), AtomicUsize::new(0));
        let stub = stub(&sample, move |request| {
            if !layer.is_layer(request) {
                return None;
            }
            let whole = Reply::new(200, layer.layer.clone());
            Some(match (request.headers.contains_key("range"), begun.fetch_add(1, Ordering::Relaxed)) {
                (true, _) => refusal.clone(),
                (false, 0) => whole.ending(End::Cut(512 << 10)),
                (false, _) => whole,
            })
        });
        let stub = stub.await;
        works(&local, &stub).await;
        assert_eq!(ranges(&stub, &sample), [None, Some("bytes=524288-".to_owned()), None], "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_ingest_is_no_hindrance_where_ranges_are_refused() {
    let (local, sample) = (Local::hasty(), sample());
    drop(begun(&local, &sample, &sample.layer[..100_000]).await);
    let (layer, refusing) = (sample.clone(), Arc::new(AtomicBool::new(true)));
    let all = refusing.clone();
    let stub = stub(&sample, move |request| {
        let refuses = request.headers.contains_key("range") || all.load(Ordering::Relaxed);
        (layer.is_layer(request) && refuses).then(|| Reply::new(416, ""))
    });
    let stub = stub.await;
    let asked = [Some("bytes=100000-".to_owned()), None];
    let error = refused(&local, &stub, &sample).await;
    assert!(error.chain().contains("unexpected status 416 Range Not Satisfiable"), "{error:?}");
    assert_eq!(ranges(&stub, &sample), asked, "once with the range, and once without");
    refusing.store(false, Ordering::Relaxed);
    works(&local, &stub).await;
    assert_eq!(ranges(&stub, &sample)[2..], asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_ends_too_early_is_gone_on_with() {
    let (local, sample) = (Local::hasty(), sample());
    let (layer, answers) = (sample.clone(), AtomicUsize::new(0));
    let stub = stub(&sample, move |request| {
        let first = layer.is_layer(request) && answers.fetch_add(1, Ordering::Relaxed) == 0;
        first.then(|| Reply::new(200, layer.layer.slice(..512 << 10)).ending(End::Chunked))
    });
    let stub = stub.await;
    works(&local, &stub).await;
    assert_eq!(ranges(&stub, &sample), [None, Some("bytes=524288-".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_ends_too_early_is_left_for_the_registry() {
    let (local, sample) = (Local::hasty(), sample());
    let layer = sample.clone();
    let mirror = stub(&sample, move |request| {
        let short = || Reply::new(200, layer.layer.slice(..512 << 10)).ending(End::Chunked);
        layer.is_layer(request).then(short)
    });
    let (mirror, registry) = (mirror.await, stub(&sample, |_| None).await);
    let folder = mirrored(&registry, &mirror);
    let options = PullOptions { hosts_directory: Some(folder.path().into()), ..unpacking() };
    local.pull("r.example/a:v1", &options).await.unwrap();
    assert_eq!(ranges(&mirror, &sample), [None]);
    assert_eq!(ranges(&registry, &sample), [Some("bytes=524288-".to_owned())]);
}

/// Leaves an ingest of the layer that has `bytes` so far.
async fn begun(local: &Local, sample: &Sample, bytes: &[u8]) -> content::Writer {
    let ingest = format!("layer-{}", sample.layer_digest());
    let writer = local.content.writer(&local.space, &ingest, sample.layer.len() as u64, None).await;
    let mut writer = writer.unwrap();
    writer.write(0, Bytes::copy_from_slice(bytes)).await.unwrap();
    writer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_ingest_is_taken_up_and_a_damaged_one_is_begun_anew() {
    let sample = sample();
    for damaged in [false, true] {
        let (local, stub) = (Local::hasty(), stub(&sample, |_| None).await);
        let mut earlier = sample.layer[..100_000].to_vec();
        earlier[50_000] ^= u8::from(damaged);
        drop(begun(&local, &sample, &earlier).await);
        works(&local, &stub).await;
        let asked = stub.asked(&sample.layer_digest().to_string());
        assert_eq!(asked[0].headers["range"], "bytes=100000-");
        assert_eq!(asked.len(), 1 + usize::from(damaged));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_ingest_of_the_layer_is_waited_for() {
    let (local, sample) = (Local::hasty(), sample());
    let stub = stub(&sample, |_| None).await;
    let mut writer = begun(&local, &sample, &sample.layer[..1000]).await;
    let waiting = Arc::new(Notify::new());
    let told = waiting.clone();
    let sink = Arc::new(move |progress: image::Progress| {
        if progress.status == "waiting" {
            told.notify_one();
        }
    });
    let reference = ids::Reference::parse(&format!("{}/a:v1", stub.host)).unwrap();
    let options = unpacking();
    let pull = local.images.pull(&local.space, &reference, "a", &options, sink);
    let finish = async {
        waiting.notified().await;
        writer.write(1000, sample.layer.slice(1000..)).await.unwrap();
        writer
            .commit(sample.layer.len() as u64, Some(&sample.layer_digest()), Default::default())
            .await
            .unwrap();
    };
    let (pulled, ()) = tokio::join!(pull, finish);
    pulled.unwrap();
    assert!(stub.asked(&sample.layer_digest().to_string()).is_empty(), "it was there in the end");
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
    let (wrong, broken) = (Kind::FailedPrecondition, Kind::Unavailable);
    for (body, end, kind, words, times) in [
        (Bytes::from(longer.clone()), End::Whole, wrong, "its descriptor says", 1),
        (shorter.clone(), End::Whole, wrong, "its descriptor says", 1),
        (Bytes::from(longer), End::Chunked, wrong, "is longer than the", 1),
        // As a cut connection: tried as often as configured without headway.
        (shorter, End::Chunked, broken, "ended after", 2),
    ] {
        let (local, layer) = (Local::hasty(), sample.clone());
        let stub = stub(&sample, move |request| {
            layer.is_layer(request).then(|| Reply::new(200, body.clone()).ending(end.clone()))
        });
        let stub = stub.await;
        let error = refused(&local, &stub, &sample).await;
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.chain().contains(words), "{error:?}");
        assert_eq!(ranges(&stub, &sample).len(), times, "{words}");
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
    let held = held.lock().unwrap().clone();
    for descriptor in local.images.blobs(&local.space, &image.target).await.unwrap() {
        assert!(held.contains(&("content".into(), descriptor.digest.to_string())), "{descriptor:?}");
    }
    let snapshots = local.snapshotters.get("").unwrap().list(&local.space, &[]).unwrap();
    assert!(held.contains(&("snapshots/overlayfs".into(), snapshots[0].name.clone())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_gone_is_fetched_again_though_its_snapshot_is_there() {
    let (local, sample) = (Local::hasty(), sample());
    let stub = stub(&sample, |_| None).await;
    works(&local, &stub).await;
    local.content.delete(&local.space, &sample.layer_digest()).await.unwrap();
    works(&local, &stub).await;
    assert_eq!(
        local.content.info(&local.space, &sample.layer_digest()).unwrap().size,
        sample.layer.len() as u64
    );
    assert_eq!(local.snapshotters.get("").unwrap().list(&local.space, &[]).unwrap().len(), 1);
}
