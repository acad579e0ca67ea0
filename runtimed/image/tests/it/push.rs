//! Up into Debian's docker-registry, and down again.

use std::fs::File;
use std::time::Duration;

use errors::Kind;
use ids::Reference;
use image::{ImportOptions, PullOptions, PushOptions, RegistryConfig};

use crate::local::{Local, credentials, recorder, unpacking};
use crate::odd::{sample, stub};
use crate::stub::{End, Reply, Stub};
use crate::tools::{Layout, Registry, have, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_up_comes_down_and_goes_up_once() {
    let tools = ["docker-registry", "umoci", "skopeo", "htpasswd"];
    if !have("what_goes_up_comes_down_and_goes_up_once", &tools) {
        return;
    }
    let (registry, layout) = (Registry::start_with_login("ann", "secret"), Layout::shared());
    let (local, archive) = (Local::hasty(), layout.folder.path().join("push.tar"));
    layout.copy(&format!("oci-archive:{}:v1", archive.display()), &[]);
    let reader = File::open(&archive).unwrap();
    let images = local.images.import(&local.space, reader, &ImportOptions::default(), image::silent()).await;
    let target = images.unwrap().remove(0).target;

    let name = format!("{}/up/app:v2", registry.host);
    let reference = Reference::parse(&name).unwrap();
    let refused = PushOptions::default();
    let error =
        local.images.push(&local.space, &target, &reference, &refused, image::silent()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthenticated, "{error:?}");

    let options = PushOptions { credentials: credentials("ann", "secret"), ..PushOptions::default() };
    for uploaded in [4, 0] {
        let (sink, told) = recorder();
        local.images.push(&local.space, &target, &reference, &options, sink).await.unwrap();
        let exist = told.lock().unwrap().iter().filter(|progress| progress.status == "exists").count();
        assert_eq!(exist, 4 - uploaded);
    }
    let inspected = run(
        "skopeo",
        &[
            "--insecure-policy",
            "inspect",
            "--tls-verify=false",
            "--creds",
            "ann:secret",
            &format!("docker://{name}"),
        ],
    );
    assert!(inspected.contains(&target.digest.to_string()), "{inspected}");
    let down = image::PullOptions { credentials: options.credentials, ..unpacking() };
    assert_eq!(Local::hasty().pull(&name, &down).await.unwrap().target.digest, target.digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_not_whole_does_not_go_up() {
    if !have("an_image_that_is_not_whole_does_not_go_up", &["docker-registry", "umoci", "skopeo"]) {
        return;
    }
    let (registry, layout, local) = (Registry::start(), Layout::shared(), Local::hasty());
    let image = local.pull(&layout.push(&registry, "a:v1", &[]), &unpacking()).await.unwrap();
    let config = local.images.config(&local.space, &image.target, None).await.unwrap();
    local.content.delete(&local.space, &config.layers[1].digest).await.unwrap();
    let reference = Reference::parse(&format!("{}/b:v1", registry.host)).unwrap();
    let options = PushOptions::default();
    let error = local.images.push(&local.space, &image.target, &reference, &options, image::silent()).await;
    assert!(error.unwrap_err().is_not_found());
    assert!(local.pull(&reference.to_string(), &unpacking()).await.unwrap_err().is_not_found());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_stops_taking_an_upload_is_given_up() {
    let sample = sample();
    let source = stub(&sample, |_| None).await;
    let config =
        RegistryConfig { attempts: 1, idle_timeout: Duration::from_secs(1), ..RegistryConfig::default() };
    let local = Local::with(config);
    let image = local.pull(&format!("{}/a:v1", source.host), &PullOptions::default()).await.unwrap();
    let sink = Stub::start(|request| match request.method.as_str() {
        "POST" => Reply::new(202, "").with("location", "/v2/b/blobs/uploads/1?state=x"),
        "PUT" => Reply::new(201, "").ending(End::Silent),
        _ => Reply::new(404, ""),
    });
    let sink = sink.await;
    let reference = Reference::parse(&format!("{}/b:v1", sink.host)).unwrap();
    let options = PushOptions::default();
    let pushed = local.images.push(&local.space, &image.target, &reference, &options, image::silent()).await;
    let error = pushed.unwrap_err();
    assert!(error.chain().contains(&format!("registry {}: no answer for 1s", sink.host)), "{error:?}");
    assert!(sink.asked("uploads/1?state=x&digest=sha256%3A").len() <= 2, "one try a blob");
}
