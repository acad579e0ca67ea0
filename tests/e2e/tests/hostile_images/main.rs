//! Images, archives and registries that mean harm, through a real daemon: each gets an error that names what is wrong, and
//! leaves nothing behind.

mod archives;
mod configs;
mod disks;
mod registries;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::hostile::{Entry, Image};
use harness::{Outcome, Scene, programs};

/// How long what a failure leaves may take to be collected.
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "hunter2-is-secret";

/// A daemon with these settings.
fn scene(settings: &str) -> Result<Scene> {
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    scene.configure(settings);
    scene.start_daemon()?;
    Ok(scene)
}

fn load(scene: &Scene, archive: &[u8]) -> Result<Outcome> {
    let file = scene.root().join("archive.tar");
    std::fs::write(&file, archive)?;
    scene.rctl(&["load", "--quiet", "--input", &file.display().to_string()])
}

/// Files of blobs, unfinished blobs and snapshots, as they lie on disk.
fn files(scene: &Scene) -> Result<Vec<PathBuf>> {
    let lib = scene.root().join("lib");
    let content = lib.join("io.containerd.content.v1.content");
    let folders = [
        content.join("blobs/sha256"),
        content.join("ingest"),
        lib.join("io.containerd.snapshotter.v1.overlayfs/snapshots"),
        lib.join("tmpmounts"),
    ];
    let (mut found, mut spare) = (Vec::new(), 0);
    for folder in folders.iter().filter(|folder| folder.exists()) {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // One folder is made ahead for the next snapshot; and one lies below all roots.
            spare += usize::from(name.starts_with("new-"));
            if name != "mount-points" && (!name.starts_with("new-") || spare > 1) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// No name, blob, snapshot, lease or file is left, or will be in a moment.
fn nothing_is_left(scene: &Scene, what: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut left: Vec<String> = files(scene)?.iter().map(|path| path.display().to_string()).collect();
        // What lies on disk is quick to look at; the rest goes before it.
        if left.is_empty() {
            for noun in [&["images", "--quiet"][..], &["content", "ls", "-q"], &["leases", "ls", "-q"]] {
                left.extend(scene.ok(noun)?.lines().map(str::to_owned));
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{what}: left behind: {left:#?}\n{}", scene.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn refused(scene: &Scene, what: &str, said: &Outcome, words: &str) -> Result<()> {
    ensure!(said.code == 1, "{what}: exit code {}\n{}{}", said.code, said.stdout, said.stderr);
    ensure!(said.stderr.contains(words), "{what}: not {words:?} in {}", said.stderr);
    ensure!(said.stderr.len() < 4096, "{what}: {} bytes of error", said.stderr.len());
    nothing_is_left(scene, what)
}

fn one(entries: Vec<Entry>) -> Image {
    Image::of(&[entries])
}
