//! Shims that are slow, that hang, and that answer what no shim should: their own task alone is affected.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use errors::Kind;
use harness::{Shim, World, freeze, next, shims, signal, soon, until};
use ids::Namespace;
use proto_containerd::events::TaskExit;
use proto_containerd::unpack;
use proto_shim::task::v3;
use proto_shim::types::Status as WireStatus;
use proto_shim::{Empty, EnumOrUnknown, MessageField, Timestamp};
use task::{Create, Status, Tasks, Timeouts};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::sync::watch;
use ttrpc::r#async::TtrpcContext;

/// Short enough for a test, and long enough for an answer that comes at all.
const LIMIT: Duration = Duration::from_millis(300);

fn limits() -> Timeouts {
    Timeouts {
        state: LIMIT,
        call: LIMIT,
        long_call: LIMIT * 2,
        shutdown: LIMIT,
        cleanup: LIMIT * 3,
        ..Timeouts::default()
    }
}

/// A shim that answers every call when it is let, and says what it is told to say.
struct Slow {
    open: watch::Receiver<bool>,
    lies: bool,
}

impl Slow {
    async fn pass(&self) {
        self.open.clone().wait_for(|open| *open).await.unwrap();
    }
}

#[async_trait]
impl v3::Task for Slow {
    async fn create(
        &self,
        _: &TtrpcContext,
        _: v3::CreateTaskRequest,
    ) -> ttrpc::Result<v3::CreateTaskResponse> {
        Ok(v3::CreateTaskResponse { pid: 77, ..Default::default() })
    }

    async fn start(&self, _: &TtrpcContext, _: v3::StartRequest) -> ttrpc::Result<v3::StartResponse> {
        self.pass().await;
        Ok(v3::StartResponse { pid: 77, ..Default::default() })
    }

    async fn kill(&self, _: &TtrpcContext, _: v3::KillRequest) -> ttrpc::Result<Empty> {
        self.pass().await;
        Ok(Empty::default())
    }

    async fn wait(&self, _: &TtrpcContext, _: v3::WaitRequest) -> ttrpc::Result<v3::WaitResponse> {
        std::future::pending().await
    }

    async fn state(&self, _: &TtrpcContext, _: v3::StateRequest) -> ttrpc::Result<v3::StateResponse> {
        self.pass().await;
        if self.lies {
            let stamp = Timestamp { seconds: i64::MIN, nanos: i32::MAX, ..Default::default() };
            return Ok(v3::StateResponse {
                pid: u32::MAX,
                status: EnumOrUnknown::from_i32(99),
                exit_status: u32::MAX,
                exited_at: MessageField::some(stamp),
                stdin: "\u{1b}[2J".repeat(1000),
                ..Default::default()
            });
        }
        Ok(v3::StateResponse { pid: 77, status: WireStatus::RUNNING.into(), ..Default::default() })
    }

