//! Frames that are cut, huge, compressed, or of another protocol.

use anyhow::{Context, Result, ensure};
use client::Client;
use harness::Scene;
use prost_types::Any;
use proto_containerd::services::containers::ListContainersRequest;
use proto_containerd::services::events::{PublishRequest, SubscribeRequest};
use proto_containerd::services::namespaces::ListNamespacesRequest;
use tonic::codegen::{Service, http};
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::wire::{self, DATA, END_STREAM, HEADERS, PREFACE, Wire};
use crate::{PATIENCE, bundles, connect, is_well};

const CREATE: &str = "/containerd.services.containers.v1.Containers/Create";
const SUBSCRIBE: &str = "/containerd.services.events.v1.Events/Subscribe";
const FORWARD: &str = "/containerd.services.events.v1.Events/Forward";

#[tokio::test]
async fn what_is_no_http2_is_closed() -> Result<()> {
    let scene = Scene::start()?;
    // These say nothing, or not all: they are let go when their time has come, which is waited for last.
    let mut silent = Wire::silent(&scene.socket())?;
    let mut slow = Wire::silent(&scene.socket())?;
    slow.send(&PREFACE[..5])?;
    let garbage = vec![0xff; 100_000];
    let others: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        &garbage,
        b"\x16\x03\x01\x02\x00\x01",
    ];
    for bytes in others {
        let mut wire = Wire::silent(&scene.socket())?;
        wire.send(bytes)?;
        wire.closed()?;
    }
    // A frame longer than was agreed, one for a stream that is none, headers that are no headers.
    for (kind, flags, stream, payload) in [
        (DATA, 0, 1, vec![0; 1 << 20]),
        (DATA, 0, 7, vec![0; 10]),
        (HEADERS, 4, 1, vec![0xff; 100]),
        (HEADERS, 4, 0, vec![]),
    ] {
        let mut wire = Wire::greeted(&scene.socket())?;
        wire.frame(kind, flags, stream, &payload)?;
        wire.ended(stream)?;
    }
    is_well(&scene)?;
    silent.closed()?;
    slow.closed()?;
    is_well(&scene)?;
    scene.finish()
}

#[tokio::test]
async fn messages_that_lie_or_are_cut_make_nothing() -> Result<()> {
    let scene = Scene::start()?;
    // Of a field that nobody knows: what it holds is passed over, however deep.
    let groups = |depth: usize| vec![0x7b; depth];
    let with_head =
        |compressed: u8, length: u32, body: &[u8]| [wire::head(compressed, length), body.to_vec()].concat();
    let messages = [
        ("longer than may be", with_head(0, u32::MAX, b"x"), &[][..]),
        ("just longer than may be", with_head(0, (16 << 20) + 1, b"x"), &[]),
        ("compressed without a word", with_head(1, 3, b"abc"), &[]),
        ("compressed as nobody can", with_head(1, 3, b"abc"), &[("grpc-encoding", "bomb")]),
        ("compressed by gzip", with_head(1, 3, b"abc"), &[("grpc-encoding", "gzip")]),
        ("of an odd kind", with_head(9, 3, b"abc"), &[]),
        ("cut", with_head(0, 100, b"abc"), &[]),
        ("cut in its head", vec![0, 0], &[]),
        ("no protobuf", with_head(0, 3, &[0xff; 3]), &[]),
        ("groups in groups", with_head(0, 10_000, &groups(10_000)), &[]),
        ("nothing", Vec::new(), &[]),
    ];
    for (what, body, headers) in messages {
        let mut wire = Wire::greeted(&scene.socket())?;
        wire.call(1, CREATE, headers)?;
        wire.frame(DATA, END_STREAM, 1, &body)?;
        wire.ended(1).map_err(|error| error.context(what))?;
    }
    // Cut off in the middle: by a client that goes, and by one that stays and says no more.
    let mut gone = Wire::greeted(&scene.socket())?;
    gone.call(1, CREATE, &[])?;
    gone.frame(DATA, 0, 1, &with_head(0, 1 << 20, b"abc"))?;
    drop(gone);
    let mut silent = Wire::greeted(&scene.socket())?;
    silent.call(1, CREATE, &[])?;
    silent.frame(DATA, 0, 1, &with_head(0, 1 << 20, b"abc"))?;
    let mut unknown = Wire::greeted(&scene.socket())?;
    unknown.call(1, "/nobody.Knows/This", &[])?;
    unknown.frame(DATA, END_STREAM, 1, &wire::head(0, 0))?;
    unknown.ended(1)?;
    ensure!(bundles(&scene).is_empty());
    // They were calls that make a container.
    let client = Client::connect(&scene.socket(), "hostile").await?;
    let made = client.containers().list(ListContainersRequest::default()).await?.into_inner().containers;
    ensure!(made.is_empty(), "{made:?}");
    let known = client.namespaces().list(ListNamespacesRequest::default()).await?.into_inner().namespaces;
    ensure!(known.iter().all(|namespace| namespace.name != "hostile"), "{known:?}");
    is_well(&scene)?;
    drop(silent);
    scene.finish()
}

