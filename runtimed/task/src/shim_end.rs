//! The end of a shim: asked to leave, its death awaited, killed when it does not go.
//!
//! A shim is named by a pidfd: the pid it told of itself is taken only while its connection is open, and so is still its own.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::shim_conn::ShimConn;

/// How long a shim may take to answer Shutdown and to go.
const LIMIT: Duration = Duration::from_secs(3);

/// How long the kernel may take to end a killed process.
const KILLED: Duration = Duration::from_secs(2);

/// A process that cannot be mistaken for another.
pub(crate) struct Held(AsyncFd<OwnedFd>);

/// Ends the shim behind `conn`. `alone` says that it serves no other task: then its death is awaited and, if need be, forced.
pub(crate) async fn end(conn: &ShimConn, shim_pid: Option<u32>, alone: bool) {
    let held = if alone { hold(conn, shim_pid).await } else { None };
    if let Err(error) = conn.shutdown(LIMIT).await {
        // A shim may leave before it answers.
        tracing::debug!(%error, "shutdown of a shim");
    }
    if !alone {
        return;
    }
    let gone = async {
        match &held {
            Some(held) => held.ended().await,
            None => conn.closed().await,
        }
    };
    if tokio::time::timeout(LIMIT, gone).await.is_err() {
        kill(held.as_ref()).await;
    }
}

/// Kills the shim behind `conn` without asking.
pub(crate) async fn force(conn: &ShimConn, shim_pid: Option<u32>) {
    let held = hold(conn, shim_pid).await;
    kill(held.as_ref()).await;
}

async fn kill(held: Option<&Held>) {
    let Some(held) = held else {
        tracing::warn!("a shim neither leaves nor tells its pid; it is left behind");
        return;
    };
    held.kill();
    if tokio::time::timeout(KILLED, held.ended()).await.is_err() {
        tracing::warn!("a shim is killed, but does not end");
    }
}

/// Takes hold of the shim; `None` when it is gone, or has not told its pid and does not answer.
async fn hold(conn: &ShimConn, shim_pid: Option<u32>) -> Option<Held> {
    let pid = match shim_pid {
        Some(pid) => pid,
        None => tokio::time::timeout(LIMIT, conn.shim_pid()).await.ok()?.ok()?,
    };
    let held = Held::open(pid)?;
    // Had the shim been dead when its pid was looked up, the connection would be over by now.
    (!conn.is_closed()).then_some(held)
}

impl Held {
    /// Takes hold of whoever has `pid` now.
    pub(crate) fn open(pid: u32) -> Option<Held> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that may close their descriptor; this one cannot"
        )]
        AsyncFd::with_interest(fd, Interest::READABLE).ok().map(Held)
    }

    /// Resolves when the process has ended (pidfd_open(2): it becomes readable).
    pub(crate) async fn ended(&self) {
        if let Err(error) = self.0.readable().await {
            tracing::warn!(%error, "wait for a shim's end");
        }
    }

    /// Kills it; one that has ended stays ended.
    pub(crate) fn kill(&self) {
        if let Err(error) = rustix::process::pidfd_send_signal(self.0.get_ref(), Signal::KILL) {
            tracing::debug!(%error, "kill a shim");
        }
    }
}

/// Kills every process whose current folder is `bundle`: shims work there, so this finds the one that was started a moment
/// before the daemon died, and whose address nobody wrote down.
pub(crate) async fn kill_strays(bundle: &Path) {
    let folder = bundle.to_owned();
    let found = tokio::task::spawn_blocking(move || strays(&folder)).await;
    for pid in found.ok().and_then(Result::ok).unwrap_or_default() {
        let Some(held) = Held::open(pid) else { continue };
        // Looked at again, now that the pid cannot change hands.
        if works_in(pid, bundle) {
            tracing::warn!(pid, bundle = %bundle.display(), "kill a stray shim");
            kill(Some(&held)).await;
        }
    }
}

/// Removes the socket of a dead shim, which cannot do so itself. A socket that somebody listens on stays.
pub(crate) fn remove_socket(address: &str) {
    let Some(path) = address.strip_prefix("unix://").filter(|path| path.starts_with('/')) else { return };
    let refused = std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if refused && let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(path, %error, "remove a dead shim's socket");
    }
}

fn strays(bundle: &Path) -> io::Result<Vec<u32>> {
    let processes = std::fs::read_dir("/proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter(|pid| works_in(*pid, bundle)).collect())
}

fn works_in(pid: u32, folder: &Path) -> bool {
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn strays_are_found_by_where_they_work() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sleep = |folder: &Path| {
            tokio::process::Command::new("sleep").arg("1000").current_dir(folder).kill_on_drop(true).spawn()
        };
        let mut stray = sleep(here.path()).unwrap();
        let mut other = sleep(there.path()).unwrap();
        kill_strays(&here.path().canonicalize().unwrap()).await;
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(stray.wait().await.unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().await.unwrap();
    }

    #[test]
    fn only_a_dead_socket_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let address = format!("unix://{}", path.display());
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        remove_socket(&address);
        assert!(path.exists());
        drop(listener);
        remove_socket(&address);
        assert!(!path.exists());
        std::fs::write(&path, "no socket").unwrap();
        remove_socket("unix://relative");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn an_end_is_seen_through_the_descriptor() {
        let mut child = tokio::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let held = Held::open(child.id().unwrap()).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), held.ended()).await.is_err());
        held.kill();
        held.ended().await;
        child.wait().await.unwrap();
        assert!(Held::open(0).is_none());
    }
}
