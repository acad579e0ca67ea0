//! What a failed update takes back: the limits as they were before it.

use std::path::{Path, PathBuf};

use super::{Error, Manager, Result, file};

/// Files with one value that is written as it was read, on either version.
const FILES: [&str; 21] = [
    "cpu.shares",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
    "cpu.cfs_burst_us",
    "cpu.rt_period_us",
    "cpu.rt_runtime_us",
    "cpu.idle",
    "cpu.weight",
    "cpu.max",
    "cpu.max.burst",
    "cpuset.cpus",
    "cpuset.mems",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.swappiness",
    "memory.max",
    "memory.low",
    "memory.swap.max",
    "pids.max",
    "blkio.weight",
];

/// Limits by file.
#[derive(Debug)]
pub struct Snapshot(Vec<(PathBuf, &'static str, String)>);

impl Snapshot {
    /// Reads the limits of a container; those that the host does not have are not in it.
    pub fn of(manager: &dyn Manager) -> Self {
        let dirs = manager.paths();
        let values = dirs.values().flat_map(|dir| {
            FILES.iter().filter_map(|name| Some((dir.clone(), *name, file::read(dir, name).ok()?)))
        });
        Self(values.collect())
    }

    /// Writes back what has changed. Limits bound each other, so what is refused is tried again after the others.
    pub fn restore(self) -> Result<()> {
        let mut left = self.0;
        loop {
            let mut refused = Vec::new();
            let count = left.len();
            left.retain(|(dir, name, value)| {
                let done = put_back(dir, name, value);
                let failed = done.is_err();
                refused.push(done);
                failed
            });
            if left.is_empty() || left.len() == count {
                return Error::all(refused);
            }
        }
    }
}

fn put_back(dir: &Path, name: &str, value: &str) -> Result<()> {
    if file::read(dir, name)? == value {
        return Ok(());
    }
    file::write(dir, name, value.trim())
}
