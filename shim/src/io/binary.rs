//! Logging programs (containerd's docs: "Logging binaries"): one process per container that reads stdout from
//! descriptor 3 and stderr from 4, says on 5 that it is ready, and learns from its environment whose output
//! it is.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use errors::{Context, Error, Result};
use runc_client::{ExitFuture, Spawner};
use rustix::pipe::PipeFlags;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

use super::uri::Binary;
use crate::log;
use crate::reaper::Reaper;

/// How long it may take to get ready.
const READY: Duration = Duration::from_secs(30);
/// How long it may read on after both outputs have ended, before it is asked to leave.
const LINGER: Duration = Duration::from_secs(1);
/// How long it may take to leave: containerd gives it twelve seconds.
const LEAVE: Duration = Duration::from_secs(12);

/// A running logging program.
pub(super) struct Logger {
    pid: u32,
    exit: ExitFuture,
}

/// The writing ends of the two outputs.
pub(super) struct Ends {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Logger {
    /// Starts the program and waits until it is ready.
    pub(super) async fn start(
        uri: &Binary,
        id: &str,
        namespace: &str,
        reaper: &Reaper,
    ) -> Result<(Logger, Ends)> {
        let named = || format!("start the logging program {}", uri.program.display());
        let (stdout_reader, stdout) = pipe().context(named)?;
        let (stderr_reader, stderr) = pipe().context(named)?;
        let (ready_reader, ready) = pipe().context(named)?;
        let mut command = Command::new(&uri.program);
        command.args(&uri.args).env_clear();
        command.env("CONTAINER_ID", id).env("CONTAINER_NAMESPACE", namespace);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sys::spawn_fds::pass_fds(&mut command, vec![stdout_reader, stderr_reader, ready]).context(named)?;
        let running = reaper.spawn(command).context(named)?;
        let logger = Logger { pid: running.pid, exit: running.exit };
        match wait_ready(ready_reader, uri.must_say_ready).await {
            Ok(()) => Ok((logger, Ends { stdout, stderr })),
            Err(error) => {
                logger.signal(9);
                Err(error).context(named)
            }
        }
    }

    /// Sees the program off once both outputs have ended. Runs in the background.
    pub(super) async fn leave(mut self) {
        if timeout(LINGER, &mut self.exit).await.is_ok() {
            return;
        }
        self.signal(15);
        if timeout(LEAVE, &mut self.exit).await.is_err() {
            log::warning!("the logging program, pid {}, does not leave: killed", self.pid);
            self.signal(9);
        }
    }

    fn signal(&self, signal: u32) {
        // It may have ended: it stays unreaped for as long as `exit` is pending, so the pid is no one else's.
        let _ = sys::kill::kill(self.pid, signal);
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

async fn wait_ready(pipe: OwnedFd, must_say: bool) -> Result<()> {
    let pipe = Receiver::from_owned_fd(pipe).context(|| "watch its readiness")?;
    let mut byte = [0u8; 1];
    let said = async {
        loop {
            pipe.readable().await?;
            match pipe.try_read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    };
    match timeout(READY, said).await {
        Err(_) => Err(Error::unavailable(format!("it was not ready after {} s", READY.as_secs()))),
        Ok(Ok(0)) if must_say => {
            Err(Error::unavailable("it ended, or closed its readiness descriptor, without a word"))
        }
        Ok(result) => result.map(drop).context(|| "read its readiness"),
    }
}
