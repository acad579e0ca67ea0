//! Holds the contract to facts that were written down by hand: names, counts, and bytes.

use std::collections::BTreeMap;

use prost::{Message, Name};
use prost_types::{Any, FileDescriptorSet, Timestamp};

use crate::{events, metrics, options, pack, services, types, unpack};

/// Every service, its number of calls and how many of them stream.
const SERVICES: &[(&str, usize, usize)] = &[
    ("containerd.services.containers.v1.Containers", 6, 1),
    ("containerd.services.content.v1.Content", 9, 3),
    ("containerd.services.diff.v1.Diff", 2, 0),
    ("containerd.services.events.v1.Events", 3, 1),
    ("containerd.services.images.v1.Images", 5, 0),
    ("containerd.services.introspection.v1.Introspection", 3, 0),
    ("containerd.services.leases.v1.Leases", 6, 0),
    ("containerd.services.mounts.v1.Mounts", 5, 1),
    ("containerd.services.namespaces.v1.Namespaces", 5, 0),
    ("containerd.services.sandbox.v1.Controller", 9, 0),
    ("containerd.services.sandbox.v1.Store", 5, 0),
    ("containerd.services.snapshots.v1.Snapshots", 10, 1),
    ("containerd.services.streaming.v1.Streaming", 1, 1),
    ("containerd.services.tasks.v1.Tasks", 17, 0),
    ("containerd.services.transfer.v1.Transfer", 1, 0),
    ("containerd.services.version.v1.Version", 1, 0),
];

fn descriptors() -> FileDescriptorSet {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    FileDescriptorSet::decode(bytes.as_slice()).unwrap()
}

/// The fingerprint of containerd's api module 1.12.0 with its cgroups module 3.1.3, taken of the files as they released them.
const RELEASED: u64 = 0x7510_f6d3_567f_c0f7;

#[test]
fn contract_is_as_released() {
    assert_eq!(crate::fingerprint::fingerprint(&descriptors()), RELEASED);
}

#[test]
fn services_have_their_calls() {
    let set = descriptors();
    let mut found = BTreeMap::new();
    for file in &set.file {
        for service in &file.service {
            let streams = service
                .method
                .iter()
                .filter(|call| call.client_streaming() || call.server_streaming())
                .count();
            let name = format!("{}.{}", file.package(), service.name());
            found.insert(name, (service.method.len(), streams));
        }
    }
    let expected = SERVICES.iter().map(|(name, calls, streams)| (name.to_string(), (*calls, *streams)));
    assert_eq!(found, expected.collect());
}

#[test]
fn files_are_proto3() {
    for file in &descriptors().file {
        assert_eq!(file.syntax(), "proto3", "{}", file.name());
    }
}

#[test]
fn type_names_are_the_wire_names() {
    for (name, expected) in [
        (events::TaskExit::full_name(), "containerd.events.TaskExit"),
        (events::ImageCreate::full_name(), "containerd.services.images.v1.ImageCreate"),
        (options::runc::Options::full_name(), "containerd.runc.v1.Options"),
        (options::generic::Options::full_name(), "runtimeoptions.v1.Options"),
        (metrics::v1::Metrics::full_name(), "io.containerd.cgroups.v1.Metrics"),
        (metrics::v2::Metrics::full_name(), "io.containerd.cgroups.v2.Metrics"),
        (types::transfer::Data::full_name(), "containerd.types.transfer.Data"),
        (services::streaming::StreamInit::full_name(), "containerd.services.streaming.v1.StreamInit"),
        (types::task::Process::full_name(), "containerd.v1.types.Process"),
    ] {
        assert_eq!(name, expected);
    }
}

#[test]
fn task_exit_is_these_bytes() {
    let exit = events::TaskExit {
        container_id: "c".into(),
        id: "e".into(),
        pid: 7,
        exit_status: 137,
        exited_at: Some(Timestamp { seconds: 1, nanos: 2 }),
    };
    let bytes = b"\x0a\x01c\x12\x01e\x18\x07\x20\x89\x01\x2a\x04\x08\x01\x10\x02";
    assert_eq!(exit.encode_to_vec(), bytes);
    assert_eq!(events::TaskExit::decode(bytes.as_slice()).unwrap(), exit);
}

#[test]
fn create_task_request_skips_field_two() {
    let request = services::tasks::CreateTaskRequest {
        container_id: "c".into(),
        rootfs: vec![types::Mount {
            r#type: "bind".into(),
            source: "/s".into(),
            options: vec!["ro".into()],
            ..Default::default()
        }],
        terminal: true,
        runtime_path: "r".into(),
        ..Default::default()
    };
    let bytes = b"\x0a\x01c\x1a\x0e\x0a\x04bind\x12\x02/s\x22\x02ro\x38\x01\x52\x01r";
    assert_eq!(request.encode_to_vec(), bytes);
}

#[test]
fn write_request_is_these_bytes() {
    let request = services::content::WriteContentRequest {
        action: services::content::WriteAction::Commit.into(),
        r#ref: "r".into(),
        total: 3,
        offset: 1,
        data: b"ab".as_slice().into(),
        ..Default::default()
    };
    assert_eq!(request.encode_to_vec(), b"\x08\x02\x12\x01r\x18\x03\x28\x01\x32\x02ab");
}

#[test]
fn runc_options_keep_their_gap() {
    let options = options::runc::Options {
        binary_name: "r".into(),
        root: "/r".into(),
        systemd_cgroup: true,
        ..Default::default()
    };
    assert_eq!(options.encode_to_vec(), b"\x32\x01r\x3a\x02/r\x48\x01");
}

#[test]
fn any_has_the_bare_name() {
    let start = events::TaskStart { container_id: "c".into(), pid: 1 };
    let any = pack(&start);
    assert_eq!(any.type_url, "containerd.events.TaskStart");
    assert_eq!(unpack::<events::TaskStart>(&any).unwrap(), Some(start));
    assert_eq!(unpack::<events::TaskExit>(&any).unwrap(), None);
}

#[test]
fn any_is_read_with_any_prefix() {
    for prefix in ["", "/", "type.googleapis.com/", "https://example.org/types/"] {
        let any =
            Any { type_url: format!("{prefix}containerd.events.TaskOOM"), value: b"\x0a\x01c".to_vec() };
        let oom = unpack::<events::TaskOom>(&any).unwrap().unwrap();
        assert_eq!(oom.container_id, "c");
    }
}

#[test]
fn any_with_broken_bytes_is_an_error() {
    let any = Any { type_url: "containerd.events.TaskOOM".into(), value: b"\x0a\x05c".to_vec() };
    assert!(unpack::<events::TaskOom>(&any).is_err());
}

#[test]
fn registry_secret_is_not_shown() {
    let answer = types::transfer::AuthResponse {
        secret: "hunter2".into(),
        username: "u".into(),
        ..Default::default()
    };
    let shown = format!("{answer:?}");
    assert!(shown.contains("username: \"u\"") && !shown.contains("hunter2"), "{shown}");
}
