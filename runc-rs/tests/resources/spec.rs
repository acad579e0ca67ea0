//! `spec` and `features`.

use std::process::Command;

use serde_json::Value;

fn runc(args: &[&str]) -> (String, String, i32) {
    crate::bundle::texts(&Command::new(env!("CARGO_BIN_EXE_runc-rs")).args(args).output().unwrap())
}

#[test]
fn a_new_document_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    assert_eq!(runc(&["spec", "--bundle", path]), (String::new(), String::new(), 0));
    let text = std::fs::read(dir.path().join("config.json")).unwrap();
    assert_eq!(oci::runtime::parse(&text).unwrap().hostname().as_deref(), Some("runc"));
    let (_, err, code) = runc(&["spec", "-b", path]);
    assert!(code == 1 && err.contains("File config.json exists. Remove it first"), "{err}");
}

#[test]
fn a_rootless_document_maps_the_user() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(runc(&["spec", "--rootless", "-b", dir.path().to_str().unwrap()]).2, 0);
    let text = std::fs::read(dir.path().join("config.json")).unwrap();
    let spec = oci::runtime::parse(&text).unwrap();
    let maps = spec.linux().clone().unwrap().uid_mappings().clone().unwrap();
    assert_eq!(maps[0].host_id(), nix::unistd::geteuid().as_raw());
}

#[test]
fn features_are_a_document() {
    let (out, err, code) = runc(&["features"]);
    assert_eq!(code, 0, "{err}");
    let features: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(features["ociVersionMax"], oci::runtime::SPEC_VERSION);
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
}