/// How a call of CREATE ends whose body is this text.
async fn status_of(scene: &Scene, body: &str, headers: &[(&str, &str)]) -> Result<Status> {
    let place = format!("unix://{}", scene.socket().display());
    let mut channel = Endpoint::try_from(place)?.connect().await?;
    let mut request = http::Request::post(format!("http://localhost{CREATE}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("containerd-namespace", "hostile");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    std::future::poll_fn(|waker| channel.poll_ready(waker)).await?;
    let response = channel.call(request.body(tonic::body::Body::new(body.to_owned()))?).await?;
    Status::from_header_map(response.headers()).context("the answer has no status")
}

#[tokio::test]
async fn messages_that_are_none_are_named() -> Result<()> {
    let scene = Scene::start()?;
    let with_head = |compressed: u8, length: u32, body: &str| {
        String::from_utf8([wire::head(compressed, length), body.as_bytes().to_vec()].concat())
    };
    for (what, body, headers, words) in [
        ("longer than may be", with_head(0, 0x7f00_0000, "x")?, &[][..], "decoded message length too large"),
        ("compressed without a word", with_head(1, 3, "abc")?, &[], "compressed"),
        ("compressed as nobody can", with_head(1, 3, "abc")?, &[("grpc-encoding", "bomb")], "bomb"),
        ("compressed by gzip", with_head(1, 3, "abc")?, &[("grpc-encoding", "gzip")], "gzip"),
        ("of an odd kind", with_head(9, 3, "abc")?, &[], "compression flag: 9"),
        ("cut", with_head(0, 100, "abc")?, &[], "Unexpected EOF"),
        ("cut in its head", "\0\0".to_owned(), &[], "Unexpected EOF"),
        ("no protobuf", with_head(0, 3, "\x0f\x0f\x0f")?, &[], "wire type"),
        ("groups in groups", with_head(0, 10_000, &"\x7b".repeat(10_000))?, &[], "recursion"),
        ("nothing", String::new(), &[], "Missing request message"),
    ] {
        let status = status_of(&scene, &body, headers).await.context(what)?;
        ensure!(status.code() != Code::Ok && status.message().contains(words), "{what}: {status:?}");
        ensure!(status.message().len() < 4096, "{what}: {} bytes of error", status.message().len());
    }
    is_well(&scene)?;
    scene.finish()
}

#[tokio::test]
async fn many_streams_and_connections_that_say_nothing_disturb_nobody() -> Result<()> {
    let scene = Scene::start()?;
    let mut many = Wire::greeted(&scene.socket())?;
    for number in 0..500 {
        many.call(2 * number + 1, if number % 2 == 0 { CREATE } else { SUBSCRIBE }, &[])?;
    }
    let silent: Vec<Wire> = (0..100).map(|_| Wire::silent(&scene.socket())).collect::<Result<_>>()?;
    let greeted: Vec<Wire> = (0..100).map(|_| Wire::greeted(&scene.socket())).collect::<Result<_>>()?;
    is_well(&scene)?;
    // A stream that is opened and ended at once, over and over (CVE-2023-44487): the connection may end, the daemon goes on.
    let mut rapid = Wire::greeted(&scene.socket())?;
    for number in 0..2000 {
        let stream = 2 * number + 1;
        rapid.call(stream, CREATE, &[])?;
        rapid.frame(wire::RST_STREAM, 0, stream, &8u32.to_be_bytes())?;
    }
    connect(&scene).await?;
    is_well(&scene)?;
    drop((many, silent, greeted, rapid));
    scene.finish()
}

/// A frame of ttrpc: length, stream, kind, flags.
fn ttrpc(length: u32, stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], &stream.to_be_bytes(), &[kind, 0], payload].concat()
}

/// A field of protobuf that has a length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = Vec::new();
    let mut rest = bytes.len();
    while rest > 127 {
        length.push(rest as u8 | 128);
        rest >>= 7;
    }
    length.push(rest as u8);
    [&[number << 3 | 2], length.as_slice(), bytes].concat()
}

