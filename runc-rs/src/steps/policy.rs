//! Names, kernel parameters, scheduling: what is set by one call each.

use nix::sys::personality::{self, Persona};
use sys::sched::SchedAttr;

use crate::error::{Error, Result};
use crate::procfs::Procfs;

/// Sets the host name of the UTS namespace.
pub fn hostname(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes())
        .map_err(|e| Error::call(format_args!("sethostname {name:?}"), e))
}

/// Sets the NIS domain name of the UTS namespace.
pub fn domainname(name: &str) -> Result<()> {
    rustix::system::setdomainname(name.as_bytes())
        .map_err(|e| Error::call(format_args!("setdomainname {name:?}"), e))
}

/// Writes a kernel parameter.
pub fn sysctl(procfs: &Procfs, path: &str, value: &str) -> Result<()> {
    procfs.write(&format!("sys/{path}"), value.as_bytes())
}

/// Sets the scheduling policy.
pub fn scheduler(attr: SchedAttr) -> Result<()> {
    sys::sched::set_scheduler(attr).map_err(|e| Error::call("error setting scheduler: sched_setattr", e))
}

/// Sets the input/output priority.
pub fn io_priority(class: u16, level: u16) -> Result<()> {
    sys::sched::set_io_priority(class, level)
        .map_err(|e| Error::call(format_args!("ioprio_set class {class} level {level}"), e))
}

/// Sets the memory policy.
pub fn memory(mode: i32, nodes: &[usize]) -> Result<()> {
    let mut mask = vec![0_u64; nodes.iter().max().map_or(0, |last| last / 64 + 1)];
    for node in nodes {
        mask[node / 64] |= 1 << (node % 64);
    }
    sys::sched::set_memory_policy(mode, &mask)
        .map_err(|e| Error::call(format_args!("set_mempolicy mode {mode:#x}"), e))
}

/// Sets the execution domain.
pub fn personality(domain: u32) -> Result<()> {
    personality::set(Persona::from_bits_retain(domain.cast_signed()))
        .map(drop)
        .map_err(|e| Error::call(format_args!("personality {domain:#x}"), e))
}
