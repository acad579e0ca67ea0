//! What a container sees of files: mounts, devices, masked paths.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::bundle::Bundle;

/// Options of the mount at a point, as the container's /proc/mounts has them.
fn options(mounts: &str, point: &str) -> Vec<String> {
    let line = mounts.lines().rfind(|l| l.split(' ').nth(1) == Some(point));
    line.unwrap_or_else(|| panic!("no mount at {point} in {mounts}"))
        .split(' ')
        .nth(3)
        .unwrap()
        .split(',')
        .map(str::to_owned)
        .collect()
}

fn has(mounts: &str, point: &str, wanted: &[&str]) {
    let options = options(mounts, point);
    for word in wanted {
        assert!(options.iter().any(|o| o == word), "{point}: {options:?} lacks {word}");
    }
}

#[test]
fn the_default_mounts() {
    let bundle = Bundle::new(&["cat", "/proc/mounts"]);
    let mounts = bundle.run().ok();
    has(&mounts, "/", &["ro"]);
    has(&mounts, "/proc", &["rw"]);
    has(&mounts, "/dev", &["rw", "nosuid", "mode=755"]);
    has(&mounts, "/dev/pts", &["nosuid", "noexec", "gid=5", "mode=620"]);
    has(&mounts, "/sys", &["ro", "nosuid", "noexec", "nodev"]);
    has(&mounts, "/sys/fs/cgroup", &["ro"]);
    has(&mounts, "/proc/sys", &["ro"]);
    assert!(!mounts.contains(bundle.dir.path().to_str().unwrap()));
}

/// As in an image that leaves its resolv.conf to a service manager which does not run in a container.
#[test]
fn a_link_to_nothing_is_mounted_to() {
    let mut bundle =
        Bundle::script("cat /etc/resolv.conf /run/stub/resolv.conf; touch /var/run/dir/file; ls /away/dir");
    symlink("../run/stub/resolv.conf", bundle.rootfs().join("etc/resolv.conf")).unwrap();
    fs::create_dir(bundle.rootfs().join("var")).unwrap();
    symlink("../../../../away", bundle.rootfs().join("var/run")).unwrap();
    let file = bundle.dir.path().join("resolv.conf");
    fs::write(&file, "nameserver\n").unwrap();
    bundle.mount(json!({"destination": "/etc/resolv.conf", "source": file, "options": ["bind", "ro"]}));
    bundle.mount(json!({"destination": "/var/run/dir", "type": "tmpfs", "source": "tmpfs"}));
    assert_eq!(bundle.run().ok(), "nameserver\nnameserver\nfile\n");
    assert!(!bundle.dir.path().join("away").exists());
}

#[test]
fn what_is_mounted_is_mounted_again() {
    let mut bundle = Bundle::new(&["cat", "/proc/mounts"]);
    for (point, first, then) in [
        ("/sized", json!(["size=1m", "nosuid", "noatime"]), json!(["remount", "size=2m", "sync", "noexec"])),
        ("/bound", json!(["size=1m"]), json!(["bind", "remount", "ro", "size=2m"])),
        ("/versions", json!(["iversion", "nodev"]), json!(["remount", "ro"])),
    ] {
        bundle.mount(json!({"destination": point, "type": "tmpfs", "source": "tmpfs", "options": first}));
        bundle.mount(json!({"destination": point, "type": "tmpfs", "source": "tmpfs", "options": then}));
    }
    let mounts = bundle.run().ok();
    has(&mounts, "/sized", &["rw", "nosuid", "noatime", "noexec", "size=2048k", "sync"]);
    has(&mounts, "/bound", &["ro", "size=1024k"]);
    has(&mounts, "/versions", &["ro", "nodev"]);
    let mut bundle = Bundle::new(&["true"]);
    bundle.mount(json!({"destination": "/dev", "type": "tmpfs", "options": ["remount", "size=nonsense"]}));
    let refused = bundle.run();
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("at \\\"/dev\\\""), "{}", refused.err);
}

