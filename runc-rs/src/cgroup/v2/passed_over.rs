//! Limits of version 1 that version 2 has no file for.

use std::path::Path;

use oci::runtime::LinuxResources;

use super::io::BFQ;
use crate::cgroup::{Error, Result};

/// Refuses what callers of version 2 never ask for, and what crun refuses, too: marks on packets, which programs attached to the cgroup
/// would have to make.
pub fn refuse(resources: &LinuxResources) -> Result<()> {
    let Some(network) = resources.network() else { return Ok(()) };
    let what = match (network.class_id().unwrap_or_default(), network.priorities().as_deref()) {
        (0, None | Some([])) => return Ok(()),
        (0, _) => "network.priorities",
        _ => "network.classID",
    };
    Err(Error::invalid(format!("linux.resources.{what}"), "cgroup v2 has no such limit"))
}

/// The names of those that callers do ask for on any version, and that runc passes over in silence.
pub fn names(dir: &Path, resources: &LinuxResources) -> Vec<&'static str> {
    let (memory, cpu, io) = (resources.memory(), resources.cpu(), resources.block_io());
    let set = |value: Option<u64>| value.is_some_and(|value| value != 0);
    let memory = memory.as_ref();
    let devices = io.as_ref().and_then(|io| io.weight_device().as_deref()).unwrap_or_default();
    let leaf = |weight: Option<u16>| weight.is_some_and(|weight| weight != 0);
    let leaves = io.as_ref().is_some_and(|io| leaf(io.leaf_weight()));
    [
        ("memory.swappiness", memory.is_some_and(|m| m.swappiness().is_some())),
        ("memory.useHierarchy", memory.is_some_and(|m| m.use_hierarchy() == Some(false))),
        ("memory.disableOOMKiller", memory.is_some_and(|m| m.disable_oom_killer() == Some(true))),
        ("cpu.realtimePeriod", cpu.as_ref().is_some_and(|c| set(c.realtime_period()))),
        ("cpu.realtimeRuntime", cpu.as_ref().is_some_and(|c| c.realtime_runtime().is_some_and(|r| r != 0))),
        ("blockIO.leafWeight", leaves || devices.iter().any(|d| leaf(d.leaf_weight()))),
        ("blockIO.weightDevice", devices.iter().any(|d| leaf(d.weight())) && !dir.join(BFQ).exists()),
    ]
    .into_iter()
    .filter_map(|(name, asked)| asked.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_nobody_could_keep_is_refused() {
        for (json, name) in [
            (r#"{"network":{"classID":7}}"#, "network.classID"),
            (r#"{"network":{"priorities":[{"name":"lo","priority":1}]}}"#, "network.priorities"),
        ] {
            let text = refuse(&resources(json)).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains("cgroup v2"), "{text}");
        }
        refuse(&resources(r#"{"network":{"classID":0,"priorities":[]}}"#)).unwrap();
    }

    #[test]
    fn what_is_passed_over_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let asked = resources(
            r#"{"memory":{"swappiness":0,"useHierarchy":false,"disableOOMKiller":true},
                "cpu":{"realtimePeriod":5,"realtimeRuntime":4,"shares":2},
                "blockIO":{"leafWeight":10,"weightDevice":[{"major":8,"minor":0,"weight":20}]}}"#,
        );
        let all = [
            "memory.swappiness",
            "memory.useHierarchy",
            "memory.disableOOMKiller",
            "cpu.realtimePeriod",
            "cpu.realtimeRuntime",
            "blockIO.leafWeight",
            "blockIO.weightDevice",
        ];
        assert_eq!(names(dir.path(), &asked), all);
        std::fs::write(dir.path().join(BFQ), "").unwrap();
        assert_eq!(names(dir.path(), &asked), all[..6]);
        let usual = resources(
            r#"{"memory":{"limit":5,"disableOOMKiller":false,"useHierarchy":true},"cpu":{"realtimePeriod":0,"realtimeRuntime":0},
                "blockIO":{"weight":10,"leafWeight":0}}"#,
        );
        assert_eq!(names(dir.path(), &usual), Vec::<&str>::new());
    }
}