    async fn connect(&self, _: &TtrpcContext, _: v3::ConnectRequest) -> ttrpc::Result<v3::ConnectResponse> {
        self.pass().await;
        // The daemon itself: whoever believes it kills himself.
        Ok(v3::ConnectResponse { shim_pid: std::process::id(), task_pid: 77, ..Default::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: v3::ShutdownRequest) -> ttrpc::Result<Empty> {
        self.pass().await;
        Ok(Empty::default())
    }

    async fn pids(&self, _: &TtrpcContext, _: v3::PidsRequest) -> ttrpc::Result<v3::PidsResponse> {
        self.pass().await;
        let processes =
            (0..100_000).map(|pid| proto_shim::types::ProcessInfo { pid, ..Default::default() }).collect();
        Ok(v3::PidsResponse { processes, ..Default::default() })
    }
}

struct Stage {
    world: World,
    open: watch::Sender<bool>,
    server: Option<ttrpc::r#async::Server>,
}

impl Stage {
    /// With a shim whose `delete` does what `delete` says, a line of shell.
    async fn new(lies: bool, delete: &str) -> Stage {
        let shim = Shim { name: "fake", binary: "/none".into(), runc: "/bin/true".into() };
        let mut world = World::new(&shim).await;
        let (open, listen) = watch::channel(true);
        let socket = world.root.path().join("shim.sock");
        let mut server = ttrpc::r#async::Server::new()
            .bind(&format!("unix://{}", socket.display()))
            .unwrap()
            .register_service(v3::create_task(Arc::new(Slow { open: listen, lies })));
        server.start().await.unwrap();
        world.config.runtimes = [("fake".to_owned(), script(world.root.path(), &socket, delete))].into();
        world.config.shim_timeout = Duration::from_secs(10);
        world.config.timeouts = limits();
        Stage { world, open, server: Some(server) }
    }

    async fn end_server(&mut self) {
        let mut server = self.server.take().unwrap();
        server.shutdown().await.unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.world.root.path().join("shim.sock")
    }
}

fn script(root: &Path, socket: &Path, delete: &str) -> PathBuf {
    let path = root.join("fake-shim");
    let text = format!(
        "#!/bin/sh\nfor action; do :; done\ncase $action in\n\
         start) printf '{{\"version\":3,\"address\":\"unix://{}\",\"protocol\":\"ttrpc\"}}' ;;\n\
         delete) {delete} ;;\nesac\n",
        socket.display()
    );
    programs::write(&path, &text).unwrap();
    path
}

fn create() -> Create {
    Create { runtime: "fake".into(), spec: b"{}".to_vec(), ..Create::default() }
}

/// `delete` of a shim that knows that init ended with 42.
const TELLS: &str = r"printf '\010\115\020\052'";

async fn status(tasks: &Tasks, ns: &Namespace) -> (Status, Status) {
    let process = tasks.list(ns).await.unwrap().into_iter().next().unwrap();
    (process.status, process.known)
}

#[tokio::test]
async fn a_shim_that_takes_its_time_is_unknown_until_it_answers() {
    let stage = Stage::new(false, TELLS).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace, &stage.world.id("c"));
    tasks.create(ns, id, create()).await.unwrap();
    tasks.start(ns, id, "").await.unwrap();
    assert_eq!(status(&tasks, ns).await, (Status::Running, Status::Running));
    stage.open.send_replace(false);
    let error = soon(tasks.kill(ns, id, "", 15, false)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded, "{error:?}");
    assert!(error.message().contains("kill of the shim of task c: no answer in 300ms"), "{error:?}");
    assert_eq!(status(&tasks, ns).await, (Status::Unknown, Status::Running));
    let known = soon(tasks.get(ns, id, "")).await.unwrap();
    assert_eq!((known.status, known.known, known.pid), (Status::Unknown, Status::Running, 77));
    let error = soon(tasks.delete(ns, id)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded, "{error:?}");
    // Nobody asks; that it goes on is noticed all the same.
    stage.open.send_replace(true);
    let first = || async { tasks.list(ns).await.unwrap().into_iter().next() };
    until(first, |process| process.status == Status::Running).await;
    tasks.kill(ns, id, "", 15, false).await.unwrap();
}

#[tokio::test]
async fn every_call_to_a_shim_that_hangs_ends() {
    let stage = Stage::new(false, TELLS).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace, &stage.world.id("c"));
    tasks.create(ns, id, create()).await.unwrap();
    stage.open.send_replace(false);
    let exceeded = |result: Option<errors::Error>| assert_eq!(result.unwrap().kind(), Kind::DeadlineExceeded);
    exceeded(soon(tasks.start(ns, id, "")).await.err());
    exceeded(soon(tasks.kill(ns, id, "", 9, true)).await.err());
    exceeded(soon(tasks.pids(ns, id)).await.err());
    exceeded(soon(tasks.pause(ns, id)).await.err());
    assert_eq!(soon(tasks.get(ns, id, "")).await.unwrap().known, Status::Created);
}

#[tokio::test]
async fn calls_to_a_shim_that_hangs_are_not_kept_without_end() {
    const MOST: usize = 512;
    let mut stage = Stage::new(false, TELLS).await;
    // Nothing ends by its time.
    stage.world.config.timeouts = Timeouts::default();
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace, &stage.world.id("c"));
    tasks.create(ns, id, create()).await.unwrap();
    tasks.start(ns, id, "").await.unwrap();
    stage.open.send_replace(false);
    let mut calls: tokio::task::JoinSet<_> = (0..MOST + 100)
        .map(|_| {
            let (tasks, ns, id) = (tasks.clone(), ns.clone(), id.clone());
            async move { tasks.kill(&ns, &id, "", 15, false).await }
        })
        .collect();
    // Those that there is no room for are answered while the shim hangs.
    for _ in 0..100 {
        let error = soon(calls.join_next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        assert!(error.message().contains("512 calls are unanswered"), "{error:?}");
    }
    stage.open.send_replace(true);
    while let Some(answered) = soon(calls.join_next()).await {
        if let Err(error) = answered.unwrap() {
            assert!(error.message().contains("512 calls are unanswered"), "{error:?}");
        }
    }
    tasks.kill(ns, id, "", 15, false).await.unwrap();
}

