//! The unified cgroup hierarchy, whatever the host has: each verb runs in a mount namespace where it alone is mounted.

use std::process::Output;

use crate::bundle::Bundle;

const ALONE: &str =
    "mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup";

/// A verb on the bundle's container, with arguments after the id.
fn verb(bundle: &Bundle, flags: &str, arguments: &str) -> Output {
    drop(bundle.command(&[]));
    let (program, root) = (env!("CARGO_BIN_EXE_runc-rs"), bundle.dir.path().join("state"));
    let script =
        format!("{ALONE} && exec {program} --root {} {flags} {} {arguments}", root.display(), bundle.id);
    let mut command = std::process::Command::new("unshare");
    command.current_dir(bundle.dir.path()).args(["--mount", "sh", "-c", &script]);
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn born_in_its_cgroup_and_seeing_no_other() {
    let bundle = Bundle::script(
        "cat /proc/self/cgroup; grep ' /sys/fs/cgroup ' /proc/mounts; cat /sys/fs/cgroup/cgroup.procs",
    );
    let out = text(&verb(&bundle, "run", ""));
    assert!(out.contains("0::/\n"), "{out}");
    assert!(out.contains("cgroup2 ro,"), "{out}");
    assert!(out.lines().any(|line| line == "1"), "init is in the cgroup it sees: {out}");
}

#[test]
fn paused_and_deleted() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    assert!(verb(&bundle, "run --detach", "> out 2>&1").status.success());
    let state = std::fs::read_to_string(bundle.state_dir().join("state.json")).unwrap();
    assert!(state.contains("\"cgroup_paths\":{\"\":\"/sys/fs/cgroup"), "{state}");
    text(&verb(&bundle, "pause", ""));
    assert!(text(&verb(&bundle, "state", "")).contains("\"paused\""));
    text(&verb(&bundle, "resume", ""));
    assert!(text(&verb(&bundle, "exec", "cat /proc/self/cgroup")).contains("0::/\n"));
    text(&verb(&bundle, "delete --force", ""));
    assert!(!bundle.state_dir().exists());
}
