//! Content: ingests, blobs and what can go wrong between them.

use ids::Digest;
use proto_containerd::services::content::content_client::ContentClient;
use proto_containerd::services::content::*;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::daemon::{Daemon, asked, held, lease, leased};

pub fn client(daemon: &Daemon) -> ContentClient<Channel> {
    ContentClient::new(daemon.channel.clone())
}

pub fn digest_of(bytes: &[u8]) -> String {
    Digest::from_sha256(Sha256::digest(bytes).into()).to_string()
}

/// One stream of `Write`.
struct Writing {
    requests: mpsc::Sender<WriteContentRequest>,
    responses: Streaming<WriteContentResponse>,
}

impl Writing {
    async fn open(daemon: &Daemon, first: WriteContentRequest) -> Result<Writing, Status> {
        Writing::open_leased(daemon, first, "").await
    }

    async fn open_leased(
        daemon: &Daemon,
        first: WriteContentRequest,
        lease: &str,
    ) -> Result<Writing, Status> {
        let (requests, receiver) = mpsc::channel(1);
        requests.send(first).await.unwrap();
        let stream = leased(ReceiverStream::new(receiver), lease);
        let responses = client(daemon).write(stream).await?.into_inner();
        Ok(Writing { requests, responses })
    }

    async fn next(&mut self) -> Result<WriteContentResponse, Status> {
        self.responses.message().await.map(Option::unwrap)
    }

    async fn ask(&mut self, request: WriteContentRequest) -> Result<WriteContentResponse, Status> {
        self.requests.send(request).await.unwrap();
        self.next().await
    }

    async fn close(mut self) {
        drop(self.requests);
        assert!(self.responses.message().await.unwrap().is_none());
    }
}

fn stat(reference: &str) -> WriteContentRequest {
    WriteContentRequest { action: WriteAction::Stat.into(), r#ref: reference.into(), ..Default::default() }
}

fn write(offset: i64, data: &'static [u8]) -> WriteContentRequest {
    WriteContentRequest { action: WriteAction::Write.into(), offset, data: data.into(), ..Default::default() }
}

fn commit(offset: i64, total: i64, expected: &str) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Commit.into(),
        offset,
        total,
        expected: expected.into(),
        labels: [("k".to_owned(), "v".to_owned())].into(),
        ..Default::default()
    }
}

/// Stores a blob in one go.
pub async fn store(daemon: &Daemon, reference: &str, data: &'static [u8]) -> String {
    let request = WriteContentRequest {
        r#ref: reference.into(),
        data: data.into(),
        ..commit(0, data.len() as i64, "")
    };
    Writing::open(daemon, request).await.unwrap().next().await.unwrap().digest
}

pub async fn read(daemon: &Daemon, digest: &str, offset: i64, size: i64) -> Result<Vec<u8>, Status> {
    let request = ReadContentRequest { digest: digest.into(), offset, size };
    let mut stream = client(daemon).read(asked(request)).await?.into_inner();
    let mut all = Vec::new();
    while let Some(part) = stream.message().await? {
        assert_eq!(part.offset, offset + all.len() as i64);
        all.extend_from_slice(&part.data);
    }
    Ok(all)
}

