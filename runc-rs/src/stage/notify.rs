//! The way of sd_notify(3) messages out of a container: a service manager that started the runtime hears when the
//! container's program is ready.
//!
//! The program gets a socket of its own (it could not reach the manager's), ROOT/ID/notify/notify.sock. What it says
//! there is handed on as far as it is `READY=`, with the main process's id, for the manager would take the runtime for
//! it.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci::runtime::{MountBuilder, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, recv, socket_with,
};

use super::fds;
use crate::error::{Context, Error, Result};
use crate::log;
use crate::process::{self, Handle, TICK};

const DIRECTORY: &str = "notify";
const NAME: &str = "notify.sock";
const INSIDE: &str = "/run/notify";
/// A notice has to fit one packet, and real ones are a line or two.
const MAX_NOTICE: usize = 4096;
/// How long the manager may take to have read everything.
const BARRIER: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// A bound socket, and where its messages go.
#[derive(Debug)]
pub struct Notify {
    socket: OwnedFd,
    host: String,
}

/// The manager's socket, if this process was started by one that wants to hear.
fn host() -> Option<String> {
    std::env::var("NOTIFY_SOCKET").ok().filter(|path| !path.is_empty())
}

/// Whether a manager wants to hear.
pub fn is_wanted() -> bool {
    host().is_some()
}

/// Adds to config.json what brings the socket's directory, below the state directory `dir`, into the container.
pub fn set_up(spec: &mut Spec, dir: &Path) -> Result<()> {
    let words = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned);
    let mount = MountBuilder::default()
        .destination(INSIDE)
        .source(dir.join(DIRECTORY))
        .options(words.to_vec())
        .build()
        .map_err(|e| Error::new(format!("mount of the notify socket: {e}")))?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    if let Some(mut process) = spec.process().clone() {
        let mut env = process.env().clone().unwrap_or_default();
        env.push(format!("NOTIFY_SOCKET={INSIDE}/{NAME}"));
        process.set_env(Some(env));
        spec.set_process(Some(process));
    }
    Ok(())
}

/// Makes the socket's directory.
pub fn make_directory(dir: &Path) -> Result<()> {
    let path = dir.join(DIRECTORY);
    let made = std::fs::DirBuilder::new().mode(0o755).create(&path);
    made.with_context(|| format!("mkdir {}", path.display()))
}

impl Notify {
    /// Binds the socket below the state directory, just before the program starts; `None` when nobody wants to hear, or
    /// the container was created without it.
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        let Some(host) = host() else { return Ok(None) };
        if !dir.join(DIRECTORY).is_dir() {
            return Ok(None);
        }
        let path: PathBuf = dir.join(DIRECTORY).join(NAME);
        let at = |e: Errno| Error::call(format_args!("bind {}", path.display()), e);
        let socket = new_socket()?;
        bind(&socket, &SocketAddrUnix::new(&path).map_err(at)?).map_err(at)?;
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&path, open).with_context(|| format!("chmod {}", path.display()))?;
        Ok(Some(Notify { socket, host }))
    }

    /// Waits until the program is ready, which the manager is told, or gone. `pid` is the container's init, and becomes
    /// the service's main process.
    pub fn relay(&self, pid: i32) -> Result<()> {
        let Some((start, _)) = process::stat(pid) else { return Ok(()) };
        let Some(init) = Handle::of(pid, start) else { return Ok(()) };
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        loop {
            let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN)];
            fds.extend(init.fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut fds, init.fd().is_none().then_some(&tick)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(Error::call("poll", e)),
            }
            let said = !fds[0].revents().is_empty();
            if said && let Some(ready) = self.ready()? {
                return self.tell(&ready, pid)?.barrier();
            }
            // What it said last is read before it counts as gone.
            if !said && init.is_gone() {
                return Ok(());
            }
        }
    }

    /// Hands on what is there; `true` once the program is ready and the manager knows. `pid` stays the main process.
    pub fn hand_on(&self, pid: i32) -> Result<bool> {
        match self.ready()? {
            Some(ready) => self.tell(&ready, pid).map(|_| true),
            None => Ok(false),
        }
    }

    /// One notice; its `READY=` line, if it has one.
    fn ready(&self) -> Result<Option<String>> {
        let mut notice = [0; MAX_NOTICE];
        let size = match recv(&self.socket, notice.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((_, size)) => size,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(e) => return Err(Error::call("receive from the notify socket", e)),
        };
        let text = String::from_utf8_lossy(notice.get(..size).unwrap_or_default()).into_owned();
        Ok(text.lines().find(|line| line.starts_with("READY=")).map(str::to_owned))
    }

    fn tell(&self, ready: &str, pid: i32) -> Result<Manager> {
        let manager = Manager::connect(&self.host)?;
        manager.say(&format!("{ready}\n"))?;
        manager.say(&format!("MAINPID={pid}\n"))?;
        Ok(manager)
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The service manager's end.
struct Manager {
    socket: std::fs::File,
}

impl Manager {
    fn connect(path: &str) -> Result<Self> {
        let at = |e: Errno| Error::call(format_args!("connect {path}"), e);
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
            None => SocketAddrUnix::new(path),
        };
        let socket = new_socket()?;
        connect(&socket, &address.map_err(at)?).map_err(at)?;
        Ok(Manager { socket: socket.into() })
    }

    fn say(&self, text: &str) -> Result<()> {
        (&self.socket).write_all(text.as_bytes()).context("write to the service manager")
    }

    /// Waits until the manager has read everything: it closes the pipe that it is sent (sd_notify_barrier(3)).
    fn barrier(&self) -> Result<()> {
        let (mut reader, writer) = std::io::pipe().context("pipe")?;
        fds::send(&self.socket, b"BARRIER=1", writer.as_fd()).context("send BARRIER=1")?;
        drop(writer);
        let mut fds = [PollFd::new(&reader, PollFlags::IN)];
        match poll(&mut fds, Some(&BARRIER)) {
            Ok(0) => log::warn("Timeout after waiting 30s for barrier. Ignored."),
            _ => {
                let mut byte = [0];
                if reader.read(&mut byte).is_ok_and(|count| count > 0) {
                    return Err(Error::new("unexpected read from synchronization pipe"));
                }
            }
        }
        Ok(())
    }
}

fn new_socket() -> Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|e| Error::call("socket", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_gets_a_mount_and_a_variable() {
        let mut spec: Spec = serde_json::from_str(
            r#"{"ociVersion":"1.0.0","process":{"user":{"uid":0,"gid":0},"args":["x"],"cwd":"/"}}"#,
        )
        .unwrap();
        set_up(&mut spec, Path::new("/run/runc/c1")).unwrap();
        let mount = &spec.mounts().as_ref().unwrap()[0];
        assert_eq!(mount.source().as_deref(), Some(Path::new("/run/runc/c1/notify")));
        assert_eq!(mount.destination(), Path::new("/run/notify"));
        let process = spec.process().clone().unwrap();
        assert_eq!(process.env().as_deref(), Some(&["NOTIFY_SOCKET=/run/notify/notify.sock".to_owned()][..]));
    }
}
