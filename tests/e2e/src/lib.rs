//! Whole flows through all four programs: what their tests share.

mod terminal;
mod usage;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{Scene, image};

pub use terminal::Terminal;
pub use usage::{Use, shims};

/// A scene with the small image loaded as `busybox`.
pub fn scene() -> Result<Scene> {
    let scene = Scene::start()?;
    load(&scene)?;
    Ok(scene)
}

/// The same, and no program stands by for the next container: for tests that count what is open.
pub fn scene_without_standby() -> Result<Scene> {
    let mut scene = Scene::with_programs(&harness::programs::folder()?)?;
    scene.configure("[runtime]\nstandby = false\n");
    scene.start_daemon()?;
    load(&scene)?;
    Ok(scene)
}

/// Loads the small image as `busybox`.
pub fn load(scene: &Scene) -> Result<()> {
    let scratch = scene.root().join("scratch");
    std::fs::create_dir_all(&scratch)?;
    let archive = image::busybox_archive(&scratch)?;
    scene.ok(&["load", "--input", &archive.display().to_string()])?;
    Ok(())
}

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` says so; `what` is what did not come about.
///
/// # Errors
/// It takes longer than a minute; whatever `done` says.
pub fn until(what: &str, scene: &Scene, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !done()? {
        ensure!(began.elapsed() < PATIENCE, "{what} does not come about\n{}", scene.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
