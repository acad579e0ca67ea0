//! Real containers through real shims: Debian's and ours, with Debian's runc.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::io::Write;
use std::time::{Duration, SystemTime};

use errors::Kind;
use harness::{Shim, World, all_hierarchies_are_mounted, freeze, next, shims, signal, soon, topics, until};
use proto_containerd::events::{TaskDelete, TaskExit};
use proto_containerd::unpack;
use task::{Status, Tasks};

/// Runs `test` with each shim there is.
fn with_shims<F: Future<Output = ()>>(test: impl Fn(Shim) -> F) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    for shim in shims() {
        eprintln!("with {}", shim.name);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(shim));
    }
}

/// Creates and starts a container.
async fn run(world: &World, tasks: &Tasks, id: &str, script: &str) -> u32 {
    let pid = soon(tasks.create(&world.namespace, &world.id(id), world.create(id, script))).await.unwrap();
    assert_eq!(soon(tasks.start(&world.namespace, &world.id(id), "")).await.unwrap(), pid);
    pid
}

/// A stop that is sure to work.
async fn stop(world: &World, tasks: &Tasks, id: &str) {
    let (ns, id) = (&world.namespace, &world.id(id));
    tasks.kill(ns, id, "", 9, true).await.unwrap();
    soon(tasks.wait(ns, id, "")).await.unwrap();
    soon(tasks.delete(ns, id)).await.unwrap();
}

#[test]
fn a_container_runs_to_its_end() {
    with_shims(|shim| async move {
        let world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace, &world.id("c"));
        let mut events = world.subscribe();
        let begun = SystemTime::now();
        let pid = soon(tasks.create(ns, id, world.create("c", "echo out; exit 3"))).await.unwrap();
        let created = soon(tasks.get(ns, id, "")).await.unwrap();
        assert_eq!((created.status, created.pid, created.exit), (Status::Created, pid, None));
        assert_eq!(created.bundle, world.bundle("c"));
        assert_eq!(created.io, world.io("c"));
        let waiting = tasks.wait(ns, id, "");
        assert_eq!(soon(tasks.start(ns, id, "")).await.unwrap(), pid);
        let exit = soon(waiting).await.unwrap();
        assert_eq!((exit.status, exit.pid), (3, pid));
        assert!(exit.at >= begun && exit.at <= SystemTime::now(), "{exit:?}");
        // With containerd's shim only the deletion waits for it.
        if shim.name == harness::OURS {
            assert_eq!(std::fs::read(world.out("c")).unwrap(), b"out\n");
        }
        let stopped = soon(tasks.get(ns, id, "")).await.unwrap();
        assert_eq!((stopped.status, stopped.exit), (Status::Stopped, Some(exit)));
        let deleted = soon(tasks.delete(ns, id)).await.unwrap();
        assert_eq!((deleted.status, deleted.pid), (3, pid));
        assert_eq!(std::fs::read(world.out("c")).unwrap(), b"out\n");
        let seen = topics(&mut events, "/tasks/delete").await;
        assert_eq!(seen, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
        assert!(tasks.get(ns, id, "").await.unwrap_err().is_not_found());
        world.assert_clean();
    });
}

#[test]
fn what_cannot_be_is_refused_in_containerds_words() {
    with_shims(|shim| async move {
        let world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace, &world.id("c"));
        let error = tasks.get(ns, id, "").await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::NotFound, "task c not found"));
        run(&world, &tasks, "c", "sleep 1000").await;
        let error = tasks.create(ns, id, world.create("c", "true")).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::AlreadyExists, "task c: already exists"));
        assert_eq!(tasks.delete(ns, id).await.unwrap_err().kind(), Kind::FailedPrecondition);
        assert_eq!(tasks.resume(ns, id).await.unwrap_err().kind(), Kind::FailedPrecondition);
        assert!(tasks.start(ns, id, "none").await.unwrap_err().is_not_found());
        assert!(tasks.get(ns, id, "none").await.unwrap_err().is_not_found());
        assert!(soon(tasks.wait(ns, id, "none")).await.unwrap_err().is_not_found());
        tasks.kill(ns, id, "", 9, false).await.unwrap();
        assert_eq!(soon(tasks.wait(ns, id, "")).await.unwrap().status, 137);
        let error = tasks.kill(ns, id, "", 15, false).await.unwrap_err();
        assert!(error.is_not_found() && error.chain().contains("process already finished"), "{error:?}");
        let error = tasks.exec(ns, id, world.exec("e", "true")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition, "{error:?}");
        soon(tasks.delete(ns, id)).await.unwrap();
        assert!(tasks.delete(ns, id).await.unwrap_err().is_not_found());
        let mut unknown = world.create("c", "true");
        unknown.runtime = "io.containerd.none.v9".into();
        let error = tasks.create(ns, id, unknown).await.unwrap_err();
        assert!(error.chain().contains("containerd-shim-none-v9"), "{error:?}");
        world.assert_clean();
    });
}

