//! Transfers, and the streams that they go by, seen from the client's side.

use std::time::Duration;

use prost::{Message, Name};
use prost_types::Any;
use proto_containerd::services::streaming::StreamInit;
use proto_containerd::services::streaming::streaming_client::StreamingClient;
use proto_containerd::services::transfer::transfer_client::TransferClient;
use proto_containerd::services::transfer::{TransferOptions, TransferRequest};
use proto_containerd::types::transfer::*;
use proto_containerd::types::{Descriptor, Platform};
use proto_containerd::{pack, unpack};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::content::digest_of;
use crate::daemon::{Daemon, asked};

/// A stream that the client opened.
struct Opened {
    outgoing: mpsc::Sender<Any>,
    incoming: Streaming<Any>,
}

impl Opened {
    async fn open(daemon: &Daemon, id: &str) -> Result<Opened, Status> {
        let (outgoing, receiver) = mpsc::channel(1);
        outgoing.send(pack(&StreamInit { id: id.into() })).await.unwrap();
        let mut streaming = StreamingClient::new(daemon.channel.clone());
        let mut incoming = streaming.stream(asked(ReceiverStream::new(receiver))).await?.into_inner();
        let registered = incoming.message().await?.unwrap();
        assert_eq!(registered, Any { type_url: "google.protobuf.Empty".into(), value: Vec::new() });
        Ok(Opened { outgoing, incoming })
    }

    async fn next<M: Message + Name + Default>(&mut self) -> Option<M> {
        let message = self.incoming.message().await.unwrap()?;
        Some(unpack(&message).unwrap().expect(&message.type_url))
    }

    /// Sends all bytes within the window, then ends its side, and goes when the daemon has ended the other: who goes before that cuts off
    /// what is still on its way.
    async fn send(mut self, bytes: Vec<u8>) {
        let mut window = 0;
        for chunk in bytes.chunks(1000) {
            while window < chunk.len() as i32 {
                window += self.next::<WindowUpdate>().await.unwrap().update;
            }
            window -= chunk.len() as i32;
            self.outgoing.send(pack(&Data { data: chunk.to_vec().into() })).await.unwrap();
        }
        let Opened { outgoing, mut incoming } = self;
        drop(outgoing);
        while let Ok(Some(_)) = incoming.message().await {}
    }

    /// Receives until the other side ends the stream, granting little at a time.
    async fn receive(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut window = 0;
        loop {
            if window < 1000 {
                let _ = self.outgoing.send(pack(&WindowUpdate { update: 1000 })).await;
                window += 1000;
            }
            let Some(data) = self.next::<Data>().await else { return bytes };
            assert!(data.data.len() as i32 <= window, "sent {} bytes of {window}", data.data.len());
            window -= data.data.len() as i32;
            bytes.extend_from_slice(&data.data);
        }
    }

    async fn events(mut self) -> Vec<Progress> {
        let mut all = Vec::new();
        while let Some(progress) = self.next::<Progress>().await {
            all.push(progress);
        }
        all
    }
}

async fn transfer(daemon: &Daemon, source: Any, destination: Any, progress: &str) -> Result<(), Status> {
    let options = Some(TransferOptions { progress_stream: progress.into() });
    let request = TransferRequest { source: Some(source), destination: Some(destination), options };
    TransferClient::new(daemon.channel.clone()).transfer(asked(request)).await.map(drop)
}

fn store(name: &str) -> ImageStore {
    ImageStore { name: name.into(), ..Default::default() }
}

/// Adds a file to an archive.
fn file(archive: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, bytes).unwrap();
}

