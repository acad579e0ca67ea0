//! Scheduling of this thread: policy, input/output priority, memory policy, affinity.

use std::io;
use std::mem::size_of;

/// struct sched_attr of sched_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// Filled in by [`set_scheduler`].
    pub size: u32,
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Nanoseconds, SCHED_DEADLINE.
    pub runtime: u64,
    /// Nanoseconds, SCHED_DEADLINE.
    pub deadline: u64,
    /// Nanoseconds, SCHED_DEADLINE.
    pub period: u64,
}

/// sched_setattr(2) on this thread.
pub fn set_scheduler(mut attr: SchedAttr) -> io::Result<()> {
    attr.size = size_of::<SchedAttr>() as u32;
    // SAFETY: `attr` has the kernel's layout (version 0, 48 bytes) and says its size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) })
}

/// ioprio_set(2) on this process; `class` is 1 (real time), 2 (best effort) or 3 (idle).
pub fn set_io_priority(class: u16, priority: u16) -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    let value = libc::c_int::from(class) << 13 | libc::c_int::from(priority);
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) })
}

/// set_mempolicy(2): `mode` is MPOL_* with MPOL_F_* flags, `nodes` a bit a node.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> io::Result<()> {
    let (pointer, bits) = if nodes.is_empty() {
        (std::ptr::null(), 0)
    } else {
        // The kernel reads one bit less than it is told.
        (nodes.as_ptr(), nodes.len() * 64 + 1)
    };
    // SAFETY: the mask holds as many bits as are read; null is allowed with none.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) })
}

fn check(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