#[test]
fn the_images_of_what_is_restored_are_the_tasks_own() {
    with_shims(|shim| async move {
        let mut world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace.clone(), &world.id("c"));
        std::fs::create_dir_all(&world.config.root).unwrap();
        let given = world.config.root.join("unpacked");
        std::fs::create_dir(&given).unwrap();
        std::fs::write(given.join("marker"), "").unwrap();
        let mut create = world.create("c", "true");
        create.checkpoint = task::Checkpoint::Given(given.clone());
        assert_eq!(soon(tasks.create(ns, id, create)).await.unwrap(), 0);
        let own = world.config.root.join("io.containerd.runtime.v2.task/tests/c/checkpoint/marker");
        assert!(own.exists() && !given.exists());
        world.die(tasks).await;
        let tasks = world.come_back().await;
        let found = soon(tasks.get(ns, id, "")).await.unwrap();
        assert_eq!((found.status, found.pid), (Status::Created, 0));
        let error = soon(tasks.start(ns, id, "")).await.unwrap_err();
        assert!(error.chain().contains("OCI runtime restore failed"), "{error:?}");
        assert!(own.exists());
        soon(tasks.delete(ns, id)).await.unwrap();
        world.assert_clean();
        assert!(!own.exists());
    });
}

#[test]
fn an_exec_lives_beside_init() {
    with_shims(|shim| async move {
        let world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace, &world.id("c"));
        run(&world, &tasks, "c", "sleep 1000").await;
        tasks.exec(ns, id, world.exec("e", "echo hello; exit 7")).await.unwrap();
        assert_eq!(tasks.get(ns, id, "e").await.unwrap().status, Status::Created);
        let waiting = tasks.wait(ns, id, "e");
        let pid = tasks.start(ns, id, "e").await.unwrap();
        let exit = soon(waiting).await.unwrap();
        assert_eq!((exit.status, exit.pid), (7, pid));
        assert_eq!(tasks.delete_process(ns, id, "e").await.unwrap().status, 7);
        // Debian's shim copies what is left of it when the process is deleted.
        assert_eq!(std::fs::read(world.out("e")).unwrap(), b"hello\n");
        assert!(tasks.get(ns, id, "e").await.unwrap_err().is_not_found());
        // The name is free again, and its exit counts again.
        let mut events = world.subscribe();
        tasks.exec(ns, id, world.exec("e", "exit 8")).await.unwrap();
        tasks.start(ns, id, "e").await.unwrap();
        assert_eq!(soon(tasks.wait(ns, id, "e")).await.unwrap().status, 8);
        // The event of the one before may come as late as this.
        while unpack::<TaskExit>(&next(&mut events, "/tasks/exit").await.event).unwrap().unwrap().exit_status
            != 8
        {}
        stop(&world, &tasks, "c").await;
        world.assert_clean();
    });
}

