//! Images that other tools made, and images of this daemon that other tools read.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use harness::needs;
use interop::layers::{self, CHECK, CHECKED};
use interop::{Stage, run, text};
use serde_json::{Value, json};

const NAME: &str = "example.test/layers:2";
const TOOLS: &[&str] = &["ctr", "umoci", "skopeo", "busybox", "tar", "gzip", "zstd"];

/// A daemon, and the image in the layout `layout` of the stage's folder.
fn stage() -> Result<Stage> {
    let stage = Stage::new()?;
    layers::make(&stage.scratch, &stage.scratch.join("layout"))?;
    Ok(stage)
}

fn skopeo(args: &[&str]) -> Result<String> {
    run("skopeo", &[&["--insecure-policy"], args].concat())
}

/// Both ways in for one archive, each followed by a look at the container's files; leaves nothing behind.
fn is_taken(stage: &Stage, archive: &str) -> Result<()> {
    let said = stage.scene.ok(&["load", "--quiet", "--input", archive])?;
    ensure!(said == format!("Loaded image: {NAME}\n"), "rctl load said {said:?}");
    let seen = stage.scene.ok(&["run", "--rm", NAME, "sh", "-c", CHECK])?;
    ensure!(seen == CHECKED, "rctl run saw {seen:?}");
    stage.scene.ok(&["rmi", NAME])?;
    let said = stage.ctr(&["images", "import", archive])?;
    ensure!(said.contains(NAME), "ctr images import said {said:?}");
    let seen = stage.ctr(&["run", "--rm", NAME, "one", "sh", "-c", CHECK])?;
    ensure!(seen == CHECKED, "ctr run saw {seen:?}");
    stage.ctr(&["images", "rm", "--sync", NAME])?;
    let left = stage.ctr(&["content", "ls", "-q"])?;
    ensure!(left.is_empty(), "blobs are left:\n{left}");
    Ok(())
}

#[test]
fn archives_of_skopeo_are_taken() -> Result<()> {
    if !needs("archives_of_skopeo_are_taken", TOOLS) {
        return Ok(());
    }
    let stage = stage()?;
    let from = format!("oci:{}:2", stage.file("layout"));
    for kind in ["oci-archive", "docker-archive"] {
        let archive = stage.file(kind);
        skopeo(&["copy", "--quiet", &from, &format!("{kind}:{archive}:{NAME}")])?;
        is_taken(&stage, &archive).context(kind)?;
    }
    stage.scene.finish()
}

#[test]
fn archives_of_docker_save_are_taken() -> Result<()> {
    if !needs("archives_of_docker_save_are_taken", TOOLS) {
        return Ok(());
    }
    let stage = stage()?;
    let archive = stage.file("saved.tar");
    docker_save(&stage.scratch, &archive)?;
    is_taken(&stage, &archive)?;
    stage.scene.finish()
}

#[test]
fn compressed_archives_are_taken() -> Result<()> {
    if !needs("compressed_archives_are_taken", TOOLS) {
        return Ok(());
    }
    let stage = stage()?;
    let archive = stage.file("plain.tar");
    let from = format!("oci:{}:2", stage.file("layout"));
    skopeo(&["copy", "--quiet", &from, &format!("docker-archive:{archive}:{NAME}")])?;
    run("gzip", &["--keep", &archive])?;
    run("zstd", &["--quiet", &archive])?;
    for ending in ["gz", "zst"] {
        let said = stage.scene.ok(&["load", "--quiet", "--input", &format!("{archive}.{ending}")])?;
        ensure!(said == format!("Loaded image: {NAME}\n"), "{ending}: rctl load said {said:?}");
        ensure!(stage.scene.ok(&["run", "--rm", NAME, "sh", "-c", CHECK])? == CHECKED, "{ending}");
        stage.scene.ok(&["rmi", NAME])?;
    }
    stage.scene.finish()
}

#[test]
fn layers_of_zstd_are_taken() -> Result<()> {
    if !needs("layers_of_zstd_are_taken", TOOLS) {
        return Ok(());
    }
    let stage = stage()?;
    let from = format!("oci:{}:2", stage.file("layout"));
    let archive = stage.file("zstd.tar");
    let to = format!("oci-archive:{archive}:{NAME}");
    skopeo(&["copy", "--quiet", "--dest-compress-format", "zstd", &from, &to])?;
    let manifest = skopeo(&["inspect", "--raw", &to])?;
    ensure!(manifest.contains("tar+zstd"), "skopeo did not compress with zstd: {manifest}");
    is_taken(&stage, &archive)?;
    stage.scene.finish()
}

