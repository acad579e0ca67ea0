//! What holds for every service, and the two that only tell.

use std::time::Duration;

use proto_containerd::MAX_MESSAGE_SIZE;
use proto_containerd::services::events::SubscribeRequest;
use proto_containerd::services::events::events_client::EventsClient;
use proto_containerd::services::images::images_client::ImagesClient;
use proto_containerd::services::images::{CreateImageRequest, GetImageRequest, ListImagesRequest};
use proto_containerd::services::introspection::introspection_client::IntrospectionClient;
use proto_containerd::services::mounts::mounts_client::MountsClient;
use proto_containerd::services::version::version_client::VersionClient;
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
