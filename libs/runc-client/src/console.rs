//! Receiving the master of a container's terminal (runc's docs/terminals.md, "detached new terminal").

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::net::{UnixListener, UnixStream};

/// A unix socket to which the executor connects once, to send the terminal's master. Its file goes with it.
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens at `path`, which must be short enough for a socket address (107 bytes) and lie where only the
    /// owner of the executor may connect.
    ///
    /// # Errors
    /// Whatever bind(2) says.
    pub fn bind(path: impl Into<PathBuf>) -> io::Result<ConsoleSocket> {
        let path = path.into();
        let listener = UnixListener::bind(&path)?;
        Ok(ConsoleSocket { listener, path })
    }

    /// What `--console-socket` is given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the executor to send the master.
    ///
    /// # Errors
    /// Fails if the executor hangs up without sending a terminal.
    pub async fn receive(&self) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept().await?;
        loop {
            stream.readable().await?;
            match stream.try_io(tokio::io::Interest::READABLE, || receive_fd(&stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // A socket file without a listener misleads nobody; the bundle's removal takes it at last.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn receive_fd(stream: &UnixStream) -> io::Result<OwnedFd> {
    // runc sends the name of the terminal along; nobody needs it.
    let mut name = [0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let master = fds.next().and_then(|mut fds| fds.next());
    let master = master.ok_or_else(|| io::Error::other("the executor sent no terminal"))?;
    if !rustix::termios::isatty(&master) {
        return Err(io::Error::other("the executor sent a descriptor that is no terminal"));
    }
    Ok(master)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsFd;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    use rustix::pty::{OpenptFlags, openpt};

    use super::*;

    fn send(path: &Path, fd: &OwnedFd) {
        let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        let fds = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        rustix::net::sendmsg(&stream, &[IoSlice::new(b"/dev/pts/0")], &mut control, SendFlags::empty())
            .unwrap();
    }

    #[tokio::test]
    async fn a_terminal_is_received_and_the_file_removed() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ConsoleSocket::bind(dir.path().join("pty.sock")).unwrap();
        send(socket.path(), &openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
        assert!(rustix::termios::isatty(socket.receive().await.unwrap()));
        drop(socket);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ConsoleSocket::bind(dir.path().join("pty.sock")).unwrap();
        send(socket.path(), &std::fs::File::open("/dev/null").unwrap().into());
        socket.receive().await.unwrap_err();
        drop(std::os::unix::net::UnixStream::connect(socket.path()).unwrap());
        socket.receive().await.unwrap_err();
    }
}