#[test]
fn a_container_is_frozen_and_measured() {
    with_shims(|shim| async move {
        let world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace, &world.id("c"));
        let pid = run(&world, &tasks, "c", "sleep 1000").await;
        tasks.pause(ns, id).await.unwrap();
        assert_eq!(tasks.get(ns, id, "").await.unwrap().status, Status::Paused);
        assert_eq!(tasks.list(ns).await.unwrap()[0].status, Status::Paused);
        assert_eq!(
            tasks.exec(ns, id, world.exec("e", "true")).await.unwrap_err().kind(),
            Kind::FailedPrecondition
        );
        tasks.resume(ns, id).await.unwrap();
        assert_eq!(tasks.get(ns, id, "").await.unwrap().status, Status::Running);
        let pids: Vec<u32> = tasks.pids(ns, id).await.unwrap().into_iter().map(|(pid, _)| pid).collect();
        assert!(pids.contains(&pid), "{pids:?}");
        match tasks.stats(ns, id).await {
            Err(error) if error.is_not_found() && !all_hierarchies_are_mounted() => {
                eprintln!("skipped: {} finds no cgroup where a hierarchy is not mounted", shim.name);
            }
            stats => assert!(stats.unwrap().type_url.starts_with("io.containerd.cgroups.")),
        }
        let resources = prost_types::Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
            value: br#"{"pids":{"limit":77}}"#.to_vec(),
        };
        tasks.update(ns, id, resources, Default::default()).await.unwrap();
        stop(&world, &tasks, "c").await;
        world.assert_clean();
    });
}

#[test]
fn containers_of_a_pod_share_a_shim() {
    with_shims(|shim| async move {
        let mut world = World::new(&shim).await;
        let tasks = world.open().await;
        let ns = &world.namespace.clone();
        for id in ["pod", "a", "b"] {
            let mut spec = world.spec(id, &["/bin/sleep", "1000"]);
            spec["annotations"] = serde_json::json!({ "io.kubernetes.cri.sandbox-id": "pod" });
            tasks.create(ns, &world.id(id), world.create_spec(id, spec)).await.unwrap();
            tasks.start(ns, &world.id(id), "").await.unwrap();
        }
        assert_eq!(world.shim_pids().len(), 1);
        let mut spec = world.spec("c", &["/bin/none"]);
        spec["annotations"] = serde_json::json!({ "io.kubernetes.cri.sandbox-id": "pod" });
        tasks.create(ns, &world.id("c"), world.create_spec("c", spec)).await.unwrap_err();
        stop(&world, &tasks, "a").await;
        world.die(tasks).await;
        // Half made by the daemon that died: the shim never heard of it.
        let address = std::fs::read(world.bundle("b").join("bootstrap.json")).unwrap();
        let half = world.bundle("half");
        std::fs::create_dir_all(half.join("rootfs")).unwrap();
        std::fs::write(half.join("bootstrap.json"), address).unwrap();
        std::fs::write(half.join("config.json"), "{}").unwrap();
        std::fs::write(half.join("shim-binary-path"), shim.binary.to_str().unwrap()).unwrap();
        let tasks = world.come_back().await;
        let running = |process: &task::Process| process.status == Status::Running;
        let listed = tasks.list(ns).await.unwrap();
        assert!(listed.len() == 2 && listed.iter().all(running), "{listed:?}");
        stop(&world, &tasks, "pod").await;
        assert!(running(&tasks.get(ns, &world.id("b"), "").await.unwrap()));
        stop(&world, &tasks, "b").await;
        world.assert_clean();
    });
}

#[test]
fn a_failed_creation_leaves_nothing() {
    with_shims(|shim| async move {
        let world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace, &world.id("c"));
        let missing = world.create_spec("c", world.spec("c", &["/bin/none"]));
        // runc looks for the program when it creates.
        let error = soon(tasks.create(ns, id, missing)).await.unwrap_err();
        assert!(error.chain().starts_with("failed to create shim task: "), "{error:?}");
        assert!(error.chain().contains("no such file or directory"), "{error:?}");
        world.assert_clean();
        let mut nowhere = world.create("c", "true");
        nowhere.rootfs[0].source = "/none/whatever".into();
        soon(tasks.create(ns, id, nowhere)).await.unwrap_err();
        world.assert_clean();
        run(&world, &tasks, "c", "sleep 1000").await;
        stop(&world, &tasks, "c").await;
        world.assert_clean();
    });
}

