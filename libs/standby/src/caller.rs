//! The end of who starts the program.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::packet::Packet;
use crate::{DESCRIPTORS, GO_AHEAD, LONGEST, RELEASE, WORD};

/// A program that stands by. It ends when this is dropped.
#[derive(Debug)]
pub struct Standby {
    socket: OwnedFd,
    room: usize,
}

/// What a program is to do.
#[derive(Debug)]
pub struct Call<'a> {
    packet: Packet,
    folder: OwnedFd,
    descriptors: Vec<BorrowedFd<'a>>,
}

/// Why a program could not be called; it has to be started the usual way.
#[derive(Debug)]
pub enum Refused {
    /// There is no room for so much.
    TooLong,
    /// It is not there any more, or cannot be reached.
    Gone(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::TooLong => {
                write!(f, "call a program that stands by: there is no room for its arguments")
            }
            Refused::Gone(error) => write!(f, "call a program that stands by: {error}"),
        }
    }
}

impl std::error::Error for Refused {}

impl Standby {
    /// Makes `command`, which has no arguments yet, stand by when it is started, with room for so many bytes of arguments, each with the zero
    /// byte at its end. Until then a list of processes shows `whom` it stands by for. A program of another release ends at once.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn prepare(command: &mut Command, whom: &OsStr, room: usize) -> io::Result<Standby> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut shown = OsString::from(format!("{RELEASE} "));
        shown.push(whom);
        shown.push(" ".repeat(room.saturating_sub(WORD.len() + shown.len() + 2)));
        command.arg(WORD).arg(shown);
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Standby { socket: ours, room })
    }

    /// Takes its importance from a program that was started, if this process may give it back (see [`Standby::hurry`]): what is not needed
    /// yet shall not be in the way of what is.
    pub fn at_leisure(pid: u32) {
        if may_hurry() {
            // It has ended, or goes on as it is.
            let _ = rustix::process::setpriority_process(process(pid), LEAST);
        }
    }

    /// Gives the program, which has this pid, the importance of this process; it may be [at leisure](Standby::at_leisure).
    ///
    /// # Errors
    /// It is not there any more, and the pid may be another's; those of setpriority(2).
    pub fn hurry(&self, pid: u32) -> io::Result<()> {
        let mut ends = [PollFd::new(&self.socket, PollFlags::empty())];
        if poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0 {
            return Err(rustix::io::Errno::PIPE.into());
        }
        let own = rustix::process::getpriority_process(None)?;
        if rustix::process::getpriority_process(process(pid))? == own {
            return Ok(());
        }
        Ok(rustix::process::setpriority_process(process(pid), own)?)
    }

    /// Says that its surroundings are as they shall be, limits and the like: what it starts from now on inherits the right ones.
    ///
    /// # Errors
    /// It is not there any more.
    pub fn go_ahead(&self) -> io::Result<()> {
        rustix::net::send(&self.socket, GO_AHEAD, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Calls it.
    ///
    /// # Errors
    /// See [`Refused`]. It is gone then.
    pub fn call(self, call: &Call<'_>) -> Result<(), Refused> {
        let words = call.packet.arguments.iter().map(|word| word.len() + 1).sum::<usize>();
        let bytes = call.packet.encode();
        if words > self.room || bytes.len() > LONGEST || call.descriptors.len() >= DESCRIPTORS {
            return Err(Refused::TooLong);
        }
        let mut descriptors = vec![call.folder.as_fd()];
        descriptors.extend(&call.descriptors);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let sent =
            rustix::net::sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
        sent.map(drop).map_err(|error| Refused::Gone(error.into()))
    }
}

/// The highest nice value.
const LEAST: i32 = 19;

fn process(pid: u32) -> Option<rustix::process::Pid> {
    i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)
}

/// Who may not raise a priority cannot take back that it was lowered. The kernel asks for the right over the host: that of a user namespace
/// does not count.
fn may_hurry() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_NICE))
}

impl<'a> Call<'a> {
    /// What `command` would do when it was started in `folder`, with these descriptors under these numbers. Of the command only its
    /// arguments and its changes of the environment count.
    ///
    /// # Errors
    /// Those of open(2), for the folder.
    pub fn of(
        command: &Command,
        folder: &Path,
        descriptors: &[(BorrowedFd<'a>, i32)],
    ) -> io::Result<Call<'a>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        let packet = Packet {
            arguments: command.get_args().map(OsString::from).collect(),
            environment: command
                .get_envs()
                .map(|(name, value)| (name.to_owned(), value.map(OsString::from)))
                .collect(),
            numbers: descriptors.iter().map(|(_, number)| *number).collect(),
        };
        Ok(Call { packet, folder, descriptors: descriptors.iter().map(|(fd, _)| *fd).collect() })
    }

    /// What stands for a stream that there is not.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn null() -> io::Result<File> {
        File::options().read(true).write(true).open("/dev/null")
    }
}
