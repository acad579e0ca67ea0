//! The systemd driver, with a real systemd: on version 2, and on version 1.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::sh;
use serde_json::json;
use vm::{Bundle, is_unified, until};

const SLEEP: &str = "exec sleep 1000";
const DRIVER: &[&str] = &["--systemd-cgroup"];

/// A property of a unit, in systemctl's words.
fn property(unit: &str, name: &str) -> Result<String> {
    let text = sh::read(Command::new("systemctl").args(["show", "--value", "--property", name, unit]))?;
    Ok(text.trim_end().to_owned())
}

/// Checks that properties are what they should be.
fn has(unit: &str, wanted: &[(&str, &str)]) -> Result<()> {
    for (name, value) in wanted {
        let found = property(unit, name)?;
        ensure!(found == *value, "{unit}: {name} is {found:?}, not {value:?}");
    }
    Ok(())
}

/// The files of a running container's limits, in the names of the host's version.
fn files(bundle: &Bundle, wanted: &[(&str, &str, &str, &str)]) -> Result<()> {
    for (controller, legacy, unified, value) in wanted {
        let path = match is_unified() {
            true => bundle.cgroup("")?.join(unified),
            false => bundle.cgroup(controller)?.join(legacy),
        };
        let found = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(found.trim_end() == *value, "{} is {found:?}, not {value:?}", path.display());
    }
    Ok(())
}

