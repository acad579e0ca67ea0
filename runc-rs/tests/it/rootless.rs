//! Containers of an ordinary user, and of the root of a user namespace.
//!
//! The user exists in these tests alone: its ids are in copies of /etc/passwd, subuid and subgid that nobody else sees,
//! mounted in a namespace of the test's own.

use std::fs;
use std::os::unix::fs::{chown, lchown};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bundle::{Bundle, Said};

const USER: u32 = 4711;
const SUB: u32 = 300_000;

fn give(path: &Path, uid: u32) {
    lchown(path, Some(uid), Some(uid)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), uid));
    }
}

/// The program, where a user can execute it: a build's folder may be root's alone.
fn program(bundle: &Bundle) -> String {
    let copy = bundle.dir.path().join("runc-rs");
    if !copy.exists() {
        fs::copy(env!("CARGO_BIN_EXE_runc-rs"), &copy).unwrap();
    }
    copy.to_str().unwrap().to_owned()
}

/// What `runc spec --rootless` asks for, with the test's programs.
fn rootless(bundle: &mut Bundle) {
    let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    bundle.namespace("user", None);
    bundle.without_namespace("network");
    bundle.config["linux"]["uidMappings"] = map(USER);
    bundle.config["linux"]["gidMappings"] = map(USER);
    bundle.config["linux"].as_object_mut().unwrap().remove("resources");
    unprivileged_mounts(&mut bundle.config);
    fs::create_dir(bundle.dir.path().join("state")).unwrap();
    program(bundle);
    give(bundle.dir.path(), USER);
}

/// /sys is bound, since it belongs to the host's network; and terminals are of a group that is mapped.
fn unprivileged_mounts(config: &mut Value) {
    for mount in config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/sys" {
            *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
        }
        if mount["destination"] == "/dev/pts" {
            mount["options"] = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
        }
    }
    config["mounts"].as_array_mut().unwrap().retain(|m| m["type"] != "cgroup");
}

/// Runs a verb as the user.
fn as_user(bundle: &Bundle, args: &[&str]) -> Said {
    let etc = bundle.dir.path().join("etc");
    if !etc.exists() {
        fs::create_dir(&etc).unwrap();
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        fs::write(etc.join("passwd"), format!("{passwd}tester:x:{USER}:{USER}::/tmp:/bin/sh\n")).unwrap();
        for name in ["subuid", "subgid"] {
            fs::write(etc.join(name), format!("tester:{SUB}:65536\n")).unwrap();
        }
    }
    let write = bundle.command(&[]);
    drop(write);
    chown(bundle.dir.path().join("config.json"), Some(USER), Some(USER)).unwrap();
    let script = "for f in passwd subuid subgid; do [ -e /etc/$f ] || exit 90; mount --bind etc/$f /etc/$f || exit 91; done; \
                  exec setpriv --reuid $0 --regid $0 --clear-groups \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, &USER.to_string()]);
    command.arg(program(bundle)).args(["--root", "state"]).args(args).current_dir(bundle.dir.path());
    command.env("XDG_RUNTIME_DIR", bundle.dir.path()).stdin(Stdio::null());
    let out = fs::File::create(bundle.dir.path().join("said")).unwrap();
    let err = fs::File::create(bundle.dir.path().join("complaint")).unwrap();
    let code = command.stdout(out).stderr(err).status().unwrap().code().unwrap();
    let text = |name: &str| fs::read_to_string(bundle.dir.path().join(name)).unwrap();
    Said { code, out: text("said"), err: text("complaint") }
}

#[test]
fn one_id_without_any_help() {
    let mut bundle = Bundle::script(
        "id -u; id -g; cat /proc/self/uid_map; cat /proc/self/setgroups; echo x > /dev/null && echo fine; hostname",
    );
    rootless(&mut bundle);
    let said = as_user(&bundle, &["run", &bundle.id]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("0\n0\n"), "{}", said.out);
    assert!(said.out.contains("4711          1\ndeny\nfine\nbox\n"), "{}", said.out);
}

