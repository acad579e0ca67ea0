//! Processors that a process may run on (config.md, "execCPUAffinity").

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::error::{Error, Result};
use crate::plan::process::number_list;

/// Limits this process to the processors of a list as `0-3,7`.
pub fn set(list: &str) -> Result<()> {
    let mut cpus = CpuSet::new();
    for cpu in number_list(list)? {
        cpus.set(cpu);
    }
    sched_setaffinity(None, &cpus).map_err(|e| Error::call(format_args!("set CPU affinity {list:?}"), e))
}
