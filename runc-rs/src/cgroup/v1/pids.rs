//! Controller pids: how many processes and threads (Documentation/admin-guide/cgroup-v1/pids.rst).

use std::path::Path;

use oci::runtime::LinuxResources;

use super::need;
use crate::cgroup::{Result, Stats, file, pids};

/// Applies `pids.limit`.
pub fn set(dir: Option<&Path>, resources: &LinuxResources) -> Result<()> {
    match resources.pids() {
        Some(limit) => {
            file::write(need(dir, "pids", "pids.limit")?, "pids.max", &pids::max_of(limit.limit()))
        }
        None => Ok(()),
    }
}

/// Reads the count.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    pids::stats(dir, stats)
}
