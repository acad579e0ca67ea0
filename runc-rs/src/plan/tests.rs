//! Plans of whole documents: what is carried out, in which order, and what is refused.

use serde_json::{Value, json};

use super::*;

fn config(change: impl FnOnce(&mut Value)) -> Spec {
    let mut value = json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"]
        }
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn plan(change: impl FnOnce(&mut Value)) -> Result<Plan> {
    let choices = Choices { await_start: true, ..Choices::default() };
    create("c1", Path::new("/bundle"), &config(change), &choices)
}

fn refused(change: impl FnOnce(&mut Value)) -> String {
    plan(change).unwrap_err().to_string()
}

fn position(plan: &Plan, wanted: impl Fn(&Step) -> bool) -> usize {
    plan.steps.iter().position(wanted).unwrap()
}

#[test]
fn init_stands_still_for_limits_where_that_counts() {
    let waits =
        |change: fn(&mut Value)| plan(change).unwrap().steps.contains(&Step::RuntimeHooks { wait: true });
    assert!(!waits(|_| {}));
    assert!(waits(|config| config["linux"]["resources"] = json!({"memory": {"limit": 1 << 20}})));
    assert!(waits(|config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]})));
    // /dev is the host's.
    assert!(waits(|config| {
        config["mounts"][1] =
            json!({"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]});
    }));
}

#[test]
fn order_of_a_plain_container() {
    let plan = plan(|_| {}).unwrap();
    assert_eq!(plan.rootfs, Path::new("/bundle/rootfs"));
    let order = [
        position(&plan, |s| matches!(s, Step::Loopback)),
        position(&plan, |s| matches!(s, Step::BindRoot { .. })),
        position(&plan, |s| matches!(s, Step::Mount(m) if m.destination == Path::new("/dev"))),
        position(&plan, |s| matches!(s, Step::Device(_))),
        position(&plan, |s| matches!(s, Step::RuntimeHooks { wait: false })),
        position(&plan, |s| matches!(s, Step::EnterRoot(Enter::Pivot))),
        position(&plan, |s| matches!(s, Step::Hostname(_))),
        position(&plan, |s| matches!(s, Step::ReadonlyPath(_))),
        position(&plan, |s| matches!(s, Step::MaskedPaths { .. })),
        position(&plan, |s| matches!(s, Step::Ready)),
        position(&plan, |s| matches!(s, Step::CloseDescriptors)),
        position(&plan, |s| matches!(s, Step::Identity)),
        position(&plan, |s| matches!(s, Step::FindProgram)),
        position(&plan, |s| matches!(s, Step::AwaitStart)),
        position(&plan, |s| matches!(s, Step::Execute)),
    ];
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(plan.steps.last(), Some(&Step::Execute));
}

#[test]
fn every_step_names_its_clause() {
    for step in plan(|_| {}).unwrap().steps {
        assert!(!step.clause().is_empty());
        assert!(step.to_string().contains(step.clause()));
    }
}

#[test]
fn the_filter_is_loaded_when_there_is_still_the_right() {
    let with = |no_new_privileges: bool| {
        plan(|c| {
            c["process"]["noNewPrivileges"] = json!(no_new_privileges);
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        })
        .unwrap()
    };
    let before = with(false);
    let seccomp = |p: &Plan| position(p, |s| matches!(s, Step::Seccomp));
    let identity = |p: &Plan| position(p, |s| matches!(s, Step::Identity));
    assert!(seccomp(&before) < identity(&before));
    let after = with(true);
    assert!(seccomp(&after) > identity(&after));
}

#[test]
fn without_a_mount_namespace() {
    let none = |c: &mut Value| {
        c["linux"] = json!({"namespaces": [{"type": "uts"}]});
        c["mounts"] = json!([]);
    };
    let plan = plan(none).unwrap();
    assert!(plan.steps.contains(&Step::EnterRoot(Enter::Chroot)));
    assert!(!plan.steps.iter().any(|s| matches!(s, Step::BindRoot { .. })));
    let text = refused(|c| {
        none(c);
        c["linux"]["maskedPaths"] = json!(["/proc/kcore"]);
    });
    assert_eq!(text, "unable to restrict sys entries without a private MNT namespace");
}

#[test]
fn devices_are_bound_in_a_user_namespace() {
    let plan = plan(|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    })
    .unwrap();
    assert!(plan.steps.iter().any(|s| matches!(s, Step::BindDevice(_))));
    assert!(!plan.steps.iter().any(|s| matches!(s, Step::Device(_))));
}

#[test]
fn a_tmpfs_is_made_read_only_late() {
    let plan = plan(|c| c["mounts"][1]["options"] = json!(["ro", "mode=755"])).unwrap();
    let late = position(&plan, |s| *s == Step::ReadonlyMount("/dev".into()));
    assert!(late > position(&plan, |s| matches!(s, Step::EnterRoot(_))));
}

#[test]
fn the_release_of_the_specification_is_not_looked_at() {
    for version in [json!("0.6.0"), json!("2.0.0"), json!("")] {
        plan(|c| c["ociVersion"] = version.clone()).unwrap();
    }
}

