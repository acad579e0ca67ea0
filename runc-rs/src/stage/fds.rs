//! Descriptors sent over sockets (unix(7), SCM_RIGHTS), as the console and pidfd sockets of the command line want them.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Context, Error, Result};

/// Sends one descriptor, with a name as payload.
pub fn send(socket: impl AsFd, name: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(name)], &mut control, SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(|e| Error::call("sendmsg", e))
}

/// Receives one descriptor.
pub fn receive(socket: impl AsFd) -> Result<OwnedFd> {
    let mut name = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|e| Error::call("recvmsg", e))?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    Err(Error::new("no descriptor was sent"))
}

/// The two ends on which a terminal's master travels, ours and the new process's. With a console socket the master goes
/// there, and we have no end.
pub fn console(terminal: bool, socket: Option<&str>) -> Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    if !terminal {
        return Ok((None, None));
    }
    if let Some(path) = socket {
        return Ok((None, Some(connect(path)?)));
    }
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map(|(ours, theirs)| (Some(ours), Some(theirs)))
        .map_err(|e| Error::call("socketpair", e))
}

/// Connects to a socket of the command line.
pub fn connect(path: &str) -> Result<OwnedFd> {
    UnixStream::connect(path).map(OwnedFd::from).with_context(|| format!("connect {path}"))
}

/// Sends a descriptor of the process to `--pidfd-socket`.
pub fn send_pidfd(socket: &str, name: &str, pid: i32) -> Result<()> {
    let pid = Pid::from_raw(pid).ok_or_else(|| Error::new("no process"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| Error::call("pidfd_open", e))?;
    send(connect(socket)?, name.as_bytes(), pidfd.as_fd()).context("send pidfd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_arrives() {
        let (a, b) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/zero").unwrap();
        send(&a, b"/dev/zero", file.as_fd()).unwrap();
        let fd = receive(&b).unwrap();
        assert_eq!(rustix::fs::fstat(&fd).unwrap().st_rdev, rustix::fs::fstat(&file).unwrap().st_rdev);
        drop(a);
        assert!(receive(&b).is_err());
    }
}