#[test]
fn devices_and_links() {
    let mut bundle = Bundle::script(
        "for f in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$f; done; \
         readlink /dev/fd; readlink /dev/ptmx; stat -c '%a %u %g %t:%T' /dev/made; stat -c %F /dev/dir/pipe; \
         echo x > /dev/null && echo fine",
    );
    bundle.config["linux"]["devices"] = json!([
        {"path": "/dev/made", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/dir/pipe", "type": "p", "fileMode": 0o600}
    ]);
    let out = bundle.run().ok();
    for line in
        ["/dev/null 1:3 666", "/dev/zero 1:5 666", "/dev/full 1:7 666", "/dev/tty 5:0 666", "640 3 4 1:7"]
    {
        assert!(out.contains(line), "{line} in {out}");
    }
    assert!(out.contains("/proc/self/fd\npts/ptmx\n"), "{out}");
    assert!(out.ends_with("fifo\nfine\n"), "{out}");
}

#[test]
fn masked_and_read_only_paths() {
    let mut bundle = Bundle::script(
        "cat /secret; ls /hidden | wc -l; touch /hidden/x || echo no; echo 1 > /proc/sys/kernel/panic || echo ro; \
         cat /keep",
    );
    bundle.config["root"]["readonly"] = json!(false);
    fs::write(bundle.rootfs().join("secret"), "secret\n").unwrap();
    fs::write(bundle.rootfs().join("keep"), "kept\n").unwrap();
    fs::create_dir(bundle.rootfs().join("hidden")).unwrap();
    fs::write(bundle.rootfs().join("hidden/file"), "").unwrap();
    bundle.config["linux"]["maskedPaths"] = json!(["/secret", "/hidden", "/sys/firmware", "/not/there"]);
    assert_eq!(bundle.run().ok(), "0\nno\nro\nkept\n");
}

/// By these words docker tells people what to look for.
#[test]
fn a_file_and_a_directory_do_not_fit() {
    for (source, destination) in [("rootfs/etc/passwd", "/bin"), ("rootfs/bin", "/etc/passwd")] {
        let mut bundle = Bundle::new(&["true"]);
        let source = bundle.dir.path().join(source);
        bundle.mount(json!({"destination": destination, "source": source, "options": ["bind"]}));
        let said = bundle.run();
        assert!(said.code == 1 && said.err.contains(": not a directory"), "{}", said.err);
    }
}

#[test]
fn bind_mounts() {
    let mut bundle = Bundle::script(
        "cat /data/file; touch /data/new; touch /ro/new || echo ro; cat /one; cat /proc/mounts",
    );
    let data = bundle.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "hello\n").unwrap();
    bundle.config["root"]["readonly"] = json!(false);
    bundle
        .mount(json!({"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "rw"]}));
    bundle.mount(
        json!({"destination": "/ro", "source": data, "options": ["rbind", "ro", "noexec", "rprivate"]}),
    );
    bundle.mount(json!({"destination": "/one", "source": data.join("file"), "options": ["bind"]}));
    let out = bundle.run().ok();
    assert!(out.starts_with("hello\nro\nhello\n"), "{out}");
    has(&out, "/ro", &["ro", "noexec"]);
    has(&out, "/data", &["rw"]);
    assert!(data.join("new").exists());
    assert!(bundle.rootfs().join("one").is_file());
}

#[test]
fn recursive_attributes() {
    let mut bundle = Bundle::script("cat /proc/mounts");
    bundle.config["root"]["readonly"] = json!(false);
    bundle.mount(json!({"destination": "/tree", "type": "tmpfs", "source": "tmpfs"}));
    bundle.mount(
        json!({"destination": "/again", "source": "/proc/self/root/dev", "options": ["rbind", "rro"]}),
    );
    let mounts = bundle.run().ok();
    has(&mounts, "/again", &["ro"]);
    has(&mounts, "/again/shm", &["ro"]);
}

#[test]
fn tmpfs_keeps_mode_and_copies_up() {
    let mut bundle =
        Bundle::script("stat -c %a /modes; cat /full/dir/file; readlink /full/link; stat -c %u:%a /full/dir");
    let rootfs = bundle.rootfs();
    fs::create_dir(rootfs.join("modes")).unwrap();
    fs::set_permissions(rootfs.join("modes"), PermissionsExt::from_mode(0o1750)).unwrap();
    fs::create_dir_all(rootfs.join("full/dir")).unwrap();
    fs::set_permissions(rootfs.join("full/dir"), PermissionsExt::from_mode(0o711)).unwrap();
    fs::write(rootfs.join("full/dir/file"), "copied\n").unwrap();
    symlink("dir/file", rootfs.join("full/link")).unwrap();
    bundle.mount(json!({"destination": "/modes", "type": "tmpfs", "source": "tmpfs"}));
    bundle.mount(
        json!({"destination": "/full", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}),
    );
    assert_eq!(bundle.run().ok(), "1750\ncopied\ndir/file\n0:711\n");
}

#[test]
fn propagation_of_the_root() {
    for (word, shown) in [("shared", "shared:"), ("slave", "master:"), ("private", "- ")] {
        let mut bundle = Bundle::new(&["cat", "/proc/self/mountinfo"]);
        bundle.config["linux"]["rootfsPropagation"] = json!(word);
        let out = bundle.run().ok();
        let root = out.lines().find(|l| l.split(' ').nth(4) == Some("/")).unwrap();
        assert!(root.contains(shown) || word == "slave", "{word}: {root}");
    }
}

/// Where a path of the host's leads for those who stand in the root.
fn inside(bundle: &Bundle, path: &Path) -> PathBuf {
    bundle.rootfs().join(path.strip_prefix("/").unwrap())
}

#[test]
fn links_of_the_image_do_not_lead_out() {
    let mut bundle = Bundle::script("ls /inside/mnt");
    let outside = bundle.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(bundle.rootfs().join("inside")).unwrap();
    symlink("/inside", bundle.rootfs().join("evil")).unwrap();
    symlink(&outside, bundle.rootfs().join("worse")).unwrap();
    bundle.config["root"]["readonly"] = json!(false);
    bundle.mount(json!({"destination": "/evil/mnt", "source": "/proc/self/root/bin", "options": ["bind"]}));
    bundle.run().ok();
    assert!(bundle.rootfs().join("inside/mnt").is_dir());
    bundle.mount(json!({"destination": "/worse/mnt", "source": "/bin", "options": ["bind"]}));
    bundle.run().ok();
    assert!(inside(&bundle, &outside).join("mnt").is_dir());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn proc_must_be_an_ordinary_directory() {
    let bundle = Bundle::new(&["true"]);
    fs::create_dir(bundle.rootfs().join("elsewhere")).unwrap();
    symlink("elsewhere", bundle.rootfs().join("proc")).unwrap();
    let said = bundle.run();
    assert!(said.err.contains("must be mounted on ordinary directory"), "{}", said.err);
}

#[test]
fn no_pivot_and_chroot() {
    let bundle = Bundle::script("ls /bin/busybox; cat /proc/self/mountinfo");
    let said = bundle.verb(&["run", "--no-pivot"]);
    assert!(said.out.contains("/bin/busybox"), "{}", said.err);
    let mut bundle = Bundle::script("ls -d /bin /home");
    bundle.without_namespace("mount");
    bundle.config["mounts"] = json!([]);
    bundle.config["linux"]["maskedPaths"] = json!([]);
    bundle.config["linux"]["readonlyPaths"] = json!([]);
    let said = bundle.run();
    assert_eq!(said.out, "/bin\n", "{}", said.err);
}

#[test]
fn id_mapped_mounts() {
    let mut bundle = Bundle::script("stat -c %u /data/file");
    let data = bundle.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "").unwrap();
    bundle.config["root"]["readonly"] = json!(false);
    let map = json!([{"containerID": 0, "hostID": 7000, "size": 1000}]);
    bundle.mount(json!({"destination": "/data", "source": data, "options": ["bind", "idmap"],
                        "uidMappings": map, "gidMappings": map}));
    assert_eq!(bundle.run().ok(), "7000\n");
}

#[test]
fn id_mapped_mounts_by_the_container_s_own_mapping() {
    let mut bundle =
        Bundle::script("stat -c %u /data/file /data/sub/file /plain/file; touch /data/new; echo $?");
    crate::namespaces::mapped(&mut bundle);
    let data = bundle.dir.path().join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::write(data.join("file"), "").unwrap();
    fs::write(data.join("sub/file"), "").unwrap();
    bundle.config["root"]["readonly"] = json!(false);
    bundle.mount(json!({"destination": "/data", "source": data, "options": ["rbind", "ridmap"]}));
    bundle.mount(json!({"destination": "/plain", "source": data, "options": ["rbind"]}));
    // Root's files are the container's root's by the one mount, and nobody's by the other.
    let said = bundle.run();
    assert_eq!(said.out, "0\n0\n65534\n0\n", "{}", said.err);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&data.join("new").metadata().unwrap()), 0);
}

#[test]
fn id_mapped_mounts_by_the_mapping_of_a_joined_namespace() {
    let mut first = Bundle::new(&["sleep", "1000"]);
    crate::namespaces::mapped(&mut first);
    let first = first.started();
    let mut bundle = Bundle::script("stat -c %u /data/file /plain/file; touch /data/new; echo $?");
    crate::namespaces::mapped(&mut bundle);
    bundle.without_namespace("user");
    bundle.namespace("user", Some(&format!("/proc/{}/ns/user", first.pid())));
    let mapping = bundle.config["linux"]["uidMappings"].clone();
    for name in ["uidMappings", "gidMappings"] {
        bundle.config["linux"].as_object_mut().unwrap().remove(name);
    }
    let data = bundle.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "").unwrap();
    bundle.config["root"]["readonly"] = json!(false);
    bundle.mount(json!({"destination": "/data", "source": data, "options": ["rbind", "ridmap"]}));
    bundle.mount(json!({"destination": "/plain", "source": data, "options": ["rbind"]}));
    let said = bundle.run();
    assert_eq!(said.out, "0\n65534\n0\n", "{}", said.err);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&data.join("new").metadata().unwrap()), 0);
    // containerd hands over both, which is borne with; a mapping that is another one is not.
    for name in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][name] = mapping.clone();
    }
    let said = bundle.run();
    assert_eq!(said.out, "0\n65534\n0\n", "{}", said.err);
    assert!(said.err.contains("matching userns mapping specified"), "{}", said.err);
    bundle.config["linux"]["uidMappings"][0]["hostID"] = json!(7);
    let said = bundle.run();
    assert!(said.code == 1 && said.err.contains("both namespace path and non-matching"), "{}", said.err);
}