#[test]
fn a_creation_nobody_waits_for_is_undone() {
    with_shims(|shim| async move {
        let world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace, &world.id("c"));
        let mut events = world.subscribe();
        let creation = tasks.create(ns, id, world.create("c", "true"));
        assert!(tokio::time::timeout(Duration::from_millis(1), creation).await.is_err());
        assert_eq!(
            topics(&mut events, "/tasks/delete").await,
            ["/tasks/create", "/tasks/exit", "/tasks/delete"]
        );
        soon(async {
            while !tasks.list(ns).await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        world.assert_clean();
    });
}

#[test]
fn a_daemon_that_died_finds_its_containers_again() {
    with_shims(|shim| async move {
        let mut world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace.clone(), &world.id("c"));
        let pid = run(&world, &tasks, "c", "sleep 1000").await;
        world.die(tasks).await;
        let mut events = world.subscribe();
        let tasks = world.come_back().await;
        let listed = tasks.list(ns).await.unwrap();
        assert_eq!((listed.len(), listed[0].status, listed[0].pid), (1, Status::Running, pid));
        assert_eq!(listed[0].io, world.io("c"));
        tasks.exec(ns, id, world.exec("e", "exit 5")).await.unwrap();
        tasks.start(ns, id, "e").await.unwrap();
        assert_eq!(soon(tasks.wait(ns, id, "e")).await.unwrap().status, 5);
        stop(&world, &tasks, "c").await;
        let seen = topics(&mut events, "/tasks/delete").await;
        assert_eq!(seen.iter().filter(|topic| *topic == "/tasks/exit").count(), 2, "{seen:?}");
        world.assert_clean();
    });
}

#[test]
fn an_exit_while_no_daemon_ran_is_taken_up() {
    with_shims(|shim| async move {
        let mut world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace.clone(), &world.id("c"));
        let mut create = world.create("c", "read line; exit 9");
        let mut stdin = world.stdin(&mut create);
        let pid = soon(tasks.create(ns, id, create)).await.unwrap();
        soon(tasks.start(ns, id, "")).await.unwrap();
        world.die(tasks).await;
        let before = SystemTime::now();
        stdin.write_all(b"go\n").unwrap();
        soon(async {
            while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let after = SystemTime::now() + Duration::from_millis(50);
        let mut events = world.subscribe();
        let tasks = world.come_back().await;
        let exit = soon(tasks.wait(ns, id, "")).await.unwrap();
        assert_eq!((exit.status, exit.pid), (9, pid));
        assert!(exit.at >= before && exit.at <= after, "{before:?} {exit:?} {after:?}");
        let event = next(&mut events, "/tasks/exit").await;
        let event = unpack::<TaskExit>(&event.event).unwrap().unwrap();
        assert_eq!((event.exit_status, event.id.as_str(), event.pid), (9, "c", pid));
        // The next daemon reports it no more.
        world.die(tasks).await;
        let tasks = world.come_back().await;
        assert_eq!(tasks.list(ns).await.unwrap()[0].exit.unwrap().status, 9);
        assert_eq!(soon(tasks.delete(ns, id)).await.unwrap().status, 9);
        let seen = topics(&mut events, "/tasks/delete").await;
        assert!(!seen.contains(&"/tasks/exit".to_owned()), "{seen:?}");
        world.assert_clean();
    });
}

#[test]
fn a_shim_that_dies_is_noticed_at_once() {
    with_shims(|shim| async move {
        let world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace, &world.id("c"));
        let pid = run(&world, &tasks, "c", "sleep 1000").await;
        tasks.exec(ns, id, world.exec("e", "sleep 1000")).await.unwrap();
        tasks.start(ns, id, "e").await.unwrap();
        let mut events = world.subscribe();
        let waiting = tasks.wait(ns, id, "");
        for shim in world.shim_pids() {
            signal(shim, 9);
        }
        let exit = soon(waiting).await.unwrap();
        assert_eq!((exit.status, exit.pid), (137, pid));
        assert_eq!(soon(tasks.wait(ns, id, "e")).await.unwrap().status, 137);
        for name in ["e", "c"] {
            let event = next(&mut events, "/tasks/exit").await;
            assert_eq!(unpack::<TaskExit>(&event.event).unwrap().unwrap().id, name);
        }
        let stopped = tasks.get(ns, id, "").await.unwrap();
        assert_eq!((stopped.status, stopped.exit), (Status::Stopped, Some(exit)));
        assert!(tasks.kill(ns, id, "", 9, false).await.unwrap_err().is_not_found());
        assert_eq!(tasks.pause(ns, id).await.unwrap_err().kind(), Kind::FailedPrecondition);
        assert!(!std::path::Path::new(&format!("/proc/{pid}/root/bin")).exists());
        assert_eq!(soon(tasks.delete(ns, id)).await.unwrap(), exit);
        let event = next(&mut events, "/tasks/delete").await;
        assert_eq!(unpack::<TaskDelete>(&event.event).unwrap().unwrap().exit_status, 137);
        world.assert_clean();
    });
}

