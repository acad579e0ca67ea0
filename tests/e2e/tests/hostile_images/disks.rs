//! Disks that are full in the middle.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::hostile::{Blob, Entry, Image, Registry, gzip, tar};
use harness::{Scene, programs, sh};

use crate::{PATIENCE, load, nothing_is_left, refused};

fn mounted(folder: &Path, options: &str) -> Result<()> {
    let mut mount = std::process::Command::new("mount");
    sh::run(mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder))
}

/// A disk that is full in the middle is told as such; what came is taken back, and with room again all works.
#[test]
fn a_full_disk_leaves_nothing_half() -> Result<()> {
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    let lib = scene.root().join("lib");
    std::fs::create_dir(&lib)?;
    mounted(&lib, "size=24m")?;
    let done = full(&mut scene, &lib);
    let stopped = if scene.pid().is_some() { scene.stop_daemon() } else { Ok(()) };
    sh::run(std::process::Command::new("umount").arg(&lib)).context("take the small disk down")?;
    done?;
    stopped?;
    scene.finish()
}

/// The same for the folder of bundles and sockets: a container that there is no room for is told so, and takes nothing.
#[test]
fn a_full_state_folder_makes_no_container() -> Result<()> {
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    let run = scene.root().join("run");
    std::fs::create_dir(&run)?;
    mounted(&run, "size=1m")?;
    let done = crowded(&mut scene, &run).with_context(|| scene.log());
    if done.is_err() {
        // Nothing may keep the small disk.
        scene.rctl(&["rm", "--force", "before", "one", "two"])?;
    }
    let stopped = if scene.pid().is_some() { scene.stop_daemon() } else { Ok(()) };
    sh::run(std::process::Command::new("umount").arg(&run)).context("take the small disk down")?;
    done?;
    stopped?;
    scene.finish()
}

