//! A real daemon in a temporary root, torn down to nothing; and the real peers around it.
//!
//! Everything is driven through programs, as a person drives it. What a scene leaves behind on the machine is an error of
//! whoever left it: [`Scene::finish`] says what.

pub mod faults;
pub mod hostile;
pub mod image;
pub mod peers;
pub mod picture;
pub mod points;
pub mod programs;
pub mod registry;
mod scene;
pub mod sh;
mod traces;

pub use scene::{Outcome, Scene};
pub use traces::{Traces, of_scene as left_by};

/// What is on the machine for one scene: mounts below its root, processes that name it, cgroups of its namespace; but for its daemon.
pub fn traces_of(scene: &Scene) -> anyhow::Result<Vec<String>> {
    let mut found = traces::of_scene(scene.root(), scene.namespace())?;
    found.retain(|trace| !trace.contains("/runtimed --config ") && !trace.contains(" --stand-by "));
    Ok(found)
}

/// Says by name that a test cannot run here, and why. Returns whether it can.
pub fn needs(test: &str, programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !sh::has(program)).collect();
    if missing.is_empty() {
        return true;
    }
    println!("SKIP {test}: this machine has no {}", missing.join(", "));
    false
}