fn blob(archive: &mut tar::Builder<Vec<u8>>, media_type: &str, bytes: &[u8]) -> serde_json::Value {
    let digest = digest_of(bytes);
    file(archive, &format!("blobs/{}", digest.replace(':', "/")), bytes);
    serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// An OCI layout with one image of one layer.
fn archive(name: &str) -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    file(&mut layer, "hello", &[7; 50_000]);
    let layer = layer.into_inner().unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    file(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let layer_descriptor = blob(&mut archive, "application/vnd.oci.image.layer.v1.tar", &layer);
    let (os, architecture) = ("linux", architecture());
    let config = serde_json::json!({
        "os": os, "architecture": architecture, "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(&layer)]},
    });
    let config =
        blob(&mut archive, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer_descriptor],
    });
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let mut manifest = blob(&mut archive, manifest_type, manifest.to_string().as_bytes());
    manifest["annotations"] = serde_json::json!({"io.containerd.image.name": name});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    file(&mut archive, "index.json", index.to_string().as_bytes());
    archive.into_inner().unwrap()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What `ctr images import` asks for.
fn imported() -> ImageStore {
    let platform = Platform { os: "linux".into(), architecture: architecture().into(), ..Default::default() };
    let prefix = ImageReference {
        name: "import".into(),
        is_prefix: true,
        allow_overwrite: true,
        ..Default::default()
    };
    ImageStore {
        platforms: vec![platform.clone()],
        extra_references: vec![prefix],
        unpacks: vec![UnpackConfiguration { platform: Some(platform), snapshotter: "native".into() }],
        ..Default::default()
    }
}

