//! The attacks by which containers have got out of other runtimes, each tried in earnest. None may get anywhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use serde_json::json;

use crate::bundle::Bundle;
use crate::namespaces::mapped;

/// How often a race is run. The other side exchanges its names some thousand times meanwhile.
const ROUNDS: usize = 6;

/// Somebody beside the runtime, who exchanges two names for each other as fast as can be.
struct Exchanger {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Exchanger {
    fn new(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let exchange = move || {
            let mut count = 0;
            while !told.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                count += 1;
            }
            count
        };
        Exchanger { stop, thread: Some(std::thread::spawn(exchange)) }
    }

    /// Ends it; it must have been at work.
    fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.thread.take().unwrap().join().unwrap() > 0);
    }
}

impl Drop for Exchanger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().count() == 0
}

/// A writable container with a directory of the host's beside it that nothing may come to.
fn with_outside(script: &str) -> (Bundle, PathBuf) {
    let mut bundle = Bundle::script(script);
    bundle.config["root"]["readonly"] = json!(false);
    let outside = bundle.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    (bundle, outside)
}

/// CVE-2021-30465, CVE-2024-45310: a mount point that is a directory when it is looked at and a link when it is used.
#[test]
fn a_mount_point_exchanged_for_a_link() {
    let (mut bundle, outside) = with_outside("true");
    let volume = bundle.rootfs().join("volume");
    fs::create_dir_all(volume.join("dir")).unwrap();
    symlink(&outside, volume.join("link")).unwrap();
    // Relative links would lead out of a root that is only a string.
    symlink("../../outside", volume.join("up")).unwrap();
    bundle.mount(json!({"destination": "/volume/dir/a/b", "type": "tmpfs", "source": "tmpfs"}));
    bundle.mount(json!({"destination": "/volume/dir/file", "source": "/etc/passwd", "options": ["bind"]}));
    for other in ["link", "up"] {
        let exchanger = Exchanger::new(volume.join("dir"), volume.join(other));
        for _ in 0..ROUNDS {
            // Whether it works depends on the moment; where it works, it is inside.
            bundle.run();
            assert!(is_empty(&outside));
        }
        exchanger.end();
        let real = ["dir", "link", "up"].iter().find(|n| volume.join(n).symlink_metadata().unwrap().is_dir());
        if *real.unwrap() != "dir" {
            renameat_with(CWD, volume.join("dir"), CWD, volume.join(other), RenameFlags::EXCHANGE).unwrap();
        }
    }
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc is not where it seems to be.
#[test]
fn proc_exchanged_for_a_link() {
    let (bundle, outside) = with_outside("cat /proc/self/status && ls /proc/self/ns");
    let rootfs = bundle.rootfs();
    fs::create_dir(rootfs.join("proc")).unwrap();
    fs::create_dir(rootfs.join("forged")).unwrap();
    symlink("forged", rootfs.join("other")).unwrap();
    let exchanger = Exchanger::new(rootfs.join("proc"), rootfs.join("other"));
    for _ in 0..ROUNDS {
        let said = bundle.run();
        // What was mounted is a procfs, or nothing runs.
        assert!(said.code != 0 || said.out.contains("Pid:"), "{}", said.out);
    }
    exchanger.end();
    assert!(is_empty(&outside));
}

/// CVE-2019-16884, CVE-2025-52881: what is written to /proc must not go to a file that only looks like it.
#[test]
fn nothing_is_mounted_over_proc() {
    for (destination, kind) in [
        ("/proc", "tmpfs"),
        ("/proc/self/attr", "tmpfs"),
        ("/proc/sys/kernel", "tmpfs"),
        ("/x/../proc", "tmpfs"),
        ("proc", "tmpfs"),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.mount(json!({"destination": destination, "type": kind, "source": "tmpfs"}));
        let said = bundle.run();
        assert!(said.err.contains("cannot be mounted because it is"), "{destination}: {}", said.err);
    }
    // By a link of the image, for each kind of mount.
    for mount in [
        json!({"destination": "/link", "type": "tmpfs", "source": "tmpfs"}),
        json!({"destination": "/link", "type": "cgroup", "source": "cgroup"}),
        json!({"destination": "/link", "source": "/tmp", "options": ["bind"]}),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        symlink("/proc/sys", bundle.rootfs().join("link")).unwrap();
        bundle.mount(mount.clone());
        let said = bundle.run();
        assert!(said.err.contains("inside /proc"), "{mount}: {}", said.err);
    }
}

/// CVE-2025-52881 from within: a container that has covered its /proc gains nothing from a process that is put into it.
#[test]
fn a_covered_proc_misleads_nobody() {
    let caps = json!(["CAP_SYS_ADMIN"]);
    let mut bundle = Bundle::script(
        "mount -t tmpfs none /proc && mkdir -p /proc/self/fd /proc/self/attr /proc/thread-self/attr && \
         touch /proc/self/attr/exec && sleep 1000",
    );
    bundle.config["process"]["capabilities"] =
        json!({"bounding": caps, "effective": caps, "permitted": caps});
    let bundle = bundle.started();
    bundle.wait("the tmpfs", || bundle.exec(&["test", "-e", "/proc/self/attr/exec"]).code == 0);
    let said = bundle.exec(&["sh", "-c", "id -u; grep -c . /proc/self/attr/exec; true"]);
    assert_eq!(said.out, "0\n0\n", "{}", said.err);
}

/// CVE-2024-21626: a working directory that is a descriptor of the runtime's.
#[test]
fn a_working_directory_by_descriptor() {
    let marker = "the-host-s-marker";
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    fs::write(bundle.dir.path().join(marker), "escaped").unwrap();
    fs::create_dir_all(bundle.rootfs().join("links")).unwrap();
    let inside = format!("cat {0}/{marker} ../{marker} 2>/dev/null; echo done", bundle.dir.path().display());
    let relative = bundle.dir.path().strip_prefix("/").unwrap().display().to_string();
    let script =
        format!("{inside}; cat ../../../../../../../{relative}/{marker} ./{relative}/{marker} 2>/dev/null");
    for fd in 3..12 {
        symlink(format!("/proc/self/fd/{fd}"), bundle.rootfs().join(format!("links/{fd}"))).unwrap();
    }
    bundle.config["root"]["readonly"] = json!(false);
    let bundle = bundle.started();
    let mut other = Bundle::new(&["sh", "-c", &script]);
    for fd in 3..12 {
        let cwd = format!("/proc/self/fd/{fd}");
        other.config["process"]["cwd"] = json!(cwd);
        let said = other.run();
        assert!(!said.out.contains("escaped"), "{cwd}: {}", said.out);
        for cwd in [cwd, format!("/links/{fd}")] {
            let said = bundle.verb_with(&["exec", "--cwd", &cwd], &["sh", "-c", &script]);
            assert!(!said.out.contains("escaped"), "{cwd}: {}", said.out);
            assert_eq!(said.code, 255, "{cwd} leads somewhere: {}", said.out);
        }
    }
}

/// CVE-2024-21626 and others: what init has open, from the moment it is created, is the container's own.
#[test]
fn no_descriptor_leaks() {
    let held = fs::File::open("/").unwrap();
    let bundle = Bundle::new(&["sh", "-c", "ls /proc/self/fd; sleep 1000"]);
    let mut command = bundle.command(&["--log", "log", "create"]);
    // The shell that execs the runtime leaves it three directories of the host's open.
    let words: Vec<String> = command.get_args().map(|a| a.to_str().unwrap().to_owned()).collect();
    let program = command.get_program().to_str().unwrap().to_owned();
    command = std::process::Command::new("/bin/sh");
    command
        .current_dir(bundle.dir.path())
        .args(["-c", "exec 7</ 8</etc 9</tmp; exec \"$0\" \"$@\" >out 2>err"]);
    let status = command.arg(program).args(words).arg(&bundle.id).stdin(std::process::Stdio::null()).status();
    assert!(status.unwrap().success());
    drop(held);
    let links: Vec<_> = fs::read_dir(format!("/proc/{}/fd", bundle.pid()))
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap())
        .collect();
    let own = |path: &PathBuf| {
        path == Path::new("/dev/null")
            || ["out", "err", "log"].iter().any(|name| *path == bundle.dir.path().join(name))
            || *path == bundle.state_dir().join("exec.fifo")
            // Removed when the last process has read it.
            || path.to_string_lossy().starts_with("/memfd:")
    };
    let foreign: Vec<_> = links.iter().filter(|path| !own(path)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    bundle.verb(&["start"]).ok();
    bundle.wait("the listing", || bundle.output().lines().count() >= 4);
    assert_eq!(bundle.output(), "0\n1\n2\n3\n", "three streams and the listing");
    let listed = bundle.exec(&["ls", "/proc/self/fd"]).ok();
    assert_eq!(listed, "0\n1\n2\n3\n");
}

/// CVE-2016-9962: a process of the container looks into one that is being put beside it.
#[test]
fn a_joining_process_is_not_looked_into() {
    let mut bundle = Bundle::script(
        "while :; do for f in /proc/[0-9]*/fd/* /proc/[0-9]*/cwd /proc/[0-9]*/root; do readlink $f; done >> /seen; sleep 0.001; done 2>/dev/null",
    );
    bundle.config["root"]["readonly"] = json!(false);
    let bundle = bundle.started();
    for _ in 0..ROUNDS {
        bundle.exec(&["true"]).ok();
    }
    let seen = fs::read_to_string(bundle.rootfs().join("seen")).unwrap_or_default();
    let host = bundle.dir.path().display().to_string();
    // Its own streams are files of the bundle, which it may know.
    let own = [format!("{host}/out"), format!("{host}/err")];
    let foreign = |l: &&str| l.contains("/sys/fs/cgroup") || l.starts_with(&host);
    let leaked: Vec<_> = seen.lines().filter(|l| foreign(l) && own.iter().all(|o| o != l)).take(9).collect();
    assert!(seen.contains(&own[0]), "it has looked");
    assert!(leaked.is_empty(), "{leaked:?}");
}

/// CVE-2019-5736: the container makes the runtime execute itself, and overwrites what it executes.
#[test]
fn the_runtime_s_program_is_not_overwritten() {
    let mut bundle = Bundle::script(
        "while :; do for p in /proc/[0-9]*; do echo gone > $p/exe; done; sleep 0.001; done 2>/dev/null",
    );
    fs::write(bundle.rootfs().join("bin/evil"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(
        bundle.rootfs().join("bin/evil"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    bundle.config["root"]["readonly"] = json!(false);
    let before = fs::read(env!("CARGO_BIN_EXE_runc-rs")).unwrap();
    let bundle = bundle.started();
    for _ in 0..ROUNDS {
        bundle.exec(&["/bin/evil"]);
        bundle.exec(&["true"]).ok();
    }
    assert!(before == fs::read(env!("CARGO_BIN_EXE_runc-rs")).unwrap());
}

/// The protection against it costs an exec: commands that start nothing do without.
#[test]
fn only_what_starts_a_container_protects_itself() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let without = |args: &[&str], id: bool| {
        let mut command = bundle.command(args);
        if id {
            command.arg(&bundle.id);
        }
        sys::deny::deny(&mut command, sys::deny::EXECVEAT).unwrap();
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (ok, said) = without(&["create"], true);
    assert!(!ok && said.contains("execute the protected executor"), "{said}");
    bundle.create().ok();
    for (args, id) in [
        (vec!["state"], true),
        (vec!["list"], false),
        (vec!["features"], false),
        (vec!["start"], true),
        (vec!["pause"], true),
        (vec!["resume"], true),
        (vec!["events", "--stats"], true),
        (vec!["kill"], true),
        (vec!["delete", "--force"], true),
    ] {
        let (ok, said) = without(&args, id);
        assert!(ok, "{args:?}: {said}");
    }
}

/// CVE-2022-29162: a capability that is added to a process is not one that it hands on.
#[test]
fn added_capabilities_are_not_inheritable() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    let said =
        bundle.verb_with(&["exec", "--cap", "CAP_NET_ADMIN"], &["grep", "Cap", "/proc/self/status"]).ok();
    assert!(said.contains("CapInh:\t0000000000000000"), "{said}");
    assert!(said.contains("CapAmb:\t0000000000000000"), "{said}");
    assert!(said.contains("CapEff:\t0000000020001420"), "{said}");
}

/// CVE-2026-30892: a user that cannot be read is not root; nor is the one whose number means "as it is" to setresuid(2).
#[test]
fn users_are_read_whole() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    for user in [
        "1000x",
        "x",
        "-1",
        "4294967296",
        "0x10",
        "1000:x",
        "1000:-5",
        ":5",
        " 5",
        "5:6:7",
        "4294967295",
        "0:4294967295",
    ] {
        let said = bundle.verb_with(&["exec", "--user", user], &["id", "-u"]);
        assert_eq!((said.code, said.out.as_str()), (255, ""), "{user}: {}", said.err);
    }
}

/// The same for the container's own process.
#[test]
fn no_number_of_a_user_leaves_root_as_it_is() {
    for name in ["uid", "gid"] {
        let mut bundle = Bundle::new(&["id"]);
        bundle.config["process"]["user"][name] = json!(u32::MAX);
        let said = bundle.run();
        assert_eq!((said.code, said.out.as_str()), (1, ""));
        assert!(said.err.contains("uids and gids must be in range 0-2147483647"), "{}", said.err);
    }
}

/// CVE-2023-25809: without a cgroup namespace a container sees its own cgroup, and nobody else's.
#[test]
fn only_the_own_cgroup_is_seen() {
    let neighbour = Bundle::new(&["sleep", "1000"]).started();
    for user_namespace in [false, true] {
        let mut bundle = Bundle::script("find /sys/fs/cgroup -name 'runc-rs-test-*'; echo done");
        bundle.without_namespace("cgroup");
        if user_namespace {
            mapped(&mut bundle);
        }
        let said = bundle.run();
        assert_eq!(said.out, "done\n", "{}", said.err);
    }
    drop(neighbour);
}

/// CVE-2025-31133: what hides a file is the null device, at the moment when it is used.
#[test]
fn a_mask_exchanged_for_a_link() {
    let mut bundle = Bundle::script("cat /secret; echo done");
    fs::write(bundle.rootfs().join("secret"), "seen").unwrap();
    fs::write(bundle.rootfs().join("leak"), "leaked").unwrap();
    let dev = bundle.dir.path().join("dev");
    fs::create_dir(&dev).unwrap();
    mknodat(CWD, dev.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3))
        .unwrap();
    symlink("/leak", dev.join("other")).unwrap();
    bundle.config["mounts"].as_array_mut().unwrap().retain(|m| m["type"] == "proc");
    bundle.mount(json!({"destination": "/dev", "source": dev, "options": ["bind"]}));
    bundle.config["linux"]["maskedPaths"] = json!(["/secret"]);
    bundle.config["linux"]["readonlyPaths"] = json!([]);
    let exchanger = Exchanger::new(dev.join("null"), dev.join("other"));
    for _ in 0..ROUNDS {
        let said = bundle.run();
        assert!(said.code != 0 || said.out == "done\n", "{}", said.out);
        assert!(!said.out.contains("leaked") && !said.out.contains("seen"), "{}", said.out);
    }
    exchanger.end();
}

/// CVE-2025-52565: a terminal that is something else.
#[test]
fn a_forged_terminal_is_refused() {
    for forge in ["link", "device"] {
        let mut bundle = Bundle::new(&["true"]);
        let pts = bundle.dir.path().join("pts");
        fs::create_dir(&pts).unwrap();
        if forge == "link" {
            symlink("/proc/sys/kernel/core_pattern", pts.join("ptmx")).unwrap();
        } else {
            let mode = Mode::from_raw_mode(0o666);
            mknodat(CWD, pts.join("ptmx"), FileType::CharacterDevice, mode, makedev(5, 2)).unwrap();
        }
        bundle.config["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev/pts");
        bundle.mount(json!({"destination": "/dev/pts", "source": pts, "options": ["bind"]}));
        bundle.config["process"]["terminal"] = json!(true);
        let socket = bundle.dir.path().join("console.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let said = bundle.verb(&["create", "--console-socket", socket.to_str().unwrap()]);
        assert_eq!(said.code, 1);
        assert!(said.err.contains("/dev/pts/ptmx"), "{forge}: {}", said.err);
    }
}

/// CVE-2026-41579: /dev of the image is a link, or becomes one.
#[test]
fn dev_exchanged_for_a_link() {
    let (mut bundle, outside) = with_outside("true");
    let rootfs = bundle.rootfs();
    fs::create_dir(rootfs.join("dev")).unwrap();
    symlink(&outside, rootfs.join("other")).unwrap();
    // Without a mount of its own, devices are made in the image.
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    let exchanger = Exchanger::new(rootfs.join("dev"), rootfs.join("other"));
    for _ in 0..ROUNDS {
        bundle.run();
        assert!(is_empty(&outside));
    }
    exchanger.end();
}

/// CVE-2021-43784: no length in the talk between the runtime and init is too long for it.
#[test]
fn long_values_do_not_become_others() {
    let mut bundle = Bundle::script("env | wc -c; readlink /proc/self/ns/net");
    let long = "x".repeat(100_000);
    bundle.config["process"]["env"] = json!(["PATH=/bin", format!("LONG={long}")]);
    let names: Vec<String> = (0..400).map(|i| format!("/not/there/{i}/{}", "y".repeat(200))).collect();
    bundle.config["linux"]["maskedPaths"] = json!(names);
    let said = bundle.run();
    assert_eq!(said.code, 0, "{}", said.err);
    let mut lines = said.out.lines();
    assert!(lines.next().unwrap().trim().parse::<usize>().unwrap() > 100_000);
    let own = fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    assert_ne!(lines.next().unwrap(), own);
}
