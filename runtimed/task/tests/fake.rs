//! Tasks against a shim that does on demand what real ones do rarely: hang, drop connections, die with a tale
//! to tell.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use errors::Kind;
use events::Envelope;
use harness::{Shim, World, next, soon, until};
use ids::Namespace;
use prost_types::Any;
use proto_containerd::events::TaskExit;
use proto_containerd::{pack, unpack};
use proto_shim::Empty;
use proto_shim::task::v3;
use proto_shim::types::Status as WireStatus;
use task::{Create, Exec, Io, Status};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use ttrpc::r#async::TtrpcContext;

/// The container: what it does, and its exit status.
struct Fake {
    state: watch::Sender<(WireStatus, u32)>,
    start_hangs: bool,
}

impl Fake {
    async fn ended(&self) -> u32 {
        let mut state = self.state.subscribe();
        state.wait_for(|(status, _)| *status == WireStatus::STOPPED).await.unwrap().1
    }
}

fn refuse<T>(code: ttrpc::Code, text: &str) -> ttrpc::Result<T> {
    Err(ttrpc::error::get_rpc_status(code, text))
}

#[async_trait]
impl v3::Task for Fake {
    async fn create(
        &self,
        _: &TtrpcContext,
        _: v3::CreateTaskRequest,
    ) -> ttrpc::Result<v3::CreateTaskResponse> {
        Ok(v3::CreateTaskResponse { pid: 77, ..Default::default() })
    }

    async fn start(&self, _: &TtrpcContext, _: v3::StartRequest) -> ttrpc::Result<v3::StartResponse> {
        if self.start_hangs {
            self.ended().await;
            return refuse(ttrpc::Code::UNKNOWN, "killed before it ran");
        }
        self.state.send_replace((WireStatus::RUNNING, 0));
        Ok(v3::StartResponse { pid: 77, ..Default::default() })
    }

    async fn kill(&self, _: &TtrpcContext, request: v3::KillRequest) -> ttrpc::Result<Empty> {
        self.state.send_replace((WireStatus::STOPPED, 128 + request.signal));
        Ok(Empty::default())
    }

    async fn wait(&self, _: &TtrpcContext, _: v3::WaitRequest) -> ttrpc::Result<v3::WaitResponse> {
        Ok(v3::WaitResponse { exit_status: self.ended().await, ..Default::default() })
    }

    async fn state(&self, _: &TtrpcContext, _: v3::StateRequest) -> ttrpc::Result<v3::StateResponse> {
        let (status, exit_status) = *self.state.borrow();
        Ok(v3::StateResponse { pid: 77, status: status.into(), exit_status, ..Default::default() })
    }

    async fn connect(&self, _: &TtrpcContext, _: v3::ConnectRequest) -> ttrpc::Result<v3::ConnectResponse> {
        // A pid nobody can have: whoever wants to kill it fails.
        Ok(v3::ConnectResponse { shim_pid: i32::MAX as u32, task_pid: 77, ..Default::default() })
    }

    async fn delete(&self, _: &TtrpcContext, _: v3::DeleteRequest) -> ttrpc::Result<v3::DeleteResponse> {
        Ok(v3::DeleteResponse { pid: 77, exit_status: self.state.borrow().1, ..Default::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: v3::ShutdownRequest) -> ttrpc::Result<Empty> {
        Ok(Empty::default())
    }

    async fn exec(&self, _: &TtrpcContext, _: v3::ExecProcessRequest) -> ttrpc::Result<Empty> {
        Ok(Empty::default())
    }

    async fn pids(&self, _: &TtrpcContext, _: v3::PidsRequest) -> ttrpc::Result<v3::PidsResponse> {
        std::future::pending().await
    }
}

/// The fake's server, behind a door that can be shut.
struct Stage {
    world: World,
    socket: PathBuf,
    door: Option<JoinSet<()>>,
    _server: ttrpc::r#async::Server,
}

impl Stage {
    async fn new(start_hangs: bool) -> Stage {
        let shim = Shim { name: "fake", binary: "/none".into(), runc: "/bin/true".into() };
        let mut world = World::new(&shim).await;
        let root = world.root.path().to_owned();
        let fake = Fake { state: watch::channel((WireStatus::CREATED, 0)).0, start_hangs };
        let inner = root.join("inner.sock");
        let mut server = ttrpc::r#async::Server::new()
            .bind(&format!("unix://{}", inner.display()))
            .unwrap()
            .register_service(v3::create_task(Arc::new(fake)));
        server.start().await.unwrap();
        let socket = root.join("shim.sock");
        world.config.runtimes = [("fake".to_owned(), script(&root, &socket))].into();
        world.config.shim_timeout = Duration::from_millis(400);
        let mut stage = Stage { world, socket, door: None, _server: server };
        let listener = UnixListener::bind(&stage.socket).unwrap();
        stage.open_door(listener);
        stage
    }

    /// Lets in whoever comes.
    fn open_door(&mut self, listener: UnixListener) {
        let inner = self.world.root.path().join("inner.sock");
        let mut door = JoinSet::new();
        door.spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((mut guest, _)) = listener.accept().await {
                let inner = inner.clone();
                guests.spawn(async move {
                    let mut host = UnixStream::connect(inner).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut guest, &mut host).await;
                });
            }
        });
        self.door = Some(door);
    }

    /// Throws everybody out; nobody listens any more.
    async fn shut_door(&mut self) {
        if let Some(mut door) = self.door.take() {
            door.shutdown().await;
        }
    }

    fn create(&self) -> Create {
        Create { runtime: "fake".into(), spec: b"{}".to_vec(), ..Create::default() }
    }
}

