//! Version 2 on a directory of plain files.

use std::fs;

use super::*;

const CONTROLLERS: &str = "cpuset cpu io memory hugetlb pids rdma\n";

/// A container's directory under a temporary mount point, with these files.
fn fake(files: &[(&str, &str)]) -> (tempfile::TempDir, V2) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/c1");
    fs::create_dir_all(&dir).unwrap();
    fs::write(root.path().join("cgroup.controllers"), CONTROLLERS).unwrap();
    fs::write(dir.join("cgroup.controllers"), CONTROLLERS).unwrap();
    for (name, content) in files {
        fs::write(dir.join(name), content).unwrap();
    }
    let v2 = V2::from_dir(Some(root.path().to_owned()), dir, Leniency::default());
    (root, v2)
}

fn content(v2: &V2, name: &str) -> String {
    fs::read_to_string(v2.dir.join(name)).unwrap()
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

#[test]
fn limits_are_converted_and_land_in_their_files() {
    let (_root, v2) = fake(&[
        ("cpu.weight", ""),
        ("cpu.max", "max 100000\n"),
        ("cpu.idle", ""),
        ("cpuset.cpus", ""),
        ("memory.max", ""),
        ("memory.low", ""),
        ("memory.swap.max", ""),
        ("pids.max", ""),
        ("io.weight", ""),
        ("io.max", ""),
        ("hugetlb.2MB.max", ""),
        ("hugetlb.2MB.rsvd.max", ""),
        ("memory.high", ""),
    ]);
    v2.update(&resources(
        r#"{"cpu":{"shares":1024,"quota":5000,"idle":0,"cpus":"1"},
            "memory":{"limit":1000,"swap":3000,"reservation":500},"pids":{"limit":0},
            "blockIO":{"weight":1000,"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":7}]},
            "hugepageLimits":[{"pageSize":"2MB","limit":4194304}],"unified":{"memory.high":"900"}}"#,
    ))
    .unwrap();
    for (name, want) in [
        ("cpu.weight", "100"),
        ("cpu.max", "5000 100000"),
        ("cpu.idle", "0"),
        ("cpuset.cpus", "1"),
        ("memory.max", "1000"),
        ("memory.low", "500"),
        ("memory.swap.max", "2000"),
        ("pids.max", "1"),
        ("io.weight", "10000"),
        ("io.max", "8:0 wiops=7"),
        ("hugetlb.2MB.max", "4194304"),
        ("hugetlb.2MB.rsvd.max", "4194304"),
        ("memory.high", "900"),
    ] {
        assert_eq!(content(&v2, name), want, "{name}");
    }
}

