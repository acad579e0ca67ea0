//! Controller memory (Documentation/admin-guide/cgroup-v1/memory.rst).

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use oci::runtime::{LinuxMemory, LinuxResources};

use super::need;
use crate::cgroup::stats::MemoryEntry;
use crate::cgroup::{Error, Result, Stats, file};

const LIMIT: &str = "memory.limit_in_bytes";
const SWAP_LIMIT: &str = "memory.memsw.limit_in_bytes";

/// Each CPU takes up to 64 pages in advance, and gives what it did not need back only when it is asked to: by the first
/// attempt to set a limit that those pages stand in the way of, which does not wait for the other CPUs to answer
/// (`drain_all_stock` in mm/memcontrol.c). So there are a few more attempts, and so long a pause before each.
const GIVEN_BACK: usize = 10;
const TICK: Duration = Duration::from_millis(1);

/// A limit for which it matters what CPUs have taken in advance.
const SMALL: i64 = 4 << 20;

/// Before the limits of a new container, whose init has nothing yet that could be reclaimed: has every CPU give back what it
/// has taken in advance, or init could be killed for the lack of what nobody uses. That a limit of nothing is refused is
/// what is wanted.
pub fn settle(dir: Option<&Path>, resources: &LinuxResources) {
    let limit = resources.memory().as_ref().and_then(LinuxMemory::limit);
    if let Some(dir) = dir
        && limit.is_some_and(|limit| (1..SMALL).contains(&limit))
    {
        let _ = file::write(dir, LIMIT, "0");
    }
}

/// Applies config.json's `memory`. Limits of kernel memory are ignored, as runc does: the kernel has dropped them.
pub fn set(dir: Option<&Path>, resources: &LinuxResources) -> Result<()> {
    let Some(memory) = resources.memory() else { return Ok(()) };
    set_limits(dir, memory)?;
    if let Some(reservation) = nonzero(memory.reservation()) {
        let dir = need(dir, "memory", "memory.reservation")?;
        file::write(dir, "memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    if memory.disable_oom_killer() == Some(true) {
        file::write(need(dir, "memory", "memory.disableOOMKiller")?, "memory.oom_control", "1")?;
    }
    match memory.swappiness() {
        // -1 in older documents, read as unsigned: leave it.
        None | Some(u64::MAX) => Ok(()),
        Some(value) if value <= 100 => {
            file::write(need(dir, "memory", "memory.swappiness")?, "memory.swappiness", &value.to_string())
        }
        Some(value) => Err(Error::invalid(
            "memory.swappiness",
            format!("invalid memory swappiness value: {value} (valid range is 0-100)"),
        )),
    }
}

/// The kernel holds memory <= memory+swap at every moment, so a growing pair is written from the outside in.
fn set_limits(dir: Option<&Path>, memory: &LinuxMemory) -> Result<()> {
    let limit = nonzero(memory.limit());
    let mut swap = nonzero(memory.swap());
    if limit.is_none() && swap.is_none() {
        return Ok(());
    }
    let dir = need(dir, "memory", "memory.limit")?;
    if limit == Some(-1) && swap.is_none() && dir.join(SWAP_LIMIT).exists() {
        // No limit of memory means none of memory and swap together either.
        swap = Some(-1);
    }
    let swap_first = match (limit, swap) {
        (Some(_), Some(swap)) => swap == -1 || file::read_u64(dir, LIMIT)? < swap.unsigned_abs(),
        _ => false,
    };
    if swap_first {
        set_swap(dir, swap)?;
        set_limit(dir, limit)
    } else {
        set_limit(dir, limit)?;
        set_swap(dir, swap)
    }
}

fn set_limit(dir: &Path, limit: Option<i64>) -> Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    let write = || file::write(dir, LIMIT, &limit.to_string());
    let is_busy = |done: &Result<()>| matches!(done, Err(e) if e.errno() == Some(Errno::EBUSY));
    let mut done = write();
    for _ in 0..GIVEN_BACK {
        if !is_busy(&done) {
            break;
        }
        std::thread::sleep(TICK);
        done = write();
    }
    match done {
        // Lower than what is used, and the kernel could not reclaim enough.
        Err(e) if e.errno() == Some(Errno::EBUSY) => {
            let usage = file::read_u64(dir, "memory.usage_in_bytes")?;
            let peak = file::read_u64(dir, "memory.max_usage_in_bytes")?;
            let reason =
                format!("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})");
            Err(Error::invalid("memory.limit", reason))
        }
        done => done,
    }
}

fn set_swap(dir: &Path, swap: Option<i64>) -> Result<()> {
    swap.map_or(Ok(()), |swap| file::write(dir, SWAP_LIMIT, &swap.to_string()))
}

fn nonzero(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

/// Reads the counters; those that the kernel was built without are nought.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    let Some(raw) = file::optional(file::read_keyed(dir, "memory.stat"))? else { return Ok(()) };
    let memory = &mut stats.memory;
    memory.cache = raw.get("cache").copied().unwrap_or_default();
    memory.raw = raw;
    memory.usage = entry(dir, "memory")?.unwrap_or_default();
    memory.swap = entry(dir, "memory.memsw")?.unwrap_or_default();
    memory.kernel = entry(dir, "memory.kmem")?.unwrap_or_default();
    memory.kernel_tcp = entry(dir, "memory.kmem.tcp")?.unwrap_or_default();
    Ok(())
}

fn entry(dir: &Path, prefix: &str) -> Result<Option<MemoryEntry>> {
    let get = |suffix: &str| file::read_u64(dir, &format!("{prefix}.{suffix}"));
    let Some(usage) = file::optional(get("usage_in_bytes"))? else { return Ok(None) };
    Ok(Some(MemoryEntry {
        usage,
        max: get("max_usage_in_bytes")?,
        failcnt: get("failcnt")?,
        // Newer kernels have no limit of kernel memory.
        limit: file::optional(get("limit_in_bytes"))?.unwrap_or_default(),
    }))
}
