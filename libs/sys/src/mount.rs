//! mount_setattr(2): flags, propagation and id mappings of a mount or of a tree of them.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;

/// What to change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
}

/// Read only.
pub const RDONLY: u64 = 0x1;
/// No set-user-id.
pub const NOSUID: u64 = 0x2;
/// No device files.
pub const NODEV: u64 = 0x4;
/// No programs.
pub const NOEXEC: u64 = 0x8;
/// The bits that hold the access time mode.
pub const ATIME: u64 = 0x70;
/// No access times.
pub const NOATIME: u64 = 0x10;
/// Access times always.
pub const STRICTATIME: u64 = 0x20;
/// No access times of directories.
pub const NODIRATIME: u64 = 0x80;
/// No following of symbolic links.
pub const NOSYMFOLLOW: u64 = 0x20_0000;
const IDMAP: u64 = 0x10_0000;

/// Whether the kernel has the mount calls that work on descriptors: open_tree, move_mount, fsopen (5.2) and mount_setattr
/// (5.12), the last of them. Asked once, with arguments that are refused before anything happens.
pub fn has_descriptor_calls() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let there = |answer: libc::c_long| {
            answer >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
        };
        let nothing = std::ptr::null::<libc::c_char>();
        // SAFETY: flags that no kernel knows, null pointers and sizes of nought: each call is refused unexecuted.
        unsafe {
            there(libc::syscall(libc::SYS_mount_setattr, -1, nothing, u32::MAX, nothing, 0_usize))
                && there(libc::syscall(libc::SYS_open_tree, -1, nothing, u32::MAX))
                && there(libc::syscall(libc::SYS_move_mount, -1, nothing, -1, nothing, u32::MAX))
                && there(libc::syscall(libc::SYS_fsopen, nothing, u32::MAX))
        }
    })
}

#[repr(C)]
struct RawAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the mount that `fd` stands for (and, if `recursive`, all below it).
pub fn setattr(fd: impl AsFd, recursive: bool, attr: MountAttr) -> io::Result<()> {
    call(fd.as_fd(), recursive, attr, 0)
}

/// Maps owners of a detached mount as the user namespace `userns` maps ids (kernel 5.12).
pub fn idmap(fd: impl AsFd, recursive: bool, userns: impl AsFd) -> io::Result<()> {
    let attr = MountAttr { set: IDMAP, ..MountAttr::default() };
    call(fd.as_fd(), recursive, attr, userns.as_fd().as_raw_fd() as u64)
}

fn call(fd: BorrowedFd<'_>, recursive: bool, attr: MountAttr, userns_fd: u64) -> io::Result<()> {
    let raw = RawAttr { set: attr.set, clear: attr.clear, propagation: attr.propagation, userns_fd };
    let empty: &CStr = c"";
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `raw` has the layout of struct mount_attr and lives through the call; its size is passed with it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            empty.as_ptr(),
            flags,
            &raw const raw,
            size_of::<RawAttr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
