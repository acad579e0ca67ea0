//! Capability sets of this thread (capabilities(7)): capset(2) and the prctl(2) calls beside it.

use std::io;

/// A set of capabilities, a bit each.
pub type Set = u64;

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Replaces the three sets that capset(2) knows, all at once.
pub fn set(effective: Set, permitted: Set, inheritable: Set) -> io::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let word = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    // SAFETY: version 3 takes this header and two data words, both alive through the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
}

/// The permitted set.
pub fn permitted() -> io::Result<Set> {
    let header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: version 3 fills two data words, which are there.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    Ok(Set::from(data[0].permitted) | Set::from(data[1].permitted) << 32)
}

/// Removes one capability from the bounding set.
pub fn drop_bounding(cap: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(cap), 0, 0, 0) }.into())
}

/// Whether a capability is in the bounding set; an error for one that the kernel does not know.
pub fn in_bounding(cap: u32) -> io::Result<bool> {
    // SAFETY: plain numbers.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(cap), 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer == 1),
    }
}

/// Empties the ambient set.
pub fn clear_ambient() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }.into())
}

/// Adds one capability to the ambient set; it must be permitted and inheritable.
pub fn raise_ambient(cap: u32) -> io::Result<()> {
    let (raise, cap) = (libc::PR_CAP_AMBIENT_RAISE, libc::c_ulong::from(cap));
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, cap, 0, 0) }.into())
}

fn check(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_chown_and_not_63() {
        assert!(in_bounding(0).is_ok());
        assert!(in_bounding(63).is_err());
    }
}
