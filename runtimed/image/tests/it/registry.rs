//! Against Debian's docker-registry, with images that umoci made and skopeo pushed.

use errors::Kind;
use image::{PullOptions, RegistryConfig};

use crate::local::{Local, credentials, find, recorder, unpacking};
use crate::tools::{LARGE, Layout, Registry, have};

const TOOLS: [&str; 3] = ["docker-registry", "umoci", "skopeo"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_and_unpacks_by_tag_and_by_digest() {
    if !have("pulls_and_unpacks_by_tag_and_by_digest", &TOOLS) {
        return;
    }
    let (registry, layout, local) = (Registry::start(), Layout::shared(), Local::new());
    let reference = layout.push(&registry, "a/b:v1", &[]);
    let image = local.pull(&reference, &unpacking()).await.unwrap();

    let config = local.images.config(&local.space, &image.target, None).await.unwrap();
    assert_eq!(config.layers.len(), 3);
    let chain_id = config.chain_id.clone().unwrap();
    let folders = local.folders("overlayfs", &chain_id).await;
    let version = find(&folders, "etc/version").unwrap();
    assert_eq!(std::fs::read_to_string(version).unwrap(), "two");
    assert_eq!(std::fs::metadata(find(&folders, "large").unwrap()).unwrap().len(), LARGE as u64);
    let gone = find(&folders, "etc/gone").unwrap().symlink_metadata().unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&gone.file_type()), "a whiteout hides it");
    local.no_active_snapshots();

    labels_keep_the_image(&local, &image, &config, &reference);
    let by_digest = format!("{}@{}", reference.rsplit_once(':').unwrap().0, image.target.digest);
    assert_eq!(local.pull(&by_digest, &PullOptions::default()).await.unwrap().target, image.target);
    assert_eq!(local.images.blobs(&local.space, &image.target).await.unwrap().len(), 5);
}

fn labels_keep_the_image(local: &Local, image: &image::Image, config: &image::ImageConfig, reference: &str) {
    let labels = |digest| local.content.info(&local.space, digest).unwrap().labels;
    let manifest = labels(&image.target.digest);
    assert_eq!(manifest["containerd.io/gc.ref.content.config"], config.digest.to_string());
    assert_eq!(manifest["containerd.io/gc.ref.content.l.2"], config.layers[2].digest.to_string());
    let host = reference.split('/').next().unwrap();
    assert_eq!(manifest[&format!("containerd.io/distribution.source.{host}")], "a/b");
    let chain_id = config.chain_id.as_ref().unwrap().to_string();
    assert_eq!(labels(&config.digest)["containerd.io/gc.ref.snapshot.overlayfs"], chain_id);
    for (layer, diff_id) in config.layers.iter().zip(&config.diff_ids) {
        assert_eq!(labels(&layer.digest)["containerd.io/uncompressed"], diff_id.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_dockers_format_and_into_native() {
    if !have("pulls_dockers_format_and_into_native", &TOOLS) {
        return;
    }
    let (registry, layout, local) = (Registry::start(), Layout::shared(), Local::new());
    let reference = layout.push(&registry, "docker:v1", &["--format", "v2s2"]);
    let options = PullOptions { unpack: Some("native".into()), ..PullOptions::default() };
    let image = local.pull(&reference, &options).await.unwrap();
    assert_eq!(image.target.media_type, image::media_type::DOCKER_MANIFEST);
    let config = local.images.config(&local.space, &image.target, None).await.unwrap();
    let folders = local.folders("native", &config.chain_id.unwrap()).await;
    assert!(find(&folders, "etc/gone").is_none());
    assert_eq!(std::fs::read_to_string(find(&folders, "etc/version").unwrap()).unwrap(), "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_pulls_of_one_image_at_once_all_succeed() {
    if !have("several_pulls_of_one_image_at_once_all_succeed", &TOOLS) {
        return;
    }
    let (registry, layout, local) = (Registry::start(), Layout::shared(), Local::new());
    let reference = layout.push(&registry, "a:v1", &[]);
    let options = unpacking();
    let pulls = (0..6).map(|_| local.pull(&reference, &options));
    for pulled in futures::future::join_all(pulls).await {
        pulled.unwrap();
    }
    local.no_active_snapshots();
    let snapshots = local.snapshotters.get("overlayfs").unwrap().list(&local.space, &[]).unwrap();
    assert_eq!(snapshots.len(), 3);
    let (sink, told) = recorder();
    let parsed = ids::Reference::parse(&reference).unwrap();
    local.images.pull(&local.space, &parsed, &reference, &options, sink).await.unwrap();
    assert!(!told.lock().unwrap().iter().any(|progress| progress.status == "downloading"), "all is here");
    let ended = |progress: &&image::Progress| ["done", "exists"].contains(&progress.status.as_str());
    let layers = told.lock().unwrap().iter().filter(ended).filter(|p| p.media_type.contains("layer")).count();
    assert_eq!(layers, 3, "each layer ends once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn basic_credentials_are_asked_for_and_checked() {
    if !have(
        "basic_credentials_are_asked_for_and_checked",
        &["docker-registry", "umoci", "skopeo", "htpasswd"],
    ) {
        return;
    }
    let (registry, layout) = (Registry::start_with_login("ann", "secret"), Layout::shared());
    let reference = layout.push(&registry, "a:v1", &["--dest-creds", "ann:secret"]);
    let with = |credentials| PullOptions { credentials, ..unpacking() };
    let local = Local::hasty();
    let without = local.pull(&reference, &with(None)).await.unwrap_err();
    assert_eq!(without.kind(), Kind::Unauthenticated);
    assert!(without.chain().contains("pull access denied"), "{without:?}");
    let wrong = local.pull(&reference, &with(credentials("ann", "wrong"))).await.unwrap_err();
    assert_eq!(wrong.kind(), Kind::Unauthenticated);
    assert!(!wrong.chain().contains("wrong"), "no secret in an error: {wrong:?}");
    local.pull(&reference, &with(credentials("ann", "secret"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_found() {
    if !have("what_is_not_there_is_not_found", &TOOLS[..1]) {
        return;
    }
    let (registry, local) = (Registry::start(), Local::hasty());
    let reference = format!("{}/no/such:v1", registry.host);
    let error = local.pull(&reference, &unpacking()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.chain().contains(&format!("failed to resolve reference \"{reference}\"")), "{error:?}");
    let error = local.pull("127.0.0.1:1/a:v1", &unpacking()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.chain().contains("registry 127.0.0.1:1: cannot connect"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_is_asked_first_and_the_registry_when_it_has_nothing() {
    if !have("a_mirror_is_asked_first_and_the_registry_when_it_has_nothing", &TOOLS) {
        return;
    }
    let (mirror, registry, layout) = (Registry::start(), Registry::start(), Layout::shared());
    layout.push(&mirror, "only/mirror:v1", &[]);
    layout.push(&registry, "only/registry:v1", &[]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("r.example")).unwrap();
    let hosts = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", registry.host, mirror.host);
    std::fs::write(folder.path().join("r.example/hosts.toml"), hosts).unwrap();
    let config = RegistryConfig {
        hosts_directory: Some(folder.path().to_owned()),
        attempts: 1,
        ..RegistryConfig::default()
    };
    let local = Local::with(config);
    local.pull("r.example/only/mirror:v1", &unpacking()).await.unwrap();
    local.pull("r.example/only/registry:v1", &unpacking()).await.unwrap();
    assert_eq!(local.pull("r.example/only/none:v1", &unpacking()).await.unwrap_err().kind(), Kind::NotFound);
}
