//! Which namespaces a container has, and which it shares.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

fn link(pid: i32, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

#[test]
fn each_of_its_own() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    let (pid, own) = (bundle.pid(), std::process::id().cast_signed());
    for kind in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        assert_ne!(link(pid, kind), link(own, kind), "{kind}");
    }
    for kind in ["user", "time"] {
        assert_eq!(link(pid, kind), link(own, kind), "{kind}");
    }
}

#[test]
fn none_but_the_host_s() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    for kind in ["pid", "network", "ipc", "uts", "cgroup"] {
        bundle.without_namespace(kind);
    }
    bundle.config["hostname"] = json!("");
    let bundle = bundle.started();
    let (pid, own) = (bundle.pid(), std::process::id().cast_signed());
    for kind in ["pid", "net", "ipc", "uts", "cgroup"] {
        assert_eq!(link(pid, kind), link(own, kind), "{kind}");
    }
}

#[test]
fn joined_by_path() {
    let first = Bundle::new(&["sleep", "1000"]).started();
    let mut second = Bundle::script("sleep 1000");
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        second.namespace(kind, Some(&format!("/proc/{}/ns/{file}", first.pid())));
    }
    let second = second.started();
    for kind in ["net", "ipc", "uts", "pid"] {
        assert_eq!(link(first.pid(), kind), link(second.pid(), kind), "{kind}");
    }
    assert_ne!(link(first.pid(), "mnt"), link(second.pid(), "mnt"));
    let seen = first.exec(&["ps"]).ok();
    assert!(seen.matches("sleep 1000").count() >= 2, "{seen}");
}

#[test]
fn one_that_cannot_be_joined_is_named() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.namespace("network", Some("/proc/self/ns/uts"));
    let said = bundle.run();
    assert_eq!(said.code, 1);
    assert!(said.err.contains("failed to setns into net namespace: invalid argument"), "{}", said.err);
}

#[test]
fn names_and_loopback() {
    let mut bundle = Bundle::script("hostname; cat /proc/sys/kernel/domainname; cat /sys/class/net/lo/flags");
    bundle.config["domainname"] = json!("example");
    assert_eq!(bundle.run().ok(), "box\nexample\n0x9\n");
}

#[test]
fn kernel_parameters() {
    let mut bundle = Bundle::script("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced");
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"});
    assert_eq!(bundle.run().ok(), "1\n1\n");
    bundle.without_namespace("network");
    let refused = bundle.run();
    assert!(refused.err.contains("net.ipv4.ip_forward"), "{}", refused.err);
}

#[test]
fn the_cgroup_namespace_begins_at_the_container() {
    let bundle = Bundle::script("cat /proc/self/cgroup");
    for line in bundle.run().ok().lines() {
        assert!(line.ends_with(":/"), "{line}");
    }
}

/// Whatever the version, what is mounted is the container's own cgroup, and all of it.
#[test]
fn the_cgroups_mounted_are_the_container_s() {
    let script = "cd /sys/fs/cgroup; for at in . *; do [ -e $at/cgroup.procs ] && echo $at $(cat $at/cgroup.procs); done; true";
    let mut bundle = Bundle::script(script);
    for user in [false, true] {
        if user {
            mapped(&mut bundle);
        }
        let said = bundle.run().ok();
        assert!(!said.is_empty() && said.lines().all(|line| line.split(' ').nth(1) == Some("1")), "{said}");
        if !std::path::Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
            assert!(said.contains("memory 1") && said.contains("pids 1"), "{said}");
        }
    }
}

#[test]
fn clocks_of_its_own() {
    let mut bundle = Bundle::script("cat /proc/uptime");
    bundle.namespace("time", None);
    bundle.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000_000}});
    let uptime: f64 = bundle.run().ok().split_whitespace().next().unwrap().parse().unwrap();
    assert!(uptime > 1e9);
}

/// A user namespace of its own, whose root owns the image.
pub fn mapped(bundle: &mut Bundle) {
    bundle.namespace("user", None);
    bundle.config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    bundle.config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    give(&bundle.rootfs());
}

/// The image belongs to the namespace's root, as engines see to.
fn give(path: &std::path::Path) {
    std::os::unix::fs::lchown(path, Some(100_000), Some(100_000)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

#[test]
fn a_user_namespace() {
    let mut bundle =
        Bundle::script("id -u; cat /proc/self/uid_map; ls -ln /dev/null; echo x > /dev/null && echo fine");
    mapped(&mut bundle);
    let out = bundle.run().ok();
    assert!(out.starts_with("0\n"), "{out}");
    assert!(out.contains("100000      65536"), "{out}");
    assert!(out.ends_with("fine\n"), "{out}");
    let bundle = {
        let mut bundle = Bundle::new(&["sleep", "1000"]);
        mapped(&mut bundle);
        bundle.started()
    };
    let status = fs::read_to_string(format!("/proc/{}/status", bundle.pid())).unwrap();
    assert!(status.contains("Uid:\t100000\t100000"), "{status}");
    assert_eq!(bundle.verb_with(&["exec", "--user", "1000:1000"], &["id", "-u"]).ok(), "1000\n");
    assert_ne!(link(bundle.pid(), "user"), link(std::process::id().cast_signed(), "user"));
}

#[test]
fn a_user_namespace_beside_joined_ones() {
    let first = Bundle::new(&["sleep", "1000"]).started();
    let mut second = Bundle::new(&["sleep", "1000"]);
    mapped(&mut second);
    second.namespace("network", Some(&format!("/proc/{}/ns/net", first.pid())));
    second.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|m| m["destination"] != "/sys" && m["type"] != "cgroup");
    let second = second.started();
    assert_eq!(link(first.pid(), "net"), link(second.pid(), "net"));
    assert_ne!(link(first.pid(), "user"), link(second.pid(), "user"));
}

#[test]
fn sources_out_of_the_user_s_reach_are_bound() {
    let mut bundle = Bundle::new(&["cat", "/data/file"]);
    mapped(&mut bundle);
    let secret = bundle.dir.path().join("secret");
    fs::create_dir_all(secret.join("open")).unwrap();
    fs::write(secret.join("open/file"), "reached\n").unwrap();
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    bundle.mount(json!({"destination": "/data", "source": "secret/open", "options": ["bind"]}));
    assert_eq!(bundle.run().ok(), "reached\n");
}
