//! The cgroupfs driver where version 2 is all there is.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vm::{Bundle, until};

const SLEEP: &str = "exec sleep 1000";

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn every_limit_reaches_its_file() -> Result<()> {
    let mut bundle = Bundle::new(&[], SLEEP)?;
    bundle.limit("memory", json!({"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20}));
    bundle.limit(
        "cpu",
        json!({"shares": 2048, "quota": 25000, "period": 50000, "burst": 1000, "cpus": "0", "mems": "0"}),
    );
    bundle.limit("pids", json!({"limit": 33}));
    bundle.limit("hugepageLimits", json!([{"pageSize": "2MB", "limit": 4 << 20}]));
    bundle.limit(
        "blockIO",
        json!({"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1_000_000}],
                                  "throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 500}]}),
    );
    bundle.limit("unified", json!({"memory.high": "50331648", "cpu.weight": "250"}));
    bundle.start()?;
    for (file, content) in [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.swap.max", "33554432"),
        ("memory.high", "50331648"),
        ("cpu.max", "25000 50000"),
        ("cpu.max.burst", "1000"),
        ("cpu.weight", "250"),
        ("cpuset.cpus", "0"),
        ("cpuset.cpus.effective", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "33"),
        ("hugetlb.2MB.max", "4194304"),
        ("io.max", "254:0 rbps=1000000 wbps=max riops=max wiops=500"),
    ] {
        let found = bundle.file(file)?;
        ensure!(found == content, "{file} is {found:?}, not {content:?}");
    }
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_limit_is_changed_while_the_container_runs() -> Result<()> {
    let mut bundle = Bundle::new(&[], SLEEP)?;
    bundle.limit("memory", json!({"limit": 64 << 20}));
    bundle.start()?;
    bundle.ok(&[
        "update",
        "--memory",
        "32M",
        "--memory-swap",
        "48M",
        "--pids-limit",
        "9",
        "--cpu-quota",
        "5000",
        "ID",
    ])?;
    bundle.ok(&["update", "--cpu-period", "20000", "--cpuset-cpus", "1", "--cpu-idle", "1", "ID"])?;
    for (file, content) in [
        ("memory.max", "33554432"),
        ("memory.swap.max", "16777216"),
        ("pids.max", "9"),
        ("cpu.max", "5000 20000"),
        ("cpuset.cpus", "1"),
        ("cpu.idle", "1"),
    ] {
        let found = bundle.file(file)?;
        ensure!(found == content, "{file} is {found:?}, not {content:?}");
    }
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn figures_are_those_of_version_2() -> Result<()> {
    let mut bundle = Bundle::new(&[], "head -c 3000000 /dev/zero >/file; exec sleep 1000")?;
    bundle.limit("memory", json!({"limit": 64 << 20}));
    bundle.start()?;
    let stats = |pointer: &str| -> Result<Value> {
        let event: Value = serde_json::from_str(&bundle.ok(&["events", "--stats", "ID"])?)?;
        event.pointer(pointer).cloned().with_context(|| format!("no {pointer} in {event}"))
    };
    until("the file is in the page cache", || Ok(stats("/data/memory/cache")?.as_u64() >= Some(2_900_000)))?;
    ensure!(stats("/data/memory/usage/limit")? == json!(64 << 20));
    ensure!(stats("/data/pids/current")? == json!(1));
    ensure!(stats("/data/cpu/usage/total")?.as_u64() > Some(0));
    ensure!(stats("/data/memory/raw/anon")?.is_u64());
    ensure!(stats("/data/hugetlb/2MB")?.is_object());
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_frozen_container_stands_still_and_is_killed_all_the_same() -> Result<()> {
    let bundle = Bundle::new(&[], "i=0; while :; do echo $((i+=1)); sleep 0.05; done")?;
    bundle.start()?;
    until("it counts", || Ok(bundle.output()?.lines().count() > 3))?;
    bundle.ok(&["pause", "ID"])?;
    ensure!(bundle.file("cgroup.freeze")? == "1" && bundle.file("cgroup.events")?.contains("frozen 1"));
    let before = bundle.output()?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    ensure!(bundle.output()? == before, "a frozen container went on");
    bundle.ok(&["resume", "ID"])?;
    until("it goes on", || Ok(bundle.output()?.len() > before.len()))?;
    bundle.ok(&["pause", "ID"])?;
    bundle.ok(&["delete", "--force", "ID"])?;
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn every_process_ends_with_its_cgroup() -> Result<()> {
    let mut bundle = Bundle::new(&[], "sleep 1000 & sleep 1000 & exec sleep 1000")?;
    // The host's process ids: the others do not end with the first.
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().context("no namespaces")?;
    namespaces.retain(|namespace| namespace["type"] != "pid");
    bundle.start()?;
    until("all have come", || Ok(bundle.file("cgroup.procs")?.lines().count() == 3))?;
    bundle.ok(&["kill", "ID", "KILL"])?;
    until("all are gone", || Ok(bundle.file("cgroup.procs")?.is_empty()))
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_container_divides_its_own_cgroup_and_exec_enters_a_part() -> Result<()> {
    let script = "mkdir /sys/fs/cgroup/part /sys/fs/cgroup/rest && echo 1 >/sys/fs/cgroup/rest/cgroup.procs && \
        echo '+memory +pids' >/sys/fs/cgroup/cgroup.subtree_control && echo 7 >/sys/fs/cgroup/part/pids.max; exec sleep 1000";
    let mut bundle = Bundle::new(&[], script)?;
    bundle.mount_cgroup_writable()?;
    bundle.start()?;
    until("it has divided itself", || Ok(bundle.file("part/pids.max").is_ok_and(|limit| limit == "7")))
        .with_context(|| format!("{:?}", bundle.output()))?;
    let within = bundle.ok(&["exec", "--cgroup", "part", "ID", "cat", "/proc/self/cgroup"])?;
    ensure!(within == "0::/part\n", "{within}");
    // Without being told, exec goes where init is, since the top has parts now.
    let within = bundle.ok(&["exec", "ID", "cat", "/proc/self/cgroup"])?;
    ensure!(within == "0::/rest\n", "{within}");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn devices_are_filtered_by_a_program() -> Result<()> {
    let mut bundle = Bundle::new(&[], SLEEP)?;
    bundle.config["linux"]["devices"] = json!([{"path": "/dev/disk", "type": "b", "major": 254, "minor": 0, "fileMode": 0o666},
               {"path": "/dev/loud", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]);
    bundle.limit(
        "devices",
        json!([{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}]),
    );
    bundle.start()?;
    let refused = bundle.verb(&["exec", "ID", "head", "-c", "1", "/dev/disk"])?;
    ensure!(refused.code == 1 && refused.err.contains("Operation not permitted"), "{refused:?}");
    let refused = bundle.verb(&["exec", "ID", "head", "-c", "1", "/dev/loud"])?;
    ensure!(refused.code == 1 && refused.err.contains("Operation not permitted"), "{refused:?}");
    bundle.ok(&["exec", "ID", "sh", "-c", "echo >/dev/loud; head -c 1 /dev/zero >/dev/null"])?;
    // An update of limits leaves the filter as it is.
    bundle.ok(&["update", "--memory", "64M", "ID"])?;
    ensure!(bundle.verb(&["exec", "ID", "head", "-c", "1", "/dev/disk"])?.code == 1);
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn what_the_kernel_lacks_is_named() -> Result<()> {
    let mut bundle = Bundle::new(&[], "true")?;
    bundle.limit("unified", json!({"nosuch.limit": "1"}));
    let said = bundle.run()?;
    ensure!(said.code == 1 && said.err.contains("nosuch"), "{said:?}");
    bundle.config["linux"]["resources"]["unified"] = Value::Null;
    bundle.config["linux"]["resources"].as_object_mut().context("no resources")?.remove("unified");
    bundle.limit("hugepageLimits", json!([{"pageSize": "3MB", "limit": 1}]));
    let said = bundle.run()?;
    ensure!(said.code == 1 && said.err.contains("3MB"), "{said:?}");
    let left = fs::read_dir("/sys/fs/cgroup")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    ensure!(left.filter(|name| *name == bundle.id).count() == 0, "a cgroup is left");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn what_only_version_1_has_is_warned_of() -> Result<()> {
    let mut bundle = Bundle::new(&[], "cat /sys/fs/cgroup/pids.max")?;
    bundle.limit("memory", json!({"swappiness": 10, "disableOOMKiller": true, "useHierarchy": false}));
    bundle.limit("cpu", json!({"realtimeRuntime": 1000, "realtimePeriod": 100_000}));
    bundle.limit("blockIO", json!({"leafWeight": 10}));
    // No limit at all, where nought would be one.
    bundle.limit("pids", json!({}));
    let said = bundle.run()?;
    ensure!(said.code == 0 && said.out.trim() == "max", "{said:?}");
    for name in [
        "memory.swappiness",
        "memory.disableOOMKiller",
        "memory.useHierarchy",
        "cpu.realtimeRuntime",
        "cpu.realtimePeriod",
        "blockIO.leafWeight",
    ] {
        ensure!(said.err.contains(&format!("linux.resources.{name} is ignored")), "{name}: {said:?}");
    }
    bundle.limit("network", json!({"classID": 7}));
    let said = bundle.run()?;
    ensure!(said.code == 1 && said.err.contains("network.classID"), "{said:?}");
    Ok(())
}
