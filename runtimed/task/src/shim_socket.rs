//! The socket of a shim, connected to without waiting. A connection waits for room in the listener's queue (unix(7)), and so without end where a
//! shim is stopped; one that may not block is told EAGAIN instead, which says that somebody listens.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A connection to the listener at a path, or at an abstract name if `address` begins with `@` (shims before containerd 1.4 use
/// those). It does not block, neither now nor later.
///
/// # Errors
/// Those of connect(2); `WouldBlock` where the listener's queue is full.
pub(crate) fn connect(address: &str) -> io::Result<UnixStream> {
    let place = match address.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(address)?,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &place)?;
    Ok(socket.into())
}

/// Is this a socket that nobody listens on any more?
pub(crate) fn is_dead(path: &Path) -> bool {
    let Some(path) = path.to_str() else { return false };
    connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    use super::*;

    /// Connections until there is no room for another.
    fn crowd(listener: &UnixListener, address: &str) -> Vec<UnixStream> {
        // The library asks for all the room that there is.
        rustix::net::listen(listener, 1).unwrap();
        std::iter::from_fn(|| match connect(address) {
            Ok(stream) => Some(stream),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                None
            }
        })
        .collect()
    }

    /// Looks again while a child that a neighbouring test has just made holds the listener: until it is another program.
    fn in_the_end(done: impl Fn() -> bool) -> bool {
        let begun = std::time::Instant::now();
        std::iter::repeat_with(|| done() || begun.elapsed() > std::time::Duration::from_secs(30))
            .any(|over| over)
            && done()
    }

    #[test]
    fn a_listener_that_accepts_nobody_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(!crowd(&listener, path.to_str().unwrap()).is_empty());
        assert!(!is_dead(&path));
        drop(listener);
        assert!(in_the_end(|| is_dead(&path)));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_dead(&path));
    }

    #[test]
    fn an_abstract_name_is_reached() {
        let name = format!("runtimed-test-{}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        assert!(!crowd(&listener, &format!("@{name}")).is_empty());
        drop(listener);
        let refused = || connect(&format!("@{name}")).unwrap_err().kind() == io::ErrorKind::ConnectionRefused;
        assert!(in_the_end(refused));
    }
}
