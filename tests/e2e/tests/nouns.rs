//! ctr's nouns in rctl, on what rctl's verbs made.

use anyhow::{Result, ensure};
use e2e::scene;
use serde_json::Value;

#[test]
fn namespaces_come_and_go() -> Result<()> {
    let scene = scene()?;
    ensure!(scene.ok(&["namespaces", "ls", "-q"])?.lines().any(|name| name == scene.namespace()));
    scene.ok(&["namespace", "create", "other", "a=b"])?;
    scene.ok(&["ns", "label", "other", "c=d", "a="])?;
    let listed = scene.ok(&["ns", "ls"])?;
    ensure!(listed.starts_with("NAME") && listed.contains("c=d") && !listed.contains("a=b"), "{listed}");
    let taken = scene.rctl(&["ns", "create", "other"])?;
    ensure!(taken.code == 1 && taken.stderr.contains("already exists"), "{taken:?}");
    let full = scene.rctl(&["ns", "rm", scene.namespace()])?;
    ensure!(full.code == 1 && full.stderr.contains("must be empty"), "{full:?}");
    ensure!(scene.ok(&["ns", "rm", "other"])? == "other\n");
    scene.finish()
}

#[test]
fn content_goes_in_and_out() -> Result<()> {
    let scene = scene()?;
    let digests = scene.ok(&["content", "ls", "-q"])?;
    ensure!(digests.lines().count() == 3, "a manifest, a config and a layer: {digests}");
    // printf blob | sha256sum
    let digest = "sha256:fa2c8cc4f28176bbeed4b736df569a34c79cd3723e9ec42f9674b4d46ac6b8b8";
    let wrong = scene.rctl_with(&["content", "ingest", "--expected-digest", digest, "wrong"], b"other")?;
    ensure!(wrong.code == 1 && wrong.stderr.contains("digest"), "{wrong:?}");
    ensure!(
        scene.ok(&["content", "active"])?.contains("wrong"),
        "what was not committed can be gone on with"
    );
    scene.ok(&["content", "abort", "wrong"])?;
    // A lease keeps it while nothing else names it.
    scene
        .rctl_with(
            &["content", "ingest", "--expected-digest", digest, "--expected-size", "4", "right"],
            b"blob",
        )?
        .ok()?;
    ensure!(scene.ok(&["content", "get", digest])? == "blob");
    ensure!(scene.ok(&["content", "label", digest, "a=b"])? == "a=b\n");
    ensure!(scene.ok(&["content", "ls", "labels.a==b"])?.contains(digest));
    ensure!(scene.ok(&["content", "rm", digest])? == format!("{digest}\n"));
    let gone = scene.rctl(&["content", "get", digest])?;
    ensure!(gone.code == 1 && gone.stderr.contains("not found"), "{gone:?}");
    scene.finish()
}

#[test]
fn snapshots_stand_on_each_other() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["create", "--name", "box", "busybox"])?;
    let tree = scene.ok(&["snapshots", "tree"])?;
    let lines: Vec<&str> = tree.lines().collect();
    ensure!(lines.len() == 2 && lines[0].starts_with(" sha256:") && lines[1].starts_with("  \\_ "), "{tree}");
    let (layer, root) = (lines[0].trim(), lines[1].trim_start_matches("  \\_ "));
    let listed = scene.ok(&["snapshot", "ls"])?;
    ensure!(listed.contains("Committed") && listed.contains("Active"), "{listed}");
    let info: Value = serde_json::from_str(&scene.ok(&["snapshots", "info", root])?)?;
    ensure!(info["Kind"] == "Active" && info["Parent"] == layer, "{info}");
    let mount = scene.ok(&["snapshots", "mounts", "/target", root])?;
    ensure!(
        mount.starts_with("mount -t overlay overlay /target -o ") && mount.contains("lowerdir="),
        "{mount}"
    );
    ensure!(scene.ok(&["snapshots", "usage", "-b", layer])?.lines().count() == 2);
    let used = scene.rctl(&["snapshots", "rm", layer])?;
    ensure!(used.code == 1 && used.stderr.contains("cannot remove snapshot with child"), "{used:?}");
    scene.ok(&["rm", "box"])?;
    scene.finish()
}

