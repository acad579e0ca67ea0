//! Version 1 on directories of plain files, and its device rules on the real thing.

use std::fs;

use super::*;

/// A container's directories under a temporary one, with these files.
fn fake(files: &[(&str, &str, &str)]) -> (tempfile::TempDir, V1) {
    let root = tempfile::tempdir().unwrap();
    let mut paths = BTreeMap::new();
    for (controller, name, content) in files {
        let dir = root.path().join(controller).join("c1");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), content).unwrap();
        paths.insert((*controller).to_owned(), dir);
    }
    (root, V1::from_paths(paths, Leniency::default()))
}

fn content(v1: &V1, controller: &str, name: &str) -> String {
    fs::read_to_string(v1.dir(controller).unwrap().join(name)).unwrap()
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

#[test]
fn limits_land_in_their_files() {
    let (_root, v1) = fake(&[
        ("cpu", "cpu.cfs_period_us", ""),
        ("cpu", "cpu.cfs_quota_us", ""),
        ("cpuset", "cpuset.cpus", ""),
        ("cpuset", "cpuset.mems", ""),
        ("memory", "memory.limit_in_bytes", "9223372036854771712"),
        ("memory", "memory.memsw.limit_in_bytes", "9223372036854771712"),
        ("memory", "memory.soft_limit_in_bytes", ""),
        ("memory", "memory.swappiness", ""),
        ("pids", "pids.max", ""),
        ("blkio", "blkio.bfq.weight", ""),
        ("blkio", "blkio.throttle.read_bps_device", ""),
        ("net_cls", "net_cls.classid", ""),
        ("hugetlb", "hugetlb.2MB.limit_in_bytes", ""),
        ("rdma", "rdma.max", ""),
    ]);
    v1.update(&resources(
        r#"{"cpu":{"quota":5000,"period":10000,"cpus":"0-1","mems":"0"},
            "memory":{"limit":1000,"swap":2000,"reservation":500,"swappiness":10},
            "pids":{"limit":9},"blockIO":{"weight":100,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}]},
            "network":{"classID":1048577},"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],
            "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000}}}"#,
    ))
    .unwrap();
    for (controller, name, want) in [
        ("cpu", "cpu.cfs_period_us", "10000"),
        ("cpu", "cpu.cfs_quota_us", "5000"),
        ("cpuset", "cpuset.cpus", "0-1"),
        ("memory", "memory.limit_in_bytes", "1000"),
        ("memory", "memory.memsw.limit_in_bytes", "2000"),
        ("memory", "memory.soft_limit_in_bytes", "500"),
        ("memory", "memory.swappiness", "10"),
        ("pids", "pids.max", "9"),
        ("blkio", "blkio.bfq.weight", "100"),
        ("blkio", "blkio.throttle.read_bps_device", "8:0 7"),
        ("net_cls", "net_cls.classid", "1048577"),
        ("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"),
        ("rdma", "rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
    ] {
        assert_eq!(content(&v1, controller, name), want, "{name}");
    }
}

