//! The one conversation between a command and the process it starts: typed messages over a socket pair.
//!
//! It is spoken with read(2) and write(2) alone: the last words come after the container's system call filter is loaded,
//! and those two are what every filter allows. A closed other end is an error of write, since Rust ignores SIGPIPE.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Longer texts are cut: a packet must fit the socket's buffer.
const MAX_TEXT: usize = 16 << 10;
const MAX_PACKET: usize = 64 << 10;

/// One message.
///
/// From the new process: `Mounted`? `Ready`, `Listener`?, `Done`?, each but `Done` answered by `Go`, which is waited for at `Ready` at the
/// latest; or `Failed` at any time.
/// An end of file after `Ready` means that the program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The mounts are there: cgroup limits and runtime hooks are due.
    Mounted,
    /// All is set up but for what takes rights away.
    Ready,
    /// The filter is loaded, and this descriptor of the new process gets its notifications.
    Listener {
        /// Its number there.
        fd: i32,
    },
    /// Created, and waiting for `start`.
    Done,
    /// It did not work.
    Failed {
        /// Why.
        text: String,
    },
    /// From the parent: go on.
    Go,
}

/// A packet's message.
pub fn decode(packet: &[u8]) -> Result<Message> {
    serde_json::from_slice(packet).map_err(|e| Error::new(format!("message of the other stage: {e}")))
}

/// One end of the conversation. Closed on exec.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What is said of a command that has ended, or given up, before its init was done.
pub const PARENT_GONE: &str = "the parent has gone away";

impl Channel {
    /// Both ends.
    pub fn pair() -> Result<(Self, Self)> {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map(|(a, b)| (Channel { fd: a }, Channel { fd: b }))
            .map_err(|e| Error::call("socketpair", e))
    }

    /// Sends a message.
    pub fn send(&self, message: &Message) -> Result<()> {
        let message = match message {
            Message::Failed { text } if text.len() > MAX_TEXT => {
                let text = text.chars().take(MAX_TEXT / 4).collect();
                &Message::Failed { text }
            }
            other => other,
        };
        let packet = serde_json::to_vec(message).map_err(|e| Error::new(e.to_string()))?;
        rustix::io::write(&self.fd, &packet)
            .map(drop)
            .map_err(|e| Error::call(format_args!("send {message:?}"), e))
    }

    /// The next message; `None` when the other end is closed.
    pub fn receive(&self) -> Result<Option<Message>> {
        let mut packet = vec![0; MAX_PACKET];
        let size = loop {
            match rustix::io::read(&self.fd, packet.as_mut_slice()) {
                Ok(size) => break size,
                // Reset is told once, of an end that did not read all it was sent; what it said itself comes after.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                Err(e) => return Err(Error::call("receive from the other stage", e)),
            }
        };
        if size == 0 {
            return Ok(None);
        }
        decode(packet.get(..size).unwrap_or_default()).map(Some)
    }

    /// A message that is there already.
    pub fn pending(&self) -> Result<Option<Message>> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(count) if count > 0 => self.receive(),
            _ => Ok(None),
        }
    }

    /// Waits for the parent's word.
    pub fn expect_go(&self) -> Result<()> {
        match self.receive()? {
            Some(Message::Go) => Ok(()),
            Some(other) => Err(Error::new(format!("expected Go, got {other:?}"))),
            None => Err(Error::new(PARENT_GONE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Message::Listener { fd: 7 }).unwrap();
        a.send(&Message::Failed { text: "x".repeat(1 << 20) }).unwrap();
        assert_eq!(b.receive().unwrap(), Some(Message::Listener { fd: 7 }));
        assert!(matches!(b.receive().unwrap(), Some(Message::Failed { text, .. }) if text.len() <= MAX_TEXT));
        assert!(a.send(&Message::Go).is_ok() && b.expect_go().is_ok());
        drop(a);
        assert_eq!(b.receive().unwrap(), None);
        assert!(b.expect_go().is_err());
    }

    #[test]
    fn the_last_word_of_one_that_does_not_listen_is_heard() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Message::Failed { text: "why".into() }).unwrap();
        b.send(&Message::Go).unwrap();
        drop(a);
        assert_eq!(b.receive().unwrap(), Some(Message::Failed { text: "why".into() }));
        assert_eq!(b.receive().unwrap(), None);
    }
}
