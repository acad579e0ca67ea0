//! What is published is what is heard.

use std::time::SystemTime;

use errors::Kind;
use filters::Filters;
use ids::Namespace;
use prost_types::Any;
use proto_containerd::events::{ContainerCreate, ContainerUpdate, ImageUpdate, TaskCreate, TaskExit, TaskIo};

use crate::{Bus, Envelope, Subscription};

fn namespace(name: &str) -> Namespace {
    Namespace::parse(name).unwrap()
}

fn subscribe(bus: &Bus, filters: &[&str]) -> Subscription {
    bus.subscribe(Filters::parse(filters).unwrap())
}

fn exit(container: &str) -> TaskExit {
    TaskExit {
        container_id: container.to_owned(),
        id: "p".to_owned(),
        pid: 7,
        exit_status: 3,
        exited_at: None,
    }
}

#[tokio::test]
async fn subscribers_hear_what_comes_after_them_in_order() {
    let bus = Bus::new();
    bus.publish(&namespace("a"), "/tasks/exit", &exit("early"));
    let mut first = subscribe(&bus, &[]);
    let mut second = subscribe(&bus, &["namespace==b"]);
    for (name, container) in [("a", "one"), ("b", "two"), ("a", "three")] {
        bus.publish(&namespace(name), "/tasks/exit", &exit(container));
    }
    drop(bus);
    let mut heard = Vec::new();
    while let Some(envelope) = first.next().await.unwrap() {
        assert_eq!(envelope.event.type_url, "containerd.events.TaskExit");
        let message: TaskExit = proto_containerd::unpack(&envelope.event).unwrap().unwrap();
        heard.push((envelope.namespace.to_string(), message.container_id));
    }
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(heard, [pair("a", "one"), pair("b", "two"), pair("a", "three")]);
    assert_eq!(second.next().await.unwrap().unwrap().namespace, namespace("b"));
    assert_eq!(second.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_slow_subscriber_is_told_what_it_lost() {
    let bus = Bus::with_capacity(4);
    let mut slow = subscribe(&bus, &[]);
    for _ in 0..10 {
        bus.publish(&namespace("a"), "/tasks/exit", &exit("x"));
    }
    let error = slow.next().await.unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted);
    assert!(error.message().contains("6 events"), "{error}");
    assert_eq!(slow.next().await.unwrap(), None);
}

#[tokio::test]
async fn large_events_wait_within_bounds_and_small_ones_pass() {
    let bus = Bus::new();
    let event = |size: usize| Any { type_url: "x".to_owned(), value: vec![0; size] };
    let send = |size: usize| bus.publish_any(&namespace("a"), "/x/y", event(size));
    for _ in 0..100 {
        send(4 << 20).unwrap();
    }
    let mut slow = subscribe(&bus, &[]);
    let sent = (0..100).take_while(|_| send(4 << 20).is_ok()).count();
    assert!((1..=16).contains(&sent), "{sent} of 4 MiB");
    let error = send(4 << 20).unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted);
    send(100).unwrap();
    for _ in 0..sent {
        assert_eq!(slow.next().await.unwrap().unwrap().event.value.len(), 4 << 20);
    }
    assert_eq!(slow.next().await.unwrap().unwrap().event.value.len(), 100);
    send(4 << 20).unwrap();
    drop(slow);
    subscribe(&bus, &[]);
    send(4 << 20).unwrap();
}

#[test]
fn forwarded_events_are_checked() {
    let bus = Bus::new();
    let envelope = |topic: &str| Envelope {
        timestamp: SystemTime::now(),
        namespace: namespace("a"),
        topic: topic.to_owned(),
        event: Any::default(),
    };
    for good in ["/tasks/exit", "/a", "/a.b/c-d/e_f"] {
        bus.forward(envelope(good)).unwrap();
        bus.publish_any(&namespace("a"), good, Any::default()).unwrap();
    }
    for (bad, words) in [
        ("", "must not be empty"),
        ("tasks", "must start with '/'"),
        ("/", "at least one component"),
        ("/a//b", "failed validation on component \"\""),
        ("/a/", "failed validation on component \"\""),
        ("/a b", "failed validation on component \"a b\""),
    ] {
        let error = bus.forward(envelope(bad)).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.chain().contains(words), "{}", error.chain());
        assert!(bus.publish_any(&namespace("a"), bad, Any::default()).is_err());
    }
    let undated = Envelope { timestamp: SystemTime::UNIX_EPOCH, ..envelope("/a") };
    assert_eq!(bus.forward(undated).unwrap_err().kind(), Kind::InvalidArgument);
}

fn matches(filter: &str, event: Any) -> bool {
    let envelope = Envelope {
        timestamp: SystemTime::now(),
        namespace: namespace("moby"),
        topic: "/tasks/exit".to_owned(),
        event,
    };
    Filters::parse(&[filter]).unwrap().matches(&envelope)
}

#[test]
fn filters_look_into_the_message() {
    let task = proto_containerd::pack(&exit("c1"));
    for (filter, expected) in [
        ("namespace==moby,topic~=|^/tasks/|", true),
        ("topic==\"/tasks/exit\"", true),
        ("event.container_id==c1", true),
        ("event.container_id==c2", false),
        ("event.id", true),
        ("event.pid", false),
        ("event", false),
    ] {
        assert_eq!(matches(filter, task.clone()), expected, "{filter}");
    }
    let labels = [("a.b".to_owned(), "c".to_owned())].into();
    let image = ImageUpdate { name: "i".to_owned(), labels };
    assert!(matches("event.name==i,event.labels.\"a.b\"==c", proto_containerd::pack(&image)));
    let update = ContainerUpdate { id: "x".to_owned(), snapshot_key: "k".to_owned(), ..Default::default() };
    assert!(matches("event.snapshot_key==k,event.id==x", proto_containerd::pack(&update)));
    let io = TaskIo { stdout: "o".to_owned(), terminal: false, ..Default::default() };
    let create = TaskCreate { container_id: "x".to_owned(), io: Some(io), ..Default::default() };
    assert!(matches("event.io.terminal==false,event.io.stdout==o", proto_containerd::pack(&create)));
    let create = ContainerCreate { id: "x".to_owned(), ..Default::default() };
    assert!(!matches("event.runtime.name", proto_containerd::pack(&create)));
}

#[test]
fn unknown_and_broken_messages_have_no_fields() {
    let strange = Any { type_url: "example.Strange".to_owned(), value: vec![1, 2, 3] };
    assert!(!matches("event.id", strange));
    let broken = Any { type_url: "containerd.events.TaskExit".to_owned(), value: vec![0xff; 4] };
    assert!(!matches("event.id", broken.clone()));
    assert!(matches("topic", broken));
}