#[tokio::test]
async fn lies_are_taken_for_what_they_are() {
    let mut stage = Stage::new(true, "head -c 300000 /dev/urandom").await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace.clone(), &stage.world.id("c"));
    tasks.create(ns, id, create()).await.unwrap();
    tasks.start(ns, id, "").await.unwrap();
    let seen = tasks.get(ns, id, "").await.unwrap();
    assert_eq!((seen.status, seen.exit), (Status::Unknown, None));
    assert_eq!(tasks.pids(ns, id).await.unwrap().len(), 100_000);
    let mut events = stage.world.subscribe();
    stage.end_server().await;
    // Its delete command says nothing that can be understood.
    let exit = soon(tasks.wait(ns, id, "")).await.unwrap();
    assert_eq!(exit.status, 255);
    let event = next(&mut events, "/tasks/exit").await;
    assert_eq!(unpack::<TaskExit>(&event.event).unwrap().unwrap().exit_status, 255);
    assert_eq!(soon(tasks.delete(ns, id)).await.unwrap(), exit);
    stage.world.assert_clean();
}

#[tokio::test]
async fn a_delete_command_that_hangs_is_ended() {
    let mut stage = Stage::new(false, "sleep 1000").await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace.clone(), &stage.world.id("c"));
    tasks.create(ns, id, create()).await.unwrap();
    stage.end_server().await;
    assert_eq!(soon(tasks.wait(ns, id, "")).await.unwrap().status, 255);
    soon(tasks.delete(ns, id)).await.unwrap();
    stage.world.assert_clean();
}

#[tokio::test]
async fn whoever_ends_a_dead_shim_leaves_the_one_that_cleans_after_it_alone() {
    // Does as it is told once there is a file for that.
    let waits = ": >../../../../begun; until [ -e ../../../../go ]; do sleep 0.01; done; printf '\\010\\115\\020\\052'";
    let mut stage = Stage::new(false, waits).await;
    stage.world.config.timeouts.cleanup = harness::SOON;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace.clone(), &stage.world.id("c"));
    tasks.create(ns, id, create()).await.unwrap();
    tasks.start(ns, id, "").await.unwrap();
    let beside = stage.world.root.path().to_owned();
    stage.end_server().await;
    let begun = || async { beside.join("begun").exists().then_some(()) };
    until(begun, |()| true).await;
    let ending = tasks.end_shim(ns, id);
    tokio::pin!(ending);
    let early = tokio::time::timeout(LIMIT, &mut ending).await;
    assert!(early.is_err(), "the shim's last command was under way: {early:?}");
    std::fs::write(beside.join("go"), "").unwrap();
    let exit = soon(tasks.wait(ns, id, "")).await.unwrap();
    assert_eq!((exit.status, exit.pid), (42, 77));
    soon(ending).await.unwrap();
    soon(tasks.delete(ns, id)).await.unwrap();
    stage.world.assert_clean();
}

/// Says to everybody what no ttrpc server says.
fn babble(socket: &Path, word: Vec<u8>) -> tokio::task::JoinHandle<()> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        let mut guests = Vec::new();
        while let Ok((mut guest, _)) = listener.accept().await {
            let _ = guest.write_all(&word).await;
            guests.push(guest);
        }
    })
}

#[tokio::test]
async fn garbage_in_place_of_answers_costs_the_task_alone() {
    // A frame's head: length, stream, kind, flags (ttrpc's PROTOCOL.md).
    let head = |length: u32, stream: u32, kind: u8| {
        [&length.to_be_bytes()[..], &stream.to_be_bytes()[..], &[kind, 0]].concat()
    };
    let words = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        head(u32::MAX, 1, 2),
        [head(5, 1, 2), b"\xff\xff\xff\xff\xff".to_vec()].concat(),
        [head(0, 1, 2), head(0, 3, 2), head(0, 5, 9)].concat(),
        vec![0; 1 << 20],
    ];
    for word in words {
        let mut stage = Stage::new(false, TELLS).await;
        let tasks = stage.world.open().await;
        let (ns, id) = (&stage.world.namespace.clone(), &stage.world.id("c"));
        tasks.create(ns, id, create()).await.unwrap();
        tasks.start(ns, id, "").await.unwrap();
        stage.end_server().await;
        let shown = format!("{:?}", &word[..word.len().min(30)]);
        let babbling = babble(&stage.socket(), word);
        // It may count as dead by now, or as one that hangs: every call ends in any case.
        let state = soon(tasks.get(ns, id, "")).await.unwrap();
        assert!(
            matches!(state.status, Status::Unknown | Status::Running | Status::Stopped),
            "{shown}: {state:?}"
        );
        let _ = soon(tasks.kill(ns, id, "", 9, true)).await;
        let _ = soon(tasks.pids(ns, id)).await;
        babbling.abort();
        let _ = babbling.await;
        let exit = soon(tasks.wait(ns, id, "")).await.unwrap();
        assert_eq!((exit.status, exit.pid), (42, 77), "{shown}");
        soon(tasks.delete(ns, id)).await.unwrap();
        stage.world.assert_clean();
    }
}

