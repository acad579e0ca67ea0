//! The master of a container's terminal.

use std::io;
use std::os::fd::OwnedFd;

use runc_client::async_fd;
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;

/// A terminal's master, read for output, written to for input.
#[derive(Debug)]
pub(crate) struct Console {
    master: AsyncFd<OwnedFd>,
}

impl Console {
    pub(super) fn new(master: OwnedFd) -> io::Result<Console> {
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Console { master: async_fd(master)? })
    }

    /// Sets the size in characters; the processes are told by SIGWINCH.
    ///
    /// # Errors
    /// Whatever ioctl_tty(2) says.
    pub(crate) fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.master, size)?)
    }

    /// Waits until there may be something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.master.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// Reads what is there. 0 once every process has closed the terminal, which the kernel tells as EIO.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self
            .master
            .try_io(tokio::io::Interest::READABLE, |master| Ok(rustix::io::read(master, &mut *buffer)?));
        match result {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(0),
            result => result,
        }
    }

    /// Writes as much as fits, at least something.
    pub(super) async fn write(&self, input: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.writable().await?;
            match ready.try_io(|master| Ok(rustix::io::write(master, input)?)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }
}
