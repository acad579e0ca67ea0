//! seccomp(2): put a filter on this process, and ask what the kernel can do.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the call returns a descriptor for SECCOMP_RET_USER_NOTIF.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// The kernel takes no longer filter (BPF_MAXINSNS).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One instruction, `struct sock_filter` (include/uapi/linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Jump distance if true.
    pub jt: u8,
    /// Jump distance if false.
    pub jf: u8,
    /// Value.
    pub k: u32,
}

/// Puts `program` on the calling thread, for good. With [`FLAG_NEW_LISTENER`] in `flags`, gives the listener.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and without no_new_privs; EINVAL for a program or flag that the kernel does not take.
pub fn set_filter(program: &[Insn], flags: u32) -> io::Result<Option<OwnedFd>> {
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // struct sock_fprog: the kernel only reads the instructions.
    let prog =
        libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr() as *mut libc::sock_filter };
    // SAFETY: `prog` points to `len` instructions of the kernel's layout, alive until the call returns; the kernel
    // copies and checks them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog) };
    match result {
        ..0 => Err(io::Error::last_os_error()),
        fd if flags & FLAG_NEW_LISTENER != 0 => {
            // SAFETY: with this flag a non-negative answer is a new descriptor that only the caller knows of.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }))
        }
        0 => Ok(None),
        // SECCOMP_FILTER_FLAG_TSYNC: a thread that has a filter of another descent.
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Whether the kernel knows a return value (SECCOMP_RET_*).
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads four bytes at the address of a live local.
    unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0 }
}

/// Whether the kernel knows these SECCOMP_FILTER_FLAG_* bits; nothing is loaded.
pub fn flags_available(flags: u32) -> bool {
    // SAFETY: a null program is refused with EFAULT, but only after the flags were accepted.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, std::ptr::null::<libc::c_void>())
    };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_it_knows() {
        assert_eq!(std::mem::size_of::<Insn>(), std::mem::size_of::<libc::sock_filter>());
        assert!(action_available(0x7fff_0000));
        assert!(!action_available(0x1234_0000));
        assert!(flags_available(0));
        assert!(!flags_available(1 << 31));
    }

    #[test]
    fn an_empty_filter_is_refused() {
        assert_eq!(set_filter(&[], 0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