fn crowded(scene: &mut Scene, run: &Path) -> Result<()> {
    scene.start_daemon()?;
    e2e::load(scene)?;
    scene.ok(&["run", "--rm", "busybox", "true"])?;
    scene.ok(&["run", "-d", "--name", "before", "busybox", "sleep", "1000"])?;
    let lines = |nouns: &[&str]| -> Result<usize> { Ok(scene.ok(nouns)?.lines().count()) };
    let snapshots = lines(&["snapshots", "ls"])?;
    // All that there is room for.
    let filler = run.join("filler");
    let mut file = std::fs::File::create(&filler)?;
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    for name in ["one", "two"] {
        let said = scene.rctl(&["run", "-d", "--name", name, "busybox", "sleep", "1000"])?;
        ensure!(said.code == 125 && said.stderr.contains("No space left on device"), "{said:?}");
        ensure!(said.stderr.len() < 4096, "{} bytes of error", said.stderr.len());
    }
    // Those that run go on, and can be ended.
    let said = scene.rctl(&["exec", "before", "true"])?;
    ensure!(said.code != 0 && said.stderr.contains("No space left on device"), "{said:?}");
    ensure!(lines(&["tasks", "ls", "--quiet"])? == 1);
    scene.ok(&["kill", "before"])?;
    ensure!(scene.ok(&["wait", "before"])? == "137\n");
    std::fs::remove_file(&filler)?;
    // What was made before there was no room, docker keeps, too: it can be started, or removed.
    for name in ["one", "two"] {
        scene.rctl(&["rm", "--force", name])?;
        scene.ok(&["run", "-d", "--name", name, "busybox", "sleep", "1000"])?;
    }
    scene.ok(&["rm", "--force", "before", "one", "two"])?;
    let began = Instant::now();
    while lines(&["snapshots", "ls"])? != snapshots - 1 {
        ensure!(began.elapsed() < PATIENCE, "{}", scene.ok(&["snapshots", "ls"])?);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The disk of images and records is full while containers run: they go on, nothing half is made, and what is removed gives room.
#[test]
fn a_full_disk_stops_no_container_and_can_be_emptied() -> Result<()> {
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    let lib = scene.root().join("lib");
    std::fs::create_dir(&lib)?;
    mounted(&lib, "size=64m")?;
    let done = filled(&mut scene, &lib).with_context(|| scene.log());
    if done.is_err() {
        // Nothing may keep the small disk.
        scene.rctl(&["rm", "--force", "writer", "other", "late", "stopped", "removed"])?;
    }
    let stopped = if scene.pid().is_some() { scene.stop_daemon() } else { Ok(()) };
    sh::run(std::process::Command::new("umount").arg(&lib)).context("take the small disk down")?;
    done?;
    stopped?;
    scene.finish()
}

fn filled(scene: &mut Scene, lib: &Path) -> Result<()> {
    scene.start_daemon()?;
    e2e::load(scene)?;
    scene.ok(&["tag", "busybox", "other:1"])?;
    let script = "n=0; while sleep 0.01; do n=$((n+1)); echo line $n; echo $n > /dev/shm/n; done";
    let writer =
        scene.ok(&["run", "-d", "--name", "writer", "busybox", "sh", "-c", script])?.trim().to_owned();
    for name in ["stopped", "removed"] {
        scene.ok(&["run", "-d", "--name", name, "busybox", "sleep", "1000"])?;
    }
    scene.ok(&[
        "run",
        "--name",
        "other",
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/large",
        "bs=64k",
        "count=64",
    ])?;
    // All that there is room for, in files that go one by one.
    let mut fillers = Vec::new();
    'full: for number in 0.. {
        let path = lib.join(format!("filler{number}"));
        let mut file = std::fs::File::create(&path)?;
        fillers.push(path);
        for _ in 0..1024 {
            if file.write_all(&[1; 4096]).is_err() {
                break 'full;
            }
        }
    }
    let lines = || -> Result<u64> {
        Ok(scene.ok(&["exec", "writer", "cat", "/dev/shm/n"])?.trim().parse().unwrap_or_default())
    };
    let before = lines()?;
    let noise: Vec<u8> =
        (0..1u64 << 20).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let said = load(scene, &crate::one(vec![Entry::file("noise", &noise)]).archive("noise:1"))?;
    ensure!(said.code == 1 && said.stderr.contains("No space left on device"), "{said:?}");
    ensure!(!scene.ok(&["images"])?.contains("noise"));
    // What needs no room may be had, or is refused for what it is.
    let said = scene.rctl(&["run", "-d", "--name", "late", "busybox", "sleep", "1000"])?;
    ensure!(said.code == 0 || said.stderr.contains("No space left on device"), "{said:?}");
    ensure!(said.stderr.len() < 4096, "{} bytes of error", said.stderr.len());
    scene.rctl(&["rm", "--force", "late"])?;
    let said = scene.rctl(&["tag", "busybox", "more:1"])?;
    ensure!(said.code == 0 || said.stderr.contains("No space left on device"), "{said:?}");
    let began = Instant::now();
    while lines()? < before + 20 {
        ensure!(began.elapsed() < PATIENCE, "the container does not go on");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Nor is there room for a word more in the records: what runs can be stopped, and removed, all the same.
    let room = "x".repeat(3000);
    let label = |count: u32| scene.rctl(&["containers", "label", &writer, &format!("room={room}{count}")]);
    let full = (0..1000).map(label).find(|said| said.as_ref().is_ok_and(|said| said.code != 0));
    let full = full.context("the records find room without end")??;
    ensure!(full.stderr.contains("No space left on device"), "{full:?}");
    scene.ok(&["stop", "--time", "0", "stopped"])?;
    scene.ok(&["rm", "--force", "removed"])?;
    ensure!(scene.rctl(&["inspect", "removed"])?.code == 1);
    scene.ok(&["rm", "stopped"])?;
    // What goes makes room, which is how a person gets out of this.
    scene.ok(&["rm", "other"])?;
    scene.ok(&["rmi", "other:1"])?;
    scene.rctl(&["rmi", "more:1"])?;
    scene.ok(&["kill", "writer"])?;
    ensure!(scene.ok(&["wait", "writer"])? == "137\n");
    let began = Instant::now();
    while scene.rctl(&["run", "--rm", "--name", "late", "busybox", "true"])?.code != 0 {
        ensure!(began.elapsed() < PATIENCE, "what is removed gives no room");
        std::thread::sleep(Duration::from_millis(50));
    }
    // How it ended is known to the next daemon, too.
    scene.kill_daemon()?;
    scene.start_daemon()?;
    ensure!(scene.ok(&["inspect", "--format", "{{.State.ExitCode}}", "writer"])? == "137\n");
    ensure!(scene.ok(&["logs", "writer"])?.starts_with("line 1\nline 2\n"));
    for filler in fillers {
        std::fs::remove_file(filler)?;
    }
    scene.ok(&["start", "writer"])?;
    scene.ok(&["rm", "--force", "writer"])?;
    scene.ok(&["rmi", "busybox"])?;
    nothing_is_left(scene, "a full disk")
}

fn full(scene: &mut Scene, lib: &Path) -> Result<()> {
    scene.start_daemon()?;
    let noise: Vec<u8> =
        (0..16u64 << 20).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    // The first does not fit as a blob, the second not unpacked.
    let large = Image::of_tars(&[tar(&[Entry::file("large", &[&noise[..], &noise[..]].concat())])]);
    let mut large = large;
    let plain = tar(&[Entry::file("large", &[&noise[..], &noise[..]].concat())]);
    large.layers[0] = Blob::new("application/vnd.oci.image.layer.v1.tar", plain);
    let zeros = Image::of_tars(&[
        tar(&[Entry::file("small", b"x")]),
        tar(&[Entry::file("zeros", &vec![1; 64 << 20])]),
    ]);
    ensure!(gzip(&[0; 1024]).len() < 1024);
    for (what, image) in [("a blob", &large), ("an unpacked layer", &zeros)] {
        let registry = Registry::start(image, |_| None)?;
        let pulled = scene.rctl(&["pull", &registry.name()])?;
        refused(scene, what, &pulled, "No space left on device")?;
        refused(scene, what, &load(scene, &image.archive("x:1"))?, "No space left on device")?;
    }
    sh::run(std::process::Command::new("mount").args(["-o", "remount,size=400m"]).arg(lib))?;
    for image in [&large, &zeros] {
        let registry = Registry::start(image, |_| None)?;
        scene.ok(&["pull", &registry.name()])?;
    }
    Ok(())
}
