//! Debian's registry, open and closed, asked by `rctl` and by `ctr`; images that skopeo put there.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use harness::needs;
use harness::registry::Registry;
use interop::layers::{self, CHECK, CHECKED};
use interop::{Stage, run, text};
use serde_json::{Value, json};

const TOOLS: &[&str] = &["ctr", "docker-registry", "htpasswd", "umoci", "skopeo", "busybox", "sha256sum"];

/// A daemon, and the image in the layout `layout` of the stage's folder.
fn stage() -> Result<Stage> {
    let stage = Stage::new()?;
    layers::make(&stage.scratch, &stage.scratch.join("layout"))?;
    Ok(stage)
}

fn digest_of(name: &str) -> Result<String> {
    let said = run(
        "skopeo",
        &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{name}")],
    )?;
    Ok(said.trim().to_owned())
}

/// Runs the image with both clients and removes it.
fn is_what_was_made(stage: &Stage, name: &str) -> Result<()> {
    let seen = stage.scene.ok(&["run", "--rm", name, "sh", "-c", CHECK])?;
    ensure!(seen == CHECKED, "rctl run saw {seen:?}");
    let seen = stage.ctr(&["run", "--rm", name, "one", "sh", "-c", CHECK])?;
    ensure!(seen == CHECKED, "ctr run saw {seen:?}");
    stage.ctr(&["images", "rm", "--sync", name])?;
    let left = stage.ctr(&["content", "ls", "-q"])?;
    ensure!(left.is_empty(), "blobs are left:\n{left}");
    Ok(())
}

#[test]
fn images_are_pulled_by_tag_and_by_digest() -> Result<()> {
    if !needs("images_are_pulled_by_tag_and_by_digest", TOOLS) {
        return Ok(());
    }
    let stage = stage()?;
    let registry = Registry::start(&stage.scratch)?;
    let tagged = registry.push(&stage.scratch.join("layout"), "2", "some/layers")?;
    let digest = digest_of(&tagged)?;
    let digested = format!("127.0.0.1:{}/some/layers@{digest}", registry.port);
    for name in [&tagged, &digested] {
        let said = stage.scene.ok(&["pull", name])?;
        ensure!(
            said.contains(&format!("Digest: {digest}\n")) && said.ends_with(&format!("{name}\n")),
            "{said}"
        );
        let again = stage.scene.ok(&["pull", name])?;
        ensure!(again.contains(&format!("Status: Image is up to date for {name}\n")), "{again}");
        is_what_was_made(&stage, name).context("pulled by rctl")?;
        stage.ctr(&["images", "pull", "--plain-http", name])?;
        is_what_was_made(&stage, name).context("pulled by ctr")?;
    }
    drop(registry);
    stage.scene.finish()
}

#[test]
fn what_is_not_there_is_said() -> Result<()> {
    if !needs("what_is_not_there_is_said", TOOLS) {
        return Ok(());
    }
    let stage = stage()?;
    let registry = Registry::start(&stage.scratch)?;
    let name = registry.push(&stage.scratch.join("layout"), "1", "some/layers")?;
    let host = format!("127.0.0.1:{}", registry.port);
    let other = format!("sha256:{}", "0".repeat(64));
    for missing in
        [name.replace(":1", ":none"), format!("{host}/no/such:1"), format!("{host}/some/layers@{other}")]
    {
        let refused = stage.scene.rctl(&["pull", &missing])?;
        ensure!(
            refused.code == 1 && refused.stderr.contains(&missing) && refused.stderr.contains("not found"),
            "{refused:?}"
        );
    }
    drop(registry);
    let refused = stage.scene.rctl(&["pull", &name])?;
    ensure!(refused.code == 1 && refused.stderr.contains(&host), "{refused:?}");
    stage.scene.finish()
}

#[test]
fn a_closed_registry_wants_credentials() -> Result<()> {
    if !needs("a_closed_registry_wants_credentials", TOOLS) {
        return Ok(());
    }
    let stage = stage()?;
    let registry = Registry::start_with_account(&stage.scratch, "ann", "secret:1")?;
    let host = format!("127.0.0.1:{}", registry.port);
    let name = registry.push(&stage.scratch.join("layout"), "2", "some/layers")?;
    for wrong in [&[][..], &["--creds", "ann:wrong"], &["--creds", "nobody:secret:1"]] {
        let refused = stage.scene.rctl(&[&["pull"], wrong, &[&name]].concat())?;
        ensure!(
            refused.code == 1
                && refused.stderr.contains(&host)
                && refused.stderr.contains("authorization failed"),
            "{refused:?}"
        );
        ensure!(!refused.stderr.contains("wrong") && !refused.stderr.contains("secret"), "{refused:?}");
    }
    ensure!(!stage.scene.log().contains("secret"), "a password is in the log");
    stage.scene.ok(&["pull", "--creds", "ann:secret:1", &name])?;
    is_what_was_made(&stage, &name).context("pulled by rctl")?;
    let refused = stage.ctr_outcome(&["images", "pull", "--plain-http", "--user", "ann:wrong", &name])?;
    ensure!(refused.code == 1, "{refused:?}");
    stage.ctr(&["images", "pull", "--plain-http", "--user", "ann:secret:1", &name])?;
    is_what_was_made(&stage, &name).context("pulled by ctr")?;
    drop(registry);
    stage.scene.finish()
}

