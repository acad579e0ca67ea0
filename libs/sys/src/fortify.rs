//! What Debian's libseccomp, built for glibc with `_FORTIFY_SOURCE`, asks of a C library beyond the standard, for a program that is linked
//! with musl, which has the rest.

/// `fprintf` with a check. The export of a filter as text (seccomp_export_pfc(3)) is the only one to call it, and nobody here calls that.
#[unsafe(no_mangle)]
extern "C" fn __fprintf_chk() -> libc::c_int {
    // SAFETY: abort(3) may be called by anybody.
    unsafe { libc::abort() }
}
