//! The program's end.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketType};

use crate::packet::Packet;
use crate::{DESCRIPTORS, GO_AHEAD, LONGEST, RELEASE, WORD};

/// The first number after those of the standard streams.
const FIRST: i32 = 3;

/// Was this program started to stand by?
pub fn stands_by() -> bool {
    std::env::args_os().nth(1).is_some_and(|word| word == WORD)
}

/// A program that waits for its call. To be asked for before it has a second thread.
#[derive(Debug)]
pub struct Waiting(OwnedFd);

impl Waiting {
    /// `None` for a program that was started to do something.
    ///
    /// # Errors
    /// It was told to stand by, but by another release, or standard input is not where a call could come from.
    pub fn new() -> io::Result<Option<Waiting>> {
        if !stands_by() {
            return Ok(None);
        }
        let whose = std::env::args_os().nth(2).unwrap_or_default();
        if whose.as_bytes().split(|byte| *byte == b' ').next() != Some(RELEASE.as_bytes()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{WORD}: this is release {RELEASE}"),
            ));
        }
        let stdin = std::io::stdin();
        match rustix::net::sockopt::socket_type(&stdin) {
            Ok(SocketType::SEQPACKET) => {
                let socket = rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), FIRST)?;
                Ok(Some(Waiting(socket)))
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{WORD}: standard input is not the socket of a caller"),
            )),
        }
    }

    /// For whom it waits, as its caller said (see [`Standby::prepare`](crate::Standby::prepare)).
    pub fn whom() -> OsString {
        let shown = std::env::args_os().nth(2).unwrap_or_default();
        let whom = shown.as_bytes().splitn(2, |byte| *byte == b' ').nth(1).unwrap_or_default();
        OsStr::from_bytes(whom.trim_ascii_end()).to_owned()
    }

    /// Waits until it may start others; `false` when nobody will ever call.
    ///
    /// # Errors
    /// Those of recv(2).
    pub fn go_ahead(&self) -> io::Result<bool> {
        let mut byte = [0; GO_AHEAD.len()];
        loop {
            match rustix::net::recv(&self.0, &mut byte, RecvFlags::empty()) {
                Ok((_, read)) => return Ok(read == byte.len() && byte == GO_AHEAD),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the call, and becomes the process that it asks for: working folder, environment, descriptors, and what /proc shows as the
    /// command line. Gives the arguments after the program's name; `None` when nobody will ever call.
    ///
    /// # Errors
    /// Those of recvmsg(2) and of what is done then.
    pub fn call(self) -> io::Result<Option<Vec<OsString>>> {
        let mut bytes = vec![0; LONGEST];
        let Some((length, mut received)) = receive(&self.0, &mut bytes)? else { return Ok(None) };
        let packet = Packet::decode(&bytes[..length])?;
        if received.len() != packet.numbers.len() + 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors are missing"));
        }
        let descriptors = received.split_off(1);
        for folder in received {
            rustix::process::fchdir(folder)?;
        }
        drop(self);
        place(descriptors, &packet.numbers)?;
        sys::environment::change(&packet.environment)?;
        let words: Vec<&[u8]> = packet.arguments.iter().map(|word| word.as_bytes()).collect();
        sys::arguments::show(&words)?;
        Ok(Some(packet.arguments))
    }
}

/// One packet and its descriptors; `None` at the end.
fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut slices = [IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    if message.bytes == 0 {
        return Ok(None);
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a call that is too long"));
    }
    let mut received = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            received.extend(descriptors);
        }
    }
    Ok(Some((message.bytes, received)))
}

/// Gives descriptors their numbers, once none of them is in the way of another.
fn place(descriptors: Vec<OwnedFd>, numbers: &[i32]) -> io::Result<()> {
    // No higher than need be: there may be a limit.
    let first = numbers.iter().map(|number| number.saturating_add(1)).fold(FIRST, i32::max);
    let above = descriptors.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, first));
    let above: Vec<OwnedFd> = above.collect::<Result<_, _>>()?;
    drop(descriptors);
    for (descriptor, number) in above.iter().zip(numbers) {
        put(descriptor.as_fd(), *number)?;
    }
    Ok(())
}

fn put(descriptor: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    match number {
        0 => rustix::stdio::dup2_stdin(descriptor)?,
        1 => rustix::stdio::dup2_stdout(descriptor)?,
        2 => rustix::stdio::dup2_stderr(descriptor)?,
        _ => {
            let placed = rustix::io::fcntl_dupfd_cloexec(descriptor, number)?;
            if placed.as_raw_fd() != number {
                return Err(io::Error::other(format!("descriptor {number} is in use")));
            }
            // Whoever reads the number in the arguments takes it over.
            let _ = placed.into_raw_fd();
        }
    }
    Ok(())
}
