//! Archives that skopeo, umoci and tar made, our own, and lying ones.

use std::fs::File;
use std::path::Path;

use errors::{Kind, Result};
use image::{Export, ExportOptions, Image, ImportOptions, NameRule};
use serde_json::json;

use crate::local::{Local, find};
use crate::stub::{Sample, digest, tar_of};
use crate::tools::{LARGE, Layout, have, run};

const TOOLS: [&str; 2] = ["umoci", "skopeo"];

fn unpacking() -> ImportOptions {
    ImportOptions { unpack: Some("overlayfs".into()), ..ImportOptions::default() }
}

async fn import(local: &Local, archive: &Path, options: &ImportOptions) -> Result<Vec<Image>> {
    local.images.import(&local.space, File::open(archive).unwrap(), options, image::silent()).await
}

async fn import_bytes(local: &Local, archive: Vec<u8>) -> Result<Vec<Image>> {
    local.images.import(&local.space, std::io::Cursor::new(archive), &unpacking(), image::silent()).await
}

async fn holds_the_layout(local: &Local, image: &Image) {
    let config = local.images.config(&local.space, &image.target, None).await.unwrap();
    let folders = local.folders("overlayfs", &config.chain_id.unwrap()).await;
    assert_eq!(std::fs::read_to_string(find(&folders, "etc/version").unwrap()).unwrap(), "two");
    assert_eq!(std::fs::metadata(find(&folders, "large").unwrap()).unwrap().len(), LARGE as u64);
    local.no_active_snapshots();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_in_what_skopeo_writes_for_docker() {
    if !have("takes_in_what_skopeo_writes_for_docker", &TOOLS) {
        return;
    }
    let (layout, local) = (Layout::shared(), Local::new());
    let archive = layout.folder.path().join("docker.tar");
    layout.copy(&format!("docker-archive:{}:team/app:v1", archive.display()), &[]);
    let images = import(&local, &archive, &unpacking()).await.unwrap();
    assert_eq!(images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), ["docker.io/team/app:v1"]);
    holds_the_layout(&local, &images[0]).await;

    let packed = Local::new();
    let options = ImportOptions { compress: true, ..unpacking() };
    let images = import(&packed, &archive, &options).await.unwrap();
    let config = packed.images.config(&packed.space, &images[0].target, None).await.unwrap();
    assert!(config.layers.iter().all(|layer| layer.media_type == image::media_type::DOCKER_LAYER_GZIP));
    holds_the_layout(&packed, &images[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_in_oci_archives_plain_and_compressed() {
    if !have("takes_in_oci_archives_plain_and_compressed", &["umoci", "skopeo", "tar", "gzip", "zstd"]) {
        return;
    }
    let layout = Layout::shared();
    let at = |name: &str| layout.folder.path().join(name);
    layout.copy(&format!("oci-archive:{}:v1", at("skopeo.tar").display()), &[]);
    let tar = |flag: &str, name: &str| {
        run("tar", &["-C", layout.oci().to_str().unwrap(), flag, "-cf", at(name).to_str().unwrap(), "."]);
    };
    tar("--format=gnu", "plain.tar");
    tar("--gzip", "gzip.tar");
    tar("--zstd", "zstd.tar");
    tar("--format=pax", "pax.tar");
    for name in ["skopeo.tar", "plain.tar", "gzip.tar", "zstd.tar", "pax.tar"] {
        let local = Local::new();
        let options = ImportOptions { names: NameRule::Prefix("localhost/app".into()), ..unpacking() };
        let images = import(&local, &at(name), &options).await.unwrap();
        assert_eq!(images[0].name, "localhost/app:v1", "{name}");
        holds_the_layout(&local, &images[0]).await;
    }
}

async fn export(local: &Local, names: &[&str], target: &image::Descriptor, to: &Path) -> Result<()> {
    let images =
        [Export { names: names.iter().map(|name| name.to_string()).collect(), target: target.clone() }];
    let file = tokio::fs::File::create(to).await.unwrap();
    local.images.export(&local.space, &images, &ExportOptions::default(), file, image::silent()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_out_comes_back_and_skopeo_reads_it() {
    if !have("what_goes_out_comes_back_and_skopeo_reads_it", &TOOLS) {
        return;
    }
    let (layout, local) = (Layout::shared(), Local::new());
    let first = layout.folder.path().join("first.tar");
    layout.copy(&format!("oci-archive:{}:v1", first.display()), &[]);
    let target = import(&local, &first, &ImportOptions::default()).await.unwrap().remove(0).target;

    let ours = layout.folder.path().join("ours.tar");
    export(&local, &["docker.io/team/app:v2", "docker.io/team/app:latest"], &target, &ours).await.unwrap();
    let back = Local::new();
    let images = import(&back, &ours, &unpacking()).await.unwrap();
    let names: Vec<_> = images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names, ["docker.io/team/app:v2", "docker.io/team/app:latest"]);
    assert_eq!(images[0].target.digest, target.digest);
    holds_the_layout(&back, &images[0]).await;

    let inspect = |source: &str| {
        run("skopeo", &["--insecure-policy", "inspect", &format!("{source}:{}", ours.display())])
    };
    let as_docker: serde_json::Value = serde_json::from_str(&inspect("docker-archive")).unwrap();
    assert_eq!(as_docker["Layers"].as_array().unwrap().len(), 3);
    let listed = run("tar", &["-tf", ours.to_str().unwrap()]);
    for name in ["blobs/sha256/", "index.json", "manifest.json", "oci-layout"] {
        assert!(listed.lines().any(|line| line == name), "{listed}");
    }
    let copied = layout.folder.path().join("copied");
    let from = format!("oci-archive:{}:v2", ours.display());
    run("skopeo", &["--insecure-policy", "copy", &from, &format!("oci:{}:v2", copied.display())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exporting_what_is_not_whole_is_an_error() {
    let local = Local::new();
    let mut tar = Archive::of(&Sample::new(b"x"));
    let images = import_bytes(&local, tar.take()).await.unwrap();
    let layer = local.images.config(&local.space, &images[0].target, None).await.unwrap().layers[0].clone();
    local.content.delete(&local.space, &layer.digest).await.unwrap();
    let to = local.root.path().join("out.tar");
    let error = export(&local, &["x"], &images[0].target, &to).await.unwrap_err();
    assert!(error.is_not_found() && error.chain().contains(&layer.digest.to_string()), "{error:?}");
}

/// An archive made by hand.
struct Archive {
    files: Vec<(String, Vec<u8>)>,
}

impl Archive {
    /// A right OCI layout of `sample`, named `docker.io/library/x:1`.
    fn of(sample: &Sample) -> Archive {
        let mut archive = Archive { files: Vec::new() };
        archive.add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        for blob in [&sample.layer, &sample.config, &sample.manifest] {
            archive.add(&format!("blobs/sha256/{}", digest(blob).hex()), blob);
        }
        archive.index(sample, sample.manifest.len());
        archive
    }

    fn add(&mut self, name: &str, content: &[u8]) {
        self.files.retain(|(known, _)| known != name);
        self.files.push((name.into(), content.to_vec()));
    }

    fn index(&mut self, sample: &Sample, size: usize) {
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": sample.manifest_type, "digest": digest(&sample.manifest), "size": size,
            "annotations": { "io.containerd.image.name": "docker.io/library/x:1" } }] });
        self.add("index.json", index.to_string().as_bytes());
    }

    fn take(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in &self.files {
            let one = tar_of(name, content);
            bytes.extend_from_slice(&one[..one.len() - 1024]);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_not_its_name_is_refused() {
    let (local, sample) = (Local::new(), Sample::new(b"x"));
    let mut archive = Archive::of(&sample);
    archive.add(&format!("blobs/sha256/{}", digest(&sample.layer).hex()), b"something else");
    let error = import_bytes(&local, archive.take()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error:?}");
    assert!(error.chain().contains("unexpected commit digest"), "{error:?}");
    assert!(local.names.list(&local.space, &[]).unwrap().is_empty());
    assert!(local.content.statuses(&local.space, &[]).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_about_sizes_and_missing_blobs_are_refused() {
    let sample = Sample::new(b"x");
    let mut wrong_size = Archive::of(&sample);
    wrong_size.index(&sample, sample.manifest.len() + 1);
    let mut no_layer = Archive::of(&sample);
    no_layer.files.retain(|(name, _)| !name.contains(digest(&sample.layer).hex()));
    for (mut archive, kind, words) in [
        (wrong_size, Kind::FailedPrecondition, "its descriptor says"),
        (no_layer, Kind::NotFound, "not found"),
    ] {
        let local = Local::new();
        let error = import_bytes(&local, archive.take()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.chain().contains(words), "{error:?}");
        assert!(local.names.list(&local.space, &[]).unwrap().is_empty());
    }
}

/// Each entry is small enough, and there are not too many of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_of_an_archive_is_bounded() {
    let mut archive = tar::Builder::new(Vec::new());
    let to = "t".repeat(60_000);
    for number in 0..600 {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("{number}-{}", "n".repeat(60_000)), &to).unwrap();
    }
    let local = Local::new();
    let error = import_bytes(&local, archive.into_inner().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted, "{error:?}");
    assert!(error.chain().contains("the names in the archive"), "{error:?}");
    assert!(local.content.statuses(&local.space, &[]).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_image_archive_says_so() {
    let sample = Sample::new(b"x");
    let whole = Archive::of(&sample).take();
    let mut version = Archive::of(&sample);
    version.add("oci-layout", br#"{"imageLayoutVersion":"9"}"#);
    let mut large = Archive::of(&sample);
    large.add("index.json", &vec![b' '; 9 << 20]);
    for (bytes, words) in [
        (Vec::new(), "cut off"),
        (b"not a tar archive at all, but long enough to be one".repeat(20), "not a tar archive"),
        (tar_of("file", b"x"), "unrecognized image format"),
        (whole[..700].to_vec(), "cut off"),
        (whole[..1324].to_vec(), "cut off"),
        (version.take(), "unsupported OCI version: \"9\""),
        (large.take(), "are not read"),
        (tar_of("blobs/sha256/short", b"x"), "invalid digest"),
    ] {
        let local = Local::new();
        let error = import_bytes(&local, bytes).await.unwrap_err();
        assert!(error.chain().contains(words), "{words}: {error:?}");
        assert!(local.names.list(&local.space, &[]).unwrap().is_empty());
    }
}

/// A layout of one image whose manifest `manifest` writes about its config. What is not there is written as Go programs do, and
/// `note` as it is into an annotation.
fn layout_of(config: &[u8], manifest: impl Fn(&serde_json::Value) -> String, note: &[u8]) -> Archive {
    let mut archive = Archive { files: Vec::new() };
    archive.add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let entry = json!({ "mediaType": image::media_type::OCI_CONFIG, "digest": digest(config), "size": config.len(),
        "annotations": null, "urls": null, "platform": null });
    let manifest = manifest(&entry);
    for blob in [config, manifest.as_bytes()] {
        archive.add(&format!("blobs/sha256/{}", digest(blob).hex()), blob);
    }
    let entry = json!({ "mediaType": image::media_type::OCI_MANIFEST, "digest": digest(manifest.as_bytes()),
        "size": manifest.len(), "urls": null, "platform": { "variant": null, "os.features": null },
        "annotations": { "io.containerd.image.name": "docker.io/library/x:1", "null": null, "note": "NOTE" } });
    let index = json!({ "schemaVersion": 2, "mediaType": null, "manifests": [entry], "annotations": null });
    let index = index.to_string();
    let (before, after) = index.split_once("NOTE").unwrap();
    archive.add("index.json", &[before.as_bytes(), note, after.as_bytes()].concat());
    archive
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_go_writes_for_nothing_is_nothing() {
    let manifest =
        |config: &serde_json::Value| format!(r#"{{"schemaVersion":2,"config":{config},"layers":null}}"#);
    for config in [
        &br#"{"os":null,"architecture":null,"rootfs":{"type":"layers","diff_ids":null}}"#[..],
        br#"{"rootfs":null}"#,
        br#"{"author":"half a pair: \ud83d"}"#,
        b"{\"author\":\"latin 1: \xe4\"}",
    ] {
        let local = Local::new();
        let mut archive = layout_of(config, manifest, b"");
        let images = import_bytes(&local, archive.take()).await.unwrap();
        assert_eq!(images[0].name, "docker.io/library/x:1");
        let read = local.images.config(&local.space, &images[0].target, None).await.unwrap();
        assert!(read.layers.is_empty() && read.chain_id.is_none());
        // What is kept, under its digest, is what came; what is read is text.
        assert_eq!(read.digest, digest(config));
        let blob = local.content.read(&local.space, &read.digest, 1 << 20).await.unwrap();
        assert_eq!(blob, config);
        let parsed: serde_json::Value = serde_json::from_slice(&read.raw).unwrap();
        let author = parsed["author"].as_str();
        assert!(author.is_none_or(|author| author.ends_with('\u{fffd}')), "{author:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_without_a_root_in_the_config_do_not_unpack() {
    let layer = Sample::new(b"x");
    let entry = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer.layer_digest(),
        "size": layer.layer.len(), "annotations": null });
    let manifest =
        |config: &serde_json::Value| format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{entry}]}}"#);
    let mut archive = layout_of(br#"{"rootfs":null}"#, manifest, b"");
    archive.add(&format!("blobs/sha256/{}", layer.layer_digest().hex()), &layer.layer);
    let local = Local::new();
    let error = import_bytes(&local, archive.take()).await.unwrap_err();
    assert!(error.chain().contains("number of layers and diffIDs don't match: 1 != 0"), "{error:?}");
    assert!(local.names.list(&local.space, &[]).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_no_text_everywhere_is_read() {
    let manifest =
        |config: &serde_json::Value| format!(r#"{{"schemaVersion":2,"config":{config},"layers":null}}"#);
    for (note, read) in
        [(&b"x\xe2\x82"[..], "x\u{fffd}\u{fffd}"), (br"\udc00x\ud83d\udc00", "\u{fffd}x\u{1f400}")]
    {
        let local = Local::new();
        let mut archive = layout_of(b"{}", manifest, note);
        let images = import_bytes(&local, archive.take()).await.unwrap();
        assert_eq!(images[0].name, "docker.io/library/x:1");
        assert_eq!(images[0].target.annotations["note"], read);
        assert_eq!(images[0].target.annotations["null"], "");
    }
}

/// docker's manifest.json over `sample`'s config and its plain layer.
fn docker_archive(config: &str, layers: &[&str], tags: serde_json::Value) -> Archive {
    let tar = tar_of("file", b"x");
    let sample = Sample::of(&tar, &digest(&tar));
    let mut archive = Archive { files: Vec::new() };
    archive.add(&format!("{}.json", digest(&sample.config).hex()), &sample.config);
    archive.add("other.json", &sample.config);
    archive.add(&format!("{}.json", "0".repeat(64)), &sample.config);
    archive.add("layer.tar", &tar);
    archive.add("wrong.tar", &tar_of("file", b"y"));
    archive.add("repositories", b"not even json");
    let manifest = json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]);
    archive.add("manifest.json", manifest.to_string().as_bytes());
    archive
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dockers_manifest_names_tags_and_must_be_true() {
    let local = Local::new();
    let mut right = docker_archive("other.json", &["layer.tar"], json!(["x", "r.example/y:2"]));
    let images = import_bytes(&local, right.take()).await.unwrap();
    let names: Vec<_> = images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names, ["docker.io/library/x:latest", "r.example/y:2"]);

    for (mut archive, words) in [
        (docker_archive("other.json", &["wrong.tar"], json!(["x"])), "wrong diff id"),
        (docker_archive("other.json", &[], json!(["x"])), "lists 0 layers"),
        (docker_archive("none.json", &["layer.tar"], json!(["x"])), "\"none.json\""),
        (docker_archive(&format!("{}.json", "0".repeat(64)), &["layer.tar"], json!(["x"])), "has the digest"),
        (docker_archive("other.json", &["layer.tar"], json!(["UPPER"])), "must be lowercase"),
    ] {
        let local = Local::new();
        let error = import_bytes(&local, archive.take()).await.unwrap_err();
        assert!(error.chain().contains(words), "{words}: {error:?}");
        local.no_active_snapshots();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unnamed_images_can_be_named_by_digest() {
    let local = Local::new();
    let mut archive = docker_archive("other.json", &["layer.tar"], json!(null));
    let options = ImportOptions {
        digest_prefix: Some("import".into()),
        digest_only_unnamed: true,
        index_name: Some("whole".into()),
        ..ImportOptions::default()
    };
    let reader = std::io::Cursor::new(archive.take());
    let images = local.images.import(&local.space, reader, &options, image::silent()).await.unwrap();
    assert_eq!(images[0].name, format!("import@{}", images[0].target.digest));
    assert_eq!((images[1].name.as_str(), images[1].target.is_index()), ("whole", true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_may_come_from_an_async_source() {
    let (local, sample) = (Local::new(), Sample::new(b"x"));
    let bytes = Archive::of(&sample).take();
    let (writer, reader) = image::pipe(2);
    let sending = tokio::spawn(async move {
        for chunk in bytes.chunks(700) {
            assert!(writer.write(bytes::Bytes::copy_from_slice(chunk)).await);
        }
        writer.finish().await;
    });
    let images = local.images.import(&local.space, reader, &unpacking(), image::silent()).await.unwrap();
    sending.await.unwrap();
    assert_eq!(images[0].name, "docker.io/library/x:1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_names_are_read_as_a_persons_word() {
    let named = |name: &str| {
        let sample = Sample::new(name.as_bytes());
        let mut archive = Archive::of(&sample);
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": sample.manifest_type, "digest": digest(&sample.manifest), "size": sample.manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": name } }] });
        archive.add("index.json", index.to_string().as_bytes());
        archive.take()
    };
    let local = Local::new();
    for (name, full) in [
        ("v1", "docker.io/library/v1:latest"),
        ("app:1", "docker.io/library/app:1"),
        ("team/app", "docker.io/team/app:latest"),
        ("r.example:5000/app:1", "r.example:5000/app:1"),
    ] {
        let options = ImportOptions { names: NameRule::Familiar, ..unpacking() };
        let reader = std::io::Cursor::new(named(name));
        let images = local.images.import(&local.space, reader, &options, image::silent()).await.unwrap();
        assert_eq!(images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), [full]);
    }
    let options = ImportOptions {
        names: NameRule::Familiar,
        digest_prefix: Some("import".into()),
        digest_only_unnamed: true,
        ..unpacking()
    };
    let reader = std::io::Cursor::new(named("NOT A NAME"));
    let images = local.images.import(&local.space, reader, &options, image::silent()).await.unwrap();
    assert_eq!(images[0].name, format!("import@{}", images[0].target.digest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_unpack_gets_no_name() {
    let local = Local::new();
    let mut archive = docker_archive("other.json", &["wrong.tar"], json!(["x"]));
    import_bytes(&local, archive.take()).await.unwrap_err();
    assert!(local.names.list(&local.space, &[]).unwrap().is_empty());
}