#[tokio::test]
async fn ingest_is_resumed_by_a_later_stream() {
    let daemon = Daemon::start().await;
    let mut first = Writing::open(&daemon, stat("r")).await.unwrap();
    let response = first.next().await.unwrap();
    assert_eq!((response.offset, response.action()), (0, WriteAction::Stat));
    assert_eq!(first.ask(write(0, b"hello ")).await.unwrap().offset, 6);
    first.close().await;

    let status = client(&daemon).status(asked(StatusRequest { r#ref: "r".into() })).await.unwrap();
    assert_eq!(status.into_inner().status.unwrap().offset, 6);

    let mut second = Writing::open(&daemon, stat("r")).await.unwrap();
    let response = second.next().await.unwrap();
    assert_eq!((response.offset, response.digest), (6, digest_of(b"hello ")));
    assert_eq!(second.ask(write(6, b"world")).await.unwrap().digest, digest_of(b"hello world"));
    let digest = digest_of(b"hello world");
    let response = second.ask(commit(11, 11, &digest)).await.unwrap();
    assert_eq!((response.action(), response.offset, &response.digest), (WriteAction::Commit, 11, &digest));
    second.close().await;

    assert_eq!(read(&daemon, &digest, 0, 0).await.unwrap(), b"hello world");
    let info = client(&daemon).info(asked(InfoRequest { digest })).await.unwrap().into_inner().info.unwrap();
    assert_eq!((info.size, info.labels["k"].as_str()), (11, "v"));
    let gone = client(&daemon).status(asked(StatusRequest { r#ref: "r".into() })).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn ranges_are_read() {
    let daemon = Daemon::start().await;
    let digest = store(&daemon, "r", b"0123456789").await;
    assert_eq!(read(&daemon, &digest, 3, 4).await.unwrap(), b"3456");
    assert_eq!(read(&daemon, &digest, 8, 99).await.unwrap(), b"89");
    assert_eq!(read(&daemon, &digest, 10, 0).await.unwrap(), b"");
    let status = read(&daemon, &digest, 11, 0).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::OutOfRange, "read past object length 10 bytes"));
}

#[tokio::test]
async fn blob_larger_than_a_message_is_read_whole() {
    let daemon = Daemon::start().await;
    let bytes: Vec<u8> = (0..20u32 << 20).map(|n| (n / 7) as u8).collect();
    let digest = daemon
        .rooms
        .content
        .put(&daemon.namespace(), bytes.clone().into(), Default::default())
        .await
        .unwrap();
    assert!(read(&daemon, &digest.to_string(), 0, 0).await.unwrap() == bytes);
}

#[tokio::test]
async fn wrong_offset_is_out_of_range() {
    let daemon = Daemon::start().await;
    let mut writing = Writing::open(&daemon, stat("r")).await.unwrap();
    writing.next().await.unwrap();
    writing.ask(write(0, b"abc")).await.unwrap();
    let status = writing.ask(write(7, b"x")).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(status.message(), "write @7 must occur at current offset 3");
}

#[tokio::test]
async fn offset_zero_starts_anew() {
    let daemon = Daemon::start().await;
    let mut writing = Writing::open(&daemon, stat("r")).await.unwrap();
    writing.next().await.unwrap();
    writing.ask(write(0, b"abc")).await.unwrap();
    assert_eq!(writing.ask(write(0, b"xy")).await.unwrap().digest, digest_of(b"xy"));
}

#[tokio::test]
async fn wrong_digest_and_size_are_preconditions() {
    let daemon = Daemon::start().await;
    for (reference, total, expected) in [("a", 3, digest_of(b"other")), ("b", 4, digest_of(b"abc"))] {
        let mut writing = Writing::open(&daemon, stat(reference)).await.unwrap();
        writing.next().await.unwrap();
        writing.ask(write(0, b"abc")).await.unwrap();
        let status = writing.ask(commit(3, total, &expected)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    }
}

#[tokio::test]
async fn blob_that_exists_ends_the_ingest() {
    let daemon = Daemon::start().await;
    let digest = store(&daemon, "first", b"abc").await;
    // Known from the start.
    let status = Writing::open(&daemon, WriteContentRequest { expected: digest.clone(), ..stat("r") })
        .await
        .err()
        .unwrap();
    assert_eq!(status.code(), Code::AlreadyExists);
    // Told on the way.
    let mut writing = Writing::open(&daemon, stat("r")).await.unwrap();
    writing.next().await.unwrap();
    let status = writing.ask(commit(0, 3, &digest)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(status.message(), format!("blob with expected digest {digest} exists"));
    let status = client(&daemon).status(asked(StatusRequest { r#ref: "r".into() })).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn second_writer_of_a_reference_is_unavailable() {
    let daemon = Daemon::start().await;
    let mut first = Writing::open(&daemon, stat("r")).await.unwrap();
    first.next().await.unwrap();
    let status = Writing::open(&daemon, stat("r")).await.err().unwrap();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn reference_is_required() {
    let daemon = Daemon::start().await;
    let status = Writing::open(&daemon, stat("")).await.err().unwrap();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "first message must have a reference")
    );
}

#[tokio::test]
async fn lease_holds_ingest_then_blob() {
    let daemon = Daemon::start().await;
    lease(&daemon, "l").await;
    let mut writing = Writing::open_leased(&daemon, stat("r"), "l").await.unwrap();
    writing.next().await.unwrap();
    assert_eq!(held(&daemon, "l"), ["ingests r"]);
    writing.ask(write(0, b"abc")).await.unwrap();
    writing.ask(commit(3, 3, "")).await.unwrap();
    assert_eq!(held(&daemon, "l"), [format!("content {}", digest_of(b"abc"))]);
}

#[tokio::test]
async fn lease_takes_up_a_blob_that_exists() {
    let daemon = Daemon::start().await;
    lease(&daemon, "l").await;
    let digest = store(&daemon, "first", b"abc").await;
    let request = WriteContentRequest { expected: digest.clone(), ..stat("r") };
    let status = Writing::open_leased(&daemon, request, "l").await.err().unwrap();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(held(&daemon, "l").contains(&format!("content {digest}")));
}

#[tokio::test]
async fn lease_that_ends_on_the_way_loses_no_blob() {
    let daemon = Daemon::start().await;
    lease(&daemon, "l").await;
    let digest = digest_of(b"abc");
    let first = WriteContentRequest { expected: digest.clone(), ..stat("r") };
    let mut writing = Writing::open_leased(&daemon, first, "l").await.unwrap();
    writing.next().await.unwrap();
    writing.ask(write(0, b"abc")).await.unwrap();
    daemon.rooms.leases.delete(&daemon.namespace(), "l").await.unwrap();
    assert_eq!(writing.ask(commit(3, 3, &digest)).await.unwrap().digest, digest);
}

#[tokio::test]
async fn unknown_lease_is_not_found() {
    let daemon = Daemon::start().await;
    let status = Writing::open_leased(&daemon, stat("r"), "nothing").await.err().unwrap();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn labels_are_updated_by_mask_and_listed_by_filter() {
    let daemon = Daemon::start().await;
    let digest = store(&daemon, "a", b"a").await;
    store(&daemon, "b", b"b").await;
    let info = Info {
        digest: digest.clone(),
        labels: [("x".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    };
    let mask = prost_types::FieldMask { paths: vec!["labels.x".into()] };
    let updated = client(&daemon)
        .update(asked(UpdateRequest { info: Some(info), update_mask: Some(mask) }))
        .await
        .unwrap()
        .into_inner()
        .info
        .unwrap();
    assert_eq!(updated.labels.len(), 2);

    let request = ListContentRequest { filters: vec!["labels.x==1".into()] };
    let mut stream = client(&daemon).list(asked(request)).await.unwrap().into_inner();
    let listed = stream.message().await.unwrap().unwrap().info;
    assert_eq!(listed.iter().map(|info| info.digest.as_str()).collect::<Vec<_>>(), [digest.as_str()]);
    assert!(stream.message().await.unwrap().is_none());

    let bad = ListContentRequest { filters: vec!["labels.x==\"".into()] };
    assert_eq!(client(&daemon).list(asked(bad)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn deleted_and_aborted_are_gone() {
    let daemon = Daemon::start().await;
    let digest = store(&daemon, "a", b"a").await;
    client(&daemon).delete(asked(DeleteContentRequest { digest: digest.clone() })).await.unwrap();
    let status = client(&daemon).delete(asked(DeleteContentRequest { digest })).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let mut writing = Writing::open(&daemon, stat("r")).await.unwrap();
    writing.next().await.unwrap();
    writing.ask(write(0, b"abc")).await.unwrap();
    writing.close().await;
    let listed =
        client(&daemon).list_statuses(asked(ListStatusesRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.statuses.len(), 1);
    client(&daemon).abort(asked(AbortRequest { r#ref: "r".into() })).await.unwrap();
    let listed =
        client(&daemon).list_statuses(asked(ListStatusesRequest::default())).await.unwrap().into_inner();
    assert!(listed.statuses.is_empty());
}

#[tokio::test]
async fn broken_digest_is_named() {
    let daemon = Daemon::start().await;
    let status = client(&daemon).info(asked(InfoRequest { digest: "sha256:../x".into() })).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("sha256:../x"), "{status}");
}
