//! Extended attributes of a name in an open folder, never following a symlink (xattr(7)).
//!
//! The kernel has `setxattrat` and its kin only since Linux 6.13, so the folder is named through `/proc/self/fd`, which
//! resolves to the open folder itself; the name must be a single component.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};

/// The kernel's bound on a list of names and on a value (xattr(7), "Filesystem-specific limits").
const MAX: usize = 64 << 10;

/// Sets the attribute `key` of `name` in `folder`.
pub fn set(folder: BorrowedFd<'_>, name: &OsStr, key: &[u8], value: &[u8]) -> Result<()> {
    rustix::fs::lsetxattr(path(folder, name)?, key, value, XattrFlags::empty())
}

/// The value of the attribute `key` of `name` in `folder`; `None` when there is none, or none can be.
pub fn get(folder: BorrowedFd<'_>, name: &OsStr, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let path = path(folder, name)?;
    let mut buffer = vec![0; 256];
    loop {
        match rustix::fs::lgetxattr(&path, key, &mut buffer[..]) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) if buffer.len() < MAX => buffer.resize(MAX, 0),
            Err(error) => return Err(error),
        }
    }
}

/// The names of all attributes of `name` in `folder`, sorted; none where the file system has no attributes.
pub fn list(folder: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<Vec<u8>>> {
    let path = path(folder, name)?;
    let mut buffer = vec![0; 1024];
    loop {
        match rustix::fs::llistxattr(&path, &mut buffer[..]) {
            Ok(length) => {
                let names = buffer[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
                let mut names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
                names.sort();
                return Ok(names);
            }
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(Errno::RANGE) if buffer.len() < MAX => buffer.resize(MAX, 0),
            Err(error) => return Err(error),
        }
    }
}

/// `name` must be one component, or empty for the folder itself.
fn path(folder: BorrowedFd<'_>, name: &OsStr) -> Result<CString> {
    let name = name.as_bytes();
    if name.contains(&b'/') || name == b".." {
        return Err(Errno::INVAL);
    }
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(if name.is_empty() { b"." } else { name });
    CString::new(path).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn sets_on_the_link_and_not_on_its_target() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
        let open = std::fs::File::open(folder.path()).unwrap();
        let file = OsStr::new("file");
        let link = OsStr::new("link");
        // Links take no user.* attributes; a privileged process may set trusted.* on them.
        assert_eq!(set(open.as_fd(), link, b"user.a", b"1"), Err(Errno::PERM));
        match set(open.as_fd(), file, b"user.a", &[7; 300]) {
            Err(Errno::OPNOTSUPP) => return,
            result => result.unwrap(),
        }
        assert_eq!(get(open.as_fd(), file, b"user.a").unwrap().unwrap(), [7; 300]);
        assert_eq!(get(open.as_fd(), link, b"user.a").unwrap(), None);
        assert_eq!(list(open.as_fd(), file).unwrap(), [b"user.a".to_vec()]);
        assert_eq!(set(open.as_fd(), OsStr::new("../x"), b"user.a", b""), Err(Errno::INVAL));
    }
}