#[test]
fn a_missing_controller_is_named() {
    let (_root, v2) = fake(&[]);
    v2.update(&LinuxResources::default()).unwrap();
    for (json, want) in [
        (
            r#"{"memory":{"limit":1}}"#,
            "cannot set memory limit: container could not join or create cgroup (memory.limit)",
        ),
        (
            r#"{"pids":{"limit":1}}"#,
            "cannot set pids limit: container could not join or create cgroup (pids.limit)",
        ),
        (
            r#"{"cpu":{"quota":1}}"#,
            "cannot set cpu limit: container could not join or create cgroup (cpu.quota)",
        ),
        (r#"{"unified":{"misc.max":"1"}}"#, "controller \"misc\" not available"),
        (r#"{"unified":{"../x":"1"}}"#, "must be a file name (no slashes)"),
        (r#"{"unified":{"x":"1"}}"#, "must be in the form CONTROLLER.PARAMETER"),
    ] {
        let text = v2.update(&resources(json)).unwrap_err().to_string();
        assert!(text.contains(want), "{text}");
    }
    // No swap accounting is as good as no swap.
    v2.update(&resources(r#"{"memory":{"limit":0,"swap":-1}}"#)).unwrap();
}

/// Field by field, where the kernel or the cgroup lacks the file: an error that names it where runc has one, too; named in a warning
/// where runc passes it over.
#[test]
fn limits_without_a_file_are_errors_or_warned_of() {
    let (_root, v2) = fake(&[]);
    for (json, controller, field) in [
        (r#"{"pids":{"limit":0}}"#, "pids", "pids.limit"),
        (r#"{"memory":{"limit":-1,"swap":-1}}"#, "memory", "memory.limit"),
        (r#"{"memory":{"reservation":1}}"#, "memory", "memory.reservation"),
        (r#"{"memory":{"limit":5,"swap":9}}"#, "memory", "memory.swap"),
        (r#"{"cpu":{"shares":5}}"#, "cpu", "cpu.shares"),
        (r#"{"cpu":{"quota":5}}"#, "cpu", "cpu.quota"),
        (r#"{"cpu":{"period":5}}"#, "cpu", "cpu.quota"),
        (r#"{"cpu":{"burst":5}}"#, "cpu", "cpu.burst"),
        (r#"{"cpu":{"idle":0}}"#, "cpu", "cpu.idle"),
        (r#"{"cpu":{"cpus":"0"}}"#, "cpuset", "cpu.cpus"),
        (r#"{"cpu":{"mems":"0"}}"#, "cpuset", "cpu.mems"),
        (r#"{"blockIO":{"weight":10}}"#, "io", "blockIO.weight"),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}]}}"#,
            "io",
            "blockIO.throttleReadBpsDevice",
        ),
        (
            r#"{"blockIO":{"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":7}]}}"#,
            "io",
            "blockIO.throttleWriteIOPSDevice",
        ),
        (r#"{"hugepageLimits":[{"pageSize":"2MB","limit":1}]}"#, "hugetlb", "hugepageLimits 2MB"),
        (r#"{"rdma":{"mlx5_0":{"hcaHandles":1}}}"#, "rdma", "rdma mlx5_0"),
    ] {
        let want =
            format!("cannot set {controller} limit: container could not join or create cgroup ({field})");
        assert_eq!(v2.update(&resources(json)).unwrap_err().to_string(), want);
    }
    for (json, name) in [
        (r#"{"memory":{"swappiness":10}}"#, "memory.swappiness"),
        (r#"{"memory":{"disableOOMKiller":true}}"#, "memory.disableOOMKiller"),
        (r#"{"memory":{"useHierarchy":false}}"#, "memory.useHierarchy"),
        (r#"{"cpu":{"realtimeRuntime":5}}"#, "cpu.realtimeRuntime"),
        (r#"{"cpu":{"realtimePeriod":5}}"#, "cpu.realtimePeriod"),
        (r#"{"blockIO":{"leafWeight":10}}"#, "blockIO.leafWeight"),
        (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":20}]}}"#, "blockIO.weightDevice"),
    ] {
        let asked = resources(json);
        v2.update(&asked).unwrap();
        assert_eq!(passed_over::names(&v2.dir, &asked), [name]);
    }
}

#[test]
fn a_limit_below_what_is_used_is_refused_when_asked_to_check() {
    let (_root, v2) = fake(&[("memory.current", "5000\n"), ("memory.max", "old")]);
    let text = v2.update(&resources(r#"{"memory":{"limit":4000,"checkBeforeUpdate":true}}"#)).unwrap_err();
    assert!(text.to_string().contains("rejecting memory limit 4000 <= usage 5000"));
    assert_eq!(content(&v2, "memory.max"), "old");
}

#[test]
fn controllers_are_enabled_down_to_the_parent() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("cgroup.controllers"), "cpu pids\n").unwrap();
    fs::write(root.path().join("cgroup.subtree_control"), "").unwrap();
    let v2 = V2::from_dir(Some(root.path().to_owned()), root.path().join("x"), Leniency::default());
    v2.create().unwrap();
    assert!(v2.exists());
    assert_eq!(fs::read_to_string(root.path().join("cgroup.subtree_control")).unwrap(), "+cpu +pids");
    let strange = V2::from_dir(Some(root.path().to_owned()), "/elsewhere/x".into(), Leniency::default());
    assert!(strange.create().unwrap_err().to_string().contains("invalid cgroup path"));
}

#[test]
fn freezing_waits_for_the_event_that_is_already_there() {
    let (_root, v2) = fake(&[("cgroup.freeze", "0\n"), ("cgroup.events", "populated 1\nfrozen 1\n")]);
    assert!(!v2.frozen().unwrap());
    v2.freeze(true).unwrap();
    assert!(v2.frozen().unwrap());
    v2.freeze(false).unwrap();
    assert!(!v2.frozen().unwrap());
}

#[test]
fn sigkill_is_left_to_the_kernel() {
    let (_root, v2) = fake(&[("cgroup.kill", ""), ("cgroup.procs", "999999999\n")]);
    v2.kill_all(SIGKILL).unwrap();
    assert_eq!(content(&v2, "cgroup.kill"), "1");
}

#[test]
fn counters_are_read() {
    let (_root, v2) = fake(&[
        ("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nthrottled_usec 4\n"),
        ("cpu.pressure", "some avg10=0.50 avg60=0.00 avg300=0.00 total=9\n"),
        ("memory.stat", "anon 1\nfile 2\n"),
        ("memory.current", "100\n"),
        ("memory.max", "max\n"),
        ("memory.swap.current", "10\n"),
        ("memory.swap.max", "20\n"),
        ("cgroup.procs", "1\n2\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
    ]);
    let stats = v2.stats().unwrap();
    assert_eq!((stats.cpu.usage.total, stats.cpu.throttling.throttled_time), (5000, 4000));
    assert_eq!(stats.cpu.psi.unwrap().some.total, 9);
    assert_eq!((stats.memory.cache, stats.memory.usage.limit), (2, u64::MAX));
    assert_eq!((stats.memory.swap.usage, stats.memory.swap.limit), (110, u64::MAX));
    assert_eq!((stats.pids.current, stats.pids.limit), (2, 0));
    assert_eq!(stats.blkio.io_serviced_recursive[1].value, 4);
    assert!(stats.memory.psi.is_none());
}

#[test]
fn an_empty_value_is_written() {
    let (_root, v2) = fake(&[("cpuset.cpus", "0")]);
    v2.update(&resources(r#"{"unified":{"cpuset.cpus":""}}"#)).unwrap();
    assert_eq!(content(&v2, "cpuset.cpus"), "\n");
}

/// A cgroup of the unified hierarchy that a version 1 host has besides, and a shell in it that runs what it is told.
struct Real {
    v2: V2,
    shell: std::process::Child,
}

impl Real {
    fn new(name: &str) -> Option<Self> {
        use std::process::{Command, Stdio};
        let hierarchies = Hierarchies::read().unwrap();
        let (true, Some(mount)) = (nix::unistd::geteuid().is_root(), hierarchies.unified()) else {
            eprintln!("not root, or no unified hierarchy: skipped");
            return None;
        };
        // The test's own directory stands for the mount point: nothing above it is touched.
        let top = mount.mountpoint.join(format!("runc-rs-test-{name}-{}", std::process::id()));
        tree::make(&top).unwrap();
        let v2 = V2::from_dir(Some(top.clone()), top.join("c1"), Leniency::default());
        v2.create().unwrap();
        let shell = Command::new("/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        v2.join(shell.id() as i32).unwrap();
        Some(Self { v2, shell })
    }

    /// What the shell prints, one line, when it runs `line`.
    fn ask(&mut self, line: &str) -> String {
        use std::io::{BufRead, BufReader, Write};
        writeln!(self.shell.stdin.as_ref().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(self.shell.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.v2.kill_all(SIGKILL);
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        self.v2.destroy().unwrap();
        tree::remove(self.v2.mountpoint.as_ref().unwrap()).unwrap();
    }
}

#[test]
fn a_real_cgroup_freezes_counts_and_is_killed() {
    use std::os::unix::process::ExitStatusExt;
    let Some(mut real) = Real::new("v2") else { return };
    assert_eq!(real.v2.pids().unwrap(), [real.shell.id() as i32]);
    assert!(real.v2.dir_fd().unwrap().is_some());
    assert_eq!(real.ask("echo here"), "here");
    real.v2.freeze(true).unwrap();
    assert!(real.v2.frozen().unwrap());
    real.v2.freeze(false).unwrap();
    assert_eq!(real.ask("echo again"), "again");
    assert_eq!(real.v2.stats().unwrap().pids.current, 1);
    real.v2.freeze(true).unwrap();
    real.v2.kill_all(SIGKILL).unwrap();
    assert_eq!(real.shell.wait().unwrap().signal(), Some(SIGKILL));
}

#[test]
fn the_kernel_runs_the_device_program() {
    let Some(mut real) = Real::new("bpf") else { return };
    let open = |path: &str| format!("(exec 3<{path}) 2>/dev/null && echo yes || echo no");
    assert_eq!(real.ask(&open("/dev/loop-control")), "yes");
    real.v2.set(&resources(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#)).unwrap();
    assert_eq!(
        (real.ask(&open("/dev/loop-control")), real.ask(&open("/dev/zero"))),
        ("no".into(), "yes".into())
    );
    // The new program takes the place of the old one: two would both have to agree.
    let rules = r#"{"devices":[{"allow":true,"type":"c","major":10,"minor":237,"access":"r"}]}"#;
    real.v2.set(&resources(rules)).unwrap();
    assert_eq!(real.ask(&open("/dev/loop-control")), "yes");
    let dir = fs::File::open(&real.v2.dir).unwrap();
    assert_eq!(sys::bpf::device_filters(std::os::fd::AsFd::as_fd(&dir)).unwrap().len(), 1);
}
