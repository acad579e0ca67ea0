//! All that is there at one instant: records, files, and what the kernel keeps for containers.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use proto_containerd::services;
use sha2::{Digest, Sha256};

use crate::world::{PATIENCE, World};

/// Things by name, sorted.
pub type Facts = BTreeSet<String>;

/// What is there now.
pub fn take(world: &World) -> Result<Facts> {
    let mut facts = Facts::new();
    records(world, &mut facts)?;
    for container in world.containers()? {
        facts.insert(format!("container {} {} {}", container.name, container.state, container.pid));
    }
    for folder in ["lib", "run"] {
        files(world.scene.root(), &world.scene.root().join(folder), &mut facts)?;
    }
    let executors = Path::new("/run/containerd/runc").join(world.scene.namespace());
    files(Path::new("/run/containerd"), &executors, &mut facts)?;
    world.note_tasks();
    facts.extend(world.sockets().iter().map(|socket| format!("socket {}", socket.display())));
    facts.extend(harness::traces_of(&world.scene)?);
    Ok(facts)
}

fn records(world: &World, facts: &mut Facts) -> Result<()> {
    let found = world.ask(|client| async move {
        let mut found = Vec::new();
        let leases = client.leases().list(services::leases::ListRequest::default()).await?.into_inner();
        found.extend(leases.leases.into_iter().map(|lease| format!("lease {}", lease.id)));
        let images = client.images().list(services::images::ListImagesRequest::default()).await?.into_inner();
        found.extend(images.images.into_iter().map(|image| format!("image {}", image.name)));
        let containers = services::containers::ListContainersRequest::default();
        let containers = client.containers().list(containers).await?.into_inner();
        found.extend(containers.containers.into_iter().map(|container| format!("record {}", container.id)));
        let tasks = client.tasks().list(services::tasks::ListTasksRequest::default()).await?.into_inner();
        found.extend(tasks.tasks.into_iter().map(|task| format!("task {}", task.id)));
        let statuses = services::content::ListStatusesRequest::default();
        let statuses = client.content().list_statuses(statuses).await?.into_inner();
        found.extend(statuses.statuses.into_iter().map(|status| format!("ingest {}", status.r#ref)));
        let mut blobs =
            client.content().list(services::content::ListContentRequest::default()).await?.into_inner();
        while let Some(part) = blobs.message().await? {
            found.extend(part.info.into_iter().map(|blob| format!("blob {} {}", blob.digest, blob.size)));
        }
        for snapshotter in ["overlayfs", "native"] {
            let request = services::snapshots::ListSnapshotsRequest {
                snapshotter: snapshotter.into(),
                filters: vec![],
            };
            let mut snapshots = client.snapshots().list(request).await?.into_inner();
            while let Some(part) = snapshots.message().await? {
                let named =
                    |snapshot: services::snapshots::Info| format!("{snapshotter} snapshot {}", snapshot.name);
                found.extend(part.info.into_iter().map(named));
            }
        }
        Ok(found)
    })?;
    facts.extend(found);
    Ok(())
}

/// Every path but those of the records' store, and those within snapshots, whose number is enough.
fn files(root: &Path, folder: &Path, facts: &mut Facts) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        // Somebody is removing it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("list {}", folder.display()))?,
    };
    let mut spare = 0;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // One folder is made ahead for the next snapshot; the daemon's next start takes it away.
        spare += usize::from(name.contains("overlayfs/snapshots/new-"));
        if name.contains("overlayfs/snapshots/new-") && spare == 1 {
            continue;
        }
        // A namespace's folder may stay once it was used.
        if is_folder && !is_transient(&name) {
            files(root, &path, facts)?;
        } else {
            facts.insert(format!("file {name}"));
        }
    }
    Ok(())
}

/// Folders of which the name says enough.
fn is_transient(name: &str) -> bool {
    let in_snapshots = name.contains("/snapshots/") || name.contains("snapshotter");
    name.ends_with("/rootfs")
        || name.ends_with("lib/metadata")
        // Of a client that was killed before it could fetch it; their number is bounded.
        || name.ends_with("run/traces")
        || (in_snapshots && name.rsplit('/').next().is_some_and(|last| last.parse::<u64>().is_ok()))
}

/// Waits until just that is there which was before, and says what is too much and what is missing if it does not come to that.
pub fn settle(world: &World, before: &Facts) -> Result<()> {
    let began = Instant::now();
    loop {
        let now = take(world)?;
        if now == *before {
            return Ok(());
        }
        if began.elapsed() > PATIENCE / 4 {
            let lines = |what: &str, facts: Vec<&String>| {
                facts.into_iter().map(|fact| format!("\n  {what}: {fact}")).collect::<String>()
            };
            let (more, less) = (now.difference(before).collect(), before.difference(&now).collect());
            bail!("it is not as before{}{}", lines("left", more), lines("missing", less));
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Every blob's file is what its name says.
pub fn blobs_are_whole(world: &World) -> Result<()> {
    let folder = world.scene.root().join("lib").join("io.containerd.content.v1.content/blobs/sha256");
    for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?.flatten() {
        // One that is being removed is nobody's any more.
        let Ok(bytes) = std::fs::read(entry.path()) else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        ensure!(
            hex::encode(Sha256::digest(&bytes)) == name,
            "the blob {name} of {} bytes is another",
            bytes.len()
        );
    }
    Ok(())
}