#[test]
fn leases_come_and_go() -> Result<()> {
    let scene = scene()?;
    ensure!(scene.ok(&["leases", "create", "--id", "mine", "a=b"])? == "mine\n");
    let listed = scene.ok(&["lease", "ls"])?;
    ensure!(listed.contains("mine") && listed.contains("a=b,containerd.io/gc.expire="), "{listed}");
    let id = scene.ok(&["leases", "create", "--expires", "0"])?;
    ensure!(scene.ok(&["leases", "ls", "-q"])?.lines().count() == 2);
    ensure!(scene.ok(&["leases", "rm", "--sync", "mine", id.trim()])? == format!("mine\n{id}"));
    ensure!(scene.ok(&["leases", "ls", "-q"])?.is_empty());
    scene.finish()
}

#[test]
fn containers_and_tasks_are_containerds() -> Result<()> {
    let scene = scene()?;
    let id = scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?;
    let id = id.trim();
    let listed = scene.ok(&["containers", "ls"])?;
    ensure!(
        listed.starts_with("CONTAINER") && listed.contains("docker.io/library/busybox:latest"),
        "{listed}"
    );
    let info: Value = serde_json::from_str(&scene.ok(&["c", "info", id])?)?;
    ensure!(info["Spec"]["process"]["args"] == serde_json::json!(["sleep", "1000"]), "{info:#}");
    ensure!(scene.ok(&["containers", "label", id, "x=y"])?.contains("x=y"));
    ensure!(scene.ok(&["ps", "--filter", "label=x=y", "--format", "{{.Names}}"])? == "box\n");
    let tasks = scene.ok(&["tasks", "ls"])?;
    ensure!(tasks.starts_with("TASK") && tasks.contains(id) && tasks.contains("RUNNING"), "{tasks}");
    scene.ok(&["tasks", "pause", id])?;
    ensure!(scene.ok(&["task", "ls"])?.contains("PAUSED"));
    scene.ok(&["tasks", "resume", id])?;
    ensure!(scene.ok(&["t", "ps", id])?.lines().count() == 2);
    let metrics = scene.ok(&["tasks", "metrics", id])?;
    ensure!(
        metrics.contains("METRIC") && metrics.contains("pids.current") && metrics.contains("memory"),
        "{metrics}"
    );
    let json: Value = serde_json::from_str(&scene.ok(&["tasks", "metrics", "--format", "json", id])?)?;
    ensure!(json["pids"]["current"] == 1, "{json}");
    if harness::needs("metrics beside ctr's", &["ctr"]) {
        let text = scene.ctr(std::path::Path::new("ctr"), &["tasks", "metrics", "--format", "json", id])?;
        let theirs: Value = serde_json::from_str(&text)?;
        ensure!(theirs["pids"] == json["pids"], "{theirs} and {json}");
        for part in ["cpu", "memory"] {
            let keys = |value: &Value| {
                value[part].as_object().map(|object| object.keys().cloned().collect::<Vec<_>>())
            };
            ensure!(keys(&theirs) == keys(&json), "{theirs} and {json}");
        }
    }
    let running = scene.rctl(&["containers", "rm", id])?;
    ensure!(
        running.code == 1 && running.stderr.contains("cannot delete a non stopped container"),
        "{running:?}"
    );
    scene.ok(&["tasks", "kill", "-s", "KILL", id])?;
    ensure!(scene.ok(&["wait", "box"])? == "137\n");
    scene.ok(&["start", "box"])?;
    scene.ok(&["tasks", "rm", "--force", id])?;
    ensure!(scene.ok(&["tasks", "ls", "-q"])?.is_empty());
    scene.ok(&["containers", "rm", id])?;
    ensure!(scene.ok(&["ps", "-aq"])?.is_empty());
    ensure!(scene.ok(&["snapshots", "ls"])?.lines().count() == 2, "the root's snapshot is left");
    // Its name is free again.
    scene.ok(&["run", "--rm", "--name", "box", "busybox", "true"])?;
    ensure!(scene.ok(&["plugins", "ls"])?.contains("io.containerd.snapshotter.v1"));
    ensure!(scene.ok(&["plugins", "ls", "-q", "id==overlayfs"])? == "overlayfs\n");
    scene.finish()
}
