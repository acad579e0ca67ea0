//! Tasks, as far as no shim is needed.

use proto_containerd::services::tasks::tasks_client::TasksClient;
use proto_containerd::services::tasks::*;
use proto_containerd::types::Descriptor;
use tonic::Code;
use tonic::transport::Channel;

use crate::containers;
use crate::daemon::{Daemon, asked};

fn client(daemon: &Daemon) -> TasksClient<Channel> {
    TasksClient::new(daemon.channel.clone())
}

#[tokio::test]
async fn task_needs_a_container() {
    let daemon = Daemon::start().await;
    let request = CreateTaskRequest { container_id: "c".into(), ..Default::default() };
    let status = client(&daemon).create(asked(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("container \"c\" in namespace \"test\": not found"), "{status}");
}

#[tokio::test]
async fn container_needs_a_spec() {
    let daemon = Daemon::start().await;
    let bare = proto_containerd::services::containers::Container { spec: None, ..containers::container("c") };
    if containers::create(&daemon, bare).await.is_err() {
        // The record room asks for one already.
        return;
    }
    let request = CreateTaskRequest { container_id: "c".into(), ..Default::default() };
    let status = client(&daemon).create(asked(request)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "container c has no spec"));
}

#[tokio::test]
async fn sandboxes_are_not_served() {
    let daemon = Daemon::start().await;
    let inside = proto_containerd::services::containers::Container {
        sandbox: "pod".into(),
        ..containers::container("c")
    };
    containers::create(&daemon, inside).await.unwrap();
    let request = CreateTaskRequest { container_id: "c".into(), ..Default::default() };
    let status = client(&daemon).create(asked(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("sandbox (pod)"), "{status}");
}

#[tokio::test]
async fn what_is_no_checkpoint_is_not_restored() {
    let daemon = Daemon::start().await;
    containers::create(&daemon, containers::container("c")).await.unwrap();
    let image = Descriptor { media_type: "text/plain".into(), ..Default::default() };
    let request =
        CreateTaskRequest { container_id: "c".into(), checkpoint: Some(image), ..Default::default() };
    let status = client(&daemon).create(asked(request)).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "unsupported checkpoint type \"text/plain\"")
    );
}

#[tokio::test]
async fn absent_task_is_not_found() {
    let daemon = Daemon::start().await;
    containers::create(&daemon, containers::container("c")).await.unwrap();
    let mut tasks = client(&daemon);
    let id = || "c".to_owned();
    let codes = [
        tasks
            .start(asked(StartRequest { container_id: id(), ..Default::default() }))
            .await
            .unwrap_err()
            .code(),
        tasks.delete(asked(DeleteTaskRequest { container_id: id() })).await.unwrap_err().code(),
        tasks.get(asked(GetRequest { container_id: id(), ..Default::default() })).await.unwrap_err().code(),
        tasks
            .kill(asked(KillRequest { container_id: id(), signal: 9, ..Default::default() }))
            .await
            .unwrap_err()
            .code(),
        tasks.pause(asked(PauseTaskRequest { container_id: id() })).await.unwrap_err().code(),
        tasks.resume(asked(ResumeTaskRequest { container_id: id() })).await.unwrap_err().code(),
        tasks.list_pids(asked(ListPidsRequest { container_id: id() })).await.unwrap_err().code(),
        tasks.wait(asked(WaitRequest { container_id: id(), ..Default::default() })).await.unwrap_err().code(),
        tasks
            .close_io(asked(CloseIoRequest { container_id: id(), ..Default::default() }))
            .await
            .unwrap_err()
            .code(),
        tasks
            .checkpoint(asked(CheckpointTaskRequest { container_id: id(), ..Default::default() }))
            .await
            .unwrap_err()
            .code(),
    ];
    assert_eq!(codes, [Code::NotFound; 10]);
    assert!(tasks.list(asked(ListTasksRequest::default())).await.unwrap().into_inner().tasks.is_empty());
    assert!(tasks.metrics(asked(MetricsRequest::default())).await.unwrap().into_inner().metrics.is_empty());
}

#[tokio::test]
async fn exec_needs_an_id_and_a_spec() {
    let daemon = Daemon::start().await;
    let mut tasks = client(&daemon);
    let request = ExecProcessRequest { container_id: "c".into(), ..Default::default() };
    let status = tasks.exec(asked(request.clone())).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "exec id cannot be empty"));
    let status = tasks.exec(asked(ExecProcessRequest { exec_id: "e".into(), ..request })).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "spec is required"));
}
