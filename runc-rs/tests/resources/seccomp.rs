//! Filters on a container's system calls.

use serde_json::json;

use crate::bundle::Bundle;

#[test]
fn a_denied_call_fails_with_the_number_asked_for() {
    let Some(mut b) = Bundle::new(&["sh", "-c", "mkdir /d; echo $?"]) else { return };
    b.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }],
    });
    let (out, err, _) = b.run();
    assert!(out.trim() == "1" && err.contains("No space left on device"), "{out}{err}");
}

#[test]
fn the_default_profile_lets_a_shell_run() {
    let Some(mut b) = Bundle::new(&["sh", "-c", "ls / | cat; echo fine"]) else { return };
    let caps: Vec<String> = oci::capability::DEFAULT.iter().map(|name| (*name).to_owned()).collect();
    let target = oci::seccomp::Target { capabilities: &caps, arch: std::env::consts::ARCH, kernel: (5, 10) };
    b.config["linux"]["seccomp"] = serde_json::to_value(oci::seccomp::default_profile(&target)).unwrap();
    for no_new_privileges in [true, false] {
        b.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let (out, err, code) = b.run();
        assert!(out.ends_with("fine\n") && code == 0, "{out}{err}");
    }
}

#[test]
fn what_cannot_be_carried_out_is_named() {
    let Some(mut b) = Bundle::new(&["echo", "fine"]) else { return };
    b.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/x" });
    let (_, err, code) = b.run();
    assert!(code == 1 && err.contains("SCMP_ACT_NOTIFY cannot be used as default action"), "{err}");
    // A supervisor that is asked nothing need not be there.
    b.config["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_ALLOW");
    let (out, err, code) = b.run();
    assert!(code == 0 && out == "fine\n", "{err}");
}