#[test]
fn a_platform_is_picked_from_an_index() -> Result<()> {
    if !needs("a_platform_is_picked_from_an_index", TOOLS) {
        return Ok(());
    }
    let stage = stage()?;
    let (own, other) = if cfg!(target_arch = "aarch64") { ("arm64", "amd64") } else { ("amd64", "arm64") };
    let foreign = make_index(&stage, own, other)?;
    let registry = Registry::start(&stage.scratch)?;
    let name = registry.push(&stage.scratch.join("layout"), "index", "some/index")?;
    stage.scene.ok(&["pull", &name])?;
    ensure!(architecture(&stage, &name)? == own);
    let blobs = stage.ctr(&["content", "ls", "-q"])?;
    ensure!(!blobs.contains(&foreign), "what is for {other} was fetched too:\n{blobs}");
    is_what_was_made(&stage, &name).context("pulled by rctl")?;
    stage.ctr(&["images", "pull", "--plain-http", &name])?;
    is_what_was_made(&stage, &name).context("pulled by ctr")?;
    stage.scene.ok(&["pull", "--platform", &format!("linux/{other}"), &name])?;
    ensure!(stage.ctr(&["content", "ls", "-q"])?.contains(&foreign), "linux/{other} was not fetched");
    stage.ctr(&["images", "rm", "--sync", &name])?;
    stage.scene.ok(&["pull", "--all-platforms", &name])?;
    ensure!(stage.ctr(&["images", "check"])?.contains("complete"));
    ensure!(stage.ctr(&["content", "ls", "-q"])?.contains(&foreign), "linux/{other} was not fetched");
    stage.ctr(&["images", "rm", "--sync", &name])?;
    let refused = stage.scene.rctl(&["pull", "--platform", "linux/s390x", &name])?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("linux/s390x") && refused.stderr.contains(&name),
        "{refused:?}"
    );
    drop(registry);
    stage.scene.finish()
}

fn architecture(stage: &Stage, name: &str) -> Result<String> {
    let all: Value = serde_json::from_str(&stage.scene.ok(&["inspect", "--type", "image", name])?)?;
    Ok(all[0]["Architecture"].as_str().unwrap_or_default().to_owned())
}

/// Puts the tag `index` into the layout: both layers for `own`, the base alone for `other`. Returns the digest of the manifest for
/// `other`.
fn make_index(stage: &Stage, own: &str, other: &str) -> Result<String> {
    let layout = stage.scratch.join("layout");
    let image = |tag: &str| format!("{}:{tag}", layout.display());
    run("umoci", &["config", "--image", &image("base"), "--tag", "other", "--architecture", other])?;
    run("umoci", &["config", "--image", &image("2"), "--tag", "own", "--architecture", own])?;
    let path = layout.join("index.json");
    let mut documents: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let manifests = documents["manifests"].as_array_mut().context("manifests")?;
    let find = |tag: &str, architecture: &str| -> Result<Value> {
        let tagged = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
        let mut entry = manifests.iter().find(tagged).context("the tag is in the index")?.clone();
        entry["annotations"] = json!({});
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        Ok(entry)
    };
    let parts = [find("other", other)?, find("own", own)?];
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": kind, "manifests": parts}))?;
    let digest = put(&layout, &index)?;
    manifests.push(json!({
        "mediaType": kind,
        "digest": format!("sha256:{digest}"),
        "size": index.len(),
        "annotations": {"org.opencontainers.image.ref.name": "index"},
    }));
    fs::write(&path, serde_json::to_vec(&documents)?)?;
    parts[0]["digest"].as_str().map(str::to_owned).context("a digest")
}

/// Writes a blob into a layout.
fn put(layout: &Path, bytes: &[u8]) -> Result<String> {
    let file = layout.join("new-blob");
    fs::write(&file, bytes)?;
    let sum = run("sha256sum", &[text(&file)?])?;
    let digest = sum.split(' ').next().context("a sum")?;
    fs::rename(&file, layout.join("blobs/sha256").join(digest))?;
    Ok(digest.to_owned())
}
