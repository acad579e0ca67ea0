//! The words for the kernel's errors, in a program that is linked with musl: those of glibc, which Go's programs say too.
//!
//! Callers match them: "device or resource busy" is what an unmount is tried again for. Taken by name at link time, in the place of musl's
//! own (errno(3), strerror(3)).

use std::ffi::{CStr, c_char, c_int};
use std::io::Write;

/// Where musl has other words, or none.
const OTHERS: &[(c_int, &CStr)] = &[
    (libc::EIO, c"Input/output error"),
    (libc::ECHILD, c"No child processes"),
    (libc::ENOMEM, c"Cannot allocate memory"),
    (libc::EBUSY, c"Device or resource busy"),
    (libc::EXDEV, c"Invalid cross-device link"),
    (libc::EMFILE, c"Too many open files"),
    (libc::ENOTTY, c"Inappropriate ioctl for device"),
    (libc::ESPIPE, c"Illegal seek"),
    (libc::EDOM, c"Numerical argument out of domain"),
    (libc::ERANGE, c"Numerical result out of range"),
    (libc::EDEADLK, c"Resource deadlock avoided"),
    (libc::ENAMETOOLONG, c"File name too long"),
    (libc::ELOOP, c"Too many levels of symbolic links"),
    (libc::ECHRNG, c"Channel number out of range"),
    (libc::EL2NSYNC, c"Level 2 not synchronized"),
    (libc::EL3HLT, c"Level 3 halted"),
    (libc::EL3RST, c"Level 3 reset"),
    (libc::ELNRNG, c"Link number out of range"),
    (libc::EUNATCH, c"Protocol driver not attached"),
    (libc::ENOCSI, c"No CSI structure available"),
    (libc::EL2HLT, c"Level 2 halted"),
    (libc::EBADE, c"Invalid exchange"),
    (libc::EBADR, c"Invalid request descriptor"),
    (libc::EXFULL, c"Exchange full"),
    (libc::ENOANO, c"No anode"),
    (libc::EBADRQC, c"Invalid request code"),
    (libc::EBADSLT, c"Invalid slot"),
    (libc::EBFONT, c"Bad font file format"),
    (libc::ETIME, c"Timer expired"),
    (libc::ENONET, c"Machine is not on the network"),
    (libc::ENOPKG, c"Package not installed"),
    (libc::EREMOTE, c"Object is remote"),
    (libc::EADV, c"Advertise error"),
    (libc::ESRMNT, c"Srmount error"),
    (libc::ECOMM, c"Communication error on send"),
    (libc::EDOTDOT, c"RFS specific error"),
    (libc::EOVERFLOW, c"Value too large for defined data type"),
    (libc::ENOTUNIQ, c"Name not unique on network"),
    (libc::EREMCHG, c"Remote address changed"),
    (libc::ELIBACC, c"Can not access a needed shared library"),
    (libc::ELIBBAD, c"Accessing a corrupted shared library"),
    (libc::ELIBSCN, c".lib section in a.out corrupted"),
    (libc::ELIBMAX, c"Attempting to link in too many shared libraries"),
    (libc::ELIBEXEC, c"Cannot exec a shared library directly"),
    (libc::EILSEQ, c"Invalid or incomplete multibyte or wide character"),
    (libc::ERESTART, c"Interrupted system call should be restarted"),
    (libc::ESTRPIPE, c"Streams pipe error"),
    (libc::EUSERS, c"Too many users"),
    (libc::ENOTSOCK, c"Socket operation on non-socket"),
    (libc::EMSGSIZE, c"Message too long"),
    (libc::EOPNOTSUPP, c"Operation not supported"),
    (libc::EADDRINUSE, c"Address already in use"),
    (libc::EADDRNOTAVAIL, c"Cannot assign requested address"),
    (libc::ENETUNREACH, c"Network is unreachable"),
    (libc::ENETRESET, c"Network dropped connection on reset"),
    (libc::ECONNABORTED, c"Software caused connection abort"),
    (libc::EISCONN, c"Transport endpoint is already connected"),
    (libc::ENOTCONN, c"Transport endpoint is not connected"),
    (libc::ESHUTDOWN, c"Cannot send after transport endpoint shutdown"),
    (libc::ETOOMANYREFS, c"Too many references: cannot splice"),
    (libc::ETIMEDOUT, c"Connection timed out"),
    (libc::EHOSTUNREACH, c"No route to host"),
    (libc::EINPROGRESS, c"Operation now in progress"),
    (libc::EUCLEAN, c"Structure needs cleaning"),
    (libc::ENOTNAM, c"Not a XENIX named type file"),
    (libc::ENAVAIL, c"No XENIX semaphores available"),
    (libc::EISNAM, c"Is a named type file"),
    (libc::EDQUOT, c"Disk quota exceeded"),
    (libc::EOWNERDEAD, c"Owner died"),
    (libc::ERFKILL, c"Operation not possible due to RF-kill"),
    (libc::EHWPOISON, c"Memory page has hardware error"),
];

/// What musl says where it knows nothing.
const UNKNOWN: &CStr = c"No error information";

/// strerror_r(3) of POSIX, which the standard library calls by this name.
///
/// # Safety
/// `buffer` has room for `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn __xpg_strerror_r(error: c_int, buffer: *mut c_char, size: usize) -> c_int {
    let mut text = [0_u8; 32];
    let words = match OTHERS.iter().find(|(number, _)| *number == error) {
        Some((_, words)) => words,
        // SAFETY: musl answers with a text that is there as long as the program.
        None => unsafe { CStr::from_ptr(libc::strerror(error)) },
    };
    let words = if words == UNKNOWN { numbered(error, &mut text) } else { words };
    let bytes = words.to_bytes_with_nul();
    if bytes.len() > size {
        return libc::ERANGE;
    }
    // SAFETY: the caller's buffer is long enough, and nobody else's text.
    unsafe { words.as_ptr().copy_to_nonoverlapping(buffer, bytes.len()) };
    0
}

/// What glibc says where it knows nothing.
fn numbered(error: c_int, text: &mut [u8; 32]) -> &CStr {
    // It has room for any number, and zeroes behind it.
    let _ = write!(&mut text[..], "Unknown error {error}");
    CStr::from_bytes_until_nul(text).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    #[test]
    fn the_standard_library_says_them() {
        let said = |number| Error::from_raw_os_error(number).to_string();
        assert_eq!(said(libc::EBUSY), "Device or resource busy (os error 16)");
        assert_eq!(said(libc::ENOENT), "No such file or directory (os error 2)");
        assert_eq!(said(libc::ENOMEM), "Cannot allocate memory (os error 12)");
        assert_eq!(said(133), "Memory page has hardware error (os error 133)");
        assert_eq!(said(4095), "Unknown error 4095 (os error 4095)");
    }
}
