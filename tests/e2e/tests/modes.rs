//! Other users of the host: they open no socket, and read no bundle, blob, record or log.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::scene;
use harness::Scene;

/// A user and a group that have nothing.
const NOBODY: &[&str] = &["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
/// Says which of its arguments may be read, or written to if they are sockets.
const PROBE: &str = r#"for p; do if [ -S "$p" ]; then [ -w "$p" ] && echo "$p"; elif [ -r "$p" ]; then echo "$p"; fi; done; true"#;

/// Files and sockets below `folder`; of a root, only that it is there.
fn below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        // What an exec had is removed as it ends.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("list {}", folder.display()))?,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_root = ["fs", "rootfs"].iter().any(|name| path.ends_with(name));
        if is_folder && !is_root {
            below(&path, found)?;
        } else if !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            found.push(path);
        }
    }
    Ok(())
}

/// What is there of a daemon with a container that runs, and of its shim and executor.
fn everything(scene: &Scene) -> Result<Vec<PathBuf>> {
    let socket = scene.socket();
    let mut all = vec![socket.with_extension("sock.ttrpc"), socket];
    for folder in ["lib", "run"] {
        below(&scene.root().join(folder), &mut all)?;
    }
    below(&Path::new("/run/containerd/runc").join(scene.namespace()), &mut all)?;
    Ok(all)
}

/// What alone is in a folder.
fn only(folder: &Path) -> Result<PathBuf> {
    Ok(std::fs::read_dir(folder)?.next().with_context(|| format!("{} is empty", folder.display()))??.path())
}

#[test]
fn other_users_open_nothing_and_read_nothing() -> Result<()> {
    if !harness::needs("other_users_open_nothing_and_read_nothing", &["setpriv"]) {
        return Ok(());
    }
    let scene = scene()?;
    // The daemon's own folders are what keeps them out, not the test's.
    std::fs::set_permissions(scene.root(), std::fs::Permissions::from_mode(0o755))?;
    let script = "echo a word; sleep 100000";
    scene.ok(&["run", "-d", "--name", "box", "-e", "PASSWORD=secret", "busybox", "sh", "-c", script])?;
    // The log is made with its first word.
    e2e::until("the word in the log", &scene, || Ok(scene.ok(&["logs", "box"])?.contains("a word")))?;
    let all = everything(&scene)?;
    let shown = |path: &PathBuf| path.display().to_string();
    for part in ["/blobs/sha256/", "/config.json", "/metadata/log", ".ttrpc", "/run/s/", "state.json"] {
        ensure!(all.iter().any(|path| shown(path).contains(part)), "there is no {part} in {all:#?}");
    }
    let log = scene.ok(&["inspect", "--format", "{{.LogPath}}", "box"])?;
    ensure!(all.contains(&PathBuf::from(log.trim())), "the log {log:?} is not in {all:#?}");
    let mut probe = Command::new("setpriv");
    probe.args(NOBODY).args(["sh", "-c", PROBE, "probe"]).args(&all);
    let open = harness::sh::read(&mut probe)?;
    // Some files are for every user of a container, and an id is no secret.
    let meant = ["/hosts", "/hostname", "/resolv.conf", "/lib/uuid"];
    let open: Vec<&str> = open.lines().filter(|path| !meant.iter().any(|end| path.ends_with(end))).collect();
    ensure!(open.is_empty(), "anybody may read or open {open:#?}");
    scene.ok(&["rm", "--force", "box"])?;
    scene.finish()
}

/// Permissions as they are written down.
#[test]
fn sockets_bundles_and_blobs_have_their_modes() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "100000"])?;
    let mut checked = Vec::new();
    for path in everything(&scene)? {
        // What is on its way may be gone by now.
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        let name = path.display().to_string();
        let folder = std::fs::metadata(path.parent().context("a folder")?)?;
        let expected = match () {
            () if path == scene.socket() || name.ends_with("sock.ttrpc") => 0o660,
            () if name.contains("/run/s/") && found.file_type().is_socket() => 0o600,
            () if name.contains("/blobs/sha256/") => 0o444,
            () if name.ends_with("/lib/lock") || name.ends_with("/config.json") => 0o600,
            () if name.starts_with("/run/containerd/runc/") => 0o600,
            () => continue,
        };
        ensure!(found.mode() & 0o7777 == expected, "{name} has {:o}", found.mode() & 0o7777);
        ensure!((found.uid(), found.gid(), folder.uid()) == (0, 0, 0), "{name} is not root's");
        checked.push(expected);
    }
    let bundle = scene.root().join("run/io.containerd.runtime.v2.task").join(scene.namespace());
    for folder in [scene.root().join("lib/io.containerd.content.v1.content"), only(&bundle)?] {
        let mode = std::fs::metadata(&folder)?.mode() & 0o7777;
        ensure!(mode == 0o700, "{} has {mode:o}", folder.display());
    }
    // Two sockets, a blob and more, the shim's socket, the lock, config.json and the executor's state.
    for (expected, least) in [(0o660, 2), (0o444, 1), (0o600, 4)] {
        let count = checked.iter().filter(|mode| **mode == expected).count();
        ensure!(count >= least, "{count} had {expected:o}: {checked:?}");
    }
    scene.ok(&["rm", "--force", "box"])?;
    scene.finish()
}

/// Whom a person lets in by the configuration is let in, to clients' socket and to nothing else.
#[test]
fn the_sockets_group_is_as_configured() -> Result<()> {
    if !harness::needs("the_sockets_group_is_as_configured", &["setpriv"]) {
        return Ok(());
    }
    let mut scene = Scene::with_programs(&harness::programs::folder()?)?;
    scene.configure_grpc("gid = 65533\n");
    scene.start_daemon()?;
    std::fs::set_permissions(scene.root(), std::fs::Permissions::from_mode(0o755))?;
    let (socket, shims) = (scene.socket(), scene.socket().with_extension("sock.ttrpc"));
    let open_to = |group: &str| {
        let mut probe = Command::new("setpriv");
        probe.args([
            "--reuid",
            "65534",
            "--regid",
            group,
            "--clear-groups",
            "--",
            "sh",
            "-c",
            PROBE,
            "probe",
        ]);
        harness::sh::read(probe.args([&socket, &shims]))
    };
    ensure!(open_to("65533")? == format!("{}\n", socket.display()), "{}", open_to("65533")?);
    ensure!(open_to("65534")?.is_empty(), "{}", open_to("65534")?);
    scene.finish()
}