/// A shim's command that starts nothing, and knows on `delete` that init ended with 42.
fn script(root: &std::path::Path, socket: &std::path::Path) -> PathBuf {
    let path = root.join("fake-shim");
    let text = format!(
        "#!/bin/sh\nfor action; do :; done\ncase $action in\n\
         start) printf '{{\"version\":3,\"address\":\"unix://{}\",\"protocol\":\"ttrpc\"}}' ;;\n\
         delete) printf '\\010\\115\\020\\052' ;;\nesac\n",
        socket.display()
    );
    programs::write(&path, &text).unwrap();
    path
}

/// What a shim says when a process has ended.
fn exit_event(ns: &Namespace, name: &str, pid: u32, exit_status: u32) -> Envelope {
    let event = TaskExit { container_id: "c".into(), id: name.into(), pid, exit_status, exited_at: None };
    Envelope {
        timestamp: SystemTime::now(),
        namespace: ns.clone(),
        topic: "/tasks/exit".into(),
        event: pack(&event),
    }
}

#[tokio::test]
async fn a_kill_passes_a_start_that_hangs() {
    let stage = Stage::new(true).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace, &stage.world.id("c"));
    tasks.create(ns, id, stage.create()).await.unwrap();
    let start = tasks.start(ns, id, "");
    tokio::pin!(start);
    assert!(tokio::time::timeout(Duration::from_millis(30), &mut start).await.is_err());
    assert_eq!(tasks.get(ns, id, "").await.unwrap().status, Status::Created);
    soon(tasks.kill(ns, id, "", 9, false)).await.unwrap();
    assert_eq!(soon(start).await.unwrap_err().message(), "killed before it ran");
    assert_eq!(soon(tasks.wait(ns, id, "")).await.unwrap().status, 137);
    assert_eq!(tasks.list(ns).await.unwrap()[0].status, Status::Stopped);
}

