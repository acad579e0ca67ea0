//! Reading what an executor prints, without trusting it to stop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::net::unix::pipe::Receiver;

/// No answer of an executor is longer: `ps` of the largest container is far below.
pub(crate) const LIMIT: usize = 8 << 20;

/// Reads until the end, or `limit` bytes.
///
/// # Errors
/// Fails with `FileTooLarge` beyond the limit.
pub(crate) async fn read_all(pipe: OwnedFd, limit: usize) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let pipe = Receiver::from_owned_fd(pipe)?;
    loop {
        pipe.readable().await?;
        match take(pipe.as_fd(), &mut text, limit) {
            Ok(Ended::Yes) => return Ok(text),
            Ok(Ended::NotYet) => clear(&pipe)?,
            Err(error) => return Err(error),
        }
    }
}

/// Reads what lies in the pipe now, up to `limit` bytes: whoever inherited the writing end may keep it open
/// forever.
pub(crate) fn read_available(pipe: OwnedFd, limit: usize) -> Vec<u8> {
    let mut text = Vec::new();
    if rustix::io::ioctl_fionbio(&pipe, true).is_ok() {
        // Best effort: this only ever adds to a message about another error.
        let _ = take(pipe.as_fd(), &mut text, limit);
    }
    text
}

enum Ended {
    Yes,
    NotYet,
}

fn take(pipe: impl AsFd, text: &mut Vec<u8>, limit: usize) -> io::Result<Ended> {
    let mut chunk = [0u8; 4096];
    loop {
        match rustix::io::read(&pipe, &mut chunk) {
            Ok(0) => return Ok(Ended::Yes),
            Ok(n) if text.len() + n > limit => return Err(io::ErrorKind::FileTooLarge.into()),
            Ok(n) => text.extend_from_slice(&chunk[..n]),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(Ended::NotYet),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells tokio that the pipe was read until it would block.
fn clear(pipe: &Receiver) -> io::Result<()> {
    match pipe.try_io(|| Err::<(), _>(io::ErrorKind::WouldBlock.into())) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}
