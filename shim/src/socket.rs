//! The shim's listening socket, and unix sockets whose path is longer than a socket address can hold.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use errors::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

/// Where containerd's shims have their sockets.
const DEFAULT_DIR: &str = "/run/containerd/s";
/// `sun_path` holds 108 bytes with the closing zero (unix(7)).
const LONGEST: usize = 107;

/// What binding came to.
pub(crate) enum Bound {
    /// This process listens.
    Fresh(UnixListener),
    /// A shim of the same group serves there.
    Served,
}

/// The socket of a group: a hash of the daemon's address, the namespace and the group's name.
pub(crate) fn path(dir: Option<&Path>, grpc_address: &str, namespace: &str, group: &str) -> PathBuf {
    let name = clean(&format!("{grpc_address}/{namespace}/{group}"));
    let name = hex::encode(Sha256::digest(name.as_bytes()));
    dir.unwrap_or(Path::new(DEFAULT_DIR)).join(name)
}

/// The address in the form daemons dial.
pub(crate) fn address(path: &Path) -> String {
    format!("unix://{}", path.display())
}

/// Listens at the path of a group, unless somebody does. A socket that nobody answers is replaced.
///
/// # Errors
/// Whatever the filesystem and bind(2) say.
pub(crate) fn bind_group(path: &Path) -> Result<Bound> {
    make_parent(path)?;
    match listen(path) {
        Ok(listener) => Ok(Bound::Fresh(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if connect(path).is_ok() {
                return Ok(Bound::Served);
            }
            fs::remove_file(path).context(|| format!("remove the dead socket {}", path.display()))?;
            listen(path).map(Bound::Fresh).context(|| format!("listen at {}", path.display()))
        }
        Err(error) => Err(error).context(|| format!("listen at {}", path.display())),
    }
}

/// Listens at `path` for attaching clients; a socket left there before is replaced.
///
/// # Errors
/// Fails if something else than a socket is in the way.
pub(crate) fn bind_anew(path: &Path) -> Result<UnixListener> {
    make_parent(path)?;
    if let Ok(meta) = fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(Error::already_exists(format!("{} exists and is no socket", path.display())));
        }
        fs::remove_file(path).context(|| format!("remove the old socket {}", path.display()))?;
    }
    listen(path).context(|| format!("listen at {}", path.display()))
}

/// Is anybody listening there?
///
/// # Errors
/// Whatever connect(2) says.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    through_short_path(path, |short| UnixStream::connect(short))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = through_short_path(path, |short| UnixListener::bind(short))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A long path is named through a descriptor of its directory.
fn through_short_path<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST {
        return act(path);
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    if short.as_os_str().as_bytes().len() > LONGEST {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    act(&short)
}

fn make_parent(path: &Path) -> Result<()> {
    let dir = path.parent().ok_or_else(|| Error::invalid(format!("{} has no directory", path.display())))?;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).context(|| format!("create {}", dir.display()))
}

/// Go's `filepath.Join` on parts without "..": no empty and no "." elements.
fn clean(path: &str) -> String {
    let rooted = if path.starts_with('/') { "/" } else { "" };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("{rooted}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address that containerd 1.6's own shim computes for these values.
    #[test]
    fn the_path_is_the_one_containerd_computes() {
        let path = path(None, "/run/containerd/containerd.sock", "default", "test");
        let hash = hex::encode(Sha256::digest(b"/run/containerd/containerd.sock/default/test"));
        assert_eq!(path, Path::new(DEFAULT_DIR).join(hash));
        assert_eq!(clean("//a//./b/"), "/a/b");
        assert_eq!(clean("/default/x"), "/default/x");
        assert_eq!(address(Path::new("/s/x")), "unix:///s/x");
    }

    #[test]
    fn a_served_socket_is_kept_and_a_dead_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s/socket");
        let Bound::Fresh(listener) = bind_group(&path).unwrap() else { panic!("nobody listened") };
        assert!(matches!(bind_group(&path).unwrap(), Bound::Served));
        drop(listener);
        assert!(matches!(bind_group(&path).unwrap(), Bound::Fresh(_)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn paths_may_be_longer_than_an_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d".repeat(100)).join("e".repeat(60)).join("socket");
        let _listener = bind_anew(&path).unwrap();
        connect(&path).unwrap();
        let _again = bind_anew(&path).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(bind_anew(&file).unwrap_err().is_already_exists());
    }
}
