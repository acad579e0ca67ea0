//! The plan of a bundle, printed.

use serde_json::json;

use crate::bundle::Bundle;

#[test]
fn steps_in_order_with_their_clauses() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.mount(json!({"destination": "/data", "source": "/tmp", "options": ["rbind", "ro"]}));
    bundle.namespace("network", Some("/proc/self/ns/net"));
    let said = bundle.command(&["plan"]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).unwrap();
    for line in [
        "new          ipc uts pid mnt cgroup [config-linux.md, Namespaces]",
        "join         net /proc/self/ns/net [config-linux.md, Namespaces]",
        "mount /tmp (rbind) on /data: ro [config.md, Mounts]",
        "hide /proc/acpi /proc/keys /proc/timer_list /proc/no-such /sys/firmware [config-linux.md, Masked Paths]",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let steps: Vec<_> = text.lines().filter(|l| l.starts_with("step ")).collect();
    assert!(steps.iter().all(|l| l.ends_with(']')), "{text}");
    assert!(steps.last().unwrap().contains("Execute [config.md, Process, args]"), "{text}");
    // Nothing was made.
    assert!(!bundle.dir.path().join("state").exists());
    let said = bundle.command(&["plan", "--bundle", "/"]).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stderr).contains("config.json not found"));
}
