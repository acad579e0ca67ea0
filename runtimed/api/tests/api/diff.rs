//! Layers onto snapshots, and back.

use std::os::unix::fs::MetadataExt;

use proto_containerd::services::diff::diff_client::DiffClient;
use proto_containerd::services::diff::{ApplyRequest, DiffRequest};
use proto_containerd::types::{Descriptor, Mount};
use tonic::Code;
use tonic::transport::Channel;

use crate::content::{digest_of, read};
use crate::daemon::{Daemon, asked, held, lease, leased};
use crate::snapshots;

const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

fn client(daemon: &Daemon) -> DiffClient<Channel> {
    DiffClient::new(daemon.channel.clone())
}

/// A layer with one file.
fn layer() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(5);
    header.set_mode(0o640);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1_000_000_000);
    archive.append_data(&mut header, "dir-less", b"hello".as_slice()).unwrap();
    archive.into_inner().unwrap()
}

async fn stored(daemon: &Daemon, bytes: &[u8], media_type: &str) -> Descriptor {
    let blob = bytes.to_vec().into();
    let digest = daemon.rooms.content.put(&daemon.namespace(), blob, Default::default()).await.unwrap();
    Descriptor {
        media_type: media_type.into(),
        digest: digest.to_string(),
        size: bytes.len() as i64,
        ..Default::default()
    }
}

async fn prepared(daemon: &Daemon, key: &str) -> Vec<Mount> {
    snapshots::client(daemon).prepare(asked(snapshots::prepare(key, ""))).await.unwrap().into_inner().mounts
}

#[tokio::test]
async fn layer_is_applied_and_made_again() {
    let daemon = Daemon::start().await;
    let layer = layer();
    let blob = stored(&daemon, &layer, PLAIN).await;
    let mounts = prepared(&daemon, "k").await;
    let apply = ApplyRequest { diff: Some(blob), mounts: mounts.clone(), ..Default::default() };
    let applied = client(&daemon).apply(asked(apply)).await.unwrap().into_inner().applied.unwrap();
    assert_eq!((applied.media_type.as_str(), applied.size), (PLAIN, layer.len() as i64));
    assert_eq!(applied.digest, digest_of(&layer));
    let file = std::fs::metadata(format!("{}/dir-less", mounts[0].source)).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777, file.len()), (7, 8, 0o640, 5));

    lease(&daemon, "l").await;
    let empty = prepared(&daemon, "empty").await;
    let request = DiffRequest { left: empty, right: mounts, media_type: PLAIN.into(), ..Default::default() };
    let made = client(&daemon).diff(leased(request, "l")).await.unwrap().into_inner().diff.unwrap();
    assert_eq!(held(&daemon, "l"), [format!("content {}", made.digest)]);
    let bytes = read(&daemon, &made.digest, 0, 0).await.unwrap();
    assert_eq!(bytes.len() as i64, made.size);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let paths: Vec<_> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    assert!(paths.iter().any(|path| path.ends_with("dir-less")), "{paths:?}");
}

#[tokio::test]
async fn compressed_diff_says_what_it_is_uncompressed() {
    let daemon = Daemon::start().await;
    let mounts = prepared(&daemon, "k").await;
    std::fs::write(format!("{}/f", mounts[0].source), b"x").unwrap();
    let request = DiffRequest { right: mounts, ..Default::default() };
    let made = client(&daemon).diff(asked(request)).await.unwrap().into_inner().diff.unwrap();
    assert_eq!(made.media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    let digest = made.digest.parse().unwrap();
    let info = daemon.rooms.content.info(&daemon.namespace(), &digest).unwrap();
    assert!(info.labels["containerd.io/uncompressed"].starts_with("sha256:"));
}

#[tokio::test]
async fn what_is_no_layer_is_refused() {
    let daemon = Daemon::start().await;
    let mounts = prepared(&daemon, "k").await;
    let blob = stored(&daemon, b"not a tar", "text/plain").await;
    let apply = ApplyRequest { diff: Some(blob), mounts: mounts.clone(), ..Default::default() };
    assert!(client(&daemon).apply(asked(apply)).await.is_err());
    let request = DiffRequest { right: mounts, media_type: "text/plain".into(), ..Default::default() };
    let status = client(&daemon).diff(asked(request)).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unimplemented, "unsupported diff media type: text/plain")
    );
}

#[tokio::test]
async fn failed_diff_leaves_nothing() {
    let daemon = Daemon::start().await;
    let nowhere = Mount { r#type: "bind".into(), source: "/does/not/exist".into(), ..Default::default() };
    let request = DiffRequest { right: vec![nowhere], ..Default::default() };
    assert!(client(&daemon).diff(asked(request)).await.is_err());
    assert!(daemon.rooms.content.statuses(&daemon.namespace(), &[]).unwrap().is_empty());
}