#[test]
fn no_limit_of_memory_lifts_the_one_of_swap_too() {
    let (_root, v1) = fake(&[
        ("memory", "memory.limit_in_bytes", "1000"),
        ("memory", "memory.memsw.limit_in_bytes", "2000"),
    ]);
    v1.update(&resources(r#"{"memory":{"limit":-1}}"#)).unwrap();
    assert_eq!(content(&v1, "memory", "memory.memsw.limit_in_bytes"), "-1");
    assert_eq!(content(&v1, "memory", "memory.limit_in_bytes"), "-1");
}

#[test]
fn a_missing_controller_matters_only_when_it_is_needed() {
    let (_root, v1) = fake(&[("devices", "devices.list", "")]);
    v1.update(&LinuxResources::default()).unwrap();
    for (json, controller, field) in [
        (r#"{"memory":{"limit":1}}"#, "memory", "memory.limit"),
        (r#"{"pids":{"limit":1}}"#, "pids", "pids.limit"),
        (r#"{"cpu":{"shares":5}}"#, "cpu", "cpu.shares"),
        (r#"{"cpu":{"cpus":"0"}}"#, "cpuset", "cpu.cpus"),
        (r#"{"blockIO":{"weight":10}}"#, "blkio", "blockIO.weight"),
        (r#"{"hugepageLimits":[{"pageSize":"2MB","limit":1}]}"#, "hugetlb", "hugepageLimits"),
        (r#"{"network":{"classID":1}}"#, "net_cls", "network.classID"),
    ] {
        let text = v1.update(&resources(json)).unwrap_err().to_string();
        let want =
            format!("cannot set {controller} limit: container could not join or create cgroup ({field})");
        assert_eq!(text, want);
    }
}

/// Field by field, where the controller is there and the kernel lacks the file: an error that names the file, as with runc.
#[test]
fn limits_without_a_file_are_errors_or_warned_of() {
    let there = |controller| (controller, "cgroup.procs", "");
    let all =
        ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"].map(there);
    let (_root, v1) = fake(&all);
    for (json, file) in [
        (r#"{"memory":{"limit":1}}"#, "memory.limit_in_bytes"),
        (r#"{"memory":{"swap":1}}"#, "memory.memsw.limit_in_bytes"),
        (r#"{"memory":{"reservation":1}}"#, "memory.soft_limit_in_bytes"),
        (r#"{"memory":{"swappiness":1}}"#, "memory.swappiness"),
        (r#"{"memory":{"disableOOMKiller":true}}"#, "memory.oom_control"),
        (r#"{"cpu":{"shares":5}}"#, "cpu.shares"),
        (r#"{"cpu":{"quota":5}}"#, "cpu.cfs_quota_us"),
        (r#"{"cpu":{"period":5}}"#, "cpu.cfs_period_us"),
        (r#"{"cpu":{"idle":1}}"#, "cpu.idle"),
        (r#"{"cpu":{"realtimeRuntime":5}}"#, "cpu.rt_runtime_us"),
        (r#"{"cpu":{"realtimePeriod":5}}"#, "cpu.rt_period_us"),
        (r#"{"cpu":{"cpus":"0"}}"#, "cpuset.cpus"),
        (r#"{"cpu":{"mems":"0"}}"#, "cpuset.mems"),
        (r#"{"pids":{"limit":1}}"#, "pids.max"),
        (r#"{"blockIO":{"weight":10}}"#, "blkio.bfq.weight"),
        (r#"{"blockIO":{"leafWeight":10}}"#, "blkio.leaf_weight"),
        (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":20}]}}"#, "blkio.bfq.weight_device"),
        (
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":20}]}}"#,
            "blkio.leaf_weight_device",
        ),
        (
            r#"{"blockIO":{"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":7}]}}"#,
            "blkio.throttle.write_bps_device",
        ),
        (r#"{"hugepageLimits":[{"pageSize":"2MB","limit":1}]}"#, "hugetlb.2MB.limit_in_bytes"),
        (r#"{"network":{"classID":1}}"#, "net_cls.classid"),
        (r#"{"network":{"priorities":[{"name":"lo","priority":1}]}}"#, "net_prio.ifpriomap"),
        (r#"{"rdma":{"mlx5_0":{"hcaHandles":1}}}"#, "cannot set rdma limit"),
    ] {
        let text = v1.update(&resources(json)).unwrap_err().to_string();
        assert!(text.contains(file), "{json}: {text}");
    }
    let asked = resources(r#"{"cpu":{"burst":5},"memory":{"useHierarchy":false}}"#);
    v1.update(&asked).unwrap();
    let (cpu, memory) = (v1.dir("cpu").unwrap(), v1.dir("memory").unwrap());
    fs::write(memory.join("memory.use_hierarchy"), "1\n").unwrap();
    let named = || passed_over(&asked, Some(&cpu), Some(&memory));
    assert_eq!(named(), ["cpu.burst", "memory.useHierarchy"]);
    fs::write(memory.join("memory.use_hierarchy"), "0\n").unwrap();
    fs::write(cpu.join("cpu.cfs_burst_us"), "0\n").unwrap();
    assert_eq!(named(), Vec::<&str>::new());
}

#[test]
fn unified_and_silly_values_are_refused() {
    let (_root, v1) = fake(&[("memory", "memory.swappiness", ""), ("hugetlb", "x", "")]);
    for (json, want) in [
        (r#"{"unified":{"memory.max":"1"}}"#, "cannot use unified on cgroup v1"),
        (r#"{"memory":{"swappiness":101}}"#, "valid range is 0-100"),
        (r#"{"hugepageLimits":[{"pageSize":"../x","limit":1}]}"#, "is not a page size"),
    ] {
        let text = v1.update(&resources(json)).unwrap_err().to_string();
        assert!(text.contains(want), "{text}");
    }
}

#[test]
fn shares_are_read_back() {
    let (_root, v1) = fake(&[("cpu", "cpu.shares", "")]);
    v1.update(&resources(r#"{"cpu":{"shares":512}}"#)).unwrap();
    assert_eq!(content(&v1, "cpu", "cpu.shares"), "512");
}

#[test]
fn a_new_cpuset_has_what_its_parents_have() {
    let root = tempfile::tempdir().unwrap();
    let top = root.path().join("cpuset");
    for dir in [top.clone(), top.join("a"), top.join("a/b")] {
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cpuset.cpus"), if dir == top { "0-3\n" } else { "\n" }).unwrap();
        fs::write(dir.join("cpuset.mems"), if dir == top { "0\n" } else { "" }).unwrap();
    }
    cpuset::create(&top.join("a/b")).unwrap();
    assert_eq!(fs::read_to_string(top.join("a/cpuset.cpus")).unwrap(), "0-3");
    assert_eq!(fs::read_to_string(top.join("a/b/cpuset.cpus")).unwrap(), "0-3");
    assert_eq!(fs::read_to_string(top.join("a/b/cpuset.mems")).unwrap(), "0");
}

#[test]
fn counters_are_read() {
    let (_root, v1) = fake(&[
        ("cpu", "cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 77\n"),
        ("memory", "memory.stat", "cache 4096\nrss 8192\n"),
        ("memory", "memory.usage_in_bytes", "100\n"),
        ("memory", "memory.max_usage_in_bytes", "200\n"),
        ("memory", "memory.failcnt", "3\n"),
        ("memory", "memory.limit_in_bytes", "400\n"),
        ("pids", "pids.current", "4\n"),
        ("pids", "pids.max", "max\n"),
        ("blkio", "blkio.throttle.io_serviced", "8:0 Read 3\n8:0 Total 3\nTotal 3\n"),
        ("blkio", "blkio.throttle.io_service_bytes", "8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n"),
    ]);
    let stats = v1.stats().unwrap();
    assert_eq!(stats.cpu.throttling.throttled_time, 77);
    assert_eq!((stats.memory.cache, stats.memory.raw["rss"]), (4096, 8192));
    assert_eq!(
        (stats.memory.usage.usage, stats.memory.usage.limit, stats.memory.usage.failcnt),
        (100, 400, 3)
    );
    assert_eq!((stats.pids.current, stats.pids.limit), (4, 0));
    assert_eq!(stats.blkio.io_service_bytes_recursive[0].value, 4096);
    assert_eq!(stats.blkio.io_serviced_recursive.len(), 2);
}

#[test]
fn real_device_rules() {
    let hierarchies = Hierarchies::read().unwrap();
    if !nix::unistd::geteuid().is_root() || hierarchies.v1("devices").is_none() {
        eprintln!("no devices controller to try: skipped");
        return;
    }
    let name = format!("runc-rs-test-devices-{}", std::process::id());
    let v1 = V1::new(&hierarchies, Path::new(&name), Leniency::default()).unwrap();
    v1.create().unwrap();
    let set = v1.set(&resources(
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":7,"access":"r"}]}"#,
    ));
    let list = content(&v1, "devices", "devices.list");
    let loosened = v1.set(&resources(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#));
    let all = content(&v1, "devices", "devices.list");
    v1.destroy().unwrap();
    set.unwrap();
    loosened.unwrap();
    assert!(
        list.contains("b 7:* r\n") && list.contains("c 1:3 rwm\n") && !list.contains("a *:* rwm"),
        "{list}"
    );
    assert_eq!(all, "a *:* rwm\n");
    assert!(!v1.exists());
}