#[test]
fn the_container_cannot_write_to_the_executor() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.create().ok();
    // Before start, init is the executor itself, from its protected copy.
    let exe = format!("/proc/{}/exe", bundle.pid());
    let e = fs::OpenOptions::new().write(true).open(exe).unwrap_err();
    assert!(matches!(e.raw_os_error(), Some(30 | 26 | 1)), "{e}");
}

#[test]
fn a_link_for_dev_does_not_lead_out() {
    let mut bundle = Bundle::new(&["true"]);
    let outside = bundle.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bundle.rootfs().join("dev")).unwrap();
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    bundle.config["root"]["readonly"] = json!(false);
    bundle.run().ok();
    assert!(inside(&bundle, &outside).join("null").exists());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_false_null_device_is_no_mask() {
    let mut bundle = Bundle::new(&["true"]);
    fs::write(bundle.rootfs().join("secret"), "").unwrap();
    bundle.mount(json!({"destination": "/dev", "source": "falsedev", "options": ["bind"]}));
    let false_dev = bundle.dir.path().join("falsedev");
    fs::create_dir(&false_dev).unwrap();
    symlink("/proc/sysrq-trigger", false_dev.join("null")).unwrap();
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|m| m["source"] == "falsedev" || m["type"] == "proc");
    bundle.config["linux"]["maskedPaths"] = json!(["/secret"]);
    let said = bundle.run();
    assert!(said.err.contains("/dev/null is not the null device"), "{}", said.err);
}

#[test]
fn nothing_covers_proc_through_a_symlink_of_the_image() {
    let mut bundle = Bundle::script("ls /proc");
    symlink("proc", bundle.rootfs().join("data")).unwrap();
    let forged = bundle.dir.path().join("forged");
    fs::create_dir(&forged).unwrap();
    bundle.mount(json!({"destination": "/data", "type": "bind", "source": forged, "options": ["rbind"]}));
    let said = bundle.run();
    assert_ne!(said.code, 0);
    assert!(said.err.contains("cannot be mounted because it is not of type proc"), "{}", said.err);
}
