//! Controller memory: `memory.max`, `memory.low`, `memory.swap.max`.

use std::path::Path;

use oci::runtime::{LinuxMemory, LinuxResources};

use super::write_limit;
use crate::cgroup::stats::MemoryEntry;
use crate::cgroup::{Error, Result, Stats, file};

/// Applies config.json's `memory`. What version 2 has no file for (swappiness, the OOM killer's switch, kernel memory)
/// is passed over, as runc does.
pub fn set(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(memory) = resources.memory() else { return Ok(()) };
    if memory.check_before_update() == Some(true) {
        check_usage(dir, memory)?;
    }
    let (limit, swap) = (memory.limit().unwrap_or_default(), memory.swap().unwrap_or_default());
    if let Some(value) = swap_of(swap, limit)? {
        match write_limit(dir, "memory.swap.max", &value, "memory.swap") {
            // A kernel without swap accounting needs no switching off.
            Err(Error::NoController { .. }) if value == "max" || value == "0" => {}
            done => done?,
        }
    }
    if let Some(value) = max_of(limit) {
        write_limit(dir, "memory.max", &value, "memory.limit")?;
    }
    match max_of(memory.reservation().unwrap_or_default()) {
        Some(value) => write_limit(dir, "memory.low", &value, "memory.reservation"),
        None => Ok(()),
    }
}

/// Refuses a limit that is below what is in use. A best effort: the cgroup may not be there yet.
fn check_usage(dir: &Path, memory: &LinuxMemory) -> Result<()> {
    let Ok(usage) = file::read_u64(dir, "memory.current") else { return Ok(()) };
    for (what, field, limit) in
        [("memory+swap", "memory.swap", memory.swap()), ("memory", "memory.limit", memory.limit())]
    {
        if let Some(limit) = limit.filter(|limit| *limit > 0 && limit.unsigned_abs() <= usage) {
            return Err(Error::invalid(field, format!("rejecting {what} limit {limit} <= usage {usage}")));
        }
    }
    Ok(())
}

/// Nought is "not set", -1 is no limit.
fn max_of(value: i64) -> Option<String> {
    match value {
        0 => None,
        -1 => Some("max".into()),
        value => Some(value.to_string()),
    }
}

/// config.json counts memory and swap together, version 2 swap alone. `None` leaves it.
pub fn swap_of(swap: i64, memory: i64) -> Result<Option<String>> {
    let invalid = |reason: &str| Error::invalid("memory.swap", reason);
    Ok(match (swap, memory) {
        // No limit of memory alone means none of both together, as on version 1.
        (0, -1) | (-1, _) => Some("max".into()),
        (0, _) => None,
        (swap, -1) => Some(swap.to_string()),
        (_, 0) => return Err(invalid("unable to set swap limit without memory limit")),
        (_, memory) if memory < 0 => return Err(invalid(&format!("invalid memory value: {memory}"))),
        (swap, memory) if swap < memory => {
            return Err(invalid("memory+swap limit should be >= memory limit"));
        }
        (swap, memory) => Some((swap - memory).to_string()),
    })
}

/// Reads the counters. Swap is told together with memory, as on version 1.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    let Some(raw) = file::optional(file::read_keyed(dir, "memory.stat"))? else { return Ok(()) };
    let memory = &mut stats.memory;
    memory.cache = raw.get("file").copied().unwrap_or_default();
    memory.raw = raw;
    memory.usage = entry(dir, "memory")?.unwrap_or_default();
    let swap = entry(dir, "memory.swap")?.unwrap_or_default();
    memory.swap = MemoryEntry {
        usage: swap.usage.saturating_add(memory.usage.usage),
        limit: swap.limit.saturating_add(memory.usage.limit),
        // The two peaks need not have been at the same time.
        max: 0,
        failcnt: 0,
    };
    Ok(())
}

fn entry(dir: &Path, prefix: &str) -> Result<Option<MemoryEntry>> {
    let get = |suffix: &str| file::optional(file::read_u64(dir, &format!("{prefix}.{suffix}")));
    let Some(usage) = get("current")? else { return Ok(None) };
    Ok(Some(MemoryEntry {
        usage,
        limit: get("max")?.unwrap_or_default(),
        max: get("peak")?.unwrap_or_default(),
        failcnt: 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_what_exceeds_memory() {
        let swap = |swap, memory| swap_of(swap, memory).unwrap();
        assert_eq!(swap(300, 100).as_deref(), Some("200"));
        assert_eq!(swap(100, 100).as_deref(), Some("0"));
        assert_eq!(swap(-1, 100).as_deref(), Some("max"));
        assert_eq!(swap(0, 100), None);
        assert_eq!(swap(0, -1).as_deref(), Some("max"));
        assert_eq!(swap(100, -1).as_deref(), Some("100"));
        assert!(swap_of(100, 0).is_err() && swap_of(100, 200).is_err() && swap_of(100, -5).is_err());
    }
}