#[test]
fn refusals() {
    let push = |c: &mut Value, ns: Value| c["linux"]["namespaces"].as_array_mut().unwrap().push(ns);
    assert_eq!(
        refused(|c| push(c, json!({"type": "network", "path": "/n"}))),
        r#"malformed spec file: duplicated ns {"network" "/n"}"#
    );
    assert!(refused(|c| push(c, json!({"type": "user"}))).contains("no user and/or group mappings"));
    assert!(refused(|c| push(c, json!({"type": "user", "path": "x"}))).contains("not absolute"));
    assert_eq!(refused(|c| c["process"] = Value::Null), "process property must not be empty");
    for root in ["/", "", "..", "/mnt/.."] {
        let text = refused(|c| c["mounts"][1]["destination"] = json!(root));
        assert!(text.ends_with("is the root itself"), "{text}");
    }
    assert!(refused(|c| c["linux"]["rootfsPropagation"] = json!("odd")).contains("odd"));
    assert!(refused(|c| c["linux"]["sysctl"] = json!({"kernel.panic": "1"})).contains("kernel.panic"));
    let text = refused(|c| c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 1}]));
    assert!(text.contains("isn't enabled"));
    let no_uts = refused(|c| c["linux"]["namespaces"] = json!([{"type": "mount"}]));
    assert_eq!(no_uts, "unable to set hostname without a private UTS namespace");
}

#[test]
fn what_is_not_carried_out_is_named() {
    let text =
        refused(|c| c["linux"]["personality"] = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}));
    assert!(text.contains("linux.personality.flags") || text.contains("flags"), "{text}");
}

#[test]
fn memory_policies_have_nodes_or_none() {
    let with = |policy: Value| plan(|c| c["linux"]["memoryPolicy"] = policy).map(drop);
    let text = |policy: Value| with(policy).unwrap_err().to_string();
    for mode in ["MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"] {
        let text = text(json!({"mode": mode}));
        assert!(text.contains(mode) && text.ends_with("requires at least one node but got 0"), "{text}");
    }
    for mode in ["MPOL_DEFAULT", "MPOL_LOCAL"] {
        assert!(text(json!({"mode": mode, "nodes": "0-1"})).ends_with("requires 0 nodes but got 2"));
        with(json!({"mode": mode, "nodes": ""})).unwrap();
    }
    assert!(text(json!({"mode": "MPOL_BIND", "nodes": "x"})).contains("invalid memory policy nodes \"x\""));
    with(json!({"mode": "MPOL_PREFERRED"})).unwrap();
}

#[test]
fn an_empty_profile_is_no_filter() {
    for text in
        [r#"{}"#, r#"{"defaultAction": "", "syscalls": []}"#, r#"{"architectures": ["SCMP_ARCH_Z80"]}"#]
    {
        let mut document = serde_json::to_value(config(|_| {})).unwrap();
        document["linux"]["seccomp"] = serde_json::from_str(text).unwrap();
        let spec = oci::runtime::parse(document.to_string().as_bytes()).unwrap();
        let plan = create("c1", Path::new("/bundle"), &spec, &Choices::default()).unwrap();
        assert!(!plan.steps.iter().any(|s| matches!(s, Step::Seccomp)), "{text}");
    }
}

#[test]
fn what_the_parent_sets_up_is_in_the_plan() {
    let plan = plan(|c| {
        c["linux"]["netDevices"] = json!({"eth9": {"name": "web"}});
        c["linux"]["intelRdt"] = json!({"closID": "gold", "schemata": ["L3:0=f"]});
        c["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
    })
    .unwrap();
    assert_eq!(plan.net_devices[0].name, "web");
    assert_eq!(plan.resctrl.unwrap().group(), "gold");
    let dev = plan.steps.iter().find_map(|s| match s {
        Step::Mount(m) if m.destination == Path::new("/dev") => Some(m.label.as_str()),
        _ => None,
    });
    assert_eq!(dev, Some("system_u:object_r:container_file_t:s0"));
    let proc = plan.steps.iter().find_map(|s| match s {
        Step::Mount(m) if m.destination == Path::new("/proc") => Some(m.label.as_str()),
        _ => None,
    });
    assert_eq!(proc, Some(""));
    let masked = plan.steps.iter().find_map(|s| match s {
        Step::MaskedPaths { label, .. } => Some(label.as_str()),
        _ => None,
    });
    assert_eq!(masked, dev);
}

#[test]
fn without_privileges_on_the_host() {
    let rootless = |change: &dyn Fn(&mut Value)| {
        let choices = Choices { rootless: true, ..Choices::default() };
        create("c1", Path::new("/bundle"), &config(change), &choices).unwrap_err().to_string()
    };
    assert_eq!(rootless(&|_| {}), "rootless container requires user namespaces");
    let text = rootless(&|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        c["linux"]["uidMappings"] = map.clone();
        c["linux"]["gidMappings"] = map;
        c["mounts"][1]["options"] = json!(["gid=5"]);
    });
    assert!(text.contains("gid=5 mount option"), "{text}");
    let inside = Choices { in_user_namespace: true, ..Choices::default() };
    let plan = create("c1", Path::new("/bundle"), &config(|_| {}), &inside).unwrap();
    assert!(plan.steps.iter().any(|s| matches!(s, Step::BindDevice(_))));
}

#[test]
fn time_offsets_are_lines() {
    let plan = plan(|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
        c["linux"]["timeOffsets"] =
            json!({"monotonic": {"secs": 5, "nanosecs": 1}, "boottime": {"secs": -3}});
    })
    .unwrap();
    assert_eq!(plan.time_offsets, "boottime -3 0\nmonotonic 5 1\n");
    assert!(
        refused(|c| c["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 5}})).contains("isn't enabled")
    );
}
