//! config.json and state.json.

use std::hint::black_box;

use anyhow::Result;
use oci::seccomp::Target;
use serde_json::{Value, json};

/// A config.json from `runc spec`'s proposal, docker's profile in it.
pub fn write(times: u32) -> Result<()> {
    for _ in 0..times {
        black_box(config(true)?);
    }
    Ok(())
}

/// From the document to the ordered steps, each of them shown.
pub fn plan(times: u32) -> Result<()> {
    let document = config(false)?;
    for _ in 0..times {
        runc_rs::doors::config(black_box(&document));
    }
    Ok(())
}

/// The same with a filter to compile.
pub fn plan_with_seccomp(times: u32) -> Result<()> {
    let document = config(true)?;
    for _ in 0..times {
        runc_rs::doors::config(black_box(&document));
    }
    Ok(())
}

/// What each command of an executor reads first.
pub fn state(times: u32) -> Result<()> {
    let document = serde_json::to_vec(&json!({
        "oci_version": "1.2.0", "id": "c1", "init_process_pid": 4711, "init_process_start": 123_456,
        "bundle": "/run/bundle", "rootfs": "/run/bundle/rootfs", "created": "2024-05-06T07:08:09.123456789Z",
        "annotations": {"a": "b"}, "config": serde_json::from_slice::<Value>(&config(false)?)?,
    }))?;
    for _ in 0..times {
        runc_rs::doors::state(black_box(&document));
    }
    Ok(())
}

fn config(seccomp: bool) -> Result<Vec<u8>> {
    let mut spec: Value = serde_json::to_value(oci::runtime::default_spec())?;
    if seccomp {
        let capabilities: Vec<String> = oci::capability::DEFAULT.map(str::to_owned).to_vec();
        // A fixed kernel, so that the count is the same on every machine.
        let target = Target { capabilities: &capabilities, arch: "x86_64", kernel: (6, 1) };
        spec["linux"]["seccomp"] = serde_json::to_value(oci::seccomp::default_profile(&target))?;
    }
    Ok(serde_json::to_vec(&spec)?)
}