#[tokio::test]
async fn a_creation_that_is_answered_with_garbage_leaves_nothing() {
    let mut stage = Stage::new(false, TELLS).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace.clone(), &stage.world.id("c"));
    stage.end_server().await;
    let babbling = babble(&stage.socket(), vec![0xff; 100]);
    let error = soon(tasks.create(ns, id, create())).await.unwrap_err();
    assert!(error.message().starts_with("failed to create shim task: "), "{error:?}");
    babbling.abort();
    let _ = std::fs::remove_file(stage.socket());
    assert!(tasks.list(ns).await.unwrap().is_empty());
    stage.world.assert_clean();
}

/// Runs `test` with each real shim there is.
fn with_shims<F: Future<Output = ()>>(test: impl Fn(Shim) -> F) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    for shim in shims() {
        eprintln!("with {}", shim.name);
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(test(shim));
    }
}

async fn run(world: &World, tasks: &Tasks, id: &str) -> u32 {
    let create = world.create(id, "sleep 1000");
    let pid = soon(tasks.create(&world.namespace, &world.id(id), create)).await.unwrap();
    soon(tasks.start(&world.namespace, &world.id(id), "")).await.unwrap();
    pid
}

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/root/bin")).exists()
}

#[test]
fn a_stopped_shim_is_unknown_and_can_be_ended() {
    with_shims(|shim| async move {
        let mut world = World::new(&shim).await;
        world.config.timeouts = limits();
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace, &world.id("c"));
        let pid = run(&world, &tasks, "c").await;
        let hung = world.shim_pids();
        world.config.timeouts = Timeouts::default();
        run(&world, &tasks, "other").await;
        for shim in &hung {
            freeze(*shim).await;
        }
        let seen = soon(tasks.get(ns, id, "")).await.unwrap();
        assert_eq!((seen.status, seen.known, seen.pid), (Status::Unknown, Status::Running, pid));
        let error = soon(tasks.kill(ns, id, "", 9, true)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::DeadlineExceeded);
        // It goes on, and nothing is lost.
        for shim in &hung {
            signal(*shim, 18);
        }
        let first = || async { tasks.list(ns).await.unwrap().into_iter().next() };
        until(first, |process| process.status == Status::Running).await;
        for shim in &hung {
            freeze(*shim).await;
        }
        let mut events = world.subscribe();
        let waiting = tasks.wait(ns, id, "");
        soon(tasks.end_shim(ns, id)).await.unwrap();
        let exit = soon(waiting).await.unwrap();
        assert_eq!(exit.status, 137);
        assert!(!lives(pid));
        soon(tasks.delete(ns, id)).await.unwrap();
        next(&mut events, "/tasks/delete").await;
        assert_eq!(soon(tasks.get(ns, &world.id("other"), "")).await.unwrap().status, Status::Running);
        tasks.kill(ns, &world.id("other"), "", 9, true).await.unwrap();
        soon(tasks.wait(ns, &world.id("other"), "")).await.unwrap();
        soon(tasks.delete(ns, &world.id("other"))).await.unwrap();
        world.assert_clean();
    });
}

#[test]
fn processes_are_not_orphaned_when_a_dead_shim_cannot_clean() {
    with_shims(|shim| async move {
        let world = World::new(&shim).await;
        let tasks = world.open().await;
        let (ns, id) = (&world.namespace, &world.id("c"));
        let pid = run(&world, &tasks, "c").await;
        std::fs::write(world.bundle("c").join("shim-binary-path"), "/bin/false").unwrap();
        let mut events = world.subscribe();
        for shim in world.shim_pids() {
            signal(shim, 9);
        }
        let exit = soon(tasks.wait(ns, id, "")).await.unwrap();
        assert_eq!((exit.status, exit.pid), (137, pid));
        assert!(!lives(pid));
        let event = next(&mut events, "/tasks/exit").await;
        assert_eq!(unpack::<TaskExit>(&event.event).unwrap().unwrap().exit_status, 137);
        soon(tasks.delete(ns, id)).await.unwrap();
        // Exactly one exit before the deletion.
        assert_eq!(soon(events.next()).await.unwrap().unwrap().topic, "/tasks/delete");
        world.assert_clean();
    });
}
