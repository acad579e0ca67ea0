//! Little memory: what of the limit is left for the container, and what is said when there is too little.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

const KIB: u64 = 1024;

fn limited(args: &[&str], bytes: u64) -> Bundle {
    let mut bundle = Bundle::new(args);
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": bytes});
    bundle
}

fn is_unified() -> bool {
    fs::exists("/sys/fs/cgroup/cgroup.procs").unwrap()
}

/// What CPUs have taken in advance stands in a limit's way now and then, and not twice.
#[test]
fn a_small_program_starts_under_a_small_limit_every_time() {
    for _ in 0..20 {
        let said = limited(&["true"], 512 * KIB).run();
        assert_eq!(said.code, 0, "{}", said.err);
    }
}

/// On version 2 the kernel puts the process into its cgroup before it has any pages.
#[test]
fn pages_of_the_executor_are_not_the_container_s() {
    if is_unified() {
        return;
    }
    let own = |limit| {
        let bundle = match limit {
            Some(bytes) => limited(&["true"], bytes),
            None => Bundle::new(&["true"]),
        };
        bundle.create().ok();
        let cgroups = bundle.cgroups();
        let memory = cgroups.iter().find(|dir| dir.join("memory.stat").exists()).unwrap();
        // CPUs give back what they have taken in advance; then the kernel's own part is known.
        fs::write(memory.join("memory.force_empty"), "0").unwrap();
        let [all, kernel] = ["memory.usage_in_bytes", "memory.kmem.usage_in_bytes"]
            .map(|name| fs::read_to_string(memory.join(name)).unwrap().trim().parse::<u64>().unwrap());
        all - kernel
    };
    let (limited, free) = (own(Some(64 << 20)), own(None));
    // A page or two are what other CPUs held back.
    assert!(limited < free / 2, "{limited} with a limit, {free} without");
}

#[test]
fn too_small_a_limit_is_named() {
    let said = limited(&["true"], 16 * KIB).run();
    assert_eq!(said.code, 1);
    let reason = if is_unified() {
        "container init was OOM-killed (memory limit too low?)"
    } else {
        "unable to set memory limit to 16384 (current usage: "
    };
    assert!(said.err.contains(reason), "{}", said.err);
}
