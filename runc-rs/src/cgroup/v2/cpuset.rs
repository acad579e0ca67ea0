//! Controller cpuset: `cpuset.cpus`, `cpuset.mems`. An empty file means what the parent has, so nothing is copied.

use std::path::Path;

use oci::runtime::LinuxResources;

use super::write_limit;
use crate::cgroup::Result;

/// Applies `cpu.cpus` and `cpu.mems`.
pub fn set(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    for (name, field, list) in
        [("cpuset.cpus", "cpu.cpus", cpu.cpus()), ("cpuset.mems", "cpu.mems", cpu.mems())]
    {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            write_limit(dir, name, list, field)?;
        }
    }
    Ok(())
}
