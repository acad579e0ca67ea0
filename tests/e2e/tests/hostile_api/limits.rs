//! What the configuration allows is what there is: a client more, or a call more, waits until there is room.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::Scene;
use proto_containerd::services::containers::ListContainersRequest;
use proto_containerd::services::events::SubscribeRequest;

use crate::wire::Wire;
use crate::{PATIENCE, connect, is_well};

fn scene(lines: &str) -> Result<Scene> {
    let mut scene = Scene::with_programs(&harness::programs::folder()?)?;
    scene.configure_grpc(lines);
    scene.start_daemon()?;
    Ok(scene)
}

#[test]
fn a_client_more_than_may_be_waits_for_a_seat() -> Result<()> {
    let scene = scene("max_connections = 3\n")?;
    let mut crowd: Vec<Wire> = (0..3).map(|_| Wire::greeted(&scene.socket())).collect::<Result<_>>()?;
    let began = Instant::now();
    while !scene.log().contains("as many clients are connected") {
        ensure!(began.elapsed() < PATIENCE, "nobody is kept waiting\n{}", scene.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut waiting = scene.rctl_command(&["version"]).stdout(Stdio::null()).spawn()?;
    std::thread::sleep(Duration::from_millis(200));
    ensure!(waiting.try_wait()?.is_none(), "it was served in a room that is full");
    crowd.pop();
    ensure!(waiting.wait()?.success());
    drop(crowd);
    is_well(&scene)?;
    scene.finish()
}

#[tokio::test]
async fn a_call_more_than_may_be_waits_for_one_to_end() -> Result<()> {
    let scene = scene("max_calls = 2\n")?;
    let client = connect(&scene).await?;
    let first = client.events().subscribe(SubscribeRequest::default()).await?;
    let _second = client.events().subscribe(SubscribeRequest::default()).await?;
    let mut containers = client.containers();
    let mut third = std::pin::pin!(containers.list(ListContainersRequest::default()));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut third).await;
    ensure!(early.is_err(), "a third call was answered: {early:?}");
    // It is a matter of that one connection.
    is_well(&scene)?;
    drop(first);
    ensure!(tokio::time::timeout(PATIENCE, third).await??.into_inner().containers.is_empty());
    scene.finish()
}
