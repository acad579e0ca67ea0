//! A container that runs: the task calls, with the shim and the executor that the machine has.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use prost_types::Any;
use proto_containerd::metrics;
use proto_containerd::options::runc::Options;
use proto_containerd::services::containers::{Container, container};
use proto_containerd::services::events::SubscribeRequest;
use proto_containerd::services::events::events_client::EventsClient;
use proto_containerd::services::tasks::tasks_client::TasksClient;
use proto_containerd::services::tasks::*;
use proto_containerd::types::Mount;
use proto_containerd::types::task::Status;
use proto_containerd::{pack, unpack};
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::daemon::{Daemon, asked};
use crate::{containers, snapshots};

const SHIM: &str = "/usr/bin/containerd-shim-runc-v2";
const BUSYBOX: &str = "/usr/bin/busybox";
/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// Everything of one container.
struct Running {
    daemon: Daemon,
    tasks: TasksClient<Channel>,
    rootfs: Vec<Mount>,
}

/// Says what the machine lacks.
fn is_possible() -> bool {
    let runc = ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|path| Path::new(path).exists());
    let missing: Vec<_> = [SHIM, BUSYBOX, runc.unwrap_or("/usr/bin/runc")]
        .into_iter()
        .filter(|path| !Path::new(path).exists())
        .collect();
    if !missing.is_empty() {
        eprintln!("skipped: {} is not installed", missing.join(", "));
    }
    missing.is_empty()
}

/// A spec that needs little: namespaces, /proc, and a cgroup of the test's own.
fn spec(args: &[&str], cgroup: &str) -> Any {
    let capabilities = ["CAP_KILL"];
    let spec = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": args, "env": ["PATH=/bin"],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": format!("/{cgroup}/c"),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
        },
    });
    Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
        value: spec.to_string().into_bytes(),
    }
}

/// Puts busybox where a container finds it.
fn furnish(root: &Path) {
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::create_dir_all(root.join("proc")).unwrap();
    std::fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    std::fs::set_permissions(root.join("bin/busybox"), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["sh", "sleep"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
}

impl Running {
    async fn new(args: &[&str]) -> Running {
        let daemon = Daemon::start().await;
        let prepare = asked(snapshots::prepare("root", ""));
        let rootfs = snapshots::client(&daemon).prepare(prepare).await.unwrap().into_inner().mounts;
        furnish(Path::new(&rootfs[0].source));
        let cgroup = cgroup(&daemon);
        let options = Options { root: runc_root(&daemon), ..Default::default() };
        let record = Container {
            runtime: Some(container::Runtime { name: SHIM.into(), options: Some(pack(&options)) }),
            spec: Some(spec(args, &cgroup)),
            snapshotter: snapshots::SNAPSHOTTER.into(),
            snapshot_key: "root".into(),
            ..containers::container("c")
        };
        containers::create(&daemon, record).await.unwrap();
        let tasks = TasksClient::new(daemon.channel.clone());
        Running { daemon, tasks, rootfs }
    }

    fn output(&self) -> String {
        self.daemon.root.path().join("output").display().to_string()
    }

    async fn create(&mut self) -> u32 {
        let request = CreateTaskRequest {
            container_id: "c".into(),
            rootfs: self.rootfs.clone(),
            stdout: format!("file://{}", self.output()),
            // As clients do; some shims die of a file for one of the two alone.
            stderr: format!("file://{}", self.output()),
            ..Default::default()
        };
        self.tasks.create(asked(request)).await.unwrap().into_inner().pid
    }

    async fn start(&mut self, exec: &str) -> u32 {
        let request = StartRequest { container_id: "c".into(), exec_id: exec.into() };
        self.tasks.start(asked(request)).await.unwrap().into_inner().pid
    }

    async fn status(&mut self, exec: &str) -> Status {
        let request = GetRequest { container_id: "c".into(), exec_id: exec.into() };
        self.tasks.get(asked(request)).await.unwrap().into_inner().process.unwrap().status()
    }

    async fn wait(&mut self, exec: &str) -> u32 {
        let request = WaitRequest { container_id: "c".into(), exec_id: exec.into() };
        let exited = tokio::time::timeout(SOON, self.tasks.wait(asked(request))).await.unwrap().unwrap();
        exited.into_inner().exit_status
    }

    async fn delete(&mut self) -> DeleteResponse {
        self.tasks.delete(asked(DeleteTaskRequest { container_id: "c".into() })).await.unwrap().into_inner()
    }
}

impl Drop for Running {
    /// Leaves nothing behind, whether the test went well or not.
    fn drop(&mut self) {
        let runc = ["--root", &format!("{}/test", runc_root(&self.daemon)), "delete", "--force", "c"]
            .map(String::from);
        let _ = std::process::Command::new("runc").args(runc).output();
        let cgroup = cgroup(&self.daemon);
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|found| found.path());
        for hierarchy in hierarchies.chain(["/sys/fs/cgroup".into()]) {
            let _ = std::fs::remove_dir(hierarchy.join(&cgroup));
        }
    }
}

/// A cgroup that no other test has.
fn cgroup(daemon: &Daemon) -> String {
    format!("runtimed-api-test{}", daemon.root.path().file_name().unwrap().display())
}

fn runc_root(daemon: &Daemon) -> String {
    daemon.root.path().join("runc").display().to_string()
}

#[tokio::test]
async fn container_runs_to_its_end() {
    if !is_possible() {
        return;
    }
    let mut running = Running::new(&["sh", "-c", "echo out; exit 3"]).await;
    let mut events = EventsClient::new(running.daemon.channel.clone())
        .subscribe(Request::new(SubscribeRequest { filters: vec!["topic~=|^/tasks/|".into()] }))
        .await
        .unwrap()
        .into_inner();
    let pid = running.create().await;
    assert_eq!(running.status("").await, Status::Created);
    assert_eq!(running.start("").await, pid);
    assert_eq!(running.wait("").await, 3);
    assert_eq!(running.status("").await, Status::Stopped);
    let deleted = running.delete().await;
    assert_eq!((deleted.id.as_str(), deleted.pid, deleted.exit_status), ("", pid, 3));
    assert_eq!(std::fs::read_to_string(running.output()).unwrap(), "out\n");
    for expected in ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"] {
        let event = tokio::time::timeout(SOON, events.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.topic, expected);
    }
}

