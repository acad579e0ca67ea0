//! Events over gRPC, and those that shims forward over ttrpc.

use prost_types::Timestamp;
use proto_containerd::events::{ImageCreate, TaskExit, TaskStart};
use proto_containerd::services::events::events_client::EventsClient;
use proto_containerd::services::events::*;
use proto_containerd::types::Envelope;
use proto_containerd::{pack, unpack};
use proto_shim::events_ttrpc;
use tonic::{Code, Request, Streaming};

use crate::daemon::{Daemon, NAMESPACE, asked, ttrpc_address};

async fn subscribe(daemon: &Daemon, filters: &[&str]) -> Streaming<Envelope> {
    let filters = filters.iter().map(|&text| text.to_owned()).collect();
    let mut events = EventsClient::new(daemon.channel.clone());
    events.subscribe(Request::new(SubscribeRequest { filters })).await.unwrap().into_inner()
}

fn exit() -> TaskExit {
    TaskExit { container_id: "c".into(), id: "c".into(), pid: 3, exit_status: 137, exited_at: None }
}

#[tokio::test]
async fn published_event_reaches_those_who_asked() {
    let daemon = Daemon::start().await;
    let mut all = subscribe(&daemon, &[]).await;
    let mut dockers = subscribe(&daemon, &["namespace==test,topic~=|^/tasks/|"]).await;
    let mut events = EventsClient::new(daemon.channel.clone());
    let image = ImageCreate { name: "i".into(), ..Default::default() };
    for (topic, event) in [("/images/create", pack(&image)), ("/tasks/exit", pack(&exit()))] {
        let request = PublishRequest { topic: topic.into(), event: Some(event) };
        events.publish(asked(request)).await.unwrap();
    }
    let first = all.message().await.unwrap().unwrap();
    assert_eq!((first.topic.as_str(), first.namespace.as_str()), ("/images/create", NAMESPACE));
    assert!(first.timestamp.unwrap().seconds > 0);
    assert_eq!(first.event.unwrap().type_url, "containerd.services.images.v1.ImageCreate");
    let seen = dockers.message().await.unwrap().unwrap();
    assert_eq!(unpack::<TaskExit>(&seen.event.unwrap()).unwrap(), Some(exit()));
}

#[tokio::test]
async fn forwarded_event_keeps_its_envelope() {
    let daemon = Daemon::start().await;
    let mut stream = subscribe(&daemon, &["namespace==other"]).await;
    let envelope = Envelope {
        timestamp: Some(Timestamp { seconds: 5, nanos: 6 }),
        namespace: "other".into(),
        topic: "/tasks/start".into(),
        event: Some(pack(&TaskStart { container_id: "c".into(), pid: 1 })),
    };
    let mut events = EventsClient::new(daemon.channel.clone());
    events.forward(Request::new(ForwardRequest { envelope: Some(envelope.clone()) })).await.unwrap();
    assert_eq!(stream.message().await.unwrap(), Some(envelope));
}

#[tokio::test]
async fn bad_events_are_refused() {
    let daemon = Daemon::start().await;
    let mut events = EventsClient::new(daemon.channel.clone());
    let status = events.forward(Request::new(ForwardRequest::default())).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "envelope is required"));
    let request = PublishRequest { topic: "no-slash".into(), event: Some(pack(&exit())) };
    assert_eq!(events.publish(asked(request)).await.unwrap_err().code(), Code::InvalidArgument);
    let request = SubscribeRequest { filters: vec!["topic=~x".into()] };
    assert_eq!(events.subscribe(Request::new(request)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn shim_forwards_over_ttrpc() {
    let daemon = Daemon::start().await;
    let mut stream = subscribe(&daemon, &[]).await;
    let address = format!("unix://{}", ttrpc_address(daemon.root.path()).display());
    let client = ttrpc::asynchronous::Client::connect(&address).await.unwrap();
    let shim = events_ttrpc::EventsClient::new(client);
    let event = pack(&exit());
    let envelope = events_ttrpc::Envelope {
        timestamp: Some(proto_shim::Timestamp { seconds: 9, ..Default::default() }).into(),
        namespace: NAMESPACE.into(),
        topic: "/tasks/exit".into(),
        event: Some(proto_shim::Any { type_url: event.type_url, value: event.value, ..Default::default() })
            .into(),
        ..Default::default()
    };
    let request = events_ttrpc::ForwardRequest { envelope: Some(envelope).into(), ..Default::default() };
    shim.forward(ttrpc::context::with_timeout(5_000_000_000), &request).await.unwrap();
    let seen = stream.message().await.unwrap().unwrap();
    assert_eq!((seen.topic.as_str(), seen.timestamp.unwrap().seconds), ("/tasks/exit", 9));

    let empty = events_ttrpc::ForwardRequest::new();
    let refused = shim.forward(ttrpc::context::with_timeout(5_000_000_000), &empty).await.unwrap_err();
    let ttrpc::Error::RpcStatus(status) = refused else { panic!("{refused}") };
    assert_eq!(status.code(), ttrpc::Code::INVALID_ARGUMENT);
}
