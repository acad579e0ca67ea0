//! What a daemon that died left half made, here made by hand with containerd's client.

use std::path::Path;

use anyhow::{Result, ensure};
use harness::{Scene, needs};

#[test]
fn a_root_without_its_container_goes_when_the_daemon_starts() -> Result<()> {
    if !needs("a_root_without_its_container_goes_when_the_daemon_starts", &["ctr"]) {
        return Ok(());
    }
    let mut scene = Scene::start()?;
    let ctr = Path::new("ctr");
    for key in ["half", "others"] {
        scene.ctr(ctr, &["snapshots", "prepare", key])?;
    }
    scene.ctr(ctr, &["snapshots", "label", "half", "containerd.io/gc.root=runtimed"])?;
    scene.ctr(ctr, &["snapshots", "label", "others", "containerd.io/gc.root=somebody"])?;
    scene.kill_daemon()?;
    scene.start_daemon()?;
    let left = scene.ctr(ctr, &["snapshots", "ls"])?;
    ensure!(!left.contains("half") && left.contains("others"), "{left}");
    scene.ctr(ctr, &["snapshots", "rm", "others"])?;
    scene.finish()
}
