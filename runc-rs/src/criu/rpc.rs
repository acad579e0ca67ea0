//! Talking to `criu swrk`, a criu that serves one request over a socket (criu's images/rpc.proto).

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};

use super::wire::{self, Value, Writer};
use crate::error::{Context, Error, Result, io_text};

/// What criu is asked (criu_req_type).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Write a tree of processes down.
    Dump = 1,
    /// Make it again.
    Restore = 2,
    /// Write its memory down, and let it run.
    PreDump = 4,
    /// An answer about something that has happened meanwhile.
    Notify = 6,
    /// What kernel and criu can do together.
    FeatureCheck = 9,
    /// Which criu it is.
    Version = 10,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Dump => "DUMP",
            Kind::Restore => "RESTORE",
            Kind::PreDump => "PRE_DUMP",
            Kind::Notify => "NOTIFY",
            Kind::FeatureCheck => "FEATURE_CHECK",
            Kind::Version => "VERSION",
        }
    }
}

/// What criu says (criu_resp).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// To what kind of request.
    pub kind: u64,
    /// Whether it worked.
    pub success: bool,
    /// The restored process.
    pub pid: Option<i32>,
    /// A step that criu has come to, and the process it is about.
    pub notify: Option<(String, i32)>,
    /// Error number.
    pub errno: i32,
    /// Error text.
    pub message: String,
    /// Features by their field numbers (criu_features).
    pub features: Vec<(u64, bool)>,
    /// Version as a number, 31701 for 3.17.1.
    pub version: i64,
}

impl Answer {
    /// Reads criu_resp.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut answer = Answer::default();
        for (field, value) in wire::read(bytes)? {
            match (field, value) {
                (1, Value::Number(kind)) => answer.kind = kind,
                (2, Value::Number(success)) => answer.success = success != 0,
                (4, Value::Data(restore)) => answer.pid = number(restore, 1),
                (5, Value::Data(notify)) => answer.notify = Some(notice(notify)?),
                (7, Value::Number(errno)) => answer.errno = errno as i32,
                (8, Value::Data(features)) => answer.features = switches(features)?,
                (9, Value::Data(text)) => answer.message = String::from_utf8_lossy(text).into_owned(),
                (10, Value::Data(version)) => answer.version = version_number(version)?,
                _ => {}
            }
        }
        Some(answer)
    }
}

fn number(message: &[u8], wanted: u64) -> Option<i32> {
    wire::read(message)?.into_iter().find_map(|(field, value)| match value {
        Value::Number(number) if field == wanted => Some(number as i32),
        _ => None,
    })
}

/// criu_notify.
fn notice(message: &[u8]) -> Option<(String, i32)> {
    let script = wire::read(message)?.into_iter().find_map(|(field, value)| match value {
        Value::Data(text) if field == 1 => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    });
    Some((script.unwrap_or_default(), number(message, 2).unwrap_or_default()))
}

/// criu_features.
fn switches(message: &[u8]) -> Option<Vec<(u64, bool)>> {
    let fields = wire::read(message)?.into_iter();
    Some(
        fields
            .filter_map(|(f, v)| matches!(v, Value::Number(_)).then_some((f, v != Value::Number(0))))
            .collect(),
    )
}

/// criu_version: major, minor, and the third number, as criu itself writes them in one.
fn version_number(message: &[u8]) -> Option<i64> {
    let part = |field| i64::from(number(message, field).unwrap_or_default());
    let git = wire::read(message)?.iter().any(|(field, _)| *field == 3);
    let number = part(1) * 10_000 + part(2) * 100 + part(4);
    // Built from between two releases, it counts as the next one.
    Some(if git { number - number % 100 + 100 } else { number })
}

/// Told of a step that criu has come to: its name, the process it is about, and a descriptor that came with it.
pub type Notify<'a> = dyn FnMut(&str, i32, Option<OwnedFd>) -> Result<()> + 'a;

/// A criu that waits for its request.
#[derive(Debug)]
pub struct Criu {
    child: Child,
    socket: OwnedFd,
}

impl Criu {
    /// Starts `criu swrk`. It gets `extra` as descriptors 4 and up, and this process's standard streams if they are the
    /// container's.
    pub fn start(extra: Vec<OwnedFd>, streams: bool) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|e| Error::call("socketpair", e))?;
        let mut command = Command::new("criu");
        command.args(["swrk", "3"]);
        if !streams {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        let fds = std::iter::once(theirs).chain(extra).collect();
        sys::spawn_fds::pass_fds(&mut command, fds).context("pass descriptors to criu")?;
        let child = command.spawn().map_err(|e| Error::new(format!("exec criu: {}", io_text(&e))))?;
        Ok(Criu { child, socket: ours })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends a request, and answers what criu says meanwhile with `notify`, until the request is served.
    pub fn ask(&mut self, kind: Kind, request: Writer, notify: &mut Notify<'_>) -> Result<Answer> {
        self.send(request.bytes())?;
        loop {
            let (answer, fd) = self.receive()?;
            if !answer.success {
                let said = answer.message.trim();
                let why = if said.is_empty() { String::new() } else { format!(": {said}") };
                return Err(Error::new(format!(
                    "criu failed: type {} errno {}{why}",
                    kind.name(),
                    answer.errno
                )));
            }
            let Some((script, pid)) = &answer.notify else {
                return if answer.kind == kind as u64 {
                    Ok(answer)
                } else {
                    Err(Error::new(format!("unable to parse the response {answer:?}")))
                };
            };
            crate::log::debug(format!("criu: {script}"));
            notify(script, *pid, fd)?;
            let mut go = Writer::default();
            go.number(1, Kind::Notify as i64).switch(3, true);
            self.send(go.bytes())?;
        }
    }

    /// Waits until criu itself has ended.
    pub fn end(mut self) -> Result<ExitStatus> {
        drop(self.socket);
        self.child.wait().context("wait for criu")
    }

    fn send(&self, bytes: Vec<u8>) -> Result<()> {
        rustix::io::write(&self.socket, &bytes).map(drop).map_err(|e| Error::call("write to criu", e))
    }

    fn receive(&self) -> Result<(Answer, Option<OwnedFd>)> {
        let mut bytes = vec![0; 64 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        let got = recvmsg(&self.socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(|e| Error::call("receive from criu", e))?;
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        if got.bytes == 0 {
            return Err(Error::new("criu ended without an answer"));
        }
        let answer = Answer::read(bytes.get(..got.bytes).unwrap_or_default());
        Ok((answer.ok_or_else(|| Error::new("unable to parse the response of criu"))?, fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let mut notify = Writer::default();
        notify.text(1, "post-restore").number(2, 42);
        let mut bytes = Writer::default();
        bytes.number(1, 6).number(2, 1).message(5, notify);
        let answer = Answer::read(&bytes.bytes()).unwrap();
        assert_eq!((answer.kind, answer.success), (6, true));
        assert_eq!(answer.notify, Some(("post-restore".to_owned(), 42)));
        let (mut version, mut bytes) = (Writer::default(), Writer::default());
        version.number(1, 3).number(2, 17).number(4, 1);
        bytes.number(1, 10).number(2, 1).message(10, version).number(7, -5);
        let answer = Answer::read(&bytes.bytes()).unwrap();
        assert_eq!((answer.version, answer.errno), (31701, -5));
        let mut features = Writer::default();
        features.number(1, 0).number(2, 1);
        let mut bytes = Writer::default();
        bytes.message(8, features);
        assert_eq!(Answer::read(&bytes.bytes()).unwrap().features, [(1, false), (2, true)]);
        assert_eq!(Answer::read(&[0xff]), None);
    }
}