fn reload() -> Result<()> {
    sh::run(Command::new("systemctl").arg("daemon-reload"))
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_container_is_a_scope() -> Result<()> {
    let bundle = Bundle::new(DRIVER, SLEEP)?;
    bundle.start()?;
    let unit = format!("runc-{}.scope", bundle.id);
    let description = format!("libcontainer container {}", bundle.id);
    has(
        &unit,
        &[
            ("ActiveState", "active"),
            ("Slice", "system.slice"),
            ("Delegate", "yes"),
            ("Transient", "yes"),
            ("Description", &description),
            ("MemoryAccounting", "yes"),
            ("TasksAccounting", "yes"),
            ("DevicePolicy", "strict"),
        ],
    )?;
    let cgroup = property(&unit, "ControlGroup")?;
    let own = bundle.cgroup(if is_unified() { "" } else { "memory" })?;
    ensure!(own.ends_with(cgroup.trim_start_matches('/')), "{} is not {cgroup}", own.display());
    let config = &bundle.state()?["config"]["cgroups"];
    ensure!(config["Systemd"] == true && config["scope_prefix"] == "runc", "{config}");
    bundle.ok(&["exec", "ID", "true"])?;
    ensure!(bundle.ok(&["ps", "--format", "json", "ID"])?.contains('['));
    bundle.ok(&["kill", "ID", "KILL"])?;
    until("the scope ends", || Ok(property(&unit, "ActiveState")? == "inactive"))?;
    bundle.ok(&["delete", "ID"])?;
    ensure!(property(&unit, "LoadState")? == "not-found");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn slice_prefix_and_name_are_the_callers() -> Result<()> {
    let mut bundle = Bundle::new(DRIVER, SLEEP)?;
    let id = bundle.id.clone();
    bundle.at(&format!("machine-vm.slice:box:{id}"));
    bundle.start()?;
    let unit = format!("box-{id}.scope");
    let cgroup = format!("/machine.slice/machine-vm.slice/{unit}");
    has(&unit, &[("Slice", "machine-vm.slice"), ("ControlGroup", &cgroup)])?;
    bundle.ok(&["pause", "ID"])?;
    ensure!(bundle.ok(&["state", "ID"])?.contains("\"paused\""));
    bundle.ok(&["resume", "ID"])?;
    bundle.ok(&["delete", "--force", "ID"])?;
    has(&unit, &[("LoadState", "not-found")])?;
    for bad in ["/docker/x", "a:b:c", "a.slice:b"] {
        bundle.at(bad);
        let said = bundle.run()?;
        ensure!(said.code == 1 && said.err.contains(bad.split(':').next().unwrap_or(bad)), "{said:?}");
    }
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn limits_are_systemds_too_and_stay() -> Result<()> {
    let mut bundle = Bundle::new(DRIVER, SLEEP)?;
    bundle.limit("memory", json!({"limit": 64 << 20}));
    bundle.limit("cpu", json!({"shares": 2048, "quota": 25000, "period": 50000, "cpus": "0"}));
    bundle.limit("pids", json!({"limit": 33}));
    bundle.start()?;
    let unit = format!("runc-{}.scope", bundle.id);
    let memory = if is_unified() { "MemoryMax" } else { "MemoryLimit" };
    let shares = if is_unified() { ("CPUWeight", "174") } else { ("CPUShares", "2048") };
    let first = [
        (memory, "67108864"),
        ("TasksMax", "33"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("AllowedCPUs", "0"),
        shares,
    ];
    has(&unit, &first)?;
    let written = [
        ("memory", "memory.limit_in_bytes", "memory.max", "67108864"),
        ("pids", "pids.max", "pids.max", "33"),
        ("cpuset", "cpuset.cpus", "cpuset.cpus", "0"),
    ];
    files(&bundle, &written)?;
    bundle.ok(&["update", "--memory", "32M", "--pids-limit", "21", "--cpu-quota", "10000", "ID"])?;
    let after = [(memory, "33554432"), ("TasksMax", "21"), ("CPUQuotaPerSecUSec", "200ms"), shares];
    has(&unit, &after)?;
    let written = [
        ("memory", "memory.limit_in_bytes", "memory.max", "33554432"),
        ("pids", "pids.max", "pids.max", "21"),
    ];
    files(&bundle, &written)?;
    if is_unified() {
        ensure!(bundle.file("cpu.max")? == "10000 50000", "{}", bundle.file("cpu.max")?);
    }
    // systemd sets up cgroups anew: it knows of no other limits than those.
    reload()?;
    files(&bundle, &written)?;
    // What the kernel refuses, systemd is not told.
    let refused = bundle.verb(&["update", "--pids-limit", "5", "--cpuset-cpus", "77", "ID"])?;
    ensure!(refused.code == 1, "{refused:?}");
    has(&unit, &after)?;
    files(&bundle, &written)
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn annotations_are_properties() -> Result<()> {
    let mut bundle = Bundle::new(DRIVER, SLEEP)?;
    bundle.config["annotations"] = json!({
        "org.systemd.property.TimeoutStopSec": "7",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.IOWeight": "uint64 250",
    });
    bundle.start()?;
    let unit = format!("runc-{}.scope", bundle.id);
    has(&unit, &[("TimeoutStopUSec", "7s"), ("CollectMode", "inactive-or-failed"), ("IOWeight", "250")])?;
    bundle.ok(&["delete", "--force", "ID"])?;
    for (key, value, said) in [
        ("org.systemd.property.NoSuchThing", "true", "NoSuchThing"),
        ("org.systemd.property.CollectMode", "inactive", "value parse error"),
        ("org.systemd.property.A1", "true", "name incorrect"),
    ] {
        bundle.config["annotations"] = json!({key: value});
        let failed = bundle.run()?;
        ensure!(failed.code == 1 && failed.err.contains(said), "{failed:?}");
        has(&unit, &[("LoadState", "not-found")])?;
    }
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn devices_stay_filtered() -> Result<()> {
    let mut bundle = Bundle::new(DRIVER, SLEEP)?;
    bundle.config["linux"]["devices"] = json!([
        {"path": "/dev/disk", "type": "b", "major": 254, "minor": 0, "fileMode": 0o666},
        {"path": "/dev/loud", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666},
    ]);
    bundle.limit(
        "devices",
        json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
        ]),
    );
    bundle.start()?;
    let filtered = || -> Result<()> {
        let refused = bundle.verb(&["exec", "ID", "head", "-c", "1", "/dev/disk"])?;
        ensure!(refused.code == 1 && refused.err.contains("Operation not permitted"), "{refused:?}");
        bundle.ok(&["exec", "ID", "sh", "-c", "echo >/dev/loud; head -c 1 /dev/zero >/dev/null"]).map(drop)
    };
    filtered()?;
    reload()?;
    filtered()?;
    bundle.ok(&["update", "--memory", "64M", "ID"])?;
    filtered()
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_failed_start_leaves_no_unit() -> Result<()> {
    let mut bundle = Bundle::new(DRIVER, "true")?;
    bundle.config["process"]["args"] = json!(["/nothing/there"]);
    let said = bundle.run()?;
    ensure!(said.code == 1 && said.err.contains("no such file or directory"), "{said:?}");
    let unit = format!("runc-{}.scope", bundle.id);
    has(&unit, &[("LoadState", "not-found")])?;
    bundle.config["process"]["args"] = json!(["sh", "-c", "exit 9"]);
    ensure!(bundle.run()?.code == 9);
    has(&unit, &[("LoadState", "not-found")])
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn the_features_say_so() -> Result<()> {
    let bundle = Bundle::new(&[], "true")?;
    let features: serde_json::Value = serde_json::from_str(&bundle.ok(&["features"])?)?;
    ensure!(
        features["linux"]["cgroup"]["systemd"] == true && features["linux"]["cgroup"]["systemdUser"] == true
    );
    Ok(())
}