/// A frame may be torn by a time-out; the shim, and the container, live on.
#[tokio::test]
async fn a_lost_connection_is_not_a_dead_shim() {
    let mut stage = Stage::new(false).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace.clone(), &stage.world.id("c"));
    tasks.create(ns, id, stage.create()).await.unwrap();
    tasks.start(ns, id, "").await.unwrap();
    let waiting = tokio::spawn({
        let (tasks, ns, id) = (tasks.clone(), ns.clone(), id.clone());
        async move { tasks.wait(&ns, &id, "").await }
    });
    // The socket is handed from one listener to the next, so that it never refuses.
    let next_door = stage.world.root.path().join("next.sock");
    let listener = UnixListener::bind(&next_door).unwrap();
    std::fs::rename(&next_door, &stage.socket).unwrap();
    stage.shut_door().await;
    stage.open_door(listener);
    let ask = || async { tasks.get(ns, id, "").await.ok() };
    until(ask, |process| process.status == Status::Running).await;
    // Until the new connection stands, calls are refused as unavailable: those who get that ask again.
    soon(async {
        while let Err(error) = tasks.kill(ns, id, "", 15, false).await {
            assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(soon(waiting).await.unwrap().unwrap().status, 143);
}

#[tokio::test]
async fn a_dead_shims_delete_tells_the_exit() {
    let mut stage = Stage::new(false).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace.clone(), &stage.world.id("c"));
    tasks.create(ns, id, stage.create()).await.unwrap();
    tasks.start(ns, id, "").await.unwrap();
    let mut events = stage.world.subscribe();
    stage.shut_door().await;
    let exit = soon(tasks.wait(ns, id, "")).await.unwrap();
    assert_eq!((exit.status, exit.pid), (42, 77));
    let event = next(&mut events, "/tasks/exit").await;
    assert_eq!(unpack::<TaskExit>(&event.event).unwrap().unwrap().exit_status, 42);
    assert!(!stage.socket.exists());
    assert_eq!(soon(tasks.delete(ns, id)).await.unwrap(), exit);
    stage.world.assert_clean();
}

#[tokio::test]
async fn a_shim_too_busy_to_take_connections_is_waited_for() {
    let mut stage = Stage::new(false).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace.clone(), &stage.world.id("c"));
    tasks.create(ns, id, stage.create()).await.unwrap();
    tasks.start(ns, id, "").await.unwrap();
    stage.world.die(tasks).await;
    stage.shut_door().await;
    std::fs::remove_file(&stage.socket).unwrap();
    // A queue for one, and one in it.
    let listener = std::os::unix::net::UnixListener::bind(&stage.socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let first = std::os::unix::net::UnixStream::connect(&stage.socket).unwrap();
    let tasks = stage.world.come_back().await;
    assert_eq!(tasks.list(ns).await.unwrap()[0].status, Status::Unknown);
    let known = tasks.get(ns, id, "").await.unwrap();
    assert_eq!((known.status, known.exit), (Status::Unknown, None));
    assert_eq!(tasks.kill(ns, id, "", 9, false).await.unwrap_err().kind(), Kind::Unavailable);
    drop(first);
    stage.open_door(UnixListener::from_std(listener).unwrap());
    let ask = || async { tasks.list(ns).await.unwrap().into_iter().next() };
    until(ask, |process| process.status == Status::Running).await;
    soon(tasks.kill(ns, id, "", 9, false)).await.unwrap();
    assert_eq!(soon(tasks.wait(ns, id, "")).await.unwrap().status, 137);
}

#[tokio::test]
async fn an_exit_is_let_through_once() {
    let stage = Stage::new(false).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace, &stage.world.id("c"));
    tasks.create(ns, id, stage.create()).await.unwrap();
    let exit = |name: &str| exit_event(ns, name, 77, 5);
    assert!(tasks.shim_event(&exit("e")));
    assert!(!tasks.shim_event(&exit("e")));
    assert!(tasks.shim_event(&exit("c")));
    assert!(!tasks.shim_event(&exit("c")));
    // The shim's Wait has not answered; the event is enough.
    assert_eq!(soon(tasks.wait(ns, id, "")).await.unwrap().status, 5);
    let other = Envelope { event: Any { type_url: "x.Y".into(), value: vec![1] }, ..exit("c") };
    assert!(tasks.shim_event(&other));
}

#[tokio::test]
async fn a_shim_that_does_not_answer_is_not_asked_without_end() {
    let stage = Stage::new(false).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace, &stage.world.id("c"));
    tasks.create(ns, id, stage.create()).await.unwrap();
    let mut asking = JoinSet::new();
    for _ in 0..600 {
        let (tasks, ns, id) = (tasks.clone(), ns.clone(), id.clone());
        asking.spawn(async move { tasks.pids(&ns, &id).await });
    }
    let error = soon(asking.join_next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains("unanswered"), "{error:?}");
}

#[tokio::test]
async fn a_reported_exit_is_not_forgotten_with_the_shim() {
    let mut stage = Stage::new(false).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace.clone(), &stage.world.id("c"));
    tasks.create(ns, id, stage.create()).await.unwrap();
    tasks.start(ns, id, "").await.unwrap();
    assert!(tasks.shim_event(&exit_event(ns, "c", 77, 5)));
    let noted = stage.world.bundle("c").join("reported.json");
    soon(async {
        while !noted.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stage.world.die(tasks).await;
    stage.shut_door().await;
    let mut events = stage.world.subscribe();
    let tasks = stage.world.come_back().await;
    let listed = tasks.list(ns).await.unwrap();
    assert_eq!((listed[0].status, listed[0].exit.unwrap().status), (Status::Stopped, 5));
    assert_eq!(soon(tasks.delete(ns, id)).await.unwrap().status, 5);
    let event = soon(events.next()).await.unwrap().unwrap();
    assert_eq!(event.topic, "/tasks/delete");
    stage.world.assert_clean();
}

#[tokio::test]
async fn a_late_event_of_an_earlier_exec_is_not_the_next_ones() {
    let stage = Stage::new(false).await;
    let tasks = stage.world.open().await;
    let (ns, id) = (&stage.world.namespace, &stage.world.id("c"));
    tasks.create(ns, id, stage.create()).await.unwrap();
    let exec = || Exec { exec_id: stage.world.id("e"), spec: Any::default(), io: Io::default() };
    tasks.exec(ns, id, exec()).await.unwrap();
    assert!(tasks.shim_event(&exit_event(ns, "e", 50, 1)));
    assert_eq!(tasks.start(ns, id, "e").await.unwrap(), 77);
    assert!(tasks.shim_event(&exit_event(ns, "e", 77, 2)));
    assert_eq!(soon(tasks.wait(ns, id, "e")).await.unwrap().status, 2);
    let same = Exec { exec_id: id.clone(), ..exec() };
    assert_eq!(tasks.exec(ns, id, same).await.unwrap_err().kind(), Kind::AlreadyExists);
}
