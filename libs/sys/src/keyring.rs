//! keyctl(2): a session keyring of one's own.

use std::ffi::CStr;
use std::io;

const JOIN_SESSION_KEYRING: libc::c_int = 1;
const SETPERM: libc::c_int = 5;
const DESCRIBE: libc::c_int = 6;

/// Joins the session keyring of this name, made if need be, and says its serial number.
pub fn join_session(name: &CStr) -> io::Result<i32> {
    // SAFETY: the name is a C string that lives through the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) })
}

/// The permission bits of a key.
pub fn permissions(key: i32) -> io::Result<u32> {
    let mut text = [0_u8; 512];
    // SAFETY: the kernel writes at most as many bytes as it is told.
    let size =
        check(unsafe { libc::syscall(libc::SYS_keyctl, DESCRIBE, key, text.as_mut_ptr(), text.len()) })?;
    let text = text.get(..size.cast_unsigned() as usize).unwrap_or(&text);
    // "type;uid;gid;perm;description"
    let perm = text.split(|b| *b == b';').nth(3).and_then(|p| std::str::from_utf8(p).ok());
    perm.and_then(|p| u32::from_str_radix(p, 16).ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "key description without permissions"))
}

/// Replaces the permission bits of a key.
pub fn set_permissions(key: i32, bits: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, key, bits) }).map(drop)
}

fn check(answer: libc::c_long) -> io::Result<i32> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}