#[tokio::test]
async fn archive_goes_in_and_comes_out() {
    let daemon = Daemon::start().await;
    let name = "registry.example/library/hello:1";
    let stream = Opened::open(&daemon, "in").await.unwrap();
    let progress = Opened::open(&daemon, "progress").await.unwrap();
    let sending = tokio::spawn(stream.send(archive(name)));
    let events = tokio::spawn(progress.events());
    let source = ImageImportStream { stream: "in".into(), ..Default::default() };
    transfer(&daemon, pack(&source), pack(&imported()), "progress").await.unwrap();
    sending.await.unwrap();
    let events = events.await.unwrap();
    assert_eq!(events.first().unwrap().event, "Importing");
    assert_eq!(events.last().unwrap().event, "Completed import");
    assert!(events.iter().any(|told| told.event == "saved" && told.name == name), "{events:?}");

    let image = daemon.rooms.names.get(&daemon.namespace(), name).unwrap();
    let native = daemon.rooms.snapshotters.get("native").unwrap();
    assert_eq!(native.list(&daemon.namespace(), &[]).unwrap().len(), 1);
    // The transfer's own lease ends with it.
    let ended = async {
        while !daemon.rooms.leases.list(&daemon.namespace(), &[]).unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap();

    let stream = Opened::open(&daemon, "out").await.unwrap();
    let receiving = tokio::spawn(stream.receive());
    let reference = ImageReference { name: name.into(), ..Default::default() };
    let source = ImageStore { extra_references: vec![reference], ..Default::default() };
    let destination = ImageExportStream { stream: "out".into(), ..Default::default() };
    transfer(&daemon, pack(&source), pack(&destination), "").await.unwrap();
    let bytes = receiving.await.unwrap();
    let mut exported = tar::Archive::new(bytes.as_slice());
    let paths: Vec<_> = exported
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    let manifest = format!("blobs/{}", image.target.digest.to_string().replace(':', "/"));
    for expected in ["index.json", "oci-layout", "manifest.json", &manifest] {
        assert!(paths.iter().any(|path| path == expected), "{expected} is not in {paths:?}");
    }
}

#[tokio::test]
async fn stream_goes_back_to_the_client_as_it_came() {
    let daemon = Daemon::start().await;
    // More than the window, less than a chunk, and nothing.
    for length in [600_000, 11, 0] {
        let bytes: Vec<u8> = (0..length).map(|at: u32| (at % 251) as u8).collect();
        let going = Opened::open(&daemon, "there").await.unwrap();
        let coming = Opened::open(&daemon, "back").await.unwrap();
        let sending = tokio::spawn(going.send(bytes.clone()));
        let receiving = tokio::spawn(coming.receive());
        let source = ImageImportStream { stream: "there".into(), ..Default::default() };
        let destination = ImageExportStream { stream: "back".into(), ..Default::default() };
        transfer(&daemon, pack(&source), pack(&destination), "").await.unwrap();
        sending.await.unwrap();
        assert!(receiving.await.unwrap() == bytes, "{length} bytes came back changed");
    }
}

#[tokio::test]
async fn archive_that_breaks_off_is_refused() {
    let daemon = Daemon::start().await;
    let stream = Opened::open(&daemon, "in").await.unwrap();
    let mut bytes = archive("registry.example/a:1");
    bytes.truncate(30_000);
    let sending = tokio::spawn(stream.send(bytes));
    let source = ImageImportStream { stream: "in".into(), ..Default::default() };
    assert!(transfer(&daemon, pack(&source), pack(&imported()), "").await.is_err());
    sending.await.unwrap();
    assert!(daemon.rooms.names.list(&daemon.namespace(), &[]).unwrap().is_empty());
}

#[tokio::test]
async fn image_gets_another_name() {
    let daemon = Daemon::start().await;
    let target = Descriptor {
        media_type: "application/vnd.oci.image.index.v1+json".into(),
        digest: format!("sha256:{}", "1".repeat(64)),
        size: 7,
        ..Default::default()
    };
    let mut images =
        proto_containerd::services::images::images_client::ImagesClient::new(daemon.channel.clone());
    let image = proto_containerd::services::images::Image {
        name: "a".into(),
        target: Some(target.clone()),
        ..Default::default()
    };
    let create =
        proto_containerd::services::images::CreateImageRequest { image: Some(image), ..Default::default() };
    images.create(asked(create)).await.unwrap();
    transfer(&daemon, pack(&store("a")), pack(&store("b")), "").await.unwrap();
    let tagged = daemon.rooms.names.get(&daemon.namespace(), "b").unwrap();
    assert_eq!(tagged.target.digest.to_string(), target.digest);
    let status = transfer(&daemon, pack(&store("nothing")), pack(&store("c")), "").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn other_pairs_are_named() {
    let daemon = Daemon::start().await;
    let registry = OciRegistry { reference: "registry.example/a:1".into(), ..Default::default() };
    let archive = ImageExportStream { stream: "s".into(), ..Default::default() };
    let status = transfer(&daemon, pack(&registry), pack(&archive), "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let pair = "containerd.types.transfer.OCIRegistry to containerd.types.transfer.ImageExportStream";
    assert!(status.message().contains(pair), "{status}");
    let unknown = Any { type_url: "some.Other".into(), value: Vec::new() };
    let status = transfer(&daemon, unknown, pack(&store("a")), "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("some.Other"), "{status}");
}

#[tokio::test]
async fn stream_is_there_once_and_while_it_is_open() {
    let daemon = Daemon::start().await;
    let first = Opened::open(&daemon, "s").await.unwrap();
    let again = Opened::open(&daemon, "s").await.err().unwrap();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert_eq!(Opened::open(&daemon, "").await.err().unwrap().code(), Code::InvalidArgument);

    let source = ImageImportStream { stream: "absent".into(), ..Default::default() };
    let status = transfer(&daemon, pack(&source), pack(&imported()), "").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("\"absent\""), "{status}");

    drop(first);
    // The name is free as soon as the server has seen the end.
    let reopened = async {
        while Opened::open(&daemon, "s").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reopened).await.unwrap();
}

#[tokio::test]
async fn streams_that_nobody_takes_are_bounded() {
    let daemon = Daemon::start().await;
    let long = Opened::open(&daemon, &"n".repeat(1025)).await.err().unwrap();
    assert_eq!(long.code(), Code::InvalidArgument);
    assert!(long.message().contains("1025 bytes long"), "{long}");
    let mut open = Vec::new();
    for number in 0..4096 {
        open.push(Opened::open(&daemon, &format!("s{number}")).await.unwrap());
    }
    let one_more = Opened::open(&daemon, "more").await.err().unwrap();
    assert_eq!(one_more.code(), Code::ResourceExhausted);
    assert!(one_more.message().contains("4096 streams are open and unused"), "{one_more}");
    drop(open.pop());
    let room = async {
        while Opened::open(&daemon, "more").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), room).await.unwrap();
}

#[tokio::test]
async fn pull_from_nowhere_says_so() {
    let daemon = Daemon::start().await;
    let progress = Opened::open(&daemon, "p").await.unwrap();
    let events = tokio::spawn(progress.events());
    // Nobody listens on port 1.
    let registry = OciRegistry { reference: "127.0.0.1:1/a:1".into(), ..Default::default() };
    let status = transfer(&daemon, pack(&registry), pack(&store("127.0.0.1:1/a:1")), "p").await.unwrap_err();
    assert!(status.message().contains("127.0.0.1:1"), "{status}");
    let events = events.await.unwrap();
    assert_eq!(events[0].event, "Resolving from OCI Registry (127.0.0.1:1/a:1)");
}

#[tokio::test]
async fn what_a_pull_cannot_do_is_refused() {
    let daemon = Daemon::start().await;
    let resolver = RegistryResolver { http_debug: HttpDebug::Trace.into(), ..Default::default() };
    let registry = OciRegistry { reference: "registry.example/a:1".into(), resolver: Some(resolver) };
    let status = transfer(&daemon, pack(&registry), pack(&store("a")), "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("trace"), "{status}");
    let resolver = RegistryResolver { default_scheme: "ftp".into(), ..Default::default() };
    let registry = OciRegistry { reference: "registry.example/a:1".into(), resolver: Some(resolver) };
    let status = transfer(&daemon, pack(&registry), pack(&store("a")), "").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn push_of_what_is_not_there_says_so() {
    let daemon = Daemon::start().await;
    let registry = OciRegistry { reference: "127.0.0.1:1/a:1".into(), ..Default::default() };
    let status = transfer(&daemon, pack(&store("nothing")), pack(&registry), "").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("image \"nothing\": not found"), "{status}");
}

/// A registry that has nothing, and tells so only to those who give `authorization`. Returns its address.
async fn guarded(authorization: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = connection.read_u8().await else { return };
                    request.push(byte);
                }
                let request = String::from_utf8(request).unwrap().to_lowercase();
                let known = request.contains(&format!("authorization: {}\r\n", authorization.to_lowercase()));
                let status = if known { "404 Not Found" } else { "401 Unauthorized" };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let _ = connection.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn credentials_are_asked_for_when_they_are_needed() {
    let daemon = Daemon::start().await;
    // u:p
    let address = guarded("Basic dTpw").await;
    let reference = format!("{address}/a:1");
    for (secret, expected) in
        [("p", Code::NotFound), ("wrong", Code::PermissionDenied), ("", Code::PermissionDenied)]
    {
        let mut auth = Opened::open(&daemon, "auth").await.unwrap();
        let asked_for = reference.clone();
        let host = address.clone();
        let answering = tokio::spawn(async move {
            let request = auth.next::<AuthRequest>().await.unwrap();
            assert_eq!((request.host, request.reference), (host, asked_for));
            let answer = AuthResponse {
                auth_type: AuthType::Credentials.into(),
                username: "u".into(),
                secret: secret.into(),
                expire_at: None,
            };
            auth.outgoing.send(pack(&answer)).await.unwrap();
            // Asked once, whatever comes of it.
            assert!(auth.next::<AuthRequest>().await.is_none());
        });
        let resolver = RegistryResolver { auth_stream: "auth".into(), ..Default::default() };
        let registry = OciRegistry { reference: reference.clone(), resolver: Some(resolver) };
        let status = transfer(&daemon, pack(&registry), pack(&store(&reference)), "").await.unwrap_err();
        assert!(
            status.code() == expected
                || (expected != Code::NotFound && status.code() == Code::Unauthenticated),
            "{secret:?}: {status}"
        );
        answering.await.unwrap();
    }
}