#[test]
fn a_shim_that_died_with_the_daemon_leaves_a_stopped_task() {
    with_shims(|shim| async move {
        let mut world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace.clone(), &world.id("c"));
        let pid = run(&world, &tasks, "c", "sleep 1000").await;
        world.die(tasks).await;
        for shim in world.shim_pids() {
            signal(shim, 9);
        }
        // A signal is only on its way: the next daemon is to find a shim that is dead.
        while !world.shim_pids().is_empty() {
            soon(tokio::task::yield_now()).await;
        }
        let mut events = world.subscribe();
        let tasks = world.come_back().await;
        let listed = tasks.list(ns).await.unwrap();
        assert_eq!(listed[0].status, Status::Stopped);
        let exit = listed[0].exit.unwrap();
        assert_eq!((exit.status, exit.pid), (137, pid));
        let event = next(&mut events, "/tasks/exit").await;
        assert_eq!(unpack::<TaskExit>(&event.event).unwrap().unwrap().exit_status, 137);
        // The exit outlives this daemon, too, and is not reported again.
        world.die(tasks).await;
        let tasks = world.come_back().await;
        assert_eq!(soon(tasks.wait(ns, id, "")).await.unwrap(), exit);
        soon(tasks.delete(ns, id)).await.unwrap();
        assert_eq!(topics(&mut events, "/tasks/delete").await, ["/tasks/delete"]);
        world.assert_clean();
    });
}

#[test]
fn a_hung_shim_delays_nobody() {
    with_shims(|shim| async move {
        let mut world = World::new(&shim).await;
        let tasks = world.open().await;
        let ns = &world.namespace.clone();
        run(&world, &tasks, "a", "sleep 1000").await;
        let hung = world.shim_pids();
        run(&world, &tasks, "b", "sleep 1000").await;
        world.die(tasks).await;
        assert_eq!(hung.len(), 1);
        for shim in &hung {
            freeze(*shim).await;
        }
        world.config.shim_timeout = Duration::from_millis(500);
        let begun = std::time::Instant::now();
        let tasks = world.come_back().await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        let listed = tasks.list(ns).await.unwrap();
        let states: Vec<_> = listed.iter().map(|process| (process.id.as_str(), process.status)).collect();
        assert_eq!(states, [("a", Status::Unknown), ("b", Status::Running)]);
        stop(&world, &tasks, "b").await;
        for shim in &hung {
            signal(*shim, 18);
        }
        let first = || async { tasks.list(ns).await.unwrap().into_iter().next() };
        until(first, |process| process.status == Status::Running).await;
        stop(&world, &tasks, "a").await;
        world.assert_clean();
    });
}

#[test]
fn what_a_dying_daemon_half_made_is_cleaned() {
    with_shims(|shim| async move {
        let mut world = World::new(&shim).await;
        let tasks = world.open().await;
        let ns = &world.namespace.clone();
        run(&world, &tasks, "c", "sleep 1000").await;
        world.die(tasks).await;
        let address = std::fs::read_to_string(world.bundle("c").join("bootstrap.json")).unwrap();
        let address = address.split('"').find_map(|part| part.strip_prefix("unix://")).unwrap().to_owned();
        // As if the daemon had died before it could write down where the shim listens.
        std::fs::remove_file(world.bundle("c").join("bootstrap.json")).unwrap();
        let _ = std::fs::remove_file(world.bundle("c").join("address"));
        // And while it removed another.
        std::fs::create_dir_all(world.bundle(".gone").join("rootfs")).unwrap();
        std::fs::create_dir_all(world.config.root.join("io.containerd.runtime.v2.task/tests/gone")).unwrap();
        let tasks = world.come_back().await;
        assert_eq!(tasks.list(ns).await.unwrap(), []);
        // Where it was, nobody can know.
        let _ = std::fs::remove_file(address);
        world.assert_clean();
    });
}
