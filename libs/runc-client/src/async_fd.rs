//! Descriptors that tokio has no type of its own for: pidfds, terminals, event descriptors.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor with the current runtime.
///
/// # Errors
/// Fails if the kernel cannot poll the descriptor.
///
/// # Panics
/// Panics outside a tokio runtime.
#[expect(
    deprecated,
    reason = "`AsyncFd::new` is unsound for types that may change their descriptor; OwnedFd cannot"
)]
pub fn async_fd(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}
