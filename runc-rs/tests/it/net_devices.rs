//! Network interfaces that become the container's.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, Said};

/// Runs the container from a network namespace with a pair of interfaces in it, so that the host's stay as they are.
fn run(bundle: &Bundle) -> Said {
    let run = bundle.command(&["run"]);
    let words: Vec<_> = run.get_args().map(|a| a.to_str().unwrap()).collect();
    let script = format!(
        "busybox ip link add rt0 type veth peer name rt1 && busybox ip addr add 10.9.8.7/24 dev rt0 && \
         busybox ip addr add fd00::7/64 dev rt0 && exec {} {} {}",
        run.get_program().to_str().unwrap(),
        words.join(" "),
        bundle.id
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script]).current_dir(bundle.dir.path()).stdin(Stdio::null());
    Said::of(&command.output().unwrap())
}

#[test]
fn moved_renamed_and_up_with_its_addresses() {
    let mut bundle = Bundle::script("ip addr show web; ip link show rt0 2>&1; cat /sys/class/net/web/flags");
    bundle.config["linux"]["netDevices"] = json!({"rt0": {"name": "web"}});
    let said = run(&bundle);
    assert!(said.out.contains("inet 10.9.8.7/24"), "{} {}", said.out, said.err);
    assert!(said.out.contains("inet6 fd00::7/64"), "{}", said.out);
    assert!(said.out.contains("UP"), "{}", said.out);
    assert!(said.out.contains("can't find device 'rt0'"), "{}", said.out);
}

#[test]
fn what_cannot_be_moved_is_named() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["linux"]["netDevices"] = json!({"nosuch0": {}});
    let said = run(&bundle);
    assert_ne!(said.code, 0);
    assert!(
        said.err.contains("linux.netDevices nosuch0: network device nosuch0: no such device"),
        "{}",
        said.err
    );
    bundle.without_namespace("network");
    let said = run(&bundle);
    assert!(
        said.err.contains("unable to move network devices without a private NET namespace"),
        "{}",
        said.err
    );
}