#[tokio::test]
async fn processes_are_added_signalled_and_counted() {
    if !is_possible() {
        return;
    }
    let mut running = Running::new(&["sleep", "1000"]).await;
    let pid = running.create().await;
    running.start("").await;
    let process = br#"{"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", "exit 5"]}"#;
    let request = ExecProcessRequest {
        container_id: "c".into(),
        exec_id: "e".into(),
        spec: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
            value: process.to_vec(),
        }),
        ..Default::default()
    };
    running.tasks.exec(asked(request)).await.unwrap();
    running.start("e").await;
    assert_eq!(running.wait("e").await, 5);
    let request = DeleteProcessRequest { container_id: "c".into(), exec_id: "e".into() };
    let deleted = running.tasks.delete_process(asked(request)).await.unwrap().into_inner();
    assert_eq!((deleted.id.as_str(), deleted.exit_status), ("e", 5));

    let pids = ListPidsRequest { container_id: "c".into() };
    let processes = running.tasks.list_pids(asked(pids)).await.unwrap().into_inner().processes;
    assert_eq!(processes.iter().map(|found| found.pid).collect::<Vec<_>>(), [pid]);
    let metrics =
        running.tasks.metrics(asked(MetricsRequest { filters: vec!["id==c".into()] })).await.unwrap();
    let data = metrics.into_inner().metrics.remove(0).data.unwrap();
    let counted =
        unpack::<metrics::v1::Metrics>(&data).unwrap().and_then(|found| found.pids).map(|pids| pids.current);
    let counted = counted.or_else(|| {
        unpack::<metrics::v2::Metrics>(&data).unwrap().and_then(|found| found.pids).map(|p| p.current)
    });
    assert_eq!(counted, Some(1));

    running.tasks.pause(asked(PauseTaskRequest { container_id: "c".into() })).await.unwrap();
    assert_eq!(running.status("").await, Status::Paused);
    running.tasks.resume(asked(ResumeTaskRequest { container_id: "c".into() })).await.unwrap();
    let busy = running.tasks.delete(asked(DeleteTaskRequest { container_id: "c".into() })).await.unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition, "{busy}");

    let request = KillRequest { container_id: "c".into(), signal: 9, ..Default::default() };
    running.tasks.kill(asked(request)).await.unwrap();
    assert_eq!(running.wait("").await, 137);
    running.delete().await;
}