#[tokio::test]
async fn frames_on_the_shims_socket_are_checked() -> Result<()> {
    let scene = Scene::start()?;
    let socket = scene.root().join("runtimed.sock.ttrpc");
    let call = |service: &str, payload: &[u8]| {
        let request = [field(1, service.as_bytes()), field(2, b"Forward"), field(3, payload)].concat();
        ttrpc(request.len() as u32, 1, 1, &request)
    };
    let events = "containerd.services.events.ttrpc.v1.Events";
    let event = [field(1, b"x"), field(2, &vec![7; 3 << 20])].concat();
    let giant = field(1, &[field(2, b"hostile"), field(3, b"/x/y"), field(4, &event)].concat());
    let timeless = field(1, &[field(2, b"../x"), field(3, b"no topic"), field(4, b"")].concat());
    let mut waiting = Vec::new();
    for bytes in [
        ttrpc(u32::MAX, 1, 1, b"half open"),
        ttrpc(4 << 20, 1, 1, b"half open"),
        ttrpc(3, 1, 9, b"odd"),
        ttrpc(3, 2, 1, b"odd"),
        ttrpc(3, 1, 2, b"\xff\xff\xff"),
        ttrpc(3, 1, 3, b"odd"),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        call("nobody", b""),
        call(events, &[0xff; 100]),
        call(events, &timeless),
        call(events, &giant),
    ] {
        let mut wire = Wire::silent(&socket)?;
        wire.send(&bytes)?;
        waiting.push(wire);
    }
    for _ in 0..100 {
        let mut wire = Wire::silent(&socket)?;
        wire.send(&ttrpc(4 << 20, 1, 1, b"half open"))?;
        waiting.push(wire);
    }
    is_well(&scene)?;
    // Shims are heard beside all that: their events are how this ends.
    e2e::load(&scene)?;
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "heard"])? == "heard\n");
    is_well(&scene)?;
    drop(waiting);
    scene.finish()
}

#[tokio::test]
async fn connections_that_are_no_shims_take_no_clients_place() -> Result<()> {
    if !harness::needs("connections_that_are_no_shims_take_no_clients_place", &["prlimit"]) {
        return Ok(());
    }
    let mut scene = Scene::with_programs(&harness::programs::folder()?)?;
    // A third of it is for shims, half of it for clients.
    scene.launch_with(&["prlimit", "--nofile=300:300"]);
    scene.start_daemon()?;
    e2e::load(&scene)?;
    let mut events =
        connect(&scene).await?.events().subscribe(SubscribeRequest::default()).await?.into_inner();
    let socket = scene.root().join("runtimed.sock.ttrpc");
    let crowd: Vec<Wire> = (0..200).map(|_| Wire::silent(&socket)).collect::<Result<_>>()?;
    let full = std::time::Instant::now();
    while !scene.log().contains("as many shims are connected") {
        ensure!(full.elapsed() < PATIENCE, "all of them are let in\n{}", scene.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // Clients are served, and containers run: what a shim has to tell is asked for, too.
    is_well(&scene)?;
    scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?;
    ensure!(scene.ok(&["exec", "box", "echo", "here"])? == "here\n");
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "there"])? == "there\n");
    ensure!(scene.ok(&["kill", "box"])?.contains("box"));
    ensure!(scene.ok(&["wait", "box"])? == "137\n");
    scene.ok(&["start", "box"])?;
    // When there is room again, it is heard.
    drop(crowd);
    let started = async {
        while let Some(envelope) = events.message().await? {
            if envelope.topic == "/tasks/start" {
                return Ok(true);
            }
        }
        anyhow::Ok(false)
    };
    ensure!(tokio::time::timeout(PATIENCE, started).await??, "no start was told of\n{}", scene.log());
    scene.ok(&["rm", "--force", "box"])?;
    scene.finish()
}

#[tokio::test]
async fn events_that_are_forwarded_are_checked() -> Result<()> {
    let scene = Scene::start()?;
    let mut heard =
        connect(&scene).await?.events().subscribe(SubscribeRequest::default()).await?.into_inner();
    for envelope in [&b""[..], &field(1, b""), &field(1, &field(2, b"../x")), &field(1, &[0xff; 64])] {
        let mut wire = Wire::greeted(&scene.socket())?;
        wire.call(1, FORWARD, &[])?;
        let head = wire::head(0, envelope.len() as u32);
        wire.frame(DATA, END_STREAM, 1, &[head.as_slice(), envelope].concat())?;
        wire.ended(1)?;
    }
    // Nobody hears of any of them: the first event is one that is sent now.
    let event = Any { type_url: "x".into(), value: Vec::new() };
    let publish = PublishRequest { topic: "/after/all".into(), event: Some(event) };
    connect(&scene).await?.events().publish(publish).await?;
    let first = tokio::time::timeout(PATIENCE, heard.message()).await??.context("an event")?;
    ensure!(first.topic == "/after/all", "{first:?}");
    is_well(&scene)?;
    scene.finish()
}
