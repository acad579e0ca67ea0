//! Choosing and loading a driver, and, as root, the real thing on whatever the host runs.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::*;

/// A cgroup of a test's own, and a process in it; both gone at the end.
struct Real {
    manager: Box<dyn Manager>,
    child: Child,
}

impl Real {
    /// `None` without root, or where the host's hierarchies may not be changed.
    fn new(name: &str) -> Option<Self> {
        Self::running(name, "sleep 60 & exec sleep 60")
    }

    /// The process runs `script` once it is in the cgroup.
    fn running(name: &str, script: &str) -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("not root: skipped");
            return None;
        }
        let id = format!("runc-rs-test-{name}-{}", std::process::id());
        let manager = manager(None, &id, None).unwrap();
        check_unused(&*manager).unwrap();
        manager.create().unwrap();
        // It waits for a line, so that its own child is born in the cgroup.
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("read line; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        manager.join(child.id() as i32).unwrap();
        child.stdin.as_ref().unwrap().write_all(b"go\n").unwrap();
        Some(Self { manager, child })
    }

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.manager.kill_all(SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Err(e) = self.manager.destroy() {
            eprintln!("{e}");
        }
        assert!(!self.manager.exists());
    }
}

#[test]
fn the_systemd_driver_needs_systemd() {
    if Path::new("/run/systemd/system").exists() {
        eprintln!("this host has systemd: skipped");
        return;
    }
    let error = manager(None, "x", Some(&HashMap::new())).err().unwrap();
    assert_eq!(error.to_string(), "systemd not running on this host, cannot use systemd cgroups manager");
}

#[test]
fn the_root_of_the_hierarchy_is_refused() {
    let error = manager(Some(Path::new("/a/..")), "x", None).err().unwrap().to_string();
    assert!(error.contains("linux.cgroupsPath"), "{error}");
}

#[test]
fn limits_counts_and_processes() {
    let Some(real) = Real::new("limits") else { return };
    let m = &real.manager;
    let limits = r#"{"memory":{"limit":67108864},"pids":{"limit":20},"cpu":{"shares":512,"quota":50000,"period":100000}}"#;
    m.set(&Real::resources(limits)).unwrap();
    let stats = m.stats().unwrap();
    assert_eq!(stats.memory.usage.limit, 64 << 20);
    assert_eq!(stats.pids.limit, 20);
    assert!(m.pids().unwrap().contains(&(real.child.id() as i32)));
    assert!(check_unused(&**m).unwrap_err().to_string().contains("is not empty"));
    m.update(&Real::resources(r#"{"memory":{"limit":33554432},"pids":{"limit":-1}}"#)).unwrap();
    let stats = m.stats().unwrap();
    assert_eq!((stats.memory.usage.limit, stats.pids.limit), (32 << 20, 0));
}

#[test]
fn loaded_paths_are_the_same_cgroup() {
    let Some(real) = Real::new("load") else { return };
    let loaded = load(&real.manager.paths(), &Unit::default()).unwrap();
    assert!(loaded.exists());
    assert!(loaded.pids().unwrap().contains(&(real.child.id() as i32)));
    assert_eq!(loaded.paths(), real.manager.paths());
}

#[test]
fn freezing_holds_and_killing_frees() {
    let Some(mut real) = Real::new("freeze") else { return };
    real.manager.freeze(true).unwrap();
    assert!(real.manager.frozen().unwrap());
    real.manager.freeze(false).unwrap();
    assert!(!real.manager.frozen().unwrap());
    real.manager.freeze(true).unwrap();
    real.manager.kill_all(SIGKILL).unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(real.child.wait().unwrap().signal(), Some(SIGKILL));
    real.manager.destroy().unwrap();
    assert!(!real.manager.exists());
    assert!(matches!(real.manager.kill_all(SIGKILL), Err(Error::NotExist(_))));
    real.manager.destroy().unwrap();
}

#[test]
fn removal_waits_for_a_process_that_ends() {
    let Some(mut real) = Real::new("remove") else { return };
    real.manager.kill_all(SIGKILL).unwrap();
    // Not waited for: the processes may still be on their way out.
    real.manager.destroy().unwrap();
    assert!(!real.manager.exists());
    real.child.wait().unwrap();
}

#[test]
fn sub_cgroups_are_listed_and_removed() {
    let Some(real) = Real::new("below") else { return };
    // Controllers mounted together share a directory.
    let dirs: std::collections::BTreeSet<PathBuf> = real.manager.paths().into_values().collect();
    for dir in dirs {
        std::fs::create_dir(dir.join("below")).unwrap();
    }
    let (_, dir) = real.manager.paths().into_iter().find(|(c, _)| c.is_empty() || c == "devices").unwrap();
    std::fs::write(dir.join("below/cgroup.procs"), real.child.id().to_string()).unwrap();
    assert!(real.manager.pids().unwrap().contains(&(real.child.id() as i32)));
}

/// The next notice that says something, or a failure after ten seconds.
fn next_notice(watch: &mut dyn OomWatch) -> OomNotice {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
    loop {
        let ready = poll(&mut [PollFd::new(&watch.as_fd(), PollFlags::IN)], Some(&timeout)).unwrap();
        assert_eq!(ready, 1, "no notice");
        match watch.read().unwrap() {
            OomNotice::Nothing => {}
            notice => return notice,
        }
    }
}

#[test]
fn running_out_of_memory_is_noticed_and_so_is_the_end() {
    // The memory is only eaten after the second line, when there is a limit and somebody watches.
    let Some(mut real) = Real::running("oom", "read line; tail /dev/zero; read line") else { return };
    let m = &real.manager;
    m.set(&Real::resources(r#"{"memory":{"limit":8388608}}"#)).unwrap();
    let mut watch = m.oom_watch().unwrap();
    real.child.stdin.as_ref().unwrap().write_all(b"eat\n").unwrap();
    assert_eq!(next_notice(&mut *watch), OomNotice::Oom);
    m.kill_all(SIGKILL).unwrap();
    real.child.wait().unwrap();
    m.destroy().unwrap();
    assert_eq!(next_notice(&mut *watch), OomNotice::Gone);
}

#[test]
fn root_of_a_namespace_is_not_root() {
    assert!(maps_everything("         0          0 4294967295\n"));
    assert!(!maps_everything("         0       1000          1\n         1     100000      65536\n"));
    assert!(!maps_everything(""));
}

#[test]
fn a_refused_update_changes_nothing() {
    let Some(real) = Real::new("update") else { return };
    let m = &*real.manager;
    m.set(&Real::resources(r#"{"memory":{"limit":67108864},"pids":{"limit":20}}"#)).unwrap();
    let before = m.stats().unwrap();
    // The last of these is out of every range; the others come before it, on either version.
    let refused = r#"{"memory":{"limit":33554432},"pids":{"limit":10},"cpu":{"quota":1,"period":100000}}"#;
    update(m, &Real::resources(refused)).unwrap_err();
    let after = m.stats().unwrap();
    assert_eq!((after.memory.usage.limit, after.pids.limit), (before.memory.usage.limit, before.pids.limit));
    update(m, &Real::resources(r#"{"pids":{"limit":10}}"#)).unwrap();
    assert_eq!(m.stats().unwrap().pids.limit, 10);
}