#[test]
fn what_is_saved_is_read_by_others() -> Result<()> {
    if !needs("what_is_saved_is_read_by_others", TOOLS) {
        return Ok(());
    }
    let stage = stage()?;
    let made = stage.file("made.tar");
    let from = format!("oci:{}:2", stage.file("layout"));
    skopeo(&["copy", "--quiet", &from, &format!("docker-archive:{made}:{NAME}")])?;
    stage.scene.ok(&["load", "--quiet", "--input", &made])?;
    let saved = stage.file("saved.tar");
    stage.scene.ok(&["save", "--output", &saved, NAME])?;
    let exported = stage.file("exported.tar");
    stage.ctr(&["images", "export", &exported, NAME])?;
    let config: Value = serde_json::from_str(&skopeo(&["inspect", "--config", &from])?)?;
    for (number, archive) in [&saved, &exported].into_iter().enumerate() {
        for kind in ["docker-archive", "oci-archive"] {
            let source = format!("{kind}:{archive}");
            let seen: Value = serde_json::from_str(&skopeo(&["inspect", "--config", &source])?)?;
            ensure!(seen["rootfs"] == config["rootfs"], "{source} has other layers: {seen}");
            let back = stage.scratch.join(format!("{kind}-{number}"));
            skopeo(&["copy", "--quiet", &source, &format!("oci:{}:2", back.display())])?;
            layers::check_layout(&stage.scratch, &back, "2").context(source)?;
        }
    }
    stage.scene.ok(&["rmi", NAME])?;
    is_taken(&stage, &saved)?;
    stage.scene.finish()
}

#[test]
fn what_is_no_image_is_refused() -> Result<()> {
    if !needs("what_is_no_image_is_refused", TOOLS) {
        return Ok(());
    }
    let stage = stage()?;
    let archive = stage.file("cut.tar");
    let from = format!("oci:{}:2", stage.file("layout"));
    skopeo(&["copy", "--quiet", &from, &format!("docker-archive:{archive}:{NAME}")])?;
    let whole = fs::read(&archive)?;
    fs::write(&archive, whole.get(..whole.len() / 2).context("half of it")?)?;
    let cut = stage.scene.rctl(&["load", "--quiet", "--input", &archive])?;
    ensure!(cut.code == 1 && cut.stdout.is_empty() && !cut.stderr.is_empty(), "{cut:?}");
    fs::write(&archive, "no archive at all")?;
    let other = stage.scene.rctl(&["load", "--quiet", "--input", &archive])?;
    ensure!(other.code == 1 && other.stdout.is_empty() && !other.stderr.is_empty(), "{other:?}");
    ensure!(stage.scene.ok(&["images", "--quiet"])?.is_empty(), "an image is there");
    stage.scene.finish()
}

/// An archive as `docker save` writes it since Docker 25: an OCI layout, and beside it the documents of the older form.
fn docker_save(scratch: &Path, archive: &str) -> Result<()> {
    let folder = scratch.join("docker-save");
    let from = format!("oci:{}:2", scratch.join("layout").display());
    // docker keeps layers as plain tar.
    let plain = format!("dir:{}", scratch.join("plain").display());
    skopeo(&["copy", "--quiet", "--dest-decompress", &from, &plain])?;
    let manifest: Value = serde_json::from_slice(&fs::read(scratch.join("plain/manifest.json"))?)?;
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let mut paths = Vec::new();
    for layer in manifest["layers"].as_array().context("layers")?.iter().chain([&manifest["config"]]) {
        let digest = layer["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
        let digest = digest.context("a digest of sha256")?;
        fs::copy(scratch.join("plain").join(digest), blobs.join(digest))?;
        paths.push(format!("blobs/sha256/{digest}"));
    }
    let config = paths.pop().context("a config")?;
    let bytes = serde_json::to_vec(&manifest)?;
    fs::write(blobs.join("manifest"), &bytes)?;
    let sum = run("sha256sum", &[text(&blobs.join("manifest"))?])?;
    let digest = sum.split(' ').next().context("a sum")?;
    fs::rename(blobs.join("manifest"), blobs.join(digest))?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": manifest["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json"),
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
            "annotations": {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": "2"},
        }],
    });
    fs::write(folder.join("index.json"), serde_json::to_vec(&index)?)?;
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)?;
    let documents = json!([{"Config": config, "RepoTags": [NAME], "Layers": paths}]);
    fs::write(folder.join("manifest.json"), serde_json::to_vec(&documents)?)?;
    run(
        "tar",
        &["-C", text(&folder)?, "-cf", archive, "blobs", "index.json", "manifest.json", "oci-layout"],
    )?;
    Ok(())
}
