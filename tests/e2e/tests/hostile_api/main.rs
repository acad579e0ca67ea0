//! Clients and shims that mean harm, at a real daemon's sockets: each is refused by name, leaves nothing half made, costs the daemon no more memory
//! than its limits say, and does not disturb others.

mod calls;
mod elsewhere;
mod frames;
mod limits;
mod shown;
mod wire;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use client::Client;
use harness::Scene;
use tonic::Status;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Kilobytes that a daemon may have after all that was done to it. Idle it has some ten thousand; a message is 16 MiB at most.
const MEMORY: u64 = 300_000;

/// A client of the scene's daemon.
async fn connect(scene: &Scene) -> Result<Client> {
    Client::connect(&scene.socket(), scene.namespace()).await.context("connect to the daemon")
}

/// The daemon answers, has no more memory than it may, and nobody panicked in it.
fn is_well(scene: &Scene) -> Result<()> {
    scene.ok(&["version"])?;
    scene.ok(&["ps", "--all"])?;
    let pid = scene.pid().context("the daemon runs")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    ensure!(kilobytes < MEMORY, "the daemon has {kilobytes} KiB\n{}", scene.log());
    ensure!(!scene.log().contains("panicked"), "{}", scene.log());
    Ok(())
}

/// The refusal says one of `words` and is not as long as what it refuses.
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, words: &[&str]) -> Result<Status> {
    let status = match answer {
        Err(status) => status,
        Ok(answer) => anyhow::bail!("was taken: {:.300}", format!("{answer:?}")),
    };
    let text = status.message();
    ensure!(words.iter().any(|word| text.contains(word)), "{status:?} says none of {words:?}");
    ensure!(text.len() < 16 << 10, "a refusal of {} bytes", text.len());
    Ok(status)
}

/// What lies in the daemon's folders for tasks and containers.
fn bundles(scene: &Scene) -> Vec<std::path::PathBuf> {
    let tasks = scene.root().join("run/io.containerd.runtime.v2.task");
    let Ok(namespaces) = std::fs::read_dir(tasks) else { return Vec::new() };
    let inside = |folder: std::fs::DirEntry| std::fs::read_dir(folder.path()).into_iter().flatten();
    namespaces.flatten().flat_map(inside).flatten().map(|entry| entry.path()).collect()
}
