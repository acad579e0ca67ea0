//! Controller cpuset: which processors and memory nodes (Documentation/admin-guide/cgroup-v1/cpusets.rst).
//!
//! A new cpuset is empty, and nothing can run in it: it, and every parent that is made for it, starts with what its
//! own parent has.

use std::fs;
use std::io;
use std::path::Path;

use oci::runtime::LinuxResources;

use super::need;
use crate::cgroup::{Error, Result, Stats, file};

const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Makes the directory and its missing parents, each filled from the one above.
pub fn create(dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    // The mount point's own parent has no such file: it is where the hierarchy ends.
    let is_top = dir.exists() && !parent.join(FILES[0]).exists();
    if is_top {
        return Ok(());
    }
    create(parent)?;
    match fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io("mkdir", dir, e)),
        _ => {}
    }
    FILES.iter().try_for_each(|name| inherit(dir, parent, name))
}

fn inherit(dir: &Path, parent: &Path, name: &str) -> Result<()> {
    if !file::read(dir, name)?.trim().is_empty() {
        return Ok(());
    }
    file::write(dir, name, file::read(parent, name)?.trim())
}

/// Applies `cpu.cpus` and `cpu.mems`.
pub fn set(dir: Option<&Path>, resources: &LinuxResources) -> Result<()> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    for (name, field, list) in [(FILES[0], "cpu.cpus", cpu.cpus()), (FILES[1], "cpu.mems", cpu.mems())] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            file::write(need(dir, "cpuset", field)?, name, list)?;
        }
    }
    Ok(())
}

/// Reads every knob that runc tells of.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    let flag = |name: &str| file::optional(file::read_u64(dir, name)).map(Option::unwrap_or_default);
    let list = |name: &str| file::optional(file::read_list(dir, name)).map(Option::unwrap_or_default);
    let set = &mut stats.cpuset;
    set.cpus = list("cpuset.cpus")?;
    set.mems = list("cpuset.mems")?;
    set.cpu_exclusive = flag("cpuset.cpu_exclusive")?;
    set.mem_hardwall = flag("cpuset.mem_hardwall")?;
    set.mem_exclusive = flag("cpuset.mem_exclusive")?;
    set.memory_migrate = flag("cpuset.memory_migrate")?;
    set.memory_spread_page = flag("cpuset.memory_spread_page")?;
    set.memory_spread_slab = flag("cpuset.memory_spread_slab")?;
    set.memory_pressure = flag("cpuset.memory_pressure")?;
    set.sched_load_balance = flag("cpuset.sched_load_balance")?;
    let level = file::optional(file::read_i64(dir, "cpuset.sched_relax_domain_level"))?;
    set.sched_relax_domain_level = level.unwrap_or_default();
    Ok(())
}
