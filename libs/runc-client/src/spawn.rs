//! Starting an executor and learning how it ended.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};

use tokio::sync::oneshot;

use crate::async_fd::async_fd;

/// Resolves once the child has ended and has been reaped.
pub type ExitFuture = Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send>>;

/// A started executor.
pub struct Running {
    /// Its pid.
    pub pid: u32,
    /// The writing end of its standard input, if that was a pipe.
    pub stdin: Option<ChildStdin>,
    /// The reading end of its standard output, if that was a pipe.
    pub stdout: Option<ChildStdout>,
    /// The reading end of its standard error, if that was a pipe.
    pub stderr: Option<ChildStderr>,
    /// How it ends. The child is reaped whether or not this is awaited.
    pub exit: ExitFuture,
}

/// Whoever owns SIGCHLD in this process.
///
/// A subreaper that waits for any child would steal the exit status from a second waiter. So there is one
/// owner, and it starts the executors: between the fork and the registration of the pid nothing may be
/// reaped.
pub trait Spawner: Send + Sync + 'static {
    /// Starts `command`. It is dropped before this returns, and with it the parent's copies of the
    /// descriptors that became the child's standard streams.
    ///
    /// # Errors
    /// Whatever fork and exec say.
    fn spawn(&self, command: Command) -> io::Result<Running>;
}

/// Waits for each child on its own, through a pidfd: for processes that do not reap children they did not
/// start.
#[derive(Debug, Default, Clone, Copy)]
pub struct PidfdSpawner;

impl Spawner for PidfdSpawner {
    fn spawn(&self, mut command: Command) -> io::Result<Running> {
        let mut child = command.spawn()?;
        drop(command);
        let pid = child.id();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let exit = Box::pin(watch(child)?);
        Ok(Running { pid, stdin, stdout, stderr, exit })
    }
}

/// Reaps `child` in a task of its own, so that it leaves no zombie if the caller loses interest.
fn watch(mut child: Child) -> io::Result<impl Future<Output = io::Result<ExitStatus>>> {
    let pidfd = pidfd_of(&child).inspect_err(|_| {
        // Not to be waited for later: no descriptor, no task.
        let _ = child.kill();
        let _ = child.wait();
    })?;
    let pidfd = async_fd(pidfd)?;
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let exit = match pidfd.readable().await {
            Ok(_) => child.wait(),
            Err(error) => Err(error),
        };
        // The caller may have gone; the child is reaped all the same.
        let _ = tell.send(exit);
    });
    Ok(async move { told.await.map_err(io::Error::other)? })
}

fn pidfd_of(child: &Child) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_child(child);
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn exit_status_arrives() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 7"]);
        let running = PidfdSpawner.spawn(command).unwrap();
        assert_eq!(running.exit.await.unwrap().code(), Some(7));
    }
}