#[test]
fn many_ids_by_newuidmap() {
    let mut bundle = Bundle::script("id -u; cat /proc/self/uid_map; cat /proc/self/setgroups; id -G");
    rootless(&mut bundle);
    let map = json!([{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": SUB, "size": 1000}]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    bundle.config["process"]["user"] = json!({"uid": 7, "gid": 8, "additionalGids": [9]});
    let said = as_user(&bundle, &["run", &bundle.id]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("7\n"), "{}", said.out);
    assert!(said.out.contains("300000       1000\nallow\n8 9\n"), "{}", said.out);
    let beyond = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    bundle.config["linux"]["uidMappings"] = beyond;
    let said = as_user(&bundle, &["run", &bundle.id]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("newuidmap failed"), "{}", said.err);
}

#[test]
fn all_of_a_life() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    rootless(&mut bundle);
    let id = bundle.id.clone();
    as_user(&bundle, &["create", &id]).ok();
    as_user(&bundle, &["start", &id]).ok();
    let state: Value = serde_json::from_str(&as_user(&bundle, &["state", &id]).ok()).unwrap();
    assert_eq!(state["status"], "running");
    let pid = state["pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{USER}\t{USER}")), "{status}");
    let said = as_user(&bundle, &["exec", &id, "sh", "-c", "id -u; ls /proc/1/fd | wc -l"]);
    assert_eq!(said.out, "0\n3\n", "{}", said.err);
    as_user(&bundle, &["kill", &id, "KILL"]).ok();
    bundle.wait("its end", || as_user(&bundle, &["state", &id]).out.contains("stopped"));
    as_user(&bundle, &["delete", &id]).ok();
    assert!(!bundle.state_dir().exists());
}

/// There are no others that anybody would know of.
#[test]
fn to_kill_all_without_a_cgroup_is_to_kill_init() {
    for own_pids in [true, false] {
        let mut bundle = Bundle::new(&["sleep", "1000"]);
        if !own_pids {
            bundle.without_namespace("pid");
            bundle.config["mounts"].as_array_mut().unwrap().retain(|m| m["type"] != "proc");
            bundle.mount(json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]}));
        }
        rootless(&mut bundle);
        let id = bundle.id.clone();
        as_user(&bundle, &["run", "--detach", &id]).ok();
        let flags: &[&str] = if own_pids { &["kill", "--all"] } else { &["kill"] };
        let said = as_user(&bundle, &[flags, &[id.as_str(), "KILL"]].concat());
        assert_eq!(said.code, 0, "{}", said.err);
        bundle.wait("its end", || as_user(&bundle, &["state", &id]).out.contains("stopped"));
        as_user(&bundle, &["delete", &id]).ok();
    }
}

#[test]
fn a_limit_without_a_cgroup_is_an_error() {
    let mut bundle = Bundle::new(&["true"]);
    rootless(&mut bundle);
    bundle.config["linux"]["resources"] = json!({"pids": {"limit": 10}});
    let said = as_user(&bundle, &["run", &bundle.id]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("pids"), "{}", said.err);
}

#[test]
fn without_a_user_namespace_there_is_nothing() {
    let mut bundle = Bundle::new(&["true"]);
    rootless(&mut bundle);
    bundle.without_namespace("user");
    bundle.config["linux"].as_object_mut().unwrap().remove("uidMappings");
    bundle.config["linux"].as_object_mut().unwrap().remove("gidMappings");
    let said = as_user(&bundle, &["run", &bundle.id]);
    assert!(said.err.contains("rootless container requires user namespaces"), "{}", said.err);
}

