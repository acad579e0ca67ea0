//! Limits as a container sees them, and `update`.

use serde_json::json;

use crate::bundle::{Bundle, texts, unified};

#[test]
fn the_memory_limit_is_seen_inside() {
    let file = match unified() {
        true => "/sys/fs/cgroup/memory.max",
        false => "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    };
    let Some(mut b) = Bundle::new(&["cat", file]) else { return };
    b.config["linux"]["resources"]["memory"] = json!({ "limit": 48 << 20 });
    let (out, err, code) = b.run();
    assert_eq!((out.trim(), code), ("50331648", 0), "{err}");
}

#[test]
fn what_the_kernel_has_no_more_is_not_passed_over_in_silence() {
    let Some(mut b) = Bundle::new(&["sh", "-c", ":"]) else { return };
    b.config["linux"]["resources"]["memory"] = json!({ "kernel": 48 << 20 });
    let (_, err, code) = b.run();
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("level=warning msg=\"Kernel memory settings are ignored"), "{err}");
    b.config["linux"]["resources"]["memory"] = json!({ "disableOOMKiller": false });
    let (_, err, code) = b.run();
    assert_eq!((err.as_str(), code), ("", 0));
}

#[test]
fn no_more_processes_than_allowed() {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 30 & done; echo all";
    let Some(mut b) = Bundle::new(&["sh", "-c", script]) else { return };
    b.config["linux"]["resources"]["pids"] = json!({ "limit": 4 });
    let (out, err, code) = b.run();
    assert!(code != 0 && !out.contains("all") && err.contains("fork"), "{out}{err}{code}");
    b.config["linux"]["resources"]["pids"] = json!({ "limit": -1 });
    let (out, err, code) = b.run();
    assert_eq!((out.trim(), code), ("all", 0), "{err}");
}

#[test]
fn out_of_memory_kills() {
    let Some(mut b) = Bundle::new(&["sh", "-c", "cat /dev/zero | busybox tail"]) else { return };
    b.config["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20, "swap": 16 << 20 });
    let (_, err, code) = b.run();
    assert_ne!(code, 0, "{err}");
}

#[test]
fn update_changes_what_is_said_and_nothing_else() {
    let Some(mut b) = Bundle::new(&["sleep", "100"]) else { return };
    b.config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
    b.config["linux"]["resources"]["pids"] = json!({ "limit": 30 });
    b.run_detached();
    b.ok(&["update", "--memory", "32M", &b.id]);
    let stats = b.stats();
    assert_eq!((&stats["memory"]["usage"]["limit"], &stats["pids"]["limit"]), (&json!(32 << 20), &json!(30)));
    let document = r#"{"pids":{"limit":17},"cpu":{"quota":20000}}"#;
    let (_, err, code) = texts(&b.runc_with_input(&["update", "-r", "-", &b.id], document));
    assert_eq!(code, 0, "{err}");
    let stats = b.stats();
    assert_eq!((&stats["memory"]["usage"]["limit"], &stats["pids"]["limit"]), (&json!(32 << 20), &json!(17)));
    assert!(b.fails(&["update", "--memory", "lots", &b.id]).contains("invalid value for memory"));
    let rdt = b.fails(&["update", "--l3-cache-schema", "L3:0=f", &b.id]);
    assert!(rdt.contains("Intel RDT/CAT: l3 cache schema is not enabled"), "{rdt}");
    b.ok(&["kill", &b.id, "KILL"]);
}

#[test]
fn a_limit_without_its_controller_is_named() {
    let Some(mut b) = Bundle::new(&["echo"]) else { return };
    if unified() || std::path::Path::new("/sys/fs/cgroup/net_cls").exists() {
        eprintln!("the host has net_cls, or version 2: skipped");
        return;
    }
    b.config["linux"]["resources"]["network"] = json!({ "classID": 5 });
    let (_, err, code) = b.run();
    assert!(
        code == 1 && err.contains("cannot set net_cls limit") && err.contains("network.classID"),
        "{err}"
    );
}

#[test]
fn the_systemd_driver_needs_systemd() {
    let Some(b) = Bundle::new(&["echo"]) else { return };
    if std::path::Path::new("/run/systemd/system").exists() {
        eprintln!("this host has systemd: skipped");
        return;
    }
    let bundle = b.write_config();
    let said = b.fails(&["--systemd-cgroup", "run", "-b", &bundle, &b.id]);
    assert!(said.contains("systemd not running on this host"), "{said}");
}
