//! Core scheduling: whose threads may share a core's hyperthreads (Documentation/admin-guide/hw-vuln/core-scheduling).

use std::io;

/// Gives the caller's process group a cookie of its own; processes forked later inherit it.
///
/// # Errors
/// EINVAL or ENODEV on a kernel, or a machine, without it.
pub fn create_for_process_group() -> io::Result<()> {
    const PIDTYPE_PGID: libc::c_ulong = 2;
    // SAFETY: this operation takes numbers only; pid 0 is the caller, and no cookie is written back.
    let done = unsafe {
        libc::prctl(
            libc::PR_SCHED_CORE,
            libc::PR_SCHED_CORE_CREATE as libc::c_ulong,
            0_u64,
            PIDTYPE_PGID,
            0_u64,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