/// As podman does it: the namespace is made outside, and the container has none of its own.
#[test]
fn inside_a_user_namespace() {
    let mut bundle = Bundle::script("id -u; ls -ln /dev/null; echo x > /dev/null && echo fine; hostname");
    unprivileged_mounts(&mut bundle.config);
    bundle.without_namespace("network");
    bundle.config["linux"].as_object_mut().unwrap().remove("resources");
    drop(bundle.command(&[]));
    let run = |flags: &[&str]| {
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            env!("CARGO_BIN_EXE_runc-rs"),
            "--root",
            "state",
        ]);
        command.args(flags).args(["run", &bundle.id]).current_dir(bundle.dir.path()).stdin(Stdio::null());
        Said::of(&command.output().unwrap())
    };
    let said = run(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("0\n") && said.out.ends_with("fine\nbox\n"), "{}", said.out);
    assert_eq!(run(&["--rootless=true"]).code, 0);
    let said = run(&["--rootless=maybe"]);
    assert!(said.err.contains("invalid --rootless value"), "{}", said.err);
}

/// The host's network is not theirs to come back to.
#[test]
fn a_network_of_its_own_inside_a_user_namespace() {
    let mut bundle = Bundle::script("readlink /proc/self/ns/net; grep -c : /proc/net/dev");
    unprivileged_mounts(&mut bundle.config);
    bundle.config["linux"].as_object_mut().unwrap().remove("resources");
    drop(bundle.command(&[]));
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", env!("CARGO_BIN_EXE_runc-rs"), "--root", "state"]);
    command.args(["run", &bundle.id]).current_dir(bundle.dir.path()).stdin(Stdio::null());
    let said = Said::of(&command.output().unwrap());
    assert_eq!(said.code, 0, "{}", said.err);
    let host = fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    let (own, devices) = said.out.split_once('\n').unwrap();
    assert_ne!(own, host);
    assert_eq!(devices, "1\n");
}

/// A user namespace in a user namespace, whose root does not own the mounts that it sees.
#[test]
fn a_user_namespace_of_its_own_inside_one() {
    let mut bundle = Bundle::script("id -u; cat /data/file");
    unprivileged_mounts(&mut bundle.config);
    bundle.without_namespace("network");
    bundle.namespace("user", None);
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    bundle.config["linux"].as_object_mut().unwrap().remove("resources");
    let data = bundle.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "inside\n").unwrap();
    bundle.mount(json!({"destination": "/data", "source": "data", "options": ["rbind", "ro"]}));
    drop(bundle.command(&[]));
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        env!("CARGO_BIN_EXE_runc-rs"),
        "--root",
        "state",
        "run",
        &bundle.id,
    ]);
    let said = Said::of(&command.current_dir(bundle.dir.path()).stdin(Stdio::null()).output().unwrap());
    assert_eq!(said.out, "0\ninside\n", "{}", said.err);
}

/// A part of the host's cgroups that is the user's own.
#[test]
fn in_a_delegated_cgroup() {
    let hierarchies: Vec<_> = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path()).collect();
    let version_1: Vec<_> = hierarchies.into_iter().filter(|p| p.join("release_agent").exists()).collect();
    if version_1.is_empty() {
        // On version 2 a user also needs a process in the part: the machine with systemd has such a test.
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/proc/self/cgroup"]);
    rootless(&mut bundle);
    bundle.without_namespace("cgroup");
    let name = format!("rt-delegated-{}", std::process::id());
    for hierarchy in &version_1 {
        fs::create_dir_all(hierarchy.join(&name)).unwrap();
        give_files(&hierarchy.join(&name));
    }
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/{name}/c"));
    bundle.config["linux"]["resources"] = json!({"pids": {"limit": 100}});
    let said = as_user(&bundle, &["run", &bundle.id]);
    for hierarchy in &version_1 {
        let _ = fs::remove_dir(hierarchy.join(&name));
    }
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains(&format!("pids:/{name}/c\n")), "{}", said.out);
}

fn give_files(dir: &Path) {
    chown(dir, Some(USER), Some(USER)).unwrap();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        chown(entry.path(), Some(USER), Some(USER)).unwrap();
    }
}
