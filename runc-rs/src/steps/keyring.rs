//! A session keyring of the container's own, so that it does not see the caller's keys.

use std::ffi::CString;

use rustix::io::Errno;

use crate::error::{Error, Result};

/// Owner's and possessor's right to search, which a keyring needs to be linked (keyctl(2)).
const SEARCH_BY_USER: u32 = 0x8_0000;
const SEARCH_BY_OTHER: u32 = 0x8;

/// Joins the session keyring of this name. A kernel without keyrings has nothing to hide.
pub fn join(name: &str, user_namespace: bool) -> Result<()> {
    let c_name = CString::new(name).map_err(|_| Error::new(format!("bad keyring name {name:?}")))?;
    let key = match sys::keyring::join_session(&c_name) {
        Ok(key) => key,
        Err(e) if e.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => return Ok(()),
        Err(e) => return Err(Error::call(format_args!("join session keyring {name}"), e)),
    };
    let extra = if user_namespace { SEARCH_BY_OTHER } else { SEARCH_BY_USER };
    let allow = || sys::keyring::set_permissions(key, sys::keyring::permissions(key)? | extra);
    allow().map_err(|e| Error::call(format_args!("set permissions of keyring {name}"), e))
}
