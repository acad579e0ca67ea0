//! config.json.

use std::hint::black_box;

use anyhow::Result;
use oci::seccomp::Target;
use serde_json::Value;

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
