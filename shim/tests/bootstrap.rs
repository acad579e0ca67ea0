//! The command line and the three generations of the start protocol, against the real binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod harness;

use std::fs;
use std::process::Command;

use harness::{Daemon, SHIM, gone, quick, run};
use proto_shim::task::v2::{ConnectRequest, ShutdownRequest, TaskClient};
use proto_shim::types::RuntimeInfo;
use proto_shim::{Message, pack, unpack};
use serde_json::Value;

/// Lets the shim at an address leave.
async fn dismiss(address: &str) {
    let task = TaskClient::new(harness::connect(address.strip_prefix("unix://").unwrap().as_ref()).await);
    let pid = task.connect(quick(), &ConnectRequest::default()).await.unwrap().shim_pid;
    task.shutdown(quick(), &ShutdownRequest::default()).await.unwrap();
    gone(pid).await;
}

#[tokio::test]
async fn an_old_daemon_gets_the_bare_address_and_a_second_start_the_same() {
    let daemon = Daemon::new().await;
    let bundle = daemon.bundle("c1", |_| {});
    let options = pack(&daemon.options()).unwrap().write_to_bytes().unwrap();
    let output = daemon.call("c1", &bundle, "start", &options);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let address = String::from_utf8(output.stdout).unwrap();
    assert!(address.starts_with("unix:///run/containerd/s/"), "{address}");
    assert_eq!(fs::read_to_string(bundle.join("address")).unwrap(), address);
    let again = daemon.call("c1", &bundle, "start", b"");
    assert_eq!(String::from_utf8(again.stdout).unwrap(), address);
    dismiss(&address).await;
    assert!(!std::path::Path::new(address.strip_prefix("unix://").unwrap()).exists());
}

#[tokio::test]
async fn a_daemon_that_names_a_version_gets_json() {
    let daemon = Daemon::new().await;
    let bundle = daemon.bundle("c1", |_| {});
    let mut command = daemon.shim("c1", &bundle, "start");
    command.env("MAX_SHIM_VERSION", "2");
    let output = run(command, b"");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((answer["version"].as_u64(), answer["protocol"].as_str()), (Some(2), Some("ttrpc")));
    dismiss(answer["address"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_start_that_fails_leaves_no_server() {
    let daemon = Daemon::new().await;
    let bundle = daemon.bundle("c1", |_| {});
    fs::remove_file(bundle.join("config.json")).unwrap();
    let output = daemon.call("c1", &bundle, "start", &daemon.params("c1"));
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("config.json"));
    assert!(!daemon.dir.path().join("s").exists());
}

#[test]
fn a_server_without_its_socket_says_so() {
    let mut command = Command::new(SHIM);
    command.args(["-namespace", "n", "-id", "c"]);
    let output = run(command, b"");
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("descriptor 3"));
}

#[tokio::test]
async fn a_socket_may_be_named() {
    let daemon = Daemon::new().await;
    let bundle = daemon.bundle("c1", |_| {});
    let socket = daemon.dir.path().join("named.sock");
    let mut command = Command::new(SHIM);
    command.args(["-namespace", "n", "-id", "c1", "-socket"]).arg(&socket).current_dir(&bundle);
    let mut server = command.spawn().unwrap();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(server.try_wait().unwrap().is_none(), "the server has ended");
        tokio::task::yield_now().await;
    }
    dismiss(&format!("unix://{}", socket.display())).await;
    assert!(server.wait().unwrap().success());
    assert!(!socket.exists());
}

#[test]
fn info_tells_of_the_executor() {
    let mut command = Command::new(SHIM);
    command.arg("-info");
    let options = proto_shim::options::Options { binary_name: "runc".into(), ..Default::default() };
    let output = run(command, &pack(&options).unwrap().write_to_bytes().unwrap());
    assert!(output.status.success(), "{output:?}");
    let info = RuntimeInfo::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!(info.name, "io.containerd.runtimed.v2");
    assert_eq!(unpack(&info.options).unwrap(), Some(options));
    let features: Value = serde_json::from_slice(&info.features.value).unwrap();
    assert!(features["ociVersionMax"].is_string(), "{features}");
}

#[test]
fn version_is_told() {
    let mut command = Command::new(SHIM);
    command.arg("-v");
    let output = String::from_utf8(run(command, b"").stdout).unwrap();
    assert!(output.contains(env!("CARGO_PKG_VERSION")), "{output}");
}
