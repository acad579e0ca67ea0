//! kill -9 at any instant: whatever the daemon was doing, the next one finds everything, or nothing of it is left.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Root, Shim, World, shims, soon};
use task::Tasks;

/// Tells the child where it lives: `<folder>\n<shim's index>`.
const CHILD: &str = "RUNTIMED_TASK_TEST_CHILD";

/// How many daemons die for each shim.
const ROUNDS: u64 = 9;

/// The daemon that is killed: creates, starts and deletes, one container after the other. Does nothing unless it is asked to.
#[tokio::test]
async fn child() {
    let Ok(place) = std::env::var(CHILD) else { return };
    let (root, index) = place.split_once('\n').unwrap();
    let shim = shims().remove(index.parse().unwrap());
    let world = World::at(Root::Guest(root.into()), &shim);
    let tasks = world.open().await;
    println!("\nready");
    for number in 0.. {
        let (ns, id) = (&world.namespace, &world.id(&format!("c{number}")));
        tasks.create(ns, id, world.create(id.as_str(), "exit 4")).await.unwrap();
        tasks.start(ns, id, "").await.unwrap();
        tasks.wait(ns, id, "").await.unwrap();
        tasks.delete(ns, id).await.unwrap();
    }
}

#[test]
fn whenever_a_daemon_is_killed_the_next_one_finds_all() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    for (index, shim) in shims().iter().enumerate() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let world = World::new(shim).await;
            for round in 0..ROUNDS {
                // Spread over one container's life.
                kill_a_daemon(&world, shim, index, Duration::from_millis(round * 19));
                let tasks = world.open().await;
                clear(&world, &tasks).await;
                if shim.name == "containerd-shim-runc-v2" {
                    // It kills the executor when the connection of who asked ends, in the middle of what it does; and of a
                    // container half created the executor itself knows nothing afterwards.
                    world.assert_clean_but_for_cgroups();
                } else {
                    world.assert_clean();
                }
            }
        });
    }
}

fn kill_a_daemon(world: &World, shim: &Shim, index: usize, after: Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, format!("{}\n{index}", world.root.path().display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.map_while(Result::ok).any(|line| line == "ready");
    assert!(ready, "the daemon with {} did not come up", shim.name);
    std::thread::sleep(after);
    assert!(child.try_wait().unwrap().is_none(), "the daemon with {} ended by itself", shim.name);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Deletes every task there is; each must be whole enough for that.
async fn clear(world: &World, tasks: &Tasks) {
    let ns = &world.namespace;
    for process in tasks.list(ns).await.unwrap() {
        // It may have ended, or end, by itself.
        let _ = tasks.kill(ns, &process.id, "", 9, true).await;
        if process.status != task::Status::Created || tasks.delete(ns, &process.id).await.is_err() {
            soon(tasks.wait(ns, &process.id, "")).await.unwrap();
            soon(tasks.delete(ns, &process.id)).await.unwrap();
        }
    }
}
