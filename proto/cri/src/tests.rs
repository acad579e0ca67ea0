//! Holds the contract to facts that were written down by hand: counts, and bytes.

use prost::{Message, Name};
use prost_types::FileDescriptorSet;

use crate::v1::*;

/// The fingerprint of cri-api 0.37.2, taken of the file as it was released.
const RELEASED: u64 = 0x9317_ce74_3255_749a;

fn descriptors() -> FileDescriptorSet {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    FileDescriptorSet::decode(bytes.as_slice()).unwrap()
}

#[test]
fn contract_is_as_released() {
    assert_eq!(crate::fingerprint::fingerprint(&descriptors()), RELEASED);
}

fn calls(service: &str) -> Vec<(String, bool)> {
    let set = descriptors();
    let found = set.file[0].service.iter().find(|found| found.name() == service).unwrap();
    assert_eq!(found.method.iter().filter(|call| call.client_streaming()).count(), 0);
    found.method.iter().map(|call| (call.name().to_owned(), call.server_streaming())).collect()
}

#[test]
fn there_are_forty_three_calls() {
    assert_eq!(calls("RuntimeService").len(), 37);
    assert_eq!(calls("ImageService").len(), 6);
}

#[test]
fn the_streaming_calls_are_these() {
    let mut streaming: Vec<_> = ["RuntimeService", "ImageService"]
        .into_iter()
        .flat_map(calls)
        .filter_map(|(name, streams)| streams.then_some(name))
        .collect();
    streaming.sort();
    assert_eq!(
        streaming,
        [
            "GetContainerEvents",
            "StreamContainerStats",
            "StreamContainers",
            "StreamImages",
            "StreamPodSandboxMetrics",
            "StreamPodSandboxStats",
            "StreamPodSandboxes",
        ]
    );
}

#[test]
fn package_is_the_wire_name() {
    assert_eq!(PodSandboxConfig::full_name(), "runtime.v1.PodSandboxConfig");
}

#[test]
fn image_spec_keeps_its_high_numbers() {
    let spec = ImageSpec { image: "i".into(), user_specified_image: "u".into(), ..Default::default() };
    assert_eq!(spec.encode_to_vec(), b"\x0a\x01i\x92\x01\x01u");
}

#[test]
fn security_context_is_these_bytes() {
    let context = LinuxContainerSecurityContext {
        run_as_user: Some(Int64Value { value: 0 }),
        run_as_group: Some(Int64Value { value: 7 }),
        no_new_privs: true,
        ..Default::default()
    };
    // A present but zero user differs from an absent one.
    assert_eq!(context.encode_to_vec(), b"\x2a\x00\x58\x01\x62\x02\x08\x07");
}

#[test]
fn stop_signal_is_a_number_of_its_own() {
    let config = ContainerConfig { stop_signal: Signal::Sigterm.into(), ..Default::default() };
    assert_eq!(config.encode_to_vec(), b"\x90\x01\x17");
}

#[test]
fn registry_secrets_are_not_shown() {
    let auth = AuthConfig {
        username: "u".into(),
        password: "hunter2".into(),
        identity_token: "token3".into(),
        ..Default::default()
    };
    let shown = format!("{auth:?}");
    assert!(shown.contains("username: \"u\""), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("token3"), "{shown}");
}
