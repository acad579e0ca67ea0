//! Whole flows through all four programs: what their tests share.

mod terminal;
mod usage;

use anyhow::Result;
use harness::{Scene, image};

pub use terminal::Terminal;
pub use usage::{Use, shims};

/// A scene with the small image loaded as `busybox`.
pub fn scene() -> Result<Scene> {
    let scene = Scene::start()?;
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
