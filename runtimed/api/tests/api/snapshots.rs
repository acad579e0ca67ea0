//! Snapshots, with the snapshotter that works on any filesystem.

use proto_containerd::services::snapshots::snapshots_client::SnapshotsClient;
use proto_containerd::services::snapshots::*;
use tonic::Code;
use tonic::transport::Channel;

use crate::daemon::{Daemon, asked, held, lease, leased};

pub const SNAPSHOTTER: &str = "native";

pub fn client(daemon: &Daemon) -> SnapshotsClient<Channel> {
    SnapshotsClient::new(daemon.channel.clone())
}

pub fn prepare(key: &str, parent: &str) -> PrepareSnapshotRequest {
    PrepareSnapshotRequest {
        snapshotter: SNAPSHOTTER.into(),
        key: key.into(),
        parent: parent.into(),
        labels: Default::default(),
    }
}

pub fn commit(name: &str, key: &str) -> CommitSnapshotRequest {
    CommitSnapshotRequest {
        snapshotter: SNAPSHOTTER.into(),
        name: name.into(),
        key: key.into(),
        ..Default::default()
    }
}

async fn stat(daemon: &Daemon, key: &str) -> Result<Info, tonic::Status> {
    let request = StatSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: key.into() };
    Ok(client(daemon).stat(asked(request)).await?.into_inner().info.unwrap())
}

#[tokio::test]
async fn snapshot_lives_through_its_kinds() {
    let daemon = Daemon::start().await;
    let mut snapshots = client(&daemon);
    let mounts = snapshots.prepare(asked(prepare("k", ""))).await.unwrap().into_inner().mounts;
    assert_eq!(mounts.len(), 1);
    let request = MountsRequest { snapshotter: SNAPSHOTTER.into(), key: "k".into() };
    assert_eq!(snapshots.mounts(asked(request)).await.unwrap().into_inner().mounts, mounts);
    assert_eq!(stat(&daemon, "k").await.unwrap().kind(), Kind::Active);
    std::fs::write(format!("{}/f", mounts[0].source), b"12345").unwrap();

    snapshots.commit(asked(commit("c", "k"))).await.unwrap();
    assert_eq!(stat(&daemon, "c").await.unwrap().kind(), Kind::Committed);
    assert_eq!(stat(&daemon, "k").await.unwrap_err().code(), Code::NotFound);

    let view = ViewSnapshotRequest {
        snapshotter: SNAPSHOTTER.into(),
        key: "v".into(),
        parent: "c".into(),
        ..Default::default()
    };
    snapshots.view(asked(view)).await.unwrap();
    let seen = stat(&daemon, "v").await.unwrap();
    assert_eq!((seen.kind(), seen.parent.as_str()), (Kind::View, "c"));

    let request = ListSnapshotsRequest { snapshotter: SNAPSHOTTER.into(), filters: vec!["parent==c".into()] };
    let mut listed = snapshots.list(asked(request)).await.unwrap().into_inner();
    assert_eq!(listed.message().await.unwrap().unwrap().info[0].name, "v");

    let usage = UsageRequest { snapshotter: SNAPSHOTTER.into(), key: "c".into() };
    assert!(snapshots.usage(asked(usage)).await.unwrap().into_inner().size > 0);

    let remove =
        |key: &str| asked(RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: key.into() });
    assert_eq!(snapshots.remove(remove("c")).await.unwrap_err().code(), Code::FailedPrecondition);
    snapshots.remove(remove("v")).await.unwrap();
    snapshots.remove(remove("c")).await.unwrap();
    snapshots.cleanup(asked(CleanupRequest { snapshotter: SNAPSHOTTER.into() })).await.unwrap();
}

#[tokio::test]
async fn snapshotter_must_be_there() {
    let daemon = Daemon::start().await;
    let mut snapshots = client(&daemon);
    let ask = |name: &str| asked(StatSnapshotRequest { snapshotter: name.into(), key: "k".into() });
    let status = snapshots.stat(ask("")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "snapshotter argument missing"));
    let status = snapshots.stat(ask("zfs")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("snapshotter not loaded: zfs"), "{status}");
}

#[tokio::test]
async fn snapshot_is_not_moved_at_commit() {
    let daemon = Daemon::start().await;
    let mut snapshots = client(&daemon);
    snapshots.prepare(asked(prepare("k", ""))).await.unwrap();
    let request = CommitSnapshotRequest { parent: "elsewhere".into(), ..commit("c", "k") };
    assert_eq!(snapshots.commit(asked(request)).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn lease_follows_the_snapshot_to_its_name() {
    let daemon = Daemon::start().await;
    lease(&daemon, "l").await;
    let mut snapshots = client(&daemon);
    snapshots.prepare(leased(prepare("k", ""), "l")).await.unwrap();
    assert_eq!(held(&daemon, "l"), ["snapshots/native k"]);
    snapshots.commit(leased(commit("c", "k"), "l")).await.unwrap();
    assert_eq!(held(&daemon, "l"), ["snapshots/native c"]);
}

#[tokio::test]
async fn labels_are_updated() {
    let daemon = Daemon::start().await;
    let mut snapshots = client(&daemon);
    snapshots.prepare(asked(prepare("k", ""))).await.unwrap();
    let info =
        Info { name: "k".into(), labels: [("a".to_owned(), "1".to_owned())].into(), ..Default::default() };
    let mask = prost_types::FieldMask { paths: vec!["labels.a".into()] };
    let request =
        UpdateSnapshotRequest { snapshotter: SNAPSHOTTER.into(), info: Some(info), update_mask: Some(mask) };
    let updated = snapshots.update(asked(request)).await.unwrap().into_inner().info.unwrap();
    assert_eq!(updated.labels["a"], "1");
}
