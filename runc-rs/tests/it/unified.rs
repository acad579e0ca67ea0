//! The unified cgroup hierarchy, whatever the host has: each verb runs in a mount namespace where it alone is mounted.

use std::process::Output;

use crate::bundle::Bundle;

/// In a mount namespace of its own: a cgroup of the test's own stands where the hierarchy's root would be, so that the controllers
/// which the executor hands down are the test's and never the host's.
const ALONE: &str = "mount --make-rprivate / && t=$(mktemp -d) && mount -t cgroup2 none $t && mkdir -p $t/$own && \
    umount -R /sys/fs/cgroup && mount --bind $t/$own /sys/fs/cgroup && umount $t && rmdir $t";
/// Takes that cgroup away.
const AWAY: &str = "t=$(mktemp -d) && mount -t cgroup2 none $t && rmdir $t/$own; umount $t; rmdir $t";

/// The cgroup of one test; gone when it is dropped.
struct Own(String);

impl Own {
    fn new() -> Own {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Own(format!("unified-test-{}-{number}", std::process::id()))
    }

    /// A shell script in a mount namespace.
    fn script(&self, script: &str) -> std::process::Command {
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).env("own", &self.0).stdin(std::process::Stdio::null());
        command
    }

    /// A verb on the bundle's container, with arguments after the id.
    fn verb(&self, bundle: &Bundle, flags: &str, arguments: &str) -> Output {
        drop(bundle.command(&[]));
        let (program, root) = (env!("CARGO_BIN_EXE_runc-rs"), bundle.dir.path().join("state"));
        let script =
            format!("{ALONE} && exec {program} --root {} {flags} {} {arguments}", root.display(), bundle.id);
        self.script(&script).current_dir(bundle.dir.path()).output().unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let away = self.script(AWAY).status();
        assert!(std::thread::panicking() || away.is_ok_and(|status| status.success()));
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn born_in_its_cgroup_and_seeing_no_other() {
    let own = Own::new();
    let bundle = Bundle::script(
        "cat /proc/self/cgroup; grep ' /sys/fs/cgroup ' /proc/mounts; cat /sys/fs/cgroup/cgroup.procs",
    );
    let out = text(&own.verb(&bundle, "run", ""));
    assert!(out.contains("0::/\n"), "{out}");
    assert!(out.contains("cgroup2 ro,"), "{out}");
    assert!(out.lines().any(|line| line == "1"), "init is in the cgroup it sees: {out}");
}

#[test]
fn paused_and_deleted() {
    let own = Own::new();
    let bundle = Bundle::new(&["sleep", "1000"]);
    assert!(own.verb(&bundle, "run --detach", "> out 2>&1").status.success());
    let state = std::fs::read_to_string(bundle.state_dir().join("state.json")).unwrap();
    assert!(state.contains("\"cgroup_paths\":{\"\":\"/sys/fs/cgroup"), "{state}");
    text(&own.verb(&bundle, "pause", ""));
    assert!(text(&own.verb(&bundle, "state", "")).contains("\"paused\""));
    text(&own.verb(&bundle, "resume", ""));
    assert!(text(&own.verb(&bundle, "exec", "cat /proc/self/cgroup")).contains("0::/\n"));
    text(&own.verb(&bundle, "delete --force", ""));
    assert!(!bundle.state_dir().exists());
}

#[test]
fn no_descriptor_of_the_hosts_is_left_in_a_container() {
    let own = Own::new();
    let bundle = Bundle::new(&["sleep", "1000"]);
    assert!(own.verb(&bundle, "create", "> out 2>&1").status.success());
    let folder = format!("/proc/{}/fd", bundle.pid());
    let held: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|link| link.starts_with("/sys/fs/cgroup") || link.to_string_lossy().contains("unified-test"))
        .collect();
    text(&own.verb(&bundle, "delete --force", ""));
    assert!(held.is_empty(), "{held:?}");
}
