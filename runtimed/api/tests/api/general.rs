//! What holds for every service, and the two that only tell.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use proto_containerd::services::events::SubscribeRequest;
use proto_containerd::services::events::events_client::EventsClient;
use proto_containerd::services::images::images_client::ImagesClient;
use proto_containerd::services::images::{CreateImageRequest, GetImageRequest, ListImagesRequest};
use proto_containerd::services::introspection::PluginInfoRequest;
use proto_containerd::services::introspection::introspection_client::IntrospectionClient;
use proto_containerd::services::mounts::mounts_client::MountsClient;
use proto_containerd::services::version::version_client::VersionClient;
use proto_containerd::types::{RuntimeInfo, RuntimeRequest};
use proto_containerd::{MAX_MESSAGE_SIZE, pack, unpack};
use tonic::{Code, Request};

use crate::daemon::{Daemon, asked};

#[tokio::test]
async fn version_and_identity_need_no_namespace() {
    let daemon = Daemon::start().await;
    let version = VersionClient::new(daemon.channel.clone()).version(()).await.unwrap().into_inner();
    assert_eq!((version.version.as_str(), version.revision.as_str()), ("1.7.0", "r"));
    let server = IntrospectionClient::new(daemon.channel.clone()).server(()).await.unwrap().into_inner();
    assert_eq!(server.pid, u64::from(std::process::id()));
    assert_ne!(server.pidns, 0);
    assert_eq!(server.uuid, "00000000-0000-4000-8000-000000000000");
}

#[tokio::test]
async fn everything_else_needs_a_namespace() {
    let daemon = Daemon::start().await;
    let mut images = ImagesClient::new(daemon.channel.clone());
    let status = images.list(Request::new(ListImagesRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().starts_with("namespace is required"), "{status}");
}

#[tokio::test]
async fn services_that_are_not_there_are_unimplemented() {
    let daemon = Daemon::start().await;
    let mut mounts = MountsClient::new(daemon.channel.clone());
    let status = mounts.info(asked(Default::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_runtime_says_what_it_is_and_other_parts_have_no_more_to_tell() {
    let daemon = Daemon::start().await;
    // Field 1, the name: "some".
    let shim = daemon.root.path().join("shim");
    std::fs::write(&shim, "#!/bin/sh\n[ \"$*\" = -info ] && cat > /dev/null && printf '\\012\\004some'\n")
        .unwrap();
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
    let about = RuntimeRequest { runtime_path: shim.display().to_string(), options: None };
    let mut introspection = IntrospectionClient::new(daemon.channel.clone());
    let mut asked = async |kind: &str, id: &str| {
        let request = PluginInfoRequest { r#type: kind.into(), id: id.into(), options: Some(pack(&about)) };
        introspection.plugin_info(request).await
    };
    let told = asked("io.containerd.runtime.v2", "task").await.unwrap().into_inner();
    assert_eq!(told.plugin.unwrap().id, "task");
    let info: RuntimeInfo = unpack(&told.extra.unwrap()).unwrap().unwrap();
    assert_eq!(info.name, "some");
    let status = asked("io.containerd.event.v1", "exchange").await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(asked("t", "i").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn messages_may_be_large_but_not_endless() {
    let daemon = Daemon::start().await;
    let mut images = ImagesClient::new(daemon.channel.clone());
    // Above the libraries' default of 4 MiB, below containerd's 16 MiB: read, and only then refused.
    let large = GetImageRequest { name: "x".repeat(MAX_MESSAGE_SIZE - 1024) };
    let status = images.get(asked(large)).await.unwrap_err();
    assert!(matches!(status.code(), Code::InvalidArgument | Code::NotFound), "{status}");
    assert!(status.message().len() <= 8 << 10);

    let endless = GetImageRequest { name: "x".repeat(MAX_MESSAGE_SIZE + 1) };
    let status = images.get(asked(endless)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
}

#[tokio::test]
async fn absent_parts_of_a_request_are_named() {
    let daemon = Daemon::start().await;
    let mut images = ImagesClient::new(daemon.channel.clone());
    let status = images.create(asked(CreateImageRequest::default())).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "image is required"));
}

#[tokio::test]
async fn many_open_calls_leave_room_for_one_more() {
    let daemon = Daemon::start().await;
    // dockerd keeps a call open for each container, all on one connection.
    let mut open = Vec::new();
    for _ in 0..400 {
        let mut events = EventsClient::new(daemon.channel.clone());
        open.push(events.subscribe(Request::new(SubscribeRequest::default())).await.unwrap());
    }
    let mut version = VersionClient::new(daemon.channel.clone());
    let answered = tokio::time::timeout(Duration::from_secs(10), version.version(())).await;
    assert!(answered.unwrap().is_ok());
}
